//! `tollgate check`: tries what a configuration depends on, since most first-day problems are outside of the file: back
//! ends, S3, the sources of keys, Kafka's topics, the spool's volume, certificates, the clock. Back ends get an empty
//! request of each signal and a request for the time; each bucket gets a probe object and is not read. No file remains.
//! Every failure has a remedy, and makes the exit code 1. `tollgate validate` makes the checks that need no trial;
//! `vault doctor` checks the permissions of a writer in S3. With `--client` the command asks a running gateway about
//! its clients instead (`clients`).

mod clients;

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::admin_address::run_with_client;
use super::common::{CommonArgs, RejectFileArg};
use super::config_loading::{FileCreation, LoadedConfig, load_config};
use crate::app::start_checks;
use crate::app::start_checks::finding::MachineContext;
use command::admin_client::AdminPortArgs;
use command::error::{CommandError, ExitStatus};
use command::output::{self, use_colour_on_stdout};
use command::runtime::block_on;
use command::time_option::parse_duration;
use kernel::clock::{Clock, SystemClock};
use vault::store::probe::{ProbeCheck, ProbeVerdict};

#[derive(Args)]
pub(super) struct CheckArgs {
    /// Prints one JSON object per check, or per client.
    #[arg(long)]
    json: bool,
    /// Shows instead which clients have sent to the running gateway, and what is switched off at them.
    #[arg(long)]
    client: bool,
    /// With `--client`: how far back a client counts, such as `90s`, `10m` or `24h`.
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = parse_within)]
    within: Duration,
    #[command(flatten, next_help_heading = "With --client")]
    admin_port: AdminPortArgs,
    #[command(flatten)]
    _none: RejectFileArg,
}

fn parse_within(text: &str) -> Result<Duration, CommandError> {
    let usage = || CommandError::Usage("must be a time such as `90s`, `10m` or `24h`".to_owned());
    parse_duration(text).filter(|within| !within.is_zero()).ok_or_else(usage)
}

pub(super) fn run(common: &CommonArgs, options: &CheckArgs) -> Result<ExitStatus, CommandError> {
    if options.client {
        return run_with_client(common, &options.admin_port, |gateway| {
            clients::print_clients(gateway, options.within, options.json)
        });
    }
    let LoadedConfig { typed, valid, embedded, .. } = load_config(common, FileCreation::Nothing)?;
    let context = MachineContext { file: &typed.file, valid: &valid, now: SystemClock::new().now(), embedded };
    let mut results = vec![ProbeCheck::new("the configuration is valid", Ok(()))];
    results.extend(block_on(async { Ok(start_checks::try_all(context).await) })?);
    let shown: String = results.iter().map(if options.json { as_json } else { as_line }).collect();
    output::print(&shown)?;
    fail_if_any(results.iter())?;
    Ok(ExitStatus::Success)
}

fn as_json(check: &ProbeCheck) -> String {
    let ProbeCheck { property, verdict, answer, remedy } = check;
    let passed = *verdict != ProbeVerdict::Fails;
    let line = json!({"check": property, "passed": passed, "answer": answer, "remedy": remedy});
    format!("{line}\n")
}

/// A line with a mark, and one with the remedy.
pub(super) fn as_line(check: &ProbeCheck) -> String {
    let (mark, colour) = match check.verdict {
        ProbeVerdict::Holds => ("√", "32"),
        ProbeVerdict::Weak => ("!", "33"),
        ProbeVerdict::Fails => ("×", "31"),
    };
    let mark = if use_colour_on_stdout() { format!("\u{1b}[{colour}m{mark}\u{1b}[0m") } else { mark.to_owned() };
    let answer = if check.answer.is_empty() { String::new() } else { format!("  ({})", check.answer) };
    let remedy = if check.remedy.is_empty() { String::new() } else { format!("    {}\n", check.remedy) };
    format!("{mark} {}{answer}\n{remedy}", check.property)
}

/// The error of a command whose checks failed, if any did.
///
/// # Errors
/// Some checks failed.
pub(super) fn fail_if_any<'c>(checks: impl ExactSizeIterator<Item = &'c ProbeCheck>) -> Result<(), CommandError> {
    let count = checks.len();
    match checks.filter(|check| check.verdict == ProbeVerdict::Fails).count() {
        0 => Ok(()),
        failed => Err(CommandError::Failed(format!("{failed} of {count} checks failed"))),
    }
}
