//! [`JsonText`]: a JSON file as text with the places of its objects' members, so that a member can be set while
//! formatting and comments stay as they are. With `COMMENTS`, comments and trailing commas are accepted. Arrays are
//! only checked. Used by `settings_file`.

use serde::Serialize as _;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::settings_document::{MergeFault, SettingsDocument};

/// Deepest nesting of values that is read.
const MAX_DEPTH: usize = 64;
/// Indentation of a file that has none.
const DEFAULT_INDENT: &str = "  ";
/// The text of a file without settings.
const EMPTY: &str = "{}\n";

/// See the module.
pub(super) struct JsonText<const COMMENTS: bool> {
    text: String,
    root: JsonNode,
}

/// A value and its place, in bytes of the text.
struct JsonNode {
    start: usize,
    end: usize,
    /// The members, if the value is an object.
    members: Option<Vec<JsonMember>>,
}

struct JsonMember {
    key: String,
    /// Where the key begins.
    start: usize,
    value: JsonNode,
    /// Whether a comma follows.
    has_comma: bool,
}

impl JsonNode {
    /// The last member of this name, which is the one that readers of duplicate keys take.
    fn member(&self, key: &str) -> Option<&JsonMember> {
        self.members.as_ref()?.iter().rev().find(|member| member.key == key)
    }
}

impl<const COMMENTS: bool> SettingsDocument for JsonText<COMMENTS> {
    fn parse(text: &str) -> Result<Self, MergeFault> {
        let is_empty = text.trim_start_matches('\u{feff}').trim().is_empty();
        let text = if is_empty { EMPTY } else { text };
        let mut reader = JsonReader { text, at: 0, comments: COMMENTS };
        reader.skip_mark();
        let root = reader.read_value(0)?;
        reader.skip_space()?;
        if reader.at < text.len() {
            return Err(reader.fault("expected the end of the file"));
        }
        if root.members.is_none() {
            return Err(MergeFault::at(text, root.start, "expected an object in braces"));
        }
        Ok(Self { text: text.to_owned(), root })
    }

    fn get(&self, path: &[String]) -> Option<Value> {
        let mut node = &self.root;
        for key in path {
            node = &node.member(key)?.value;
        }
        let value = serde_json::from_str(self.text.get(node.start..node.end)?).unwrap_or(Value::Null);
        Some(if value.is_object() || value.is_array() { Value::Null } else { value })
    }

    fn set(&mut self, path: &[String], value: &Value, replaces_text: bool) -> Result<(), MergeFault> {
        let mut node = &self.root;
        for (depth, key) in path.iter().enumerate() {
            let below = path.get(depth + 1..).unwrap_or_default();
            let text = match node.member(key) {
                None => self.insert_member(node, key, &nest(below, value)),
                Some(member) if below.is_empty() => self.replace_value(&member.value, value),
                Some(member) if member.value.members.is_some() => {
                    node = &member.value;
                    continue;
                }
                Some(member) if replaces_text => self.replace_value(&member.value, &nest(below, value)),
                Some(_) => {
                    let key = path.get(..=depth).unwrap_or(path).join(".");
                    return Err(MergeFault::OtherKind { key, wanted: "an object in braces" });
                }
            };
            *self = Self::parse(&text)?;
            return Ok(());
        }
        Ok(())
    }

    fn remove(&mut self, path: &[String]) -> Result<(), MergeFault> {
        Err(MergeFault::NotApplied(path.join(".")))
    }

    fn into_text(self) -> String {
        self.text
    }
}

impl<const COMMENTS: bool> JsonText<COMMENTS> {
    fn slice(&self, start: usize, end: usize) -> &str {
        self.text.get(start..end).unwrap_or("")
    }

    /// The white space at the start of the line that contains `at`.
    fn line_indent(&self, at: usize) -> &str {
        let before = self.slice(0, at);
        let line = self.slice(before.rfind('\n').map_or(0, |end| end + 1), self.text.len());
        line.get(..line.len() - line.trim_start_matches([' ', '\t']).len()).unwrap_or("")
    }

    /// The white space before a member that stands first on its line.
    fn member_indent(&self, member: &JsonMember) -> Option<&str> {
        let indent = self.line_indent(member.start);
        self.slice(0, member.start).strip_suffix(indent)?.ends_with('\n').then_some(indent)
    }

    /// One step of the file's indentation.
    fn indent_step(&self) -> &str {
        let first = self.root.members.as_ref().and_then(|members| members.first());
        first
            .and_then(|member| self.member_indent(member))
            .filter(|indent| !indent.is_empty())
            .unwrap_or(DEFAULT_INDENT)
    }

    fn newline(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }

    /// The text with another value in the place of one.
    fn replace_value(&self, node: &JsonNode, value: &Value) -> String {
        let indent = self.line_indent(node.start);
        let (before, after) = (self.slice(0, node.start), self.slice(node.end, self.text.len()));
        format!("{before}{}{after}", self.render_lines(value, indent))
    }

