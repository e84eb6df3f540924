//! The checks of one row of bucket `key` by itself, without the other rows; they run on any thread.

use etcdr_schemas::report::FindingKind;

use super::kinds;
use super::row_findings::RowFindings;
use crate::format::bolt::page::{LeafElement, Node};
use crate::format::bolt::visit::LeafVisitor;
use crate::format::mvcc::{KeyValue, RowKey};
use crate::kubernetes::{Encoding, ObjectKey, encoding};
use crate::scan::fingerprint::Fingerprint;
use crate::scan::leaf::{Extent, LeafRows};
use crate::scan::names::{KnownNames, Limits, Names};
use crate::scan::table::{Numbers, RowFacts};
use crate::{Error, findings};

/// Resources, and prefixes of other keys, that are counted separately.
const MAX_CLASSES: usize = 2048;
/// Namespaces that are counted separately.
const MAX_NAMESPACES: usize = 4096;
/// Keys of encryption that are counted separately.
const MAX_SEALS: usize = 256;
/// Missing leases that are counted separately.
const MAX_DANGLING: usize = 1024;
/// Longest prefix of a key that is no Kubernetes object's.
const MAX_PREFIX: usize = 64;
/// Longest name in bytes: a resource with its group is shorter.
const MAX_NAME: usize = 320;
/// The label of all names that there was no room for.
const OTHER: u16 = u16::MAX;
/// Namespace of what has none.
pub(super) const NO_NAMESPACE: u16 = OTHER - 1;

/// Labels for the encoding of a value.
pub(super) mod form {
    /// Not below a prefix of Kubernetes.
    pub(crate) const NONE: u16 = 0;
    pub(crate) const PROTOBUF: u16 = 1;
    pub(crate) const JSON: u16 = 2;
    pub(crate) const CBOR: u16 = 3;
    pub(crate) const UNKNOWN: u16 = 4;
    /// The first of the encryption keys.
    pub(crate) const SEALED: u16 = 5;
}

/// Labels for the lease of a row.
pub(super) mod lease {
    pub(crate) const NONE: u16 = 0;
    pub(crate) const EXISTS: u16 = 1;
    /// The first of the leases that do not exist.
    pub(crate) const DANGLING: u16 = 2;
}

/// The facts of a row that the check of its key's history needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HistoryFacts {
    pub(super) create: i64,
    pub(super) version: i64,
    pub(super) size: u32,
    pub(super) class: u16,
    pub(super) namespace: u16,
    pub(super) form: u16,
    pub(super) lease: u16,
    /// Whether it is no change of a key: it cannot be read, or only raises the revision.
    pub(super) skip: bool,
}

/// Bits of each label in a table's entry. The labels "none" and "other" are the highest numbers of
/// 16 bits; adding 2 wraps them round to 0 and 1, so that they fit into fewer bits.
const LABELS: [u32; 4] = [12, 13, 9, 11];

impl RowFacts for HistoryFacts {
    fn numbers(self) -> Numbers {
        let Self { create, version, size, class, namespace, form, lease, skip } = self;
        let labels = [class, namespace, form, lease];
        let labels = labels.iter().zip(LABELS).fold(u64::from(skip), |all, (label, bits)| {
            all << bits | u64::from(label.wrapping_add(2))
        });
        Numbers { create, version, size, labels }
    }

    fn of(numbers: Numbers) -> Self {
        let Numbers { create, version, size, mut labels } = numbers;
        let [class, namespace, form, lease] = LABELS;
        let mut label = |bits: u32| {
            let label = u16::try_from(labels & ((1 << bits) - 1)).unwrap_or(OTHER);
            labels >>= bits;
            label.wrapping_sub(2)
        };
        // The last one that went in comes out first.
        let (lease, form, namespace, class) =
            (label(lease), label(form), label(namespace), label(class));
        Self { create, version, size, class, namespace, form, lease, skip: labels == 1 }
    }
}

impl HistoryFacts {
    const NONE: Self = Self {
        create: 0,
        version: 0,
        size: 0,
        class: OTHER,
        namespace: NO_NAMESPACE,
        form: form::NONE,
        lease: lease::NONE,
        skip: false,
    };
    const SKIP: Self = Self { skip: true, ..Self::NONE };
}

