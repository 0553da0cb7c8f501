//! `tollgate rates …`: shows and compares rate tables, and prices calls again. Nothing is written, and there is no
//! network access; a refused table makes the exit code 1. Tables are in `rates`, pricing is in `processors/cost`.

mod render_rates;
mod reprice;
mod show;
mod tables;
#[cfg(test)]
mod tests;

use clap::Subcommand;

use super::common::CommonArgs;
use bills::Prices;
use command::error::{CommandError, ExitStatus};
use command::output::print;
use rates::{FindingSeverity, RateTables, TableFinding};
use tables::{print_pretty_json, read_table};

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "made once")]
pub(super) enum RatesCommand {
    /// Shows a summary of the table, or one model with every price. With `--config`, shows the prices that
    /// configuration uses, including overlays, each with its source.
    Show(show::ShowRatesArgs),
    /// Lists the changes from one table to another, as a refresh sees them; exits with 1 if it would refuse any.
    Diff {
        /// The table in use.
        old: String,
        /// The new table.
        new: String,
        /// Accepts refused changes of a model (`provider/model`), a provider's missing names and changed patterns
        /// (`provider/*`), or the number of changed and missing models (`*`). An older table is always refused.
        #[arg(long, value_name = "MODEL")]
        accept: Vec<String>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Computes what calls would have cost under another table, from OTLP files or the index of a vault.
    Reprice(Box<reprice::RepriceArgs>),
}

pub(super) fn run(command: RatesCommand, common: &CommonArgs) -> Result<ExitStatus, CommandError> {
    match command {
        RatesCommand::Show(options) => show::run(&options, common),
        RatesCommand::Diff { old, new, accept, json } => diff_tables(&old, &new, &accept, json),
        RatesCommand::Reprice(options) => reprice::run(&options),
    }
}

/// The prices of the configuration, or the built-in ones, for `tollgate bill`.
pub(super) fn bill_prices(common: &CommonArgs) -> Result<Prices, CommandError> {
    let settings = common.config.is_some().then(|| show::find_cost_settings(common, None)).transpose()?;
    let (base, overlays) = match &settings {
        Some(settings) => (settings.load_base()?, settings.load_overlays()?),
        None => (read_table("builtin")?, Vec::new()),
    };
    let fees = settings.as_ref().is_some_and(|settings| settings.config.fees);
    let exchange = settings.map(|settings| settings.load_exchange()).transpose()?.flatten();
    Ok(Prices { tables: RateTables::build(&base, &overlays)?, list: base.compile()?, fees, exchange })
}

fn diff_tables(old: &str, new: &str, accept: &[String], as_json: bool) -> Result<ExitStatus, CommandError> {
    let (old, new) = (read_table(old)?, read_table(new)?);
    let findings = old.diff(&new, accept)?;
    let count = |severity| findings.iter().filter(|finding: &&TableFinding| finding.severity == severity).count();
    let refused = count(FindingSeverity::Refusal);
    if as_json {
        print_pretty_json(&render_rates::findings_json(&old, &new, &findings))?;
    } else {
        let mut text = String::new();
        for finding in &findings {
            let severity = render_rates::severity_word(finding.severity);
            text.push_str(&format!("{severity:<8} {}: {}\n", finding.place, finding.description));
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
