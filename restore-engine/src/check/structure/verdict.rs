//! Level `structure` of an image: what the check of its pages found, and the facts beside it.

use etcdr_schemas::report::{Finding, Severity};
use etcdr_schemas::{Progress, ReadAt};

use super::check_on;
use crate::check::error_finding::error_finding;
use crate::error::Result;
use crate::format::bolt::Db;
use crate::format::facts::{self, ImageFacts};

/// What the check of a database's structure found.
#[derive(Debug, Clone)]
pub struct Structure {
    /// What the image says of itself, when it can be read.
    pub facts: Option<ImageFacts>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Level `structure`: the page graph of an image, and that etcd's own records in it can be read.
///
/// # Errors
/// [`Error::Read`] when the medium fails.
pub fn structure<R: ReadAt>(image: R, progress: &dyn Progress) -> Result<Structure> {
    structure_with(image, 1, progress)
}

/// [`structure`] on `workers` threads.
///
/// # Errors
/// See [`structure`].
pub fn structure_with<R: ReadAt>(
    image: R,
    workers: usize,
    progress: &dyn Progress,
) -> Result<Structure> {
    let mut structure = Structure { facts: None, findings: Vec::new() };
    let db = match Db::open(image) {
        Ok(db) => db,
        Err(error) => {
            structure.findings.push(error_finding(error)?);
            return Ok(structure);
        }
    };
    let findings = check_on(&db, workers, progress)?;
    Structure::of(&db, findings)
}

impl Structure {
    /// The findings of the structural check, and the facts of the image.
    pub(crate) fn of<R: ReadAt>(db: &Db<R>, findings: Vec<Finding>) -> Result<Self> {
        let mut structure = Self { facts: None, findings };
        match facts::facts(db) {
            Ok(facts) => structure.facts = Some(facts),
            // The findings of the page graph already say why the facts cannot be read.
            Err(error) if !structure.is_damaged() => structure.findings.push(error_finding(error)?),
            Err(_) => {}
        }
        Ok(structure)
    }

    /// Whether anything says damage.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Damage)
    }
}
