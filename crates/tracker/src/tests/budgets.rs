//! Budgets add up what the stamps say, are the same after a restart, and answer for the right run, session and account.

use std::sync::Arc;

use ::budgets::{Answer, BudgetDesk, BudgetRecord, Measure, Names, Question, RecordKind, Scope, Verdict};
use serde_json::{Value as Json, json};

use super::support::*;
use crate::{Config, RunTracker};
use genai::testing::request;
use kernel::clock::UnixNanos;
use otlp::{Payload, Signal};
use pipeline::{Processor, Trust};
use telemetry::Meter;

const HOUR: u64 = 3_600_000_000_000;

fn tracker(budgets: &Json, meter: &Meter) -> Arc<RunTracker> {
    let config = Config { budgets: serde_json::from_value(budgets.clone()).unwrap(), ..Config::default() };
    let settings = config.settings().unwrap_or_else(|problems| panic!("{problems:?}"));
    let tracker = runs_with(settings, meter);
    tracker.tick(NOW);
    tracker
}

/// A call of $0.0035 in a session of a user.
fn call(at: u64, session: &str, more: &Json) -> Json {
    let known = json!({"gen_ai.response.id": format!("id-{at}"), "gen_ai.conversation.id": session, "user.id": "ada",
        "tenant.id": "acme", "feature": "triage"});
    span("chat", [7, at, 1], [10, 20], &merged(merged(usage("gpt-4o", 1000, 100), &known), more))
}

fn ask(tracker: &RunTracker, names: Names) -> Answer {
    tracker.answer(&Question { account: "default".into(), names, can_ask: true, ..Question::default() })
}

fn of_user(user: &str) -> Names {
    Names { user: Some(user.to_owned()), ..Names::default() }
}

fn of_session(session: &str) -> Names {
    Names { session: Some(session.to_owned()), ..Names::default() }
}

fn spent(answer: &Answer) -> Vec<String> {
    answer.budgets.iter().map(|used| format!("{} {}", used.budget, used.measure.decimal(used.spent))).collect()
}

fn play(line: &Line, items: &[Json]) {
    line.play_from(request::payload(&json!({ "items": items })), Trust::ThirdParty);
}

/// Must not regress: what a key has used is exact, also for repeats and corrections, and stops at the limit only.
#[test]
fn a_user_is_asked_at_the_limit_and_not_before() {
    let meter = Meter::new();
    let line = Line::priced(
        tracker(&json!({"dev": {"scope": "user", "period": "day", "amount": "0.01 USD", "action": "ask"}}), &meter),
        &meter,
        |_| {},
    );
    play(&line, &[call(2, "s", &json!({})), call(3, "s", &json!({}))]);
    play(&line, &[call(3, "s", &json!({}))]);
    let answer = ask(&line.runs, of_user("ada"));
    assert_eq!((answer.verdict, spent(&answer)), (Verdict::Allow, vec!["dev 0.007".to_owned()]));
    assert_eq!(ask(&line.runs, of_user("bob")).verdict, Verdict::Allow);
    play(&line, &[call(4, "s", &json!({}))]);
    let answer = ask(&line.runs, of_user("ada"));
    assert_eq!((answer.verdict, spent(&answer)), (Verdict::Ask, vec!["dev 0.0105".to_owned()]));
    assert!(answer.reason.starts_with("You have used $0.011 of $0.01 today (budget dev)."), "{}", answer.reason);
    assert_eq!(answer.records.len(), 1);
    // the session names its user
    assert_eq!(ask(&line.runs, of_session("s")).verdict, Verdict::Ask);
    // another account with the same names has used nothing
    let other = Question { account: "other".into(), names: of_user("ada"), ..Question::default() };
    assert_eq!(line.runs.answer(&other).verdict, Verdict::Allow);
    // who can't ask is stopped; work may be saved
    let question = Question { account: "default".into(), names: of_user("ada"), ..Question::default() };
    assert_eq!(line.runs.answer(&question).verdict, Verdict::Deny);
    let saved = line.runs.answer(&Question { saves_work: true, ..question });
    assert_eq!((saved.verdict, saved.records.len(), saved.notes.len()), (Verdict::Allow, 0, 1));
}

