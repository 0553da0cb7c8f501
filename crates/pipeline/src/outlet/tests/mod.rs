mod aside;
mod moved;
mod refused;
mod start_check;

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::forward_label::ForwardLabel;
use crate::testing::engine::{Sink, Step, logs, names, padded, sorted, spans, with_unknown_field};
use crate::testing::rig::{Parts, Rig};
use crate::{ExportRequest, Outcome, PipelinePlan, Processor, Reason, Trust};
use otlp::Signal;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

fn rig(sink: &Arc<Sink>) -> (Rig, tempfile::TempDir) {
    with(sink, vec![Step::clear("clear")], OutletSettings::default())
}

pub(crate) fn with(
    sink: &Arc<Sink>,
    processors: Vec<Arc<dyn Processor>>,
    outlets: OutletSettings,
) -> (Rig, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = Parts::new(processors, vec![sink.clone()]);
    parts.outlets = outlets;
    let _ = sink.clock.set(parts.clock.clone());
    (parts.open(folder.path()), folder)
}

fn going() -> watch::Sender<bool> {
    watch::Sender::new(false)
}

pub(crate) fn retry(after: Option<u64>, reason: Reason) -> Outcome {
    Outcome::Retry { after: after.map(Duration::from_secs), reason }
}

/// Seconds between attempts.
fn gaps(sink: &Sink) -> Vec<f64> {
    sink.request_times.lock().windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
}

/// The answer of a back end that refuses requests with an item whose name begins with `bad`.
fn refuse_bad(request: &ExportRequest, reason: Reason) -> Outcome {
    let is_bad = names(&request.body.joined()).iter().any(|name| name.starts_with("bad"));
    if is_bad { Outcome::Refused { reason } } else { Outcome::Accepted }
}

fn quarantined(rig: &Rig) -> Vec<(ForwardLabel, Vec<String>)> {
    let stored = rig.waiting(QUARANTINE);
    let split = stored.iter().map(|stored| ForwardLabel::split(&stored.body).unwrap());
    split.map(|(label, otlp)| (label, names(&otlp))).collect()
}

/// Records in the spool must be delivered, and only then be done; small batches must be merged.
#[test]
fn batches_are_merged_and_delivered() {
    let sink = Sink::open("x", Trust::ThirdParty);
    let (mut rig, _folder) = rig(&sink);
    for n in 0..5 {
        rig.put(spans(&[format!("item{n}")]));
    }
    assert!(!rig.run_outlet(SECOND, &going()));
    assert_eq!(*sink.accepted.lock(), [["item0", "item1", "item2", "item3", "item4"]]);
    assert!(rig.waiting("x").is_empty());
    assert!(rig.meter.render().contains("otelcol_exporter_sent_spans_total{exporter=\"x\"} 5"));
}

/// A request must never mix accounts.
#[test]
fn accounts_are_kept_apart() {
    let sink = Sink::open("x", Trust::ThirdParty);
    let (mut rig, _folder) = rig(&sink);
    for n in 0..6 {
        drop(rig.submit_as(["one", "two"][n % 2], spans(&[format!("{}-{n}", ["one", "two"][n % 2])])));
    }
    rig.commit();
    rig.run_outlet(SECOND, &going());
    let requests = sink.requests.lock();
    assert_eq!(requests.len(), 2);
    for request in &*requests {
        assert!(names(&request.body.joined()).iter().all(|name| name.starts_with(&*request.account)));
    }
}

/// A dead back end must be retried without end, with growing, jittered waits within the bounds.
#[test]
fn retries_grow_and_do_not_end() {
    let mut answers = vec![retry(None, Reason::Unavailable); 30];
    answers.push(Outcome::Accepted);
    let sink = Sink::scripted(answers);
    let (mut rig, _folder) = rig(&sink);
    rig.put(spans(&["a"]));
    rig.run_outlet(1200 * SECOND, &going());
    assert_eq!(sink.all(), ["a"]);
    let gaps = gaps(&sink);
    assert_eq!(gaps.len(), 30);
    assert!((3.7..=6.3).contains(&gaps[0]), "{gaps:?}");
    assert!(gaps.iter().all(|gap| (3.7..=37.6).contains(gap)), "{gaps:?}");
    assert!(gaps[10..].iter().all(|gap| *gap >= 22.4), "{gaps:?}");
    assert!(gaps[10..].windows(2).any(|pair| (pair[0] - pair[1]).abs() > 0.1), "jitter: {gaps:?}");
}

