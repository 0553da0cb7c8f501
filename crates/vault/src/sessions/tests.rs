//! What counts as a denial.

use super::*;
use crate::row::Tail;

/// A session's line counts as denied what evidence and replay do, by the same words.
#[test]
fn denials_are_what_evidence_counts() {
    let denials = |decision: &str| {
        let tail = Tail { call: "permission".into(), decision: Some(decision.to_owned()), ..Tail::default() };
        let mut line = SessionLine::default();
        line.add(&Row { v: 1, leaf: 0, object_key: None, off: None, of: None, tail }, &mut Calls::default());
        line.denials
    };
    for (decision, count) in [
        ("unblocked", 0),
        ("accept", 0),
        ("hidden", 0),
        ("cancelled", 1),
        ("refused", 1),
        ("forbidden", 1),
        ("Denied", 1),
        ("no", 1),
    ] {
        assert_eq!(denials(decision), count, "{decision}");
    }
}

/// A model call that a span and a log tell counts once, as a call whose price comes later does: the lines that wait are
/// none.
#[test]
fn a_model_call_counts_once() {
    let (mut line, mut calls) = (SessionLine::default(), Calls::default());
    for (status, kind, repeat) in [
        ("deferred", Kind::Action, false),
        ("priced", Kind::Action, false),
        ("deferred", Kind::Action, false),
        ("priced", Kind::Price, false),
        ("not_counted", Kind::Action, false),
        ("priced", Kind::Action, true),
    ] {
        let cost_status = Some(status.to_owned());
        let tail = Tail { call: "model".into(), kind: Some(kind), cost_status, repeat, ..Tail::default() };
        line.add(&Row { v: 1, leaf: 0, object_key: None, off: None, of: None, tail }, &mut calls);
    }
    assert_eq!((line.model_calls, line.lines), (2, 6));
}
