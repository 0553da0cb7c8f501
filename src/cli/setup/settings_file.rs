//! [`merge_settings`]: puts settings into the text of a client's file and leaves everything else as it is: other keys,
//! their order, comments. Each format has its own [`SettingsDocument`] (`json_text`, `toml_text`, `env_text`). The
//! result is parsed again and must hold each setting, so no format's oddity goes unnoticed. Errors name keys and lines,
//! never values, which may be secrets. `write` reads and replaces the file.

use serde::Deserialize;
use serde_json::Value;

use super::env_text::EnvText;
use super::json_text::JsonText;
use super::settings_document::{MergeFault, SettingsDocument};
use super::toml_text::TomlText;

/// Formats of settings files.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FileFormat {
    Json,
    /// JSON with comments and trailing commas.
    Jsonc,
    Toml,
    /// Lines `NAME=value`, with or without `export`.
    Env,
}

/// One setting to put into a file.
pub(super) struct SettingChange {
    /// The keys from the file's top level.
    pub(super) path: Vec<String>,
    /// The text, number or truth value; `None` removes the setting.
    pub(super) value: Option<Value>,
    /// Whether a value that is already there stays.
    pub(super) keep: bool,
    /// Whether a text where the path needs a table is replaced by one.
    pub(super) replaces_text: bool,
}

/// The result of a merge. Keys are paths with dots.
#[derive(Default)]
pub(super) struct MergedSettings {
    /// The file's new text.
    pub(super) text: String,
    /// Keys that were not there.
    pub(super) added: Vec<String>,
    /// Keys whose value changed.
    pub(super) changed: Vec<String>,
    /// Keys that were removed.
    pub(super) removed: Vec<String>,
    /// Keys whose other value stayed.
    pub(super) kept: Vec<String>,
}

impl MergedSettings {
    /// Whether the file had all settings.
    pub(super) fn is_unchanged(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Puts settings into the text of a file.
///
/// # Errors
/// The file is malformed, or written in a way in which a setting can't be added.
pub(super) fn merge_settings(
    format: FileFormat,
    text: &str,
    changes: &[SettingChange],
) -> Result<MergedSettings, MergeFault> {
    match format {
        FileFormat::Json => merge_document::<JsonText<false>>(text, changes),
        FileFormat::Jsonc => merge_document::<JsonText<true>>(text, changes),
        FileFormat::Toml => merge_document::<TomlText>(text, changes),
        FileFormat::Env => merge_document::<EnvText>(text, changes),
    }
}

fn merge_document<D: SettingsDocument>(text: &str, changes: &[SettingChange]) -> Result<MergedSettings, MergeFault> {
    let mut document = D::parse(text)?;
    let mut merged = MergedSettings::default();
    let mut set = Vec::new();
    for change in changes {
        let key = change.path.join(".");
        let present = document.get(&change.path);
        let Some(value) = &change.value else {
            if present.is_some() {
                document.remove(&change.path)?;
                merged.removed.push(key);
            }
            continue;
        };
        match present {
            Some(present) if present == *value => {}
            Some(Value::Null) => return Err(MergeFault::OtherKind { key, wanted: "a single value" }),
            Some(_) if change.keep => {
                merged.kept.push(key);
                continue;
            }
            present => {
                document.set(&change.path, value, change.replaces_text)?;
                if present.is_some() { merged.changed.push(key) } else { merged.added.push(key) }
            }
        }
        set.push((&change.path, value));
    }
    if merged.is_unchanged() {
        merged.text = text.to_owned();
        return Ok(merged);
    }
    merged.text = document.into_text();
    let written = D::parse(&merged.text);
    for (path, value) in set {
        let is_there = written.as_ref().is_ok_and(|written| written.get(path).as_ref() == Some(value));
        if !is_there {
            return Err(MergeFault::NotApplied(path.join(".")));
        }
    }
    Ok(merged)
}
