//! The `kafka` receiver's stanza, with the Collector's keys where the feature is the same, and its checked
//! [`KafkaReceiverSettings`].

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use ::kafka::{BrokerSettings, SEALED_TOPIC, broker_settings};
use config::{ByteSize, FieldProblem, TimeSpan};
use kernel::key_source::{KeySource, LazyKey};
use otlp::Signal;
use pipeline::Trust;
use pipeline::spool::SpoolKey;

/// Topic of records that can't be read.
const DEAD_TOPIC: &str = "tollgate.dead";
const GROUP: &str = "tollgate";
/// Largest request, in bytes, inflated.
const MAX_REQUEST: u64 = 64 << 20;
/// Shortest session: brokers refuse less by default.
const MIN_SESSION: Duration = Duration::from_secs(6);

/// The form of plain records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlainEncoding {
    /// OTLP requests in protobuf.
    #[default]
    OtlpProto,
    /// OTLP requests in JSON.
    OtlpJson,
}

/// Topics of one signal with plain records, as the Collector writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlainTopicConfig {
    /// Name of the topic.
    pub topic: Option<String>,
    /// `otlp_proto` (default) or `otlp_json`.
    pub encoding: PlainEncoding,
}

::kafka::with_broker_keys! {
    /// Reads telemetry from Kafka: sealed records of a fleet's edges, or plain OTLP of other producers. A record's
    /// offset is committed after the gateway's spool has it on disk.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct KafkaReceiverConfig {
        /// The consumer group; the same for all workers of a fleet. Default: `tollgate`.
        pub group_id: String = GROUP.to_owned(),
        /// A name of this worker that stays over restarts, such as the pod's, so that a restart moves no partition.
        pub group_instance_id: Option<String>,
        /// How long the group waits for a silent worker before others get its partitions. Default: 30 s.
        pub session_timeout: TimeSpan = TimeSpan::seconds(30),
        /// The topic of sealed records. Default: `tollgate.in`, unless a signal has a topic of plain records.
        pub topic: Option<String>,
        /// Keys of sealed records: each a text, `{ kms: … }` or `{ command: […] }`. Each of them opens records; the
        /// first one seals what this worker writes to `effects_topic`. Edges and workers need the same ones.
        pub keys: Vec<KeySource>,
        /// Topic of plain traces.
        pub traces: PlainTopicConfig,
        /// Topic of plain logs.
        pub logs: PlainTopicConfig,
        /// Topic of plain metrics.
        pub metrics: PlainTopicConfig,
        /// Account of plain records. Default: `default`.
        pub account: String = "default".to_owned(),
        /// Topic for records that can't be read. They are copied there unchanged, with the reason in a header. Default:
        /// `tollgate.dead`.
        pub dead_topic: String = DEAD_TOPIC.to_owned(),
        /// Topic through which the workers of a fleet exchange updates of runs, such as `tollgate.effects`: a run goes
        /// on when its records move to another worker, and every worker shows all runs. Needs `group_instance_id` and
        /// `keys`. Without this key, each worker knows only its own runs.
        pub effects_topic: Option<String>,
        /// Bytes of records that may be processed at the same time. Default: 64 MiB.
        pub max_in_flight: ByteSize = ByteSize(64 << 20),
        /// Largest request, inflated. Default: 64 MiB.
        pub max_request_size: ByteSize = ByteSize(MAX_REQUEST),
        /// `internal` keeps the stamps of an upstream tollgate; `third_party` (default) removes them. Edges forward
        /// what clients sent, so a fleet's workers need no `internal`.
        pub trust: Trust,
        /// Keeps the verified ids of sealed records (`tollgate.identity.verified`, `tollgate.user.groups`,
        /// `tollgate.claimed.*`): all edges verify who sends, and write it with the step `normalize`
        /// (docs/how-to/identity.md). Default: `false`.
        pub edges_verify: bool,
    }
}

#[derive(Clone, Debug)]
pub struct PlainTopic {
    pub topic: Arc<str>,
    pub signal: Signal,
    /// The form of its records.
    pub encoding: PlainEncoding,
}

#[derive(Clone)]
pub struct KafkaReceiverSettings {
    pub brokers: BrokerSettings,
    pub group: String,
    /// The member's name over restarts.
    pub instance: Option<String>,
    /// How long the group waits for a silent member.
    pub session_timeout: Duration,
    /// The topic of sealed records, if it is read.
    pub sealed_topic: Option<Arc<str>>,
    /// Keys of sealed records.
    pub keys: Vec<LazyKey<SpoolKey>>,
    pub plain_topics: Vec<PlainTopic>,
    /// Account of plain records.
    pub account: Arc<str>,
    /// Topic for records that can't be read.
    pub dead_topic: Arc<str>,
    /// Topic by which workers tell each other of their runs.
    pub effects_topic: Option<Arc<str>>,
    /// Bytes of records that may be processed at the same time.
    pub max_in_flight: usize,
    /// Largest request, inflated, in bytes.
    pub max_request_bytes: usize,
    /// How far the producers are trusted.
    pub trust: Trust,
    /// See [`KafkaReceiverConfig::edges_verify`].
    pub edges_verify: bool,
    /// Notes on a valid configuration that the user should see.
    pub notes: Vec<FieldProblem>,
}

