//! The session that is played: requests of a real Claude Code, recorded offline, and one span added by the demo. Every
//! id (session, prompt, request, trace, span) is replaced by a new one of the same length, consistently in all places.
//! Times are moved so that the session has just ended. All other bytes are the client's. `play` sends the requests.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::{AhoCorasick, MatchKind};
use bytes::Bytes;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::error::CommandError;
use kernel::clock::UnixNanos;
use kernel::rng::Rng;
use otlp::{Signal, json};

/// The recorded client and its version.
pub(super) const CLIENT: &str = "Claude Code 2.1.328";

/// The requests of `tests/recordings/claude-code/plain`, in order of arrival.
const RECORDED: [(Signal, &[u8]); 11] = [
    (Signal::Logs, include_bytes!("../../../config/demo/001-logs.pb")),
    (Signal::Traces, include_bytes!("../../../config/demo/002-traces.pb")),
    (Signal::Logs, include_bytes!("../../../config/demo/003-logs.pb")),
    (Signal::Metrics, include_bytes!("../../../config/demo/004-metrics.pb")),
    (Signal::Traces, include_bytes!("../../../config/demo/005-traces.pb")),
    (Signal::Logs, include_bytes!("../../../config/demo/006-logs.pb")),
    (Signal::Traces, include_bytes!("../../../config/demo/007-traces.pb")),
    (Signal::Logs, include_bytes!("../../../config/demo/008-logs.pb")),
    (Signal::Traces, include_bytes!("../../../config/demo/009-traces.pb")),
    (Signal::Logs, include_bytes!("../../../config/demo/010-logs.pb")),
    (Signal::Metrics, include_bytes!("../../../config/demo/011-metrics.pb")),
];

/// An added span of a service, with text that redaction must remove.
const ADDED: &[u8] = include_bytes!("../../../config/demo/added.json");
/// The private texts of the added span, which must not go out.
pub(super) const ADDED_SECRETS: [&str; 5] = [
    "ada.lovelace@example.com",
    "4111 1111 1111 1111",
    "4111111111111111",
    "AKIAQ3EGRIU2SZKWX4FN",
    "demo-4f6c2b9e1d7a8035",
];
/// Name of the added span.
pub(super) const ADDED_SPAN: &str = "POST /v1/refunds";

/// Attributes that hold ids.
const ID_KEYS: [&str; 8] = [
    "session.id",
    "gen_ai.conversation.id",
    "prompt.id",
    "message.uuid",
    "request_id",
    "gen_ai.response.id",
    "tool_use_id",
    "gen_ai.tool.call.id",
];

/// One request. It holds telemetry text, so there is no `Debug`.
pub(super) struct RecordedRequest {
    /// Its signal.
    pub(super) signal: Signal,
    /// The protobuf body.
    pub(super) body: Bytes,
}

/// The session, as if it had ended at `now`.
///
/// # Errors
/// The recording can't be read; a test makes sure that it can.
pub(super) fn build_session(now: UnixNanos, rng: &dyn Rng) -> Result<Vec<RecordedRequest>, CommandError> {
    let added = json::decode(Signal::Traces, ADDED).map_err(|error| error.to_string())?;
    let recorded = RECORDED.iter().map(|(signal, body)| (*signal, body.to_vec()));
    let requests: Vec<(Signal, Vec<u8>)> = recorded.chain([(Signal::Traces, added)]).collect();
    let mut recorded_ids = RecordedIds::default();
    for (signal, body) in &requests {
        recorded_ids.read(*signal, body)?;
    }
    let (old, new): (Vec<_>, Vec<_>) = recorded_ids.replacements(now, rng).into_iter().unzip();
    let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&old);
    let finder = finder.map_err(|error| error.to_string())?;
    let replace_ids = |(signal, body): (Signal, Vec<u8>)| RecordedRequest {
        signal,
        body: Bytes::from(finder.replace_all_bytes(&body, &new)),
    };
    Ok(requests.into_iter().map(replace_ids).collect())
}

