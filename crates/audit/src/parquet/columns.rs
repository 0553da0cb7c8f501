//! The columns of a table and the mapping from index lines. Each known field of a line has a column of its name; a
//! value that does not fit its column goes to `more`, so that nothing is lost. `vault::index_row` documents the fields;
//! `cells` stores the values.

use serde_json::{Map, Value};

/// Type of a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnType {
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
    pub(super) column_type: ColumnType,
}

const fn column(name: &'static str, form: ColumnType) -> Column {
    Column { name, column_type: form }
}

/// Column for fields without a column of their own.
pub(super) const MORE: &str = "more";

/// Token buckets, as in an index line.
const BUCKETS: &[&str] = &["input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning"];

/// All columns, in order.
pub(super) const COLUMNS: &[Column] = &[
    column("ts", ColumnType::Text),
    column("end_ts", ColumnType::Text),
    column("ingest_ts", ColumnType::Text),
    column("kind", ColumnType::Text),
    column("signal", ColumnType::Text),
    column("account", ColumnType::Text),
    column("tenant", ColumnType::Text),
    column("session_id", ColumnType::Text),
    column("run_id", ColumnType::Text),
    column("turn", ColumnType::Text),
    column("iteration", ColumnType::Int),
    column("trace_id", ColumnType::Text),
    column("span_id", ColumnType::Text),
    column("parent_span_id", ColumnType::Text),
    column("user_key", ColumnType::Text),
    column("actor", ColumnType::Text),
    column("agent_id", ColumnType::Text),
    column("agent_version", ColumnType::Text),
    column("feature", ColumnType::Text),
    column("issue_id", ColumnType::Text),
    column("commit_sha", ColumnType::Text),
    column("environment", ColumnType::Text),
    column("call", ColumnType::Text),
    column("action_type", ColumnType::Text),
    column("tool_name", ColumnType::Text),
    column("tool_call_id", ColumnType::Text),
    column("arguments_bytes", ColumnType::Int),
    column("result_bytes", ColumnType::Int),
    column("model", ColumnType::Text),
    column("provider", ColumnType::Text),
    column("response_id", ColumnType::Text),
    column("status", ColumnType::Text),
    column("duration_ns", ColumnType::Int),
    column("finish", ColumnType::Text),
    column("decision", ColumnType::Text),
    column("decided_by", ColumnType::Text),
    column("part", ColumnType::Texts),
    column("pt_bytes", ColumnType::Int),
    column("repeat", ColumnType::Bool),
    column("tokens_in", ColumnType::Int),
    column("tokens_out", ColumnType::Int),
    column("buckets", ColumnType::Ints(BUCKETS)),
    column("tier", ColumnType::Text),
    column("cost_status", ColumnType::Text),
    column("cost_usd", ColumnType::Text),
    column("rates", ColumnType::Text),
    column("rate", ColumnType::Text),
    column("basis", ColumnType::Json),
    column("writer", ColumnType::Text),
    column("epoch", ColumnType::Text),
    column("leaf", ColumnType::Int),
    column("v", ColumnType::Int),
    column("of", ColumnType::Text),
    column("object_key", ColumnType::Text),
    column("off", ColumnType::Int),
    column("len", ColumnType::Int),
    column("item", ColumnType::Int),
    column("fragment", ColumnType::Text),
    column("ct_sha256", ColumnType::Text),
    column("key_id", ColumnType::Text),
    column("key_sha256", ColumnType::Text),
    column("commitment", ColumnType::Text),
    column(MORE, ColumnType::Json),
];

/// Columns that lookups use, which get a Bloom filter.
pub(super) const BLOOM_FILTER_COLUMNS: [&str; 4] = ["session_id", "trace_id", "user_key", "tool_name"];

/// Position of a column.
pub(super) fn position(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|column| column.name == name)
}

/// The table's schema in Parquet's message syntax.
pub(super) fn schema() -> String {
    let mut out = String::from("message line {\n");
    for Column { name, column_type: form } in COLUMNS {
        out.push_str(&match form {
            ColumnType::Text | ColumnType::Json => format!("  optional binary {name} (UTF8);\n"),
            ColumnType::Int => format!("  optional int64 {name};\n"),
            ColumnType::Bool => format!("  optional boolean {name};\n"),
            ColumnType::Texts => {
                format!(
                    "  optional group {name} (LIST) {{ repeated group list {{ optional binary element (UTF8); }} }}\n"
                )
            }
            ColumnType::Ints(fields) => {
                let fields: String = fields.iter().map(|field| format!(" optional int64 {field};")).collect();
                format!("  optional group {name} {{{fields} }}\n")
            }
        });
    }
    out.push('}');
    out
}

/// Number of leaf columns in a column.
pub(super) fn leaf_count(form: ColumnType) -> usize {
    if let ColumnType::Ints(fields) = form { fields.len() } else { 1 }
}

/// Whether a column of this type can hold a value such that reading returns the same value.
fn fits(form: ColumnType, value: &Value) -> bool {
    match (form, value) {
        (ColumnType::Json, _) => true,
        (ColumnType::Text, Value::String(_)) | (ColumnType::Bool, Value::Bool(_)) => true,
        (ColumnType::Int, Value::Number(number)) => number.as_i64().is_some(),
        (ColumnType::Texts, Value::Array(items)) => items.iter().all(Value::is_string),
        (ColumnType::Ints(fields), Value::Object(map)) => {
            let known = |(name, value): (&String, &Value)| fields.contains(&name.as_str()) && value.as_i64().is_some();
            map.iter().all(known)
        }
        _ => false,
    }
}

/// A line's values in the order of the columns, `Null` for missing ones. A `null` field and a missing field are
/// equivalent.
pub(super) fn split_columns(line: Map<String, Value>) -> Vec<Value> {
    let mut slots = vec![Value::Null; COLUMNS.len()];
    let mut more = Map::new();
    for (name, value) in line.into_iter().filter(|(_, value)| !value.is_null()) {
        let at = position(&name).filter(|_| name != MORE);
        let slot = at.and_then(|at| Some((slots.get_mut(at)?, COLUMNS.get(at)?)));
        match slot {
            Some((slot, column)) if fits(column.column_type, &value) => *slot = value,
            _ => drop(more.insert(name, value)),
        }
    }
    if let (false, Some(last)) = (more.is_empty(), slots.last_mut()) {
        *last = Value::Object(more);
    }
    slots
}

/// Rebuilds a line from its columns; the fields in `more` return to their places.
pub(super) fn join_columns(mut found: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(more)) = found.remove(MORE) {
        found.extend(more);
    }
    found
}
