//! What counts as a denial.

use super::*;
use crate::vault::row::Tail;

/// A session's line counts as denied what evidence and replay do, by the same words.
#[test]
fn denials_are_what_evidence_counts() {
    let denials = |decision: &str| {
        let tail = Tail { call: "permission".into(), decision: Some(decision.to_owned()), ..Tail::default() };
        let mut line = SessionLine::default();
        line.add(&Row { v: 1, leaf: 0, object_key: None, off: None, of: None, tail });
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
