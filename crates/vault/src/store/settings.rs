//! Settings of the stores, built and validated by the configuration.

use std::path::PathBuf;
use std::time::Duration;

/// Retention and maximum size of a vault in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryLimits {
    /// Retention from the time an object was written; `None` keeps objects forever.
    pub retention: Option<Duration>,
    /// Limit of all files together, bytes; `None` means the disk's size.
    pub max_size: Option<u64>,
}

/// Settings of an S3 store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Settings {
    /// Bucket of all objects except keys.
    pub bucket: String,
    pub key_bucket: String,
    /// Prefix of all names, without leading or trailing slash; may be empty.
    pub prefix: String,
    pub region: String,
    /// Address of the server, if it is not AWS.
    pub endpoint: Option<String>,
    /// Whether URLs have the form `endpoint/bucket/key`.
    pub force_path_style: bool,
    /// Object Lock of new objects, if any.
    pub lock: Option<ObjectLock>,
    /// PEM certificates to trust.
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectLock {
    /// Mode of all objects except keys, which are always under governance so that they can be erased.
    pub mode: LockMode,
    pub retention: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// The lock can't be removed by anyone.
    Compliance,
    /// The lock can be removed with a special permission.
    Governance,
}
