//! Bounded fuzzing of the repository's parsers; the same bodies run under libFuzzer in `fuzz`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../../fuzz/bodies/archive.rs"]
mod archive;
#[macro_use]
#[path = "../../fuzz/bounded.rs"]
mod bounded;
#[path = "../../fuzz/bodies/image.rs"]
mod image;
#[path = "../../fuzz/bodies/names.rs"]
mod names;

mod support;

use std::path::Path;
use std::sync::Arc;

use bounded::nothing_to_fix;
use etcdr_repository::{Identities, Recipients, SealOptions};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use support::{Keys, init, noise, save, text};

targets! {
    archive: archive::fix, 2000;
    image: image::fix, 1000;
    names: nothing_to_fix, 10_000;
}

/// What a repository stores of these bytes, with what its manifest says of it.
async fn sealed(data: &[u8], recipients: Option<Recipients>) -> Vec<u8> {
    let (store, keys) = (Arc::new(InMemory::new()), Keys::new());
    let repository = init(store.clone(), &keys).await;
    let options = SealOptions { level: 1, workers: 1, ..SealOptions::new(recipients) };
    let image = save(&repository, 1, data, options, None).await.unwrap().image;
    let object = store.get(&object_store::path::Path::from(image.key.as_str())).await.unwrap();
    image::input(&image, &object.bytes().await.unwrap())
}

/// The images of the corpus are what they should be: all of them opens. `ETCDR_BLESS=1` makes them
/// anew.
#[test]
fn the_corpus_of_images_opens() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let identities = Identities::parse(image::IDENTITY, "fuzz").unwrap();
    assert!(!identities.is_empty());
    if std::env::var_os("ETCDR_BLESS").is_some() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/image");
        std::fs::create_dir_all(&dir).unwrap();
        let public = Recipients::parse(&[image::RECIPIENT]).unwrap();
        for (name, data, recipients) in [
            ("plain-text", text(3000), None),
            ("plain-noise", noise(2000, 1), None),
            ("sealed-text", text(3000), Some(public)),
        ] {
            let input = runtime.block_on(sealed(&data, recipients));
            std::fs::write(dir.join(name), input).unwrap();
        }
    }
    let corpus = bounded::corpus("image");
    assert!(corpus.len() >= 3);
    for (number, input) in corpus.iter().enumerate() {
        assert!(image::read(input).is_some_and(|size| size >= 2000), "number {number}");
    }
}
