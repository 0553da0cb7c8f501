//! [`Memory`] is a bounded map that evicts the oldest key first.

use std::collections::{HashMap, VecDeque};

use super::late::{LIMIT, Place, Placed};

/// Values of the last [`LIMIT`] keys.
pub(super) struct Memory<V> {
    all: HashMap<Place, V>,
    /// Oldest first.
    order: VecDeque<Place>,
}

impl<V> Default for Memory<V> {
    fn default() -> Self {
        Self { all: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V: Copy + Default> Memory<V> {
    pub(super) fn of(&self, place: &Place) -> Option<V> {
        self.all.get(place).copied()
    }

    /// Changes the value of a key. A new key starts with the default value.
    pub(super) fn change(&mut self, place: Place, change: impl FnOnce(&mut V)) {
        let order = &mut self.order;
        change(self.all.entry(place).or_insert_with(|| {
            order.push_back(place);
            V::default()
        }));
        while self.all.len() > LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    /// All entries, oldest first, for a checkpoint.
    pub(super) fn all(&self) -> Placed<V> {
        self.order.iter().filter_map(|place| Some((*place, self.of(place)?))).collect()
    }
}
