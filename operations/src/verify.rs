//! Checks one snapshot or one file level by level, until a level fails.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use etcdr_repository::{Chain, Identities, Repository, archive};
use etcdr_restore_engine::check as engine;
use etcdr_restore_engine::local::LocalFile;
use etcdr_restore_engine::semantic::{self, Examined};
use etcdr_restore_engine::stream::Expected;
use etcdr_schemas::manifest::{Image, Manifest};
use etcdr_schemas::report::{Finding, FindingKind, Level, Severity, Unusable, VerifyReport};
use etcdr_schemas::{ClusterName, Diagnose, ExitCode, Hidden, Progress, ReadAt, SnapshotId};
use tokio::task::spawn_blocking;

pub use error::Error;

mod error;

/// Threads that check a database; more would wait for the same memory.
const MAX_WORKERS: usize = 4;

/// Most pages of the ledger that are reported one by one.
const MAX_UNUSABLE_PAGES: usize = 10;

/// What to do when a level finds damage.
pub const USE_ANOTHER: &str =
    "Take a new snapshot now. To restore, use another one: `etcdr snapshot list`.";

const fn damaged(code: &'static str) -> FindingKind {
    FindingKind { code, severity: Severity::Damage, advice: USE_ANOTHER }
}

/// The manifest cannot be read, or its signature is wrong.
pub const MANIFEST_DAMAGED: FindingKind = damaged("manifest.damaged");
/// The stored object is missing, or not the one that the manifest promises.
pub const OBJECT_DAMAGED: FindingKind = damaged("object.damaged");
/// The object does not open, or holds other bytes than it should.
pub const CONTENT_DAMAGED: FindingKind = damaged("content.damaged");
/// The database in it cannot be read.
pub const STRUCTURE_DAMAGED: FindingKind = damaged("structure.damaged");
/// A manifest that this one follows is gone or was exchanged; this snapshot may still be sound.
pub const CHAIN_BROKEN: FindingKind = FindingKind {
    code: "manifest.chain.broken",
    severity: Severity::Warning,
    advice: "Find out who deleted or changed it. The snapshot itself can be restored if its \
        levels pass.",
};

/// A page of the ledger of deleted snapshots cannot be used: what it says explains no gap.
pub const LEDGER_UNREADABLE: FindingKind = FindingKind {
    code: "ledger.unreadable",
    severity: Severity::Warning,
    advice: "A page of a later version wants a newer etcdr. Otherwise find out who wrote it, and \
        delete it.",
};

/// Kinds of findings that are made here, and not by the engine.
pub const KINDS: [FindingKind; 6] = [
    MANIFEST_DAMAGED,
    OBJECT_DAMAGED,
    CONTENT_DAMAGED,
    STRUCTURE_DAMAGED,
    CHAIN_BROKEN,
    LEDGER_UNREADABLE,
];

/// Verifies one snapshot of a repository up to `level`. Nothing is written to disk. `identities`
/// are used from level `content` on.
///
/// # Errors
/// When the check could not be made: no key, store unreachable. Damage is a finding.
pub async fn snapshot(
    repository: &Repository,
    cluster: &ClusterName,
    id: &SnapshotId,
    level: Level,
    identities: &Identities,
    progress: &Arc<dyn Progress>,
) -> Result<VerifyReport, Error> {
    let mut run = Run::new(id.to_string(), level);
    let loaded = match repository.manifest(cluster, id).await {
        Ok(loaded) => loaded,
        Err(error) => {
            run.note_error(MANIFEST_DAMAGED, Level::Manifest, &id.to_string(), error)?;
            return Ok(run.report);
        }
    };
    run.note(Level::Manifest, chain_findings(repository.chain(&loaded).await?, id));
    image_levels(repository, &loaded.manifest, identities, &mut run, progress).await?;
    Ok(run.report)
}

/// The levels from `object` on for a manifest that was read and believed already. What was found
/// before an error is in the report beside it.
pub async fn image(
    repository: &Repository,
    manifest: &Manifest,
    level: Level,
    identities: &Identities,
    progress: &Arc<dyn Progress>,
) -> (VerifyReport, Result<(), Error>) {
    let mut run = Run::new(manifest.id.to_string(), level);
    run.note(Level::Manifest, Vec::new());
    let outcome = image_levels(repository, manifest, identities, &mut run, progress).await;
    (run.report, outcome)
}

async fn image_levels(
    repository: &Repository,
    manifest: &Manifest,
    identities: &Identities,
    run: &mut Run,
    progress: &Arc<dyn Progress>,
) -> Result<(), Error> {
    run.report.plain_size = Some(manifest.image.plain_size);
    if run.wants(Level::Object) {
        progress.begin("reading the stored object", Some(manifest.image.stored_size));
        match repository.verify_object(&manifest.image, &**progress).await {
            Ok(()) => run.note(Level::Object, Vec::new()),
            Err(error) => {
                run.note_error(OBJECT_DAMAGED, Level::Object, &manifest.image.key, error)?;
            }
        }
        progress.end();
    }
    if run.wants(Level::Content) {
        deep(repository, manifest, identities, run, progress).await?;
    }
    Ok(())
}

fn chain_findings(chain: Chain, id: &SnapshotId) -> Vec<Finding> {
    match chain {
        Chain::First | Chain::Follows(_) | Chain::Pruned(_) => Vec::new(),
        Chain::Broken { unusable_pages } => {
            let message =
                "the manifest that it follows is gone or was changed, and no prune says so";
            let mut found = vec![CHAIN_BROKEN.at(id.to_string(), message)];
            found.extend(unusable_pages.into_iter().take(MAX_UNUSABLE_PAGES).map(unreadable));
            found
        }
    }
}

