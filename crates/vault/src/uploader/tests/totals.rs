use crate::index_row::{IndexRow, RowKind, RowTail};
use crate::object_names::rfc3339;
use crate::uploader::open_sessions::{MAX_OPEN_SESSIONS, OpenSessions, SESSION_IDLE_TIMEOUT};
use kernel::clock::UnixNanos;

use super::NOON;

fn index(sessions: std::ops::Range<usize>, at: UnixNanos) -> Vec<u8> {
    let mut lines = Vec::new();
    for n in sessions {
        let tail = RowTail {
            kind: Some(RowKind::Action),
            ts: rfc3339(at),
            ingest_ts: rfc3339(UnixNanos(at.0 + n as u64)),
            account: "default".to_owned(),
            tenant: "acme".to_owned(),
            session_id: Some(format!("s-{n:06}")),
            call: "tool".to_owned(),
            status: "ok".to_owned(),
            ..RowTail::default()
        };
        let row = IndexRow { v: 1, leaf: n as u64, object_key: None, off: None, of: None, tail };
        lines.extend_from_slice(&serde_json::to_vec(&row).expect("json"));
        lines.push(b'\n');
    }
    zstd::bulk::compress(&lines, 1).expect("zstd")
}

/// With any number of sessions of one item, a bounded number is kept: those idle for longest get their line early.
/// Saved state is restored; a stored line removes its session, once.
#[test]
fn open_sessions_are_bounded() {
    let mut open = OpenSessions::default();
    open.apply_stored_digest(&index(0..MAX_OPEN_SESSIONS, NOON), &[]);
    assert_eq!(open.due_lines(NOON).1, 0);
    let saved = serde_json::to_vec(&open.to_saved()).expect("json").len() / MAX_OPEN_SESSIONS;
    assert!(saved < 700, "{saved} bytes a session are saved");
    open.apply_stored_digest(&index(MAX_OPEN_SESSIONS..MAX_OPEN_SESSIONS + 10, NOON), &[]);
    let (lines, count) = open.due_lines(NOON);
    assert_eq!(count, 10);
    assert!(String::from_utf8(lines.clone()).expect("text").starts_with("{\"v\":1,\"kind\":\"session\""));
    let written = zstd::bulk::compress(&lines, 1).expect("zstd");
    open.apply_stored_digest(&[], &written);
    assert_eq!((open.len(), open.due_lines(NOON).1), (MAX_OPEN_SESSIONS, 0));
    let mut again = OpenSessions::restore(open.to_saved());
    assert_eq!(again.to_saved(), open.to_saved());
    let later = UnixNanos(NOON.0 + 2 * u64::try_from(SESSION_IDLE_TIMEOUT.as_nanos()).expect("small"));
    let (lines, count) = again.due_lines(later);
    assert!(count > 1000 && count as usize <= MAX_OPEN_SESSIONS, "as many as one object takes");
    again.apply_stored_digest(&[], &zstd::bulk::compress(&lines, 1).expect("zstd"));
    assert_eq!(again.len(), MAX_OPEN_SESSIONS - count as usize);
    // a malformed index object changes nothing
    again.apply_stored_digest(b"no zstd", b"neither");
    assert_eq!(again.len(), MAX_OPEN_SESSIONS - count as usize);
}
