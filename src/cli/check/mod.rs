//! `tollgate check`: tries what a configuration depends on, since most first-day problems are outside of the file: back
//! ends, S3, KMS, the spool's volume, certificates, the clock. Back ends get an empty request of each signal and a
//! request for the time; each bucket gets a probe object and is not read. No file remains. Every failure has a remedy,
//! and makes the exit code 1. Checks that need no trial are in `validate`; the permissions of a writer in S3 are
//! checked by `vault doctor`.

mod machine;
mod tried;

use crate::app::build::Seams;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::common::{Common, NoFile};
use super::error::{CommandError, Exit};
use super::output::{self, colour_out};
use super::runtime::block_on;
use super::source::{Loaded, Make, load};
use crate::app::exporters::exporter;
use crate::app::tasks::Tasks;
use crate::app::{outside, volume};
use crate::components::{ProcessorSettings, ReceiverSettings};
use config::{ByteSize, ComponentId, Gravity, Problem, env};
use exporters::remote::Deps;
use exporters::spec::Target;
use kernel::clock::{Clock, SystemClock};
use net::{Proxies, ServerTls};
use otlp::Signal;
use pipeline::{ExportRequest, Exporter, Outcome, Reason};
use tried::Tried;

#[derive(Args)]
pub(super) struct Options {
    /// Prints one JSON object per check.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    _none: NoFile,
}

pub(super) fn run(common: &Common, options: &Options) -> Result<Exit, CommandError> {
    let loaded = load(common, Make::Nothing)?;
    let mut tried = vec![Tried::new("the configuration is valid", Ok(()))];
    tried.extend(volumes(&loaded));
    tried.extend(machine::syncs(&loaded.valid.spool.directory));
    tried.extend(certificates(&loaded));
    tried.extend(outside(&loaded));
    let asked = block_on(async {
        tried.extend(machine::keys(&loaded.valid).await);
        tried.extend(machine::stores(&loaded.valid).await);
        tried.extend(machine::clocks(&loaded.valid).await);
        tried.extend(back_ends(loaded).await?);
        Ok(())
    });
    let shown: String = tried.iter().map(|one| if options.json { as_json(one) } else { as_line(one) }).collect();
    output::print(&shown)?;
    asked?;
    let failed = tried.iter().filter(|one| one.wrong.is_some()).count();
    if failed > 0 {
        return Err(CommandError::Failed(format!("{failed} of {} checks failed", tried.len())));
    }
    Ok(Exit::Fine)
}

/// Whether the folders of the spool and of directory vaults are writable and have enough space.
fn volumes(loaded: &Loaded) -> Vec<Tried> {
    let spool = &loaded.valid.spool;
    let mut tried = vec![Tried::new(
        format!("the spool's folder {} takes files", spool.directory.display()),
        writable(&spool.directory),
    )];
    if let Some(warning) = volume::warning(&spool.directory) {
        let remedy = "put `spool.directory` on a volume that survives a restart".to_owned();
        tried.push(Tried::new("the spool lies on a disk", Err((warning, remedy))));
    }
    if let Some((free, taken)) = volume::free(&spool.directory).map(|free| (free, volume::taken(&spool.directory))) {
        let needed = spool.max_size.saturating_sub(taken);
        let result = if free >= needed {
            Ok(())
        } else {
            Err((
                volume::too_small(free, needed),
                "lower `spool.max_size`, or give the volume more room: on a full disk clients are refused".to_owned(),
            ))
        };
        tried.push(Tried::new(format!("the volume has room for a full spool ({})", ByteSize(spool.max_size)), result));
    }
    for placed in &loaded.valid.processors {
        if let ProcessorSettings::Vault(vault) = &placed.what
            && let Some(path) = vault.store.as_ref().and_then(|store| store.spec().folder())
        {
            tried.push(Tried::new(format!("the vault's folder {} takes files", path.display()), writable(path)));
        }
    }
    tried
}

/// Creates and removes a file in `directory` or its nearest existing ancestor.
fn writable(directory: &Path) -> Result<(), (String, String)> {
    let here = directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let file = here.join(format!(".tollgate-check-{}", std::process::id()));
    let made = std::fs::File::create_new(&file).and_then(|file| file.sync_all());
    let removed = std::fs::remove_file(&file);
    made.and(removed).map_err(|error| {
        let remedy = format!("let the user that runs tollgate write in {}", here.display());
        (format!("{}: {error}", here.display()), remedy)
    })
}

