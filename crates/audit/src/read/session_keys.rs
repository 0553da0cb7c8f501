//! Opens the key objects of a session. Anyone with write access can put objects beside a session's keys; these must
//! neither hide the keys nor exhaust the memory. An attacker could put back a key that was destroyed by request, so
//! keys are checked against index lines (`key_claims`); an erasure withholds a key only if its line counts as signed.
//!
//! At most [`MAX_KEY`] bytes of an object are read. An object that is not a key is reported and skipped. A key counts
//! only under its own id. Neighbour: `verify` checks the keys of the whole vault.

use std::io::Read as _;

use age::x25519::Identity;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use zeroize::Zeroizing;

use super::key_claims::KeyVerdict;
use super::opener::{BadKey, FragmentOpener, OpenFailure};
use crate::error::{ReadError, Result};
use crate::folders::{is_share_of_folder, parse_key_name};
use crate::location::Vault;
use kernel::sha256::Sha256;
use vault::key_shares::{CombineFailure, KeyShare, ShareEnvelope, combine_shares};
use vault::seal::key_id;
use vault::store::{ObjectKind, StoreError};

/// Largest key object, bytes: enough for a secret sealed to some hundred auditors.
const MAX_KEY: u64 = 64 << 10;
/// Key objects fetched concurrently.
const CONCURRENT_FETCHES: usize = 16;
/// Most bad objects that are reported.
const MAX_REPORTED_BAD_KEYS: usize = 1000;

impl Vault {
    pub(crate) async fn fetch_key_object(&self, name: &str) -> Result<Bytes, StoreError> {
        self.fetch_within(ObjectKind::Key, name, MAX_KEY).await
    }

    /// A key object; if it is archived, or too large for a key, `None`, and a line in `refused`.
    pub(crate) async fn fetch_key_or_refuse(&self, name: &str, refused: &mut Vec<String>) -> Result<Option<Bytes>> {
        match self.fetch_key_object(name).await {
            Ok(object) => Ok(Some(object)),
            Err(error @ (StoreError::TooLarge | StoreError::Archived)) => {
                refused.push(format!("{name}: {error}"));
                Ok(None)
            }
            Err(error) => Err(ReadError::from_object_error(name, &error)),
        }
    }
}

impl FragmentOpener<'_> {
    /// The keys in a folder of key objects. Results are cached, also if no key opens; errors of the store are not.
    pub(super) async fn open_session_keys(&mut self, folder: &str) -> Result<&[Identity], OpenFailure> {
        if !self.sessions.contains_key(folder) {
            let keys = self.find_session_keys(folder).await?;
            self.sessions.insert(folder.to_owned(), keys);
        }
        match self.sessions.get(folder) {
            Some(Ok(keys)) => Ok(keys),
            Some(Err(failure)) => Err(failure.clone()),
            None => Ok(&[]), // unreachable: the entry was inserted above
        }
    }

    /// The inner result is to be cached; the outer error is one of the store.
    async fn find_session_keys(&mut self, folder: &str) -> Result<Result<Vec<Identity>, OpenFailure>, OpenFailure> {
        let store_failure = |error: StoreError| OpenFailure::Other(ReadError::from_object_error(folder, &error));
        let vault = self.vault;
        let mut names = vault.reader.list(ObjectKind::Key, folder).await.map_err(store_failure)?;
        // a gateway writes no subfolders; an object there may be a copy of an erased key
        names.retain(|name| name.strip_prefix(folder).is_some_and(|file| !file.contains('/')));
        let count = names.len();
        let mut objects = stream::iter(names)
            .map(async |name| (vault.fetch_key_object(&name).await, name))
            .buffered(CONCURRENT_FETCHES);
        let is_permitted = self.is_permitted(folder);
        let (mut keys, mut erased, mut too_few, mut needs_request) = (Vec::new(), None::<String>, None, false);
        while let Some((object, name)) = objects.next().await {
            let bad_key = |why: String, archived: bool| BadKey { name: name.clone(), why, archived };
            let opened = match object {
                Err(error @ (StoreError::Unavailable(_) | StoreError::Busy(_))) => return Err(store_failure(error)),
                Err(error) => Err(bad_key(error.to_string(), error == StoreError::Archived)),
                Ok(object) => match open_named(vault.relative_name(&name), &object, &self.auditors, &self.shares) {
                    Ok(KeyOpening::OpenedTogether(_)) if !is_permitted => {
                        needs_request = true;
                        Ok(None)
                    }
                    Ok(KeyOpening::Opened(key) | KeyOpening::OpenedTogether(key)) => {
                        Ok(Some((key, kernel::hex::encode(&Sha256::digest(&object)))))
                    }
                    Ok(KeyOpening::TooFewShares(why)) => {
                        too_few.get_or_insert(why);
                        Ok(None)
                    }
                    Ok(KeyOpening::SealedToOthers) => Ok(None),
                    Err(why) => Err(bad_key(why, false)),
                },
            };
            let judged = opened.and_then(|opened| {
                let Some((key, sha256)) = opened else { return Ok(None) };
                let (key, warning) = match self.claims.judge_key(&name, &key_id(&key.to_public().to_string()), &sha256)
                {
                    KeyVerdict::Usable(warning) => (Some(key), warning),
                    KeyVerdict::Erased(why) => (None, erased.insert(why).clone().into()),
                    KeyVerdict::Unlisted => {
                        let why = "its hash is not the one that index lines give for this key: run `tollgate \
                                   vault verify`";
                        return Err(bad_key(why.to_owned(), false));
                    }
                };
                self.restored_keys.extend(warning.map(|why| format!("{name}: {why}")));
                Ok(key)
            });
            match judged {
                Ok(key) => keys.extend(key),
                Err(bad_key) if self.bad_keys.len() < MAX_REPORTED_BAD_KEYS => self.bad_keys.push(bad_key),
                Err(_) => {}
            }
        }
        self.needs_request |= needs_request;
        Ok(match (erased, count) {
            _ if !keys.is_empty() => Ok(keys),
            (Some(why), _) => Err(OpenFailure::NoKey(format!("{folder}: {why}"))),
            (None, 0) => Err(OpenFailure::NoKey(format!(
                "{folder}: no key object: it was erased, or is in another bucket (give --keys)"
            ))),
            (None, _) => Err(OpenFailure::NoIdentity(match too_few {
                _ if needs_request => format!(
                    "{folder}: its key is opened only for a signed request: add --request, made with `tollgate vault \
                     open-request` and `vault approve`"
                ),
                Some(why) => format!(
                    "{folder}: {why} were given: add another auditor's --identity, or the file of their `tollgate vault \
                     share` as --share"
                ),
                None => format!("{folder}: none of the given identities opens the session's key"),
            })),
        })
    }
}

