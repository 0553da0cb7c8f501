//! Attributes that another attribute lists as caller-supplied: the properties of a JSON schema, and the field names of
//! a message template. Their values are content even if the key is on no list and the value is one word. An unreadable
//! schema or template lists nothing.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
struct JsonSchemaProperties {
    #[serde(default)]
    properties: std::collections::BTreeMap<String, IgnoredAny>,
}

/// Keys of caller-supplied attributes.
#[derive(Default)]
pub(super) struct CallerSuppliedKeys {
    /// Properties of the schema: values of any kind are content.
    schema_properties: HashSet<String>,
    /// Fields of the template: text values are content.
    template_fields: HashSet<String>,
}

impl CallerSuppliedKeys {
    pub(super) fn is_empty(&self) -> bool {
        self.schema_properties.is_empty() && self.template_fields.is_empty()
    }

    /// Returns true if a text under `key` (with `is_number`: a number) is caller-supplied.
    pub(super) fn contains_key(&self, key: &str, is_number: bool) -> bool {
        self.schema_properties.contains(key) || (!is_number && self.template_fields.contains(key))
    }
}

/// Reads the keys from a schema and a template.
pub(super) fn read_supplied_keys(schema: Option<&str>, template: Option<&str>) -> CallerSuppliedKeys {
    let schema = schema.and_then(|text| serde_json::from_str::<JsonSchemaProperties>(text).ok());
    let properties = schema.map(|schema| schema.properties).unwrap_or_default();
    let mut keys =
        CallerSuppliedKeys { schema_properties: properties.into_keys().collect(), template_fields: HashSet::new() };
    let fields = template.unwrap_or("").split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    for (field, _) in fields {
        let end = field.find(['.', '[', '!', ':', '=']).unwrap_or(field.len());
        keys.template_fields.extend(field.get(..end).map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    keys
}
