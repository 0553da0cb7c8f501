//! The JSON Schema of index lines, with additional constraints for each kind and action, for external tools that read
//! the index. Columns come from [`IndexRow`] itself. Every line that is written conforms to the schema (checked by
//! tests, and by a stock validator in `tests/peers/run.sh audit`). A column that a client may omit is nullable.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::index_row::IndexRow;

#[cfg(test)]
pub(crate) mod tests;

/// An action's operation names (without any, the action is known by its `call`), the name of its definition, and the
/// constraints on its lines.
type ActionSchema = (&'static [&'static str], &'static str, fn() -> Value);

/// The actions with additional constraints.
const ACTIONS: [ActionSchema; 8] = [
    (&["chat", "text_completion", "generate_content", "embeddings"], "model_call", || {
        json!({
            "description": "A model was called. `call` is `model` if this line is counted and priced, `model_copy` if another line reports the same call. Relevant columns: model, provider, response_id, tokens_in, tokens_out, buckets, tier, cost_status, cost_usd, rates, rate, finish, duration_ns.",
            "properties": {"call": {"enum": ["model", "model_copy", "turn_end", "other"]}},
        })
    }),
    (&["execute_tool"], "execute_tool", || {
        json!({
            "description": "A tool was called. Relevant columns: tool_name, tool_call_id, arguments_bytes, result_bytes, status, duration_ns; arguments and result are in the fragment.",
            "properties": {"call": {"const": "tool"}},
        })
    }),
    (&["invoke_agent", "invoke_workflow"], "invoke_agent", || {
        json!({
            "description": "An agent or a sub-agent was started: a run. Relevant columns: actor, agent_version, run_id, end_ts.",
            "properties": {"call": {"const": "agent"}, "span_id": {"type": "string"}},
        })
    }),
    (
        &["session_end"],
        "session_end",
        || json!({"description": "A session ended.", "properties": {"call": {"const": "session_end"}}}),
    ),
    (&["erase"], "erase", || {
        json!({
            "description": "Session keys are about to be destroyed by request, or were destroyed (docs/erasure.md).",
            "properties": {"kind": {"const": "erasure"}},
            "required": ["erasure"],
        })
    }),
    (&["rewrap"], "rewrap", || {
        json!({
            "description": "Copies of session keys were made for other auditors: names and hashes of their objects.",
            "properties": {"kind": {"const": "key_copies"}},
            "required": ["key_copies"],
        })
    }),
    (&["open"], "open", || {
        json!({
            "description": "Shares of a session's keys are about to be opened, for a signed request (docs/vault.md).",
            "properties": {"kind": {"const": "opening"}},
            "required": ["opening"],
        })
    }),
    (&[], "permission", || {
        json!({
            "description": "Permission for a call was requested. Relevant columns: tool_name, decision, decided_by, actor, user_key.",
            "properties": {"call": {"const": "permission"}},
        })
    }),
];

/// Constraints on lines of each kind.
fn kind_schemas() -> Vec<(&'static str, Value)> {
    let hex = |digits: u32| json!({"type": "string", "pattern": format!("^[0-9a-f]{{{digits}}}$")});
    let stored = json!({
        "object_key": {"type": "string"}, "off": {"type": "integer"}, "len": {"type": "integer"},
        "fragment": hex(32), "ct_sha256": hex(64), "key_id": hex(16),
        "key_sha256": hex(64),
    });
    let mut payload = stored.clone();
    if let Some(columns) = payload.as_object_mut() {
        columns.insert("item".into(), json!({"type": "integer"}));
        columns.insert("commitment".into(), hex(64));
        columns.insert("pt_bytes".into(), json!({"type": "integer"}));
    }
    let no_object = json!({"object_key": {"type": "null"}, "off": {"type": "null"}, "fragment": {"type": "null"}});
    vec![
        (
            "payload",
            json!({"description": "Content in a fragment: its object, offset and hash.", "properties": payload}),
        ),
        ("action", json!({"description": "An action without content.", "properties": no_object})),
        (
            "quarantine",
            json!({"description": "A request that could not be processed, sealed as received.", "properties": stored}),
        ),
        (
            "price",
            json!({"description": "The price of a call whose line was written earlier.", "properties": {"cost_status": {"type": "string"}}}),
        ),
        (
            "gap",
            json!({"description": "The line of this number was lost.", "properties": {"status": {"const": "lost"}}}),
        ),
        (
            "erasure",
            json!({"description": "See `erase`.", "required": ["erasure"], "properties": {"action_type": {"const": "erase"}}}),
        ),
        (
            "key_copies",
            json!({"description": "See `rewrap`.", "required": ["key_copies"], "properties": {"action_type": {"const": "rewrap"}}}),
        ),
        (
            "opening",
            json!({"description": "See `open`.", "required": ["opening"], "properties": {"action_type": {"const": "open"}}}),
        ),
    ]
}

/// The schema of one index line, JSON Schema 2020-12.
pub fn index_line_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut root = generator.into_root_schema_for::<IndexRow>().to_value();
    let mut rules = Vec::new();
    let Some(schema) = root.as_object_mut() else { return root };
    schema.insert("title".into(), json!("A line of tollgate's audit index"));
    let mut defs = schema.remove("$defs").unwrap_or_else(|| json!({}));
    if let Some(defs) = defs.as_object_mut() {
        let mut add_rule = |column: &str, value: Value, name: String, constraints: Value| {
            let condition = json!({"properties": {column: value}, "required": [column]});
            rules.push(json!({"if": condition, "then": {"$ref": format!("#/$defs/{name}")}}));
            defs.insert(name, constraints);
        };
        for (kind, constraints) in kind_schemas() {
            add_rule("kind", json!({"const": kind}), format!("kind_{kind}"), constraints);
        }
        for (operations, name, constraints) in ACTIONS {
            let (column, value) = match operations {
                [] => ("call", json!({"const": name})),
                operations => ("action_type", json!({"enum": operations})),
            };
            add_rule(column, value, format!("action_{name}"), constraints());
        }
    }
    schema.insert("$defs".into(), defs);
    schema.insert("allOf".into(), Value::Array(rules));
    root
}

/// The schema as formatted JSON text.
pub fn schema_text() -> String {
    // numbers and strings: serialising can't fail
    serde_json::to_string_pretty(&index_line_schema()).unwrap_or_default() + "\n"
}
