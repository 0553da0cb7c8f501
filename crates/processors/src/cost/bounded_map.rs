//! [`BoundedMap`] is a bounded map that evicts the oldest key first.

use std::collections::{HashMap, VecDeque};

use super::waiting_calls::{KeyedValues, LedgerKey, MAX_WAITING};

/// The values of at most [`MAX_WAITING`] keys.
pub(super) struct BoundedMap<V> {
    values: HashMap<LedgerKey, V>,
    /// Keys in the order in which they were added.
    order: VecDeque<LedgerKey>,
}

impl<V> Default for BoundedMap<V> {
    fn default() -> Self {
        Self { values: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V: Copy + Default> BoundedMap<V> {
    pub(super) fn get(&self, key: &LedgerKey) -> Option<V> {
        self.values.get(key).copied()
    }

    /// Changes the value of a key. A new key starts with the default value.
    pub(super) fn update(&mut self, key: LedgerKey, change: impl FnOnce(&mut V)) {
        let order = &mut self.order;
        change(self.values.entry(key).or_insert_with(|| {
            order.push_back(key);
            V::default()
        }));
        while self.values.len() > MAX_WAITING
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
    }

    /// All entries, oldest first, for a checkpoint.
    pub(super) fn entries(&self) -> KeyedValues<V> {
        self.order.iter().filter_map(|key| Some((*key, self.get(key)?))).collect()
    }
}
