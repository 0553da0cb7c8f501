//! The command line: one file per subcommand. Exit codes are 0 for success, 1 for a run-time error, 2 for wrong usage,
//! and 78 for a bad configuration; failing to write output is not success. No command leaves its memory to a core dump
//! or its data to a panic message. The running gateway is in `app`.

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

/// An OpenTelemetry gateway for AI agents: moves content to an encrypted vault, then prices, redacts and forwards the
/// rest.
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
    /// Runs the gateway until SIGTERM or SIGINT; the default subcommand. SIGHUP reloads the configuration.
    Run(run::Options),
    /// Plays a recorded agent session through a gateway, shows and checks the result, then serves until Ctrl-C.
    ///
    /// All files are in a new directory below `--data-dir` or the system's temporary directory, and are removed at the
    /// end.
    Demo(demo::Options),
    /// Checks a configuration and the certificates, keys and folders it names; reports every error with file, line and
    /// column.
    Validate(inspect::ValidateOptions),
    /// Tries what a configuration depends on: back ends, S3, KMS, volumes, certificates, the clock.
    ///
    /// Sends an empty request to each back end, and writes a probe object of 22 bytes to each bucket, locked like
    /// evidence.
    Check(check::Options),
    /// Prints the JSON schema of the configuration, for editors.
    Schema,
    /// Prints shell completions, e.g. `source <(tollgate completions bash)`.
    Completions {
        /// bash, elvish, fish, powershell or zsh.
        shell: clap_complete::Shell,
    },
    /// Prints the configuration with all defaults filled in and secrets hidden.
    PrintConfig {
        /// Includes the description of each option.
        #[arg(long)]
        comments: bool,
        #[command(flatten)]
        _none: common::NoFile,
    },
    /// Lists receivers, processors, exporters, connectors and extensions.
    Components,
    /// Shows what the pipeline does to recorded telemetry, item by item, and why: dialect, tokens, price, content moved
    /// to the vault.
    ///
    /// Runs only the processors of the configuration: no network, no spool, nothing written. The output contains the
    /// content of the file.
    Explain(explain::Options),
    /// Redacts a file of texts (JSON lines), or measures the rules on labelled texts.
    ///
    /// Uses the rules of the configuration's first `redact` processor, or the built-in rules. Only the output is
    /// written.
    Redact(redact::Options),
    /// Reports recent failures, grouped and with samples, or the work of agents on an issue, from a running gateway.
    Report(report::Options),
    /// Lists, tests and mutes the alerts of a running gateway.
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// Shows the first page of a running gateway in a terminal.
    Top(top::Options),
    /// Streams what passes a running gateway, after redaction: only data that third parties may see.
    ///
    /// It never slows the gateway down: requests that come faster than they are read are left out and counted. It must
    /// run on the gateway's machine or use the credentials of the admin port.
    Tap(tap::Options),
    /// Lists, inspects, moves or drops the data waiting in the spool.
    #[command(subcommand)]
    Spool(spool::Command),
    /// Runs your own fixtures through the processors of the configuration, and checks what they remove and keep.
    ///
    /// A fixture is `{name, input, expected, absent}` in YAML; see `config/fixtures`. No network, nothing written;
    /// exits with 1 if a fixture fails.
    Test(fixtures::Options),
    /// Shows, compares and imports rate tables, and prices calls again.
    #[command(subcommand)]
    Rates(rates::Command),
    /// Tools for auditors: keys, search, replay, verification, erasure, evidence.
    #[command(subcommand)]
    Vault(vault::Command),
}

/// Parses and runs the command line.
pub fn main() -> Exit {
    // This comes before anything is read, because it may be a key.
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

/// Refuses `--listen` for commands on which it has no effect.
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
