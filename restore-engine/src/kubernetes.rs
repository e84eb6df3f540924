//! What Kubernetes keeps in etcd: which object a key names, and how a value is encoded.
//!
//! The API server stores an object under `<prefix>/<resource>/[<namespace>/]<name>`, with the group
//! before the resource for custom and aggregated types, and a few old names (docs/etcd-formats.md
//! 7). Values are the object in a protobuf envelope, as JSON or as CBOR, or encrypted with a prefix
//! that names provider and key.

mod cbor;
mod checklist;
mod value;

pub(crate) use checklist::{ChecklistFacts, checklist};
pub use value::{Encoding, encoding};

/// Prefixes that API servers use: Kubernetes' default, and OpenShift's two.
pub const PREFIXES: [&str; 5] =
    ["/registry/", "/kubernetes.io/", "/openshift.io/", "kubernetes.io/", "openshift.io/"];

/// Where API servers register themselves, each with a lease of seconds. Nobody else writes there,
/// and each server that lives writes its own entry again within seconds.
pub(crate) const MASTER_LEASES: [&str; 2] =
    ["/registry/masterleases/", "/kubernetes.io/masterleases/"];

/// The object that a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectKey<'a> {
    /// The API group, where the key contains it: custom and aggregated types.
    pub group: Option<&'a str>,
    /// The resource, plural, as `kubectl` names it.
    pub resource: &'a str,
    /// The namespace; `None` for an object of the cluster.
    pub namespace: Option<&'a str>,
    /// The object's name.
    pub name: &'a str,
}

impl<'a> ObjectKey<'a> {
    /// Reads a key below one of [`PREFIXES`]; `None` when it names no object.
    #[must_use]
    pub fn parse(key: &'a [u8]) -> Option<Self> {
        PREFIXES.iter().find_map(|prefix| Self::below(prefix, key))
    }

    /// Reads a key below `prefix`, which ends with `/`.
    #[must_use]
    pub fn below(prefix: &str, key: &'a [u8]) -> Option<Self> {
        let path = std::str::from_utf8(key.strip_prefix(prefix.as_bytes())?).ok()?;
        let (first, rest) = path.split_once('/')?;
        let (group, resource, rest) = match first {
            // "services" alone is no resource: its two kinds lie below it.
            "services" => match rest.split_once('/')? {
                ("specs", rest) => (None, "services", rest),
                ("endpoints", rest) => (None, "endpoints", rest),
                _ => return None,
            },
            group if group.contains('.') => {
                let (resource, rest) = rest.split_once('/')?;
                (Some(group), resource, rest)
            }
            resource => (None, modern_name(resource), rest),
        };
        let (namespace, name) = match rest.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, rest),
        };
        let whole = !resource.is_empty() && !name.is_empty() && namespace != Some("");
        whole.then_some(Self { group, resource, namespace, name })
    }

    /// `pods`, or `certificates.cert-manager.io`.
    #[must_use]
    pub fn full_resource(&self) -> String {
        match self.group {
            Some(group) => format!("{}.{group}", self.resource),
            None => self.resource.to_owned(),
        }
    }
}

/// Resources whose keys kept an old name.
fn modern_name(stored: &str) -> &str {
    match stored {
        "minions" => "nodes",
        "controllers" => "replicationcontrollers",
        "ingress" => "ingresses",
        "podsecuritypolicy" => "podsecuritypolicies",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_name_their_objects() {
        let cases: [(&str, &str, Option<&str>, &str); 16] = [
            ("/registry/pods/default/web-1", "pods", Some("default"), "web-1"),
            ("/registry/minions/node-a", "nodes", None, "node-a"),
            ("/registry/namespaces/default", "namespaces", None, "default"),
            ("/registry/services/specs/kube-system/dns", "services", Some("kube-system"), "dns"),
            ("/registry/services/endpoints/a/b", "endpoints", Some("a"), "b"),
            ("/registry/ranges/serviceips", "ranges", None, "serviceips"),
            ("/registry/masterleases/10.0.0.1", "masterleases", None, "10.0.0.1"),
            ("/registry/controllers/a/b", "replicationcontrollers", Some("a"), "b"),
            ("/registry/leases/kube-node-lease/n", "leases", Some("kube-node-lease"), "n"),
            ("/registry/clusterroles/system:node", "clusterroles", None, "system:node"),
            (
                "/registry/cert-manager.io/certificates/web/tls",
                "certificates.cert-manager.io",
                Some("web"),
                "tls",
            ),
            (
                "/registry/apiregistration.k8s.io/apiservices/v1.apps",
                "apiservices.apiregistration.k8s.io",
                None,
                "v1.apps",
            ),
            ("/kubernetes.io/secrets/a/b", "secrets", Some("a"), "b"),
            ("/openshift.io/routes/a/b", "routes", Some("a"), "b"),
            ("openshift.io/routes/a/b", "routes", Some("a"), "b"),
            ("/registry/odd/a/b/c", "odd", Some("a"), "b/c"),
        ];
        for (key, resource, namespace, name) in cases {
            let object = ObjectKey::parse(key.as_bytes()).unwrap_or_else(|| panic!("{key}"));
            assert_eq!(object.full_resource(), resource, "{key}");
            assert_eq!((object.namespace, object.name), (namespace, name), "{key}");
        }
    }

    #[test]
    fn other_keys_name_none() {
        for key in [
            "compact_rev_key",
            "/registry",
            "/registry/",
            "/registry/pods",
            "/registry/pods/",
            "/registry/pods//x",
            "/registry/pods/a/",
            "/registry//a/b",
            "/registry/services/a/b",
            "/registry/group.io/things",
            "/registryx/pods/a/b",
            "/calico/v1/host",
        ] {
            assert_eq!(ObjectKey::parse(key.as_bytes()), None, "{key}");
        }
        assert_eq!(ObjectKey::parse(b"/registry/pods/a/\xff"), None);
        let custom = ObjectKey::below("/k8s/", b"/k8s/pods/a/b").unwrap();
        assert_eq!((custom.resource, custom.namespace), ("pods", Some("a")));
    }

    proptest! {
        #[test]
        fn arbitrary_keys_are_no_trouble(tail: Vec<u8>) {
            let key = [b"/registry/".as_slice(), &tail].concat();
            if let Some(object) = ObjectKey::parse(&key) {
                prop_assert!(!object.name.is_empty() && !object.resource.is_empty());
            }
        }
    }
}
