//! Configuration of the stores, and their settings. Settings that come from a configuration are valid: names need no
//! escaping, and S3 has an explicit lock mode. Neighbour: `kinds` lists the stores.

use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{ByteSize, FieldProblem, TimeSpan};
use pipeline::OnFullAction;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aws::server_address_problem;
use crate::object_names::is_plain_name;

/// Shortest retention allowed in compliance mode.
const MIN_COMPLIANCE_RETENTION: Duration = Duration::from_secs(90 * 86_400);
/// Longest retention allowed, because a typing error in a locked retention cannot be undone.
const MAX_RETENTION: Duration = Duration::from_secs(3660 * 86_400);

/// Retention and maximum size of a vault in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryLimits {
    /// Retention from the time an object was written; `None` keeps objects forever.
    pub retention: Option<Duration>,
    /// Limit of all files together, bytes; `None` means the disk's size.
    pub max_size: Option<u64>,
    /// What happens at `max_size`.
    pub on_full: OnFullAction,
}

impl DirectoryLimits {
    /// The size from which on the oldest content expires.
    pub(super) fn expires_beyond(&self) -> Option<u64> {
        self.max_size.filter(|_| self.on_full == OnFullAction::Expire)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectorySettings {
    pub path: PathBuf,
    /// Retention and maximum size.
    pub limits: DirectoryLimits,
}

/// Settings of an S3 store, as in [`S3Config`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Settings {
    pub bucket: String,
    pub key_bucket: String,
    /// Prefix of all names, without leading or trailing slash; may be empty.
    pub prefix: String,
    pub region: String,
    pub endpoint: Option<String>,
    pub force_path_style: bool,
    pub lock: Option<ObjectLock>,
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

/// A store in a folder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a path, or a map of `path`, `retention`, `max_size` and `on_full`")]
pub enum DirectoryConfig {
    /// Path of the folder. Everything is kept.
    Path(PathBuf),
    /// A folder with a retention or a size limit.
    Kept(DirectoryOptions),
}

/// A store in a folder with a retention or a size limit.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectoryOptions {
    /// Path of the folder.
    pub path: PathBuf,
    /// Removes objects older than this, `1d` at the least. Digests, session lines and objects on hold are never
    /// removed. Default: nothing is removed.
    #[serde(default)]
    pub retention: Option<Retention>,
    /// Maximum size of the folder, the sum of its files. Default: no limit.
    #[serde(default)]
    pub max_size: Option<ByteSize>,
    /// What happens when `max_size` is reached. `refuse` (default): nothing more is written and nothing is removed; the
    /// spool fills up, and clients are asked to retry later. `expire`, for trying out: the oldest content is removed,
    /// whatever its age, as if its `retention` were over; digests declare it.
    #[serde(default)]
    pub on_full: OnFullAction,
}

impl DirectoryConfig {
    pub fn path(&self) -> &Path {
        match self {
            Self::Path(path) | Self::Kept(DirectoryOptions { path, .. }) => path,
        }
    }

    /// The store's settings. `None` after adding a problem.
    pub(super) fn settings(
        &self,
        problems: &mut Vec<FieldProblem>,
        notes: &mut Vec<FieldProblem>,
    ) -> Option<DirectorySettings> {
        let (path, limits) = (self.path().to_owned(), self.limits(problems));
        if limits.on_full == OnFullAction::Expire {
            let note =
                "`expire` removes the oldest content once the folder is full: it is for trying out, not for evidence";
            notes.push(FieldProblem::new("store.directory.on_full", note));
        }
        if path.as_os_str().is_empty() {
            problems.push(FieldProblem::new("store.directory", "is empty"));
            return None;
        }
        Some(DirectorySettings { path, limits })
    }

    fn limits(&self, problems: &mut Vec<FieldProblem>) -> DirectoryLimits {
        let Self::Kept(options) = self else { return DirectoryLimits::default() };
        let retention = options.retention.map(Retention::span);
        if retention.is_some_and(|retention| retention < Duration::from_secs(86_400)) {
            problems.push(FieldProblem::new("store.directory.retention", "must be at least `1d`"));
        }
        if options.max_size.is_some_and(|size| size.0 < 1 << 20) {
            problems.push(FieldProblem::new("store.directory.max_size", "must be at least 1MiB"));
        }
        if options.on_full == OnFullAction::Expire && options.max_size.is_none() {
            problems.push(FieldProblem::new("store.directory.on_full", "`expire` requires `max_size`"));
        }
        DirectoryLimits { retention, max_size: options.max_size.map(|size| size.0), on_full: options.on_full }
    }
}

kernel::with_defaults! {
    /// An S3 store.
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct S3Config {
        /// Bucket for payload and index objects.
        pub bucket: String,
        /// Bucket for the session keys. Erasing a session deletes its key, so this bucket is never in compliance mode.
        pub key_bucket: String,
        /// Prefix of all object names. Default: `agent-sessions`.
        pub prefix: String = "agent-sessions".to_owned(),
        /// AWS region of the buckets.
        pub region: String,
        /// Address of an S3-compatible store other than AWS.
        pub endpoint: Option<String>,
        /// Use `endpoint/bucket/key` instead of `bucket.endpoint/key`. Default: false.
        pub force_path_style: bool,
        /// Object Lock. Required; there is no default.
        pub object_lock: Option<ObjectLockConfig>,
        /// Certificates (PEM) to trust instead of the system's.
        pub ca_file: Option<PathBuf>,
    }
}

/// Object Lock of payload and index objects. Key objects are locked with `governance`, unless the mode is `none`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectLockConfig {
    /// Lock mode: `compliance`, `governance` or `none`.
    pub mode: ObjectLockMode,
    /// How long objects cannot be deleted or replaced after upload: a duration such as `400d`, or `minimum` (90 days),
    /// `ai-act-high-risk` (200 days), `soc2` (400 days).
    #[serde(default)]
    pub retention: Option<Retention>,
}

