//! Writes a configuration value as YAML with each field's doc comment above it, so that `config/default.yaml` and
//! `print-config` can't drift from the code. Fields keep the order of the type; an unset option is written as a
//! comment; secrets serialise as `[redacted]`. The list of components is in `src/components.rs`.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::Value;

use super::tree::{NodeValue, TreeNode};

/// What a secret serialises as.
const REDACTED: &str = "[redacted]";

/// Columns after which comments are wrapped.
const COMMENT_WIDTH: usize = 110;
/// Columns after which a list of maps has a line for each.
const LIST_WIDTH: usize = 118;

/// A configuration value together with the JSON schema of its type.
pub struct DocumentedValue {
    schema: Value,
    value: Value,
}

impl DocumentedValue {
    /// Serialises a value and generates its type's schema, which holds the field descriptions.
    pub fn from_value<T: JsonSchema + Serialize>(value: &T) -> Self {
        let schema: Schema = SchemaGenerator::default().into_root_schema_for::<T>();
        Self { schema: schema.to_value(), value: serde_json::to_value(value).unwrap_or(Value::Null) }
    }

    /// A value as it is written in a file, with the text of its references in place of the values. It has no schema.
    pub fn from_tree(node: &TreeNode) -> Self {
        Self { schema: Value::Null, value: to_json(node) }
    }

    /// The JSON schema of the value's type.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Appends the value's fields as YAML at `indent`; with `comments`, each field below its description.
    pub fn write(&self, out: &mut String, indent: usize, comments: bool) {
        YamlWriter { root: &self.schema, comments }.write_object(out, &self.schema, &self.value, indent);
    }

    /// Replaces each redacted secret with the reference that is written in the file in its place, such as
    /// `${env:API_KEY}`. Returns whether a secret is still redacted, because it is written in the file itself.
    pub fn restore_references(&mut self, written: &TreeNode) -> bool {
        restore_in_value(&mut self.value, Some(written))
    }

    /// Whether the value has no fields.
    pub fn is_empty(&self) -> bool {
        self.value.as_object().is_none_or(serde_json::Map::is_empty)
    }
}

fn to_json(node: &TreeNode) -> Value {
    let number = |value: Value| {
        // `007` and `0x1f` may be texts: written in quotes, they are read as both.
        let is_number = |raw: &&String| {
            raw.parse::<f64>().is_ok() && (!raw.starts_with('0') || raw.len() == 1 || raw.starts_with("0."))
        };
        match node.raw.as_ref().filter(|raw| !is_number(raw)) {
            Some(raw) => Value::from(raw.as_str()),
            None => value,
        }
    };
    match (&node.reference, &node.value) {
        (Some(written), _) => Value::from(written.as_str()),
        // Without its schema, an empty value can't be told from an empty map, such as `grpc:` of a receiver.
        (None, NodeValue::Null) => Value::Object(serde_json::Map::new()),
        (None, NodeValue::Bool(value)) => Value::from(*value),
        (None, NodeValue::Int(value)) => number(Value::from(*value)),
        (None, NodeValue::UInt(value)) => number(Value::from(*value)),
        (None, NodeValue::Float(value)) => number(Value::from(*value)),
        (None, NodeValue::Str(text)) => Value::from(text.as_str()),
        (None, NodeValue::Seq(items)) => items.iter().map(to_json).collect(),
        (None, NodeValue::Map(entries)) => {
            Value::Object(entries.iter().map(|(key, item)| (key.name.clone(), to_json(item))).collect())
        }
    }
}

fn restore_in_value(value: &mut Value, written: Option<&TreeNode>) -> bool {
    match value {
        Value::String(text) if text == REDACTED => match written.and_then(find_shown_reference) {
            Some(reference) => {
                reference.clone_into(text);
                false
            }
            None => true,
        },
        Value::Array(items) => items.iter_mut().enumerate().fold(false, |redacted, (index, item)| {
            restore_in_value(item, written.and_then(|node| node.item(index))) || redacted
        }),
        Value::Object(fields) => fields.iter_mut().fold(false, |redacted, (key, field)| {
            restore_in_value(field, written.and_then(|node| node.get(key)).map(|(_, node)| node)) || redacted
        }),
        _ => false,
    }
}

