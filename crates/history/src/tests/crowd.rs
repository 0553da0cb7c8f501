//! Tests of floods: one account's flood may evict its own history, never that of others.

use std::collections::HashMap;

use super::super::failures::{BatchFailures, MAX_COUNTS, MAX_KINDS};
use super::*;
use ::runs::fair_eviction::split_fairly;

fn entry(account: &str, run: usize, at: u64) -> RunRecord {
    let mut entry = RunRecord::from_view(&view("r", 0, 1, RunState::Ended, None, 1), NOW);
    (entry.account, entry.run, entry.at) = (account.into(), format!("r{run}").into(), at);
    entry
}

fn of<'e>(all: &'e [Arc<RunRecord>], account: &str) -> Vec<&'e Arc<RunRecord>> {
    all.iter().filter(|entry| &*entry.account == account).collect()
}

/// Of runs that all end in the same nanosecond no more than the maximum are kept; the latest ones stay.
#[test]
fn one_time_for_all_is_no_way_around_the_bound() {
    let history = RunHistory::default();
    history.restore((0..MAX_RUNS + 30).map(|run| entry("flood", run, NOW)).collect());
    history.evict_old(NOW);
    assert_eq!((history.all_runs().len(), history.left_out()), (MAX_RUNS, [30, 0]));
    assert!(history.find_run("flood", "r29").is_none() && history.find_run("flood", "r30").is_some());
}

/// An account that sends the maximum number of runs at once evicts no older runs of others.
#[test]
fn a_flood_takes_its_own_past() {
    let history = RunHistory::default();
    history.restore((0..100).map(|run| entry("quiet", run, NOW - 60 * MINUTE)).collect());
    history.restore((0..MAX_RUNS).map(|run| entry("flood", run, NOW)).collect());
    history.evict_old(NOW);
    let all = history.all_runs();
    assert_eq!((of(&all, "quiet").len(), of(&all, "flood").len()), (100, MAX_RUNS - 100));
}

/// Of live runs not shown for long, some of each account are queried.
#[test]
fn unseen_runs_of_all_are_asked_for() {
    let history = RunHistory::default();
    for (account, count) in [("flood", 500), ("quiet", 2)] {
        for run in 0..count {
            let mut live = view(&format!("r{run}"), 10, 1, RunState::Live, None, 1);
            live.account = account.into();
            history.store_views([&live], NOW);
        }
    }
    let unseen = history.longest_unseen(NOW + 3 * MINUTE, MINUTE, 32);
    assert_eq!((unseen.len(), of(&unseen, "quiet").len()), (32, 2));
}

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

/// Data waiting for the file is bounded fairly: runs, counts and samples of an account stay while another floods;
/// waiting details are bounded in bytes.
#[test]
fn what_waits_is_shared_out() {
    let detail = || Some("x".repeat(1 << 20));
    let mut runs = vec![(Arc::new(entry("quiet", 0, NOW - MINUTE)), detail())];
    runs.extend((0..40).map(|run| (Arc::new(entry("flood", run, NOW)), detail())));
    let counts = |account: &str, slots: std::ops::Range<u64>| -> Vec<FailureCount> {
        slots.map(|slot| FailureCount { account: account.into(), ..group(slot, 1) }).collect()
    };
    let samples = |account: &str, count: usize| {
        let one = FailureSample { account: account.into(), ..sample(NOW) };
        (0..count).map(|_| Arc::new(one.clone())).collect::<Vec<_>>()
    };
    let write = HistoryWrite {
        runs,
        counts: counts("quiet", 0..1).into_iter().chain(counts("flood", 1..60)).collect(),
        samples: samples("quiet", 1).into_iter().chain(samples("flood", 60)).collect(),
        ..HistoryWrite::default()
    };
    let few = write.keep_newest(30);
    assert_eq!((few.runs.len(), few.counts.len(), few.samples.len()), (30, 30, 30));
    assert!(few.runs[0].1.is_some() && &*few.runs[0].0.account == "quiet");
    assert_eq!(few.runs.iter().filter(|(_, detail)| detail.is_some()).count(), 16);
    assert!(&*few.counts[0].account == "quiet" && &*few.samples[0].account == "quiet");
}
