//! `tollgate check`: tries what a configuration depends on, since most first-day problems are outside of the file: back
//! ends, S3, the sources of keys, Kafka's topics, the spool's volume, certificates, the clock. Back ends get an empty
//! request of each signal and a request for the time; each bucket gets a probe object and is not read. No file remains.
//! Every failure has a remedy, and makes the exit code 1. `tollgate validate` makes the checks that need no trial;
//! `vault doctor` checks the permissions of a writer in S3. The command also asks the gateway of the configuration, if
//! it runs, which agents are not declared; with `--client`, only about its clients (`clients`).

mod clients;

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::admin_address::{resolve_loaded_admin_port, run_with_client};
use super::common::{CommonArgs, RejectFileArg};
use super::config_loading::{FileAccess, LoadedConfig, load_config};
use crate::app::start_checks;
use crate::app::start_checks::finding::MachineContext;
use command::admin_client::{AdminClient, AdminPortArgs, parse_json};
use command::error::{CommandError, ExitStatus};
use command::output::{self, use_colour_on_stdout};
use command::runtime::block_on;
use command::time_option::parse_duration;
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::escape_unsafe;
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
    #[command(flatten, next_help_heading = "Running gateway")]
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
    let loaded = load_config(common, FileAccess::Read)?;
    let LoadedConfig { typed, valid, embedded, .. } = &loaded;
    let context = MachineContext { file: &typed.file, valid, now: SystemClock::new().now(), embedded: *embedded };
    let mut results = vec![ProbeCheck::new("the configuration is valid", Ok(()))];
    results.extend(block_on(async { Ok(start_checks::try_all(context).await) })?);
    let gateway = read_running_gateway(common, options, &loaded).ok();
    results.extend(gateway.as_ref().and_then(check_declared_agents));
    let shown: String = results.iter().map(if options.json { as_json } else { as_line }).collect();
    output::print(&shown)?;
    fail_if_any(results.iter())?;
    Ok(ExitStatus::Success)
}

/// The state of the running gateway.
///
/// # Errors
/// No gateway answers, which is none of the configuration's faults.
fn read_running_gateway(
    common: &CommonArgs,
    options: &CheckArgs,
    loaded: &LoadedConfig,
) -> Result<Value, CommandError> {
    let port = resolve_loaded_admin_port(&options.admin_port, common, Some(loaded))?;
    block_on(async { parse_json(&AdminClient::for_gateway(port)?.get("/api/gateway", "application/json").await?) })
}

/// Whether all services that send agents' operations to the running gateway are declared; `None` if the gateway does
/// not say.
fn check_declared_agents(gateway: &Value) -> Option<ProbeCheck> {
    let property = "the agents' services that send to the running gateway are declared";
    let services = gateway.get("undeclared_agents")?.as_array()?.iter().filter_map(|agent| agent.get("service"));
    let join = |texts: Vec<&Value>, between: &str| {
        texts.into_iter().filter_map(Value::as_str).map(escape_unsafe).collect::<Vec<_>>().join(between)
    };
    let names = join(services.collect(), ", ");
    if names.is_empty() {
        return Some(ProbeCheck::new(property, Ok(())));
    }
    let lines = join(gateway.get("agents_config")?.as_array()?.iter().collect(), "; ");
    let remedy = format!("all items of declared services are closed; add under `processors`: {lines}");
    Some(ProbeCheck::with_warning(property, (format!("not declared: {names}"), remedy)))
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