/// The reference of a scalar, if nothing in it can be a secret: no default, and no text beside it but the scheme of a
/// credential (`Bearer ${env:TOKEN}`).
fn find_shown_reference(node: &TreeNode) -> Option<&str> {
    let written = node.reference.as_deref()?;
    let (before, rest) = written.split_once("${")?;
    let (reference, after) = rest.split_once('}')?;
    let is_scheme = before.strip_suffix(' ').is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let is_safe =
        after.is_empty() && !reference.contains(":-") && (before.is_empty() || (is_scheme && before.len() <= 8));
    is_safe.then_some(written)
}

struct YamlWriter<'s> {
    root: &'s Value,
    comments: bool,
}

impl<'s> YamlWriter<'s> {
    /// Follows `$ref` and the first member of `anyOf` that is not null.
    fn resolve(&self, schema: &'s Value) -> &'s Value {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let found = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(schema, |found| self.resolve(found));
        }
        let non_null = schema.get("anyOf").and_then(Value::as_array).and_then(|members| {
            members.iter().find(|member| member.get("type").and_then(Value::as_str) != Some("null"))
        });
        non_null.map_or(schema, |member| self.resolve(member))
    }

    fn write_object(&self, out: &mut String, schema: &'s Value, value: &Value, indent: usize) {
        let schema = self.resolve(schema);
        let Some(fields) = value.as_object() else { return };
        for (key, value) in fields {
            let property = schema.get("properties").and_then(|properties| properties.get(key)).unwrap_or(&Value::Null);
            if self.comments {
                self.write_comment(out, property, indent);
            }
            self.write_field(out, key, property, value, indent);
        }
    }

    fn write_field(&self, out: &mut String, key: &str, schema: &'s Value, value: &Value, indent: usize) {
        let (pad, key) = (" ".repeat(indent), format_text(key));
        match value {
            Value::Null if self.comments => out.push_str(&format!("{pad}# {key}:\n")),
            Value::Null => {}
            Value::Object(fields) if fields.is_empty() => out.push_str(&format!("{pad}{key}: {{}}\n")),
            Value::Object(_) => {
                out.push_str(&format!("{pad}{key}:\n"));
                self.write_object(out, schema, value, indent + 2);
            }
            other => {
                let line = format!("{pad}{key}: {}\n", format_scalar(other));
                match other.as_array().filter(|items| line.len() > LIST_WIDTH && items.iter().any(Value::is_object)) {
                    Some(items) => {
                        out.push_str(&format!("{pad}{key}:\n"));
                        items.iter().for_each(|item| out.push_str(&format!("{pad}  - {}\n", format_scalar(item))));
                    }
                    None => out.push_str(&line),
                }
            }
        }
    }

    fn write_comment(&self, out: &mut String, schema: &'s Value, indent: usize) {
        let own_text = schema.get("description").and_then(Value::as_str);
        let Some(text) = own_text.or_else(|| self.resolve(schema).get("description").and_then(Value::as_str)) else {
            return;
        };
        write_comment(out, text, indent);
    }
}

/// Appends a text as a comment at `indent`. Its paragraphs are separated by an empty line.
pub fn write_comment(out: &mut String, text: &str, indent: usize) {
    let pad = " ".repeat(indent);
    for paragraph in text.split("\n\n") {
        let mut line = format!("{pad}#");
        for word in paragraph.split_whitespace() {
            if line.len() + word.len() + 1 > COMMENT_WIDTH {
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

/// Writes a scalar or a list on one line; maps inside lists in flow form.
fn format_scalar(value: &Value) -> String {
    match value {
        Value::String(text) => format_text(text),
        Value::Array(items) => format!("[{}]", items.iter().map(format_scalar).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{}: {}", format_text(key), format_scalar(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// Writes text plainly if YAML reads it back as the same text, otherwise as a JSON string (which is valid YAML).
pub fn format_text(text: &str) -> String {
    const WORDS: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "nan"];
    // YAML readers take `1e5` and `0x1f` for numbers, but not `10s` or `127.0.0.1:4317`.
    let is_digit_word = text.starts_with(|c: char| c.is_ascii_digit())
        && !text.starts_with('0')
        && (text.ends_with(|c: char| c.is_ascii_alphabetic()) || text.matches('.').count() > 1);
    let is_plain = (is_digit_word || text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/'))
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./-:".contains(&byte))
        && !text.ends_with(':')
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is_plain {
        return text.to_owned();
    }
    // JSON leaves some characters as they are that YAML does not allow, or takes for a line end.
    let is_special = |c: char| c.is_control() || ['\u{2028}', '\u{2029}', '\u{feff}'].contains(&c);
    let json = Value::from(text).to_string();
    json.chars().map(|c| if is_special(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }).collect()
}
