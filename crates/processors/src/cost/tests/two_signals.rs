//! Tests of calls that arrive on two signals, from clients that send one of them, both, or the non-billing one first.

use serde_json::{Value as Json, json};

use super::{
    COPY, CORRECTION, DEFERRED, PRICED, UNPRICED, assert_shows, attributes, batch, build_with, configured, defaults,
    processed, run, status,
};
use crate::cost::config::BillingSignal;
use crate::cost::{CostProcessor, CostSettings};
use genai::BillingStatus;
use genai::testing::request;
use kernel::clock::UnixNanos;
use otlp::{Payload, Signal};
use pipeline::{Batch, Processor};
use telemetry::Meter;

const START: u64 = 1_795_000_000_000_000_000;
const MINUTE: u64 = 60_000_000_000;
const TOTAL: &str = "tollgate_cost_usd_total{tenant=\"unattributed\"";

fn built(meter: &Meter) -> CostProcessor {
    let signals = vec![Signal::Traces, Signal::Logs];
    build_with(&CostSettings { signals, ..defaults() }, meter)
}

/// A call of Claude Code, with these attributes beside its counts.
fn claude_with(signal: &str, session: &str, id: &str, more: Json) -> Payload {
    let mut attributes = json!({"event.name": "api_request", "session.id": session, "model": "claude-sonnet-4-5", "input_tokens": 10,
        "output_tokens": 5, "cache_creation_tokens": 0, "cache_read_tokens": 0, "request_id": id});
    attributes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request::payload(&json!({"signal": signal, "scope": {"name": "com.anthropic.claude_code.events"}, "items": [
        {"name": "claude_code.llm_request", "body": "claude_code.api_request", "trace": 1, "span": 2, "attributes": attributes}]}))
}

fn claude(signal: &str, session: &str, id: &str) -> Payload {
    claude_with(signal, session, id, json!({}))
}

/// A call that wrote a thousand tokens to the cache, whose lifetime the log alone tells.
fn cached(signal: &str, session: &str, id: &str) -> Payload {
    let mut more = json!({"cache_creation_tokens": 1000});
    if signal == "logs" {
        more["cache_creation_1h_tokens"] = json!(1000);
        more["cache_creation_5m_tokens"] = json!(0);
    }
    claude_with(signal, session, id, more)
}

/// A call of Codex, which has no id. `call`: its span.
fn codex(signal: &str, call: u64, tokens: u64) -> Payload {
    let log = json!({"time": START / 1_000_000_000 + call, "attributes": {"event.name": "codex.sse_event", "event.kind": "response.completed", "model": "gpt-5",
        "conversation.id": "c", "input_token_count": tokens, "output_token_count": 5}});
    let span = json!({"name": "handle_responses", "trace": 1, "span": call, "attributes": {
        "gen_ai.usage.input_tokens": tokens, "gen_ai.usage.output_tokens": 5, "model": "gpt-5"}});
    let item: Json = if signal == "logs" { log } else { span };
    request::payload(&json!({"signal": signal, "resource": {"service.name": "codex_exec"}, "items": [item]}))
}

fn at(cost: &CostProcessor, payload: Payload, id: u8, time: u64) -> Batch {
    let mut batch = batch(payload, id);
    std::sync::Arc::get_mut(&mut batch.origin).unwrap().received = UnixNanos(time);
    cost.process(&mut batch).unwrap();
    batch.effects.iter().for_each(|effect| cost.apply(effect));
    batch
}

fn total(meter: &Meter) -> String {
    let text = meter.render();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(TOTAL)).collect();
    lines.first().and_then(|line| line.rsplit(' ').next()).unwrap_or("none").to_owned()
}

