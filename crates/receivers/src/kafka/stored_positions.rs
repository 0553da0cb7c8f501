//! [`StoredPositions`]: which records are in this gateway's spool. It is state of the engine like that of a processor:
//! an effect of each record says that it is stored, in the same transaction as its data, so after a crash exactly the
//! records that are missing are read again, although their offsets were not committed yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use ::kafka::PartitionId;
use pipeline::{Batch, Effect, Processor, Reason};

#[cfg(test)]
mod tests;

/// The records that are stored.
pub struct StoredPositions {
    id: Arc<str>,
    partitions: Mutex<BTreeMap<PartitionId, StoredOffsets>>,
}

/// The stored records of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct StoredOffsets {
    /// Every record before this offset is stored, or is not this gateway's to store.
    next: i64,
    /// Records after it that are stored.
    after: BTreeSet<i64>,
}

/// The effect of one record.
#[derive(Serialize, Deserialize)]
struct StoredRecordEffect {
    topic: Arc<str>,
    partition: i32,
    /// No record before this offset was missing when this one began.
    next: i64,
    offset: i64,
}

/// The saved form.
#[derive(Serialize, Deserialize)]
struct SavedPositions {
    version: u8,
    partitions: Vec<(Arc<str>, i32, StoredOffsets)>,
}

const VERSION: u8 = 1;

impl StoredOffsets {
    fn add(&mut self, next: i64, offset: i64) {
        self.next = self.next.max(next);
        self.after.insert(offset);
        self.after = self.after.split_off(&self.next);
        while self.after.remove(&self.next) {
            self.next += 1;
        }
    }
}

impl StoredPositions {
    /// No records, for the receiver with this id.
    pub fn new(id: Arc<str>) -> Arc<Self> {
        Arc::new(Self { id, partitions: Mutex::default() })
    }

    /// The effect that says that the record at `offset` is stored, and none before `next` is missing.
    pub(super) fn effect(&self, partition: &PartitionId, next: i64, offset: i64) -> Effect {
        let effect =
            StoredRecordEffect { topic: Arc::clone(&partition.topic), partition: partition.number, next, offset };
        // Numbers and a text can always be written.
        Effect::new(Arc::clone(&self.id), serde_json::to_vec(&effect).unwrap_or_default())
    }

    /// The first record that is not stored; `None` if the partition is unknown here.
    pub(super) fn next(&self, partition: &PartitionId) -> Option<i64> {
        self.partitions.lock().get(partition).map(|stored| stored.next)
    }

    /// Whether the record is stored.
    pub(super) fn is_stored(&self, partition: &PartitionId, offset: i64) -> bool {
        let partitions = self.partitions.lock();
        partitions.get(partition).is_some_and(|stored| offset < stored.next || stored.after.contains(&offset))
    }

    /// Forgets a partition whose topic is another one than before.
    pub(super) fn forget(&self, partition: &PartitionId) {
        self.partitions.lock().remove(partition);
    }
}

impl Processor for StoredPositions {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, _: &mut Batch) -> Result<(), Reason> {
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        let Ok(effect) = serde_json::from_slice::<StoredRecordEffect>(&effect.body) else { return };
        let partition = PartitionId { topic: effect.topic, number: effect.partition };
        self.partitions.lock().entry(partition).or_default().add(effect.next, effect.offset);
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        let partitions = self.partitions.lock();
        let partitions = partitions.iter().map(|(id, stored)| (Arc::clone(&id.topic), id.number, stored.clone()));
        serde_json::to_vec(&SavedPositions { version: VERSION, partitions: partitions.collect() }).ok()
    }

    fn restore(&self, checkpoint: &[u8]) {
        let saved = serde_json::from_slice::<SavedPositions>(checkpoint).ok();
        let Some(saved) = saved.filter(|saved| saved.version == VERSION) else { return };
        let partitions =
            saved.partitions.into_iter().map(|(topic, number, stored)| (PartitionId { topic, number }, stored));
        *self.partitions.lock() = partitions.collect();
    }
}
