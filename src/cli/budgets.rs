//! `tollgate budgets` lists what each key has used; `tollgate budgets grant` raises a limit for a time. Unsafe
//! characters are escaped. `app/budget_grants` checks and commits grants.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::admin_address::run_with_client;
use super::common::CommonArgs;
use super::fleet::parse_timeout;
use crate::app::budget_grants::{GRANTS_PATH, GrantRequest};
use command::admin_client::{AdminClient, AdminPortArgs, parse_json};
use command::error::{CommandError, ExitStatus};
use command::output;
use kernel::calendar::cut_to_minutes;
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
    /// Raises a limit of one user, run, session, … for a time. The grant is recorded in the vault, if there is one.
    ///
    /// Needs the role `operator`.
    #[command(group = clap::ArgGroup::new("extra").required(true))]
    Grant {
        #[command(flatten)]
        admin_port: AdminPortArgs,
        /// Whose budget: the id of the user, run, session, … as the client sends it, or the pseudonym (`h-…`) that
        /// pages show.
        key: String,
        /// Money with its currency: `10USD`.
        #[arg(long, group = "extra")]
        amount: Option<String>,
        /// Model calls.
        #[arg(long, group = "extra", value_name = "N")]
        model_calls: Option<String>,
        /// Iterations of a run or session.
        #[arg(long, group = "extra", value_name = "N")]
        iterations: Option<String>,
        /// Tool calls.
        #[arg(long, group = "extra", value_name = "N")]
        tool_calls: Option<String>,
        /// Minutes of a run or session.
        #[arg(long, group = "extra", value_name = "N")]
        minutes: Option<String>,
        /// How long: `90m`, `4h`, `2d`; at most 31 days.
        #[arg(long = "for", value_name = "TIME", value_parser = parse_timeout)]
        time: Duration,
        /// Why, for the record.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Only this budget. Default: every budget of the scope that has this limit.
        #[arg(long, value_name = "NAME")]
        budget: Option<String>,
        /// `user`, `run`, `session`, `tenant`, `feature`, `issue` or `account`. Default: that of `--budget`, or `user`.
        #[arg(long)]
        scope: Option<String>,
        /// The account that the key belongs to: that of the client's credential, if the receiver has `auth`.
        #[arg(long, default_value = "default")]
        account: String,
    },
}

pub(super) fn run(common: &CommonArgs, options: BudgetsArgs) -> Result<ExitStatus, CommandError> {
    let BudgetsArgs { command, admin_port, json } = options;
    let Some(command) = command else {
        return run_with_client(common, &admin_port, |gateway| list_budgets(gateway, json));
    };
    let BudgetsCommand::Grant { admin_port, key, time, reason, budget, scope, account, .. } = &command;
    let (measure, extra) = command.extra().ok_or_else(|| CommandError::Usage("say how much is granted".to_owned()))?;
    let (key, reason, account, seconds) = (key.clone(), reason.clone(), account.clone(), time.as_secs());
    let (scope, budget) = (scope.clone(), budget.clone());
    let request = GrantRequest { key, account, scope, budget, measure, extra, seconds, reason };
    // numbers and strings: serialising can't fail
    let body = serde_json::to_string(&request).unwrap_or_default();
    run_with_client(common, admin_port, |gateway| async move {
        output::print(&format!("{}\n", escape_unsafe(gateway.post(GRANTS_PATH, body).await?.trim_end())))
    })
}

impl BudgetsCommand {
    /// The measure that is given, and how much of it.
    fn extra(&self) -> Option<(String, String)> {
        let Self::Grant { amount, model_calls, iterations, tool_calls, minutes, .. } = self;
        let given = [
            ("amount", amount),
            ("model_calls", model_calls),
            ("iterations", iterations),
            ("tool_calls", tool_calls),
            ("minutes", minutes),
        ];
        given.into_iter().find_map(|(measure, extra)| Some((measure.to_owned(), extra.clone()?)))
    }
}

async fn list_budgets(gateway: AdminClient, as_json: bool) -> Result<(), CommandError> {
    let answer = gateway.get("/api/budgets", "application/json").await?;
    if as_json {
        return output::print_json(&answer);
    }
    output::print(&format_budgets(&parse_json(&answer)?))
}

/// A line for each limit of each key, most used first.
pub(super) fn format_budgets(answer: &Value) -> String {
    let mut out = String::new();
    for line in answer["budgets"].as_array().into_iter().flatten() {
        for used in line["uses"].as_array().into_iter().flatten() {
            let of = |value: &Value, name: &str| match &value[name] {
                Value::String(text) => escape_unsafe(text),
                Value::Null => "-".to_owned(),
                other => other.to_string(),
            };
            let percent = used["share"].as_f64().unwrap_or(0.0) * 100.0;
            let (field, used) = (|name: &str| of(line, name), |name: &str| of(used, name));
            let time = |name: &str| cut_to_minutes(&field(name));
            let shadow = if line["shadow"] == true { " (shadow)" } else { "" };
            let measure = used("measure").replace("amount", "USD").replace('_', " ");
            let grants = line["grants"].as_array().map_or(0, Vec::len);
            let _ = writeln!(
                out,
                "{percent:>5.1}%  {:<16} {:<8} {}  {} of {} {measure}  until {}  {}{shadow}  stops {} last {}  grants \
                 {grants}  account {}",
                field("budget"),
                field("scope"),
                field("key"),
                used("spent"),
                used("limit"),
                time("until"),
                field("action"),
                field("stops"),
                time("last_stop"),
                field("account"),
            );
        }
    }
    if out.is_empty() { "no budget is configured, or nothing was used yet\n".to_owned() } else { out }
}
