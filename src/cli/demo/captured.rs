//! [`CapturedTelemetry`]: incoming or outgoing telemetry as a list of items, so that both can be compared. Outgoing
//! telemetry is read from the exporter's own file. `costs`, `opened_content` and `story` use it.

use kernel::hex;
use otlp::{NodeId, NodeKind, Payload, Signal, Value, json};

use super::session::RecordedRequest;
use crate::cli::error::CommandError;

/// Parsed requests. They hold telemetry text, so there is no `Debug`.
pub(super) struct CapturedTelemetry {
    payloads: Vec<Payload>,
}

/// A span, log record or data point.
#[derive(Clone, Copy)]
pub(super) struct CapturedItem<'a> {
    payload: &'a Payload,
    node: NodeId,
}

impl CapturedTelemetry {
    /// The items of requests that are sent.
    ///
    /// # Errors
    /// A request can't be parsed; the message holds no payload.
    pub(super) fn from_requests(requests: &[RecordedRequest]) -> Result<Self, CommandError> {
        let read = |request: &RecordedRequest| Payload::parse(request.signal, request.body.clone());
        let payloads = requests.iter().map(read).collect::<Result<_, _>>();
        Ok(Self { payloads: payloads.map_err(|error| error.to_string())? })
    }

    /// The items in the output of a `file` exporter.
    ///
    /// # Errors
    /// A line can't be parsed; the message holds no payload.
    pub(super) fn from_exported(lines: &[u8]) -> Result<Self, CommandError> {
        let mut payloads = Vec::new();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let known = [
                (Signal::Traces, &b"{\"resourceSpans\""[..]),
                (Signal::Logs, &b"{\"resourceLogs\""[..]),
                (Signal::Metrics, &b"{\"resourceMetrics\""[..]),
            ];
            let (signal, _) = known
                .into_iter()
                .find(|(_, start)| line.starts_with(start))
                .ok_or("a line of the exporter's file contains no known signal")?;
            let wire = json::decode(signal, line).map_err(|error| error.to_string())?;
            payloads.push(Payload::parse(signal, wire.into()).map_err(|error| error.to_string())?);
        }
        Ok(Self { payloads })
    }

    /// All items, in order of arrival.
    pub(super) fn items(&self) -> impl Iterator<Item = CapturedItem<'_>> {
        self.payloads.iter().flat_map(|payload| payload.items().map(move |node| CapturedItem { payload, node }))
    }

    /// Number of items of a signal.
    pub(super) fn count(&self, signal: Signal) -> usize {
        self.payloads.iter().filter(|payload| payload.signal() == signal).map(Payload::item_count).sum()
    }

    /// The item with the same identity as `other`.
    pub(super) fn find_same(&self, other: CapturedItem<'_>) -> Option<CapturedItem<'_>> {
        let identity = other.identity()?;
        self.items().find(|item| item.identity().as_ref() == Some(&identity))
    }
}

impl<'a> CapturedItem<'a> {
    /// `span`, `log` or `point`.
    pub(super) fn kind(self) -> &'static str {
        match self.payload.signal() {
            Signal::Traces => "span",
            Signal::Logs => "log",
            Signal::Metrics => "point",
        }
    }

    /// Name of the span, or event name of the log record.
    pub(super) fn name(self) -> &'a str {
        match self.payload.kind(self.node) {
            NodeKind::Span => self.payload.text(self.node, otlp::TextField::Name),
            _ => self.payload.get_str(self.node, "event.name").unwrap_or_default(),
        }
    }

    /// The identity that an item has in both directions; data points have none.
    pub(super) fn identity(self) -> Option<(&'a str, String)> {
        match self.payload.kind(self.node) {
            NodeKind::Span => Some((self.name(), hex::encode(self.payload.span_id(self.node)))),
            NodeKind::LogRecord => Some((self.name(), self.text("event.sequence")?)),
            _ => None,
        }
    }

    /// An attribute as text. `path` is `key`, or `event/key` for an attribute of the span's event with that name.
    pub(super) fn text(self, path: &str) -> Option<String> {
        let (node, key) = match path.split_once('/') {
            Some((event, key)) => {
                let named = |child: &NodeId| self.payload.text(*child, otlp::TextField::Name) == event;
                (self.payload.children(self.node).find(named)?, key)
            }
            None => (self.node, path),
        };
        Some(value_text(self.payload.get(node, key)?))
    }
}

fn value_text(value: Value<'_>) -> String {
    match value {
        Value::Str(text) => text.to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        other => {
            let mut text = String::new();
            other.write_json(&mut text);
            text
        }
    }
}
