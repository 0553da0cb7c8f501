//! `auth:` of a receiver with a port, and its check. `auth` reads the tokens file and finds a request's sender.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth;
use super::oidc_senders::{IdentityClaims, OidcSenderSettings};
use super::settings_problems::SettingsProblems;
use config::TimeSpan;
use kernel::secret::Secret;
use net::oidc::ProviderSettings;
use pipeline::{ClientIdentity, VerifiedIdentity};
use telemetry::admin::oidc::is_protected_url;

kernel::with_defaults! {
    /// Who may send. A client authenticates with a bearer token (`OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer
    /// …"`), a user and password (`authorization=Basic …`), or, with `tls.client_ca_file`, a certificate.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct AuthConfig {
        /// Bearer tokens of each account, at least 16 characters each.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub tokens: BTreeMap<String, Vec<Secret>>,
        /// File with more bearer tokens: lines `account token`, with `tokens_file_users` also `account token user=ID
        /// tenant=ID groups=A,B`; lines that begin with `#` are comments. The file is read again when it changes.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tokens_file: Option<PathBuf>,
        /// Whether lines of the tokens file may name users and tenants (`auth.users` says what that changes). Default:
        /// `false`.
        pub tokens_file_users: bool,
        /// `user:password` of each account, for `authorization: Basic …`. For a Langfuse client, use its public and
        /// secret key.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub basic: BTreeMap<String, Vec<Secret>>,
        /// DNS names or URIs in client certificates, and the account of each.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub certificates: BTreeMap<String, String>,
        /// Users by their id, with the credentials that prove it: items get this `user.id`, whatever the client says
        /// (docs/how-to/identity.md).
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub users: BTreeMap<String, UserConfig>,
        /// An OpenID Connect provider: its tokens are bearer tokens here.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub oidc: Option<SenderOidcConfig>,
        /// The claims of those tokens that prove who sends.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub identity: Option<IdentityConfig>,
        /// How often the tokens file is checked for changes. Default: 10 s.
        pub reload_interval: TimeSpan = TimeSpan::seconds(10),
    }
}

kernel::with_defaults! {
    /// A user's credentials, and what they prove.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct UserConfig {
        /// The account that the data belongs to. Default: `default`.
        pub account: String = auth::DEFAULT_ACCOUNT.to_owned(),
        /// Bearer tokens, at least 16 characters each.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub tokens: Vec<Secret>,
        /// DNS names or URIs in client certificates.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub certificates: Vec<String>,
        /// The user's tenant: items get this `tenant.id`. Without it, items keep the tenant that they name.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tenant: Option<String>,
        /// The user's groups: items get them as `tollgate.user.groups`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub groups: Vec<String>,
    }
}

/// An OpenID Connect provider whose tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SenderOidcConfig {
    /// The provider's issuer, exactly as its tokens and its discovery document name it. `https://`, or `http://` on
    /// loopback.
    pub issuer: String,
    /// The audience (`aud`) that tokens must be made for.
    pub audience: String,
    /// The account that the data of these senders belongs to. Default: `default`.
    #[serde(default = "default_account")]
    pub account: String,
    /// Path of the authorities (PEM) that sign the provider's certificate. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

fn default_account() -> String {
    auth::DEFAULT_ACCOUNT.to_owned()
}

kernel::with_defaults! {
    /// The claims that prove who sends.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct IdentityConfig {
        /// The claim with the user's id, such as `sub` or `email`. The claim `email` is refused unless `email_verified`
        /// is true; no other claim is checked in this way.
        /// Default: `sub`.
        pub user: String = "sub".to_owned(),
        /// The claim with the user's tenant. Without it, items keep the tenant that they name.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tenant: Option<String>,
        /// The claim with the user's groups: a list or one text.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub groups: Option<String>,
        /// Whether a token without the claims `user` and `tenant` is refused. `false`: items then keep the ids that
        /// they name. Default: `true`.
        pub required: bool = true,
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
    let is_static = auth.tokens_file.is_some() || !auth.basic.is_empty() || !auth.users.is_empty();
    if auth.tokens.is_empty() && auth.certificates.is_empty() && !is_static && auth.oidc.is_none() {
        let what = "has no credentials: set `tokens`, `tokens_file`, `basic`, `certificates`, `users` or `oidc`";
        problems.add("auth", what);
    }
    let with_certificates = auth.users.iter().filter(|(_, user)| !user.certificates.is_empty());
    let paths = with_certificates.map(|(user, _)| format!("auth.users.{user}.certificates"));
    let unchecked = (!auth.certificates.is_empty()).then(|| "auth.certificates".to_owned()).into_iter().chain(paths);
    for path in unchecked.filter(|_| !checks_clients) {
        problems.add(&path, "requires `client_ca_file` under the port's `tls`, which verifies client certificates");
    }
    let tokens = check_credentials("auth.tokens", "token", &auth.tokens, auth::check_token, problems);
    let basic = check_credentials("auth.basic", "user", &auth.basic, auth::check_basic, problems);
    let mut certificates = BTreeMap::new();
    for (name, account) in &auth.certificates {
        if let Err(what) = auth::check_account(account) {
            problems.add(&format!("auth.certificates.{name}"), what);
        }
        certificates.insert(name.clone(), account.as_str().into());
    }
    let users = check_users(auth, problems);
    if auth.identity.is_some() && auth.oidc.is_none() {
        problems.add(
            "auth.identity",
            "names claims of tokens: set `oidc`, or list users with their credentials in `users`",
        );
    }
    let identity = auth.identity.clone().unwrap_or_default();
    let oidc = auth.oidc.as_ref().map(|oidc| oidc_settings(oidc, identity, problems));
    auth::AuthSettings {
        tokens,
        tokens_file: auth.tokens_file.clone(),
        tokens_file_users: auth.tokens_file_users,
        basic,
        certificates,
        users,
        oidc,
        ..auth::AuthSettings::default()
    }
}

