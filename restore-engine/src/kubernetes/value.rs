//! How the API server encoded a value, and whether that is whole.

use serde::de::IgnoredAny;

use super::cbor;
use crate::format::fields::{Fields, Value};

/// What a protobuf envelope begins with.
const PROTOBUF: &[u8] = b"k8s\0";
/// What an encrypted value begins with.
const ENCRYPTED: &[u8] = b"k8s:enc:";
/// CBOR's tag for "this is CBOR".
const CBOR: &[u8] = &[0xd9, 0xd9, 0xf7];
/// Longest prefix of an encrypted value; key names are short.
const MAX_PREFIX: usize = 512;

/// How a value is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding<'a> {
    /// An object in Kubernetes' protobuf envelope.
    Protobuf {
        /// `v1`, `apps/v1`; empty when the envelope does not say.
        api_version: &'a str,
        /// `Pod`.
        kind: &'a str,
    },
    /// A JSON object: custom resources.
    Json,
    /// A CBOR item behind the tag that says so.
    Cbor,
    /// Encrypted at rest. Without the key of that name the object is lost.
    Encrypted {
        /// Provider and version: `aescbc:v1`, `kms:v2`.
        provider: &'a str,
        /// Name of the key, or of the KMS plugin.
        key: &'a str,
    },
    /// None of these, or a broken one of them.
    Unknown {
        /// What is wrong, as a sentence's end.
        problem: &'static str,
    },
}

/// Recognises the encoding of a value. Objects in an envelope are parsed one level deep, JSON and
/// CBOR from end to end.
#[must_use]
pub fn encoding(value: &[u8]) -> Encoding<'_> {
    let known = if let Some(envelope) = value.strip_prefix(PROTOBUF) {
        protobuf(envelope)
    } else if let Some(rest) = value.strip_prefix(ENCRYPTED) {
        encrypted(rest)
    } else if let Some(item) = value.strip_prefix(CBOR) {
        cbor::is_whole(item).then_some(Encoding::Cbor).ok_or("its CBOR is cut or malformed")
    } else if value.trim_ascii_start().first() == Some(&b'{') {
        json(value)
    } else {
        Err("it is neither a Kubernetes envelope, nor JSON, nor CBOR, nor encrypted")
    };
    known.unwrap_or_else(|problem| Encoding::Unknown { problem })
}

fn json(value: &[u8]) -> Result<Encoding<'_>, &'static str> {
    // The object itself is of no interest here, only that it is one.
    let whole = serde_json::from_slice::<IgnoredAny>(value).is_ok();
    whole.then_some(Encoding::Json).ok_or("its JSON is cut or malformed")
}

/// `runtime.Unknown`: 1 type (1 version, 2 kind), 2 the object, 3 content encoding, 4 content type.
fn protobuf(envelope: &[u8]) -> Result<Encoding<'_>, &'static str> {
    const BAD: &str = "its protobuf envelope is cut or malformed";
    let (mut api_version, mut kind, mut raw, mut other) = ("", "", None, false);
    for field in Fields::of(envelope) {
        match field.ok_or(BAD)? {
            (1, Value::Bytes(meta)) => (api_version, kind) = type_meta(meta).ok_or(BAD)?,
            (2, Value::Bytes(bytes)) => raw = Some(bytes),
            (3, value) => other |= !value.text().ok_or(BAD)?.is_empty(),
            (4, value) => {
                let text = value.text().ok_or(BAD)?;
                other |= !matches!(text, "" | "application/vnd.kubernetes.protobuf");
            }
            (1 | 2, _) => return Err(BAD),
            _ => {}
        }
    }
    let raw = raw.ok_or("its protobuf envelope holds no object")?;
    if !other && !Fields::of(raw).all(|field| field.is_some()) {
        return Err("the object in its envelope is cut or malformed");
    }
    Ok(Encoding::Protobuf { api_version, kind })
}

