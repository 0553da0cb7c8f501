use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn partition() -> PartitionId {
    PartitionId { topic: "in".into(), number: 3 }
}

fn record(since: i64, next: i64, offset: i64) -> StoredRecord {
    StoredRecord { since, next, offset, id: None }
}

fn stored(positions: &StoredPositions, offsets: std::ops::Range<i64>) -> Vec<i64> {
    offsets.filter(|offset| positions.is_stored(&partition(), *offset)).collect()
}

/// Exactly the records whose effects were applied count as stored, in any order, also after a restart.
#[test]
fn effects_say_what_is_stored() {
    let positions = StoredPositions::new("kafka".into());
    // Reading began at 10. Records 10 to 14 began; 12, 10 and 14 were stored.
    for offset in [12, 10, 14] {
        positions.apply(&positions.effect(&partition(), record(10, 10, offset)));
    }
    assert_eq!(stored(&positions, 0..20), [10, 12, 14]);
    let restarted = StoredPositions::new("kafka".into());
    restarted.restore(&positions.checkpoint().unwrap());
    assert_eq!(stored(&restarted, 0..20), [10, 12, 14]);
    assert_eq!(restarted.next(&partition()), Some(11));
    // 11 and 13 follow, and all are one range.
    restarted.apply(&restarted.effect(&partition(), record(10, 11, 13)));
    restarted.apply(&restarted.effect(&partition(), record(10, 11, 11)));
    assert_eq!(restarted.next(&partition()), Some(15));
    assert_eq!(restarted.state.lock().stored(&partition()).unwrap().ranges, BTreeMap::from([(10, 15)]));
}

/// Offsets that another gateway stored meanwhile are not this one's: if the group's offsets are set back because the
/// other volume is lost, they are read.
#[test]
fn a_partition_that_was_away_continues() {
    let positions = StoredPositions::new("kafka".into());
    positions.apply(&positions.effect(&partition(), record(0, 0, 0)));
    positions.apply(&positions.effect(&partition(), record(100, 100, 100)));
    assert_eq!(positions.next(&partition()), Some(101));
    assert_eq!(stored(&positions, 0..200), [0, 100]);
    assert_eq!(positions.next(&PartitionId { topic: "in".into(), number: 4 }), None);
}

/// Ranges and ids are bounded; what is forgotten first is the oldest, and an old record is then stored again, never
/// skipped.
#[test]
fn memory_is_bounded() {
    let positions = StoredPositions::new("kafka".into());
    let count = 3 * MAX_IDS as i64;
    for number in 0..count {
        let id = Some(RecordId(number as u128));
        positions.apply(&positions.effect(&partition(), StoredRecord { id, ..record(0, 0, number * 2) }));
    }
    let restarted = StoredPositions::new("kafka".into());
    restarted.restore(&positions.checkpoint().unwrap());
    for positions in [positions, restarted] {
        let known = |number: i64| positions.is_id_stored(&partition(), &RecordId(number as u128));
        assert!((count - MAX_IDS as i64..count).all(known));
        assert!(!known(0) && !known(count));
        assert!(positions.is_stored(&partition(), (count - MAX_RANGES as i64) * 2));
        assert!(!positions.is_stored(&partition(), 0));
        let state = positions.state.lock();
        assert_eq!(state.stored(&partition()).unwrap().ranges.len(), MAX_RANGES);
    }
}

proptest! {
    /// Ranges hold exactly what was added, never touch, and `next` is the first gap behind the start.
    #[test]
    fn ranges_hold_what_was_added(added in prop::collection::vec((0_i64..60, 0_i64..6), 0..40), since in 0_i64..60) {
        let mut stored = StoredOffsets { since, ..StoredOffsets::default() };
        let mut expected = HashSet::new();
        for (from, length) in added {
            stored.add_range(from, from + length);
            expected.extend(from..from + length);
        }
        for offset in -1..70 {
            prop_assert_eq!(stored.holds(offset), expected.contains(&offset));
        }
        let bounds: Vec<(i64, i64)> = stored.ranges.iter().map(|(from, to)| (*from, *to)).collect();
        prop_assert!(bounds.windows(2).all(|pair| pair[0].1 < pair[1].0));
        prop_assert_eq!(stored.next(), (since..).find(|offset| !expected.contains(offset)).unwrap());
    }
}

/// A topic that was made anew under the old name has no positions, also after a replay of old effects.
#[test]
fn another_topic_of_the_same_name_begins_anew() {
    let positions = StoredPositions::new("kafka".into());
    assert!(!positions.set_topic_id(&"in".into(), [1; 16]));
    let effect = positions.effect(&partition(), record(0, 0, 0));
    positions.apply(&effect);
    assert!(positions.is_stored(&partition(), 0));
    assert!(!positions.set_topic_id(&"in".into(), [1; 16]));
    assert!(positions.set_topic_id(&"in".into(), [2; 16]));
    positions.apply(&effect);
    assert!(!positions.is_stored(&partition(), 0));
    assert_eq!(positions.next(&partition()), None);
}

/// A checkpoint of another version or a damaged one is an empty state, never an error or a panic.
#[test]
fn unreadable_state_is_empty() {
    let positions = StoredPositions::new("kafka".into());
    for bytes in [&b""[..], b"{}", b"{\"version\":9,\"partitions\":[]}", b"\xff"] {
        positions.restore(bytes);
        positions.apply(&Effect::new("kafka".into(), bytes.to_vec()));
    }
    assert_eq!(stored(&positions, -5..5), [] as [i64; 0]);
}
