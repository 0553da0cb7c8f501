//! **What**: the command line: one file per subcommand. **Why**: `main.rs` only starts it. **Invariants**: a subcommand
//! appears when it works; exit codes are 0 fine, 1 run-time error, 2 usage, 78 bad configuration; what was not written
//! is no success; no command leaves its memory to a core dump or a panic's message. **Not here**: what a running
//! gateway does (`app`).

mod alerts;
mod ask;
mod audit;
mod auditors;
mod check;
mod common;
mod data_dir;
mod demo;
mod doctor;
mod error;
mod explain;
mod fixtures;
mod inspect;
mod listed;
mod listen;
mod moment;
mod opening_log;
mod output;
mod place;
mod rates;
mod reach;
mod redact;
mod reload;
mod report;
mod run;
mod runtime;
pub mod schema;
mod sessions;
mod source;
mod spool;
mod spool_move;
mod tap;
mod top;
mod vault;

use clap::{CommandFactory, Parser, Subcommand};

use crate::app::process;
use error::CommandError;
use output::complain;

pub use common::Common;
pub use error::Exit;
pub use listen::Listen;

/// An OpenTelemetry gateway for AI agents: content goes to an encrypted vault, the rest is priced, redacted and
/// forwarded.
#[derive(Parser)]
#[command(name = "tollgate", version, about, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway until SIGTERM or SIGINT (also without a subcommand). SIGHUP reads the configuration again.
    Run(run::Options),
    /// Plays a recorded agent session through a gateway, shows and checks what came of it, then serves until Ctrl-C.
    ///
    /// Everything lies in a fresh directory, below `--data-dir` or the system's folder for temporary files, and is
    /// removed at the end.
    Demo(demo::Options),
    /// Checks a configuration and the certificates, keys and folders it names: every error at once, with file, line and
    /// column.
    Validate(inspect::ValidateOptions),
    /// Tries out what a configuration needs: back ends, S3, KMS, volumes, certificates, the clock.
    ///
    /// Sends an empty request to each back end, and writes a probe object of 22 bytes to each bucket, locked like
    /// evidence.
    Check(check::Options),
    /// Prints the JSON schema of a configuration, for editors.
    Schema,
    /// Prints completions for a shell, e.g. `source <(tollgate completions bash)`.
    Completions {
        /// bash, elvish, fish, powershell or zsh.
        shell: clap_complete::Shell,
    },
    /// Prints the configuration with every default filled in; secrets are hidden.
    PrintConfig {
        /// With each option's description.
        #[arg(long)]
        comments: bool,
        #[command(flatten)]
        _none: common::NoFile,
    },
    /// Lists receivers, processors, exporters and extensions.
    Components,
    /// Shows what becomes of recorded telemetry, item by item, and why: dialect, tokens, price, what goes to the vault.
    ///
    /// Runs the processors of the configuration and nothing else: no network, no spool, nothing written. It shows the
    /// file's own content.
    Explain(explain::Options),
    /// Puts placeholders into a file of texts (JSON lines), or measures the rules on labelled ones.
    ///
    /// Uses the rules of the configuration's first `redact` processor, or the default ones. Nothing but the output is
    /// written.
    Redact(redact::Options),
    /// The failures of the last hours in groups with samples, or what agents did for an issue, from a running gateway.
    Report(report::Options),
    /// Alerts that tollgate computes itself, from a running gateway.
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// What the page shows, in a terminal, from a running gateway.
    Top(top::Options),
    /// What passes a running gateway, as it passes: only what third parties may see, after redaction.
    ///
    /// Never holds the gateway up: what comes faster than it is read is left out and counted. From this machine, or
    /// with the credentials of the admin port.
    Tap(tap::Options),
    /// What waits in the spool.
    #[command(subcommand)]
    Spool(spool::Command),
    /// Runs fixtures of your own through the processors of the configuration: what must go, what must stay.
    ///
    /// A fixture is `{name, input, expected, absent}` in YAML; `config/fixtures` has some. No network, nothing
    /// written; ends with 1 if one fails.
    Test(fixtures::Options),
    /// Prices: what a table says, where it differs, what calls would have cost.
    #[command(subcommand)]
    Rates(rates::Command),
    /// The auditor's side: keys, opening, replay.
    #[command(subcommand)]
    Vault(vault::Command),
}

/// Runs the command line.
pub fn main() -> Exit {
    // Before anything is read: it may be a key.
    if let Err(error) = process::begin() {
        complain(&format!("warning: core dumps could not be switched off: {error}"));
    }
    let Cli { command, common } = Cli::parse();
    if !common.feature_gates.is_empty() {
        complain("note: --feature-gates is a Collector's, and changes nothing here");
    }
    let command = command.unwrap_or(Command::Run(run::Options::default()));
    if let Err(error) = listens(&command, &common) {
        return output::report(&error);
    }
    let ended = match command {
        Command::Run(options) => run::run(&common, options),
        Command::Demo(options) => demo::run(&common, &options),
        Command::Validate(options) => inspect::validate(&common, options),
        Command::Check(options) => check::run(&common, &options),
        Command::Schema => output::out(&schema::text()),
        Command::Completions { shell } => completions(shell),
        Command::PrintConfig { comments, .. } => inspect::print_config(&common, comments),
        Command::Components => inspect::components(),
        Command::Explain(options) => explain::run(&common, &options),
        Command::Redact(options) => redact::run(&common, &options),
        Command::Alerts(command) => alerts::run(&common, &command),
        Command::Report(options) => report::run(&common, &options),
        Command::Top(options) => top::run(&common, &options),
        Command::Tap(options) => tap::run(&common, &options),
        Command::Spool(command) => spool::run(&common, command),
        Command::Rates(command) => rates::run(command, &common),
        Command::Test(options) => fixtures::run(&common, &options),
        Command::Vault(command) => vault::run(&common, command),
    };
    ended.unwrap_or_else(|error| output::report(&error))
}

/// `--listen` is refused where it would have no effect.
fn listens(command: &Command, common: &Common) -> Result<(), CommandError> {
    let why = match command {
        _ if common.listen.is_none() => return Ok(()),
        _ if common.config.is_some() => "with --config set each `endpoint` in the file",
        Command::Run(_) | Command::Validate(_) | Command::Check(_) | Command::PrintConfig { .. } => return Ok(()),
        Command::Top(_) | Command::Tap(_) | Command::Report(_) | Command::Alerts(_) => return Ok(()),
        _ => "this command has nothing to do with its ports",
    };
    Err(CommandError::Usage(format!("--listen is for the embedded default: {why}")))
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, CommandError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tollgate", &mut text);
    output::out(&String::from_utf8_lossy(&text))
}
