//! The gateway of `tollgate demo` (crate `onboarding`): the embedded default with a `file` exporter instead of `debug`,
//! and a budget. All other settings are the default's.

use std::net::SocketAddr;
use std::path::Path;

use futures_util::future::LocalBoxFuture;

use super::common::CommonArgs;
use super::config_loading::{FileAccess, load_config};
use super::listen::parse_listen_address;
use crate::app::build::GatewayDeps;
use crate::app::resolve::{ConfiguredComponent, ValidSettings};
use crate::app::{RunningGateway, StartError, StartFault, assemble};
use crate::components::{ExporterSettings, ProcessorSettings, ReceiverSettings};
use budgets::config::BudgetsConfig;
use command::error::{CommandError, ExitStatus};
use config::{ComponentId, load};
use exporters::file::{FileExporterSettings, RotationLimits};
use onboarding::demo::{BUDGETS, DemoArgs, DemoGateway, EXPORTED, EXPORTER};
use otlp::Signal;
use pipeline::{Trust, spool};
use receivers::claude_code_hooks::ClaudeCodeHooksConfig;

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
    set_budgets(&mut valid)?;
    valid.spool = spool::SpoolSettings::new(valid.spool.directory, MAX_BYTES);
    let deps = GatewayDeps::system();
    let blueprint = match assemble::build_blueprint(valid, &deps).await {
        Ok(blueprint) => blueprint,
        Err(error) => return Ok(Err(error)),
    };
    Ok(RunningGateway::start(blueprint, deps).await)
}

/// Gives the `runs` processor the demo's budgets, and the gateway a free port on which agents ask.
fn set_budgets(valid: &mut ValidSettings) -> Result<(), CommandError> {
    let budgets: BudgetsConfig =
        load::parse_data("budgets", BUDGETS).map_err(|_| "the demo's budgets can't be read")?;
    let budgets = budgets::config::check(&budgets, &mut Vec::new());
    for ConfiguredComponent { value, .. } in &mut valid.processors {
        if let ProcessorSettings::Runs(settings) = value {
            settings.budgets = budgets.clone().into();
        }
    }
    let hooks = ClaudeCodeHooksConfig { endpoint: "127.0.0.1:0".to_owned(), ..ClaudeCodeHooksConfig::default() };
    let hooks = hooks.settings().map_err(|_| "the demo's hooks can't be received")?;
    let id = ComponentId::parse("claude_code_hooks")?;
    for pipeline in valid.pipelines.iter_mut().filter(|pipeline| pipeline.signal == Signal::Traces) {
        pipeline.receivers.extend(pipeline.receivers.first().map(|(_, at)| (id.clone(), *at)));
    }
    valid.receivers.push(ConfiguredComponent { id, value: ReceiverSettings::ClaudeCodeHooks(hooks) });
    Ok(())
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
