//! Turns one event into an OTLP request with one span. No event waits for another one: each is a whole span by itself,
//! so an OK never stands for something that only memory holds. Content gets the attribute names that the dialect
//! claude-otel-hooks lists, and everything that `event_table` does not list goes into one attribute that is content.

use prost::Message as _;

use otlp::r#gen::opentelemetry::proto;
use proto::collector::trace::v1::ExportTraceServiceRequest;
use proto::common::v1::any_value::Value;
use proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use proto::resource::v1::Resource;
use proto::trace::v1::span::SpanKind;
use proto::trace::v1::status::StatusCode;
use proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::event::HookEvent;
use super::event_table::{EVENT_TABLE, EventOutcome, EventShape, FieldForm, FieldRule, Interval, OTHER_SHAPE};
use super::span_ids::SpanPlace;
use super::start_times::{StartTimes, interval_key};

/// The scope by which the dialect claude-otel-hooks is recognised.
const SCOPE: &str = "claude_code_hooks";
/// The attribute with all fields that have none of their own, as a JSON object; content.
const REST: &str = "hook.input";
/// Longest name of an unlisted event that becomes part of its span's name.
const MAX_NAME: usize = 64;
const NANOS_PER_MS: f64 = 1e6;

/// Makes the request of one event. `now`: the time of arrival, unix ns; the clock of the client is never used.
pub(super) fn translate_event(event: &HookEvent<'_>, account: &str, now: u64, starts: &StartTimes) -> Vec<u8> {
    let shape = EVENT_TABLE.find_shape(&event.name).unwrap_or(&OTHER_SHAPE);
    // the prompt that is named by the events of a session is only the last one
    let turn = event.prompt.as_deref().filter(|_| !shape.span.starts_with("claude_code.session."));
    let start = start_time(event, shape, turn, (account, now), starts);
    let place = SpanPlace::of_event(event, shape, turn, now);
    let mut attributes = SpanAttributes::new(event);
    if let Some(turn) = turn {
        attributes.add_text("turn.id", turn.to_owned());
    }
    attributes.add_shape(event, shape, start.map(|start| now.saturating_sub(start)));
    let status = match &shape.outcome {
        EventOutcome::None => None,
        EventOutcome::Ok => Some(Status { code: StatusCode::Ok as i32, ..Status::default() }),
        EventOutcome::Failed(default) => {
            let message = attributes.add_error_type(event, default);
            Some(Status { code: StatusCode::Error as i32, message })
        }
    };
    let span = Span {
        trace_id: place.trace.to_vec(),
        span_id: place.span.to_vec(),
        parent_span_id: place.parent.map(Vec::from).unwrap_or_default(),
        name: span_name(&event.name, shape),
        kind: SpanKind::Internal as i32,
        start_time_unix_nano: start.unwrap_or(now),
        end_time_unix_nano: now,
        attributes: attributes.finish(event),
        status,
        ..Span::default()
    };
    request(span).encode_to_vec()
}

/// When the span began, if the event or an earlier one says so.
fn start_time(
    event: &HookEvent<'_>,
    shape: &EventShape,
    turn: Option<&str>,
    (account, now): (&str, u64),
    starts: &StartTimes,
) -> Option<u64> {
    let key = |interval: Interval| {
        let id = match interval {
            Interval::Session | Interval::Compaction => Some(String::new()),
            Interval::Turn => turn.map(str::to_owned),
            Interval::Tool => event.text("tool_use_id"),
            Interval::Agent => event.text("agent_id"),
        };
        Some(interval_key(interval, account, &event.session, &id?))
    };
    let session = interval_key(Interval::Session, account, &event.session, "");
    if starts.start_of(&session, now).is_none() {
        starts.begin(account, session, now);
    }
    if let Some(begun) = shape.begins.and_then(key) {
        starts.begin(account, begun, now);
    }
    let reported = event.number("duration_ms").filter(|_| shape.ends == Some(Interval::Tool));
    // a cast from float saturates
    let reported = reported.map(|ms| now.saturating_sub((ms * NANOS_PER_MS) as u64));
    let start = reported.or_else(|| starts.start_of(&shape.ends.and_then(key)?, now));
    if shape.ends == Some(Interval::Session) {
        starts.forget(&session);
    }
    start
}

/// The name of an event's span. The name of an unlisted event is part of it if it looks like one.
fn span_name(event: &str, shape: &EventShape) -> String {
    let is_unlisted = std::ptr::eq(shape, &*OTHER_SHAPE);
    if is_unlisted && is_name(event) { format!("{}.{event}", shape.span) } else { shape.span.clone() }
}

/// Whether a text looks like the name of an event.
fn is_name(event: &str) -> bool {
    event.len() <= MAX_NAME && event.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn request(span: Span) -> ExportTraceServiceRequest {
    let text = |key: &str, text: &str| text_attribute(key, text.to_owned());
    let attributes = vec![
        text("service.name", "claude-code"),
        text("gen_ai.provider.name", "anthropic"),
        text("gen_ai.system", "anthropic"),
    ];
    let scope = InstrumentationScope {
        name: SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: vec![span], ..ScopeSpans::default() }];
    let resource = Some(Resource { attributes, ..Resource::default() });
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans, ..Default::default() }] }
}

struct SpanAttributes {
    list: Vec<KeyValue>,
    /// The event's fields that are in them.
    used: Vec<&'static str>,
}

impl SpanAttributes {
    fn new(event: &HookEvent<'_>) -> Self {
        let mut attributes = Self { list: Vec::new(), used: Vec::new() };
        attributes.add_text("session.id", event.session.clone());
        attributes.add_text("gen_ai.conversation.id", event.session.clone());
        attributes.used.extend(event.prompt.as_ref().map(|_| "prompt_id"));
        if is_name(&event.name) {
            attributes.add_text("hook_event", event.name.clone());
            attributes.used.push("hook_event_name");
        }
        attributes
    }

