//! [`SortedMap`]: a map from 64-bit keys as one sorted list. There may be a hundred thousand runs with a handful of
//! items each, for which hash maps would take twice the memory; no group has so many items that inserting gets slow.

use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, T)>")]
pub(super) struct SortedMap<T>(Vec<(u64, T)>);

impl<T> Default for SortedMap<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> SortedMap<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn find(&self, key: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&key, |(key, _)| *key)
    }

    pub(super) fn get(&self, key: u64) -> Option<&T> {
        self.0.get(self.find(key).ok()?).map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, key: u64, value: T) {
        match self.find(key) {
            Ok(position) => {
                if let Some(entry) = self.0.get_mut(position) {
                    entry.1 = value;
                }
            }
            Err(position) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve_exact(self.0.len() / 4 + 1);
                }
                self.0.insert(position, (key, value));
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.iter().map(|(key, _)| key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, value)| value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (u64, T)> {
        self.0.into_iter()
    }

    pub(super) fn map<U>(self, change: impl Fn(T) -> U) -> SortedMap<U> {
        SortedMap(self.0.into_iter().map(|(key, value)| (key, change(value))).collect())
    }

    /// The entries whose value is wanted.
    pub(super) fn filter(&self, keep: impl Fn(&T) -> bool) -> Self
    where
        T: Clone,
    {
        Self(self.0.iter().filter(|(_, value)| keep(value)).cloned().collect())
    }
}

impl<T> From<Vec<(u64, T)>> for SortedMap<T> {
    fn from(mut entries: Vec<(u64, T)>) -> Self {
        entries.sort_by_key(|(key, _)| *key);
        Self(entries)
    }
}
