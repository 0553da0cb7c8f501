//! `migrate`: turns a Collector's configuration into tollgate's. `place` decides what becomes of each component, by the
//! tables in `app/collector_compat`; `convert` rewrites single components; `settle` removes what the loader refuses;
//! `comments`, `write_yaml` and `report` make the texts. Invariants: variables stay as they are written, and the report
//! and errors contain no values. Neighbours: `print_config` prints a whole configuration.

mod comments;
mod convert;
mod draft;
mod place;
mod report;
mod settle;
#[cfg(test)]
mod tests;
mod tree_edit;
mod write_yaml;

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::{CommandError, ExitStatus};
use super::output::{print, print_to_stderr, use_colour_on_stderr};
use draft::{AGENT_STEPS, MigrationDraft};
use kernel::files::{describe_io_error, read_text, replace_file, write_new};
use report::MigrationEntry;

/// Largest source, in bytes.
const MAX_SOURCE_BYTES: u64 = 1 << 20;

#[derive(Args)]
pub(super) struct MigrateArgs {
    /// The Collector's configuration file.
    #[arg(value_name = "COLLECTOR.yaml")]
    file: PathBuf,
    /// File for the configuration, readable by its owner only [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replaces the output file if it exists.
    #[arg(long, requires = "output")]
    force: bool,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Turns a Collector's file into tollgate's configuration, and reports what became of each component.
pub(super) fn run(options: &MigrateArgs) -> Result<ExitStatus, CommandError> {
    let name = options.file.display().to_string();
    let source = read_text(&options.file, MAX_SOURCE_BYTES)
        .map_err(|error| CommandError::Failed(format!("can't read {name}: {}", describe_read_error(&error))))?;
    let Migration { text, entries } = migrate(&name, &source)?;
    let render = if options.json { report::render_json } else { report::render_text };
    print_to_stderr(&render(&name, &entries));
    let Some(text) = text else {
        let why = "nothing of it maps to tollgate: no pipeline has a receiver and an exporter that are left";
        return Err(CommandError::Failed(format!("{name}: {why}")));
    };
    match &options.output {
        None => print(&text)?,
        Some(path) => write_result(path, &options.file, &text, options.force)?,
    }
    Ok(ExitStatus::Success)
}

fn describe_read_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::FileTooLarge => "larger than 1 MiB".to_owned(),
        io::ErrorKind::InvalidData => "not text in UTF-8".to_owned(),
        kind => describe_io_error(kind),
    }
}

fn write_result(path: &Path, source: &Path, text: &str, force: bool) -> Result<(), CommandError> {
    let is_source = path.canonicalize().is_ok_and(|path| source.canonicalize().is_ok_and(|source| path == source));
    if is_source {
        return Err(CommandError::Failed(format!("{} is the file to migrate: choose another name", path.display())));
    }
    let written = if force { replace_file(path, text.as_bytes()) } else { write_new(path, text.as_bytes()) };
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            CommandError::Failed(format!("{} exists: choose another name, or replace it with --force", path.display()))
        }
        kind => CommandError::Failed(format!("can't write {}: {}", path.display(), describe_io_error(kind))),
    })
}

/// The result of a migration.
struct Migration {
    /// tollgate's configuration; `None` if no pipeline is left.
    text: Option<String>,
    /// What became of each component, in the order of the source.
    entries: Vec<MigrationEntry>,
}

/// Migrates the text of a Collector's file.
///
/// # Errors
/// The text is not valid YAML, is tollgate's configuration already, or gives a result that does not load.
fn migrate(name: &str, source: &str) -> Result<Migration, CommandError> {
    let root = config::file::read_collector_tree(name, source).map_err(|failure| {
        let (masked, problem) = *failure;
        CommandError::Problems(masked.render(&[problem], use_colour_on_stderr()).trim_end().to_owned())
    })?;
    let steps = root.get("processors").map_or(&[][..], |(_, processors)| processors.entries());
    let is_step = |id: &str| AGENT_STEPS.contains(&id.split('/').next().unwrap_or(id));
    if let Some((key, _)) = steps.iter().find(|(key, _)| is_step(&key.name)) {
        let why = "so it is tollgate's configuration already: check it with `tollgate validate --config FILE`";
        return Err(CommandError::Failed(format!(
            "{name}:{}: `{}` is a step of tollgate, {why}",
            key.at.line, key.name
        )));
    }
    let mut draft = MigrationDraft::new(&root);
    place::place_components(&mut draft, &root);
    let text = settle::settle(&mut draft, name)?;
    Ok(Migration { text, entries: draft.entries })
}
