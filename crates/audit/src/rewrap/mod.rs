//! `vault rewrap`: adds copies of session keys for other auditors beside the existing key objects, so that auditors who
//! join later can open earlier content. Payload is never rewritten.
//!
//! A copy's name has the id of its key, so that erasure finds the copy. The chain of the person who copies lists each
//! copy's hash once the copy is written; the next run completes an interrupted one. Anyone with write access can put
//! objects there, so `CopyJob::is_proved` decides which ones are copies. A key without a permitted recipient is not
//! copied. Neighbours: `ledger` writes the chain, `vault::recipients` has the limits of recipients.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use kernel::clock::UnixNanos;
use kernel::folders::account_of_segment;
use kernel::sha256::Sha256;

use super::error::{ReadError, Result};
use super::folders::{KeySelection, parse_key_name};
use super::ledger::{Ledger, LedgerEntry, LedgerSigner};
use super::location::WritableVault;
use super::read::{KeyOpening, open_key};
use vault::index_row::{KeyCopy, ShreddedKey};
use vault::key_shares::ShareEnvelope;
use vault::recipients::RecipientPolicy;
use vault::seal::{key_id, seal_key};
use vault::store::{ObjectKind, PutOutcome, StoreError};

/// Result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewrapSummary {
    pub keys: u64,
    pub written: u64,
    /// Keys that already had a copy for the same recipients.
    pub already_present: u64,
    /// Copies newly listed in the chain.
    pub newly_listed: u64,
    /// Keys that could not be copied, with the reason.
    pub failed: Vec<String>,
}

/// Most copies that one line of the chain lists.
const MAX_COPIES_PER_LINE: usize = 1000;

/// Copies the selected keys for `recipients`.
///
/// # Errors
/// The store fails. Copies that were made remain, and another call makes the rest.
pub async fn rewrap(
    place: &WritableVault,
    auditors: &[age::x25519::Identity],
    recipients: &RecipientPolicy,
    selection: &KeySelection,
    signer: &LedgerSigner<'_>,
    now: UnixNanos,
) -> Result<RewrapSummary> {
    let mut keys: BTreeMap<ShreddedKey, BTreeSet<String>> = BTreeMap::new();
    for name in place.vault.list(ObjectKind::Key, "keys/").await? {
        let is_selected = place.vault.relative_name(&name).is_some_and(|name| selection.matches(name));
        if let Some(key) = parse_key_name(&name).filter(|_| is_selected) {
            keys.entry(key).or_default().insert(name);
        }
    }
    let mut summary = RewrapSummary::default();
    let mut ledgers: BTreeMap<String, Ledger<'_>> = BTreeMap::new();
    let mut copies_by_account: BTreeMap<String, Vec<KeyCopy>> = BTreeMap::new();
    for (key, objects) in keys {
        summary.keys += 1;
        let Some(account) = parse_account(place, &key.folder) else {
            summary.failed.push(format!("{}{}.age: no account has such a folder", key.folder, key.id));
            continue;
        };
        let ledger = match ledgers.entry(account.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Ledger::read(place, *signer, &account, now).await?),
        };
        let permitted = recipients_of_folder(recipients, place.vault.relative_name(&key.folder).unwrap_or_default());
        if permitted.is_empty() {
            summary.failed.push(format!("{}{}.age: no recipient may open its account and tenant", key.folder, key.id));
            continue;
        }
        let threshold = recipients.threshold;
        let job = CopyJob { place, auditors, recipients: &permitted, threshold, signer, ledger, key: &key };
        let existing = job.read_objects(&objects, &mut summary.failed).await?;
        if !existing.copies.is_empty() {
            summary.already_present += 1;
            copies_by_account.entry(account).or_default().extend(existing.copies);
        } else if let Some(copy) = job.write_copy(existing, &mut summary.failed, now).await? {
            summary.written += 1;
            copies_by_account.entry(account).or_default().push(copy);
        }
    }
    for (account, copies) in copies_by_account {
        let Some(ledger) = ledgers.get_mut(&account) else { continue };
        let unlisted: Vec<KeyCopy> = copies.into_iter().filter(|copy| !ledger.has_copy(copy)).collect();
        for chunk in unlisted.chunks(MAX_COPIES_PER_LINE) {
            ledger.append(LedgerEntry::KeyCopies(chunk.to_vec())).await?;
            summary.newly_listed += chunk.len() as u64;
        }
    }
    Ok(summary)
}

