//! [`build_report`]: failing spans of a period in groups, with samples and issues, for an agent or a person who reads
//! the report in the morning; [`JiraComment`]: the comment on a ticket.
//! Groups are ordered by count, then by name; `schema` is as in `runs::json`. In Markdown every text is escaped.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use kernel::terminal::{format_count, is_unsafe};
use serde_json::{Map, Value, json};

use super::board::RunBoard;
use super::failures::{DAY, FailedSpans, FailureKey, FailureSample, GROUPINGS, RETENTION};
use super::figures::{FigureBuilder, TimeWindow, WindowFigures};
use super::json::sums_json;
use super::usage::CallsWithoutUsage;
use runs::json::{SCHEMA, time};
use runs::{FirstRuns, LargestFirst, RunRecord, RunView, RunWork, UsageSum};

/// Indexes of the span's name and of the issue in [`GROUPINGS`].
const SPAN_NAME: usize = 4;
const ISSUE: usize = 6;

/// A name that is not in [`GROUPINGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failures can be grouped by {}", GROUPINGS.join(", "))]
pub struct UnknownGrouping;

pub struct ReportParameters {
    /// Length of the period up to now, ns.
    pub since: u64,
    /// Maximum number of groups.
    pub limit: usize,
    /// Samples per group.
    pub samples: usize,
    /// Indexes into [`GROUPINGS`].
    pub by: Vec<usize>,
}

impl ReportParameters {
    /// The defaults: 24 hours, 20 groups, 1 sample, by slug, commit and service.
    pub fn defaults() -> Self {
        Self { since: DAY, limit: 20, samples: 1, by: vec![0, 1, 2] }
    }

    /// Parses a comma-separated list of names from [`GROUPINGS`].
    ///
    /// # Errors
    /// A name is not in [`GROUPINGS`].
    pub fn parse_grouping(names: &str) -> Result<Vec<usize>, UnknownGrouping> {
        let index = |name: &str| {
            let known = GROUPINGS.iter().position(|known| *known == name.trim());
            known.ok_or(UnknownGrouping)
        };
        let mut indexes: Vec<usize> = names.split(',').map(index).collect::<Result<_, _>>()?;
        let mut seen = BTreeSet::new();
        indexes.retain(|index| seen.insert(*index));
        Ok(indexes)
    }
}

/// One group of failing spans.
pub struct FailureGroup {
    /// Values in the order of the field `by` of [`ReportParameters`]; "" = none.
    pub values: Vec<Arc<str>>,
    /// Number of spans.
    pub count: u64,
    /// Issues named by the spans.
    pub issues: BTreeSet<Arc<str>>,
    /// Some of the spans, latest first.
    pub samples: Vec<Arc<FailureSample>>,
}

pub struct FailureReport {
    pub parameters: ReportParameters,
    /// Time of the report, unix ns.
    pub at: u64,
    /// Number of all failing spans.
    pub spans: u64,
    /// Number of all groups, including those left out.
    pub groups: usize,
    pub largest: Vec<FailureGroup>,
    /// Sum over the runs of the period, live ones up to now.
    pub sum: UsageSum,
    /// The model calls of these runs whose client reported no usage.
    pub no_usage: CallsWithoutUsage,
}

/// Makes the report of failing spans and runs.
pub fn build_report(failures: &FailedSpans, runs: &RunBoard, parameters: ReportParameters, now: u64) -> FailureReport {
    let from = now.saturating_sub(parameters.since.min(RETENTION));
    let group_values = |key: &FailureKey| -> Vec<Arc<str>> {
        parameters.by.iter().filter_map(|index| key.get(*index)).map(Arc::clone).collect()
    };
    let mut groups: BTreeMap<Vec<Arc<str>>, FailureGroup> = BTreeMap::new();
    let mut spans = 0;
    for (key, count) in failures.counts(from) {
        spans += count;
        let values = group_values(&key);
        let group = groups.entry(values.clone());
        let group =
            group.or_insert_with(|| FailureGroup { values, count: 0, issues: BTreeSet::new(), samples: Vec::new() });
        group.count += count;
        group.issues.extend(key.get(ISSUE).filter(|issue| !issue.is_empty()).cloned());
    }
    for sample in failures.samples(from) {
        let group = groups.get_mut(&group_values(&sample.key)).filter(|group| group.samples.len() < parameters.samples);
        group.into_iter().for_each(|group| group.samples.push(Arc::clone(&sample)));
    }
    let group_count = groups.len();
    let mut largest: Vec<FailureGroup> = groups.into_values().collect();
    largest.sort_by(|a, b| (Reverse(a.count), &a.values).cmp(&(Reverse(b.count), &b.values)));
    largest.truncate(parameters.limit);
    let mut figures = FigureBuilder::new(TimeWindow { from, to: now });
    runs.visit_runs(from, &mut |run| figures.add(run));
    let WindowFigures { sum, no_usage, .. } = figures.finish();
    FailureReport { parameters, at: now, spans, groups: group_count, largest, sum, no_usage }
}