/// The ids and times in a recording.
#[derive(Default)]
struct RecordedIds {
    /// Trace and span ids.
    binary: BTreeSet<Vec<u8>>,
    /// Ids in attributes.
    texts: BTreeSet<String>,
    /// Times in Unix nanoseconds.
    times: BTreeSet<u64>,
    /// Times in RFC 3339 with milliseconds, UTC.
    timestamps: BTreeSet<String>,
}

impl RecordedIds {
    fn read(&mut self, signal: Signal, body: &[u8]) -> Result<(), CommandError> {
        let mut text = String::new();
        json::encode(signal, body, &mut text).map_err(|error| error.to_string())?;
        let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        self.visit_json(&value);
        Ok(())
    }

    fn visit_json(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.visit_json(item)),
            Value::Object(map) => {
                if let (Some(Value::String(key)), Some(value)) = (map.get("key"), map.get("value")) {
                    self.read_attribute(key, value.get("stringValue").and_then(Value::as_str).unwrap_or_default());
                }
                for (name, inner) in map {
                    match (name.as_str(), inner.as_str()) {
                        ("traceId" | "spanId" | "parentSpanId", Some(id)) if !id.is_empty() => {
                            self.binary.insert(decode_hex(id));
                        }
                        (name, Some(time)) if name.ends_with("UnixNano") => {
                            self.times.extend(time.parse::<u64>().ok().filter(|time| *time > 0));
                        }
                        _ => self.visit_json(inner),
                    }
                }
            }
            _ => {}
        }
    }

    fn read_attribute(&mut self, key: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        if ID_KEYS.contains(&key) {
            self.texts.insert(text.to_owned());
        } else if key == "event.timestamp" {
            self.timestamps.insert(text.to_owned());
        }
    }

    /// The replacements of ids and times, as bytes on the wire.
    fn replacements(self, now: UnixNanos, rng: &dyn Rng) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let shift_nanos = now.0.saturating_sub(self.times.last().copied().unwrap_or(now.0));
        let mut replacements = BTreeMap::new();
        for id in self.binary {
            let replacement = rng.id().into_iter().take(id.len()).collect();
            replacements.insert(id, replacement);
        }
        replacements.extend(self.texts.iter().map(|id| (id.clone().into_bytes(), renew_id(id, rng).into_bytes())));
        for time in self.times {
            replacements.insert(time.to_le_bytes().to_vec(), time.saturating_add(shift_nanos).to_le_bytes().to_vec());
        }
        for stamp in self.timestamps {
            let replacement = shift_time(&stamp, shift_nanos)
                .filter(|replacement| replacement.len() == stamp.len())
                .unwrap_or_else(|| stamp.clone());
            replacements.insert(stamp.into_bytes(), replacement.into_bytes());
        }
        replacements
    }
}

fn decode_hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// A new id of the same shape. The prefix up to the last `_`, all characters but hex digits, and the version and
/// variant of a UUID are kept.
fn renew_id(old: &str, rng: &dyn Rng) -> String {
    let start = old.rfind('_').map_or(0, |at| at + 1);
    let is_uuid = old.len() == 36 && old.matches('-').count() == 4;
    let random = kernel::hex::encode(&[rng.id(), rng.id()].concat());
    let is_kept = |at: usize| at < start || (is_uuid && (at == 14 || at == 19));
    let mut new_digits = random.chars();
    old.char_indices()
        .map(|(at, c)| if is_kept(at) || !c.is_ascii_hexdigit() { c } else { new_digits.next().unwrap_or(c) })
        .collect()
}

/// An RFC 3339 time with milliseconds, moved `nanos` nanoseconds later.
fn shift_time(stamp: &str, nanos: u64) -> Option<String> {
    let time = OffsetDateTime::parse(stamp, &Rfc3339).ok()?;
    let later = time.checked_add(time::Duration::nanoseconds(i64::try_from(nanos).ok()?))?;
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    later.format(&format).ok()
}
