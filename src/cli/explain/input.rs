//! Reads a file as OTLP requests, at most [`LARGEST`] bytes. The format is detected from the bytes; errors never quote
//! them.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;

use crate::cli::error::CommandError;
use otlp::{Payload, Signal, json};

/// The largest file, in bytes.
const LARGEST: u64 = 256 << 20;

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// The file can't be read, is too large, or contains no OTLP request.
pub(super) fn read(path: &Path, signal: Option<Signal>) -> Result<Vec<(Signal, Bytes)>, CommandError> {
    let name = path.display();
    let mut bytes = Vec::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)),
    };
    read.map_err(|error| {
        format!("can't read {name}: {error}: give a file with OTLP requests; `tollgate tap --json > FILE` makes one")
    })?;
    if bytes.len() as u64 > LARGEST {
        return Err(CommandError::Failed(format!("{name} is larger than {} MiB", LARGEST >> 20)));
    }
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(CommandError::Failed(format!("{name} is empty"))),
        Some(b'{') => texts(&name.to_string(), &bytes),
        Some(_) => {
            let found = signal.or_else(|| named(path)).or_else(|| guessed(&bytes));
            let signal = found
                .ok_or_else(|| format!("{name} is no OTLP request, in JSON or protobuf; `--signal` says which one"))?;
            Ok(vec![(signal, Bytes::from(bytes))])
        }
    }
}

/// Parses one JSON request, or one per line.
fn texts(name: &str, bytes: &[u8]) -> Result<Vec<(Signal, Bytes)>, CommandError> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{name} is neither text nor protobuf"))?;
    let whole = tapped(text);
    let whole = whole.as_deref().unwrap_or(text);
    if let Some(signal) = of_json(whole)
        && let Ok(wire) = json::decode(signal, whole.as_bytes())
    {
        return Ok(vec![(signal, Bytes::from(wire))]);
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !is_left_out(line));
    let request = |(at, line): (usize, &str)| {
        let place = || if at == 0 { name.to_owned() } else { format!("{name}, line {}", at + 1) };
        let inner = tapped(line);
        let line = inner.as_deref().unwrap_or(line);
        let signal = of_json(line)
            .ok_or_else(|| format!("{}: no `resourceSpans`, `resourceLogs` or `resourceMetrics`", place()))?;
        let wire = json::decode(signal, line.as_bytes()).map_err(|error| format!("{}: {error}", place()))?;
        Ok((signal, Bytes::from(wire)))
    };
    lines.map(request).collect()
}

/// The request in a line of `tap --json`.
fn tapped(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let (request, _) = (line.get("request")?, line.get("pipeline")?);
    Some(request.to_string())
}

/// Whether a line of `tap --json` only reports left-out requests.
fn is_left_out(line: &str) -> bool {
    line.trim_start().starts_with("{\"left_out\":")
}

/// The signal of a JSON request, from its first key that names one.
fn of_json(text: &str) -> Option<Signal> {
    let names = [
        ("\"resourceSpans\"", Signal::Traces),
        ("\"resourceLogs\"", Signal::Logs),
        ("\"resourceMetrics\"", Signal::Metrics),
    ];
    let found = names.into_iter().filter_map(|(name, signal)| Some((text.find(name)?, signal)));
    found.min_by_key(|(at, _)| *at).map(|(_, signal)| signal)
}

/// The signal in a file name such as `001-traces.pb`.
fn named(path: &Path) -> Option<Signal> {
    let stem = path.file_stem()?.to_str()?;
    Signal::ALL.into_iter().find(|signal| stem.ends_with(signal.as_str()))
}

fn guessed(bytes: &[u8]) -> Option<Signal> {
    let wire = Bytes::copy_from_slice(bytes);
    let reads = |signal: &Signal| Payload::parse(*signal, wire.clone()).is_ok_and(|payload| payload.item_count() > 0);
    Signal::ALL.into_iter().find(reads)
}
