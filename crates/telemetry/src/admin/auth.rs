//! The credentials of the admin port and their roles. Secrets are stored and compared as SHA-256.
//! `crates/access/src/access_control` decides what a role may do.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::oidc::{OidcConfig, OidcSettings};
use super::roles::{Role, RoleSet, ViewerLimit};
use config::FieldProblem;
use kernel::secret::Secret;
use kernel::sha256::Sha256;

/// Shortest secret, in bytes: a shorter one could be guessed.
const MIN_SECRET_BYTES: usize = 12;
const TOO_SHORT: &str = "must have at least 12 bytes";

/// Who may use the admin port. Without this key everyone who reaches the port may read; changes and `tap` then need the
/// token in the file `admin.token` of the data directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminAuthConfig {
    /// User name for HTTP basic authentication. The user has every role.
    pub username: Option<String>,
    /// Password for HTTP basic authentication, at least 12 bytes.
    pub password: Option<Secret>,
    /// Bearer token with every role, at least 12 bytes. With both a password and a token, either one gives access.
    pub bearer: Option<Secret>,
    /// Bearer tokens of each role (`scraper`, `viewer`, `operator`, `tapper`) and of each name in `limits`, at least 12
    /// bytes each. A token that is listed under several roles has all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tokens: BTreeMap<String, Vec<Secret>>,
    /// DNS names or URIs in client certificates, like `tokens`; requires `tls.client_ca_file`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, Vec<String>>,
    /// An identity provider whose users have roles by their groups: by bearer token, and by login if `public_url` is
    /// set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcConfig>,
    /// Roles of viewers who see a part of the runs, by name. Credentials get one like another role; with several they
    /// see what any of them shows, and a limit counts before every role.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, ViewerLimit>,
}

type CredentialHash = [u8; 32];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownClient {
    /// What it may do.
    pub roles: RoleSet,
    /// How logs name it. Of a token that is the start of its SHA-256, so it is no secret.
    pub name: String,
    /// Ids under which telemetry may name the same person as its user; none for a token, which names nobody.
    pub user_ids: Vec<String>,
}

/// The accepted credentials, as SHA-256, with their roles.
#[derive(Clone, Debug, Default)]
pub struct AdminAuth {
    /// The user with every role, and `user:password`.
    basic: Option<(String, CredentialHash)>,
    bearer: BTreeMap<CredentialHash, RoleSet>,
    /// Names in client certificates.
    certificates: BTreeMap<String, RoleSet>,
    /// The trusted identity provider.
    pub oidc: Option<OidcSettings>,
}

fn sha256(bytes: &[u8]) -> CredentialHash {
    Sha256::digest(bytes)
}

impl AdminAuthConfig {
    /// Validates the settings. `None` means that no credential is configured.
    pub(super) fn settings(
        &self,
        checks_certificates: bool,
        public_url: Option<&str>,
        problems: &mut Vec<FieldProblem>,
    ) -> Option<AdminAuth> {
        let is_too_short = |secret: &Secret| secret.expose().len() < MIN_SECRET_BYTES;
        let (is_half, name) = (self.username.is_some() != self.password.is_some(), self.username.as_ref());
        let is_bad_name = name.is_some_and(|name| name.is_empty() || name.contains(':'));
        problems.extend(FieldProblem::found([
            (is_half, "auth", "`username` and `password` must be set together"),
            (is_bad_name, "auth.username", "must not be empty or contain a colon"),
            (self.password.as_ref().is_some_and(is_too_short), "auth.password", TOO_SHORT),
            (self.bearer.as_ref().is_some_and(is_too_short), "auth.bearer", TOO_SHORT),
        ]));
        let mut auth = AdminAuth::default();
        if let Some((name, password)) = self.username.as_ref().zip(self.password.as_ref()) {
            auth.basic = Some((name.clone(), sha256(format!("{name}:{}", password.expose()).as_bytes())));
        }
        for (role, secrets) in &self.tokens {
            let path = format!("auth.tokens.{role}");
            check_not_empty(&path, secrets, problems);
            let roles = RoleSet::find(role, &self.limits, &path, problems);
            if roles.limits.iter().any(|limit| limit.own_sessions) {
                problems.push(FieldProblem::new(&path, "a token names no user: use another credential"));
            }
            for (index, secret) in secrets.iter().enumerate() {
                if is_too_short(secret) {
                    problems.push(FieldProblem::new(format!("{path}[{index}]"), TOO_SHORT));
                }
                auth.bearer.entry(sha256(secret.expose().as_bytes())).or_default().add(&roles);
            }
        }
        if let Some(token) = &self.bearer {
            auth.bearer.entry(sha256(token.expose().as_bytes())).or_default().add(&RoleSet::ALL);
        }
        if !self.certificates.is_empty() && !checks_certificates {
            problems.push(FieldProblem::new("auth.certificates", "requires `tls.client_ca_file`: set it too"));
        }
        for (role, names) in &self.certificates {
            let path = format!("auth.certificates.{role}");
            check_not_empty(&path, names, problems);
            let roles = RoleSet::find(role, &self.limits, &path, problems);
            names.iter().for_each(|name| auth.certificates.entry(name.clone()).or_default().add(&roles));
        }
        auth.oidc = self.oidc.as_ref().map(|oidc| oidc.settings(&self.limits, public_url, problems));
        for (name, limit) in &self.limits {
            let is_role = Role::ALL.iter().any(|role| role.as_str() == name);
            let what = "must have `accounts`, `tenants` or `own_sessions`, no empty list, and a name that no role has";
            let problem = || FieldProblem::new(format!("auth.limits.{name}"), what);
            problems.extend((is_role || limit.is_void()).then(problem));
        }
        let has_credential = auth.has_secrets() || !auth.certificates.is_empty();
        (has_credential || auth.oidc.is_some()).then_some(auth)
    }
}