/// Claude Code's calls are billed on the log if a logs pipeline has `cost`, else on the span, or as configured. The
/// other signal is marked, and calls whose billed signal never arrived are counted.
#[test]
fn claude_code_bills_on_one_signal() {
    let settings = |bill, signals: &[Signal]| CostSettings {
        signals: signals.to_vec(),
        ..configured(|config| config.bill.claude_code = bill)
    };
    for (bill, signals, expected) in [
        (BillingSignal::Auto, &[Signal::Traces, Signal::Logs][..], "logs"),
        (BillingSignal::Auto, &[Signal::Traces], "traces"),
        (BillingSignal::Auto, &[Signal::Logs], "logs"),
        (BillingSignal::Span, &[Signal::Traces, Signal::Logs], "traces"),
        (BillingSignal::Log, &[Signal::Traces], "logs"),
    ] {
        let cost = build_with(&settings(bill, signals), &Meter::new());
        run(&cost, claude("logs", "s", "req_0"), 9);
        for (id, signal) in [(1, "traces"), (2, "logs")] {
            let wanted = if signal == expected { BillingStatus::Priced } else { BillingStatus::Deferred };
            assert_eq!(status(&run(&cost, claude(signal, "s", "req_1"), id), 0), Some(wanted), "{expected} {signal}");
        }
    }
    let meter = Meter::new();
    let cost = build_with(&settings(BillingSignal::Auto, &[Signal::Traces, Signal::Logs]), &meter);
    run(&cost, claude("logs", "s", "req_0"), 9);
    let deferred = run(&cost, claude("traces", "s", "req_1"), 1);
    assert_eq!(attributes(&deferred, 0)["tollgate.cost.status"], "deferred");
    run(&cost, claude("traces", "s", "req_2"), 2);
    run(&cost, claude("logs", "s", "req_2"), 3);
    run(&cost, claude("logs", "s", "req_3"), 4);
    run(&cost, claude("traces", "s", "req_3"), 5);
    cost.tick(UnixNanos(START + 500_000_000_000));
    assert!(!meter.render().contains("tollgate_cost_unbilled_calls_total{"));
    cost.tick(UnixNanos(START + 700_000_000_000));
    assert_shows(
        &meter,
        "tollgate_cost_unbilled_calls_total{dialect=\"claude-code-native\",reason=\"billed_signal_missing\"} 1",
    );
}

/// Codex has no id shared by log and span: equal token counts show that the log arrived.
#[test]
fn two_signals_without_an_id_are_known_by_their_tokens() {
    let meter = Meter::new();
    let cost = built(&meter);
    run(&cost, codex("logs", 1, 9), 1);
    run(&cost, codex("traces", 2, 10), 2);
    run(&cost, codex("logs", 2, 10), 3);
    cost.tick(UnixNanos(START + 12 * MINUTE));
    assert!(!meter.render().contains("tollgate_cost_unbilled_calls_total{"), "{}", meter.render());
    run(&cost, codex("traces", 4, 11), 5);
    cost.tick(UnixNanos(START + 24 * MINUTE));
    let missing = "tollgate_cost_unbilled_calls_total{dialect=\"codex-cli\",reason=\"billed_signal_missing\"} 1";
    assert_shows(&meter, missing);
}

/// A client that sends only traces gets prices at once, whatever other sessions of its account send. A client that
/// sends logs is billed on them, until none has arrived for ten minutes.
#[test]
fn traces_alone_are_priced() {
    let cost = built(&Meter::new());
    let span = at(&cost, claude("traces", "s", "req_1"), 1, START);
    assert_eq!(attributes(&span, 0)["tollgate.cost.status"], "priced");
    assert!(attributes(&span, 0).contains_key("tollgate.cost.usd"));
    at(&cost, claude("logs", "other", "req_2"), 2, START + MINUTE);
    let later = at(&cost, claude("traces", "s", "req_3"), 3, START + 2 * MINUTE);
    assert_eq!(status(&later, 0), PRICED);
    let waits = at(&cost, claude("traces", "other", "req_4"), 4, START + 2 * MINUTE);
    assert_eq!(status(&waits, 0), DEFERRED);
    let quiet = at(&cost, claude("traces", "other", "req_5"), 5, START + 30 * MINUTE);
    assert_eq!(status(&quiet, 0), PRICED);
}

/// A call priced by its span costs nothing more when its log arrives later with equal counts; the client's next spans
/// wait for their logs.
#[test]
fn logs_that_come_later_count_nothing_twice() {
    let meter = Meter::new();
    let cost = built(&meter);
    at(&cost, claude("traces", "s", "req_1"), 1, START);
    let once = total(&meter);
    let log = at(&cost, claude("logs", "s", "req_1"), 2, START);
    assert_eq!(status(&log, 0), COPY);
    assert_eq!(total(&meter), once);
    assert_eq!(status(&at(&cost, claude("traces", "s", "req_2"), 3, START), 0), DEFERRED, "its logs come");
    assert_eq!(status(&at(&cost, claude("logs", "s", "req_2"), 4, START), 0), PRICED);
}

