//! [`SignedIndex`]: the index objects that signed digests name, with their hashes. Packed lines, evidence and answers
//! use only these objects, because lines that an attacker planted would falsify the results. Only digests signed by a
//! given key count. Neighbour: `verify` checks whether the chain is complete.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::chains::list_chains;
use super::error::{ReadError, Result, ShortList};
use super::location::Vault;
use kernel::sha256::Sha256;
use vault::chain::digest::ChainDigest;
use vault::chain::note::VerifyKey;
use vault::object_names::{IndexName, SIGNATURE_SUFFIX, account_segment, arrival_day, digest_name};
use vault::store::StoreError;
use vault::store::directory::NOT_A_REGULAR_FILE;

/// Digests fetched concurrently.
const CONCURRENT_FETCHES: usize = 16;

/// Gets a digest's full name, and its bytes and content if a given key signed it.
pub(crate) type DigestVisitor<'v> = dyn FnMut(&str, Option<(&Bytes, ChainDigest)>) + Send + 'v;

/// Index objects that signed digests name: SHA-256 in hex, by full name.
#[derive(Clone, Debug, Default)]
pub struct SignedIndex {
    objects: BTreeMap<String, String>,
    /// Full names of the signed digests that were read.
    digests: BTreeSet<String>,
    /// Digests and signatures that can't be read, and digests that are missing before a signed one, a line each. The
    /// objects that they name count as unsigned.
    pub(crate) unreadable: Vec<String>,
}

impl SignedIndex {
    /// Reads the digests that one of `keys` signed, of one account or of all.
    ///
    /// # Errors
    /// The chains can't be listed, every read is denied, or the store fails to return a digest (whose objects must not
    /// count as unsigned).
    pub async fn read(vault: &Vault, keys: &[VerifyKey], account: Option<&str>) -> Result<Self> {
        let mut signed = Self::default();
        signed.visit_new_digests(vault, keys, account, &mut |_, _| {}).await?;
        Ok(signed)
    }

    /// As [`Self::read`]; `None` without keys: signatures are not checked.
    pub async fn read_if_keys(vault: &Vault, keys: &[VerifyKey], account: Option<&str>) -> Result<Option<Self>> {
        if keys.is_empty() { Ok(None) } else { Self::read(vault, keys, account).await.map(Some) }
    }

    /// Reads the digests that were added since the last call; signed digests are not read again. Calls `visit` with the
    /// full name of each, in order of names; without a digest if none of `keys` signed one that belongs there.
    pub(crate) async fn visit_new_digests(
        &mut self,
        vault: &Vault,
        keys: &[VerifyKey],
        account: Option<&str>,
        visit: &mut DigestVisitor<'_>,
    ) -> Result<()> {
        let chains = list_chains(vault, account, None).await?.chains;
        let digests = chains.iter().flat_map(|(chain, epochs)| {
            let name =
                move |epoch: &str, n: u64| vault.full_name(&digest_name(&chain.account, &chain.writer, epoch, n));
            epochs.iter().flat_map(move |(epoch, numbers)| numbers.iter().map(move |n| name(epoch, *n)))
        });
        let new: Vec<String> = digests.filter(|name| !self.digests.contains(name)).collect();
        let fetched = stream::iter(new).map(|name| async move {
            let json = read_chain_object(vault, &name).await?;
            let signature = read_chain_object(vault, &format!("{name}{SIGNATURE_SUFFIX}")).await?;
            Ok::<_, ReadError>((name, json, signature))
        });
        let mut fetched = fetched.buffered(CONCURRENT_FETCHES);
        let (mut unreadable, mut first_denial, mut has_read_any) =
            (Vec::new(), None::<String>, !self.digests.is_empty());
        while let Some(fetched) = fetched.next().await {
            let (name, json, signature) = fetched?;
            has_read_any |= matches!(signature, Ok(Some(_)));
            for (is_denied, message) in [&json, &signature].into_iter().filter_map(|read| read.as_ref().err()) {
                first_denial = first_denial.or(is_denied.then(|| message.clone()));
                unreadable.push(message.clone());
            }
            if let (Ok(Some(json)), Ok(Some(signature))) = (&json, &signature)
                && keys.iter().any(|key| key.is_signed(json, signature))
                && let Ok(digest) = serde_json::from_slice::<ChainDigest>(json)
                && vault.relative_name(&name) == Some(&digest_object_name(&digest))
            {
                self.objects.extend(digest.index.clone().map(|index| (index.key, index.sha256)));
                visit(&name, Some((json, digest)));
                self.digests.insert(name);
            } else {
                visit(&name, None); // it names nothing; `vault verify` reports it
            }
        }
        // every read was denied: the caller lacks permission, rather than one object being unreadable
        if let Some(message) = first_denial.filter(|_| !has_read_any) {
            return Err(ReadError::new(message));
        }
        for (chain, epochs) in &chains {
            for (epoch, numbers) in epochs {
                let name = |n: u64| vault.full_name(&digest_name(&chain.account, &chain.writer, epoch, n));
                let is_signed = |n: &u64| self.digests.contains(&name(*n));
                // a signed digest can't be forged, so the digests before it existed and were signed
                let last_signed = numbers.iter().rev().copied().find(is_signed).unwrap_or_default();
                unreadable.extend((0..last_signed).filter(|n| !is_signed(n)).map(|n| {
                    let name = name(n);
                    format!(
                        "{name}: this digest is missing or not signed by a given key, although a later one of its \
                         epoch is: the objects it names count as unsigned"
                    )
                }));
            }
        }
        unreadable.sort_unstable();
        let mut listed = ShortList::default();
        unreadable.into_iter().for_each(|message| listed.push(message));
        self.unreadable = listed.finish("more unreadable chain objects");
        Ok(())
    }

