//! `sending_queue` and `retry_on_failure` in the Collector's spelling, translated to settings of the exporter's
//! outlet (`pipeline/outlet`): the spool is the queue, the outlet is the batcher. A Collector stanza can therefore be
//! pasted in. A key that works differently here is accepted with a note that says so, and a size that counts items is
//! never read as bytes.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{ByteSize, FieldProblem, TimeSpan};
use pipeline::OutletSettings;

/// Largest allowed value of `num_consumers`.
const MAX_CONSUMERS: u32 = 1024;

kernel::with_defaults! {
    /// How data waiting in the spool is read, merged and sent.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct SendingQueue {
        /// Maximum number of concurrent requests, from 1 to 1024. Default: 4.
        pub num_consumers: u32 = u32::try_from(OutletSettings::default().consumers).unwrap_or(MAX_CONSUMERS),
        /// Bytes read ahead from the spool. Default: 16 MiB.
        pub read_ahead: ByteSize = ByteSize(OutletSettings::default().window_bytes as u64),
        /// How small batches of one signal and account are merged.
        pub batch: BatchMergeConfig,
        /// Not used: all data waits in the spool.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub enabled: Option<bool>,
        /// Not used: `spool.max_size` limits how much data waits.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub queue_size: Option<u64>,
        /// Not used: see `queue_size`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub sizer: Option<Sizer>,
        /// Not used: all data waits in the spool.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub storage: Option<String>,
        /// Not used: clients are answered once the spool has their data.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub wait_for_result: Option<bool>,
        /// Not used: when the spool is full, requests are refused and clients retry.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub block_on_overflow: Option<bool>,
    }
}

kernel::with_defaults! {
    /// How small batches of one signal and account are merged.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct BatchMergeConfig {
        /// How long a small batch waits to be merged with others. Default: 200 ms.
        pub flush_timeout: TimeSpan = TimeSpan(OutletSettings::default().linger),
        /// A batch of at least this size is sent without waiting, and batches are merged up to it. In bytes; needs
        /// `sizer: bytes` beside it. Default: 4 MiB, or `max_request_size` if that is less.
        pub min_size: Option<ByteSize>,
        /// Largest request, as `max_request_size`; the smaller of the two applies. In bytes; needs `sizer: bytes`
        /// beside it.
        pub max_size: Option<ByteSize>,
        /// The unit of `min_size` and `max_size`. tollgate supports `bytes` only; without this key the Collector counts
        /// items.
        pub sizer: Option<Sizer>,
    }
}

/// A unit in which the Collector counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sizer {
    /// Protobuf bytes.
    Bytes,
    /// Spans, log records, data points.
    Items,
    /// Batches.
    Requests,
}

kernel::with_defaults! {
    /// How long to wait before a failed request is retried. Retries continue until the back end accepts or refuses it.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct RetryOnFailure {
        /// Wait before the first retry. Each further wait is 1.5 times longer, varied by up to a quarter. Default: 5 s.
        pub initial_interval: TimeSpan = TimeSpan(OutletSettings::default().retry_initial),
        /// Longest wait between retries, unless the back end asks for a longer one. Default: 30 s.
        pub max_interval: TimeSpan = TimeSpan(OutletSettings::default().retry_max),
        /// Not used: accepted data is retried until it is delivered.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub enabled: Option<bool>,
        /// Not used: accepted data is retried until it is delivered.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub max_elapsed_time: Option<TimeSpan>,
        /// Not used: each wait is 1.5 times the one before.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub multiplier: Option<f64>,
        /// Not used: waits vary by up to a quarter.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub randomization_factor: Option<f64>,
    }
}

impl BatchMergeConfig {
    fn is_in_bytes(&self) -> bool {
        self.sizer == Some(Sizer::Bytes)
    }
}

