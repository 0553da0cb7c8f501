//! The sessions of browsers that logged in: random ids in cookies, their clients in bounded memory. They end with their
//! token, after eight hours at most, and with the gateway's round, so that a reload ends those of a removed token. Only
//! hashes of ids are kept. Logins are in `oidc/login` and `login_form`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use kernel::clock::Clock;
use kernel::rng::Rng;
use kernel::sha256::Sha256;
use telemetry::admin::auth::KnownClient;

/// The most sessions at once; beyond, the one that ends first goes.
const MAX_SESSIONS: usize = 1000;
/// The most sessions of one user of a provider, so that no user's logins end the sessions of others.
const MAX_SESSIONS_OF_USER: usize = 20;
/// The longest session, in seconds.
const MAX_SESSION_SECONDS: u64 = 8 * 3600;

struct BrowserSession {
    client: KnownClient,
    /// Unix seconds.
    until: u64,
}

/// The sessions of a port, with the cookies that name them.
pub(crate) struct BrowserSessions {
    pub(crate) table: SessionTable,
    pub(crate) clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    /// Whether browsers reach the port with TLS.
    pub(crate) is_secure: bool,
}

impl BrowserSessions {
    pub(crate) fn new(is_secure: bool, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self { table: SessionTable::default(), clock, rng, is_secure }
    }

    /// Unix seconds.
    pub(crate) fn now(&self) -> u64 {
        self.clock.now().0 / 1_000_000_000
    }

    /// 256 random bits as text.
    pub(crate) fn random_text(&self) -> String {
        let mut bytes = Zeroizing::new([0; 32]);
        self.rng.fill(&mut *bytes);
        BASE64_URL_SAFE_NO_PAD.encode(*bytes)
    }

    /// The name of the session's cookie. The prefix makes browsers insist on TLS, this host and the path `/`.
    fn cookie(&self) -> &'static str {
        if self.is_secure { "__Host-tollgate" } else { "tollgate" }
    }

    /// Begins a session of `client`, see [`SessionTable::insert`]. It replaces the one that the request's cookie names.
    pub(crate) fn begin(
        &self,
        response: &mut Response,
        headers: &HeaderMap,
        client: KnownClient,
        token_end: Option<u64>,
    ) {
        self.remove_named(headers);
        let id = self.random_text();
        self.table.insert(&id, client, self.now(), token_end);
        self.set_cookie(response, self.cookie(), &id, MAX_SESSION_SECONDS);
        tracing::info!("a browser logged in");
    }

    /// Ends the session of the request with these headers.
    pub(crate) fn end(&self, response: &mut Response, headers: &HeaderMap) {
        self.remove_named(headers);
        self.set_cookie(response, self.cookie(), "", 0);
    }

    fn remove_named(&self, headers: &HeaderMap) {
        if let Some(id) = find_cookie(headers, self.cookie()) {
            self.table.remove(id);
        }
    }

    /// The client of the session in the request's cookie.
    pub(crate) fn find_client(&self, headers: &HeaderMap) -> Option<KnownClient> {
        self.table.find_client(find_cookie(headers, self.cookie())?, self.now())
    }

    /// The `set-cookie` header. `SameSite=Lax`, because an identity provider's redirect to `/callback` comes from its
    /// site, and links to runs in messages come from others.
    pub(crate) fn set_cookie(&self, response: &mut Response, name: &str, value: &str, seconds: u64) {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
        if let Ok(header) = HeaderValue::from_str(&text) {
            response.headers_mut().append(header::SET_COOKIE, header);
        }
    }
}

/// All sessions, by SHA-256 of their ids.
#[derive(Default)]
pub(crate) struct SessionTable(Mutex<HashMap<[u8; 32], BrowserSession>>);

fn hash(id: &str) -> [u8; 32] {
    Sha256::digest(id)
}

impl SessionTable {
    /// Adds a session. It ends at `token_end` (Unix seconds) at the latest, the end of a user's token of a provider.
    /// Several people may share a secret without one, so its sessions count only against [`MAX_SESSIONS`].
    pub(crate) fn insert(&self, id: &str, client: KnownClient, now: u64, token_end: Option<u64>) {
        let until = token_end.unwrap_or(u64::MAX).min(now.saturating_add(MAX_SESSION_SECONDS));
        let mut sessions = self.0.lock();
        sessions.retain(|_, session| now < session.until);
        let of_user = |session: &BrowserSession| session.client.name == client.name;
        let is_user_full =
            token_end.is_some() && sessions.values().filter(|session| of_user(session)).count() >= MAX_SESSIONS_OF_USER;
        if is_user_full || sessions.len() >= MAX_SESSIONS {
            let candidates = sessions.iter().filter(|(_, session)| !is_user_full || of_user(session));
            let first = candidates.min_by_key(|(_, session)| session.until).map(|(key, _)| *key);
            first.and_then(|key| sessions.remove(&key));
        }
        sessions.insert(hash(id), BrowserSession { client, until });
    }

    /// The client of a session that has not ended.
    pub(crate) fn find_client(&self, id: &str, now: u64) -> Option<KnownClient> {
        let sessions = self.0.lock();
        let session = sessions.get(&hash(id))?;
        // A clock that was set back must not make a session last longer than it may.
        let is_active = now < session.until && session.until.saturating_sub(now) <= MAX_SESSION_SECONDS;
        is_active.then(|| session.client.clone())
    }

    pub(crate) fn remove(&self, id: &str) {
        self.0.lock().remove(&hash(id));
    }
}

/// The value of a cookie; `None` also if it is sent twice, because another site may have set one of them.
pub(crate) fn find_cookie<'h>(headers: &'h HeaderMap, name: &'h str) -> Option<&'h str> {
    let mut values = cookie_values(headers, name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// The values of all cookies with this name.
pub fn cookie_values<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    let sent = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    sent.flat_map(|value| value.split(';'))
        .filter_map(move |cookie| cookie.trim().strip_prefix(name)?.strip_prefix('='))
}
