//! Events to spans by golden cases, hostile events, answers of budgets by golden cases, and the port's answers over real
//! sockets.

mod answers;
mod budget_questions;
mod golden;
mod hostile;
mod saved_work;
mod settings;
mod sockets;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::event::{EventError, HookEvent};
use super::span;
use super::start_times::StartTimes;

/// 2026-11-20T09:00:00Z
const NOON: u64 = 1_795_165_200_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn translate_event(body: &[u8], account: &str, now: u64, starts: &StartTimes) -> Result<Vec<u8>, EventError> {
    Ok(span::translate_event(&HookEvent::parse(body, "session_id")?, account, now, starts))
}

/// The span of an event that arrives at `now`.
fn span_at(event: &str, now: u64, starts: &StartTimes) -> Span {
    let request = translate_event(event.as_bytes(), "default", now, starts).expect("an event");
    let mut request = ExportTraceServiceRequest::decode(&*request).expect("a request");
    let mut resource = request.resource_spans.pop().expect("one resource");
    let mut scope = resource.scope_spans.pop().expect("one scope");
    assert_eq!(scope.scope.expect("a scope").name, "claude_code_hooks");
    assert!(request.resource_spans.is_empty() && resource.scope_spans.is_empty() && scope.spans.len() == 1);
    scope.spans.remove(0)
}

fn span(event: &str) -> Span {
    span_at(event, NOON, &StartTimes::default())
}

fn text(span: &Span, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// An event of one session and turn with these further fields, which begin with a comma.
fn event(name: &str, fields: &str) -> String {
    format!(r#"{{"session_id":"s1","prompt_id":"p1","cwd":"/work","hook_event_name":"{name}"{fields}}}"#)
}
