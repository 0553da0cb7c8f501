//! `tollgate alerts list` and `test`: the alerts of a running gateway and its webhook. Control characters are removed
//! from names; the webhook's address and key are never printed. `app/alert_sender` sends the messages.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::Value;

use super::admin_address::run_with_client;
use super::common::CommonArgs;
use command::admin_client::{AdminClient, AdminPortArgs, parse_json};
use command::error::{CommandError, ExitStatus};
use command::output;
use kernel::terminal::escape_unsafe;

/// Subcommands of `alerts`.
#[derive(Subcommand)]
pub(super) enum AlertsCommand {
    /// Lists alerts that fire and alerts that fired before.
    List {
        #[command(flatten)]
        admin_port: AdminPortArgs,
        /// Prints the API's JSON.
        #[arg(long)]
        json: bool,
    },
    /// Sends a test message to the webhook of `extensions.admin.alerts`.
    Test {
        #[command(flatten)]
        admin_port: AdminPortArgs,
    },
}

pub(super) fn run(common: &CommonArgs, command: &AlertsCommand) -> Result<ExitStatus, CommandError> {
    match command {
        AlertsCommand::List { admin_port, json } => {
            run_with_client(common, admin_port, |gateway| list_alerts(gateway, *json))
        }
        AlertsCommand::Test { admin_port } => run_with_client(common, admin_port, send_test),
    }
}

async fn list_alerts(gateway: AdminClient, as_json: bool) -> Result<(), CommandError> {
    let answer = gateway.get("/api/alerts", "application/json").await?;
    if as_json {
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

fn format_alerts(answer: &Value, webhook: &Value) -> String {
    let mut out = String::new();
    let alerts: &[Value] = answer["alerts"].as_array().map_or(&[], Vec::as_slice);
    if alerts.is_empty() {
        out.push_str("no alerts\n");
    }
    for alert in alerts {
        let field = |name: &str| format_field(&alert[name]);
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
    let configured = webhook["configured"] == true;
    out.push_str(if configured { "webhook: configured\n" } else { "webhook: none\n" });
    out
}
