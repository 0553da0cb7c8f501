//! `tollgate spool list|peek|drop|replay|reassign`: inspects, moves or drops the data waiting for each consumer. `list`
//! takes no lock and changes nothing, even if there is no spool or key. `drop` needs the gateway stopped, says how much
//! it would drop, and requires `--yes`. The spool is in `pipeline/spool`.

use std::sync::Arc;

use clap::Subcommand;

use super::common::Common;
use super::error::{CommandError, Exit};
use super::output::{complain, out};
use super::source::{Loaded, Make, load};
use super::spool_move;
use crate::app::build::Seams;
use crate::app::destinations::held;
use crate::app::keys::present_spool_keys;
use crate::components::id_text;
use config::ByteSize;
use kernel::clock::{Clock, UnixNanos};
use kernel::terminal::counted;
use pipeline::RealDisk;
use pipeline::spool::{Committer, ConsumerStatus, OpenError, Spool, SpoolKey, Status};
use telemetry::logging;

/// Subcommands of `spool`.
#[derive(Subcommand)]
pub(super) enum Command {
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

/// Runs a subcommand of `spool`.
pub(super) fn run(common: &Common, command: Command) -> Result<Exit, CommandError> {
    let loaded = load(common, Make::Nothing)?;
    logging::init(logging::Level::Warn);
    let seams = Seams::real();
    let directory = loaded.valid.spool.directory.clone();
    if !directory.is_dir() {
        return Err(OpenError::no_spool(&directory).into());
    }
    let keys = present_spool_keys(&loaded.valid).map_err(|error| CommandError::Config(error.text))?;
    let status = Spool::peek(&RealDisk, &loaded.valid.spool, &keys)?;
    match command {
        Command::List => out(&table(&status, seams.clock.now())),
        Command::Peek { consumer, limit, json } => {
            let now = seams.clock.now();
            open(&loaded, seams, &keys, |spool, _| spool_move::peek(spool, &consumer, limit, json, now))
        }
        Command::Replay { to } => move_all(&loaded, seams, &keys, spool_move::REFUSED, to.as_deref()),
        Command::Reassign { from, to } => {
            waiting(&status, &from)?;
            move_all(&loaded, seams, &keys, &from, Some(&to))
        }
        Command::Drop { consumer, yes } => {
            let waiting = waiting(&status, &consumer)?;
            if !yes {
                let (records, bytes) = (counted(waiting.records, "record"), ByteSize(waiting.bytes));
                complain(&format!("{records} ({bytes}) of `{consumer}` would be given up for good; say --yes"));
                return Ok(Exit::Usage);
            }
            let clock: Arc<dyn Clock> = Arc::clone(&seams.clock);
            let spool = &loaded.valid.spool;
            let (spool, committer) = Spool::open(seams.disk, spool, &keys, clock, seams.rng, &seams.meter)?;
            let dropped = spool.drop_pending(&consumer, None);
            if !committer.close() {
                return Err("the spool's progress could not be written; nothing is certain, try again".into());
            }
            out(&format!("{} of `{consumer}` given up\n", counted(dropped, "record")))
        }
    }
}

/// The status of a consumer with waiting data. If there is none, the error lists the consumers that have some.
fn waiting<'a>(status: &'a Status, consumer: &str) -> Result<&'a ConsumerStatus, CommandError> {
    let holding: Vec<&ConsumerStatus> = status.consumers.iter().filter(|known| known.records > 0).collect();
    if let Some(found) = holding.iter().find(|known| *known.name == *consumer) {
        return Ok(found);
    }
    let names: Vec<&str> = holding.iter().map(|known| &*known.name).collect();
    let there = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    Err(CommandError::Failed(format!("nothing waits for `{consumer}`; something waits for: {there}")))
}

fn open(
    loaded: &Loaded,
    seams: Seams,
    keys: &[SpoolKey],
    work: impl FnOnce(&Spool, Committer) -> Result<Exit, CommandError>,
) -> Result<Exit, CommandError> {
    let (spool, committer) = Spool::open(seams.disk, &loaded.valid.spool, keys, seams.clock, seams.rng, &seams.meter)?;
    work(&spool, committer)
}

fn move_all(
    loaded: &Loaded,
    seams: Seams,
    keys: &[SpoolKey],
    from: &str,
    to: Option<&str>,
) -> Result<Exit, CommandError> {
    let known: Vec<Arc<str>> = loaded.valid.exporters.iter().map(|placed| id_text(&placed.id)).collect();
    if let Some(to) = to.filter(|to| !known.iter().any(|id| **id == **to)) {
        let there = known.join(", ");
        return Err(CommandError::Failed(format!("`{to}` is no exporter of the configuration; there are: {there}")));
    }
    if to == Some(from) {
        return Err(CommandError::Failed(format!("it waits for `{from}` already")));
    }
    open(loaded, seams, keys, |spool, committer| spool_move::reassign(spool, committer, from, to, &known))
}

fn table(status: &Status, now: UnixNanos) -> String {
    let mut text = format!(
        "{} of {} bytes in {}\n\n{:<24} {:>10} {:>14} {:>12}\n",
        status.bytes,
        status.limit,
        counted(status.segments, "segment"),
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
        let Some((exporter, formerly)) = held(&consumer.name) else { continue };
        text.push_str(&format!(
            "\n`{}` is held: it waited for `{exporter}` when that pointed to {formerly}. To send it to where that points now, add\n  \
             moved_from: ['{formerly}'] to the exporter, or `tollgate spool reassign {} {exporter}`; `spool drop` gives it up.\n",
            consumer.name, consumer.name
        ));
    }
    if status.consumers.iter().all(|consumer| consumer.records == 0) {
        text.push_str("nothing waits\n");
    }
    text
}
