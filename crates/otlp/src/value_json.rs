//! Writes a [`Value`] as compact JSON. The text is canonical, because commitments and fragments are computed from it:
//! no spaces; map entries in wire order, duplicates kept; integers as numbers; bytes as base64; `"NaN"`, `"Infinity"`,
//! `"-Infinity"` as strings; only `"`, `\` and control characters are escaped. `json` encodes whole requests as
//! OTLP/JSON, which tags every value with its type.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::value::Value;

/// JSON text of removed content.
pub type ContentJson = String;

impl<'a> Value<'a> {
    /// This value as compact JSON.
    pub fn to_json(&self) -> String {
        let mut json = String::new();
        self.write_json(&mut json);
        json
    }

    /// A text, or a List or Map as JSON.
    pub fn text_or_json(&self) -> Option<Cow<'a, str>> {
        match *self {
            Self::Str(text) => Some(Cow::Borrowed(text)),
            Self::List(_) | Self::Map(_) => Some(Cow::Owned(self.to_json())),
            _ => None,
        }
    }

    /// Appends this value as compact JSON (bytes as base64, non-finite doubles as strings).
    pub fn write_json(&self, out: &mut String) {
        match *self {
            Self::Empty => out.push_str("null"),
            Self::Str(text) => write_json_text(text, out),
            Self::Bool(flag) => out.push_str(if flag { "true" } else { "false" }),
            Self::Int(number) => drop(write!(out, "{number}")),
            Self::Double(number) => write_double(number, out),
            Self::Bytes(bytes) => {
                out.push('"');
                STANDARD.encode_string(bytes, out);
                out.push('"');
            }
            Self::List(_) => {
                out.push('[');
                for (index, item) in self.items().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Self::Map(_) => {
                out.push('{');
                for (index, (key, value)) in self.entries().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_json_text(key, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

pub(super) fn write_double(number: f64, out: &mut String) {
    if number.is_nan() {
        out.push_str("\"NaN\"");
    } else if number.is_infinite() {
        out.push_str(if number > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    } else {
        // The shortest text that parses to the same double; `1.0`, `1e21`.
        let _ = write!(out, "{number:?}");
    }
}

/// Appends `text` as a JSON string.
pub fn write_json_text(text: &str, out: &mut String) {
    out.reserve(text.len() + 2);
    out.push('"');
    let mut rest = text;
    while let Some((clean, tail)) = rest.split_at_checked(unescaped_len(rest.as_bytes())) {
        out.push_str(clean);
        let mut chars = tail.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(control) => drop(write!(out, "\\u{:04x}", control as u32)),
            None => break,
        }
        rest = chars.as_str();
    }
    out.push('"');
}

/// Number of bytes before the first one that is escaped. Whole steps are tested at once, which compiles to vector code.
fn unescaped_len(bytes: &[u8]) -> usize {
    const STEP: usize = 32;
    let is_escaped = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    let is_clean = |step: &&[u8]| !step.iter().fold(false, |any, byte| any | is_escaped(byte));
    let clean = bytes.chunks_exact(STEP).take_while(is_clean).count() * STEP;
    let rest = bytes.get(clean..).unwrap_or_default();
    clean + rest.iter().position(is_escaped).unwrap_or(rest.len())
}
