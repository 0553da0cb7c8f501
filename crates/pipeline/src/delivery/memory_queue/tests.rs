//! An exporter with `in_memory`: clients wait for its results, and nothing of their requests touches the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;

use super::super::tests::{accepted, refused, results_and_answers, rig};
use crate::outcome::PendingFullText;
use crate::outlet::tests::{SECOND, retry};
use crate::testing::engine::{Drafter, Sink, Step, Tally, padded, sorted, spans};
use crate::testing::rig::{Parts, Rig, submission};
use crate::{AckMode, BytePermit, Effect, Outcome, OutletSettings, Processor, Reason, Trust};

fn in_memory() -> OutletSettings {
    OutletSettings { ack: AckMode::Delivered, in_memory: true, answer_wait: 5 * SECOND, ..OutletSettings::default() }
}

/// Runs the outlet of the data in memory.
fn run(rig: &mut Rig, time: Duration, stop: &watch::Sender<bool>) -> bool {
    let outlet = Arc::clone(rig.engine.outlets.last().unwrap());
    rig.run(time, outlet.run(stop.subscribe()))
}

/// A back end that is away until the flag is set.
fn away() -> (Arc<Sink>, Arc<AtomicBool>) {
    let is_back = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_back);
    let sink = Sink::new("x", Trust::ThirdParty, 1 << 30, move |_| match flag.load(Ordering::SeqCst) {
        true => (Duration::ZERO, accepted()),
        false => (Duration::ZERO, retry(None, Reason::Unavailable)),
    });
    (sink, is_back)
}

/// The client gets the back end's result, as through the spool, and nothing is committed. (With a copy in the spool
/// the position of the next record changes.)
#[test]
fn the_answer_is_the_result_without_a_copy_on_disk() {
    for (said, told) in results_and_answers() {
        let sink = Sink::scripted(said.clone());
        let (mut rig, _folder) = rig(&sink, OutletSettings { retry_initial: SECOND, ..in_memory() });
        let next = rig.spool.next();
        let mut answer = rig.submit(spans(&["a", "b"]));
        assert!((&mut answer).now_or_never().is_none(), "{said:?}: not delivered yet");
        run(&mut rig, 4 * SECOND, &watch::Sender::new(false));
        assert_eq!(answer.now_or_never(), Some(told), "{said:?}");
        assert_eq!(rig.spool.next(), next, "{said:?}");
        assert_eq!(rig.engine.delivery.memory_queue("x").unwrap().clients(), (0, 0));
    }
}

/// After a client was asked to retry, its first request is never sent: the retry would double it. (Without the checks
/// of the deadline in `send` the item arrives twice.)
#[test]
fn a_request_that_was_given_up_is_not_sent_later() {
    let (sink, is_back) = away();
    let (mut rig, _folder) = rig(&sink, OutletSettings { retry_initial: SECOND, ..in_memory() });
    let stop = watch::Sender::new(false);
    let answer = rig.submit(spans(&["a"]));
    let outlet = Arc::clone(rig.engine.outlets.last().unwrap());
    let (clock, again) = (rig.clock.clone(), Arc::clone(&is_back));
    let later = async {
        kernel::clock::Clock::sleep(&*clock, 20 * SECOND).await;
        again.store(true, Ordering::SeqCst);
        std::future::pending::<()>().await;
    };
    let both = futures_util::future::join(outlet.run(stop.subscribe()), later).map(drop);
    rig.run(60 * SECOND, both);
    assert_eq!(answer.now_or_never(), Some(retry(None, Reason::TimedOut)));
    assert!(sink.all().is_empty(), "{:?}", sink.all());
    let answer = rig.submit(spans(&["a"]));
    run(&mut rig, SECOND, &stop);
    assert_eq!(answer.now_or_never(), Some(accepted()));
    assert_eq!(sink.all(), ["a"]);
}

