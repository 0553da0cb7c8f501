//! Saves the progress of a run, so that an interrupted verification of a large vault can be resumed.
//!
//! Progress is used only by a run with the same options, and only if the digest at its end is unchanged, byte for byte.
//! A run that completed leaves no positions, so the next one reads everything again. Digests found valid are remembered
//! for all later runs.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{ReadError, Result};
use kernel::files;
use kernel::sha256::Sha256;
use vault::chain::tree::Frontier;
use vault::index_row::IndexRow;

use super::options::VerifyOptions;
use super::report::VerifyCounts;

/// Digests between two saves.
const SAVE_INTERVAL: u64 = 64;

/// Position within one epoch.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct EpochProgress {
    /// The last digest that was judged valid.
    pub(super) n: u64,
    /// Its SHA-256, hex.
    pub(super) sha256: String,
    pub(super) tree: Frontier,
    pub(super) gaps: u64,
    /// Arrival of the earliest line up to it, nanoseconds since 1970.
    #[serde(default, rename = "arrived")]
    pub(super) first_arrival: Option<u64>,
    /// Fragments up to it that no key opened.
    #[serde(default, rename = "unread")]
    pub(super) unopened: u64,
    /// Fragments up to it whose keys expired.
    #[serde(default)]
    pub(super) expired: u64,
}

/// A digest that a run found valid.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SeenDigest {
    pub(super) n: u64,
    pub(super) sha256: String,
}

#[derive(Default, Serialize, Deserialize)]
pub(super) struct SavedProgress {
    v: u8,
    /// Hash of the options: positions of a run that checked less, or something else, are not used.
    #[serde(default, rename = "asked")]
    options_hash: String,
    /// The latest time before which a run allowed content to be gone.
    #[serde(default)]
    expired: Option<String>,
    pub(super) counts: VerifyCounts,
    /// Verified positions, by the folders of their epochs.
    pub(super) epochs: BTreeMap<String, EpochProgress>,
    /// The newest digest of each epoch that any run found valid, by the epoch's folder.
    #[serde(default)]
    pub(super) seen: BTreeMap<String, SeenDigest>,
    /// Lines of verified erasures, openings and key copies, which every run needs.
    #[serde(default, rename = "erasures")]
    pub(super) key_lines: Vec<IndexRow>,
}

/// The progress file, if a path is given, and its content.
#[derive(Default)]
pub(super) struct ResumeFile {
    path: Option<PathBuf>,
    pub(super) saved: SavedProgress,
    /// Digests since the last save.
    unsaved: u64,
    pub(super) is_resumed: bool,
}

/// Hash of the options that positions depend on, except [`VerifyOptions::expired`].
fn options_hash(options: &VerifyOptions, keys_listed: bool) -> String {
    let mut keys: Vec<String> = options.keys.iter().map(ToString::to_string).collect();
    let mut auditors: Vec<String> = options.auditors.iter().map(|auditor| auditor.to_public().to_string()).collect();
    keys.sort_unstable();
    auditors.sort_unstable();
    let scope = (&options.account, &options.writer, &options.from, &options.to, options.no_payload, keys_listed);
    let text = serde_json::to_vec(&(scope, keys, auditors)).unwrap_or_default(); // strings: serialising can't fail
    kernel::hex::encode(&Sha256::digest(text))
}

impl ResumeFile {
    /// Reads the file, if it exists. `keys_listed` says whether the run knows the existing session keys.
    pub(super) fn read(options: &VerifyOptions, keys_listed: bool) -> Result<Self> {
        let path = options.resume.as_deref();
        let mut saved = path.map(read_progress).transpose()?.flatten().unwrap_or_default();
        let options_hash = options_hash(options, keys_listed);
        // positions of a run that allowed more content to be gone are not valid for this one
        if saved.options_hash != options_hash || saved.expired > options.expired {
            saved = SavedProgress { seen: saved.seen, ..SavedProgress::default() };
        }
        (saved.v, saved.options_hash, saved.expired) = (1, options_hash, options.expired.clone());
        let is_resumed = !saved.epochs.is_empty();
        Ok(Self { path: path.map(Path::to_path_buf), saved, unsaved: 0, is_resumed })
    }

    /// Saves that everything up to this position is valid.
    pub(super) fn save_position(
        &mut self,
        folder: &str,
        position: EpochProgress,
        key_lines: Vec<IndexRow>,
        counts: &VerifyCounts,
        save_now: bool,
    ) -> Result<()> {
        if self.path.is_none() {
            return Ok(());
        }
        self.saved.key_lines.extend(key_lines);
        if self.saved.seen.get(folder).is_none_or(|seen| seen.n < position.n) {
            self.saved.seen.insert(folder.to_owned(), SeenDigest { n: position.n, sha256: position.sha256.clone() });
        }
        self.saved.epochs.insert(folder.to_owned(), position);
        self.saved.counts = counts.clone();
        self.unsaved += 1;
        if self.unsaved < SAVE_INTERVAL && !save_now { Ok(()) } else { self.save() }
    }

    /// Deletes the positions of a complete run, because the next run starts from the beginning.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.saved = SavedProgress { v: 1, seen: std::mem::take(&mut self.saved.seen), ..SavedProgress::default() };
        self.save()
    }

    fn save(&mut self) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        self.unsaved = 0;
        let bytes = serde_json::to_vec(&self.saved).unwrap_or_default(); // strings and numbers: can't fail
        files::replace_file(path, &bytes)
            .map_err(|error| ReadError::new(format!("can't write {}: {error}", path.display())))
    }
}

fn read_progress(path: &Path) -> Result<Option<SavedProgress>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::new(format!("can't read {}: {error}", path.display()))),
        Ok(bytes) => bytes,
    };
    let saved: Option<SavedProgress> = serde_json::from_slice(&bytes).ok();
    let invalid = || {
        ReadError::new(format!(
            "{} is not a progress file of `vault verify`: give another file, or delete it",
            path.display()
        ))
    };
    saved.filter(|saved| saved.v == 1).map(Some).ok_or_else(invalid)
}
