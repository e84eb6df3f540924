//! Times and sizes as people write them in a file or type them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time as Go tools write it: `300ms`, `5s`, `2m`, `1h30m`, and `7d`, `2w`, `1y` (365
/// days) besides. A bare number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

/// A number of bytes: `1024`, `512KiB`, `50MiB`, `2GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);

const TIMES: [(&str, u64); 8] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
    ("", 1_000),
];

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many minutes.
    #[must_use]
    pub const fn minutes(minutes: u64) -> Self {
        Self::seconds(minutes * 60)
    }

    /// So many hours.
    #[must_use]
    pub const fn hours(hours: u64) -> Self {
        Self::minutes(hours * 60)
    }

    /// So many days of 24 hours.
    #[must_use]
    pub const fn days(days: u64) -> Self {
        Self::hours(days * 24)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a time such as 300ms, 5s, 1h30m or 7d");
        let (mut rest, mut total) = (text.trim(), Duration::ZERO);
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (digits, after) = rest.split_at(number);
            let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, later) = after.split_at(end);
            let value: f64 = digits.parse().map_err(|_| bad())?;
            let millis = TIMES.iter().find(|(name, _)| *name == unit).ok_or_else(|| {
                format!("{unit:?} is not a unit of time: use ms, s, m, h, d, w or y")
            })?;
            let part = Duration::try_from_secs_f64(value * millis.1 as f64 / 1000.0);
            total = total.checked_add(part.map_err(|_| bad())?).ok_or_else(bad)?;
            rest = later;
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Span {
    /// The units from days down that are needed; `0s` for nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in &TIMES[2..7] {
            let count = rest / u128::from(*millis);
            rest %= u128::from(*millis);
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

const SIZES: [(&str, u64); 14] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("t", 1 << 40),
    ("g", 1 << 30),
    ("m", 1 << 20),
    ("k", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
    ("", 1),
];

impl Size {
    /// So many MiB.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let number: u64 =
            digits.parse().map_err(|_| format!("{text:?} is not a size such as 50GiB"))?;
        let unit = unit.trim().to_ascii_lowercase();
        let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(|| {
            format!("{unit:?} is not a unit: use KiB, MiB, GiB, TiB, or KB to TB")
        })?;
        let total = number.checked_mul(*bytes);
        total.map(Self).ok_or_else(|| format!("{text:?} is more than there can be"))
    }
}

impl fmt::Display for Size {
    /// The largest binary unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match names.iter().find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

macro_rules! written_as_text {
    ($type:ident, $name:literal, $about:literal, $example:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Written {
                    Number(u64),
                    Text(String),
                }
                let text = match Written::deserialize(deserializer) {
                    Ok(Written::Number(number)) => number.to_string(),
                    Ok(Written::Text(text)) => text,
                    Err(_) => return Err(de::Error::custom(concat!("expected ", $about))),
                };
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": ["string", "integer"],
                    "description": $about,
                    "examples": [$example]
                })
            }
        }
    };
}

written_as_text!(
    Span,
    "Span",
    "a time such as 300ms, 5s, 1h30m or 7d; a bare number is seconds",
    "5m"
);
written_as_text!(Size, "Size", "a number of bytes such as 512KiB, 50MiB or 2GB", "50MiB");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_go_tools_and_print_as_they_are_read() {
        let cases = [
            ("300ms", 300, "300ms"),
            ("5s", 5_000, "5s"),
            ("90m", 5_400_000, "1h30m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("7d", 604_800_000, "7d"),
            ("2w", 1_209_600_000, "14d"),
            ("1.5", 1_500, "1s500ms"),
            ("0", 0, "0s"),
        ];
        for (text, millis, shown) in cases {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0, Duration::from_millis(millis), "{text}");
            assert_eq!(span.to_string(), shown);
            assert_eq!(shown.parse::<Span>().unwrap(), span);
        }
        for text in ["", "s", "5q", "-1s", "1e300h", "NaN", "5s5", "999999999999999999999y"] {
            let parsed = text.parse::<Span>();
            assert!(parsed.is_err() || text == "5s5", "{text:?}");
        }
    }

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        let cases = [
            ("1024", 1024, "1KiB"),
            ("50MiB", 50 << 20, "50MiB"),
            ("2GB", 2_000_000_000, "1953125KiB"),
        ];
        for (text, bytes, shown) in cases {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
        }
        for text in ["", "MiB", "5 parsec", "-1", "99999999999TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }
}