    /// Whether a digest names the object, given by its full name.
    pub fn has_object(&self, object: &str) -> bool {
        self.objects.contains_key(object)
    }

    /// Full names and hashes (SHA-256 in hex) of the objects that digests name.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&str, &str)> {
        self.objects.iter().map(|(name, sha256)| (name.as_str(), sha256.as_str()))
    }

    /// Whether `bytes` have the hash that a digest gives for the object.
    pub fn matches_bytes(&self, object: &str, bytes: &[u8]) -> bool {
        self.objects.get(object).is_some_and(|signed| *signed == kernel::hex::encode(&Sha256::digest(bytes)))
    }
}

/// The name that a digest must have by its content, without the vault's prefix.
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
    /// The signed objects accepted by `is_wanted` that are not in `listed`, the names of all objects in the index or in
    /// one account's part of it.
    pub(crate) fn find_missing_objects(
        &self,
        vault: &Vault,
        listed: &[String],
        is_wanted: &dyn Fn(&str) -> bool,
    ) -> MissingObjects {
        let existing: HashSet<&str> = listed.iter().map(String::as_str).collect();
        // only signed objects count: a planted old one must not move the limit between old and recent
        let mut oldest_days: BTreeMap<String, &str> = BTreeMap::new();
        for name in listed.iter().filter(|name| self.has_object(name)) {
            let Some((account, day)) = parse_account_day(vault, name) else { continue };
            let oldest = oldest_days.entry(account).or_insert(day);
            *oldest = day.min(*oldest);
        }
        // for accounts of which no object remains, such as one that stopped sending
        let oldest_of_all = oldest_days.values().min().copied();
        let mut recent: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        let (mut older_days, mut older_count) = (BTreeSet::new(), 0_u64);
        for name in self.objects.keys().filter(|name| !existing.contains(name.as_str()) && is_wanted(name)) {
            let Some((account, day)) = parse_account_day(vault, name) else { continue };
            if oldest_days.get(&account).copied().or(oldest_of_all).is_some_and(|oldest| day < oldest) {
                older_count += 1;
                older_days.insert(day);
            } else {
                recent.entry((account, day)).or_default().push(name);
            }
        }
        let describe_day = |names: Vec<&str>| {
            let more = match names.len() {
                0 | 1 => String::new(),
                count => format!(" (and {} more of that day)", count - 1),
            };
            let name = names.first().copied().unwrap_or_default();
            format!("{name}{more}: missing although a signed digest names it: it was deleted, or its retention is over")
        };
        let older = older_days.first().zip(older_days.last()).map(|(first, last)| {
            format!(
                "{older_count} index objects of {first} to {last} that signed digests name are missing, as are all \
                 older ones: their retention is over, or they were deleted"
            )
        });
        MissingObjects { recent: recent.into_values().map(describe_day).collect(), older }
    }
}

/// Account (as in object names) and day of an index object.
fn parse_account_day<'n>(vault: &Vault, name: &'n str) -> Option<(String, &'n str)> {
    let name = vault.relative_name(name)?;
    Some((IndexName::parse(name)?.account, arrival_day(name)?))
}

/// A digest or a signature; `None` if there is no such object, or one that no gateway wrote: too large, or not a
/// regular file. The inner error is one of this object, and says whether the store denies access, possibly to every
/// object; the outer one is one of the store.
async fn read_chain_object(vault: &Vault, name: &str) -> Result<Result<Option<Bytes>, (bool, String)>> {
    match vault.try_fetch_chain_object(name).await {
        Ok(bytes) => Ok(Ok(Some(bytes))),
        Err(StoreError::Missing | StoreError::TooLarge) => Ok(Ok(None)),
        // in a vault that is a folder: a pipe, a link or a folder has the object's name
        Err(StoreError::Denied(why)) if why == NOT_A_REGULAR_FILE => Ok(Ok(None)),
        Err(error @ (StoreError::Archived | StoreError::Denied(_))) => {
            let message = format!("{name}: {error}; the objects that this digest names count as unsigned");
            Ok(Err((matches!(error, StoreError::Denied(_)), message)))
        }
        Err(error) => Err(ReadError::from_object_error(name, &error)),
    }
}
