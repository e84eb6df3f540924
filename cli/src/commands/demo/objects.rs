//! Keys and values like those of a Kubernetes API server, for the demo.
//!
//! The same number always gives the same object, so that a demo can be repeated.

use bytes::Bytes;

const NAMESPACES: [&str; 6] =
    ["default", "kube-system", "payments", "checkout", "monitoring", "ingress"];
const KINDS: [(&str, &str); 5] = [
    ("pods", "Pod"),
    ("configmaps", "ConfigMap"),
    ("secrets", "Secret"),
    ("services/specs", "Service"),
    ("deployments", "Deployment"),
];

/// The `n`-th object.
pub(super) fn object(n: u32) -> (Bytes, Bytes) {
    let mix = scramble(n);
    let pick = |len: usize, shift: u32| (mix >> shift) as usize % len;
    let (resource, kind) = KINDS[pick(KINDS.len(), 3)];
    let namespace = NAMESPACES[pick(NAMESPACES.len(), 11)];
    let name = format!("{}-{n:06}", kind.to_lowercase());
    let key = format!("/registry/{resource}/{namespace}/{name}");
    (key.into(), value(kind, namespace, &name, mix).into())
}

/// JSON in the API server's envelope, a few hundred bytes to two kilobytes.
fn value(kind: &str, namespace: &str, name: &str, mix: u32) -> Vec<u8> {
    let mut value = b"k8s\0\n\x0c\n\x02v1\x12".to_vec();
    let repeated =
        "env: production; tier: backend; managed-by: helm; ".repeat(1 + mix as usize % 24);
    value.extend_from_slice(
        format!(
            "{{\"kind\":\"{kind}\",\"metadata\":{{\"name\":\"{name}\",\
             \"namespace\":\"{namespace}\",\
             \"uid\":\"{mix:08x}-{:08x}\",\"annotations\":{{\"note\":\"{repeated}\"}}}}}}",
            scramble(mix)
        )
        .as_bytes(),
    );
    value
}

/// Spreads a counter over all bits.
fn scramble(n: u32) -> u32 {
    let mut x = n.wrapping_mul(0x9E37_79B9) ^ 0x85EB_CA6B;
    x ^= x >> 15;
    x = x.wrapping_mul(0x2C1B_3C6D);
    x ^ (x >> 13)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_distinct_and_repeatable() {
        let keys: std::collections::BTreeSet<_> = (0..2000).map(|n| object(n).0).collect();
        assert_eq!(keys.len(), 2000);
        assert_eq!(object(7), object(7));
    }
}
