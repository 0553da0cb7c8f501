//! **What**: writes a configuration value as YAML with every field's doc comment above it. **Why**:
//! `config/default.yaml` and `print-config` can't drift from the code. **Invariants**: fields in the order of the type;
//! an unset option is a comment; secrets are `[redacted]` by their own serialisation. **Not here**: which components
//! exist (`components`).

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::Value;

/// Text width of comments.
const WIDTH: usize = 110;

/// A value with its type's schema.
pub struct Documented {
    schema: Value,
    value: Value,
}

impl Documented {
    /// Takes a value and its type's descriptions.
    pub fn of<T: JsonSchema + Serialize>(value: &T) -> Self {
        let schema: Schema = SchemaGenerator::default().into_root_schema_for::<T>();
        Self { schema: schema.to_value(), value: serde_json::to_value(value).unwrap_or(Value::Null) }
    }

    /// The JSON schema.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Appends the value's fields as YAML, indented; with `comments`, each under its description.
    pub fn write(&self, out: &mut String, indent: usize, comments: bool) {
        Writer { root: &self.schema, comments }.object(out, &self.schema, &self.value, indent);
    }

    /// Whether there are fields to write.
    pub fn is_empty(&self) -> bool {
        self.value.as_object().is_none_or(serde_json::Map::is_empty)
    }
}

struct Writer<'s> {
    root: &'s Value,
    comments: bool,
}

impl<'s> Writer<'s> {
    /// Follows `$ref` and the single member of `anyOf` that is not null.
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

/// A scalar or a list in one line; lists of maps in flow form.
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

/// Plain where YAML reads it back as the same text; quoted as JSON otherwise (JSON strings are YAML).
fn text_scalar(text: &str) -> String {
    // `10s`, `127.0.0.1:4317`: no reader takes them for numbers; `1e5` and `0x1f` are.
    let unit = text.starts_with(|c: char| c.is_ascii_digit())
        && !text.starts_with('0')
        && (text.ends_with(|c: char| c.is_ascii_alphabetic()) || text.matches('.').count() > 1);
    let plain = (unit || text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/'))
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./-:".contains(&byte))
        && !text.ends_with(':')
        && !matches!(text, "true" | "false" | "null" | "yes" | "no" | "on" | "off");
    if plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}
