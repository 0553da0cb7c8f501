//! `tollgate fleet drain`: a worker gives its partitions to the others, delivers what it has, and says when its volume
//! may go. It asks the worker's admin port; ending the command leaves the worker draining.

use std::time::Duration;

use clap::Args;

use crate::app::fleet_drain::{DRAIN_PATH, DrainState, WaitingRecords};
use crate::cli::admin_address::run_with_client;
use crate::cli::common::CommonArgs;
use command::admin_client::AdminClient;
use command::admin_client::AdminPortArgs;
use command::error::{CommandError, ExitStatus};
use command::output::print;
use command::time_option::parse_duration;
use kernel::clock::{Clock, SystemClock};
use kernel::terminal::{escape_unsafe, format_bytes, format_count};

#[cfg(test)]
mod tests;

/// How often the worker is asked.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    admin_port: AdminPortArgs,
    /// How long to wait. Afterwards the worker goes on, and the command exits with 1 and says what is left.
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = parse_timeout)]
    timeout: Duration,
}

pub(crate) fn parse_timeout(text: &str) -> Result<Duration, CommandError> {
    parse_duration(text).ok_or_else(|| CommandError::Usage("must be a time such as `90s`, `10m` or `2h`".to_owned()))
}

pub(super) fn run(common: &CommonArgs, options: &DrainArgs) -> Result<ExitStatus, CommandError> {
    run_with_client(common, &options.admin_port, |worker| wait_drained(worker, options.timeout))
}

async fn wait_drained(worker: AdminClient, timeout: Duration) -> Result<(), CommandError> {
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let mut state = parse_state(&worker.post(DRAIN_PATH, String::new()).await?)?;
    let mut last_line = String::new();
    while !is_drained(&state) {
        let line = describe(&state);
        if !state.is_draining {
            return Err(CommandError::Failed(
                "the worker reads again: it was restarted or reloaded; run this command again".to_owned(),
            ));
        }
        if clock.monotonic().saturating_sub(began) > timeout {
            return Err(CommandError::Failed(format!("not drained yet: {line}; the worker goes on")));
        }
        if line != last_line {
            print(&format!("{line}\n"))?;
            last_line = line;
        }
        clock.sleep(ASK_INTERVAL).await;
        state = parse_state(&worker.get(DRAIN_PATH, "application/json").await?)?;
    }
    print(
        "drained: other workers have the partitions, and everything is delivered.\n\
         End the worker with SIGTERM. When it has exited with 0, its volume may be deleted.\n",
    )
}

fn parse_state(answer: &str) -> Result<DrainState, CommandError> {
    serde_json::from_str(answer).map_err(|_| CommandError::Failed("the gateway's answer is not understood".to_owned()))
}

fn is_drained(state: &DrainState) -> bool {
    state.is_draining && state.reading.is_empty() && state.waiting.is_empty()
}

fn describe(state: &DrainState) -> String {
    let reading =
        state.reading.iter().map(|receiver| format!("`{}` hands its partitions over", escape_unsafe(receiver)));
    let waiting = state.waiting.iter().map(|WaitingRecords { consumer, records, bytes }| {
        let waiting = format_count(*records, "record");
        format!("{waiting} ({}) for `{}`", format_bytes(*bytes), escape_unsafe(consumer))
    });
    reading.chain(waiting).collect::<Vec<_>>().join(", ")
}