impl KafkaReceiverSettings {
    /// The opened keys, in order. The app opens all of them before it builds the receiver.
    pub(super) fn opened_keys(&self) -> Vec<SpoolKey> {
        self.keys.iter().filter_map(LazyKey::get).cloned().collect()
    }

    /// The group by which this worker reads the effects of others: each worker reads all of them, so each is a group.
    pub fn effects_group(&self) -> Option<String> {
        let instance = self.instance.as_ref().filter(|_| self.effects_topic.is_some())?;
        Some(format!("{}.effects.{instance}", self.group))
    }

    /// Every topic that is read.
    pub fn topics(&self) -> Vec<Arc<str>> {
        let plain = self.plain_topics.iter().map(|topic| Arc::clone(&topic.topic));
        self.sealed_topic.iter().cloned().chain(plain).collect()
    }
}

impl KafkaReceiverConfig {
    /// Validates the stanza.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn settings(&self) -> Result<KafkaReceiverSettings, Vec<FieldProblem>> {
        let (mut problems, mut notes) = (Vec::new(), Vec::new());
        let cluster = (&*self.brokers, &*self.client_id);
        let brokers = broker_settings(cluster, self.tls.as_ref(), &self.auth, &mut problems, &mut notes);
        let plain_topics = self.plain_topics();
        let reads_sealed = self.topic.is_some() || plain_topics.is_empty();
        let sealed_topic: Option<Arc<str>> = reads_sealed.then(|| self.topic.as_deref().unwrap_or(SEALED_TOPIC).into());
        let mut keys = Vec::new();
        for (index, key) in self.keys.iter().enumerate() {
            match SpoolKey::from_source(key) {
                Ok(key) => keys.push(key),
                Err(why) => problems.push(FieldProblem::new(format!("keys[{index}]"), why)),
            }
        }
        if reads_sealed && self.keys.is_empty() {
            problems.push(FieldProblem::new("keys", "must name the keys of the edges' records, which it opens"));
        }
        for (path, text) in [("group_id", &self.group_id), ("account", &self.account), ("dead_topic", &self.dead_topic)]
        {
            if text.is_empty() {
                problems.push(FieldProblem::new(path, "must not be empty"));
            }
        }
        if sealed_topic.iter().chain(plain_topics.iter().map(|plain| &plain.topic)).any(|one| **one == self.dead_topic)
        {
            problems.push(FieldProblem::new("dead_topic", "must not be a topic that is read"));
        }
        let mut names: Vec<_> = sealed_topic.iter().chain(plain_topics.iter().map(|plain| &plain.topic)).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            problems.push(FieldProblem::new("topic", "each topic may be named once: its records have one form"));
        }
        if let Some(topic) = &self.effects_topic {
            if topic.is_empty() || names.iter().any(|name| ***name == **topic) || *topic == self.dead_topic {
                problems.push(FieldProblem::new("effects_topic", "must be a topic of its own"));
            }
            if self.keys.is_empty() {
                problems.push(FieldProblem::new("keys", "must name a key: what workers tell each other is sealed"));
            }
            if self.group_instance_id.as_deref().is_none_or(str::is_empty) {
                let why = "must be set with `effects_topic`: it says which worker counts a run";
                problems.push(FieldProblem::new("group_instance_id", why));
            }
        }
        if self.session_timeout.0 < MIN_SESSION {
            problems.push(FieldProblem::new("session_timeout", "must be at least 6s: brokers refuse less"));
        }
        if self.max_in_flight.0 < 1 << 20 {
            problems.push(FieldProblem::new("max_in_flight", "must be at least 1 MiB"));
        }
        if self.max_request_size.0 == 0 {
            problems.push(FieldProblem::new("max_request_size", "must be more than zero"));
        }
        if self.group_instance_id.is_none() {
            notes.push(FieldProblem::new(
                "group_instance_id",
                "is not set, so a restart moves this worker's partitions to others and back: set it to the pod's name",
            ));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(KafkaReceiverSettings {
            brokers,
            group: self.group_id.clone(),
            instance: self.group_instance_id.clone().filter(|instance| !instance.is_empty()),
            session_timeout: self.session_timeout.0,
            sealed_topic,
            keys,
            plain_topics,
            account: self.account.as_str().into(),
            dead_topic: self.dead_topic.as_str().into(),
            effects_topic: self.effects_topic.as_deref().map(Into::into),
            max_in_flight: usize::try_from(self.max_in_flight.0).unwrap_or(usize::MAX),
            max_request_bytes: usize::try_from(self.max_request_size.0).unwrap_or(usize::MAX),
            trust: self.trust,
            edges_verify: self.edges_verify,
            notes,
        })
    }

    fn plain_topics(&self) -> Vec<PlainTopic> {
        let signals = [(Signal::Traces, &self.traces), (Signal::Logs, &self.logs), (Signal::Metrics, &self.metrics)];
        let named = signals.into_iter().filter_map(|(signal, config)| {
            Some(PlainTopic { topic: config.topic.as_deref()?.into(), signal, encoding: config.encoding })
        });
        named.collect()
    }
}
