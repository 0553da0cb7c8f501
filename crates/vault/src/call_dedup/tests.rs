//! Which reports are the same call, in any order of arrival.

use super::*;

/// A report: log or span, tool call id, span, parent, start and end in seconds.
fn row((signal, id, span, parent): (&str, &str, &str, &str), (from, until): (u32, u32)) -> IndexRow {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let at = |second: u32| format!("2026-11-20T10:00:{second:02}.000000000Z");
    let tail = RowTail {
        call: "tool".to_owned(),
        signal: signal.to_owned(),
        session_id: text("s"),
        trace_id: text("t"),
        span_id: text(span),
        parent_span_id: text(parent),
        tool_name: text("Bash"),
        tool_call_id: text(id),
        ts: at(from),
        end_ts: Some(at(until)).filter(|_| signal == "traces"),
        ..RowTail::default()
    };
    IndexRow { v: 1, leaf: 0, object_key: None, off: None, of: None, tail }
}

fn count(rows: &[IndexRow]) -> usize {
    let mut calls = CallDeduplicator::default();
    rows.iter().filter(|row| calls.is_new_tool(&CallReport::from_row(row))).count()
}

/// As real clients report calls: Codex (log and span with one id), opencode (two spans with one id), Gemini CLI (a log
/// without an id at the parent span). Reports that only look alike are different calls: an id reused later, in another
/// session or trace; two calls of one tool.
#[test]
fn a_call_is_counted_once() {
    let codex = [row(("traces", "c1", "a", "p"), (3, 4)), row(("logs", "c1", "p", ""), (5, 5))];
    let opencode = [row(("traces", "c1", "a", "p"), (1, 9)), row(("traces", "c1", "b", "q"), (2, 8))];
    let gemini = [row(("traces", "c1", "a", "p"), (1, 2)), row(("logs", "", "p", ""), (3, 3))];
    let own = [row(("traces", "", "a", "p"), (1, 2)), row(("logs", "", "a", ""), (2, 2))];
    let two = [
        row(("traces", "c1", "a", "p"), (1, 2)),
        row(("logs", "", "p", ""), (3, 3)),
        row(("traces", "c2", "b", "p"), (1, 2)),
        row(("logs", "", "p", ""), (3, 3)),
    ];
    let same_id = [row(("traces", "call_0", "a", "p"), (1, 2)), row(("traces", "call_0", "b", "p"), (3, 4))];
    let touching = [row(("traces", "call_0", "a", "p"), (1, 2)), row(("traces", "call_0", "b", "p"), (2, 3))];
    let mut hidden = [row(("traces", "call_0", "a", "p"), (0, 9)), row(("traces", "call_0", "b", "p"), (2, 3))];
    hidden[1].tail.tool_name = Some("send_money".to_owned());
    let logs = [row(("logs", "c1", "a", ""), (1, 1)), row(("logs", "c1", "b", ""), (2, 2))];
    let mut elsewhere = codex.clone();
    elsewhere[1].tail.session_id = Some("other".to_owned());
    let mut other_trace = codex.clone();
    other_trace[1].tail.trace_id = Some("other".to_owned());
    let mut other_tool = gemini.clone();
    other_tool[1].tail.tool_name = Some("Read".to_owned());
    let mut repeated = [codex[0].clone(), codex[0].clone()];
    repeated[1].tail.repeat = true;
    for (name, rows, calls) in [
        ("log and span", &codex[..], 1),
        ("two spans", &opencode, 1),
        ("a log above", &gemini, 1),
        ("a log at its span", &own, 1),
        ("two calls, four tellings", &two, 2),
        ("an id that comes again", &same_id, 2),
        ("an id that comes again at once", &touching, 2),
        ("an id that another tool's call has at the time", &hidden, 2),
        ("two logs", &logs, 2),
        ("two sessions", &elsewhere, 2),
        ("two traces", &other_trace, 2),
        ("two tools", &other_tool, 2),
        ("a repeat", &repeated, 1),
    ] {
        assert_eq!(count(rows), calls, "{name}");
        let mut backwards = rows.to_vec();
        backwards.reverse();
        assert!(count(&backwards) == calls || name == "a repeat", "{name}, backwards");
    }
}