/// While an attempt hangs, every client is still answered at its deadline, and no further attempt begins. (Without
/// `answer_waiters` the clients wait for the hanging attempt; without the check before an attempt all four are sent.)
#[test]
fn a_request_that_no_attempt_reached_is_answered_in_time() {
    let sink = Sink::new("x", Trust::ThirdParty, 1 << 20, |_| (30 * SECOND, accepted()));
    let (rig, _folder) = rig(&sink, OutletSettings { consumers: 1, ..in_memory() });
    let _ = sink.clock.set(rig.clock.clone());
    let mut answers: Vec<_> = ["a", "b", "c", "d"].map(|name| rig.submit(spans(&[name]))).into();
    let (outlet, engine, clock) = (Arc::clone(rig.engine.outlets.last().unwrap()), rig.engine, rig.clock.clone());
    let inlet = engine.inlet.for_receiver("otlp");
    let stop = watch::Sender::new(false);
    let ticks = async {
        loop {
            kernel::clock::Clock::sleep(&*clock, SECOND).await;
            engine.tick();
        }
    };
    let both = futures_util::future::join(outlet.run(stop.subscribe()), ticks).map(drop);
    let late = futures_util::future::join(both, async {
        kernel::clock::Clock::sleep(&*clock, 10 * SECOND).await;
        let answered: Vec<Option<Outcome>> = answers.iter_mut().map(FutureExt::now_or_never).collect();
        assert_eq!(answered, vec![Some(retry(None, Reason::TimedOut)); 4]);
        // The retry joins the attempt that is under way, so no second one begins.
        let mut again = inlet.submit(submission(spans(&["a"]), BytePermit::new()));
        kernel::clock::Clock::sleep(&*clock, 3 * SECOND).await;
        assert_eq!((&mut again).now_or_never(), None, "it has a wait of its own");
    });
    crate::testing::drive::drive(&rig.clock, 40 * SECOND, late.map(drop), || false);
    assert_eq!(sink.all(), ["a"]);
    assert_eq!(sink.requests.lock().len(), 1);
}

/// A batch that was accepted in part is sent to its end, also after the deadline, and a retry joins it. (If the batch
/// were given up at its deadline, `a` would arrive twice.)
#[test]
fn what_was_accepted_in_part_is_not_given_up() {
    let (asked, limit) = (AtomicUsize::new(0), padded(&["a"], 90).len() + 20);
    let sink = Sink::new("x", Trust::ThirdParty, limit, move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 | 10.. => (Duration::ZERO, accepted()),
        _ => (Duration::ZERO, retry(None, Reason::Unavailable)),
    });
    let (rig, _folder) = rig(&sink, OutletSettings { retry_initial: 2 * SECOND, retry_max: 2 * SECOND, ..in_memory() });
    let body = padded(&["a", "b"], 90);
    let mut first = rig.submit(body.clone());
    let (outlet, engine, clock) = (Arc::clone(rig.engine.outlets.last().unwrap()), rig.engine, rig.clock.clone());
    let inlet = engine.inlet.for_receiver("otlp");
    let (stop, mut answers) = (watch::Sender::new(false), Vec::new());
    let client = async {
        kernel::clock::Clock::sleep(&*clock, 6 * SECOND).await;
        engine.tick();
        assert_eq!((&mut first).now_or_never(), Some(retry(None, Reason::TimedOut)));
        answers.push(inlet.submit(submission(body, BytePermit::new())));
    };
    let all = futures_util::future::join(outlet.run(stop.subscribe()), client);
    crate::testing::drive::drive(&rig.clock, 60 * SECOND, all.map(drop), || false);
    assert_eq!(answers.pop().unwrap().now_or_never(), Some(accepted()));
    assert_eq!(sorted(sink.all()), ["a", "b"]);
}

/// Refused data is not stored. If a client sends the same bytes again, they are tried again: an operator may have
/// raised the limit. (With `committed` the second one gets the first one's answer, without an attempt.)
#[test]
fn a_refused_request_may_come_again() {
    let sink = Sink::scripted(vec![refused(Reason::BadData), accepted()]);
    let (mut rig, _folder) = rig(&sink, in_memory());
    drop(rig.submit(spans(&["a"])));
    run(&mut rig, SECOND, &watch::Sender::new(false));
    let answer = rig.submit(spans(&["a"]));
    run(&mut rig, SECOND, &watch::Sender::new(false));
    assert_eq!(answer.now_or_never(), Some(accepted()));
}

/// Effects that are not stored are applied once the data was accepted, not with each attempt of its client.
#[test]
fn effects_follow_the_acknowledgement() {
    let (sink, is_back) = away();
    let folder = tempfile::tempdir().unwrap();
    let noted = Step::new("noting", |batch| {
        let effect = Effect { unstored: Some(Arc::new(())), ..Effect::new("noting".into(), Vec::new()) };
        batch.effects.push(effect);
        Ok(())
    });
    let mut parts = Parts::new(vec![Step::clear("clear"), noted.clone()], vec![sink]);
    parts.outlets = OutletSettings { retry_initial: 6 * SECOND, ..in_memory() };
    let mut rig = parts.open(folder.path());
    let stop = watch::Sender::new(false);
    let answer = rig.submit(spans(&["a"]));
    run(&mut rig, 10 * SECOND, &stop);
    assert_eq!(answer.now_or_never(), Some(retry(None, Reason::TimedOut)));
    assert_eq!(noted.applied.load(Ordering::SeqCst), 0);
    is_back.store(true, Ordering::SeqCst);
    let answer = rig.submit(spans(&["a"]));
    run(&mut rig, SECOND, &stop);
    assert_eq!(answer.now_or_never(), Some(accepted()));
    assert_eq!(noted.applied.load(Ordering::SeqCst), 1);
}

