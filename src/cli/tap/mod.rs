//! `tollgate tap`: streams what passes a running gateway. It shows only what the gateway gives third parties; a reader
//! that goes away ends it quietly. `app/tap` decides what is shown.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, IsTerminal};

use clap::Args;

use super::admin_address::run_with_client;
use super::common::CommonArgs;
use command::admin_client::AdminPortArgs;
use command::admin_client::{AdminClient, percent_encode};
use command::error::{CommandError, ExitStatus};
use command::output;
use kernel::terminal::escape_json;

#[derive(Args)]
pub(super) struct TapArgs {
    #[command(flatten)]
    admin_port: AdminPortArgs,
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
    /// Prints every field of each request as a tree of resources, scopes and items; the default on a terminal.
    #[arg(long, conflicts_with = "json")]
    pretty: bool,
    /// Prints JSON lines with the request as OTLP/JSON in `request`; the default without a terminal.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(common: &CommonArgs, options: &TapArgs) -> Result<ExitStatus, CommandError> {
    run_with_client(common, &options.admin_port, |gateway| stream_requests(gateway, options))
}

async fn stream_requests(gateway: AdminClient, options: &TapArgs) -> Result<(), CommandError> {
    let limit = options.limit.map(|limit| limit.to_string());
    let terminal = io::stdout().is_terminal();
    let is_json = is_json(options.json, options.pretty, terminal);
    let parameters = [
        ("pipeline", &options.pipeline),
        ("signal", &options.signal),
        ("service", &options.service),
        ("limit", &limit),
    ];
    let parameters = parameters.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let parameters: Vec<String> = parameters.map(|(name, value)| format!("{name}={}", percent_encode(value))).collect();
    let accept = if is_json { "application/x-ndjson" } else { "text/plain" };
    let path = format!("/api/tap?{}", parameters.join("&"));
    let requests = Cell::new(0);
    let print_lines = |lines: &str| {
        requests.set(requests.get() + lines.lines().filter(|line| is_request_start(line)).count() as u64);
        output::print(&escape_for_terminal(lines, is_json && terminal))
    };
    let streaming = gateway.stream_lines(&path, accept, print_lines);
    tokio::select! {
        streaming = streaming => streaming,
        _ = tokio::signal::ctrl_c() => return Ok(()),
    }?;
    if options.limit.is_none_or(|limit| requests.get() < limit) {
        output::print_to_stderr("the gateway ended the stream: it is shutting down or reloading its configuration");
    }
    Ok(())
}

/// Whether to print JSON: on a terminal only if asked for, elsewhere unless the tree is asked for.
fn is_json(json: bool, pretty: bool, terminal: bool) -> bool {
    json || !(pretty || terminal)
}

/// Whether a line begins a request, as opposed to continuing one or reporting left-out requests.
fn is_request_start(line: &str) -> bool {
    let mut words = line.split(' ');
    let is_text_start = line.starts_with(|first: char| first.is_ascii_digit())
        && words.nth(2).is_some_and(|account| account.starts_with("account="));
    is_text_start || (line.starts_with('{') && !line.starts_with("{\"left_out\""))
}

/// Escapes terminal control characters in JSON, which is equivalent JSON. Plain text was made safe by the gateway.
fn escape_for_terminal(lines: &str, escapes: bool) -> Cow<'_, str> {
    if escapes { escape_json(lines).into() } else { lines.into() }
}
