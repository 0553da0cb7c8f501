//! Access to the admin port: open, or with a password or a token. Secrets are stored and compared as SHA-256. `/livez`
//! and `/readyz` stay open for probes.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;
use kernel::secret::Secret;
use kernel::sha256::Sha256;

/// Shortest secret, in bytes: a shorter one could be guessed.
const MIN_SECRET_BYTES: usize = 12;
/// Paths that stay open for probes.
const OPEN_PATHS: [&str; 2] = ["/livez", "/readyz"];

/// Who may read the admin port. Without this key everyone may.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminAuthConfig {
    /// User name for HTTP basic authentication.
    pub username: Option<String>,
    /// Password for HTTP basic authentication, at least 12 bytes.
    pub password: Option<Secret>,
    /// Bearer token, at least 12 bytes. With both a password and a token, either one gives access.
    pub bearer: Option<Secret>,
}

/// SHA-256 of the credentials that an `authorization` header may carry.
#[derive(Clone, Debug)]
pub struct AdminAuth {
    basic: Option<[u8; 32]>,
    bearer: Option<[u8; 32]>,
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes)
}

impl AdminAuthConfig {
    /// Validates the settings. `None` means that the port is open to everyone.
    pub(super) fn settings(&self, problems: &mut Vec<FieldProblem>) -> Option<AdminAuth> {
        let is_too_short =
            |secret: &Option<Secret>| secret.as_ref().is_some_and(|secret| secret.expose().len() < MIN_SECRET_BYTES);
        if self.username.is_some() != self.password.is_some() {
            problems.push(FieldProblem::new("auth", "`username` and `password` must be set together"));
        }
        if self.username.as_ref().is_some_and(|name| name.is_empty() || name.contains(':')) {
            problems.push(FieldProblem::new("auth.username", "must not be empty or contain a colon"));
        }
        for (path, secret) in [("auth.password", &self.password), ("auth.bearer", &self.bearer)] {
            if is_too_short(secret) {
                problems.push(FieldProblem::new(path, "must have at least 12 bytes"));
            }
        }
        let basic = self.username.as_ref().zip(self.password.as_ref());
        let basic = basic.map(|(name, password)| sha256(format!("{name}:{}", password.expose()).as_bytes()));
        let bearer = self.bearer.as_ref().map(|token| sha256(token.expose().as_bytes()));
        (basic.is_some() || bearer.is_some()).then_some(AdminAuth { basic, bearer })
    }
}

impl AdminAuth {
    /// Whether the request is for an open path or carries a valid credential.
    pub(super) fn allows(&self, path: &str, headers: &HeaderMap) -> bool {
        OPEN_PATHS.contains(&path) || self.has_valid_credential(headers).unwrap_or(false)
    }

    /// `None` if the header is missing or malformed, or if its scheme is not configured.
    fn has_valid_credential(&self, headers: &HeaderMap) -> Option<bool> {
        let (scheme, credential) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        let credential = credential.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(self.bearer? == sha256(credential.as_bytes()));
        }
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(self.basic? == sha256(&STANDARD.decode(credential).ok()?));
        }
        None
    }

    /// The `www-authenticate` challenge of a refusal.
    pub(super) fn challenge(&self) -> &'static str {
        if self.basic.is_some() { "Basic realm=\"tollgate\", charset=\"UTF-8\"" } else { "Bearer realm=\"tollgate\"" }
    }
}
