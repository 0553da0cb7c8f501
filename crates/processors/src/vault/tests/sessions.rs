//! Tests of the auditor's queries on an index and on a session: `find`, turns, `diff`, `export`.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::agents::event;
use super::whole::{Gateway, gateway, report, tool, turn};
use crate::testing::text_of;
use audit::read::{ExportFormat, IndexQuery, find_signed, format_row};
use vault::call_dedup::CallDeduplicator;
use vault::index_row::{IndexRow, RowKind, RowTail, TokenBuckets};
use vault::sessions::SessionLine;

async fn told() -> Gateway {
    let mut gateway = gateway();
    gateway.send(&json!({"items": [turn(1, &[("system", "be kind"), ("user", "one")], "two"), tool(2)]}));
    gateway.send(&json!({"items": [turn(3, &[("system", "be kind"), ("user", "one"), ("assistant", "two"), ("user", "three")], "four")]}));
    gateway.send(&json!({"items": [turn(4, &[("system", "be rude"), ("user", "one"), ("user", "three\nand more")], "\u{1b}[2J")]}));
    let mut failed = tool(5);
    failed["status"] = json!("error");
    failed["attributes"]["gen_ai.conversation.id"] = json!("s-2");
    failed["attributes"]["work_tracker.issue_id"] = json!("PAY-17");
    failed["attributes"]["build.commit_sha"] = json!("0a1b2c3d");
    gateway.send_stored(json!([failed])).await;
    gateway
}

/// Each filter works alone and combined; nothing is decrypted, and a price line is not reported as an action.
#[tokio::test]
async fn lines_are_found_by_what_they_tell() {
    let gateway = told().await;
    let vault = gateway.vault();
    let text = |text: &str| Some(text.to_owned());
    let all = IndexQuery::default();
    let cases = [
        (all.clone(), 5, 2),
        (IndexQuery { session: text("s-1"), ..all.clone() }, 4, 1),
        (IndexQuery { tool: text("ls"), ..all.clone() }, 2, 2),
        (IndexQuery { tool: text("ls"), session: text("s-1"), ..all.clone() }, 1, 1),
        (IndexQuery { action: text("chat"), model: text("gpt-4o"), ..all.clone() }, 3, 1),
        (IndexQuery { issue: text("PAY-17"), ..all.clone() }, 1, 1),
        (IndexQuery { commit: text("0a1b"), ..all.clone() }, 1, 1),
        (IndexQuery { commit: text("0a1"), ..all.clone() }, 0, 0),
        (IndexQuery { failed: true, ..all.clone() }, 1, 1),
        (IndexQuery { account: text("default"), tenant: text("acme"), ..all.clone() }, 5, 2),
        (IndexQuery { account: text("other"), ..all.clone() }, 0, 0),
        (IndexQuery { since: text("2026-11-20T10:00:03"), ..all.clone() }, 3, 2),
        (IndexQuery { since: text("2026-11-20"), until: text("2026-11-20T10:00:03"), ..all.clone() }, 2, 1),
        (IndexQuery { since: text("2026-11-22"), ..all.clone() }, 0, 0),
    ];
    for (query, lines, sessions) in cases {
        let mut seen = Vec::new();
        let found = find_signed(&vault, &query, None, &mut |row, _| seen.push(format_row(row))).await.expect("found").0;
        assert_eq!((found.lines, found.sessions.len()), (lines, sessions), "{query:?}: {seen:#?}");
        assert_eq!(seen.len() as u64, lines);
    }
}

/// A turn is a model call with everything it was given and its answer, counted from 1. A missing turn number is
/// answered with the existing ones.
#[tokio::test]
async fn one_turn() {
    let replay = told().await.read("s-1").await.expect("read");
    let show = |number| text_of(|out| replay.write_turn(number, out).expect("a turn"));
    let refused = |number| replay.write_turn(number, &mut Vec::new()).expect_err("no such turn").to_string();
    assert_eq!(replay.turns().len(), 3);
    let second = show(2);
    for word in ["turn 2", "gpt-4o", "be kind", "one", "two", "three", "answered", "four"] {
        assert!(second.contains(word), "{word} in {second}");
    }
    let third = show(3);
    assert!(!third.contains('\u{1b}') && third.contains("\\u{1b}[2J"), "{third}");
    assert_eq!(refused(4), "the session has turns 1 to 3");
    assert_eq!(refused(0), "the session has turns 1 to 3");
}

