//! `tollgate tap`: streams what passes a running gateway. It shows only what the gateway gives third parties; a reader
//! that goes away ends it quietly. `app/tap` decides what is shown.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, IsTerminal};

use clap::Args;

use super::ask::{Asker, part};
use super::common::Common;
use super::error::{CommandError, Exit};
use super::output;
use super::place::{Where, with};
use kernel::terminal::escaped;

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    at: Where,
    /// Only requests of this pipeline, e.g. `traces/agents`.
    #[arg(long, value_name = "ID")]
    pipeline: Option<String>,
    /// Only this signal.
    #[arg(long, value_parser = ["traces", "metrics", "logs"])]
    signal: Option<String>,
    /// Only items of this service (`service.name` of their resource).
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Ends after this many requests.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Prints JSON lines with the request as OTLP/JSON in `request`.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(common: &Common, options: &Options) -> Result<Exit, CommandError> {
    with(common, &options.at, |gateway| watch(gateway, options))
}

async fn watch(gateway: Asker, options: &Options) -> Result<(), CommandError> {
    let limit = options.limit.map(|limit| limit.to_string());
    let asked = [
        ("pipeline", &options.pipeline),
        ("signal", &options.signal),
        ("service", &options.service),
        ("limit", &limit),
    ];
    let asked = asked.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let asked: Vec<String> = asked.map(|(name, value)| format!("{name}={}", part(value))).collect();
    let accept = if options.json { "application/x-ndjson" } else { "text/plain" };
    let path = format!("/api/tap?{}", asked.join("&"));
    let (requests, terminal) = (Cell::new(0), io::stdout().is_terminal());
    let each = |lines: &str| {
        requests.set(requests.get() + lines.lines().filter(|line| begins(line)).count() as u64);
        output::print(&for_terminal(lines, options.json && terminal))
    };
    let shown = gateway.follow(&path, accept, each);
    tokio::select! {
        shown = shown => shown,
        _ = tokio::signal::ctrl_c() => return Ok(()),
    }?;
    if options.limit.is_none_or(|limit| requests.get() < limit) {
        output::complain("the gateway ended it: it stops, or began again with another configuration");
    }
    Ok(())
}

/// Whether a line begins a request, as opposed to continuing one or reporting left-out requests.
fn begins(line: &str) -> bool {
    let mut words = line.split(' ');
    let text = line.starts_with(|first: char| first.is_ascii_digit())
        && words.nth(2).is_some_and(|account| account.starts_with("account="));
    text || (line.starts_with('{') && !line.starts_with("{\"left_out\""))
}

/// Escapes terminal control characters in JSON, which is equivalent JSON. Plain text was made safe by the gateway.
fn for_terminal(lines: &str, escapes: bool) -> Cow<'_, str> {
    if escapes { escaped(lines).into() } else { lines.into() }
}
