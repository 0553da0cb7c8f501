//! `tollgate spool deliver`: runs rounds of the configuration's gateway without its ports until nothing waits in the
//! spool, for a volume whose gateway is gone. A round ends as a gateway does, because only that uploads what the vault
//! still collects; a round that could not deliver everything is followed by another.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::config_loading::LoadedConfig;
use super::fleet::parse_timeout;
use crate::app::assemble;
use crate::app::build::{GatewayBlueprint, GatewayDeps, ReloadResources};
use crate::app::gateway_keys::GatewayKeys;
use crate::app::resolve::ValidSettings;
use crate::app::{RunningGateway, StartError};
use crate::components::id_text;
use command::error::{CommandError, ExitStatus};
use command::os;
use command::output::{print_result, print_to_stderr};
use command::runtime::serve;
use kernel::clock::Clock;
use kernel::terminal::{format_bytes, format_count};
use pipeline::sequencer::CHECKPOINT;
use pipeline::spool::{ConsumerStatus, QUARANTINE, Spool};
use telemetry::logging;

/// How often the spool is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// How long the end of a round may take while uploads succeed.
const MAX_UPLOAD_TIME: Duration = Duration::from_secs(3600);
/// How long it may take once the command is stopped or its time is over.
const END_GRACE: Duration = Duration::from_secs(10);
/// Pause before the next round.
const ROUND_PAUSE: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct DeliverArgs {
    /// How long to try. Afterwards the command exits with 1 and says what is left [default: no limit].
    #[arg(long, value_name = "TIME", value_parser = parse_timeout)]
    timeout: Option<Duration>,
}

pub(super) fn run(loaded: LoadedConfig, options: &DeliverArgs) -> Result<ExitStatus, CommandError> {
    logging::init(loaded.valid.log_level);
    serve(deliver(loaded.valid, options.timeout))
}

async fn deliver(valid: ValidSettings, timeout: Option<Duration>) -> Result<ExitStatus, CommandError> {
    let mut stop = pin!(os::stop_signal()?);
    let deps = GatewayDeps::system();
    let clock = Arc::clone(&deps.clock);
    let deadline = timeout.map(|timeout| clock.monotonic() + timeout);
    let time_left = || deadline.map_or(Duration::MAX, |deadline| deadline.saturating_sub(clock.monotonic()));
    let stopped = || CommandError::Failed("stopped before everything was delivered; run the command again".to_owned());
    let keys = tokio::select! {
        keys = GatewayKeys::read(&valid, &deps) => keys?,
        () = &mut stop => return Err(stopped()),
    };
    let exporters: Vec<Arc<str>> = valid.exporters.iter().map(|placed| id_text(&placed.id)).collect();
    loop {
        let blueprint = assemble::build_blueprint_with_keys(valid.clone(), keys.clone(), ReloadResources::default())?;
        let gateway = tokio::select! {
            started = RunningGateway::start(without_ports(blueprint), deps.clone()) => started?,
            () = &mut stop => return Err(stopped()),
        };
        let spool = Arc::clone(gateway.spool());
        let is_stopped = tokio::select! {
            () = watch_exporters(&spool, &exporters, &*clock) => false,
            () = clock.sleep(time_left()) => false,
            () = &mut stop => true,
        };
        let grace = if is_stopped { Duration::ZERO } else { time_left() }.saturating_add(END_GRACE);
        let has_ended = tokio::select! {
            report = gateway.shutdown() => report.failed.is_none(),
            () = clock.sleep(grace) => false,
            () = &mut stop, if !is_stopped => false,
        };
        let (undelivered, held): (Vec<_>, Vec<_>) =
            waiting_consumers(&spool).partition(|consumer| consumer.configured && *consumer.name != *QUARANTINE);
        let is_delivered = has_ended && undelivered.is_empty();
        if is_delivered && held.is_empty() {
            return print_result("everything is delivered: the spool is empty\n");
        }
        let left = describe(undelivered.iter().chain(&held));
        if is_delivered {
            let remedy = "use `spool replay`, `spool reassign` or `spool drop`";
            return Err(format!("all else is delivered, but no configured exporter may get {left}: {remedy}").into());
        }
        if !has_ended || is_stopped || time_left().is_zero() {
            let left = if left.is_empty() { "the spool could not be closed" } else { &left };
            return Err(format!("not everything is delivered: {left}; run the command again").into());
        }
        drop(spool);
        tokio::select! {
            () = clock.sleep(ROUND_PAUSE.min(time_left())) => {}
            () = &mut stop => return Err(stopped()),
        }
    }
}

/// Nothing listens, and the end of a round waits until the vault's data is uploaded.
fn without_ports(mut blueprint: GatewayBlueprint) -> GatewayBlueprint {
    let build = blueprint.build;
    blueprint.settings.shutdown_delay = Duration::ZERO;
    blueprint.settings.drain_outlets = MAX_UPLOAD_TIME;
    blueprint.build = Box::new(move |resources| {
        let mut components = build(resources)?;
        components.listeners.clear();
        Ok::<_, StartError>(components)
    });
    blueprint
}

/// Completes when nothing waits for these exporters, and shows what does. The vault's data waits for the end.
async fn watch_exporters(spool: &Spool, exporters: &[Arc<str>], clock: &dyn Clock) {
    let mut shown_at = None;
    loop {
        let waiting: Vec<ConsumerStatus> = waiting_consumers(spool).collect();
        if !waiting.iter().any(|consumer| exporters.contains(&consumer.name)) {
            return;
        }
        let now = clock.monotonic();
        if shown_at.is_none_or(|shown_at| now.saturating_sub(shown_at) >= PROGRESS_INTERVAL) {
            shown_at = Some(now);
            print_to_stderr(&format!("waiting: {}", describe(&waiting)));
        }
        clock.sleep(CHECK_INTERVAL).await;
    }
}

/// Consumers that wait for records. The checkpoint is the gateway's own memory.
fn waiting_consumers(spool: &Spool) -> impl Iterator<Item = ConsumerStatus> + use<> {
    let consumers = spool.status().consumers.into_iter();
    consumers.filter(|consumer| consumer.records > 0 && *consumer.name != *CHECKPOINT)
}

fn describe<'c>(consumers: impl IntoIterator<Item = &'c ConsumerStatus>) -> String {
    let describe_one = |consumer: &ConsumerStatus| {
        let (records, bytes) = (format_count(consumer.records, "record"), format_bytes(consumer.bytes));
        format!("{records} ({bytes}) for `{}`", consumer.name)
    };
    consumers.into_iter().map(describe_one).collect::<Vec<_>>().join(", ")
}