fn type_meta(message: &[u8]) -> Option<(&str, &str)> {
    let (mut api_version, mut kind) = ("", "");
    for field in Fields::of(message) {
        match field? {
            (1, value) => api_version = value.text()?,
            (2, value) => kind = value.text()?,
            _ => {}
        }
    }
    Some((api_version, kind))
}

/// `<provider>:<version>:<key>:` and the sealed bytes.
fn encrypted(rest: &[u8]) -> Result<Encoding<'_>, &'static str> {
    const BAD: &str = "its encryption prefix is cut or malformed";
    let head = rest.get(..rest.len().min(MAX_PREFIX)).unwrap_or_default();
    let mut colons = head.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    let (_, version, key) =
        (colons.next().ok_or(BAD)?, colons.next().ok_or(BAD)?, colons.next().ok_or(BAD)?);
    let text = |from, to| head.get(from..to).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let provider = text(0, version).ok_or(BAD)?;
    let name = text(version + 1, key).filter(|name| !name.is_empty()).ok_or(BAD)?;
    let sealed = rest.get(key + 1..).unwrap_or_default().len();
    let whole = match provider {
        // An IV and whole blocks, at least one.
        "aescbc:v1" => sealed >= 32 && sealed.is_multiple_of(16),
        // Nonce and tag.
        "aesgcm:v1" => sealed >= 28,
        "secretbox:v1" => sealed >= 40,
        _ => sealed > 0,
    };
    let encoding = Encoding::Encrypted { provider, key: name };
    whole.then_some(encoding).ok_or("its encrypted bytes are cut")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POD: &[u8] = b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x05\x0a\x03abc\x1a\0\x22\0";

    fn sealed(prefix: &str, len: usize) -> Vec<u8> {
        [prefix.as_bytes(), &vec![b':'; len]].concat()
    }

    #[test]
    fn the_encoding_of_a_value_is_recognised() {
        assert_eq!(encoding(POD), Encoding::Protobuf { api_version: "v1", kind: "Pod" });
        assert_eq!(encoding(b"{\"kind\":\"X\"}\n"), Encoding::Json);
        assert_eq!(encoding(b"\xd9\xd9\xf7\xa1\x61a\x01"), Encoding::Cbor);
        let cases = [
            ("k8s:enc:aescbc:v1:key1:", 32, "aescbc:v1", "key1"),
            ("k8s:enc:aesgcm:v1:k:", 28, "aesgcm:v1", "k"),
            ("k8s:enc:secretbox:v1:k:", 40, "secretbox:v1", "k"),
            ("k8s:enc:kms:v2:vault:", 1, "kms:v2", "vault"),
        ];
        for (prefix, len, provider, key) in cases {
            let value = sealed(prefix, len);
            assert_eq!(encoding(&value), Encoding::Encrypted { provider, key });
            let cut = sealed(prefix, len - 1);
            assert!(matches!(encoding(&cut), Encoding::Unknown { .. }), "{prefix}");
        }
    }

    #[test]
    fn broken_values_are_unknown() {
        let cases: [&[u8]; 11] = [
            b"",
            b"plain",
            b"{\"kind\":",
            b"{} trailing",
            b"[1]",
            b"\xd9\xd9\xf7\xa1\x61a",
            b"k8s\0",
            b"k8s\0\x12\x05abc",
            b"k8s\0\x0a\x02\x0a\x09\x12\0",
            b"k8s\0\x12\x03\x0a\x05a",
            b"k8s:enc:aescbc:v1",
        ];
        for value in cases {
            let got = encoding(value);
            assert!(matches!(got, Encoding::Unknown { .. }), "{}: {got:?}", value.escape_ascii());
        }
        // What is in the envelope is not always protobuf.
        let json = b"k8s\0\x12\x02{}\x22\x10application/json";
        assert!(matches!(encoding(json), Encoding::Protobuf { .. }));
    }

    proptest! {
        #[test]
        fn arbitrary_values_are_no_trouble(kind in 0usize..4, tail: Vec<u8>) {
            let start = [PROTOBUF, ENCRYPTED, CBOR, b"{"][kind];
            let _ = encoding(&[start, &tail].concat());
        }
    }
}
