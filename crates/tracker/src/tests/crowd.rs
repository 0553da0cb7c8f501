//! Isolation between senders: requests that cost far more than their size, and time spent under the lock.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::support::*;
use crate::alerts::{AlertEvaluator, AlertThresholds, RuleContext};
use crate::evaluation::GroupEvaluation;
use crate::run_calls::AggregationContext;
use crate::timeline::tests::steps;
use crate::{RunTracker, Settings};
use genai::testing::request;
use kernel::pseudonym::{IdPolicy, PlainIds, Pseudonymizer};
use kernel::secret::Secret;
use pipeline::{Batch, Processor};
use runs::{ModelTotals, OutcomeVerdict, RunOutcome, RunOwner, RunState, RunTotals, SessionView};
use telemetry::Meter;

fn span(trace: u64, id: u64, operation: &str) -> Json {
    let more = match operation {
        "chat" => usage("m", 1, 1),
        "execute_tool" => json!({"gen_ai.tool.name": "t"}),
        _ => json!({}),
    };
    super::support::span(operation, [trace, id, 0], [0, 1], &merged(json!({"session.id": "s"}), &more))
}

fn play(line: &Line, items: &[Json]) -> Batch {
    line.play(request::payload(&json!({"items": items})))
}

/// `count` roots, and as many calls that name no run and are below no root.
fn crowd(count: u64, trace: impl Fn(u64) -> u64, stray: impl Fn(u64) -> u64) -> Line {
    let line = Line::new(runs());
    for from in (0..count).step_by(500) {
        let mut items: Vec<Json> = (from..from + 500).map(|n| span(trace(n), 1 + n, "invoke_agent")).collect();
        items.extend((from..from + 500).map(|n| {
            let mut call = span(stray(n), 1_000_000 + n, "chat");
            // a call with a parent, in a trace of its own, would belong to that trace's run
            if stray(n) == trace(n) {
                call["parent"] = json!(2_000_000 + n);
            }
            call
        }));
        // each run starts after the previous ones are over: the worst case of a search for the run under way
        for (n, item) in items.iter_mut().enumerate() {
            let begin = T0 + 2 * (from + n as u64 % 500);
            (item["start"], item["end"]) = (json!(begin), json!(begin + 1));
        }
        play(&line, &items);
    }
    line
}

/// Many roots in one trace, or each with a trace of its own in one session, cost as much as separate roots: four times
/// as many cost four to five times as much.
#[test]
fn many_roots_cost_no_more_than_separate_ones() {
    type Place = fn(u64) -> u64;
    let places: [(Place, Place); 2] = [(|_| 1, |_| 1), (|n| 1 + n, |n| 1_000_000 + n)];
    for (trace, stray) in places {
        let look = |count: u64| {
            let line = crowd(count, trace, stray);
            let mut views = Vec::new();
            let steps = steps(|| views = line.runs.recent_runs(usize::MAX));
            assert_eq!(views.len() as u64, count);
            assert!(views.iter().all(|view| view.totals.calls() == 1), "each call is in the run that was under way");
            steps
        };
        let (few, many) = (look(500), look(2000));
        assert!(many < 6 * few && many < 100 * 2000, "{few} steps for 500 roots, {many} for 2000");
    }
}

/// A list reads what is known: no run is computed again for it.
#[test]
fn a_list_computes_nothing_again() {
    let line = crowd(500, |_| 1, |_| 1);
    let count = || line.runs.board().first_runs(0, 0, |_| Some(())).count;
    assert_eq!(count(), 500);
    let mut again = 0;
    assert_eq!((steps(|| again = count()), again), (0, 500));
    play(&line, &[span(1, 9_000_000, "chat")]);
    assert_ne!(steps(|| again = count()), 0, "it changed");
}

/// One-span requests for a session of thousands: all of them together may read only an amount bounded by the session's
/// size; the first root still gets its totals.
#[test]
fn small_requests_into_a_large_session() {
    let line = Line::new(runs());
    for from in (0..4000_u64).step_by(1000) {
        let mut items: Vec<Json> = (from..from + 1000).map(|n| span(1, 100 + n, "execute_tool")).collect();
        items.iter_mut().for_each(|item| item["parent"] = json!(1));
        play(&line, &items);
    }
    let stamped = |batch: &Batch| {
        let root = batch.payload.items().next().unwrap();
        batch.payload.get(root, "agent.tool_calls_made").and_then(|value| value.as_count())
    };
    assert_eq!(stamped(&play(&line, &[span(1, 1, "invoke_agent")])), Some(4000));
    let spent = steps(|| {
        for n in 0..200 {
            play(&line, &[span(1, 10_000 + n, "invoke_agent")]);
        }
    });
    assert!(spent < 12 * 4000, "200 requests of one span looked at {spent} items");
}

