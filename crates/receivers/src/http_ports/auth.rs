//! Finds the account of a request from its bearer token, its user and password or its client certificate. Accounts
//! separate limits, vaults and keys, so an account must come from a credential, never from telemetry.
//! Tokens are stored and compared as SHA-256. A receiver with `auth` refuses every request without a known credential.
//! If a changed tokens file can't be read or contradicts itself, the last valid one stays in use. TLS is in
//! `net/server_tls`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use parking_lot::{Mutex, RwLock};
use zeroize::Zeroizing;

use super::reply::RequestRefusal;
use kernel::secret::Secret;
use kernel::sha256::Sha256;
use net::{ClientCertificateNames, LastGoodValue};
use otlp::status::GrpcCode;

/// Account of all requests to a receiver without `auth`.
pub(crate) const DEFAULT_ACCOUNT: &str = "default";
/// Largest tokens file, in bytes.
const MAX_FILE_BYTES: usize = 1 << 20;
/// Longest account name, in bytes: it becomes part of object names.
const MAX_ACCOUNT_BYTES: usize = 64;
/// Shortest token or password, in bytes: a shorter one could be guessed.
const MIN_SECRET_BYTES: usize = 16;

/// The checked `auth` settings. The tokens file is read and checked separately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthSettings {
    /// Bearer tokens, with their accounts.
    pub tokens: Vec<(Arc<str>, Secret)>,
    /// Path of the file with lines `account token`.
    pub tokens_file: Option<PathBuf>,
    /// `user:password` pairs, with their accounts.
    pub basic: Vec<(Arc<str>, Secret)>,
    /// Names in client certificates, and the account of each.
    pub certificates: BTreeMap<String, Arc<str>>,
    /// All tokens as last read, and SHA-256 of the file.
    pub last_good: LastGoodValue<(TokenAccounts, TokenHash)>,
}

/// Why a tokens file can't be used. The messages name lines and accounts, never tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// Anyone on the machine may write the file, and so could add a token for themselves.
    #[error("auth.tokens_file: {} is writable by every user; run `chmod o-w` on it", .0.display())]
    Writable(PathBuf),
    /// The file can't be read.
    #[error("auth.tokens_file: can't read {}: {why}", path.display())]
    Unreadable {
        path: PathBuf,
        /// The operating system's error.
        why: String,
    },
    /// The file is not UTF-8, or larger than 1 MiB.
    #[error("auth.tokens_file: {} must be UTF-8 text of at most 1 MiB", .0.display())]
    NotText(PathBuf),
    #[error("auth.tokens_file: {}:{number}: {what}", path.display())]
    InvalidLine {
        path: PathBuf,
        /// Line number, counted from one.
        number: usize,
        /// What is wrong with the line.
        what: &'static str,
    },
    /// The file had tokens and now has none.
    #[error(
        "auth.tokens_file: the file has no tokens left, so the last ones stay in use; remove the key `tokens_file` to use no file"
    )]
    Emptied,
}

impl AuthSettings {
    /// The accounts in the tokens file as it is now; empty without a tokens file.
    ///
    /// # Errors
    /// The file can't be used.
    pub fn file_accounts(&self) -> Result<BTreeSet<Arc<str>>, TokensError> {
        let file = read_file(self)?;
        Ok(collect_tokens(self, &file)?.into_values().collect())
    }
}

/// SHA-256 of a token.
type TokenHash = [u8; 32];
type TokenAccounts = HashMap<TokenHash, Arc<str>>;

pub(crate) struct AcceptedClients {
    /// `None`: every client is accepted, as the default account.
    auth: Option<Authenticator>,
    default_account: Arc<str>,
    /// Where a client of this receiver sets its credential, for the answer to one that has none.
    where_to_set: &'static str,
}

struct Authenticator {
    settings: AuthSettings,
    tokens: RwLock<TokenAccounts>,
    /// Accounts by SHA-256 of `user:password`.
    basic: TokenAccounts,
    /// SHA-256 of the file in use, and of the file as last read.
    file_hashes: Mutex<[TokenHash; 2]>,
}

