//! [`BoundedMap`] is a bounded map that evicts the oldest key first.

use std::collections::{HashMap, VecDeque};

use super::waiting_calls::{KeyedValues, MAX_WAITING, UnitKey};

/// Values of the last [`LIMIT`] keys.
pub(super) struct BoundedMap<V> {
    all: HashMap<UnitKey, V>,
    /// Oldest first.
    order: VecDeque<UnitKey>,
}

impl<V> Default for BoundedMap<V> {
    fn default() -> Self {
        Self { all: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V: Copy + Default> BoundedMap<V> {
    pub(super) fn get(&self, place: &UnitKey) -> Option<V> {
        self.all.get(place).copied()
    }

    /// Changes the value of a key. A new key starts with the default value.
    pub(super) fn update(&mut self, place: UnitKey, change: impl FnOnce(&mut V)) {
        let order = &mut self.order;
        change(self.all.entry(place).or_insert_with(|| {
            order.push_back(place);
            V::default()
        }));
        while self.all.len() > MAX_WAITING
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    /// All entries, oldest first, for a checkpoint.
    pub(super) fn entries(&self) -> KeyedValues<V> {
        self.order.iter().filter_map(|place| Some((*place, self.get(place)?))).collect()
    }
}
