//! Output that must not control an auditor's terminal; sessions as trees.

pub(crate) mod bounds;
mod chat;
mod faults;
mod masking;

use super::session::SessionEntry;
use super::{IndexQuery, ReplayedSession, format_row};
use crate::testing::site::text_of;
use chat::item;
use kernel::terminal::escape_unsafe;
use vault::index_row::{BudgetDecision, IndexRow, RowKind, RowTail};

/// No control character of any plane reaches the terminal. (`json_of_a_line_drives_no_terminal` has the JSON.)
#[test]
fn nothing_drives_the_terminal() {
    let hostile = "a\u{1b}[31m\u{9b}2J\u{7f}\u{202e}b\tc é 漢 😀";
    assert_eq!(escape_unsafe(hostile), "a\\u{1b}[31m\\u{9b}2J\\u{7f}\\u{202e}b\tc é 漢 😀");
}

/// A line: second, call, span, parent, name, decision.
pub(crate) fn row(second: u32, call: &str, ids: (&str, &str), name: &str, decision: Option<&str>) -> IndexRow {
    let (span, parent) = ids;
    let id = |id: &str| Some(id.to_owned()).filter(|id| !id.is_empty());
    let tail = RowTail {
        ts: format!("2026-11-20T10:00:{second:02}.000000000Z"),
        signal: if span.starts_with('e') { "logs" } else { "traces" }.to_owned(),
        call: call.to_owned(),
        status: "ok".to_owned(),
        span_id: id(span.trim_start_matches('e')),
        parent_span_id: id(parent),
        tool_name: id(name).filter(|_| matches!(call, "tool" | "permission")),
        model: id(name).filter(|_| call == "model"),
        actor: id(name).filter(|_| call == "agent"),
        decision: decision.map(str::to_owned),
        writer: "gw".to_owned(),
        epoch: "E".to_owned(),
        ..RowTail::default()
    };
    IndexRow { v: 1, leaf: u64::from(second), object_key: None, off: None, of: None, tail }
}

/// A session of these lines, without content.
fn session_of_rows(session: &str, rows: Vec<IndexRow>) -> ReplayedSession {
    let mut entries: Vec<SessionEntry> = rows.into_iter().map(SessionEntry::from_line).collect();
    entries.sort_by(|a, b| (&a.at, a.leaf).cmp(&(&b.at, b.leaf)));
    ReplayedSession { session: session.to_owned(), entries, ..ReplayedSession::default() }
}

/// A replay shows for each entry the counts of what the rules hide, by placeholder, in text and JSON; nothing if they
/// hide nothing.
#[test]
fn a_replay_tells_what_is_redacted() {
    let mut replay = session_of_rows("s", (1..=3).map(|n| row(n, "model", ("m", ""), "gpt", None)).collect());
    let texts = ["x and x, y".into(), serde_json::json!({ "a": ["x"] }), "nothing".into()];
    replay.entries.iter_mut().zip(texts).for_each(|(entry, text)| {
        entry.item = Some(item("model", &[("input", "k", text)]));
    });
    replay.apply_redaction_rules(&mut |key, text| {
        assert_eq!(key, "k");
        let of = |what: char| text.matches(what).map(move |_| what.to_uppercase().to_string());
        of('x').chain(of('y')).collect()
    });
    let text = text_of(|out| replay.write_text(out));
    let told: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  redacted    ")).collect();
    assert_eq!(told, ["2 X, 1 Y", "1 X"], "{text}");
    let json: serde_json::Value = serde_json::from_str(&replay.to_json().expect("json")).expect("json");
    let told: Vec<_> =
        json["entries"].as_array().into_iter().flatten().map(|entry| entry["redacted"].clone()).collect();
    assert_eq!(told, [serde_json::json!({ "X": 2, "Y": 1 }), serde_json::json!({ "X": 1 }), serde_json::json!({})]);
}

