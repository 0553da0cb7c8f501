//! [`SignedIndex`]: the index objects that signed digests name, with their hashes. Tables, evidence and answers use
//! only these, because lines that an attacker planted would falsify them. Only digests signed by a given key count.
//! Neighbour: `vault verify` checks whether the chain is complete.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sha2::{Digest as _, Sha256};

use super::chains::{ChainScope, list_chains};
use super::error::ReadError;
use super::location::Vault;
use vault::chain::digest::ChainDigest;
use vault::chain::note::VerifyKey;
use vault::object_names::{IndexName, SIGNATURE_SUFFIX, account_segment, arrival_day, digest_name};
use vault::store::StoreError;
use vault::store::directory::NOT_A_REGULAR_FILE;

/// Digests fetched concurrently.
const CONCURRENT_FETCHES: usize = 16;

/// Most unreadable objects that are listed.
const MAX_LISTED_UNREADABLE: usize = 100;

/// Index objects that signed digests name: SHA-256 in hex, by full name.
#[derive(Clone, Debug, Default)]
pub struct SignedIndex {
    objects: BTreeMap<String, String>,
    /// Signed digests that were read, by full name.
    digests: BTreeSet<String>,
    /// Unreadable objects of the chains, a line each.
    unreadable: Vec<String>,
}

impl SignedIndex {
    /// Reads the digests that one of `keys` signed, of one account or of all.
    ///
    /// # Errors
    /// The chains can't be listed, every read is denied, or a digest can't be read now (its objects must not count as
    /// unsigned).
    pub async fn read(vault: &Vault, keys: &[VerifyKey], account: Option<&str>) -> Result<Self, ReadError> {
        let mut signed = Self::default();
        signed.read_new_digests(vault, keys, account).await?;
        Ok(signed)
    }

    /// Reads digests added since; known ones are not read again.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_new_digests(
        &mut self,
        vault: &Vault,
        keys: &[VerifyKey],
        account: Option<&str>,
    ) -> Result<(), ReadError> {
        let chains = list_chains(vault, ChainScope { account, writer: None }).await?;
        let digests = chains.iter().flat_map(|(line, epochs)| {
            let name = move |epoch: &str, n: u64| vault.full_name(&digest_name(&line.account, &line.writer, epoch, n));
            epochs.iter().flat_map(move |(epoch, numbers)| numbers.iter().map(move |n| name(epoch, *n)))
        });
        let new: Vec<String> = digests.filter(|name| !self.digests.contains(name)).collect();
        let fetched = stream::iter(new).map(|name| async move {
            let json = read_chain_object(vault, &name).await?;
            let signature = read_chain_object(vault, &format!("{name}{SIGNATURE_SUFFIX}")).await?;
            Ok::<_, ReadError>((name, json, signature))
        });
        let mut fetched = fetched.buffer_unordered(CONCURRENT_FETCHES);
        let (mut closed, mut denied, mut may_read) = (Vec::new(), None, !self.digests.is_empty());
        while let Some(fetched) = fetched.next().await {
            let (name, json, signature) = fetched?;
            may_read |= matches!(signature, ChainObjectRead::Bytes(_));
            for look in [&json, &signature] {
                match look {
                    ChainObjectRead::Bytes(_) | ChainObjectRead::None => {}
                    ChainObjectRead::Archived(why) => closed.push(why.clone()),
                    ChainObjectRead::Denied(why) => {
                        denied = denied.or_else(|| Some(why.clone()));
                        closed.push(why.to_string());
                    }
                }
            }
            // a missing or unsigned digest names nothing; `vault verify` reports it
            let (ChainObjectRead::Bytes(json), ChainObjectRead::Bytes(signature)) = (json, signature) else { continue };
            if keys.iter().any(|key| key.is_signed(&json, &signature))
                && let Ok(digest) = serde_json::from_slice::<ChainDigest>(&json)
                && vault.relative_name(&name) == Some(&digest_object_name(&digest))
            {
                self.objects.extend(digest.index.map(|index| (index.key, index.sha256)));
                self.digests.insert(name);
            }
        }
        // every read was denied: the caller lacks permission, rather than one object being unreadable
        if let Some(why) = denied.filter(|_| !may_read) {
            return Err(why);
        }
        for (line, epochs) in &chains {
            for (epoch, numbers) in epochs {
                let name = |n: u64| vault.full_name(&digest_name(&line.account, &line.writer, epoch, n));
                let signed = |n: &u64| self.digests.contains(&name(*n));
                // a signed digest can't be forged, so the digests before it existed and were signed
                let last = numbers.iter().rev().copied().find(signed).unwrap_or_default();
                closed.extend((0..last).filter(|n| !signed(n)).map(|n| {
                    let name = name(n);
                    format!("{name}: this digest is missing or not signed by a given key, although a later one of its epoch is: the objects it names count as unsigned")
                }));
            }
        }
        closed.sort_unstable();
        let more = closed.len().saturating_sub(MAX_LISTED_UNREADABLE);
        closed.truncate(MAX_LISTED_UNREADABLE);
        closed.extend((more > 0).then(|| format!("and {more} more unreadable chain objects")));
        self.unreadable = closed;
        Ok(())
    }

    /// Objects of the chains that can't be read (archived, or encrypted with another key), a line each. Their digests
    /// count as unsigned.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// Whether a digest names the object.
    pub fn has_object(&self, object: &str) -> bool {
        self.objects.contains_key(object)
    }

    /// The objects that digests name.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &str> {
        self.objects.keys().map(String::as_str)
    }

    /// Whether these are the bytes that the digest refers to.
    pub fn matches_bytes(&self, object: &str, bytes: &[u8]) -> bool {
        self.matches_hash(object, &kernel::hex::encode(&Sha256::digest(bytes)))
    }

    /// Whether the digest refers to bytes with this SHA-256 (hex).
    pub fn matches_hash(&self, object: &str, sha256: &str) -> bool {
        self.objects.get(object).is_some_and(|known| known == sha256)
    }
}

