//! Configuration of the `vault` processor. [`VaultSettings`] is valid by construction: recipients parse, S3 has an
//! explicit lock mode, names need no escaping. Clients are created in `vault/store`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{ByteSize, FieldProblem, TimeSpan};
use genai::{ClosedItemPolicy, StatementPolicy, UnlistedTextPolicy};
use kernel::key_source::{KeyService, KeySource, LazyKey};
use vault::chain::note::{SigningKey, VerifyKey};
use vault::recipients::RecipientPolicy;
use vault::seal::SessionKeyGenerator;
pub use vault::store::kinds::StoreSettings;
use vault::store::settings::{LockMode, ObjectLock, S3Settings};

use super::earlier_agents::EarlierAgents;
use super::item_texts::PrivacyProfile;
use super::options::{
    AgentServices, DirectoryConfig, ForwardPolicy, KmsConfig, Labels, SigningKeyConfig, StoreLayout,
    server_address_problem,
};
use super::recipients::{RecipientsConfig, check_recipients};

/// Shortest retention allowed in compliance mode.
const MIN_COMPLIANCE_RETENTION: Duration = Duration::from_secs(90 * 86_400);
/// Longest retention allowed, because a typing error in a locked retention cannot be undone.
const MAX_RETENTION: Duration = Duration::from_secs(3660 * 86_400);
/// Longest age of an open object, and longest interval between digests.
const MAX_INTERVAL: Duration = Duration::from_secs(3600);

kernel::with_defaults! {
    /// Moves prompts, completions and tool payloads into an encrypted, write-once store and leaves a reference.
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct VaultConfig {
        /// Public keys (`age1…`) of the auditors; two are recommended. Each of them can decrypt everything, unless it
        /// is limited: `{ key: age1…, accounts: [acme], tenants: [red] }`. With `{ threshold: 2, of: [age1…, age1…,
        /// age1…] }` in place of a list, two of the three are needed together.
        pub recipients: RecipientsConfig,
        /// The destination of content: `s3: {…}`, `directory: path`, or `none` (content is dropped).
        pub store: Option<StoreConfig>,
        /// The content left in the telemetry: `nothing`, or `redacted` (the redacted text beside the reference).
        /// Default: `nothing`.
        pub leave: LeftContent = LeftContent::Nothing,
        /// Treatment of text on agents' items under keys that no list names: `text` (one identifier such as
        /// `payments-core` stays, all else is content), `all` (all of it is content), or `keep` (stays, redacted).
        /// Default: `text`.
        pub unlisted: UnlistedTextPolicy = UnlistedTextPolicy::Text,
        /// Keys whose texts stay or go whatever the rules say.
        pub labels: Labels,
        /// How much of the other texts on agents' items is forwarded: `standard` (names that are not sentences and
        /// error texts stay, redacted), or `strict` (only names made of words that other attributes of the item hold;
        /// no error texts, log bodies or text under unlisted keys; numbers under unknown keys are rounded). Default:
        /// `standard`.
        pub privacy: PrivacyProfile = PrivacyProfile::Standard,
        /// Services that are agents', so that all their spans, logs and metrics are closed: `{ services: [name] }`
        /// (`service.name`), or `{ services: all }`. Items of other services are closed if they show an instrumentation
        /// of agents themselves. Default: none.
        pub agents: Option<AgentServices>,
        /// Database statements whose literals go to the vault: `closed` (those on agents' items), or `parsed` (all).
        /// Default: `closed`.
        pub statements: StatementPolicy = StatementPolicy::Closed,
        /// Name of this writer in object names, unique among the gateways of one store. Default: the host name.
        pub writer: Option<String>,
        /// The key that signs digests (`tollgate vault keygen --signing`): the path of its file, `{ kms: … }`, or `{
        /// command: […] }`, which prints the file's text. Default: `signing.key` beside the spool, generated if it is
        /// missing.
        pub signing_key: Option<SigningKeyConfig>,
        /// The older spelling of `signing_key: { kms: … }`: set it if the file in `signing_key` is ciphertext of AWS
        /// KMS.
        pub signing_key_kms: Option<KmsConfig>,
        /// Public keys that sign this vault's chain of erasures (`tollgate vault erase --sign-with`). Digests then name
        /// the latest erasure that was reported to the admin port. Use a separate key for each vault.
        pub erasure_keys: Vec<String>,
        /// When exporters receive telemetry: `committed` (once its content is in the spool, which survives crashes), or
        /// `after_put` (once content and keys are in the store; delayed by `object_age` plus the upload, and for as
        /// long as the store is unavailable). Default: `committed`.
        pub forward: ForwardPolicy = ForwardPolicy::Committed,
        /// How content is arranged in the store: `session` (objects of one session), `packed` (objects of all sessions
        /// of an account: a quarter of the requests, for large fleets), or `turn` (one object per turn: five times the
        /// requests). Default: `session`.
        pub layout: StoreLayout = StoreLayout::Session,
        /// Size at which an object is closed. Default: 1 MiB, packed 8 MiB.
        pub object_size: Option<ByteSize>,
        /// Age at which an object is closed; the end of its session and a shutdown close it too. Default: 2 minutes,
        /// packed 5 seconds.
        pub object_age: Option<TimeSpan>,
        /// Interval between signed digests, which are written together with the index lines they cover. Default: 60s.
        pub index_interval: TimeSpan = TimeSpan::seconds(60),
    }
}

