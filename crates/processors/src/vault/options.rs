//! Option types of the `vault` configuration: when exporters receive telemetry, the layout of the store, agents'
//! services, limits of a folder store, and KMS.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{ByteSize, FieldProblem, address};
use genai::DeclaredAgents;
use kernel::key_source::{KeyService, KmsKeyFile};
use vault::kms;
pub(super) use vault::object_names::ObjectLayout as StoreLayout;
use vault::store::DirectoryLimits;
use vault::store::kinds::DirectorySettings;

use super::config::Retention;

/// When exporters receive telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardPolicy {
    /// Once its content is in the spool.
    #[default]
    Committed,
    /// Once its content and keys are in the store.
    AfterPut,
}

/// Services that are always treated as agents' services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentServices {
    /// Service names (`service.name`), or `all`.
    pub services: ServiceNames,
}

/// Service names, or the word `all`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a list of service names, or `all`")]
pub enum ServiceNames {
    /// A list of service names.
    Listed(Vec<String>),
    /// `all`.
    Word(String),
}

impl Default for ServiceNames {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl AgentServices {
    pub(super) fn declared(&self, problems: &mut Vec<FieldProblem>) -> DeclaredAgents {
        match &self.services {
            ServiceNames::Word(word) if word == "all" => DeclaredAgents::All,
            ServiceNames::Word(_) => {
                problems.push(FieldProblem::new("agents.services", "must be a list of service names, or `all`"));
                DeclaredAgents::default()
            }
            ServiceNames::Listed(names) => {
                if names.iter().any(String::is_empty) {
                    problems.push(FieldProblem::new("agents.services", "must not contain an empty name"));
                }
                DeclaredAgents::Named(names.iter().cloned().collect())
            }
        }
    }
}

/// Keys of agents' items whose texts stay or go whatever the rules say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Labels {
    /// Keys whose texts of at most 256 bytes stay, redacted, e.g. `[team, jira]`.
    pub keep: BTreeSet<String>,
    /// Keys whose texts never stay.
    pub never: BTreeSet<String>,
    /// Has no effect, and is accepted for configurations of versions before 0.9: no text stays because it repeats.
    pub min_sessions: Option<u8>,
}

impl Labels {
    pub(super) fn check(&self, problems: &mut Vec<FieldProblem>, notes: &mut Vec<FieldProblem>) {
        if self.min_sessions.is_some() {
            let note = "has no effect: no text stays because it repeats; list its key in `labels.keep`";
            notes.push(FieldProblem::new("labels.min_sessions", note));
        }
        if let Some(key) = self.keep.intersection(&self.never).next() {
            let problem = format!("lists `{key}`, which `labels.never` also lists; remove it from one of them");
            problems.push(FieldProblem::new("labels.keep", problem));
        }
    }
}

/// The key that signs digests.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected the path of a file, `{ kms: … }` or `{ command: […] }`")]
pub enum SigningKeyConfig {
    /// Path of a file with the key in plain text, or its ciphertext if `signing_key_kms` is set.
    File(PathBuf),
    /// A service that has the key, or can decrypt it.
    Service(KeyService),
}

/// A store in a folder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a path, or a map of `path`, `retention` and `max_size`")]
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
    /// Maximum size of the folder in bytes. When it is reached, nothing more is written and nothing is removed: the
    /// spool fills up, and clients are asked to retry later. Default: no limit.
    #[serde(default)]
    pub max_size: Option<ByteSize>,
}

impl DirectoryConfig {
    pub fn path(&self) -> &Path {
        match self {
            Self::Path(path) | Self::Kept(DirectoryOptions { path, .. }) => path,
        }
    }

    /// The store's settings. `None` after adding a problem.
    pub(super) fn settings(&self, problems: &mut Vec<FieldProblem>) -> Option<DirectorySettings> {
        let (path, limits) = (self.path().to_owned(), self.limits(problems));
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
        DirectoryLimits { retention, max_size: options.max_size.map(|size| size.0) }
    }
}

/// AWS KMS, used to decrypt a key file. Credentials come from the standard chain and need `kms:Decrypt`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KmsConfig {
    /// AWS region of the key.
    pub region: String,
    /// Address of a KMS other than AWS's endpoint for the region.
    pub endpoint: Option<String>,
    /// The only key (id, ARN, `alias/…`) allowed to decrypt the file. Default: the key that the ciphertext names.
    pub key_id: Option<String>,
    /// The pairs that were given to `aws kms encrypt --encryption-context`.
    pub encryption_context: BTreeMap<String, String>,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl KmsConfig {
    /// Checks the block at `path` and returns the key in `file` with it.
    pub(super) fn key_file(&self, file: PathBuf, path: &str, problems: &mut Vec<FieldProblem>) -> KmsKeyFile {
        let mut add_problem =
            |key: &str, problem: &str| problems.push(FieldProblem::new(format!("{path}.{key}"), problem));
        if self.region.is_empty() {
            add_problem("region", "is missing");
        }
        if let Some(problem) = self.endpoint.as_deref().and_then(server_address_problem) {
            add_problem("endpoint", &problem);
        }
        if self.endpoint.as_deref().is_some_and(kms::is_cleartext_endpoint) {
            add_problem("endpoint", kms::CLEARTEXT_REFUSED);
        }
        if self.key_id.as_ref().is_some_and(String::is_empty) {
            add_problem("key_id", "is empty");
        }
        KmsKeyFile {
            file,
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            key_id: self.key_id.clone(),
            encryption_context: self.encryption_context.clone(),
            ca_file: self.ca_file.clone(),
        }
    }
}

/// The reason why a text cannot be the address of an AWS-compatible server. Queries are refused, because requests add
/// their own.
pub(super) fn server_address_problem(text: &str) -> Option<String> {
    match address::parse_url(text) {
        Ok(url) => {
            url.query.map(|_| "must not have a query; use an address such as `https://kms.example.com`".to_owned())
        }
        Err(problem) => Some(problem),
    }
}
