//! Finds the sender of a request from its bearer token, its user and password or its client certificate: the account,
//! and the ids that the credential proves. Accounts separate limits, vaults and keys, so an account must come from a
//! credential, never from telemetry. `oidc_senders` has the tokens of an identity provider.
//! Tokens are stored and compared as SHA-256. A receiver with `auth` refuses every request without a known credential.
//! If a changed tokens file can't be read or contradicts itself, the last valid one stays in use. TLS is in
//! `net/server_tls`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::iter::repeat;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, HeaderValue, StatusCode};
use parking_lot::{Mutex, RwLock};
use zeroize::Zeroizing;

use super::oidc_senders::{IdentityClaim, IdentityClaims, OidcFault, OidcSenderSettings, OidcSenders};
use super::reply::RequestRefusal;
use kernel::secret::Secret;
use kernel::sha256::Sha256;
use net::{ClientCertificateNames, LastGoodValue, SharedServices, TlsError};
use otlp::status::GrpcCode;
use pipeline::{ClientIdentity, VerifiedIdentity};

/// Account of all requests to a receiver without `auth`.
pub(crate) const DEFAULT_ACCOUNT: &str = "default";
/// When a client may send again while the identity provider is away.
const PROVIDER_RETRY: Duration = Duration::from_secs(5);
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
    /// Whether its lines may name users and tenants.
    pub tokens_file_users: bool,
    /// `user:password` pairs, with their accounts.
    pub basic: Vec<(Arc<str>, Secret)>,
    /// Names in client certificates, and the account of each.
    pub certificates: BTreeMap<String, Arc<str>>,
    /// Senders whose credentials prove more than the account.
    pub users: Vec<UserCredentials>,
    /// The identity provider whose tokens are accepted.
    pub oidc: Option<OidcSenderSettings>,
    /// All tokens as last read, and SHA-256 of the file.
    pub last_good: LastGoodValue<(TokenSenders, TokenHash)>,
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Account that the request belongs to.
    pub account: Arc<str>,
    /// What the credential proves beyond the account.
    pub identity: ClientIdentity,
}

impl Sender {
    fn of_account(account: &str) -> Self {
        Self { account: account.into(), identity: ClientIdentity::Unverified }
    }
}

/// A sender with its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCredentials {
    pub sender: Sender,
    /// Bearer tokens.
    pub tokens: Vec<Secret>,
    /// Names in client certificates.
    pub certificates: Vec<String>,
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
        Ok(collect_tokens(self, &file)?.into_values().map(|sender| sender.account).collect())
    }
}

/// SHA-256 of a token.
type TokenHash = [u8; 32];
type TokenSenders = HashMap<TokenHash, Sender>;

pub(crate) struct AcceptedClients {
    /// `None`: every client is accepted, as the default account.
    auth: Option<Authenticator>,
    default_sender: Sender,
    /// Where a client of this receiver sets its credential, for the answer to one that has none.
    where_to_set: &'static str,
}

