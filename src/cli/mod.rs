//! **What**: the command line: one file per subcommand. **Why**: `main.rs` only starts it. **Invariants**: a
//! subcommand appears when it works; exit codes are 0 fine, 1 run-time error, 2 usage, 78 bad configuration.
//! **Not here**: what a running gateway does (`app`).

mod output;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use output::Exit;

/// An OpenTelemetry gateway for AI agents: content goes to an encrypted vault, the rest is priced, redacted and forwarded.
#[derive(Parser)]
#[command(name = "tollgate", version, about, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
}

/// Options of every command that reads a configuration.
#[derive(Args, Clone)]
pub struct Common {
    /// Configuration file; without one an embedded default runs under the data directory.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the embedded default keeps its vault, spool and keys [default: the XDG state directory].
    #[arg(long, global = true, env = "TOLLGATE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {}
