use bytes::Bytes;
use futures_util::FutureExt;

use super::*;
use crate::testing::engine::{Drafter, Sink, spans};
use crate::testing::rig::Parts;
use crate::{Clearance, ContentState, Exporter, Outcome, Processor, TextState};
use otlp::UnknownFields;

const CLEARED: Clearance = Clearance { content: ContentState::Stripped, text: TextState::Redacted };

fn body(pipeline: &str, signal: Signal, clearance: Clearance, size: usize) -> Bytes {
    let mut body = vec![7; size];
    let (unknown, pipeline) = (UnknownFields::Drop, pipeline.to_owned());
    ForwardLabel { signal, clearance, unknown, items: 1, pipeline, refused: None }.append_to(&mut body);
    body.into()
}

fn seen(look: &mut TapSubscription) -> Vec<String> {
    std::iter::from_fn(|| Some(look.next().now_or_never()??.label.pipeline)).collect()
}

/// Data that third parties may not see must never be shown, whatever the filter; the client learns how much was
/// withheld.
#[test]
fn only_what_third_parties_may_see() {
    let tap = Tap::new(&Meter::new());
    let mut look = tap.connect_client(TapFilter::default()).unwrap();
    let half = [
        Clearance::RECEIVED,
        Clearance { content: ContentState::Stripped, text: TextState::Raw },
        Clearance { content: ContentState::Kept, text: TextState::Redacted },
    ];
    let bodies: Vec<Bytes> =
        half.iter().enumerate().map(|(n, cleared)| body(&format!("traces/{n}"), Signal::Traces, *cleared, 3)).collect();
    tap.show_batch(&"a".into(), &bodies);
    assert!(seen(&mut look).is_empty());
    assert_eq!(look.take_left_out(), LeftOutCounts { slow: 0, withheld: 3 });
    tap.show_batch(&"a".into(), &[body("traces", Signal::Traces, CLEARED, 3)]);
    assert_eq!((seen(&mut look), look.take_left_out()), (vec!["traces".to_owned()], LeftOutCounts::default()));
}

/// A client sees the pipeline and signal that it asked for, and only one of a pipeline's copies.
#[test]
fn one_copy_of_what_is_wanted() {
    let tap = Tap::new(&Meter::new());
    let mut logs = tap.connect_client(TapFilter { signal: Some(Signal::Logs), ..TapFilter::default() }).unwrap();
    let mut agents =
        tap.connect_client(TapFilter { pipeline: Some("traces/agents".to_owned()), ..TapFilter::default() }).unwrap();
    let of = |pipeline: &str, signal| body(pipeline, signal, CLEARED, 3);
    let bodies = [
        of("traces/agents", Signal::Traces),
        of("traces/agents", Signal::Traces),
        of("traces/others", Signal::Traces),
        of("logs", Signal::Logs),
    ];
    tap.show_batch(&"a".into(), &bodies);
    assert_eq!((seen(&mut logs), seen(&mut agents)), (vec!["logs".to_owned()], vec!["traces/agents".to_owned()]));
}

/// A slow client must delay nothing and take bounded memory; data that it misses is counted.
#[test]
fn a_slow_looker_misses_some() {
    let tap = Tap::new(&Meter::new());
    let mut look = tap.connect_client(TapFilter::default()).unwrap();
    let (large, small) = (MAX_QUEUED_BYTES / 4, 10);
    for _ in 0..6 {
        tap.show_batch(&"a".into(), &[body("traces", Signal::Traces, CLEARED, large)]);
    }
    assert_eq!(look.take_left_out().slow, 2, "bytes are bounded");
    assert_eq!(seen(&mut look).len(), 4);
    for _ in 0..MAX_QUEUED + 5 {
        tap.show_batch(&"a".into(), &[body("traces", Signal::Traces, CLEARED, small)]);
    }
    assert_eq!(look.take_left_out().slow, 5, "requests are bounded");
    assert_eq!(seen(&mut look).len(), MAX_QUEUED);
    // A request larger than the queue's byte limit is still shown, one at a time.
    for _ in 0..2 {
        tap.show_batch(&"a".into(), &[body("traces", Signal::Traces, CLEARED, MAX_QUEUED_BYTES + 1)]);
    }
    assert_eq!((seen(&mut look).len(), look.take_left_out().slow), (1, 1));
}

/// The number of clients is bounded, disconnected ones free their place, and at the end all are disconnected.
#[test]
fn lookers_come_and_go() {
    let tap = Tap::new(&Meter::new());
    assert!(!tap.has_clients());
    let mut looks: Vec<TapSubscription> =
        (0..MAX_CLIENTS).map(|_| tap.connect_client(TapFilter::default()).unwrap()).collect();
    assert!(tap.has_clients() && tap.connect_client(TapFilter::default()).is_none());
    looks.pop();
    looks.push(tap.connect_client(TapFilter::default()).unwrap());
    tap.close();
    assert!(!tap.has_clients());
    assert!(looks.iter_mut().all(|look| matches!(look.next().now_or_never(), Some(None))));
    drop(looks);
    drop(tap.connect_client(TapFilter::default()));
    assert!(!tap.has_clients(), "who went away costs nothing more, also while nothing passes");
}

/// Shown data is committed, with its references filled in; nothing is shown before that.
#[test]
fn shown_once_it_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let processors: Vec<Arc<dyn Processor>> = vec![Drafter::new("vault")];
    let exporters = vec![Sink::open("x", Trust::Internal) as Arc<dyn Exporter>];
    let mut rig = Parts::new(processors, exporters).open(folder.path());
    let mut look = rig.engine.sequencer.tap.connect_client(TapFilter::default()).unwrap();
    let answer = rig.submit(spans(&["a".to_owned()]));
    assert_eq!(look.take_left_out(), LeftOutCounts::default(), "not committed yet");
    rig.commit();
    assert_eq!(answer.now_or_never(), Some(Outcome::Accepted));
    assert_eq!(look.take_left_out(), LeftOutCounts { slow: 0, withheld: 1 }, "this pipeline redacts nothing");
    assert!(seen(&mut look).is_empty());
}
