//! **What**: JSON lines, plain or labelled. **Invariants**: at most [`LONGEST`] bytes a line; errors name the line and what
//! is wrong with its shape, never what it says.

use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::redaction::score::Marked;

/// Longest line, bytes.
const LONGEST: u64 = 256 << 20;

/// One line. Other keys are left alone.
#[derive(Deserialize)]
pub(super) struct Record {
    /// Whatever it is, it goes on.
    pub(super) id: Option<Box<RawValue>>,
    pub(super) text: Option<String>,
    pub(super) group: Option<String>,
    pub(super) near_miss: Option<bool>,
    #[serde(default)]
    spans: Vec<Span>,
    pub(super) meta: Option<Meta>,
}

/// What a labelled file says about itself in its first line.
#[derive(Deserialize)]
pub(super) struct Meta {
    /// The types that it is labelled completely for; without it, all.
    pub(super) judged: Option<Vec<String>>,
}

/// A label: characters of the text.
#[derive(Deserialize)]
struct Span {
    start: usize,
    end: usize,
    #[serde(rename = "type")]
    kind: String,
}

impl Record {
    /// The labels in bytes of `text`.
    pub(super) fn labels(&self, text: &str) -> Result<Vec<Marked>, &'static str> {
        if self.spans.is_empty() {
            return Ok(Vec::new());
        }
        let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let label = |span: &Span| match (starts.get(span.start), starts.get(span.end)) {
            (Some(start), Some(end)) if start < end => Ok(Marked { range: *start..*end, kind: span.kind.clone() }),
            _ => Err("a span is empty or ends behind the text"),
        };
        self.spans.iter().map(label).collect()
    }
}

/// The lines of a file.
pub(super) struct Lines<R> {
    name: String,
    from: BufReader<R>,
    line: Vec<u8>,
    number: usize,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(name: String, from: BufReader<R>) -> Self {
        Self { name, from, line: Vec::new(), number: 0 }
    }

    /// The number of the last line, from one on.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// An error at the last line.
    pub(super) fn error(&self, what: &str) -> String {
        format!("{}, line {}: {what}", self.name, self.number)
    }

    /// The next line that is not empty.
    pub(super) fn next_record(&mut self) -> Result<Option<Record>, String> {
        loop {
            self.line.clear();
            self.number += 1;
            let read = (&mut self.from).take(LONGEST).read_until(b'\n', &mut self.line);
            match read {
                Ok(0) => return Ok(None),
                Err(error) => return Err(self.error(&format!("can't read: {}", error.kind()))),
                Ok(bytes) if bytes as u64 == LONGEST && !self.line.ends_with(b"\n") => {
                    return Err(self.error("the line is too long"));
                }
                Ok(_) => {}
            }
            if self.line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            // the reader's own words may quote the line
            let record: Record = serde_json::from_slice(&self.line).map_err(|error| self.error(&wrong(&error)))?;
            if record.text.is_none() && record.meta.is_none() {
                return Err(self.error("no `text`"));
            }
            return Ok(Some(record));
        }
    }
}

fn wrong(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => {
            format!(
                "not `{{\"id\", \"text\"}}` with a text and spans of `start`, `end`, `type` (column {})",
                error.column()
            )
        }
        _ => format!("not JSON (column {})", error.column()),
    }
}
