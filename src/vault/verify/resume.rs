//! **What**: what a run that ended early had verified. **Invariants**: taken up again only where the digest then is the
//! digest now, byte for byte; without payload read the same way, nothing is taken up. **Not here**: verifying.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files;
use crate::vault::chain::tree::Frontier;
use crate::vault::read::ReadError;
use crate::vault::row::Row;

use super::Counts;

/// Digests between two savings.
const EVERY: u64 = 64;

/// Where one epoch stands.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Stand {
    /// The last digest that was judged and found right.
    pub(super) n: u64,
    /// Its hash.
    pub(super) sha256: String,
    pub(super) tree: Frontier,
    pub(super) gaps: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    v: u8,
    counts: Counts,
    epochs: BTreeMap<String, Stand>,
    /// Lines of erasures that were verified: what they say is needed by every run.
    #[serde(default)]
    erasures: Vec<Row>,
}

/// See the module.
pub(super) struct Resume {
    path: Option<PathBuf>,
    kept: Kept,
    since: u64,
}

impl Resume {
    /// Reads the file, if there is one.
    pub(super) fn read(path: Option<&Path>) -> Result<Self, ReadError> {
        let mut resume = Self { path: path.map(Path::to_path_buf), kept: Kept::default(), since: 0 };
        if let Some(path) = path {
            match std::fs::read(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(format!("can't read {}: {error}", path.display())),
                Ok(bytes) => {
                    let kept: Option<Kept> = serde_json::from_slice(&bytes).ok();
                    let none = || format!("{} is no file of an earlier verification", path.display());
                    resume.kept = kept.filter(|kept| kept.v == 1).ok_or_else(none)?;
                }
            }
        }
        resume.kept.v = 1;
        Ok(resume)
    }

    pub(super) fn counts(&self) -> Counts {
        self.kept.counts.clone()
    }

    /// Lines of erasures that earlier runs verified.
    pub(super) fn erasures(&self) -> &[Row] {
        &self.kept.erasures
    }

    pub(super) fn stand(&self, folder: &str) -> Option<&Stand> {
        self.kept.epochs.get(folder)
    }

    /// Everything up to here holds.
    pub(super) fn keep(
        &mut self,
        folder: &str,
        stand: Stand,
        told: Vec<Row>,
        counts: &Counts,
        now: bool,
    ) -> Result<(), ReadError> {
        let Some(path) = &self.path else { return Ok(()) };
        self.kept.erasures.extend(told);
        self.kept.epochs.insert(folder.to_owned(), stand);
        self.kept.counts = counts.clone();
        self.since += 1;
        if self.since < EVERY && !now {
            return Ok(());
        }
        self.since = 0;
        let bytes = serde_json::to_vec(&self.kept).unwrap_or_default(); // numbers and strings: can't fail
        files::replace(path, &bytes).map_err(|error| format!("can't write {}: {error}", path.display()))
    }
}