/// A finish reason is not a message, in whatever form an output message has it; other fields of that name are shown.
#[test]
fn a_finish_reason_is_no_message() {
    let shown = |reason: serde_json::Value| {
        let messages = serde_json::json!([{ "role": "assistant", "parts": [{ "type": "text", "content": "ANSWER" }],
            "finish_reason": reason }]);
        let mut replay = session_of_rows("s", vec![row(1, "model", ("m", ""), "gpt", None)]);
        replay.entries[0].item = Some(item("model", &[("output", "gen_ai.output.messages", messages)]));
        text_of(|out| replay.write_text(out))
    };
    let (null, none) = (serde_json::Value::Null, serde_json::json!([]));
    for reason in ["stop".into(), null, none, serde_json::json!(["stop"]), serde_json::json!([null, "length"])] {
        let text = shown(reason);
        assert!(text.contains("ANSWER") && !text.contains("finish_reason"), "{text}");
        assert_eq!(text.matches("assistant").count(), 1, "{text}");
    }
    assert!(shown(serde_json::json!({ "odd": 1 })).contains("finish_reason"));
}

/// The line of a budget's decision; a grant's has its end.
fn decision(second: u32, span: &str, grant: Option<&str>) -> IndexRow {
    let answer = if grant.is_some() { "grant" } else { "deny" };
    let mut row = row(second, "permission", (span, "a"), "", Some(answer));
    let text = |text: &str| text.to_owned();
    let (name, scope, key, measure) = (text("one-run"), text("run"), text("r1\u{1b}"), text("amount"));
    let (spent, limit, until) = (text("10.02"), text("10"), grant.map(text));
    let (granted_by, reason) = (grant.map(|_| text("ops")), grant.map(|_| text("the release")));
    let answer = text(answer);
    let (shadow, repeats) = (false, None);
    let budget =
        BudgetDecision { answer, name, scope, key, shadow, measure, spent, limit, repeats, until, granted_by, reason };
    (row.tail.kind, row.tail.budget) = (Some(RowKind::Decision), Some(Box::new(budget)));
    row
}

/// Every command shows a budget's decision in one plain line; `find` selects them by their kind alone.
#[test]
fn a_decision_is_one_plain_line() {
    let stop = "run r1\\u{1b} has used 10.02 of 10 USD (budget one-run)";
    let grant = "run r1\\u{1b} may use 10 USD more of budget one-run until 2026-11-21, by ops: the release";
    let rows =
        || vec![row(0, "agent", ("a", ""), "main", None), decision(1, "d", None), decision(2, "e", Some("2026-11-21"))];
    let found: Vec<String> = rows().iter().skip(1).map(format_row).collect();
    assert_eq!(found[0], format!("2026-11-20T10:00:01.000  -  -  permission  ok  deny: {stop}"));
    assert_eq!(found[1], format!("2026-11-20T10:00:02.000  -  -  permission  ok  grant: {grant}"));
    assert!(told(rows()).contains(&format!("\n  permission  {stop}  deny  DENIED\n")), "{}", told(rows()));
    let replayed = text_of(|out| session_of_rows("s", rows()).write_text(out));
    assert!(replayed.contains(&format!("permission  deny  {stop}")), "{replayed}");
    let query = |kind: &str| {
        #[derive(clap::Parser)]
        struct Find {
            #[command(flatten)]
            query: IndexQuery,
        }
        <Find as clap::Parser>::try_parse_from(["find", "--kind", kind]).map(|find| find.query)
    };
    let price = IndexRow {
        tail: RowTail { kind: Some(RowKind::Price), ..row(3, "model", ("m", ""), "", None).tail },
        ..row(3, "", ("", ""), "", None)
    };
    let all: Vec<IndexRow> = rows().into_iter().chain([price]).collect();
    let count = |query: &IndexQuery| all.iter().filter(|row| query.matches(row)).count();
    let [decisions, prices] = ["decision", "price"].map(|kind| query(kind).unwrap_or_else(|error| panic!("{error}")));
    assert_eq!([&IndexQuery::default(), &decisions, &prices].map(count), [3, 2, 1]);
    let error = query("verdict").map(drop).expect_err("no kind").to_string();
    assert!(error.contains("must be one of payload, action") && error.contains("decision"), "{error}");
}

fn told(rows: Vec<IndexRow>) -> String {
    text_of(|out| session_of_rows("s", rows).write_tree(out))
}

