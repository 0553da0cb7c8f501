//! **What**: TLS of a port as a user writes it, for receivers and the admin port alike. **Not here**: reading the files
//! (`net/server_tls`).

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::FieldProblem;
use super::types::Span;

/// TLS of a port, in the Collector's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tls")]
pub struct PortTls {
    /// Certificate chain, PEM. Read again when it changes.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// Who signs clients' certificates; with it a client without one is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Certificates that are called back, PEM: a list of each authority that signs clients' certificates directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_file: Option<PathBuf>,
    /// How often the files are looked at.
    #[serde(default = "ten_seconds")]
    pub reload_interval: Span,
}

fn ten_seconds() -> Span {
    Span::seconds(10)
}

impl PortTls {
    /// What is wrong with it, below `path`.
    pub fn check(&self, path: &str, problems: &mut Vec<FieldProblem>) {
        if self.reload_interval.0.is_zero() {
            problems.push(FieldProblem::new(
                format!("{path}.reload_interval"),
                "must be more than zero: every wait has an end",
            ));
        }
        if self.crl_file.is_some() && self.client_ca_file.is_none() {
            problems.push(FieldProblem::new(format!("{path}.crl_file"), "needs `client_ca_file` beside it"));
        }
    }
}