/// A back end's `Retry-After` must be honoured, up to an hour. (Before the fix a second bound cut it to a quarter of an
/// hour.) `Retry-After: 0`, or a date in the past, must not undercut the exporter's own waits. (Before the fix there
/// were ten attempts a second.)
#[test]
fn retry_after_wins_unless_it_is_too_short() {
    for (wish, least, most) in
        [(60.0, 60.0, 66.1), (1.0, 1.0, 1.2), (50_000.0, 3600.0, 3960.1), (0.0, 3.7, 6.3), (0.5, 3.7, 6.3)]
    {
        let wish = Outcome::Retry { after: Some(Duration::from_secs_f64(wish)), reason: Reason::Unavailable };
        let sink = Sink::scripted(vec![wish.clone(), Outcome::Accepted]);
        let (mut rig, _folder) = rig(&sink);
        rig.put(spans(&["a"]));
        rig.run_outlet(4000 * SECOND, &going());
        let gap = gaps(&sink)[0];
        assert!((least..=most).contains(&gap), "{wish:?}: {gap}");
    }
}

/// A refused credential must not lose data: the exporter keeps retrying and raises an alarm until it works.
#[test]
fn a_refused_credential_alarms_and_is_retried() {
    let denied = Outcome::Refused { reason: Reason::Denied };
    let sink = Sink::scripted(vec![denied.clone(), denied, Outcome::Accepted]);
    let (mut rig, _folder) = rig(&sink);
    rig.put(spans(&["a"]));
    rig.run_outlet(SECOND, &going());
    assert!(rig.meter.render().contains("tollgate_exporter_denied{exporter=\"x\"} 1"));
    assert_eq!(rig.waiting("x").len(), 1);
    rig.run_outlet(60 * SECOND, &going());
    assert!(rig.meter.render().contains("tollgate_exporter_denied{exporter=\"x\"} 0"));
    assert_eq!(sink.all(), ["a"]);
}

/// gRPC has one code for "too large" and "no room now". If a back end has no room for some minutes, no item of a parcel
/// may be lost, not even a single one; an item that stays refused is quarantined after some minutes, and the items
/// beside it were delivered before. (Before the fix each item was quarantined at once.)
#[test]
fn no_room_now_is_not_too_large() {
    let word = || retry(None, Reason::TooLarge);
    let clock: Arc<std::sync::OnceLock<Arc<dyn kernel::clock::Clock>>> = Arc::default();
    let theirs = Arc::clone(&clock);
    let sink = Sink::new("x", Trust::ThirdParty, 1 << 20, move |request: &ExportRequest| {
        let full = theirs.get().unwrap().monotonic() < 200 * SECOND;
        let large = request.body.len() > 1_000;
        (Duration::ZERO, if full || large { word() } else { Outcome::Accepted })
    });
    let (mut rig, _folder) = rig(&sink);
    let _ = clock.set(rig.clock.clone());
    rig.put(spans(&["a", "b", "c", "d"]));
    rig.run_outlet(400 * SECOND, &going());
    assert_eq!(sorted(sink.all()), ["a", "b", "c", "d"]);
    assert!(quarantined(&rig).is_empty() && sink.requests.lock().len() < 30);
    rig.put(padded(&["large"], 2_000));
    rig.run_outlet(200 * SECOND, &going());
    assert!(quarantined(&rig).is_empty(), "not believed yet");
    rig.run_outlet(400 * SECOND, &going());
    assert_eq!(quarantined(&rig)[0].1, ["large"]);
    // If other items are accepted meanwhile, the back end has room.
    rig.put(padded(&["larger"], 3_000));
    let (outlet, stop) = (Arc::clone(&rig.engine.outlets[0]), going());
    let mut run = Box::pin(outlet.run(stop.subscribe()));
    rig.run(SECOND, &mut run);
    rig.put(spans(&["small"]));
    rig.run(30 * SECOND, &mut run);
    assert_eq!(quarantined(&rig)[1].1, ["larger"]);
    assert!(rig.waiting("x").is_empty());
}