    fn add(&mut self, key: &str, value: Value) {
        self.list.push(attribute(key, value));
    }

    fn add_text(&mut self, key: &str, text: String) {
        self.add(key, Value::StringValue(text));
    }

    /// Adds the listed fields, and the values that follow from them. `length`: of the span in ns, if known.
    fn add_shape(&mut self, event: &HookEvent<'_>, shape: &'static EventShape, length: Option<u64>) {
        if let Some(operation) = &shape.operation {
            self.add_text("gen_ai.operation.name", operation.clone());
        }
        for rule in EVENT_TABLE.common_fields.iter().chain(&shape.fields) {
            if let Some(value) = read_field(event, rule) {
                self.add(&rule.attribute, value);
                self.used.push(&rule.field);
                if rule.form == FieldForm::AssistantMessage {
                    self.add_length("response", &event.text(&rule.field).unwrap_or_default());
                }
            }
        }
        let length_key = match shape.ends {
            Some(Interval::Session) => Some("session.duration_ms"),
            Some(Interval::Tool) => Some("tool.duration_ms"),
            Some(Interval::Agent) => Some("agent.duration_ms"),
            Some(Interval::Compaction) => Some("compaction.duration_ms"),
            Some(Interval::Turn) | None => None,
        };
        if let (Some(key), Some(length)) = (length_key, length) {
            self.add(key, Value::IntValue(i64::try_from(length / 1_000_000).unwrap_or(i64::MAX)));
        }
        if shape.begins == Some(Interval::Turn)
            && let Some(prompt) = event.text("prompt")
        {
            self.add_length("prompt", &prompt);
        }
        if shape.span.starts_with("claude_code.tool")
            && let Some(tool) = event.text("tool_name")
        {
            self.add_tool_type(&tool);
        }
        if shape.ends == Some(Interval::Tool) {
            self.used.extend(event.number("duration_ms").map(|_| "duration_ms"));
            let has_succeeded = shape.outcome == EventOutcome::Ok;
            self.add("gen_ai.tool.success", Value::BoolValue(has_succeeded));
            if let Some([added, removed]) = has_succeeded.then(|| event.edited_lines()).flatten() {
                self.add_count("edit.lines_added", added);
                self.add_count("edit.lines_removed", removed);
            }
        }
        if shape.event == "PermissionDenied" {
            self.add("permission.denied", Value::BoolValue(true));
        }
    }

    fn add_count(&mut self, key: &str, count: usize) {
        self.add(key, Value::IntValue(i64::try_from(count).unwrap_or(i64::MAX)));
    }

    /// The length of a text, which itself is content.
    fn add_length(&mut self, what: &str, text: &str) {
        self.add_count(&format!("{what}.char_length"), text.chars().count());
        self.add_count(&format!("{what}.word_count"), text.split_whitespace().count());
    }

    /// A tool of an MCP server is named `mcp__SERVER__TOOL`.
    fn add_tool_type(&mut self, tool: &str) {
        let mcp = tool.strip_prefix("mcp__").and_then(|name| name.split_once("__"));
        self.add_text("gen_ai.tool.type", if mcp.is_some() { "extension" } else { "function" }.to_owned());
        if let Some((server, action)) = mcp {
            self.add_text("gen_ai.tool.mcp_server", server.to_owned());
            self.add_text("gen_ai.tool.mcp_action", action.to_owned());
        }
    }

    /// Adds the type of a failure, unless a field gave it, and returns it.
    fn add_error_type(&mut self, event: &HookEvent<'_>, default: &str) -> String {
        let reported = self.list.iter().find(|attribute| attribute.key == "error.type").and_then(|attribute| {
            match attribute.value.as_ref()?.value.as_ref()? {
                Value::StringValue(text) => Some(text.clone()),
                _ => None,
            }
        });
        if let Some(reported) = reported {
            return reported;
        }
        let kind = if event.flag("is_interrupt") == Some(true) { "Interrupted" } else { default };
        self.add_text("error.type", kind.to_owned());
        kind.to_owned()
    }

    /// All attributes, with the fields that no rule read.
    fn finish(mut self, event: &HookEvent<'_>) -> Vec<KeyValue> {
        let dropped = &EVENT_TABLE.dropped_fields;
        let rest = event.rest(|key| dropped.iter().any(|one| one == key) || self.used.contains(&key));
        if let Some(rest) = rest {
            self.add_text(REST, rest);
        }
        self.list
    }
}

/// A field's value; `None` if it is missing, empty or of another type.
fn read_field(event: &HookEvent<'_>, rule: &FieldRule) -> Option<Value> {
    let text = || event.text(&rule.field).filter(|text| !text.is_empty());
    match rule.form {
        FieldForm::Text => text().map(Value::StringValue),
        FieldForm::TextOrJson => text().or_else(|| event.json(&rule.field).map(str::to_owned)).map(Value::StringValue),
        FieldForm::Flag => event.flag(&rule.field).map(Value::BoolValue),
        FieldForm::AssistantMessage => {
            text()?;
            let content = event.json(&rule.field)?;
            let message = format!(r#"[{{"role":"assistant","parts":[{{"type":"text","content":{content}}}]}}]"#);
            Some(Value::StringValue(message))
        }
        FieldForm::Level => event.level(&rule.field).map(Value::StringValue),
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn text_attribute(key: &str, text: String) -> KeyValue {
    attribute(key, Value::StringValue(text))
}
