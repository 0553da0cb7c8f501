//! **What**: whose a request is: the account of its bearer token or of its client's certificate. **Why**: limits, the vault
//! and keys are kept apart by account, so it must come from a credential, never from telemetry. **Invariants**: tokens are
//! kept as SHA-256 and compared as such; a receiver with `auth` serves nobody without a credential it knows; a tokens file
//! that can't be read, or says something twice, changes nothing: the last good one stays. **Not here**: TLS (`net/server_tls`).

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, StatusCode};
use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::reply::Refusal;
use crate::net::Peer;
use crate::otlp::status::Code;
use crate::secret::Secret;

/// Account of requests to a receiver without `auth`.
pub(super) const DEFAULT_ACCOUNT: &str = "default";
/// Longest tokens file, bytes.
const MAX_FILE: usize = 1 << 20;
/// Longest account, bytes: it is part of object names.
const MAX_ACCOUNT: usize = 64;
/// Shortest token, bytes: what is shorter can be guessed.
pub(super) const MIN_TOKEN: usize = 16;

/// Who may send, valid by construction but for the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Tokens of each account.
    pub tokens: Vec<(Arc<str>, Secret)>,
    /// Lines `account token`.
    pub tokens_file: Option<PathBuf>,
    /// Names in clients' certificates, and the account of each.
    pub certificates: BTreeMap<String, Arc<str>>,
}

/// SHA-256 of a token.
type Hash = [u8; 32];
type Tokens = HashMap<Hash, Arc<str>>;

/// The clients of a receiver.
pub(super) struct Clients {
    /// None: everybody is served.
    auth: Option<Auth>,
    default: Arc<str>,
}

struct Auth {
    settings: Settings,
    tokens: RwLock<Tokens>,
    /// SHA-256 of the file in use.
    seen: Mutex<Hash>,
}

impl Clients {
    /// Reads the tokens file, if there is one.
    ///
    /// # Errors
    /// One line: the file, its line, the reason.
    pub(super) fn read(settings: Option<Settings>) -> Result<Self, String> {
        let auth = match settings {
            None => None,
            Some(settings) => {
                let file = read_file(&settings)?;
                let tokens = RwLock::new(tokens(&settings, &file)?);
                Some(Auth { settings, tokens, seen: Mutex::new(hash(file.as_bytes())) })
            }
        };
        Ok(Self { auth, default: DEFAULT_ACCOUNT.into() })
    }

    /// Whether there is a tokens file.
    pub(super) fn has_file(&self) -> bool {
        self.auth.as_ref().is_some_and(|auth| auth.settings.tokens_file.is_some())
    }

    /// Reads the tokens file again where it changed; whether it did.
    ///
    /// # Errors
    /// As [`Clients::read`]; what was in use stays.
    pub(super) fn reload(&self) -> Result<bool, String> {
        let Some(auth) = self.auth.as_ref().filter(|auth| auth.settings.tokens_file.is_some()) else {
            return Ok(false);
        };
        let file = read_file(&auth.settings)?;
        let now = hash(file.as_bytes());
        if *auth.seen.lock() == now {
            return Ok(false);
        }
        let tokens = tokens(&auth.settings, &file)?;
        *auth.tokens.write() = tokens;
        *auth.seen.lock() = now;
        Ok(true)
    }

    /// Whose a request is. A token that is shown decides, also where a certificate is shown, too.
    pub(super) fn account(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<Arc<str>, Refusal> {
        let Some(auth) = &self.auth else { return Ok(Arc::clone(&self.default)) };
        if headers.contains_key(AUTHORIZATION) {
            let mut all = headers.get_all(AUTHORIZATION).iter();
            let token = all.next().and_then(|value| bearer(value.as_bytes())).filter(|_| all.next().is_none());
            let account = token.and_then(|token| auth.tokens.read().get(&hash(token)).cloned());
            return account.ok_or_else(|| refused("the bearer token is not one that this receiver knows"));
        }
        let names = extensions.get::<Arc<Peer>>().map_or(&[][..], |peer| &peer.names);
        let named = names.iter().find_map(|name| auth.settings.certificates.get(name));
        named.cloned().ok_or_else(|| {
            refused(match auth.settings.certificates.is_empty() {
                true => "this receiver asks for `authorization: Bearer …` (OTEL_EXPORTER_OTLP_HEADERS)",
                false => "this receiver asks for `authorization: Bearer …`, or a client certificate that it knows",
            })
        })
    }
}

fn refused(message: &str) -> Refusal {
    Refusal::new(Code::Unauthenticated, StatusCode::UNAUTHORIZED, "unauthenticated", message)
        .with_header("www-authenticate", "Bearer")
}

/// The token of `Bearer …`; the scheme is written in any case (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

fn read_file(settings: &Settings) -> Result<Zeroizing<String>, String> {
    let Some(path) = &settings.tokens_file else { return Ok(Zeroizing::default()) };
    let bytes = std::fs::read(path).map(Zeroizing::new);
    let bytes = bytes.map_err(|error| format!("auth.tokens_file: can't read {}: {error}", path.display()))?;
    let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= MAX_FILE);
    text.map(|text| Zeroizing::new(text.to_owned()))
        .ok_or_else(|| format!("auth.tokens_file: {} is no text of at most 1 MiB", path.display()))
}

/// Those of the configuration and of the file. Errors name lines and accounts, no tokens.
fn tokens(settings: &Settings, file: &str) -> Result<Tokens, String> {
    let mut out = Tokens::new();
    for (account, token) in &settings.tokens {
        out.insert(hash(token.expose().as_bytes()), Arc::clone(account));
    }
    let name = settings.tokens_file.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
    for (number, line) in (1..).zip(file.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| format!("auth.tokens_file: {name}:{number}: {what}");
        let (account, token) = line
            .split_once(char::is_whitespace)
            .map(|(account, token)| (account, token.trim()))
            .ok_or_else(|| wrong("a line is an account, a space and a token"))?;
        check_account(account).map_err(wrong)?;
        check_token(token).map_err(wrong)?;
        if out.insert(hash(token.as_bytes()), account.into()).is_some_and(|other| *other != *account) {
            return Err(wrong("the token stands for another account, too"));
        }
    }
    Ok(out)
}

/// # Errors
/// What is wrong with an account's name.
pub(super) fn check_account(account: &str) -> Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let named = account.bytes().any(|byte| byte.is_ascii_alphanumeric());
    if named && account.len() <= MAX_ACCOUNT && account.bytes().all(plain) {
        return Ok(());
    }
    Err("an account is 1 to 64 letters, digits, `.`, `_` and `-`")
}

/// # Errors
/// What is wrong with a token.
pub(super) fn check_token(token: &str) -> Result<(), &'static str> {
    if token.len() < MIN_TOKEN {
        return Err("a token has at least 16 characters (`openssl rand -hex 32` makes a good one)");
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a token has no spaces and only printable ASCII");
    }
    Ok(())
}