/// Turns contain their calls, and sub-agents theirs; denials are marked; events are below their span, or in the active
/// turn; a call reported by a span and an event appears once; other spans in between are skipped.
#[test]
fn a_tree_has_every_call_once() {
    let mut again = row(4, "tool", ("e", ""), "Read", None);
    let mut tool = row(3, "tool", ("t1", "x"), "Read", None);
    (again.tail.tool_call_id, tool.tail.tool_call_id) = (Some("c1".into()), Some("c1".into()));
    let rows = vec![
        row(0, "model", ("e", ""), "early", None),
        row(1, "agent", ("a", ""), "main", None),
        row(2, "other", ("x", "a"), "", None),
        tool,
        again,
        row(5, "permission", ("e", ""), "Bash", Some("reject")),
        row(6, "permission", ("et1", ""), "Read", Some("accept")),
        row(7, "agent", ("b", "t1"), "sub", None),
        row(8, "model", ("m", "b"), "gpt", None),
        row(9, "agent", ("c", ""), "main", None),
        row(10, "model", ("n", "c"), "gpt", None),
    ];
    let want = "session s
turn 1  
  model  early
turn 2  2026-11-20 10:00:01  main
  tool  Read
    permission  Read  accept
    agent  sub
      model  gpt
  permission  Bash  reject  DENIED
turn 3  2026-11-20 10:00:09  main
  model  gpt
model calls: 3, tool calls: 1, cost: 0 USD
";
    assert_eq!(told(rows), want);
}

/// Calls that clients report twice appear once, and the sum agrees: a model call by its span and a log with its price,
/// or by a waiting span and its price's line; a tool call by two spans. A call that still waits, and a denied call,
/// always appear.
#[test]
fn what_is_told_twice_stands_once() {
    let model = |mut row: IndexRow, response: &str, status: &str| {
        (row.tail.response_id, row.tail.cost_status) = (Some(response.to_owned()), Some(status.to_owned()));
        row
    };
    let tool = |mut row: IndexRow, until: u32| {
        row.tail.tool_call_id = Some("c1".to_owned());
        row.tail.end_ts = Some(format!("2026-11-20T10:00:{until:02}.000000000Z"));
        row
    };
    let mut price = row(4, "model", ("m2", "a"), "opus", None);
    (price.tail.kind, price.tail.cost_status) = (Some(RowKind::Price), Some("priced".to_owned()));
    let rows = vec![
        row(0, "agent", ("a", ""), "main", None),
        model(row(1, "model", ("m1", "a"), "haiku", None), "r1", "deferred"),
        model(row(2, "model", ("ea", ""), "haiku", None), "r1", "priced"),
        model(row(3, "model", ("m2", "a"), "opus", None), "r2", "deferred"),
        price,
        model(row(5, "model", ("m3", "a"), "late", None), "r3", "deferred"),
        model(row(6, "model", ("m4", "a"), "inner", None), "r4", "not_counted"),
        tool(row(7, "tool", ("t1", "a"), "Bash", None), 9),
        tool(row(8, "tool", ("t2", "x"), "Bash", None), 9),
        tool(row(9, "tool", ("ea", ""), "Bash", Some("reject")), 9),
    ];
    let want = "session s
turn 1  2026-11-20 10:00:00  main
  model  haiku
  model  opus
  model  late
  tool  Bash
  tool  Bash  reject  DENIED
model calls: 2, tool calls: 1, cost: 0 USD
";
    assert_eq!(told(rows), want);
}

