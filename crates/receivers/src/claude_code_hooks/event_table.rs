//! [`EVENT_TABLE`]: the contents of `config/hooks.yaml`, whose head explains the fields. An event or field that is not
//! listed there is kept too: see `span`.

use std::sync::LazyLock;

use serde::Deserialize;

const TABLE_TEXT: &str = include_str!("../../../../config/hooks.yaml");

/// The golden cases read the embedded text, so the empty table is never used.
pub(super) static EVENT_TABLE: LazyLock<EventTable> =
    LazyLock::new(|| config::load::parse_data("config/hooks.yaml", TABLE_TEXT).unwrap_or_default());

/// The shape of an event that is not listed; its name follows the span's.
pub(super) static OTHER_SHAPE: LazyLock<EventShape> =
    LazyLock::new(|| EventShape { span: "claude_code.hook".to_owned(), ..EventShape::default() });

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventTable {
    pub(super) common_fields: Vec<FieldRule>,
    pub(super) dropped_fields: Vec<String>,
    events: Vec<EventShape>,
}

impl EventTable {
    /// The shape of an event; `None` if it is not listed.
    pub(super) fn find_shape(&self, event: &str) -> Option<&EventShape> {
        self.events.iter().find(|shape| shape.event == event)
    }
}

/// How a field becomes an attribute.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FieldForm {
    #[default]
    Text,
    TextOrJson,
    Flag,
    AssistantMessage,
    Level,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldRule {
    pub(super) field: String,
    pub(super) attribute: String,
    #[serde(default)]
    pub(super) form: FieldForm,
}

/// What identifies an event's span.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SpanIdentity {
    Turn,
    ToolUse,
    Agent,
    #[default]
    Event,
}

/// A span of time that one event begins and another one ends.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Interval {
    /// Begins with the first event of the session: Claude Code posts no `SessionStart` over HTTP.
    Session,
    Turn,
    Tool,
    Agent,
    Compaction,
}

/// What the event says about its outcome.
#[derive(Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EventOutcome {
    #[default]
    None,
    Ok,
    Failed(String),
}

/// How an event becomes a span.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EventShape {
    pub(super) event: String,
    pub(super) span: String,
    pub(super) operation: Option<String>,
    pub(super) identity: SpanIdentity,
    pub(super) begins: Option<Interval>,
    pub(super) ends: Option<Interval>,
    pub(super) outcome: EventOutcome,
    pub(super) fields: Vec<FieldRule>,
}
