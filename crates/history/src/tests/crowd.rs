//! Tests of floods: one account's flood may evict its own history, never that of others.

use std::collections::HashMap;

use super::super::failures::{BatchFailures, MAX_COUNTS, MAX_KINDS};
use super::*;
use ::runs::fair_eviction::split_fairly;

/// If weights differ, an account's total weight counts, not its number of entries.
#[test]
fn what_is_used_counts() {
    let all = [("big", 3, 60, 'a'), ("big", 2, 60, 'b'), ("small", 1, 5, 'c'), ("small", 0, 5, 'd')];
    let (stay, go) = split_fairly(all.into_iter(), 100);
    assert_eq!((stay, go), (vec!['c', 'd', 'a'], vec!['b']));
}

fn noticed(account: &str, number: u64, kinds: std::ops::Range<usize>) -> BatchFailures {
    let key = |kind: usize| -> FailureKey { [format!("k{kind}").as_str(), "", "", "", "", "", ""].map(Arc::from) };
    let sample = |kind: usize| FailureSample { account: account.into(), key: key(kind), ..sample(NOW + number) };
    let mut batch = [0; 16];
    batch[..8].copy_from_slice(&number.to_be_bytes());
    BatchFailures {
        account: account.into(),
        batch,
        received: NOW,
        counts: kinds.clone().map(|kind| (key(kind), 1)).collect::<HashMap<_, _>>(),
        samples: kinds.map(sample).collect(),
    }
}

/// An account with more kinds of failures than the maximum displaces neither samples nor names of others, before or
/// after; its further counts go to `other`, the total stays exact, and the file is updated accordingly.
#[test]
fn failures_of_others_keep_their_names() {
    let failures = FailedSpans::default();
    let kinds = MAX_COUNTS / 100;
    failures.add_batch(&noticed("before", 1, 0..1));
    for number in 0..101 {
        let first = usize::try_from(number).unwrap() * kinds;
        failures.add_batch(&noticed("flood", 2 + number, first + 10..first + kinds + 10));
    }
    drop(failures.take_changes());
    failures.add_batch(&noticed("after", 900, 1..3));
    let counts: HashMap<Arc<str>, u64> =
        failures.counts(0).into_iter().map(|(key, count)| (Arc::clone(&key[0]), count)).collect();
    assert_eq!([counts.get("k0"), counts.get("k1"), counts.get("k2")], [Some(&1); 3]);
    assert_eq!(counts.values().sum::<u64>(), 101 * kinds as u64 + 3);
    assert!(counts.len() <= MAX_COUNTS + 1 && counts["other"] > kinds as u64);
    let samples = failures.samples(0);
    assert_eq!(samples.len(), MAX_KINDS);
    let theirs = samples.iter().filter(|sample| &*sample.account != "flood").count();
    assert_eq!(theirs, 3);
    let (groups, fresh) = failures.take_changes();
    let gone = groups.iter().filter(|group| group.count == 0 && &*group.account == "flood").count();
    assert_eq!((gone, fresh.len()), (2, 2));
}

/// Of a flood's samples between two looks only the kept ones are written, and none of other accounts is missing.
#[test]
fn fresh_samples_of_others_are_written() {
    let failures = FailedSpans::default();
    failures.add_batch(&noticed("quiet", 1, 0..1));
    for number in 0..700 {
        failures.add_batch(&noticed("flood", 2 + number, 0..5));
    }
    let (_, fresh) = failures.take_changes();
    assert_eq!((fresh.len(), fresh.iter().filter(|sample| &*sample.account == "quiet").count()), (51, 1));
    assert!(failures.take_changes().1.is_empty(), "once");
}

/// Failures counted before the file could be opened are added to its counts, which are then rewritten.
#[test]
fn a_file_that_comes_late_adds() {
    let failures = FailedSpans::default();
    let mut early = noticed("default", 1, 0..0);
    (early.received, early.counts) = (NOW - NOW % super::super::failures::SLOT_LENGTH, [(sample(NOW).key, 2)].into());
    failures.add_batch(&early);
    drop(failures.take_changes());
    failures.restore(vec![group(early.received, 5)], vec![sample(NOW - MINUTE)]);
    assert_eq!(failures.counts(0).iter().map(|(_, count)| *count).collect::<Vec<_>>(), [7]);
    let (groups, fresh) = failures.take_changes();
    assert_eq!((groups.iter().map(|group| group.count).collect::<Vec<_>>(), fresh.len()), (vec![7], 0));
}
