//! The TLS settings of a port, shared by receivers and the admin port. `net/server_tls` reads the files.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::FieldProblem;
use super::types::TimeSpan;

/// TLS of a port; the keys are those of the Collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tls")]
pub struct PortTls {
    /// Path of the certificate chain, PEM. The file is read again when it changes.
    pub cert_file: PathBuf,
    /// Path of the certificate's private key, PEM.
    pub key_file: PathBuf,
    /// Path of the authorities (PEM) that sign client certificates. If set, a client without such a certificate is
    /// refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Path of the certificate revocation lists (PEM): one list for each authority that signs client certificates
    /// directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl_file: Option<PathBuf>,
    /// How often the files are checked for changes; default `10s`.
    #[serde(default = "ten_seconds")]
    pub reload_interval: TimeSpan,
}

fn ten_seconds() -> TimeSpan {
    TimeSpan::seconds(10)
}

impl PortTls {
    /// Adds a problem for each invalid setting; `path` is the path of these settings inside the component.
    pub fn check(&self, path: &str, problems: &mut Vec<FieldProblem>) {
        let lacks_authority = self.crl_file.is_some() && self.client_ca_file.is_none();
        problems.extend(FieldProblem::found([
            (self.reload_interval.0.is_zero(), format!("{path}.reload_interval"), "must be more than zero"),
            (lacks_authority, format!("{path}.crl_file"), "requires `client_ca_file`: set it too"),
        ]));
    }
}
