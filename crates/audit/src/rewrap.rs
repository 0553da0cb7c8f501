//! `vault rewrap`: adds copies of session keys for other auditors beside the existing key objects. An auditor who joins
//! later can then open earlier content, and payload is never rewritten.
//!
//! An auditor's own key opens the key to be copied. A copy's name has the id of its key, so that erasure finds it, and
//! a tag of its recipients, so that the same copy is not made twice. The chain of the person who copies records each
//! copy's hash after the copy was written; the next run completes an interrupted one. Because anyone with write access
//! can put an object there, an object counts as a copy only if the chain lists it, its name could only be made with the
//! signing key, or it opens for each recipient. Neighbour: the gateway's `recipients` decide the keys of new sessions.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use kernel::clock::UnixNanos;

use super::error::ReadError;
use super::folders::parse_key_name;
use super::ledger::{Ledger, LedgerEntry};
use super::read::open_key;
use super::writable_vault::WritableVault;
use vault::chain::note::{SigningKey, VerifyKey};
use vault::index_row::{KeyCopy, ShreddedKey};
use vault::seal::{key_id, seal_identity};
use vault::store::StoreError;
use vault::store::{ObjectKind, PutOutcome};

/// Selects keys.
#[derive(Clone, Debug, Default)]
pub struct KeySelection {
    /// Only this account.
    pub account: Option<String>,
    /// Only this tenant, as the index shows it.
    pub tenant: Option<String>,
    /// Only this session.
    pub session: Option<String>,
    /// Only keys from this day on, `2026-11-20`.
    pub since: Option<String>,
}

impl KeySelection {
    /// Whether `name`, without the vault's prefix, is selected: `keys/account/tenant/session/day/…`.
    fn matches(&self, name: &str) -> bool {
        let parts: Vec<&str> = name.split('/').collect();
        let ["keys", account, tenant, session, day, _] = parts[..] else { return false };
        let same = |wanted: &Option<String>, told: &str| {
            let segment = |id: &String| kernel::pseudonym::encode_segment(id).unwrap_or_else(|| id.clone());
            wanted.as_ref().is_none_or(|wanted| segment(wanted) == told)
        };
        let own = self.account.as_ref().is_none_or(|wanted| vault::object_names::account_segment(wanted) == account);
        own && same(&self.tenant, tenant)
            && same(&self.session, session)
            && self.since.as_ref().is_none_or(|since| day >= since.as_str())
    }
}

/// Result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewrapSummary {
    /// Keys examined.
    pub keys: u64,
    /// Copies written.
    pub written: u64,
    /// Keys that already had such a copy.
    pub already_present: u64,
    /// Copies newly listed in the chain.
    pub newly_listed: u64,
    /// Keys that could not be copied, with the reason.
    pub failed: Vec<String>,
}

/// The person who copies, and records it in a chain of their own.
pub struct LedgerSigner<'k> {
    /// Signs the chain.
    pub key: &'k SigningKey,
    /// Keys that signed the chain earlier.
    pub earlier_keys: &'k [VerifyKey],
    /// Name of the chain's writer.
    pub writer: &'k str,
}

/// Most copies in one line.
const MAX_COPIES_PER_LINE: usize = 1000;

