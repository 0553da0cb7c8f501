//! Tests of the canaries and the index lines of all recordings.

use super::*;
use crate::testing::{recorded_clients, session_files};
use vault::call_dedup::CallDeduplicator;
use vault::sessions::SessionLine;
use vault::testing::schema::broken;

/// The traces and logs of a recorded session: the vault's content and everything else that was output, as text, and the
/// index lines.
fn passed(session: &std::path::Path) -> (String, String, Vec<IndexRow>) {
    let (mut bench, mut opened, mut outside, mut rows) = (Bench::new(), String::new(), Vec::new(), Vec::new());
    for file in session_files(session) {
        let out = bench.pass_payload(request::recorded(&file), origin());
        opened.push_str(&out.opened);
        outside.extend(out.bytes);
        out.records.iter().for_each(|record| outside.extend_from_slice(&record.body));
        rows.extend(out.rows);
    }
    (opened, String::from_utf8_lossy(&outside).into_owned(), rows)
}

/// In all recordings of real clients, each canary in content is in the vault and nowhere else; every index line is
/// valid by the published schema, and each action of the schema occurs.
#[test]
fn recorded_canaries_are_in_the_vault_only() {
    let (mut wrong, mut seen, mut lines) = (Vec::new(), BTreeSet::new(), 0);
    for (client, folder, manifest) in recorded_clients() {
        for (session, entry) in manifest["sessions"].as_object().expect("sessions") {
            let (opened, outside, rows) = passed(&folder.join(session));
            for row in &rows {
                let line = serde_json::to_value(row).expect("json");
                wrong.extend(broken(&line).into_iter().map(|what| format!("{client}/{session}: {what} in {line}")));
            }
            lines += rows.len();
            seen.extend(rows.into_iter().flat_map(|row| row.tail.action_type.into_iter().chain([row.tail.call])));
            // The hooks' reasons and notifications, which hold canaries too, are left to redaction.
            if client == "claude-otel-hooks" {
                continue;
            }
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
    assert!(lines > 1000, "{lines}");
    for action in "chat text_completion generate_content embeddings execute_tool invoke_agent permission".split(' ') {
        assert!(seen.contains(action), "{action} is not among {seen:?}");
    }
}

/// Index lines of a recorded session, in the order of its files.
fn lines(folder: &str, session: &str) -> Vec<IndexRow> {
    passed(&request::at("tests/recordings").join(folder).join(session)).2
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
