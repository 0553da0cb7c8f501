//! The commands `tollgate bill …`: their options, and what they print. The exit code of `reconcile` is 1 if more than
//! the tolerance is unexplained.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::civil::Date;

use super::amounts::simplest_ratio;
use super::bill::{Bill, RowFilter};
use super::causes::reconcile;
use super::focus::{self, FocusArgs};
use super::forecast::{self, ForecastArgs};
use super::format::{load_formats, normalize_model};
use super::own::{IndexArgs, OwnSums, read_calls};
use super::prices::{Prices, parse_month};
use super::report::BillReport;
use command::error::{CommandError, ExitStatus};
use command::output::{print, print_json, print_notes};
use rates::Usd;

/// Vendors' bills, and costs for finance. `--config FILE` gives contract prices and exchange rates.
#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "made once")]
pub enum BillCommand {
    /// Compares a vendor's bill with what the index of a vault says, by day and model, and says why they differ.
    ///
    /// Reads the exports of Anthropic, OpenAI, AWS, Azure and Google, files in FOCUS, and others that a file of formats
    /// describes. The exit code is 1 if more than the tolerance is unexplained, or if the index has no calls of the
    /// provider. Calls that tollgate did not see count as explained.
    Reconcile(ReconcileArgs),
    /// Prints the costs of a month as CSV in FOCUS 1.2, the FinOps Open Cost and Usage Specification.
    Focus(FocusArgs),
    /// Projects each tenant's cost of a month in USD: what it was a day so far, times the days of the month.
    Forecast(ForecastArgs),
}

/// Options of `bill reconcile`.
#[derive(Args)]
pub struct ReconcileArgs {
    /// Whose bill it is: `anthropic`, `openai`, `aws`, `azure`, `google`, or another provider of the rate table.
    #[arg(long)]
    provider: String,
    /// An export, CSV or JSON, also compressed with gzip. Repeat it for further pages and for the usage report.
    #[arg(long = "file", short, required = true, value_name = "EXPORT")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    index: IndexArgs,
    /// Only this month of the bill, such as `2026-11`, in the time zone of the bill's days.
    #[arg(long, value_name = "MONTH", conflicts_with = "days")]
    month: Option<String>,
    /// Only these days of the bill, `2026-11-01..2026-11-15`; the last one is included.
    #[arg(long, value_name = "FIRST..LAST")]
    days: Option<String>,
    /// The time zone of the bill's days, such as `America/Los_Angeles` [default: the vendor's].
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Only amounts in this currency. If it isn't USD, pass `--config` with its exchange rate (`cost.exchange`).
    #[arg(long)]
    currency: Option<String>,
    /// A file of formats for exports that have no built-in one, in the shape of tollgate's `config/bills.yaml`.
    #[arg(long, value_name = "FILE")]
    format_file: Option<PathBuf>,
    /// What the bill calls a model, and the rate table's id for it: `my-deployment=gpt-4o`. May be repeated.
    #[arg(long = "alias", value_name = "WORD=MODEL", value_parser = parse_alias)]
    aliases: Vec<(String, String)>,
    /// The part of the bill that may stay unexplained, in percent of the sum of its lines without signs.
    #[arg(long, default_value = "0.1", value_name = "PERCENT", value_parser = parse_percent)]
    tolerance: u64,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Runs a command. `load` reads the prices of `--config`, or the built-in ones.
///
/// # Errors
/// What is wrong with the options, the files or the vault.
pub fn run(command: &BillCommand, load: &dyn Fn() -> Result<Prices, CommandError>) -> Result<ExitStatus, CommandError> {
    match command {
        BillCommand::Reconcile(args) => run_reconcile(args, &load()?),
        BillCommand::Focus(args) => focus::run(args, &load()?),
        BillCommand::Forecast(args) => forecast::run(args, &load()?),
    }
}

fn run_reconcile(args: &ReconcileArgs, prices: &Prices) -> Result<ExitStatus, CommandError> {
    let list = &prices.list;
    let Some(provider) = list.provider_key(&args.provider) else {
        let nearest = list.nearest_provider(&args.provider);
        let hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
        return Err(CommandError::Usage(format!("the rate table has no provider `{}`{hint}", args.provider)));
    };
    let days = match (&args.month, &args.days) {
        (Some(month), _) => Some(parse_month(month)?),
        (None, Some(days)) => Some(parse_days(days)?),
        (None, None) => None,
    };
    let filter = RowFilter {
        days,
        currency: args.currency.as_ref().map(|currency| currency.to_uppercase()),
        aliases: args.aliases.iter().cloned().collect::<BTreeMap<_, _>>(),
    };
    let formats = load_formats(args.format_file.as_deref())?;
    let mut bill = Bill::read(&args.files, &formats, provider, args.time_zone.as_deref(), &filter)?;
    bill.name_models(prices);
    let convert = prices.converter(&bill.currency)?;
    let span = bill.span().ok_or("the bill's days are too far away")?;
    let mut own = OwnSums::default();
    read_calls(&args.index, prices, bill.days.0, &mut |call| own.add(&call, (provider, span), &*convert))?;
    let result = reconcile(&bill, &own, prices);
    let report = BillReport { bill: &bill, own: &own, result: &result, tolerance: args.tolerance };
    if args.json {
        print_json(&serde_json::to_string_pretty(&report.json()).unwrap_or_default())?;
    } else {
        print(&report.text())?;
    }
    if let Some(problem) = report.problem() {
        print_notes("failed", [&problem]);
        return Ok(ExitStatus::Failed);
    }
    Ok(ExitStatus::Success)
}

fn parse_days(text: &str) -> Result<(Date, Date), CommandError> {
    let days = text.split_once("..").and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    days.filter(|(first, last)| first <= last)
        .ok_or_else(|| CommandError::Usage("--days must be days such as 2026-11-01..2026-11-15".to_owned()))
}

fn parse_alias(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(word, model)| !word.trim().is_empty() && !model.trim().is_empty());
    let (word, model) = pair.ok_or("must be WORD=MODEL")?;
    Ok((normalize_model(word), model.trim().to_lowercase()))
}

/// A part of the whole, in 1e-9.
fn parse_percent(text: &str) -> Result<u64, String> {
    let percent = Usd::parse(text.trim().trim_end_matches('%')).filter(|percent| percent.0 >= 0);
    let whole = 100_000_000_000_000_000_000;
    let part = percent.and_then(|percent| simplest_ratio(percent.0, percent.0, whole));
    part.filter(|part| *part <= 1_000_000_000).ok_or_else(|| "must be a percentage such as 0.5".to_owned())
}