impl AcceptedClients {
    /// Reads the tokens file, if there is one. If the file can't be used and these settings were in use before, the
    /// tokens that were last read stay in use. `where_to_set` names the place where clients set their credential.
    ///
    /// # Errors
    /// The file can't be used.
    pub(crate) fn read(settings: Option<AuthSettings>, where_to_set: &'static str) -> Result<Self, TokensError> {
        let auth = match settings {
            None => None,
            Some(settings) => {
                let read = read_file(&settings)
                    .and_then(|file| Ok((collect_tokens(&settings, &file)?, hash(file.as_bytes()))));
                let (tokens, file_hash) = settings.last_good.or_last_good(read)?;
                let hash_pair =
                    |(account, pair): &(Arc<str>, Secret)| (hash(pair.expose().as_bytes()), Arc::clone(account));
                let basic = settings.basic.iter().map(hash_pair).collect();
                Some(Authenticator {
                    settings,
                    tokens: RwLock::new(tokens),
                    basic,
                    file_hashes: Mutex::new([file_hash; 2]),
                })
            }
        };
        Ok(Self { auth, default_account: DEFAULT_ACCOUNT.into(), where_to_set })
    }

    /// Whether clients need a credential.
    pub(crate) fn has_auth(&self) -> bool {
        self.auth.is_some()
    }

    /// Whether a tokens file is configured.
    pub(crate) fn has_tokens_file(&self) -> bool {
        self.auth.as_ref().is_some_and(|auth| auth.settings.tokens_file.is_some())
    }

    /// Reads the tokens file again and returns whether its tokens were replaced. A change is applied only when two
    /// reads in a row find the same content, so that a file that is still being written is not applied half.
    ///
    /// # Errors
    /// As [`AcceptedClients::read`], and if the file has no token any more; the tokens in use stay.
    pub(crate) fn reload(&self) -> Result<bool, TokensError> {
        let Some(auth) = self.auth.as_ref().filter(|auth| auth.settings.tokens_file.is_some()) else {
            return Ok(false);
        };
        let file = read_file(&auth.settings)?;
        let current = hash(file.as_bytes());
        let mut hashes = auth.file_hashes.lock();
        let [in_use, last_read] = *hashes;
        *hashes = [in_use, current];
        if in_use == current || last_read != current {
            return Ok(false);
        }
        let tokens = collect_tokens(&auth.settings, &file)?;
        if tokens.len() <= auth.settings.tokens.len() {
            // Clients drop data that is answered with 401, so an emptied file is treated as a mistake.
            return Err(TokensError::Emptied);
        }
        auth.settings.last_good.store((tokens.clone(), current));
        *auth.tokens.write() = tokens;
        *hashes = [current; 2];
        Ok(true)
    }

    /// The account of a request. If an `authorization` header is sent, it alone decides, even with a client
    /// certificate.
    pub(crate) fn account(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<Arc<str>, RequestRefusal> {
        let Some(auth) = &self.auth else { return Ok(Arc::clone(&self.default_account)) };
        if headers.contains_key(AUTHORIZATION) {
            // A repeated header counts as an unknown credential.
            let mut values = headers.get_all(AUTHORIZATION).iter();
            let value = values.next().map(HeaderValue::as_bytes).filter(|_| values.next().is_none());
            let value = value.unwrap_or_default();
            let account = match (strip_scheme(value, b"bearer "), strip_scheme(value, b"basic ")) {
                (Some(token), _) => auth.tokens.read().get(&hash(token)).cloned(),
                (_, Some(pair)) => auth.find_basic_account(pair),
                _ => None,
            };
            return account.ok_or_else(|| auth.unauthenticated_refusal("this receiver does not accept the credential"));
        }
        let names = extensions.get::<Arc<ClientCertificateNames>>().map_or(&[][..], |peer| &peer.names);
        let account = names.iter().find_map(|name| auth.settings.certificates.get(name));
        account.cloned().ok_or_else(|| {
            let scheme = if auth.is_basic_only() { "Basic" } else { "Bearer" };
            let alternative = if auth.settings.certificates.is_empty() {
                ""
            } else {
                ", or a client certificate of a configured account"
            };
            auth.unauthenticated_refusal(&format!(
                "this receiver requires the header `authorization: {scheme} …` (set {}){alternative}",
                self.where_to_set
            ))
        })
    }
}

impl Authenticator {
    /// The account of base64 `user:password`. Hashes are compared, so that timing reveals nothing about the password.
    fn find_basic_account(&self, pair: &[u8]) -> Option<Arc<str>> {
        let pair = Zeroizing::new(BASE64_STANDARD.decode(pair).ok()?);
        self.basic.get(&hash(&pair)).cloned()
    }

    fn is_basic_only(&self) -> bool {
        !self.basic.is_empty() && self.settings.tokens.is_empty() && self.settings.tokens_file.is_none()
    }

