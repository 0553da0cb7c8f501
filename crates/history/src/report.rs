//! [`report`]: failing spans of a period in groups, with samples and their issues, for an agent or a person who reads
//! it in the morning; [`JiraComment`]: the comment on a ticket.
//! Groups are ordered by count, then by name; `schema` is as in `runs/json`. In Markdown every text is escaped or in
//! code.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use kernel::terminal::counted;
use serde_json::{Map, Value, json};

use super::entry::Entry;
use super::failures::{Failures, Key, Sample};
use super::figures::{Counted, DAY, Window};
use super::json::{sums, time};
use super::memory::KEEP;
use super::usage::NoUsage;
use runs::json::SCHEMA;

/// Attributes by which failures can be grouped, in the order of [`super::Key`].
pub const BY: [&str; 7] =
    ["exception.slug", "build.commit_sha", "service.name", "error.type", "name", "tenant.id", "work_tracker.issue_id"];
/// Index of the issue in [`BY`].
const ISSUE: usize = 6;

/// A name that is not in [`BY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failures can be grouped by {}", BY.join(", "))]
pub struct UnknownGrouping;

/// Parameters of a report.
pub struct Asked {
    /// Length of the period up to now, ns.
    pub since: u64,
    /// Maximum number of groups.
    pub limit: usize,
    /// Samples per group.
    pub samples: usize,
    /// Indexes into [`BY`].
    pub by: Vec<usize>,
}

impl Asked {
    /// The defaults: 24 hours, 20 groups, 5 samples, by slug, commit and service.
    pub fn usual() -> Self {
        Self { since: DAY, limit: 20, samples: 5, by: vec![0, 1, 2] }
    }

    /// Parses a comma-separated list of names from [`BY`].
    ///
    /// # Errors
    /// A name is not in [`BY`].
    pub fn by(names: &str) -> Result<Vec<usize>, UnknownGrouping> {
        let place = |name: &str| {
            let known = BY.iter().position(|known| *known == name.trim());
            known.ok_or(UnknownGrouping)
        };
        let mut places: Vec<usize> = names.split(',').map(place).collect::<Result<_, _>>()?;
        let mut seen = BTreeSet::new();
        places.retain(|place| seen.insert(*place));
        Ok(places)
    }
}

/// One group of failing spans.
pub struct Grouped {
    /// Values in the order of the field `by` of [`Asked`]; "" = none.
    pub values: Vec<Arc<str>>,
    /// Number of spans.
    pub count: u64,
    /// Issues named by the spans.
    pub issues: BTreeSet<Arc<str>>,
    /// Some of the spans, latest first.
    pub samples: Vec<Arc<Sample>>,
}

/// The report.
pub struct Report {
    /// Parameters of the report.
    pub asked: Asked,
    /// Time of the report, unix ns.
    pub at: u64,
    /// Number of all failing spans.
    pub spans: u64,
    /// Number of all groups, including those left out.
    pub groups: usize,
    /// The largest groups.
    pub largest: Vec<Grouped>,
    /// Sum over the runs of the period, live ones up to now.
    pub sum: Counted,
    /// Their model calls whose client reported no usage.
    pub no_usage: NoUsage,
}

/// Makes the report of failing spans and runs.
pub fn report(failures: &Failures, runs: &[Arc<Entry>], asked: Asked, now: u64) -> Report {
    let from = now.saturating_sub(asked.since.min(KEEP));
    let values =
        |key: &Key| -> Vec<Arc<str>> { asked.by.iter().filter_map(|place| key.get(*place)).map(Arc::clone).collect() };
    let mut groups: BTreeMap<Vec<Arc<str>>, Grouped> = BTreeMap::new();
    let mut spans = 0;
    for (key, count) in failures.counts(from) {
        spans += count;
        let values = values(&key);
        let group = groups.entry(values.clone());
        let group = group.or_insert_with(|| Grouped { values, count: 0, issues: BTreeSet::new(), samples: Vec::new() });
        group.count += count;
        group.issues.extend(key.get(ISSUE).filter(|issue| !issue.is_empty()).cloned());
    }
    for sample in failures.samples(from) {
        let group = groups.get_mut(&values(&sample.key)).filter(|group| group.samples.len() < asked.samples);
        group.into_iter().for_each(|group| group.samples.push(Arc::clone(&sample)));
    }
    let count = groups.len();
    let mut largest: Vec<Grouped> = groups.into_values().collect();
    largest.sort_by(|a, b| (Reverse(a.count), &a.values).cmp(&(Reverse(b.count), &b.values)));
    largest.truncate(asked.limit);
    let window = Window { from, to: now };
    let inside = || runs.iter().filter(|run| window.place(run).is_some()).map(AsRef::as_ref);
    let (sum, no_usage) = (Counted::all(inside()), NoUsage::of(inside()));
    Report { asked, at: now, spans, groups: count, largest, sum, no_usage }
}