impl FailureReport {
    fn grouping_names(&self) -> Vec<&'static str> {
        self.parameters.by.iter().filter_map(|index| GROUPINGS.get(*index)).copied().collect()
    }
}

/// The report as JSON (schema: docs/runs.md). `link` returns the URL of a sample's trace.
pub fn report_json(report: &FailureReport, link: &dyn Fn(&FailureSample) -> Option<String>) -> Value {
    let names = report.grouping_names();
    let sample = |sample: &Arc<FailureSample>| {
        let grouping_values = GROUPINGS.iter().zip(&sample.key).filter(|(_, value)| !value.is_empty());
        let mut fields: Map<String, Value> =
            grouping_values.map(|(name, value)| ((*name).to_owned(), Value::from(&**value))).collect();
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
    let group = |group: &FailureGroup| {
        let value = |value: &Arc<str>| if value.is_empty() { Value::Null } else { Value::from(&**value) };
        let by: Map<String, Value> =
            names.iter().zip(&group.values).map(|(name, text)| ((*name).to_owned(), value(text))).collect();
        json!({"by": by, "count": group.count, "issues": group.issues, "samples": group.samples.iter().map(sample).collect::<Vec<_>>()})
    };
    json!({
        "schema": SCHEMA,
        "generated_at": time(report.at),
        "from": time(report.at.saturating_sub(report.parameters.since.min(RETENTION))),
        "runs": sums_json(&report.sum),
        "calls_without_usage": report.no_usage.json(),
        "selected": "name = \"claude_code.turn.stop_failure\" OR error = true",
        "by": names,
        "spans": report.spans,
        "group_count": report.groups,
        "groups": report.largest.iter().map(group).collect::<Vec<_>>(),
    })
}

fn escape_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => escaped.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '!' | '~' | '&' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c if is_unsafe(c) => {}
            '/' if escaped.ends_with(":/") => {
                // A zero-width space keeps addresses, and mentions below, from becoming links.
                escaped.push_str("\u{200b}/");
            }
            '@' => escaped.push_str("@\u{200b}"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The exact cost; unpriced calls are mentioned, never counted as zero.
fn format_cost(sum: &UsageSum) -> String {
    let exact_cost = runs::amounts::cost_if_priced(sum.atto_usd, sum.unpriced).map(runs::amounts::format_exact_usd);
    let mut cost = exact_cost.unwrap_or_else(|| runs::amounts::NO_PRICE.to_owned());
    if sum.covered_atto_usd != 0 {
        cost += &format!(" (API-equivalent; {} to pay)", runs::amounts::format_exact_usd(sum.payable()));
    }
    match sum.unpriced {
        0 => cost,
        calls => format!("{cost}, {} without a price", format_count(calls, "call")),
    }
}

pub fn report_markdown(report: &FailureReport, link: &dyn Fn(&FailureSample) -> Option<String>) -> String {
    let names = report.grouping_names();
    let hours = report.parameters.since as f64 / 3.6e12;
    let mut out = format!(
        "# Failures of the last {hours:.1} h\n\n{} in {}",
        format_count(report.spans, "failing span"),
        format_count(report.groups, "group")
    );
    let sum = &report.sum;
    let _ = write!(out, " by {}; the {} largest.\n\n", names.join(", "), report.largest.len());
    let _ = writeln!(
        out,
        "Runs: {} ({} live, counted up to now; {} failed), {}, cost {}.\n",
        sum.runs,
        sum.live,
        sum.failed,
        format_count(sum.iterations, "iteration"),
        format_cost(sum)
    );
    if let Some(sentence) = report.no_usage.sentence(escape_markdown) {
        let _ = writeln!(out, "{sentence}\n");
    }
    for (number, group) in (1..).zip(&report.largest) {
        let title: Vec<String> = group
            .values
            .iter()
            .map(|value| if value.is_empty() { "–".to_owned() } else { escape_markdown(value) })
            .collect();
        let _ = writeln!(out, "## {number}. {} × {}\n", group.count, title.join(" · "));
        if !group.issues.is_empty() {
            let issues: Vec<String> = group.issues.iter().map(|issue| escape_markdown(issue)).collect();
            let _ = writeln!(out, "Issues: {}\n", issues.join(", "));
        }
        for sample in &group.samples {
            let name = sample.key.get(SPAN_NAME).map_or("", |name| &**name);
            let at = time(sample.at);
            let trace = link(sample).map_or_else(
                || escape_markdown(&sample.trace),
                |url| format!("[{}]({url})", escape_markdown(&sample.trace)),
            );
            let _ = writeln!(
                out,
                "- {} {} ({:.2} s), trace {trace}",
                at.as_str().unwrap_or(""),
                escape_markdown(name),
                sample.duration as f64 / 1e9
            );
            if !sample.status.is_empty() {
                let _ = writeln!(out, "  - {}", escape_markdown(&sample.status));
            }
            for (key, value) in &sample.attributes {
                let _ = writeln!(out, "  - {}: {}", escape_markdown(key), escape_markdown(value));
            }
        }
        out.push('\n');
    }
    out
}

/// The tool by which Claude Code submits its plan.
const PLAN_TOOL: &str = "ExitPlanMode";

/// The comment on a ticket: the agents' work on it.
pub struct JiraComment {
    pub issue: String,
    pub text: String,
    /// Number of runs it covers.
    pub runs: u64,
}

/// The runs of one session for an issue.
struct SessionWork {
    sum: UsageSum,
    writes: u64,
    work: RunWork,
    /// First event, if known.
    start: Option<u64>,
    last: u64,
    most_expensive: FirstRuns<LargestFirst>,
    /// The first run that submitted a plan.
    planned: FirstRuns<u64>,
}

impl SessionWork {
    fn new() -> Self {
        let (most_expensive, planned) = (FirstRuns::new(1), FirstRuns::new(1));
        let (sum, work) = (UsageSum::default(), RunWork::default());
        Self { sum, writes: 0, work, start: None, last: 0, most_expensive, planned }
    }

    fn add(&mut self, run: &RunRecord<'_>) {
        let sum = UsageSum::of_run(run);
        self.most_expensive.add(Reverse((sum.atto_usd, run.start)), run);
        if run.tools.iter().any(|(tool, _)| *tool == PLAN_TOOL) {
            self.planned.add(run.start, run);
        }
        self.sum.add(&sum);
        self.writes += run.writes;
        self.work.add(&run.work);
        self.start = self.start.into_iter().chain(Some(run.start).filter(|start| *start != 0)).min();
        self.last = self.last.max(run.last);
    }
}

impl JiraComment {
    /// The comment for an issue, of the runs of which the gateway heard later than `from`. `link` returns the URL of a
    /// run's trace, `vault` the location of its content.
    pub fn for_issue(
        issue: &str,
        (board, from): (&RunBoard, u64),
        link: &dyn Fn(&RunView) -> Option<String>,
        vault: &dyn Fn(&RunView) -> Option<String>,
    ) -> Self {
        let mut sessions: BTreeMap<String, SessionWork> = BTreeMap::new();
        board.visit_runs(from, &mut |run| {
            if run.issue == Some(issue) {
                sessions.entry(run.session.to_owned()).or_insert_with(SessionWork::new).add(run);
            }
        });
        let runs = sessions.values().map(|work| work.sum.runs).sum();
        let mut text = format!(
            "tollgate: {} in {} for {}\n",
            format_count(runs, "agent run"),
            format_count(sessions.len(), "session"),
            escape_jira(issue)
        );
        for (session, work) in sessions {
            let SessionWork { sum, writes, work, start, last, most_expensive, planned } = work;
            let seconds = last.saturating_sub(start.unwrap_or(last)) / 1_000_000_000;
            let _ = writeln!(text, "* session: {}", escape_jira(&session));
            let _ = writeln!(text, "** tool calls: {} ({} failed)", sum.tool_calls, sum.tool_failures);
            let _ = writeln!(text, "** duration: {} min {} s", seconds / 60, seconds % 60);
            let _ = writeln!(text, "** edits: {writes} tool calls that change something");
            write_work(&mut text, &work);
            let _ = writeln!(text, "** cost: {}", format_cost(&sum));
            if let Some(location) = planned.into_views().first().and_then(vault) {
                let _ = writeln!(text, "** plan: the call of {PLAN_TOOL} in {location}");
            }
            let most_expensive = most_expensive.into_views().pop();
            if let Some(url) = most_expensive.as_ref().and_then(link) {
                let _ = writeln!(text, "** trace: {url}");
            }
            if let Some(location) = most_expensive.as_ref().and_then(vault) {
                let _ = writeln!(text, "** s3_uri: {location}");
            }
        }
        Self { issue: issue.to_owned(), text, runs }
    }
}

/// Lines changed and the length of the last message, as far as they are known.
fn write_work(text: &mut String, work: &RunWork) {
    let [added, removed, characters, words] = work.counts();
    let shown = |count: u64| runs::amounts::format_count(count);
    if (added, removed) != (0, 0) {
        let _ = writeln!(text, "** lines: {} added, {} removed", shown(added), shown(removed));
    }
    if (characters, words) != (0, 0) {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let (characters, s) = (shown(characters), plural(characters));
        let _ = writeln!(text, "** summary: {characters} character{s}, {} word{}", shown(words), plural(words));
    }
}

fn escape_jira(text: &str) -> String {
    let visible = text.chars().filter(|c| !is_unsafe(*c));
    visible
        .flat_map(|c| {
            matches!(c, '{' | '}' | '[' | ']' | '*' | '|' | '!' | '\\').then_some('\\').into_iter().chain([c])
        })
        .collect()
}
