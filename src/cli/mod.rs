//! The command line: one file per subcommand. Exit codes are 0 for success, 1 for a run-time error, 2 for wrong usage,
//! and 78 for a bad configuration; failing to write output is not success. No command leaves its memory to a core dump
//! or its data to a panic message. The running gateway is in `app`.

mod admin_address;
mod alerts;
mod budgets;
mod check;
mod common;
mod config_loading;
mod config_state;
mod demo;
mod doctor;
mod doctor_recipients;
mod explain;
mod fixtures;
mod fleet;
mod global_options;
mod hook;
mod inspect;
mod listen;
mod migrate;
mod print_config;
mod rates;
mod redact;
mod reload;
mod report;
mod run;
pub mod schema;
mod spool;
mod spool_deliver;
mod tap;
#[cfg(test)]
mod tests;
mod top;
mod vault;
mod version;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::app::crypto_module;
use command::error::CommandError;
use command::os;
use command::output::{self, print_to_stderr};
use config::path_value::contains_key;

pub use command::error::ExitStatus;
pub use common::{CommonArgs, ConfigSource};
pub use listen::ListenAddress;

/// An OpenTelemetry gateway for AI agents: moves content to an encrypted vault, then prices, redacts and forwards the
/// rest.
#[derive(Parser)]
#[command(name = "tollgate", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Subcommand)]
enum CliCommand {
    /// Runs the gateway until SIGTERM or SIGINT; the default subcommand. SIGHUP reloads the configuration.
    Run(run::RunArgs),
    /// Plays a recorded agent session through a gateway, shows and checks the result, then serves until Ctrl-C.
    ///
    /// All files are in a new directory below `--data-dir` or the system's temporary directory, and are removed at the
    /// end.
    Demo(onboarding::demo::DemoArgs),
    /// Checks a configuration and the certificates, keys and folders it names; reports every error with file, line and
    /// column.
    Validate(inspect::ValidateArgs),
    /// Turns the configuration file of an OpenTelemetry Collector into one for tollgate.
    ///
    /// Prints the configuration. Comments name each part that was left out. Parts that you must migrate by hand are
    /// also listed on standard error, and then the exit code is 1.
    Migrate(migrate::MigrateArgs),
    /// Tries what a configuration depends on: back ends, S3, KMS, volumes, certificates, the clock.
    ///
    /// Sends an empty request to each back end, and writes a probe object of 22 bytes to each bucket, locked like
    /// evidence.
    Check(check::CheckArgs),
    /// Prints the settings that point a client at this gateway (Claude Code, Codex, an SDK, …), or writes them.
    Setup(onboarding::setup::SetupArgs),
    /// Asks a gateway's budgets for a hook of Claude Code, Codex, Gemini CLI or Cursor, and prints the client's form of
    /// the answer.
    ///
    /// Reads the event on standard input. `tollgate setup CLIENT --budgets` writes the hooks.
    Hook(hook::HookArgs),
    /// Compares vendors' bills with the vault's index, and prints costs for finance.
    #[command(subcommand)]
    Bill(bills::cli::BillCommand),
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
        _none: common::RejectFileArg,
    },
    /// Lists receivers, processors, exporters, connectors and extensions.
    Components,
    /// Prints the version; with `--verbose` also which library does which cryptography.
    Version(version::VersionArgs),
    /// Shows what the pipeline does to recorded telemetry, item by item, and why: dialect, tokens, price, content moved
    /// to the vault.
    ///
    /// Runs only the processors of the configuration: no network, no spool, nothing written. The output contains the
    /// content of the file.
    Explain(explain::ExplainArgs),
    /// Redacts a file of texts (JSON lines), or measures the rules on labelled texts.
    ///
    /// Uses the rules of the configuration's first `redact` processor, or the built-in rules. Only the output is
    /// written.
    Redact(redact::RedactArgs),
    /// Reports recent failures, grouped and with samples, or the work of agents on an issue, from a running gateway.
    Report(report::ReportArgs),
    /// Lists the alerts of a running gateway, and tests its webhook.
    #[command(subcommand)]
    Alerts(alerts::AlertsCommand),
    /// Shows what budgets of a running gateway have used, most used first, and grants more.
    Budgets(Box<budgets::BudgetsArgs>),
    /// Shows the overview of a running gateway (runs, cost, alerts) in a terminal, and refreshes it.
    Top(top::TopArgs),
    /// Streams what passes a running gateway, after redaction: only data that third parties may see.
    ///
    /// It never slows the gateway down: requests that come faster than they are read are left out and counted. It must
    /// run on the gateway's machine or use the credentials of the admin port.
    Tap(tap::TapArgs),
    /// Shows the workers of a fleet on Kafka: partitions, what waits in them, dead records.
    #[command(subcommand)]
    Fleet(fleet::FleetCommand),
    /// Lists, inspects, moves, drops or delivers the data waiting in the spool.
    #[command(subcommand)]
    Spool(spool::SpoolCommand),
    /// Runs your own fixtures through the processors of the configuration, and checks what they remove and keep.
    ///
    /// A fixture is `{name, input, expected, absent}` in YAML; see `config/fixtures`. No network, nothing written;
    /// exits with 1 if a fixture fails.
    Test(fixtures::TestArgs),
    /// Shows and compares rate tables, and prices calls again.
    #[command(subcommand)]
    Rates(rates::RatesCommand),
    /// Tools for auditors: keys, search, replay, verification, erasure, evidence.
    #[command(subcommand)]
    Vault(vault::VaultCommand),
}

