//! `tollgate redact`: applies the redaction rules to a file of texts, or measures them on labelled texts, so that users
//! can evaluate the rules on their own data. It makes one pass, line by line, with no network except a configured
//! recogniser. Errors name lines, never texts. Rules are in `redaction`, the measures in `redaction/score`.

mod finder;
mod lines;
mod render_results;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::common::CommonArgs;
use super::config_loading::{FileAccess, load_config};
use crate::components::ProcessorSettings;
use command::error::{CommandError, ExitStatus};
use command::output::{print, print_json};
use finder::PrivateTextFinder;
use kernel::files::describe_io_error;
use lines::{InputRecord, RecordReader};
use processors::redact;
use redaction::Detector;
use redaction::score::{LabelledText, RedactionScore};

/// Options of `redact`.
#[derive(Args, Clone)]
pub(super) struct RedactArgs {
    /// Input as JSON lines `{"id", "text"}`; `-` is standard input.
    #[arg(long, value_name = "FILE", required_unless_present = "score", requires = "output")]
    input: Option<PathBuf>,
    /// Output as JSON lines `{"id", "redacted", "spans": [{"start", "end", "type"}]}` with offsets in characters of the
    /// input; `-` is standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "score")]
    output: Option<PathBuf>,
    /// Labelled JSON lines `{"id", "group", "near_miss", "text", "spans"}` on which to measure recall, leak, precision,
    /// F2 and clean.
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    score: Option<PathBuf>,
    /// Prints the figures as JSON.
    #[arg(long, requires = "score")]
    json: bool,
}

/// Redacts a file, or measures the rules.
pub(super) fn run(common: &CommonArgs, options: &RedactArgs) -> Result<ExitStatus, CommandError> {
    let mut finder = build_finder(common)?;
    match (&options.score, &options.input, &options.output) {
        (Some(file), _, _) => score_file(&mut finder, file, options.json)?,
        (None, Some(input), Some(output)) => redact_file(&mut finder, input, output)?,
        _ => return Err("use --input with --output, or --score".into()),
    }
    Ok(ExitStatus::Success)
}

/// The settings of the configuration's first `redact` processor; without a configuration, the defaults.
fn redact_settings(common: &CommonArgs) -> Result<redact::RedactSettings, CommandError> {
    if common.config.is_none() {
        return redact::RedactConfig::default().settings().map_err(|_| "the built-in rules can't be used".into());
    }
    let processors = load_config(common, FileAccess::Read)?.valid.processors;
    let found = processors.into_iter().find_map(|placed| match placed.value {
        ProcessorSettings::Redact(settings) => Some(settings),
        _ => None,
    });
    found.ok_or_else(|| "no pipeline of the configuration has a `redact` processor".into())
}

/// The redaction rules.
///
/// # Errors
/// The configuration is invalid or has no `redact` processor.
pub(super) fn load_rules(common: &CommonArgs) -> Result<Arc<Detector>, CommandError> {
    redact_settings(common).map(|settings| settings.detector)
}

fn build_finder(common: &CommonArgs) -> Result<PrivateTextFinder, CommandError> {
    PrivateTextFinder::new(redact_settings(common)?)
}

fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn open_input(path: &Path) -> Result<RecordReader<Box<dyn Read>>, CommandError> {
    let why = |error: io::Error| format!("can't read {}: {}", path.display(), describe_io_error(error.kind()));
    let read: Box<dyn Read> = match is_dash(path) {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(path).map_err(why)?),
    };
    Ok(RecordReader::new(path.display().to_string(), BufReader::with_capacity(1 << 20, read)))
}

fn redact_file(finder: &mut PrivateTextFinder, input: &Path, output: &Path) -> Result<(), CommandError> {
    let mut lines = open_input(input)?;
    let write_error = |error: io::Error| {
        CommandError::Failed(format!("can't write {}: {}", output.display(), describe_io_error(error.kind())))
    };
    let output_file: Box<dyn Write> = match is_dash(output) {
        true => Box::new(io::stdout().lock()),
        false => {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            Box::new(options.open(output).map_err(write_error)?)
        }
    };
    let mut output_file = BufWriter::with_capacity(1 << 20, output_file);
    while let Some(record) = lines.next_record()? {
        let Some(text) = &record.text else { continue };
        let line = render_results::redact_line(finder, &record, text).map_err(|what| lines.line_error(what))?;
        output_file.write_all(&line).or_else(exit_on_broken_pipe).map_err(write_error)?;
    }
    output_file.flush().or_else(exit_on_broken_pipe).map_err(write_error)
}

/// Exits with 0 if the reader has gone away, like standard tools.
fn exit_on_broken_pipe(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    Err(error)
}

fn score_file(finder: &mut PrivateTextFinder, file: &Path, as_json: bool) -> Result<(), CommandError> {
    let mut lines = open_input(file)?;
    let mut score = RedactionScore::default();
    let mut has_texts = false;
    while let Some(record) = lines.next_record()? {
        if let Some(metadata) = &record.meta {
            if has_texts {
                return Err(lines.line_error("the `meta` line must be the first line"));
            }
            let judged = metadata.judged.as_ref().map(|types| types.iter().cloned().collect::<BTreeSet<String>>());
            score = RedactionScore::new(judged);
        }
        let Some(text) = &record.text else { continue };
        has_texts = true;
        score_record(finder, &record, text, &mut score).map_err(|what| lines.line_error(what))?;
    }
    if as_json { print_json(&render_results::as_json(&score)) } else { print(&render_results::as_text(&score)) }
}

/// A mark in labelled files that keeps secret scanners from matching. It is inserted into values and is not part of
/// them.
const SCANNER_GUARD: char = '\u{241f}';

fn score_record(
    finder: &mut PrivateTextFinder,
    record: &InputRecord,
    text: &str,
    score: &mut RedactionScore,
) -> Result<(), &'static str> {
    let text = text.replace(SCANNER_GUARD, "");
    let labels = record.labels(&text)?;
    let detector = Arc::clone(&finder.detector);
    let found = render_results::to_typed_ranges(&detector, finder.find(&text)?);
    let (group, near_miss) = (record.group.as_deref().unwrap_or("-"), record.near_miss.unwrap_or(false));
    score.add(&LabelledText { text: &text, labels: &labels, placed: &found, group, near_miss });
    Ok(())
}
