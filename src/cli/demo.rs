//! The gateway of `tollgate demo` (crate `onboarding`): the embedded default with a `file` exporter instead of `debug`.
//! All other settings are the default's.

use std::net::SocketAddr;
use std::path::Path;

use futures_util::future::LocalBoxFuture;

use super::common::CommonArgs;
use super::config_loading::{FileAccess, load_config};
use super::listen::parse_listen_address;
use crate::app::build::GatewayDeps;
use crate::app::resolve::ConfiguredComponent;
use crate::app::{RunningGateway, StartError, StartFault, assemble};
use crate::components::ExporterSettings;
use command::error::{CommandError, ExitStatus};
use config::ComponentId;
use exporters::file::{FileExporterSettings, RotationLimits};
use onboarding::demo::{DemoArgs, DemoGateway, EXPORTED, EXPORTER};
use pipeline::{Trust, spool};

/// The limit of the spool and of the exporter's file; a demo needs little.
const MAX_BYTES: u64 = 256 << 20;

pub(super) fn run(common: &CommonArgs, options: &DemoArgs) -> Result<ExitStatus, CommandError> {
    if common.config.is_some() {
        let why = "the demo always uses the default configuration: remove --config, or use `tollgate run`";
        return Err(CommandError::Usage(why.to_owned()));
    }
    onboarding::demo::run(options, common.data_dir(), &|directory| Box::pin(start(directory)))
}

/// Starts the gateway with its data in `directory`, on the default ports, or else on any free ones.
async fn start(directory: &Path) -> Result<Box<dyn DemoGateway>, CommandError> {
    let mut common = CommonArgs { data_dir: Some(directory.to_path_buf()), ..CommonArgs::default() };
    let app = match start_on_ports(&common).await? {
        Err(error) if error.fault == StartFault::Port => {
            common.listen = Some(parse_listen_address("127.0.0.1:0")?);
            start_on_ports(&common).await??
        }
        started => started?,
    };
    Ok(Box::new(app))
}

/// The outer error is the configuration's.
async fn start_on_ports(common: &CommonArgs) -> Result<Result<RunningGateway, StartError>, CommandError> {
    let mut valid = load_config(common, FileAccess::Create)?.valid;
    let path = valid.spool.directory.with_file_name(EXPORTED);
    let id = ComponentId::parse(EXPORTER)?;
    let rotation = Some(RotationLimits { max_bytes: MAX_BYTES, max_backups: 1 });
    let settings = FileExporterSettings { path, trust: Trust::ThirdParty, rotation };
    for (exporter, _) in valid.pipelines.iter_mut().flat_map(|pipeline| &mut pipeline.exporters) {
        *exporter = id.clone();
    }
    valid.exporters = vec![ConfiguredComponent { id, value: ExporterSettings::File(settings) }];
    valid.spool = spool::SpoolSettings::new(valid.spool.directory, MAX_BYTES);
    let deps = GatewayDeps::system();
    let blueprint = match assemble::build_blueprint(valid, &deps).await {
        Ok(blueprint) => blueprint,
        Err(error) => return Ok(Err(error)),
    };
    Ok(RunningGateway::start(blueprint, deps).await)
}

impl DemoGateway for RunningGateway {
    fn addresses(&self) -> &[(String, SocketAddr)] {
        self.addresses()
    }

    fn waiting_records(&self, consumer: &str) -> u64 {
        let consumers = self.spool().status().consumers;
        consumers.iter().filter(|waiting| &*waiting.name == consumer).map(|waiting| waiting.records).sum()
    }

    fn run_until<'s>(self: Box<Self>, stop: LocalBoxFuture<'s, ()>) -> LocalBoxFuture<'s, bool> {
        Box::pin(async move { RunningGateway::run_until(*self, stop).await.failed.is_some() })
    }
}
