//! `POST /v1/budget`: whether a call may be made, for proxies in front of models; and the same question as Envoy's
//! `ext_authz` asks it over HTTP, in headers. `handler` knows the sender and commits the records.

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use crate::http_ports::reply::{self, RequestRefusal};
use budgets::{Answer, Names, Question, Verdict};
use kernel::calendar::rfc3339;
use kernel::clock::UnixNanos;
use kernel::terminal::escape_unsafe;
use net::listen::ReplyBody;

/// The path of questions in JSON.
pub(super) const BUDGET_PATH: &str = "/v1/budget";
/// The prefix that Envoy puts before the path of the request that it asks about.
pub(super) const CHECK_PATH: &str = "/v1/budget/check";
/// Largest question, in bytes.
pub(super) const MAX_QUESTION_BYTES: usize = 64 * 1024;
/// Longest name in a question, and longest note in a header, in bytes.
const MAX_NAME_BYTES: usize = 1024;
/// The keys of a question that are also headers, after `x-tollgate-`.
const HEADER_KEYS: [&str; 8] = ["session", "run", "user", "tenant", "feature", "issue", "service", "model"];
const NOTE_HEADER: HeaderName = HeaderName::from_static("x-tollgate-budget-note");
const MALFORMED: &str = "a question is a JSON object with any of the keys session, run, trace, user, tenant, feature, \
    issue, service, model (each a text) and can_ask (true or false)";

/// Reads a question in JSON.
///
/// # Errors
/// The body is not a valid question. Error texts never quote it.
pub(super) fn read_question(body: &[u8]) -> Result<Question, RequestRefusal> {
    let mut asked: Map<String, Value> = serde_json::from_slice(body).map_err(|_| malformed(MALFORMED))?;
    let can_ask =
        asked.remove("can_ask").unwrap_or(Value::Bool(false)).as_bool().ok_or_else(|| malformed(MALFORMED))?;
    let is_name = |name: &str| (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
    if !asked.values().all(|value| value.as_str().is_some_and(is_name)) {
        return Err(malformed("each name must be a text of 1 to 1024 bytes, without control characters"));
    }
    let trace = asked.remove("trace").and_then(|trace| Some(trace.as_str()?.to_ascii_lowercase()));
    if !trace.as_deref().is_none_or(is_trace) {
        return Err(malformed("`trace` must have 32 hex digits"));
    }
    let names: Names = serde_json::from_value(asked.into()).map_err(|_| malformed(MALFORMED))?;
    if names.run.is_some() && names.session.is_none() {
        return Err(malformed("`run` needs `session`: runs are known within their session"));
    }
    Ok(Question { names, trace, can_ask, ..Question::default() })
}

fn is_trace(trace: &str) -> bool {
    trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn malformed(what: &str) -> RequestRefusal {
    RequestRefusal::malformed_body(what.to_owned())
}

/// Reads a question from the headers of a request that a proxy asks about.
///
/// # Errors
/// A header is repeated, or is no name.
pub(super) fn read_headers(headers: &HeaderMap) -> Result<Question, RequestRefusal> {
    let mut asked = Map::new();
    let text = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().ok().filter(|_| values.next().is_none()));
        let refused = || malformed("each `x-tollgate-…` header must be ASCII and occur once");
        value.map(|value| value.ok_or_else(refused)).transpose()
    };
    for key in HEADER_KEYS {
        if let Some(name) = text(&format!("x-tollgate-{key}"))? {
            asked.insert(key.to_owned(), name.into());
        }
    }
    // https://www.w3.org/TR/trace-context/#traceparent-header: a malformed one counts as absent
    let trace = text("traceparent").ok().flatten().and_then(|parent| parent.split('-').nth(1));
    asked.extend(trace.filter(|trace| is_trace(trace)).map(|trace| ("trace".to_owned(), trace.into())));
    read_question(Value::Object(asked).to_string().as_bytes())
}

/// The answer in JSON. `knows_fleet`: its sums are those of all gateways.
pub(super) fn write_answer(answer: &Answer, knows_fleet: bool) -> Response<ReplyBody> {
    let time = |at: u64| (at > 0).then(|| rfc3339(UnixNanos(at)));
    let budgets = answer.budgets.iter().map(|used| {
        let [spent, limit] = [used.spent, used.limit].map(|number| used.measure.decimal(number));
        json!({
            "budget": used.budget, "key": used.key, "measure": used.measure.as_str(), "spent": spent, "limit": limit,
            "share": f64::from(used.share()) / 10_000.0, "until": time(used.until),
        })
    });
    let body = json!({
        "decision": answer.verdict.as_str(), "reason": answer.reason, "notes": answer.notes,
        "budgets": budgets.collect::<Vec<_>>(), "known_since": time(answer.known_since),
        "knows": if knows_fleet { "fleet" } else { "gateway" },
    });
    json_response(StatusCode::OK, body.to_string())
}

/// The answer by which a proxy lets a call pass, or refuses it with this body.
pub(super) fn write_check(answer: &Answer) -> Response<ReplyBody> {
    if answer.verdict != Verdict::Allow {
        let error = json!({"error": {"message": answer.reason, "type": "budget_exceeded"}});
        return json_response(StatusCode::FORBIDDEN, error.to_string());
    }
    let mut response = Response::new(reply::boxed(http_body_util::Empty::new()));
    let note: String = escape_unsafe(&answer.notes.join(" ")).chars().filter(|c| (' '..='~').contains(c)).collect();
    let note = note.get(..MAX_NAME_BYTES).unwrap_or(&note);
    if let Some(note) = HeaderValue::from_str(note).ok().filter(|note| !note.is_empty()) {
        response.headers_mut().insert(NOTE_HEADER, note);
    }
    response
}

/// A response with JSON.
pub(super) fn json_response(status: StatusCode, body: String) -> Response<ReplyBody> {
    let mut response = Response::new(reply::boxed(Full::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
