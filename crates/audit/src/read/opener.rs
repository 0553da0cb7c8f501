//! [`FragmentOpener`]: splits an object into its age files and opens them with the auditors' keys. A fragment in a
//! place where it does not belong is an error. Decompression is bounded. A damaged fragment does not hide the others.
//! Without the index, only an age file's first line shows where the file begins; these 176 bits don't occur by chance
//! in ciphertext. Neighbours: `session_keys`, `rebuild` (content that refers to earlier content).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read};

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;

use super::key_claims::KeyClaims;
use super::session::ContentLimit;
use crate::error::ReadError;
use crate::folders::KeySelection;
use crate::location::Vault;
use kernel::pseudonym::PREFIX;
use vault::document::{DocumentHead, FragmentDocument};
use vault::key_shares::KeyShare;
use vault::object_names::{FragmentScope, ObjectName, UNATTRIBUTED, account_segment, id_segment};

/// Largest plaintext of a fragment, bytes; a request of 64 MiB gives at most about 140 MiB.
pub(super) const MAX_PLAIN: usize = 256 << 20;

/// Ranges of an object's fragments (first byte, length) according to the index, with their scopes.
pub type FragmentScopes = BTreeMap<(u64, u64), FragmentScope>;

/// Opens fragments, and caches the session keys that it opened.
pub struct FragmentOpener<'a> {
    pub(crate) vault: &'a Vault,
    pub(crate) auditors: Vec<age::x25519::Identity>,
    /// Shares of keys that other auditors opened.
    pub(crate) shares: Vec<KeyShare>,
    /// Keys that the auditors may open with their own shares alone; `None`: all, for a command that shows no content.
    pub(crate) permitted: Option<Vec<KeySelection>>,
    /// Session keys, or the reason why there are none, by the folder of the key objects.
    pub(crate) sessions: HashMap<String, Result<Vec<age::x25519::Identity>, OpenFailure>>,
    /// Whether a key stayed closed because no opening permits it.
    pub(crate) needs_request: bool,
    /// Objects among the key objects that are not usable keys.
    pub(crate) bad_keys: Vec<BadKey>,
    /// Claims of index lines about the keys of the session being read.
    pub(crate) claims: KeyClaims,
    /// Messages about keys that exist although an erasure names them.
    pub(crate) restored_keys: Vec<String>,
    /// Messages about objects that were read under an alternative name, one for each object.
    pub(crate) alternative_reads: Vec<String>,
    /// Decompressed bytes that may still be read into memory.
    pub(crate) room: u64,
}

/// The documents of an object, as far as they open.
///
/// # Errors
/// Nothing of the object can be opened, because of its name or its keys.
pub type OpenedDocuments = Result<Vec<Result<OpenedFragment, OpenFailure>>, OpenFailure>;

impl<'a> FragmentOpener<'a> {
    /// An opener with these auditors' keys.
    pub fn new(vault: &'a Vault, auditors: Vec<age::x25519::Identity>) -> Self {
        Self {
            vault,
            auditors,
            shares: Vec::new(),
            permitted: Some(Vec::new()),
            sessions: HashMap::new(),
            needs_request: false,
            bad_keys: Vec::new(),
            claims: KeyClaims::default(),
            restored_keys: Vec::new(),
            alternative_reads: Vec::new(),
            room: ContentLimit::default().0,
        }
    }

    /// An opener for recorded openings ([`crate::openings`]): for these selections, it opens keys that several people
    /// open together also without another auditor's share.
    pub fn for_openings(vault: &'a Vault, auditors: Vec<age::x25519::Identity>, openings: Vec<KeySelection>) -> Self {
        Self { permitted: Some(openings), ..Self::new(vault, auditors) }
    }

    /// Whether an opening of the keys in this folder is recorded, or need not be.
    pub(super) fn is_permitted(&self, folder: &str) -> bool {
        let folder = self.vault.relative_name(folder);
        let is_selected = |permitted: &Vec<KeySelection>| {
            folder.is_some_and(|folder| permitted.iter().any(|selection| selection.matches(folder)))
        };
        self.permitted.as_ref().is_none_or(is_selected)
    }

