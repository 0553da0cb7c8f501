//! Renders a request as text for people. Characters that a terminal could interpret (control characters, direction
//! marks) are shown as escapes. `spans` shows the verbosity `spans`, `mod` prints the text.

use std::fmt::Write as _;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::config::Verbosity;
use super::tree::JsonNode;
use kernel::terminal::{is_unsafe, push_json_escape};
use otlp::{Signal, json};
use pipeline::ExportRequest;

/// The text of a request, only its first line with `basic` and `spans`; `None` if the request can't be decoded.
pub fn render_request(request: &ExportRequest, verbosity: Verbosity) -> Option<String> {
    let (signal, items) = (request.signal.as_str(), request.signal.format_count(request.items));
    let mut out = format!("{signal}: {items}, {} bytes\n", request.body.len());
    if verbosity == Verbosity::Basic || verbosity == Verbosity::Spans {
        return Some(out);
    }
    let mut text = String::new();
    json::encode(request.signal, &request.body.joined(), &mut text).ok()?;
    let tree = JsonNode::read(&text)?;
    if verbosity == Verbosity::Detailed {
        write_all_fields(&mut out, &tree, 1);
    } else {
        write_lines(&mut out, request.signal, &tree);
    }
    Some(out)
}

// --- normal ---

/// One line per resource, scope, item and data point.
fn write_lines(out: &mut String, signal: Signal, tree: &JsonNode<'_>) {
    let (resources_key, scopes_key, items_key) = match signal {
        Signal::Traces => ("resourceSpans", "scopeSpans", "spans"),
        Signal::Metrics => ("resourceMetrics", "scopeMetrics", "metrics"),
        Signal::Logs => ("resourceLogs", "scopeLogs", "logRecords"),
    };
    for resource in elements(tree, resources_key) {
        out.push_str("  resource");
        write_attributes(out, resource.get("resource"), "attributes");
        out.push('\n');
        for scope in elements(resource, scopes_key) {
            out.push_str("    scope");
            if let Some(scope) = scope.get("scope") {
                write_fields(out, scope, &["name", "version"]);
                write_attributes(out, Some(scope), "attributes");
            }
            out.push('\n');
            for item in elements(scope, items_key) {
                write_item(out, signal, item);
            }
        }
    }
}

fn write_item(out: &mut String, signal: Signal, item: &JsonNode<'_>) {
    out.push_str("      ");
    match signal {
        Signal::Traces => {
            out.push_str("span");
            write_fields(out, item, &["name", "traceId", "spanId"]);
            write_attributes(out, Some(item), "attributes");
        }
        Signal::Logs => {
            out.push_str("log");
            write_fields(out, item, &["severityText", "eventName", "traceId", "spanId"]);
            if let Some(body) = item.get("body") {
                out.push(' ');
                write_value(out, body);
            }
            write_attributes(out, Some(item), "attributes");
        }
        Signal::Metrics => {
            out.push_str("metric");
            write_fields(out, item, &["name", "unit"]);
            for (_, data) in item.members().iter().filter(|(_, node)| node.get("dataPoints").is_some()) {
                for point in elements(data, "dataPoints") {
                    out.push_str("\n        point");
                    write_fields(out, point, &["asInt", "asDouble"]);
                    for name in ["count", "sum"] {
                        if let Some(value) = point.get(name) {
                            let _ = write!(out, " {name}={}", value.scalar());
                        }
                    }
                    write_attributes(out, Some(point), "attributes");
                }
            }
        }
    }
    out.push('\n');
}

/// Appends the values of the given fields that exist.
fn write_fields(out: &mut String, node: &JsonNode<'_>, names: &[&str]) {
    for field in names.iter().filter_map(|name| node.get(name)) {
        out.push(' ');
        write_escaped(out, field.scalar());
    }
}

/// Appends ` key=value` for each attribute.
fn write_attributes(out: &mut String, node: Option<&JsonNode<'_>>, name: &str) {
    for attribute in node.map(|node| elements(node, name)).unwrap_or_default() {
        out.push(' ');
        write_pair(out, attribute, "=");
    }
}

pub(super) fn elements<'n, 'a>(node: &'n JsonNode<'a>, name: &str) -> &'n [JsonNode<'a>] {
    node.get(name).map(JsonNode::elements).unwrap_or_default()
}

