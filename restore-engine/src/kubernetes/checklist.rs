//! What a person must check after a Kubernetes control plane starts on a restored store: an ordered
//! list, with what this store says about each step.

use std::collections::BTreeMap;

use etcdr_schemas::report::{CheckStep, EncryptionKey, KubernetesFacts};

use super::{Encoding, ObjectKey, encoding};

/// Most keys of encryption at rest that are counted separately; clusters have a handful.
const MAX_KEYS: usize = 1000;

/// Gathers the facts from the rows that are live.
#[derive(Debug, Default)]
pub(crate) struct ChecklistFacts {
    objects: BTreeMap<&'static str, u64>,
    keys: BTreeMap<(String, String), u64>,
}

impl ChecklistFacts {
    /// Takes one live key and its value.
    pub(crate) fn row(&mut self, key: &[u8], value: &[u8]) {
        if let Some(object) = ObjectKey::parse(key)
            && let Some(name) = counted(&object)
        {
            *self.objects.entry(name).or_default() += 1;
        }
        // Other encodings would be parsed to their end, and their result is not used here.
        if !value.starts_with(b"k8s:enc:") {
            return;
        }
        if let Encoding::Encrypted { provider, key } = encoding(value) {
            let key = (provider.to_owned(), key.to_owned());
            if self.keys.len() < MAX_KEYS || self.keys.contains_key(&key) {
                *self.keys.entry(key).or_default() += 1;
            }
        }
    }

    pub(crate) fn facts(self) -> KubernetesFacts {
        let key = |((provider, key), values)| EncryptionKey { provider, key, values };
        KubernetesFacts {
            objects: self
                .objects
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            encryption_keys: self.keys.into_iter().map(key).collect(),
        }
    }
}

/// Under which name an object is counted; `None` for what no step asks about.
fn counted(object: &ObjectKey<'_>) -> Option<&'static str> {
    Some(match object.resource {
        "nodes" => "nodes",
        "pods" => "pods",
        "events" => "events",
        "leases" if object.namespace == Some("kube-node-lease") => "node leases",
        "validatingwebhookconfigurations" | "mutatingwebhookconfigurations" => "webhooks",
        "apiservices" => "apiservices",
        "persistentvolumes" => "persistentvolumes",
        "volumeattachments" => "volumeattachments",
        "certificatesigningrequests" => "certificatesigningrequests",
        "secrets" if object.name.starts_with("bootstrap-token-") => "bootstrap tokens",
        _ => return None,
    })
}

/// The list: general in a plan, with figures in a receipt.
pub(crate) fn checklist(facts: Option<&KubernetesFacts>, raised: bool) -> Vec<CheckStep> {
    let count = Count(facts);
    let mut steps = vec![at_rest(facts), control_plane(raised)];
    steps.extend([
        step(
            "Check that API servers and tokens are trusted",
            "Certificates and the key that signs service account tokens are not in etcd. With \
             other ones every pod's token is refused.",
            &["kubectl get --raw /readyz?verbose", "kubectl auth whoami"],
        ),
        step(
            "Look at webhooks before anything else is written",
            &format!(
                "{}A webhook whose pods do not run yet can refuse every write, the start of its \
                 own pods included.",
                count.of("webhooks")
            ),
            &["kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations"],
        ),
        step(
            "Look at aggregated APIs",
            &format!(
                "{}Those whose servers are gone keep namespaces from being deleted.",
                count.of("apiservices")
            ),
            &["kubectl get apiservices | grep -v True"],
        ),
        step(
            "Compare nodes with the machines that exist",
            &format!(
                "{}{}Nodes that were removed since the snapshot are back and their pods wait for \
                 them; machines that joined since must join again.",
                count.of("nodes"),
                count.of("node leases")
            ),
            &["kubectl get nodes -o wide", "kubectl delete node NAME"],
        ),
        step(
            "Look for pods on nodes that are gone",
            &format!(
                "{}Pods that were deleted or moved since the snapshot are believed to run where \
                 they ran then.",
                count.of("pods")
            ),
            &[
                "kubectl get pods -A -o wide --field-selector spec.nodeName=NAME",
                "kubectl delete pod -n NAMESPACE NAME --force --grace-period=0",
            ],
        ),
        step(
            "Compare volumes and load balancers with what the provider has",
            &format!(
                "{}{}What was made since the snapshot is not known any more and is neither used \
                 nor removed.",
                count.of("persistentvolumes"),
                count.of("volumeattachments")
            ),
            &[
                "kubectl get persistentvolumes",
                "kubectl get volumeattachments",
                "kubectl get services -A | grep LoadBalancer",
            ],
        ),
    ]);
    steps.extend(housekeeping(&count));
    steps
}

fn housekeeping(count: &Count<'_>) -> [CheckStep; 4] {
    [
        step(
            "Look at tokens and requests that have expired",
            &format!("{}{}", count.of("bootstrap tokens"), count.of("certificatesigningrequests")),
            &["kubeadm token list", "kubectl get certificatesigningrequests"],
        ),
        step(
            "Check that only living API servers are endpoints",
            "Entries of API servers were left out and each one that lives has written its own \
             again.",
            &["kubectl get endpointslices -n default -l kubernetes.io/service-name=kubernetes"],
        ),
        step(
            "Expect one failed compaction",
            "compact_rev_key holds a revision from before the restore. API servers meet an error \
             at their next compaction, read it again and go on by themselves.",
            &["etcdctl get compact_rev_key"],
        ),
        step(
            "Know what was kept",
            &format!(
                "{}Node leases are renewed by kubelets within seconds and events expire by \
                 themselves an hour after the start. To leave them out, restore with \
                 --exclude-prefix /registry/events/ or --exclude-prefix \
                 /registry/leases/kube-node-lease/.",
                count.of("events")
            ),
            &[],
        ),
    ]
}

fn at_rest(facts: Option<&KubernetesFacts>) -> CheckStep {
    let keys = facts.map(|facts| facts.encryption_keys.as_slice());
    let why = match keys {
        None => "Values that are encrypted at rest name their key; the receipt lists those \
                 that are needed."
            .to_owned(),
        Some([]) => "No value is encrypted at rest.".to_owned(),
        Some(keys) => {
            let key = |key: &EncryptionKey| {
                format!("{} {} ({} values)", key.provider, key.key, key.values)
            };
            let keys: Vec<_> = keys.iter().map(key).collect();
            format!(
                "This store is useless without these keys, which are not in it: {}.",
                keys.join(", ")
            )
        }
    };
    step(
        "Before API servers start: have the keys of encryption at rest in place",
        &why,
        &["grep encryption-provider-config /etc/kubernetes/manifests/kube-apiserver.yaml"],
    )
}

fn control_plane(raised: bool) -> CheckStep {
    let why = if raised {
        "Their caches hold a later state than the store has now. The revision was raised, so that \
         watches are refused and lists are made anew; a restart makes sure."
    } else {
        "Their caches hold a later state than the store has now, and the revision was not raised: \
         without a restart they act on what is not there any more and wait in silence for what \
         never comes."
    };
    step(
        "Restart API servers, controller managers, schedulers, kubelets and operators",
        why,
        &["systemctl restart kubelet", "kubectl rollout restart deployment -n NAMESPACE OPERATOR"],
    )
}

fn step(title: &str, why: &str, commands: &[&str]) -> CheckStep {
    CheckStep {
        title: title.to_owned(),
        why: why.trim_end().to_owned(),
        commands: commands.iter().map(|&command| command.to_owned()).collect(),
    }
}

/// Says how many there are, once that is known.
struct Count<'a>(Option<&'a KubernetesFacts>);

