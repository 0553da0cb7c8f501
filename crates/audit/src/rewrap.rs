//! **What**: `vault rewrap`: copies of session keys for other auditors, beside the ones that are there. **Why**: an auditor who
//! comes later must be able to open what was written before, and payload is never written again. **Invariants**: an auditor's own
//! key opens what is copied; a copy has the id of its key in its name, so that erasure finds it; which recipients a copy is for
//! stands in its name too, so that the same is not made twice; the chain of who copies tells each copy's hash, after it was
//! written: a run that ended between is finished by the next one. **Not here**: keys of new sessions (the gateway's `recipients`).

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use kernel::clock::UnixNanos;

use super::error::ReadError;
use super::folders::shredded;
use super::ledger::{Ledger, Said};
use super::place::Place;
use super::read::open_key;
use vault::chain::note::{SigningKey, VerifyKey};
use vault::row::{KeyCopy, Shredded};
use vault::seal::{key_id, seal_identity};
use vault::store::StoreError;
use vault::store::{ObjectKind, Put};

/// Which keys.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// Only this account.
    pub account: Option<String>,
    /// Only this tenant, as the index shows it.
    pub tenant: Option<String>,
    /// Only this session.
    pub session: Option<String>,
    /// Only of this day on, `2026-11-20`.
    pub since: Option<String>,
}

impl Which {
    /// Whether `name`, without the vault's prefix, is one of them: `keys/account/tenant/session/day/…`.
    fn holds(&self, name: &str) -> bool {
        let parts: Vec<&str> = name.split('/').collect();
        let ["keys", account, tenant, session, day, _] = parts[..] else { return false };
        let same = |wanted: &Option<String>, told: &str| {
            let segment = |id: &String| kernel::pseudonym::segment(id).unwrap_or_else(|| id.clone());
            wanted.as_ref().is_none_or(|wanted| segment(wanted) == told)
        };
        let own = self.account.as_ref().is_none_or(|wanted| vault::names::account_segment(wanted) == account);
        own && same(&self.tenant, tenant)
            && same(&self.session, session)
            && self.since.as_ref().is_none_or(|since| day >= since.as_str())
    }
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Keys that were looked at.
    pub keys: u64,
    /// Copies that were written.
    pub written: u64,
    /// Keys that had such a copy.
    pub there: u64,
    /// Copies that the chain tells of from now on.
    pub told: u64,
    /// Keys that could not be copied, and why.
    pub closed: Vec<String>,
}

/// Who copies, and says so in a chain of its own.
pub struct Teller<'k> {
    /// Signs the chain.
    pub key: &'k SigningKey,
    /// Keys that signed it earlier.
    pub before: &'k [VerifyKey],
    /// Name of its writer.
    pub writer: &'k str,
}

/// Copies in one line.
const MAX_TOLD: usize = 1000;

