//! What runs tell beyond calls and cost: limits, retries, fallbacks, denials, loops, users, incidents, outcomes, measures.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::support::*;
use crate::processors::runs::{Config, Runs, Settings, seen};
use crate::pseudonym::PREFIX;
use crate::runs::{Board, BudgetState, Outcome, RunState, RunView, StepKind, Verdict};
use crate::telemetry::Meter;
use crate::testing::request;

const T0: u64 = 1_795_166_000;

fn span(name: &str, at: u64, attributes: Json) -> Json {
    json!({"name": name, "trace": 1, "span": at + 1, "parent": 1, "start": T0 + at, "end": T0 + at + 1, "attributes": attributes})
}

fn chat(at: u64, model: &str, more: Json) -> Json {
    let mut attributes =
        json!({"gen_ai.provider.name": "openai", "gen_ai.operation.name": "chat", "gen_ai.request.model": model});
    merge(&mut attributes, &more);
    span("chat", at, attributes)
}

fn answered(at: u64, model: &str, input: u64) -> Json {
    chat(at, model, json!({"gen_ai.usage.input_tokens": input, "gen_ai.usage.output_tokens": 1}))
}

fn failed(at: u64, model: &str, status: u64) -> Json {
    let mut item = chat(at, model, json!({"error.type": "api_error", "http.response.status_code": status}));
    item["status"] = json!("error");
    item
}