/// Object Lock modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectLockMode {
    /// Objects cannot be deleted by anyone, not even by the owner of the AWS account.
    Compliance,
    /// Objects can be deleted only with a special permission.
    Governance,
    /// No lock: the store must protect objects in another way.
    None,
}

/// The duration of an object's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected `minimum`, `ai-act-high-risk`, `soc2`, or a duration such as `365d`")]
pub enum Retention {
    /// A named duration.
    Preset(RetentionPreset),
    /// A duration.
    Span(TimeSpan),
}

/// Durations named after the requirement they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetentionPreset {
    /// 90 days: the shortest duration allowed in compliance mode.
    Minimum,
    /// 200 days: the EU AI Act requires at least six months (articles 19 and 26).
    AiActHighRisk,
    /// 400 days: an observation period of one year plus the time of the audit.
    Soc2,
}

impl Retention {
    pub(super) fn span(self) -> Duration {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        match self {
            Self::Preset(RetentionPreset::Minimum) => days(90),
            Self::Preset(RetentionPreset::AiActHighRisk) => days(200),
            Self::Preset(RetentionPreset::Soc2) => days(400),
            Self::Span(span) => span.0,
        }
    }
}

impl S3Config {
    pub(super) fn settings(
        &self,
        problems: &mut Vec<FieldProblem>,
        notes: &mut Vec<FieldProblem>,
    ) -> Option<S3Settings> {
        let earlier_problems = problems.len();
        let mut add = |key: &str, problem: &str| problems.push(FieldProblem::new(format!("store.s3.{key}"), problem));
        let (content, keys) = (
            "is missing: write the bucket for content, such as `bucket: acme-evidence`",
            "is missing: write a second bucket for session keys, such as `key_bucket: acme-evidence-keys`",
        );
        for (key, bucket, missing) in [("bucket", &self.bucket, content), ("key_bucket", &self.key_bucket, keys)] {
            if bucket.is_empty() {
                add(key, missing);
            } else if !is_bucket_name(bucket) {
                add(key, "must be a bucket name: 3 to 63 lower-case letters, digits, `.`, `-` or `_`");
            }
        }
        if self.region.is_empty() {
            add("region", "is missing: write the region of the buckets, such as `region: eu-central-1`");
        }
        let prefix = self.prefix.trim_matches('/');
        if prefix.len() > 200 || !prefix.split('/').all(|part| prefix.is_empty() || is_plain_name(part)) {
            add("prefix", "must be at most 200 letters, digits, `.`, `_`, `-`, in parts separated by `/`");
        }
        if let Some(problem) = self.endpoint.as_deref().and_then(server_address_problem) {
            add("endpoint", &problem);
        }
        let lock = lock_settings(self.object_lock.as_ref(), problems, notes);
        if self.bucket == self.key_bucket {
            let risk = "equals `bucket`: a retention or policy on payload also locks keys, so no session can be erased; \
                        use a separate bucket for keys";
            notes.push(FieldProblem::new("store.s3.key_bucket", risk));
        }
        (problems.len() == earlier_problems).then(|| S3Settings {
            bucket: self.bucket.clone(),
            key_bucket: self.key_bucket.clone(),
            prefix: prefix.to_owned(),
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            force_path_style: self.force_path_style,
            lock,
            ca_file: self.ca_file.clone(),
        })
    }
}

fn lock_settings(
    lock: Option<&ObjectLockConfig>,
    problems: &mut Vec<FieldProblem>,
    notes: &mut Vec<FieldProblem>,
) -> Option<ObjectLock> {
    const PATH: &str = "store.s3.object_lock";
    let Some(lock) = lock else {
        let problem = "is missing (no default); set `{ mode: compliance, retention: 400d }`, `governance`, or `none`";
        problems.push(FieldProblem::new(PATH, problem));
        return None;
    };
    let mode = match lock.mode {
        ObjectLockMode::None => {
            notes.push(FieldProblem::new(PATH, "`none`: anyone who can write to the bucket can delete the evidence"));
            return None;
        }
        ObjectLockMode::Compliance => LockMode::Compliance,
        ObjectLockMode::Governance => LockMode::Governance,
    };
    let path = format!("{PATH}.retention");
    let Some(retention) = lock.retention.map(Retention::span) else {
        problems.push(FieldProblem::new(path, "is missing; set a duration such as `400d`, or `soc2`"));
        return None;
    };
    if mode == LockMode::Compliance && retention < MIN_COMPLIANCE_RETENTION {
        problems.push(FieldProblem::new(path, "must be at least 90d in compliance mode"));
    } else if retention < Duration::from_secs(86_400) || retention > MAX_RETENTION {
        problems.push(FieldProblem::new(path, "must be between 1d and 3660d"));
    }
    Some(ObjectLock { mode, retention })
}

fn is_bucket_name(text: &str) -> bool {
    (3..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte))
}