/// All names that rows are sorted by.
#[derive(Debug)]
pub(super) struct AllNames {
    /// `pods` or `certificates.cert-manager.io`; prefixes of other keys begin with a space.
    pub(super) classes: Names,
    pub(super) namespaces: Names,
    /// Provider, a space, key.
    pub(super) seals: Names,
    /// Ids in hex.
    pub(super) dangling: Names,
}

impl Default for AllNames {
    fn default() -> Self {
        let names = |names| Names::new(Limits { names, each: MAX_NAME, bytes: usize::MAX });
        Self {
            classes: names(MAX_CLASSES),
            namespaces: names(MAX_NAMESPACES),
            seals: names(MAX_SEALS),
            dangling: names(MAX_DANGLING),
        }
    }
}

/// Checks rows and collects their facts.
pub(super) struct Rows<'a> {
    pub(super) extent: Extent,
    pub(super) names: &'a AllNames,
    /// Ids of leases, in order; `None` when there are too many.
    pub(super) leases: Option<&'a [i64]>,
    /// Findings are collected in the first pass only: later passes read the rows again.
    pub(super) first_pass: bool,
}

/// What is kept of a leaf.
pub(super) struct Leaf {
    pub(super) rows: LeafRows<HistoryFacts>,
    pub(super) row_findings: RowFindings,
}

/// What a thread keeps from leaf to leaf.
#[derive(Default)]
pub(super) struct NameCache {
    classes: KnownNames,
    namespaces: KnownNames,
    seals: KnownNames,
    dangling: KnownNames,
    text: String,
}

impl LeafVisitor for Rows<'_> {
    type ThreadCache = NameCache;
    type Out = Leaf;

    fn leaf(&self, cache: &mut NameCache, page: u64, node: &Node<'_>) -> (Leaf, usize) {
        let damaged = |problem| Error::Page { page, offset: 0, problem };
        let mut row_findings = RowFindings::default();
        let mut facts = |key: RowKey, element: &LeafElement<'_>| {
            let mut report = |kind: FindingKind, message: String| {
                if self.first_pass {
                    row_findings.add(kind, key, || message);
                }
            };
            Ok(self.row(cache, key, element, &mut report))
        };
        let rows = LeafRows::read(node, self.extent, damaged, Some(&mut facts));
        let weight = rows.weight() + row_findings.weight();
        (Leaf { rows, row_findings }, weight)
    }
}

type Report<'a> = dyn FnMut(FindingKind, String) + 'a;

impl Rows<'_> {
    fn row(
        &self,
        cache: &mut NameCache,
        key: RowKey,
        element: &LeafElement<'_>,
        report: &mut Report<'_>,
    ) -> (Fingerprint, HistoryFacts) {
        let Some(kv) = KeyValue::parse(element.value) else {
            report(findings::ROW, "the value is no KeyValue".to_owned());
            return (Fingerprint::of(element.key), HistoryFacts::SKIP);
        };
        let fingerprint = Fingerprint::of(kv.key);
        if element.value.is_empty() && !key.tombstone {
            report(kinds::ROW_BUMP, "the row is empty: it only raises the revision".to_owned());
            return (fingerprint, HistoryFacts::SKIP);
        }
        if kv.key.is_empty() {
            report(kinds::KEY_EMPTY, "the row names no key".to_owned());
            return (fingerprint, HistoryFacts::SKIP);
        }
        if key.tombstone {
            if !kv.is_bare() {
                let message = "the row of a deletion holds more than its key".to_owned();
                report(kinds::TOMBSTONE_SHAPE, message);
            }
            return (fingerprint, HistoryFacts::NONE);
        }
        check_numbers(key, &kv, report);
        (fingerprint, self.facts(cache, &kv))
    }

    fn facts(&self, cache: &mut NameCache, kv: &KeyValue<'_>) -> HistoryFacts {
        let (class, namespace, form) = self.class(cache, kv);
        HistoryFacts {
            create: kv.create_revision.0,
            version: kv.version,
            size: u32::try_from(kv.value.len()).unwrap_or(u32::MAX),
            class,
            namespace,
            form,
            lease: self.lease(cache, kv.lease),
            skip: false,
        }
    }

    fn class(&self, cache: &mut NameCache, kv: &KeyValue<'_>) -> (u16, u16, u16) {
        let names = self.names;
        cache.text.clear();
        let Some(object) = ObjectKey::parse(kv.key) else {
            cache.text.push(' ');
            cache.text.push_str(prefix(kv.key));
            let class = label(&names.classes, &mut cache.classes, &cache.text);
            return (class, NO_NAMESPACE, form::NONE);
        };
        cache.text.push_str(object.resource);
        if let Some(group) = object.group {
            cache.text.push('.');
            cache.text.push_str(group);
        }
        let class = label(&names.classes, &mut cache.classes, &cache.text);
        let namespace = object.namespace.map_or(NO_NAMESPACE, |namespace| {
            label(&names.namespaces, &mut cache.namespaces, namespace)
        });
        let form = match encoding(kv.value) {
            Encoding::Protobuf { .. } => form::PROTOBUF,
            Encoding::Json => form::JSON,
            Encoding::Cbor => form::CBOR,
            Encoding::Unknown { .. } => form::UNKNOWN,
            Encoding::Encrypted { provider, key } => {
                cache.text.clear();
                cache.text.push_str(provider);
                cache.text.push(' ');
                cache.text.push_str(key);
                let seal = label(&names.seals, &mut cache.seals, &cache.text);
                seal.saturating_add(form::SEALED)
            }
        };
        (class, namespace, form)
    }

    fn lease(&self, cache: &mut NameCache, id: i64) -> u16 {
        let exists = |leases: &[i64]| leases.binary_search(&id).is_ok();
        if id == 0 {
            lease::NONE
        } else if self.leases.is_none_or(exists) {
            lease::EXISTS
        } else {
            let number = label(&self.names.dangling, &mut cache.dangling, &format!("{id:x}"));
            number.saturating_add(lease::DANGLING)
        }
    }
}

