//! `tollgate check`: tries what a configuration depends on, since most first-day problems are outside of the file: back
//! ends, S3, the sources of keys, Kafka's topics, the spool's volume, certificates, the clock. Back ends get an empty
//! request of each signal and a request for the time; each bucket gets a probe object and is not read. No file remains.
//! Every failure has a remedy, and makes the exit code 1. `tollgate validate` makes the checks that need no trial;
//! `vault doctor` checks the permissions of a writer in S3. With `--client` the command asks a running gateway about
//! its clients instead (`clients`).

mod brokers;
mod check_result;
mod clients;
mod keys;
mod machine;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::admin_address::{AdminPortArgs, run_with_client};
use super::common::{CommonArgs, RejectFileArg};
use super::config_loading::{FileCreation, LoadedConfig, load_config};
use super::error::{CommandError, ExitStatus};
use super::output::{self, use_colour_on_stdout};
use super::runtime::block_on;
use super::time_option::parse_duration;
use crate::app::build::GatewayDeps;
use crate::app::exporters::build_exporter;
use crate::app::tasks::Tasks;
use crate::app::{external_checks, volume};
use crate::components::ProcessorSettings;
use check_result::CheckResult;
use config::{ByteSize, ComponentId, Problem, ProblemSeverity, env};
use exporters::remote::ExporterDeps;
use exporters::spec::ExportTarget;
use kernel::clock::{Clock, SystemClock};
use net::{ProxyRules, ServerTls};
use otlp::Signal;
use pipeline::{ExportRequest, Exporter, Outcome};

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
    let loaded = load_config(common, FileCreation::Nothing)?;
    let mut results = vec![CheckResult::new("the configuration is valid", Ok(()))];
    results.extend(check_volumes(&loaded));
    results.extend(machine::check_sync_speed(&loaded.valid.spool.directory));
    results.extend(check_certificates(&loaded));
    results.extend(check_external_files(&loaded));
    let completed = block_on(async {
        results.extend(keys::check_keys(&loaded).await);
        results.extend(machine::check_stores(&loaded.valid).await);
        results.extend(machine::check_clocks(&loaded.valid).await);
        results.extend(brokers::check_brokers(&loaded.valid).await);
        results.extend(check_back_ends(loaded).await?);
        Ok(())
    });
    let shown: String =
        results.iter().map(|result| if options.json { as_json(result) } else { as_line(result) }).collect();
    output::print(&shown)?;
    completed?;
    let failed = results.iter().filter(|result| !result.has_passed()).count();
    if failed > 0 {
        return Err(CommandError::Failed(format!("{failed} of {} checks failed", results.len())));
    }
    Ok(ExitStatus::Success)
}

/// Whether the folders of the spool and of directory vaults are writable and have enough space.
fn check_volumes(loaded: &LoadedConfig) -> Vec<CheckResult> {
    let spool = &loaded.valid.spool;
    let mut results = vec![CheckResult::new(
        format!("the spool's folder {} is writable", spool.directory.display()),
        check_writable(&spool.directory),
    )];
    if let Some(warning) = volume::warn_if_in_memory(&spool.directory) {
        let remedy = "put `spool.directory` on a volume that survives a restart".to_owned();
        results.push(CheckResult::new("the spool is on a disk", Err((warning, remedy))));
    }
    if let Some((free, used)) =
        volume::free_bytes(&spool.directory).map(|free| (free, volume::used_bytes(&spool.directory)))
    {
        let needed = spool.max_size.saturating_sub(used);
        let result = if free >= needed {
            Ok(())
        } else {
            Err((
                volume::describe_shortage(free, needed),
                "lower `spool.max_size`, or enlarge the volume: when the disk is full, clients are refused".to_owned(),
            ))
        };
        results.push(CheckResult::new(
            format!("the volume has room for a full spool ({})", ByteSize(spool.max_size)),
            result,
        ));
    }
    for placed in &loaded.valid.processors {
        if let ProcessorSettings::Vault(vault) = &placed.value
            && let Some(path) = vault.store.as_ref().and_then(|store| store.spec().folder())
        {
            results.push(CheckResult::new(
                format!("the vault's folder {} is writable", path.display()),
                check_writable(path),
            ));
        }
    }
    results
}

/// Creates and removes a file in `directory` or its nearest existing ancestor.
fn check_writable(directory: &Path) -> Result<(), (String, String)> {
    let existing = directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let file = existing.join(format!(".tollgate-check-{}", std::process::id()));
    let created = std::fs::File::create_new(&file).and_then(|file| file.sync_all());
    let removed = std::fs::remove_file(&file);
    created.and(removed).map_err(|error| {
        let remedy = format!("give the user that runs tollgate write access to {}", existing.display());
        (format!("{}: {error}", existing.display()), remedy)
    })
}

