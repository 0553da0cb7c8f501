//! The sessions of browsers that logged in: random ids in cookies, their clients in bounded memory. They end with their
//! token, after eight hours at most, and with the gateway's round. Only hashes of ids are kept.

use std::collections::HashMap;

use parking_lot::Mutex;

use kernel::sha256::Sha256;
use telemetry::admin::auth::KnownClient;

/// The most sessions at once; beyond, the one that ends first goes.
const MAX_SESSIONS: usize = 1000;
/// The most sessions of one user, so that no user's logins end the sessions of others.
const MAX_SESSIONS_OF_USER: usize = 20;
/// The longest session, in seconds.
pub(super) const MAX_SESSION_SECONDS: u64 = 8 * 3600;

struct BrowserSession {
    client: KnownClient,
    /// Unix seconds.
    until: u64,
}

/// All sessions, by SHA-256 of their ids.
#[derive(Default)]
pub(super) struct SessionTable(Mutex<HashMap<[u8; 32], BrowserSession>>);

fn hash(id: &str) -> [u8; 32] {
    Sha256::digest(id)
}

impl SessionTable {
    /// Adds a session that ends at `token_end` (Unix seconds) at the latest.
    pub(super) fn insert(&self, id: &str, client: KnownClient, now: u64, token_end: u64) {
        let until = token_end.min(now.saturating_add(MAX_SESSION_SECONDS));
        let mut sessions = self.0.lock();
        sessions.retain(|_, session| now < session.until);
        let of_user = |session: &BrowserSession| session.client.name == client.name;
        let is_user_full = sessions.values().filter(|session| of_user(session)).count() >= MAX_SESSIONS_OF_USER;
        if is_user_full || sessions.len() >= MAX_SESSIONS {
            let candidates = sessions.iter().filter(|(_, session)| !is_user_full || of_user(session));
            let first = candidates.min_by_key(|(_, session)| session.until).map(|(key, _)| *key);
            first.and_then(|key| sessions.remove(&key));
        }
        sessions.insert(hash(id), BrowserSession { client, until });
    }

    /// The client of a session that has not ended.
    pub(super) fn find_client(&self, id: &str, now: u64) -> Option<KnownClient> {
        let sessions = self.0.lock();
        let session = sessions.get(&hash(id))?;
        // A clock that was set back must not make a session last longer than it may.
        let is_active = now < session.until && session.until.saturating_sub(now) <= MAX_SESSION_SECONDS;
        is_active.then(|| session.client.clone())
    }

    pub(super) fn remove(&self, id: &str) {
        self.0.lock().remove(&hash(id));
    }
}
