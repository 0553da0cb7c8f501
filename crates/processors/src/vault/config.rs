//! Configuration of the `vault` processor. [`VaultSettings`] is valid by construction: recipients parse, and
//! names need no escaping. `vault/store` checks the stores' part and creates their clients.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::address::parse_site;
use config::{ByteSize, FieldProblem, TimeSpan};
use genai::{ClosedItemPolicy, StatementPolicy, UnlistedTextPolicy};
use kernel::key_source::{KeyService, KeySource, LazyKey};
use vault::chain::note::{SigningKey, VerifyKey};
use vault::object_names::is_plain_name;
use vault::recipients::RecipientPolicy;
use vault::seal::SessionKeyGenerator;
pub use vault::store::kinds::StoreConfig;
use vault::store::spec::StoreSpec;

use super::earlier_agents::EarlierAgents;
use super::item_texts::PrivacyProfile;
use super::options::{AgentServices, ForwardPolicy, KmsConfig, Labels, SigningKeyConfig, StoreLayout};
use super::recipients::{RecipientsConfig, check_recipients};

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
        /// Address at which browsers reach `tollgate vault serve --access`, for auditors or with `--developers`, such
        /// as `https://content.example`. Each item whose content is taken out then links its session's page
        /// (`tollgate.content.url`). Default: no link.
        pub content_url: Option<String>,
        /// How content is arranged in the store: `session` (objects of one session), `packed` (objects of all sessions
        /// of an account: a quarter of the requests, for large fleets), or `turn` (one object per turn: five times the
        /// requests). Default: `session`.
        pub layout: StoreLayout = StoreLayout::Session,
        /// Size at which an object is closed. Default: 1 MiB, packed 8 MiB.
        pub object_size: Option<ByteSize>,
        /// Age at which an object is closed; the end of its session and a shutdown close it too. Default: 2 minutes,
        /// packed 5 seconds.
        pub object_age: Option<TimeSpan>,
        /// Interval between signed digests, written with the index lines they cover; hourly without news. Default: 60s.
        pub index_interval: TimeSpan = TimeSpan::seconds(60),
    }
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

/// The checked configuration. Valid by construction.
#[derive(Clone)]
pub struct VaultSettings {
    /// Who may open what. Empty only without a store.
    pub recipients: RecipientPolicy,
    /// The destination of content. `None`: content is dropped.
    pub store: Option<Arc<dyn StoreSpec>>,
    /// The rest, as written.
    pub config: VaultConfig,
    /// Which items are agents', and what stays of them.
    pub closed_items: ClosedItemPolicy,
    /// Name of the writer, `[A-Za-z0-9._-]`, at most 64 bytes.
    pub writer: String,
    /// The address to which the paths of sessions' pages are appended.
    pub content_url: Option<Arc<str>>,
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
        if self.store.is_none() {
            let problem = "is missing; set `s3: {…}`, `directory: path`, or `none` to drop content";
            problems.push(FieldProblem::new("store", problem));
        }
        let store = self.store.as_ref().and_then(|store| store.settings(&mut problems, &mut notes));
        let drops_content = matches!(self.store, Some(StoreConfig::None));
        let recipients = check_recipients(&self.recipients, !drops_content, &mut problems, &mut notes);
        let writer = self.writer.clone().unwrap_or_else(host_name);
        if !is_plain_name(&writer) {
            problems.push(FieldProblem::new("writer", "must be 1 to 64 letters, digits, `.`, `_` or `-`"));
        }
        let content_url = self.content_url.as_deref().and_then(|url| {
            let add_problem = |problem| problems.push(FieldProblem::new("content_url", problem));
            parse_site(url).map_err(add_problem).ok().map(Arc::from)
        });
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
        if self.content_url.is_some() && drops_content {
            problems.push(FieldProblem::new("content_url", "needs a store; set `store`, or remove the link"));
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
            content_url,
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
