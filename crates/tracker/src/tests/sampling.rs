//! What an exporter with `sample` gets of real runs: a whole engine with normalize, cost and runs, a clock by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::support::*;
use genai::testing::request;
use history::{BoardSampleStates, RunBoard};
use kernel::clock::{Clock as _, ManualClock};
use otlp::{Payload, Signal, UnknownFields, Value};
use pipeline::sampling::rules::{KeepRule, SampleRules, waiting_consumer};
use pipeline::testing::drive::drive;
use pipeline::testing::engine::{Sink, Step};
use pipeline::testing::rig::{Parts, Rig};
use pipeline::{Exporter, Outcome, OutletSettings, PipelinePlan, Trust};
use rates::Usd;
use runs::RunView;
use tokio::sync::watch;

const SECOND: Duration = Duration::from_secs(1);
const ONE_IN: u32 = 4;
const SPOOL_BYTES: u64 = 16 << 20;

/// What happens in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    Plain,
    /// Its root fails.
    Fails,
    /// One call costs 2.50 USD.
    Costly,
    /// A call has no price.
    Unpriced,
    /// It takes 20 minutes.
    Slow,
    /// Its root never comes.
    NoEnd,
}

impl Story {
    fn is_kept(self) -> bool {
        !matches!(self, Self::Plain | Self::NoEnd)
    }

    /// The spans of a run in this trace.
    fn spans(self, trace: u64, calls: u64) -> Vec<Json> {
        let seconds = if self == Self::Slow { 1200 } else { 20 };
        let mut root = span("invoke_agent", [trace, 1, 0], [0, seconds], &json!({}));
        if self == Self::Fails {
            root["status"] = json!("error");
        }
        let call = |number: u64| {
            let (model, input) = match (self, number) {
                (Self::Costly, 0) => ("gpt-4o", 1_000_000),
                (Self::Unpriced, 0) => ("mystery-9", 100),
                _ => ("gpt-4o", 100 * (trace % 7 + 1)),
            };
            span("chat", [trace, 2 + number, 1], [1, 2], &usage(model, input, 10))
        };
        let ends = (self != Self::NoEnd).then_some(root);
        (0..calls).map(call).chain(ends).collect()
    }
}

/// An item as the back end got it.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    trace: String,
    span: String,
    usd: Usd,
    weight: i64,
}

struct Stage {
    rig: Rig,
    sink: Arc<Sink>,
    line: Line,
    _folder: tempfile::TempDir,
}

fn rules(wait: Duration) -> SampleRules {
    let keep = vec![
        KeepRule::Errors,
        KeepRule::Unpriced,
        KeepRule::CostAbove(10_i128.pow(18)),
        KeepRule::SlowerThan(600 * SECOND),
    ];
    SampleRules { keep, others: ONE_IN, wait }
}

impl Stage {
    fn new(rules: SampleRules) -> Self {
        Self::on(tempfile::tempdir().unwrap(), Some(rules), Line::whole(runs()), ManualClock::at(NOW))
    }

    /// A gateway in this folder.
    fn on(folder: tempfile::TempDir, rules: Option<SampleRules>, line: Line, clock: Arc<ManualClock>) -> Self {
        let sink = Sink::open("x", Trust::ThirdParty);
        let mut steps = line.steps.clone();
        steps.push(Arc::<crate::RunTracker>::clone(&line.runs));
        steps.push(Step::clear("clear"));
        let mut parts = Parts::new(steps, vec![sink.clone() as Arc<dyn Exporter>]);
        parts.clock = clock;
        parts.spool_bytes = SPOOL_BYTES;
        let logs = PipelinePlan { id: "logs".into(), signal: Signal::Logs, ..parts.pipelines[0].clone() };
        parts.pipelines.push(logs);
        parts.outlets = OutletSettings { sample: rules.map(Arc::new), ..OutletSettings::default() };
        parts.sample_states = Some(Arc::new(states(line.runs.board())));
        let rig = parts.open(folder.path());
        rig.engine.release_waiting();
        Self { rig, sink, line, _folder: folder }
    }

    /// Runs everything for this long, with a tick each second.
    fn run(&mut self, time: Duration) {
        let stop = watch::Sender::new(false);
        let Rig { engine, committer, clock, checkpoints, .. } = &mut self.rig;
        let outlet = Arc::clone(&engine.outlets[0]).run(stop.subscribe());
        let sampler = engine.samplers.first().map(|sampler| Arc::clone(sampler).run(stop.subscribe()));
        let sampler = async { futures_util::future::OptionFuture::from(sampler).await };
        let runs = &self.line.runs;
        let tick = async {
            loop {
                engine.tick();
                drop(runs.board());
                if clock.monotonic().as_secs().is_multiple_of(30) {
                    checkpoints.write().unwrap();
                }
                clock.sleep(SECOND).await;
            }
        };
        let all = async { tokio::join!(outlet, sampler, tick) };
        drive(clock, time, all, || committer.step(Duration::ZERO).committed > 0);
    }

