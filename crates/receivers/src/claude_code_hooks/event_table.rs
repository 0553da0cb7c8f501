//! What becomes of each event: its span's name, its place in the turn, and the attribute of each field. The names are
//! those of claude-otel-hooks (`tests/recordings/claude-otel-hooks`, public hook scripts of July 2026); the fields are
//! those of Claude Code 2.1.328. An event or field that is not listed here is kept too: see `span`.

/// How a field becomes an attribute.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldForm {
    Text,
    /// A text, or any other value as JSON text.
    TextOrJson,
    /// True or false.
    Flag,
    /// A text that becomes one message of the assistant, in the form of the conventions.
    AssistantMessage,
    /// The text `level` of an object.
    Level,
}

/// A field of an event, and its attribute.
pub(super) struct FieldRule {
    pub(super) field: &'static str,
    pub(super) attribute: &'static str,
    pub(super) form: FieldForm,
}

const fn rule(field: &'static str, attribute: &'static str, form: FieldForm) -> FieldRule {
    FieldRule { field, attribute, form }
}

const fn text(field: &'static str, attribute: &'static str) -> FieldRule {
    rule(field, attribute, FieldForm::Text)
}

/// What identifies an event's span, so that a repeated event has the same span id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SpanIdentity {
    /// The turn: this span is the root of the turn's trace.
    Turn,
    ToolUse,
    Agent,
    /// Nothing: each event is a span of its own.
    Event,
}

/// A span of time that one event begins and another one ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Interval {
    /// Begins with the first event of the session: Claude Code posts no `SessionStart` over HTTP.
    Session,
    Turn,
    Tool,
    Agent,
    Compaction,
}

/// What the event says about its outcome.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EventOutcome {
    None,
    Ok,
    /// A failure; the text is its type, if the event has none.
    Failed(&'static str),
}

/// How an event becomes a span.
pub(super) struct EventShape {
    /// `hook_event_name`
    pub(super) event: &'static str,
    pub(super) span: &'static str,
    pub(super) operation: Option<&'static str>,
    pub(super) identity: SpanIdentity,
    pub(super) begins: Option<Interval>,
    pub(super) ends: Option<Interval>,
    pub(super) outcome: EventOutcome,
    pub(super) fields: &'static [FieldRule],
}

const INSTANT: EventShape = EventShape {
    event: "",
    span: "",
    operation: None,
    identity: SpanIdentity::Event,
    begins: None,
    ends: None,
    outcome: EventOutcome::None,
    fields: &[],
};

pub(super) const COMMON_FIELDS: &[FieldRule] = &[
    text("cwd", "cwd"),
    text("permission_mode", "permission.mode"),
    text("agent_id", "agent.id"),
    text("agent_type", "agent.type"),
    rule("effort", "effort", FieldForm::Level),
];

/// Fields that are in the span already, or name files on the client's machine.
pub(super) const DROPPED_FIELDS: &[&str] = &["session_id", "transcript_path", "agent_transcript_path"];

const TOOL_INPUT: FieldRule = rule("tool_input", "gen_ai.tool.input", FieldForm::TextOrJson);
const TOOL_NAME: FieldRule = text("tool_name", "gen_ai.tool.name");
const TOOL_USE: FieldRule = text("tool_use_id", "tool_use_id");
const LAST_MESSAGE: FieldRule = rule("last_assistant_message", "gen_ai.output.messages", FieldForm::AssistantMessage);
const STOP_ACTIVE: FieldRule = rule("stop_hook_active", "stop_hook_active", FieldForm::Flag);
const TRIGGER: FieldRule = text("trigger", "compaction.trigger");

