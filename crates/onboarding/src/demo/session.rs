//! The session that is played: requests of a real Claude Code, recorded offline, a span added by the demo, and calls of
//! a Codex on a subscription, as OTLP/JSON. Times are moved so that the session has just ended.

use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Duration, OffsetDateTime};

use command::error::CommandError;
use kernel::clock::UnixNanos;
use otlp::{Signal, json};

pub(super) const CLIENT: &str = "Claude Code 2.1.328 and Codex (subscription)";

/// The requests of `tests/recordings/claude-code/plain`, in order of arrival.
const RECORDED: [(Signal, &[u8]); 11] = [
    (Signal::Logs, include_bytes!("../../../../config/demo/001-logs.pb")),
    (Signal::Traces, include_bytes!("../../../../config/demo/002-traces.pb")),
    (Signal::Logs, include_bytes!("../../../../config/demo/003-logs.pb")),
    (Signal::Metrics, include_bytes!("../../../../config/demo/004-metrics.pb")),
    (Signal::Traces, include_bytes!("../../../../config/demo/005-traces.pb")),
    (Signal::Logs, include_bytes!("../../../../config/demo/006-logs.pb")),
    (Signal::Traces, include_bytes!("../../../../config/demo/007-traces.pb")),
    (Signal::Logs, include_bytes!("../../../../config/demo/008-logs.pb")),
    (Signal::Traces, include_bytes!("../../../../config/demo/009-traces.pb")),
    (Signal::Logs, include_bytes!("../../../../config/demo/010-logs.pb")),
    (Signal::Metrics, include_bytes!("../../../../config/demo/011-metrics.pb")),
];
/// The latest time in the recording, in Unix nanoseconds.
const RECORDED_END: u64 = 1_795_165_533_161_000_000;

/// An added span of a service, with text that redaction must remove.
const ADDED: &str = include_str!("../../../../config/demo/added.json");
/// Calls of another client, which says that it is signed in with a subscription: their price is not to pay.
const SUBSCRIPTION: &str = include_str!("../../../../config/demo/subscription.json");
/// The private texts of the added span, which must not go out.
pub(super) const ADDED_SECRETS: [&str; 5] = [
    "ada.lovelace@example.com",
    "4111 1111 1111 1111",
    "4111111111111111",
    "AKIAQ3EGRIU2SZKWX4FN",
    "demo-4f6c2b9e1d7a8035",
];
pub(super) const ADDED_SPAN: &str = "POST /v1/refunds";

/// The session's requests in OTLP/JSON, as if it had ended at `now`.
pub(super) fn build_session(now: UnixNanos) -> Result<Vec<(Signal, String)>, CommandError> {
    let mut requests = Vec::new();
    for (signal, body) in RECORDED {
        let mut request = String::new();
        json::encode(signal, body, &mut request).map_err(|error| error.to_string())?;
        requests.push((signal, request));
    }
    requests.push((Signal::Traces, ADDED.to_owned()));
    requests.push((Signal::Logs, SUBSCRIPTION.to_owned()));
    for (_, request) in &mut requests {
        let mut value = serde_json::from_str(request).map_err(|error| error.to_string())?;
        shift_times(&mut value, now.0.saturating_sub(RECORDED_END));
        *request = value.to_string();
    }
    Ok(requests)
}

/// Moves all times later by `nanos`.
fn shift_times(value: &mut Value, nanos: u64) {
    value.as_array_mut().into_iter().flatten().for_each(|value| shift_times(value, nanos));
    for (name, member) in value.as_object_mut().into_iter().flatten() {
        match member.as_str() {
            Some(text) => *member = shift_time(name, text, nanos).unwrap_or_else(|| text.to_owned()).into(),
            None => shift_times(member, nanos),
        }
    }
}

/// A later time, if the text is one: of Unix nanoseconds, or RFC 3339 with milliseconds.
fn shift_time(name: &str, text: &str, nanos: u64) -> Option<String> {
    if name.ends_with("UnixNano") {
        let time: u64 = text.parse().ok().filter(|time| *time > 0)?;
        return Some(time.saturating_add(nanos).to_string());
    }
    let later =
        OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_add(Duration::nanoseconds(nanos.try_into().ok()?))?;
    later.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z")).ok()
}
