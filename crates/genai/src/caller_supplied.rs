//! Attributes that another attribute lists as caller-supplied: the properties of a JSON schema, and the field names of
//! a message template. Their values are content even if the key is on no list and the value is one word. An unreadable
//! schema or template lists nothing.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
struct JsonSchemaProperties {
    #[serde(default)]
    properties: std::collections::BTreeMap<String, IgnoredAny>,
}

/// Keys of caller-supplied attributes, and whether values of any kind are content (properties of the schema) or only
/// texts (fields of the template).
pub(super) type CallerSuppliedKeys = HashMap<String, bool>;

/// Reads the keys from a schema and a template.
pub(super) fn read_supplied_keys(schema: Option<&str>, template: Option<&str>) -> CallerSuppliedKeys {
    let fields = template.unwrap_or("").split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let names = fields.filter_map(|(field, _)| field.split(['.', '[', '!', ':', '=']).next());
    let names = names.map(str::trim).filter(|name| !name.is_empty()).map(|name| (name.to_owned(), false));
    let schema = schema.and_then(|text| serde_json::from_str::<JsonSchemaProperties>(text).ok());
    let properties = schema.map(|schema| schema.properties).unwrap_or_default();
    names.chain(properties.into_keys().map(|name| (name, true))).collect()
}
