use super::*;

fn partition() -> PartitionId {
    PartitionId { topic: "in".into(), number: 3 }
}

fn stored(positions: &StoredPositions, offsets: std::ops::Range<i64>) -> Vec<i64> {
    offsets.filter(|offset| positions.is_stored(&partition(), *offset)).collect()
}

/// Exactly the records whose effects were applied count as stored, in any order, also after a restart.
#[test]
fn effects_say_what_is_stored() {
    let positions = StoredPositions::new("kafka".into());
    // Records 10 to 14 began; 12, 10 and 14 were stored.
    for offset in [12, 10, 14] {
        positions.apply(&positions.effect(&partition(), 10, offset));
    }
    let expected = [vec![10, 12, 14], (0..10).collect()].concat();
    let mut found = stored(&positions, 0..20);
    found.sort_by_key(|offset| (*offset < 10, *offset));
    assert_eq!(found, expected);
    let restarted = StoredPositions::new("kafka".into());
    restarted.restore(&positions.checkpoint().unwrap());
    assert_eq!(stored(&restarted, 0..20), stored(&positions, 0..20));
    assert_eq!(restarted.next(&partition()), Some(11));
    // 11 and 13 follow; the set is empty again.
    restarted.apply(&restarted.effect(&partition(), 11, 13));
    restarted.apply(&restarted.effect(&partition(), 11, 11));
    assert_eq!(restarted.next(&partition()), Some(15));
    assert!(restarted.state.lock().stored(&partition()).unwrap().after.is_empty());
}

/// Offsets that another gateway stored meanwhile are behind the next effect's `next`, so nothing accumulates.
#[test]
fn a_partition_that_was_away_continues() {
    let positions = StoredPositions::new("kafka".into());
    positions.apply(&positions.effect(&partition(), 0, 5));
    positions.apply(&positions.effect(&partition(), 100, 100));
    assert_eq!(positions.next(&partition()), Some(101));
    assert!(positions.state.lock().stored(&partition()).unwrap().after.is_empty());
    assert_eq!(positions.next(&PartitionId { topic: "in".into(), number: 4 }), None);
}

/// A topic that was made anew under the old name has no positions, also after a replay of old effects.
#[test]
fn another_topic_of_the_same_name_begins_anew() {
    let positions = StoredPositions::new("kafka".into());
    assert!(!positions.set_topic_id(&"in".into(), [1; 16]));
    let effect = positions.effect(&partition(), 0, 0);
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
