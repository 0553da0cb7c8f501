//! Formats an alert as a chat message: the JSON of Slack's incoming webhooks. Names can't become links, mentions or
//! markup, neither in Slack nor in the Markdown of chats that accept its JSON. A message links to a trace if
//! `trace_link` is set and to a run if `public_url` is; chats are told not to fetch previews. The caller redacts
//! names; `src/app/alert_sender` sends the messages.

use std::cmp::Reverse;

use serde_json::{Value, json};

use runs::{Alert, AlertRule, AlertSeverity, AlertUnit, FirstRuns, LargestFirst, RunRecord, RunView};
use telemetry::admin::links::{TraceLink, TraceTarget};

/// Longest name and longest id in a message, in characters.
const MAX_NAME_CHARS: usize = 80;
const MAX_ID_CHARS: usize = 200;
/// Keeps chats from reading the next character as markup, or a name as a link or mention.
const ZERO_WIDTH_SPACE: char = '\u{200b}';
/// The account name without `auth`, which messages leave out.
const DEFAULT_ACCOUNT: &str = "default";

/// Escapes characters that chats read as markup, links or mentions.
fn escape_name(name: &str, max_chars: usize) -> String {
    let mut out = String::new();
    let mut safe_chars = name.chars().filter(|c| !kernel::terminal::is_unsafe(*c));
    for c in safe_chars.by_ref().take(max_chars) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '*' | '_' | '~' | '`' | '(' | '|' => {
                out.push(ZERO_WIDTH_SPACE);
                out.push(c);
            }
            '@' | '#' => {
                out.push(c);
                out.push(ZERO_WIDTH_SPACE);
            }
            '/' if out.ends_with(":/") => {
                out.push(ZERO_WIDTH_SPACE);
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.extend(safe_chars.next().map(|_| '…'));
    out
}

#[derive(Clone, Default)]
pub struct MessageLinks {
    pub trace: Option<TraceLink>,
    /// The address at which people reach the admin page, without a trailing slash.
    pub page: Option<String>,
}

/// The runs that illustrate alerts: the run itself, or the largest run of the session, tenant or feature by the alert's
/// measure. Runs are added one by one.
pub struct ExampleRuns<'a>(Vec<(&'a Alert, FirstRuns<LargestFirst>)>);

impl<'a> ExampleRuns<'a> {
    pub fn new(alerts: &'a [Alert]) -> Self {
        Self(alerts.iter().map(|alert| (alert, FirstRuns::new(1))).collect())
    }

    pub fn add(&mut self, run: &RunRecord<'_>) {
        for (alert, example) in self.0.iter_mut().filter(|(alert, _)| is_subject(alert, run)) {
            let size = match alert.unit() {
                AlertUnit::Seconds => run.duration.into(),
                _ if alert.rule == AlertRule::TokensPerRunDrift => run.total().all_tokens().into(),
                _ => run.total().atto_usd,
            };
            example.add(Reverse((size, run.last)), run);
        }
    }

    /// The example of each alert.
    pub fn finish(self) -> Vec<Option<RunView>> {
        self.0.into_iter().map(|(_, example)| example.into_views().pop()).collect()
    }
}

fn is_subject(alert: &Alert, run: &RunRecord<'_>) -> bool {
    let has_name =
        |wanted: &Option<String>, name: Option<&str>| wanted.as_deref().is_none_or(|wanted| name == Some(wanted));
    match (&*alert.run, &*alert.session) {
        _ if run.account != alert.account => false,
        ("", "") if alert.tenant.is_none() && alert.feature.is_none() => false,
        ("", "") => has_name(&alert.tenant, run.tenant) && has_name(&alert.feature, run.feature),
        ("", session) => run.session == session,
        (id, _) => run.run == id,
    }
}

fn format_link(url: &str, word: &str) -> String {
    format!("<{}|{word}>", url.replace('|', "%7C").replace('>', "%3E"))
}

/// The message that an alert began or, with `until`, that it ended. `run`: the run that illustrates it, if known.
pub fn format_alert(alert: &Alert, links: &MessageLinks, run: Option<&RunView>) -> Value {
    let (emoji, state) = match alert.severity() {
        _ if alert.until.is_some() => (":white_check_mark:", "ended"),
        AlertSeverity::Critical => (":rotating_light:", "critical"),
        AlertSeverity::Warning => (":warning:", "warning"),
    };
    let rule = alert.rule.as_str(); // a fixed name, so it needs no escaping
    let mut details = Vec::new();
    let subjects = [
        (alert.subject_word(), alert.tool.as_str()),
        ("tenant", alert.tenant.as_deref().unwrap_or("")),
        ("feature", alert.feature.as_deref().unwrap_or("")),
        ("run", &alert.run),
        ("session", &alert.session),
        ("account", if alert.account == DEFAULT_ACCOUNT { "" } else { &alert.account }),
    ];
    let format_subject = |(word, name): &(&str, &str)| {
        let max_chars = if matches!(*word, "run" | "session") { MAX_ID_CHARS } else { MAX_NAME_CHARS };
        format!("{word} {}", escape_name(name, max_chars))
    };
    details.extend(subjects.iter().filter(|(_, name)| !name.is_empty()).map(format_subject));
    let cost = run.filter(|_| !alert.run.is_empty()).map(|run| run.totals.format_cost());
    details.extend(cost.map(|cost| format!("cost {cost}")));
    let alert_target = TraceTarget { trace: &alert.trace, span: "", start: alert.since, end: alert.since, service: "" };
    let span = run.filter(|run| run.root != [0; 8]).map_or_else(String::new, |run| kernel::hex::encode(&run.root));
    let target = run.map_or(alert_target, |run| TraceTarget {
        trace: if alert.trace.is_empty() { &run.trace } else { &alert.trace },
        span: &span,
        start: run.start,
        end: run.last,
        service: run.service.as_deref().unwrap_or(""),
    });
    let trace = links.trace.as_ref().and_then(|link| link.url(&target));
    let id = run.map_or(&*alert.run, |run| &run.run);
    let page = links.page.as_deref().map(|page| match id {
        "" => page.to_owned(),
        id => {
            let (id, account) = (super::text::percent_encode(id), super::text::percent_encode(&alert.account));
            format!("{page}/runs/{id}?account={account}")
        }
    });
    details.extend(trace.map(|url| format_link(&url, "trace")));
    details.extend(page.map(|url| format_link(&url, if id.is_empty() { "page" } else { "run" })));
    let head = format!("{emoji} {state}: {rule}: {}", alert.measurement_text());
    slack_json(&head, &details.join(" · "))
}

fn slack_json(head: &str, details: &str) -> Value {
    let text = if details.is_empty() { head.to_owned() } else { format!("{head}\n{details}") };
    json!({
        "text": text,
        "parse": "none",
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}}],
    })
}
