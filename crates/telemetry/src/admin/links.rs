//! `trace_link`: the address of a trace in the back end. Addresses are `http` or `https`, and inserted values are
//! percent-encoded, so that an id can't change the target.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, address};

/// Placeholders that a template may contain.
const PLACEHOLDERS: [&str; 7] = ["trace_id", "span_id", "start_s", "end_s", "start_ms", "end_ms", "service"];
/// Seconds added on both sides of a trace's time range, in case its recorded start or end is slightly off.
const TIME_MARGIN_SECONDS: u64 = 60;

/// A back end with known addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceBackend {
    /// `base`: `https://ui.honeycomb.io/TEAM/environments/ENVIRONMENT/datasets/DATASET` (EU: `ui.eu1.honeycomb.io`).
    Honeycomb,
    /// `base`: the address of SigNoz.
    Signoz,
    /// `base`: the address of Jaeger.
    Jaeger,
    /// `base`: the address of Grafana; `data_source`: the uid of the Tempo data source.
    Tempo,
    /// `base`: the address of Phoenix.
    Phoenix,
    /// `base`: `https://HOST/project/PROJECT`.
    Langfuse,
    /// `base`: `https://HOST/ORGANIZATION/PROJECT`.
    Logfire,
    /// `base`: the address of HyperDX.
    Hyperdx,
}

impl TraceBackend {
    /// The path and query that follow `base`.
    fn path(self) -> &'static str {
        match self {
            Self::Honeycomb => {
                "/trace?trace_id={trace_id}&span={span_id}&trace_start_ts={start_s}&trace_end_ts={end_s}"
            }
            Self::Signoz => "/trace/{trace_id}?spanId={span_id}",
            Self::Jaeger | Self::Hyperdx => "/trace/{trace_id}",
            // One pane with one TraceQL query for the trace id, and the time range.
            Self::Tempo => {
                "/explore?schemaVersion=1&orgId=1&panes=%7B%22a%22%3A%7B%22datasource%22%3A%22{data_source}%22%2C%22queries%22%3A%5B%7B%22refId%22%3A%22A%22%2C%22queryType%22%3A%22traceql%22%2C%22query%22%3A%22{trace_id}%22%7D%5D%2C%22range%22%3A%7B%22from%22%3A%22{start_ms}%22%2C%22to%22%3A%22{end_ms}%22%7D%7D%7D"
            }
            Self::Phoenix => "/redirects/traces/{trace_id}",
            Self::Langfuse => "/traces/{trace_id}",
            Self::Logfire => "?q=trace_id%3D%27{trace_id}%27",
        }
    }
}

/// The address of a trace in the back end: set `back_end` and its `base`, or a `template` of your own.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TraceLinkConfig {
    /// A back end with known addresses; needs `base`.
    pub back_end: Option<TraceBackend>,
    /// The beginning of the back end's addresses; see `back_end`.
    pub base: Option<String>,
    /// The uid of Grafana's Tempo data source; needed with `tempo` only.
    pub data_source: Option<String>,
    /// An address that contains `{trace_id}`, and optionally `{span_id}`, `{start_s}`, `{end_s}`, `{start_ms}`,
    /// `{end_ms}`, `{service}`. Replaces `back_end` and `base`.
    pub template: Option<String>,
}

/// The span that a link points to.
#[derive(Clone, Copy)]
pub struct TraceTarget<'a> {
    /// Trace id in hex; "" if there is none.
    pub trace: &'a str,
    /// Span id in hex, or "".
    pub span: &'a str,
    /// Start, in Unix nanoseconds.
    pub start: u64,
    /// End, in Unix nanoseconds.
    pub end: u64,
    /// `service.name`, or "".
    pub service: &'a str,
}

/// A checked address template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLink(String);

impl TraceLinkConfig {
    /// Validates the settings. `None` means that there are no links.
    pub(super) fn settings(&self, problems: &mut Vec<FieldProblem>) -> Option<TraceLink> {
        let mut add_problem =
            |field: &str, what: &str| problems.push(FieldProblem::new(format!("trace_link.{field}"), what));
        let template = match (&self.template, self.back_end, &self.base) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                add_problem("template", "can't be combined with `back_end` or `base`: remove them");
                return None;
            }
            (Some(template), None, None) => template.clone(),
            (None, Some(back_end), Some(base)) => {
                let data_source = self.data_source.as_deref().unwrap_or("");
                if (back_end == TraceBackend::Tempo) != self.data_source.is_some() {
                    add_problem("data_source", "is required with the back end `tempo` and not allowed with any other");
                }
                let path = back_end.path().replace("{data_source}", &percent_encode(data_source));
                format!("{}{path}", base.trim_end_matches('/'))
            }
            (None, None, None) => return None,
            (None, Some(_), None) => {
                add_problem("base", "is missing: set the address at which the back end's pages begin");
                return None;
            }
            (None, None, Some(_)) => {
                add_problem("back_end", "is missing: name the back end that `base` belongs to");
                return None;
            }
        };
        let field = if self.template.is_some() { "template" } else { "base" };
        if template.chars().any(|c| c.is_whitespace() || c.is_control()) {
            add_problem(field, "contains white space: write it as `%20`");
        } else if let Err(what) = address::parse_url(origin_of_template(&template)) {
            add_problem(field, &what);
        }
        let mut names = template.split('{').skip(1).map(|rest| rest.split('}').next().unwrap_or(""));
        if names.any(|name| !PLACEHOLDERS.contains(&name)) {
            add_problem(
                field,
                "may contain only {trace_id}, {span_id}, {start_s}, {end_s}, {start_ms}, {end_ms} and {service}",
            );
        }
        if !template.contains("{trace_id}") {
            add_problem(field, "must contain {trace_id}");
        }
        problems.is_empty().then_some(TraceLink(template))
    }
}

/// The part before path, query and fragment. Those may contain placeholders, which are not valid in a URL.
fn origin_of_template(template: &str) -> &str {
    let start = template.find("://").map_or(0, |at| at.saturating_add(3));
    let end = template.get(start..).and_then(|rest| rest.find(['/', '?', '#']));
    end.and_then(|end| template.get(..start.saturating_add(end))).unwrap_or(template)
}

fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

impl TraceLink {
    /// The address of a trace; `None` without a trace id.
    pub fn url(&self, target: &TraceTarget<'_>) -> Option<String> {
        if target.trace.is_empty() {
            return None;
        }
        let start = (target.start / 1_000_000_000).saturating_sub(TIME_MARGIN_SECONDS);
        let end = (target.end / 1_000_000_000).max(start).saturating_add(TIME_MARGIN_SECONDS);
        let numbers =
            [start, end, start.saturating_mul(1000), end.saturating_mul(1000)].map(|number| number.to_string());
        let [start_s, end_s, start_ms, end_ms] = numbers;
        let values = [
            percent_encode(target.trace),
            percent_encode(target.span),
            start_s,
            end_s,
            start_ms,
            end_ms,
            percent_encode(target.service),
        ];
        let mut url = self.0.clone();
        for (name, value) in PLACEHOLDERS.iter().zip(values) {
            url = url.replace(&format!("{{{name}}}"), &value);
        }
        Some(url)
    }
}
