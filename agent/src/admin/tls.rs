//! Certificate files of the admin interface.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::Error;

/// Bytes of one PEM file.
const MAX_PEM: u64 = 1 << 20;

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_PEM + 1).read_to_end(&mut bytes));
    let good =
        bytes.len() as u64 <= MAX_PEM && bytes.windows(11).any(|part| part == b"-----BEGIN ");
    let read = read.and_then(|_| match good {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "not a PEM file")),
    });
    read.map_err(|source| Error::File { path: path.to_owned(), source })?;
    Ok(bytes)
}
