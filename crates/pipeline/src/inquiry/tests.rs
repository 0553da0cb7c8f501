use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::FutureExt;

use crate::forward_label::ForwardLabel;
use crate::testing::engine::{Drafter, Sink, Step, Tally, attributes, spans};
use crate::testing::errands::{Asker, ManualErrands};
use crate::testing::rig::{Parts, Rig, submission};
use crate::{BytePermit, Exporter, Outcome, PipelinePlan, Processor, Reason, Trust};
use otlp::Signal;

fn rig(processors: Vec<Arc<dyn Processor>>) -> (Rig, Arc<ManualErrands>, tempfile::TempDir) {
    let (folder, later) = (tempfile::tempdir().unwrap(), Arc::new(ManualErrands::default()));
    let mut parts = Parts::new(processors, vec![Sink::open("x", Trust::Internal) as Arc<dyn Exporter>]);
    parts.errands = later.clone();
    (parts.open(folder.path()), later, folder)
}

fn first(rig: &Rig, exporter: &str) -> std::collections::BTreeMap<String, String> {
    attributes(&ForwardLabel::split(&rig.waiting(exporter)[0].body).unwrap().1)
}

/// A step's question must be asked after the steps before it; the batch resumes with the answer, and each step runs
/// once.
#[test]
fn a_step_that_asks_goes_on_with_its_answer() {
    let (before, asker, after) = (Step::mark("before"), Asker::new("asker"), Step::mark("after"));
    let (mut rig, later, _folder) = rig(vec![before.clone(), Drafter::new("vault"), asker.clone(), after.clone()]);
    let mut answer = rig.submit(spans(&["a"]));
    assert_eq!((before.runs(), asker.runs.load(Ordering::SeqCst), later.waiting()), (1, 0, 1));
    later.poll_all();
    assert_eq!(rig.commit().committed, 0, "nothing is committed before the answer");
    assert_eq!((&mut answer).now_or_never(), None);
    asker.answer(Ok("yes"));
    later.poll_all();
    assert_eq!(rig.commit().committed, 1);
    assert_eq!(answer.now_or_never(), Some(Outcome::Accepted));
    assert_eq!((before.runs(), asker.runs.load(Ordering::SeqCst), after.runs()), (1, 1, 1));
    let marks = first(&rig, "x");
    assert_eq!((marks["asker"].as_str(), marks["reference"].as_str()), ("yes", "0000000001"));
    assert!(rig.meter.render().contains("tollgate_work_parked_requests 0"));
}

/// A failed question must keep the batch back for a retry, store nothing, and release claims and bytes.
#[test]
fn a_question_that_fails_holds_the_batch() {
    let (tally, asker) = (Tally::new("tally"), Asker::new("asker"));
    let (mut rig, later, _folder) = rig(vec![tally.clone(), asker.clone()]);
    let answer = rig.submit(spans(&["a"]));
    asker.answer(Err(Reason::RecogniserUnavailable));
    later.poll_all();
    assert_eq!(answer.now_or_never(), Some(Reason::RecogniserUnavailable.outcome()));
    assert!(matches!(Reason::RecogniserUnavailable.outcome(), Outcome::Retry { after: Some(_), .. }));
    assert!(rig.waiting("x").is_empty());
    let again = rig.submit(spans(&["a"]));
    asker.answer(Ok("yes"));
    later.poll_all();
    rig.commit();
    assert_eq!(again.now_or_never(), Some(Outcome::Accepted));
    assert_eq!(tally.counted()["a"], 1, "the claim of the held batch was released");
}

/// Later requests must overtake one that waits, and ticket numbers follow the commits.
#[test]
fn a_request_that_waits_holds_up_no_other() {
    let asker = Asker::new("asker");
    let (mut rig, later, _folder) = rig(vec![Drafter::new("vault"), asker.clone()]);
    let slow = rig.submit(spans(&["slow"]));
    let fast = rig.submit(spans(&["fast"]));
    let last = asker.open.lock().pop().unwrap();
    last.send(Ok("yes")).unwrap();
    later.poll_all();
    rig.commit();
    assert_eq!(fast.now_or_never(), Some(Outcome::Accepted));
    asker.answer(Ok("yes"));
    later.poll_all();
    rig.commit();
    assert_eq!(slow.now_or_never(), Some(Outcome::Accepted));
    assert_eq!(rig.forwarded("x"), ["fast", "slow"]);
    let fragments: Vec<_> = rig.waiting("vault").iter().map(|kept| kept.body.clone()).collect();
    assert_eq!(fragments, [&b"0000000001:fast"[..], b"0000000002:slow"]);
}

