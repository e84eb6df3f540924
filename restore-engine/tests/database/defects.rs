//! One planted defect for each code of the structural check.

use std::io::Cursor;

use etcdr_restore_engine::Error;
use etcdr_restore_engine::bolt::page::{FREELIST, Header};
use etcdr_restore_engine::bolt::writer::Writer;
use etcdr_restore_engine::bolt::{Db, Meta};
use etcdr_restore_engine::check::structure;
use etcdr_schemas::{Hidden, ReadAt};

use crate::support::victim::{COUNT, FIRST, FLAGS, OVERFLOW, PAGE, Victim};
use crate::support::{build, codes, findings};

#[test]
fn metas() {
    Victim::new().put(1, 30, &[1]).shows("bolt.meta.invalid");
    Victim::new().put(0, FLAGS, &[2]).shows("bolt.meta.header");
    Victim::new().put(0, 30, &[1]).put(1, 30, &[1]).refused_as("bolt.meta.invalid");
    Victim::new().metas(|meta| Meta { root: 1, ..meta }).refused_as("bolt.meta.root");
    Victim::new()
        .metas(|meta| Meta { freelist: Some(meta.high_water_mark), ..meta })
        .refused_as("bolt.meta.freelist");
    let high = |meta: Meta| Meta { high_water_mark: meta.high_water_mark + 1, ..meta };
    Victim::new().metas(high).refused_as("bolt.meta.high-water-mark");
    let mut short = Victim::new();
    short.bytes.truncate(PAGE + 900);
    short.refused_as("bolt.meta.size");
}

#[test]
fn headers_of_pages() {
    let leaf = Victim::new().leaf();
    Victim::new().put(leaf, 0, &[0xee]).shows("bolt.page.id");
    Victim::new().put(leaf, FLAGS, &[FREELIST.to_le_bytes()[0]]).shows("bolt.page.kind");
    Victim::new().put(leaf, OVERFLOW, &[0xff]).shows("bolt.page.overflow");
    Victim::new().put(leaf, COUNT, &[0, 0]).shows("bolt.page.empty");
    Victim::new().put(leaf, COUNT, &[0xff, 0]).shows("bolt.element.bounds");
    // A leaf that claims its neighbour as overflow shares it with the tree.
    Victim::new().put(leaf, OVERFLOW, &[1]).shows("bolt.page.shared");
}

#[test]
fn children_of_branches() {
    let victim = Victim::new();
    let (branch, leaf) = victim.lowest();
    let (high, child) = (victim.meta().high_water_mark, FIRST + 8);
    victim.put(branch, child, &high.to_le_bytes()).shows("bolt.page.range");
    Victim::new().put(branch, child, &leaf.to_le_bytes()).shows("bolt.page.shared");
    Victim::new().put(branch, child, &branch.to_le_bytes()).shows("bolt.page.shared");
    Victim::new().put(branch, COUNT, &[0, 0]).shows("bolt.page.empty");
    Victim::new().put(branch, FIRST + 4, &[0, 0, 0, 0]).shows("bolt.key.size");
}

#[test]
fn elements_of_leaves() {
    let leaf = Victim::new().leaf();
    Victim::new().put(leaf, FIRST, &[2]).shows("bolt.element.flags");
    Victim::new().put(leaf, FIRST, &[1]).shows("bolt.bucket.nested");
    Victim::new().put(leaf, FIRST + 4, &[0, 0, 1, 0]).shows("bolt.element.bounds");
    Victim::new().put(leaf, FIRST + 8, &[0, 0, 0, 0]).shows("bolt.key.size");
    Victim::new().put(leaf, FIRST + 12, &[0, 0, 1, 0]).shows("bolt.element.bounds");
    Victim::new().put_key(leaf, 1, 8, b"-").shows("etcd.key.malformed");
}

#[test]
fn order_of_keys() {
    let victim = Victim::new();
    let (branch, leaf) = victim.lowest();
    let last = victim.node(leaf).count() - 1;
    victim.put_key(leaf, 1, 6, &[9]).shows("bolt.key.order");
    Victim::new().put_key(leaf, 0, 6, &[0, 0]).shows("bolt.key.parent");
    Victim::new().put_key(leaf, last, 0, &[1]).shows("bolt.key.next");
    Victim::new().put_key(branch, 1, 0, &[1]).shows("bolt.key.order");
}

#[test]
fn names_of_buckets() {
    let root = Victim::new().meta().root;
    Victim::new().put(root, FIRST, &[0]).shows("bolt.bucket.plain");
    Victim::new().put(root, FIRST, &[4]).shows("bolt.element.flags");
    Victim::new().put(root, FIRST + 12, &[15, 0, 0, 0]).shows("bolt.bucket.header");
    let names: Vec<_> = (0..1025).map(|n| format!("b{n:04}").into_bytes()).collect();
    let buckets: Vec<_> = names.iter().map(|name| (name.as_slice(), vec![])).collect();
    assert!(codes(&build(4096, &buckets)).contains(&"bolt.bucket.count".to_owned()));
}