    /// Opens the fragments in `bytes` of the object `name`; a damaged one does not hide the others. `scopes` has the
    /// fragments that the index names; others are found by their first lines.
    pub async fn open_documents(&mut self, name: &str, bytes: &Bytes, scopes: &FragmentScopes) -> OpenedDocuments {
        let object = ObjectName::parse(name)
            .ok_or_else(|| OpenFailure::Other(ReadError::new(format!("{name} is not a payload object"))))?;
        if let Some(scope) = &object.scope {
            self.open_session_keys(&object.keys(scope)).await?;
        }
        let (fragments, outside) = cut_fragments(bytes, &scopes.keys().copied().collect());
        let mut stored = Vec::with_capacity(fragments.len());
        for (offset, fragment) in &fragments {
            let indexed_scope = || scopes.range((*offset, 0)..=(*offset, u64::MAX)).next().map(|(_, scope)| scope);
            let room = self.room;
            let plain = match object.scope.as_ref().or_else(indexed_scope) {
                None => Err(OpenFailure::UnknownScope("the index does not name its session (yet)".to_owned(), *offset)),
                Some(scope) => match self.open_session_keys(&object.keys(scope)).await {
                    Ok(keys) => open_fragment(&object.file, scope, fragment, keys, room),
                    Err(failure) => Err(failure),
                },
            };
            self.room = room.saturating_sub(plain.as_ref().map_or(0, |plain| plain.len() as u64));
            stored.push((*offset, plain.map_err(|failure| failure.with_place(name, *offset))));
        }
        let scopes = object.scope.iter().chain(scopes.values()).collect();
        let mut opened = self.rebuild_documents(name, &object, &scopes, stored).await?;
        opened.extend(outside.iter().map(|offset| {
            let error = ReadError::new("the index points beyond the end of the object");
            Err(OpenFailure::Other(error).with_place(name, *offset))
        }));
        if opened.is_empty() {
            return Err(OpenFailure::Other(ReadError::new(format!("{name}: no fragment found in this range"))));
        }
        Ok(opened)
    }
}

pub struct OpenedFragment {
    /// Its offset in the given bytes.
    pub offset: u64,
    pub document: FragmentDocument,
    /// The document as JSON: the sealed bytes, with whole content in place of references to earlier content.
    pub plain: Vec<u8>,
}

/// Opens one fragment and checks that it belongs in its place.
pub(super) fn open_fragment(
    file: &str,
    scope: &FragmentScope,
    sealed: &[u8],
    keys: &[age::x25519::Identity],
    room: u64,
) -> Result<Vec<u8>, OpenFailure> {
    let plain = match unseal(sealed, keys, room) {
        Err(OpenFailure::Other(error)) => unseal_without_zeros(sealed, keys, room).ok_or(OpenFailure::Other(error))?,
        result => result?,
    };
    let document: DocumentPlace =
        serde_json::from_slice(&plain).map_err(|_| OpenFailure::Other(ReadError::new(NOT_A_DOCUMENT)))?;
    let is_of_writer = file.starts_with(&format!("{}-{}-", document.head.writer, document.head.epoch));
    if !is_of_writer || !is_in_place(&document, scope) {
        return Err(OpenFailure::Other(ReadError::new("the fragment belongs to another object")));
    }
    Ok(plain)
}

pub(super) const NOT_A_DOCUMENT: &str = "the fragment does not contain a valid vault document";

/// The fields of a document from which its place in the vault follows.
#[derive(Deserialize)]
struct DocumentPlace {
    #[serde(flatten)]
    head: DocumentHead<'static>,
    items: Vec<ItemTrace>,
}

#[derive(Deserialize)]
struct ItemTrace {
    trace_id: Option<String>,
}

/// Opens a fragment without its trailing zeros. A lost fragment leaves zeros in its object. Without the index, they
/// seem to belong to the fragment before them.
fn unseal_without_zeros(sealed: &[u8], keys: &[age::x25519::Identity], room: u64) -> Option<Vec<u8>> {
    let zeros = sealed.iter().rev().take_while(|byte| **byte == 0).count();
    let end = sealed.len() - zeros;
    // the fragment's own bytes may end in zeros
    (0..zeros.min(4)).find_map(|own_zeros| unseal(sealed.get(..end + own_zeros)?, keys, room).ok())
}

/// Whether a document's own fields match the object's name. A private id appears in the name as a pseudonym, which
/// can't be compared without the gateway's key.
fn is_in_place(document: &DocumentPlace, scope: &FragmentScope) -> bool {
    let head: &DocumentHead<'_> = &document.head;
    let is_named = |id: &str, segment: &str| segment.starts_with(PREFIX) || id_segment(id) == segment;
    let tenant = if head.tenant.is_empty() { UNATTRIBUTED } else { &head.tenant };
    let is_session = match (&head.session, document.items.first().and_then(|item| item.trace_id.as_deref())) {
        (Some(id), _) => is_named(id, &scope.session),
        (None, Some(trace)) => scope.session.strip_prefix("trace-") == Some(trace),
        (None, None) => scope.session.starts_with("trace-"),
    };
    is_session
        && account_segment(&head.account) == scope.account
        && is_named(tenant, &scope.tenant)
        && head.received.starts_with(&scope.date)
}

fn decrypt<'a>(sealed: &'a [u8], keys: &[age::x25519::Identity]) -> Option<impl Read + use<'a>> {
    let decryptor = age::Decryptor::new_buffered(sealed).ok()?;
    decryptor.decrypt(keys.iter().map(|key| key as &dyn age::Identity)).ok()
}

