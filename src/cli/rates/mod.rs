//! `tollgate rates …`: shows rate tables, compares and imports price lists, and prices calls again. Nothing is written
//! except by `import --output`, and there is no network access; a refused table makes the exit code 1. Tables are in
//! `rates`, pricing is in `processors/cost`.

mod report;
mod reprice;
mod show;
mod tables;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::common::Common;
use super::error::{CommandError, Exit};
use super::output::{complain, print};
use kernel::clock::{Clock as _, SystemClock};
use rates::import::{Format, import};
use rates::{Finding, Gravity, RatesError};
use tables::{pretty, source};

/// Subcommands of `rates`.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Shows a summary of the table, or one model with every price. With `--config`, shows the prices that
    /// configuration uses, including overlays, each with its source.
    Show(show::Options),
    /// Compares list prices with public price lists, which `tests/peers/prices/install.sh` downloads.
    Check {
        /// The table.
        #[arg(long, default_value = "builtin", value_name = "FILE")]
        rates: String,
        /// LiteLLM's `model_prices_and_context_window.json`.
        #[arg(long, value_name = "FILE")]
        litellm: Option<PathBuf>,
        /// The data of genai-prices.
        #[arg(long, value_name = "FILE")]
        genai_prices: Option<PathBuf>,
        /// The `api.json` of models.dev.
        #[arg(long, value_name = "FILE")]
        models_dev: Option<PathBuf>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Makes a table from a public price list, alone or on top of an existing table.
    Import {
        /// `litellm`, `genai-prices` or `models.dev`.
        format: String,
        /// The price list.
        file: PathBuf,
        /// File for the table (JSON) [default: standard output].
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Existing table to update: for a changed price, the open window ends and a new one begins.
        #[arg(long, value_name = "FILE")]
        onto: Option<String>,
        /// Start of changed prices, RFC 3339 [default: now].
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// Version of the new table [default: the time].
        #[arg(long, value_name = "TEXT")]
        table_version: Option<String>,
        /// Lists each entry that was left out, with the reason.
        #[arg(long)]
        left_out: bool,
    },
    /// Lists the changes from one table to another; exits with 1 if any is implausible.
    Diff {
        /// The table in use.
        old: String,
        /// The new table.
        new: String,
        /// `provider/model` whose changes are accepted; `*` accepts the checks of the whole table.
        #[arg(long, value_name = "MODEL")]
        accept: Vec<String>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Computes what calls would have cost under another table, from OTLP files or the index of a vault.
    Reprice(reprice::Options),
}

/// Runs a subcommand of `rates`.
pub(super) fn run(command: Command, common: &Common) -> Result<Exit, CommandError> {
    match command {
        Command::Show(options) => show::run(&options, common),
        Command::Check { rates, litellm, genai_prices, models_dev, json } => {
            let lists =
                [(Format::LiteLlm, litellm), (Format::GenaiPrices, genai_prices), (Format::ModelsDev, models_dev)];
            check(&rates, &lists, json)
        }
        Command::Import { format, file, output, onto, at, table_version, left_out } => {
            import_list(&format, &file, output.as_deref(), onto.as_deref(), (at, table_version), left_out)
        }
        Command::Diff { old, new, accept, json } => diff(&old, &new, &accept, json),
        Command::Reprice(options) => reprice::run(&options),
    }
}

fn check(rates: &str, lists: &[(Format, Option<PathBuf>)], as_json: bool) -> Result<Exit, CommandError> {
    let ours = source(rates)?;
    let table = ours.compile()?;
    let (mut all, mut text) = (Vec::new(), format!("{}\n", table.stamp()));
    for (format, path) in lists {
        let Some(path) = path else { continue };
        let list = fs::read_to_string(path).map_err(|error| format!("{}: {}", path.display(), error.kind()))?;
        let theirs = import(*format, &list, "check")?;
        let compared = ours.differences(&theirs.source);
        text.push_str(&report::compared_text(format.as_str(), &compared));
        all.push(report::compared(format.as_str(), &compared));
    }
    if all.is_empty() {
        return Err("give at least one list: --litellm, --genai-prices or --models-dev".into());
    }
    if as_json {
        pretty(&json!({"version": table.version(), "sha256": table.digest(), "lists": all}))?;
    } else {
        print(&text)?;
    }
    Ok(Exit::Fine)
}

fn import_list(
    format: &str,
    file: &Path,
    output: Option<&Path>,
    onto: Option<&str>,
    (at, version): (Option<String>, Option<String>),
    each: bool,
) -> Result<Exit, CommandError> {
    let Some(format) = Format::parse(format) else {
        return Err(CommandError::Usage("the format is `litellm`, `genai-prices` or `models.dev`".to_owned()));
    };
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {}", file.display(), error.kind()))?;
    let at = at.unwrap_or_else(|| vault::names::rfc3339(SystemClock::new().now()));
    let version = version.unwrap_or_else(|| at.clone());
    let imported =
        import(format, &text, &version).map_err(|error| RatesError(format!("{}: {}", file.display(), error.0)))?;
    let table = match onto {
        None => imported.source,
        Some(onto) => source(onto)?.with(&imported.source, &at, &version),
    };
    let size = table.compile()?.size();
    match output {
        None => print(&table.to_json())?,
        Some(path) => {
            fs::write(path, table.to_json()).map_err(|error| format!("{}: {}", path.display(), error.kind()))?;
            complain(&format!("{}: {size}", path.display()));
        }
    }
    complain(&report::left_out(&imported.skipped, &imported.unread, each));
    Ok(Exit::Fine)
}

fn diff(old: &str, new: &str, accept: &[String], as_json: bool) -> Result<Exit, CommandError> {
    let (old, new) = (source(old)?, source(new)?);
    for table in [&old, &new] {
        table.compile()?;
    }
    let findings = old.diff(&new, accept);
    let count = |gravity| findings.iter().filter(|finding: &&Finding| finding.gravity == gravity).count();
    let refused = count(Gravity::Refusal);
    if as_json {
        pretty(&report::findings(&old, &new, &findings))?;
    } else {
        let mut text = String::new();
        for finding in &findings {
            text.push_str(&format!("{:<8} {}: {}\n", finding.gravity.as_str(), finding.place, finding.what));
        }
        let (warnings, changes) = (count(Gravity::Warning), count(Gravity::Change));
        text.push_str(&format!(
            "{} to {}: {refused} refused, {warnings} warnings, {changes} changes\n",
            old.version(),
            new.version()
        ));
        print(&text)?;
    }
    Ok(if refused > 0 { Exit::Failed } else { Exit::Fine })
}