#[test]
fn inline_buckets_are_looked_into() {
    let victim = Victim::new();
    // The key of the only row of bucket `auth` loses its length.
    let root = victim.meta().root;
    let at = victim.page(root).windows(12).position(|w| w == b"authRevision").unwrap();
    victim.put(root, at - 8, &[0, 0, 0, 0]).shows("bolt.key.size");
}

#[test]
fn freelists() {
    let spare = Victim::new().meta().high_water_mark;
    let leaf = Victim::new().leaf();
    let found = findings(&Victim::new().spare(2).freelist(&[spare, spare + 1]).bytes);
    assert_eq!(found, []);
    Victim::new().spare(2).freelist(&[spare]).shows("bolt.page.unreachable");
    Victim::new().spare(1).freelist(&[spare, spare]).shows("bolt.freelist.duplicate");
    Victim::new().spare(2).freelist(&[spare + 1, spare]).shows("bolt.freelist.order");
    Victim::new().freelist(&[leaf]).shows("bolt.freelist.reachable");
    Victim::new().freelist(&[spare + 9]).shows("bolt.freelist.range");
    Victim::new().freelist(&[]).put(spare, COUNT, &[0xf0, 0]).shows("bolt.freelist.count");
    // The long form: the first entry is the count.
    let long = |ids: &[u64]| Victim::new().spare(1).freelist(ids).put(spare + 1, COUNT, &[0xff; 2]);
    assert_eq!(findings(&long(&[1, spare]).bytes), []);
    long(&[0, spare]).shows("bolt.page.unreachable");
    long(&[1 << 60, spare]).shows("bolt.freelist.count");
}

#[test]
fn many_findings_are_counted_not_listed() {
    let victim = Victim::new().spare(300).freelist(&[]);
    let found = findings(&victim.bytes);
    assert_eq!(found.len(), 101);
    assert_eq!(found[100].code, "bolt.findings.more");
    assert_eq!(found[100].message, "200 more findings are not listed");
}

#[test]
fn a_finding_says_where_and_the_rest_is_still_checked() {
    let victim = Victim::new();
    let (branch, leaf) = victim.lowest();
    let other = victim.node(branch).child(2).unwrap().child;
    let found = findings(&victim.put(leaf, 0, &[0xee]).put(other, FLAGS, &[0x10]).bytes);
    let places: Vec<_> = found.iter().map(|finding| finding.place.clone()).collect();
    let place = |page: u64| format!("page {page} (byte {}), bucket key", page * PAGE as u64);
    assert_eq!(places, [place(leaf), place(other)]);
}

/// Branches with one child each, deeper than any tree.
#[test]
fn depth() {
    let mut writer = Writer::create(Cursor::new(Vec::new()), 1024).unwrap();
    writer.bucket(b"key").unwrap();
    let mut victim = Victim { bytes: writer.finish().unwrap().into_inner() };
    let first = victim.meta().high_water_mark;
    for id in first..first + 70 {
        let header = Header { id, flags: 1, count: 1, overflow: 0 };
        let mut page = header.encode().to_vec();
        page.extend_from_slice(&[16, 0, 0, 0, 3, 0, 0, 0]);
        page.extend_from_slice(&(id + 1).to_le_bytes());
        page.extend_from_slice(b"key");
        page.resize(PAGE, 0);
        victim.bytes.extend_from_slice(&page);
    }
    let root = victim.meta().root;
    let mut leaf = victim.page(root).to_vec();
    leaf[..8].copy_from_slice(&(first + 70).to_le_bytes());
    victim.bytes.extend_from_slice(&leaf);
    let victim = victim.metas(|meta| Meta { root: first, high_water_mark: first + 71, ..meta });
    let db = Db::open(victim.bytes.clone()).unwrap();
    assert!(matches!(db.buckets(), Err(Error::Page { .. })));
    victim.shows("bolt.page.depth");
}

/// A small database in a huge file of zeros.
struct Sparse(Vec<u8>, u64);

impl ReadAt for Sparse {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        for (at, byte) in (offset..).zip(buf) {
            *byte = usize::try_from(at).ok().and_then(|at| self.0.get(at)).copied().unwrap_or(0);
        }
        Ok(())
    }
}

#[test]
fn pages_larger_than_etcd_writes_are_not_read() {
    let victim = Victim::new();
    let (leaf, pages) = (victim.leaf(), 1u64 << 20);
    let overflow = u32::try_from(pages / 2).unwrap().to_le_bytes();
    let victim = victim.put(leaf, OVERFLOW, &overflow);
    let victim = victim.metas(|meta| Meta { high_water_mark: pages, ..meta });
    let db = Db::open(Sparse(victim.bytes, pages * PAGE as u64)).unwrap();
    let found = structure::check(&db, &Hidden).unwrap();
    assert!(found.iter().any(|finding| finding.code == "bolt.page.size"), "{found:?}");
}