/// Checks certificates and keys of ports.
fn check_certificates(loaded: &LoadedConfig) -> Vec<CheckResult> {
    let mut results = Vec::new();
    for placed in &loaded.valid.receivers {
        let Some(view) = placed.value.ports() else { continue };
        for port in &view.ports {
            let Some(tls) = port.tls.cloned() else { continue };
            let remedy =
                "set a PEM certificate chain and the matching key, both readable by the user that runs tollgate"
                    .to_owned();
            let read = ServerTls::read(tls).map(drop).map_err(|what| (what.to_string(), remedy));
            let name = [placed.id.to_string(), port.name().to_owned()].join(" ");
            results.push(CheckResult::new(format!("certificate and key of `{}` match", name.trim_end()), read));
        }
    }
    results
}

/// Faults found by `validate` in certificates, keys and tables, except those of settings that `check` tries itself.
fn check_external_files(loaded: &LoadedConfig) -> Vec<CheckResult> {
    let found = external_checks::find_problems(&loaded.typed.file, &loaded.valid, SystemClock::new().now());
    let is_not_tried_here = |problem: &Problem| {
        let is_tried_here = ["spool.directory", "spool.max_size"].contains(&&*problem.path);
        !is_tried_here && !problem.path.ends_with(".store.directory")
    };
    let remedy = "fix the file or its path in the configuration; `tollgate validate` shows the position".to_owned();
    let to_result = |problem: Problem| {
        CheckResult::new(format!("`{}` is usable", problem.path), Err((problem.message, remedy.clone())))
    };
    found
        .into_iter()
        .filter(|problem| problem.severity == ProblemSeverity::Error)
        .filter(is_not_tried_here)
        .map(to_result)
        .collect()
}

/// Sends each back end an empty request of each signal that it receives.
async fn check_back_ends(loaded: LoadedConfig) -> Result<Vec<CheckResult>, CommandError> {
    let gateway_deps = GatewayDeps::system();
    let deps = ExporterDeps {
        tasks: Tasks::new(&gateway_deps.meter),
        clock: Arc::clone(&gateway_deps.clock),
        proxies: Arc::new(ProxyRules::from_env(&env::var).map_err(|error| error.to_string())?),
        meter: gateway_deps.meter.clone(),
        partitioner: Arc::default(),
    };
    let pipelines = loaded.valid.pipelines;
    let signals = |id: &ComponentId| -> Vec<Signal> {
        let is_sent = |signal: &Signal| {
            let is_exporter = |(exporter, _): &(ComponentId, _)| exporter == id;
            pipelines.iter().any(|pipeline| pipeline.signal == *signal && pipeline.exporters.iter().any(is_exporter))
        };
        Signal::ALL.into_iter().filter(is_sent).collect()
    };
    let mut results = Vec::new();
    for placed in loaded.valid.exporters {
        match placed.value.spec().profile().target {
            ExportTarget::Server { .. } => {}
            // `brokers` asks Kafka about its topics: a record is no question.
            ExportTarget::File { .. } | ExportTarget::Output | ExportTarget::Brokers { .. } => continue,
        }
        let id = placed.id;
        let exporter = match build_exporter(&id, &placed.value, deps.clone()) {
            Ok(exporter) => exporter,
            Err(why) => {
                results.push(CheckResult::new(
                    format!("`{id}` can be built"),
                    Err((why.text, "check the file that the error names".to_owned())),
                ));
                continue;
            }
        };
        for signal in signals(&id) {
            let signal_name = signal.as_str();
            let answer = send_empty_request(&*exporter, signal).await;
            results.push(match answer {
                // MLflow and others call an empty request malformed, and take every other.
                Err((reason, _)) if reason == "HTTP 400" => {
                    let description = format!("`{id}` answers {signal_name}, and refuses an empty request (HTTP 400)");
                    CheckResult::new(description, Ok(()))
                }
                answer => CheckResult::new(format!("`{id}` accepts {signal_name}"), answer),
            });
        }
    }
    Ok(results)
}

async fn send_empty_request(exporter: &dyn Exporter, signal: Signal) -> Result<(), (String, String)> {
    let request = ExportRequest { signal, account: "default".into(), body: Bytes::new(), items: 0 };
    let reason = match exporter.send(&request).await {
        Outcome::Accepted | Outcome::Partial { .. } => return Ok(()),
        Outcome::Retry { reason, .. } | Outcome::Refused { reason } => reason,
    };
    Err(match exporter.last_failure() {
        Some(failure) => (failure.reason, failure.remedy.to_owned()),
        None => (reason.text().to_owned(), "see the back end's log".to_owned()),
    })
}

fn as_json(result: &CheckResult) -> String {
    let (answer, remedy) = result.failure.clone().unwrap_or_default();
    let line = json!({"check": result.description, "passed": result.has_passed(), "answer": answer, "remedy": remedy});
    format!("{line}\n")
}

fn as_line(result: &CheckResult) -> String {
    let (mark, colour) = match (&result.failure, result.is_warning) {
        (None, _) => ("√", "32"),
        (Some(_), true) => ("!", "33"),
        (Some(_), false) => ("×", "31"),
    };
    let coloured = use_colour_on_stdout();
    let mark = if coloured { format!("\u{1b}[{colour}m{mark}\u{1b}[0m") } else { mark.to_owned() };
    match &result.failure {
        None => format!("{mark} {}\n", result.description),
        Some((answer, remedy)) => format!("{mark} {}  ({answer})\n    {remedy}\n", result.description),
    }
}
