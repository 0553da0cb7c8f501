//! The one table of components: every receiver, processor, exporter, connector and extension by its name in YAML, with
//! its configuration. `pipeline` and `config` know no component; a new one is a row in each match here, and the matches
//! are exhaustive, so the compiler asks for it. Typing and settings need no I/O. Components are built in
//! `app/assemble`.

use schemars::SchemaGenerator;

use ::otlp::Signal;
use config::tree::TreeNode;
use config::{ComponentId, FieldProblem, Problem, de, graph::StepRole, schema::DocumentedValue};
use connectors::{forward, runs as connector};
use exporters::spec::ExporterSpec;
use exporters::{debug, file, kafka as kafka_exporter, otlp as otlp_grpc, otlp_http};
use processors::spec::ProcessorSpec;
use processors::{actions, cost, filter, normalize, redact, vault};
use receivers::{ReceiverPortsView, claude_code_hooks, kafka as kafka_receiver, otlp};
use telemetry::{admin, health};

/// A type of component, without its settings.
pub struct ComponentRow {
    /// The type name in a component id.
    pub name: &'static str,
    /// The type name and the Collector's aliases for it.
    pub names: &'static [&'static str],
    /// A one-line description for `tollgate components`.
    pub summary: &'static str,
    /// The JSON schema of the configuration; shared definitions go to the generator.
    pub schema: fn(&mut SchemaGenerator) -> serde_json::Value,
    /// The default configuration with its documentation.
    pub defaults: fn() -> DocumentedValue,
}

