//! **What**: [`Meter`]: registers metrics of [`super::names`] with one recorder. **Invariants**: handles are made at
//! build time and kept; label values are owned by the caller and bounded; the few that the page shows are kept a second
//! time, so that a page needs not write and read all of `/metrics`. **Not here**: the HTTP answer (`admin`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use parking_lot::Mutex;

use kernel::clock::UnixNanos;

use super::labels::Values;
use super::names::{self, ALL, Def, Kind};

static METADATA: Metadata<'static> = Metadata::new("tollgate", Level::INFO, None);

/// What the page shows.
const SHOWN: [&Def; 11] = [
    &names::SPOOL_BYTES,
    &names::SPOOL_LIMIT_BYTES,
    &names::SPOOL_OLDEST_SECONDS,
    &names::QUEUE_SIZE,
    &names::SENT_SPANS,
    &names::VAULT_UPLOAD_LAG,
    &names::COST_UNPRICED,
    &names::SET_ASIDE,
    &names::QUARANTINED_ITEMS,
    &names::RSS,
    &names::UPTIME,
];

/// A value that is shown, beside the recorder's own.
struct Shown<H> {
    recorder: H,
    /// Of a gauge the bits of an `f64`.
    value: AtomicU64,
}

impl CounterFn for Shown<Counter> {
    fn increment(&self, value: u64) {
        self.value.fetch_add(value, Ordering::Relaxed);
        self.recorder.increment(value);
    }

    fn absolute(&self, value: u64) {
        self.value.fetch_max(value, Ordering::Relaxed);
        self.recorder.absolute(value);
    }
}

impl Shown<Gauge> {
    fn add(&self, value: f64) {
        let more = |bits: u64| Some((f64::from_bits(bits) + value).to_bits());
        let _ = self.value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

impl GaugeFn for Shown<Gauge> {
    fn increment(&self, value: f64) {
        self.add(value);
        self.recorder.increment(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
        self.recorder.decrement(value);
    }

    fn set(&self, value: f64) {
        self.value.store(value.to_bits(), Ordering::Relaxed);
        self.recorder.set(value);
    }
}

/// Every series of what is shown.
#[derive(Default)]
struct Series {
    counters: HashMap<Key, Arc<Shown<Counter>>>,
    gauges: HashMap<Key, Arc<Shown<Gauge>>>,
}

/// The app's recorder. Clones share it.
#[derive(Clone)]
pub struct Meter {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    shown: Arc<Mutex<Series>>,
    /// When its totals began.
    began: Arc<OnceLock<UnixNanos>>,
    /// Whose totals they are.
    instance: Arc<OnceLock<String>>,
    values: Arc<Mutex<HashMap<&'static str, Arc<Values>>>>,
}

impl Meter {
    /// A recorder with every metric of [`super::names`] described.
    pub fn new() -> Self {
        let mut builder = PrometheusBuilder::new();
        for def in ALL {
            if let Kind::Histogram(bounds) = def.kind {
                // An empty bucket list is the only error; `names` has none (tested).
                builder = match builder.set_buckets_for_metric(Matcher::Full(def.name.to_owned()), bounds) {
                    Ok(builder) => builder,
                    Err(_) => PrometheusBuilder::new(),
                };
            }
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        for def in ALL {
            let (name, help) = (KeyName::from_const_str(def.name), SharedString::const_str(def.help));
            match def.kind {
                Kind::Counter => recorder.describe_counter(name, None, help),
                Kind::Gauge | Kind::Sum => recorder.describe_gauge(name, None, help),
                Kind::Histogram(_) => recorder.describe_histogram(name, None, help),
            }
        }
        Self {
            recorder: Arc::new(recorder),
            handle,
            shown: Arc::default(),
            began: Arc::default(),
            instance: Arc::default(),
            values: Arc::default(),
        }
    }

    fn key(def: &Def, labels: &[(&'static str, &str)]) -> Key {
        let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
        Key::from_parts(def.name, labels)
    }

    /// A counter handle.
    pub fn counter(&self, def: &'static Def, labels: &[(&'static str, &str)]) -> Counter {
        let key = Self::key(def, labels);
        let recorder = self.recorder.register_counter(&key, &METADATA);
        if !is_shown(def) {
            return recorder;
        }
        let mut series = self.shown.lock();
        let made = || Arc::new(Shown { recorder, value: AtomicU64::new(0) });
        Counter::from_arc(Arc::clone(series.counters.entry(key).or_insert_with(made)))
    }

    /// A gauge handle.
    pub fn gauge(&self, def: &'static Def, labels: &[(&'static str, &str)]) -> Gauge {
        let key = Self::key(def, labels);
        let recorder = self.recorder.register_gauge(&key, &METADATA);
        if !is_shown(def) {
            return recorder;
        }
        let mut series = self.shown.lock();
        let made = || Arc::new(Shown { recorder, value: AtomicU64::new(0) });
        Gauge::from_arc(Arc::clone(series.gauges.entry(key).or_insert_with(made)))
    }

    /// A histogram handle.
    pub fn histogram(&self, def: &'static Def, labels: &[(&'static str, &str)]) -> Histogram {
        self.recorder.register_histogram(&Self::key(def, labels), &METADATA)
    }

    /// The value of each series of a metric that the page shows; of others none.
    pub fn values(&self, def: &Def) -> Vec<f64> {
        let of = |key: &Key| key.name() == def.name;
        let series = self.shown.lock();
        let counters = series.counters.iter().filter(|(key, _)| of(key));
        let counters = counters.map(|(_, one)| one.value.load(Ordering::Relaxed) as f64);
        let gauges = series.gauges.iter().filter(|(key, _)| of(key));
        let gauges = gauges.map(|(_, one)| f64::from_bits(one.value.load(Ordering::Relaxed)));
        counters.chain(gauges).collect()
    }

    /// When its totals began: `now`, the first time it is asked.
    pub fn began(&self, now: UnixNanos) -> UnixNanos {
        *self.began.get_or_init(|| now)
    }

    /// The name of who has these totals: what `made` gives, the first time it is asked. Totals go on over reloads, and so must it: under a
    /// second name they would count twice.
    pub fn instance(&self, made: impl FnOnce() -> String) -> &str {
        self.instance.get_or_init(made)
    }

    /// The values of a label that comes from telemetry: one for all who use the label, as long as the series live.
    pub fn label(&self, name: &'static str) -> Arc<Values> {
        Arc::clone(self.values.lock().entry(name).or_default())
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        for def in ALL.iter().filter(|def| def.kind == Kind::Sum) {
            text = text.replacen(&format!("# TYPE {} gauge\n", def.name), &format!("# TYPE {} counter\n", def.name), 1);
        }
        text
    }

    /// Moves histogram samples into buckets; call it every few seconds.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn is_shown(def: &Def) -> bool {
    SHOWN.iter().any(|shown| shown.name == def.name)
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}
