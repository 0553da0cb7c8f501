//! The `kafka` exporter's stanza, with the Collector's keys where the feature is the same, and its checked
//! [`KafkaExporterSettings`].

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::queue::{RetryOnFailure, SendingQueue};
use ::kafka::{BrokerSettings, SEALED_TOPIC, broker_settings};
use config::{ByteSize, FieldProblem, TimeSpan};
use kernel::key_source::{KeySource, LazyKey};
use otlp::Signal;
use pipeline::spool::SpoolKey;
use pipeline::{AckMode, OutletSettings, Trust};

/// Largest request before compression. A topic takes records of 1 MiB by default, and a request may not shrink.
const MAX_REQUEST: u64 = 1_000_000;
/// Shortest timeout: brokers in sync need some milliseconds, a new leader needs seconds.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Added to `timeout`: limit of one attempt, which also describes the topic, and of a client's wait.
pub(super) const ANSWER_GRACE: Duration = Duration::from_secs(1);
/// Bytes that seal, headers and batch add to a request.
pub(super) const RECORD_OVERHEAD: u64 = 4096;

/// What the exporter writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordEncoding {
    /// Sealed records for tollgate's own receiver `kafka`, all signals in one topic, one record per session's
    /// partition.
    #[default]
    Sealed,
    /// Plain OTLP requests in protobuf, a topic for each signal, as the Collector's receiver reads them.
    OtlpProto,
}

/// The topic of one signal, for `encoding: otlp_proto`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SignalTopicConfig {
    /// Name of the topic. Default: `otlp_spans`, `otlp_logs`, `otlp_metrics`.
    pub topic: Option<String>,
}

::kafka::with_broker_keys! {
    /// Writes telemetry to Kafka: sealed records for a fleet's workers, or plain OTLP for other consumers.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct KafkaExporterConfig {
        /// Form of the records: `sealed` (default) for tollgate's workers, `otlp_proto` for other consumers.
        pub encoding: RecordEncoding,
        /// The topic of sealed records. Default: `tollgate.in`.
        pub topic: Option<String>,
        /// Keys of sealed records, 32 bytes each as base64 or hex (`openssl rand -base64 32`): each a text, `{ kms: …
        /// }` or `{ command: […] }`. The first one seals. Edges and workers need the same ones.
        pub keys: Vec<KeySource>,
        /// Topic of traces, for `encoding: otlp_proto`.
        pub traces: SignalTopicConfig,
        /// Topic of logs, for `encoding: otlp_proto`.
        pub logs: SignalTopicConfig,
        /// Topic of metrics, for `encoding: otlp_proto`.
        pub metrics: SignalTopicConfig,
        /// Writes to a topic that can lose a record which it has acknowledged: one with a single replica, or with
        /// `min.insync.replicas` below 2.
        pub allow_weak_durability: bool,
        /// How long the brokers may take to acknowledge a request. Default: 10 s.
        pub timeout: TimeSpan = TimeSpan::seconds(10),
        /// Largest request before compression; larger batches are split, a larger single item is refused. It must fit
        /// into the topic's `max.message.bytes`. Default: 1,000,000 bytes.
        pub max_request_size: Option<ByteSize>,
        /// What an OK to a client means: `delivered` (default), all replicas in sync have the data; `spooled`, it is in
        /// this gateway's spool and goes out when the brokers can take it; `offered`, nothing. With `delivered`, data
        /// waits in memory if this is its only exporter and no processor stores anything of it, else in the spool.
        pub ack: Option<AckMode>,
        /// Maximum number of bytes that may wait for this exporter, in memory and in the spool separately. Without this
        /// key: 64 MiB in memory; in the spool only `spool.max_size` limits them.
        pub max_pending: Option<ByteSize>,
        /// How data waiting in the spool is read, merged and sent.
        pub sending_queue: SendingQueue,
        /// How long to wait before a failed request is retried.
        pub retry_on_failure: RetryOnFailure,
        /// `internal` sends everything, `third_party` only stripped and redacted telemetry. Default: `internal` for
        /// `sealed`, which only tollgate's workers can open; `third_party` for `otlp_proto`.
        pub trust: Option<Trust>,
    }
}

/// Where records go, and in which form.
#[derive(Clone)]
pub enum RecordTarget {
    /// Sealed records of all signals in one topic.
    Sealed(Arc<str>, LazyKey<SpoolKey>),
    /// Plain requests, a topic for each signal.
    Plain([(Signal, Arc<str>); 3]),
}

impl RecordTarget {
    /// Every topic that is written.
    pub fn topics(&self) -> Vec<Arc<str>> {
        match self {
            Self::Sealed(topic, _) => vec![Arc::clone(topic)],
            Self::Plain(topics) => topics.iter().map(|(_, topic)| Arc::clone(topic)).collect(),
        }
    }

    pub fn topic(&self, signal: Signal) -> Option<&Arc<str>> {
        match self {
            Self::Sealed(topic, _) => Some(topic),
            Self::Plain(topics) => topics.iter().find(|(of, _)| *of == signal).map(|(_, topic)| topic),
        }
    }
}

