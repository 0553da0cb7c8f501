//! The replicas of a fleet tell each other their effects: one replica counts each run, and all agree on which one.
//! That all of them know the same runs is proved in `crates/receivers/tests/fleet`.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::support::*;
use genai::testing::request;
use kernel::clock::UnixNanos;
use otlp::{Payload, Signal};
use pipeline::{Processor, RequestSource};
use telemetry::{Meter, names};

struct Replica {
    name: Arc<str>,
    line: Line,
    meter: Meter,
}

struct Fleet {
    replicas: Vec<Replica>,
    batches: Cell<u64>,
}

impl Fleet {
    fn new(count: usize) -> Self {
        let replicas = (0..count).map(|number| {
            let meter = Meter::new();
            let line = Line::metered(runs_with(settings(), &meter), &meter);
            line.runs.enable_signals(&[Signal::Logs]);
            line.runs.tick(NOW);
            Replica { name: format!("worker-{number}").into(), line, meter }
        });
        Self { replicas: replicas.collect(), batches: Cell::new(0) }
    }

    /// A replica commits a payload and tells the others.
    fn play(&self, replica: usize, payload: Payload) {
        self.batches.set(self.batches.get() + 1000);
        let Replica { line, name, .. } = &self.replicas[replica];
        line.number_from(self.batches.get());
        let effects = line.play(payload).effects;
        for (_, other) in self.replicas.iter().enumerate().filter(|(number, _)| *number != replica) {
            effects.iter().for_each(|effect| other.line.apply_shared(effect, name));
        }
    }

    fn wait(&self, seconds: u64) {
        for replica in &self.replicas {
            wait(&replica.line.runs, NOW, Duration::from_secs(seconds));
        }
    }

    /// A counter's values, summed over all labels and replicas.
    fn counted(&self, counter: &'static telemetry::names::MetricDefinition) -> f64 {
        self.replicas.iter().flat_map(|replica| replica.meter.values(counter)).sum()
    }

    /// Number of log events that connectors would emit, over all replicas.
    fn emitted(&self) -> usize {
        let now = UnixNanos(NOW.0 + 1);
        let requests = self.replicas.iter().filter_map(|replica| replica.line.runs.next_request(Signal::Logs, now));
        requests.map(|request| request.wire.windows(11).filter(|part| part == b"run.summary").count() / 2).sum()
    }
}

/// The counters of all replicas add up to a single instance's, and each ended run is told once.
#[test]
fn one_replica_counts_a_run() {
    let (fleet, single) = (Fleet::new(3), Fleet::new(1));
    let payloads = CLIENTS.into_iter().flat_map(sessions).flat_map(|session| session.payloads);
    for (number, payload) in payloads.enumerate() {
        fleet.play(number % 3, payload.clone());
        single.play(0, payload);
    }
    fleet.wait(3600);
    single.wait(3600);
    for counter in [&names::RUNS, &names::TOOL_CALLS, &names::COST_USD] {
        assert!(single.counted(counter) > 0.0);
        let (got, expected) = (fleet.counted(counter), single.counted(counter));
        assert!((got - expected).abs() < 1e-9, "{}: {got} instead of {expected}", counter.name);
    }
    assert!(single.emitted() > 0);
    assert_eq!(fleet.emitted(), single.emitted());
}

fn chat(span: u64, at: u64) -> serde_json::Value {
    json!({"name": "chat", "trace": 1, "span": span, "parent": 1, "at": [at, at + 1], "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5", "session.id": "s",
        "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5}})
}

/// The replica that gets a run's next item counts it from then on, all replicas agree on which one that is, and a
/// restart forgets it not.
#[test]
fn a_run_belongs_to_the_replica_of_its_latest_item() {
    let fleet = Fleet::new(2);
    let owners = |fleet: &Fleet| -> Vec<Option<String>> {
        let view = |replica: &Replica| replica.line.views().remove(0).owner.replica().map(str::to_owned);
        fleet.replicas.iter().map(view).collect()
    };
    fleet.play(0, request::payload(&json!({"items": [chat(2, 1)]})));
    assert_eq!(owners(&fleet), [None, Some("worker-0".to_owned())]);
    fleet.play(1, request::payload(&json!({"items": [chat(3, 5)]})));
    assert_eq!(owners(&fleet), [Some("worker-1".to_owned()), None]);
    let saved = fleet.replicas[0].line.runs.checkpoint().unwrap();
    let restored = runs();
    restored.restore(&saved);
    assert_eq!(restored.recent_runs(1)[0].owner.replica(), Some("worker-1"));
}