/// Must not regress: a run's and a session's budgets count that run and session, and a new run begins with nothing.
#[test]
fn runs_and_sessions_have_budgets_of_their_own() {
    let meter = Meter::new();
    let budgets = json!({
        "run": {"scope": "run", "amount": "0.004 USD", "iterations": 9, "action": "deny"},
        "session": {"scope": "session", "model_calls": 3, "action": "deny", "shadow": true},
    });
    let line = Line::priced(tracker(&budgets, &meter), &meter, |_| {});
    let agent = |trace: u64, end: u64| {
        span("invoke_agent", [trace, 1, 0], [5, end], &json!({"gen_ai.conversation.id": "s", "gen_ai.agent.name": "a"}))
    };
    play(&line, &[call(2, "s", &json!({})), call(3, "s", &json!({}))]);
    let answer = ask(&line.runs, of_session("s"));
    assert_eq!((answer.verdict, answer.records.len()), (Verdict::Deny, 1), "{answer:?}");
    assert!(answer.reason.starts_with("This run has used $0.007 of $0.004 (budget run)."), "{}", answer.reason);
    // by its trace alone
    let by_trace = Question { trace: Some(format!("{:032x}", 7)), account: "default".into(), ..Question::default() };
    assert_eq!(line.runs.answer(&by_trace).verdict, Verdict::Deny);
    play(&line, &[agent(7, 30)]);
    line.runs.tick(UnixNanos(NOW.0 + 200_000_000_000));
    let answer = ask(&line.runs, of_session("s"));
    assert_eq!(answer.verdict, Verdict::Allow, "the run is over; {answer:?}");
    let mut next = call(9, "s", &json!({"gen_ai.response.id": "other"}));
    next["trace"] = json!(8);
    play(&line, &[next]);
    let answer = ask(&line.runs, of_session("s"));
    assert_eq!((answer.verdict, answer.records.len()), (Verdict::Allow, 1), "only the shadow budget; {answer:?}");
    assert!(answer.records.iter().all(|record| record.shadow && record.budget == "session"));
}

/// Must not regress: time passes for a run without telemetry, and the alert of a run ends with the run.
#[test]
fn minutes_pass_and_alerts_end_with_the_run() {
    let meter = Meter::new();
    let budgets = json!({"time": {"scope": "run", "minutes": 20, "action": "deny"}});
    let line = Line::priced(tracker(&budgets, &meter), &meter, |_| {});
    let mut open = call(2, "s", &json!({}));
    open["parent"] = json!(1);
    play(&line, &[open]);
    let at = |seconds: u64| UnixNanos(NOW.0 + seconds * 1_000_000_000);
    line.runs.tick(at(1));
    assert_eq!(ask(&line.runs, of_session("s")).verdict, Verdict::Allow, "16 minutes");
    line.runs.tick(at(400));
    assert_eq!(ask(&line.runs, of_session("s")).verdict, Verdict::Deny, "23 minutes");
    let mut late = call(3, "s", &json!({"gen_ai.response.id": "late"}));
    late["parent"] = json!(1);
    play(&line, &[late]);
    let firing = || line.runs.alerts().iter().filter(|alert| alert.until.is_none()).count();
    (402..410).for_each(|second| line.runs.tick(at(second)));
    assert_eq!(firing(), 1);
    let agent = json!({"gen_ai.conversation.id": "s", "gen_ai.agent.name": "a"});
    play(&line, &[span("invoke_agent", [7, 1, 0], [5, 1400], &agent)]);
    (410..600).step_by(5).for_each(|second| line.runs.tick(at(second)));
    assert_eq!(firing(), 0);
}

