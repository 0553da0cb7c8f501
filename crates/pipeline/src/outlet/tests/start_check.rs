//! The question at the start, before there is a request.

use super::*;
use telemetry::names;

fn rig_asking(refusals: Vec<Reason>) -> (Rig, Arc<Sink>, tempfile::TempDir) {
    let sink = Sink::scripted(vec![Outcome::Accepted]);
    *sink.refusals.lock() = refusals;
    let (rig, folder) = rig(&sink);
    (rig, sink, folder)
}

/// A back end that refuses is shown without any data, asked again until it takes some, and then shown as healthy.
#[test]
fn a_refusal_is_shown_before_the_first_request() {
    let (mut rig, sink, _folder) = rig_asking([Reason::Denied].repeat(1000));
    rig.run_outlet(SECOND, &going());
    assert_eq!(rig.meter.values(&names::DENIED), [1.0]);
    sink.refusals.lock().truncate(2);
    rig.run_outlet(600 * SECOND, &going());
    assert_eq!(rig.meter.values(&names::DENIED), [0.0]);
    assert!(sink.refusals.lock().is_empty() && sink.all().is_empty());
}

/// While the question is open, data is sent as ever: a back end that does not answer it holds nothing up.
#[test]
fn the_question_holds_nothing_up() {
    let (mut rig, sink, _folder) = rig_asking([Reason::Unavailable].repeat(1000));
    drop(rig.submit(spans(&["a"])));
    rig.commit();
    rig.run_outlet(SECOND, &going());
    assert_eq!(sink.all(), ["a"]);
    assert!(!sink.refusals.lock().is_empty());
}
