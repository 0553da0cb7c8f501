//! The record that an edge writes for a worker: a request, compressed and sealed with AES-256-GCM. Version 1:
//!
//! ```text
//! headers  tollgate-version "1" | tollgate-account NAME | tollgate-signal traces|logs|metrics|effects
//!          | tollgate-key-id HEX | tollgate-record-id 16 bytes (or none)
//! value    salt [32] | u64 LE number | AES-256-GCM(zstd(Export*ServiceRequest, or a worker's effects)), tag last
//! key      HKDF-SHA256(spool key, salt, "tollgate kafka record v1"); nonce: the number
//! AAD      the first four headers' values, the topic, the partition's number, and the record id if there is one, each
//!          after its length as u64 LE
//! ```
//! A sealer takes a random salt at its start and counts its records, so a nonce is never used twice under one key. The
//! record has no key: the partition says which session it belongs to, and no id of the telemetry stands in the topic.
//! A record that is written again because nothing acknowledged it has the same record id, by which a worker knows it.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::client::{IncomingRecord, OutgoingRecord};
use kernel::compression::CompressorPool;
use kernel::rng::Rng;
use otlp::Signal;
use pipeline::spool::SpoolKey;

#[cfg(test)]
mod tests;

const VERSION: &str = "1";
const VERSION_HEADER: &str = "tollgate-version";
const ACCOUNT_HEADER: &str = "tollgate-account";
const SIGNAL_HEADER: &str = "tollgate-signal";
const KEY_HEADER: &str = "tollgate-key-id";
const ID_HEADER: &str = "tollgate-record-id";
/// Names of the headers of a sealed record.
pub const RECORD_HEADERS: [&str; 5] = [VERSION_HEADER, ACCOUNT_HEADER, SIGNAL_HEADER, KEY_HEADER, ID_HEADER];
const KEY_INFO: &[u8] = b"tollgate kafka record v1";
const SALT: usize = 32;
/// Bytes before the sealed part.
const PREFIX: usize = SALT + 8;
/// zstd's level: the edge is close to its clients, so its time counts more than the topic's bytes.
const COMPRESSION_LEVEL: i32 = 1;
/// Salts whose keys are remembered: one for each start of an edge, of which few write at the same time.
const MAX_KNOWN_SALTS: usize = 1024;

/// What a sealed record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordContent {
    Request(Signal),
    /// Effects that a worker sends to the other workers.
    Effects,
}

impl RecordContent {
    const ALL: [Self; 4] =
        [Self::Request(Signal::Traces), Self::Request(Signal::Logs), Self::Request(Signal::Metrics), Self::Effects];

    fn as_str(self) -> &'static str {
        match self {
            Self::Request(signal) => signal.as_str(),
            Self::Effects => "effects",
        }
    }
}

/// A random id of a record. A record that an edge writes again has the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub u128);

/// What a sealed record says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// The account that the request belongs to.
    pub account: Arc<str>,
    /// What the record holds.
    pub content: RecordContent,
    /// Its id; `None` if it does no harm when it comes twice.
    pub id: Option<RecordId>,
}

/// Why a record can't be opened. Holds no payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableRecord {
    /// It was written by a later version.
    #[error("the record has a later version of the format")]
    Newer,
    /// It was sealed with a key that this worker does not have.
    #[error("the record is sealed with the key {0}, which `keys` does not have")]
    UnknownKey(String),
    /// A header is missing, or the seal does not fit.
    #[error("the record is damaged: {0}")]
    Damaged(&'static str),
    /// It is larger than this worker accepts.
    #[error("the record is larger than the receiver accepts")]
    TooLarge,
}

/// Whether the record was written by an edge.
pub fn has_seal(record: &IncomingRecord) -> bool {
    record.header(VERSION_HEADER).is_some()
}

pub struct RecordSealer {
    key: LessSafeKey,
    key_id: Bytes,
    salt: [u8; SALT],
    next_number: AtomicU64,
    zstd: CompressorPool,
}