/// That a page of the ledger cannot be used.
pub(crate) fn unreadable(page: Unusable) -> Finding {
    let reason: String = page.reason.chars().take(400).collect();
    LEDGER_UNREADABLE.at(page.key, reason)
}

/// Levels from `content` on of a stored image.
async fn deep(
    repository: &Repository,
    manifest: &Manifest,
    identities: &Identities,
    run: &mut Run,
    progress: &Arc<dyn Progress>,
) -> Result<(), Error> {
    let image = &manifest.image;
    let sealed = match repository.open_image(image, identities).await {
        Ok(sealed) => sealed,
        Err(error) => return run.note_error(CONTENT_DAMAGED, Level::Content, &image.key, error),
    };
    let (chunks, shown) = (sealed.chunks(), Arc::clone(progress));
    let expected = expected(image);
    let content = spawn_blocking(move || engine::content(chunks, Some(expected), shown.as_ref()));
    match content.await? {
        Ok(content) => run.note(Level::Content, content.findings),
        Err(error) => run.note_error(CONTENT_DAMAGED, Level::Content, &image.key, error)?,
    }
    if run.wants(Level::Structure) {
        let (random, shown) = (sealed.random(), Arc::clone(progress));
        let (level, manifest) = (run.report.level, manifest.clone());
        let examined =
            spawn_blocking(move || examine(random, level, Some(&manifest), shown.as_ref()));
        run.note_examined(examined.await?, &image.key)?;
    }
    Ok(())
}

/// The levels that read a database, up to `level`.
fn examine(
    image: impl ReadAt,
    level: Level,
    manifest: Option<&Manifest>,
    progress: &dyn Progress,
) -> etcdr_restore_engine::Result<Examined> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    if level >= Level::Semantic {
        return semantic::examine(image, manifest, workers, progress);
    }
    let structure = engine::structure_with(image, workers, progress)?;
    Ok(Examined { structure, semantic: None })
}

fn expected(image: &Image) -> Expected {
    Expected {
        size: image.plain_size,
        sha256: image.plain_sha256,
        // The level promises that etcd's own digest was checked.
        by_reader: false,
    }
}

/// Verifies a file from level `content` on: its bytes, which come as `chunks`, then its database.
/// An archive goes to `content` only.
///
/// # Errors
/// As for [`snapshot`].
pub async fn file(
    path: &Path,
    chunks: impl Iterator<Item = io::Result<Bytes>> + Send + 'static,
    level: Level,
    progress: &Arc<dyn Progress>,
) -> Result<VerifyReport, Error> {
    let subject = path.display().to_string();
    let mut run = Run::new(subject.clone(), level.max(Level::Content));
    // The database in a plain file is checked while its bytes are hashed: both mostly wait for the
    // same pages of the file.
    let plain = level >= Level::Structure && archive::is_plain(path)?;
    let examined = if plain { Some(LocalFile::open(path)?) } else { None };
    let examined = examined.map(|file| spawn_blocking(move || examine(file, level, None, &Hidden)));
    let shown = Arc::clone(progress);
    let content = spawn_blocking(move || engine::content(chunks, None, shown.as_ref()));
    match content.await? {
        Ok(content) => {
            run.report.plain_size = Some(content.size);
            run.note(Level::Content, content.findings);
        }
        Err(error) => run.note_error(CONTENT_DAMAGED, Level::Content, &subject, error)?,
    }
    match examined {
        Some(examined) => {
            // When the bytes are wrong, what was found in the database means nothing.
            let examined = examined.await?;
            if run.wants(Level::Structure) {
                run.note_examined(examined, &subject)?;
            }
        }
        None if run.wants(Level::Structure) => return Err(Error::Packed { file: subject }),
        None => {}
    }
    Ok(run.report)
}

/// Runs levels one after the other until one fails.
struct Run {
    report: VerifyReport,
}

impl Run {
    fn new(subject: String, level: Level) -> Self {
        Self {
            report: VerifyReport {
                subject,
                level,
                passed: Vec::new(),
                findings: Vec::new(),
                ok: true,
                revision: None,
                plain_size: None,
                contents: None,
            },
        }
    }

    /// Whether the next level is wanted and everything before it passed.
    fn wants(&self, level: Level) -> bool {
        self.report.ok && level <= self.report.level
    }

    /// Notes the findings of a level: it passed when none says damage.
    fn note(&mut self, level: Level, findings: Vec<Finding>) {
        self.report.ok = findings.iter().all(|finding| finding.severity < Severity::Damage);
        if self.report.ok {
            self.report.passed.push(level);
        }
        self.report.findings.extend(findings);
    }

    fn note_examined(
        &mut self,
        examined: etcdr_restore_engine::Result<Examined>,
        place: &str,
    ) -> Result<(), Error> {
        let Examined { structure, semantic } = match examined {
            Ok(examined) => examined,
            Err(error) => {
                return self.note_error(STRUCTURE_DAMAGED, Level::Structure, place, error);
            }
        };
        self.report.revision = structure.facts.map(|facts| facts.revision);
        self.note(Level::Structure, structure.findings);
        if let Some(semantic) = semantic.filter(|_| self.wants(Level::Semantic)) {
            self.note(Level::Semantic, semantic.findings);
            self.report.contents = semantic.contents;
        }
        Ok(())
    }

    /// Damage becomes a finding; other errors (no key, store unreachable) end the verification,
    /// because they say nothing about the data.
    fn note_error(
        &mut self,
        kind: FindingKind,
        level: Level,
        place: &str,
        error: impl Into<Error>,
    ) -> Result<(), Error> {
        let error = error.into();
        if error.exit_code() != ExitCode::Damaged {
            return Err(error);
        }
        self.note(level, vec![kind.at(place, error.to_string())]);
        Ok(())
    }
}