/// Must not regress: the user whom a credential or a proxy names pays, and the session's budget holds whoever its
/// telemetry names; an id that only begins like a pseudonym is no pseudonym.
#[test]
fn the_named_user_pays() {
    let meter = Meter::new();
    let budgets = json!({"s": {"scope": "session", "amount": "0.001 USD", "action": "deny"},
        "u": {"scope": "user", "amount": "0.001 USD", "action": "deny"}});
    let line = Line::priced(tracker(&budgets, &meter), &meter, |_| {});
    let mut other = call(3, "s2", &json!({"user.id": "h-miller"}));
    other["trace"] = json!(8);
    play(&line, &[call(2, "s", &json!({})), other]);
    assert_eq!(ask(&line.runs, of_session("s")).verdict, Verdict::Deny);
    let answer = ask(&line.runs, Names { session: Some("s".to_owned()), ..of_user("bob") });
    assert_eq!((answer.verdict, spent(&answer)), (Verdict::Deny, vec!["s 0.0035".to_owned(), "u 0".to_owned()]));
    assert_eq!(ask(&line.runs, of_user("h-miller")).verdict, Verdict::Deny);
}

/// Must not regress: a restart, from a checkpoint and from effects, knows the same sums and grants.
#[test]
fn a_restart_knows_sums_and_grants() {
    let meter = Meter::new();
    let budgets = json!({"dev": {"scope": "user", "period": "month", "amount": "0.005 USD", "action": "deny",
        "time_zone": "Europe/Berlin"}});
    let line = Line::priced(tracker(&budgets, &meter), &meter, |_| {});
    play(&line, &[call(2, "s", &json!({})), call(3, "s", &json!({}))]);
    let key = ask(&line.runs, of_user("ada")).budgets[0].key.clone();
    let grant = BudgetRecord {
        kind: RecordKind::Grant,
        budget: "dev".to_owned(),
        scope: Scope::User,
        key,
        shadow: false,
        measure: Measure::Amount,
        spent: 0,
        limit: 10_000_000_000_000_000,
        repeats: 0,
        until: NOW.0 + 4 * HOUR,
        granted_by: "token 1234".to_owned(),
        reason: "release".to_owned(),
    };
    let mut id = 0_u8;
    let wire = BudgetRecord::encode(&[grant], &Names::default(), NOW.0, || {
        id += 1;
        [id; 16]
    });
    let payload = || Payload::parse(Signal::Traces, wire.clone().into()).unwrap_or_else(|_| panic!("our own bytes"));
    let decide = |tracker: &RunTracker| ask(tracker, of_user("ada")).verdict;
    // a client can't grant itself anything
    line.play_from(payload(), Trust::ThirdParty);
    assert_eq!(decide(&line.runs), Verdict::Deny);
    line.play_from(payload(), Trust::Internal);
    assert_eq!(decide(&line.runs), Verdict::Allow);
    let mut saved = Vec::new();
    line.runs.save(&mut saved);
    let restored = tracker(&budgets, &Meter::new());
    assert!(restored.restore(&saved));
    assert_eq!((decide(&restored), spent(&ask(&restored, of_user("ada")))), (Verdict::Allow, vec!["dev 0.007".into()]));
    restored.tick(UnixNanos(NOW.0 + 5 * HOUR));
    assert_eq!(decide(&restored), Verdict::Deny, "the grant is over");
    // with another definition the budget begins anew, and says since when
    let other = tracker(&json!({"dev": {"scope": "user", "period": "day", "amount": "0.005 USD"}}), &Meter::new());
    assert!(other.restore(&saved));
    assert_eq!(spent(&ask(&other, of_user("ada"))), vec!["dev 0"]);
}

