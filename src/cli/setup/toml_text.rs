//! [`TomlText`]: a TOML file, changed by `toml_edit`, which keeps comments, order and formatting. Used by
//! `settings_file`.

use serde_json::Value;
use toml_edit::{DocumentMut, Item, Table, TableLike};

use super::settings_document::{MergeFault, SettingsDocument};

/// See the module.
pub(super) struct TomlText(DocumentMut);

impl SettingsDocument for TomlText {
    fn parse(text: &str) -> Result<Self, MergeFault> {
        // The error's own text quotes the file.
        text.parse().map(Self).map_err(|error: toml_edit::TomlError| {
            let what = error.message().lines().next().unwrap_or("").to_owned();
            MergeFault::at(text, error.span().map_or(0, |span| span.start), what)
        })
    }

    fn get(&self, path: &[String]) -> Option<Value> {
        let mut item = self.0.as_item();
        for key in path {
            item = item.as_table_like()?.get(key)?;
        }
        let text = item.as_str().map(Value::from);
        let value = text.or_else(|| item.as_bool().map(Value::from)).or_else(|| item.as_integer().map(Value::from));
        (!item.is_none()).then(|| value.unwrap_or(Value::Null))
    }

    fn set(&mut self, path: &[String], value: &Value, replaces_text: bool) -> Result<(), MergeFault> {
        let Some((last, parents)) = path.split_last() else { return Ok(()) };
        let mut table: &mut dyn TableLike = self.0.as_table_mut();
        for (depth, key) in parents.iter().enumerate() {
            let item = table.entry(key).or_insert_with(implicit_table);
            if !item.is_table_like() {
                if !(replaces_text && item.is_str()) {
                    let key = path.get(..=depth).unwrap_or(path).join(".");
                    return Err(MergeFault::OtherKind { key, wanted: "a table" });
                }
                *item = implicit_table();
            }
            table = item.as_table_like_mut().ok_or_else(|| MergeFault::NotApplied(path.join(".")))?;
        }
        let new = to_toml(value).ok_or_else(|| MergeFault::NotApplied(path.join(".")))?;
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

    fn remove(&mut self, path: &[String]) -> Result<(), MergeFault> {
        let Some((last, parents)) = path.split_last() else { return Ok(()) };
        let mut table: &mut dyn TableLike = self.0.as_table_mut();
        for key in parents {
            let below = table.get_mut(key).and_then(Item::as_table_like_mut);
            table = below.ok_or_else(|| MergeFault::NotApplied(path.join(".")))?;
        }
        table.remove(last);
        Ok(())
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

fn to_toml(value: &Value) -> Option<toml_edit::Value> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Bool(truth) => Some((*truth).into()),
        Value::Number(number) => Some(number.as_i64()?.into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
