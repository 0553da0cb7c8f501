//! `tollgate rates …`: shows rate tables, compares and imports price lists, and prices calls again. Nothing is written
//! except by `import --output`, and there is no network access; a refused table makes the exit code 1. Tables are in
//! `rates`, pricing is in `processors/cost`.

mod render_rates;
mod reprice;
mod show;
mod tables;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::common::CommonArgs;
use super::error::{CommandError, ExitStatus};
use super::output::{print, print_to_stderr};
use kernel::clock::{Clock as _, SystemClock};
use kernel::files::{describe_io_error, read_text, replace_file};
use rates::import::{PriceListFormat, import};
use rates::{FindingSeverity, RatesError, TableFinding};
use tables::{MAX_TABLE_BYTES, print_pretty_json, read_table};

/// Subcommands of `rates`.
#[derive(Subcommand)]
pub(super) enum RatesCommand {
    /// Shows a summary of the table, or one model with every price. With `--config`, shows the prices that
    /// configuration uses, including overlays, each with its source.
    Show(show::ShowRatesArgs),
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
        base: Option<String>,
        /// Start of changed prices, RFC 3339 [default: now].
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// Version of the new table [default: the time].
        #[arg(long, value_name = "TEXT")]
        table_version: Option<String>,
        /// Lists each entry that was left out, with the reason.
        #[arg(long)]
        list_skipped: bool,
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
    Reprice(reprice::RepriceArgs),
}

/// Runs a subcommand of `rates`.
pub(super) fn run(command: RatesCommand, common: &CommonArgs) -> Result<ExitStatus, CommandError> {
    match command {
        RatesCommand::Show(options) => show::run(&options, common),
        RatesCommand::Check { rates, litellm, genai_prices, models_dev, json } => {
            let lists = [
                (PriceListFormat::LiteLlm, litellm),
                (PriceListFormat::GenaiPrices, genai_prices),
                (PriceListFormat::ModelsDev, models_dev),
            ];
            compare_with_lists(&rates, &lists, json)
        }
        RatesCommand::Import { format, file, output, base, at, table_version, list_skipped } => {
            import_list(&format, &file, output.as_deref(), base.as_deref(), (at, table_version), list_skipped)
        }
        RatesCommand::Diff { old, new, accept, json } => diff_tables(&old, &new, &accept, json),
        RatesCommand::Reprice(options) => reprice::run(&options),
    }
}

fn compare_with_lists(
    rates: &str,
    lists: &[(PriceListFormat, Option<PathBuf>)],
    as_json: bool,
) -> Result<ExitStatus, CommandError> {
    let ours = read_table(rates)?;
    let table = ours.compile()?;
    let (mut comparisons, mut text) = (Vec::new(), format!("{}\n", table.stamp()));
    for (format, path) in lists {
        let Some(path) = path else { continue };
        let list = read_text(path, MAX_TABLE_BYTES)
            .map_err(|error| format!("{}: {}", path.display(), describe_io_error(error.kind())))?;
        let theirs = import(*format, &list, "check")?;
        let comparison = ours.differences(&theirs.source);
        text.push_str(&render_rates::comparison_text(format.as_str(), &comparison));
        comparisons.push(render_rates::comparison_json(format.as_str(), &comparison));
    }
    if comparisons.is_empty() {
        return Err("no price list given: use --litellm, --genai-prices or --models-dev".into());
    }
    if as_json {
        print_pretty_json(&json!({"version": table.version(), "sha256": table.digest(), "lists": comparisons}))?;
    } else {
        print(&text)?;
    }
    Ok(ExitStatus::Success)
}

fn import_list(
    format: &str,
    file: &Path,
    output: Option<&Path>,
    base: Option<&str>,
    (changed_from, version): (Option<String>, Option<String>),
    list_skipped: bool,
) -> Result<ExitStatus, CommandError> {
    let Some(format) = PriceListFormat::parse(format) else {
        return Err(CommandError::Usage("the format must be `litellm`, `genai-prices` or `models.dev`".to_owned()));
    };
    let text = read_text(file, MAX_TABLE_BYTES)
        .map_err(|error| format!("{}: {}", file.display(), describe_io_error(error.kind())))?;
    let changed_from = changed_from.unwrap_or_else(|| vault::object_names::rfc3339(SystemClock::new().now()));
    let version = version.unwrap_or_else(|| changed_from.clone());
    let imported =
        import(format, &text, &version).map_err(|error| RatesError(format!("{}: {}", file.display(), error.0)))?;
    let table = match base {
        None => imported.source,
        Some(base) => read_table(base)?.merge_import(&imported.source, &changed_from, &version),
    };
    let size = table.compile()?.size_summary();
    match output {
        None => print(&table.to_json())?,
        Some(path) => {
            replace_file(path, table.to_json().as_bytes())
                .map_err(|error| format!("{}: {}", path.display(), describe_io_error(error.kind())))?;
            print_to_stderr(&format!("{}: {size}", path.display()));
        }
    }
    print_to_stderr(&render_rates::left_out_text(&imported.skipped, &imported.unsupported, list_skipped));
    Ok(ExitStatus::Success)
}

fn diff_tables(old: &str, new: &str, accept: &[String], as_json: bool) -> Result<ExitStatus, CommandError> {
    let (old, new) = (read_table(old)?, read_table(new)?);
    for table in [&old, &new] {
        table.compile()?;
    }
    let findings = old.diff(&new, accept);
    let count = |severity| findings.iter().filter(|finding: &&TableFinding| finding.severity == severity).count();
    let refused = count(FindingSeverity::Refusal);
    if as_json {
        print_pretty_json(&render_rates::findings_json(&old, &new, &findings))?;
    } else {
        let mut text = String::new();
        for finding in &findings {
            text.push_str(&format!("{:<8} {}: {}\n", finding.severity.as_str(), finding.place, finding.description));
        }
        let (warnings, changes) = (count(FindingSeverity::Warning), count(FindingSeverity::Change));
        text.push_str(&format!(
            "{} to {}: {refused} refused, {warnings} warnings, {changes} changes\n",
            old.version(),
            new.version()
        ));
        print(&text)?;
    }
    Ok(if refused > 0 { ExitStatus::Failed } else { ExitStatus::Success })
}