/// All turns of a long session, each a trace of its own, get their own totals.
#[test]
fn turns_of_a_long_session() {
    let line = Line::new(runs());
    for turn in 1..=120_u64 {
        let mut items: Vec<Json> = (0..30).map(|n| span(turn, 100 + n, "execute_tool")).collect();
        items.iter_mut().for_each(|item| item["parent"] = json!(1));
        items.insert(0, span(turn, 1, "invoke_agent"));
        let batch = play(&line, &items);
        let root = batch.payload.items().next().unwrap();
        let made = batch.payload.get(root, "agent.tool_calls_made").and_then(|value| value.as_count());
        assert_eq!(made, Some(30), "turn {turn}");
    }
}

/// Records whether the state is locked while ids are processed, the slow part of an evaluation.
struct Listener {
    ids: PlainIds,
    runs: Mutex<Weak<RunTracker>>,
    asked: AtomicU64,
    held: AtomicU64,
}

impl Listener {
    fn note(&self) {
        let Some(runs) = self.runs.lock().unwrap().upgrade() else { return };
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.held.fetch_add(u64::from(runs.state.is_locked()), Ordering::Relaxed);
    }
}

impl IdPolicy for Listener {
    fn shown_id<'a>(&self, account: &str, id: &'a str) -> Cow<'a, str> {
        self.note();
        self.ids.shown_id(account, id)
    }

    fn redact_column<'a>(&self, account: &str, text: &'a str) -> Cow<'a, str> {
        self.note();
        self.ids.redact_column(account, text)
    }

    fn pseudonym(&self, account: &str, id: &str) -> String {
        self.note();
        self.ids.pseudonym(account, id)
    }
}

/// A tracker whose id policy is a listener.
fn listened(settings: Settings) -> (Arc<Listener>, Arc<RunTracker>) {
    let ids = PlainIds(Pseudonymizer::new(&Secret::new("key".into())));
    let zero = || AtomicU64::new(0);
    let listener = Arc::new(Listener { ids, runs: Mutex::new(Weak::new()), asked: zero(), held: zero() });
    let policy: Arc<dyn IdPolicy> = Arc::<Listener>::clone(&listener);
    let runs = with_history(RunTracker::new("runs".into(), settings, vocabulary(), policy, &Meter::new()));
    *listener.runs.lock().unwrap() = Arc::downgrade(&runs);
    runs.tick(NOW);
    (listener, runs)
}

/// Evaluations, pages, tool calls, measures and evictions: none processes names while it holds the lock.
#[test]
fn nobody_waits_for_a_look() {
    let config = crate::Config { max_runs: 2, ..Default::default() };
    let (listener, runs) = listened(config.settings().unwrap_or_else(|_| panic!("valid")));
    for trace in 1..6_u64 {
        let mut root = span(trace, 1, "invoke_agent");
        root["attributes"]["session.id"] = json!(format!("s{trace}"));
        root["attributes"]["s3.bytes_scanned"] = json!(5);
        let mut tool = span(trace, 2, "execute_tool");
        tool["attributes"]["session.id"] = json!(format!("s{trace}"));
        let mut batch = batch(request::payload(&json!({"items": [root, tool]})));
        runs.process(&mut batch).unwrap();
        batch.effects.iter().for_each(|effect| runs.apply(effect));
        assert!(!runs.recent_runs(10).is_empty());
    }
    let id = format!("{:032}", 5);
    assert!(runs.find_run_of_account("default", &id).is_some() && runs.budget("default", &id).is_some());
    assert!(runs.find_run_of_account("default", "nobody").is_none());
    let now = wait(&runs, NOW, Duration::from_secs(60));
    wait(&runs, now, Duration::from_secs(3600));
    let (asked, held) = (listener.asked.load(Ordering::Relaxed), listener.held.load(Ordering::Relaxed));
    assert!(asked > 20 && held == 0, "of {asked} times {held} with the state held");
}

