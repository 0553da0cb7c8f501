//! Reads the tables that commands name, and prints JSON answers.

use std::fs;

use crate::cli::error::CommandError;
use crate::cli::output::print_json;
use kernel::files::describe_io_error;
use rates::TableSource;

/// Reads `builtin` or a file.
pub(super) fn read_table(name: &str) -> Result<TableSource, CommandError> {
    if name == "builtin" {
        return Ok(TableSource::builtin()?);
    }
    let text = fs::read_to_string(name).map_err(|error| format!("{name}: {}", describe_io_error(error.kind())))?;
    Ok(TableSource::parse(name, &text)?)
}

/// Prints indented JSON.
pub(super) fn print_pretty_json(value: &serde_json::Value) -> Result<(), CommandError> {
    print_json(&serde_json::to_string_pretty(value).unwrap_or_default())
}
