//! **What**: options of the demo, and how often all of it looks whether something is done.

use std::time::Duration;

use clap::Args;

/// How often one looks whether they are done.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// `demo`'s own options.
#[derive(Args)]
pub(crate) struct Options {
    /// Ends after the session; not with 0 if something private went out, a price differs or the vault does not open.
    #[arg(long)]
    pub(super) once: bool,
    /// Keeps the directory with vault, keys and what went out.
    #[arg(long)]
    pub(super) keep: bool,
    /// Kills a gateway, fills its disk, cuts its back end, and holds ids in against ids out.
    #[arg(long)]
    pub(super) chaos: bool,
}
