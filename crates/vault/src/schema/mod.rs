//! The JSON Schema of index lines, with additional constraints for each kind and action, for external tools that read
//! the index. Columns come from [`IndexRow`] itself. Every line that is written conforms to the schema (checked by
//! tests, and by a stock validator in `tests/peers/run.sh audit`). A column that a client may omit is nullable.

use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::index_row::IndexRow;

#[cfg(test)]
pub(crate) mod tests;

/// The constraints by name, each with the column that selects its lines and that column's values.
const RULES: &str = include_str!("../../../../config/index_rules.json");

#[derive(Deserialize)]
struct LineRule {
    #[serde(rename = "if")]
    condition: Map<String, Value>,
    then: Value,
}

/// The schema of one index line, JSON Schema 2020-12.
pub fn index_line_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut root = generator.into_root_schema_for::<IndexRow>().to_value();
    let Some(schema) = root.as_object_mut() else { return root };
    schema.insert("title".into(), json!("A line of tollgate's audit index"));
    let mut defs = schema.remove("$defs").unwrap_or_else(|| json!({}));
    // a test has compared the text with the published schema
    let line_rules: Map<String, Value> = serde_json::from_str(RULES).unwrap_or_default();
    let mut rules = Vec::new();
    for (name, rule) in line_rules {
        let Ok(LineRule { condition, then }) = serde_json::from_value(rule) else { continue };
        let columns: Vec<&String> = condition.keys().collect();
        let condition = json!({"properties": condition, "required": columns});
        rules.push(json!({"if": condition, "then": {"$ref": format!("#/$defs/{name}")}}));
        defs.as_object_mut().and_then(|defs| defs.insert(name, then));
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