/// A log with more detail than the span (cache lifetimes) costs the difference, once across pipeline branches, repeats
/// and a restart, also if span and log are processed at the same time.
#[test]
fn logs_that_know_more_cost_the_difference() {
    let (span, log) = (|| cached("traces", "s", "r"), || cached("logs", "s", "r"));
    let alone = Meter::new();
    at(&built(&alone), log(), 1, START);
    let meter = Meter::new();
    let cost = built(&meter);
    let first = processed(&cost, span(), 1);
    let mut both = [batch(log(), 2), batch(log(), 2)];
    for batch in &mut both {
        cost.process(batch).unwrap();
        assert_eq!(status(batch, 0), CORRECTION);
        assert_eq!(attributes(batch, 0)["tollgate.cost.flags"], json!(["after_span"]));
        assert_eq!(attributes(batch, 0)["tollgate.cost.usd"], "0.00225");
        assert_eq!(attributes(batch, 0)["tollgate.cost.corrects"].as_array().map(Vec::len), Some(1), "the span");
    }
    for batch in [first].iter().chain(&both) {
        batch.effects.iter().for_each(|effect| cost.apply(effect));
    }
    assert_eq!(total(&meter), total(&alone));
    assert_eq!(status(&at(&cost, log(), 3, START), 0), COPY, "sent again");
    let restored = built(&Meter::new());
    let before = built(&Meter::new());
    at(&before, span(), 1, START);
    restored.restore(&before.checkpoint().unwrap());
    assert_eq!(attributes(&at(&restored, log(), 2, START), 0)["tollgate.cost.usd"], "0.00225");
}

/// A span and its log are processed at the same moment on two threads: the call costs what the log says, no less.
#[test]
fn span_and_log_at_once_lose_nothing() {
    let cost = built(&Meter::new());
    let both = std::sync::Barrier::new(2);
    let costs = |signal: &'static str, first: u8| {
        (1..=2000_u64)
            .map(|id| {
                let mut batch = batch(cached(signal, &format!("s{id}"), &format!("r{id}")), first);
                std::sync::Arc::get_mut(&mut batch.origin).unwrap().id =
                    (u128::from(id) * 2 + u128::from(first)).to_le_bytes();
                both.wait();
                cost.process(&mut batch).unwrap();
                attributes(&batch, 0).get("tollgate.cost.usd").map_or(0.0, |usd| usd.as_str().unwrap().parse().unwrap())
            })
            .collect::<Vec<f64>>()
    };
    let (spans, logs) = std::thread::scope(|scope| {
        let spans = scope.spawn(|| costs("traces", 0));
        let logs = scope.spawn(|| costs("logs", 1));
        (spans.join().unwrap(), logs.join().unwrap())
    });
    for (at, (span, log)) in spans.iter().zip(&logs).enumerate() {
        assert!((span + log - 0.006_105).abs() < 1e-12, "call {at}: span {span}, log {log}");
    }
}

/// If span and log share no id, each log matches one span of its size in its session.
#[test]
fn sizes_stand_in_for_ids() {
    let cost = built(&Meter::new());
    let run = |payload, id| status(&at(&cost, payload, id, START), 0);
    assert_eq!(run(codex("traces", 2, 10), 1), PRICED);
    assert_eq!(run(codex("traces", 3, 10), 2), PRICED);
    assert_eq!(run(codex("logs", 2, 10), 3), COPY);
    // Another pipeline's branch of the same batch.
    assert_eq!(run(codex("logs", 2, 10), 3), COPY);
    assert_eq!(run(codex("logs", 3, 10), 4), COPY);
    assert_eq!(run(codex("logs", 4, 10), 5), PRICED, "a call of its own");
    assert_eq!(run(codex("traces", 4, 10), 6), DEFERRED);
}

/// Known clients and calls priced by their spans survive a checkpoint and a replay; a log whose batch was not committed
/// uses up nothing.
#[test]
fn clients_are_known_after_a_restart() {
    let first = built(&Meter::new());
    let heard = at(&first, claude("logs", "s", "req_1"), 1, START);
    at(&first, codex("traces", 7, 10), 2, START);
    let restored = built(&Meter::new());
    restored.restore(&first.checkpoint().unwrap());
    assert_eq!(status(&at(&restored, claude("traces", "s", "req_2"), 3, START), 0), DEFERRED);
    let lost = processed(&restored, codex("logs", 7, 10), 4);
    assert_eq!(status(&lost, 0), COPY);
    restored.discard(&lost.origin.id);
    let again = at(&restored, codex("logs", 7, 10), 5, START);
    assert_eq!(status(&again, 0), COPY, "it was not taken");
    let replayed = built(&Meter::new());
    heard.effects.iter().for_each(|effect| replayed.apply(effect));
    assert_eq!(status(&at(&replayed, claude("traces", "s", "req_2"), 3, START), 0), DEFERRED);
}

/// A call of Claude Code with a model that no table lists.
fn unlisted(signal: &str, id: &str) -> Payload {
    claude_with(signal, "s", id, json!({"model": "my-own-claude-x"}))
}

