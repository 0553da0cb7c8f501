//! **What**: [`Opener`]: opens the fragments of an object with the auditors' keys. **Invariants**: a fragment that does
//! not belong where it lies is an error; what is decompressed is bounded; one that is damaged hides no other. **Not
//! here**: keys of sessions (`keys`), content that refers to earlier content (`whole`).

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read};

use bytes::Bytes;
use serde::Deserialize;

use super::claims::KeyClaims;
use super::fragments;
use super::shut::{BadKey, Shut};
use crate::error::ReadError;
use crate::location::Vault;
use kernel::pseudonym::PREFIX;
use vault::document::{Document, Head};
use vault::names::{ObjectName, Scope, UNATTRIBUTED, account_segment};

/// Largest plaintext of a fragment, bytes; a request of 64 MiB gives at most about 140 MiB.
pub(super) const MAX_PLAIN: usize = 256 << 20;

/// Ranges of an object's fragments (first byte, length) as the index tells, with where they belong.
pub type Places = BTreeMap<(u64, u64), Scope>;

/// Opens fragments; keeps the session keys it has opened.
pub struct Opener<'a> {
    pub(super) vault: &'a Vault,
    pub(super) auditors: Vec<age::x25519::Identity>,
    /// By the folder of the key objects.
    pub(super) sessions: HashMap<String, Result<Vec<age::x25519::Identity>, Shut>>,
    /// Among the key objects, and none.
    pub(super) bad: Vec<BadKey>,
    /// What lines say about the keys of the session that is read.
    pub(super) claims: KeyClaims,
    /// Keys that an erasure names and that are there, in words.
    pub(super) back: Vec<String>,
    pub(super) moved: Vec<String>,
}

impl<'a> Opener<'a> {
    /// An opener with these auditors' keys.
    pub fn new(vault: &'a Vault, auditors: Vec<age::x25519::Identity>) -> Self {
        let (claims, back) = (KeyClaims::default(), Vec::new());
        Self { vault, auditors, sessions: HashMap::new(), bad: Vec::new(), claims, back, moved: Vec::new() }
    }

    /// The fragments in `bytes` of the object `name`, each opened or the reason why not: one that is damaged hides no
    /// other. `room` is how much content may be taken into memory, bytes decompressed; what is taken is taken from it.
    /// `known` are ranges (first byte, length) of fragments as the index tells; the rest is found by first lines.
    ///
    /// # Errors
    /// When nothing of the object can be opened: the name, or the keys.
    pub async fn documents(
        &mut self,
        name: &str,
        bytes: &Bytes,
        known: &Places,
        room: &mut u64,
    ) -> Result<Vec<Result<Opened, Shut>>, Shut> {
        let object = ObjectName::parse(name)
            .ok_or_else(|| Shut::Other(ReadError::invalid(format!("{name} is not a payload object"))))?;
        if let Some(scope) = &object.scope {
            self.session_keys(&object.keys(scope)).await?;
        }
        let (found, outside) = fragments::cut(bytes, &known.keys().copied().collect());
        let mut stored = Vec::with_capacity(found.len());
        for (offset, fragment) in &found {
            let told = || known.range((*offset, 0)..=(*offset, u64::MAX)).next().map(|(_, scope)| scope);
            let plain = match object.scope.as_ref().or_else(told) {
                None => Err(Shut::Untold("the index does not tell, or not yet, whose it is".to_owned(), *offset)),
                Some(scope) => match self.session_keys(&object.keys(scope)).await {
                    Ok(keys) => open_fragment(&object.file, scope, fragment, keys, *room),
                    Err(why) => Err(why),
                },
            };
            *room = room.saturating_sub(plain.as_ref().map_or(0, |plain| plain.len() as u64));
            stored.push((*offset, plain.map_err(|why| why.at(name, *offset))));
        }
        let scopes = object.scope.iter().chain(known.values()).collect();
        let mut out = self.whole(name, &object, &scopes, stored, room).await?;
        let outside = outside
            .iter()
            .map(|at| Shut::Other(ReadError::damaged("the index points outside of the object")).at(name, *at));
        out.extend(outside.map(Err));
        if out.is_empty() {
            Err(Shut::Other(ReadError::not_found(format!("{name}: no fragment in these bytes"))))
        } else {
            Ok(out)
        }
    }
}

