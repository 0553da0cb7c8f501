//! `tollgate explain FILE`: shows what the pipeline does to recorded telemetry, item by item, and why, before a back
//! end gets any. It runs the processors of the configuration only: no spool, no network except a configured recogniser,
//! nothing written. The user's payload is printed on standard output only. What a gateway wrote is read as from a
//! trusted gateway, so that its prices stay. `app/dry_run` runs the processors.

mod compare;
mod formatting;
mod input;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;

use super::common::CommonArgs;
use super::config_loading::{FileAccess, load_config};
use crate::app::build::GatewayDeps;
use crate::app::dry_run::DryRun;
use crate::app::resolve::ConfiguredComponent;
use crate::components::ProcessorSettings;
use command::error::{CommandError, ExitStatus};
use command::output::{print_result, use_colour_on_stdout};
use compare::RequestExplanation;
use kernel::pseudonym::contains_pseudonym;
use kernel::terminal::{escape_json, format_count};
use otlp::{Payload, Signal};
use pipeline::Trust;
use processors::normalize::STAMP_PREFIX;

/// The note if the gateway's pseudonym key was not found.
const PSEUDONYM_NOTE: &str = "\
note: the pseudonyms (`h-…`) above use a key generated for this run, so the gateway's pseudonyms differ.
To get the gateway's pseudonyms, pass its `--config` or `--data-dir`, so that its `pseudonym.key` can be read.
";

/// The note on what a gateway wrote.
const STAMPS_NOTE: &str = "\
note: a gateway wrote this (it has `tollgate.…` attributes), so its prices are kept, as by a receiver with
`trust: internal`. Other receivers remove them. To price the calls again, set `cost: { reprice: true }`.
";

/// Options of `explain`.
#[derive(Args, Clone)]
pub(super) struct ExplainArgs {
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
    #[arg(long, value_name = "SIGNAL", value_parser = parse_signal)]
    signal: Option<Signal>,
    /// Prints complete values instead of cutting them to a line.
    #[arg(long)]
    full: bool,
}

fn parse_signal(text: &str) -> Result<Signal, CommandError> {
    Signal::from_name(text).ok_or_else(|| CommandError::Usage("must be `traces`, `logs` or `metrics`".to_owned()))
}

pub(super) fn run(common: &CommonArgs, options: &ExplainArgs) -> Result<ExitStatus, CommandError> {
    let loaded = load_config(common, FileAccess::Read)?;
    let requests = input::read_requests(&options.file, options.signal)?;
    let profile = |placed: &ConfiguredComponent<ProcessorSettings>| {
        Some((placed.id.to_string(), placed.value.spec().profile().privacy?))
    };
    let profiles: HashMap<String, &'static str> = loaded.valid.processors.iter().filter_map(profile).collect();
    let mut dry = DryRun::new(&loaded.valid, &GatewayDeps::system())?;
    let (mut explanations, mut from_gateway) = (Vec::new(), false);
    for (signal, wire) in requests {
        dry.trust = sender_trust(signal, &wire);
        from_gateway |= dry.trust == Trust::Internal;
        let result = dry.process_request(signal, wire, options.pipeline.as_deref())?;
        let privacy = result.steps.iter().find_map(|step| profiles.get(&**step).copied());
        let mut explained = compare::explain_request(dry.vocabulary(), &result, privacy);
        compare::add_remedies(&mut explained.items, &dry);
        explanations.push(explained);
    }
    if explanations.iter().all(|request| request.items.is_empty()) {
        return Err(CommandError::Failed(format!(
            "{} contains no span, log record or data point: `explain` reads OTLP requests with `resourceSpans`, \
             `resourceLogs` or `resourceMetrics` at the top level, and lines of `tap --json`",
            options.file.display()
        )));
    }
    let refused = explanations.iter().flat_map(|request| &request.items).filter(|item| item.refused.is_some()).count();
    print_explanations(&explanations, (dry.temporary_pseudonyms, from_gateway), options)?;
    if refused == 0 {
        return Ok(ExitStatus::Success);
    }
    Err(CommandError::Failed(format!(
        "the gateway would reject {}: see `refused` above",
        format_count(refused, "item")
    )))
}

/// How far the request is trusted. Attributes that only tollgate sets show that a gateway has processed it: its content
/// is gone, so only that gateway's stamps have the price.
fn sender_trust(signal: Signal, wire: &Bytes) -> Trust {
    let has_stamps = |payload: Payload| {
        payload.nodes().flat_map(|node| payload.attributes(node)).any(|one| one.key.starts_with(STAMP_PREFIX))
    };
    if Payload::parse(signal, wire.clone()).is_ok_and(has_stamps) { Trust::Internal } else { Trust::ThirdParty }
}

/// Prints the explanations as JSON or text.
fn print_explanations(
    explanations: &[RequestExplanation],
    (temporary_pseudonyms, from_gateway): (bool, bool),
    options: &ExplainArgs,
) -> Result<ExitStatus, CommandError> {
    if options.json {
        let json = serde_json::json!({
            "requests": explanations, "temporary_pseudonyms": temporary_pseudonyms, "from_gateway": from_gateway,
        });
        let text = serde_json::to_string_pretty(&json);
        let text = text.map_err(|_| "the explanation can't be written as JSON")?;
        return print_result(&format!("{}\n", escape_json(&text)));
    }
    let format_options = formatting::FormatOptions { colour: use_colour_on_stdout(), full: options.full };
    let mut text: Vec<String> =
        explanations.iter().map(|request| formatting::format_request(request, format_options)).collect();
    if temporary_pseudonyms && text.iter().any(|text| contains_pseudonym(text)) {
        text.push(PSEUDONYM_NOTE.to_owned());
    }
    text.extend(from_gateway.then(|| STAMPS_NOTE.to_owned()));
    print_result(&text.join("\n"))
}
