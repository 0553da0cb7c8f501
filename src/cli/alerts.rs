//! `tollgate alerts list`, `test`, `mute` and `unmute`: the alerts of a running gateway and its webhook. Control
//! characters are removed from names; the webhook's address and key are never printed. `app/notify` sends the messages.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::ask::{Asker, parsed, part};
use super::common::Common;
use super::error::{CommandError, Exit};
use super::output;
use super::place::{Where, with};
use kernel::terminal::clean;

/// Subcommands of `alerts`.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Lists alerts that fire, alerts that fired before, and mutes.
    List(List),
    /// Sends a test message to the webhook of `extensions.admin.alerts`.
    Test(Test),
    /// Stops sending messages of a rule to the webhook for a while; its alerts are still counted and shown.
    Mute(Mute),
    /// Ends a mute.
    Unmute(Unmute),
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    at: Where,
    /// Prints the API's JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Test {
    #[command(flatten)]
    at: Where,
}

#[derive(Args)]
pub(super) struct Mute {
    /// The rule (docs/runs.md), or `*` for all.
    rule: String,
    /// Duration: 30m, 2h, 1d; at most 30d.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    r#for: String,
    /// Mutes this tenant only.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    at: Where,
}

#[derive(Args)]
pub(super) struct Unmute {
    /// The rule, or `*`.
    rule: String,
    /// Ends the mute of this tenant.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    at: Where,
}

/// Runs a subcommand of `alerts`.
pub(super) fn run(common: &Common, command: &Command) -> Result<Exit, CommandError> {
    match command {
        Command::List(options) => with(common, &options.at, |gateway| list(gateway, options)),
        Command::Test(options) => with(common, &options.at, test),
        Command::Mute(options) => with(common, &options.at, |gateway| mute(gateway, options)),
        Command::Unmute(options) => with(common, &options.at, |gateway| unmute(gateway, options)),
    }
}

async fn list(gateway: Asker, options: &List) -> Result<(), CommandError> {
    let answer = gateway.get("/api/alerts", "application/json").await?;
    if options.json {
        return output::print_json(&answer);
    }
    let webhook = gateway.get("/api/alerts/webhook", "application/json").await?;
    output::print(&screen(&parsed(&answer)?, &parsed(&webhook)?))
}

async fn test(gateway: Asker) -> Result<(), CommandError> {
    gateway.post("/api/alerts/test", String::new()).await?;
    output::print("the webhook took a test message\n")
}

async fn mute(gateway: Asker, options: &Mute) -> Result<(), CommandError> {
    let asked = json!({"for": options.r#for, "tenant": options.tenant});
    let answer = gateway.post(&place(&options.rule), asked.to_string()).await?;
    shown(&answer)
}

async fn unmute(gateway: Asker, options: &Unmute) -> Result<(), CommandError> {
    let tenant = options.tenant.as_deref().map(|tenant| format!("?tenant={}", part(tenant))).unwrap_or_default();
    shown(&gateway.delete(&format!("{}{tenant}", place(&options.rule))).await?)
}

fn place(rule: &str) -> String {
    format!("/api/alerts/{}/mute", part(rule))
}

/// Prints the current mutes.
fn shown(webhook: &str) -> Result<(), CommandError> {
    let mut out = String::new();
    muted(&mut out, &parsed(webhook)?);
    output::print(if out.is_empty() { "nothing is muted\n" } else { &out })
}

fn muted(out: &mut String, webhook: &Value) {
    for mute in rows(webhook.get("mute")) {
        let field = |name: &str| word(mute.get(name).unwrap_or(&Value::Null));
        let _ = writeln!(out, "muted: {} tenant {} until {}", field("rule"), field("tenant"), field("until"));
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => clean(text),
        Value::Number(number) => number.to_string(),
        _ => "-".to_owned(),
    }
}

fn rows(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn screen(answer: &Value, webhook: &Value) -> String {
    let mut out = String::new();
    let alerts = rows(answer.get("alerts"));
    if alerts.is_empty() {
        out.push_str("no alerts\n");
    }
    for alert in alerts {
        let field = |name: &str| word(alert.get(name).unwrap_or(&Value::Null));
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
    muted(&mut out, webhook);
    out
}
