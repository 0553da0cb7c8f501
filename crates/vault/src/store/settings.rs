//! **What**: where and how S3 objects are written. **Invariants**: made by the configuration, valid.

use std::path::PathBuf;
use std::time::Duration;

/// An S3 store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Settings {
    /// Bucket of payload and index objects.
    pub bucket: String,
    /// Bucket of key objects.
    pub key_bucket: String,
    /// Start of all names, without slashes at its ends; may be empty.
    pub prefix: String,
    /// Region.
    pub region: String,
    /// Address, if it is not AWS.
    pub endpoint: Option<String>,
    /// `endpoint/bucket/key`.
    pub force_path_style: bool,
    /// Object Lock, if any.
    pub lock: Option<Lock>,
    /// PEM certificates to trust.
    pub ca_file: Option<PathBuf>,
}

/// Object Lock of a new object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Mode of payload and index objects; keys are always under governance, so that they can be erased.
    pub mode: LockMode,
    /// From the upload on.
    pub retention: Duration,
}

/// Object Lock modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Can't be undone by anyone.
    Compliance,
    /// Can be undone with a special permission.
    Governance,
}