/// A batch arrives during an evaluation: the results count once, the new items become a revision of the same run, and
/// a group that becomes active again stays.
#[test]
fn a_batch_comes_while_somebody_looks() {
    let line = Line::new(runs());
    play(&line, &[span(1, 1, "invoke_agent")]);
    let look_then_add = |after: u64, added: u64| {
        let (id, look) = {
            let mut state = line.runs.state.lock();
            state.advance_clock(NOW.plus(Duration::from_secs(after)));
            let eyes = state.evaluation_inputs(AggregationContext::default(), &line.runs.ids);
            let (id, group) = state.next_due_group().unwrap();
            (id, GroupEvaluation::evaluate(&group, &eyes, false))
        };
        let mut call = span(1, 1 + added, "chat");
        call["parent"] = json!(1);
        play(&line, &[call]);
        let (mut look, meters) = (look, &line.runs.metrics);
        let found = std::mem::take(&mut look.findings);
        let mut state = line.runs.state.lock();
        let taken = state.apply_findings(id, &look, found, meters);
        state.finish_evaluation(id, look);
        taken
    };
    line.runs.tick(NOW);
    assert!(look_then_add(60, 1));
    assert_eq!(line.runs.sums().all.runs, 1);
    let mut now = NOW.plus(Duration::from_secs(60));
    for _ in 0..4 {
        now = wait(&line.runs, now, Duration::from_secs(30));
    }
    assert_eq!((line.runs.sums().all.runs, line.views()[0].totals.calls()), (1, 1));
    assert_eq!(line.views()[0].state, RunState::Ended);
    // quiet for so long that the group would become dormant
    let mut passed = now.0.saturating_sub(NOW.0) / 1_000_000_000;
    while line.runs.state.lock().store.len() == 1 && passed < 1900 {
        passed += 50;
        line.runs.state.lock().advance_clock(NOW.plus(Duration::from_secs(passed)));
    }
    assert!(!look_then_add(passed + 50, 2), "it woke up");
    assert_eq!(line.runs.state.lock().store.len(), 1);
    assert_eq!(line.views()[0].totals.calls(), 2);
}

/// The cost of one account's sessions is no baseline for another account, even if their features have the same name.
#[test]
fn medians_are_an_accounts_own() {
    let session = |account: &str, usd: i128| {
        let mut totals = RunTotals::default();
        let atto_usd = usd * 1_000_000_000_000_000_000;
        totals.add_model("m", &ModelTotals { calls: 1, atto_usd, ..ModelTotals::default() });
        let (account, session, feature) = (account.to_owned(), "s".to_owned(), Some("triage".to_owned()));
        let (tenant, user) = (None, None);
        SessionView {
            owner: RunOwner::Here,
            account,
            session,
            tenant,
            feature,
            user,
            runs: 1,
            failed: false,
            start: 1,
            duration: 1,
            totals,
        }
    };
    let limits = AlertThresholds::default();
    let rule = RuleContext { limits: &limits, ceiling: 50, now: 1 };
    let mut alerts = AlertEvaluator::default();
    for _ in 0..40 {
        assert!(alerts.evaluate_session(&session("ours", 1), true, &mut 0, rule).is_empty());
        assert!(alerts.evaluate_session(&session("theirs", 1000), true, &mut 0, rule).is_empty());
    }
    assert_eq!(alerts.evaluate_session(&session("ours", 20), false, &mut 0, rule).len(), 1);
    assert!(alerts.evaluate_session(&session("theirs", 1500), false, &mut 0, rule).is_empty());
    assert!(
        alerts.evaluate_session(&session("others", 1_000_000), false, &mut 0, rule).is_empty(),
        "nothing is known of it"
    );
}

/// Two accounts with a run of the same id: both are shown, and an outcome reaches the intended one.
#[test]
fn an_id_of_two_accounts() {
    let line = Line::new(runs());
    for account in ["a", "b"] {
        line.play_as(account, &[span(1, 1, "invoke_agent")]);
    }
    let id = format!("{:032}", 1);
    assert_eq!(line.runs.accounts_with_run(&id), ["a", "b"]);
    let outcome = RunOutcome { verdict: OutcomeVerdict::Overridden, confidence: None, resolution_seconds: None };
    for account in ["b", "a"] {
        line.apply(&line.runs.reported_outcome(account, &id, outcome).unwrap());
        let judged =
            |account: &str| line.runs.find_run_of_account(account, &id).unwrap().view.judgement.outcome.is_some();
        assert_eq!((judged("a"), judged("b")), (account == "a", true));
        assert_eq!(line.runs.budget(account, &id).unwrap().view.account, account);
    }
    assert!(line.runs.reported_outcome("c", &id, outcome).is_none());
}
