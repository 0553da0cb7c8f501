//! Tests of the `runs` connector: a portion goes through the pipelines once; a portion that the engine asks to retry
//! is offered again, one that is refused for good is not.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{RunsConfig, RunsConnector};
use kernel::clock::{ManualClock, UnixNanos};
use otlp::Signal;
use pipeline::testing::engine::{Sink, spans};
use pipeline::testing::rig::{Parts, Rig};
use pipeline::{
    Batch, Clearance, ContentState, Effect, PipelinePlan, Processor, Reason, RequestSource, SourceRequest, TextState,
    Trust,
};
use telemetry::Meter;

/// A source that sends one word after another, and a step whose effects record the words sent. The step may refuse for
/// good or ask to retry.
struct Words {
    id: Arc<str>,
    left: Mutex<Vec<&'static str>>,
    asked: Mutex<Vec<Signal>>,
    answer: Mutex<Option<Reason>>,
    seen: Mutex<Vec<Clearance>>,
}

impl RequestSource for Words {
    fn enable_signals(&self, signals: &[Signal]) {
        self.asked.lock().extend(signals);
    }

    fn next_request(&self, _: Signal, _: UnixNanos) -> Option<SourceRequest> {
        let word = *self.left.lock().first()?;
        let effect = Effect::new(Arc::clone(&self.id), word.as_bytes().to_vec());
        Some(SourceRequest { account: "default".into(), wire: spans(&[word]), effect })
    }
}

impl Processor for Words {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        self.seen.lock().push(batch.clearance);
        self.answer.lock().map_or(Ok(()), Err)
    }

    fn apply(&self, effect: &Effect) {
        self.left.lock().retain(|word| word.as_bytes() != effect.body);
    }
}

struct Scene {
    rig: Rig,
    words: Arc<Words>,
    connector: RunsConnector,
    meter: Meter,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let words = Arc::new(Words {
            id: "words".into(),
            left: Mutex::new(vec!["one", "two", "three"]),
            asked: Mutex::default(),
            answer: Mutex::default(),
            seen: Mutex::default(),
        });
        let step = Arc::<Words>::clone(&words) as Arc<dyn Processor>;
        let mut parts = Parts::new(vec![step], vec![Sink::open("sink", Trust::Internal)]);
        let told: Vec<PipelinePlan> =
            parts.pipelines.drain(..).map(|plan| PipelinePlan { receivers: vec!["told".into()], ..plan }).collect();
        parts.pipelines = told;
        let clock = Arc::<ManualClock>::clone(&parts.clock);
        let (folder, meter) = (tempfile::tempdir().unwrap(), Meter::new());
        let source = Arc::<Words>::clone(&words) as Arc<dyn RequestSource>;
        let settings = RunsConfig::default().settings().unwrap_or_else(|_| panic!("valid"));
        // the source would send no metrics, so spans stand in for any signal
        let connector =
            RunsConnector::build("told".into(), settings, vec![source], vec![Signal::Traces], clock, &meter);
        Self { rig: parts.open(folder.path()), words, connector, meter, _folder: folder }
    }

    fn run(&mut self, time: Duration) -> bool {
        let (stop, inlet) = (watch::Sender::new(false), Arc::clone(&self.rig.engine.inlet));
        let (clock, committer) = (Arc::clone(&self.rig.clock), &mut self.rig.committer);
        let commit = || committer.step(Duration::ZERO).committed > 0;
        let run = self.connector.run(&inlet, stop.subscribe());
        pipeline::testing::drive::drive(&clock, time, run, commit).is_some()
    }
}

/// All words are sent once, after the interval, cleared of content but with text still to be redacted.
#[test]
fn told_once() {
    let mut scene = Scene::new();
    assert_eq!(*scene.words.asked.lock(), [Signal::Traces]);
    assert!(!scene.run(Duration::from_secs(9)));
    assert!(scene.rig.forwarded("sink").is_empty(), "before the interval");
    scene.run(Duration::from_secs(30));
    assert_eq!(scene.rig.forwarded("sink"), ["one", "two", "three"]);
    assert!(scene.words.left.lock().is_empty());
    let cleared = Clearance { content: ContentState::Stripped, text: TextState::Raw };
    assert!(scene.words.seen.lock().iter().all(|seen| *seen == cleared));
    assert!(scene.meter.render().contains("tollgate_connector_requests_total{connector=\"told\"} 3"));
}

/// A portion to be retried is offered again; one that is refused for good is dropped and counted.
#[test]
fn refusals() {
    let mut scene = Scene::new();
    *scene.words.answer.lock() = Some(Reason::Overloaded);
    scene.run(Duration::from_secs(60));
    assert_eq!(scene.words.left.lock().len(), 3, "it waits");
    assert!(scene.rig.forwarded("sink").is_empty());
    *scene.words.answer.lock() = Some(Reason::Malformed);
    scene.run(Duration::from_secs(60));
    assert!(scene.words.left.lock().is_empty());
    assert!(scene.rig.forwarded("sink").is_empty());
    assert!(scene.meter.render().contains("tollgate_connector_refused_total{connector=\"told\"} 3"));
}

/// The connector ends when it is stopped, also while it waits.
#[test]
fn it_ends() {
    let scene = Scene::new();
    let stop = watch::Sender::new(true);
    let inlet = Arc::clone(&scene.rig.engine.inlet);
    let run = scene.connector.run(&inlet, stop.subscribe());
    assert!(pipeline::testing::drive::drive(&scene.rig.clock, Duration::from_secs(1), run, || false).is_some());
}

/// An invalid interval is reported.
#[test]
fn bad_settings() {
    let config: RunsConfig = serde_json::from_str(r#"{"interval": "0s"}"#).unwrap();
    assert_eq!(config.settings().err().unwrap()[0].path, "interval");
    assert!(serde_json::from_str::<RunsConfig>(r#"{"every": "1s"}"#).is_err());
}
