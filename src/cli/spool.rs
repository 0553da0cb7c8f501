//! **What**: `tollgate spool list|drop`: what waits for whom, and giving it up. **Invariants**: `list` takes no lock and
//! changes nothing, also where there is no spool or no key; `drop` needs the gateway stopped, says how much it gives up and asks for `--yes`.
//! **Not here**: the spool (`pipeline/spool`).

use std::sync::Arc;

use clap::Subcommand;

use super::Common;
use super::output::{Exit, complain, out};
use super::run::{fail, fail_with, seams};
use super::source::{Make, load};
use crate::app::keys::present_spool_keys;
use crate::clock::{Clock, UnixNanos};
use crate::config::ByteSize;
use crate::pipeline::RealDisk;
use crate::pipeline::spool::{Spool, Status};
use crate::telemetry::logging;

/// Subcommands of `spool`.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Lists what waits in the spool, by consumer; also beside a running gateway.
    List,
    /// Gives up everything that waits for one consumer. The gateway must be stopped.
    Drop {
        /// The consumer as `spool list` shows it: an exporter's id.
        consumer: String,
        /// Really.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs a subcommand.
pub(super) fn run(common: &Common, command: Command) -> Exit {
    let loaded = match load(common, Make::Nothing) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    logging::init(logging::Level::Warn);
    let seams = seams();
    let directory = loaded.valid.spool.directory.clone();
    if !directory.is_dir() {
        return fail(&format!("there is no spool in {}", directory.display()));
    }
    let keys = match present_spool_keys(&loaded.valid) {
        Ok(keys) => keys,
        Err(text) => return fail_with(&text, 78),
    };
    let status = match Spool::peek(&RealDisk, &loaded.valid.spool, &keys) {
        Ok(status) => status,
        Err(error) => return fail_with(&error.to_string(), error.exit_code()),
    };
    match command {
        Command::List => out(&table(&status, seams.clock.now())),
        Command::Drop { consumer, yes } => {
            let Some(waiting) = status.consumers.iter().find(|known| *known.name == *consumer) else {
                let names: Vec<&str> = status.consumers.iter().map(|known| &*known.name).collect();
                return fail(&format!("nothing waits for `{consumer}`; there are: {}", names.join(", ")));
            };
            if !yes {
                let (records, bytes) = (waiting.records, ByteSize(waiting.bytes));
                complain(&format!("{records} records ({bytes}) of `{consumer}` would be given up for good; say --yes"));
                return Exit::Usage;
            }
            let clock: Arc<dyn Clock> = Arc::clone(&seams.clock);
            match Spool::open(seams.disk, &loaded.valid.spool, &keys, clock, seams.rng, &seams.meter) {
                Err(error) => fail_with(&error.to_string(), error.exit_code()),
                Ok((spool, committer)) => {
                    let dropped = spool.drop_pending(&consumer, None);
                    if !committer.close() {
                        return fail("the spool's progress could not be written; nothing is certain, try again");
                    }
                    out(&format!("{dropped} records of `{consumer}` given up\n"))
                }
            }
        }
    }
}

fn table(status: &Status, now: UnixNanos) -> String {
    let mut text = format!(
        "{} of {} bytes in {} segments\n\n{:<24} {:>10} {:>14} {:>12}\n",
        status.bytes, status.limit, status.segments, "CONSUMER", "RECORDS", "BYTES", "OLDEST"
    );
    for consumer in status.consumers.iter().filter(|consumer| consumer.records > 0) {
        let age = consumer.oldest.map_or(0, |oldest| now.since(oldest).as_secs());
        text.push_str(&format!("{:<24} {:>10} {:>14} {:>11}s\n", consumer.name, consumer.records, consumer.bytes, age));
    }
    if status.consumers.iter().all(|consumer| consumer.records == 0) {
        text.push_str("nothing waits\n");
    }
    text
}