    fn unauthenticated_refusal(&self, message: &str) -> RequestRefusal {
        let challenge = match (self.is_basic_only(), self.basic.is_empty()) {
            (true, _) => "Basic realm=\"tollgate\", charset=\"UTF-8\"",
            (_, true) => "Bearer",
            _ => "Bearer, Basic realm=\"tollgate\", charset=\"UTF-8\"",
        };
        RequestRefusal::new(GrpcCode::Unauthenticated, StatusCode::UNAUTHORIZED, "unauthenticated", message)
            .with_header("www-authenticate", challenge)
    }
}

/// The credential after `scheme`, which may be written in any case (RFC 9110, section 11.1).
fn strip_scheme<'v>(value: &'v [u8], scheme: &[u8]) -> Option<&'v [u8]> {
    let (written, token) = value.split_at_checked(scheme.len())?;
    let token = token.trim_ascii();
    (written.eq_ignore_ascii_case(scheme) && !token.is_empty()).then_some(token)
}

fn hash(bytes: &[u8]) -> TokenHash {
    Sha256::digest(bytes)
}

fn read_file(settings: &AuthSettings) -> Result<Zeroizing<String>, TokensError> {
    let Some(path) = &settings.tokens_file else { return Ok(Zeroizing::default()) };
    let mode = std::fs::metadata(path).map_or(0, |file| file.mode());
    if mode & 0o002 != 0 {
        return Err(TokensError::Writable(path.clone()));
    }
    let bytes = std::fs::read(path).map(Zeroizing::new);
    let unreadable = |error: std::io::Error| TokensError::Unreadable { path: path.clone(), why: error.to_string() };
    let bytes = bytes.map_err(unreadable)?;
    let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= MAX_FILE_BYTES);
    text.map(|text| Zeroizing::new(text.to_owned())).ok_or_else(|| TokensError::NotText(path.clone()))
}

/// Collects the tokens of the configuration and of the file. Errors name lines and accounts, never tokens.
fn collect_tokens(settings: &AuthSettings, file: &str) -> Result<TokenAccounts, TokensError> {
    let mut accounts = TokenAccounts::new();
    for (account, token) in &settings.tokens {
        accounts.insert(hash(token.expose().as_bytes()), Arc::clone(account));
    }
    let path = settings.tokens_file.clone().unwrap_or_default();
    for (number, line) in (1_usize..).zip(file.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line_error = |what| TokensError::InvalidLine { path: path.clone(), number, what };
        let (account, token) = line
            .split_once(char::is_whitespace)
            .map(|(account, token)| (account, token.trim()))
            .ok_or_else(|| line_error("a line must be an account, a space and a token"))?;
        check_account(account).map_err(line_error)?;
        check_token(token).map_err(line_error)?;
        if accounts.insert(hash(token.as_bytes()), account.into()).is_some_and(|earlier| *earlier != *account) {
            return Err(line_error("the token is already used by another account"));
        }
    }
    Ok(accounts)
}

/// Checks an account's name.
///
/// # Errors
/// What is wrong with the name.
pub(crate) fn check_account(account: &str) -> Result<(), &'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let has_alphanumeric = account.bytes().any(|byte| byte.is_ascii_alphanumeric());
    if has_alphanumeric && account.len() <= MAX_ACCOUNT_BYTES && account.bytes().all(is_allowed) {
        return Ok(());
    }
    Err("an account must be 1 to 64 letters, digits, `.`, `_` or `-`, with at least one letter or digit")
}

/// Checks a bearer token.
///
/// # Errors
/// What is wrong with the token.
pub(crate) fn check_token(token: &str) -> Result<(), &'static str> {
    if token.len() < MIN_SECRET_BYTES {
        return Err("a token must have at least 16 characters (create one with `openssl rand -hex 32`)");
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a token must be printable ASCII without spaces");
    }
    Ok(())
}

/// Checks a `user:password` pair.
///
/// # Errors
/// What is wrong with the pair.
pub(crate) fn check_basic(pair: &str) -> Result<(), &'static str> {
    match pair.split_once(':') {
        None | Some(("", _)) => Err("must be `user:password`"),
        Some((_, password)) if password.len() < MIN_SECRET_BYTES => {
            Err("a password must have at least 16 characters (create one with `openssl rand -hex 32`)")
        }
        Some(_) if pair.chars().any(char::is_control) => Err("user and password must not contain control characters"),
        Some(_) => Ok(()),
    }
}