/// When the gateway stops, waiting clients are asked to retry, and no batch is counted as dropped.
#[test]
fn a_stop_asks_clients_to_retry() {
    let (sink, _) = away();
    let (mut rig, _folder) = rig(&sink, in_memory());
    let answer = rig.submit(spans(&["a"]));
    assert!(run(&mut rig, 60 * SECOND, &watch::Sender::new(true)), "it ends by itself");
    assert_eq!(answer.now_or_never(), Some(retry(None, Reason::ShuttingDown)));
    assert!(!rig.meter.render().contains("offered_dropped"), "{}", rig.meter.render());
}

/// When an outlet panics and is restarted, clients of the batches that it had taken are asked to retry.
#[test]
fn clients_of_an_outlet_that_panicked_are_answered() {
    let sink = Sink::new("x", Trust::ThirdParty, 1 << 20, |_| (30 * SECOND, accepted()));
    let (mut rig, _folder) = rig(&sink, in_memory());
    let answer = rig.submit(spans(&["a"]));
    // The run ends in the middle of an attempt.
    run(&mut rig, SECOND, &watch::Sender::new(false));
    run(&mut rig, SECOND, &watch::Sender::new(false));
    assert_eq!(answer.now_or_never(), Some(retry(None, Reason::Lost)));
}

/// If anything of a batch must be stored, the whole batch goes through the spool: else a client's retry would double
/// the stored part. The same holds for a batch that a second exporter gets too.
#[test]
fn what_must_be_stored_goes_through_the_spool() {
    let (tally, drafter): (Arc<dyn Processor>, Arc<dyn Processor>) = (Tally::new("tally"), Drafter::new("vault"));
    let stored: [(_, &[&str]); 3] = [(Some(tally), &["x"]), (Some(drafter), &["x"]), (None, &["x", "y"])];
    for (step, exporters) in stored {
        let clear: Arc<dyn Processor> = Step::clear("clear");
        let steps: Vec<_> = std::iter::once(clear).chain(step).collect();
        let folder = tempfile::tempdir().unwrap();
        let ids: Vec<_> = steps.iter().map(|step| step.id().to_string()).collect();
        let sinks = exporters.iter().map(|id| Sink::open(id, Trust::ThirdParty) as _).collect();
        let mut parts = Parts::new(steps, sinks);
        parts.outlets = in_memory();
        let mut rig = parts.open(folder.path());
        let mut answer = rig.submit(spans(&["a"]));
        rig.commit();
        assert!((&mut answer).now_or_never().is_none());
        assert_eq!(rig.forwarded("x"), ["a"], "{ids:?} {exporters:?}");
        assert_eq!(rig.engine.delivery.memory_queue("x").unwrap().clients(), (0, 0));
    }
}

/// Memory is limited with and without `max_pending`, and waiting clients use none of the inlet's byte budget. (With the
/// permit kept it stays in use.)
#[test]
fn what_waits_in_memory_is_bounded() {
    for (bound, size) in [(Some(5_000), 900), (None, 12 << 20)] {
        let (sink, is_back) = away();
        let (mut rig, _folder) = rig(&sink, OutletSettings { max_pending: bound, ..in_memory() });
        let submit = |rig: &Rig, name: &str| {
            let (mut permit, wire) = (BytePermit::new(), padded(&[name], size));
            let inlet = rig.engine.inlet.for_receiver("otlp");
            inlet.charge(&mut permit, wire.len()).now_or_never().expect("there is room").expect("taken");
            inlet.submit(submission(wire, permit))
        };
        let mut answers: Vec<_> = (0..8).map(|n| submit(&rig, &format!("item{n}"))).collect();
        let full = retry(Some(10), Reason::PendingFull(PendingFullText::for_exporter("x")));
        assert_eq!((&mut answers[7]).now_or_never(), Some(full), "{bound:?}");
        assert_eq!(rig.engine.inlet.budget().in_use(), 0);
        is_back.store(true, Ordering::SeqCst);
        run(&mut rig, SECOND, &watch::Sender::new(false));
        assert_eq!((&mut answers[0]).now_or_never(), Some(accepted()));
        let again = submit(&rig, "again");
        run(&mut rig, SECOND, &watch::Sender::new(false));
        assert_eq!(again.now_or_never(), Some(accepted()));
    }
}