/// A million calls need no more than the given room, and a recent call is still recognised.
#[test]
fn memory_is_bounded() {
    let mut calls = CallDeduplicator::with_capacity(128);
    for n in 0..1_000 {
        let id = format!("c{n}");
        assert!(calls.is_new_tool(&CallReport::from_row(&row(("traces", &id, &id, "p"), (1, 2)))));
        assert!(!calls.is_new_tool(&CallReport::from_row(&row(("logs", &id, "p", ""), (3, 3)))));
    }
    assert!(calls.0.len() <= 128);
}

fn failures(rows: &[IndexRow]) -> usize {
    let mut calls = CallDeduplicator::default();
    rows.iter().filter(|row| calls.is_new_failure(&CallReport::from_row(row))).count()
}

/// As real clients report failures: Claude Code (span and log with one id), Gemini CLI (two kinds of log at the span),
/// opencode (nested spans), a tool by its span and by its result's event. Separate attempts are separate failures, and
/// no failure hides another one.
#[test]
fn a_failure_is_counted_once() {
    let failed = |mut row: IndexRow, call: &str, id: &str| {
        row.tail.call = call.to_owned();
        row.tail.status = "overloaded".to_owned();
        if call.starts_with("model") {
            (row.tail.tool_name, row.tail.tool_call_id) = (None, None);
            row.tail.response_id = Some(id.to_owned()).filter(|id| !id.is_empty());
        }
        row
    };
    let span = |id: &str, span: &str, parent: &str, time| failed(row(("traces", "", span, parent), time), "model", id);
    let log = |id: &str, span: &str| failed(row(("logs", "", span, ""), (9, 9)), "model_copy", id);
    let details = |span: &str| {
        let mut log = log("", span);
        log.tail.action_type = Some("chat".to_owned());
        log
    };
    let tool = |signal: &str, call: &str, span: &str| failed(row((signal, "c1", span, "p"), (1, 2)), call, "");
    let mut fine = tool("traces", "tool", "b");
    fine.tail.status = "ok".to_owned();
    let other = |span: &str| failed(row(("traces", "", span, "p"), (1, 2)), "turn_end", "");
    for (name, rows, count) in [
        ("a span and a log", vec![span("r1", "a", "p", (1, 8)), log("r1", "p")], 1),
        ("two kinds of log at the span", vec![span("", "a", "p", (1, 8)), log("", "a"), details("a")], 1),
        ("a span in a span", vec![span("", "a", "p", (1, 9)), span("", "b", "a", (2, 8))], 1),
        (
            "a span in a span, and a log",
            vec![span("", "a", "p", (1, 9)), span("r1", "b", "a", (2, 8)), log("r1", "b")],
            1,
        ),
        (
            "three spans in each other",
            vec![span("", "a", "p", (1, 9)), span("", "b", "a", (2, 8)), span("", "c", "b", (3, 7))],
            1,
        ),
        (
            "two attempts in a span",
            vec![span("", "a", "p", (1, 9)), span("", "b", "a", (2, 4)), span("", "c", "a", (5, 7))],
            2,
        ),
        ("two attempts, a log each", vec![log("r1", "p"), log("r2", "p"), span("r2", "a", "p", (1, 8))], 2),
        ("two attempts without ids, a log each", vec![log("", "p"), log("", "p"), span("", "a", "p", (1, 8))], 2),
        ("two calls below one", vec![span("", "a", "p", (1, 3)), span("", "b", "p", (4, 8))], 2),
        ("a tool and its result", vec![tool("traces", "tool", "b"), tool("logs", "other", "p")], 1),
        ("a tool whose result alone tells", vec![fine, tool("logs", "other", "p")], 1),
        ("a tool and a model", vec![tool("traces", "tool", "b"), span("", "a", "p", (1, 8))], 2),
        ("what is no call", vec![other("a"), other("a")], 2),
    ] {
        assert_eq!(failures(&rows), count, "{name}");
        let backwards: Vec<IndexRow> = rows.into_iter().rev().collect();
        assert_eq!(failures(&backwards), count, "{name}, backwards");
    }
    let mut repeated = span("r1", "a", "p", (1, 8));
    repeated.tail.repeat = true;
    assert_eq!(failures(&[repeated]), 0);
}
