//! The repository: where snapshots live, and what makes one exist.
//!
//! A snapshot is two objects: an image, which is an age file of zstd frames of exactly the file
//! that `etcdctl snapshot save` writes, and a manifest, which says what the image must be. The
//! manifest is the commit point. It is written last, where there is none, and only a
//! [`ProvenImage`], whose stored bytes were read back and matched, can be described in one; so a
//! stream that was cut, a full disk or a lost part leaves no snapshot behind.
//!
//! ```text
//! begin_image -> ImageUpload -> StagedImage -> publish_image -> StoredImage
//!             -> read_back -> ProvenImage -> commit
//! list, resolve, manifest, chain -> open_image -> SealedImage -> chunks | random
//! ```
//! Reading trusts nothing: sizes are compared before anything is read, the seek table bounds what
//! an image may unpack to, and the last chunk comes out only after both digests matched.
//!
//! This crate is the only one that names object_store, zstd, age and minisign. It knows keys,
//! manifests and bytes; what is in an etcd database is the restore engine's business.

pub mod layout;
mod store;

mod repository;

mod bridge;
mod buffers;
pub mod image;
mod publish;

pub mod archive;

pub mod catalog;
pub mod chain;
pub mod claims;
pub mod inventory;
pub mod names;
pub mod reports;

pub mod holds;
pub mod ledger;
pub mod retention;
pub mod sweep;

pub mod keys;
pub mod sign;

mod error;
mod files;

pub use catalog::{Listing, Loaded};
pub use chain::Chain;
pub use claims::{Claim, Slot};
pub use error::{BoxError, Error, Result, StoreFault};
pub use holds::HoldState;
pub use image::chunks::PlainChunks;
pub use image::random::RandomImage;
pub use image::seal::Tap;
pub use image::sealed_image::SealedImage;
pub use image::spool::Spool;
pub use image::{ImageUpload, ProvenImage, SealOptions, StagedImage, StoredImage};
pub use inventory::{ClusterObjects, Examined, Grace, Inventory, StoredObject};
pub use keys::{Identities, Recipients};
pub use layout::ReportName;
pub use ledger::{Ledger, Recorded};
pub use names::SnapshotName;
pub use publish::Discard;
pub use reports::StoredReport;
pub use repository::{MAX_SNAPSHOTS, Repository};
pub use sign::{PublicKey, SigningKey};
pub use store::location::{Location, StoreOptions};
pub use sweep::{SweepOptions, Swept};
