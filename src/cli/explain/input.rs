//! Reads a file as OTLP requests, at most [`MAX_INPUT_BYTES`] bytes. The format is detected from the bytes; errors
//! never quote them.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;

use command::error::CommandError;
use otlp::{Payload, Signal, json};

/// The largest file, in bytes.
const MAX_INPUT_BYTES: u64 = 256 << 20;
const MISSING_REQUEST: &str = "no `resourceSpans`, `resourceLogs` or `resourceMetrics`";

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// The file can't be read, is too large, or contains no OTLP request.
pub(super) fn read_requests(path: &Path, signal: Option<Signal>) -> Result<Vec<(Signal, Bytes)>, CommandError> {
    let name = path.display();
    let mut bytes = Vec::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|file| file.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes)),
    };
    read.map_err(|error| {
        format!("can't read {name}: {error}; expected a file with OTLP requests, such as one written by `tollgate tap --json > FILE`")
    })?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        return Err(CommandError::Failed(format!("{name} is larger than {} MiB", MAX_INPUT_BYTES >> 20)));
    }
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(CommandError::Failed(format!("{name} is empty"))),
        Some(b'{') => parse_json_requests(&name.to_string(), &bytes),
        Some(_) => {
            let found = signal.or_else(|| signal_of_file_name(path)).or_else(|| guess_signal(&bytes));
            let signal = found.ok_or_else(|| {
                format!(
                    "{name} is not an OTLP request in JSON or protobuf; for protobuf, set its signal with `--signal`"
                )
            })?;
            Ok(vec![(signal, Bytes::from(bytes))])
        }
    }
}

/// Parses one JSON request, or one per line.
fn parse_json_requests(name: &str, bytes: &[u8]) -> Result<Vec<(Signal, Bytes)>, CommandError> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{name} is neither text nor protobuf"))?;
    let document = tapped_request(text);
    let document = document.as_deref().unwrap_or(text);
    if let Some(signal) = signal_of_json(document)
        && let Ok(wire) = json::decode(signal, document.as_bytes())
    {
        return Ok(vec![(signal, Bytes::from(wire))]);
    }
    // If the first line is not complete JSON, the file is one document, with an error anywhere in it.
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if find_syntax_error(first).is_some() {
        return Err(CommandError::Failed(format!("{name}: {}", document_error(text, document))));
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !is_left_out(line));
    let request = |(index, line): (usize, &str)| {
        let line_name = || if index == 0 { name.to_owned() } else { format!("{name}, line {}", index + 1) };
        let inner = tapped_request(line);
        let line = inner.as_deref().unwrap_or(line);
        let signal = signal_of_json(line).ok_or_else(|| format!("{}: {MISSING_REQUEST}", line_name()))?;
        let wire = json::decode(signal, line.as_bytes()).map_err(|error| format!("{}: {error}", line_name()))?;
        Ok((signal, Bytes::from(wire)))
    };
    lines.map(request).collect()
}

/// The syntax error of a JSON text, with line and column.
fn find_syntax_error(text: &str) -> Option<serde_json::Error> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).err()
}

/// Why a document is not one JSON request. `request` is the tapped request in `text`, or `text` itself.
fn document_error(text: &str, request: &str) -> String {
    if let Some(error) = find_syntax_error(text) {
        return format!("not valid JSON: {error}");
    }
    let Some(signal) = signal_of_json(request) else { return MISSING_REQUEST.to_owned() };
    match json::decode(signal, request.as_bytes()) {
        Ok(_) => MISSING_REQUEST.to_owned(),
        Err(error) => {
            let before = request.get(..request.floor_char_boundary(error.at)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("{} at line {line} column {column}", error.message)
        }
    }
}

/// The request in a line of `tap --json`.
fn tapped_request(line: &str) -> Option<String> {
    let tapped: serde_json::Value = serde_json::from_str(line).ok()?;
    let (request, _) = (tapped.get("request")?, tapped.get("pipeline")?);
    Some(request.to_string())
}

/// Whether a line of `tap --json` only reports left-out requests.
fn is_left_out(line: &str) -> bool {
    line.trim_start().starts_with("{\"left_out\":")
}

/// The signal of a JSON request, from its first key that names one.
fn signal_of_json(text: &str) -> Option<Signal> {
    let names = [
        ("\"resourceSpans\"", Signal::Traces),
        ("\"resourceLogs\"", Signal::Logs),
        ("\"resourceMetrics\"", Signal::Metrics),
    ];
    let found = names.into_iter().filter_map(|(name, signal)| Some((text.find(name)?, signal)));
    found.min_by_key(|(at, _)| *at).map(|(_, signal)| signal)
}

/// The signal in a file name such as `001-traces.pb`.
fn signal_of_file_name(path: &Path) -> Option<Signal> {
    let stem = path.file_stem()?.to_str()?;
    Signal::ALL.into_iter().find(|signal| stem.ends_with(signal.as_str()))
}

fn guess_signal(bytes: &[u8]) -> Option<Signal> {
    let wire = Bytes::copy_from_slice(bytes);
    let has_items =
        |signal: &Signal| Payload::parse(*signal, wire.clone()).is_ok_and(|payload| payload.item_count() > 0);
    Signal::ALL.into_iter().find(has_items)
}
