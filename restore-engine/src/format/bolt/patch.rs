//! Changing a few rows of a staged database: one copy-on-write transaction behind its end.
//!
//! A large database stays as it is, and a restore writes only the few pages that differ. No
//! existing page is overwritten but the metas: new pages follow the high-water mark, the pages that
//! they replace become free, and no freelist is stored, because etcd rebuilds it when it opens the
//! file. The file must be a staged copy that nobody has opened. A crash midway may leave it
//! useless: the restore then removes the stage and starts again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path;

use super::db::inline_node;
use super::meta::Meta;
use super::page::BUCKET_FLAG;
use super::tree::{PageOut, Tree, TreeBuilder, bucket_value, inline_limit};
use super::window::Window;
use super::writer::write_metas;
use super::{Bucket, Db, Problem, Root};
use crate::disk::local::LocalFile;
use crate::{Error, Result};

/// Page numbers and first keys of the children of a branch.
type Children = Vec<(u64, Vec<u8>)>;
/// Key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Changes to the rows of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    /// Buckets that get new content, in any order of rows; no rows make an empty bucket. Missing
    /// buckets are created.
    pub replace: BTreeMap<Vec<u8>, Vec<Row>>,
    /// Rows that go behind the last row of their bucket: bucket, key, value.
    pub append: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>,
    /// Rows that go between those of their bucket, which is written anew. A row of the same key
    /// gives way.
    pub insert: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>,
}

/// Carries out `patch` on the file at `path`, and cuts the file to the length of its database. The
/// result is the new meta; syncing the file is left to the caller.
///
/// # Errors
/// When the file is damaged, cannot be written, or the rows cannot be: empty or repeated keys, or
/// appended ones that are not above those that exist. The file is useless after an error.
pub fn apply(path: &Path, patch: &Patch) -> Result<Meta> {
    let local = |action| move |source| Error::Local { action, path: path.to_path_buf(), source };
    let db = Db::open(LocalFile::open(path)?)?;
    let mut file = OpenOptions::new().write(true).open(path).map_err(local("open"))?;
    // A raw copy may have grown past its high-water mark. What is there is no page of the database,
    // so it may be overwritten.
    file.seek(SeekFrom::Start(db.size())).map_err(local("seek in"))?;

    let out = BufWriter::with_capacity(1 << 16, file);
    let out = PageOut::new(out, db.page_size(), db.meta().high_water_mark);
    let mut job = Job { db: &db, patch, out };
    let root = job.run()?;

    let high_water_mark = job.out.next();
    let txid = db.meta().txid.checked_add(1).ok_or(Error::NotBolt { problem: Problem::NoMeta })?;
    let page_size = db.page_size();
    // A stored freelist would name the pages of the old transaction. Without one bbolt walks the
    // trees when it opens the file and finds the replaced pages free.
    let meta = Meta { page_size, root, freelist: None, high_water_mark, txid };
    let file = job.out.into_inner().into_inner();
    let mut file: File = file.map_err(|error| local("write")(error.into_error()))?;
    // Both metas get the new root. If one kept the old root, a reader that falls back to it would
    // see the members and the revision of the lost cluster.
    write_metas(&mut file, &meta)?;
    let size = meta.database_size().ok_or(Error::NotBolt { problem: Problem::NoMeta })?;
    // A snapshot has its digest behind the database, a raw copy may have grown: both are cut off.
    file.set_len(size).map_err(local("cut"))?;
    Ok(meta)
}

struct Job<'a> {
    db: &'a Db<LocalFile>,
    patch: &'a Patch,
    out: PageOut<BufWriter<File>>,
}

