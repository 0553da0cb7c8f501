//! Results of back ends, offers and `max_pending`: the clients' answers, and where data waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;

use tracing_subscriber::layer::SubscriberExt;

use super::DeliveryTracker;
use crate::outcome::PendingFullText;
use crate::outlet::tests::{SECOND, retry, with};
use crate::spool::RecordSeq;
use crate::testing::engine::{Sink, Step, padded, sorted, spans};
use crate::testing::rig::{Rig, submission};
use crate::{AckMode, BytePermit, OnFullAction, Outcome, OutletSettings, Reason, Trust};
use kernel::clock::{ManualClock, UnixNanos};
use telemetry::Meter;

pub(super) fn rig(sink: &Arc<Sink>, outlets: OutletSettings) -> (Rig, tempfile::TempDir) {
    with(sink, vec![Step::clear("clear")], outlets)
}

pub(super) fn accepted() -> Outcome {
    Outcome::Accepted
}

fn partial(rejected: u64, reason: Reason) -> Outcome {
    Outcome::Partial { rejected, reason }
}

pub(super) fn refused(reason: Reason) -> Outcome {
    Outcome::Refused { reason }
}

/// Over all pairs: a retry must win; if one party refused and the other accepted, the result must not be a retry, and
/// give the upper bound of rejected items. The order of the two only affects the reason's text.
#[test]
fn the_join_over_all_pairs() {
    use Reason::{BadData, TooLarge, Unavailable};
    let (some, many) = (partial(2, BadData), partial(5, TooLarge));
    let (soon, late) = (retry(Some(1), Unavailable), retry(Some(9), Unavailable));
    let no = refused(BadData);
    let table = [
        (accepted(), accepted(), accepted()),
        (accepted(), some.clone(), some.clone()),
        (accepted(), soon.clone(), soon.clone()),
        (accepted(), no.clone(), partial(10, BadData)),
        (some.clone(), many.clone(), many.clone()),
        (some.clone(), some.clone(), some.clone()),
        (some.clone(), soon.clone(), soon.clone()),
        (some, no.clone(), partial(10, BadData)),
        (soon.clone(), late.clone(), late.clone()),
        (soon.clone(), retry(None, Unavailable), soon.clone()),
        (late.clone(), no.clone(), late),
        (no.clone(), no.clone(), no.clone()),
    ];
    for (one, other, both) in table {
        assert_eq!(one.clone().join(other.clone(), 10), both, "{one:?} {other:?}");
        assert_eq!(other.clone().join(one.clone(), 10), both, "{other:?} {one:?}");
    }
    assert_eq!(no.join(refused(TooLarge), 10), refused(BadData), "the first one's words");
}

/// What a back end says to a request of two items, one attempt after the other, and the client's answer.
pub(super) fn results_and_answers() -> [(Vec<Outcome>, Outcome); 5] {
    [
        (vec![accepted()], accepted()),
        (vec![retry(None, Reason::Unavailable), accepted()], accepted()),
        (vec![partial(1, Reason::BadData)], partial(1, Reason::BadData)),
        (vec![refused(Reason::BadData)], refused(Reason::BadData)),
        // The request is split, and one half is accepted.
        (vec![refused(Reason::BadData), accepted(), refused(Reason::BadData)], partial(1, Reason::BadData)),
    ]
}

/// With `delivered` the answer waits for the back end's result and equals it. (Without `settle` in the outlet clients
/// are only answered at the deadline.)
#[test]
fn the_answer_is_the_back_ends_verdict() {
    let delivered = || OutletSettings { ack: AckMode::Delivered, ..OutletSettings::default() };
    for (said, told) in results_and_answers() {
        let sink = Sink::scripted(said.clone());
        let (mut rig, _folder) = rig(&sink, delivered());
        let mut answer = rig.submit(spans(&["a", "b"]));
        rig.commit();
        assert!((&mut answer).now_or_never().is_none(), "{said:?}: committed, not delivered");
        rig.run_outlet(20 * SECOND, &watch::Sender::new(false));
        assert_eq!(answer.now_or_never(), Some(told), "{said:?}");
    }
}

