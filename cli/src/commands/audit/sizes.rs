//! Parses samples, sizes and seeds as people type them.

use etcdr_schemas::report::AuditSample;
use etcdr_schemas::units::Size;

/// `10%`, `0.5%`, or a number of snapshots.
pub(super) fn sample(text: &str) -> Result<AuditSample, String> {
    let bad = || format!("{text:?} is neither a share such as 10% nor a number of snapshots");
    let Some(share) = text.strip_suffix('%') else {
        return match text.parse::<u64>() {
            Ok(count) if count > 0 => Ok(AuditSample::Count(count)),
            _ => Err(bad()),
        };
    };
    let (whole, tenth) = share.split_once('.').unwrap_or((share, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(tenth) || tenth.len() != 1 {
        return Err(bad());
    }
    let whole: u32 = whole.parse().map_err(|_| bad())?;
    let tenth: u32 = tenth.parse().map_err(|_| bad())?;
    let share = whole.saturating_mul(10).saturating_add(tenth);
    if (1..=1_000).contains(&share) { Ok(AuditSample::PerMille(share)) } else { Err(bad()) }
}

/// `50GiB`, `50GB`, `1024`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    text.parse().map(|Size(bytes)| bytes)
}

/// 1 to 16 hex digits, as a report names them.
pub(super) fn seed(text: &str) -> Result<u64, String> {
    let plain = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = plain.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    value.ok_or_else(|| format!("{text:?} is not a seed of up to 16 hex digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_shares_or_numbers() {
        let good = [
            ("10%", AuditSample::PerMille(100)),
            ("0.5%", AuditSample::PerMille(5)),
            ("100%", AuditSample::PerMille(1_000)),
            ("3", AuditSample::Count(3)),
        ];
        for (text, expected) in good {
            assert_eq!(sample(text).unwrap(), expected, "{text}");
        }
        for text in ["", "0", "0%", "101%", "-1", "%", "1.25%", "x%", ".5%", "1.%", "99999999999%"]
        {
            assert!(sample(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units_of_both_kinds() {
        let good = [
            ("0", 0),
            ("50GiB", 50 << 30),
            ("5gb", 5_000_000_000),
            ("7 KiB", 7_168),
            ("2T", 2 << 40),
        ];
        for (text, expected) in good {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for text in ["", "GiB", "-1", "1.5GiB", "5 bits", "99999999TiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_seed_is_what_a_report_names() {
        assert_eq!(seed("00000000000000ff").unwrap(), 255);
        for text in ["", "0x1", "12345678901234567", "g"] {
            assert!(seed(text).is_err(), "{text}");
        }
    }
}