/// Number of calls counted as unpriced.
fn unpriced(meter: &Meter) -> u64 {
    let text = meter.render();
    let lines = text.lines().filter(|line| line.starts_with("tollgate_cost_unpriced_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// A span of a client that sends only traces is counted as unpriced with its reason, once across repeats, branches and
/// a restart; a log of the same call without a price counts nothing more.
#[test]
fn lone_spans_without_a_price_are_unpriced() {
    let meter = Meter::new();
    let cost = built(&meter);
    let [span, branch] = [(); 2].map(|()| processed(&cost, unlisted("traces", "req_1"), 1));
    assert_eq!(status(&branch, 0), UNPRICED, "another branch of the pipelines");
    span.effects.iter().for_each(|effect| cost.apply(effect));
    let stamps = attributes(&span, 0);
    assert_eq!(
        (&stamps["tollgate.cost.status"], &stamps["tollgate.cost.reason"]),
        (&json!("unpriced"), &json!("unknown_model"))
    );
    assert_eq!(status(&at(&cost, unlisted("traces", "req_1"), 2, START), 0), COPY, "sent again");
    assert_eq!(unpriced(&meter), 1);
    let restored_meter = Meter::new();
    let restored = built(&restored_meter);
    restored.restore(&cost.checkpoint().unwrap());
    for (cost, meter, counted) in [(&cost, &meter, 1), (&restored, &restored_meter, 0)] {
        assert_eq!(status(&at(cost, unlisted("logs", "req_1"), 3, START), 0), COPY);
        assert_eq!(unpriced(meter), counted, "its log has no price either");
        assert_eq!(status(&at(cost, unlisted("traces", "req_2"), 4, START), 0), DEFERRED, "its logs come");
        assert_eq!(status(&at(cost, unlisted("logs", "req_2"), 5, START), 0), UNPRICED);
    }
    assert_eq!(unpriced(&meter), 2);
}

/// A log with the model that its span lacked is priced in full, once, also after a restart.
#[test]
fn logs_of_unpriced_spans_cost_everything() {
    let span = || {
        let span = json!({"name": "handle_responses", "trace": 1, "span": 2, "parent": 7, "attributes": {
            "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5}});
        request::payload(&json!({"signal": "traces", "resource": {"service.name": "codex_exec"}, "items": [span]}))
    };
    let alone = Meter::new();
    at(&built(&alone), codex("logs", 2, 10), 1, START);
    let meter = Meter::new();
    let cost = built(&meter);
    let first = at(&cost, span(), 1, START);
    let stamps = attributes(&first, 0);
    assert_eq!(
        (&stamps["tollgate.cost.status"], &stamps["tollgate.cost.reason"]),
        (&json!("unpriced"), &json!("no_model"))
    );
    assert_eq!(unpriced(&meter), 1);
    let saved = cost.checkpoint().unwrap();
    let restored_meter = Meter::new();
    let restored = built(&restored_meter);
    restored.restore(&saved);
    for (cost, meter) in [(&cost, &meter), (&restored, &restored_meter)] {
        let mut both = [batch(codex("logs", 2, 10), 2), batch(codex("logs", 2, 10), 2)];
        for batch in &mut both {
            cost.process(batch).unwrap();
            assert_eq!(status(batch, 0), PRICED);
            assert_eq!(attributes(batch, 0)["tollgate.cost.flags"], json!(["after_span"]));
        }
        both.iter().flat_map(|batch| &batch.effects).for_each(|effect| cost.apply(effect));
        assert_eq!(total(meter), total(&alone));
        assert_eq!(status(&at(cost, codex("logs", 2, 10), 2, START), 0), COPY, "the same batch again");
        assert_eq!(total(meter), total(&alone));
    }
    assert_eq!(unpriced(&meter), 1);
}

/// A span that waits for its log record counts once for a back end, however often it is sent and by how many spans.
#[test]
fn a_deferred_span_counts_once() {
    let cost = built(&Meter::new());
    run(&cost, claude("logs", "s1", "r1"), 1);
    assert_eq!(status(&run(&cost, claude("traces", "s1", "r1"), 2), 0), DEFERRED);
    assert_eq!(status(&run(&cost, claude("traces", "s1", "r1"), 3), 0), COPY, "the same span again");
    let late = built(&Meter::new());
    run(&late, claude("logs", "s1", "r0"), 1);
    assert_eq!(status(&run(&late, claude("traces", "s1", "r1"), 2), 0), DEFERRED, "before its record");
    assert_eq!(status(&run(&late, claude("logs", "s1", "r1"), 3), 0), PRICED);
}
