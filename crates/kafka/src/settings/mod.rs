//! The connection to a cluster, in the Collector's spelling: `brokers`, `client_id`, `tls`, `auth.sasl`.
//! [`BrokerSettings`] is the valid form.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;
use kernel::secret::Secret;
use net::is_local_host;

#[cfg(test)]
mod tests;

/// TLS of the connections to the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaTlsConfig {
    /// PEM file of the CA certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate chain.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client's private key.
    pub key_file: Option<PathBuf>,
    /// Host name to verify the brokers' certificates against.
    pub server_name_override: Option<String>,
}

/// How a client identifies itself to the brokers by SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    /// User name and password, in clear: use it over TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A proof of the password, SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A proof of the password, SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// A bearer token.
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

/// `auth.sasl:`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaslConfig {
    /// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`.
    pub mechanism: SaslMechanism,
    /// User name, for `PLAIN` and `SCRAM`.
    #[serde(default)]
    pub username: Option<String>,
    /// Password, for `PLAIN` and `SCRAM`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Token, for `OAUTHBEARER`.
    #[serde(default)]
    pub token: Option<Secret>,
}

/// `auth:`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Credentials by SASL.
    pub sasl: Option<SaslConfig>,
}

/// Valid credentials.
#[derive(Clone, Debug)]
pub enum SaslSettings {
    /// User name and password, in clear.
    Plain(String, Secret),
    /// A proof of the password; `true`: SHA-512, else SHA-256.
    Scram(String, Secret, bool),
    Token(Secret),
}

/// A valid connection.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// `host:port` of the brokers to ask first.
    pub brokers: Vec<String>,
    /// The name that brokers log for this client.
    pub client_id: String,
    /// TLS; `None`: plain text.
    pub tls: Option<KafkaTlsConfig>,
    /// Credentials, if any.
    pub sasl: Option<SaslSettings>,
    /// How long one request to a broker may take.
    pub request_timeout: Duration,
}

/// Whether this binary can speak Kafka's protocol; tests have a broker in memory.
const IS_BUILT: bool = cfg!(any(feature = "client", feature = "testing", test));
/// How long one request to a broker may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Validates the keys of a component's connection; adds problems and notes.
pub fn broker_settings(
    (brokers, client_id): (&[String], &str),
    tls: Option<&KafkaTlsConfig>,
    auth: &AuthConfig,
    problems: &mut Vec<FieldProblem>,
    notes: &mut Vec<FieldProblem>,
) -> BrokerSettings {
    if !IS_BUILT {
        problems.push(FieldProblem::new(
            "",
            "this binary was built without Kafka: build it with `cargo build --features kafka`",
        ));
    }
    if brokers.is_empty() {
        problems.push(FieldProblem::new("brokers", "must name at least one broker, as `host:port`"));
    }
    for broker in brokers {
        if split_address(broker).is_none() {
            problems.push(FieldProblem::new("brokers", "each must be `host:port`, such as `kafka-0:9092`"));
            break;
        }
    }
    if client_id.is_empty() {
        problems.push(FieldProblem::new("client_id", "must not be empty"));
    }
    if tls.is_some_and(|tls| tls.cert_file.is_some() != tls.key_file.is_some()) {
        problems.push(FieldProblem::new("tls", "`cert_file` and `key_file` go together: set both"));
    }
    let sasl = auth.sasl.as_ref().and_then(|sasl| sasl.settings(problems));
    let is_remote = |broker: &String| split_address(broker).is_some_and(|(host, _)| !is_local_host(host));
    let sends_secret = matches!(sasl, Some(SaslSettings::Plain(..) | SaslSettings::Token(_)));
    if sends_secret && tls.is_none() && brokers.iter().any(is_remote) {
        problems.push(FieldProblem::new(
            "auth.sasl",
            "would send its secret in clear: add `tls: {}`, or use SCRAM-SHA-512",
        ));
    } else if tls.is_none() && brokers.iter().any(is_remote) {
        notes.push(FieldProblem::new("tls", "is not set, so the connection to the brokers is plain text"));
    }
    BrokerSettings {
        brokers: brokers.to_vec(),
        client_id: client_id.to_owned(),
        tls: tls.cloned(),
        sasl,
        request_timeout: REQUEST_TIMEOUT,
    }
}

/// Host and port of `host:port`.
fn split_address(broker: &str) -> Option<(&str, u16)> {
    let (host, port) = broker.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let is_plain = !host.is_empty() && !host.contains(['/', '@', ' ', ',']);
    is_plain.then_some((host, port))
}

impl SaslConfig {
    fn settings(&self, problems: &mut Vec<FieldProblem>) -> Option<SaslSettings> {
        let is_token = self.mechanism == SaslMechanism::OauthBearer;
        let foreign = if is_token { self.username.is_some() || self.password.is_some() } else { self.token.is_some() };
        if foreign {
            let needed = if is_token { "`token` alone" } else { "`username` and `password`, not `token`" };
            problems.push(FieldProblem::new("auth.sasl", format!("this mechanism takes {needed}")));
            return None;
        }
        let settings = match (self.mechanism, &self.username, &self.password, &self.token) {
            (SaslMechanism::OauthBearer, _, _, Some(token)) => SaslSettings::Token(token.clone()),
            (SaslMechanism::Plain, Some(user), Some(password), _) => {
                SaslSettings::Plain(user.clone(), password.clone())
            }
            (SaslMechanism::ScramSha256, Some(user), Some(password), _) => {
                SaslSettings::Scram(user.clone(), password.clone(), false)
            }
            (SaslMechanism::ScramSha512, Some(user), Some(password), _) => {
                SaslSettings::Scram(user.clone(), password.clone(), true)
            }
            _ => {
                let needed = if is_token { "`token`" } else { "`username` and `password`" };
                problems.push(FieldProblem::new("auth.sasl", format!("this mechanism needs {needed}")));
                return None;
            }
        };
        Some(settings)
    }
}
