//! [`BoundedMap`]: a map with a size limit that evicts fairly between accounts. A full map evicts the entry that was
//! written longest ago, of the account whose entries weigh most, so that no account takes the room of another.
//! Its order follows from the writes alone, never from hashes, so that a seeded simulation can be replayed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, DefaultHasher, Hash, Hasher as _};
use std::ops::Bound;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

/// Look-ups by a borrowed form of a key, which must hash like the key.
pub use hashbrown::Equivalent;

#[cfg(test)]
mod tests;

/// The account that pays for an entry, as a hash of its name. The default is for entries whose account is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountHash(u64);

impl AccountHash {
    /// For maps that know no accounts.
    pub const NONE: Self = Self(0);

    pub fn to_le_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }
}

impl From<&str> for AccountHash {
    fn from(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl From<u64> for AccountHash {
    fn from(hash: u64) -> Self {
        Self(hash)
    }
}

/// A map whose entries weigh at most a limit together: [`BoundedMap::new`] takes it, the default map has `LIMIT`. It is
/// a number of entries, or bytes where weights are bytes. A look-up takes constant time, a write or an eviction time
/// proportional to the logarithm of the number of accounts, and an entry some 50 bytes besides its key and value.
/// Writing an entry makes it the youngest; reading it does not.
#[derive(Clone)]
pub struct BoundedMap<K, V, const LIMIT: usize = 0> {
    limit: usize,
    weight: usize,
    /// Writes so far, which serve as the time.
    writes: u64,
    hasher: RandomState,
    /// Positions in `slots`.
    index: HashTable<u32>,
    slots: Vec<Slot<K, V>>,
    free_slots: Vec<u32>,
    accounts: BTreeMap<AccountHash, AccountEntries>,
    /// The accounts in the order in which they lose entries, the next one last.
    ranks: BTreeSet<AccountRank>,
}

/// Weight, time of the oldest entry, account.
type AccountRank = (usize, Reverse<u64>, AccountHash);

/// An entry, linked with its account's entries in the order of their last writes.
#[derive(Clone)]
struct Slot<K, V> {
    /// `None` in a free slot.
    entry: Option<(K, V)>,
    account: AccountHash,
    weight: usize,
    written: u64,
    older: u32,
    newer: u32,
}

/// The entries of an account, which has at least one.
#[derive(Clone, Copy)]
struct AccountEntries {
    oldest: u32,
    newest: u32,
    weight: usize,
}

/// No position.
const NONE: u32 = u32::MAX;

impl<K: Hash + Eq, V, const LIMIT: usize> Default for BoundedMap<K, V, LIMIT> {
    fn default() -> Self {
        const { assert!(LIMIT > 0, "this map has no limit of its own: use `BoundedMap::new`") };
        Self::new(LIMIT)
    }
}

impl<K: Hash + Eq, V, const LIMIT: usize> BoundedMap<K, V, LIMIT> {
    /// An empty map for entries that weigh at most `limit` together.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.clamp(1, NONE as usize),
            weight: 0,
            writes: 0,
            hasher: RandomState::default(),
            index: HashTable::new(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            accounts: BTreeMap::new(),
            ranks: BTreeSet::new(),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Number of accounts that have entries. Each keeps its newest ones, up to `limit / accounts()` at least.
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&V> {
        self.entry(self.find(key)?).map(|(_, value)| value)
    }

    /// Whether the map has this key.
    pub fn contains_key<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> bool {
        self.find(key).is_some()
    }

    /// Writes an entry of weight 1 that no account pays for. Returns the evicted entries.
    pub fn insert(&mut self, key: K, value: V) -> Vec<(K, V)> {
        self.insert_for(AccountHash::NONE, key, value, 1)
    }

    /// Writes an entry for an account, in place of the entry that the key had. Returns the evicted entries: the new one
    /// too if it exceeds the limit by itself.
    pub fn insert_for(&mut self, account: impl Into<AccountHash>, key: K, value: V, weight: usize) -> Vec<(K, V)> {
        self.remove(&key);
        self.link_newest(account.into(), key, value, weight.max(1));
        let mut evicted = Vec::new();
        while self.weight > self.limit {
            let heaviest = self.ranks.last().and_then(|(.., account)| self.accounts.get(account));
            let Some(entry) = heaviest.map(|entries| entries.oldest).and_then(|at| self.take(at)) else { break };
            evicted.push(entry);
        }
        evicted
    }

    /// Changes the value of a key, which starts as the default value, as a write of weight 1.
    pub fn update<R>(&mut self, account: impl Into<AccountHash>, key: K, change: impl FnOnce(&mut V) -> R) -> R
    where
        V: Default,
    {
        let mut value = self.remove(&key).unwrap_or_default();
        let result = change(&mut value);
        self.insert_for(account, key, value, 1);
        result
    }

    pub fn remove<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<V> {
        let at = self.find(key)?;
        self.take(at).map(|(_, value)| value)
    }

    /// Removes each account's oldest entries for which `is_over` returns true. Stops at the first other one, so the
    /// time that it needs is proportional to what it removes. Returns their number.
    pub fn expire(&mut self, mut is_over: impl FnMut(&K, &V) -> bool) -> u64 {
        let (mut next, mut expired) = (Bound::Unbounded, 0);
        while let Some((account, oldest)) =
            self.accounts.range((next, Bound::Unbounded)).next().map(|(account, entries)| (*account, entries.oldest))
        {
            match self.entry(oldest).is_some_and(|(key, value)| is_over(key, value)) {
                true => expired += u64::from(self.take(oldest).is_some()),
                false => next = Bound::Excluded(account),
            }
        }
        expired
    }

    /// Keeps the entries for which `keep` returns true, in time proportional to all of them.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        for at in 0..self.slots.len() {
            let entry = self.slots.get_mut(at).and_then(|slot| slot.entry.as_mut());
            if entry.is_some_and(|(key, value)| !keep(key, value)) {
                self.take(at as u32);
            }
        }
    }

    /// The entries, the one that was written longest ago first. Sorts them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator {
        self.entries().map(|(_, key, value)| (key, value))
    }

