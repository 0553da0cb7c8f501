//! `tollgate check`: tries what a configuration depends on, since most first-day problems are outside of the file: back
//! ends, S3, KMS, the spool's volume, certificates, the clock. Back ends get an empty request of each signal and a
//! request for the time; each bucket gets a probe object and is not read. No file remains. Every failure has a remedy,
//! and makes the exit code 1. Checks that need no trial are in `validate`; the permissions of a writer in S3 are
//! checked by `vault doctor`.

mod check_result;
mod machine;

use crate::app::build::GatewayDeps;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::common::{CommonArgs, RejectFileArg};
use super::config_loading::{FileCreation, LoadedConfig, load_config};
use super::error::{CommandError, ExitStatus};
use super::output::{self, use_colour_on_stdout};
use super::runtime::block_on;
use crate::app::exporters::build_exporter;
use crate::app::tasks::Tasks;
use crate::app::{external_checks, volume};
use crate::components::{ProcessorSettings, ReceiverSettings};
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
    /// Prints one JSON object per check.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    _none: RejectFileArg,
}

pub(super) fn run(common: &CommonArgs, options: &CheckArgs) -> Result<ExitStatus, CommandError> {
    let loaded = load_config(common, FileCreation::Nothing)?;
    let mut tried = vec![CheckResult::new("the configuration is valid", Ok(()))];
    tried.extend(check_volumes(&loaded));
    tried.extend(machine::check_sync_speed(&loaded.valid.spool.directory));
    tried.extend(check_certificates(&loaded));
    tried.extend(check_external_files(&loaded));
    let asked = block_on(async {
        tried.extend(machine::check_signing_keys(&loaded.valid).await);
        tried.extend(machine::check_stores(&loaded.valid).await);
        tried.extend(machine::check_clocks(&loaded.valid).await);
        tried.extend(check_back_ends(loaded).await?);
        Ok(())
    });
    let shown: String = tried.iter().map(|one| if options.json { as_json(one) } else { as_line(one) }).collect();
    output::print(&shown)?;
    asked?;
    let failed = tried.iter().filter(|one| one.failure.is_some()).count();
    if failed > 0 {
        return Err(CommandError::Failed(format!("{failed} of {} checks failed", tried.len())));
    }
    Ok(ExitStatus::Success)
}

/// Whether the folders of the spool and of directory vaults are writable and have enough space.
fn check_volumes(loaded: &LoadedConfig) -> Vec<CheckResult> {
    let spool = &loaded.valid.spool;
    let mut tried = vec![CheckResult::new(
        format!("the spool's folder {} is writable", spool.directory.display()),
        check_writable(&spool.directory),
    )];
    if let Some(warning) = volume::warn_if_in_memory(&spool.directory) {
        let remedy = "put `spool.directory` on a volume that survives a restart".to_owned();
        tried.push(CheckResult::new("the spool is on a disk", Err((warning, remedy))));
    }
    if let Some((free, taken)) =
        volume::free_bytes(&spool.directory).map(|free| (free, volume::used_bytes(&spool.directory)))
    {
        let needed = spool.max_size.saturating_sub(taken);
        let result = if free >= needed {
            Ok(())
        } else {
            Err((
                volume::describe_shortage(free, needed),
                "lower `spool.max_size`, or enlarge the volume: when the disk is full, clients are refused".to_owned(),
            ))
        };
        tried.push(CheckResult::new(
            format!("the volume has room for a full spool ({})", ByteSize(spool.max_size)),
            result,
        ));
    }
    for placed in &loaded.valid.processors {
        if let ProcessorSettings::Vault(vault) = &placed.value
            && let Some(path) = vault.store.as_ref().and_then(|store| store.spec().folder())
        {
            tried.push(CheckResult::new(
                format!("the vault's folder {} is writable", path.display()),
                check_writable(path),
            ));
        }
    }
    tried
}

/// Creates and removes a file in `directory` or its nearest existing ancestor.
fn check_writable(directory: &Path) -> Result<(), (String, String)> {
    let here = directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let file = here.join(format!(".tollgate-check-{}", std::process::id()));
    let made = std::fs::File::create_new(&file).and_then(|file| file.sync_all());
    let removed = std::fs::remove_file(&file);
    made.and(removed).map_err(|error| {
        let remedy = format!("give the user that runs tollgate write access to {}", here.display());
        (format!("{}: {error}", here.display()), remedy)
    })
}