/// The destination of content.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoreConfig {
    /// Content is dropped, and items are marked accordingly.
    None,
    /// A folder: its path, or `{ path: …, retention: 400d, max_size: 100GiB }`.
    Directory(DirectoryConfig),
    /// An S3 bucket with Object Lock.
    S3(S3Config),
}

/// The content left in the telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeftContent {
    /// Only the reference.
    #[default]
    Nothing,
    /// The redacted text, cut to its cap. Structure stays structure, with its leaves redacted and cut.
    Redacted,
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

/// The checked configuration. Valid by construction.
#[derive(Clone)]
pub struct VaultSettings {
    /// Who may open what. Empty only without a store.
    pub recipients: RecipientPolicy,
    /// The destination of content. `None`: content is dropped.
    pub store: Option<StoreSettings>,
    /// The rest, as written.
    pub config: VaultConfig,
    /// Which items are agents', and what stays of them.
    pub closed_items: ClosedItemPolicy,
    /// Name of the writer, `[A-Za-z0-9._-]`, at most 64 bytes.
    pub writer: String,
    /// File with the key that signs digests, in plain text. `None`: see `signing_key_service`, or beside the spool.
    pub signing_key: Option<PathBuf>,
    /// The key that signs digests, if it comes from a service.
    pub signing_key_service: Option<LazyKey<Arc<SigningKey>>>,
    /// Public keys that sign the chain of erasures.
    pub erasure_keys: Vec<VerifyKey>,
    /// Size at which objects are closed, bytes.
    pub object_size: u64,
    /// Age at which objects are closed.
    pub object_age: Duration,
    /// Interval between digests.
    pub index_interval: Duration,
    /// Notes for the user about valid but risky settings.
    pub notes: Vec<FieldProblem>,
    /// Replaces the age sealer, to prove that a leak search would find a leak. No configuration sets this.
    #[doc(hidden)]
    pub sealer: Option<Arc<dyn SessionKeyGenerator>>,
}

