//! `tollgate spool list|peek|drop|replay|reassign|deliver`: inspects, moves, drops or delivers the data that waits for
//! each consumer. `list` and `peek` take no lock and create nothing, so they work beside a running gateway; `peek`
//! shows content only with `--json`, and only where the spool and its key can be read. `drop`, `replay` and `reassign`
//! ask the gateway that has the spool open, or change it themselves if none runs (`app::spool_changes`). `drop`
//! requires `--yes`, and otherwise says how much it would drop. `spool_deliver` has `deliver`.

use std::sync::Arc;

use clap::Subcommand;

use super::admin_address::{resolve_admin_port, resolve_loaded_admin_port};
use super::common::CommonArgs;
use super::config_loading::{FileAccess, LoadedConfig, load_config};
use super::spool_deliver::{self, DeliverArgs};
use crate::app::build::GatewayDeps;
use crate::app::destinations::parse_held_consumer;
use crate::app::gateway_keys::read_existing_spool_keys;
use crate::app::key_opening::configured_keys;
use crate::app::spool_changes::{ChangeResult, MoveTargets, SPOOL_PATH, SpoolChange, move_targets};
use command::admin_client::{AdminClient, AdminPort, AdminPortArgs};
use command::error::{CommandError, ExitStatus};
use command::output::{print_result, print_to_stderr};
use command::runtime::block_on;
use config::ByteSize;
use kernel::clock::UnixNanos;
use kernel::terminal::{escape_unsafe, format_count};
use otlp::json;
use pipeline::RealDisk;
use pipeline::forward_label::ForwardLabel;
use pipeline::spool::{
    Committer, QUARANTINE, RecordKind, Spool, SpoolKey, SpoolOpenError, SpoolReadError, SpoolSnapshot, SpoolStatus,
    StoredRecord,
};
use telemetry::logging;

/// Maximum number of records that `peek` reads at once, and their bytes.
const MAX_PEEK: (usize, usize) = (64, 16 << 20);

/// Subcommands of `spool`.
#[derive(Subcommand)]
pub(super) enum SpoolCommand {
    /// Lists the data waiting in the spool, by consumer; also works beside a running gateway.
    List,
    /// Shows the records waiting for one consumer; also works beside a running gateway.
    ///
    /// It reads the spool's files, so it needs the machine with the spool, and the spool's key.
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
    /// Sends data that back ends refused for good (`quarantine`) to them again.
    ///
    /// If a gateway uses the spool, the command asks it through its admin port, and needs the role `operator`. Else it
    /// changes the files of the spool.
    Replay {
        /// Sends it to this exporter instead.
        #[arg(long, value_name = "EXPORTER")]
        to: Option<String>,
        #[command(flatten)]
        admin_port: AdminPortArgs,
    },
    /// Moves all data waiting for one consumer to an exporter.
    ///
    /// If a gateway uses the spool, the command asks it through its admin port, and needs the role `operator`. Else it
    /// changes the files of the spool.
    Reassign {
        /// The consumer as shown by `spool list`, e.g. an exporter that is no longer configured.
        from: String,
        /// An exporter of the configuration.
        to: String,
        #[command(flatten)]
        admin_port: AdminPortArgs,
    },
    /// Drops all data waiting for one consumer.
    ///
    /// If a gateway uses the spool, the command asks it through its admin port, and needs the role `operator`. Else it
    /// changes the files of the spool.
    Drop {
        /// The consumer as shown by `spool list`: an exporter's id.
        consumer: String,
        /// Confirms that the data is to be dropped.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        admin_port: AdminPortArgs,
    },
    /// Delivers everything that waits, without receiving anything, and exits: for the spool of a gateway that is gone.
    ///
    /// No port is opened. Exits with 0 once the spool is empty, and with 1 if data is left. It can be stopped and run
    /// again.
    Deliver(DeliverArgs),
}

