//! Helpers for the tests of runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value as Json;

use crate::{Config, RunTracker, Settings};
pub(super) use genai::testing::builtin::vocabulary;
use genai::testing::request;
use history::{HistoryStore, HistoryWrite, RunBoard, RunFilter};
use kernel::clock::UnixNanos;
use kernel::pseudonym::{PlainIds, Pseudonymizer};
use kernel::secret::Secret;
use otlp::{Payload, Signal};
use parking_lot::Mutex;
use pipeline::{Batch, BatchOrigin, Effect, Processor, Trust};
use processors::{cost, normalize};
pub(super) use runs::RunSource;
use runs::{RunBudget, RunDetail, RunJudgement, RunOutcome, RunSums, RunView};
use telemetry::Meter;

/// Default time of arrival in tests: 2026-11-20 09:30.
pub(super) const NOW: UnixNanos = UnixNanos(1_795_167_000_000_000_000);

/// When the spans of most tests begin, in seconds.
pub(super) const T0: u64 = 1_795_166_000;

/// These attributes and others, which replace equal ones.
pub(super) fn merged(mut attributes: Json, more: &Json) -> Json {
    attributes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    attributes
}

/// A span of the semantic conventions, with its times in seconds after [`T0`]; the parent 0 is none.
pub(super) fn span(operation: &str, [trace, id, parent]: [u64; 3], [start, end]: [u64; 2], more: &Json) -> Json {
    let own = serde_json::json!({"gen_ai.operation.name": operation, "gen_ai.provider.name": "openai"});
    serde_json::json!({"name": operation, "trace": trace, "span": id, "parent": parent, "start": T0 + start,
        "end": T0 + end, "attributes": merged(own, more)})
}

/// The attributes of a call with these tokens.
pub(super) fn usage(model: &str, input: u64, output: u64) -> Json {
    serde_json::json!({"gen_ai.request.model": model, "gen_ai.usage.input_tokens": input,
        "gen_ai.usage.output_tokens": output})
}

pub(super) fn settings() -> Settings {
    Config::default().settings().unwrap_or_else(|_| panic!("defaults are valid"))
}

pub(super) fn runs_with(settings: Settings, meter: &Meter) -> Arc<RunTracker> {
    with_history(RunTracker::new("runs".into(), settings, vocabulary(), ids(), meter))
}

/// A tracker with a history in memory.
pub(super) fn with_history(runs: RunTracker) -> Arc<RunTracker> {
    *runs.test_history.lock() = Arc::new(Mutex::new(Some(HistoryStore::in_memory())));
    runs.enable_history();
    Arc::new(runs)
}

/// How pages, the API and people ask for runs.
pub(super) trait AskRuns {
    /// The board of the tracker, after ended runs were moved to history's file.
    fn board(&self) -> RunBoard;

    fn recent_runs(&self, limit: usize) -> Vec<RunView> {
        let runs = self.board().latest_runs(0, limit, &RunFilter::default());
        runs.into_iter().map(|detail| detail.view).collect()
    }

    fn find_run_of_account(&self, account: &str, id: &str) -> Option<RunDetail> {
        self.board().find_run(account, id)
    }

    fn accounts_with_run(&self, id: &str) -> Vec<String> {
        self.board().accounts_with_run(id)
    }

    fn budget(&self, account: &str, id: &str) -> Option<RunBudget> {
        self.board().budget(account, id)
    }

    fn sums(&self) -> RunSums {
        self.board().sums(0)
    }

    /// The effect of an outcome that a person reports.
    fn reported_outcome(&self, account: &str, id: &str, outcome: RunOutcome) -> Option<Effect> {
        self.reported(account, id, RunJudgement { outcome: Some(outcome), scores: Vec::new() })
    }

    fn reported(&self, account: &str, id: &str, judgement: RunJudgement) -> Option<Effect>;
}

impl AskRuns for Arc<RunTracker> {
    fn board(&self) -> RunBoard {
        let store = Arc::clone(&self.test_history.lock());
        let write = HistoryWrite { runs: self.take_ended(), ..HistoryWrite::default() };
        let now = self.state.lock().wall_or_max();
        store.lock().as_mut().unwrap().write(&write, now).unwrap();
        RunBoard { sources: vec![Arc::<RunTracker>::clone(self)], store, ..RunBoard::default() }
    }

    fn reported(&self, account: &str, id: &str, judgement: RunJudgement) -> Option<Effect> {
        let view = self.find_run_of_account(account, id)?.view;
        Some(self.judgement_effect(&view, judgement, NOW))
    }
}

