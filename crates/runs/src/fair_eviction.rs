//! Fair eviction between accounts: [`choose_eviction`], [`LastUsedNames`], [`FairQueue`], and [`split_fairly`] for many
//! entries at once. One account that names a thousand tenants, or floods its own history, must not evict the data
//! behind other accounts' medians, alerts and history. The account with most entries loses its least recently used
//! ones, exactly as many as exceed the bound, even if all have the same time. The owners of the data define the bounds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Chooses the entry to evict, of entries given as (account, last use, key).
pub fn choose_eviction<'k, K: 'k>(entries: impl Iterator<Item = (&'k str, u64, K)>) -> Option<K> {
    let mut accounts: BTreeMap<&str, (usize, u64, K)> = BTreeMap::new();
    for (account, used, key) in entries {
        match accounts.get_mut(account) {
            None => {
                accounts.insert(account, (1, used, key));
            }
            Some(known) => {
                known.0 += 1;
                if used < known.1 {
                    (known.1, known.2) = (used, key);
                }
            }
        }
    }
    accounts.into_values().max_by_key(|(count, used, _)| (*count, Reverse(*used))).map(|(.., key)| key)
}

/// Splits entries into those that stay (in the order in which they would survive a smaller bound) and those to evict.
/// `all`: account, time (later ones stay), weight, entry.
pub fn split_fairly<'a, T: Ord + Copy, K>(
    all: impl Iterator<Item = (&'a str, T, usize, K)>,
    room: usize,
) -> (Vec<K>, Vec<K>) {
    let mut accounts: BTreeMap<&str, Vec<(T, usize, K)>> = BTreeMap::new();
    for (account, at, weight, what) in all {
        accounts.entry(account).or_default().push((at, weight, what));
    }
    let mut ranked = Vec::new();
    for mut own in accounts.into_values() {
        own.sort_by_key(|(at, ..)| Reverse(*at));
        let mut used = 0_usize;
        for (at, weight, what) in own {
            used = used.saturating_add(weight);
            ranked.push((used, Reverse(at), weight, what));
        }
    }
    ranked.sort_by_key(|(used, at, ..)| (*used, *at));
    let (mut left, mut stay, mut go) = (room, Vec::new(), Vec::new());
    for (_, _, weight, what) in ranked {
        match left.checked_sub(weight) {
            Some(rest) => {
                left = rest;
                stay.push(what);
            }
            None => go.push(what),
        }
    }
    (stay, go)
}

/// Last use of names, counted in uses.
#[derive(Clone, Default)]
pub struct LastUsedNames {
    now: u64,
    last: HashMap<String, u64>,
}

impl LastUsedNames {
    /// The entry of a name (account, line feed, name) in a map of at most `most` entries; evicts one if needed.
    pub fn entry<'m, T: Default>(&mut self, map: &'m mut BTreeMap<String, T>, name: &str, most: usize) -> &'m mut T {
        if map.len() >= most && !map.contains_key(name) {
            let used = |name: &String| self.last.get(name).copied().unwrap_or(0);
            let entries = map.keys().map(|name| (name.split('\n').next().unwrap_or_default(), used(name), name));
            if let Some(name) = choose_eviction(entries).cloned() {
                map.remove(&name);
                self.last.remove(&name);
            }
        }
        self.now += 1;
        self.last.insert(name.to_owned(), self.now);
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
    next: u64,
    /// Numbers of each account's entries, oldest first.
    numbers_by_account: HashMap<Box<str>, VecDeque<u64>>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), next: 0, numbers_by_account: HashMap::new() }
    }
}

impl<T: AccountOwned> FairQueue<T> {
    /// Adds an entry. Beyond `most` the oldest entry of the account with most is evicted and returned.
    pub fn push(&mut self, one: T, most: usize) -> Option<T> {
        match self.numbers_by_account.get_mut(one.account()) {
            Some(own) => own.push_back(self.next),
            None => {
                self.numbers_by_account.insert(one.account().into(), VecDeque::from([self.next]));
            }
        }
        self.entries.insert(self.next, one);
        self.next += 1;
        if self.entries.len() <= most {
            return None;
        }
        let (_, own) =
            self.numbers_by_account.iter_mut().max_by(|(a, own), (b, other)| (own.len(), a).cmp(&(other.len(), b)))?;
        let gone = self.entries.remove(&own.pop_front()?)?;
        if own.is_empty() {
            self.numbers_by_account.remove(gone.account());
        }
        Some(gone)
    }

    /// Keeps the entries for which `keep` returns true.
    pub fn retain_mut(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let before = self.entries.len();
        self.entries.retain(|_, one| keep(one));
        if self.entries.len() < before {
            self.numbers_by_account.values_mut().for_each(|own| own.retain(|number| self.entries.contains_key(number)));
            self.numbers_by_account.retain(|_, own| !own.is_empty());
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
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut queue = Self::default();
        all.into_iter().for_each(|one| drop(queue.push(one, usize::MAX)));
        queue
    }
}
