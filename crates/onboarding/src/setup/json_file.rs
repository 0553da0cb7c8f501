//! [`JsonFile`]: a JSON settings file, changed by value: keys keep their order, formatting becomes uniform. A file with
//! comments, a repeated key or a number of too many digits is refused, because they would be lost. Used by
//! `settings_file`.

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
                true => MergeFault::WouldBeLost(format!("line {line} has a comment")),
                false => MergeFault::Malformed { line, what: what.split(" at line ").next().unwrap_or("").to_owned() },
            }
        };
        // Parsed without a type, whose error would quote the file.
        let value = serde_json::from_str(text).map_err(malformed)?;
        find_losses(text, &value).map_or(Ok(()), |lost| Err(MergeFault::WouldBeLost(lost)))?;
        let Value::Object(members) = value else {
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
        let Some(last) = path.last() else { return Ok(()) };
        self.make_parent(path)?.insert(last.clone(), value.clone());
        Ok(())
    }

    fn append(&mut self, path: &[String], value: &Value, unless: &str) -> Result<bool, MergeFault> {
        let Some(last) = path.last() else { return Ok(false) };
        let list = self.make_parent(path)?.entry(last.as_str()).or_insert_with(|| Vec::<Value>::new().into());
        let list = list.as_array_mut().ok_or_else(|| MergeFault::other_kind(path, path.len(), "a list in brackets"))?;
        let is_new = !list.iter().any(|entry| entry.to_string().contains(unless));
        list.extend(is_new.then(|| value.clone()));
        Ok(is_new)
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

impl JsonFile {
    /// The object that has a path's last key; it and those around it are made if they are missing.
    fn make_parent(&mut self, path: &[String]) -> Result<&mut Map<String, Value>, MergeFault> {
        let parents = path.split_last().map_or(&[][..], |(_, parents)| parents);
        let mut members = &mut self.members;
        for (depth, key) in parents.iter().enumerate() {
            let member = members.entry(key.as_str()).or_insert_with(|| Map::new().into());
            let wrong = || MergeFault::other_kind(path, depth, "an object in braces");
            members = member.as_object_mut().ok_or_else(wrong)?;
        }
        Ok(members)
    }
}

/// What the parsed value lacks of its text.
fn find_losses(text: &str, value: &Value) -> Option<String> {
    let mut members = 0;
    for (at, line) in text.lines().enumerate() {
        // No string continues on the next line.
        let line = line.replace("\\\\", "").replace("\\\"", "");
        for part in line.split('"').step_by(2) {
            members += part.matches(':').count();
            let is_other = |c: char| !c.is_ascii_digit() && !"+-.eE".contains(c);
            let mut words = part.split(is_other).filter(|word| !word.is_empty() && *word != "e");
            if !words.all(is_number_kept) {
                return Some(format!("line {} has a number with more digits than can be kept", at + 1));
            }
        }
    }
    (members > count_members(value)).then(|| "a repeated key has another value".to_owned())
}

fn is_number_kept(number: &str) -> bool {
    let written = serde_json::from_str::<Value>(number).unwrap_or_default().to_string();
    let digits = |text: &str| {
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        mantissa.replace(['-', '.'], "").trim_matches('0').to_owned()
    };
    number == written || (number.contains(['.', 'e', 'E']) && digits(number) == digits(&written))
}

fn count_members(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.len() + members.values().map(count_members).sum::<usize>(),
        Value::Array(items) => items.iter().map(count_members).sum(),
        _ => 0,
    }
}