struct Authenticator {
    settings: AuthSettings,
    tokens: RwLock<TokenSenders>,
    /// Senders by SHA-256 of `user:password`.
    basic: TokenSenders,
    /// Senders by names in client certificates.
    certificates: HashMap<String, Sender>,
    /// Senders with tokens of an identity provider; set before the ports open.
    oidc: Option<OidcSenders>,
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
                let hash_pair = |(account, pair): &(Arc<str>, Secret)| {
                    (hash(pair.expose().as_bytes()), Sender::of_account(account))
                };
                let basic = settings.basic.iter().map(hash_pair).collect();
                let of_users =
                    settings.users.iter().flat_map(|user| user.certificates.iter().zip(repeat(&user.sender)));
                let certificates =
                    settings.certificates.iter().map(|(name, account)| (name.clone(), Sender::of_account(account)));
                let of_users = of_users.map(|(name, sender)| (name.clone(), sender.clone()));
                let certificates = certificates.chain(of_users).collect();
                Some(Authenticator {
                    settings,
                    tokens: RwLock::new(tokens),
                    basic,
                    certificates,
                    oidc: None,
                    file_hashes: Mutex::new([file_hash; 2]),
                })
            }
        };
        Ok(Self { auth, default_sender: Sender::of_account(DEFAULT_ACCOUNT), where_to_set })
    }

    /// Builds the client of the identity provider, if one is configured; opens no connection. Without it, tokens of the
    /// provider are answered with "try again".
    ///
    /// # Errors
    /// The CA file can't be used.
    pub(crate) fn with_provider(mut self, services: Option<SharedServices>) -> Result<Self, TlsError> {
        if let (Some(auth), Some(services)) = (&mut self.auth, services) {
            let settings = auth.settings.oidc.clone();
            auth.oidc = settings.map(|settings| OidcSenders::build(settings, services)).transpose()?;
        }
        Ok(self)
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
        let of_users = auth.settings.users.iter().map(|user| user.tokens.len()).sum::<usize>();
        if tokens.len() <= auth.settings.tokens.len() + of_users {
            // Clients drop data that is answered with 401, so an emptied file is treated as a mistake.
            return Err(TokensError::Emptied);
        }
        auth.settings.last_good.store((tokens.clone(), current));
        *auth.tokens.write() = tokens;
        *hashes = [current; 2];
        Ok(true)
    }

    /// The sender of a request. If an `authorization` header is sent, it alone decides, even with a client
    /// certificate.
    ///
    /// # Errors
    /// The credential is missing or not accepted, or can't be verified now.
    pub(crate) async fn identify(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Sender, RequestRefusal> {
        let Some(auth) = &self.auth else { return Ok(self.default_sender.clone()) };
        if headers.contains_key(AUTHORIZATION) {
            // A repeated header counts as an unknown credential.
            let mut values = headers.get_all(AUTHORIZATION).iter();
            let value = values.next().map(HeaderValue::as_bytes).filter(|_| values.next().is_none());
            let value = value.unwrap_or_default();
            let refused = || auth.unauthenticated_refusal("this receiver does not accept the credential");
            return match (strip_scheme(value, b"bearer "), strip_scheme(value, b"basic ")) {
                (Some(token), _) => auth.find_token_sender(token).await,
                (_, Some(pair)) => auth.find_basic_sender(pair).ok_or_else(refused),
                _ => Err(refused()),
            };
        }
        let names = extensions.get::<Arc<ClientCertificateNames>>().map_or(&[][..], |peer| &peer.names);
        let sender = names.iter().find_map(|name| auth.certificates.get(name));
        sender.cloned().ok_or_else(|| {
            let scheme = if auth.is_basic_only() { "Basic" } else { "Bearer" };
            let alternative =
                if auth.certificates.is_empty() { "" } else { ", or a client certificate of a configured account" };
            auth.unauthenticated_refusal(&format!(
                "this receiver requires the header `authorization: {scheme} …` (set {}){alternative}",
                self.where_to_set
            ))
        })
    }
}

impl Authenticator {
    /// The sender with this bearer token.
    async fn find_token_sender(&self, token: &[u8]) -> Result<Sender, RequestRefusal> {
        let known = self.tokens.read().get(&hash(token)).cloned();
        match (known, &self.settings.oidc) {
            (Some(sender), _) => Ok(sender),
            (None, None) => Err(self.unauthenticated_refusal("this receiver does not accept the credential")),
            (None, Some(settings)) => {
                let invalid = "this receiver does not accept the credential: the token must be one of its issuer \
                    (`auth.oidc`), for its audience, signed by a current key and not expired";
                let identified = match &self.oidc {
                    Some(senders) => senders.identify(token).await,
                    None => Err(OidcFault::Unavailable),
                };
                let sender = |identity| Sender { account: Arc::clone(&settings.account), identity };
                identified.map(sender).map_err(|fault| match fault {
                    OidcFault::Invalid => self.unauthenticated_refusal(invalid),
                    OidcFault::Unavailable => unavailable_refusal(),
                    OidcFault::Claim(claim, what) => claim_refusal(&settings.claims, claim, what),
                })
            }
        }
    }

