//! The counts in the form of the report.

use std::cmp::Reverse;

use etcdr_schemas::report::{
    Breakdown, Contents, Counted, DanglingLease, EncryptionKey, Finding, LeaseSummary, Tally,
};

use super::history::{Counts, Slots};
use super::kinds;
use super::row::{AllNames, form};
use super::small_buckets::SmallBuckets;
use crate::scan::names::Names;

/// Lines of each list.
const LISTED: usize = 200;

/// Puts names to the numbers, and finds which keys of encryption a restored cluster needs.
pub(super) fn contents(
    counts: &mut Counts,
    names: AllNames,
    small_buckets: &SmallBuckets,
    findings: &mut Vec<Finding>,
) -> Contents {
    let forms = std::mem::take(&mut counts.forms);
    let sealed = Slots {
        named: forms.named.get(usize::from(form::SEALED)..).unwrap_or_default().to_vec(),
        other: forms.other,
    };
    let kubernetes = is_kubernetes(&forms);
    let keys = seals(&sealed, &texts(names.seals));
    if kubernetes {
        findings.extend(keys.iter().map(|key| {
            let message = format!("{} values are sealed with it", key.values);
            kinds::KUBERNETES_SEALED.at(format!("k8s:enc:{}:{}", key.provider, key.key), message)
        }));
    } else {
        // Somebody else's keys that look like Kubernetes' need not hold its values.
        counts.row_findings.drop_kind(kinds::KUBERNETES_VALUE);
    }
    let classes = texts(names.classes);
    let (resources, prefixes) = by_class(std::mem::take(&mut counts.classes), &classes);
    let namespaces = named(&counts.namespaces, &texts(names.namespaces));
    Contents {
        live: counts.live,
        kubernetes,
        resources,
        namespaces: breakdown(namespaces, counts.namespaces.other),
        prefixes,
        encodings: encodings(&forms, &sealed),
        encryption_keys: keys,
        leases: leases(counts, &texts(names.dangling), small_buckets),
        auth: small_buckets.auth,
        ..Contents::default()
    }
}

/// Names in order of their numbers; all of them came from text.
fn texts(names: Names) -> Vec<String> {
    let text = |name: Box<[u8]>| String::from_utf8_lossy(&name).into_owned();
    names.into_names().into_iter().map(text).collect()
}

fn count_of(forms: &Slots, number: u16) -> Tally {
    forms.named.get(usize::from(number)).copied().unwrap_or_default()
}

fn total(slots: &Slots) -> Tally {
    let mut total = slots.other;
    slots.named.iter().for_each(|tally| total.add(*tally));
    total
}

/// Kubernetes when at least half of the values that could be its are.
fn is_kubernetes(forms: &Slots) -> bool {
    let unknown = count_of(forms, form::UNKNOWN).keys;
    let all = total(forms).keys.saturating_sub(count_of(forms, form::NONE).keys);
    all > 0 && unknown <= all / 2
}

fn encodings(forms: &Slots, sealed: &Slots) -> Vec<Counted> {
    let rows = [
        ("protobuf", count_of(forms, form::PROTOBUF)),
        ("json", count_of(forms, form::JSON)),
        ("cbor", count_of(forms, form::CBOR)),
        ("encrypted", total(sealed)),
        ("unknown", count_of(forms, form::UNKNOWN)),
    ];
    let present = rows.into_iter().filter(|(_, tally)| tally.keys > 0);
    present.map(|(name, tally)| counted(name.to_owned(), tally)).collect()
}

fn seals(sealed: &Slots, names: &[String]) -> Vec<EncryptionKey> {
    let mut keys: Vec<_> = named(sealed, names)
        .into_iter()
        .filter_map(|seal| {
            let (provider, key) = seal.name.split_once(' ')?;
            let (provider, key) = (provider.to_owned(), key.to_owned());
            Some(EncryptionKey { provider, key, values: seal.keys })
        })
        .collect();
    if sealed.other.keys > 0 {
        let (provider, key) = ("more".to_owned(), "than are listed".to_owned());
        keys.push(EncryptionKey { provider, key, values: sealed.other.keys });
    }
    keys
}

fn by_class(mut classes: Slots, names: &[String]) -> (Breakdown, Breakdown) {
    let other = std::mem::take(&mut classes.other);
    let (mut resources, mut prefixes) = (Vec::new(), Vec::new());
    for class in named(&classes, names) {
        match class.name.strip_prefix(' ') {
            Some(prefix) => prefixes.push(Counted { name: prefix.to_owned(), ..class }),
            None => resources.push(class),
        }
    }
    (breakdown(resources, Tally::default()), breakdown(prefixes, other))
}

fn counted(name: String, Tally { keys, bytes }: Tally) -> Counted {
    Counted { name, keys, bytes }
}

/// Those that are live, most keys first.
fn named(slots: &Slots, names: &[String]) -> Vec<Counted> {
    let live = names.iter().zip(&slots.named).filter(|(_, tally)| tally.keys > 0);
    let mut all: Vec<_> = live.map(|(name, tally)| counted(name.clone(), *tally)).collect();
    all.sort_by(|a, b| (Reverse(a.keys), &a.name).cmp(&(Reverse(b.keys), &b.name)));
    all
}

fn breakdown(mut named: Vec<Counted>, mut other: Tally) -> Breakdown {
    for Counted { keys, bytes, .. } in named.iter().skip(LISTED) {
        other.add(Tally { keys: *keys, bytes: *bytes });
    }
    named.truncate(LISTED);
    Breakdown { named, other }
}

fn leases(counts: &Counts, ids: &[String], small_buckets: &SmallBuckets) -> LeaseSummary {
    let mut dangling = named(&counts.dangling, ids);
    dangling.truncate(LISTED);
    let dangling =
        dangling.into_iter().map(|Counted { name, keys, .. }| DanglingLease { id: name, keys });
    LeaseSummary {
        count: small_buckets.lease_count,
        attached_keys: counts.attached,
        dangling: dangling.collect(),
        dangling_keys: total(&counts.dangling).keys,
    }
}