    /// The text with a new last member in an object.
    fn insert_member(&self, object: &JsonNode, key: &str, value: &Value) -> String {
        let key = Value::from(key).to_string();
        let inner_start = object.start + 1;
        let inner = self.slice(inner_start, object.end.saturating_sub(1));
        // Behind the last member and its comments.
        let end_of_inner = inner_start + inner.trim_end().len();
        let (mut before, rest) = (self.slice(0, end_of_inner).to_owned(), self.slice(end_of_inner, self.text.len()));
        let last = object.members.as_ref().and_then(|members| members.last());
        let has_trailing_comma = last.is_some_and(|last| last.has_comma);
        if let Some(last) = last.filter(|last| !last.has_comma) {
            before.insert(last.value.end, ',');
        }
        let is_on_one_line = last.is_some() && !inner.contains('\n');
        if is_on_one_line {
            let comma = if has_trailing_comma { "," } else { "" };
            return format!("{before} {key}: {value}{comma}{rest}");
        }
        let outer = self.line_indent(object.start);
        let first = object.members.as_ref().and_then(|members| members.first());
        let indent = first.and_then(|member| self.member_indent(member)).map(str::to_owned);
        let indent = indent.unwrap_or_else(|| format!("{outer}{}", self.indent_step()));
        let (newline, value) = (self.newline(), self.render_lines(value, &indent));
        let comma = if has_trailing_comma { "," } else { "" };
        let close = if inner.contains('\n') { String::new() } else { format!("{newline}{outer}") };
        format!("{before}{newline}{indent}{key}: {value}{comma}{close}{rest}")
    }

    /// A value over several lines, of which all but the first begin with `indent`.
    fn render_lines(&self, value: &Value, indent: &str) -> String {
        let mut out = Vec::new();
        let formatter = PrettyFormatter::with_indent(self.indent_step().as_bytes());
        // Writing a value into memory can't fail.
        drop(value.serialize(&mut Serializer::with_formatter(&mut out, formatter)));
        String::from_utf8_lossy(&out).replace('\n', &format!("{}{indent}", self.newline()))
    }
}

/// `value` inside an object for each key of `path`.
fn nest(path: &[String], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |inner, key| Value::Object([(key.clone(), inner)].into_iter().collect()))
}

struct JsonReader<'t> {
    text: &'t str,
    at: usize,
    comments: bool,
}

impl JsonReader<'_> {
    fn fault(&self, what: &str) -> MergeFault {
        MergeFault::at(self.text, self.at, what)
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips the byte order mark that some editors put at the start.
    fn skip_mark(&mut self) {
        self.at = self.text.len() - self.text.trim_start_matches('\u{feff}').len();
    }

    /// Skips white space, and comments where they are accepted.
    fn skip_space(&mut self) -> Result<(), MergeFault> {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
            let rest = self.rest();
            let skipped = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").ok_or_else(|| self.fault("the comment has no end"))? + 2
            } else {
                return Ok(());
            };
            if !self.comments {
                return Err(self.fault("a comment, which JSON does not have"));
            }
            self.at += skipped;
        }
    }

    fn read_value(&mut self, depth: usize) -> Result<JsonNode, MergeFault> {
        self.skip_space()?;
        let start = self.at;
        if depth > MAX_DEPTH {
            return Err(self.fault("values are nested too deeply"));
        }
        let members = match self.peek() {
            Some(b'{') => Some(self.read_object(depth)?),
            Some(b'[') => {
                self.read_array(depth)?;
                None
            }
            _ => {
                self.read_scalar()?;
                None
            }
        };
        Ok(JsonNode { start, end: self.at, members })
    }

    fn read_object(&mut self, depth: usize) -> Result<Vec<JsonMember>, MergeFault> {
        let mut members: Vec<JsonMember> = Vec::new();
        self.at += 1;
        while self.continue_list(b'}', members.last().map(|member| member.has_comma))? {
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.fault("expected a key in double quotes"));
            }
            self.read_scalar()?;
            let key = self.text.get(start..self.at).and_then(|key| serde_json::from_str::<String>(key).ok());
            let key = key.ok_or_else(|| MergeFault::at(self.text, start, "expected a key in double quotes"))?;
            self.skip_space()?;
            if self.peek() != Some(b':') {
                return Err(self.fault("expected a colon"));
            }
            self.at += 1;
            let value = self.read_value(depth + 1)?;
            let has_comma = self.skip_comma()?;
            members.push(JsonMember { key, start, value, has_comma });
        }
        Ok(members)
    }

    fn read_array(&mut self, depth: usize) -> Result<(), MergeFault> {
        self.at += 1;
        let mut after_comma = None;
        while self.continue_list(b']', after_comma)? {
            self.read_value(depth + 1)?;
            after_comma = Some(self.skip_comma()?);
        }
        Ok(())
    }

    /// Whether another entry follows; skips the closing bracket if none does. `after_comma`: whether a comma came
    /// before, `None` at the first entry.
    fn continue_list(&mut self, close: u8, after_comma: Option<bool>) -> Result<bool, MergeFault> {
        self.skip_space()?;
        if self.peek() == Some(close) {
            if after_comma == Some(true) && !self.comments {
                return Err(self.fault("a comma before the closing bracket"));
            }
            self.at += 1;
            return Ok(false);
        }
        match after_comma {
            _ if self.peek().is_none() => Err(self.fault("the file ends inside an object or array")),
            Some(false) => Err(self.fault("expected a comma or a closing bracket")),
            _ => Ok(true),
        }
    }

    fn skip_comma(&mut self) -> Result<bool, MergeFault> {
        self.skip_space()?;
        let has_comma = self.peek() == Some(b',');
        self.at += usize::from(has_comma);
        Ok(has_comma)
    }

    /// Reads a text, number, truth value or null.
    fn read_scalar(&mut self) -> Result<(), MergeFault> {
        let rest = self.rest();
        let len = if rest.starts_with('"') {
            text_len(rest)
        } else {
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))).unwrap_or(rest.len())
        };
        let scalar = rest.get(..len).unwrap_or("");
        if serde_json::from_str::<IgnoredAny>(scalar).is_err() {
            return Err(self.fault("expected a value"));
        }
        self.at += len;
        Ok(())
    }
}

/// The length of a quoted text including its quotes; that of `rest` if it has no end.
fn text_len(rest: &str) -> usize {
    let mut is_escaped = true;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}