impl RecordSealer {
    /// A sealer with a new salt. `None`: the library refused the key, for which there is no known cause.
    pub fn new(key: &SpoolKey, rng: &dyn Rng) -> Option<Self> {
        let mut salt = [0; SALT];
        rng.fill(&mut salt);
        Some(Self {
            key: derive_key(key, &salt)?,
            key_id: Bytes::from(key.id().into_bytes()),
            salt,
            next_number: AtomicU64::new(0),
            zstd: CompressorPool::new(COMPRESSION_LEVEL),
        })
    }

    /// Seals `request` for a partition of `topic`. `None`: compression or the cipher failed, for which there is no
    /// known cause.
    pub fn seal(&self, topic: &Arc<str>, partition: i32, head: &RecordHead, request: &[u8]) -> Option<OutgoingRecord> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let mut value = Vec::with_capacity(PREFIX + request.len() / 2);
        value.extend_from_slice(&self.salt);
        value.extend_from_slice(&number.to_le_bytes());
        let mut sealed = self.zstd.compress(request).ok()?;
        let aad = associated_data(topic, partition, head, &self.key_id);
        self.key.seal_in_place_append_tag(nonce(number), Aad::from(aad), &mut sealed).ok()?;
        value.append(&mut sealed);
        let mut headers = vec![
            (VERSION_HEADER, Bytes::from_static(VERSION.as_bytes())),
            (ACCOUNT_HEADER, Bytes::copy_from_slice(head.account.as_bytes())),
            (SIGNAL_HEADER, Bytes::from_static(head.content.as_str().as_bytes())),
            (KEY_HEADER, self.key_id.clone()),
        ];
        headers.extend(head.id.map(|id| (ID_HEADER, Bytes::copy_from_slice(&id.0.to_le_bytes()))));
        Some(OutgoingRecord {
            topic: Arc::clone(topic),
            partition: Some(partition),
            key: None,
            value: value.into(),
            headers,
        })
    }
}

type DerivedKeys = HashMap<(String, [u8; SALT]), Arc<LessSafeKey>>;

/// Opens records of any of its keys.
pub struct RecordOpener {
    keys: HashMap<String, SpoolKey>,
    max_bytes: usize,
    derived: Mutex<DerivedKeys>,
}

impl RecordOpener {
    /// An opener that refuses requests of more than `max_bytes`.
    pub fn new(keys: &[SpoolKey], max_bytes: usize) -> Self {
        let keys = keys.iter().map(|key| (key.id(), key.clone())).collect();
        Self { keys, max_bytes, derived: Mutex::default() }
    }

    /// What the record says of itself; read without a key.
    ///
    /// # Errors
    /// A header is missing or unknown.
    pub fn head(record: &IncomingRecord) -> Result<RecordHead, UnreadableRecord> {
        let text = |name: &str| record.header(name).and_then(|value| std::str::from_utf8(value).ok());
        if text(VERSION_HEADER) != Some(VERSION) {
            return Err(UnreadableRecord::Newer);
        }
        let account = text(ACCOUNT_HEADER).filter(|account| !account.is_empty());
        let account = account.ok_or(UnreadableRecord::Damaged("it names no account"))?;
        let name = text(SIGNAL_HEADER);
        let content = name.and_then(|name| RecordContent::ALL.into_iter().find(|known| known.as_str() == name));
        let content = content.ok_or(UnreadableRecord::Damaged("it names no signal"))?;
        let id = record.header(ID_HEADER).map(|id| <[u8; 16]>::try_from(&**id));
        let id = id.transpose().map_err(|_| UnreadableRecord::Damaged("its id has another length"))?;
        Ok(RecordHead { account: account.into(), content, id: id.map(|id| RecordId(u128::from_le_bytes(id))) })
    }

    /// The id of a sealed record; read without a key, so it is the edge's only once the record was opened.
    pub fn id_of(record: &IncomingRecord) -> Option<RecordId> {
        Self::head(record).ok()?.id
    }

    /// Opens the record.
    ///
    /// # Errors
    /// See [`UnreadableRecord`].
    pub fn open(&self, record: &IncomingRecord) -> Result<(RecordHead, Bytes), UnreadableRecord> {
        let (head, compressed) = self.open_compressed(record)?;
        Ok((head, inflate(&compressed, self.max_bytes)?))
    }