pub(super) fn run(common: &CommonArgs, command: SpoolCommand) -> Result<ExitStatus, CommandError> {
    let move_all = |from: String, to| SpoolChange::Move { from, to, part: None };
    match command {
        SpoolCommand::List => {
            let found = SpoolFiles::find(common)?.peek()?;
            print_result(&format_status(&found.status, GatewayDeps::system().clock.now()))
        }
        SpoolCommand::Peek { consumer, limit, json } => {
            print_records(&SpoolFiles::find(common)?.peek()?, &consumer, limit, json)
        }
        SpoolCommand::Replay { to, admin_port } => {
            change_spool(common, &admin_port, move_all(QUARANTINE.to_owned(), to), true)
        }
        SpoolCommand::Reassign { from, to, admin_port } => {
            change_spool(common, &admin_port, move_all(from, Some(to)), true)
        }
        SpoolCommand::Drop { consumer, yes, admin_port } => {
            change_spool(common, &admin_port, SpoolChange::Drop { from: consumer }, yes)
        }
        SpoolCommand::Deliver(options) => spool_deliver::run(load_with_spool(common)?, &options),
    }
}

/// The configuration, if its spool's folder exists.
fn load_with_spool(common: &CommonArgs) -> Result<LoadedConfig, CommandError> {
    let loaded = load_config(common, FileAccess::Read)?;
    let directory = &loaded.valid.spool.directory;
    if directory.is_dir() { Ok(loaded) } else { Err(SpoolOpenError::no_spool(directory).into()) }
}

/// What is needed to read or open a spool.
struct SpoolFiles {
    loaded: LoadedConfig,
    keys: Vec<SpoolKey>,
}

impl SpoolFiles {
    fn find(common: &CommonArgs) -> Result<Self, CommandError> {
        let loaded = load_with_spool(common)?;
        logging::init(logging::LogLevel::Warn);
        let opening = async {
            // Not the keys of other parts: their KMS or command may be away.
            for key in configured_keys(&loaded.valid).iter().filter(|key| key.section == "spool") {
                key.open().await.map_err(|error| CommandError::Config(error.text))?;
            }
            Ok(())
        };
        block_on(opening)?;
        let keys = read_existing_spool_keys(&loaded.valid).map_err(|error| CommandError::Config(error.text))?;
        Ok(Self { loaded, keys })
    }

    fn peek(&self) -> Result<SpoolSnapshot, CommandError> {
        Ok(Spool::peek(&RealDisk, &self.loaded.valid.spool, &self.keys)?)
    }
}

/// Makes the change: in the gateway that `--admin` names or that has the spool open, else in the files.
fn change_spool(
    common: &CommonArgs,
    admin_port: &AdminPortArgs,
    change: SpoolChange,
    is_confirmed: bool,
) -> Result<ExitStatus, CommandError> {
    let from = change.from().to_owned();
    if !is_confirmed {
        let mut records = "all data".to_owned();
        if admin_port.admin.is_none() {
            let files = SpoolFiles::find(common)?;
            let status = files.peek()?.status;
            change.check(&status, &move_targets(&files.loaded.valid.exporters))?;
            let waiting = status.consumers.iter().filter(|entry| *entry.name == *from);
            records = waiting
                .map(|entry| format!("{} ({})", format_count(entry.records, "record"), ByteSize(entry.bytes)))
                .collect();
        }
        print_to_stderr(&format!("this would permanently delete {records} waiting for `{from}`; confirm with --yes"));
        return Ok(ExitStatus::Usage);
    }
    let is_drop = matches!(change, SpoolChange::Drop { .. });
    let (changed, not_moved) = match admin_port.admin {
        Some(_) => change_remotely(resolve_admin_port(admin_port, common)?, change)?,
        None => change_files(common, admin_port, change)?,
    };
    if not_moved > 0 {
        print_to_stderr(&format!(
            "{} not moved: they are damaged or not telemetry, or the exporter whose back end refused them is not configured (use --to)",
            format_count(not_moved, "record")
        ));
    }
    let (done, from) = (if is_drop { "deleted" } else { "moved" }, escape_unsafe(&from));
    print_result(&format!("{} of `{from}` {done}\n", format_count(changed, "record")))
}

fn change_files(
    common: &CommonArgs,
    admin_port: &AdminPortArgs,
    change: SpoolChange,
) -> Result<(u64, u64), CommandError> {
    let files = SpoolFiles::find(common)?;
    let (deps, settings) = (GatewayDeps::system(), &files.loaded.valid.spool);
    let (spool, mut committer): (Arc<Spool>, Committer) =
        match Spool::open(deps.disk, settings, &files.keys, deps.clock, deps.rng, &deps.meter) {
            Ok(opened) => opened,
            Err(error) if error.is_in_use => {
                let port = resolve_loaded_admin_port(admin_port, common, Some(&files.loaded));
                return port.and_then(|port| change_remotely(port, change)).map_err(|why| {
                    format!("another process uses the spool. If it is a gateway, it must make the change, but: {why}")
                        .into()
                });
            }
            Err(error) => return Err(error.into()),
        };
    let exporters = move_targets(&files.loaded.valid.exporters);
    let changed = change.check(&spool.status(), &exporters).map_err(CommandError::Failed).and_then(|()| {
        block_on(change_in_parts(change, async |change| {
            change.apply(&spool, Some(&mut committer), &exporters).map_err(|(_, why)| CommandError::Failed(why))
        }))
    });
    if !committer.close() {
        let why = "the spool's progress could not be written: records may come back, and be delivered twice: try again";
        return Err(why.into());
    }
    changed
}

