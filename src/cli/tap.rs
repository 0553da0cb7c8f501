//! **What**: the command `tollgate tap`: what passes a running gateway, as it passes. **Invariants**: shows what the
//! gateway says third parties may see, and nothing else; a reader that goes away ends it quietly. **Not here**: what is
//! shown and to whom (`app/tap`).

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

/// Options of `tap`.
#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    at: Where,
    /// Only what passed this pipeline, e.g. `traces/agents`.
    #[arg(long, value_name = "ID")]
    pipeline: Option<String>,
    /// Only `traces`, `metrics` or `logs`.
    #[arg(long, value_parser = ["traces", "metrics", "logs"])]
    signal: Option<String>,
    /// Only items of this service (`service.name` of their resource).
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Ends after so many requests.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// JSON lines, the request as OTLP/JSON in `request`.
    #[arg(long)]
    json: bool,
}

/// Runs it.
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

/// Whether a request begins with a line, rather than that it goes on, or that something was left out.
fn begins(line: &str) -> bool {
    let mut words = line.split(' ');
    let text = line.starts_with(|first: char| first.is_ascii_digit())
        && words.nth(2).is_some_and(|account| account.starts_with("account="));
    text || (line.starts_with('{') && !line.starts_with("{\"left_out\""))
}

/// What clients wrote does nothing to a terminal; the text is made safe where it is made, JSON here: escaped, which is
/// the same JSON.
fn for_terminal(lines: &str, escapes: bool) -> Cow<'_, str> {
    if escapes { escaped(lines).into() } else { lines.into() }
}
