//! Fair eviction between accounts: [`choose_eviction`], [`LastUsedNames`], [`FairQueue`], and [`split_fairly`] for many
//! entries at once. An account that names a thousand tenants, or floods its own history, must not evict the entries of
//! other accounts. The account with most entries loses its least recently used ones, exactly as many as exceed the
//! bound, even if all have the same time. The owners of the data define the bounds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Chooses the entry to evict, of entries given as (account, last use, key).
pub fn choose_eviction<'k, K: 'k>(entries: impl Iterator<Item = (&'k str, u64, K)>) -> Option<K> {
    // For each account: the number of its entries, and the last use and key of its least recently used one.
    let mut accounts: BTreeMap<&str, (usize, u64, K)> = BTreeMap::new();
    for (account, last_use, key) in entries {
        match accounts.get_mut(account) {
            None => {
                accounts.insert(account, (1, last_use, key));
            }
            Some((count, oldest_use, oldest_key)) => {
                *count += 1;
                if last_use < *oldest_use {
                    (*oldest_use, *oldest_key) = (last_use, key);
                }
            }
        }
    }
    accounts.into_values().max_by_key(|(count, last_use, _)| (*count, Reverse(*last_use))).map(|(.., key)| key)
}

/// Splits entries, given as (account, time, weight, entry), into those that stay and those to evict. Later ones stay;
/// those that stay are in the order in which they would survive a smaller `max_weight`.
pub fn split_fairly<'a, T: Ord + Copy, K>(
    entries: impl Iterator<Item = (&'a str, T, usize, K)>,
    max_weight: usize,
) -> (Vec<K>, Vec<K>) {
    let mut accounts: BTreeMap<&str, Vec<(T, usize, K)>> = BTreeMap::new();
    for (account, time, weight, entry) in entries {
        accounts.entry(account).or_default().push((time, weight, entry));
    }
    let mut ranked = Vec::new();
    for mut account_entries in accounts.into_values() {
        account_entries.sort_by_key(|(time, ..)| Reverse(*time));
        let mut weight_so_far = 0_usize;
        for (time, weight, entry) in account_entries {
            weight_so_far = weight_so_far.saturating_add(weight);
            ranked.push((weight_so_far, Reverse(time), weight, entry));
        }
    }
    ranked.sort_by_key(|(weight_so_far, time, ..)| (*weight_so_far, *time));
    let (mut weight_left, mut kept, mut evicted) = (max_weight, Vec::new(), Vec::new());
    for (_, _, weight, entry) in ranked {
        match weight_left.checked_sub(weight) {
            Some(rest) => {
                weight_left = rest;
                kept.push(entry);
            }
            None => evicted.push(entry),
        }
    }
    (kept, evicted)
}

/// When each name was last used. Time is the number of uses so far.
#[derive(Clone, Default)]
pub struct LastUsedNames {
    uses: u64,
    last_use: HashMap<String, u64>,
}

impl LastUsedNames {
    /// The entry of `name` (account, line feed, own name) in a map of at most `max_entries`; evicts one if needed.
    pub fn entry<'m, T: Default>(
        &mut self,
        map: &'m mut BTreeMap<String, T>,
        name: &str,
        max_entries: usize,
    ) -> &'m mut T {
        if map.len() >= max_entries && !map.contains_key(name) {
            let last_use = |name: &String| self.last_use.get(name).copied().unwrap_or(0);
            let entries = map.keys().map(|name| (name.split('\n').next().unwrap_or_default(), last_use(name), name));
            if let Some(name) = choose_eviction(entries).cloned() {
                map.remove(&name);
                self.last_use.remove(&name);
            }
        }
        self.uses += 1;
        self.last_use.insert(name.to_owned(), self.uses);
        map.entry(name.to_owned()).or_default()
    }
}

/// An entry that belongs to an account.
pub trait AccountOwned {
    /// The account.
    fn account(&self) -> &str;
}

/// Entries in order of insertion. The cost of an eviction does not grow with their number.
#[derive(Clone)]
pub struct FairQueue<T> {
    /// Entries by number.
    entries: BTreeMap<u64, T>,
    next_number: u64,
    /// Numbers of each account's entries, oldest first.
    numbers_by_account: HashMap<Box<str>, VecDeque<u64>>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), next_number: 0, numbers_by_account: HashMap::new() }
    }
}

impl<T: AccountOwned> FairQueue<T> {
    /// Adds an entry. Beyond `max_entries`, the oldest entry of the account with most entries is evicted and returned.
    pub fn push(&mut self, entry: T, max_entries: usize) -> Option<T> {
        match self.numbers_by_account.get_mut(entry.account()) {
            Some(numbers) => numbers.push_back(self.next_number),
            None => {
                self.numbers_by_account.insert(entry.account().into(), VecDeque::from([self.next_number]));
            }
        }
        self.entries.insert(self.next_number, entry);
        self.next_number += 1;
        if self.entries.len() <= max_entries {
            return None;
        }
        let (_, numbers) = self
            .numbers_by_account
            .iter_mut()
            .max_by(|(a, left), (b, right)| (left.len(), a).cmp(&(right.len(), b)))?;
        let evicted = self.entries.remove(&numbers.pop_front()?)?;
        if numbers.is_empty() {
            self.numbers_by_account.remove(evicted.account());
        }
        Some(evicted)
    }

    /// Keeps the entries for which `keep` returns true.
    pub fn retain_mut(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let before = self.entries.len();
        self.entries.retain(|_, entry| keep(entry));
        if self.entries.len() < before {
            self.numbers_by_account
                .values_mut()
                .for_each(|numbers| numbers.retain(|number| self.entries.contains_key(number)));
            self.numbers_by_account.retain(|_, numbers| !numbers.is_empty());
        }
    }

    /// Entries, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.entries.values()
    }

    /// Entries, oldest first, mutable; their account must not be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.values_mut()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<T: AccountOwned> FromIterator<T> for FairQueue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let mut queue = Self::default();
        entries.into_iter().for_each(|entry| drop(queue.push(entry, usize::MAX)));
        queue
    }
}
