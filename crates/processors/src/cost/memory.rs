//! **What**: [`Memory`]: values by place. **Invariants**: bounded; forgets the oldest place first.

use std::collections::{HashMap, VecDeque};

use super::late::{LIMIT, Place, Placed};

/// Values by place, of the last [`LIMIT`] places.
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

    /// Changes the value of a place; a new one begins with the default.
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

    /// Everything, oldest first, for a checkpoint.
    pub(super) fn all(&self) -> Placed<V> {
        self.order.iter().filter_map(|place| Some((*place, self.of(place)?))).collect()
    }
}
