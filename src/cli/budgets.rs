//! `tollgate budgets` and `tollgate budgets grant`: what each key of a budget has used in a running gateway, and more of
//! it for a time. Control characters are removed from names. `app/budget_grants` checks and commits grants.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::admin_address::run_with_client;
use super::common::CommonArgs;
use crate::app::budget_grants::{GRANTS_PATH, GrantAnswer, GrantRequest};
use command::admin_client::{AdminClient, AdminPortArgs, parse_json};
use command::error::{CommandError, ExitStatus};
use command::output;
use command::time_option::parse_duration;
use kernel::terminal::escape_unsafe;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BudgetsArgs {
    #[command(subcommand)]
    command: Option<BudgetsCommand>,
    #[command(flatten)]
    admin_port: AdminPortArgs,
    /// Prints the API's JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum BudgetsCommand {
    /// Raises a budget of one user, run, session, … for a time; it is recorded in the vault.
    ///
    /// Needs the role `operator`.
    Grant(GrantArgs),
}

#[derive(Args)]
struct GrantArgs {
    #[command(flatten)]
    admin_port: AdminPortArgs,
    /// Whose budget: the id of the user, run, session, … as the client sends it, or the pseudonym (`h-…`) that pages
    /// show.
    key: String,
    #[command(flatten)]
    extra: ExtraArgs,
    /// How long: `90m`, `4h`, `2d`; at most 31 days.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    time: Duration,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Only this budget. Default: all budgets of the scope.
    #[arg(long, value_name = "NAME")]
    budget: Option<String>,
    /// Scope of the budgets: `user`, `run`, `session`, `tenant`, `feature`, `issue` or `account`. Default: that of
    /// `--budget`, or `user`.
    #[arg(long)]
    scope: Option<String>,
    /// The account whose budgets these are.
    #[arg(long, default_value = "default")]
    account: String,
}

/// What is added to the limit.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct ExtraArgs {
    /// Money with its currency: `10USD`.
    #[arg(long)]
    amount: Option<String>,
    /// Model calls.
    #[arg(long, value_name = "N")]
    model_calls: Option<u64>,
    /// Iterations of a run or session.
    #[arg(long, value_name = "N")]
    iterations: Option<u64>,
    /// Tool calls.
    #[arg(long, value_name = "N")]
    tool_calls: Option<u64>,
    /// Minutes of a run or session.
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
}

fn parse_time(text: &str) -> Result<Duration, CommandError> {
    parse_duration(text).ok_or_else(|| CommandError::Usage("must be a time such as `90m`, `4h` or `2d`".to_owned()))
}

pub(super) fn run(common: &CommonArgs, options: BudgetsArgs) -> Result<ExitStatus, CommandError> {
    let BudgetsArgs { command, admin_port, json } = options;
    match command {
        None => run_with_client(common, &admin_port, |gateway| list_budgets(gateway, json)),
        Some(BudgetsCommand::Grant(GrantArgs { admin_port, key, extra, time, reason, budget, scope, account })) => {
            let ExtraArgs { amount, model_calls, iterations, tool_calls, minutes } = extra;
            let seconds = time.as_secs();
            let request = GrantRequest {
                key,
                account,
                scope,
                budget,
                amount,
                model_calls,
                iterations,
                tool_calls,
                minutes,
                seconds,
                reason,
            };
            run_with_client(common, &admin_port, |gateway| grant(gateway, request))
        }
    }
}

async fn list_budgets(gateway: AdminClient, as_json: bool) -> Result<(), CommandError> {
    let answer = gateway.get("/api/budgets", "application/json").await?;
    if as_json {
        return output::print_json(&answer);
    }
    output::print(&format_budgets(&parse_json(&answer)?))
}

async fn grant(gateway: AdminClient, request: GrantRequest) -> Result<(), CommandError> {
    // numbers and strings: serialising can't fail
    let answer = gateway.post(GRANTS_PATH, serde_json::to_string(&request).unwrap_or_default()).await?;
    let granted: GrantAnswer = serde_json::from_str(&answer)
        .map_err(|_| CommandError::Failed("the gateway's answer is not understood".to_owned()))?;
    let GrantAnswer { account, scope, key, budgets, measure, extra, until } = granted;
    let what = format_measure(&measure, &extra);
    let line = format!("{scope} {key} may use {what} more until {until}: {} of account {account}", budgets.join(", "));
    output::print(&format!("{}\n", escape_unsafe(&line)))
}

fn format_measure(measure: &str, number: &str) -> String {
    format!("{number} {}", if measure == "amount" { "USD".to_owned() } else { measure.replace('_', " ") })
}

/// A line for each limit of each key, most consumed first.
fn format_budgets(answer: &Value) -> String {
    let mut out = String::new();
    let lines: &[Value] = answer["budgets"].as_array().map_or(&[], Vec::as_slice);
    if lines.is_empty() {
        out.push_str("no budget is in use\n");
    }
    for line in lines {
        let field = |name: &str| line[name].as_str().map_or_else(|| "-".to_owned(), escape_unsafe);
        for used in line["uses"].as_array().into_iter().flatten() {
            let text = |name: &str| used[name].as_str().unwrap_or("-");
            let number = |name: &str| text(name).parse::<f64>().unwrap_or(0.0);
            let percent = number("spent") / number("limit").max(f64::MIN_POSITIVE) * 100.0;
            let shadow = if line["shadow"] == true { " (shadow)" } else { "" };
            let limit = format_measure(text("measure"), text("limit"));
            let use_text = escape_unsafe(&format!("{} of {limit}", text("spent")));
            let (budget, scope, key) = (field("budget"), field("scope"), field("key"));
            let (until, action) = (field("until"), field("action"));
            let _ = writeln!(
                out,
                "{percent:>5.1}%  {budget:<16} {scope:<8} {key}  {use_text}  until {until}  {action}{shadow}  stopped {} \
                 last {}  account {}",
                line["stops"].as_u64().unwrap_or(0),
                field("last_stop"),
                field("account"),
            );
        }
        for grant in line["grants"].as_array().into_iter().flatten() {
            let text = |name: &str| grant[name].as_str().unwrap_or("-");
            let extra = format_measure(text("measure"), text("extra"));
            let sentence =
                format!("granted: {extra} more until {}, by {}: {}", text("until"), text("who"), text("why"));
            let _ = writeln!(out, "        {}", escape_unsafe(&sentence));
        }
    }
    out
}
