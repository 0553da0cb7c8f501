use super::*;

/// A worker counts as drained only when it was asked, reads nothing and has nothing left; what is left is named.
#[test]
fn what_is_left_is_named() {
    let waiting = |records| WaitingRecords { consumer: "otlp_http".to_owned(), records, bytes: 3_100_000 };
    let state = |is_draining, reading: &[&str], waiting| DrainState {
        is_draining,
        reading: reading.iter().map(|&id| id.to_owned()).collect(),
        waiting,
    };
    let left = state(true, &["kafka"], vec![waiting(1)]);
    assert_eq!(describe(&left), "`kafka` hands its partitions over, 1 record (3 MB) for `otlp_http`");
    let not_drained =
        [left, state(true, &[], vec![waiting(7)]), state(true, &["kafka"], vec![]), state(false, &[], vec![])];
    assert!(not_drained.iter().all(|state| !is_drained(state)));
    assert!(is_drained(&state(true, &[], vec![])));
}
