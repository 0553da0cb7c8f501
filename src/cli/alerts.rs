//! `tollgate alerts list`, `test`, `mute` and `unmute`: the alerts of a running gateway and its webhook. Control
//! characters are removed from names; the webhook's address and key are never printed. `app/alert_sender` sends
//! the messages.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::admin_address::{AdminPortArgs, run_with_client};
use super::admin_client::{AdminClient, parse_json, percent_encode};
use super::common::CommonArgs;
use super::error::{CommandError, ExitStatus};
use super::output;
use kernel::terminal::escape_unsafe;

/// Subcommands of `alerts`.
#[derive(Subcommand)]
pub(super) enum AlertsCommand {
    /// Lists alerts that fire, alerts that fired before, and mutes.
    List(ListAlertsArgs),
    /// Sends a test message to the webhook of `extensions.admin.alerts`.
    Test(TestAlertArgs),
    /// Stops sending messages of a rule to the webhook for a while; its alerts are still counted and shown.
    Mute(MuteArgs),
    /// Ends a mute.
    Unmute(UnmuteArgs),
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

#[derive(Args)]
pub(super) struct MuteArgs {
    /// The rule (docs/runs.md), or `*` for all.
    rule: String,
    /// Duration: 30m, 2h, 1d; at most 30d.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    r#for: String,
    /// Mutes this tenant only.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    admin_port: AdminPortArgs,
}

#[derive(Args)]
pub(super) struct UnmuteArgs {
    /// The rule, or `*`.
    rule: String,
    /// Ends the mute of this tenant.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    admin_port: AdminPortArgs,
}

/// Runs a subcommand of `alerts`.
pub(super) fn run(common: &CommonArgs, command: &AlertsCommand) -> Result<ExitStatus, CommandError> {
    match command {
        AlertsCommand::List(options) => {
            run_with_client(common, &options.admin_port, |gateway| list_alerts(gateway, options))
        }
        AlertsCommand::Test(options) => run_with_client(common, &options.admin_port, send_test),
        AlertsCommand::Mute(options) => {
            run_with_client(common, &options.admin_port, |gateway| mute_rule(gateway, options))
        }
        AlertsCommand::Unmute(options) => {
            run_with_client(common, &options.admin_port, |gateway| unmute_rule(gateway, options))
        }
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

async fn mute_rule(gateway: AdminClient, options: &MuteArgs) -> Result<(), CommandError> {
    let request = json!({"for": options.r#for, "tenant": options.tenant});
    let answer = gateway.post(&mute_path(&options.rule), request.to_string()).await?;
    print_mutes(&answer)
}

async fn unmute_rule(gateway: AdminClient, options: &UnmuteArgs) -> Result<(), CommandError> {
    let tenant =
        options.tenant.as_deref().map(|tenant| format!("?tenant={}", percent_encode(tenant))).unwrap_or_default();
    print_mutes(&gateway.delete(&format!("{}{tenant}", mute_path(&options.rule))).await?)
}

fn mute_path(rule: &str) -> String {
    format!("/api/alerts/{}/mute", percent_encode(rule))
}

/// Prints the current mutes.
fn print_mutes(webhook: &str) -> Result<(), CommandError> {
    let mut out = String::new();
    write_mutes(&mut out, &parse_json(webhook)?);
    output::print(if out.is_empty() { "nothing is muted\n" } else { &out })
}

fn write_mutes(out: &mut String, webhook: &Value) {
    for mute in array_items(webhook.get("mute")) {
        let field = |name: &str| format_field(mute.get(name).unwrap_or(&Value::Null));
        let _ = writeln!(out, "muted: {} tenant {} until {}", field("rule"), field("tenant"), field("until"));
    }
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
    write_mutes(&mut out, webhook);
    out
}
