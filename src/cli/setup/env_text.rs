//! [`EnvText`]: a file of lines `NAME=value`, as shells, compose files and `.env` loaders read them. Comments, blank
//! lines and `export` stay. Used by `settings_file`.

use serde_json::Value;

use super::settings_document::{MergeFault, SettingsDocument};

/// See the module.
pub(super) struct EnvText {
    lines: Vec<String>,
    /// Whether lines end as on Windows.
    newline: &'static str,
}

/// The name and value of a line; `None` for a comment or blank line.
///
/// # Errors
/// The line is neither.
fn parse_line(line: &str) -> Result<Option<(&str, &str)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let assignment = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = assignment.split_once('=').ok_or("expected `NAME=value`")?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err("expected a name of letters, digits and `_` before `=`");
    }
    let value = value.trim();
    let Some(quote) = value.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        let comment = value.find(" #");
        return Ok(Some((name, value.get(..comment.unwrap_or(value.len())).unwrap_or(value).trim_end())));
    };
    let (unquoted, rest) = value.get(1..).unwrap_or("").split_once(quote).ok_or("the quotation marks have no end")?;
    let rest = rest.trim_start();
    match rest.is_empty() || rest.starts_with('#') {
        true => Ok(Some((name, unquoted))),
        false => Err("expected a comment or nothing after the quotation marks"),
    }
}

impl EnvText {
    /// The last line that assigns a name, which is the one that counts.
    fn line_of(&self, name: &str) -> Option<usize> {
        let is_assigned = |line: &String| matches!(parse_line(line), Ok(Some((assigned, _))) if assigned == name);
        self.lines.iter().rposition(is_assigned)
    }
}

impl SettingsDocument for EnvText {
    fn parse(text: &str) -> Result<Self, MergeFault> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (index, line) in lines.iter().enumerate() {
            parse_line(line).map_err(|what| MergeFault::Malformed { line: index + 1, what: what.to_owned() })?;
        }
        Ok(Self { lines, newline: if text.contains("\r\n") { "\r\n" } else { "\n" } })
    }

    fn get(&self, path: &[String]) -> Option<Value> {
        let line = self.lines.get(self.line_of(path.first()?)?)?;
        parse_line(line).ok().flatten().map(|(_, value)| value.into())
    }

    fn set(&mut self, path: &[String], value: &Value, _: bool) -> Result<(), MergeFault> {
        let (Some(name), Some(value)) = (path.first(), value.as_str()) else {
            return Err(MergeFault::NotApplied(path.join(".")));
        };
        let line = self.line_of(name).and_then(|index| self.lines.get_mut(index));
        match line {
            Some(line) => {
                let export = if line.trim_start().starts_with("export ") { "export " } else { "" };
                *line = format!("{export}{name}={value}");
            }
            None => self.lines.push(format!("{name}={value}")),
        }
        Ok(())
    }

    fn remove(&mut self, path: &[String]) -> Result<(), MergeFault> {
        Err(MergeFault::NotApplied(path.join(".")))
    }

    fn into_text(self) -> String {
        self.lines.iter().flat_map(|line| [line.as_str(), self.newline]).collect()
    }
}