impl Report {
    fn names(&self) -> Vec<&'static str> {
        self.asked.by.iter().filter_map(|place| BY.get(*place)).copied().collect()
    }
}

/// The report as JSON (schema: docs/runs.md). `link` returns the URL of a sample's trace.
pub fn report_json(report: &Report, link: &dyn Fn(&Sample) -> Option<String>) -> Value {
    let names = report.names();
    let sample = |sample: &Arc<Sample>| {
        let named = BY.iter().zip(&sample.key).filter(|(_, value)| !value.is_empty());
        let mut fields: Map<String, Value> =
            named.map(|(name, value)| ((*name).to_owned(), Value::from(&**value))).collect();
        let attributes: Map<String, Value> =
            sample.attributes.iter().map(|(key, value)| (key.to_string(), Value::from(&**value))).collect();
        fields.insert("time".into(), time(sample.at));
        fields.insert("trace_id".into(), (&*sample.trace).into());
        fields.insert("span_id".into(), (&*sample.span).into());
        fields.insert("duration_seconds".into(), (sample.duration as f64 / 1e9).into());
        fields.insert("status_message".into(), (&*sample.status).into());
        fields.insert("attributes".into(), attributes.into());
        fields.insert("trace_url".into(), link(sample).map_or(Value::Null, Value::from));
        Value::from(fields)
    };
    let group = |group: &Grouped| {
        let value = |value: &Arc<str>| if value.is_empty() { Value::Null } else { Value::from(&**value) };
        let by: Map<String, Value> =
            names.iter().zip(&group.values).map(|(name, text)| ((*name).to_owned(), value(text))).collect();
        json!({"by": by, "count": group.count, "issues": group.issues, "samples": group.samples.iter().map(sample).collect::<Vec<_>>()})
    };
    json!({
        "schema": SCHEMA,
        "made_at": time(report.at),
        "from": time(report.at.saturating_sub(report.asked.since.min(KEEP))),
        "runs": sums(&report.sum),
        "calls_without_usage": report.no_usage.json(),
        "selected": "name = \"claude_code.turn.stop_failure\" OR error = true",
        "by": names,
        "spans": report.spans,
        "group_count": report.groups,
        "groups": report.largest.iter().map(group).collect::<Vec<_>>(),
    })
}

/// Escapes text for a line of Markdown.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '!' | '~' | '&' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() || is_direction(c) => {}
            '/' if out.ends_with(":/") => {
                // A zero-width space keeps addresses, and mentions below, from becoming links.
                out.push_str("\u{200b}/");
            }
            '@' => out.push_str("@\u{200b}"),
            c => out.push(c),
        }
    }
    out
}

/// Characters that change the direction of text, or are invisible.
pub(super) fn is_direction(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{061c}' | '\u{feff}')
}

/// The exact cost; unpriced calls are mentioned, never counted as zero.
fn costs(sum: &Counted) -> String {
    let exact = runs::words::priced(sum.atto, sum.unpriced).map(runs::words::exact);
    let cost = exact.unwrap_or_else(|| runs::words::NO_PRICE.to_owned());
    match sum.unpriced {
        0 => cost,
        calls => format!("{cost}, {} without a price", counted(calls, "call")),
    }
}

