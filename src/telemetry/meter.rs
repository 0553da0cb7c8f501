//! **What**: [`Meter`]: registers metrics of [`super::names`] with one recorder. **Invariants**: handles are made at
//! build time and kept; label values are owned by the caller and bounded. **Not here**: the HTTP answer (`admin`).

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::names::{ALL, Def, Kind};

static METADATA: Metadata<'static> = Metadata::new("tollgate", Level::INFO, None);

/// The app's recorder. Clones share it.
#[derive(Clone)]
pub struct Meter {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
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
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram(_) => recorder.describe_histogram(name, None, help),
            }
        }
        Self { recorder: Arc::new(recorder), handle }
    }

    fn key(def: &Def, labels: &[(&'static str, &str)]) -> Key {
        let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
        Key::from_parts(def.name, labels)
    }

    /// A counter handle.
    pub fn counter(&self, def: &'static Def, labels: &[(&'static str, &str)]) -> Counter {
        self.recorder.register_counter(&Self::key(def, labels), &METADATA)
    }

    /// A gauge handle.
    pub fn gauge(&self, def: &'static Def, labels: &[(&'static str, &str)]) -> Gauge {
        self.recorder.register_gauge(&Self::key(def, labels), &METADATA)
    }

    /// A histogram handle.
    pub fn histogram(&self, def: &'static Def, labels: &[(&'static str, &str)]) -> Histogram {
        self.recorder.register_histogram(&Self::key(def, labels), &METADATA)
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Moves histogram samples into buckets; call it every few seconds.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}