// --- detailed ---

/// Appends every field of a message; nested messages are indented.
fn write_all_fields(out: &mut String, message: &JsonNode<'_>, depth: usize) {
    let indent = |out: &mut String| out.extend(std::iter::repeat_n("  ", depth));
    for (name, node) in message.members() {
        match (*name, node) {
            ("attributes" | "filteredAttributes" | "metadata", JsonNode::List(list)) => {
                indent(out);
                let _ = writeln!(out, "{name}:");
                for attribute in list {
                    indent(out);
                    out.push_str("  -> ");
                    write_pair(out, attribute, ": ");
                    out.push('\n');
                }
            }
            ("body", _) => {
                indent(out);
                out.push_str("body: ");
                write_value(out, node);
                out.push('\n');
            }
            (_, JsonNode::List(list)) if list.iter().any(|element| matches!(element, JsonNode::Object(_))) => {
                for (index, element) in list.iter().enumerate() {
                    indent(out);
                    let _ = writeln!(out, "{name} #{index}");
                    write_all_fields(out, element, depth + 1);
                }
            }
            (_, JsonNode::List(list)) => {
                indent(out);
                let _ = write!(out, "{name}: ");
                write_list(out, list, |out, element| write_escaped(out, element.scalar()));
                out.push('\n');
            }
            (_, JsonNode::Object(_)) => {
                indent(out);
                let _ = writeln!(out, "{name}:");
                write_all_fields(out, node, depth + 1);
            }
            _ => {
                indent(out);
                let _ = write!(out, "{name}: ");
                write_scalar(out, name, node.scalar());
                out.push('\n');
            }
        }
    }
}

/// A number or text; times are formatted as RFC 3339 and enum values get their name.
fn write_scalar(out: &mut String, name: &str, value: &str) {
    if name.ends_with("UnixNano") {
        let time = value.parse().ok().and_then(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos).ok());
        if let Some(time) = time.and_then(|time| time.format(&Rfc3339).ok()) {
            out.push_str(&time);
            return;
        }
    }
    write_escaped(out, value);
    let names: &[&str] = match name {
        "kind" => &["unspecified", "internal", "server", "client", "producer", "consumer"],
        "code" => &["unset", "ok", "error"],
        "aggregationTemporality" => &["unspecified", "delta", "cumulative"],
        _ => &[],
    };
    if let Some(word) = value.parse().ok().and_then(|index: usize| names.get(index)) {
        let _ = write!(out, " ({word})");
    }
}

// --- values ---

fn write_pair(out: &mut String, attribute: &JsonNode<'_>, separator: &str) {
    write_escaped(out, attribute.get("key").map(JsonNode::scalar).unwrap_or_default());
    out.push_str(separator);
    match attribute.get("value") {
        Some(value) => write_value(out, value),
        None => out.push_str("(none)"),
    }
}

/// An `AnyValue`: strings in quotes, lists and maps in brackets.
fn write_value(out: &mut String, value: &JsonNode<'_>) {
    match value.members().first() {
        None => out.push_str("(empty)"),
        Some(("arrayValue", list)) => write_list(out, elements(list, "values"), write_value),
        Some(("kvlistValue", map)) => {
            out.push('{');
            for (index, entry) in elements(map, "values").iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_pair(out, entry, ": ");
            }
            out.push('}');
        }
        Some(("stringValue", string)) => {
            out.push('"');
            write_escaped(out, string.scalar());
            out.push('"');
        }
        Some(("bytesValue", bytes)) => {
            let _ = write!(out, "bytes({})", bytes.scalar());
        }
        Some((_, number)) => out.push_str(number.scalar()),
    }
}

fn write_list(out: &mut String, list: &[JsonNode<'_>], write_element: fn(&mut String, &JsonNode<'_>)) {
    out.push('[');
    for (index, element) in list.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { ", " });
        write_element(out, element);
    }
    out.push(']');
}

/// Escapes the characters that a terminal may act on, in the form that JSON has for them.
pub(super) fn write_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        if is_unsafe(c) {
            push_json_escape(out, c);
        } else {
            out.push(c);
        }
    }
}
