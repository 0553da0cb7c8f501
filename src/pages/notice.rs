//! **What**: an alert as a message of a chat: the JSON of Slack's incoming webhooks. **Invariants**: names can't become links,
//! mentions or markup; the trace is linked where a back end is known. **Not here**: redaction of names (the caller's), sending.

use serde_json::{Value, json};

use crate::runs::{Alert, Severity};
use crate::telemetry::admin::links::{Target, TraceLink};

/// Longest name in a message, characters.
const NAME: usize = 80;

/// What Slack takes for markup or mentions, as text.
fn plain(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars().filter(|c| !c.is_control()).take(NAME) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '*' | '_' | '~' | '`' => {
                // between a zero-width space markup is text
                out.push('\u{200b}');
                out.push(c);
            }
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
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
    let loud = if alert.severity == Severity::Critical { ":rotating_light:" } else { ":warning:" };
    let rule = plain(alert.rule).replace('\u{200b}', "");
    let mut about = Vec::new();
    let named = [
        ("tool", alert.tool.as_str()),
        ("tenant", alert.tenant.as_deref().unwrap_or("")),
        ("feature", alert.feature.as_deref().unwrap_or("")),
        ("run", &alert.run),
        ("session", &alert.session),
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

/// So many more than were sent.
pub fn more(count: usize) -> Value {
    said(&format!(":warning: {count} more alerts began"), "they are on tollgate's page and in `tollgate alerts list`")
}

fn said(head: &str, about: &str) -> Value {
    let text = if about.is_empty() { head.to_owned() } else { format!("{head}\n{about}") };
    json!({
        "text": text,
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text}}],
    })
}
