//! The columns of a table, and the mapping from index lines to columns and back. Each known field of a line has a
//! column of its name; other fields, and values that their column can't hold, go to the column `more`.
//! Neighbours: `vault::index_row` documents the fields; `cells` stores the values.

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

const fn column(name: &'static str, column_type: ColumnType) -> Column {
    Column { name, column_type }
}

/// Column for the fields and values that have no other column.
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
    column("source_record", ColumnType::Text),
    column("tokens_in", ColumnType::Int),
    column("tokens_out", ColumnType::Int),
    column("buckets", ColumnType::Ints(BUCKETS)),
    column("tier", ColumnType::Text),
    column("cost_status", ColumnType::Text),
    column("cost_usd", ColumnType::Text),
    column("uncounted_cost_usd", ColumnType::Text),
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
    for Column { name, column_type } in COLUMNS {
        out.push_str(&match column_type {
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
pub(super) fn leaf_count(column_type: ColumnType) -> usize {
    if let ColumnType::Ints(fields) = column_type { fields.len() } else { 1 }
}

/// Whether a column of this type returns the same value when it is read.
fn is_lossless(column_type: ColumnType, value: &Value) -> bool {
    match (column_type, value) {
        (ColumnType::Json, _) => true,
        (ColumnType::Text, Value::String(_)) | (ColumnType::Bool, Value::Bool(_)) => true,
        (ColumnType::Int, Value::Number(number)) => number.as_i64().is_some(),
        (ColumnType::Texts, Value::Array(items)) => items.iter().all(Value::is_string),
        (ColumnType::Ints(fields), Value::Object(map)) => {
            map.iter().all(|(name, value)| fields.contains(&name.as_str()) && value.as_i64().is_some())
        }
        _ => false,
    }
}

/// A line's values in the order of the columns, `Null` for missing ones. A `null` field and a missing field are
/// equivalent.
pub(super) fn split_columns(line: Map<String, Value>) -> Vec<Value> {
    let mut values = vec![Value::Null; COLUMNS.len()];
    let mut more = Map::new();
    for (name, value) in line.into_iter().filter(|(_, value)| !value.is_null()) {
        let index = position(&name).filter(|_| name != MORE);
        match index.and_then(|index| Some((values.get_mut(index)?, COLUMNS.get(index)?))) {
            Some((slot, column)) if is_lossless(column.column_type, &value) => *slot = value,
            _ => drop(more.insert(name, value)),
        }
    }
    if let (false, Some(last)) = (more.is_empty(), values.last_mut()) {
        *last = Value::Object(more);
    }
    values
}

/// Rebuilds a line from its columns: the fields in `more` become fields of the line.
pub(super) fn join_columns(mut line: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(more)) = line.remove(MORE) {
        line.extend(more);
    }
    line
}
