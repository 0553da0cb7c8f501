//! Generates the JSON schema of a configuration file for `tollgate schema` and `config/schema.json`, with which editors
//! complete and check files. It is generated from the types that read the file; a test compares it with the committed
//! one. Checks that involve several values are in `app/resolve`.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::app::resolve::{LimitsConfig, PseudonymsConfig, TelemetryConfig};
use crate::components::{ComponentRow, SECTIONS};
use pipeline::spool;

/// The schema as JSON text.
pub fn generate_schema() -> String {
    let mut generator = SchemaGenerator::default();
    let generator = &mut generator;
    let mut properties = Map::new();
    for (section, rows) in SECTIONS {
        let either = |schema: Value| json!({ "anyOf": [schema, { "type": "null" }] });
        let pattern = |row: &ComponentRow| format!("^({})(/.+)?$", row.names.join("|"));
        let patterns: Map<String, Value> =
            rows.iter().map(|row| (pattern(row), either((row.schema)(generator)))).collect();
        let schema = json!({ "type": "object", "patternProperties": patterns, "additionalProperties": false });
        properties.insert(section.to_owned(), schema);
    }
    let ids = json!({ "type": "array", "items": { "type": "string" } });
    let pipeline = json!({
        "type": "object", "additionalProperties": false, "required": ["receivers", "exporters"],
        "properties": { "receivers": ids, "processors": ids, "exporters": ids },
    });
    let telemetry = subschema_of::<TelemetryConfig>(generator);
    let service = json!({
        "type": "object", "additionalProperties": false, "required": ["pipelines"],
        "properties": {
            "extensions": ids, "telemetry": telemetry,
            "pipelines": { "type": "object", "patternProperties": { "^(traces|logs|metrics)(/.+)?$": pipeline }, "additionalProperties": false },
        },
    });
    for (name, schema) in [
        ("service", service),
        ("spool", subschema_of::<spool::SpoolConfig>(generator)),
        ("pseudonyms", subschema_of::<PseudonymsConfig>(generator)),
        ("limits", subschema_of::<LimitsConfig>(generator)),
    ] {
        properties.insert(name.to_owned(), schema);
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tollgate",
        "description": "A configuration of tollgate. Scalars may hold ${env:NAME}, ${env:NAME:-default} and ${file:/path}.",
        "type": "object", "additionalProperties": false, "required": ["receivers", "exporters", "service"],
        "properties": properties,
        "$defs": generator.take_definitions(true),
    });
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

fn subschema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}
