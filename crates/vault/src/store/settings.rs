//! Settings of the S3 store, built and validated by the configuration.

use std::path::PathBuf;
use std::time::Duration;

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
