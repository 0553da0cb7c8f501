//! [`StoredPositions`]: which records are in this gateway's spool. It is state of the engine like that of a processor:
//! an effect of each record says that it is stored, in the same transaction as its data, so after a crash exactly the
//! records that are missing are read again, although their offsets were not committed yet. Positions belong to the
//! topic's id, not its name: a topic that was made anew begins without any.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    state: Mutex<PositionState>,
}

/// A topic's id, as the brokers tell it.
type TopicId = [u8; 16];

#[derive(Default)]
struct PositionState {
    /// The ids that the topics have now.
    topic_ids: HashMap<Arc<str>, TopicId>,
    partitions: BTreeMap<(PartitionId, TopicId), StoredOffsets>,
}

impl PositionState {
    /// The key of a partition of the topic as it is now.
    fn key(&self, partition: &PartitionId) -> (PartitionId, TopicId) {
        (partition.clone(), self.topic_ids.get(&partition.topic).copied().unwrap_or_default())
    }

    fn stored(&self, partition: &PartitionId) -> Option<&StoredOffsets> {
        self.partitions.get(&self.key(partition))
    }
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
    topic_id: TopicId,
    partition: i32,
    /// No record before this offset was missing when this one began.
    next: i64,
    offset: i64,
}

/// The saved form.
#[derive(Serialize, Deserialize)]
struct SavedPositions {
    version: u8,
    partitions: Vec<(Arc<str>, TopicId, i32, StoredOffsets)>,
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
        Arc::new(Self { id, state: Mutex::default() })
    }

    /// The effect that says that the record at `offset` is stored, and none before `next` is missing.
    pub(super) fn effect(&self, partition: &PartitionId, next: i64, offset: i64) -> Effect {
        let (_, topic_id) = self.state.lock().key(partition);
        let (topic, partition) = (Arc::clone(&partition.topic), partition.number);
        let effect = StoredRecordEffect { topic, topic_id, partition, next, offset };
        // Numbers and a text can always be written.
        Effect::new(Arc::clone(&self.id), serde_json::to_vec(&effect).unwrap_or_default())
    }

    /// The first record that is not stored; `None` if the partition is unknown here.
    pub(super) fn next(&self, partition: &PartitionId) -> Option<i64> {
        self.state.lock().stored(partition).map(|stored| stored.next)
    }

    /// Whether the record is stored.
    pub(super) fn is_stored(&self, partition: &PartitionId, offset: i64) -> bool {
        let state = self.state.lock();
        state.stored(partition).is_some_and(|stored| offset < stored.next || stored.after.contains(&offset))
    }

    /// Tells which topic has this name now. Returns whether positions of another one were forgotten.
    pub(super) fn set_topic_id(&self, topic: &Arc<str>, id: TopicId) -> bool {
        let mut state = self.state.lock();
        state.topic_ids.insert(Arc::clone(topic), id);
        let before = state.partitions.len();
        state.partitions.retain(|(partition, of), _| partition.topic != *topic || *of == id);
        state.partitions.len() < before
    }

    /// Forgets a partition that has fewer records than were read from it.
    pub(super) fn forget(&self, partition: &PartitionId) {
        let mut state = self.state.lock();
        let key = state.key(partition);
        state.partitions.remove(&key);
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
        let mut state = self.state.lock();
        state.partitions.entry((partition, effect.topic_id)).or_default().add(effect.next, effect.offset);
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let partitions = state.partitions.iter().map(|((partition, topic_id), stored)| {
            (Arc::clone(&partition.topic), *topic_id, partition.number, stored.clone())
        });
        serde_json::to_vec(&SavedPositions { version: VERSION, partitions: partitions.collect() }).ok()
    }

    fn restore(&self, checkpoint: &[u8]) {
        let saved = serde_json::from_slice::<SavedPositions>(checkpoint).ok();
        let Some(saved) = saved.filter(|saved| saved.version == VERSION) else { return };
        let partitions = saved.partitions.into_iter();
        self.state.lock().partitions = partitions
            .map(|(topic, topic_id, number, stored)| ((PartitionId { topic, number }, topic_id), stored))
            .collect();
    }
}