/// Copies the keys that `which` selects for `recipients`.
///
/// # Errors
/// The store fails. Copies already made stay; calling again does the rest.
pub async fn rewrap(
    place: &WritableVault,
    auditors: &[age::x25519::Identity],
    recipients: &[age::x25519::Recipient],
    which: &KeySelection,
    teller: &LedgerSigner<'_>,
    now: UnixNanos,
) -> Result<RewrapSummary, ReadError> {
    let mut keys: BTreeMap<ShreddedKey, BTreeSet<String>> = BTreeMap::new();
    for name in place.vault.list(ObjectKind::Key, "keys/").await? {
        let wanted = place.vault.relative_name(&name).is_some_and(|name| which.matches(name));
        if let Some(key) = parse_key_name(&name).filter(|_| wanted) {
            keys.entry(key).or_default().insert(name);
        }
    }
    let mut done = RewrapSummary::default();
    let mut ledgers: BTreeMap<String, Ledger<'_>> = BTreeMap::new();
    let mut made: BTreeMap<String, Vec<KeyCopy>> = BTreeMap::new();
    for (key, objects) in keys {
        done.keys += 1;
        let account = parse_account(place, &key.folder);
        let ledger = match ledgers.entry(account.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                free.insert(Ledger::read(place, teller.key, teller.earlier_keys, &account, teller.writer).await?)
            }
        };
        let job = CopyJob { place, auditors, recipients, signer: teller, ledger, key: &key };
        let seen = job.read_objects(&objects, &mut done.failed).await?;
        if !seen.copies.is_empty() {
            done.already_present += 1;
            made.entry(account).or_default().extend(seen.copies);
        } else if let Some(copy) = job.write_copy(seen, &mut done.failed, now).await? {
            done.written += 1;
            made.entry(account).or_default().push(copy);
        }
    }
    for (account, copies) in made {
        let Some(ledger) = ledgers.get_mut(&account) else { continue };
        let new: Vec<KeyCopy> = copies.into_iter().filter(|copy| !ledger.has_copy(copy)).collect();
        for some in new.chunks(MAX_COPIES_PER_LINE) {
            ledger.append(LedgerEntry::KeyCopies(some.to_vec()), now).await?;
            done.newly_listed += some.len() as u64;
        }
    }
    Ok(done)
}

/// One key to copy.
struct CopyJob<'j, 'k> {
    place: &'j WritableVault,
    auditors: &'j [age::x25519::Identity],
    recipients: &'j [age::x25519::Recipient],
    signer: &'j LedgerSigner<'k>,
    ledger: &'j Ledger<'j>,
    key: &'j ShreddedKey,
}

/// The existing objects of a key.
#[derive(Default)]
struct KeyObjects {
    /// Copies for these recipients.
    copies: Vec<KeyCopy>,
    /// An object with a copy's name that nothing proves to be one.
    unproved: Option<String>,
    secret: Option<age::x25519::Identity>,
    /// Whether an object opens but holds another key than its name says.
    has_other_key: bool,
}

impl CopyJob<'_, '_> {
    /// Folder and id of the key.
    fn stem(&self) -> String {
        format!("{}{}", self.key.folder, self.key.id)
    }

    /// Name prefix of copies for these recipients.
    fn copy_prefix(&self) -> String {
        format!("{}-{}", self.stem(), recipients_tag(self.recipients))
    }

    async fn read_objects(
        &self,
        objects: &BTreeSet<String>,
        closed: &mut Vec<String>,
    ) -> Result<KeyObjects, ReadError> {
        let (mut seen, start) = (KeyObjects::default(), self.copy_prefix());
        for name in objects {
            let object = match self.place.vault.fetch_key_object(name).await {
                Ok(object) => object,
                Err(error @ (StoreError::TooLarge | StoreError::Archived)) => {
                    closed.push(format!("{name}: {error}"));
                    continue;
                }
                Err(error) => return Err(ReadError::from_object_error(name, &error)),
            };
            if name.starts_with(&start) {
                let copy = describe_copy(name, &object);
                match is_sealed_for(&object, self.recipients) && self.is_proved(&copy, &object) {
                    true => seen.copies.push(copy),
                    false => seen.unproved = seen.unproved.or_else(|| Some(name.clone())),
                }
            }
            match open_key(&object, self.auditors).ok().flatten() {
                Some(secret) if self.is_this_key(&secret) => seen.secret = Some(secret),
                // a planted object must not block the real key
                Some(_) => seen.has_other_key = true,
                None => {}
            }
        }
        Ok(seen)
    }

    fn is_this_key(&self, secret: &age::x25519::Identity) -> bool {
        key_id(&secret.to_public().to_string()) == self.key.id
    }

