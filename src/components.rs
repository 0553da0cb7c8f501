//! **What**: THE table: every receiver, processor, exporter and extension by its name in YAML, with its configuration.
//! **Why**: `pipeline` and `config` know no component; a new one is a row in each match here, which the compiler asks
//! for. **Invariants**: matches are exhaustive; typing and settings need no I/O. **Not here**: building
//! (`app/assemble`).

use schemars::SchemaGenerator;

use ::otlp::Signal;
use ::vault::chain::digest::MadeBy;
use config::tree::Node;
use config::{ComponentId, FieldProblem, Problem, de, graph::Step, schema::Documented};
use connectors::{forward, runs as connector};
use exporters::spec::ExporterSpec;
use exporters::{debug, file, otlp as otlp_grpc, otlp_http};
use processors::{attributes, cost, filter, normalize, redact, resource, vault};
use receivers::otlp;
use telemetry::{admin, health};

macro_rules! table {
    ($(#[$doc:meta])* $kind:ident, $config:ident, $settings:ident $(=> $spec:path)?: $($(#[$row:meta])* $name:ident = $text:literal $(| $alias:literal)*, $module:ident, $summary:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $kind { $($(#[$row])* $name,)* }

        impl $kind {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The type in a component id, also by an alias of the Collector.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text $(| $alias)* => Some(Self::$name),)* _ => None }
            }

            /// The type in a component id.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// All its names: the type, and the Collector's aliases.
            pub fn names(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$text $(, $alias)*],)* }
            }

            /// The JSON schema of its configuration; definitions stay with `generator`.
            pub fn schema(self, generator: &mut SchemaGenerator) -> serde_json::Value {
                match self { $(Self::$name => generator.subschema_for::<$module::Config>().to_value(),)* }
            }

            /// One line for `tollgate components`.
            pub fn summary(self) -> &'static str {
                match self { $(Self::$name => $summary,)* }
            }

            /// Its configuration with every default, documented.
            pub fn defaults(self) -> Documented {
                match self { $(Self::$name => Documented::of(&$module::Config::default()),)* }
            }

            /// Types a body: what is right of it, and every problem.
            pub fn typed(self, body: &Node, path: &str) -> (Option<$config>, Vec<Problem>) {
                match self {
                    $(Self::$name => {
                        let (config, problems) = de::partly::<$module::Config>(body, path);
                        (config.map($config::$name), problems)
                    })*
                }
            }
        }

        /// As a user wrote it, defaults filled in.
        #[derive(Clone)]
        #[allow(clippy::large_enum_variant, reason = "one per component, made once")]
        pub enum $config { $($(#[$row])* $name($module::Config),)* }

        impl $config {
            /// Which one it is.
            pub fn kind(&self) -> $kind {
                match self { $(Self::$name(_) => $kind::$name,)* }
            }

            /// With its documentation, for `print-config`.
            pub fn documented(&self) -> Documented {
                match self { $(Self::$name(config) => Documented::of(config),)* }
            }

            /// Valid settings.
            ///
            /// # Errors
            /// Every problem, by field.
            pub fn settings(&self) -> Result<$settings, Vec<FieldProblem>> {
                match self { $(Self::$name(config) => config.settings().map($settings::$name),)* }
            }
        }

        /// Valid by construction.
        #[allow(clippy::large_enum_variant, reason = "one per component, made once")]
        #[derive(Clone)]
        pub enum $settings { $($(#[$row])* $name($module::Settings),)* }

        spec!($settings: $($name)*; $($spec)?);
    };
}

/// What the gateway asks of any component of a kind, where the kind has a trait for it.
macro_rules! spec {
    ($settings:ident: $($name:ident)*;) => {};
    ($settings:ident: $($name:ident)*; $spec:path) => {
        impl $settings {
            /// What the gateway asks of it.
            pub fn spec(&self) -> &dyn $spec {
                match self { $(Self::$name(settings) => settings,)* }
            }
        }
    };
}

table! {
    /// Receivers.
    ReceiverKind, ReceiverConfig, ReceiverSettings:
    /// OTLP over gRPC and HTTP.
    Otlp = "otlp", otlp, "OTLP over gRPC and HTTP (protobuf, JSON): traces, logs, metrics";
}

table! {
    /// Processors, in the order that a pipeline keeps.
    ProcessorKind, ProcessorConfig, ProcessorSettings:
    /// Today's names.
    Normalize = "normalize", normalize, "writes today's OpenTelemetry GenAI names beside what came";
    /// Prices.
    Cost = "cost", cost, "prices each model call once, exactly, from a versioned rate table";
    /// Runs and sessions.
    Runs = "runs", tracker, "tells which run an item belongs to; adds up what runs and sessions did and cost";
    /// Content to the vault.
    Vault = "vault", vault, "moves prompts, completions and tool payloads into an encrypted, write-once vault";
    /// Typed placeholders.
    Redact = "redact", redact, "puts typed placeholders in place of what is private, in every text";
    /// Attributes of items.
    Attributes = "attributes", attributes, "inserts, updates and deletes attributes of spans, log records and data points";
    /// Attributes of resources.
    Resource = "resource", resource, "inserts, updates and deletes attributes of resources";
    /// What is not sent.
    Filter = "filter", filter, "drops items before they are sent: rules, noise of known clients, a part of all traces";
}

table! {
    /// Exporters.
    ExporterKind, ExporterConfig, ExporterSettings => ExporterSpec:
    /// OTLP over gRPC.
    Otlp = "otlp" | "otlp_grpc", otlp_grpc, "OTLP over gRPC; presets honeycomb, signoz";
    /// OTLP over HTTP.
    OtlpHttp = "otlp_http" | "otlphttp", otlp_http, "OTLP over HTTP (protobuf); presets honeycomb, signoz";
    /// Standard output.
    Debug = "debug", debug, "prints telemetry to the standard output";
    /// OTLP/JSON lines.
    File = "file", file, "appends OTLP/JSON lines to a file";
}

table! {
    /// Connectors: exporters of some pipelines, receivers of others.
    ConnectorKind, ConnectorConfig, ConnectorSettings:
    /// Runs that are over.
    Runs = "runs", connector, "tells runs and sessions that are over: summaries as logs, agent.* metrics";
    /// One pipeline into another.
    Forward = "forward", forward, "what a pipeline exports to it goes on in the pipelines that receive from it";
}

table! {
    /// Extensions.
    ExtensionKind, ExtensionConfig, ExtensionSettings:
    /// Page and metrics.
    Admin = "admin", admin, "the first page, /metrics, /livez, /readyz";
    /// Probes alone.
    HealthCheck = "health_check", health, "whether it runs and is ready, as the Collector's health_check";
}

impl ReceiverSettings {
    /// Largest request that is taken, as sent or inflated, bytes.
    pub fn largest_request(&self) -> usize {
        let Self::Otlp(settings) = self;
        let grpc = settings.grpc.iter().map(|grpc| &grpc.limits);
        let all = grpc.chain(settings.http.iter().map(|http| &http.limits));
        all.map(|limits| limits.wire.max(limits.inflated)).max().unwrap_or(0)
    }

    /// What is valid, but should be known.
    pub fn notes(&self) -> &[FieldProblem] {
        let Self::Otlp(settings) = self;
        &settings.notes
    }
}

impl ProcessorSettings {
    /// Whether it changes nothing.
    pub fn only_counts(&self) -> bool {
        matches!(self, Self::Redact(settings) if settings.mode == redact::Mode::Audit)
    }

    /// Tells it the text of the configuration that it is part of.
    pub fn told_configuration(&mut self, text: &str) {
        if let Self::Vault(settings) = self {
            settings.made_by = Some(MadeBy::this(text));
        }
    }

    /// The privacy profile of a vault.
    pub fn privacy(&self) -> Option<&'static str> {
        match self {
            Self::Vault(settings) => Some(settings.privacy.name()),
            _ => None,
        }
    }

    /// Whether content may pass it.
    pub fn allows_content(&self) -> bool {
        matches!(self, Self::Redact(settings) if settings.content == redact::ContentPolicy::Allow)
    }
}

impl ProcessorKind {
    /// What it does for order and clearance.
    pub fn step(self) -> Step {
        match self {
            Self::Normalize => Step::Normalize,
            Self::Cost => Step::Cost,
            Self::Runs => Step::Runs,
            Self::Vault => Step::Vault,
            Self::Redact => Step::Redact,
            Self::Attributes | Self::Resource | Self::Filter => Step::Last,
        }
    }
}

impl ConnectorKind {
    /// The step that pipelines must have which export to it: what it tells comes from there. None: it passes on what
    /// comes.
    pub fn of_step(self) -> Option<Step> {
        match self {
            Self::Runs => Some(Step::Runs),
            Self::Forward => None,
        }
    }

    /// What it sends into the pipelines that receive from it.
    pub fn signals(self) -> &'static [Signal] {
        match self {
            Self::Runs => &[Signal::Logs, Signal::Metrics],
            Self::Forward => &Signal::ALL,
        }
    }
}

impl ProcessorSettings {
    /// What is valid, but should be known.
    pub fn notes(&self) -> &[FieldProblem] {
        match self {
            Self::Vault(settings) => &settings.notes,
            Self::Normalize(_)
            | Self::Cost(_)
            | Self::Runs(_)
            | Self::Redact(_)
            | Self::Attributes(_)
            | Self::Resource(_)
            | Self::Filter(_) => &[],
        }
    }
}

impl ExtensionSettings {
    /// What is valid, but should be known.
    pub fn notes(&self) -> &[FieldProblem] {
        match self {
            Self::Admin(settings) => &settings.notes,
            Self::HealthCheck(_) => &[],
        }
    }
}

/// Names of a kind's types, for "did you mean".
pub fn names(section: &str) -> Vec<&'static str> {
    match section {
        "receivers" => ReceiverKind::ALL.iter().map(|kind| kind.name()).collect(),
        "processors" => ProcessorKind::ALL.iter().map(|kind| kind.name()).collect(),
        "exporters" => ExporterKind::ALL.iter().map(|kind| kind.name()).collect(),
        "connectors" => ConnectorKind::ALL.iter().map(|kind| kind.name()).collect(),
        _ => ExtensionKind::ALL.iter().map(|kind| kind.name()).collect(),
    }
}

/// An id as engine and metrics know it.
pub fn id_text(id: &ComponentId) -> std::sync::Arc<str> {
    id.to_string().into()
}