impl Count<'_> {
    fn of(&self, what: &str) -> String {
        match self.0 {
            Some(facts) => {
                format!("{} {what}. ", facts.objects.get(what).copied().unwrap_or_default())
            }
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_from_live_rows() {
        let mut live = ChecklistFacts::default();
        for (key, value) in [
            ("/registry/minions/n1", "k8s\0"),
            ("/registry/minions/n2", "k8s\0"),
            ("/registry/secrets/a/b", "k8s:enc:kms:v2:key2:xxx"),
            ("/registry/secrets/a/c", "k8s:enc:kms:v2:key1:xxx"),
            ("/registry/secrets/kube-system/bootstrap-token-abcdef", "k8s:enc:kms:v2:key1:xxx"),
            ("/registry/leases/kube-node-lease/n1", ""),
            ("/registry/leases/kube-system/kube-scheduler", ""),
            ("compact_rev_key", "12"),
        ] {
            live.row(key.as_bytes(), value.as_bytes());
        }
        let facts = live.facts();
        let objects: Vec<_> =
            facts.objects.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        assert_eq!(objects, [("bootstrap tokens", 1), ("node leases", 1), ("nodes", 2)]);
        let keys: Vec<_> =
            facts.encryption_keys.iter().map(|key| (key.key.as_str(), key.values)).collect();
        assert_eq!(keys, [("key1", 2), ("key2", 1)]);
        let list = checklist(Some(&facts), true);
        assert!(list[0].why.contains("useless without") && list[0].why.contains("key1 (2 values)"));
        assert!(list.iter().any(|step| step.why.starts_with("2 nodes. 1 node leases.")));
        // In a plan the same steps stand in the same order.
        let titles =
            |list: &[CheckStep]| list.iter().map(|step| step.title.clone()).collect::<Vec<_>>();
        assert_eq!(titles(&list), titles(&checklist(None, false)));
        assert!(checklist(None, false)[1].why.contains("not raised"));
    }

    #[test]
    fn hostile_names_do_not_pile_up() {
        let mut live = ChecklistFacts::default();
        for number in 0..3 * MAX_KEYS {
            live.row(b"x", format!("k8s:enc:kms:v2:key-{number}:x").as_bytes());
        }
        assert_eq!(live.facts().encryption_keys.len(), MAX_KEYS);
    }
}