/// Validates the users. A credential that two of them had, or an account too, would prove either.
fn check_users(auth: &AuthConfig, problems: &mut SettingsProblems) -> Vec<auth::UserCredentials> {
    let of_accounts = auth.tokens.values().flatten().map(Secret::expose);
    let mut taken: HashSet<&str> = of_accounts.chain(auth.certificates.keys().map(String::as_str)).collect();
    let mut users = Vec::new();
    for (id, user) in &auth.users {
        let UserConfig { account, tokens, certificates, tenant, groups } = user;
        let path = format!("auth.users.{id}");
        let wrong_tokens = tokens.iter().filter_map(|token| auth::check_token(token.expose()).err());
        wrong_tokens.for_each(|what| problems.add(&format!("{path}.tokens"), what));
        auth::check_account(account).unwrap_or_else(|what| problems.add(&format!("{path}.account"), what));
        let mut credentials =
            tokens.iter().map(Secret::expose).chain(certificates.iter().map(String::as_str)).peekable();
        if credentials.peek().is_none() {
            problems.add(&path, "must have `tokens` or `certificates`");
        }
        if credentials.any(|credential| !taken.insert(credential)) {
            problems.add(&path, "has a credential that is also elsewhere in `auth`");
        }
        let ids = VerifiedIdentity {
            user: Some(id.as_str().into()),
            tenant: tenant.as_deref().map(Arc::from),
            groups: groups.iter().map(|group| group.as_str().into()).collect(),
        };
        let identity = auth::identity_of(ids).unwrap_or_else(|what| {
            problems.add(&path, &format!("one of user, tenant and groups {what}"));
            ClientIdentity::Unverified
        });
        let sender = auth::Sender { account: account.as_str().into(), identity };
        users.push(auth::UserCredentials { sender, tokens: tokens.clone(), certificates: certificates.clone() });
    }
    users
}

fn oidc_settings(
    oidc: &SenderOidcConfig,
    identity: IdentityConfig,
    problems: &mut SettingsProblems,
) -> OidcSenderSettings {
    let IdentityConfig { user, tenant, groups, required } = identity;
    if !is_protected_url(&oidc.issuer) || oidc.issuer.contains('?') {
        let what = "must be the provider's `https://` address without a query; `http://` only on loopback";
        problems.add("auth.oidc.issuer", what);
    }
    if let Err(what) = auth::check_account(&oidc.account) {
        problems.add("auth.oidc.account", what);
    }
    let names = [("user", Some(&user)), ("tenant", tenant.as_ref()), ("groups", groups.as_ref())];
    let empty = names.iter().filter(|(_, name)| name.is_some_and(String::is_empty));
    empty.for_each(|(key, _)| problems.add(&format!("auth.identity.{key}"), "must be the name of a claim"));
    if oidc.audience.is_empty() {
        problems.add("auth.oidc.audience", "must not be empty");
    }
    OidcSenderSettings {
        provider: ProviderSettings { issuer: oidc.issuer.clone(), ca_file: oidc.ca_file.clone() },
        audience: oidc.audience.clone(),
        account: oidc.account.as_str().into(),
        claims: IdentityClaims { user, tenant, groups, is_required: required },
    }
}

/// Validates the credentials of each account.
pub(crate) fn check_credentials(
    key: &str,
    kind: &str,
    written: &BTreeMap<String, Vec<Secret>>,
    check: fn(&str) -> Result<(), &'static str>,
    problems: &mut SettingsProblems,
) -> Vec<(Arc<str>, Secret)> {
    let (mut credentials, mut account_by_secret) = (Vec::new(), BTreeMap::new());
    for (account, list) in written {
        let path = format!("{key}.{account}");
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