/// Sub-agents without a span of their own are below the calls that started them, with their own calls; a failure is
/// shown once, even if the span does not report it.
#[test]
fn sub_agents_have_their_calls() {
    let of = |mut row: IndexRow, agent: &str, actor: &str| {
        row.tail.agent_id = Some(agent.to_owned()).filter(|id| !id.is_empty());
        row.tail.actor = Some(actor.to_owned());
        row
    };
    let call = |mut row: IndexRow, id: &str, until: u32| {
        row.tail.tool_call_id = Some(id.to_owned());
        row.tail.end_ts = Some(format!("2026-11-20T10:00:{until:02}.000000000Z"));
        row
    };
    let mut failed = call(row(9, "other", ("ea", ""), "", None), "c3", 9);
    failed.tail.status = "exit_1".to_owned();
    let rows = vec![
        of(row(0, "agent", ("a", ""), "main", None), "", "main"),
        of(call(row(1, "tool", ("t1", "a"), "Task", None), "c1", 8), "", "main"),
        of(call(row(1, "tool", ("t2", "a"), "Task", None), "c2", 9), "", "main"),
        call(row(1, "permission", ("ex", ""), "Task", Some("accept")), "c1", 1),
        of(row(2, "other", ("x1", "t1"), "", None), "", "main"),
        of(row(3, "model", ("m1", "x1"), "haiku", None), "id1", "main"),
        of(row(4, "model", ("m2", "x2"), "opus", None), "id2", "main"),
        of(row(4, "other", ("x2", "t2"), "", None), "", "main"),
        of(call(row(5, "tool", ("t3", "x1"), "Bash", None), "c3", 6), "id1", "main"),
        call(row(5, "permission", ("ey", ""), "Bash", Some("accept")), "c3", 5),
        failed,
        of(row(7, "model", ("ex1", ""), "haiku", None), "id1", "digger"),
        of(row(8, "model", ("m9", "gone"), "sonnet", None), "id9", "main"),
        row(10, "tool", ("t8", "a"), "task", None),
        row(11, "tool", ("t9", "t8"), "query", None),
    ];
    let want = "session s
turn 1  2026-11-20 10:00:00  main
  tool  Task
    permission  Task  accept
    agent  digger
      model  haiku
      tool  Bash  exit_1
        permission  Bash  accept
      model  haiku
  tool  Task
    agent  id2
      model  opus
  agent  id9
    model  sonnet
  tool  task
    tool  query
model calls: 4, tool calls: 5, failed: 1, cost: 0 USD
";
    assert_eq!(told(rows), want);
}

/// The time at this second of a day.
fn at(n: u32) -> String {
    format!("2026-11-20T{:02}:{:02}:{:02}.000000000Z", n / 3600, n / 60 % 60, n % 60)
}

/// Parents nested a hundred thousand deep or in a cycle, agents that start each other in a cycle, as many turns as
/// calls: each call appears once, quickly, and not deeply nested.
#[test]
fn hostile_parents_cost_little() {
    let node = |n: u32, call: &str, span: &str, parent: &str, agent: &str| {
        let mut row = row(0, call, (span, parent), if call == "tool" { "Task" } else { "deep" }, None);
        row.tail.agent_id = Some(agent.to_owned()).filter(|id| !id.is_empty());
        row.tail.ts = at(n);
        row.leaf = u64::from(n);
        row
    };
    let count = |rows: Vec<IndexRow>, calls: usize| {
        let text = told(rows);
        let is_call = |line: &&str| line.starts_with(' ') && !line.trim_start().starts_with("agent  id");
        assert_eq!(text.lines().filter(is_call).count(), calls);
        assert!(text.lines().all(|line| line.len() < 200));
    };
    // quadratic work would not finish: each is the parent of the next, in reverse order, and each belongs to its own
    // agent
    let (many, some) = (100_000_u32, 10_000_u32);
    let id = |n: u32| if n.is_multiple_of(2) { format!("id{n}") } else { String::new() };
    count(
        (0..many).map(|n| node(n, "tool", &format!("s{n}"), &format!("s{}", n + 1), &id(n))).collect(),
        many as usize,
    );
    count((0..some).map(|n| node(n, "tool", &format!("s{}", n + 1), &format!("s{n}"), "")).collect(), some as usize);
    // as many turns, as many calls without a parent
    let turns = (0..some).map(|n| node(n, "agent", &format!("s{n}"), "", ""));
    count(turns.chain((0..some).map(|n| node(n, "model", "", "", ""))).collect(), some as usize);
    count([("p", "q"), ("q", "p"), ("r", "r")].map(|(span, parent)| node(1, "tool", span, parent, "")).to_vec(), 3);
    // each of the two started the other
    let ring = vec![
        node(1, "tool", "p1", "", "id1"),
        node(2, "model", "p2", "p1", "id2"),
        node(3, "tool", "q1", "", "id2"),
        node(4, "model", "q2", "q1", "id1"),
    ];
    count(ring, 4);
}