/// The number of a name, or that of all others.
fn label(names: &Names, known: &mut KnownNames, name: &str) -> u16 {
    let number = names.number(known, name.as_bytes());
    number.and_then(|number| u16::try_from(number).ok()).unwrap_or(OTHER)
}

/// Checks the numbers of one row that puts a key.
fn check_numbers(key: RowKey, kv: &KeyValue<'_>, report: &mut Report<'_>) {
    let (main, create) = (key.main, kv.create_revision);
    if kv.mod_revision != main {
        let message = format!("its value is of revision {}", kv.mod_revision);
        report(kinds::ROW_REVISION, message);
    }
    let version = kv.version;
    let sound = version >= 1 && create.0 >= 1 && create <= main;
    if !sound || (version == 1) != (create == main) {
        let message = format!("version {version} of a key created at {create} cannot be");
        report(kinds::VERSION, message);
    }
}

/// The first part of a path, with the slash behind it; all such keys without one are together.
fn prefix(key: &[u8]) -> &str {
    let head = key.get(..key.len().min(MAX_PREFIX)).unwrap_or_default();
    let skip = usize::from(head.first() == Some(&b'/'));
    let slash = head.iter().skip(skip).position(|byte| *byte == b'/');
    let prefix = slash.and_then(|at| head.get(..=at + skip)).unwrap_or_default();
    std::str::from_utf8(prefix).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_comes_back_from_a_tables_entry() {
        let most = |names: usize, first: u16| first + u16::try_from(names).unwrap();
        let classes = [0, most(MAX_CLASSES, 0), OTHER];
        let namespaces = [0, most(MAX_NAMESPACES, 0), NO_NAMESPACE, OTHER];
        let forms = [form::NONE, most(MAX_SEALS, form::SEALED), OTHER];
        let leases = [lease::NONE, most(MAX_DANGLING, lease::DANGLING), OTHER];
        for class in classes {
            for namespace in namespaces {
                for form in forms {
                    for (lease, skip) in leases.into_iter().zip([false, true, false]) {
                        let (create, version, size) = (7, 3, 100);
                        let facts = HistoryFacts {
                            create,
                            version,
                            size,
                            class,
                            namespace,
                            form,
                            lease,
                            skip,
                        };
                        let numbers = facts.numbers();
                        assert!(numbers.labels < 1 << 46, "{facts:?}");
                        assert_eq!(HistoryFacts::of(numbers), facts);
                    }
                }
            }
        }
    }

    #[test]
    fn other_keys_are_sorted_by_the_first_part_of_their_path() {
        for (key, want) in [
            ("/calico/v1/host", "/calico/"),
            ("calico/host", "calico/"),
            ("compact_rev_key", ""),
            ("/a", ""),
            ("//a", "//"),
            ("", ""),
        ] {
            assert_eq!(prefix(key.as_bytes()), want, "{key}");
        }
        assert_eq!(prefix(b"\xff/x"), "");
        assert_eq!(prefix(&[b'a'; 100]), "");
    }
}
