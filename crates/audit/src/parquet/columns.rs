//! The columns of a table and the mapping from index lines. Each known field of a line has a column of its name; a
//! value that does not fit its column goes to `more`, so that nothing is lost. Neighbour: `cells` stores the values.

use serde_json::{Map, Value};

/// Type of a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Int,
    Bool,
    /// A list of texts.
    Texts,
    /// A group of numbers.
    Ints(&'static [&'static str]),
    /// JSON as text.
    Json,
}

/// Name and type of a column.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) form: Form,
}

const fn column(name: &'static str, form: Form) -> Column {
    Column { name, form }
}

/// Column for fields without a column of their own.
pub(super) const MORE: &str = "more";

/// Token buckets, as in an index line.
const BUCKETS: &[&str] = &["input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning"];

/// All columns, in order.
pub(super) const COLUMNS: &[Column] = &[
    column("ts", Form::Text),
    column("end_ts", Form::Text),
    column("ingest_ts", Form::Text),
    column("kind", Form::Text),
    column("signal", Form::Text),
    column("account", Form::Text),
    column("tenant", Form::Text),
    column("session_id", Form::Text),
    column("run_id", Form::Text),
    column("turn", Form::Text),
    column("iteration", Form::Int),
    column("trace_id", Form::Text),
    column("span_id", Form::Text),
    column("parent_span_id", Form::Text),
    column("user_key", Form::Text),
    column("actor", Form::Text),
    column("agent_id", Form::Text),
    column("agent_version", Form::Text),
    column("feature", Form::Text),
    column("issue_id", Form::Text),
    column("commit_sha", Form::Text),
    column("environment", Form::Text),
    column("call", Form::Text),
    column("action_type", Form::Text),
    column("tool_name", Form::Text),
    column("tool_call_id", Form::Text),
    column("arguments_bytes", Form::Int),
    column("result_bytes", Form::Int),
    column("model", Form::Text),
    column("provider", Form::Text),
    column("response_id", Form::Text),
    column("status", Form::Text),
    column("duration_ns", Form::Int),
    column("finish", Form::Text),
    column("decision", Form::Text),
    column("decided_by", Form::Text),
    column("part", Form::Texts),
    column("pt_bytes", Form::Int),
    column("repeat", Form::Bool),
    column("tokens_in", Form::Int),
    column("tokens_out", Form::Int),
    column("buckets", Form::Ints(BUCKETS)),
    column("tier", Form::Text),
    column("cost_status", Form::Text),
    column("cost_usd", Form::Text),
    column("rates", Form::Text),
    column("rate", Form::Text),
    column("basis", Form::Json),
    column("writer", Form::Text),
    column("epoch", Form::Text),
    column("leaf", Form::Int),
    column("v", Form::Int),
    column("of", Form::Text),
    column("object_key", Form::Text),
    column("off", Form::Int),
    column("len", Form::Int),
    column("item", Form::Int),
    column("fragment", Form::Text),
    column("ct_sha256", Form::Text),
    column("key_id", Form::Text),
    column("key_sha256", Form::Text),
    column("commitment", Form::Text),
    column(MORE, Form::Json),
];

/// Columns that lookups use, which get a Bloom filter.
pub(super) const FILTERED: [&str; 4] = ["session_id", "trace_id", "user_key", "tool_name"];

/// Position of a column.
pub(super) fn position(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|column| column.name == name)
}

/// The table's schema in Parquet's message syntax.
pub(super) fn schema() -> String {
    let mut out = String::from("message line {\n");
    for Column { name, form } in COLUMNS {
        out.push_str(&match form {
            Form::Text | Form::Json => format!("  optional binary {name} (UTF8);\n"),
            Form::Int => format!("  optional int64 {name};\n"),
            Form::Bool => format!("  optional boolean {name};\n"),
            Form::Texts => {
                format!(
                    "  optional group {name} (LIST) {{ repeated group list {{ optional binary element (UTF8); }} }}\n"
                )
            }
            Form::Ints(fields) => {
                let fields: String = fields.iter().map(|field| format!(" optional int64 {field};")).collect();
                format!("  optional group {name} {{{fields} }}\n")
            }
        });
    }
    out.push('}');
    out
}

/// Number of leaf columns in a column.
pub(super) fn leaves(form: Form) -> usize {
    if let Form::Ints(fields) = form { fields.len() } else { 1 }
}

/// Whether a column of this type can hold a value such that reading returns the same value.
fn fits(form: Form, value: &Value) -> bool {
    match (form, value) {
        (Form::Json, _) => true,
        (Form::Text, Value::String(_)) | (Form::Bool, Value::Bool(_)) => true,
        (Form::Int, Value::Number(number)) => number.as_i64().is_some(),
        (Form::Texts, Value::Array(items)) => items.iter().all(Value::is_string),
        (Form::Ints(fields), Value::Object(map)) => {
            let known = |(name, value): (&String, &Value)| fields.contains(&name.as_str()) && value.as_i64().is_some();
            map.iter().all(known)
        }
        _ => false,
    }
}

/// A line's values in the order of the columns, `Null` for missing ones. A `null` field and a missing field are
/// equivalent.
pub(super) fn slots(line: Map<String, Value>) -> Vec<Value> {
    let mut slots = vec![Value::Null; COLUMNS.len()];
    let mut more = Map::new();
    for (name, value) in line.into_iter().filter(|(_, value)| !value.is_null()) {
        let at = position(&name).filter(|_| name != MORE);
        let slot = at.and_then(|at| Some((slots.get_mut(at)?, COLUMNS.get(at)?)));
        match slot {
            Some((slot, column)) if fits(column.form, &value) => *slot = value,
            _ => drop(more.insert(name, value)),
        }
    }
    if let (false, Some(last)) = (more.is_empty(), slots.last_mut()) {
        *last = Value::Object(more);
    }
    slots
}

/// Rebuilds a line from its columns; the fields in `more` return to their places.
pub(super) fn line(mut found: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(more)) = found.remove(MORE) {
        found.extend(more);
    }
    found
}