pub(super) fn ids() -> Arc<PlainIds> {
    Arc::new(PlainIds(Pseudonymizer::new(&Secret::new("key".into()))))
}

pub(super) fn runs() -> Arc<RunTracker> {
    runs_with(settings(), &Meter::new())
}

pub(super) fn batch(payload: Payload) -> Batch {
    numbered(payload, 0)
}

fn numbered(payload: Payload, number: u64) -> Batch {
    let mut id = [1; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    let origin = BatchOrigin {
        account: "default".into(),
        identity: pipeline::ClientIdentity::Unverified,
        receiver: "otlp".into(),
        trust: Trust::ThirdParty,
        // batches of replicas are numbered in thousands
        received: UnixNanos(NOW.0 + number / 1000),
        id,
        repeat: false,
        source_record: None,
    };
    Batch::new(Arc::new(origin), payload)
}

/// Items of this account, processed and not yet committed.
pub(super) fn processed_as(runs: &RunTracker, account: &str, items: &[Json]) -> Batch {
    let mut batch = batch(request::payload(&serde_json::json!({ "items": items })));
    Arc::make_mut(&mut batch.origin).account = account.into();
    runs.process(&mut batch).unwrap();
    batch
}

/// The steps before `runs`, in pipeline order.
pub(super) struct Line {
    pub(super) steps: Vec<Arc<dyn Processor>>,
    pub(super) runs: Arc<RunTracker>,
    batches: AtomicU64,
}

impl Line {
    /// The `runs` step alone.
    pub(super) fn new(runs: Arc<RunTracker>) -> Self {
        Self { steps: Vec::new(), runs, batches: AtomicU64::new(0) }
    }

    /// Normalize, cost (billing logs if calls arrive on both signals) and runs.
    pub(super) fn whole(runs: Arc<RunTracker>) -> Self {
        Self::metered(runs, &Meter::new())
    }

    /// The same, with the steps' metrics in `meter`.
    pub(super) fn metered(runs: Arc<RunTracker>, meter: &Meter) -> Self {
        Self::priced(runs, meter, |_| {})
    }

    /// The same with other price settings.
    pub(super) fn priced(runs: Arc<RunTracker>, meter: &Meter, change: impl FnOnce(&mut cost::CostConfig)) -> Self {
        let normalize = normalize::NormalizeProcessor::new(
            "normalize".into(),
            &normalize::NormalizeConfig::default().settings().unwrap_or_else(|_| panic!("valid")),
            vocabulary(),
            meter,
        );
        let mut config = cost::CostConfig::default();
        change(&mut config);
        let mut settings = config.settings().unwrap_or_else(|_| panic!("valid"));
        settings.signals = vec![Signal::Logs, Signal::Traces];
        let cost = cost::CostProcessor::new("cost".into(), &settings, vocabulary(), meter);
        let cost = cost.unwrap_or_else(|error| panic!("{}", error.0));
        runs.set_rate_tables(cost.shelf());
        Self { steps: vec![Arc::new(normalize), Arc::new(cost)], ..Self::new(runs) }
    }

    /// Processes and commits a payload; returns the batch as forwarded.
    pub(super) fn play(&self, payload: Payload) -> Batch {
        self.play_from(payload, Trust::ThirdParty)
    }

    /// The same for a payload of a sender with this trust.
    pub(super) fn play_from(&self, payload: Payload, trust: Trust) -> Batch {
        let batch = self.process_from(payload, trust);
        for effect in &batch.effects {
            self.apply(effect);
        }
        batch
    }

    /// Processes and commits items of another account, in the `runs` step alone.
    pub(super) fn play_as(&self, account: &str, items: &[Json]) {
        let batch = processed_as(&self.runs, account, items);
        batch.effects.iter().for_each(|effect| self.apply(effect));
    }

    pub(super) fn process(&self, payload: Payload) -> Batch {
        self.process_from(payload, Trust::ThirdParty)
    }

    fn process_from(&self, payload: Payload, trust: Trust) -> Batch {
        let mut batch = numbered(payload, self.batches.fetch_add(1, Ordering::Relaxed));
        Arc::make_mut(&mut batch.origin).trust = trust;
        for step in &self.steps {
            step.process(&mut batch).unwrap();
        }
        self.runs.process(&mut batch).unwrap();
        batch
    }

    pub(super) fn apply(&self, effect: &Effect) {
        for step in self.steps.iter().filter(|step| *step.id() == effect.processor) {
            step.apply(effect);
        }
        if *self.runs.id() == effect.processor {
            self.runs.apply(effect);
        }
    }

    /// Applies an effect that another replica committed.
    pub(super) fn apply_shared(&self, effect: &Effect, replica: &Arc<str>) {
        let steps = self.steps.iter().map(AsRef::as_ref).chain([&*self.runs as &dyn Processor]);
        steps
            .filter(|step| *step.id() == effect.processor && step.shares_effects())
            .for_each(|step| step.apply_shared(effect, replica));
    }

    /// The next batch gets this number.
    pub(super) fn number_from(&self, number: u64) {
        self.batches.store(number, Ordering::Relaxed);
    }

    /// The checkpoint of each step.
    pub(super) fn checkpoints(&self) -> Vec<Option<Vec<u8>>> {
        self.steps.iter().map(|step| step.checkpoint()).chain([self.runs.checkpoint()]).collect()
    }

    /// Continues the numbering of batches of the previous process, so that batch ids stay unique.
    pub(super) fn number_on_from(&self, before: &Self) {
        self.batches.store(before.batches.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Restores each step's checkpoint.
    pub(super) fn restore(&self, saved: &[Option<Vec<u8>>]) {
        let steps = self.steps.iter().map(AsRef::as_ref).chain([&*self.runs as &dyn Processor]);
        for (step, saved) in steps.zip(saved) {
            assert!(saved.iter().all(|saved| step.restore(saved)));
        }
    }

    /// All runs, in a fixed order.
    pub(super) fn views(&self) -> Vec<RunView> {
        let mut views = self.runs.recent_runs(usize::MAX);
        views.sort_by(|a, b| (&a.session, &a.run).cmp(&(&b.session, &b.run)));
        views
    }
}

impl RunTracker {
    /// The first tick.
    pub(super) fn tick_now(&self, now: UnixNanos) {
        self.tick(now);
    }
}

/// Lets time pass in steps of half a minute.
pub(super) fn wait(runs: &RunTracker, from: UnixNanos, span: Duration) -> UnixNanos {
    let mut now = from;
    runs.tick(now);
    let end = from.plus(span);
    while now < end {
        now = now.plus(Duration::from_secs(30)).min(end);
        runs.tick(now);
    }
    now
}

/// One recorded session.
pub(super) struct Session {
    pub(super) name: String,
    pub(super) manifest: Json,
    pub(super) payloads: Vec<Payload>,
}

/// All recorded sessions of a client.
pub(super) fn sessions(client: &str) -> Vec<Session> {
    let folder = request::at("tests/recordings").join(client);
    let text = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let manifest: Json = serde_json::from_str(&text).unwrap();
    let sessions = manifest["sessions"].as_object().unwrap();
    let read = |name: &String, manifest: &Json| {
        let files = manifest["files"].as_array().unwrap().iter();
        let paths = files.map(|file| folder.join(name).join(file["file"].as_str().unwrap()));
        let payloads = paths.map(|path: PathBuf| request::recorded(&path)).collect();
        Session { name: format!("{client}/{name}"), manifest: manifest.clone(), payloads }
    };
    sessions.iter().map(|(name, manifest)| read(name, manifest)).collect()
}

pub(super) const CLIENTS: [&str; 6] =
    ["claude-code", "claude-otel-hooks", "openinference", "semconv", "codex", "gemini-cli"];

/// Every span and log record as a payload of its own.
pub(super) fn single_items(payloads: &[Payload]) -> Vec<Payload> {
    let mut items = Vec::new();
    for payload in payloads.iter().filter(|payload| payload.signal() != Signal::Metrics) {
        items.extend((0..payload.item_count()).map(|at| payload.subset(&|item| item == at)));
    }
    items
}

/// A view as text, for failure messages.
pub(super) fn show(view: &RunView) -> String {
    let totals = &view.totals;
    let models: Vec<String> = (totals.models.iter())
        .map(|(name, model)| {
            format!("{name} {}x {:?} {} -{}", model.calls, model.tokens, model.atto_usd, model.unpriced)
        })
        .collect();
    let tools: Vec<String> = (totals.tools.iter())
        .map(|(name, tool)| format!("{name} {}+{}f+{}d", tool.ok, tool.failed, tool.denied))
        .collect();
    format!(
        "{} / {} [{:?} {:?}] {}{} {}..{} ({}) models [{}] tools [{}] failed calls {} iterations {} subs {} finish {:?}",
        view.session,
        view.run,
        view.tenant,
        view.feature,
        view.state.as_str(),
        if view.failed { " (failed)" } else { "" },
        view.start,
        view.last,
        view.duration,
        models.join("; "),
        tools.join("; "),
        totals.failed_calls,
        totals.iterations,
        totals.sub_agents,
        totals.finish_reasons,
    )
}
