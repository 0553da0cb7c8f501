//! Component ids: `type` or `type/name`, as in the OpenTelemetry Collector.

use std::fmt;

/// A component id such as `otlp` or `otlp/honeycomb`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId {
    /// The type: `otlp`.
    pub kind: String,
    /// The name: `honeycomb`; empty if the id has none.
    pub name: String,
}

impl ComponentId {
    /// Splits `text` at the first `/`. A type matches `[a-z][a-z0-9_]*`; a name has no white space and at most 128
    /// bytes.
    ///
    /// # Errors
    /// A fixed text that says which of these rules is broken.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (kind, name) = text.split_once('/').unwrap_or((text, ""));
        let is_valid_type = kind.starts_with(|first: char| first.is_ascii_lowercase())
            && kind.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !is_valid_type {
            return Err(
                "a component's type must start with a lower case letter and contain only lower case letters, digits and `_`",
            );
        }
        if text.contains('/') && name.is_empty() {
            return Err("the name after `/` is empty");
        }
        if name.chars().any(char::is_whitespace) || name.len() > 128 {
            return Err("a component's name must not contain white space and may have at most 128 bytes");
        }
        Ok(Self { kind: kind.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { f.write_str(&self.kind) } else { write!(f, "{}/{}", self.kind, self.name) }
    }
}
