use super::*;

/// What is committed is the first offset that is not done, in whatever order records end.
#[test]
fn nothing_unfinished_is_committed() {
    let mut progress = PartitionProgress::new(1, Some(5));
    assert_eq!(progress.to_commit(), Some(5));
    progress.committed = Some(5);
    for offset in 5..9 {
        assert_eq!(progress.begin(offset, 0), 0);
    }
    progress.finish(7);
    progress.finish(6);
    assert_eq!(progress.to_commit(), None);
    progress.finish(5);
    assert_eq!(progress.to_commit(), Some(8));
    progress.finish(8);
    assert_eq!((progress.to_commit(), progress.active_count()), (Some(9), 0));
}

/// Offsets that were never seen are reported once, and do not hold the partition.
#[test]
fn missing_offsets_are_counted() {
    let mut progress = PartitionProgress::new(1, Some(5));
    assert_eq!(progress.begin(5, 0), 0);
    assert_eq!(progress.begin(9, 0), 3);
    assert_eq!(progress.begin(10, 0), 0);
    for offset in [5, 9, 10] {
        progress.finish(offset);
    }
    assert_eq!(progress.to_commit(), Some(11));
    // Where a partition begins may be unknown: the first record tells.
    let mut unknown = PartitionProgress::new(2, None);
    assert_eq!((unknown.to_commit(), unknown.begin(100, 0)), (None, 0));
    assert_eq!(unknown.to_commit(), Some(100));
}
