//! Counts in session lines.

use super::*;
use crate::index_row::RowTail;

/// A session line counts the same decisions as denials as evidence and replay do.
#[test]
fn denials_are_what_evidence_counts() {
    let denials = |decision: &str| {
        let tail = RowTail { call: "permission".into(), decision: Some(decision.to_owned()), ..RowTail::default() };
        let mut line = SessionLine::default();
        line.add(
            &IndexRow { v: 1, leaf: 0, object_key: None, off: None, of: None, tail },
            &mut CallDeduplicator::default(),
        );
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

/// A model call reported by a span and a log counts once, as does a call that is priced later: the waiting lines don't
/// count.
#[test]
fn a_model_call_counts_once() {
    let (mut line, mut calls) = (SessionLine::default(), CallDeduplicator::default());
    for (status, kind, repeat) in [
        ("deferred", RowKind::Action, false),
        ("priced", RowKind::Action, false),
        ("deferred", RowKind::Action, false),
        ("priced", RowKind::Price, false),
        ("not_counted", RowKind::Action, false),
        ("priced", RowKind::Action, true),
    ] {
        let cost_status = Some(status.to_owned());
        let tail = RowTail { call: "model".into(), kind: Some(kind), cost_status, repeat, ..RowTail::default() };
        line.add(&IndexRow { v: 1, leaf: 0, object_key: None, off: None, of: None, tail }, &mut calls);
    }
    assert_eq!((line.model_calls, line.lines), (2, 6));
}
