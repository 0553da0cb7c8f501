//! Load that must not break the tracker: many runs, large runs, ids used by two tenants, hostile names.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::support::*;
use crate::Config;
use crate::group::{ItemGroup, SummedCalls, TracePosition};
use crate::group_data::CallSums;
use crate::observation::flag;
use ::budgets::{BudgetDesk as _, Names, Question};
use genai::testing::request;
use pipeline::Processor;
use runs::testing::runs::{detail, ended};
use runs::{EndedRuns, ModelTotals, RunSource, RunState, RunView};
use telemetry::Meter;

fn one_span(trace: u64) -> Json {
    span("chat", [trace, 2, 0], [0, 1], &usage("m", 1, 1))
}

/// Far more one-span runs than the limit: all but the latest are evicted and counted, and memory is bounded.
#[test]
fn many_small_runs() {
    let runs = 20_000;
    let meter = Meter::new();
    let settings = Config { max_runs: 500, ..Config::default() }.settings().unwrap_or_else(|_| panic!("valid"));
    let line = Line::new(runs_with(settings, &meter));
    let mut now = NOW;
    for from in (0..runs).step_by(1000) {
        let mut items: Vec<Json> = (from..from + 1000).map(|n| one_span(n + 1)).collect();
        // without an end
        items.iter_mut().for_each(|item| item["parent"] = json!(1));
        line.play(request::payload(&json!({"items": items})));
        now = now.plus(Duration::from_secs(1));
        line.runs.tick(now);
        line.runs.board();
    }
    assert!(line.runs.state.lock().store.len() <= 500);
    assert_eq!(line.runs.sums().all.runs, runs, "history has all of them");
    let evicted = format!("tollgate_runs_evicted_total {}", runs - 500);
    assert!(meter.render().contains(&evicted), "{}", meter.render());
    assert!(line.runs.checkpoint().unwrap().len() < 4 << 20);
}

/// A run of 50,000 calls: all are in its sums, of the first 20,000 each is kept.
#[test]
fn a_run_of_fifty_thousand_spans() {
    let meter = Meter::new();
    let line = Line::new(runs_with(settings(), &meter));
    line.runs.tick(NOW);
    for part in 0..50_u64 {
        let items: Vec<Json> = (0..1000)
            .map(|n| {
                let mut item = one_span(1);
                item["span"] = json!(2 + part * 1000 + n);
                item["parent"] = json!(1);
                item
            })
            .collect();
        line.play(request::payload(&json!({"items": items})));
    }
    wait(&line.runs, NOW, Duration::from_secs(60));
    let detail = line.runs.find_run_of_account("default", &format!("{:032}", 1)).unwrap();
    assert_eq!((detail.view.totals.calls(), detail.step_count), (50_000, 20_000));
    assert_eq!((detail.view.totals.iterations, detail.view.totals.tokens().input), (50_000, 50_000));
    assert_eq!(detail.steps.unwrap().len(), 2000);
    assert!(meter.render().contains("tollgate_run_items_summed_total 30000"), "{}", meter.render());
    assert!(line.runs.state.lock().store.groups().all(|group| group.weight() < 100_000));
}

/// Two tenants of one account with the same session id: each run and its cost belong to its own tenant.
#[test]
fn two_tenants_with_one_session_id() {
    let line = Line::new(runs());
    for (trace, tenant) in [(1, "acme"), (2, "globex")] {
        let root = span("invoke_agent", [trace, 1, 0], [0, 5], &json!({"session.id": "s", "tenant.id": tenant}));
        let mut call = one_span(trace);
        call["parent"] = json!(1);
        line.play(request::payload(&json!({"items": [root, call]})));
    }
    wait(&line.runs, NOW, Duration::from_secs(120));
    let tenants: Vec<_> = line.views().into_iter().map(|view| (view.tenant.unwrap(), view.totals.calls())).collect();
    assert_eq!(tenants.len(), 2);
    assert!(tenants.contains(&("acme".into(), 1)) && tenants.contains(&("globex".into(), 1)));
    let sums = line.runs.sums().by_tenant;
    assert_eq!((sums["acme"].calls, sums["globex"].calls), (1, 1));
}

/// Names crafted to break labels and pages do not become labels, and are short everywhere.
#[test]
fn hostile_names() {
    let meter = Meter::new();
    let line = Line::new(runs_with(settings(), &meter));
    let evil = "\"} 1\n<script>alert(1)</script>\u{202e}";
    let mut call = one_span(1);
    call["parent"] = json!(1);
    call["attributes"]["gen_ai.request.model"] = json!(evil);
    let names = json!({"tenant.id": evil, "feature": evil.repeat(100), "incident.id": evil, "prompt.template": evil,
        "build.commit_sha": "x".repeat(10_000), "error.type": evil});
    let root = span("invoke_agent", [1, 1, 0], [0, 5], &names);
    let names = json!({"gen_ai.tool.name": evil, "s3.bytes_scanned": 5, "tenant.id": evil});
    let tool = span("execute_tool", [1, 9, 1], [0, 1], &names);
    line.runs.tick(NOW);
    line.play(request::payload(&json!({"items": [root, call, tool]})));
    wait(&line.runs, NOW, Duration::from_secs(40 * 60));
    let text = meter.render();
    assert!(!text.contains("script") && !text.contains('\u{202e}'), "{text}");
    let view = line.views().into_iter().next().unwrap();
    assert!(view.commit.is_none_or(|commit| commit.len() <= 128));
    assert!(view.feature.is_none_or(|feature| feature.len() <= 128));
}