/// Parses and runs the command line.
pub fn main() -> ExitStatus {
    // This comes before anything is read, because it may be a key.
    if let Err(error) = os::prepare_process() {
        print_to_stderr(&format!("warning: core dumps could not be switched off: {error}"));
    }
    if let Err(why) = crypto_module::check_fips_mode() {
        return output::report_error(&CommandError::Failed(why.to_owned()));
    }
    if let Err(error) = refuse_keys(std::env::args_os()) {
        return output::report_error(&error);
    }
    let command = Cli::command().mut_subcommand("vault", vault::group_subcommands);
    let matches = global_options::hide_ineffective_options(command).get_matches();
    let Cli { command, common } = match Cli::from_arg_matches(&matches) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    if !common.feature_gates.is_empty() {
        print_to_stderr("note: --feature-gates is an option of the Collector and has no effect in tollgate");
    }
    if let Err(error) = global_options::check_listen(&matches, &common) {
        return output::report_error(&error);
    }
    let command = command.unwrap_or(CliCommand::Run(run::RunArgs::default()));
    let ended = match command {
        CliCommand::Run(options) => run::run(&common, options),
        CliCommand::Demo(options) => demo::run(&common, &options),
        CliCommand::Validate(options) => inspect::validate(&common, options),
        CliCommand::Migrate(options) => migrate::run(&options),
        CliCommand::Check(options) => check::run(&common, &options),
        CliCommand::Setup(options) => onboarding::setup::run(&options, &|| inspect::list_otlp_receivers(&common)),
        CliCommand::Hook(options) => hook::run(&options),
        CliCommand::Schema => output::print_result(&schema::generate_schema()),
        CliCommand::Completions { shell } => print_completions(shell),
        CliCommand::PrintConfig { comments, .. } => print_config::print_config(&common, comments),
        CliCommand::Version(options) => version::run(options),
        CliCommand::Components => inspect::list_components(),
        CliCommand::Explain(options) => explain::run(&common, &options),
        CliCommand::Redact(options) => redact::run(&common, &options),
        CliCommand::Alerts(command) => alerts::run(&common, &command),
        CliCommand::Budgets(options) => budgets::run(&common, *options),
        CliCommand::Report(options) => report::run(&common, &options),
        CliCommand::Top(options) => top::run(&common, &options),
        CliCommand::Tap(options) => tap::run(&common, &options),
        CliCommand::Fleet(command) => fleet::run(&common, &command),
        CliCommand::Spool(command) => spool::run(&common, command),
        CliCommand::Rates(command) => rates::run(command, &common),
        CliCommand::Bill(command) => bills::cli::run(&command, &|| rates::bill_prices(&common)),
        CliCommand::Test(options) => fixtures::run(&common, &options),
        CliCommand::Vault(command) => vault::run(&common, command),
    };
    ended.unwrap_or_else(|error| output::report_error(&error))
}

/// Refuses a key in place of the path of its file, because errors name files by their paths.
fn refuse_keys(mut arguments: impl Iterator<Item = OsString>) -> Result<(), CommandError> {
    let why = "an argument is a secret key, which other users may see in the list of processes: give the path of its \
               file, and replace the key";
    let has_key = arguments.any(|argument| contains_key(&argument.to_string_lossy()));
    if has_key { Err(CommandError::Usage(why.to_owned())) } else { Ok(()) }
}

fn print_completions(shell: clap_complete::Shell) -> Result<ExitStatus, CommandError> {
    let mut text = Vec::new();
    let command = global_options::hide_ineffective_options(Cli::command());
    clap_complete::generate(shell, &mut global_options::without_hidden_options(command), "tollgate", &mut text);
    output::print_result(&String::from_utf8_lossy(&text))
}
