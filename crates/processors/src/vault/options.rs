//! **What**: words of the `vault` stanza: when exporters get telemetry, how content lies in the store, what a folder
//! keeps, who opens a key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{ByteSize, FieldProblem, address};
use vault::kms::{self, KmsSettings};
use vault::names;
use vault::store::Limits;
use vault::store::kinds::DirectorySettings;

use super::config::Retention;
use super::services::Declared;

/// When exporters get telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Forward {
    /// Once its content is in the spool.
    #[default]
    Committed,
    /// Once its content and keys are in the store.
    AfterPut,
}

/// How content lies in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Objects of one session.
    #[default]
    Session,
    /// Objects of all sessions of an account.
    Packed,
    /// An object for each turn.
    Turn,
}

impl From<Layout> for names::Layout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Session => Self::Session,
            Layout::Packed => Self::Packed,
            Layout::Turn => Self::Turn,
        }
    }
}

/// Which services are an agent's whatever they sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Agents {
    /// Names (`service.name`), or `all`.
    pub services: ServiceNames,
}

/// Names of services, or the word `all`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a list of service names, or `all`")]
pub enum ServiceNames {
    /// Their names.
    Listed(Vec<String>),
    /// `all`.
    Word(String),
}

impl Default for ServiceNames {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Agents {
    pub(super) fn declared(&self, problems: &mut Vec<FieldProblem>) -> Declared {
        match &self.services {
            ServiceNames::Word(word) if word == "all" => Declared::All,
            ServiceNames::Word(_) => {
                problems.push(FieldProblem::new("agents.services", "must be a list of service names, or `all`"));
                Declared::Learnt
            }
            ServiceNames::Listed(names) if names.is_empty() => Declared::Learnt,
            ServiceNames::Listed(names) => {
                if names.iter().any(String::is_empty) {
                    problems.push(FieldProblem::new("agents.services", "must not contain an empty name"));
                }
                Declared::Named(names.iter().cloned().collect())
            }
        }
    }
}

/// A store in a folder.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a path, or a map of `path`, `retention` and `max_size`")]
pub enum Directory {
    /// Its path: it keeps everything.
    Path(PathBuf),
    /// With a retention or a bound.
    Kept(Kept),
}

/// A store in a folder that does not keep everything.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Its path.
    pub path: PathBuf,
    /// What is older is removed, at the earliest after `1d`; digests, lines of sessions and what is under hold stay.
    /// Default: nothing is.
    #[serde(default)]
    pub retention: Option<Retention>,
    /// Bytes that it takes; then nothing more is written, and nothing removed: the spool fills, and clients are told to
    /// wait.
    #[serde(default)]
    pub max_size: Option<ByteSize>,
}

impl From<PathBuf> for Directory {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl Directory {
    /// Its path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Path(path) | Self::Kept(Kept { path, .. }) => path,
        }
    }

    /// Where it is and what it keeps; none where a problem says what is wrong.
    pub(super) fn settings(&self, problems: &mut Vec<FieldProblem>) -> Option<DirectorySettings> {
        let (path, limits) = (self.path().to_owned(), self.limits(problems));
        if path.as_os_str().is_empty() {
            problems.push(FieldProblem::new("store.directory", "is empty"));
            return None;
        }
        Some(DirectorySettings { path, limits })
    }

    fn limits(&self, problems: &mut Vec<FieldProblem>) -> Limits {
        let Self::Kept(kept) = self else { return Limits::default() };
        let retention = kept.retention.map(Retention::span);
        if retention.is_some_and(|retention| retention < Duration::from_secs(86_400)) {
            problems.push(FieldProblem::new("store.directory.retention", "is under `1d`"));
        }
        if kept.max_size.is_some_and(|size| size.0 < 1 << 20) {
            problems.push(FieldProblem::new("store.directory.max_size", "is under 1MiB"));
        }
        Limits { retention, max_size: kept.max_size.map(|size| size.0) }
    }
}

/// AWS KMS, which opens the ciphertext of a key; credentials come from the standard chain, and need `kms:Decrypt`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kms {
    /// Region.
    pub region: String,
    /// Address of a KMS that is not AWS' own of the region.
    pub endpoint: Option<String>,
    /// The only key (id, ARN, `alias/…`) that may open it; default: the one that the ciphertext names.
    pub key_id: Option<String>,
    /// What was given to `aws kms encrypt --encryption-context`.
    pub encryption_context: BTreeMap<String, String>,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl Kms {
    /// The block at `path`.
    pub(super) fn settings(&self, path: &str, problems: &mut Vec<FieldProblem>) -> KmsSettings {
        let mut bad = |key: &str, what: &str| problems.push(FieldProblem::new(format!("{path}.{key}"), what));
        if self.region.is_empty() {
            bad("region", "is missing");
        }
        if let Some(what) = self.endpoint.as_deref().and_then(not_a_server) {
            bad("endpoint", &what);
        }
        if self.endpoint.as_deref().is_some_and(kms::is_in_clear) {
            bad("endpoint", kms::IN_CLEAR);
        }
        if self.key_id.as_ref().is_some_and(String::is_empty) {
            bad("key_id", "is empty");
        }
        KmsSettings {
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            key_id: self.key_id.clone(),
            encryption_context: self.encryption_context.clone(),
            ca_file: self.ca_file.clone(),
        }
    }
}

/// Why a text is no address of a server that speaks as one of AWS does: requests bring their own queries.
pub(super) fn not_a_server(text: &str) -> Option<String> {
    match address::url(text) {
        Ok(url) => url.query.map(|_| "has a query: write an address such as `https://kms.example.com`".to_owned()),
        Err(what) => Some(what),
    }
}
