//! [`merge_settings`]: puts settings into the text of a client's file and leaves every other setting as it is. Each
//! format has its own [`SettingsDocument`] (`json_file`, `toml_file`, `env_file`). Errors name keys and lines, never
//! values, which may be secrets. `write` reads and replaces the file.

use serde::Deserialize;
use serde_json::Value;

use super::env_file::EnvFile;
use super::json_file::JsonFile;
use super::settings_document::{MergeFault, SettingsDocument};
use super::toml_file::TomlFile;

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FileFormat {
    Json,
    Toml,
    /// Lines `NAME=value`, with or without `export`.
    Env,
}

/// One setting to put into a file.
pub(super) struct SettingChange {
    /// The keys from the file's top level.
    pub(super) path: Vec<String>,
    /// The text or truth value; `None` removes the setting.
    pub(super) value: Option<Value>,
    /// Whether a value that is already there stays.
    pub(super) keep: bool,
    /// Whether a text where the path needs a table is replaced by one.
    pub(super) replaces_text: bool,
    /// The value is added to a list, unless an entry of it has this text.
    pub(super) unless: Option<String>,
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
        FileFormat::Json => merge_document::<JsonFile>(text, changes),
        FileFormat::Toml => merge_document::<TomlFile>(text, changes),
        FileFormat::Env => merge_document::<EnvFile>(text, changes),
    }
}

fn merge_document<D: SettingsDocument>(text: &str, changes: &[SettingChange]) -> Result<MergedSettings, MergeFault> {
    let mut document = D::parse(text)?;
    let mut merged = MergedSettings::default();
    for change in changes {
        let key = change.path.join(".");
        if let (Some(unless), Some(value)) = (&change.unless, &change.value) {
            let is_added = document.append(&change.path, value, unless)?;
            // A list that gets several entries is named once.
            merged.added.extend((is_added && !merged.added.contains(&key)).then_some(key));
            continue;
        }
        match (document.get(&change.path), &change.value) {
            (None, None) => {}
            (Some(_), None) => {
                document.remove(&change.path);
                merged.removed.push(key);
            }
            (Some(present), Some(value)) if present == *value => {}
            (Some(Value::Null), Some(_)) => return Err(MergeFault::OtherKind { key, wanted: "a single value" }),
            (Some(_), Some(_)) if change.keep => merged.kept.push(key),
            (present, Some(value)) => {
                document.set(&change.path, value, change.replaces_text)?;
                if present.is_some() { merged.changed.push(key) } else { merged.added.push(key) }
            }
        }
    }
    merged.text = if merged.is_unchanged() { text.to_owned() } else { document.into_text() };
    Ok(merged)
}
