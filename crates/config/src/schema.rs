//! Writes a configuration value as YAML with each field's doc comment above it, so that `config/default.yaml` and
//! `print-config` can't drift from the code. Fields keep the order of the type; an unset option is written as a
//! comment; secrets serialise as `[redacted]`. The list of components is in `src/components.rs`.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::Value;

/// Columns after which comments are wrapped.
const WIDTH: usize = 110;

/// A configuration value together with the JSON schema of its type.
pub struct Documented {
    schema: Value,
    value: Value,
}

impl Documented {
    /// Serialises a value and generates its type's schema, which holds the field descriptions.
    pub fn of<T: JsonSchema + Serialize>(value: &T) -> Self {
        let schema: Schema = SchemaGenerator::default().into_root_schema_for::<T>();
        Self { schema: schema.to_value(), value: serde_json::to_value(value).unwrap_or(Value::Null) }
    }

    /// The JSON schema of the value's type.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Appends the value's fields as YAML at `indent`; with `comments`, each field below its description.
    pub fn write(&self, out: &mut String, indent: usize, comments: bool) {
        Writer { root: &self.schema, comments }.object(out, &self.schema, &self.value, indent);
    }

    /// Whether the value has no fields.
    pub fn is_empty(&self) -> bool {
        self.value.as_object().is_none_or(serde_json::Map::is_empty)
    }
}

struct Writer<'s> {
    root: &'s Value,
    comments: bool,
}

impl<'s> Writer<'s> {
    /// Follows `$ref` and the first member of `anyOf` that is not null.
    fn resolve(&self, schema: &'s Value) -> &'s Value {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let found = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(schema, |found| self.resolve(found));
        }
        let some = schema.get("anyOf").and_then(Value::as_array).and_then(|members| {
            members.iter().find(|member| member.get("type").and_then(Value::as_str) != Some("null"))
        });
        some.map_or(schema, |member| self.resolve(member))
    }

    fn object(&self, out: &mut String, schema: &'s Value, value: &Value, indent: usize) {
        let schema = self.resolve(schema);
        let Some(fields) = value.as_object() else { return };
        for (key, value) in fields {
            let property = schema.get("properties").and_then(|properties| properties.get(key)).unwrap_or(&Value::Null);
            if self.comments {
                self.comment(out, property, indent);
            }
            self.field(out, key, property, value, indent);
        }
    }

    fn field(&self, out: &mut String, key: &str, schema: &'s Value, value: &Value, indent: usize) {
        let pad = " ".repeat(indent);
        match value {
            Value::Null if self.comments => out.push_str(&format!("{pad}# {key}:\n")),
            Value::Null => {}
            Value::Object(fields) if fields.is_empty() => out.push_str(&format!("{pad}{key}: {{}}\n")),
            Value::Object(_) => {
                out.push_str(&format!("{pad}{key}:\n"));
                self.object(out, schema, value, indent + 2);
            }
            other => out.push_str(&format!("{pad}{key}: {}\n", scalar(other))),
        }
    }

    fn comment(&self, out: &mut String, schema: &'s Value, indent: usize) {
        let own = schema.get("description").and_then(Value::as_str);
        let Some(text) = own.or_else(|| self.resolve(schema).get("description").and_then(Value::as_str)) else {
            return;
        };
        let pad = " ".repeat(indent);
        for paragraph in text.split("\n\n") {
            let mut line = format!("{pad}#");
            for word in paragraph.split_whitespace() {
                if line.len() + word.len() + 1 > WIDTH {
                    out.push_str(&line);
                    out.push('\n');
                    line = format!("{pad}#");
                }
                line.push(' ');
                line.push_str(word);
            }
            out.push_str(&line);
            out.push('\n');
        }
    }
}

/// Writes a scalar or a list on one line; maps inside lists in flow form.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text_scalar(text),
        Value::Array(items) => format!("[{}]", items.iter().map(scalar).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}: {}", scalar(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// Writes text plainly if YAML reads it back as the same text, otherwise as a JSON string (which is valid YAML).
fn text_scalar(text: &str) -> String {
    // YAML readers take `1e5` and `0x1f` for numbers, but not `10s` or `127.0.0.1:4317`.
    let unit = text.starts_with(|c: char| c.is_ascii_digit())
        && !text.starts_with('0')
        && (text.ends_with(|c: char| c.is_ascii_alphabetic()) || text.matches('.').count() > 1);
    let plain = (unit || text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/'))
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./-:".contains(&byte))
        && !text.ends_with(':')
        && !matches!(text, "true" | "false" | "null" | "yes" | "no" | "on" | "off");
    if plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}
