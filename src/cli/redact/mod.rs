//! `tollgate redact`: applies the redaction rules to a file of texts, or measures them on labelled texts, so that users
//! can evaluate the rules on their own data. It makes one pass, line by line, with no network except a configured
//! recogniser. Errors name lines, never texts. Rules are in `redaction`, the measures in `redaction/score`.

mod finder;
mod lines;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::common::Common;
use super::error::{CommandError, Exit};
use super::output::{complain, print, print_json};
use super::source::{Make, load};
use crate::components::ProcessorSettings;
use finder::Finder;
use lines::{Lines, Record};
use processors::redact;
use redaction::Detector;
use redaction::score::{Case, Score};

/// Options of `redact`.
#[derive(Args, Clone)]
pub(super) struct Options {
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
pub(super) fn run(common: &Common, options: &Options) -> Result<Exit, CommandError> {
    let mut finder = finder(common)?;
    match (&options.score, &options.input, &options.output) {
        (Some(file), _, _) => score(&mut finder, file, options.json)?,
        (None, Some(input), Some(output)) => rewrite(&mut finder, input, output)?,
        _ => return Err("give --input and --output, or --score".into()),
    }
    Ok(Exit::Fine)
}

/// The settings of the configuration's first `redact` processor; without a configuration, the defaults.
fn settings(common: &Common) -> Result<redact::Settings, CommandError> {
    if common.config.is_none() {
        return redact::Config::default().settings().map_err(|_| "the built-in rules can't be used".into());
    }
    let processors = load(common, Make::Nothing)?.valid.processors;
    let found = processors.into_iter().find_map(|placed| match placed.what {
        ProcessorSettings::Redact(settings) => Some(settings),
        _ => None,
    });
    found.ok_or_else(|| "no pipeline of the configuration has a `redact` processor".into())
}

/// The redaction rules.
///
/// # Errors
/// The configuration is invalid or has no `redact` processor.
pub(super) fn rules(common: &Common) -> Result<Arc<Detector>, CommandError> {
    settings(common).map(|settings| settings.detector)
}

fn finder(common: &Common) -> Result<Finder, CommandError> {
    Finder::new(settings(common)?)
}

fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn open(path: &Path) -> Result<Lines<Box<dyn Read>>, CommandError> {
    let read: Box<dyn Read> = match is_dash(path) {
        true => Box::new(io::stdin()),
        false => {
            Box::new(File::open(path).map_err(|error| format!("can't read {}: {}", path.display(), error.kind()))?)
        }
    };
    Ok(Lines::new(path.display().to_string(), BufReader::with_capacity(1 << 20, read)))
}

fn rewrite(finder: &mut Finder, input: &Path, output: &Path) -> Result<(), CommandError> {
    let mut lines = open(input)?;
    let failed = |error: io::Error| CommandError::Failed(format!("can't write {}: {}", output.display(), error.kind()));
    let to: Box<dyn Write> = match is_dash(output) {
        true => Box::new(io::stdout().lock()),
        false => Box::new(File::create(output).map_err(failed)?),
    };
    let mut to = BufWriter::with_capacity(1 << 20, to);
    let mut progress = Progress::new(!is_dash(output));
    while let Some(record) = lines.next_record()? {
        let Some(text) = &record.text else { continue };
        let line = report::redacted(finder, &record, text).map_err(|what| lines.error(what))?;
        to.write_all(&line).or_else(gone).map_err(failed)?;
        progress.tell(lines.number());
    }
    progress.end();
    to.flush().or_else(gone).map_err(failed)
}

/// Exits with 0 if the reader has gone away, like standard tools.
fn gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    Err(error)
}

fn score(finder: &mut Finder, file: &Path, as_json: bool) -> Result<(), CommandError> {
    let mut lines = open(file)?;
    let mut score = Score::default();
    let mut progress = Progress::new(true);
    let mut begun = false;
    while let Some(record) = lines.next_record()? {
        if let Some(meta) = &record.meta {
            if begun {
                return Err(lines.error("the meta line must be the first"));
            }
            let judged = meta.judged.as_ref().map(|types| types.iter().cloned().collect::<BTreeSet<String>>());
            score = Score::new(judged);
        }
        let Some(text) = &record.text else { continue };
        begun = true;
        measure(finder, &record, text, &mut score).map_err(|what| lines.error(what))?;
        progress.tell(lines.number());
    }
    progress.end();
    if as_json { print_json(&report::as_json(&score)) } else { print(&report::as_text(&score)) }
}

/// A mark in labelled files that keeps secret scanners from matching. It is inserted into values and is not part of
/// them.
const MARK: char = '\u{241f}';

fn measure(finder: &mut Finder, record: &Record, text: &str, score: &mut Score) -> Result<(), &'static str> {
    let text = text.replace(MARK, "");
    let labels = record.labels(&text)?;
    let detector = Arc::clone(&finder.detector);
    let placed = report::placed(&detector, finder.find(&text)?);
    let (group, near_miss) = (record.group.as_deref().unwrap_or("-"), record.near_miss.unwrap_or(false));
    score.add(&Case { text: &text, labels: &labels, placed: &placed, group, near_miss });
    Ok(())
}

/// The progress shown on a terminal.
struct Progress {
    shown: bool,
    told: bool,
}

/// Number of lines between two updates of the progress.
const STEP: usize = 10_000;

impl Progress {
    fn new(wanted: bool) -> Self {
        Self { shown: wanted && io::stderr().is_terminal(), told: false }
    }

    fn tell(&mut self, line: usize) {
        if self.shown && line.is_multiple_of(STEP) {
            self.told = true;
            let mut to = io::stderr().lock();
            let written = write!(to, "\r{line} lines").and_then(|()| to.flush());
            drop(written);
        }
    }

    fn end(&self) {
        if self.told {
            complain("");
        }
    }
}