/// Which items are refused, of how many, how long a request takes, how many requests are allowed, and whether every
/// refused item must be found.
type Case = (fn(usize) -> bool, usize, Duration, usize, bool);

/// However many refused items a request has, and wherever they are: each is quarantined alone and all others are
/// delivered, in order with `ordered`, within bounds of requests and time. If all are refused, or the search takes too
/// long, items are quarantined together; none disappears or is sent twice, and all are counted. (With at most 64 splits
/// per parcel good items were quarantined with their neighbours.)
#[test]
fn a_search_for_refused_items_ends() {
    let cases: [Case; 6] = [
        (|n| n.is_multiple_of(3), 600, Duration::ZERO, 10_000, true),
        (|n| n < 100, 600, Duration::ZERO, 10_000, true),
        (|n| n < 15, 16, Duration::ZERO, 10_000, true),
        (|_| true, 1_000, Duration::ZERO, 200, false),
        (|n| n.is_multiple_of(2), 6_000, Duration::ZERO, 2_100, false),
        (|n| n.is_multiple_of(2), 1_000, SECOND / 2, 200, false),
    ];
    for (is_bad, count, each, most, is_precise) in cases {
        for ordered in [false, true] {
            let answer = move |request: &ExportRequest| (each, refuse_bad(request, Reason::BadData));
            let sink = Sink::new("x", Trust::ThirdParty, 1 << 20, answer);
            let settings = OutletSettings { ordered, ..OutletSettings::default() };
            let (mut rig, _folder) = with(&sink, vec![Step::clear("clear")], settings);
            let all: Vec<String> =
                (0..count).map(|n| format!("{}{n:04}", if is_bad(n) { "bad" } else { "good" })).collect();
            rig.put(spans(&all));
            rig.run_outlet(600 * SECOND, &going());
            assert!(rig.waiting("x").is_empty());
            let requests = sink.requests.lock().len();
            assert!(requests < most || ordered && requests < 2 * most, "{requests} of {count}");
            let aside = quarantined(&rig);
            let kept: Vec<String> = aside.iter().flat_map(|(_, names)| names.clone()).collect();
            for (label, names) in &aside {
                assert_eq!(label.refused, Some(("x".to_owned(), Reason::BadData)));
                assert_eq!((label.items, &*label.pipeline), (names.len() as u64, "traces"));
                assert!(!is_precise || names.len() == 1 && names[0].starts_with("bad"));
            }
            for counter in ["otelcol_exporter_send_failed_spans_total", "tollgate_exporter_quarantined_items_total"] {
                let line = format!("{counter}{{exporter=\"x\"}} {}", kept.len());
                assert!(rig.meter.render().contains(&line), "{line}");
            }
            assert!(!ordered || sink.all().is_sorted_by_key(|name| name[name.len() - 4..].to_owned()), "in order");
            assert_eq!(sorted([sink.all(), kept].concat()), sorted(all));
        }
    }
}

