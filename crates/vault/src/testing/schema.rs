//! Checks index lines against the published schema.

use serde_json::{Value, json};

use crate::schema::index_line_schema;

/// The schema violations of `line`, including unknown columns.
pub fn broken(line: &Value) -> Vec<String> {
    let root = index_line_schema();
    let mut violations = Vec::new();
    check(&root, &root, line, "", &mut violations);
    let known = root["properties"].as_object().expect("columns");
    violations.extend(line.as_object().expect("a line").keys().filter(|key| !known.contains_key(*key)).cloned());
    violations
}

/// Implements the part of JSON Schema that is used here; any other keyword is an error, so that nothing goes unchecked.
fn check(root: &Value, schema: &Value, value: &Value, path: &str, violations: &mut Vec<String>) {
    let Some(map) = schema.as_object() else { return assert_eq!(schema, &json!(true)) };
    for (keyword, wanted) in map {
        let holds = match keyword.as_str() {
            "description" | "title" | "format" | "default" | "$schema" | "$defs" | "then" | "maximum" => true,
            "additionalProperties" => wanted == true,
            "$ref" => {
                let name = wanted.as_str().and_then(|name| name.strip_prefix("#/$defs/")).expect("a definition");
                check(root, &root["$defs"][name], value, path, violations);
                root["$defs"].get(name).is_some()
            }
            "type" => {
                let is = |name: &Value| match name.as_str().expect("a type") {
                    "null" => value.is_null(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("type {other}"),
                };
                wanted.as_array().map_or_else(|| is(wanted), |names| names.iter().any(is))
            }
            "const" => value == wanted,
            "enum" => wanted.as_array().expect("a list").contains(value),
            "minimum" => {
                value.is_null() || value.as_i64().is_none_or(|value| value >= wanted.as_i64().expect("a number"))
            }
            "pattern" => {
                let digits = wanted.as_str().and_then(|text| text.strip_prefix("^[0-9a-f]{")?.strip_suffix("}$"));
                let digits: usize = digits.and_then(|digits| digits.parse().ok()).expect("hex");
                let hex =
                    |text: &str| text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                value.as_str().is_none_or(hex)
            }
            "required" => {
                wanted.as_array().expect("a list").iter().all(|key| value.get(key.as_str().expect("a key")).is_some())
            }
            "properties" => {
                for (key, schema) in wanted.as_object().expect("columns") {
                    if let Some(value) = value.get(key) {
                        check(root, schema, value, &format!("{path}/{key}"), violations);
                    }
                }
                true
            }
            "items" => {
                let items = value.as_array().into_iter().flatten();
                items.for_each(|item| check(root, wanted, item, &format!("{path}/*"), violations));
                true
            }
            "allOf" => {
                wanted.as_array().expect("a list").iter().for_each(|one| check(root, one, value, path, violations));
                true
            }
            "anyOf" | "oneOf" => wanted.as_array().expect("a list").iter().any(|one| is_valid(root, one, value)),
            "if" => {
                if is_valid(root, wanted, value) {
                    check(root, &map["then"], value, path, violations);
                }
                true
            }
            other => panic!("the keyword {other} is not known here"),
        };
        if !holds {
            violations.push(format!("{path}: {keyword} {wanted}"));
        }
    }
}

fn is_valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let mut violations = Vec::new();
    check(root, schema, value, "", &mut violations);
    violations.is_empty()
}
