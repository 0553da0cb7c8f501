//! [`JsonFile`]: a JSON settings file, changed by value: keys keep their order, formatting becomes uniform. A file with
//! comments is refused, because they would be lost. Used by `settings_file`.

use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

use super::settings_document::{MergeFault, SettingsDocument};

pub(super) struct JsonFile {
    members: Map<String, Value>,
    /// One step of the file's indentation.
    indent: String,
}

impl SettingsDocument for JsonFile {
    fn parse(text: &str) -> Result<Self, MergeFault> {
        let text = text.trim_start_matches('\u{feff}');
        let text = if text.trim().is_empty() { "{}" } else { text };
        let malformed = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            let at = text.lines().nth(line.saturating_sub(1)).and_then(|text| text.get(column.saturating_sub(1)..));
            let what = error.to_string();
            match at.is_some_and(|rest| rest.starts_with("//") || rest.starts_with("/*")) {
                true => MergeFault::Comment { line },
                false => MergeFault::Malformed { line, what: what.split(" at line ").next().unwrap_or("").to_owned() },
            }
        };
        // Parsed without a type, whose error would quote the file.
        let Value::Object(members) = serde_json::from_str(text).map_err(malformed)? else {
            return Err(MergeFault::Malformed { line: 1, what: "expected an object in braces".to_owned() });
        };
        let first = text.lines().nth(1).unwrap_or_default();
        let indent = first.get(..first.len() - first.trim_start().len()).filter(|indent| !indent.is_empty());
        Ok(Self { members, indent: indent.unwrap_or("  ").to_owned() })
    }

    fn get(&self, path: &[String]) -> Option<Value> {
        let (first, below) = path.split_first()?;
        let value = below.iter().try_fold(self.members.get(first)?, |value, key| value.get(key))?;
        Some(if value.is_object() || value.is_array() { Value::Null } else { value.clone() })
    }

    fn set(&mut self, path: &[String], value: &Value, _: bool) -> Result<(), MergeFault> {
        let Some((last, parents)) = path.split_last() else { return Ok(()) };
        let mut members = &mut self.members;
        for (depth, key) in parents.iter().enumerate() {
            let member = members.entry(key.as_str()).or_insert_with(|| Map::new().into());
            let wrong = || MergeFault::other_kind(path, depth, "an object in braces");
            members = member.as_object_mut().ok_or_else(wrong)?;
        }
        members.insert(last.clone(), value.clone());
        Ok(())
    }

    fn remove(&mut self, path: &[String]) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut members = Some(&mut self.members);
        for key in parents {
            members = members.and_then(|members| members.get_mut(key)?.as_object_mut());
        }
        members.and_then(|members| members.shift_remove(last));
    }

    fn into_text(self) -> String {
        let mut out = Vec::new();
        let formatter = PrettyFormatter::with_indent(self.indent.as_bytes());
        // Writing a value into memory can't fail.
        drop(self.members.serialize(&mut Serializer::with_formatter(&mut out, formatter)));
        String::from_utf8_lossy(&out).into_owned() + "\n"
    }
}