/// Result of opening a key object.
pub(crate) enum KeyOpening {
    Opened(Identity),
    /// The session's key, which shares of the given identities alone gave: no other auditor released one.
    OpenedTogether(Identity),
    /// The object needs more shares; the text says how many there are and how many it needs.
    TooFewShares(CombineFailure),
    /// No identity opens anything of it.
    SealedToOthers,
}

impl KeyOpening {
    /// The session's key, if it was opened.
    pub(crate) fn key(self) -> Option<Identity> {
        match self {
            Self::Opened(key) | Self::OpenedTogether(key) => Some(key),
            Self::TooFewShares(_) | Self::SealedToOthers => None,
        }
    }
}

/// As [`open_key`]; the key must be the one that the object's name says.
fn open_named(
    name: Option<&str>,
    object: &[u8],
    auditors: &[Identity],
    shares: &[KeyShare],
) -> Result<KeyOpening, String> {
    let name = name.unwrap_or_default();
    let opening = open_key(Some(name), object, auditors, shares)?;
    let (KeyOpening::Opened(key) | KeyOpening::OpenedTogether(key)) = &opening else { return Ok(opening) };
    let has_named_id = parse_key_name(name).is_some_and(|named| named.id == key_id(&key.to_public().to_string()));
    if has_named_id { Ok(opening) } else { Err("it contains another key than its name says".to_owned()) }
}

/// Opens a key object with the auditors' identities, and with shares that other auditors opened. With a name
/// (without the vault's prefix), its shares must be of that folder.
///
/// # Errors
/// The object is not a key object, a share of it is wrong, or its shares are of another folder.
pub(crate) fn open_key(
    name: Option<&str>,
    object: &[u8],
    auditors: &[Identity],
    shares: &[KeyShare],
) -> Result<KeyOpening, String> {
    if ShareEnvelope::is_envelope(object) {
        return open_shared_key(name, object, auditors, shares);
    }
    let mut secret = Zeroizing::new(String::new());
    let decryptor = age::Decryptor::new_buffered(object).map_err(|_| "it is not an age file")?;
    let Ok(plain) = decryptor.decrypt(auditors.iter().map(|key| key as &dyn age::Identity)) else {
        return Ok(KeyOpening::SealedToOthers);
    };
    plain.take(4096).read_to_string(&mut secret).map_err(|_| "it is damaged")?;
    let line = secret.lines().find(|line| !line.starts_with('#')).ok_or("it contains no key")?;
    let key = line.trim().parse().map_err(|_| "it contains no key")?;
    Ok(KeyOpening::Opened(key))
}

fn open_shared_key(
    name: Option<&str>,
    object: &[u8],
    auditors: &[Identity],
    shares: &[KeyShare],
) -> Result<KeyOpening, String> {
    let envelope = ShareEnvelope::parse(object)?;
    let mut opened = envelope.open(auditors)?;
    // someone with write access to the store could have copied another session's key object here
    if name.is_some_and(|name| !opened.iter().all(|share| is_share_of_folder(share, name))) {
        return Err("it holds the key of another session or day: it was moved here".to_owned());
    }
    // before other shares are added: whether they were needed decides if a request is
    if let Ok(key) = combine_shares(&opened) {
        return Ok(KeyOpening::OpenedTogether(key));
    }
    opened.extend(shares.iter().filter(|share| share.set == envelope.set).cloned());
    if opened.is_empty() {
        return Ok(KeyOpening::SealedToOthers);
    }
    match combine_shares(&opened) {
        Ok(key) => Ok(KeyOpening::Opened(key)),
        Err(too_few @ CombineFailure::TooFew { .. }) => Ok(KeyOpening::TooFewShares(too_few)),
        Err(why) => Err(why.to_string()),
    }
}