    /// Whether an object with a copy's name is one. Its form and the start of its name prove nothing, and the key
    /// object itself, put there, would open for its own auditors. So it must open for each recipient, or come from a
    /// holder of the signing key.
    fn is_proved(&self, copy: &KeyCopy, object: &[u8]) -> bool {
        let opens = |recipient: &age::x25519::Recipient| {
            let own = self.auditors.iter().find(|own| own.to_public().to_string() == recipient.to_string());
            let secret = own.and_then(|own| open_key(object, std::slice::from_ref(own)).ok().flatten());
            secret.is_some_and(|secret| self.is_this_key(&secret))
        };
        self.ledger.has_copy(copy) || copy.name == self.copy_name(object) || self.recipients.iter().all(opens)
    }

    /// The name of a copy, derived with the signing key. A later run recognises its own copy by the name even if the
    /// chain does not list it yet, and no one else can take the name or give it to another object.
    fn copy_name(&self, object: &[u8]) -> String {
        let start = self.copy_prefix();
        let mut hash = Sha256::new();
        for part in ["rewrap copy", &start, &kernel::hex::encode(&Sha256::digest(object))] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let own = Sha256::digest(self.signer.key.sign(&hash.finalize()));
        format!("{start}{}.age", kernel::hex::encode(own.get(..16).unwrap_or_default()))
    }

    /// Writes a copy; `None` if it can't be made, with the reason added to `closed`.
    async fn write_copy(
        &self,
        seen: KeyObjects,
        closed: &mut Vec<String>,
        now: UnixNanos,
    ) -> Result<Option<KeyCopy>, ReadError> {
        let stem = self.stem();
        let Some(secret) = seen.secret else {
            let why = if seen.has_other_key {
                "it contains another key than its name says"
            } else {
                "none of the given identities opens it"
            };
            closed.push(format!("{stem}.age: {why}"));
            return Ok(None);
        };
        let object = seal_identity(&secret, self.recipients)
            .map_err(|_| ReadError::invalid(format!("{stem}: the key can't be sealed")))?;
        let copy = describe_copy(&self.copy_name(&object), &object);
        if let Some(name) = seen.unproved {
            closed.push(format!(
                "{name}: not listed in the chain of copies and not opened by a given identity: it was planted, or \
                 made by someone else; a new copy is written beside it"
            ));
        }
        let put = self.place.store.put_once(ObjectKind::Key, &copy.name, object.into(), now).await;
        match put {
            Ok(PutOutcome::Written) => Ok(Some(copy)),
            Ok(PutOutcome::Exists) | Err(StoreError::Differs) => {
                closed.push(format!("{}: the name is taken; try again", copy.name));
                Ok(None)
            }
            Err(error) => Err(ReadError::from_object_error(&copy.name, &error)),
        }
    }
}

fn describe_copy(name: &str, object: &[u8]) -> KeyCopy {
    KeyCopy { name: name.to_owned(), sha256: kernel::hex::encode(&Sha256::digest(object)) }
}

/// The account in a key object's name.
fn parse_account(place: &WritableVault, name: &str) -> String {
    let account = place.vault.relative_name(name).and_then(|name| name.split('/').nth(1));
    account.unwrap_or_default().to_owned()
}

/// Whether a key object is an age file with as many stanzas as recipients. Only a recipient could tell whose stanzas
/// they are.
fn is_sealed_for(object: &[u8], recipients: &[age::x25519::Recipient]) -> bool {
    let text = object.strip_prefix(b"age-encryption.org/v1\n").unwrap_or_default();
    let head = text.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"---"));
    let count: BTreeSet<_> = recipients.iter().map(ToString::to_string).collect();
    !text.is_empty() && head.filter(|line| line.starts_with(b"-> X25519 ")).count() == count.len()
}

/// Tag of the recipients: 8 hex digits, independent of their order.
fn recipients_tag(recipients: &[age::x25519::Recipient]) -> String {
    let texts: BTreeSet<String> = recipients.iter().map(ToString::to_string).collect();
    let digest = Sha256::digest(texts.into_iter().collect::<Vec<_>>().join("\n"));
    kernel::hex::encode(digest.get(..4).unwrap_or(&digest))
}
