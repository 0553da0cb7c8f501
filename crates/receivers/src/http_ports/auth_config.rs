//! `auth:` of a receiver with a port, and its check. `auth` reads the tokens file and finds a request's account.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth;
use super::settings_problems::SettingsProblems;
use config::TimeSpan;
use kernel::secret::Secret;

kernel::with_defaults! {
    /// Who may send. A client authenticates with a bearer token (`OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer
    /// …"`), a user and password (`authorization=Basic …`), or, with `tls.client_ca_file`, a certificate.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct AuthConfig {
        /// Bearer tokens of each account, at least 16 characters each.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub tokens: BTreeMap<String, Vec<Secret>>,
        /// File with more bearer tokens: lines `account token`; lines that begin with `#` are comments. The file is
        /// read again when it changes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tokens_file: Option<PathBuf>,
        /// `user:password` of each account, for `authorization: Basic …`. For a Langfuse client, use its public and
        /// secret key.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub basic: BTreeMap<String, Vec<Secret>>,
        /// DNS names or URIs in client certificates, and the account of each.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub certificates: BTreeMap<String, String>,
        /// How often the tokens file is checked for changes. Default: 10 s.
        pub reload_interval: TimeSpan = TimeSpan::seconds(10),
    }
}

/// The note on a port without `auth` that other machines can reach.
pub(crate) const UNPROTECTED: &str = "anyone who can reach this address can send data and fill the vault and the \
    spool: set `auth: { tokens: { ACCOUNT: [\"${env:TOKEN}\"] } }` on the receiver";

/// Checks `auth`, if it is set; returns it with the time between two checks of the tokens file. `checks_clients`: the
/// port verifies client certificates.
pub(crate) fn read_auth(
    auth: Option<&AuthConfig>,
    checks_clients: bool,
    problems: &mut SettingsProblems,
) -> (Option<auth::AuthSettings>, Duration) {
    let settings = auth.map(|auth| auth_settings(auth, checks_clients, problems));
    let interval = auth.map_or(TimeSpan::seconds(10), |auth| auth.reload_interval);
    (settings, problems.check_span("auth.reload_interval", interval))
}

fn auth_settings(auth: &AuthConfig, checks_clients: bool, problems: &mut SettingsProblems) -> auth::AuthSettings {
    if auth.tokens.is_empty() && auth.tokens_file.is_none() && auth.basic.is_empty() && auth.certificates.is_empty() {
        problems.add("auth", "has no credentials: set `tokens`, `tokens_file`, `basic` or `certificates`");
    }
    if !auth.certificates.is_empty() && !checks_clients {
        problems.add(
            "auth.certificates",
            "requires `client_ca_file` under the port's `tls`, which verifies client certificates",
        );
    }
    let tokens = check_credentials("tokens", "token", &auth.tokens, auth::check_token, problems);
    let basic = check_credentials("basic", "user", &auth.basic, auth::check_basic, problems);
    let mut certificates = BTreeMap::new();
    for (name, account) in &auth.certificates {
        if let Err(what) = auth::check_account(account) {
            problems.add(&format!("auth.certificates.{name}"), what);
        }
        certificates.insert(name.clone(), account.as_str().into());
    }
    auth::AuthSettings {
        tokens,
        tokens_file: auth.tokens_file.clone(),
        basic,
        certificates,
        ..auth::AuthSettings::default()
    }
}

/// Validates the credentials of each account.
fn check_credentials(
    key: &str,
    kind: &str,
    written: &BTreeMap<String, Vec<Secret>>,
    check: fn(&str) -> Result<(), &'static str>,
    problems: &mut SettingsProblems,
) -> Vec<(Arc<str>, Secret)> {
    let (mut credentials, mut account_by_secret) = (Vec::new(), BTreeMap::new());
    for (account, list) in written {
        let path = format!("auth.{key}.{account}");
        if let Err(what) = auth::check_account(account) {
            problems.add(&path, what);
        }
        if list.is_empty() {
            problems.add(&path, &format!("must have at least one {kind}"));
        }
        for (index, secret) in list.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let Err(what) = check(secret.expose()) {
                problems.add(&path, what);
            } else if account_by_secret.insert(secret.expose(), account).is_some_and(|other| other != account) {
                problems.add(&path, "is already used by another account");
            }
            credentials.push((account.as_str().into(), secret.clone()));
        }
    }
    credentials
}