/// Copies the keys that `which` says to `recipients`.
///
/// # Errors
/// One line: the store fails. What was copied stays; calling again does the rest.
pub async fn rewrap(
    place: &Place,
    auditors: &[age::x25519::Identity],
    recipients: &[age::x25519::Recipient],
    which: &Which,
    teller: &Teller<'_>,
    now: UnixNanos,
) -> Result<Rewrapped, ReadError> {
    let mut keys: BTreeMap<Shredded, BTreeSet<String>> = BTreeMap::new();
    for name in place.vault.list(ObjectKind::Key, "keys/").await? {
        let wanted = place.vault.relative(&name).is_some_and(|name| which.holds(name));
        if let Some(key) = shredded(&name).filter(|_| wanted) {
            keys.entry(key).or_default().insert(name);
        }
    }
    let mut done = Rewrapped::default();
    let mut made: BTreeMap<String, Vec<KeyCopy>> = BTreeMap::new();
    for (key, copies) in keys {
        done.keys += 1;
        let stem = format!("{}{}", key.folder, key.id);
        let start = format!("{stem}-{}", tag(recipients));
        let (mut secret, mut there, mut taken) = (None, false, None);
        for copy in &copies {
            match place.vault.key_object(copy).await {
                Ok(object) if copy.starts_with(&start) && is_for(&object, recipients) => {
                    there = true;
                    made.entry(account_of(place, copy)).or_default().push(copy_of(copy, &object));
                }
                Ok(object) => {
                    taken = taken.or_else(|| (*copy == format!("{start}.age")).then(|| copy.clone()));
                    secret = secret.or_else(|| open_key(&object, auditors).ok().flatten());
                }
                Err(error @ (StoreError::TooLarge | StoreError::Archived)) => {
                    done.closed.push(format!("{copy}: {error}"))
                }
                Err(error) => return Err(ReadError::of_object(copy, &error)),
            }
        }
        if there {
            done.there += 1;
            continue;
        }
        let Some(secret) = secret else {
            done.closed.push(format!("{stem}.age: no identity given here opens it"));
            continue;
        };
        if key_id(&secret.to_public().to_string()) != key.id {
            done.closed.push(format!("{stem}.age: it holds another key than its name says"));
            continue;
        }
        let object = seal_identity(&secret, recipients)
            .map_err(|_| ReadError::invalid(format!("{stem}: the key can't be sealed")))?;
        // beside what somebody put where the copy would be; sealing is random, so nobody knows this name before
        let own = kernel::hex::encode(Sha256::digest(&object).get(..4).unwrap_or_default());
        let mut name = format!("{start}.age");
        let mut put = Ok(Put::Exists);
        let mut copy = copy_of(&name, &object);
        if taken.is_none() {
            put = place.store.put_once(ObjectKind::Key, &name, object.clone().into(), now).await;
        }
        if matches!(put, Ok(Put::Exists) | Err(StoreError::Differs)) {
            done.closed.push(format!(
                "{name}: what is there is no copy for these recipients, and was planted; one is written beside it"
            ));
            name = format!("{start}{own}.age");
            copy.name.clone_from(&name);
            put = place.store.put_once(ObjectKind::Key, &name, object.into(), now).await;
        }
        match put.map_err(|error| ReadError::of_object(&name, &error))? {
            Put::Written => {
                done.written += 1;
                made.entry(account_of(place, &name)).or_default().push(copy);
            }
            Put::Exists => done.closed.push(format!("{name}: the name is taken; try again")),
        }
    }
    for (account, copies) in made {
        let mut ledger = Ledger::read(place, teller.key, teller.before, &account, teller.writer).await?;
        let new: Vec<KeyCopy> = copies.into_iter().filter(|copy| !ledger.has_copy(&copy.name)).collect();
        for some in new.chunks(MAX_TOLD) {
            ledger.append(Said::KeyCopies(some.to_vec()), now).await?;
            done.told += some.len() as u64;
        }
    }
    Ok(done)
}

fn copy_of(name: &str, object: &[u8]) -> KeyCopy {
    KeyCopy { name: name.to_owned(), sha256: kernel::hex::encode(&Sha256::digest(object)) }
}

/// The account in a key object's name.
fn account_of(place: &Place, name: &str) -> String {
    let account = place.vault.relative(name).and_then(|name| name.split('/').nth(1));
    account.unwrap_or_default().to_owned()
}

/// Whether a key object is an age file with a stanza for each recipient. Whose they are nobody can tell who is none of them.
fn is_for(object: &[u8], recipients: &[age::x25519::Recipient]) -> bool {
    let text = object.strip_prefix(b"age-encryption.org/v1\n").unwrap_or_default();
    let head = text.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"---"));
    let count: BTreeSet<_> = recipients.iter().map(ToString::to_string).collect();
    !text.is_empty() && head.filter(|line| line.starts_with(b"-> X25519 ")).count() == count.len()
}

/// Which recipients a copy is for: 8 hex digits, the same in any order.
fn tag(recipients: &[age::x25519::Recipient]) -> String {
    let texts: BTreeSet<String> = recipients.iter().map(ToString::to_string).collect();
    let digest = Sha256::digest(texts.into_iter().collect::<Vec<_>>().join("\n"));
    kernel::hex::encode(digest.get(..4).unwrap_or(&digest))
}
