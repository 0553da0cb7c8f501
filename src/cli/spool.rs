//! `tollgate spool list|peek|drop|replay|reassign`: inspects, moves or drops the data waiting for each consumer. `list`
//! takes no lock and creates nothing, even if there is no spool or key; the others need the gateway stopped. `drop`
//! requires `--yes`, and otherwise says how much it would drop. The spool is in `pipeline/spool`.

use std::sync::Arc;

use clap::Subcommand;

use super::common::CommonArgs;
use super::config_loading::{FileAccess, LoadedConfig, load_config};
use super::spool_move;
use crate::app::build::GatewayDeps;
use crate::app::destinations::parse_held_consumer;
use crate::app::gateway_keys::read_existing_spool_keys;
use crate::app::key_opening::configured_keys;
use crate::components::id_text;
use command::error::{CommandError, ExitStatus};
use command::output::{print_result, print_to_stderr};
use command::runtime::block_on;
use config::ByteSize;
use kernel::clock::UnixNanos;
use kernel::terminal::format_count;
use pipeline::RealDisk;
use pipeline::spool::{Committer, ConsumerStatus, Spool, SpoolOpenError, SpoolStatus};
use telemetry::logging;

/// Subcommands of `spool`.
#[derive(Subcommand)]
pub(super) enum SpoolCommand {
    /// Lists the data waiting in the spool, by consumer; also works beside a running gateway.
    List,
    /// Shows the records waiting for one consumer. The gateway must be stopped.
    Peek {
        /// The consumer as shown by `spool list`; `quarantine` holds data that back ends refused for good.
        consumer: String,
        /// Maximum number of records.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Prints the telemetry as it would be sent: OTLP/JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Sends data that back ends refused for good (`quarantine`) to them again. The gateway must be stopped.
    Replay {
        /// Sends it to this exporter instead.
        #[arg(long, value_name = "EXPORTER")]
        to: Option<String>,
    },
    /// Moves all data waiting for one consumer to an exporter. The gateway must be stopped.
    Reassign {
        /// The consumer as shown by `spool list`, e.g. an exporter that is no longer configured.
        from: String,
        /// An exporter of the configuration.
        to: String,
    },
    /// Drops all data waiting for one consumer. The gateway must be stopped.
    Drop {
        /// The consumer as shown by `spool list`: an exporter's id.
        consumer: String,
        /// Confirms that the data is to be dropped.
        #[arg(long)]
        yes: bool,
    },
}

pub(super) fn run(common: &CommonArgs, command: SpoolCommand) -> Result<ExitStatus, CommandError> {
    let loaded = load_config(common, FileAccess::Read)?;
    logging::init(logging::LogLevel::Warn);
    let deps = GatewayDeps::system();
    let directory = loaded.valid.spool.directory.clone();
    if !directory.is_dir() {
        return Err(SpoolOpenError::no_spool(&directory).into());
    }
    let opening = async {
        // Not the keys of other parts: their KMS or command may be away.
        for key in configured_keys(&loaded.valid).iter().filter(|key| key.section == "spool") {
            key.open().await.map_err(|error| CommandError::Config(error.text))?;
        }
        Ok(())
    };
    block_on(opening)?;
    let keys = read_existing_spool_keys(&loaded.valid).map_err(|error| CommandError::Config(error.text))?;
    let status = Spool::peek(&RealDisk, &loaded.valid.spool, &keys)?;
    let now = deps.clock.now();
    let open = || Spool::open(deps.disk, &loaded.valid.spool, &keys, deps.clock, deps.rng, &deps.meter);
    match command {
        SpoolCommand::List => print_result(&format_status(&status, now)),
        SpoolCommand::Peek { consumer, limit, json } => {
            check_consumer(&status, &consumer)?;
            let (spool, _committer) = open()?;
            spool_move::print_records(&spool, &consumer, limit, json, now)
        }
        SpoolCommand::Replay { to } => move_all(&loaded, open, spool_move::QUARANTINE_CONSUMER, to.as_deref()),
        SpoolCommand::Reassign { from, to } => {
            find_waiting(&status, &from)?;
            move_all(&loaded, open, &from, Some(&to))
        }
        SpoolCommand::Drop { consumer, yes } => {
            let waiting = find_waiting(&status, &consumer)?;
            if !yes {
                let (records, bytes) = (format_count(waiting.records, "record"), ByteSize(waiting.bytes));
                print_to_stderr(&format!(
                    "this would permanently delete {records} ({bytes}) waiting for `{consumer}`; confirm with --yes"
                ));
                return Ok(ExitStatus::Usage);
            }
            let (spool, committer) = open()?;
            let dropped = spool.drop_pending(&consumer, None);
            if !committer.close() {
                return Err(
                    "the spool's progress could not be written, so the records may not be deleted: try again".into()
                );
            }
            print_result(&format!("{} of `{consumer}` deleted\n", format_count(dropped, "record")))
        }
    }
}

/// Refuses a consumer that the spool does not have. The quarantine has no consumer while it is empty.
fn check_consumer(status: &SpoolStatus, consumer: &str) -> Result<(), CommandError> {
    let names = || status.consumers.iter().map(|entry| &*entry.name);
    if consumer == spool_move::QUARANTINE_CONSUMER || names().any(|name| name == consumer) {
        return Ok(());
    }
    let names = names().collect::<Vec<_>>().join(", ");
    Err(CommandError::Failed(format!("the spool has no consumer `{consumer}`; it has: {names}")))
}

/// The status of a consumer with waiting data. If it has none, the error lists the consumers that have some.
fn find_waiting<'a>(status: &'a SpoolStatus, consumer: &str) -> Result<&'a ConsumerStatus, CommandError> {
    let waiting = || status.consumers.iter().filter(|entry| entry.records > 0);
    if let Some(found) = waiting().find(|entry| *entry.name == *consumer) {
        return Ok(found);
    }
    let names: Vec<&str> = waiting().map(|entry| &*entry.name).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(CommandError::Failed(format!("no data is waiting for `{consumer}`; consumers with waiting data: {names}")))
}

