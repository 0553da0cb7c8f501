//! Tests of the canaries in all recordings.

use super::*;
use crate::testing::{recorded_clients, session_files};
use vault::call_dedup::CallDeduplicator;
use vault::sessions::SessionLine;

/// The traces and logs of a recorded session as text: the vault's content, and everything else that was output.
fn passed(session: &std::path::Path) -> (String, String) {
    let (mut bench, mut opened, mut outside) = (Bench::new(), String::new(), Vec::new());
    for file in session_files(session) {
        let out = bench.pass_payload(request::recorded(&file), origin());
        opened.push_str(&out.opened);
        outside.extend(out.bytes);
        out.records.iter().for_each(|record| outside.extend_from_slice(&record.body));
    }
    (opened, String::from_utf8_lossy(&outside).into_owned())
}

/// In all recordings of real clients, each canary in content is in the vault and nowhere else.
#[test]
fn recorded_canaries_are_in_the_vault_only() {
    let mut wrong = Vec::new();
    // The hooks' reasons and notifications, which hold canaries too, are left to redaction.
    for (client, folder, manifest) in recorded_clients().into_iter().filter(|one| one.0 != "claude-otel-hooks") {
        for (session, entry) in manifest["sessions"].as_object().expect("sessions") {
            let (opened, outside) = passed(&folder.join(session));
            for (place, canary) in entry["canaries"].as_object().expect("canaries") {
                let value = canary["value"].as_str().expect("value");
                let places: Vec<&str> = ["logs", "traces"]
                    .iter()
                    .flat_map(|signal| canary["seen"][signal].as_array().into_iter().flatten())
                    .filter_map(Json::as_str)
                    .collect();
                if places.iter().any(|place| is_content(place)) && !opened.contains(value) {
                    wrong.push(format!("{client}/{session}: {place} is not in the vault"));
                }
                // In other places it is left to redaction.
                if places.iter().all(|place| is_content(place)) && outside.contains(value) {
                    wrong.push(format!("{client}/{session}: {place} is still outside"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Index lines of a recorded session, in the order of its files.
fn lines(folder: &str, session: &str) -> Vec<IndexRow> {
    let session = request::at("tests/recordings").join(folder).join(session);
    let mut bench = Bench::new();
    session_files(&session).iter().flat_map(|file| bench.rows(request::recorded(file))).collect()
}

/// Checks how many lines of a recorded session `is_counted`, and what the session's line counts, in any order.
fn check_counts(session: (&str, &str), (told, made): (usize, u64), is_failure: bool) {
    let mut rows = lines(session.0, session.1);
    for _ in 0..2 {
        let (mut calls, mut sum) = (CallDeduplicator::default(), SessionLine::default());
        rows.iter().for_each(|row| sum.add(row, &mut calls));
        let is_counted = |row: &&IndexRow| if is_failure { row.tail.status != "ok" } else { row.tail.call == "tool" };
        let counted: Vec<_> = rows.iter().filter(is_counted).collect();
        let words: Vec<_> = counted.iter().map(|row| (&row.tail.call, &row.tail.signal)).collect();
        let sum = if is_failure { sum.errors } else { sum.tool_calls };
        assert_eq!((counted.len(), sum), (told, made), "{session:?}: {words:?}");
        rows.reverse();
    }
}

/// Tool calls and failures that are reported more than once count once, whatever the order of spans and events: Gemini
/// CLI reports calls by span and log, Codex partly by both, opencode by two spans.
#[test]
fn recorded_calls_and_failures_count_once() {
    for (session, counts) in [
        (("gemini-cli", "prompt"), (8, 4)),
        (("codex", "exec"), (4, 3)),
        (("opencode", "run"), (8, 4)),
        (("claude-code", "mixed"), (4, 4)),
    ] {
        check_counts(session, counts, false);
    }
    for (session, counts) in [
        (("claude-code", "failing"), (2, 1)),
        (("claude-code", "refused"), (2, 1)),
        (("gemini-cli", "failing"), (2, 1)),
        // A call, and the agent for which it was the only one.
        (("opencode", "run"), (2, 2)),
    ] {
        check_counts(session, counts, true);
    }
}

/// The hooks' span of a denied permission is recorded as a denial, in its own line and in its session's.
#[test]
fn a_recorded_denial_is_one() {
    let rows = lines("claude-otel-hooks", "failures");
    let decided: Vec<_> = (rows.iter().filter(|row| row.tail.call == "permission"))
        .map(|row| (row.tail.tool_name.as_deref(), row.tail.decision.as_deref()))
        .collect();
    assert_eq!(decided, [(Some("Bash"), None), (Some("Bash"), Some("denied"))]);
    let (mut calls, mut sum) = (CallDeduplicator::default(), SessionLine::default());
    rows.iter().for_each(|row| sum.add(row, &mut calls));
    assert_eq!(sum.denials, 1);
}

/// Returns true for places that belong to the vault; other places of the manifests are left to redaction. In a span's
/// name redaction finds echoes.
fn is_content(place: &str) -> bool {
    !place.ends_with(" name")
        && !["status.message", "status_message", "exception.", "error", "metadata"]
            .iter()
            .any(|word| place.contains(word))
}
