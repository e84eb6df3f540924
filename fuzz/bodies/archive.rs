//! Bytes as a file that somebody brings: plain, packed, or in an archive.

use etcdr_repository::{Identities, archive};

/// Most bytes that are unpacked from one input.
const LIMIT: usize = 64 << 20;

/// The bytes are unpacked, or there is an error; a plain file stays as it is.
pub(crate) fn run(data: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), data).expect("a file");
    let plain = archive::is_plain(file.path()).expect("the file is there");
    let identities = Identities::parse(super::image::IDENTITY, "fuzz").expect("an identity");
    for opened in [archive::open(file.path()), archive::open_with(file.path(), &identities)] {
        let Ok(chunks) = opened else {
            assert!(!plain, "a plain file is refused");
            continue;
        };
        let (mut count, mut same, mut failed) = (0, true, false);
        for chunk in chunks {
            let Ok(chunk) = chunk else {
                failed = true;
                break;
            };
            same &= data.get(count..count + chunk.len()) == Some(&chunk[..]);
            count += chunk.len();
            if count > LIMIT {
                break;
            }
        }
        assert!(!plain || same && count == data.len() && !failed, "a plain file is changed");
    }
}

/// Repairs the checksums of tar headers.
#[allow(clippy::ptr_arg, reason = "others change the length")]
pub(crate) fn fix(data: &mut Vec<u8>) {
    for header in data.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
