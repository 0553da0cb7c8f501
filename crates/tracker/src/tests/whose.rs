//! Attribution and outcomes of runs: users, features, incidents, budgets, outcomes, investigations, measures, sums.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::extras::{answered, root, run, tool};
use super::support::*;
use crate::outbox::{Outbox, OutboxEvent};
use crate::{Config, Settings};
use genai::testing::request;
use kernel::pseudonym::PREFIX;
use runs::{BudgetState, OutcomeVerdict, RunOutcome};
use telemetry::Meter;

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

/// A live run whose root has not arrived has the feature that its own calls name, not that of an alphabetically
/// earlier sub-agent; once the root arrives, the root's. Regression test: pages, alerts and sums named the sub-agent.
#[test]
fn a_live_run_is_not_its_sub_agents() {
    let call = |id: u64, parent: u64, agent: &str| {
        let more = merged(usage("m", 1, 1), &json!({"gen_ai.agent.name": agent}));
        span("chat", [1, id, parent], [id, id + 1], &more)
    };
    let agent = |id: u64, parent: u64, name: &str, times: [u64; 2]| {
        span("invoke_agent", [1, id, parent], times, &json!({"gen_ai.agent.name": name}))
    };
    let items = [
        call(10, 1, "incident-triage"),
        call(11, 3, "analyst"),
        agent(3, 1, "analyst", [11, 12]),
        call(12, 1, "incident-triage"),
        call(13, 4, "writer"),
        agent(4, 1, "writer", [13, 14]),
    ];
    let whose = |items: &[Json]| {
        let line = Line::new(runs());
        items.iter().for_each(|item| drop(line.play(request::payload(&json!({"items": [item]})))));
        let views = line.views();
        assert_eq!((views.len(), views[0].totals.iterations, views[0].totals.sub_agents), (1, 2, 2));
        views[0].feature.clone()
    };
    assert_eq!(whose(&items).as_deref(), Some("incident-triage"));
    let mut reversed = items.to_vec();
    reversed.reverse();
    assert_eq!(whose(&reversed).as_deref(), Some("incident-triage"));
    let root = agent(1, 0, "oncall", [5, 20]);
    let line = Line::new(runs());
    line.play(request::payload(&json!({"items": items})));
    line.play(request::payload(&json!({"items": [root]})));
    assert_eq!(line.views()[0].feature.as_deref(), Some("oncall"));
}

/// The feature comes from the configured attributes, in their order, on the item or else on its resource.
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

/// A budget warns at 80 % and is exceeded at 100 %; a feature may have its own.
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

fn judge(line: &Line, run: &str, outcome: RunOutcome) {
    let effect = line.runs.reported_outcome("default", run, outcome).unwrap();
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
    let overridden =
        RunOutcome { verdict: OutcomeVerdict::Overridden, confidence: Some(0.85), resolution_seconds: Some(600.0) };
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
    assert!(view.judgement.outcome.is_some_and(|outcome| outcome.verdict == OutcomeVerdict::Confirmed));
    assert_eq!(view.judgement.scores.len(), 1);
    // and is kept when the run is only in the history
    wait(&line.runs, now, Duration::from_secs(40 * 60));
    let view = line.runs.find_run_of_account("default", &run(1)).unwrap().view;
    assert!(view.judgement.outcome.is_some_and(|outcome| outcome.verdict == OutcomeVerdict::Overridden));
    assert!(line.runs.reported_outcome("default", "nobody", overridden).is_none());
    assert!(line.runs.reported_outcome("another", &run(1), overridden).is_none(), "it is not that account's run");
    assert_eq!(line.runs.accounts_with_run(&run(1)), ["default"]);
}

/// Measures of any span are summed by service, tenant and commit; a span counts once, implausible numbers never.
#[test]
fn measures_add_up() {
    let meter = Meter::new();
    let config = crate::Config { measures: vec!["athena.query_cost".into()], ..Default::default() };
    let line = Line::new(runs_with(config.settings().unwrap_or_else(|_| panic!("valid")), &meter));
    line.runs.tick_now(NOW);
    let query = |at: u64, cost: Json, tenant: &str| {
        json!({"name": "SELECT", "trace": 7, "span": at, "start": T0, "end": T0 + 1,
            "attributes": {"athena.query_cost": cost, "tenant.id": tenant}})
    };
    let mut items: Vec<Json> = (1..=100).map(|n| query(n, json!(n), "acme")).collect();
    items.push(query(200, json!(-1), "acme"));
    items.push(query(201, json!(1e300), "acme"));
    items.push(query(202, json!("much"), "acme"));
    items.push(query(204, json!(i64::MAX), "acme"));
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
    assert!(text.contains("tollgate_measures_refused_total 6"), "{text}");
    assert!(
        text.contains(
            "agent_measure_sum{measure=\"athena.query_cost\",service=\"billing\",tenant=\"acme\",commit=\"abc\"} 5050"
        ),
        "{text}"
    );
}

/// Users are summed by pseudonym; only the most expensive thousand have sums of their own.
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

