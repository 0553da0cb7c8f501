//! [`EnvFile`]: a file of lines `NAME=value`, as shells, compose files and `.env` loaders read them. Comments, blank
//! lines and `export` stay. Used by `settings_file`.

use serde_json::Value;

use super::settings_document::{MergeFault, SettingsDocument};

pub(super) struct EnvFile(Vec<String>);

/// The name and value of a line that assigns one; `None` for any other line.
fn parse_assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (name, value) = line.strip_prefix("export ").unwrap_or(line).trim_start().split_once('=')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let value = value.trim();
    let (value, rest) = match value.chars().next().filter(|first| matches!(first, '"' | '\'')) {
        Some(quote) => value.strip_prefix(quote)?.split_once(quote)?,
        None => (value.split(" #").next().unwrap_or(value).trim_end(), ""),
    };
    let is_complete = rest.trim_start().is_empty() || rest.trim_start().starts_with('#');
    (is_complete && !name.is_empty() && name.chars().all(is_name)).then_some((name, value))
}

impl EnvFile {
    /// The last line that assigns a name, which is the one that counts.
    fn line_of(&self, path: &[String]) -> Option<usize> {
        let name = path.join(".");
        self.0.iter().rposition(|line| parse_assignment(line).is_some_and(|(assigned, _)| assigned == name))
    }
}

impl SettingsDocument for EnvFile {
    fn parse(text: &str) -> Result<Self, MergeFault> {
        let is_ignored = |line: &str| line.trim().is_empty() || line.trim().starts_with('#');
        match text.lines().position(|line| !is_ignored(line) && parse_assignment(line).is_none()) {
            Some(index) => Err(MergeFault::Malformed { line: index + 1, what: "expected `NAME=value`".to_owned() }),
            None => Ok(Self(text.lines().map(str::to_owned).collect())),
        }
    }

    fn get(&self, path: &[String]) -> Option<Value> {
        parse_assignment(self.0.get(self.line_of(path)?)?).map(|(_, value)| value.into())
    }

    fn set(&mut self, path: &[String], value: &Value, _: bool) -> Result<(), MergeFault> {
        let assignment = format!("{}={}", path.join("."), value.as_str().unwrap_or_default());
        match self.line_of(path).and_then(|index| self.0.get_mut(index)) {
            Some(line) if line.trim_start().starts_with("export ") => *line = format!("export {assignment}"),
            Some(line) => *line = assignment,
            None => self.0.push(assignment),
        }
        Ok(())
    }

    fn remove(&mut self, path: &[String]) {
        while let Some(index) = self.line_of(path) {
            self.0.remove(index);
        }
    }

    fn into_text(self) -> String {
        self.0.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}
