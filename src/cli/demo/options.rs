//! The options of the demo, and its polling interval.

use std::time::Duration;

use clap::Args;

/// The interval at which the demo polls for completion.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Options of `demo`.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Exits after the session; with an error if private text went out, a price differs or the vault can't be opened.
    #[arg(long)]
    pub(super) once: bool,
    /// Keeps the directory with vault, keys and exported data.
    #[arg(long)]
    pub(super) keep: bool,
    /// Kills a gateway, fills its disk and disconnects its back end, then compares the ids sent with those delivered.
    #[arg(long)]
    pub(super) chaos: bool,
}
