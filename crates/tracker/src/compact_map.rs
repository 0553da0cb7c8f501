//! [`CompactMap`]: a map from 64-bit keys that is compact while it is small. There may be a hundred thousand runs with
//! a handful of items each, and hash maps would take twice the memory. A sorted list holds up to 128 entries; beyond
//! that a hash map keeps inserts fast.

use foldhash::HashMap;

use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Maximum length of the list.
const MAX_LIST_LEN: usize = 128;

/// See the module documentation.
#[derive(Clone)]
pub(super) struct CompactMap<T> {
    /// Sorted by key; empty once `map` is in use.
    list: Vec<(u64, T)>,
    map: Option<Box<HashMap<u64, T>>>,
}

impl<T> Default for CompactMap<T> {
    fn default() -> Self {
        Self { list: Vec::new(), map: None }
    }
}

impl<T> CompactMap<T> {
    pub(super) fn len(&self) -> usize {
        self.map.as_ref().map_or(self.list.len(), |map| map.len())
    }

    fn find(&self, key: u64) -> Result<usize, usize> {
        self.list.binary_search_by_key(&key, |(key, _)| *key)
    }

    pub(super) fn get(&self, key: u64) -> Option<&T> {
        match &self.map {
            Some(map) => map.get(&key),
            None => self.list.get(self.find(key).ok()?).map(|(_, value)| value),
        }
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let position = self.find(key);
        match &mut self.map {
            Some(map) => map.get_mut(&key),
            None => self.list.get_mut(position.ok()?).map(|(_, value)| value),
        }
    }

    pub(super) fn insert(&mut self, key: u64, value: T) {
        if self.map.is_none() && self.list.len() >= MAX_LIST_LEN {
            self.map = Some(Box::new(std::mem::take(&mut self.list).into_iter().collect()));
        }
        if let Some(map) = &mut self.map {
            map.insert(key, value);
            return;
        }
        match self.find(key) {
            Ok(position) => {
                if let Some(entry) = self.list.get_mut(position) {
                    entry.1 = value;
                }
            }
            Err(position) => {
                if self.list.len() == self.list.capacity() {
                    self.list.reserve_exact(self.list.len() / 4 + 1);
                }
                self.list.insert(position, (key, value));
            }
        }
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<T> {
        match &mut self.map {
            Some(map) => map.remove(&key),
            None => self.find(key).ok().map(|position| self.list.remove(position).1),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let list = self.list.iter().map(|(key, value)| (*key, value));
        list.chain(self.map.iter().flat_map(|map| map.iter().map(|(key, value)| (*key, value))))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.iter().map(|(key, _)| key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, value)| value)
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (u64, T)> {
        self.list.into_iter().chain(self.map.into_iter().flat_map(|map| map.into_iter()))
    }
}

impl<T> FromIterator<(u64, T)> for CompactMap<T> {
    fn from_iter<I: IntoIterator<Item = (u64, T)>>(entries: I) -> Self {
        let mut map = Self::default();
        entries.into_iter().for_each(|(key, value)| map.insert(key, value));
        map
    }
}

impl<T: Serialize> Serialize for CompactMap<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        self.iter().try_for_each(|entry| list.serialize_element(&entry))?;
        list.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for CompactMap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<(u64, T)>::deserialize(deserializer)?.into_iter().collect())
    }
}