fn change_remotely(port: AdminPort, change: SpoolChange) -> Result<(u64, u64), CommandError> {
    block_on(async {
        let gateway = AdminClient::for_gateway(port)?;
        change_in_parts(change, async |change| {
            let body = serde_json::to_string(change).map_err(|error| CommandError::Failed(error.to_string()))?;
            let answer = gateway.post(SPOOL_PATH, body).await?;
            serde_json::from_str(&answer).map_err(|_| "the gateway's answer is not understood".into())
        })
        .await
    })
}

/// Makes a change part by part. Returns the numbers of records that were changed, and that can't be moved.
async fn change_in_parts(
    mut change: SpoolChange,
    mut apply: impl AsyncFnMut(&SpoolChange) -> Result<ChangeResult, CommandError>,
) -> Result<(u64, u64), CommandError> {
    let (mut changed, mut not_moved) = (0, 0);
    loop {
        let result = apply(&change).await.map_err(|why| match changed {
            0 => why,
            _ => format!("{} moved, then moving failed: {why}", format_count(changed, "record")).into(),
        })?;
        (changed, not_moved) = (changed + result.changed, not_moved + result.not_moved);
        match (&mut change, result.next) {
            (SpoolChange::Move { part, .. }, next @ Some(_)) => *part = next,
            _ => return Ok((changed, not_moved)),
        }
    }
}

/// Prints the first `limit` records that wait for `consumer`.
fn print_records(
    found: &SpoolSnapshot,
    consumer: &str,
    limit: usize,
    as_json: bool,
) -> Result<ExitStatus, CommandError> {
    let replay = SpoolChange::Move { from: consumer.to_owned(), to: None, part: None };
    replay.check(&found.status, &MoveTargets::new())?;
    let (mut text, now) = (String::new(), GatewayDeps::system().clock.now());
    if !as_json {
        text.push_str(&format!(
            "{:>12} {:>9} {:<8} {:>7} {:>10} {:<20} {}\n",
            "RECORD", "AGE", "SIGNAL", "ITEMS", "BYTES", "PIPELINE", "REFUSED"
        ));
    }
    let (mut after, mut shown) = (None, 0);
    while shown < limit {
        let records = match found.read(consumer, after, MAX_PEEK.1, MAX_PEEK.0.min(limit - shown)) {
            Ok(records) if records.is_empty() => break,
            Ok(records) => records,
            Err(SpoolReadError::Damaged(seq)) => {
                (after, shown) = (Some(seq), shown + 1);
                print_to_stderr(&format!("record {} is damaged", seq.0));
                continue;
            }
            Err(error) => return Err(CommandError::Failed(error.to_string())),
        };
        after = records.last().map(|record| record.seq);
        shown += records.len();
        records.iter().for_each(|record| text.push_str(&format_record(record, as_json, now)));
    }
    print_result(&text)
}

fn format_record(record: &StoredRecord, as_json: bool, now: UnixNanos) -> String {
    let Some((label, body)) = ForwardLabel::split(&record.body).filter(|_| record.kind == RecordKind::Forward) else {
        return if as_json { String::new() } else { format!("{:>12} (not telemetry)\n", record.seq.0) };
    };
    if as_json {
        let mut line = String::new();
        return json::encode(label.signal, &body, &mut line).map_or_else(|_| String::new(), |()| line + "\n");
    }
    let (age, bytes) = (now.since(record.committed).as_secs(), body.len());
    let refused = label.refused.map_or_else(String::new, |(who, why)| format!("{who}: {}", why.label()));
    format!(
        "{:>12} {:>8}s {:<8} {:>7} {:>10} {:<20} {refused}\n",
        record.seq.0,
        age,
        label.signal.as_str(),
        label.items,
        bytes,
        label.pipeline
    )
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
