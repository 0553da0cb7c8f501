//! `tollgate check --client`: which clients have sent to a running gateway lately, and what is switched off at them.
//! The gateway knows the times (`/api/clients`), config/clients.yaml the settings that turn things on. Something counts
//! as off if the client sent other data in the time but nothing of this kind; a part of content that no item could have
//! carried is not reported.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use command::admin_client::{AdminClient, parse_json};
use command::error::CommandError;
use command::output;
use kernel::terminal::escape_unsafe;
use onboarding::setup::client_catalog::{ClientCatalog, ClientEntry, ClientSetting};

const SIGNALS: [&str; 3] = ["traces", "logs", "metrics"];
/// The parts of content, with their names for people.
const PARTS: [(&str, &str); 4] =
    [("input", "prompts"), ("output", "answers"), ("tool_args", "tool arguments"), ("tool_result", "tool results")];

/// Something that a client does not send.
struct SwitchedOff {
    /// A signal, or a part of content.
    name: &'static str,
    /// The settings that turn it on; empty if the client is not in the table.
    settings: Vec<String>,
}

/// Prints a line for each client.
///
/// # Errors
/// The gateway does not answer, or no client has sent in the time `within`.
pub(super) async fn print_clients(gateway: AdminClient, within: Duration, as_json: bool) -> Result<(), CommandError> {
    let answer = parse_json(&gateway.get("/api/clients", "application/json").await?)?;
    let catalog = ClientCatalog::builtin()?;
    output::print(&format_clients(&answer, &catalog, within, as_json))?;
    if !as_json {
        output::print(&format_unpriced(&parse_json(&gateway.get("/api/gateway", "application/json").await?)?))?;
    }
    let clients = field(&answer, "clients").as_array();
    let is_recent = |client: &Value| last_sent(client).is_some_and(|ago| ago <= within.as_secs_f64());
    if clients.is_some_and(|clients| clients.iter().any(is_recent)) {
        return Ok(());
    }
    Err(CommandError::Failed(format!(
        "no client has sent anything in the last {}; `tollgate setup CLIENT` prints the settings that point one at this gateway",
        format_age(within.as_secs_f64())
    )))
}

/// A line for each provider that the rate table does not have, with the configuration that gives its calls a price.
pub(super) fn format_unpriced(answer: &Value) -> String {
    let rows = field(answer, "calls_without_price").as_array();
    let line = |row: &Value| {
        let text = |key: &str| field(row, key).as_str().map(escape_unsafe);
        let (provider, model, config) = (text("provider")?, text("model")?, text("price_config")?);
        Some(format!("no price for {model} of {provider}; to set one, add under `processors`: {config}\n"))
    };
    rows.into_iter().flatten().filter_map(line).collect()
}

/// A line for each client, the latest first.
pub(super) fn format_clients(answer: &Value, catalog: &ClientCatalog, within: Duration, as_json: bool) -> String {
    let none = Vec::new();
    let clients = field(answer, "clients").as_array().unwrap_or(&none);
    let accounts: BTreeSet<&str> = clients.iter().filter_map(|client| field(client, "account").as_str()).collect();
    let line = |client: &Value| {
        let off = find_switched_off(client, catalog, within.as_secs_f64());
        if as_json { format_json(client, &off) } else { format_line(client, &off, accounts.len() > 1) }
    };
    clients.iter().map(line).collect()
}

/// Seconds since the client last sent anything.
fn last_sent(client: &Value) -> Option<f64> {
    let ages = SIGNALS.iter().filter_map(|signal| field(field(client, "seconds_ago"), signal).as_f64());
    ages.min_by(f64::total_cmp)
}

fn find_switched_off(client: &Value, catalog: &ClientCatalog, within: f64) -> Vec<SwitchedOff> {
    if last_sent(client).is_none_or(|ago| ago > within) {
        return Vec::new();
    }
    let text = |key: &str| field(client, key).as_str().unwrap_or("");
    let language = text("sdk").split(' ').next().unwrap_or("");
    let entry = catalog.recognise(text("dialect"), text("name"), language);
    let is_recent = |ago: &Value| ago.as_f64().is_some_and(|ago| ago <= within);
    let signals = SIGNALS.into_iter().filter(|signal| !is_recent(field(field(client, "seconds_ago"), signal)));
    let signals = signals.map(|signal| (signal, signal));
    let parts = PARTS.into_iter().filter(|(part, _)| {
        let seen = field(field(client, "content_seconds_ago"), part);
        is_recent(field(seen, "expected")) && !is_recent(field(seen, "carried"))
    });
    let to_off = |(key, name): (&str, &'static str)| {
        let settings: Vec<String> = entry.map(|entry| settings_for(entry, key)).unwrap_or_default();
        // A client of the table that has no setting for it never sends it.
        (entry.is_none() || !settings.is_empty()).then_some(SwitchedOff { name, settings })
    };
    signals.chain(parts).filter_map(to_off).collect()
}

/// A field of an object; null if it has none of this name.
fn field<'v>(object: &'v Value, name: &str) -> &'v Value {
    object.get(name).unwrap_or(&Value::Null)
}

/// The settings that turn a signal or part of content on, as a user writes them.
fn settings_for(entry: &ClientEntry, key: &str) -> Vec<String> {
    let sends = |setting: &&ClientSetting| setting.sends.iter().any(|sent| sent == key) && !setting.is_for_grpc();
    let shown = |setting: &ClientSetting| {
        let name = setting.at.strip_prefix("env.").unwrap_or(&setting.at);
        setting.shown_value().map_or_else(|| name.to_owned(), |value| format!("{name}={value}"))
    };
    entry.settings.iter().chain(&entry.environment).filter(sends).map(shown).collect()
}

fn format_json(client: &Value, off: &[SwitchedOff]) -> String {
    let off: Vec<Value> = off.iter().map(|off| json!({"name": off.name, "settings": off.settings})).collect();
    let mut line = client.clone();
    if let Some(line) = line.as_object_mut() {
        line.insert("off".to_owned(), off.into());
    }
    format!("{}\n", kernel::terminal::escape_json(&line.to_string()))
}

fn format_line(client: &Value, off: &[SwitchedOff], with_account: bool) -> String {
    let text = |key: &str| field(client, key).as_str().map(escape_unsafe).filter(|text| !text.is_empty());
    let mut line = text("name").unwrap_or_default();
    if let Some(version) = text("version") {
        line.push_str(&format!(" {version}"));
    }
    if let Some(account) = text("account").filter(|_| with_account) {
        line.push_str(&format!(" (account {account})"));
    }
    let sent = SIGNALS.iter().filter_map(|signal| {
        let ago = field(field(client, "seconds_ago"), signal).as_f64()?;
        Some(format!("{signal} {} ago", format_age(ago)))
    });
    line.push_str(&format!(": {}", sent.collect::<Vec<_>>().join(", ")));
    let off = off.iter().map(|off| match off.settings.is_empty() {
        true => off.name.to_owned(),
        false => format!("{} ({})", off.name, off.settings.join(", ")),
    });
    let off: Vec<String> = off.collect();
    if !off.is_empty() {
        line.push_str(&format!("; off: {}", off.join(", ")));
    }
    let unnamed = field(client, "unnamed_for_budgets").as_array().into_iter().flatten().filter_map(Value::as_str);
    let unnamed: Vec<String> = unnamed.map(escape_unsafe).collect();
    if !unnamed.is_empty() {
        let scopes = unnamed.join(", ");
        line.push_str(&format!("; sends no {scopes}, so budgets of scope {scopes} don't count it"));
    }
    line.push('\n');
    line
}

fn format_age(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
