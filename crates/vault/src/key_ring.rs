//! [`KeyRing`]: the session keys in use. Each session has keys of its own, so that erasing a session means deleting
//! small objects, and one leaked secret opens little.
//!
//! A key is replaced after an hour without use, and after a day in any case. The ring is bounded. A key object is
//! handed out once, to the first draft that gets a ticket, so that it is committed no later than the first fragment
//! that needs it. Content for another audience gets another key, also if its names are the same. Neighbours: `seal`
//! (sealing), `recipients` (audiences), `object_names`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use kernel::bounded_map::BoundedMap;
use kernel::clock::UnixNanos;
use kernel::sha256::Sha256;

use super::object_names::FragmentScope;
use super::recipients::{Audience, ContentOwner};
use super::seal::{FragmentSealer, NewSessionKey, SealFailed, SessionKeyGenerator};

/// A key that was not used for this long is replaced.
pub const MAX_KEY_IDLE: Duration = Duration::from_secs(3600);
/// A key older than this is replaced in any case (a new day does so earlier).
pub const MAX_KEY_AGE: Duration = Duration::from_secs(24 * 3600);
/// Days for which stores keep a key beyond the retention of content: a fragment sealed with it may be written a day
/// later, or weeks later after an outage of the store.
pub const EXTRA_KEY_RETENTION_DAYS: u64 = 30;
/// Limit for the keys in the ring; the account with most loses its least recently used one.
pub const MAX_KEYS: usize = 50_000;

/// One session's key: it can seal but not open.
pub struct SessionKey {
    id: String,
    sealer: Box<FragmentSealer>,
    /// The key object, until it is committed.
    object: Mutex<Option<Bytes>>,
    /// Size of the key object, bytes.
    pub object_len: usize,
    /// SHA-256 of the key object, hex. Index lines that name the key include it, so that the chain covers the object.
    pub object_sha256: String,
}

impl SessionKey {
    /// A key whose object is not committed yet.
    pub fn new(new: NewSessionKey) -> Self {
        let NewSessionKey { id, seal: sealer, object } = new;
        let object_sha256 = kernel::hex::encode(&Sha256::digest(&object));
        Self { id, sealer, object_len: object.len(), object_sha256, object: Mutex::new(Some(object)) }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Appends one file that contains `plain` to `out`.
    ///
    /// # Errors
    /// Sealing failed; `out` may then hold a partial file.
    pub fn seal(&self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), SealFailed> {
        (self.sealer)(plain, out)
    }

    /// Takes the key object; only the first call returns it. The caller, which has a ticket, must commit the object;
    /// otherwise the spool is poisoned.
    pub fn take_object(&self) -> Option<Bytes> {
        self.object.lock().take()
    }
}

/// The keys in use, by scope.
pub struct KeyRing {
    generator: Arc<dyn SessionKeyGenerator>,
    keys: Mutex<BoundedMap<(Arc<FragmentScope>, Audience), RingEntry>>,
}

/// Locked while the key is generated, so that two workers don't generate two.
type KeyCell = Arc<Mutex<Option<Arc<SessionKey>>>>;

#[derive(Clone)]
struct RingEntry {
    key: KeyCell,
    created_at: UnixNanos,
    last_used_at: UnixNanos,
}

impl RingEntry {
    fn is_stale(&self, now: UnixNanos) -> bool {
        now.since(self.last_used_at) > MAX_KEY_IDLE || now.since(self.created_at) > MAX_KEY_AGE
    }
}

impl KeyRing {
    /// A ring of at most `limit` keys.
    pub fn new(generator: Arc<dyn SessionKeyGenerator>, limit: usize) -> Self {
        Self { generator, keys: Mutex::new(BoundedMap::new(limit)) }
    }

    /// The key of `scope` for a batch that arrived at `now`; generated if there is none. `owner` has the ids that the
    /// scope's segments stand for.
    ///
    /// # Errors
    /// A new key's secret can't be sealed, or nobody may open content of `owner`.
    pub fn key(
        &self,
        scope: &Arc<FragmentScope>,
        owner: ContentOwner<'_>,
        now: UnixNanos,
    ) -> Result<Arc<SessionKey>, SealFailed> {
        let audience = self.generator.audience(owner);
        let cell = self.key_cell(scope, audience.clone(), now);
        let mut cell = cell.lock();
        if let Some(key) = &*cell {
            return Ok(key.clone());
        }
        let new = self.generator.new_session(&audience, &scope.path())?;
        let key = Arc::new(SessionKey::new(new));
        *cell = Some(key.clone());
        Ok(key)
    }

    fn key_cell(&self, scope: &Arc<FragmentScope>, audience: Audience, now: UnixNanos) -> KeyCell {
        let (mut keys, id) = (self.keys.lock(), (scope.clone(), audience));
        let fresh = RingEntry { key: Arc::default(), created_at: now, last_used_at: now };
        let mut entry = keys.remove(&id).filter(|entry| !entry.is_stale(now)).unwrap_or(fresh);
        entry.last_used_at = entry.last_used_at.max(now);
        keys.insert_for(&*scope.account, id, entry.clone(), 1);
        entry.key
    }

    /// Drops keys that are idle or old.
    pub fn drop_stale(&self, now: UnixNanos) {
        self.keys.lock().retain(|_, entry| !entry.is_stale(now));
    }

    pub fn len(&self) -> usize {
        self.keys.lock().len()
    }

    /// Whether the ring is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
