use bytes::Bytes;
use futures_util::FutureExt;

use super::*;
use crate::testing::engine::{Drafter, Sink, spans};
use crate::testing::rig::Parts;
use crate::{Clearance, Content, Exporter, Outcome, Processor, Text};
use otlp::UnknownFields;

const CLEARED: Clearance = Clearance { content: Content::Stripped, text: Text::Redacted };

fn body(pipeline: &str, signal: Signal, clearance: Clearance, size: usize) -> Bytes {
    let mut body = vec![7; size];
    let (unknown, pipeline) = (UnknownFields::Drop, pipeline.to_owned());
    Label { signal, clearance, unknown, items: 1, pipeline, refused: None }.append_to(&mut body);
    body.into()
}

fn seen(look: &mut Look) -> Vec<String> {
    std::iter::from_fn(|| Some(look.next().now_or_never()??.label.pipeline)).collect()
}

/// Data that third parties may not see must never be shown, whatever the filter; the client learns how much was
/// withheld.
#[test]
fn only_what_third_parties_may_see() {
    let tap = Tap::new(&Meter::new());
    let mut look = tap.look(Wanted::default()).unwrap();
    let half = [
        Clearance::RECEIVED,
        Clearance { content: Content::Stripped, text: Text::Raw },
        Clearance { content: Content::Kept, text: Text::Redacted },
    ];
    let bodies: Vec<Bytes> =
        half.iter().enumerate().map(|(n, cleared)| body(&format!("traces/{n}"), Signal::Traces, *cleared, 3)).collect();
    tap.show(&"a".into(), &bodies);
    assert!(seen(&mut look).is_empty());
    assert_eq!(look.left_out(), LeftOut { slow: 0, withheld: 3 });
    tap.show(&"a".into(), &[body("traces", Signal::Traces, CLEARED, 3)]);
    assert_eq!((seen(&mut look), look.left_out()), (vec!["traces".to_owned()], LeftOut::default()));
}

/// A client sees the pipeline and signal that it asked for, and only one of a pipeline's copies.
#[test]
fn one_copy_of_what_is_wanted() {
    let tap = Tap::new(&Meter::new());
    let mut logs = tap.look(Wanted { signal: Some(Signal::Logs), ..Wanted::default() }).unwrap();
    let mut agents = tap.look(Wanted { pipeline: Some("traces/agents".to_owned()), ..Wanted::default() }).unwrap();
    let of = |pipeline: &str, signal| body(pipeline, signal, CLEARED, 3);
    let bodies = [
        of("traces/agents", Signal::Traces),
        of("traces/agents", Signal::Traces),
        of("traces/others", Signal::Traces),
        of("logs", Signal::Logs),
    ];
    tap.show(&"a".into(), &bodies);
    assert_eq!((seen(&mut logs), seen(&mut agents)), (vec!["logs".to_owned()], vec!["traces/agents".to_owned()]));
}

/// A slow client must delay nothing and take bounded memory; data that it misses is counted.
#[test]
fn a_slow_looker_misses_some() {
    let tap = Tap::new(&Meter::new());
    let mut look = tap.look(Wanted::default()).unwrap();
    let (large, small) = (WAITING_BYTES / 4, 10);
    for _ in 0..6 {
        tap.show(&"a".into(), &[body("traces", Signal::Traces, CLEARED, large)]);
    }
    assert_eq!(look.left_out().slow, 2, "bytes are bounded");
    assert_eq!(seen(&mut look).len(), 4);
    for _ in 0..WAITING + 5 {
        tap.show(&"a".into(), &[body("traces", Signal::Traces, CLEARED, small)]);
    }
    assert_eq!(look.left_out().slow, 5, "requests are bounded");
    assert_eq!(seen(&mut look).len(), WAITING);
    // A request larger than the queue's byte limit is still shown, one at a time.
    for _ in 0..2 {
        tap.show(&"a".into(), &[body("traces", Signal::Traces, CLEARED, WAITING_BYTES + 1)]);
    }
    assert_eq!((seen(&mut look).len(), look.left_out().slow), (1, 1));
}

/// The number of clients is bounded, disconnected ones free their place, and at the end all are disconnected.
#[test]
fn lookers_come_and_go() {
    let tap = Tap::new(&Meter::new());
    assert!(!tap.on());
    let mut looks: Vec<Look> = (0..LOOKERS).map(|_| tap.look(Wanted::default()).unwrap()).collect();
    assert!(tap.on() && tap.look(Wanted::default()).is_none());
    looks.pop();
    looks.push(tap.look(Wanted::default()).unwrap());
    tap.close();
    assert!(!tap.on());
    assert!(looks.iter_mut().all(|look| matches!(look.next().now_or_never(), Some(None))));
    drop(looks);
    drop(tap.look(Wanted::default()));
    assert!(!tap.on(), "who went away costs nothing more, also while nothing passes");
}

/// Shown data is committed, with its references filled in; nothing is shown before that.
#[test]
fn shown_once_it_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let processors: Vec<Arc<dyn Processor>> = vec![Drafter::new("vault")];
    let exporters = vec![Sink::open("x", Trust::Internal) as Arc<dyn Exporter>];
    let mut rig = Parts::new(processors, exporters).open(folder.path());
    let mut look = rig.engine.sequencer.tap().look(Wanted::default()).unwrap();
    let answer = rig.submit(spans(&["a".to_owned()]));
    assert_eq!(look.left_out(), LeftOut::default(), "not committed yet");
    rig.commit();
    assert_eq!(answer.now_or_never(), Some(Outcome::Accepted));
    assert_eq!(look.left_out(), LeftOut { slow: 0, withheld: 1 }, "this pipeline redacts nothing");
    assert!(seen(&mut look).is_empty());
}
