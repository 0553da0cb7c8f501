//! [`TomlFile`]: a TOML settings file, changed by `toml_edit`, which keeps comments, order and formatting. Used by
//! `settings_file`.

use serde_json::Value;
use toml_edit::{DocumentMut, Item, Table, TableLike};

use super::settings_document::{MergeFault, SettingsDocument};

pub(super) struct TomlFile(DocumentMut);

impl SettingsDocument for TomlFile {
    fn parse(text: &str) -> Result<Self, MergeFault> {
        // The error's own text quotes the file.
        text.parse().map(Self).map_err(|error: toml_edit::TomlError| {
            let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
            let what = error.message().lines().next().unwrap_or("").to_owned();
            MergeFault::Malformed { line: before.matches('\n').count() + 1, what }
        })
    }

    fn get(&self, path: &[String]) -> Option<Value> {
        let item = path.iter().try_fold(self.0.as_item(), |item, key| item.as_table_like()?.get(key))?;
        let text = item.as_str().map(Value::from);
        let value = text.or_else(|| item.as_bool().map(Value::from)).or_else(|| item.as_integer().map(Value::from));
        (!item.is_none()).then(|| value.unwrap_or(Value::Null))
    }

    fn set(&mut self, path: &[String], value: &Value, replaces_text: bool) -> Result<(), MergeFault> {
        let Some((last, parents)) = path.split_last() else { return Ok(()) };
        let mut table: &mut dyn TableLike = self.0.as_table_mut();
        for (depth, key) in parents.iter().enumerate() {
            let item = table.entry(key).or_insert_with(implicit_table);
            if replaces_text && item.is_str() {
                *item = implicit_table();
            }
            table = item.as_table_like_mut().ok_or_else(|| MergeFault::other_kind(path, depth, "a table"))?;
        }
        let new: toml_edit::Value = match value {
            Value::Bool(truth) => (*truth).into(),
            value => value.as_str().unwrap_or_default().into(),
        };
        match table.get_mut(last).and_then(Item::as_value_mut) {
            Some(present) => {
                let decor = present.decor().clone();
                *present = new;
                *present.decor_mut() = decor;
            }
            None => drop(table.insert(last, Item::Value(new))),
        }
        Ok(())
    }

    fn remove(&mut self, path: &[String]) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut table: Option<&mut dyn TableLike> = Some(self.0.as_table_mut());
        for key in parents {
            table = table.and_then(|table| table.get_mut(key)?.as_table_like_mut());
        }
        table.and_then(|table| table.remove(last));
    }

    fn into_text(self) -> String {
        self.0.to_string()
    }
}

/// A table that is written only if it has values of its own.
fn implicit_table() -> Item {
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}
