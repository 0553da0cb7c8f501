//! **What**: what a run that ended early had verified. **Why**: a vault of years is not read twice because a connection
//! broke. **Invariants**: taken up again only by a run that asks for the same, and where the digest then is the digest
//! now, byte for byte; a run that came to its end leaves no positions, so that the next one reads everything anew;
//! digests that were found right stay in mind for every later run. **Not here**: verifying.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::ReadError;
use kernel::files;
use vault::chain::tree::Frontier;
use vault::row::Row;

use super::options::Options;
use super::report::Counts;

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
    /// When the first line up to it arrived, nanoseconds since 1970.
    #[serde(default)]
    pub(super) arrived: Option<u64>,
    /// Fragments up to it that no key opened.
    #[serde(default)]
    pub(super) unread: u64,
    /// Fragments up to it whose keys expired.
    #[serde(default)]
    pub(super) expired: u64,
}

/// A digest that a run found right.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) n: u64,
    pub(super) sha256: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    v: u8,
    /// What was asked for: positions of a run that looked at less, or for something else, are none.
    #[serde(default)]
    asked: String,
    /// The latest moment before which a run let things be gone.
    #[serde(default)]
    expired: Option<String>,
    counts: Counts,
    epochs: BTreeMap<String, Stand>,
    /// The newest digest of each epoch that any run found right.
    #[serde(default)]
    seen: BTreeMap<String, Seen>,
    /// Lines of erasures that were verified: what they say is needed by every run.
    #[serde(default)]
    erasures: Vec<Row>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Resume {
    path: Option<PathBuf>,
    kept: Kept,
    since: u64,
    goes_on: bool,
}

/// What a run looks at, as a hash: all that positions depend on but [`Options::expired`].
fn asked(options: &Options, keys_listed: bool) -> String {
    let mut keys: Vec<String> = options.keys.iter().map(ToString::to_string).collect();
    let mut auditors: Vec<String> = options.auditors.iter().map(|one| one.to_public().to_string()).collect();
    keys.sort_unstable();
    auditors.sort_unstable();
    let what = (&options.account, &options.writer, &options.from, &options.to, options.no_payload, keys_listed);
    let text = serde_json::to_vec(&(what, keys, auditors)).unwrap_or_default(); // strings: can't fail
    kernel::hex::encode(&Sha256::digest(text))
}

impl Resume {
    /// Reads the file, if there is one. `keys_listed`: the run knows which session keys are there.
    pub(super) fn read(options: &Options, keys_listed: bool) -> Result<Self, ReadError> {
        let path = options.resume.as_deref();
        let mut kept = path.map(read).transpose()?.flatten().unwrap_or_default();
        let asked = asked(options, keys_listed);
        // what may be gone today could be gone yesterday only if yesterday's run let it
        if kept.asked != asked || kept.expired > options.expired {
            kept = Kept { seen: kept.seen, ..Kept::default() };
        }
        (kept.v, kept.asked, kept.expired) = (1, asked, options.expired.clone());
        let goes_on = !kept.epochs.is_empty();
        Ok(Self { path: path.map(Path::to_path_buf), kept, since: 0, goes_on })
    }

    pub(super) fn counts(&self) -> Counts {
        self.kept.counts.clone()
    }

    /// Whether an earlier run's work is taken up.
    pub(super) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Lines of erasures that earlier runs verified.
    pub(super) fn erasures(&self) -> &[Row] {
        &self.kept.erasures
    }

    pub(super) fn stand(&self, folder: &str) -> Option<&Stand> {
        self.kept.epochs.get(folder)
    }

    /// Digests that any run found right, by the folders of their epochs.
    pub(super) fn seen(&self) -> BTreeMap<String, Seen> {
        self.kept.seen.clone()
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
        if self.path.is_none() {
            return Ok(());
        }
        self.kept.erasures.extend(told);
        let seen = self.kept.seen.get(folder).is_some_and(|seen| seen.n >= stand.n);
        if !seen {
            self.kept.seen.insert(folder.to_owned(), Seen { n: stand.n, sha256: stand.sha256.clone() });
        }
        self.kept.epochs.insert(folder.to_owned(), stand);
        self.kept.counts = counts.clone();
        self.since += 1;
        if self.since < EVERY && !now { Ok(()) } else { self.save() }
    }

    /// The run came to its end: what it found is told, and the next one begins anew.
    pub(super) fn end(&mut self) -> Result<(), ReadError> {
        self.kept = Kept { v: 1, seen: std::mem::take(&mut self.kept.seen), ..Kept::default() };
        self.save()
    }

    fn save(&mut self) -> Result<(), ReadError> {
        let Some(path) = &self.path else { return Ok(()) };
        self.since = 0;
        let bytes = serde_json::to_vec(&self.kept).unwrap_or_default(); // numbers and strings: can't fail
        files::replace(path, &bytes)
            .map_err(|error| ReadError::of_io(&error, format!("can't write {}: {error}", path.display())))
    }
}

fn read(path: &Path) -> Result<Option<Kept>, ReadError> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::of_io(&error, format!("can't read {}: {error}", path.display()))),
        Ok(bytes) => bytes,
    };
    let kept: Option<Kept> = serde_json::from_slice(&bytes).ok();
    let none = || ReadError::invalid(format!("{} is no file of an earlier verification", path.display()));
    kept.filter(|kept| kept.v == 1).map(Some).ok_or_else(none)
}
