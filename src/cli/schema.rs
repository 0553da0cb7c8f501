//! Generates the JSON schema of a configuration file for `tollgate schema` and `config/schema.json`, with which editors
//! complete and check files. It is generated from the types that read the file; a test compares it with the committed
//! one. Checks that involve several values are in `app/resolve`.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::app::resolve::{LimitsConfig, PseudonymsConfig, TelemetryConfig};
use crate::components::{ConnectorKind, ExporterKind, ExtensionKind, ProcessorKind, ReceiverKind};
use pipeline::spool;

/// The schema as JSON text.
pub fn generate_schema() -> String {
    let mut generator = SchemaGenerator::default();
    let section = |kinds: Vec<(&'static [&'static str], Value)>| {
        let patterns: Map<String, Value> = kinds
            .into_iter()
            .map(|(names, schema)| {
                let either = json!({ "anyOf": [schema, { "type": "null" }] });
                (format!("^({})(/.+)?$", names.join("|")), either)
            })
            .collect();
        json!({ "type": "object", "patternProperties": patterns, "additionalProperties": false })
    };
    let generator = &mut generator;
    let receivers = section(ReceiverKind::ALL.iter().map(|kind| (kind.names(), kind.schema(generator))).collect());
    let processors = section(ProcessorKind::ALL.iter().map(|kind| (kind.names(), kind.schema(generator))).collect());
    let exporters = section(ExporterKind::ALL.iter().map(|kind| (kind.names(), kind.schema(generator))).collect());
    let connectors = section(ConnectorKind::ALL.iter().map(|kind| (kind.names(), kind.schema(generator))).collect());
    let extensions = section(ExtensionKind::ALL.iter().map(|kind| (kind.names(), kind.schema(generator))).collect());
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
    let (spool, pseudonyms, limits) = (
        subschema_of::<spool::SpoolConfig>(generator),
        subschema_of::<PseudonymsConfig>(generator),
        subschema_of::<LimitsConfig>(generator),
    );
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tollgate",
        "description": "A configuration of tollgate. Scalars may hold ${env:NAME}, ${env:NAME:-default} and ${file:/path}.",
        "type": "object", "additionalProperties": false, "required": ["receivers", "exporters", "service"],
        "properties": {
            "receivers": receivers, "processors": processors, "exporters": exporters, "connectors": connectors,
            "extensions": extensions,
            "service": service, "spool": spool, "pseudonyms": pseudonyms, "limits": limits,
        },
        "$defs": generator.take_definitions(true),
    });
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

fn subschema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}