/// An empty list is a problem, because a port without any credential is open.
fn check_not_empty<T>(path: &str, list: &[T], problems: &mut Vec<FieldProblem>) {
    if list.is_empty() {
        problems.push(FieldProblem::new(path, "must not be empty: remove the role"));
    }
}

impl AdminAuth {
    /// Accepts one bearer token, with every role.
    pub fn from_token(token: &Secret) -> Self {
        let bearer = BTreeMap::from([(sha256(token.expose().as_bytes()), RoleSet::ALL)]);
        Self { bearer, ..Self::default() }
    }

    /// The client; `None` if it has no known credential. If an `authorization` header is sent, it alone decides, even
    /// with a client certificate.
    pub fn find_client(&self, headers: &HeaderMap, certificate_names: &[String]) -> Option<KnownClient> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            let known = certificate_names.iter().filter_map(|name| Some((name, self.certificates.get(name)?.clone())));
            let (name, roles) = known.reduce(|(first, roles), (_, more)| (first, roles.union(&more)))?;
            return Some(KnownClient { roles, name: format!("certificate {name}"), user_ids: vec![name.clone()] });
        };
        if values.next().is_some() {
            return None;
        }
        let (scheme, credential) = value.to_str().ok()?.split_once(' ')?;
        let credential = credential.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.find_token(credential);
        }
        if scheme.eq_ignore_ascii_case("basic") {
            return self.find_user(&STANDARD.decode(credential).ok()?);
        }
        None
    }

    /// The client whose bearer token or password this is, for a login form.
    pub fn find_secret_owner(&self, secret: &str) -> Option<KnownClient> {
        self.find_token(secret).or_else(|| self.find_user(format!("{}:{secret}", self.basic.as_ref()?.0).as_bytes()))
    }

    /// Whether there are bearer tokens or a password.
    pub fn has_secrets(&self) -> bool {
        self.basic.is_some() || !self.bearer.is_empty()
    }

    /// Whether a client may be known by more than a token, which names nobody.
    pub fn names_people(&self) -> bool {
        self.basic.is_some() || !self.certificates.is_empty() || self.oidc.is_some()
    }

    fn find_token(&self, token: &str) -> Option<KnownClient> {
        let hash = sha256(token.as_bytes());
        let name = format!("token {}", kernel::hex::encode(hash.first_chunk::<4>()?));
        self.bearer.get(&hash).map(|roles| KnownClient { roles: roles.clone(), name, user_ids: Vec::new() })
    }

    fn find_user(&self, pair: &[u8]) -> Option<KnownClient> {
        let (user, _) = self.basic.as_ref().filter(|(_, hash)| *hash == sha256(pair))?;
        Some(KnownClient { roles: RoleSet::ALL, name: format!("user {user}"), user_ids: vec![user.clone()] })
    }

    /// The `www-authenticate` challenge of a refusal.
    pub fn challenge(&self) -> &'static str {
        if self.basic.is_none() { "Bearer realm=\"tollgate\"" } else { "Basic realm=\"tollgate\", charset=\"UTF-8\"" }
    }
}
