//! `/report`: failing spans in groups, as Markdown or JSON. `/report/issue/{id}`: what agents did for an issue.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::front::moved_keys;
use super::{Asked, Pages, answer, refused};
use history::{
    Asked as Wanted, Entry, JiraComment, KEEP, Sample, UnknownGrouping, markdown, report as make, report_json,
};
use runs::json::SCHEMA;
use telemetry::admin::links::Target;
use telemetry::moved::{KEEPS, Moved, Vaults};

/// Maximum number of groups, and of samples of a group, in one response.
const MOST_GROUPS: usize = 1000;
const MOST_SAMPLES: usize = 10;

/// A parameter of `/report` is invalid.
#[derive(Debug, thiserror::Error)]
enum WantedError {
    #[error("`since` is a number with m, h or d, up to 48h")]
    Since,
    #[error(transparent)]
    By(#[from] UnknownGrouping),
}

/// Parses `90m`, `24h` or `2d` to nanoseconds, up to the time that history keeps.
fn since(text: &str) -> Result<u64, WantedError> {
    let unit = match text.chars().last() {
        Some('m') => 60_u64,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(WantedError::Since),
    };
    let number: u64 = text.trim_end_matches(['m', 'h', 'd']).parse().map_err(|_| WantedError::Since)?;
    let span = number.saturating_mul(unit).saturating_mul(1_000_000_000);
    if span == 0 || span > KEEP { Err(WantedError::Since) } else { Ok(span) }
}

fn wanted(asked: &Asked) -> Result<Wanted, WantedError> {
    let mut wanted = Wanted::usual();
    if !asked.since.is_empty() {
        wanted.since = since(&asked.since)?;
    }
    if !asked.by.is_empty() {
        wanted.by = Wanted::by(&asked.by)?;
    }
    wanted.limit = asked.limit.unwrap_or(wanted.limit).clamp(1, MOST_GROUPS);
    wanted.samples = asked.samples.unwrap_or(wanted.samples).min(MOST_SAMPLES);
    Ok(wanted)
}

pub(super) fn report(pages: &Pages, asked: &Asked, program: bool) -> Response {
    let wanted = match wanted(asked) {
        Ok(wanted) => wanted,
        Err(why) => return refused(StatusCode::BAD_REQUEST, &why.to_string()),
    };
    let report = make(&pages.failures, &pages.history.all(), wanted, pages.now());
    let link = |sample: &Sample| {
        let start = sample.at.saturating_sub(sample.duration);
        let service = sample.key.get(2).map_or("", |service| &**service);
        let target = Target { trace: &sample.trace, span: &sample.span, start, end: sample.at, service };
        pages.link.as_ref()?.url(&target)
    };
    if program {
        let mut all = report_json(&report, &link);
        if let Value::Object(fields) = &mut all {
            fields.insert("moved_keys".into(), moved_keys(&Vaults::of(&pages.meter)));
        }
        return answer(&all);
    }
    let text = format!("{}{}", markdown(&report, &link), moved_text(pages));
    ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], text).into_response()
}

/// Maximum number of moved keys in the report.
const KEYS: usize = 20;

/// Lists keys whose values moved to the vault; empty if there are none. Keys look like names, so they are written as
/// code.
fn moved_text(pages: &Pages) -> String {
    let keys = Vaults::of(&pages.meter).moved;
    if keys.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "## Keys whose values moved to the vault since the gateway started\n\nNobody listed them; {KEEPS}.\n\n"
    );
    for Moved { key, count, keep, .. } in keys.into_iter().take(KEYS) {
        let keep = keep.map_or_else(String::new, |keep| format!(": `{keep}`"));
        out.push_str(&format!("- {} × `{key}`{keep}\n", runs::words::count(count)));
    }
    out
}

pub(super) fn issue(pages: &Pages, id: &str, program: bool) -> Response {
    let link = |run: &Entry| pages.trace(run);
    let vault = |run: &Entry| Some(format!("{}/{}", pages.vault.as_deref()?, scope(run)));
    let comment = JiraComment::of(id, &pages.history.all(), &link, &vault);
    if comment.runs == 0 {
        return refused(StatusCode::NOT_FOUND, "no run of the last 48 hours names this issue");
    }
    if program {
        return answer(
            &json!({"schema": SCHEMA, "issue": comment.issue, "runs": comment.runs, "comment": comment.text}),
        );
    }
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], comment.text).into_response()
}

/// The folder of a run's session in the vault.
fn scope(run: &Entry) -> String {
    let tenant = run.tenant.as_deref().unwrap_or("unattributed");
    kernel::folders::session_folder(&run.account, tenant, &run.session)
}