fn tool(at: u64, name: &str, args: &str, more: Json) -> Json {
    let mut attributes = json!({"gen_ai.provider.name": "openai", "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name, "gen_ai.tool.call.arguments": args});
    merge(&mut attributes, &more);
    span("execute_tool", at, attributes)
}

fn merge(into: &mut Json, more: &Json) {
    for (key, value) in more.as_object().unwrap() {
        into[key] = value.clone();
    }
}

fn root(attributes: Json) -> Json {
    let mut all = json!({"gen_ai.provider.name": "openai", "gen_ai.operation.name": "invoke_agent"});
    merge(&mut all, &attributes);
    json!({"name": "invoke_agent a", "trace": 1, "span": 1, "start": T0, "end": T0 + 500, "attributes": all})
}

/// The one run of these items, the same forwards and backwards.
fn run(items: &[Json]) -> RunView {
    let play = |items: &[&Json]| {
        let line = Line::new(runs());
        items.iter().for_each(|item| drop(line.play(request::payload(&json!({"items": [item]})))));
        let views = line.views();
        assert_eq!(views.len(), 1);
        views.into_iter().next().unwrap()
    };
    let there = play(&items.iter().collect::<Vec<_>>());
    let back = play(&items.iter().rev().collect::<Vec<_>>());
    assert!(there == back, "{}\n{}", show(&there), show(&back));
    there
}

/// A run that a limit ended says so, whoever tells: a stop reason, a type of error, the exception of a graph.
#[test]
fn killed_by_a_limit() {
    let stopped = run(&[answered(1, "m", 1), root(json!({"agent.stop_reason": "max_turns"}))]);
    assert_eq!((stopped.state, stopped.failed), (RunState::Killed, true));
    let mut graph = root(json!({"error.type": "langgraph.errors.GraphRecursionError"}));
    graph["status"] = json!("error");
    let view = run(&[answered(1, "m", 1), graph]);
    assert_eq!(view.state, RunState::Killed);
    assert_eq!(view.totals.errors["langgraph.errors.GraphRecursionError"], 1);
    let plain = run(&[answered(1, "m", 1), root(json!({}))]);
    assert_eq!(plain.state, RunState::Ended);
}

/// A failed call made again with its model is a retry; with another model it is a fallback with its reason.
#[test]
fn retries_and_fallbacks() {
    let view = run(&[failed(1, "big", 429), failed(3, "big", 529), answered(5, "small", 10), root(json!({}))]);
    assert_eq!((view.totals.retries, view.totals.failed_calls), (1, 2));
    let told: Vec<_> = view
        .totals
        .fallbacks
        .iter()
        .map(|(one, count)| (&*one.reason, &*one.provider, &*one.from, &*one.to, *count))
        .collect();
    assert_eq!(told, [("overloaded_529", "openai", "big", "small", 1)]);
    let troubles: Vec<_> = view.totals.troubles.iter().map(|(one, count)| (&*one.reason, *count)).collect();
    assert_eq!(troubles, [("overloaded_529", 1), ("rate_limited_429", 1)]);
    let mut refused = answered(1, "big", 10);
    refused["attributes"]["gen_ai.response.finish_reasons"] = json!(["refusal"]);
    let view = run(&[refused, answered(3, "small", 10), root(json!({}))]);
    assert_eq!(view.totals.fallbacks.keys().next().map(|one| &*one.reason), Some("refusal"));
    assert_eq!(view.totals.retries, 0);
    let view = run(&[failed(1, "big", 400), answered(3, "other", 1), root(json!({}))]);
    assert_eq!(view.totals.fallbacks.keys().next().map(|one| &*one.reason), Some("other"));
    let view = run(&[answered(1, "big", 1), answered(3, "small", 1), root(json!({}))]);
    assert!(view.totals.fallbacks.is_empty(), "two models are no fallback");
}

/// `length`, `max_tokens` and `MAX_TOKENS` are one reason.
#[test]
fn finish_reasons_are_one() {
    let mut items: Vec<Json> = ["length", "max_tokens", "MAX_TOKENS", "end_turn", "STOP"]
        .iter()
        .zip([1, 3, 5, 7, 9])
        .map(|(reason, at)| {
            let mut item = answered(at, "m", 1);
            item["attributes"]["gen_ai.response.finish_reasons"] = json!([reason]);
            item
        })
        .collect();
    items.push(root(json!({})));
    let finish = run(&items).totals.finish;
    assert_eq!((finish["length"], finish["stop"], finish.len()), (3, 2, 2));
}

/// Equal calls in a row are told by their arguments, in any order of keys; others, and calls without arguments, are not.
#[test]
fn equal_calls_in_a_row() {
    let none = || json!({});
    let items = [
        tool(1, "grep", r#"{"path": "a", "q": 1}"#, none()),
        tool(3, "grep", r#"{"q":1,"path":"a"}"#, none()),
        tool(5, "grep", r#"{"q": 1.0, "path": "a"}"#, none()),
        tool(7, "grep", r#"{"q": 2, "path": "a"}"#, none()),
        tool(9, "read_file", r#"{"q": 2, "path": "a"}"#, none()),
        tool(11, "mcp__db__update", "x", none()),
        root(none()),
    ];
    let view = run(&items);
    let row = view.peaks.row.unwrap();
    assert_eq!((&*row.tool, row.count), ("grep", 3));
    let window = view.peaks.window.unwrap();
    assert_eq!((&*window.tool, window.count), ("grep", 4));
    assert_eq!((view.totals.reads, view.totals.writes), (5, 1));
    let mut silent: Vec<Json> = (0..4).map(|n| tool(1 + 2 * n, "grep", "", none())).collect();
    silent.push(root(none()));
    assert!(run(&silent).peaks.row.is_none());
}

/// What stays of arguments is keyed: the same call of two accounts, or under two keys, has two digests.
#[test]
fn digests_of_arguments_are_keyed() {
    let digest = |line: &Line, account: &str| {
        let mut batch = batch(request::payload(&json!({"items": [tool(1, "grep", r#"{"q": 1}"#, json!({}))]})));
        let mut origin = (*batch.origin).clone();
        origin.account = account.into();
        batch.origin = origin.into();
        crate::pipeline::Processor::process(&line.runs, &mut batch).unwrap();
        let sight = seen::Sight::decode(&batch.effects[0].body).unwrap();
        sight.items[0].tool.as_ref().unwrap().args
    };
    let line = Line::new(runs());
    assert_eq!(digest(&line, "a"), digest(&line, "a"));
    assert_ne!(digest(&line, "a"), digest(&line, "b"));
    let other = Line::new(runs_keyed("another"));
    assert_ne!(digest(&line, "a"), digest(&other, "a"));
}

/// Calls of one tool in a window of time: those outside it do not add up.
#[test]
fn a_tool_in_a_window() {
    let at = |n: u64| {
        let mut item = tool(1 + n, "search", "", json!({}));
        item["start"] = json!(T0 + n * 200);
        item["end"] = json!(T0 + n * 200 + 1);
        item
    };
    let mut items: Vec<Json> = (0..10).map(at).collect();
    items.push(root(json!({})));
    let window = run(&items).peaks.window.unwrap();
    assert_eq!(window.count, 3, "of ten calls 200 s apart three fit into 10 minutes");
}

/// A tool called again after it failed is a retry; the slowest and the dearest step, and the context, are told.
#[test]
fn steps_that_stand_out() {
    let mut failing = tool(1, "build", "", json!({}));
    failing["status"] = json!("error");
    let mut slow = tool(10, "build", "", json!({}));
    slow["end"] = json!(T0 + 60);
    let view =
        run(&[failing, slow, answered(3, "m", 100), answered(5, "m", 900), answered(7, "m", 400), root(json!({}))]);
    assert_eq!((view.totals.tools["build"].retries, view.totals.tools["build"].failed), (1, 1));
    let slowest = view.peaks.slowest.as_ref().unwrap();
    assert_eq!((slowest.kind, &*slowest.name, slowest.duration), (StepKind::Tool, "build", 50_000_000_000));
    assert_eq!(slowest.span, 0x11_u64.to_be_bytes(), "the span is known again");
    assert_eq!(view.peaks.context, [100, 400, 900]);
    assert!((view.peaks.context_growth() - 4.0).abs() < 1e-9);
    assert_eq!(view.root, 1_u64.to_be_bytes());
    assert_eq!(view.trace, format!("{:032}", 1));
}

/// An answer by another model than was asked for is told; a date behind the name is no other model.
#[test]
fn changed_models() {
    let ask = |at: u64, asked: &str, got: &str| {
        let mut item = answered(at, asked, 1);
        item["attributes"]["gen_ai.response.model"] = json!(got);
        item
    };
    let view = run(&[ask(1, "gpt-5-mini", "gpt-5-mini-2025-08-07"), ask(3, "opus", "haiku"), root(json!({}))]);
    assert_eq!(view.totals.swapped, 1);
}

/// Users are pseudonyms everywhere; incident, template, commit and issue are the run's own.
#[test]
fn whose_run_it_is() {
    let mut items = vec![
        answered(1, "m", 1),
        root(json!({"user.id": "jane@example.com", "incident.id": "INC-7", "prompt.template": "triage-v2",
            "build.commit_sha": "abc123", "work_tracker.issue_id": "OPS-9", "session.id": "s"})),
    ];
    let view = run(&items);
    assert!(view.user.as_deref().is_some_and(|user| user.starts_with(PREFIX)));
    let told = [&view.incident, &view.template, &view.commit, &view.issue].map(|text| text.as_deref().unwrap_or(""));
    assert_eq!(told, ["INC-7", "triage-v2", "abc123", "OPS-9"]);
    // another run of the session belongs to no incident
    items.push(json!({"name": "invoke_agent b", "trace": 2, "span": 1, "start": T0, "end": T0 + 5,
        "attributes": {"gen_ai.provider.name": "openai", "gen_ai.operation.name": "invoke_agent", "session.id": "s"}}));
    let line = Line::new(runs());
    line.play(request::payload(&json!({"items": items})));
    let incidents: Vec<_> = line.views().into_iter().map(|view| view.incident).collect();
    assert_eq!(incidents.iter().filter(|incident| incident.is_some()).count(), 1);
}

fn with(change: impl FnOnce(&mut Config)) -> Settings {
    let mut config = Config::default();
    change(&mut config);
    config.settings().unwrap_or_else(|_| panic!("valid"))
}

/// The feature comes from where the user says, in his order, on the item, else on its resource.
#[test]
fn where_features_stand() {
    let settings = with(|config| config.feature_from = vec!["team".into(), "feature".into()]);
    let line = Line::new(runs_with(settings, &Meter::new()));
    line.play(request::payload(
        &json!({"resource": {"team": "search"}, "items": [answered(1, "m", 1), root(json!({"feature": "triage"}))]}),
    ));
    assert_eq!(line.views()[0].feature.as_deref(), Some("triage"), "the item's own comes first");
    line.play(request::payload(&json!({"resource": {"team": "search"}, "items": [
        {"name": "invoke_agent b", "trace": 2, "span": 1, "start": T0, "end": T0 + 5,
         "attributes": {"gen_ai.provider.name": "openai", "gen_ai.operation.name": "invoke_agent"}}, {"name": "chat", "trace": 2, "span": 3, "parent": 1,
         "start": T0, "end": T0 + 1, "attributes": {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
         "gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 1}}]})));
    let features: Vec<_> = line.views().into_iter().map(|view| view.feature).collect();
    assert!(features.contains(&Some("search".to_owned())), "{features:?}");
}

/// A budget warns at 80 % and says stop at 100 %; a feature may have its own.
#[test]
fn budgets() {
    let settings = with(|config| {
        config.iteration_ceiling = 5;
        config.iteration_ceilings.insert("wide".into(), 100);
    });
    let line = Line::new(runs_with(settings, &Meter::new()));
    let id = format!("{:032}", 1);
    let mut states = Vec::new();
    for n in 0..6 {
        line.play(request::payload(&json!({"items": [answered(1 + 2 * n, "m", 1)]})));
        states.push(line.runs.budget("default", &id).unwrap().state);
    }
    use BudgetState::{Exceeded, Ok, Warned};
    assert_eq!(states, [Ok, Ok, Ok, Warned, Exceeded, Exceeded]);
    line.play(request::payload(&json!({"items": [root(json!({"feature": "wide"}))]})));
    let budget = line.runs.budget("default", &id).unwrap();
    assert_eq!((budget.state, budget.ceiling), (Ok, 100));
    assert!(line.runs.budget("default", "nobody").is_none());
}

fn judge(line: &Line, run: &str, outcome: Outcome) {
    let effect = line.runs.judged("default", run, outcome, NOW).unwrap();
    line.apply(&effect);
}

/// Outcomes over the API and over OTLP reach the run and its investigation; an override counts once.
#[test]
fn outcomes_and_investigations() {
    let meter = Meter::new();
    let line = Line::new(runs_with(settings(), &meter));
    line.runs.tick_now(NOW);
    let of = |trace: u64, tools: u64, incident: &str| -> Vec<Json> {
        let mut items: Vec<Json> = (0..tools).map(|n| tool(10 + n, "grep", "", json!({}))).collect();
        items.push(root(json!({"incident.id": incident, "agent.type": "sre"})));
        items.iter_mut().for_each(|item| item["trace"] = json!(trace));
        items
    };
    line.play(request::payload(&json!({"items": of(1, 10, "INC-1")})));
    line.play(request::payload(&json!({"items": of(2, 25, "INC-1")})));
    line.play(request::payload(&json!({"items": of(3, 4, "INC-2")})));
    let now = wait(&line.runs, NOW, Duration::from_secs(120));
    let sre = |line: &Line| line.runs.investigations().remove("sre").unwrap();
    assert_eq!((sre(&line).count, sre(&line).judged), (2, 0));
    assert!((sre(&line).tool_calls_p95 - 35.0).abs() < 1e-9);
    let run = |n: u64| format!("{n:032}");
    let overridden = Outcome { verdict: Verdict::Overridden, confidence: Some(0.85), resolved_in: Some(600.0) };
    judge(&line, &run(1), overridden);
    judge(&line, &run(2), overridden);
    // over OTLP, as an attribute and as an evaluation
    line.play(request::payload(&json!({"signal": "logs", "items": [{"event_name": "gen_ai.evaluation.result", "trace": 3, "span": 1,
        "attributes": {"gen_ai.evaluation.name": "outcome", "gen_ai.evaluation.score.label": "confirmed",
            "gen_ai.evaluation.score.value": 0.9, "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}}]})));
    let known = sre(&line);
    assert_eq!((known.judged, known.overridden), (2, 1));
    assert_eq!(known.resolution[8], (1, 600.0));
    let text = meter.render();
    for line in [
        "agent_investigations_total{agent_type=\"sre\"} 2",
        "agent_human_override_count{agent_type=\"sre\"} 1",
        "agent_tool_calls_per_investigation_p95{agent_type=\"sre\"} 35",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let view = line.views().into_iter().find(|view| view.run == run(3)).unwrap();
    assert!(view.judged.outcome.is_some_and(|outcome| outcome.verdict == Verdict::Confirmed));
    assert_eq!(view.judged.scores.len(), 1);
    // and stays when the run is but remembered
    wait(&line.runs, now, Duration::from_secs(40 * 60));
    let view = line.runs.run(&run(1)).unwrap().view;
    assert!(view.judged.outcome.is_some_and(|outcome| outcome.verdict == Verdict::Overridden));
    assert!(line.runs.judged("default", "nobody", overridden, NOW).is_none());
    assert!(line.runs.judged("another", &run(1), overridden, NOW).is_none(), "it is not that account's run");
    assert_eq!(line.runs.accounts(&run(1)), ["default"]);
}

/// Measures of any span add up by service, tenant and commit; a span counts once, absurd numbers never.
#[test]
fn measures_add_up() {
    let meter = Meter::new();
    let line = Line::new(runs_with(settings(), &meter));
    line.runs.tick_now(NOW);
    let query = |at: u64, cost: Json, tenant: &str| {
        json!({"name": "SELECT", "trace": 7, "span": at, "start": T0, "end": T0 + 1,
            "attributes": {"athena.query_cost": cost, "tenant.id": tenant}})
    };
    let mut items: Vec<Json> = (1..=100).map(|n| query(n, json!(n), "acme")).collect();
    items.push(query(200, json!(-1), "acme"));
    items.push(query(201, json!(1e300), "acme"));
    items.push(query(202, json!("much"), "acme"));
    items.push(query(203, json!(0.5), "globex"));
    let payload = json!({"resource": {"service.name": "billing", "build.commit_sha": "abc"}, "items": items});
    line.play(request::payload(&payload));
    line.play(request::payload(&payload));
    let all = line.runs.measures();
    assert_eq!(all.len(), 2);
    let acme = &all[0];
    assert_eq!((&*acme.service, &*acme.tenant, &*acme.commit, acme.count), ("billing", "acme", "abc", 100));
    assert!((acme.sum - 5050.0).abs() < 1e-6 && (acme.p95 / 95.0 - 1.0).abs() < 0.011, "{} {}", acme.sum, acme.p95);
    assert!(line.views().is_empty(), "a query is no run");
    let text = meter.render();
    assert!(text.contains("tollgate_measures_refused_total 4"), "{text}");
    assert!(
        text.contains(
            "agent_measure_sum{measure=\"athena.query_cost\",service=\"billing\",tenant=\"acme\",commit=\"abc\"} 5050"
        ),
        "{text}"
    );
}

/// Tool calls count as they come, once each, whatever records tell of them, and not again when they are read back.
#[test]
fn tools_count_at_once() {
    let meter = Meter::new();
    let line = Line::new(runs_with(settings(), &meter));
    let with_id = |at: u64| tool(at, "grep", "", json!({"gen_ai.tool.call.id": "c1"}));
    line.play(request::payload(&json!({"items": [with_id(1)]})));
    assert!(!meter.render().contains("agent_tool_calls_total{"), "before the first tick effects are old ones");
    line.runs.tick_now(NOW);
    let mut bad = with_id(3);
    bad["status"] = json!("error");
    line.play(request::payload(&json!({"items": [with_id(3), bad, tool(5, "grep", "", json!({}))]})));
    let text = meter.render();
    assert!(text.contains("agent_tool_calls_total{tool_name=\"grep\"} 1"), "{text}");
    assert!(text.contains("agent_tool_failures_total{tool_name=\"grep\"} 1"), "{text}");
}

/// A place in a trace gives its span back.
#[test]
fn places_are_spans() {
    for n in 0..1000_u64 {
        let (trace, span) = ((u128::from(n) * 77 + 1).to_be_bytes(), (n * 31 + 1).to_be_bytes());
        assert_eq!(seen::span_at(trace, seen::place(trace, span)), span);
    }
}

/// Who asks is added up by pseudonym, the dearest thousand apart.
#[test]
fn users_and_sessions_are_capped() {
    let line = Line::new(runs());
    let mut items = Vec::new();
    for n in 0..1100_u64 {
        let mut one = answered(1, "m", 1);
        one["trace"] = json!(n + 1);
        one["attributes"]["user.id"] = json!(format!("user-{n}"));
        one["attributes"]["session.id"] = json!(format!("session-{n}"));
        items.push(one);
    }
    line.play(request::payload(&json!({"items": items})));
    wait(&line.runs, NOW, Duration::from_secs(40 * 60));
    let sums = line.runs.sums();
    assert_eq!(sums.all.runs, 1100);
    assert!(sums.by_user.len() <= 1001 && sums.by_session.len() <= 1001, "{}", sums.by_user.len());
    assert!(sums.by_user.keys().all(|user| user.starts_with(PREFIX) || user == "other"));
    assert_eq!(sums.by_user.values().map(|sum| sum.runs).sum::<u64>(), 1100);
}

fn runs_keyed(key: &str) -> Runs {
    use crate::pseudonym::{PlainIds, Pseudonymizer};
    let ids = PlainIds(Pseudonymizer::new(&crate::secret::Secret::new(key.into())));
    Runs::new("runs".into(), settings(), vocabulary(), std::sync::Arc::new(ids), &Meter::new())
}

/// The span of a model that stands in for another says why and for which, also where the failed call came in an earlier request;
/// no other span says so.
#[test]
fn fallbacks_are_stamped() {
    let line = Line::new(runs());
    let words = |batch: &crate::pipeline::Batch| -> Vec<Vec<String>> {
        let of = |node| {
            let names = ["reason", "from", "to"].map(|name| format!("tollgate.fallback.{name}"));
            names.iter().filter_map(|name| batch.payload.get_str(node, name).map(str::to_owned)).collect()
        };
        batch.payload.items().map(of).collect()
    };
    let none: Vec<Vec<String>> = vec![Vec::new()];
    assert_eq!(words(&line.play(request::payload(&json!({"items": [failed(1, "big", 529)]})))), none);
    let batch = line.play(request::payload(&json!({"items": [answered(3, "small", 10)]})));
    assert_eq!(words(&batch), [["overloaded_529", "big", "small"]]);
    assert_eq!(words(&line.play(request::payload(&json!({"items": [answered(5, "small", 10)]})))), none);
    let both = line.play(request::payload(&json!({"items": [failed(7, "small", 429), answered(9, "other", 1)]})));
    assert_eq!(words(&both), [vec![], ["rate_limited_429", "small", "other"].map(str::to_owned).to_vec()]);
}

/// Nobody who commits waits while runs are put together, redacted or looked through for somebody who asks.
#[test]
fn who_asks_holds_no_lock() {
    use std::borrow::Cow;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, OnceLock, Weak};

    /// Counts names that were redacted, and those of them while the state was locked.
    #[derive(Default)]
    struct Prying {
        runs: OnceLock<Weak<Runs>>,
        asked: AtomicU64,
        locked: AtomicU64,
    }
    impl Prying {
        fn pry(&self) {
            if let Some(runs) = self.runs.get().and_then(Weak::upgrade) {
                self.asked.fetch_add(1, Ordering::Relaxed);
                self.locked.fetch_add(u64::from(runs.state.try_lock().is_none()), Ordering::Relaxed);
            }
        }
    }
    impl crate::pseudonym::IdPolicy for Prying {
        fn shown<'a>(&self, _: &str, id: &'a str) -> Cow<'a, str> {
            self.pry();
            id.into()
        }
        fn column<'a>(&self, _: &str, text: &'a str) -> Cow<'a, str> {
            self.pry();
            text.into()
        }
        fn pseudonym(&self, _: &str, id: &str) -> String {
            format!("h-{id}")
        }
    }
    let prying = Arc::new(Prying::default());
    let runs = Runs::new("runs".into(), settings(), vocabulary(), Arc::clone(&prying) as _, &Meter::new());
    let line = Line::new(runs);
    line.play(request::payload(&json!({"items": [answered(1, "m", 1), root(json!({}))]})));
    let runs = Arc::new(line.runs);
    prying.runs.set(Arc::downgrade(&runs)).unwrap();
    let id = runs.recent(10)[0].run.clone();
    assert!(runs.run(&id).is_some() && runs.budget("default", &id).is_some() && runs.run("nobody").is_none());
    assert!(prying.asked.load(Ordering::Relaxed) > 3);
    assert_eq!(prying.locked.load(Ordering::Relaxed), 0);
}

/// Values that are no measures (negative, not finite, beyond all sense) are counted as refused and are in no sum.
#[test]
fn absurd_measures_are_refused() {
    let meter = Meter::new();
    let line = Line::new(runs_with(settings(), &meter));
    let items: Vec<Json> = [json!(5), json!(-1), json!(1e300), json!(i64::MAX), json!("12"), json!(2.5)]
        .into_iter()
        .zip(1..)
        .map(|(value, at)| span("query", at * 2, json!({"s3.bytes_scanned": value})))
        .collect();
    line.play(request::payload(&json!({"items": items})));
    let measures = line.runs.measures();
    assert_eq!((measures.len(), measures[0].sum, measures[0].count), (1, 7.5, 2));
    assert!(meter.render().contains("tollgate_measures_refused_total 3"), "{}", meter.render());
}

/// A span that ends before it begins lasts no time, and its run does not last less than its other spans.
#[test]
fn ends_before_begins() {
    let mut odd = answered(20, "m", 5);
    odd["end"] = json!(T0 + 1);
    let view = run(&[odd, answered(3, "m", 10), root(json!({}))]);
    assert_eq!(view.totals.calls(), 2);
    assert!(view.start <= view.last && view.duration < 3_600_000_000_000, "{}", show(&view));
    assert!(view.peaks.slowest.is_some_and(|step| step.duration <= 1_000_000_000));
}
