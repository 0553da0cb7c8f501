//! **What**: attributes that another attribute names as the caller's words: properties of a JSON schema, names in the
//! braces of a message template. **Why**: such a value is content although its key is on no list and it may be one word.
//! **Invariants**: what can't be read names nothing.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
struct Schema {
    #[serde(default)]
    properties: std::collections::BTreeMap<String, IgnoredAny>,
}

/// The names that a schema and a template tell.
pub(super) fn names(schema: Option<&str>, template: Option<&str>) -> HashSet<String> {
    let schema = schema.and_then(|text| serde_json::from_str::<Schema>(text).ok());
    let properties = schema.map(|schema| schema.properties).unwrap_or_default();
    let mut names: HashSet<String> = properties.into_keys().collect();
    let fields = template.unwrap_or("").split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    for (field, _) in fields {
        let end = field.find(['.', '[', '!', ':', '=']).unwrap_or(field.len());
        names.extend(field.get(..end).map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    names
}
