//! `/report`: failing spans in groups, as Markdown or JSON. `/report/issue/{id}`: what agents did for an issue.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::overview::add_vault_fields;
use super::{AdminPages, PageQuery, json_error, json_response};
use history::{
    FailureSample, JiraComment, RETENTION, ReportParameters, UnknownGrouping, build_report, report_json,
    report_markdown,
};
use runs::RunView;
use runs::json::SCHEMA;
use telemetry::admin::links::TraceTarget;
use telemetry::moved_keys::{KEEP_RULE, MovedKey, VaultSummary};

/// Maximum number of groups, and of samples of a group, in one response.
const MAX_GROUPS: usize = 1000;
const MAX_SAMPLES: usize = 10;

/// A parameter of `/report` is invalid.
#[derive(Debug, thiserror::Error)]
enum ReportQueryError {
    #[error("`since` must be a number with m, h or d, up to 48h")]
    Since,
    #[error(transparent)]
    By(#[from] UnknownGrouping),
}

/// Parses `90m`, `24h` or `2d` to nanoseconds, at most `max`.
pub(super) fn parse_since(text: &str, max: u64) -> Option<u64> {
    let unit = match text.chars().last()? {
        'm' => 60_u64,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text.trim_end_matches(['m', 'h', 'd']).parse().ok()?;
    Some(number.saturating_mul(unit).saturating_mul(1_000_000_000)).filter(|span| (1..=max).contains(span))
}

fn parse_parameters(query: &PageQuery) -> Result<ReportParameters, ReportQueryError> {
    let mut parameters = ReportParameters::defaults();
    if !query.since.is_empty() {
        parameters.since = parse_since(&query.since, RETENTION).ok_or(ReportQueryError::Since)?;
    }
    if !query.by.is_empty() {
        parameters.by = ReportParameters::parse_grouping(&query.by)?;
    }
    parameters.limit = query.limit.unwrap_or(parameters.limit).clamp(1, MAX_GROUPS);
    parameters.samples = query.samples.unwrap_or(parameters.samples).min(MAX_SAMPLES);
    Ok(parameters)
}

pub(super) fn report_response(pages: &AdminPages, query: &PageQuery, as_json: bool) -> Response {
    let parameters = match parse_parameters(query) {
        Ok(parameters) => parameters,
        Err(why) => return json_error(StatusCode::BAD_REQUEST, &why.to_string()),
    };
    let report = build_report(&pages.failures, &pages.runs, parameters, pages.now());
    let link = |sample: &FailureSample| {
        let start = sample.at.saturating_sub(sample.duration);
        let service = sample.key.get(2).map_or("", |service| &**service);
        let target = TraceTarget { trace: &sample.trace, span: &sample.span, start, end: sample.at, service };
        pages.link.as_ref()?.url(&target)
    };
    if as_json {
        let mut value = report_json(&report, &link);
        if let Value::Object(fields) = &mut value {
            add_vault_fields(fields, pages);
        }
        return json_response(&value);
    }
    let text = format!("{}{}", report_markdown(&report, &link), moved_keys_text(pages));
    ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], text).into_response()
}

/// Lists keys whose values moved to the vault, and the lines that keep them; empty if there are none. Keys look like
/// names, so they are written as code.
fn moved_keys_text(pages: &AdminPages) -> String {
    let VaultSummary { moved_keys, keep_lines, .. } = VaultSummary::from_meter(&pages.services.meter);
    if moved_keys.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "## Keys whose values moved to the vault since the gateway started\n\nNo list names these keys; {KEEP_RULE}.\n\n"
    );
    for MovedKey { key, count, .. } in moved_keys {
        text.push_str(&format!("- {} × `{key}`\n", runs::amounts::format_count(count)));
    }
    for line in keep_lines {
        text.push_str(&format!("\nTo keep them, add under `processors`: `{line}`\n"));
    }
    text
}

pub(super) fn issue_response(pages: &AdminPages, id: &str, as_json: bool) -> Response {
    let link = |run: &RunView| pages.trace_url(run);
    let vault_folder = |run: &RunView| Some(format!("{}/{}", pages.vault.as_deref()?, session_folder(run)));
    let from = pages.now().saturating_sub(RETENTION);
    let comment = JiraComment::for_issue(id, (&pages.runs, from), &link, &vault_folder);
    if comment.runs == 0 {
        return json_error(StatusCode::NOT_FOUND, "no run in the last 48 hours names this issue");
    }
    if as_json {
        return json_response(
            &json!({"schema": SCHEMA, "issue": comment.issue, "runs": comment.runs, "comment": comment.text}),
        );
    }
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], comment.text).into_response()
}

fn session_folder(run: &RunView) -> String {
    let tenant = run.tenant.as_deref().unwrap_or("unattributed");
    kernel::folders::session_folder(&run.account, tenant, &run.session)
}