/// A fragment that was opened.
pub struct Opened {
    /// Where it starts in the bytes given.
    pub offset: u64,
    /// What it says.
    pub document: Document,
    /// The same as JSON: the bytes that were sealed, with content made whole where it referred to earlier content.
    pub plain: Vec<u8>,
}

/// Opens one fragment and holds it against the place where it lies.
pub(super) fn open_fragment(
    file: &str,
    scope: &Scope,
    sealed: &[u8],
    keys: &[age::x25519::Identity],
    room: u64,
) -> Result<Vec<u8>, Shut> {
    let plain = match unseal(sealed, keys, room) {
        Err(Shut::Other(why)) => without_hole(sealed, keys, room).ok_or(Shut::Other(why))?,
        other => other?,
    };
    let document: Place = serde_json::from_slice(&plain).map_err(|_| Shut::Other(ReadError::damaged(NO_DOCUMENT)))?;
    let ours = file.starts_with(&format!("{}-{}-", document.head.writer, document.head.epoch));
    if !ours || !belongs(&document, scope) {
        return Err(Shut::Other(ReadError::damaged("the fragment belongs to another object")));
    }
    Ok(plain)
}

pub(super) const NO_DOCUMENT: &str = "the fragment is not a document of the vault";

/// What a document says of where it belongs.
#[derive(Deserialize)]
struct Place {
    #[serde(flatten)]
    head: Head<'static>,
    items: Vec<Traced>,
}

#[derive(Deserialize)]
struct Traced {
    trace_id: Option<String>,
}

/// A fragment that was lost leaves zeros in its object; without the index they seem to be the end of the one before.
fn without_hole(sealed: &[u8], keys: &[age::x25519::Identity], room: u64) -> Option<Vec<u8>> {
    let end = sealed.len() - sealed.iter().rev().take_while(|byte| **byte == 0).count();
    let hole = sealed.len() - end;
    // a fragment may end in zeros of its own
    (0..hole.min(4)).find_map(|own| unseal(sealed.get(..end + own)?, keys, room).ok())
}

/// Whether what the document says of itself is what its name says. A private id stands in the name as its pseudonym,
/// which nobody without the gateway's key can compare.
fn belongs(document: &Place, scope: &Scope) -> bool {
    let head: &Head<'_> = &document.head;
    let same = |id: &str, segment: &str| {
        segment.starts_with(PREFIX) || kernel::pseudonym::segment(id).as_deref().unwrap_or(id) == segment
    };
    let tenant = if head.tenant.is_empty() { UNATTRIBUTED } else { &head.tenant };
    let session = match (&head.session, document.items.first().and_then(|item| item.trace_id.as_deref())) {
        (Some(id), _) => same(id, &scope.session),
        (None, Some(trace)) => scope.session.strip_prefix("trace-") == Some(trace),
        (None, None) => scope.session.starts_with("trace-"),
    };
    session
        && account_segment(&head.account) == scope.account
        && same(tenant, &scope.tenant)
        && head.received.starts_with(&scope.date)
}

fn decrypt<'a>(sealed: &'a [u8], keys: &[age::x25519::Identity]) -> Option<impl Read + use<'a>> {
    let decryptor = age::Decryptor::new_buffered(sealed).ok()?;
    decryptor.decrypt(keys.iter().map(|key| key as &dyn age::Identity)).ok()
}

fn unseal(sealed: &[u8], keys: &[age::x25519::Identity], room: u64) -> Result<Vec<u8>, Shut> {
    const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    let damaged = |_| Shut::Other(ReadError::damaged("the fragment is damaged or cut off"));
    let none = || Shut::Other(ReadError::forbidden("no session key opens the fragment"));
    let mut reader = BufReader::new(decrypt(sealed, keys).ok_or_else(none)?);
    let begins = reader.fill_buf().map_err(damaged)?;
    let decoder: Box<dyn Read> = match begins.starts_with(MAGIC) {
        true => Box::new(zstd::Decoder::with_buffer(reader).map_err(damaged)?),
        false => Box::new(reader), // of an object of one turn
    };
    let (mut plain, most) = (Vec::new(), room.min(MAX_PLAIN as u64));
    decoder.take(most + 1).read_to_end(&mut plain).map_err(damaged)?;
    match plain.len() as u64 {
        len if len <= most => Ok(plain),
        len if len <= MAX_PLAIN as u64 => Err(Shut::NoRoom),
        _ => Err(Shut::Other(ReadError::damaged("the fragment is too large"))),
    }
}
