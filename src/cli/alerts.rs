//! `tollgate alerts list` and `test`: the alerts of a running gateway and its webhook. Control characters are removed
//! from names; the webhook's address and key are never printed. `app/alert_sender` sends the messages.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::admin_address::run_with_client;
use super::common::CommonArgs;
use command::admin_client::AdminPortArgs;
use command::admin_client::{AdminClient, parse_json};
use command::error::{CommandError, ExitStatus};
use command::output;
use kernel::terminal::escape_unsafe;

/// Subcommands of `alerts`.
#[derive(Subcommand)]
pub(super) enum AlertsCommand {
    /// Lists alerts that fire and alerts that fired before.
    List(ListAlertsArgs),
    /// Sends a test message to the webhook of `extensions.admin.alerts`.
    Test(TestAlertArgs),
}

#[derive(Args)]
pub(super) struct ListAlertsArgs {
    #[command(flatten)]
    admin_port: AdminPortArgs,
    /// Prints the API's JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct TestAlertArgs {
    #[command(flatten)]
    admin_port: AdminPortArgs,
}

pub(super) fn run(common: &CommonArgs, command: &AlertsCommand) -> Result<ExitStatus, CommandError> {
    match command {
        AlertsCommand::List(options) => {
            run_with_client(common, &options.admin_port, |gateway| list_alerts(gateway, options))
        }
        AlertsCommand::Test(options) => run_with_client(common, &options.admin_port, send_test),
    }
}

async fn list_alerts(gateway: AdminClient, options: &ListAlertsArgs) -> Result<(), CommandError> {
    let answer = gateway.get("/api/alerts", "application/json").await?;
    if options.json {
        return output::print_json(&answer);
    }
    let webhook = gateway.get("/api/alerts/webhook", "application/json").await?;
    output::print(&format_alerts(&parse_json(&answer)?, &parse_json(&webhook)?))
}

async fn send_test(gateway: AdminClient) -> Result<(), CommandError> {
    gateway.post("/api/alerts/test", String::new()).await?;
    output::print("the webhook accepted a test message\n")
}

fn format_field(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => escape_unsafe(text),
        Value::Number(number) => number.to_string(),
        _ => "-".to_owned(),
    }
}

fn array_items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn format_alerts(answer: &Value, webhook: &Value) -> String {
    let mut out = String::new();
    let alerts = array_items(answer.get("alerts"));
    if alerts.is_empty() {
        out.push_str("no alerts\n");
    }
    for alert in alerts {
        let field = |name: &str| format_field(alert.get(name).unwrap_or(&Value::Null));
        let _ = writeln!(
            out,
            "{:<9} {:<8} {}: {} tenant {} feature {} tool {} run {} session {} trace {} since {} until {}",
            field("state"),
            field("severity"),
            field("rule"),
            field("measured"),
            field("tenant"),
            field("feature"),
            field("tool"),
            field("run_id"),
            field("session_id"),
            field("trace_id"),
            field("since"),
            field("until"),
        );
    }
    let configured = webhook.get("configured") == Some(&Value::Bool(true));
    out.push_str(if configured { "webhook: configured\n" } else { "webhook: none\n" });
    out
}
