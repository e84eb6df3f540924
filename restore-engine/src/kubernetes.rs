//! What the keys and values of a Kubernetes API server say about themselves (docs/etcd-formats.md 7).

mod landing;

pub(crate) use landing::{Landing, checklist};

/// Where API servers register themselves, each with a lease of seconds. Nobody else writes there, and
/// each server that lives writes its own entry again within seconds.
pub(crate) const MASTER_LEASES: [&str; 2] =
    ["/registry/masterleases/", "kubernetes.io/masterleases/"];

/// Where objects are: what an API server uses unless told otherwise, and what OpenShift uses.
const ROOTS: [&str; 2] = ["/registry/", "kubernetes.io/"];

/// What a key says of the object in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectKey<'a> {
    /// Resource as it is stored: `pods`, `minions`, `services/endpoints`; without its group.
    pub(crate) resource: &'a str,
    /// What follows the resource: `[<namespace>/]<name>`.
    pub(crate) rest: &'a str,
}

impl<'a> ObjectKey<'a> {
    /// `None` for a key that is no object's.
    pub(crate) fn parse(key: &'a [u8]) -> Option<Self> {
        let key = std::str::from_utf8(key).ok()?;
        let path = ROOTS.iter().find_map(|root| key.strip_prefix(root))?;
        let (first, rest) = path.split_once('/')?;
        // A group has a dot in its name, a resource has none; services keep two kinds apart.
        let (resource, rest) = match first {
            "services" => {
                let (kind, name) = rest.split_once('/')?;
                (path.get(..first.len() + 1 + kind.len())?, name)
            }
            group if group.contains('.') => rest.split_once('/')?,
            resource => (resource, rest),
        };
        Some(Self { resource, rest })
    }
}

/// How a value is encrypted at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AtRest<'a> {
    /// `aescbc`, `aesgcm`, `secretbox`, `kms`.
    pub(crate) provider: &'a str,
    /// `v1`, `v2`.
    pub(crate) version: &'a str,
    /// The key's name, or the plugin's.
    pub(crate) name: &'a str,
}

/// Longest name of a key that is believed.
const MAX_NAME: usize = 253;

impl<'a> AtRest<'a> {
    /// Reads `k8s:enc:<provider>:<version>:<name>:`; `None` for a value that does not begin so.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        let rest = value.strip_prefix(b"k8s:enc:")?;
        let mut parts = rest.splitn(4, |byte| *byte == b':');
        let mut part = || {
            let text = std::str::from_utf8(parts.next()?).ok()?;
            let plain =
                !text.is_empty() && text.len() <= MAX_NAME && !text.contains(char::is_control);
            plain.then_some(text)
        };
        let (provider, version, name) = (part()?, part()?, part()?);
        parts.next()?;
        Some(Self { provider, version, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_their_resource() {
        let cases = [
            ("/registry/pods/default/web-1", "pods", "default/web-1"),
            ("/registry/minions/node-1", "minions", "node-1"),
            (
                "/registry/services/endpoints/default/kubernetes",
                "services/endpoints",
                "default/kubernetes",
            ),
            ("/registry/apiregistration.k8s.io/apiservices/v1.apps", "apiservices", "v1.apps"),
            ("/registry/leases/kube-node-lease/node-1", "leases", "kube-node-lease/node-1"),
            ("kubernetes.io/secrets/ns/s", "secrets", "ns/s"),
        ];
        for (key, resource, rest) in cases {
            assert_eq!(
                ObjectKey::parse(key.as_bytes()),
                Some(ObjectKey { resource, rest }),
                "{key}"
            );
        }
        for key in [
            "compact_rev_key",
            "/registry/health",
            "/registry",
            "",
            "/other/pods/a/b",
            "/registry/a.b/c",
        ] {
            assert_eq!(ObjectKey::parse(key.as_bytes()), None, "{key}");
        }
        assert_eq!(ObjectKey::parse(b"/registry/pods/\xff"), None);
    }

    #[test]
    fn encrypted_values_name_their_key() {
        let parse = |text: &str| {
            AtRest::parse(text.as_bytes())
                .map(|a| format!("{}:{}:{}", a.provider, a.version, a.name))
        };
        assert_eq!(parse("k8s:enc:aescbc:v1:key1:\u{1}\u{2}").as_deref(), Some("aescbc:v1:key1"));
        assert_eq!(parse("k8s:enc:kms:v2:vault::").as_deref(), Some("kms:v2:vault"));
        for text in ["k8s:enc:", "k8s:enc:aescbc:v1:key1", "k8s:enc:a:v1:\n:x", "k8s\0", "{}", ""] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
