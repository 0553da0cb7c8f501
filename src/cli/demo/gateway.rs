//! The gateway of the demo: the embedded default with a `file` exporter instead of `debug`, free ports, and a vault
//! that writes soon. Processors and their settings are the default's, and the exporter is a third party, so the user
//! sees what a third party would get, after the gateway's own clearance checks.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::app::build::Seams;
use crate::app::resolve::{Placed, Valid};
use crate::app::{App, Fault, StartError, assemble};
use crate::cli::common::Common;
use crate::cli::error::CommandError;
use crate::cli::output::report;
use crate::cli::source::{Make, TRYOUT_KEY, load};
use crate::components::{ExporterSettings, ExtensionSettings, ProcessorSettings, ReceiverSettings};
use config::ComponentId;
use exporters::file;
use net::Endpoint;
use pipeline::{Trust, spool};

/// The age at which objects and the index are written.
const SOON: Duration = Duration::from_secs(1);
/// The size of the spool; a demo needs little.
const SPOOL: u64 = 256 << 20;
/// The exporter's file is rotated at this size, and one old file is kept.
const OUTBOUND: file::Limits = file::Limits { max_bytes: 256 << 20, max_backups: 1 };

/// A running gateway and its addresses and files.
pub(super) struct Gateway {
    pub(super) app: App,
    /// Address for OTLP over gRPC.
    pub(super) grpc: SocketAddr,
    /// Address for OTLP over HTTP.
    pub(super) http: SocketAddr,
    /// Address of the admin page.
    pub(super) page: SocketAddr,
    /// The file written by the exporter.
    pub(super) outbound: PathBuf,
    /// The vault's folder.
    pub(super) vault: PathBuf,
    /// The try-out auditor's key file.
    pub(super) auditor: PathBuf,
    /// Whether any port differs from the default.
    pub(super) moved: bool,
}

/// The ports to request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// The default ports if they are free, otherwise ports chosen by the system.
    Usual,
    /// Ports chosen by the system.
    Any,
}

/// Starts the gateway with its data in `directory`.
///
/// # Errors
/// The gateway can't start.
pub(super) async fn start(directory: &Path, seams: Seams) -> Result<Gateway, CommandError> {
    let first = start_on(directory, seams.clone(), Ports::Usual).await;
    let started = match first {
        // Another process may have taken a port since the check. Other errors are not retried.
        Err(error) if error.fault == Fault::Port => start_on(directory, seams, Ports::Any).await,
        started => started,
    };
    started.map_err(|error| CommandError::Failed(error.text))
}

async fn start_on(directory: &Path, seams: Seams, ports: Ports) -> Result<Gateway, StartError> {
    let common = Common { data_dir: Some(directory.to_path_buf()), ..Common::default() };
    let loaded = load(&common, Make::Keys).map_err(|error| {
        report(&error);
        StartError::new("the embedded default can't be used")
    })?;
    let outbound = directory.join("outbound.jsonl");
    let valid = changed(loaded.valid, &outbound, ports).map_err(|error| StartError::new(error.to_string()))?;
    let blueprint = assemble::blueprint(valid, &seams).await?;
    let app = App::start(blueprint, seams).await?;
    let find = |what: &str| {
        let found = app.addresses().iter().find(|(name, _)| name == what);
        found.map(|(_, address)| *address).ok_or_else(|| StartError::new(format!("`{what}` does not listen")))
    };
    let (grpc, http, page) = (find("otlp grpc")?, find("otlp http")?, find("admin")?);
    let moved = [grpc.port(), http.port(), page.port()] != [4317, 4318, 8888];
    Ok(Gateway {
        grpc,
        http,
        page,
        outbound,
        vault: directory.join("vault"),
        auditor: directory.join(TRYOUT_KEY),
        moved,
        app,
    })
}

/// The default settings with the demo's changes.
fn changed(mut valid: Valid, outbound: &Path, ports: Ports) -> Result<Valid, CommandError> {
    let id = ComponentId::parse("file/demo")?;
    let settings = file::Settings { path: outbound.to_path_buf(), trust: Trust::ThirdParty, rotation: Some(OUTBOUND) };
    valid.exporters = vec![Placed { id: id.clone(), what: ExporterSettings::File(settings) }];
    for pipeline in &mut valid.pipelines {
        pipeline.exporters.truncate(1);
        pipeline.exporters.iter_mut().for_each(|(exporter, _)| *exporter = id.clone());
    }
    for Placed { what: ReceiverSettings::Otlp(settings), .. } in &mut valid.receivers {
        if let Some(grpc) = &mut settings.grpc {
            grpc.endpoint = free(&grpc.endpoint, ports)?;
        }
        if let Some(http) = &mut settings.http {
            http.endpoint = free(&http.endpoint, ports)?;
        }
    }
    for placed in &mut valid.extensions {
        if let ExtensionSettings::Admin(settings) = &mut placed.what {
            settings.endpoint = free(&settings.endpoint, ports)?;
        }
    }
    for placed in &mut valid.processors {
        if let ProcessorSettings::Vault(settings) = &mut placed.what {
            settings.object_age = SOON;
            settings.index_interval = SOON;
        }
    }
    valid.spool = spool::Settings::new(valid.spool.directory, SPOOL);
    Ok(valid)
}

/// The endpoint on loopback, with a free port.
fn free(endpoint: &Endpoint, ports: Ports) -> Result<Endpoint, CommandError> {
    let is_free = || TcpListener::bind((Ipv4Addr::LOCALHOST, endpoint.port())).is_ok();
    let port = if ports == Ports::Usual && is_free() { endpoint.port() } else { 0 };
    Ok(Endpoint::parse(&format!("127.0.0.1:{port}"))?)
}