/// An outage in the middle of a search does not count towards its time: good items are still separated from refused
/// ones.
#[test]
fn an_outage_is_no_part_of_a_search() {
    let asked = AtomicUsize::new(0);
    let sink = Sink::new("x", Trust::ThirdParty, 1 << 20, move |request: &ExportRequest| {
        if (3..20).contains(&asked.fetch_add(1, Ordering::SeqCst)) {
            return (10 * SECOND, retry(None, Reason::Unavailable));
        }
        (Duration::ZERO, refuse_bad(request, Reason::BadData))
    });
    let (mut rig, _folder) = rig(&sink);
    rig.put(spans(&["a", "bad1", "b", "c", "d", "bad2", "e", "f"]));
    rig.run_outlet(3_000 * SECOND, &going());
    assert_eq!(sorted(sink.all()), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(quarantined(&rig).len(), 2);
}

/// An item that can't be split must be sent alone if the exporter allows a larger size for it; halves of it must not.
/// One above that size is quarantined without an attempt. (Before the fix it was accepted and never sent.)
#[test]
fn an_item_above_the_size_of_a_request_goes_alone() {
    let sink = Sink::new("x", Trust::ThirdParty, 1_000, |_| (Duration::ZERO, Outcome::Accepted));
    sink.max_item_bytes.set(5_000).unwrap();
    let (mut rig, _folder) = rig(&sink);
    rig.put(padded(&["large", "small", "larger"], 2_000));
    rig.put(padded(&["largest"], 6_000));
    rig.run_outlet(5 * SECOND, &going());
    assert_eq!(sink.accepted.lock().iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    let aside = quarantined(&rig);
    assert_eq!((aside.len(), &aside[0].1[0][..]), (1, "largest"));
    assert_eq!(aside[0].0.refused, Some(("x".to_owned(), Reason::AboveLimit)));
    assert!(rig.waiting("x").is_empty());
}

/// After a partial success the request must not be sent again.
#[test]
fn a_partial_success_ends_the_delivery() {
    let sink = Sink::scripted(vec![Outcome::Partial { rejected: 1, reason: Reason::BadData }]);
    let (mut rig, _folder) = rig(&sink);
    rig.put(spans(&["a", "b", "c"]));
    rig.run_outlet(60 * SECOND, &going());
    assert_eq!(sink.requests.lock().len(), 1);
    let metrics = rig.meter.render();
    assert!(metrics.contains("otelcol_exporter_sent_spans_total{exporter=\"x\"} 2"));
    assert!(metrics.contains("otelcol_exporter_send_failed_spans_total{exporter=\"x\"} 1"));
}

/// Each attempt is timed under its outcome, as long as the back end takes for it; a request that is not sent is not.
#[test]
fn attempts_are_timed_by_outcome() {
    let asked = AtomicUsize::new(0);
    let sink = Sink::new("x", Trust::ThirdParty, 1 << 20, move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => (3 * SECOND, retry(None, Reason::Unavailable)),
        1 => (2 * SECOND, Outcome::Partial { rejected: 1, reason: Reason::BadData }),
        2 => (SECOND, Outcome::Refused { reason: Reason::BadData }),
        _ => (4 * SECOND, Outcome::Accepted),
    });
    let (mut rig, _folder) = rig(&sink);
    assert!(!rig.meter.render().contains("tollgate_exporter_send_duration_seconds_count"));
    for _ in 0..3 {
        rig.put(spans(&["a"]));
        rig.run_outlet(60 * SECOND, &going());
    }
    let metrics = rig.meter.render();
    for (outcome, seconds) in [("retry", 3), ("partial", 2), ("refused", 1), ("accepted", 4)] {
        for (end, value) in [("sum", seconds), ("count", 1)] {
            let name = format!("tollgate_exporter_send_duration_seconds_{end}");
            let line = format!("{name}{{exporter=\"x\",outcome=\"{outcome}\"}} {value}\n");
            assert!(metrics.contains(&line), "{line}\n{metrics}");
        }
    }
}

/// For every clearance and trust, exactly the cleared copies must be sent, whatever was configured when they were
/// stored; the others stay in the spool and are shown.
#[test]
fn the_last_look_agrees_with_the_rule() {
    use crate::{Clearance, ContentState, TextState};
    for content in [ContentState::Kept, ContentState::Stripped] {
        for text in [TextState::Raw, TextState::Redacted] {
            for trust in [Trust::ThirdParty, Trust::Internal] {
                let clearance = Clearance { content, text };
                let step = Step::new("set", move |batch| {
                    batch.clearance = clearance;
                    Ok(())
                });
                let sink = Sink::open("x", trust);
                let (mut rig, _folder) = with(&sink, vec![step], OutletSettings::default());
                rig.put(spans(&["a"]));
                rig.run_outlet(SECOND, &going());
                let wanted =
                    trust == Trust::Internal || (content == ContentState::Stripped && text == TextState::Redacted);
                assert_eq!(sink.all().len(), usize::from(wanted), "{clearance:?} {trust:?}");
                assert_eq!(rig.waiting("x").len(), usize::from(!wanted), "{clearance:?} {trust:?}");
                let held = format!("tollgate_exporter_blocked_batches{{exporter=\"x\"}} {}", usize::from(!wanted));
                assert!(rig.meter.render().contains(&held), "{clearance:?} {trust:?}");
            }
        }
    }
}

/// A copy stored for an internal exporter must lose unknown fields if the exporter is a third party now.
#[test]
fn unknown_fields_are_dropped_late_too() {
    let folder = tempfile::tempdir().unwrap();
    let inside = Sink::open("x", Trust::Internal);
    let mut rig = Parts::new(vec![Step::clear("clear")], vec![inside.clone()]).open(folder.path());
    rig.put(with_unknown_field("a"));
    assert!(rig.waiting("x")[0].body.contains(&b'?'));
    drop(rig);
    let outside = Sink::open("x", Trust::ThirdParty);
    let mut rig = Parts::new(vec![Step::clear("clear")], vec![outside.clone()]).open(folder.path());
    rig.run_outlet(SECOND, &going());
    assert_eq!(outside.all(), ["a"]);
    assert!(!outside.requests.lock()[0].body.joined().contains(&b'?'));
}

/// Several requests must be in flight at once, but not more than configured.
#[test]
fn sends_run_side_by_side() {
    let sink = Sink::new("x", Trust::ThirdParty, 300, |_| (10 * SECOND, Outcome::Accepted));
    let (mut rig, _folder) = rig(&sink);
    for n in 0..9 {
        rig.put(padded(&[format!("item{n}")], 200));
    }
    rig.run_outlet(5 * SECOND, &going());
    assert_eq!(sink.requests.lock().len(), 4);
    sink.requests.lock().clear();
    rig.run_outlet(31 * SECOND, &going());
    assert_eq!(sink.requests.lock().len(), 9, "an outlet that was dropped delivers again");
    assert!(rig.waiting("x").is_empty());
}

/// Memory must be bounded by the window, however large the backlog is.
#[test]
fn reading_ahead_is_bounded() {
    let sink = Sink::new("x", Trust::ThirdParty, 1 << 20, |_| (10 * SECOND, Outcome::Accepted));
    let settings = OutletSettings { window_bytes: 2_000, merge_bytes: 500, ..OutletSettings::default() };
    let (mut rig, _folder) = with(&sink, vec![Step::clear("clear")], settings);
    for n in 0..50 {
        rig.put(padded(&[format!("item{n:02}")], 300));
    }
    rig.run_outlet(5 * SECOND, &going());
    let on_their_way: usize = sink.requests.lock().iter().map(|request| request.body.len()).sum();
    assert!(on_their_way <= 2_500, "{on_their_way}");
    sink.requests.lock().clear();
    rig.run_outlet(300 * SECOND, &going());
    assert_eq!(sink.all().len(), 50);
}

/// A panic in an exporter must be retried like a failure.
#[test]
fn a_panic_in_an_exporter_is_a_retry() {
    let asked = AtomicUsize::new(0);
    let sink = Sink::new("x", Trust::ThirdParty, 1 << 20, move |_| {
        assert!(asked.fetch_add(1, Ordering::SeqCst) > 0, "the first time");
        (Duration::ZERO, Outcome::Accepted)
    });
    let (mut rig, _folder) = rig(&sink);
    rig.put(spans(&["a"]));
    rig.run_outlet(10 * SECOND, &going());
    assert_eq!(sink.all(), ["a"]);
}

/// At a stop, pending data must be sent at once, without lingering.
#[test]
fn a_stop_delivers_what_it_can() {
    let sink = Sink::open("x", Trust::ThirdParty);
    let (mut rig, _folder) = rig(&sink);
    for n in 0..300 {
        rig.put(spans(&[format!("item{n}")]));
    }
    let stop = going();
    stop.send_replace(true);
    let began = rig.clock.monotonic();
    assert!(rig.run_outlet(60 * SECOND, &stop), "it ends by itself");
    assert!(rig.clock.monotonic() - began < SECOND);
    assert_eq!(sink.all().len(), 300);
    assert!(rig.waiting("x").is_empty());
}

/// At a stop, a dead back end must not cause a delay, and everything must stay in the spool.
#[test]
fn a_stop_leaves_the_rest_in_the_spool() {
    let sink = Sink::scripted(vec![retry(None, Reason::Unavailable)]);
    let (mut rig, _folder) = rig(&sink);
    for n in 0..10 {
        rig.put(spans(&[format!("item{n}")]));
    }
    let stop = going();
    let (outlet, clock) = (Arc::clone(&rig.engine.outlets[0]), Arc::clone(&rig.clock));
    let both = async {
        let later = async {
            clock.sleep(7 * SECOND).await;
            stop.send_replace(true);
        };
        futures_util::join!(outlet.run(stop.subscribe()), later);
    };
    let began = rig.clock.monotonic();
    assert!(rig.run(60 * SECOND, both), "it ends by itself");
    assert!(rig.clock.monotonic() - began < 8 * SECOND);
    assert_eq!(rig.forwarded("x").len(), 10);
}

/// Shape of a request for the property below: item counts, padding.
fn shapes() -> impl Strategy<Value = Vec<(usize, usize)>> {
    proptest::collection::vec((1..12_usize, 0..600_usize), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// For any sizes, limits and failures, every item is either delivered exactly once or quarantined.
    #[test]
    fn no_item_is_lost_or_doubled(shapes in shapes(), limit in 300..6_000_usize, merge in 100..6_000_usize, seed: u64) {
        let calls = AtomicUsize::new(0);
        let sink = Sink::new("x", Trust::ThirdParty, limit, move |request: &ExportRequest| {
            let call = calls.fetch_add(1, Ordering::SeqCst) as u64;
            let bad = names(&request.body.joined()).iter().any(|name| name.ends_with("-7"));
            let outcome = match (call ^ seed) % 5 {
                0 => retry(None, Reason::Unavailable),
                _ if bad => Outcome::Refused { reason: Reason::BadData },
                _ => Outcome::Accepted,
            };
            (Duration::ZERO, outcome)
        });
        let settings = OutletSettings { merge_bytes: merge, ..OutletSettings::default() };
        let (mut rig, _folder) = with(&sink, vec![Step::clear("clear")], settings);
        let mut all = Vec::new();
        for (batch, (count, pad)) in shapes.iter().enumerate() {
            let names: Vec<String> = (0..*count).map(|n| format!("{batch:02}-{n}")).collect();
            rig.put(padded(&names, *pad));
            all.extend(names);
        }
        rig.run_outlet(3_000 * SECOND, &going());
        let aside = quarantined(&rig).into_iter().flat_map(|(_, names)| names).collect();
        prop_assert_eq!(sorted([sink.all(), aside].concat()), sorted(all));
        prop_assert!(rig.waiting("x").is_empty());
        prop_assert!(sink.requests.lock().iter().all(|request| request.body.len() <= limit));
    }
}

/// With an exporter that waits for puts, no record is sent before all records before it are put; records before the
/// first unfinished put are sent at once, the others soon after their put, in order.
#[test]
fn nothing_goes_before_its_content_is_put() {
    use crate::spool::{RecordKind, RecordSeq, SpoolRecord, Transaction, bytes_to_reserve};
    let sink = Sink::open("x", Trust::ThirdParty);
    let settings = OutletSettings { waits_for: vec!["vault+put".into()], ..OutletSettings::default() };
    let (mut rig, _folder) = with(&sink, vec![Step::clear("clear")], settings);
    let fragment = |rig: &mut Rig| {
        let holders: Arc<[Arc<str>]> = Arc::new(["vault".into(), "vault+put".into()]);
        let records = vec![SpoolRecord { kind: RecordKind::Fragment, holders, body: "x".into() }];
        let room = rig.spool.reserve_to_drain(bytes_to_reserve(1, 1)).unwrap();
        rig.spool.enqueue(Transaction { account: "default".into(), records }, room, Box::new(|_| {}));
        rig.commit();
    };
    rig.put(spans(&["before"]));
    fragment(&mut rig);
    rig.put(spans(&["first"]));
    fragment(&mut rig);
    rig.put(spans(&["second"]));
    rig.run_outlet(600 * SECOND, &going());
    assert_eq!(sink.all(), ["before"]);
    let waiting: Vec<RecordSeq> = rig.waiting("vault+put").iter().map(|stored| stored.seq).collect();
    // The later one first, which does not release anything.
    rig.spool.mark_done("vault+put", &waiting[1..]);
    rig.run_outlet(5 * SECOND, &going());
    assert_eq!(sink.all(), ["before"]);
    rig.spool.mark_done("vault+put", &waiting[..1]);
    rig.run_outlet(5 * SECOND, &going());
    assert_eq!(sink.all(), ["before", "first", "second"]);
    assert!(rig.waiting("x").is_empty());
}