/// The recipients of a key in this folder, without the vault's prefix: `keys/account/tenant/session/day/`.
fn recipients_of_folder(policy: &RecipientPolicy, folder: &str) -> Vec<age::x25519::Recipient> {
    match folder.split('/').collect::<Vec<_>>()[..] {
        ["keys", account, tenant, session, ..] => policy.keys(&policy.audience_of_names(account, tenant, session)),
        _ => Vec::new(),
    }
}

struct CopyJob<'j, 'k> {
    place: &'j WritableVault,
    auditors: &'j [age::x25519::Identity],
    recipients: &'j [age::x25519::Recipient],
    /// How many of the recipients are needed together; `None`: each opens alone.
    threshold: Option<u8>,
    signer: &'j LedgerSigner<'k>,
    ledger: &'j Ledger<'j>,
    key: &'j ShreddedKey,
}

#[derive(Default)]
struct KeyObjects {
    /// Copies for the job's recipients.
    copies: Vec<KeyCopy>,
    /// Name of an object with a copy's name that is not proved to be a copy.
    unproved: Option<String>,
    /// The key, if one of the auditors' identities opens an object.
    secret: Option<age::x25519::Identity>,
    /// Whether an object opens but holds another key than its name says.
    has_other_key: bool,
    /// Why an object that several open together was not opened, if that is so.
    not_together: Option<String>,
}

impl CopyJob<'_, '_> {
    /// Folder and id of the key.
    fn stem(&self) -> String {
        format!("{}{}", self.key.folder, self.key.id)
    }

    /// Name prefix of the key's copies for the recipients.
    fn copy_prefix(&self) -> String {
        format!("{}-{}", self.stem(), recipients_tag(self.recipients, self.threshold))
    }

    async fn read_objects(&self, objects: &BTreeSet<String>, failures: &mut Vec<String>) -> Result<KeyObjects> {
        let (mut existing, prefix) = (KeyObjects::default(), self.copy_prefix());
        for name in objects {
            let Some(object) = self.place.vault.fetch_key_or_refuse(name, failures).await? else { continue };
            if name.starts_with(&prefix) {
                let copy = describe_copy(name, &object);
                if is_sealed_for(&object, self.recipients, self.threshold) && self.is_proved(&copy, &object) {
                    existing.copies.push(copy);
                } else {
                    existing.unproved.get_or_insert_with(|| name.clone());
                }
            }
            match open_key(Some(self.relative(name)), &object, self.auditors, &[]) {
                Ok(KeyOpening::OpenedTogether(_)) if self.threshold.is_none() => {
                    existing.not_together = Some("several open it together: give --threshold".to_owned());
                }
                Ok(KeyOpening::Opened(secret) | KeyOpening::OpenedTogether(secret)) => {
                    // not an error: a planted object must not block the real key
                    match self.is_this_key(&secret) {
                        true => existing.secret = Some(secret),
                        false => existing.has_other_key = true,
                    }
                }
                Ok(KeyOpening::TooFewShares(why)) => {
                    let why = format!("{why} were given: add other auditors' --identity");
                    existing.not_together.get_or_insert(why);
                }
                Ok(KeyOpening::SealedToOthers) | Err(_) => {}
            }
        }
        Ok(existing)
    }