/// Of two calls with the same id from the model, the successful one is not reported as failed; an event of another tool
/// applies to neither.
#[test]
fn a_failure_is_its_own_calls() {
    let call = |second: u32, call: &str, at: (&str, &str), tool: &str, id: &str, status: &str| {
        let mut row = row(second, call, at, "", None);
        (row.tail.tool_name, row.tail.tool_call_id) = (Some(tool.to_owned()), Some(id.to_owned()));
        row.tail.status = status.to_owned();
        row
    };
    let text = told(vec![
        call(1, "tool", ("t1", "a"), "Bash", "call_0", "exit_1"),
        call(3, "tool", ("t2", "a"), "Read", "call_0", "ok"),
        call(5, "tool", ("t3", "a"), "Write", "call_1", "ok"),
        call(6, "other", ("ea", ""), "Bash", "call_1", "exit_2"),
        call(7, "tool", ("t4", "a"), "Edit", "call_2", "ok"),
        call(8, "other", ("ea", ""), "Edit", "call_2", "exit_3"),
    ]);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("  tool")).collect();
    assert_eq!(lines, ["  tool  Bash  exit_1", "  tool  Read", "  tool  Write", "  tool  Edit  exit_3"], "{text}");
}

/// A call that thousands of agents claim as their start, and on which as many events report: it is examined once, not
/// once for each of them, in trees, turns and datasets; quadratic work would not finish.
#[test]
fn hostile_calls_cost_little() {
    const MANY: u32 = 5_000;
    let node = |n: u32, call: &str, place: (&str, &str), agent: Option<String>| {
        let mut row = row(0, call, place, if call == "model" { "gpt" } else { "Task" }, None);
        (row.tail.agent_id, row.tail.ts, row.leaf) = (agent, at(n), u64::from(n));
        row.tail.tool_call_id = Some("X".to_owned()).filter(|_| call != "model");
        row
    };
    let mut task = node(0, "tool", ("t", ""), None);
    task.tail.end_ts = Some(at(3 * MANY));
    let model = |n: u32| node(n, "model", (&format!("m{n}"), "t"), Some(format!("id{n}")));
    let told = |n: u32| node(MANY + n, "permission", ("et", ""), None);
    let rows = [task].into_iter().chain((1..=MANY).map(model)).chain((1..=MANY).map(told));
    let mut replay = session_of_rows("s", rows.collect());
    for (n, entry) in replay.entries.iter_mut().enumerate().skip(1) {
        let is_model = entry.row.as_ref().is_some_and(|row| row.tail.call == "model");
        let args = serde_json::json!({ "x": "y".repeat(60), "i": n }).to_string();
        let (part, text) = if is_model { ("output", n.to_string()) } else { ("tool_args", args) };
        let mut told = item("other", &[(part, "k", text.into())]);
        (told.head.kind, told.head.tool) = ("log".into(), Some("Task".into()));
        entry.item = Some(told);
    }
    let tree = text_of(|out| replay.write_tree(out));
    assert_eq!(tree.matches("model  gpt").count(), MANY as usize);
    assert_eq!(replay.turns().len(), MANY as usize);
    let lines = text_of(|out| replay.export(super::ExportFormat::Messages, out));
    assert_eq!(lines.lines().count(), MANY as usize);
}

/// A name can't end a Mermaid label, nor begin HTML or an entity in it.
#[test]
fn mermaid_labels_are_labels() {
    let hostile = "a\"] --> n1[\"<img src=x onerror=alert(1)>#quot;`\n%%{init}";
    let replay = session_of_rows(hostile, vec![row(1, "tool", ("t", ""), hostile, Some("deny"))]);
    let text = text_of(|out| replay.write_mermaid(out));
    assert!(text.contains(":::denied") && !text.contains('<') && !text.contains("#quot;"), "{text}");
    for line in text.lines().skip(2).filter(|line| line.contains('[')) {
        assert_eq!(line.matches('"').count(), 2, "{line}");
    }
    let json: serde_json::Value = serde_json::from_str(&replay.to_json().expect("json")).expect("json");
    assert_eq!((json["schema"].clone(), json["turns"][0]["calls"][0]["denied"].clone()), (1.into(), true.into()));
}