    /// The entries with their accounts, in the order of [`Self::iter`].
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (AccountHash, &K, &V)> + ExactSizeIterator {
        let mut slots: Vec<_> = self.slots.iter().filter_map(|slot| Some((slot, slot.entry.as_ref()?))).collect();
        slots.sort_unstable_by_key(|(slot, _)| slot.written);
        slots.into_iter().map(|(slot, (key, value))| (slot.account, key, value))
    }

    /// The values in the order of [`Self::iter`], to be changed without counting as written.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let slots = self.slots.iter_mut();
        let mut values: Vec<_> =
            slots.filter_map(|slot| slot.entry.as_mut().map(|(_, value)| (slot.written, value))).collect();
        values.sort_unstable_by_key(|(written, _)| *written);
        values.into_iter().map(|(_, value)| value)
    }

    fn find<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<u32> {
        let is_key = |at: &u32| self.entry(*at).is_some_and(|(other, _)| key.equivalent(other));
        self.index.find(self.hasher.hash_one(key), is_key).copied()
    }

    fn entry(&self, at: u32) -> Option<&(K, V)> {
        self.slots.get(at as usize)?.entry.as_ref()
    }

    /// The present rank of an account that has entries.
    fn rank(&self, account: AccountHash) -> Option<AccountRank> {
        let entries = self.accounts.get(&account)?;
        Some((entries.weight, Reverse(self.slots.get(entries.oldest as usize)?.written), account))
    }

    fn link_newest(&mut self, account: AccountHash, key: K, value: V, weight: usize) {
        self.rank(account).inspect(|rank| _ = self.ranks.remove(rank));
        let hash = self.hasher.hash_one(&key);
        let at = self.free_slots.pop().unwrap_or(self.slots.len() as u32);
        let fresh = AccountEntries { oldest: at, newest: NONE, weight: 0 };
        let entries = self.accounts.entry(account).or_insert(fresh);
        let older = std::mem::replace(&mut entries.newest, at);
        entries.weight += weight;
        self.weight += weight;
        self.writes += 1;
        let slot = Slot { entry: Some((key, value)), account, weight, written: self.writes, older, newer: NONE };
        match self.slots.get_mut(at as usize) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.slots.get_mut(older as usize).into_iter().for_each(|slot| slot.newer = at);
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index.insert_unique(hash, at, |other| {
            let entry = slots.get(*other as usize).and_then(|slot| slot.entry.as_ref());
            entry.map_or(0, |(key, _)| hasher.hash_one(key))
        });
        self.ranks.extend(self.rank(account));
    }

    fn take(&mut self, at: u32) -> Option<(K, V)> {
        let slot = self.slots.get_mut(at as usize)?;
        let (key, value) = slot.entry.take()?;
        let (account, weight, older, newer) = (slot.account, slot.weight, slot.older, slot.newer);
        self.rank(account).inspect(|rank| _ = self.ranks.remove(rank));
        self.slots.get_mut(older as usize).into_iter().for_each(|slot| slot.newer = newer);
        self.slots.get_mut(newer as usize).into_iter().for_each(|slot| slot.older = older);
        if (older, newer) == (NONE, NONE) {
            self.accounts.remove(&account);
        } else if let Some(entries) = self.accounts.get_mut(&account) {
            entries.oldest = if older == NONE { newer } else { entries.oldest };
            entries.newest = if newer == NONE { older } else { entries.newest };
            entries.weight -= weight;
        }
        self.weight -= weight;
        if let Ok(place) = self.index.find_entry(self.hasher.hash_one(&key), |other| *other == at) {
            place.remove();
        }
        self.free_slots.push(at);
        self.ranks.extend(self.rank(account));
        Some((key, value))
    }
}

impl<V, const LIMIT: usize> BoundedMap<u64, V, LIMIT> {
    /// Adds an entry of weight 1 under a new number, so that the map is a queue. Returns the evicted entries.
    pub fn push(&mut self, account: impl Into<AccountHash>, value: V) -> Vec<(u64, V)> {
        self.insert_for(account, self.writes, value, 1)
    }
}
