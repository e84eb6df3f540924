//! The repository: where snapshots live, and what makes one exist.
//!
//! A snapshot is two objects: an image, which is an age file of zstd frames of exactly the file
//! that `etcdctl snapshot save` writes, and a manifest, which says what the image must be. The
//! manifest is the commit point. It is written last, where there is none, and only a
//! [`ProvenImage`], whose stored bytes were read back and matched, can be described in one; so a
//! stream that was cut, a full disk or a lost part leaves no snapshot behind.
//!
//! ```text
//! write   begin_image -> ImageUpload -> StagedImage -> publish_image -> StoredImage
//!                     -> read_back -> ProvenImage -> commit
//! read    list, resolve, manifest, chain -> open_image -> SealedImage -> chunks | random
//! delete  inventory -> retention::decide -> record_pruned -> delete_snapshot -> sweep
//! ```
//!
//! The layers, in reading order:
//!
//! - [`layout`] builds and parses every key, and nothing else does. The store below it (private)
//!   turns a [`Location`] into an object store with explicit timeouts, retries and limits.
//! - [`image`] writes and reads images. [`Tap`] lets a save see the plain bytes on their way,
//!   [`Spool`] is a local file for a store that is slower than etcd.
//! - `publish` makes an image a snapshot. [`catalog`], [`names`] and [`chain`] find snapshots and
//!   check how they follow one another.
//! - [`inventory`] is everything under a cluster's prefix, usable or not: audits and deletions
//!   decide on it. [`retention`] decides (pure), [`holds`] forbids, [`ledger`] notes what is
//!   deleted on purpose, and [`sweep`] deletes.
//! - [`claims`] lets the store decide which agent takes a tick; [`reports`] keeps what audits
//!   found.
//! - [`keys`] (age) and [`sign`] (minisign) are who may read and whom to trust. [`archive`] opens
//!   the snapshot files that people bring.
//!
//! What always holds:
//!
//! - Manifests, claims, reports and pages of the ledger are created only where there is none, and
//!   never changed: no locks are needed, and no clocks that agree.
//! - What is read is hostile. Sizes are compared before anything is read, the seek table bounds
//!   what an image may unpack to, and the last chunk comes out only after both digests matched.
//! - Queues, parts, listings and retries have limits: memory does not grow with the database.
//! - Deleting is careful. A retention never takes what is held, nor the newest sound snapshot; a
//!   sweep takes nothing that is younger than the grace, and no image that a manifest names or,
//!   because it cannot be read, may name.
//! - Only this crate names object_store, zstd, age and minisign. It knows keys, manifests and
//!   bytes; what is in an etcd database is the restore engine's business.
//!
//! Begin with [`Repository`] and its methods in `publish.rs`.
//!
//! ```
//! use chrono::DateTime;
//! use etcdr_repository::{Location, Repository, SealOptions, StoreOptions};
//! use etcdr_schemas::repository::{FORMAT, RepositoryInfo};
//! use etcdr_schemas::{ClusterName, Revision, SnapshotId};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = DateTime::UNIX_EPOCH;
//! let info = RepositoryInfo {
//!     format: FORMAT,
//!     repository_id: "0".repeat(32),
//!     created_at: now,
//!     recipients: Vec::new(),
//!     unencrypted: true,
//!     extra: serde_json::Map::new(),
//! };
//! let location: Location = "memory:".parse()?;
//! let repository = Repository::init(&location, &StoreOptions::default(), info).await?;
//!
//! let cluster = ClusterName::default();
//! let options = SealOptions::new(None);
//! let mut upload = repository.begin_image(&cluster, options, now, 7, ()).await?;
//! upload.write("the bytes of a snapshot file".into()).await?;
//! let (staged, ()) = upload.finish().await?;
//! let stored = repository.publish_image(staged, &SnapshotId::new(now, Revision(12), 7)).await?;
//! let proven = repository.read_back(&stored).await?;
//!
//! // The image is whole and proven. It is no snapshot yet, because no manifest names it.
//! assert!(repository.list(&cluster).await?.ids.is_empty());
//! repository.discard(proven).await?;
//! # Ok(())
//! # }
//! ```

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

pub use catalog::{Listing, LoadedManifest};
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
pub use inventory::{ClusterObjects, ExaminedManifest, Grace, Inventory, StoredObject};
pub use keys::{Identities, Recipients};
pub use layout::ReportName;
pub use ledger::{Ledger, RecordedDeletions};
pub use names::SnapshotName;
pub use publish::Discard;
pub use reports::StoredReport;
pub use repository::{MAX_SNAPSHOTS, Repository};
pub use sign::{PublicKey, SigningKey};
pub use store::location::{Location, StoreOptions};
pub use sweep::{SweepOptions, Swept};