fn move_all(
    loaded: &LoadedConfig,
    open: impl FnOnce() -> Result<(Arc<Spool>, Committer), SpoolOpenError>,
    from: &str,
    to: Option<&str>,
) -> Result<ExitStatus, CommandError> {
    let exporters: Vec<Arc<str>> = loaded.valid.exporters.iter().map(|placed| id_text(&placed.id)).collect();
    if let Some(to) = to.filter(|to| !exporters.iter().any(|id| **id == **to)) {
        let exporter_list = exporters.join(", ");
        return Err(CommandError::Failed(format!(
            "`{to}` is not an exporter of the configuration; exporters: {exporter_list}"
        )));
    }
    if to == Some(from) {
        return Err(CommandError::Failed(format!("the data is already waiting for `{from}`")));
    }
    let (spool, committer) = open()?;
    spool_move::move_records(&spool, committer, from, to, &exporters)
}

fn format_status(status: &SpoolStatus, now: UnixNanos) -> String {
    let mut text = format!(
        "{} of {} bytes in {}\n\n{:<24} {:>10} {:>14} {:>12}\n",
        status.bytes,
        status.limit,
        format_count(status.segments, "segment"),
        "CONSUMER",
        "RECORDS",
        "BYTES",
        "OLDEST"
    );
    for consumer in status.consumers.iter().filter(|consumer| consumer.records > 0) {
        let age = consumer.oldest.map_or(0, |oldest| now.since(oldest).as_secs());
        text.push_str(&format!("{:<24} {:>10} {:>14} {:>11}s\n", consumer.name, consumer.records, consumer.bytes, age));
    }
    for consumer in status.consumers.iter().filter(|consumer| consumer.records > 0) {
        let Some((exporter, formerly)) = parse_held_consumer(&consumer.name) else { continue };
        text.push_str(&format!(
            "\n`{}` is held: it was waiting for `{exporter}` while that exporter pointed to {formerly}. To send it to the present destination, add\n  \
             moved_from: ['{formerly}'] to the exporter, or run `tollgate spool reassign {} {exporter}`; `spool drop` deletes it.\n",
            consumer.name, consumer.name
        ));
    }
    if status.consumers.iter().all(|consumer| consumer.records == 0) {
        text.push_str("no data is waiting\n");
    }
    text
}