fn unseal(sealed: &[u8], keys: &[age::x25519::Identity], room: u64) -> Result<Vec<u8>, OpenFailure> {
    const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    let damaged = |_| OpenFailure::Other(ReadError::new("the fragment is damaged or truncated"));
    let no_key = || OpenFailure::Other(ReadError::new("no session key opens the fragment"));
    let mut reader = BufReader::new(decrypt(sealed, keys).ok_or_else(no_key)?);
    let first_bytes = reader.fill_buf().map_err(damaged)?;
    let decoder: Box<dyn Read> = match first_bytes.starts_with(ZSTD_MAGIC) {
        true => Box::new(zstd::Decoder::with_buffer(reader).map_err(damaged)?),
        false => Box::new(reader), // an object of one turn is not compressed
    };
    let (mut plain, limit) = (Vec::new(), room.min(MAX_PLAIN as u64));
    decoder.take(limit + 1).read_to_end(&mut plain).map_err(damaged)?;
    match plain.len() as u64 {
        len if len <= limit => Ok(plain),
        len if len <= MAX_PLAIN as u64 => Err(OpenFailure::TooLarge),
        _ => Err(OpenFailure::Other(ReadError::new("the fragment is too large"))),
    }
}

/// Why a fragment can't be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenFailure {
    /// There is no key object.
    NoKey(String),
    /// None of the given identities opens a key.
    NoIdentity(String),
    /// The content would exceed the memory limit.
    TooLarge,
    /// The scope of the fragment at this offset is unknown.
    UnknownScope(String, u64),
    Other(ReadError),
}

impl OpenFailure {
    /// Adds the fragment's object and offset to the message.
    pub(super) fn with_place(self, name: &str, offset: u64) -> Self {
        let add_place = |why: String| format!("{name} at {offset}: {why}");
        match self {
            Self::NoKey(why) => Self::NoKey(add_place(why)),
            Self::NoIdentity(why) => Self::NoIdentity(add_place(why)),
            Self::TooLarge => Self::TooLarge,
            Self::UnknownScope(why, _) => Self::UnknownScope(add_place(why), offset),
            Self::Other(error) => Self::Other(error.map_message(add_place)),
        }
    }
}

impl From<OpenFailure> for ReadError {
    fn from(failure: OpenFailure) -> Self {
        match failure {
            OpenFailure::TooLarge => Self::new("its content exceeds the memory limit for content"),
            OpenFailure::NoKey(why) | OpenFailure::UnknownScope(why, _) | OpenFailure::NoIdentity(why) => {
                Self::new(why)
            }
            OpenFailure::Other(error) => error,
        }
    }
}

/// An object among a session's keys that is not a usable key, or can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKey {
    pub name: String,
    pub why: String,
    /// Whether the object is in archive storage, and must be restored before it can be read.
    pub archived: bool,
}

const FIRST_LINE: &[u8] = b"age-encryption.org/v1\n";

/// The age files in `bytes` with their offsets; bytes before the first one are ignored.
pub(super) fn split_fragments(bytes: &Bytes) -> Vec<(u64, Bytes)> {
    let starts: Vec<usize> = memmem::find_iter(bytes, FIRST_LINE).collect();
    let ends = starts.iter().copied().skip(1).chain([bytes.len()]);
    starts.iter().zip(ends).map(|(start, end)| (*start as u64, bytes.slice(*start..end))).collect()
}

/// The age files in `bytes`, in order: those in the `known` ranges (first byte, length), and any others between them.
/// Also returns the starts of known ranges that lie outside `bytes`.
fn cut_fragments(bytes: &Bytes, known: &BTreeSet<(u64, u64)>) -> (Vec<(u64, Bytes)>, Vec<u64>) {
    let (mut found, mut outside) = (Vec::new(), Vec::new());
    for (first, length) in known {
        let end = first.checked_add(*length).filter(|end| *end <= bytes.len() as u64);
        let range = end.and_then(|end| Some(usize::try_from(*first).ok()?..usize::try_from(end).ok()?));
        match range {
            Some(range) => found.push((*first, bytes.slice(range))),
            None => outside.push(*first),
        }
    }
    for (start, fragment) in split_fragments(bytes) {
        let previous = known.range(..=(start, u64::MAX)).next_back();
        if previous.is_none_or(|(first, length)| start - first >= *length) {
            let until_next = known.range((start, u64::MAX)..).next().map_or(u64::MAX, |(first, _)| *first - start);
            let length = fragment.len().min(usize::try_from(until_next).unwrap_or(usize::MAX));
            found.push((start, fragment.slice(..length)));
        }
    }
    found.sort_unstable_by_key(|(start, _)| *start);
    (found, outside)
}
