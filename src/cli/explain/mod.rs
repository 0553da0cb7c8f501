//! `tollgate explain FILE`: shows what the pipeline does to recorded telemetry, item by item, and why, before a back
//! end gets any. It runs the processors of the configuration only: no spool, no network except a configured recogniser,
//! nothing written. The user's payload is printed on standard output only. `app/dry` runs the processors.

mod input;
mod look;
mod show;

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;

use super::common::Common;
use super::error::{CommandError, Exit};
use super::output::{colour_out, out};
use super::source::{Make, load};
use crate::app::build::Seams;
use crate::app::dry::Dry;
use crate::app::resolve::Placed;
use crate::components::ProcessorSettings;
use kernel::pseudonym::contains_pseudonym;
use kernel::terminal::escaped;
use look::Request;
use otlp::Signal;

/// The note if the gateway's pseudonym key was not found.
const STRANGE: &str = "\
note: the pseudonyms (`h-…`) above are made with a key of this run alone; the gateway's own will differ.
For the same ones give the `--config` or `--data-dir` of the gateway, where its `pseudonym.key` can be read.
";

/// Options of `explain`.
#[derive(Args, Clone)]
pub(super) struct Options {
    /// OTLP as JSON (one request, or one per line as written by the `file` exporter and `tap --json`) or protobuf; `-`
    /// reads standard input.
    file: PathBuf,
    /// Prints JSON with complete values.
    #[arg(long)]
    json: bool,
    /// Pipeline to use [default: the first one of the signal].
    #[arg(long, value_name = "ID")]
    pipeline: Option<String>,
    /// Signal of a protobuf request whose name and bytes don't show it: `traces`, `logs` or `metrics`.
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    signal: Option<Signal>,
    /// Prints complete values instead of cutting them to a line.
    #[arg(long)]
    full: bool,
}

fn signal(text: &str) -> Result<Signal, CommandError> {
    Signal::named(text).ok_or_else(|| CommandError::Usage("`traces`, `logs` or `metrics`".to_owned()))
}

/// Explains one file.
pub(super) fn run(common: &Common, options: &Options) -> Result<Exit, CommandError> {
    let loaded = load(common, Make::Nothing)?;
    let requests = input::read(&options.file, options.signal)?;
    let profile = |placed: &Placed<ProcessorSettings>| Some((placed.id.to_string(), placed.what.privacy()?));
    let profiles: HashMap<String, &'static str> = loaded.valid.processors.iter().filter_map(profile).collect();
    let mut dry = Dry::new(loaded.valid, Seams::real())?;
    let mut shown: Vec<Request> = Vec::new();
    for (signal, wire) in requests {
        let passed = dry.pass(signal, wire, options.pipeline.as_deref())?;
        let privacy = passed.steps.iter().find_map(|step| profiles.get(&**step).copied());
        shown.push(Request { privacy, ..look::request(dry.vocabulary(), &passed) });
    }
    if shown.iter().all(|request| request.items.is_empty()) {
        return Err(CommandError::Failed(format!(
            "{} holds no span, log record or data point: `explain` reads requests as clients send them, with `resourceSpans`, \
             `resourceLogs` or `resourceMetrics` at the top, and lines of `tap --json`",
            options.file.display()
        )));
    }
    if options.json {
        let strange = dry.strange_pseudonyms;
        let text =
            serde_json::to_string_pretty(&serde_json::json!({ "requests": shown, "strange_pseudonyms": strange }));
        let text = text.map_err(|_| "it can't be written as JSON")?;
        return out(&format!("{}\n", escaped(&text)));
    }
    let look = show::Look { colour: colour_out(), full: options.full };
    let mut text: Vec<String> = shown.iter().map(|request| show::request(request, look)).collect();
    if dry.strange_pseudonyms && text.iter().any(|text| contains_pseudonym(text)) {
        text.push(STRANGE.to_owned());
    }
    out(&text.join("\n"))
}