/// Equal tenant names of two accounts have separate sums, and one account's figures of investigations reveal nothing
/// about another's.
#[test]
fn accounts_are_added_up_apart() {
    let line = Line::new(runs());
    line.runs.tick_now(NOW);
    line.runs.state.lock().outbox.register_signals(&[otlp::Signal::Metrics]);
    for (account, calls) in [("ours", 4), ("theirs", 40)] {
        let mut items: Vec<Json> = (0..calls).map(|n| tool(10 + n, "grep", "", json!({}))).collect();
        items.push(root(json!({"tenant.id": "acme", "incident.id": "INC-1", "agent.type": "sre"})));
        line.play_as(account, &items);
    }
    wait(&line.runs, NOW, Duration::from_secs(120));
    let sums = line.runs.sums();
    assert_eq!((sums.all.runs, sums.by_tenant["acme"].tool_calls), (2, 44));
    let of = |account: &str| sums.by_account[account].by_tenant["acme"].tool_calls;
    assert_eq!((of("ours"), of("theirs")), (4, 40));
    let told: Vec<(String, f64)> = (line.runs.state.lock().outbox.entries.iter().map(|(_, entry)| &entry.event))
        .filter_map(|news| match news {
            OutboxEvent::ToolCallsP95(account, _, calls) => Some((account.clone(), *calls)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [("ours".to_owned(), 4.0), ("theirs".to_owned(), 40.0)]);
    let again = runs();
    pipeline::Processor::restore(&*again, &pipeline::Processor::checkpoint(&*line.runs).unwrap());
    again.tick_now(NOW);
    assert_eq!(again.sums().by_account["theirs"].all.tool_calls, 40, "after a restart");
}

/// An account with thousands of names, runs or news displaces neither names, nor live runs, nor news of another.
#[test]
fn one_account_takes_nothing_from_another() {
    let settings = with(|config| config.max_runs = 100);
    let line = Line::new(runs_with(settings, &Meter::new()));
    line.runs.tick_now(NOW);
    let one = |trace: u64, name: &str| {
        let mut items = vec![answered(1, "m", 1), root(json!({"tenant.id": name, "session.id": name}))];
        items.iter_mut().for_each(|item| item["trace"] = json!(trace));
        items
    };
    (0..10).for_each(|n| line.play_as("few", &one(1 + n, &format!("few-{n}"))));
    (0..1500).for_each(|n| line.play_as("many", &one(100 + n, &format!("many-{n}"))));
    let live = line.runs.recent_runs(usize::MAX).into_iter().filter(|view| view.account == "few").count();
    assert_eq!((live, line.runs.state.lock().store.len()), (10, 100), "its runs are live");
    wait(&line.runs, NOW, Duration::from_secs(40 * 60));
    let sums = line.runs.sums();
    let tenants = |account: &str| sums.by_account[account].by_tenant.len();
    assert_eq!((tenants("few"), sums.by_account["few"].by_session.len()), (10, 10));
    assert_eq!(tenants("many"), 191, "200 names of all, and what is left");
    assert_eq!(sums.by_account["many"].by_tenant.values().map(|sum| sum.runs).sum::<u64>(), 1500);
    assert_eq!(sums.all.runs, 1510);
}

/// Pending news for connectors: the account with the most loses its oldest first.
#[test]
fn one_account_does_not_crowd_out_anothers_news() {
    let mut outbox = Outbox::default();
    outbox.register_signals(&[otlp::Signal::Metrics]);
    let news = |account: &str, n: u64| OutboxEvent::Investigation(account.into(), "sre".into(), format!("INC-{n}"));
    (0..10).for_each(|n| assert_eq!(outbox.push_events(vec![news("few", n)]), 0));
    let dropped: u64 = (0..25_000).map(|n| outbox.push_events(vec![news("many", n)])).sum();
    assert_eq!((dropped, outbox.entries.len()), (5010, 20_000));
    assert_eq!(waiting_news(&outbox).filter(|news| news.account() == "few").count(), 10);
}

/// Waiting news, oldest first.
fn waiting_news(outbox: &Outbox) -> impl Iterator<Item = &OutboxEvent> {
    outbox.entries.iter().map(|(_, entry)| &entry.event)
}

/// Only the latest value of a gauge is kept, also if several arrive at once.
#[test]
fn the_latest_figure_is_told() {
    let mut outbox = Outbox::default();
    outbox.register_signals(&[otlp::Signal::Metrics]);
    let calls = |kind: &str, value: f64| OutboxEvent::ToolCallsP95("a".into(), kind.into(), value);
    assert_eq!(outbox.push_events(vec![calls("sre", 1.0), calls("sre", 2.0), calls("dev", 7.0)]), 0);
    assert_eq!(outbox.push_events(vec![calls("sre", 3.0)]), 0);
    let told =
        waiting_news(&outbox).map(|news| if let OutboxEvent::ToolCallsP95(.., value) = news { *value } else { 0.0 });
    assert_eq!(told.collect::<Vec<_>>(), [7.0, 3.0]);
}

/// A fallback carries tenant and prompt template, on `/metrics` and over OTLP.
#[test]
fn fallbacks_name_tenant_and_template() {
    let meter = Meter::new();
    let line = Line::new(runs_with(settings(), &meter));
    line.runs.tick_now(NOW);
    pipeline::RequestSource::enable_signals(&*line.runs, &[otlp::Signal::Metrics]);
    let mut refused = answered(1, "big", 1);
    refused["attributes"]["gen_ai.response.finish_reasons"] = json!(["refusal"]);
    let whose = json!({"tenant.id": "acme", "prompt.template": "triage-v2"});
    line.play(request::payload(&json!({"items": [refused, answered(3, "small", 10), root(whose)]})));
    let now = wait(&line.runs, NOW, Duration::from_secs(120));
    let series =
        "agent_fallback_total{reason=\"refusal\",provider=\"openai\",tenant=\"acme\",template=\"triage-v2\"} 1";
    assert!(meter.render().contains(series), "{}", meter.render());
    let portion = pipeline::RequestSource::next_request(&*line.runs, otlp::Signal::Metrics, now).unwrap();
    let text = String::from_utf8_lossy(&portion.wire).into_owned();
    let point = text.split("agent.fallbacks").nth(1).unwrap();
    for word in ["refusal", "openai", "acme", "triage-v2"] {
        assert!(point.contains(word), "{word}: {point}");
    }
}
