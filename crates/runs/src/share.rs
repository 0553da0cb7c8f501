//! **What**: who makes room where there is not enough for all: [`victim`], [`Used`], [`Queue`], and for many at once
//! [`fair`]. **Why**: one account that names a thousand tenants, or floods its own past, must not take away what
//! others' medians, alerts and history rest on. **Invariants**: whoever has most makes room, with what was used longest
//! ago; exactly what is over goes, also where all have one time. **Not here**: how much there is (their owners).

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Of entries as (account, when used, key): the one that goes.
pub fn victim<'k, K: 'k>(entries: impl Iterator<Item = (&'k str, u64, K)>) -> Option<K> {
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

/// Who stays, those first that would stay in less room, and who goes. `all`: account, when (the later stays), weight,
/// what.
pub fn fair<'a, T: Ord + Copy, K>(all: impl Iterator<Item = (&'a str, T, usize, K)>, room: usize) -> (Vec<K>, Vec<K>) {
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

/// When names were used, in uses.
#[derive(Clone, Default)]
pub struct Used {
    now: u64,
    last: HashMap<String, u64>,
}

impl Used {
    /// The entry of a name of an account (`account`, a line end, the name), of which there are at most `most`.
    pub fn entry<'m, T: Default>(&mut self, map: &'m mut BTreeMap<String, T>, name: &str, most: usize) -> &'m mut T {
        if map.len() >= most && !map.contains_key(name) {
            let used = |name: &String| self.last.get(name).copied().unwrap_or(0);
            let entries = map.keys().map(|name| (name.split('\n').next().unwrap_or_default(), used(name), name));
            if let Some(name) = victim(entries).cloned() {
                map.remove(&name);
                self.last.remove(&name);
            }
        }
        self.now += 1;
        self.last.insert(name.to_owned(), self.now);
        map.entry(name.to_owned()).or_default()
    }
}

/// Who owns an entry.
pub trait Owned {
    /// The account.
    fn account(&self) -> &str;
}

/// Entries in the order they came. Making room takes no longer the more there are.
#[derive(Clone)]
pub struct Queue<T> {
    /// By number.
    all: BTreeMap<u64, T>,
    next: u64,
    /// Those of each account, the oldest first.
    of: HashMap<Box<str>, VecDeque<u64>>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), next: 0, of: HashMap::new() }
    }
}

impl<T: Owned> Queue<T> {
    /// Adds one. Beyond `most` the oldest of the account with most goes: it is returned.
    pub fn push(&mut self, one: T, most: usize) -> Option<T> {
        match self.of.get_mut(one.account()) {
            Some(own) => own.push_back(self.next),
            None => {
                self.of.insert(one.account().into(), VecDeque::from([self.next]));
            }
        }
        self.all.insert(self.next, one);
        self.next += 1;
        if self.all.len() <= most {
            return None;
        }
        let (_, own) = self.of.iter_mut().max_by(|(a, own), (b, other)| (own.len(), a).cmp(&(other.len(), b)))?;
        let gone = self.all.remove(&own.pop_front()?)?;
        if own.is_empty() {
            self.of.remove(gone.account());
        }
        Some(gone)
    }

    /// Keeps what `keep` says.
    pub fn retain_mut(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let before = self.all.len();
        self.all.retain(|_, one| keep(one));
        if self.all.len() < before {
            self.of.values_mut().for_each(|own| own.retain(|number| self.all.contains_key(number)));
            self.of.retain(|_, own| !own.is_empty());
        }
    }

    /// The oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.all.values()
    }

    /// The same, to be changed; not whose they are.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.all.values_mut()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl<T: Owned> FromIterator<T> for Queue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut queue = Self::default();
        all.into_iter().for_each(|one| drop(queue.push(one, usize::MAX)));
        queue
    }
}
