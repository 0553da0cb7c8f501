//! The gateway of the demo: the embedded default with a `file` exporter instead of `debug`, free ports, and a vault
//! that writes after one second. All other processor settings are the default's, and the exporter counts as a third
//! party, so the user sees the data that a third party would get.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::app::build::GatewayDeps;
use crate::app::resolve::{ConfiguredComponent, ValidSettings};
use crate::app::{RunningGateway, StartError, StartFault, assemble};
use crate::cli::common::CommonArgs;
use crate::cli::config_loading::{FileCreation, TRYOUT_KEY, load_config};
use crate::cli::error::CommandError;
use crate::cli::output::report_error;
use crate::components::{ExporterSettings, ExtensionSettings, ProcessorSettings, ReceiverSettings};
use config::ComponentId;
use exporters::file;
use net::Endpoint;
use pipeline::{Trust, spool};

/// The age at which the vault writes objects and the index.
const WRITE_AGE: Duration = Duration::from_secs(1);
/// The size of the spool; a demo needs little.
const SPOOL_BYTES: u64 = 256 << 20;
/// The exporter's file is rotated at this size, and one old file is kept.
const OUTBOUND_ROTATION: file::RotationLimits = file::RotationLimits { max_bytes: 256 << 20, max_backups: 1 };

/// A running gateway and its addresses and files.
pub(super) struct DemoGateway {
    pub(super) app: RunningGateway,
    /// Address for OTLP over gRPC.
    pub(super) grpc: SocketAddr,
    /// Address for OTLP over HTTP.
    pub(super) http: SocketAddr,
    /// Address of the admin page.
    pub(super) admin: SocketAddr,
    /// The file written by the exporter.
    pub(super) outbound: PathBuf,
    /// The vault's folder.
    pub(super) vault: PathBuf,
    /// The try-out auditor's key file.
    pub(super) auditor: PathBuf,
    /// Whether any port differs from the default.
    pub(super) uses_other_ports: bool,
}

/// The ports to request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PortChoice {
    /// The default ports if they are free, otherwise ports chosen by the system.
    Default,
    /// Ports chosen by the system.
    Any,
}

/// Starts the gateway with its data in `directory`.
///
/// # Errors
/// The gateway can't start.
pub(super) async fn start_gateway(directory: &Path, deps: GatewayDeps) -> Result<DemoGateway, CommandError> {
    let on_default_ports = start_on(directory, deps.clone(), PortChoice::Default).await;
    let started = match on_default_ports {
        // Another process may have taken a port since the check. Other errors are not retried.
        Err(error) if error.fault == StartFault::Port => start_on(directory, deps, PortChoice::Any).await,
        started => started,
    };
    started.map_err(|error| CommandError::Failed(error.text))
}

async fn start_on(directory: &Path, deps: GatewayDeps, ports: PortChoice) -> Result<DemoGateway, StartError> {
    let common = CommonArgs { data_dir: Some(directory.to_path_buf()), ..CommonArgs::default() };
    let loaded = load_config(&common, FileCreation::TryoutKey).map_err(|error| {
        report_error(&error);
        StartError::new("the embedded default can't be used")
    })?;
    let outbound = directory.join("outbound.jsonl");
    let valid =
        apply_demo_changes(loaded.valid, &outbound, ports).map_err(|error| StartError::new(error.to_string()))?;
    let blueprint = assemble::build_blueprint(valid, &deps).await?;
    let app = RunningGateway::start(blueprint, deps).await?;
    let find_address = |port_name: &str| {
        let found = app.addresses().iter().find(|(name, _)| name == port_name);
        found.map(|(_, address)| *address).ok_or_else(|| StartError::new(format!("`{port_name}` does not listen")))
    };
    let (grpc, http, admin) = (find_address("otlp grpc")?, find_address("otlp http")?, find_address("admin")?);
    let uses_other_ports = [grpc.port(), http.port(), admin.port()] != [4317, 4318, 8888];
    Ok(DemoGateway {
        grpc,
        http,
        admin,
        outbound,
        vault: directory.join("vault"),
        auditor: directory.join(TRYOUT_KEY),
        uses_other_ports,
        app,
    })
}

/// The default settings with the demo's changes.
fn apply_demo_changes(
    mut valid: ValidSettings,
    outbound: &Path,
    ports: PortChoice,
) -> Result<ValidSettings, CommandError> {
    let id = ComponentId::parse("file/demo")?;
    let settings = file::FileExporterSettings {
        path: outbound.to_path_buf(),
        trust: Trust::ThirdParty,
        rotation: Some(OUTBOUND_ROTATION),
    };
    valid.exporters = vec![ConfiguredComponent { id: id.clone(), value: ExporterSettings::File(settings) }];
    for pipeline in &mut valid.pipelines {
        pipeline.exporters.truncate(1);
        pipeline.exporters.iter_mut().for_each(|(exporter, _)| *exporter = id.clone());
    }
    for ConfiguredComponent { value, .. } in &mut valid.receivers {
        let ReceiverSettings::Otlp(settings) = value else { continue };
        if let Some(grpc) = &mut settings.grpc {
            grpc.endpoint = find_free_endpoint(&grpc.endpoint, ports)?;
        }
        if let Some(http) = &mut settings.http {
            http.endpoint = find_free_endpoint(&http.endpoint, ports)?;
        }
    }
    for placed in &mut valid.extensions {
        if let ExtensionSettings::Admin(settings) = &mut placed.value {
            settings.endpoint = find_free_endpoint(&settings.endpoint, ports)?;
        }
    }
    for placed in &mut valid.processors {
        if let ProcessorSettings::Vault(settings) = &mut placed.value {
            settings.object_age = WRITE_AGE;
            settings.index_interval = WRITE_AGE;
        }
    }
    valid.spool = spool::SpoolSettings::new(valid.spool.directory, SPOOL_BYTES);
    Ok(valid)
}

/// The endpoint on loopback, with a free port.
fn find_free_endpoint(endpoint: &Endpoint, ports: PortChoice) -> Result<Endpoint, CommandError> {
    let is_free = || TcpListener::bind((Ipv4Addr::LOCALHOST, endpoint.port())).is_ok();
    let port = if ports == PortChoice::Default && is_free() { endpoint.port() } else { 0 };
    Ok(Endpoint::parse(&format!("127.0.0.1:{port}"))?)
}