/// A client that reports content beside its calls has turns too: each answer with the messages since the previous one,
/// once.
#[tokio::test]
async fn answers_beside_the_calls() {
    let mut gateway = gateway();
    for (n, name, key, text) in [
        (1, "user_prompt", "prompt", "first question of mine"),
        (2, "assistant_response", "response", "first answer to it"),
        (3, "user_prompt", "prompt", "second question of mine"),
        (4, "assistant_response", "response", "second answer to it"),
    ] {
        let event = event(name, n, n, json!({ key: text }));
        gateway
            .send(&json!({"signal": "logs", "scope": {"name": "com.anthropic.claude_code.events"}, "items": [event]}));
    }
    assert!(gateway.uploader.drain().await);
    let replay = gateway.read("s-1").await.expect("read");
    assert_eq!(replay.turns().len(), 2);
    let text = text_of(|out| replay.write_turn(2, out).expect("a turn"));
    assert!(text.contains("second question") && text.contains("second answer") && !text.contains("first"), "{text}");
}

/// A comparison of two contexts: what was added, what was removed, how much stayed.
#[tokio::test]
async fn two_turns_are_compared() {
    let replay = told().await.read("s-1").await.expect("read");
    let show = |one, other| {
        let text = text_of(|out| replay.diff(one, other, out).expect("turns"));
        text.lines().skip(2).map(|line| line.trim_end().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(show(1, 2), ["  (2 messages as before)", "+ assistant   two", "+ user        three"]);
    assert_eq!(
        show(2, 3),
        [
            "- system      be kind",
            "+ system      be rude",
            "  (1 message as before)",
            "- assistant   two",
            "- user        three",
            "+ user        three",
            "+             and more",
        ]
    );
    assert_eq!(show(2, 2), ["the contexts are the same"]);
}

/// A dataset: a line per model call in the form of chat APIs, or each item in full.
#[tokio::test]
async fn a_session_is_exported() {
    let replay = told().await.read("s-1").await.expect("read");
    let lines = |format| -> Vec<Json> {
        let text = text_of(|out| replay.export(format, out));
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let messages = lines(ExportFormat::Messages);
    assert_eq!(messages.len(), 3);
    assert_eq!(
        messages[0]["messages"],
        json!([{"role": "system", "content": "be kind"}, {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}])
    );
    assert_eq!(messages[0]["model"], "gpt-4o");
    let items = lines(ExportFormat::Jsonl);
    assert_eq!(items.len(), 4);
    assert!(
        items.iter().any(|item| item["tool"] == "ls" && item["content"][0]["value"].to_string().contains("CANARY")),
        "{items:#?}"
    );
}

/// The lines of finished sessions, with the objects that hold them.
fn over(gateway: &Gateway) -> Vec<SessionLine> {
    let all = gateway.objects();
    let objects = all.iter().filter(|(name, _)| name.starts_with("sessions/v1/account=default/dt=2026-11-20/gw-1-"));
    let lines = objects.flat_map(|(_, bytes)| {
        let text = String::from_utf8(zstd::decode_all(&bytes[..]).expect("zstd")).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect::<Vec<SessionLine>>()
    });
    lines.collect()
}

/// Advances the clock while the uploader does its due work.
async fn minutes(gateway: &mut Gateway, minutes: u64) {
    for _ in 0..minutes {
        gateway.clock.advance(Duration::from_secs(60));
        for _ in 0..12 {
            gateway.uploader.step().await;
        }
    }
}

/// A session that ended or was quiet gets a line in an object of its own, which a signed digest names. If the session
/// continues it gets another line, and both add up. Copies and repeats count nothing; the line contains nothing beyond
/// the index lines.
#[tokio::test]
async fn a_session_that_is_over_has_a_line() {
    let mut gateway = gateway();
    gateway.pass(&json!({"items": [turn(1, &[("user", "CANARY")], "two"), tool(2)]}));
    minutes(&mut gateway, 10).await;
    assert!(over(&gateway).is_empty(), "it goes on");
    gateway.pass(&json!({"items": [turn(3, &[("user", "CANARY")], "four")]}));
    minutes(&mut gateway, 40).await;
    let lines = over(&gateway);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!((line.session_id.as_deref(), &*line.tenant, &*line.account), (Some("s-1"), "acme", "default"));
    assert_eq!((line.lines, line.model_calls, line.tool_calls, line.ended), (3, 2, 1, false), "{line:?}");
    assert!(line.first_ts.starts_with("2026-11-20T10:00:01") && line.last_ts.starts_with("2026-11-20T10:00:03"));
    assert!(line.pt_bytes > 100 && line.v == 1 && line.errors == 0, "{line:?}");
    gateway.pass(&json!({"items": [tool(4)]}));
    minutes(&mut gateway, 40).await;
    let lines = over(&gateway);
    assert_eq!((lines.len(), lines[1].lines, lines[1].tool_calls), (2, 1, 1), "{lines:?}");
    minutes(&mut gateway, 200).await;
    assert_eq!(over(&gateway).len(), 2, "said once");
    assert!(!serde_json::to_string(&lines).expect("json").contains("CANARY"));
    let judge = async || report(&gateway).await;
    assert!(judge().await.verified);
    let (name, _) = gateway.objects().into_iter().find(|(name, _)| name.starts_with("sessions/")).expect("an object");
    gateway.plant(&name, "other");
    assert!(judge().await.finding_counts.contains_key("sessions_changed"));
    std::fs::remove_file(gateway.folder.path().join("vault").join(&name)).expect("removed");
    assert!(judge().await.finding_counts.contains_key("sessions_missing"));
}

/// Sums of calls, tokens and cost are exact, with each line counted once, including late prices.
#[test]
fn totals_add_up() {
    let (mut totals, mut calls) = (SessionLine::default(), CallDeduplicator::default());
    let priced = RowTail {
        kind: Some(RowKind::Action),
        ts: "2026-11-20T10:00:00.0Z".to_owned(),
        account: "a".to_owned(),
        session_id: Some("s".to_owned()),
        call: "model".to_owned(),
        model: Some("m".to_owned()),
        status: "ok".to_owned(),
        pt_bytes: Some(5),
        buckets: Some(TokenBuckets { input: 10, output: 3, ..TokenBuckets::default() }),
        cost_status: Some("priced".to_owned()),
        cost_usd: Some("0.1".to_owned()),
        ..RowTail::default()
    };
    let text = |text: &str| Some(text.to_owned());
    let plain = RowTail { cost_status: None, cost_usd: None, buckets: None, ..priced.clone() };
    for tail in [
        priced.clone(),
        RowTail { cost_usd: text("0.2"), ..priced.clone() },
        RowTail { cost_status: text("not_counted"), repeat: true, ..priced.clone() },
        RowTail { cost_status: text("deferred"), ..plain.clone() },
        RowTail { kind: Some(RowKind::Price), ..priced.clone() },
        RowTail { cost_status: text("unpriced"), status: "error".to_owned(), ..plain.clone() },
        RowTail { call: "permission".to_owned(), decision: text("reject"), ..plain.clone() },
        RowTail { call: "session_end".to_owned(), ..plain },
    ] {
        totals.add(&IndexRow { v: 1, leaf: 0, object_key: None, off: None, of: None, tail }, &mut calls);
    }
    assert_eq!((totals.lines, totals.model_calls, totals.denials, totals.errors), (8, 4, 1, 1), "{totals:?}");
    assert_eq!((totals.cost_usd.as_str(), totals.buckets.input, totals.unpriced), ("0.4", 30, 1), "{totals:?}");
    assert!(totals.ended && totals.models.len() == 1 && totals.pt_bytes == 35);
}