    /// The sender of base64 `user:password`. Hashes are compared, so that timing reveals nothing about the password.
    fn find_basic_sender(&self, pair: &[u8]) -> Option<Sender> {
        let pair = Zeroizing::new(BASE64_STANDARD.decode(pair).ok()?);
        self.basic.get(&hash(&pair)).cloned()
    }

    fn is_basic_only(&self) -> bool {
        let settings = &self.settings;
        let has_tokens = !settings.tokens.is_empty() || settings.users.iter().any(|user| !user.tokens.is_empty());
        !self.basic.is_empty() && !has_tokens && settings.tokens_file.is_none() && settings.oidc.is_none()
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
fn collect_tokens(settings: &AuthSettings, file: &str) -> Result<TokenSenders, TokensError> {
    let mut senders = TokenSenders::new();
    for (account, token) in &settings.tokens {
        senders.insert(hash(token.expose().as_bytes()), Sender::of_account(account));
    }
    for user in &settings.users {
        let hashes = user.tokens.iter().map(|token| hash(token.expose().as_bytes()));
        senders.extend(hashes.map(|hash| (hash, user.sender.clone())));
    }
    let path = settings.tokens_file.clone().unwrap_or_default();
    for (number, line) in (1_usize..).zip(file.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line_error = |what| TokensError::InvalidLine { path: path.clone(), number, what };
        let mut words = line.split_whitespace();
        let (Some(account), Some(token)) = (words.next(), words.next()) else {
            return Err(line_error("a line must be an account, a space and a token"));
        };
        check_account(account).map_err(line_error)?;
        check_token(token).map_err(line_error)?;
        let identity = parse_ids(words).map_err(line_error)?;
        if identity != ClientIdentity::Unverified && !settings.tokens_file_users {
            return Err(line_error("set `tokens_file_users: true`, so that the file may name users and tenants"));
        }
        let sender = Sender { account: account.into(), identity };
        if senders.insert(hash(token.as_bytes()), sender.clone()).is_some_and(|earlier| earlier != sender) {
            return Err(line_error("the token is already used by another account or user"));
        }
    }
    Ok(senders)
}

/// What a line of the tokens file says after the token.
fn parse_ids<'l>(words: impl Iterator<Item = &'l str>) -> Result<ClientIdentity, &'static str> {
    const WHAT: &str = "only `user=ID`, `tenant=ID` and `groups=A,B` may follow the token, each once";
    let mut ids = VerifiedIdentity::default();
    for (name, text) in words.map(|word| word.split_once('=').unwrap_or_default()) {
        match name {
            "user" if ids.user.is_none() => ids.user = Some(text.into()),
            "tenant" if ids.tenant.is_none() => ids.tenant = Some(text.into()),
            "groups" if ids.groups.is_empty() => ids.groups = text.split(',').map(Arc::from).collect(),
            _ => return Err(WHAT),
        }
    }
    identity_of(ids)
}

/// Checks the ids of a configured sender.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn identity_of(ids: VerifiedIdentity) -> Result<ClientIdentity, &'static str> {
    [&ids.user, &ids.tenant].into_iter().flatten().try_for_each(|id| VerifiedIdentity::check_id(id))?;
    VerifiedIdentity::check_groups(ids.groups.iter().map(|group| &**group))?;
    Ok(ids.into())
}

/// The provider's keys are not known now: the client keeps its data and tries again.
fn unavailable_refusal() -> RequestRefusal {
    let message = "the token's key is not known, and the identity provider can't be asked for its keys now: try again";
    let (code, status) = (GrpcCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE);
    let refusal = RequestRefusal::new(code, status, "identity_provider", message);
    RequestRefusal { retry_after: Some(PROVIDER_RETRY), ..refusal }
}

/// The token is valid, but does not prove the ids that the configuration asks for.
fn claim_refusal(claims: &IdentityClaims, claim: IdentityClaim, what: &str) -> RequestRefusal {
    let (key, name) = claims.name(claim);
    let message = format!("the token's claim `{name}` {what} (`auth.identity.{key}` of this receiver)");
    RequestRefusal::new(GrpcCode::PermissionDenied, StatusCode::FORBIDDEN, "identity", message)
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