impl SendingQueue {
    /// Converts to outlet settings and, if this stanza sets one, the largest request in bytes. Adds problems to
    /// `problems`.
    pub fn outlet_settings(
        &self,
        retry: &RetryOnFailure,
        problems: &mut Vec<FieldProblem>,
    ) -> (OutletSettings, Option<u64>) {
        let mut problem = |path: &str, what: &str| problems.push(FieldProblem::new(path, what));
        if self.num_consumers == 0 || self.num_consumers > MAX_CONSUMERS {
            problem("sending_queue.num_consumers", "must be from 1 to 1024");
        }
        if self.read_ahead.0 == 0 {
            problem("sending_queue.read_ahead", "must be more than zero");
        }
        let (min_size, max_size) = match self.batch.is_in_bytes() {
            true => (self.batch.min_size.map(|size| size.0), self.batch.max_size.map(|size| size.0)),
            false => (None, None),
        };
        // As in the Collector, 0 means no limit.
        let max_size = max_size.filter(|max| *max > 0);
        if max_size.zip(min_size).is_some_and(|(max, min)| min > max) {
            problem("sending_queue.batch.max_size", "must be at least `min_size`");
        }
        if retry.initial_interval.0.is_zero() {
            problem("retry_on_failure.initial_interval", "must be more than zero");
        }
        if retry.max_interval < retry.initial_interval {
            problem("retry_on_failure.max_interval", "must be at least `initial_interval`");
        }
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let defaults = OutletSettings::default();
        let settings = OutletSettings {
            consumers: self.num_consumers as usize,
            linger: self.batch.flush_timeout.0,
            merge_bytes: min_size.map_or(defaults.merge_bytes, bytes),
            window_bytes: bytes(self.read_ahead.0),
            retry_initial: retry.initial_interval.0,
            retry_max: retry.max_interval.0,
            ..defaults
        };
        (settings, max_size)
    }

    /// Notes on keys that work differently in the Collector.
    pub fn notes(&self) -> Vec<FieldProblem> {
        let batch = &self.batch;
        let not_bytes =
            "is not used: tollgate measures batches in bytes; set `sizer: bytes` and give the size in bytes";
        let spooled = "is not used: all data waits in the spool, which is encrypted and synced to disk";
        collect_notes(
            "sending_queue",
            [
                ("enabled", self.enabled == Some(false), spooled),
                (
                    "queue_size",
                    self.queue_size.is_some(),
                    "is not used: `spool.max_size` limits the waiting data, in bytes",
                ),
                ("sizer", self.sizer.is_some(), "is not used: `spool.max_size` limits the waiting data, in bytes"),
                ("storage", self.storage.is_some(), spooled),
                (
                    "wait_for_result",
                    self.wait_for_result == Some(true),
                    "is not used: clients are answered after the spool's fsync; set `ack: delivered` to wait for the back end",
                ),
                (
                    "block_on_overflow",
                    self.block_on_overflow == Some(true),
                    "is not used: a full spool refuses requests at once",
                ),
                ("batch.min_size", batch.min_size.is_some() && !batch.is_in_bytes(), not_bytes),
                ("batch.max_size", batch.max_size.is_some() && !batch.is_in_bytes(), not_bytes),
            ],
        )
    }
}

impl RetryOnFailure {
    /// Notes on keys that work differently in the Collector.
    pub fn notes(&self) -> Vec<FieldProblem> {
        let has_end = self.max_elapsed_time.is_some_and(|time| time.0 > Duration::ZERO);
        let no_end = "is not used: accepted data is retried until the back end accepts it or refuses it for good";
        let differs = |written: Option<f64>, ours: f64| written.is_some_and(|written| (written - ours).abs() > 1e-9);
        collect_notes(
            "retry_on_failure",
            [
                ("enabled", self.enabled == Some(false), no_end),
                ("max_elapsed_time", has_end, no_end),
                ("multiplier", differs(self.multiplier, 1.5), "is not used: each wait is 1.5 times the previous one"),
                (
                    "randomization_factor",
                    differs(self.randomization_factor, 0.25),
                    "is not used: waits vary by up to a quarter",
                ),
            ],
        )
    }
}

/// The notes of `(key, whether the note applies, text)`.
fn collect_notes<const N: usize>(stanza: &str, candidates: [(&str, bool, &str); N]) -> Vec<FieldProblem> {
    let notes = candidates.into_iter().filter(|(_, applies, _)| *applies);
    notes.map(|(key, _, what)| FieldProblem::new(format!("{stanza}.{key}"), what)).collect()
}