/// Checks certificates and keys of ports.
fn check_certificates(loaded: &LoadedConfig) -> Vec<CheckResult> {
    let mut tried = Vec::new();
    for placed in &loaded.valid.receivers {
        let ReceiverSettings::Otlp(otlp) = &placed.value;
        let ports = [
            ("grpc", otlp.grpc.as_ref().and_then(|grpc| grpc.tls.clone())),
            ("http", otlp.http.as_ref().and_then(|http| http.tls.clone())),
        ];
        for (name, tls) in ports {
            let Some(tls) = tls else { continue };
            let remedy =
                "set a PEM certificate chain and the matching key, both readable by the user that runs tollgate"
                    .to_owned();
            let read = ServerTls::read(tls).map(drop).map_err(|what| (what.to_string(), remedy));
            tried.push(CheckResult::new(format!("certificate and key of `{}` {name} match", placed.id), read));
        }
    }
    tried
}

/// Faults found by `validate` in certificates, keys and tables, without those that are tried here.
fn check_external_files(loaded: &LoadedConfig) -> Vec<CheckResult> {
    let found = external_checks::find_problems(&loaded.typed.file, &loaded.valid, SystemClock::new().now());
    let own = |problem: &Problem| {
        let tried = ["spool.directory", "spool.max_size"].contains(&&*problem.path);
        !tried && !problem.path.ends_with(".store.directory")
    };
    let remedy = "fix the file or its path in the configuration; `tollgate validate` shows the position".to_owned();
    let as_tried = |problem: Problem| {
        CheckResult::new(format!("`{}` is usable", problem.path), Err((problem.message, remedy.clone())))
    };
    found.into_iter().filter(|problem| problem.severity == ProblemSeverity::Error).filter(own).map(as_tried).collect()
}

/// Sends each back end an empty request of each signal that it receives.
async fn check_back_ends(loaded: LoadedConfig) -> Result<Vec<CheckResult>, CommandError> {
    let seams = GatewayDeps::system();
    let deps = ExporterDeps {
        tasks: Tasks::new(&seams.meter),
        clock: Arc::clone(&seams.clock),
        proxies: Arc::new(ProxyRules::from_env(&env::var).map_err(|error| error.to_string())?),
        meter: seams.meter.clone(),
    };
    let pipelines = loaded.valid.pipelines;
    let signals = |id: &ComponentId| -> Vec<Signal> {
        let gets = |signal: &Signal| {
            let holds = |(held, _): &(ComponentId, _)| held == id;
            pipelines.iter().any(|pipeline| pipeline.signal == *signal && pipeline.exporters.iter().any(holds))
        };
        Signal::ALL.into_iter().filter(gets).collect()
    };
    let mut tried = Vec::new();
    for placed in loaded.valid.exporters {
        match placed.value.spec().profile().target {
            ExportTarget::Server { .. } => {}
            ExportTarget::File { .. } | ExportTarget::Output => continue,
        }
        let id = placed.id;
        let exporter = match build_exporter(&id, &placed.value, deps.clone()) {
            Ok(exporter) => exporter,
            Err(why) => {
                tried.push(CheckResult::new(
                    format!("`{id}` can be built"),
                    Err((why.text, "check the file that the error names".to_owned())),
                ));
                continue;
            }
        };
        for signal in signals(&id) {
            let what = format!("`{id}` accepts {}", signal.as_str());
            tried.push(CheckResult::new(what, send_empty_request(&*exporter, signal).await));
        }
    }
    Ok(tried)
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

fn as_json(one: &CheckResult) -> String {
    let (answer, remedy) = one.failure.clone().unwrap_or_default();
    let line = json!({"check": one.description, "passed": one.failure.is_none(), "answer": answer, "remedy": remedy});
    format!("{line}\n")
}

fn as_line(one: &CheckResult) -> String {
    let (mark, colour) = if one.failure.is_none() { ("√", "32") } else { ("×", "31") };
    let coloured = use_colour_on_stdout();
    let mark = if coloured { format!("\u{1b}[{colour}m{mark}\u{1b}[0m") } else { mark.to_owned() };
    match &one.failure {
        None => format!("{mark} {}\n", one.description),
        Some((answer, remedy)) => format!("{mark} {}  ({answer})\n    {remedy}\n", one.description),
    }
}