/// Checks certificates and keys of ports.
fn certificates(loaded: &Loaded) -> Vec<Tried> {
    let mut tried = Vec::new();
    for placed in &loaded.valid.receivers {
        let ReceiverSettings::Otlp(otlp) = &placed.what;
        let ports = [
            ("grpc", otlp.grpc.as_ref().and_then(|grpc| grpc.tls.clone())),
            ("http", otlp.http.as_ref().and_then(|http| http.tls.clone())),
        ];
        for (name, tls) in ports {
            let Some(tls) = tls else { continue };
            let remedy = "give a PEM chain and its own key, readable by the user that runs tollgate".to_owned();
            let read = ServerTls::read(tls).map(drop).map_err(|what| (what.to_string(), remedy));
            tried.push(Tried::new(format!("certificate and key of `{}` {name} fit", placed.id), read));
        }
    }
    tried
}

/// Faults found by `validate` in certificates, keys and tables, without those that are tried here.
fn outside(loaded: &Loaded) -> Vec<Tried> {
    let found = outside::problems(&loaded.typed.file, &loaded.valid, SystemClock::new().now());
    let own = |problem: &Problem| {
        let tried = ["spool.directory", "spool.max_size"].contains(&&*problem.path);
        !tried && !problem.path.ends_with(".store.directory")
    };
    let remedy = "mend it, or the path in the configuration; `tollgate validate` shows the place".to_owned();
    let as_tried =
        |problem: Problem| Tried::new(format!("`{}` holds", problem.path), Err((problem.what, remedy.clone())));
    found.into_iter().filter(|problem| problem.gravity == Gravity::Error).filter(own).map(as_tried).collect()
}

/// Sends each back end an empty request of each signal that it receives.
async fn back_ends(loaded: Loaded) -> Result<Vec<Tried>, CommandError> {
    let seams = Seams::real();
    let deps = Deps {
        tasks: Tasks::new(&seams.meter),
        clock: Arc::clone(&seams.clock),
        proxies: Arc::new(Proxies::from_env(&env::var).map_err(|error| error.to_string())?),
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
        match placed.what.spec().profile().target {
            Target::Server { .. } => {}
            Target::File { .. } | Target::Output => continue,
        }
        let id = placed.id;
        let exporter = match exporter(&id, &placed.what, deps.clone()) {
            Ok(exporter) => exporter,
            Err(why) => {
                tried.push(Tried::new(
                    format!("`{id}` can be built"),
                    Err((why.text, "see the file it names".to_owned())),
                ));
                continue;
            }
        };
        for signal in signals(&id) {
            let what = format!("`{id}` takes {}", signal.as_str());
            tried.push(Tried::new(what, ask(&*exporter, signal).await));
        }
    }
    Ok(tried)
}

async fn ask(exporter: &dyn Exporter, signal: Signal) -> Result<(), (String, String)> {
    let request = ExportRequest { signal, account: "default".into(), body: Bytes::new(), items: 0 };
    let reason = match exporter.send(&request).await {
        Outcome::Accepted | Outcome::Partial { .. } => return Ok(()),
        Outcome::Retry { reason, .. } | Outcome::Refused { reason } => reason,
    };
    let remedy = match reason {
        Reason::Denied => "check the key, its rights, and the endpoint with its path",
        Reason::TimedOut => "check firewalls and proxies (HTTPS_PROXY), and `timeout`",
        Reason::Unavailable => "check the endpoint's host and port, TLS (`tls.ca_file`, `tls.insecure`) and proxies",
        Reason::BadData | Reason::Malformed => "this does not answer like OTLP: check protocol (gRPC or HTTP) and port",
        _ => "see its log",
    };
    Err((reason.text().to_owned(), remedy.to_owned()))
}

fn as_json(one: &Tried) -> String {
    let (answer, remedy) = one.wrong.clone().unwrap_or_default();
    let line = json!({"check": one.what, "holds": one.wrong.is_none(), "answer": answer, "remedy": remedy});
    format!("{line}\n")
}

fn as_line(one: &Tried) -> String {
    let (mark, colour) = if one.wrong.is_none() { ("√", "32") } else { ("×", "31") };
    let coloured = colour_out();
    let mark = if coloured { format!("\u{1b}[{colour}m{mark}\u{1b}[0m") } else { mark.to_owned() };
    match &one.wrong {
        None => format!("{mark} {}\n", one.what),
        Some((answer, remedy)) => format!("{mark} {}  ({answer})\n    {remedy}\n", one.what),
    }
}