/// Must not regress: what sessions cost that never asked is counted, so that deleted hooks are seen.
#[test]
fn what_nobody_asked_for_is_counted() {
    let meter = Meter::new();
    let budgets = json!({"run": {"scope": "run", "amount": "1 USD", "action": "deny"}});
    let line = Line::priced(tracker(&budgets, &meter), &meter, |_| {});
    line.runs.tick(UnixNanos(T0 * 1_000_000_000));
    for (trace, session) in [(7, "asks"), (8, "never")] {
        let mut one = call(trace, session, &json!({}));
        one["trace"] = json!(trace);
        let agent = json!({"gen_ai.conversation.id": session, "gen_ai.agent.name": "a"});
        play(&line, &[one, span("invoke_agent", [trace, 1, 0], [5, 30], &agent)]);
    }
    ask(&line.runs, of_session("asks"));
    line.runs.tick(UnixNanos(NOW.0 + 200_000_000_000));
    line.runs.tick(UnixNanos(NOW.0 + 300_000_000_000));
    line.runs.tick(UnixNanos(NOW.0 + 400_000_000_000));
    let text = meter.render();
    assert!(text.contains("agent_budget_unasked_cost_usd_total 0.0035"), "{text}");
}

/// Must not regress: pages may ask for lines while the clock ticks; each waited for the other's lock.
#[test]
fn pages_and_ticks_do_not_wait_for_each_other() {
    let runs = tracker(&json!({"u": {"scope": "user", "amount": "1 USD"}}), &Meter::new());
    std::thread::scope(|scope| {
        scope.spawn(|| (1..3000).for_each(|second| runs.tick(UnixNanos(NOW.0 + second * 3_000_000_000))));
        (0..3000).for_each(|_| assert!(runs.lines().is_empty()));
    });
}

/// Must not regress: one alert at each share, which ends with the period.
#[test]
fn alerts_fire_once_and_end_with_the_period() {
    let meter = Meter::new();
    let budgets =
        json!({"team": {"scope": "tenant", "period": "hour", "amount": "0.01 USD", "warn_at": ["30%", "60%"]}});
    let line = Line::priced(tracker(&budgets, &meter), &meter, |_| {});
    let firing = || {
        let alerts = line.runs.alerts();
        alerts.iter().filter(|alert| alert.until.is_none()).map(|alert| alert.rule.as_str()).collect::<Vec<_>>()
    };
    for (at, expected) in [(2, vec!["budget_warning"]), (3, vec!["budget_warning"]), (4, vec!["budget_exceeded"])] {
        play(&line, &[call(at, "s", &json!({}))]);
        line.runs.tick(UnixNanos(NOW.0 + at * 20_000_000_000));
        assert_eq!(firing(), expected, "call {at}");
    }
    let text = meter.render();
    assert!(
        text.contains("agent_budget_spent{account=\"default\",budget=\"team\",key=\"acme\",measure=\"amount\"} 0.0105"),
        "{text}"
    );
    assert!(text.contains("agent_alert_total{rule=\"budget_warning\",tenant=\"acme\"} 2"), "{text}");
    line.runs.tick(UnixNanos(NOW.0 + HOUR));
    assert_eq!(firing(), Vec::<&str>::new());
}

/// Must not regress: the record of an answer changes nothing of the session that it names, and is no run.
#[test]
fn a_record_is_no_run() {
    let meter = Meter::new();
    let line = Line::priced(tracker(&json!({"run": {"scope": "run", "amount": "0.001 USD"}}), &meter), &meter, |_| {});
    play(&line, &[call(2, "s", &json!({}))]);
    let before = line.views();
    let (repeats, until, granted_by, reason) = Default::default();
    let (budget, key) = ("run".to_owned(), "r".to_owned());
    let (kind, scope, measure) = (RecordKind::Deny, Scope::Run, Measure::Amount);
    let stop = BudgetRecord {
        kind,
        budget,
        scope,
        key,
        shadow: false,
        measure,
        spent: 2,
        limit: 1,
        repeats,
        until,
        granted_by,
        reason,
    };
    for names in [of_session("s"), Names::default()] {
        let mut id = 100_u8;
        let wire = BudgetRecord::encode(std::slice::from_ref(&stop), &names, NOW.0, || {
            id += 1;
            [id; 16]
        });
        let payload = Payload::parse(Signal::Traces, wire.into()).unwrap_or_else(|_| panic!("our own bytes"));
        line.play_from(payload, Trust::Internal);
    }
    let after = line.views();
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_eq!(::runs::json::runs(&after), ::runs::json::runs(&before));
}
