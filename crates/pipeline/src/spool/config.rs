//! [`SpoolConfig`]: the `spool:` section of the configuration; [`SpoolSettings`]: the valid settings made from it, with
//! at least four segments in `max_size`. The app creates key files.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{ByteSize, FieldProblem};
use kernel::key_source::{KeySource, LazyKey};

use super::key::SpoolKey;

/// Smallest segment that a configuration may give, in bytes. The default for a `max_size` below 1 MiB is smaller.
pub const MIN_SEGMENT: u64 = 64 << 10;
/// Largest segment, in bytes: offsets in a segment are 32 bits wide.
pub const MAX_SEGMENT: u64 = 1 << 30;

kernel::with_defaults! {
    /// The durable queue between the receivers and the vault and exporters.
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct SpoolConfig {
        /// Folder of the spool, on a volume that outlives the process. Each gateway needs its own. Default: `spool` in
        /// the data directory.
        pub directory: Option<PathBuf>,
        /// Maximum size of all spool files together. When it is reached, requests are refused with a retryable error.
        pub max_size: ByteSize = ByteSize(20 << 30),
        /// Size of one spool file, at most a quarter of `max_size`. Default: 64MiB; smaller for a small, larger for a
        /// very large `max_size`.
        pub segment_size: Option<ByteSize>,
        /// Storage for items that back ends refused for good.
        pub quarantine: QuarantineConfig,
        /// Keys that encrypt the spool, 32 bytes as base64 or hex: each a text, `{ kms: … }` or `{ command: […] }`. The
        /// first key encrypts, all of them decrypt. Default: tollgate creates a key file beside the spool.
        pub keys: Vec<KeySource>,
    }
}

/// Storage for items that back ends refused for good. It is a part of the spool.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuarantineConfig {
    /// Maximum size. When it is exceeded, the oldest items are deleted and counted; if the back end accepts no other
    /// data, refused items stay in its exporter's queue instead. Default: a quarter of the spool's `max_size`.
    pub max_size: Option<ByteSize>,
}

impl SpoolConfig {
    /// Checks the values; `fallback` is the directory if none is given.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn settings(&self, fallback: &Path) -> Result<SpoolSettings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let max_size = self.max_size.0;
        if max_size < 4 * MIN_SEGMENT {
            problems.push(FieldProblem::new("max_size", "must be at least 256KiB"));
        }
        let segment_size = match self.segment_size {
            Some(size) if size.0 < MIN_SEGMENT || size.0 > MAX_SEGMENT => {
                problems.push(FieldProblem::new("segment_size", "must be between 64KiB and 1GiB"));
                size.0
            }
            Some(size) if size.0 > max_size / 4 => {
                problems.push(FieldProblem::new("segment_size", "must be at most a quarter of max_size"));
                size.0
            }
            Some(size) => size.0,
            None => SpoolSettings::default_segment(max_size),
        };
        let quarantine = self.quarantine.max_size.map(|size| size.0);
        if quarantine.is_some_and(|size| size == 0 || size > max_size) {
            let problem = "must be more than zero, and at most the spool's max_size";
            problems.push(FieldProblem::new("quarantine.max_size", problem));
        }
        let directory = self.directory.clone().unwrap_or_else(|| fallback.to_owned());
        if directory.as_os_str().is_empty() {
            problems.push(FieldProblem::new("directory", "must not be empty"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let quarantine = quarantine.unwrap_or(SpoolSettings::default_quarantine(max_size));
        Ok(SpoolSettings { segment_size, quarantine, ..SpoolSettings::new(directory, max_size) })
    }

    /// The keys as given, in order; empty if none is given.
    ///
    /// # Errors
    /// One problem for each key that is not 32 bytes of base64 or hex, or that is given twice.
    pub fn spool_keys(&self) -> Result<Vec<LazyKey<SpoolKey>>, Vec<FieldProblem>> {
        let mut keys: Vec<LazyKey<SpoolKey>> = Vec::new();
        let mut problems = Vec::new();
        for (index, source) in self.keys.iter().enumerate() {
            match SpoolKey::from_source(source) {
                Ok(key) if keys.iter().any(|other| is_same_key(other, &key)) => {
                    problems.push(FieldProblem::new(format!("keys[{index}]"), "the same key is listed twice"));
                }
                Ok(key) => keys.push(key),
                Err(problem) => problems.push(FieldProblem::new(format!("keys[{index}]"), problem)),
            }
        }
        if problems.is_empty() { Ok(keys) } else { Err(problems) }
    }
}

/// Whether two entries are one key, as far as that shows before keys are opened.
fn is_same_key(one: &LazyKey<SpoolKey>, other: &LazyKey<SpoolKey>) -> bool {
    match (one.get(), other.get()) {
        (Some(one), Some(other)) => one.id() == other.id(),
        _ => one.source() == other.source() && *one.source() != KeySource::Unknown,
    }
}

/// Settings of the spool, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Folder of the spool.
    pub directory: PathBuf,
    /// Maximum bytes of all files together.
    pub max_size: u64,
    /// Bytes of an ordinary segment.
    pub segment_size: u64,
    /// Maximum bytes of items that back ends refused for good.
    pub quarantine: u64,
    /// Maximum number of records (including internal ones): 16 bytes of memory each.
    pub max_records: u64,
    pub(super) sealing: bool,
}

impl SpoolSettings {
    /// Settings for `directory` with everything else derived from `max_size` (raised to 256 KiB).
    pub fn new(directory: PathBuf, max_size: u64) -> Self {
        let max_size = max_size.max(4 * MIN_SEGMENT);
        let max_records = (max_size / 2048).clamp(1 << 16, 1 << 25);
        let (segment_size, quarantine) = (Self::default_segment(max_size), Self::default_quarantine(max_size));
        Self { directory, max_size, segment_size, quarantine, max_records, sealing: true }
    }

    fn default_quarantine(max_size: u64) -> u64 {
        max_size / 4
    }

    /// Size above which the progress file is rewritten once it has doubled.
    pub(super) fn progress_size(&self) -> u64 {
        (self.max_size / 32).min(4 << 20)
    }

    /// Size of the file that is deleted on a full disk to make room for the progress file.
    pub(super) fn cushion_size(&self) -> u64 {
        (self.max_size / 32).min(1 << 20)
    }

    /// Maximum bytes that are allocated for files. The rest of `max_size` is for a rewrite of the progress file, and
    /// for the cushion.
    pub(super) fn max_allocated(&self) -> u64 {
        self.max_size - 2 * self.progress_size() - self.cushion_size()
    }

    /// A sixteenth of the limit, at most 64 MiB; but, up to 512 GiB, no more than about 512 files, since each is held
    /// open.
    fn default_segment(max_size: u64) -> u64 {
        (max_size / 16).clamp(MIN_SEGMENT / 4, 64 << 20).max(max_size / 512).min(MAX_SEGMENT)
    }

    /// Writes and reads unsealed segments, so that a leak search can prove that it would find something. No
    /// configuration sets this, and a sealed spool refuses segments written this way.
    #[doc(hidden)]
    #[must_use]
    pub fn unsealed_for_self_check(mut self) -> Self {
        self.sealing = false;
        self
    }
}