    /// Opens the record, and leaves the body compressed, for [`inflate`].
    ///
    /// # Errors
    /// See [`UnreadableRecord`].
    pub fn open_compressed(&self, record: &IncomingRecord) -> Result<(RecordHead, Vec<u8>), UnreadableRecord> {
        let head = Self::head(record)?;
        let key_id = record.header(KEY_HEADER).cloned().unwrap_or_default();
        let id_text = String::from_utf8_lossy(&key_id).into_owned();
        let key = self.keys.get(&id_text).ok_or_else(|| UnreadableRecord::UnknownKey(printable_id(&id_text)))?;
        let value = record.value.as_deref().unwrap_or_default();
        let too_short = UnreadableRecord::Damaged("it is too short");
        let (salt, rest) = value.split_first_chunk::<SALT>().ok_or(too_short.clone())?;
        let (number, sealed) = rest.split_first_chunk::<8>().ok_or(too_short)?;
        let aad = associated_data(&record.partition.topic, record.partition.number, &head, &key_id);
        let derived =
            self.derived_key(&id_text, key, salt).ok_or(UnreadableRecord::Damaged("its key can't be made"))?;
        let mut plain = sealed.to_vec();
        let opened = derived.open_in_place(nonce(u64::from_le_bytes(*number)), Aad::from(aad), &mut plain);
        let length = opened.map_err(|_| UnreadableRecord::Damaged("its seal does not fit"))?.len();
        plain.truncate(length);
        Ok((head, plain))
    }

    fn derived_key(&self, id: &str, key: &SpoolKey, salt: &[u8; SALT]) -> Option<Arc<LessSafeKey>> {
        let place = (id.to_owned(), *salt);
        if let Some(known) = self.derived.lock().get(&place) {
            return Some(Arc::clone(known));
        }
        let derived = Arc::new(derive_key(key, salt)?);
        let mut known = self.derived.lock();
        if known.len() >= MAX_KNOWN_SALTS {
            known.clear();
        }
        known.insert(place, Arc::clone(&derived));
        Some(derived)
    }
}

/// The body of an opened record, of at most `max_bytes` bytes.
///
/// # Errors
/// It is damaged or larger.
pub fn inflate(compressed: &[u8], max_bytes: usize) -> Result<Bytes, UnreadableRecord> {
    let damaged = |_| UnreadableRecord::Damaged("its compression does not fit");
    let mut body = Vec::with_capacity(compressed.len().saturating_mul(3).min(max_bytes));
    let decoder = zstd::stream::read::Decoder::with_buffer(compressed).map_err(damaged)?;
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(limit).read_to_end(&mut body).map_err(damaged)?;
    if body.len() > max_bytes {
        return Err(UnreadableRecord::TooLarge);
    }
    Ok(body.into())
}

/// A key id for a message: a stranger's record may hold anything in its place.
fn printable_id(text: &str) -> String {
    let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { text.to_owned() } else { "(not an id)".to_owned() }
}

fn derive_key(key: &SpoolKey, salt: &[u8; SALT]) -> Option<LessSafeKey> {
    let derived = key.derive(salt, KEY_INFO)?;
    UnboundKey::new(&AES_256_GCM, derived.as_slice()).ok().map(LessSafeKey::new)
}

fn associated_data(topic: &str, partition: i32, head: &RecordHead, key_id: &[u8]) -> Vec<u8> {
    let partition = partition.to_le_bytes();
    let id = head.id.map(|id| id.0.to_le_bytes());
    let parts: [&[u8]; 6] = [
        VERSION.as_bytes(),
        head.account.as_bytes(),
        head.content.as_str().as_bytes(),
        key_id,
        topic.as_bytes(),
        &partition,
    ];
    let mut aad = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts.into_iter().chain(id.as_ref().map(<[u8; 16]>::as_slice)) {
        aad.extend_from_slice(&(part.len() as u64).to_le_bytes());
        aad.extend_from_slice(part);
    }
    aad
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    for (to, from) in bytes.iter_mut().zip(number.to_le_bytes()) {
        *to = from;
    }
    Nonce::assume_unique_for_key(bytes)
}