/// While history's file can't be written, ended runs wait up to a bound; what does not fit is counted, an account's
/// flood drops only its own, and runs to delete, however many, push no ended run out.
#[test]
fn ended_runs_wait_and_are_counted() {
    let meter = Meter::new();
    let tracker = runs_with(settings(), &meter);
    let give = |account: &str, count: usize| {
        let run = |number: usize| {
            let view = RunView { account: account.into(), ..ended(&format!("r{number}"), 1, 1) };
            (view.key(), detail(&view, &[]))
        };
        tracker.give_back(EndedRuns { ended: (0..count).map(run).collect(), removed: Vec::new() });
    };
    let dropped = |count: u64| {
        let text = meter.render();
        assert!(text.contains(&format!("tollgate_ended_runs_dropped_total {count}\n")), "{text}");
    };
    give("quiet", 10);
    tracker.give_back(EndedRuns { ended: Vec::new(), removed: (1..60_000).collect() });
    dropped(0);
    give("flood", 9000);
    dropped(9010 - 8192);
    let waiting = tracker.take_ended();
    let quiet = waiting.ended.iter().filter(|(_, run)| run.view.account == "quiet").count();
    assert_eq!((waiting.ended.len(), quiet, waiting.removed.len()), (8192, 10, 59_999));
    // one key is either a run or its deletion, whatever came last
    give("quiet", 1);
    let key = runs::run_key("quiet", "r0");
    tracker.state.lock().ended.add("quiet", EndedRuns { ended: Vec::new(), removed: vec![key] });
    let waiting = tracker.take_ended();
    assert_eq!((waiting.ended.len(), waiting.removed), (0, vec![key]));
    assert!(tracker.take_ended().removed.is_empty(), "once");
}

/// Above 20,000 items new traces still are runs of their own, which end and fail, and the session's budget counts all.
#[test]
fn a_session_goes_on_beyond_twenty_thousand_items() {
    let budgets = json!({"one": {"scope": "session", "model_calls": 100_000, "action": "deny"}});
    let config = Config { budgets: serde_json::from_value(budgets).unwrap(), ..Config::default() };
    let line = Line::new(runs_with(config.settings().unwrap_or_else(|problems| panic!("{problems:?}")), &Meter::new()));
    line.runs.tick(NOW);
    let call = |trace: u64, id: u64, is_failed: bool| {
        let mut call = span("chat", [trace, id, 0], [0, 1], &usage("m", 1, 1));
        call["attributes"]["gen_ai.conversation.id"] = json!("s");
        if is_failed {
            call["status"] = json!("error");
        }
        call
    };
    let failed_last = |trace: u64, id: u64| merged(call(trace, id, true), &json!({"end": T0 + 9}));
    let play = |items: Vec<Json>| drop(line.play(request::payload(&json!({"items": items}))));
    // the first 20,000 calls are twenty traces
    for trace in 1..=20 {
        play((1..1001).map(|id| call(trace, id + 1, false)).collect());
    }
    play(vec![call(30, 2, true), call(5, 2000, false), call(31, 3, false)]);
    let checkpoint = line.runs.checkpoint().unwrap();
    assert!(line.runs.restore(&checkpoint));
    play(vec![call(31, 4, false), call(32, 2, false), call(33, 2, false), failed_last(33, 3)]);
    let used = |names: Names, trace: Option<u64>| {
        let trace = trace.map(|trace| format!("{trace:032}"));
        let question = Question { account: "default".into(), names, trace, ..Question::default() };
        line.runs.answer(&question).budgets.first().map(|used| used.spent)
    };
    let of_session = Names { session: Some("s".into()), ..Names::default() };
    assert_eq!([used(of_session, None), used(Names::default(), Some(5))], [Some(20_005); 2], "answered calls");
    wait(&line.runs, NOW, Duration::from_secs(120));
    let find = |trace: u64| line.runs.find_run_of_account("default", &format!("{trace:032}")).unwrap().view;
    assert_eq!((find(30).state, find(30).totals.failed_calls), (RunState::Failed, 1));
    assert_eq!((find(33).state, find(33).totals.failed_calls), (RunState::Failed, 1), "its last call failed");
    assert_eq!([5, 20, 31, 32].map(|trace| find(trace).totals.calls()), [1001, 1000, 2, 1]);
    assert_eq!([find(30).session, find(31).session], ["s", "s"]);
    assert_eq!([20, 31, 32].map(|trace| find(trace).state), [RunState::Ended; 3]);
}

/// Failed calls that were charged are summed apart if a plan covers them, so that no sum is covered by mistake.
#[test]
fn what_plans_cover_is_summed_apart() {
    let failed = |flags: u32| {
        let model = ModelTotals { atto_usd: 5, ..ModelTotals::default() };
        let detail = CallSums { failed_calls: 1, model, ..CallSums::default() };
        let (position, start, end) = (TracePosition::default(), 1, 2);
        let mut group = ItemGroup::new("default");
        group.summed.insert(1, SummedCalls { position, session: 0, run: 0, flags, start, end, detail });
        group
    };
    let mut group = ItemGroup::new("default");
    for flags in [0, flag::COVERED, flag::COVERED] {
        group.merge(failed(flags));
    }
    let mut sums: Vec<_> =
        group.summed.values().map(|sums| (sums.flags & flag::COVERED, sums.model.atto_usd)).collect();
    sums.sort_unstable();
    assert_eq!(sums, [(0, 5), (flag::COVERED, 10)]);
}