macro_rules! table {
    ($(#[$doc:meta])* $kind:ident, $config:ident, $settings:ident $(=> $spec:path)?: $($(#[$row:meta])* $name:ident = $text:literal $(| $alias:literal)*, $row_config:ty, $row_settings:ty, $summary:literal $(, $role:expr)?;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $kind { $($(#[$row])* $name,)* }

        impl $kind {
            const ROWS: &[ComponentRow] = &[$(ComponentRow {
                name: $text,
                names: &[$text $(, $alias)*],
                summary: $summary,
                schema: |generator| generator.subschema_for::<$row_config>().to_value(),
                defaults: || DocumentedValue::from_value(&<$row_config>::default()),
            },)*];

            /// The kind with this type name, or with this alias of the Collector.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text $(| $alias)* => Some(Self::$name),)* _ => None }
            }

            /// Types a component's body: the configuration without invalid entries, and every problem.
            pub fn typed(self, body: &TreeNode, path: &str) -> (Option<$config>, Vec<Problem>) {
                match self {
                    $(Self::$name => {
                        let (config, problems) = de::deserialize_partial::<$row_config>(body, path);
                        (config.map($config::$name), problems)
                    })*
                }
            }
        }

        /// A configuration as written by a user, with defaults filled in.
        #[derive(Clone)]
        #[allow(clippy::large_enum_variant, reason = "one per component, made once")]
        pub enum $config { $($(#[$row])* $name($row_config),)* }

        impl $config {
            /// The configuration with its documentation, for `print-config`.
            pub fn documented(&self) -> DocumentedValue {
                match self { $(Self::$name(config) => DocumentedValue::from_value(config),)* }
            }

            /// Validates the configuration.
            ///
            /// # Errors
            /// Every problem, named by its field.
            pub fn settings(&self) -> Result<$settings, Vec<FieldProblem>> {
                match self { $(Self::$name(config) => config.settings().map($settings::$name),)* }
            }
        }

        /// Validated settings.
        #[allow(clippy::large_enum_variant, reason = "one per component, made once")]
        #[derive(Clone)]
        pub enum $settings { $($(#[$row])* $name($row_settings),)* }

        spec!($settings: $($name)*; $($spec)?);
        roles!($kind: $($name $($role)?,)*);
    };
}

/// Implements access to the trait that a kind's settings have in common, if there is one.
macro_rules! spec {
    ($settings:ident: $($name:ident)*;) => {};
    ($settings:ident: $($name:ident)*; $spec:path) => {
        impl $settings {
            /// The common interface of this kind's settings.
            pub fn spec(&self) -> &dyn $spec {
                match self { $(Self::$name(settings) => settings,)* }
            }
        }
    };
}

/// Implements the role of a kind's components in a pipeline, for the kind whose rows name one.
macro_rules! roles {
    ($kind:ident: $($name:ident,)*) => {};
    ($kind:ident: $($name:ident $role:expr,)*) => {
        impl $kind {
            /// The component's role in ordering and clearance.
            pub fn step(self) -> StepRole {
                match self { $(Self::$name => $role,)* }
            }
        }
    };
}

table! {
    /// Receivers.
    ReceiverKind, ReceiverConfig, ReceiverSettings:
    /// OTLP over gRPC and HTTP.
    Otlp = "otlp", otlp::OtlpReceiverConfig, otlp::OtlpReceiverSettings, "OTLP over gRPC and HTTP (protobuf, JSON): traces, logs, metrics";
    /// Events of Claude Code's HTTP hooks.
    ClaudeCodeHooks = "claude_code_hooks", claude_code_hooks::ClaudeCodeHooksConfig, claude_code_hooks::ClaudeCodeHooksSettings, "events of Claude Code's HTTP hooks, each as a span";
    /// Records of Kafka.
    Kafka = "kafka", kafka_receiver::KafkaReceiverConfig, kafka_receiver::KafkaReceiverSettings, "records of Kafka: sealed ones of a fleet's edges, or plain OTLP";
}

table! {
    /// Processors, in the order that a pipeline must keep.
    ProcessorKind, ProcessorConfig, ProcessorSettings => ProcessorSpec:
    /// Adds the current names of the GenAI conventions.
    Normalize = "normalize", normalize::NormalizeConfig, normalize::NormalizeConfig, "adds the current OpenTelemetry GenAI attribute names to items", StepRole::Normalize;
    /// Prices model calls.
    Cost = "cost", cost::CostConfig, cost::CostSettings, "prices each model call once, exactly, from a versioned rate table", StepRole::Cost;
    /// Tracks runs and sessions.
    Runs = "runs", tracker::Config, tracker::Settings, "assigns items to runs; sums up activity and cost of runs and sessions", StepRole::Runs;
    /// Moves content to the vault.
    Vault = "vault", vault::VaultConfig, vault::VaultSettings, "moves prompts, completions and tool payloads into an encrypted, write-once vault", StepRole::Vault;
    /// Replaces private text by typed placeholders.
    Redact = "redact", redact::RedactConfig, redact::RedactSettings, "replaces private data in every text with typed placeholders", StepRole::Redact;
    /// Edits attributes of items.
    Attributes = "attributes", actions::AttributesConfig, actions::ActionSettings, "inserts, updates and deletes attributes of spans, log records and data points", StepRole::Last;
    /// Edits attributes of resources.
    Resource = "resource", actions::ResourceConfig, actions::ActionSettings, "inserts, updates and deletes attributes of resources", StepRole::Last;
    /// Drops items.
    Filter = "filter", filter::FilterConfig, filter::FilterSettings, "drops items before they are sent: by rule, noise of known clients, sampling of traces", StepRole::Last;
}

table! {
    /// Exporters.
    ExporterKind, ExporterConfig, ExporterSettings => ExporterSpec:
    /// OTLP over gRPC.
    Otlp = "otlp" | "otlp_grpc", otlp_grpc::Config, otlp_grpc::OtlpGrpcSettings, "OTLP over gRPC; presets honeycomb, signoz";
    /// OTLP over HTTP, protobuf.
    OtlpHttp = "otlp_http" | "otlphttp", otlp_http::Config, otlp_http::OtlpHttpSettings, "OTLP over HTTP (protobuf); presets honeycomb, signoz";
    /// Prints to standard output.
    Debug = "debug", debug::DebugExporterConfig, debug::DebugExporterSettings, "prints telemetry to the standard output";
    /// Writes records to Kafka.
    Kafka = "kafka", kafka_exporter::KafkaExporterConfig, kafka_exporter::KafkaExporterSettings, "records of Kafka: sealed ones for a fleet's workers, or plain OTLP";
    /// Appends OTLP/JSON lines to a file.
    File = "file", file::FileExporterConfig, file::FileExporterSettings, "appends OTLP/JSON lines to a file";
}

table! {
    /// Connectors: exporters of some pipelines, receivers of others.
    ConnectorKind, ConnectorConfig, ConnectorSettings:
    /// Sends summaries of finished runs.
    Runs = "runs", connector::RunsConfig, connector::RunsSettings, "reports finished runs and sessions: summaries as logs, agent.* metrics";
    /// Passes data from one pipeline to another.
    Forward = "forward", forward::ForwardConfig, forward::ForwardSettings, "passes data from pipelines that export to it to pipelines that receive from it";
}

table! {
    /// Extensions.
    ExtensionKind, ExtensionConfig, ExtensionSettings:
    /// The admin port: pages, API, metrics and probes.
    Admin = "admin", admin::AdminConfig, admin::AdminSettings, "the admin page, /metrics, /livez, /readyz";
    /// Health probes only.
    HealthCheck = "health_check", health::HealthCheckConfig, health::HealthCheckSettings, "health and readiness probes, as in the Collector's health_check";
}

impl ReceiverSettings {
    /// The largest request that the receiver accepts, as sent or inflated, in bytes.
    pub fn largest_request(&self) -> usize {
        let settings = match self {
            Self::Otlp(settings) => settings,
            Self::ClaudeCodeHooks(settings) => return settings.largest_request(),
            Self::Kafka(settings) => return settings.max_request_bytes,
        };
        let grpc = settings.grpc.iter().map(|grpc| &grpc.limits);
        let ports = grpc.chain(settings.http.iter().map(|http| &http.limits));
        ports.map(|limits| limits.wire.max(limits.inflated)).max().unwrap_or(0)
    }

    /// Warnings about valid settings.
    pub fn notes(&self) -> &[FieldProblem] {
        match self {
            Self::Otlp(settings) => &settings.notes,
            Self::ClaudeCodeHooks(settings) => &settings.notes,
            Self::Kafka(settings) => &settings.notes,
        }
    }

    /// The settings of a receiver that clients send OTLP to; `None` for another kind.
    pub fn otlp(&self) -> Option<&otlp::OtlpReceiverSettings> {
        match self {
            Self::Otlp(settings) => Some(settings),
            Self::ClaudeCodeHooks(_) | Self::Kafka(_) => None,
        }
    }

    /// The ports that clients send to, and who may; `None` for a receiver that fetches its data.
    pub fn ports(&self) -> Option<ReceiverPortsView<'_>> {
        match self {
            Self::Otlp(settings) => Some(settings.ports()),
            Self::ClaudeCodeHooks(settings) => Some(settings.ports()),
            Self::Kafka(_) => None,
        }
    }
}

impl ConnectorKind {
    /// The step that a pipeline must contain to export to this connector, because the connector sends that step's
    /// results. `None` if the connector passes on the pipeline's own data.
    pub fn required_step(self) -> Option<StepRole> {
        match self {
            Self::Runs => Some(StepRole::Runs),
            Self::Forward => None,
        }
    }

    /// The signals that the connector sends into the pipelines that receive from it.
    pub fn signals(self) -> &'static [Signal] {
        match self {
            Self::Runs => &[Signal::Logs, Signal::Metrics],
            Self::Forward => &Signal::ALL,
        }
    }
}

impl ExtensionSettings {
    /// Warnings about valid settings.
    pub fn notes(&self) -> &[FieldProblem] {
        match self {
            Self::Admin(settings) => &settings.notes,
            Self::HealthCheck(_) => &[],
        }
    }
}

/// The sections of the configuration, with the types of their components in the order of the table.
pub const SECTIONS: [(&str, &[ComponentRow]); 5] = [
    ("receivers", ReceiverKind::ROWS),
    ("processors", ProcessorKind::ROWS),
    ("exporters", ExporterKind::ROWS),
    ("connectors", ConnectorKind::ROWS),
    ("extensions", ExtensionKind::ROWS),
];

/// The types of components in a section.
pub fn component_rows(section: &str) -> &'static [ComponentRow] {
    SECTIONS.iter().find(|(name, _)| *name == section).map_or(&[], |(_, rows)| rows)
}

/// A component id in the text form that the engine and metrics use.
pub fn id_text(id: &ComponentId) -> std::sync::Arc<str> {
    id.to_string().into()
}