#[derive(Clone)]
pub struct KafkaExporterSettings {
    pub brokers: BrokerSettings,
    /// Where records go, and in which form.
    pub target: RecordTarget,
    /// Whether a topic is used that can lose acknowledged records.
    pub allow_weak_durability: bool,
    /// How long the brokers may take to acknowledge a request.
    pub timeout: Duration,
    /// Largest request before compression, in bytes.
    pub max_request_bytes: usize,
    /// How the spool serves the exporter.
    pub outlet: OutletSettings,
    /// Which telemetry may be written.
    pub trust: Trust,
    /// Notes on a valid configuration that the user should see.
    pub notes: Vec<FieldProblem>,
}

impl KafkaExporterConfig {
    /// Validates the stanza.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn settings(&self) -> Result<KafkaExporterSettings, Vec<FieldProblem>> {
        let (mut problems, mut notes) = (Vec::new(), Vec::new());
        let cluster = (&*self.brokers, &*self.client_id);
        let mut brokers = broker_settings(cluster, self.tls.as_ref(), &self.auth, &mut problems, &mut notes);
        // A second request to the brokers must fit into the time that a record may take.
        brokers.request_timeout = brokers.request_timeout.min(self.timeout.0 / 2);
        let target = self.target(&mut problems);
        let trust = self.trust.unwrap_or(match self.encoding {
            RecordEncoding::Sealed => Trust::Internal,
            RecordEncoding::OtlpProto => Trust::ThirdParty,
        });
        if self.timeout.0 < MIN_TIMEOUT {
            problems.push(FieldProblem::new("timeout", "must be at least 1s"));
        }
        let (mut outlet, asked) = self.sending_queue.outlet_settings(&self.retry_on_failure, &mut problems);
        let max_request = self.max_request_size.map_or(MAX_REQUEST, |size| size.0).min(asked.unwrap_or(u64::MAX));
        if max_request < 64 << 10 {
            problems.push(FieldProblem::new("max_request_size", "must be at least 64 KiB"));
        }
        let max_request_bytes = usize::try_from(max_request).unwrap_or(usize::MAX);
        outlet.merge_bytes = outlet.merge_bytes.min(max_request_bytes);
        outlet.ack = self.ack.unwrap_or(AckMode::Delivered);
        // Kafka stores the data durably itself; the spool would only add a second copy before the OK.
        outlet.in_memory = outlet.ack == AckMode::Delivered;
        if outlet.ack == AckMode::Delivered
            && self.sending_queue.batch.flush_timeout == SendingQueue::default().batch.flush_timeout
        {
            // A client waits for the answer, so small requests aren't kept back to be merged.
            outlet.linger = Duration::ZERO;
        }
        // Long enough for one whole attempt.
        outlet.answer_wait = self.timeout.0.saturating_add(ANSWER_GRACE);
        outlet.max_pending = self.max_pending.map(|bytes| bytes.0);
        match target {
            Some(target) if problems.is_empty() => Ok(KafkaExporterSettings {
                brokers,
                target,
                allow_weak_durability: self.allow_weak_durability,
                timeout: self.timeout.0,
                max_request_bytes,
                outlet,
                trust,
                notes,
            }),
            _ => Err(problems),
        }
    }

    fn target(&self, problems: &mut Vec<FieldProblem>) -> Option<RecordTarget> {
        let mut refuse = |path: &str, message: &str| problems.push(FieldProblem::new(path, message));
        let signals = [
            (Signal::Traces, "traces", &self.traces, "otlp_spans"),
            (Signal::Logs, "logs", &self.logs, "otlp_logs"),
            (Signal::Metrics, "metrics", &self.metrics, "otlp_metrics"),
        ];
        if self.encoding == RecordEncoding::OtlpProto {
            if self.topic.is_some() {
                refuse("topic", "is for `encoding: sealed`: set `traces.topic`, `logs.topic` and `metrics.topic`");
            }
            if !self.keys.is_empty() {
                refuse("keys", "have no use with `encoding: otlp_proto`, whose records are plain");
            }
            let topics =
                signals.map(|(signal, _, config, default)| (signal, config.topic.as_deref().unwrap_or(default).into()));
            return Some(RecordTarget::Plain(topics));
        }
        for (_, path, config, _) in signals {
            if config.topic.is_some() {
                refuse(path, "is for `encoding: otlp_proto`: sealed records of all signals go to `topic`");
            }
        }
        let Some(key) = self.keys.first() else {
            refuse(
                "keys",
                "must name the key that seals the records, the same as at the workers (32 bytes: `openssl rand -base64 32`)",
            );
            return None;
        };
        match SpoolKey::from_source(key) {
            Ok(key) => Some(RecordTarget::Sealed(self.topic.as_deref().unwrap_or(SEALED_TOPIC).into(), key)),
            Err(why) => {
                refuse("keys[0]", why);
                None
            }
        }
    }
}