    fn put(&mut self, items: &[Json]) {
        let wire = request::payload(&json!({ "items": items })).encode(UnknownFields::Keep).unwrap().bytes;
        assert_eq!(self.rig.put(wire.into()), Outcome::Accepted);
    }

    fn sent(&self) -> Vec<Sent> {
        let requests = self.sink.requests.lock();
        let payloads = requests.iter().map(|request| Payload::parse(request.signal, request.body.joined()).unwrap());
        let read = |payload: &Payload, node| Sent {
            trace: kernel::hex::encode(payload.trace_id(node)),
            span: kernel::hex::encode(payload.span_id(node)),
            usd: payload.get_str(node, "tollgate.cost.usd").map_or(Usd::ZERO, |usd| Usd::parse(usd).unwrap()),
            weight: match payload.get(node, "SampleRate") {
                Some(Value::Int(weight)) => weight,
                _ => 1,
            },
        };
        payloads.flat_map(|payload| payload.items().map(|node| read(&payload, node)).collect::<Vec<_>>()).collect()
    }

    fn waiting(&self) -> usize {
        self.rig.waiting(&waiting_consumer("x")).len()
    }
}

fn trace_text(trace: u64) -> String {
    let payload = request::payload(&json!({"items": [span("chat", [trace, 1, 0], [0, 1], &json!({}))]}));
    let node = payload.items().next().unwrap();
    kernel::hex::encode(payload.trace_id(node))
}

fn states(board: RunBoard) -> BoardSampleStates {
    BoardSampleStates { board: RunBoard { ids: Some(ids()), ..board }, settle: 30 * SECOND }
}

fn is_run_drawn(run: &str) -> bool {
    states(RunBoard::default()).hash("default", run).is_multiple_of(ONE_IN.into())
}

fn is_drawn(trace: u64) -> bool {
    is_run_drawn(&trace_text(trace))
}

fn story() -> impl Strategy<Value = Story> {
    prop_oneof![
        6 => Just(Story::Plain),
        1 => Just(Story::Fails),
        1 => Just(Story::Costly),
        1 => Just(Story::Unpriced),
        1 => Just(Story::Slow),
        1 => Just(Story::NoEnd),
    ]
}

