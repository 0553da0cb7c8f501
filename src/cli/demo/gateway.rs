//! [`DemoGateway`]: the gateway of the demo, the embedded default with a `file` exporter instead of `debug`. All other
//! settings are the default's, and the exporter counts as a third party, so the user sees the data that a third party
//! would get. Its data is in a [`ScratchDir`].

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::app::build::GatewayDeps;
use crate::app::resolve::ConfiguredComponent;
use crate::app::{RunningGateway, StartFault, assemble};
use crate::cli::common::CommonArgs;
use crate::cli::config_loading::{FileCreation, load_config};
use crate::cli::error::CommandError;
use crate::cli::listen::parse_listen_address;
use crate::components::ExporterSettings;
use config::ComponentId;
use exporters::file::{FileExporterSettings, RotationLimits};
use kernel::clock::with_timeout;
use kernel::hex;
use kernel::rng::Rng;
use pipeline::{Trust, spool};

pub(super) const EXPORTER: &str = "file/demo";
/// The exporter's file and the vault's folder in the directory of the demo.
pub(super) const EXPORTED: &str = "outbound.jsonl";
pub(super) const VAULT: &str = "vault";
/// The limit of the spool and of the exporter's file; a demo needs little.
const MAX_BYTES: u64 = 256 << 20;
/// The longest wait for an exporter or the vault.
const MAX_WAIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

pub(super) struct DemoGateway {
    pub(super) app: RunningGateway,
    pub(super) deps: GatewayDeps,
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) directory: PathBuf,
}

impl DemoGateway {
    /// Starts the gateway with its data in `directory`, on the default ports, or else on any free ones.
    pub(super) async fn start(directory: &Path, deps: GatewayDeps) -> Result<Self, CommandError> {
        let mut common = CommonArgs { data_dir: Some(directory.to_path_buf()), ..CommonArgs::default() };
        let app = match start_app(&common, &deps).await {
            Err(CommandError::Start(error)) if error.fault == StartFault::Port => {
                common.listen = Some(parse_listen_address("127.0.0.1:0")?);
                start_app(&common, &deps).await?
            }
            started => started?,
        };
        let find_address = |port_name: &str| {
            let found = app.addresses().iter().find(|(name, _)| name == port_name);
            found.map(|(_, address)| *address).ok_or_else(|| format!("`{port_name}` does not listen"))
        };
        let (grpc, http, admin) = (find_address("otlp grpc")?, find_address("otlp http")?, find_address("admin")?);
        Ok(Self { app, deps, grpc, http, admin, directory: directory.to_path_buf() })
    }

    /// Waits until the spool has no records left for `consumer`.
    pub(super) async fn wait_until_delivered(&self, consumer: &str) -> Result<(), CommandError> {
        let waiting = async {
            while self.app.spool().status().consumers.iter().any(|left| &*left.name == consumer && left.records > 0) {
                self.deps.clock.sleep(POLL_INTERVAL).await;
            }
        };
        let waited = with_timeout(&*self.deps.clock, MAX_WAIT, waiting).await;
        Ok(waited.ok_or_else(|| format!("records are still waiting for `{consumer}`"))?)
    }
}

async fn start_app(common: &CommonArgs, deps: &GatewayDeps) -> Result<RunningGateway, CommandError> {
    let mut valid = load_config(common, FileCreation::TryoutKey)?.valid;
    let path = valid.spool.directory.with_file_name(EXPORTED);
    let id = ComponentId::parse(EXPORTER)?;
    let rotation = Some(RotationLimits { max_bytes: MAX_BYTES, max_backups: 1 });
    let settings = FileExporterSettings { path, trust: Trust::ThirdParty, rotation };
    for (exporter, _) in valid.pipelines.iter_mut().flat_map(|pipeline| &mut pipeline.exporters) {
        *exporter = id.clone();
    }
    valid.exporters = vec![ConfiguredComponent { id, value: ExporterSettings::File(settings) }];
    valid.spool = spool::SpoolSettings::new(valid.spool.directory, MAX_BYTES);
    let blueprint = assemble::build_blueprint(valid, deps).await?;
    Ok(RunningGateway::start(blueprint, deps.clone()).await?)
}

/// A new directory, accessible to its owner only (0700), and removed on drop unless it is to be kept.
pub(super) struct ScratchDir {
    pub(super) path: PathBuf,
    pub(super) keep: bool,
}

impl ScratchDir {
    /// Creates a directory in `parent`, or else in the system's temporary directory.
    pub(super) fn create(parent: Option<PathBuf>, keep: bool, rng: &dyn Rng) -> Result<Self, CommandError> {
        let parent = parent.unwrap_or_else(std::env::temp_dir);
        let path = parent.join(format!("tollgate-demo-{}", hex::encode(&rng.id())));
        let created = std::fs::create_dir_all(&parent).and_then(|()| DirBuilder::new().mode(0o700).create(&path));
        created.map_err(|error| format!("can't create {}: {error}", path.display()))?;
        Ok(Self { path, keep })
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // An error can't be reported any more.
        drop((!self.keep).then(|| std::fs::remove_dir_all(&self.path)));
    }
}