pub(super) const EVENTS: &[EventShape] = &[
    EventShape {
        event: "SessionStart",
        span: "claude_code.session.start",
        fields: &[text("source", "session.trigger")],
        ..INSTANT
    },
    EventShape {
        event: "SessionEnd",
        span: "claude_code.session.end",
        operation: Some("session_end"),
        ends: Some(Interval::Session),
        outcome: EventOutcome::Ok,
        fields: &[text("reason", "session.end_reason")],
        ..INSTANT
    },
    EventShape {
        event: "UserPromptSubmit",
        span: "claude_code.user_prompt",
        begins: Some(Interval::Turn),
        fields: &[text("prompt", "gen_ai.prompt"), text("source", "prompt.source")],
        ..INSTANT
    },
    EventShape {
        event: "PreToolUse",
        span: "claude_code.tool.pre",
        identity: SpanIdentity::ToolUse,
        begins: Some(Interval::Tool),
        fields: &[TOOL_NAME, TOOL_USE, TOOL_INPUT],
        ..INSTANT
    },
    EventShape {
        event: "PostToolUse",
        span: "claude_code.tool",
        operation: Some("tool_call"),
        identity: SpanIdentity::ToolUse,
        ends: Some(Interval::Tool),
        outcome: EventOutcome::Ok,
        fields: &[TOOL_NAME, TOOL_USE, TOOL_INPUT, rule("tool_response", "gen_ai.tool.output", FieldForm::TextOrJson)],
        ..INSTANT
    },
    EventShape {
        event: "PostToolUseFailure",
        span: "claude_code.tool",
        operation: Some("tool_call"),
        identity: SpanIdentity::ToolUse,
        ends: Some(Interval::Tool),
        outcome: EventOutcome::Failed("ToolError"),
        fields: &[
            TOOL_NAME,
            TOOL_USE,
            TOOL_INPUT,
            text("error", "error.message"),
            rule("is_interrupt", "tool.interrupted", FieldForm::Flag),
        ],
        ..INSTANT
    },
    EventShape { event: "PostToolBatch", span: "claude_code.tool_batch", ..INSTANT },
    EventShape {
        event: "PermissionRequest",
        span: "claude_code.permission.request",
        fields: &[TOOL_NAME, TOOL_USE, TOOL_INPUT],
        ..INSTANT
    },
    EventShape {
        event: "PermissionDenied",
        span: "claude_code.permission.denied",
        identity: SpanIdentity::ToolUse,
        outcome: EventOutcome::Failed("PermissionDenied"),
        fields: &[TOOL_NAME, TOOL_USE, TOOL_INPUT, text("reason", "permission.deny_reason")],
        ..INSTANT
    },
    EventShape {
        event: "Notification",
        span: "claude_code.notification",
        fields: &[text("notification_type", "notification.type"), text("message", "notification.message")],
        ..INSTANT
    },
    EventShape {
        event: "Stop",
        span: "claude_code.turn.stop",
        identity: SpanIdentity::Turn,
        ends: Some(Interval::Turn),
        outcome: EventOutcome::Ok,
        fields: &[STOP_ACTIVE, LAST_MESSAGE],
        ..INSTANT
    },
    EventShape {
        event: "StopFailure",
        span: "claude_code.turn.stop_failure",
        identity: SpanIdentity::Turn,
        ends: Some(Interval::Turn),
        outcome: EventOutcome::Failed("unknown"),
        fields: &[text("error", "error.type"), text("error_details", "error.message"), LAST_MESSAGE],
        ..INSTANT
    },
    EventShape { event: "SubagentStart", span: "claude_code.subagent.start", begins: Some(Interval::Agent), ..INSTANT },
    EventShape {
        event: "SubagentStop",
        span: "claude_code.subagent",
        operation: Some("subagent"),
        identity: SpanIdentity::Agent,
        ends: Some(Interval::Agent),
        outcome: EventOutcome::Ok,
        fields: &[STOP_ACTIVE, LAST_MESSAGE],
        ..INSTANT
    },
    EventShape {
        event: "PreCompact",
        span: "claude_code.context.pre_compact",
        begins: Some(Interval::Compaction),
        fields: &[TRIGGER, text("custom_instructions", "compaction.instructions")],
        ..INSTANT
    },
    EventShape {
        event: "PostCompact",
        span: "claude_code.context.compact",
        operation: Some("compact"),
        ends: Some(Interval::Compaction),
        outcome: EventOutcome::Ok,
        fields: &[TRIGGER, text("compact_summary", "compaction.summary")],
        ..INSTANT
    },
    EventShape {
        event: "CwdChanged",
        span: "claude_code.cwd_changed",
        fields: &[text("old_cwd", "cwd.previous")],
        ..INSTANT
    },
];

/// Prefix of the span of an event that is not in [`EVENTS`]; the event's name follows.
pub(super) const OTHER_EVENTS: &str = "claude_code.hook";

/// The shape of an event; `None` if it is not listed.
pub(super) fn find_shape(event: &str) -> Option<&'static EventShape> {
    EVENTS.iter().find(|shape| shape.event == event)
}

pub(super) const OTHER_SHAPE: &EventShape = &EventShape { span: OTHER_EVENTS, ..INSTANT };