/// For each run its story, its number of calls, when it begins, and for each span how late it comes (seconds).
fn stories() -> impl Strategy<Value = Vec<(Story, u64, u64, Vec<u64>)>> {
    proptest::collection::vec((story(), 1..5_u64, 0..120_u64, proptest::collection::vec(0..25_u64, 6)), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// In any order and batching, an exporter gets every item of kept runs with weight 1, and whole runs of the share
    /// with weight N; tollgate's own sums stay exact.
    #[test]
    fn an_exporter_gets_kept_runs_and_the_share(stories in stories(), batch_size in 1..20_usize) {
        let mut stage = Stage::new(rules(600 * SECOND));
        let mut arrivals: BTreeMap<u64, Vec<Json>> = BTreeMap::new();
        let (mut expected, mut exact) = (BTreeMap::new(), 0_u64);
        for (trace, (story, calls, begin, late)) in (1..).zip(&stories) {
            exact += calls;
            for (item, late) in story.spans(trace, *calls).into_iter().zip(late) {
                let weight = if story.is_kept() { 1 } else { i64::from(ONE_IN) };
                if story.is_kept() || is_drawn(trace) {
                    let number = item["span"].as_u64().unwrap();
                    expected.insert((trace_text(trace), format!("{number:016x}")), weight);
                }
                arrivals.entry(begin + late).or_default().push(item);
            }
        }
        let mut now = 0;
        for (at, items) in arrivals {
            stage.run(Duration::from_secs(at - now));
            now = at;
            items.chunks(batch_size).for_each(|items| stage.put(items));
        }
        stage.run(700 * SECOND);
        let sent = stage.sent();
        let got: BTreeMap<_, _> = sent.iter().map(|item| ((item.trace.clone(), item.span.clone()), item.weight)).collect();
        prop_assert_eq!(got.len(), sent.len(), "each once");
        prop_assert_eq!(got, expected);
        prop_assert_eq!(stage.waiting(), 0);
        let counted: u64 = stage.line.views().iter().map(|view| view.totals.models.values().map(|model| model.calls).sum::<u64>()).sum();
        prop_assert_eq!(counted, exact);
    }
}

/// Sums by weight must be those of all runs, within what a share of this size allows: 5 standard deviations.
#[test]
fn weighted_sums_are_right() {
    let mut stage = Stage::new(rules(600 * SECOND));
    let story = |trace: u64| if trace.is_multiple_of(10) { Story::Fails } else { Story::Plain };
    for traces in (1..1001_u64).collect::<Vec<_>>().chunks(50) {
        let items: Vec<Json> = traces.iter().flat_map(|trace| story(*trace).spans(*trace, 3)).collect();
        stage.put(&items);
        stage.run(SECOND);
    }
    stage.run(700 * SECOND);
    let mut by_run: BTreeMap<String, f64> = BTreeMap::new();
    let true_sums = stage.line.views().into_iter().map(|view| (view.run.clone(), Usd(view.totals.atto_usd()).to_f64()));
    by_run.extend(true_sums);
    let truth: f64 = by_run.values().sum();
    let estimate: f64 = stage.sent().iter().map(|item| item.usd.to_f64() * item.weight as f64).sum();
    let kept: BTreeSet<String> = (1..1001).filter(|trace| story(*trace).is_kept()).map(trace_text).collect();
    let variance: f64 =
        (by_run.iter().filter(|(run, _)| !kept.contains(*run))).map(|(_, usd)| usd * usd * f64::from(ONE_IN - 1)).sum();
    assert!((estimate - truth).abs() < 5.0 * variance.sqrt(), "{estimate} for {truth}");
    assert_eq!(stage.line.views().len(), 1000);
    let shares = stage.sent().iter().filter(|item| item.weight > 1).count();
    assert!((700..1100).contains(&shares), "{shares} of 3600 items, one in {ONE_IN}");
}

/// A kept run's items go as soon as the rule is certain, before the run is over; those of others wait, and an item that
/// comes after the decision is decided again.
#[test]
fn a_kept_run_does_not_wait() {
    let mut stage = Stage::new(rules(600 * SECOND));
    let costly = Story::Costly.spans(1, 3);
    stage.put(&[&costly[..2], &Story::Plain.spans(2, 2)[..1]].concat());
    stage.run(5 * SECOND);
    assert_eq!((stage.sent().len(), stage.waiting()), (2, 1), "the run goes on");
    stage.put(&costly[2..]);
    stage.run(5 * SECOND);
    assert_eq!((stage.sent().len(), stage.waiting()), (4, 1));
    stage.run(580 * SECOND);
    assert_eq!(stage.waiting(), 1, "its end did not come");
    stage.run(40 * SECOND);
    assert_eq!(stage.waiting(), 0);
}

/// A run that is renamed while its first items wait is decided as one. In Claude Code, spans come first, under the
/// trace's id; the logs name the run later.
#[test]
fn a_renamed_run_is_decided_as_one() {
    let mut checked = 0;
    for session in sessions("claude-code") {
        let mut stage = Stage::new(SampleRules { keep: Vec::new(), ..rules(600 * SECOND) });
        for signal in [Signal::Traces, Signal::Logs] {
            for payload in session.payloads.iter().filter(|payload| payload.signal() == signal) {
                let wire = payload.encode(UnknownFields::Keep).unwrap().bytes;
                let answer = stage.rig.submit_signal("default", signal, wire.into());
                stage.rig.commit();
                assert_eq!(answer.now_or_never().unwrap(), Outcome::Accepted);
            }
            stage.run(10 * SECOND);
        }
        stage.run(700 * SECOND);
        let views = stage.line.views();
        let is_alone = |view: &&RunView| views.iter().filter(|other| other.trace == view.trace).count() == 1;
        for view in views.iter().filter(|view| !view.trace.is_empty()).filter(is_alone) {
            let is_sent = stage.sent().iter().any(|item| item.trace == view.trace);
            assert_eq!(is_sent, is_run_drawn(&view.run), "{}: run {}", session.name, view.run);
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
}

/// What waits is not lost in a restart, and is decided by the rules that apply then; without any it is sent.
#[test]
fn a_restart_decides_by_the_new_rules() {
    for later in [Some(SampleRules { others: 1, ..rules(600 * SECOND) }), None, Some(rules(600 * SECOND))] {
        let mut stage = Stage::new(rules(600 * SECOND));
        (1..30).for_each(|trace| stage.put(&Story::Plain.spans(trace, 2)[..2]));
        stage.run(10 * SECOND);
        assert_eq!((stage.sent().len(), stage.waiting()), (0, 29));
        let Stage { rig: Rig { committer, clock, .. }, _folder: folder, .. } = stage;
        assert!(committer.close());
        let everything = later.as_ref().is_none_or(|rules| rules.others == 1);
        let mut stage = Stage::on(folder, later, Line::whole(runs()), clock);
        stage.run(5 * SECOND);
        assert_eq!(stage.sent().len(), if everything { 58 } else { 0 });
        stage.run(700 * SECOND);
        let drawn = (1..30).filter(|trace| is_drawn(*trace)).count();
        assert_eq!((stage.sent().len(), stage.waiting()), (if everything { 58 } else { 2 * drawn }, 0));
    }
}

/// An item that an application sampled itself stands for more; what belongs to no run is decided by its trace.
#[test]
fn own_rates_and_plain_traces() {
    let mut stage = Stage::new(SampleRules { keep: Vec::new(), ..rules(600 * SECOND) });
    for trace in 1..40_u64 {
        let plain = |at: u64| json!({"name": "GET /", "trace": trace, "span": at, "parent": 0, "attributes": {"sampleRate": 3}});
        stage.put(&[plain(1)]);
        stage.put(&[plain(2)]);
    }
    stage.run(60 * SECOND);
    let requests = stage.sink.requests.lock();
    let mut spans: BTreeMap<String, usize> = BTreeMap::new();
    for request in requests.iter() {
        let payload = Payload::parse(request.signal, request.body.joined()).unwrap();
        for node in payload.items() {
            assert!(matches!(payload.get(node, "sampleRate"), Some(Value::Int(12))));
            assert!(payload.get(node, "SampleRate").is_none());
            *spans.entry(kernel::hex::encode(payload.trace_id(node))).or_default() += 1;
        }
    }
    assert!(!spans.is_empty() && spans.len() < 39 && spans.values().all(|spans| *spans == 2), "{spans:?}");
    drop(requests);
    assert_eq!(stage.waiting(), 0);
}

/// Log records that name neither run nor trace have nothing in common: of all a share is sent, not all or none, and they
/// need not wait.
#[test]
fn log_records_of_nobody_are_sampled() {
    let mut stage = Stage::new(rules(600 * SECOND));
    for number in 0..200 {
        let record = json!({"event.name": "tick", "body": format!("{number}"), "attributes": {"number": number}});
        let wire = request::payload(&json!({ "signal": "logs", "items": [record] }))
            .encode(UnknownFields::Keep)
            .unwrap()
            .bytes;
        let answer = stage.rig.submit_signal("default", Signal::Logs, wire.into());
        stage.rig.commit();
        assert_eq!(answer.now_or_never().unwrap(), Outcome::Accepted);
    }
    stage.run(10 * SECOND);
    let sent = stage.sent();
    assert!((25..80).contains(&sent.len()), "{} of 200, one in {ONE_IN}", sent.len());
    assert!(sent.iter().all(|item| item.weight == i64::from(ONE_IN)));
    assert_eq!(stage.waiting(), 0);
}

/// Two agents in one trace: the calls of the second came when the trace still was one run. If it fails, all is sent.
#[test]
fn runs_of_one_trace_are_decided_together() {
    for trace in 1..12_u64 {
        let mut stage = Stage::new(rules(600 * SECOND));
        let agent = |at: u64, is_failed: bool| {
            let mut root = span("invoke_agent", [trace, at, 9], [0, 20], &json!({}));
            if is_failed {
                root["status"] = json!("error");
            }
            root
        };
        let call = |at: u64, parent: u64| span("chat", [trace, at, parent], [1, 2], &usage("gpt-4o", 100, 10));
        let request = json!({"name": "GET /", "trace": trace, "span": 9, "parent": 0, "attributes": {}});
        for items in [[call(11, 1), agent(1, false)], [call(12, 2), call(13, 2)], [agent(2, true), request]] {
            stage.put(&items);
            stage.run(3 * SECOND);
        }
        stage.run(700 * SECOND);
        assert_eq!(stage.sent().len(), 6, "trace {trace}");
    }
}

/// A full spool empties itself: what is left out makes room for what is sent.
#[test]
fn a_full_spool_is_decided() {
    let mut stage = Stage::new(rules(600 * SECOND));
    let (mut accepted, padding) = (0, "x".repeat(80_000));
    for trace in 1.. {
        let mut spans = Story::Plain.spans(trace, 1);
        spans[0]["attributes"]["padding"] = json!(padding);
        let wire = request::payload(&json!({ "items": spans })).encode(UnknownFields::Keep).unwrap().bytes;
        if stage.rig.put(wire.into()) != Outcome::Accepted {
            break;
        }
        accepted = trace;
    }
    assert!(accepted > 50, "{accepted}");
    stage.run(300 * SECOND);
    let drawn = (1..=accepted).filter(|trace| is_drawn(*trace)).count();
    assert_eq!((stage.sent().len(), stage.waiting()), (2 * drawn, 0), "of {accepted} runs");
}