/// The bytes of a waiting request must stay charged, and return however the question ends, also if it is dropped; a
/// request with equal bytes must wait with it.
#[tokio::test]
async fn a_question_that_vanishes_gives_everything_back() {
    let asker = Asker::new("asker");
    let (rig, later, _folder) = rig(vec![asker.clone()]);
    let (door, wire) = (rig.engine.inlet.for_receiver("otlp"), spans(&["a"]));
    let hand_in = |permit: BytePermit, wire: Bytes| door.submit(submission(wire, permit));
    let mut permit = BytePermit::new();
    door.charge(&mut permit, wire.len()).await.unwrap();
    let (one, two) = (hand_in(permit, wire.clone()), hand_in(BytePermit::new(), wire.clone()));
    later.poll_all();
    assert_eq!(rig.engine.inlet.budget().in_use(), wire.len());
    assert_eq!(asker.asked.load(Ordering::SeqCst), 1, "equal bytes wait for the first");
    later.drop_all();
    for answer in [one.await, two.await] {
        assert!(matches!(answer, Outcome::Retry { .. }), "{answer:?}");
    }
    assert_eq!((rig.engine.inlet.budget().in_use(), asker.discarded.load(Ordering::SeqCst)), (0, 1));
    rig.engine.inlet.wait_until_drained().await;
}

/// A batch that fails after its answer must not be forwarded: the bad items are found, or all are kept back, and the
/// loop of asking and failing ends.
#[test]
fn a_panic_after_the_answer_ends_in_quarantine() {
    let asker = Asker::new("asker");
    asker.fails.store(true, Ordering::SeqCst);
    let (mut rig, later, _folder) = rig(vec![Drafter::new("vault"), asker.clone()]);
    let answer = rig.submit(spans(&["a", "b"]));
    asker.answer(Ok("bad"));
    later.poll_all();
    rig.commit();
    let told = answer.now_or_never();
    assert_eq!(told, Some(Outcome::Partial { rejected: 2, reason: Reason::Quarantined }));
    assert!(rig.waiting("x").is_empty() && later.waiting() == 0);
    assert!(String::from_utf8_lossy(&rig.waiting("vault")[0].body).contains("quarantine 2: a,b"));
}

/// Items that fail before the question must be sealed, and the others asked about and forwarded.
#[test]
fn poison_before_the_question_costs_only_itself() {
    let asker = Asker::new("asker");
    let (mut rig, later, _folder) = rig(vec![Drafter::new("vault"), Step::picky("picky"), asker.clone()]);
    let answer = rig.submit(spans(&["a", "poison", "b"]));
    assert_eq!(asker.asked.load(Ordering::SeqCst), 1, "no question while poison is looked for");
    asker.answer(Ok("yes"));
    later.poll_all();
    rig.commit();
    assert_eq!(answer.now_or_never(), Some(Outcome::Partial { rejected: 1, reason: Reason::Quarantined }));
    assert_eq!(rig.forwarded("x"), ["a", "b"]);
    assert_eq!(first(&rig, "x")["asker"], "yes");
}

/// Each branch's step must get the answer to its own question, and the copies go to their own exporters.
#[test]
fn each_fork_asks_for_itself() {
    let (folder, later) = (tempfile::tempdir().unwrap(), Arc::new(ManualErrands::default()));
    let (shared, one, two) = (Step::mark("shared"), Asker::new("one"), Asker::new("two"));
    let pipeline = |id: &str, step: Arc<Asker>, exporter: &str| PipelinePlan {
        id: id.into(),
        signal: Signal::Traces,
        receivers: vec!["otlp".into()],
        processors: vec![shared.clone(), step],
        exporters: vec![Sink::open(exporter, Trust::Internal)],
    };
    let mut parts = Parts::new(Vec::new(), Vec::new());
    parts.pipelines = vec![pipeline("traces/a", one.clone(), "x"), pipeline("traces/b", two.clone(), "y")];
    parts.errands = later.clone();
    let mut rig = parts.open(folder.path());
    let answer = rig.submit(spans(&["a"]));
    one.answer(Ok("first"));
    later.poll_all();
    assert_eq!(two.asked.load(Ordering::SeqCst), 1);
    two.answer(Ok("second"));
    later.poll_all();
    rig.commit();
    assert_eq!((answer.now_or_never(), shared.runs()), (Some(Outcome::Accepted), 1));
    let (x, y) = (first(&rig, "x"), first(&rig, "y"));
    assert_eq!((x["one"].as_str(), x.get("two")), ("first", None));
    assert_eq!((y["two"].as_str(), y.get("one")), ("second", None));
}
