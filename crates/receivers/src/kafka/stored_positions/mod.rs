//! [`StoredPositions`]: which records are in this gateway's spool. It is state of the engine like that of a processor:
//! an effect of each record says that it is stored, in the same transaction as its data, so after a crash exactly the
//! records that are missing are stored, although their offsets were not committed yet. A record that an edge wrote
//! twice is recognised by its id. Positions belong to the topic's id, not its name: a topic that was made anew begins
//! without any.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use ::kafka::{PartitionId, RecordId};
use kernel::bounded_map::BoundedMap;
use pipeline::{Batch, Effect, Processor, Reason};

#[cfg(test)]
mod tests;

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

/// Ranges of one partition that are remembered. A range ends where another worker stored records, or one is under way.
const MAX_RANGES: usize = 1024;
/// Ids of one partition that are remembered. They have no account: records may be of any.
const MAX_IDS: usize = 4096;

/// The stored records of one partition.
#[derive(Default)]
struct StoredOffsets {
    /// Where this gateway last began to read.
    since: i64,
    /// First offset of each range of stored records, and the offset behind it. No two ranges touch.
    ranges: BTreeMap<i64, i64>,
    ids: BoundedMap<RecordId, (), MAX_IDS>,
}

#[derive(Serialize, Deserialize)]
struct StoredRecordEffect {
    topic: Arc<str>,
    topic_id: TopicId,
    partition: i32,
    record: StoredRecord,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct StoredRecord {
    /// Where this gateway began to read.
    pub(super) since: i64,
    /// None of the records `since..next` was missing when this one began.
    pub(super) next: i64,
    pub(super) offset: i64,
    /// The id that the edge gave it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<RecordId>,
}

#[derive(Serialize, Deserialize)]
struct SavedPositions {
    version: u8,
    partitions: Vec<SavedPartition>,
}

#[derive(Serialize, Deserialize)]
struct SavedPartition {
    topic: Arc<str>,
    topic_id: TopicId,
    partition: i32,
    since: i64,
    ranges: Vec<(i64, i64)>,
    ids: Vec<RecordId>,
}

const VERSION: u8 = 2;

impl StoredOffsets {
    fn add(&mut self, record: &StoredRecord) {
        self.since = record.since;
        self.add_range(record.since, record.next);
        self.add_range(record.offset, record.offset.saturating_add(1));
        if let Some(id) = record.id {
            self.ids.insert(id, ());
        }
    }

    fn add_range(&mut self, mut from: i64, mut to: i64) {
        if from >= to {
            return;
        }
        while let Some((start, end)) = self.ranges.range(..=to).next_back().map(|(start, end)| (*start, *end))
            && end >= from
        {
            self.ranges.remove(&start);
            (from, to) = (from.min(start), to.max(end));
        }
        self.ranges.insert(from, to);
        if self.ranges.len() > MAX_RANGES {
            self.ranges.pop_first();
        }
    }

    fn holds(&self, offset: i64) -> bool {
        self.ranges.range(..=offset).next_back().is_some_and(|(_, end)| offset < *end)
    }

    /// The first record that is missing since this gateway began to read.
    fn next(&self) -> i64 {
        let around = self.ranges.range(..=self.since).next_back();
        around.map_or(self.since, |(_, end)| self.since.max(*end))
    }
}

impl StoredPositions {
    /// No records, for the receiver with this id.
    pub fn new(id: Arc<str>) -> Arc<Self> {
        Arc::new(Self { id, state: Mutex::default() })
    }

    /// The effect that says that this record is stored.
    pub(super) fn effect(&self, partition: &PartitionId, record: StoredRecord) -> Effect {
        let (_, topic_id) = self.state.lock().key(partition);
        let (topic, partition) = (Arc::clone(&partition.topic), partition.number);
        let effect = StoredRecordEffect { topic, topic_id, partition, record };
        // Numbers and texts can always be written.
        Effect::new(Arc::clone(&self.id), serde_json::to_vec(&effect).unwrap_or_default())
    }

    /// The first record that is missing since this gateway began to read; `None` if the partition is unknown here.
    pub(super) fn next(&self, partition: &PartitionId) -> Option<i64> {
        self.state.lock().stored(partition).map(StoredOffsets::next)
    }

    /// The offset behind the last record that is stored.
    pub(super) fn end(&self, partition: &PartitionId) -> Option<i64> {
        let state = self.state.lock();
        let stored = state.stored(partition)?;
        stored.ranges.last_key_value().map(|(_, end)| *end).max(Some(stored.next()))
    }

    /// Whether the record at this offset is stored.
    pub(super) fn is_stored(&self, partition: &PartitionId, offset: i64) -> bool {
        self.state.lock().stored(partition).is_some_and(|stored| stored.holds(offset))
    }

    /// Whether a record with this id is stored: the edge heard of no acknowledgement and wrote it again.
    pub(super) fn is_id_stored(&self, partition: &PartitionId, id: &RecordId) -> bool {
        self.state.lock().stored(partition).is_some_and(|stored| stored.ids.contains_key(id))
    }

    /// Tells which topic has this name now. Returns whether positions of another one were forgotten.
    pub(super) fn set_topic_id(&self, topic: &Arc<str>, id: TopicId) -> bool {
        let mut state = self.state.lock();
        state.topic_ids.insert(Arc::clone(topic), id);
        let before = state.partitions.len();
        state.partitions.retain(|(partition, of), _| partition.topic != *topic || *of == id);
        state.partitions.len() < before
    }

    /// Forgets the ids of records of partitions that another worker reads from now on.
    pub(super) fn forget_ids(&self, partitions: &[PartitionId]) {
        let mut state = self.state.lock();
        for partition in partitions {
            let key = state.key(partition);
            if let Some(stored) = state.partitions.get_mut(&key) {
                stored.ids = BoundedMap::default();
            }
        }
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
        state.partitions.entry((partition, effect.topic_id)).or_default().add(&effect.record);
    }

    fn save(&self, checkpoint: &mut Vec<u8>) {
        let state = self.state.lock();
        let partitions = state.partitions.iter().map(|((partition, topic_id), stored)| SavedPartition {
            topic: Arc::clone(&partition.topic),
            topic_id: *topic_id,
            partition: partition.number,
            since: stored.since,
            ranges: stored.ranges.iter().map(|(from, to)| (*from, *to)).collect(),
            ids: stored.ids.iter().map(|(id, ())| *id).collect(),
        });
        let saved = SavedPositions { version: VERSION, partitions: partitions.collect() };
        // Writing it takes long with many partitions.
        drop(state);
        let _ = serde_json::to_writer(checkpoint, &saved); // can't fail: a buffer takes it
    }

    fn restore(&self, checkpoint: &[u8]) -> bool {
        let saved = serde_json::from_slice::<SavedPositions>(checkpoint).ok();
        let Some(saved) = saved.filter(|saved| saved.version == VERSION) else {
            return false;
        };
        let mut partitions = BTreeMap::new();
        for saved in saved.partitions {
            let mut stored = StoredOffsets { since: saved.since, ..StoredOffsets::default() };
            saved.ranges.into_iter().for_each(|(from, to)| stored.add_range(from, to));
            saved.ids.into_iter().for_each(|id| drop(stored.ids.insert(id, ())));
            let partition = PartitionId { topic: saved.topic, number: saved.partition };
            partitions.insert((partition, saved.topic_id), stored);
        }
        self.state.lock().partitions = partitions;
        true
    }
}