/// If no result arrives within the exporter's wait, the client is asked to retry, and its retry does not duplicate the
/// data.
#[test]
fn who_waited_too_long_comes_again_and_doubles_nothing() {
    let delivered = || OutletSettings { ack: AckMode::Delivered, ..OutletSettings::default() };
    for (outlets, wait) in [(delivered(), 60), (OutletSettings { answer_wait: 5 * SECOND, ..delivered() }, 5)] {
        let sink = Sink::scripted(vec![retry(None, Reason::Unavailable)]);
        let (mut rig, _folder) = rig(&sink, outlets);
        let mut answer = rig.submit(spans(&["a"]));
        rig.commit();
        rig.run_outlet((wait - 1) * SECOND, &watch::Sender::new(false));
        rig.engine.tick();
        assert!((&mut answer).now_or_never().is_none());
        rig.clock.advance(2 * SECOND);
        rig.engine.tick();
        assert_eq!(answer.now_or_never(), Some(retry(None, Reason::TimedOut)));
        assert_eq!(rig.put(spans(&["a"])), accepted(), "the first request's data is safe");
        assert_eq!(rig.forwarded("x"), ["a"]);
        let waits = rig.submit(spans(&["b"]));
        rig.commit();
        rig.engine.delivery.close();
        assert_eq!(waits.now_or_never(), Some(retry(None, Reason::ShuttingDown)));
    }
}

/// A client that waits for a result must hold none of the budget: a dead back end must not use up the memory of other
/// requests. (With the permit kept in the receipt the second request finds no room.)
#[test]
fn who_waits_holds_no_bytes() {
    let sink = Sink::scripted(vec![retry(None, Reason::Unavailable)]);
    let (mut rig, _folder) = rig(&sink, OutletSettings { ack: AckMode::Delivered, ..OutletSettings::default() });
    let door = rig.engine.inlet.for_receiver("otlp");
    let all = rig.engine.inlet.budget().size();
    let submit = |name: &str| {
        let (mut permit, wire) = (BytePermit::new(), spans(&[name]));
        door.charge(&mut permit, all).now_or_never().expect("there is room").expect("taken");
        door.submit(submission(wire, permit))
    };
    let mut first = submit("a");
    assert_eq!(rig.engine.inlet.budget().in_use(), all, "until it is safe");
    rig.commit();
    assert!((&mut first).now_or_never().is_none(), "it waits");
    assert_eq!(rig.engine.inlet.budget().in_use(), 0);
    let mut second = submit("b");
    rig.commit();
    assert!((&mut second).now_or_never().is_none());
    assert_eq!(rig.engine.inlet.budget().in_use(), 0);
}

/// Waiting answers need memory, too: beyond the maximum a client is asked to retry at once, and its retry does not
/// duplicate the data. (Without the bound it waits like the others.)
#[test]
fn only_so_many_wait() {
    let sink = Sink::scripted(vec![retry(None, Reason::Unavailable)]);
    let (mut rig, _folder) = rig(&sink, OutletSettings { ack: AckMode::Delivered, ..OutletSettings::default() });
    let mut waiting: Vec<_> =
        (0..super::MAX_WAITING_ANSWERS).map(|n| rig.submit(spans(&[format!("item{n}")]))).collect();
    while rig.commit().committed > 0 {}
    assert!(waiting.iter_mut().all(|answer| answer.now_or_never().is_none()));
    assert_eq!(rig.put(spans(&["one more"])), retry(None, Reason::Overloaded));
    assert_eq!(rig.put(spans(&["one more"])), accepted(), "the first request's data is safe");
    assert_eq!(rig.forwarded("x").iter().filter(|name| *name == "one more").count(), 1);
}

