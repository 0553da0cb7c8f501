//! [`SortedMap`]: a map from 64-bit keys as one sorted list. There may be a hundred thousand runs with a handful of
//! items each, for which hash maps would take twice the memory; no group has so many items that inserting gets slow.

use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// See the module documentation.
#[derive(Clone)]
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

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let position = self.find(key).ok()?;
        self.0.get_mut(position).map(|(_, value)| value)
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

    pub(super) fn into_entries(self) -> impl Iterator<Item = (u64, T)> {
        self.0.into_iter()
    }

    /// The entries whose value is wanted.
    pub(super) fn filter(&self, keep: impl Fn(&T) -> bool) -> Self
    where
        T: Clone,
    {
        Self(self.0.iter().filter(|(_, value)| keep(value)).cloned().collect())
    }
}

impl<T: Serialize> Serialize for SortedMap<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        self.0.iter().try_for_each(|entry| list.serialize_element(entry))?;
        list.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for SortedMap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut entries = Vec::<(u64, T)>::deserialize(deserializer)?;
        entries.sort_by_key(|(key, _)| *key);
        Ok(Self(entries))
    }
}
