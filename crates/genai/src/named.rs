//! **What**: attributes that another attribute names as the caller's words: properties of a JSON schema, names in the
//! braces of a message template. **Why**: such a value is content although its key is on no list and it may be one
//! word. **Invariants**: what can't be read names nothing.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
struct Schema {
    #[serde(default)]
    properties: std::collections::BTreeMap<String, IgnoredAny>,
}

/// Names of attributes.
#[derive(Default)]
pub(super) struct Named {
    /// Properties of the schema: any value of theirs is the caller's.
    schema: HashSet<String>,
    /// Fields of the template: their texts are.
    template: HashSet<String>,
}

impl Named {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.schema.is_empty() && self.template.is_empty()
    }

    /// Whether a text, or a number, under `key` is the caller's.
    pub(super) fn holds(&self, key: &str, number: bool) -> bool {
        self.schema.contains(key) || (!number && self.template.contains(key))
    }
}

/// The names that a schema and a template tell.
pub(super) fn names(schema: Option<&str>, template: Option<&str>) -> Named {
    let schema = schema.and_then(|text| serde_json::from_str::<Schema>(text).ok());
    let properties = schema.map(|schema| schema.properties).unwrap_or_default();
    let mut names = Named { schema: properties.into_keys().collect(), template: HashSet::new() };
    let fields = template.unwrap_or("").split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    for (field, _) in fields {
        let end = field.find(['.', '[', '!', ':', '=']).unwrap_or(field.len());
        names.template.extend(field.get(..end).map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    names
}