impl VaultConfig {
    /// Checks everything that can be checked without I/O.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn settings(&self) -> Result<VaultSettings, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let mut notes = Vec::new();
        let store = self.store_settings(&mut problems, &mut notes);
        let drops_content = matches!(self.store, Some(StoreConfig::None));
        let recipients = check_recipients(&self.recipients, !drops_content, &mut problems, &mut notes);
        let writer = self.writer.clone().unwrap_or_else(host_name);
        if !is_plain_name(&writer) {
            problems.push(FieldProblem::new("writer", "must be 1 to 64 letters, digits, `.`, `_` or `-`"));
        }
        let (signing_key, signing_key_service) = self.signing_key_source(&mut problems);
        let erasure_keys = self.erasure_keys.iter().enumerate().filter_map(|(index, key)| {
            let add_problem = |problem| problems.push(FieldProblem::new(format!("erasure_keys[{index}]"), problem));
            VerifyKey::parse(key.trim()).map_err(add_problem).ok()
        });
        let erasure_keys = erasure_keys.collect();
        let agents = self.agents.as_ref().map(|agents| agents.declared(&mut problems));
        self.labels.check(&mut problems, &mut notes);
        let (default_size, default_age) = match self.layout {
            StoreLayout::Packed => (ByteSize(8 << 20), TimeSpan::seconds(5)),
            StoreLayout::Session | StoreLayout::Turn => (ByteSize(1 << 20), TimeSpan::seconds(120)),
        };
        let (object_size, object_age) =
            (self.object_size.unwrap_or(default_size), self.object_age.unwrap_or(default_age));
        if !(64 << 10..=64 << 20).contains(&object_size.0) {
            problems.push(FieldProblem::new("object_size", "must be between 64KiB and 64MiB"));
        }
        for (path, span) in [("object_age", object_age), ("index_interval", self.index_interval)] {
            if span.0.is_zero() || span.0 > MAX_INTERVAL {
                problems.push(FieldProblem::new(path, "must be between 1ms and 1h"));
            }
        }
        if self.leave == LeftContent::Redacted && drops_content {
            problems.push(FieldProblem::new("leave", "`redacted` needs a store; set `store`, or use `leave: nothing`"));
        }
        if self.forward == ForwardPolicy::AfterPut && drops_content {
            let problem = "`after_put` needs a store; set `store`, or use `forward: committed`";
            problems.push(FieldProblem::new("forward", problem));
        }
        if self.unlisted == UnlistedTextPolicy::Keep {
            let note = "`keep` forwards prompts under unlisted keys, redacted; `text` moves them to the vault";
            notes.push(FieldProblem::new("unlisted", note));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(VaultSettings {
            recipients,
            store,
            config: self.clone(),
            closed_items: ClosedItemPolicy {
                earlier_agents: Some(Arc::new(EarlierAgents::new(agents.is_some()))),
                agents: agents.unwrap_or_default(),
                unlisted: match self.privacy {
                    PrivacyProfile::Standard => self.unlisted,
                    PrivacyProfile::Strict => UnlistedTextPolicy::All,
                },
                keep: self.labels.keep.clone(),
                never: self.labels.never.clone(),
                statements: self.statements,
            },
            writer,
            signing_key,
            signing_key_service: signing_key_service.map(LazyKey::new),
            erasure_keys,
            object_size: object_size.0,
            object_age: object_age.0,
            index_interval: self.index_interval.0,
            notes,
            sealer: None,
        })
    }

    /// The file of the signing key in plain text, or the service that has the key.
    fn signing_key_source(&self, problems: &mut Vec<FieldProblem>) -> (Option<PathBuf>, Option<KeySource>) {
        const KMS: &str = "signing_key_kms";
        let file = match &self.signing_key {
            Some(SigningKeyConfig::File(path)) => {
                if path.as_os_str().is_empty() {
                    problems.push(FieldProblem::new("signing_key", "is empty"));
                }
                Some(path.clone())
            }
            Some(SigningKeyConfig::Service(service)) => {
                if self.signing_key_kms.is_some() {
                    let problem = "is for a file in `signing_key`, which names a service: remove one of both";
                    problems.push(FieldProblem::new(KMS, problem));
                }
                return (None, Some(KeySource::Service(service.clone())));
            }
            None => None,
        };
        let Some(kms) = &self.signing_key_kms else { return (file, None) };
        if file.is_none() {
            let problem = "has no file to decrypt; set `signing_key` to the file with the ciphertext";
            problems.push(FieldProblem::new(KMS, problem));
        }
        let file = file.unwrap_or_default();
        (None, Some(KeySource::Service(KeyService::Kms(kms.key_file(file, KMS, problems)))))
    }

    /// The store's settings. `None` if content is dropped, or after adding a problem.
    fn store_settings(&self, problems: &mut Vec<FieldProblem>, notes: &mut Vec<FieldProblem>) -> Option<StoreSettings> {
        match &self.store {
            None => {
                let problem = "is missing; set `s3: {…}`, `directory: path`, or `none` to drop content";
                problems.push(FieldProblem::new("store", problem));
                None
            }
            Some(StoreConfig::None) => {
                notes.push(FieldProblem::new("store", "`none`: prompts, completions and tool payloads are dropped"));
                None
            }
            Some(StoreConfig::Directory(folder)) => folder.settings(problems).map(StoreSettings::Directory),
            Some(StoreConfig::S3(s3)) => s3.settings(problems, notes).map(StoreSettings::S3),
        }
    }
}

impl S3Config {
    fn settings(&self, problems: &mut Vec<FieldProblem>, notes: &mut Vec<FieldProblem>) -> Option<S3Settings> {
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

fn is_plain_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_bucket_name(text: &str) -> bool {
    (3..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte))
}

/// The host name, with characters that object names cannot hold replaced.
fn host_name() -> String {
    let name = rustix::system::uname();
    let name: String = name
        .nodename()
        .to_string_lossy()
        .chars()
        .take(64)
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .collect();
    if is_plain_name(&name) { name } else { "tollgate".to_owned() }
}
