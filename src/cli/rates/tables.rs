//! Reads the tables that commands name, and prints JSON answers.

use std::fs;

use crate::cli::error::CommandError;
use crate::cli::output::print_json;
use rates::Source;

/// Reads `builtin` or a file.
pub(super) fn source(name: &str) -> Result<Source, CommandError> {
    if name == "builtin" {
        return Ok(Source::builtin()?);
    }
    let text = fs::read_to_string(name).map_err(|error| format!("{name}: {}", error.kind()))?;
    Ok(Source::parse(name, &text)?)
}

/// Prints indented JSON.
pub(super) fn pretty(value: &serde_json::Value) -> Result<(), CommandError> {
    print_json(&serde_json::to_string_pretty(value).unwrap_or_default())
}