impl Job<'_> {
    /// Writes all changed buckets and a new bucket of buckets; returns the number of its root page.
    fn run(&mut self) -> Result<u64> {
        let mut existing: BTreeMap<Vec<u8>, Bucket> = BTreeMap::new();
        for bucket in self.db.buckets()? {
            existing.insert(bucket.name.clone(), bucket);
        }
        let appended = self.patch.append.iter().map(|(name, ..)| name);
        let names = existing.keys().chain(self.patch.replace.keys()).chain(appended).cloned();
        let names: BTreeSet<Vec<u8>> = names.chain(self.patch.insert.keys().cloned()).collect();
        let mut root = TreeBuilder::default();
        for name in names {
            let tree = self.tree(&name, existing.remove(&name))?;
            let value = bucket_value(&tree);
            root.push(&mut self.out, BUCKET_FLAG, &name, &value)
                .map_err(|error| error.in_bucket(&name))?;
        }
        // 0 bytes: the bucket of buckets is the root that the meta names, and so never inline.
        match root.finish(&mut self.out, 0)? {
            Tree::Page(root) => Ok(root),
            Tree::Inline(_) => Err(Error::NotBolt { problem: Problem::Root(0) }),
        }
    }

    /// The new tree of one bucket; the old one when it does not change.
    fn tree(&mut self, name: &[u8], old: Option<Bucket>) -> Result<Tree> {
        let mut append: Vec<(&[u8], &[u8])> = Vec::new();
        for (bucket, key, value) in &self.patch.append {
            if bucket == name {
                append.push((key, value));
            }
        }
        let mut tree = TreeBuilder::default();
        match (self.patch.replace.get(name), old) {
            (None, old) if self.patch.insert.contains_key(name) => {
                self.merge(&mut tree, name, old.as_ref())?;
            }
            (Some(rows), _) => {
                let mut rows: Vec<&Row> = rows.iter().collect();
                rows.sort();
                append.splice(0..0, rows.iter().map(|(key, value)| (&key[..], &value[..])));
            }
            (None, Some(old)) if append.is_empty() => {
                return Ok(match old.root {
                    Root::Page(id) => Tree::Page(id),
                    Root::Inline { image, .. } => Tree::Inline(image),
                });
            }
            // Appended rows only touch the right edge of the tree. Bucket `key` may have gigabytes,
            // and gets one row when the revision is raised.
            (None, Some(old)) => self.continue_tree(&mut tree, &old)?,
            (None, None) => {}
        }
        for (key, value) in append {
            tree.push(&mut self.out, 0, key, value).map_err(|error| error.in_bucket(name))?;
        }
        let limit = inline_limit(self.out.page_size());
        tree.finish(&mut self.out, limit)
    }

    /// Gives `tree` the rows of `old` and the inserted ones, in key order. An inserted row replaces
    /// the old one of its key.
    fn merge(&mut self, tree: &mut TreeBuilder, name: &[u8], old: Option<&Bucket>) -> Result<()> {
        let Some(insert) = self.patch.insert.get(name) else { return Ok(()) };
        let mut insert = insert.iter().peekable();
        let out = &mut self.out;
        let mut push = |key: &[u8], value: &[u8]| {
            tree.push(out, 0, key, value).map_err(|error| error.in_bucket(name))
        };
        if let Some(old) = old {
            self.db.scan(old, &mut |key, value| {
                while let Some((new, value)) = insert.next_if(|(new, _)| new.as_slice() < key) {
                    push(new, value)?;
                }
                match insert.next_if(|(new, _)| new.as_slice() == key) {
                    Some((_, value)) => push(key, value)?,
                    None => push(key, value)?,
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        insert.try_for_each(|(key, value)| push(key, value))
    }

    /// Sets `tree` up to continue `bucket` behind its last row, without reading the other leaves.
    fn continue_tree(&mut self, tree: &mut TreeBuilder, bucket: &Bucket) -> Result<()> {
        let root = match &bucket.root {
            Root::Page(root) => *root,
            Root::Inline { page, image } => {
                let damaged = |problem| self.db.damaged(*page, problem);
                for row in inline_node(image).map_err(damaged)?.rows() {
                    let row = row.map_err(damaged)?;
                    tree.push(&mut self.out, row.flags, row.key, row.value)
                        .map_err(|error| error.in_bucket(&bucket.name))?;
                }
                return Ok(());
            }
        };
        let Some((last, _)) = self.db.last(bucket)? else { return Ok(()) };
        let (first, mut edge) = self.right_edge(root)?;
        if edge.is_empty() {
            edge.push(vec![(root, first)]);
        }
        // `edge` has the root first and the parents of leaves last. The last child of each branch
        // but the lowest is dropped: the builder writes that child again, with the new rows below
        // it.
        let height = edge.len();
        for (depth, mut children) in edge.into_iter().enumerate() {
            let level = height - depth;
            if level > 1 {
                children.pop();
            }
            for (child, key) in children {
                tree.link(&mut self.out, level, child, &key)?;
            }
        }
        tree.resume_after(last);
        Ok(())
    }

    /// The children of each branch on the way to the last leaf, root first, and the first key of
    /// that leaf.
    fn right_edge(&self, root: u64) -> Result<(Vec<u8>, Vec<Children>)> {
        let mut window = Window::default();
        let mut edge = Vec::new();
        let mut id = root;
        while edge.len() < super::page::MAX_DEPTH as usize {
            let damaged = |problem| self.db.damaged(id, problem);
            let node = self.db.try_load(&mut window, id, 0)?.map_err(damaged)?;
            if node.is_leaf() {
                return Ok((node.row(0).map_err(damaged)?.key.to_vec(), edge));
            }
            let children = node.children().map(|c| c.map(|c| (c.child, c.key.to_vec())));
            let children: Vec<_> = children.collect::<Result<_, _>>().map_err(damaged)?;
            id = children.last().map(|(child, _)| *child).ok_or(damaged(Problem::Empty))?;
            edge.push(children);
        }
        Err(self.db.damaged(id, Problem::Depth(super::page::MAX_DEPTH)))
    }
}