/// The name of a digest, without the vault's prefix.
fn digest_object_name(digest: &ChainDigest) -> String {
    let ChainDigest { account, writer, epoch, n, .. } = digest;
    digest_name(&account_segment(account), writer, epoch, *n)
}

/// Index objects that signed digests name and that don't exist.
#[derive(Debug, Default)]
pub(crate) struct MissingObjects {
    /// Objects missing although older ones of the account exist: a line for each day.
    pub(crate) recent: Vec<String>,
    /// Objects missing from days before the oldest existing one: one line for all.
    pub(crate) older: Option<String>,
}

impl SignedIndex {
    /// The signed objects selected by `asked` that are not in `listed`, which has every name in the index (or in an
    /// account's part of it).
    pub(crate) fn find_missing_objects(
        &self,
        vault: &Vault,
        listed: &[String],
        asked: &dyn Fn(&str) -> bool,
    ) -> MissingObjects {
        let there: HashSet<&str> = listed.iter().map(String::as_str).collect();
        // unsigned objects don't count: a planted one must not make the rest look old
        let mut oldest: BTreeMap<String, &str> = BTreeMap::new();
        for name in listed.iter().filter(|name| self.has_object(name)) {
            let Some((account, day)) = parse_account_day(vault, name) else { continue };
            let known = oldest.entry(account).or_insert(day);
            *known = day.min(*known);
        }
        // for accounts without any remaining object, such as one that stopped sending
        let first = oldest.values().min().copied();
        let mut holes: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        let (mut older, mut olds) = (BTreeSet::new(), 0_u64);
        for name in self.objects.keys().filter(|name| !there.contains(name.as_str()) && asked(name)) {
            let Some((account, day)) = parse_account_day(vault, name) else { continue };
            if oldest.get(&account).copied().or(first).is_some_and(|oldest| day < oldest) {
                olds += 1;
                older.insert(day);
            } else {
                holes.entry((account, day)).or_default().push(name);
            }
        }
        let hole = |names: Vec<&str>| {
            let more = match names.len() {
                0 | 1 => String::new(),
                count => format!(" (and {} more of that day)", count - 1),
            };
            let name = names.first().copied().unwrap_or_default();
            format!("{name}{more}: missing although a signed digest names it: it was deleted, or its retention is over")
        };
        let older = older.first().zip(older.last()).map(|(first, last)| {
            format!(
                "{olds} index objects of {first} to {last} that signed digests name are missing, as are all older ones: \
                 their retention is over, or they were deleted"
            )
        });
        MissingObjects { recent: holes.into_values().map(hole).collect(), older }
    }
}

/// Account (as in object names) and day of an index object.
fn parse_account_day<'n>(vault: &Vault, name: &'n str) -> Option<(String, &'n str)> {
    let name = vault.relative_name(name)?;
    Some((IndexName::parse(name)?.account, arrival_day(name)?))
}

/// The result of reading a digest or a signature.
enum ChainObjectRead {
    Bytes(Bytes),
    /// It does not exist, or its size shows that it was planted.
    None,
    Archived(String),
    /// The store denies access to this object, or to every one.
    Denied(ReadError),
}

async fn read_chain_object(vault: &Vault, name: &str) -> Result<ChainObjectRead, ReadError> {
    let say = |error: &StoreError| format!("{name}: {error}; the objects that this digest names count as unsigned");
    Ok(match vault.try_fetch_chain_object(name).await {
        Ok(bytes) => ChainObjectRead::Bytes(bytes),
        Err(StoreError::Missing | StoreError::TooLarge) => ChainObjectRead::None,
        // in a folder: a pipe, a link or a folder takes its place
        Err(StoreError::Denied(why)) if why == NOT_A_REGULAR_FILE => ChainObjectRead::None,
        Err(error @ StoreError::Archived) => ChainObjectRead::Archived(say(&error)),
        Err(error @ StoreError::Denied(_)) => ChainObjectRead::Denied(ReadError::from_store_error(&error, say(&error))),
        Err(error) => return Err(ReadError::from_object_error(name, &error)),
    })
}

/// A digest or a signature; `None` if it does not exist or can't be read.
pub(super) async fn read_optional_chain_object(vault: &Vault, name: &str) -> Result<Option<Bytes>, ReadError> {
    Ok(match read_chain_object(vault, name).await? {
        ChainObjectRead::Bytes(bytes) => Some(bytes),
        ChainObjectRead::None | ChainObjectRead::Archived(_) | ChainObjectRead::Denied(_) => None,
    })
}
