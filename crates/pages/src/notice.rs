//! **What**: an alert as a message of a chat: the JSON of Slack's incoming webhooks. **Invariants**: names can't become links,
//! mentions or markup, neither Slack's nor the Markdown of chats that take its JSON; the trace is linked where a back end is
//! known, and nobody fetches it for a preview. **Not here**: redaction of names (the caller's), sending.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use runs::{Alert, Severity};
use telemetry::admin::links::{Target, TraceLink};

/// Longest name in a message, characters.
const NAME: usize = 80;
/// A space of no width.
const NOTHING: char = '\u{200b}';
/// What an account is called where there is one.
const ONLY: &str = "default";
/// Rules that are counted by name.
const RULES: usize = 6;

/// What chats take for markup, links or mentions, as text.
fn plain(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars().filter(|c| !super::text::unseen(*c)).take(NAME) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '*' | '_' | '~' | '`' | '(' | '|' => {
                // after a space of no width markup is text
                out.push(NOTHING);
                out.push(c);
            }
            '@' | '#' => {
                out.push(c);
                out.push(NOTHING);
            }
            '/' if out.ends_with(":/") => {
                // so is an address
                out.push(NOTHING);
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One alert.
pub fn message(alert: &Alert, link: Option<&TraceLink>) -> Value {
    let loud = loud(alert.severity == Severity::Critical);
    let rule = alert.rule; // one of ours
    let mut about = Vec::new();
    let named = [
        ("tool", alert.tool.as_str()),
        ("tenant", alert.tenant.as_deref().unwrap_or("")),
        ("feature", alert.feature.as_deref().unwrap_or("")),
        ("run", &alert.run),
        ("session", &alert.session),
        ("account", if alert.account == ONLY { "" } else { &alert.account }),
    ];
    about.extend(
        named.iter().filter(|(_, name)| !name.is_empty()).map(|(word, name)| format!("{word} {}", plain(name))),
    );
    let target = Target { trace: &alert.trace, span: "", start: alert.since, end: alert.since, service: "" };
    let url = link.filter(|_| !alert.trace.is_empty()).and_then(|link| link.url(&target));
    if let Some(url) = url {
        about.push(format!("<{}|trace>", url.replace('|', "%7C").replace('>', "%3E")));
    }
    let severity = alert.severity.as_str();
    let head = format!("{loud} {severity}: {rule} is {} (threshold {})", number(alert.value), number(alert.threshold));
    said(&head, &about.join(" · "))
}

/// Of these only how many of which severity and rule.
pub fn more(alerts: &[Alert]) -> Value {
    let mut rules: BTreeMap<(std::cmp::Reverse<Severity>, &str), usize> = BTreeMap::new();
    alerts.iter().for_each(|alert| *rules.entry((std::cmp::Reverse(alert.severity), alert.rule)).or_default() += 1);
    let named: Vec<String> = rules
        .iter()
        .take(RULES)
        .map(|((severity, rule), count)| format!("{count} {} {rule}", severity.0.as_str()))
        .collect();
    let others = if rules.len() > RULES { " and others" } else { "" };
    let what = if let [_] = alerts { "1 more alert".to_owned() } else { format!("{} more alerts", alerts.len()) };
    let critical = alerts.iter().any(|alert| alert.severity == Severity::Critical);
    let head = format!("{} {what}: {}{others}", loud(critical), named.join(", "));
    said(&head, "on tollgate's page and in `tollgate alerts list`")
}

fn loud(critical: bool) -> &'static str {
    if critical { ":rotating_light:" } else { ":warning:" }
}

fn said(head: &str, about: &str) -> Value {
    let text = if about.is_empty() { head.to_owned() } else { format!("{head}\n{about}") };
    json!({
        "text": text,
        "parse": "none",
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}}],
    })
}