/// No client waits for the backlog of an earlier run, so its results must not be kept, however many there are. (With
/// positions counted from 0 each of them stays for good.)
#[test]
fn a_backlog_of_earlier_runs_takes_no_memory() {
    let delivered = OutletSettings { ack: AckMode::Delivered, ..OutletSettings::default() };
    let x: Arc<str> = "x".into();
    let outlets = HashMap::from([(Arc::clone(&x), delivered)]);
    let delivery = DeliveryTracker::new(&outlets, RecordSeq(1000), ManualClock::at(UnixNanos(0)), &Meter::new());
    let backlog: Vec<RecordSeq> = (1..1000).map(RecordSeq).collect();
    delivery.settle(&x, &backlog, &accepted());
    assert_eq!(delivery.state.lock().early_results.len(), 0);
    delivery.settle(&x, &[RecordSeq(1000)], &accepted());
    assert_eq!(delivery.state.lock().early_results.len(), 1, "one that the committer has not told of yet");
}

/// Offers are never in the spool; they are bounded, the oldest is dropped first, and drops are counted, also those at a
/// stop.
#[test]
fn offers_are_held_in_memory() {
    let sink = Sink::open("x", Trust::ThirdParty);
    let offered = OutletSettings { ack: AckMode::Offered, max_pending: Some(10_000), ..OutletSettings::default() };
    let (mut rig, _folder) = rig(&sink, offered);
    for n in 0..20 {
        assert_eq!(rig.submit(padded(&[format!("item{n}")], 900)).now_or_never(), Some(accepted()), "no commit needed");
    }
    assert!(rig.waiting("x").is_empty());
    rig.run_outlet(5 * SECOND, &watch::Sender::new(false));
    let got = sink.all();
    assert!((8..=10).contains(&got.len()) && got.contains(&"item19".to_owned()), "{got:?}");
    let dropped = 20 - got.len();
    let line = format!(r#"tollgate_exporter_offered_dropped_batches_total{{exporter="x"}} {dropped}"#);
    assert!(rig.meter.render().contains(&line), "{line}\n{}", rig.meter.render());
    let dead = Sink::scripted(vec![retry(None, Reason::Unavailable)]);
    let (mut rig, _folder) = self::rig(&dead, OutletSettings { ack: AckMode::Offered, ..OutletSettings::default() });
    assert_eq!(rig.put(spans(&["lost"])), accepted());
    let stop = watch::Sender::new(true);
    assert!(rig.run_outlet(60 * SECOND, &stop), "it ends by itself");
    assert!(rig.meter.render().contains(r#"offered_dropped_batches_total{exporter="x"} 1"#), "{}", rig.meter.render());
}

/// Beyond `max_pending` clients are asked to retry, or the oldest data is dropped; delivered data makes room.
#[test]
fn what_may_wait_is_bounded() {
    let sink = Sink::open("x", Trust::ThirdParty);
    let bound = |on_full| OutletSettings { max_pending: Some(5_000), on_full, ..OutletSettings::default() };
    let (mut full, _folder) = rig(&sink, bound(OnFullAction::Refuse));
    let answers: Vec<Outcome> = (0..10).map(|n| full.put(padded(&[format!("item{n}")], 900))).collect();
    let taken = answers.iter().filter(|answer| **answer == accepted()).count();
    assert!((5..=6).contains(&taken), "{answers:?}");
    let reason = Reason::PendingFull(PendingFullText::for_exporter("x"));
    assert_eq!(answers[9], retry(Some(10), reason));
    assert_eq!(
        (reason.label(), reason.text()),
        ("pending_full", "the data pending for exporter `x` has reached its `max_pending`")
    );
    full.run_outlet(5 * SECOND, &watch::Sender::new(false));
    assert_eq!(full.put(spans(&["again"])), accepted());

    let other = Sink::open("x", Trust::ThirdParty);
    let (mut rig, _folder) = rig(&other, bound(OnFullAction::Expire));
    for n in 0..10 {
        assert_eq!(rig.put(padded(&[format!("item{n}")], 900)), accepted());
    }
    rig.engine.tick();
    let left = rig.forwarded("x");
    assert!((4..=5).contains(&left.len()) && left.last().is_some_and(|last| last == "item9"), "{left:?}");
    let line = format!(r#"tollgate_exporter_expired_batches_total{{exporter="x"}} {}"#, 10 - left.len());
    assert!(rig.meter.render().contains(&line), "{line}");
}

/// A refusal because of an exporter's `max_pending` must be logged once when it begins and once when it is over,
/// however often clients retry and data is delivered in between, and be visible in the gauge meanwhile. (Before the fix
/// nothing was logged.)
#[test]
fn refusals_for_max_pending_are_told() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let lines = |words: &[&str]| {
        let text = std::fs::read_to_string(log.path()).unwrap();
        text.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    };
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(log.reopen().unwrap());
    let subscriber = tracing_subscriber::registry().with(layer);
    let sink = Sink::open("x", Trust::ThirdParty);
    let (mut rig, _folder) =
        rig(&sink, OutletSettings { max_pending: Some(5_000), consumers: 1, ..OutletSettings::default() });
    let reached = |rig: &Rig| rig.engine.delivery.bound_states().map(|(_, reached)| reached).collect::<Vec<_>>();
    let shown = |rig: &Rig, at: u8| {
        let line = format!(r#"tollgate_exporter_pending_full{{exporter="x"}} {at}"#);
        assert!(rig.meter.render().contains(&line), "{line}");
    };
    let began =
        ["WARN", "new data for this exporter is refused", "`max_pending`", r#"exporter="x""#, "bytes=", "limit=5000"];
    let over =
        ["INFO", "new data for this exporter is accepted again", "`max_pending`", r#"exporter="x""#, "limit=5000"];
    tracing::subscriber::with_default(subscriber, || {
        rig.engine.tick();
        assert_eq!(reached(&rig), [false]);
        shown(&rig, 0);
        for round in 0..3 {
            for n in 0..10 {
                rig.put(padded(&[format!("item{round}{n}")], 900));
                rig.engine.tick();
            }
            assert_eq!((lines(&began), lines(&over)), (1, 0), "{round}");
            assert_eq!(reached(&rig), [true]);
            shown(&rig, 1);
            rig.run_outlet(5 * SECOND, &watch::Sender::new(false));
            rig.engine.tick();
        }
        rig.clock.advance(5 * SECOND);
        rig.engine.tick();
        assert_eq!((lines(&began), lines(&over)), (1, 1));
        assert_eq!(reached(&rig), [false]);
        shown(&rig, 0);
    });
    assert_eq!(lines(&["item0"]), 0, "no payload");
}

/// After an outage new data is sent at once, alternating with the backlog, and nothing is lost or duplicated; with
/// `ordered` the order of arrival is kept. (Without `part_fresh_from_old` new data comes last.)
#[test]
fn fresh_and_old_data_take_turns() {
    for ordered in [false, true] {
        // Each request takes time, so that commits happen in between.
        let sink = Sink::new("x", Trust::ThirdParty, 1 << 20, |_| (Duration::from_millis(100), accepted()));
        let settings = OutletSettings {
            consumers: 1,
            merge_bytes: 1,
            window_bytes: 8_000,
            linger: Duration::ZERO,
            ordered,
            ..OutletSettings::default()
        };
        let (mut rig, _folder) = rig(&sink, settings);
        for n in 0..60 {
            rig.put(padded(&[format!("old{n:02}")], 900));
        }
        rig.clock.advance(3600 * SECOND);
        let outlet = Arc::clone(&rig.engine.outlets[0]);
        let stop = watch::Sender::new(false);
        // The first reads show that the outlet is behind; then new data arrives.
        let arrivals: Vec<_> = (0..10).map(|n| rig.submit(padded(&[format!("new{n:02}")], 900))).collect();
        let run = outlet.run(stop.subscribe());
        rig.run(60 * SECOND, run);
        assert!(arrivals.into_iter().all(|answer| answer.now_or_never() == Some(accepted())));
        let got = sink.all();
        let mut wanted: Vec<String> = (0..60).map(|n| format!("old{n:02}")).collect();
        if ordered {
            assert_eq!(got[..60], wanted[..], "old ones first, in order");
        }
        wanted.extend((0..10).map(|n| format!("new{n:02}")));
        assert_eq!(sorted(got.clone()), sorted(wanted), "each once");
        let last_new = got.iter().rposition(|name| name.starts_with("new")).unwrap();
        assert!(ordered || last_new < 45, "{got:?}");
        assert!(rig.waiting("x").is_empty());
    }
}