/// The report as Markdown.
pub fn markdown(report: &Report, link: &dyn Fn(&Sample) -> Option<String>) -> String {
    let names = report.names();
    let hours = report.asked.since as f64 / 3.6e12;
    let mut out = format!(
        "# Failures of the last {hours:.1} h\n\n{} in {}",
        counted(report.spans, "failing span"),
        counted(report.groups, "group")
    );
    let sum = &report.sum;
    let _ = write!(out, " by {}; the {} largest.\n\n", names.join(", "), report.largest.len());
    let _ = writeln!(
        out,
        "Runs, live ones up to now: {} ({} live, {} failed), {}, cost {}.\n",
        sum.runs,
        sum.live,
        sum.failed,
        counted(sum.iterations, "iteration"),
        costs(sum)
    );
    if let Some(sentence) = report.no_usage.sentence(plain) {
        let _ = writeln!(out, "{sentence}\n");
    }
    for (number, group) in (1..).zip(&report.largest) {
        let title: Vec<String> =
            group.values.iter().map(|value| if value.is_empty() { "–".to_owned() } else { plain(value) }).collect();
        let _ = writeln!(out, "## {number}. {} × {}\n", group.count, title.join(" · "));
        if !group.issues.is_empty() {
            let issues: Vec<String> = group.issues.iter().map(|issue| plain(issue)).collect();
            let _ = writeln!(out, "Issues: {}\n", issues.join(", "));
        }
        for sample in &group.samples {
            let name = sample.key.get(4).map_or("", |name| &**name);
            let at = time(sample.at);
            let trace =
                link(sample).map_or_else(|| plain(&sample.trace), |url| format!("[{}]({url})", plain(&sample.trace)));
            let _ = writeln!(
                out,
                "- {} {} ({:.2} s), trace {trace}",
                at.as_str().unwrap_or(""),
                plain(name),
                sample.duration as f64 / 1e9
            );
            if !sample.status.is_empty() {
                let _ = writeln!(out, "  - {}", plain(&sample.status));
            }
            for (key, value) in &sample.attributes {
                let _ = writeln!(out, "  - {}: {}", plain(key), plain(value));
            }
        }
        out.push('\n');
    }
    out
}

/// The comment on a ticket: the agents' work on it.
pub struct JiraComment {
    /// The issue.
    pub issue: String,
    /// Text in Jira's markup.
    pub text: String,
    /// Number of runs it covers.
    pub runs: usize,
}

impl JiraComment {
    /// The comment for the runs of an issue. `link` returns the URL of a run's trace, `vault` the location of its
    /// content.
    pub fn of(
        issue: &str,
        runs: &[Arc<Entry>],
        link: &dyn Fn(&Entry) -> Option<String>,
        vault: &dyn Fn(&Entry) -> Option<String>,
    ) -> Self {
        let mut of_issue: Vec<&Arc<Entry>> = runs.iter().filter(|run| run.issue.as_deref() == Some(issue)).collect();
        of_issue.sort_by_key(|run| run.start);
        let mut sessions: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        of_issue.iter().for_each(|run| sessions.entry(&run.session).or_default().push(run));
        let mut text = format!(
            "tollgate: {} in {} for {}\n",
            counted(of_issue.len(), "agent run"),
            counted(sessions.len(), "session"),
            jira(issue)
        );
        for (session, runs) in sessions {
            let sum = Counted::all(runs.iter().copied());
            let start = runs.iter().map(|run| run.start).filter(|start| *start != 0).min().unwrap_or(0);
            let last = runs.iter().map(|run| run.at).max().unwrap_or(0);
            let writes: u64 = runs.iter().map(|run| run.writes).sum();
            let seconds = last.saturating_sub(if start == 0 { last } else { start }) / 1_000_000_000;
            let _ = writeln!(text, "* session: {}", jira(session));
            let _ = writeln!(text, "** tool calls: {} ({} failed)", sum.tool_calls, sum.tool_failures);
            let _ = writeln!(text, "** duration: {} min {} s", seconds / 60, seconds % 60);
            let _ = writeln!(text, "** edits: {} tool calls that change something", writes);
            let _ = writeln!(text, "** cost: {}", costs(&sum));
            let most_expensive = runs.iter().max_by_key(|run| run.atto);
            if let Some(url) = most_expensive.and_then(|run| link(run)) {
                let _ = writeln!(text, "** trace: {url}");
            }
            if let Some(place) = most_expensive.and_then(|run| vault(run)) {
                let _ = writeln!(text, "** s3_uri: {place}");
            }
        }
        Self { issue: issue.to_owned(), text, runs: of_issue.len() }
    }
}

/// Escapes text for Jira's markup.
fn jira(text: &str) -> String {
    let shown = text.chars().filter(|c| !c.is_control() && !is_direction(*c));
    shown
        .flat_map(|c| {
            matches!(c, '{' | '}' | '[' | ']' | '*' | '|' | '!' | '\\').then_some('\\').into_iter().chain([c])
        })
        .collect()
}
