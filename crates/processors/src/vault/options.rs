//! Option types of the `vault` configuration: when exporters receive telemetry, the layout of the store, agents'
//! services, and KMS.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;
use genai::DeclaredAgents;
use kernel::key_source::{KeyService, KmsKeyFile};
use vault::aws::server_address_problem;
use vault::kms;
pub(super) use vault::object_names::ObjectLayout as StoreLayout;

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
