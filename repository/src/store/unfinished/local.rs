//! A local directory: the store writes beside an object, into a file whose name ends with `#` and a
//! number, and renames last. Listings leave such files out.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path as File;

use chrono::{DateTime, Utc};
use object_store::path::Path;

use super::{MAX_LISTED, Upload};
use crate::error::{Error, Result};

/// Deepest folder of the format under a cluster's: `claims/<schedule>/<tick>/`.
const DEPTH: usize = 4;

/// All under a folder of the repository in `root`. A folder that is not there has none.
pub(super) fn list(root: &File, folder: &File) -> Result<Vec<Upload>> {
    let mut found = Vec::new();
    walk(root, folder, DEPTH, &mut found)
        .map_err(|source| failed("list", folder.display(), source))?;
    Ok(found)
}

/// Removes the file of one upload.
pub(super) fn remove(root: &File, upload: &Upload) -> Result<()> {
    let path = root.join(format!("{}#{}", upload.key, upload.id));
    fs::remove_file(path).map_err(|source| failed("delete", &upload.key, source))
}

/// An error of the system as one of the store, so that it gets the same [`crate::StoreFault`].
fn failed(operation: &'static str, key: impl std::fmt::Display, source: io::Error) -> Error {
    let key = key.to_string();
    let source = match source.kind() {
        io::ErrorKind::NotFound => {
            object_store::Error::NotFound { path: key.clone(), source: source.into() }
        }
        _ => object_store::Error::Generic { store: "LocalFileSystem", source: source.into() },
    };
    Error::store(operation, key, source)
}

fn walk(root: &File, folder: &File, depth: usize, found: &mut Vec<Upload>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        // The store has removed it together with its last object.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if found.len() == MAX_LISTED {
            return Ok(());
        }
        if depth > 0 && entry.file_type()?.is_dir() {
            walk(root, &entry.path(), depth - 1, found)?;
        } else {
            found.extend(upload(root, &entry)?);
        }
    }
    Ok(())
}

/// `None` for whatever is no such file, or is gone by now.
fn upload(root: &File, entry: &DirEntry) -> io::Result<Option<Upload>> {
    let path = entry.path();
    let name = path.strip_prefix(root).ok().and_then(File::to_str);
    let Some((key, id)) = name.and_then(|name| name.rsplit_once('#')) else { return Ok(None) };
    let numbered = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let (Ok(key), true) = (Path::parse(key), numbered) else { return Ok(None) };
    // Of the entry itself: a link is not followed.
    let meta = match entry.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta?,
    };
    if !meta.is_file() {
        return Ok(None);
    }
    let at = DateTime::<Utc>::from(meta.modified()?);
    Ok(Some(Upload { key, id: id.to_owned(), at, size: meta.len() }))
}