    /// A name without the vault's prefix; one without the prefix belongs to no folder.
    fn relative<'n>(&self, name: &'n str) -> &'n str {
        self.place.vault.relative_name(name).unwrap_or_default()
    }

    fn is_this_key(&self, secret: &age::x25519::Identity) -> bool {
        key_id(&secret.to_public().to_string()) == self.key.id
    }

    /// Whether an object with a copy's name is a copy. Anyone could put the key object itself there, so a copy must be
    /// listed in the chain, have a name derived with the signing key, or open for each recipient.
    fn is_proved(&self, copy: &KeyCopy, object: &[u8]) -> bool {
        let opens_for = |recipient: &age::x25519::Recipient| {
            let mut auditors = self.auditors.iter();
            let auditor = auditors.find(|auditor| auditor.to_public().to_string() == recipient.to_string());
            let secret = auditor.and_then(|one| {
                open_key(Some(self.relative(&copy.name)), object, std::slice::from_ref(one), &[]).ok()?.key()
            });
            secret.is_some_and(|secret| self.is_this_key(&secret))
        };
        self.ledger.has_copy(copy) || copy.name == self.copy_name(object) || self.recipients.iter().all(opens_for)
    }

    /// The name of a copy, derived with the signing key: no one else can predict the name or give it to another object,
    /// and a later run recognises the copy before the chain lists it.
    fn copy_name(&self, object: &[u8]) -> String {
        let prefix = self.copy_prefix();
        let hash = Sha256::digest_list(["rewrap copy", &prefix, &kernel::hex::encode(&Sha256::digest(object))]);
        let suffix = Sha256::digest(self.signer.key.sign(&hash));
        format!("{prefix}{}.age", kernel::hex::encode(suffix.get(..16).unwrap_or_default()))
    }

    /// Writes a copy; `None` if it can't be made, with the reason added to `failures`.
    async fn write_copy(
        &self,
        existing: KeyObjects,
        failures: &mut Vec<String>,
        now: UnixNanos,
    ) -> Result<Option<KeyCopy>> {
        let stem = self.stem();
        let Some(secret) = existing.secret else {
            let why = match existing.not_together {
                _ if existing.has_other_key => "it contains another key than its name says".to_owned(),
                Some(why) => why,
                None => "none of the given identities opens it".to_owned(),
            };
            failures.push(format!("{stem}.age: {why}"));
            return Ok(None);
        };
        let place = self.place.vault.relative_name(&self.key.folder).unwrap_or_default();
        let place = place.trim_start_matches("keys/").trim_end_matches('/');
        let object = seal_key(&secret, self.recipients, self.threshold, place)
            .map_err(|_| ReadError::new(format!("{stem}: the key can't be sealed")))?;
        let copy = describe_copy(&self.copy_name(&object), &object);
        if let Some(name) = existing.unproved {
            failures.push(format!(
                "{name}: not listed in the chain of copies and not opened by a given identity: it was planted, or \
                 made by someone else; a new copy is written beside it"
            ));
        }
        let written = self.place.store.put_once(ObjectKind::Key, &copy.name, object.into(), now).await;
        match written {
            Ok(PutOutcome::Written) => Ok(Some(copy)),
            Ok(PutOutcome::Exists) | Err(StoreError::Differs) => {
                failures.push(format!("{}: the name is taken; try again", copy.name));
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
fn parse_account(place: &WritableVault, name: &str) -> Option<String> {
    account_of_segment(place.vault.relative_name(name)?.split('/').nth(1)?)
}

/// Whether a key object is an age file with as many stanzas as recipients, or an envelope with as many shares. Only a
/// recipient can check that a stanza or share is for that recipient.
fn is_sealed_for(object: &[u8], recipients: &[age::x25519::Recipient], threshold: Option<u8>) -> bool {
    let distinct: BTreeSet<_> = recipients.iter().map(ToString::to_string).collect();
    if let Some(threshold) = threshold {
        let envelope = ShareEnvelope::parse(object);
        return envelope.is_ok_and(|one| one.threshold == threshold && usize::from(one.of) == distinct.len());
    }
    let text = object.strip_prefix(b"age-encryption.org/v1\n").unwrap_or_default();
    let header = text.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"---"));
    !text.is_empty() && header.filter(|line| line.starts_with(b"-> X25519 ")).count() == distinct.len()
}

/// Tag of the recipients, and of how many are needed together: 8 hex digits, independent of their order.
fn recipients_tag(recipients: &[age::x25519::Recipient], threshold: Option<u8>) -> String {
    let texts: BTreeSet<String> = recipients.iter().map(ToString::to_string).collect();
    let mut parts: Vec<String> = texts.into_iter().collect();
    parts.extend(threshold.map(|threshold| format!("threshold {threshold}")));
    let digest = Sha256::digest(parts.join("\n"));
    kernel::hex::encode(digest.get(..4).unwrap_or(&digest))
}

#[cfg(test)]
pub(crate) mod tests;
