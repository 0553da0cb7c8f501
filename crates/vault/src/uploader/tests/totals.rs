use crate::names::rfc3339;
use crate::row::{Kind, Row, Tail};
use crate::uploader::totals::{IDLE, MAX, Open};
use kernel::clock::UnixNanos;

use super::NOON;

fn index(sessions: std::ops::Range<usize>, at: UnixNanos) -> Vec<u8> {
    let mut lines = Vec::new();
    for n in sessions {
        let tail = Tail {
            kind: Some(Kind::Action),
            ts: rfc3339(at),
            ingest_ts: rfc3339(UnixNanos(at.0 + n as u64)),
            account: "default".to_owned(),
            tenant: "acme".to_owned(),
            session_id: Some(format!("s-{n:06}")),
            call: "tool".to_owned(),
            status: "ok".to_owned(),
            ..Tail::default()
        };
        let row = Row { v: 1, leaf: n as u64, object_key: None, off: None, of: None, tail };
        lines.extend_from_slice(&serde_json::to_vec(&row).expect("json"));
        lines.push(b'\n');
    }
    zstd::bulk::compress(&lines, 1).expect("zstd")
}

/// With any number of sessions of one item, a bounded number is kept: those idle for longest get their line early.
/// Saved state is restored; a stored line removes its session, once.
#[test]
fn open_sessions_are_bounded() {
    let mut open = Open::default();
    open.stored(&index(0..MAX, NOON), &[]);
    assert_eq!(open.due(NOON).1, 0);
    let saved = serde_json::to_vec(&open.saved()).expect("json").len() / MAX;
    assert!(saved < 700, "{saved} bytes a session are saved");
    open.stored(&index(MAX..MAX + 10, NOON), &[]);
    let (lines, count) = open.due(NOON);
    assert_eq!(count, 10);
    assert!(String::from_utf8(lines.clone()).expect("text").starts_with("{\"v\":1,\"kind\":\"session\""));
    let written = zstd::bulk::compress(&lines, 1).expect("zstd");
    open.stored(&[], &written);
    assert_eq!((open.len(), open.due(NOON).1), (MAX, 0));
    let mut again = Open::restore(open.saved());
    assert_eq!(again.saved(), open.saved());
    let later = UnixNanos(NOON.0 + 2 * u64::try_from(IDLE.as_nanos()).expect("small"));
    let (lines, count) = again.due(later);
    assert!(count > 1000 && count as usize <= MAX, "as many as one object takes");
    again.stored(&[], &zstd::bulk::compress(&lines, 1).expect("zstd"));
    assert_eq!(again.len(), MAX - count as usize);
    // a malformed index object changes nothing
    again.stored(b"no zstd", b"neither");
    assert_eq!(again.len(), MAX - count as usize);
}
