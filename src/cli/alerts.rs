//! **What**: the commands `tollgate alerts list` and `test`: what fires, and whether the webhook takes a message, from a running
//! gateway. **Invariants**: names lose what acts on a terminal; no address and no key is printed. **Not here**: sending
//! (`app/notify`).

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::ask::{Asker, Where};
use super::output::{self, Exit};
use super::reach::block_on;
use crate::vault::read::clean;

/// What is asked.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Alerts that tollgate computes itself: what holds, then what did, and what is muted.
    List(List),
    /// Sends a message that says that it is a test to the webhook of `extensions.admin.alerts`.
    Test(Test),
}

/// Options of `list`.
#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    at: Where,
    /// As the API answers it.
    #[arg(long)]
    json: bool,
}

/// Options of `test`.
#[derive(Args)]
pub(super) struct Test {
    #[command(flatten)]
    at: Where,
}

/// Runs it.
pub(super) fn run(command: &Command) -> Exit {
    let done = match command {
        Command::List(options) => block_on(list(options)),
        Command::Test(options) => block_on(test(options)),
    };
    match done {
        Ok(()) => Exit::Fine,
        Err(why) => {
            output::complain(&format!("error: {why}"));
            Exit::Failed
        }
    }
}

async fn list(options: &List) -> Result<(), String> {
    let gateway = Asker::gateway(&options.at)?;
    let answer = gateway.get("/api/alerts", "application/json").await?;
    if options.json {
        return output::print(&format!("{answer}\n"));
    }
    let webhook = gateway.get("/api/alerts/webhook", "application/json").await?;
    let parse = |text: &str| serde_json::from_str(text).map_err(|_| "the gateway's answer is no JSON".to_owned());
    let (answer, webhook): (Value, Value) = (parse(&answer)?, parse(&webhook)?);
    output::print(&screen(&answer, &webhook))
}

async fn test(options: &Test) -> Result<(), String> {
    let gateway = Asker::gateway(&options.at)?;
    gateway.post("/api/alerts/test", String::new()).await?;
    output::print("the webhook took a test message\n")
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
            "{:<9} {:<8} {} = {} (threshold {}) tenant {} feature {} tool {} run {} session {} trace {} since {} until {}",
            field("state"),
            field("severity"),
            field("rule"),
            field("value"),
            field("threshold"),
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
    for mute in rows(webhook.get("mute")) {
        let field = |name: &str| word(mute.get(name).unwrap_or(&Value::Null));
        let _ = writeln!(out, "muted: {} tenant {} until {}", field("rule"), field("tenant"), field("until"));
    }
    out
}
