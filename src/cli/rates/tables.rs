//! Reads the tables that commands name, and prints JSON answers.

use std::path::Path;

use command::error::CommandError;
use command::output::print_json;
use kernel::files::{describe_io_error, read_text};
use rates::TableSource;

/// Largest rate table, in bytes; the built-in one has less than 1 MB.
const MAX_TABLE_BYTES: u64 = 32 << 20;

/// Reads `builtin` or a file.
pub(super) fn read_table(name: &str) -> Result<TableSource, CommandError> {
    if name == "builtin" {
        return Ok(TableSource::builtin()?);
    }
    let text = read_text(Path::new(name), MAX_TABLE_BYTES)
        .map_err(|error| format!("{name}: {}", describe_io_error(error.kind())))?;
    Ok(TableSource::parse(name, &text)?)
}

pub(super) fn print_pretty_json(value: &serde_json::Value) -> Result<(), CommandError> {
    print_json(&serde_json::to_string_pretty(value).unwrap_or_default())
}
