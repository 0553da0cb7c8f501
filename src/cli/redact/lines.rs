//! Reads JSON lines, plain or labelled, of less than [`MAX_LINE_BYTES`] bytes. Invalid UTF-8 and unpaired surrogates
//! are read as U+FFFD, as in the gateway. Errors name the line and the fault of its structure, never its contents.

use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;
use serde_json::value::RawValue;

use command::error::CommandError;
use kernel::files::describe_io_error;
use kernel::notation::decode_escape;
use redaction::score::TypedRange;

/// A line of this many bytes is too long.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// One line. Unknown keys are ignored.
#[derive(Deserialize)]
pub(super) struct InputRecord {
    /// Any JSON value, copied to the output.
    pub(super) id: Option<Box<RawValue>>,
    pub(super) text: Option<String>,
    pub(super) group: Option<String>,
    pub(super) near_miss: Option<bool>,
    #[serde(default)]
    spans: Vec<LabelSpan>,
    pub(super) meta: Option<LabelMetadata>,
}

/// The metadata in the first line of a labelled file.
#[derive(Deserialize)]
pub(super) struct LabelMetadata {
    /// The types for which the file is completely labelled; all types if missing.
    pub(super) judged: Option<Vec<String>>,
}

/// A label as a range of characters, with its type.
#[derive(Deserialize)]
struct LabelSpan {
    start: usize,
    end: usize,
    #[serde(rename = "type")]
    kind: String,
}

impl InputRecord {
    /// The labels as byte ranges of `text`.
    pub(super) fn labels(&self, text: &str) -> Result<Vec<TypedRange>, &'static str> {
        if self.spans.is_empty() {
            return Ok(Vec::new());
        }
        let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let label = |span: &LabelSpan| match (starts.get(span.start), starts.get(span.end)) {
            (Some(start), Some(end)) if start < end => Ok(TypedRange { range: *start..*end, kind: span.kind.clone() }),
            _ => Err("a span is empty or ends after the end of the text"),
        };
        self.spans.iter().map(label).collect()
    }
}

pub(super) struct RecordReader<R> {
    name: String,
    input: BufReader<R>,
    line: Vec<u8>,
    number: usize,
}

impl<R: Read> RecordReader<R> {
    pub(super) fn new(name: String, input: BufReader<R>) -> Self {
        Self { name, input, line: Vec::new(), number: 0 }
    }

    /// An error at the line that was read last.
    pub(super) fn line_error(&self, what: &str) -> CommandError {
        CommandError::Failed(format!("{}, line {}: {what}", self.name, self.number))
    }

    /// The next line that is not empty.
    pub(super) fn next_record(&mut self) -> Result<Option<InputRecord>, CommandError> {
        loop {
            self.line.clear();
            self.number += 1;
            let read = (&mut self.input).take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line);
            match read {
                Ok(0) => return Ok(None),
                Err(error) => return Err(self.line_error(&format!("can't read: {}", describe_io_error(error.kind())))),
                Ok(bytes) if bytes as u64 == MAX_LINE_BYTES && !self.line.ends_with(b"\n") => {
                    return Err(self.line_error("the line is too long"));
                }
                Ok(_) => {}
            }
            if self.line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let line = if self.number == 1 {
                self.line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.line)
            } else {
                &self.line
            };
            let read = serde_json::from_slice(line).or_else(|error| match replace_invalid_text(line) {
                Some(line) => serde_json::from_str(&line),
                None => Err(error),
            });
            // The parser's own message may quote the line, so it is replaced.
            let record: InputRecord = read.map_err(|error| self.line_error(&describe_json_error(&error)))?;
            if record.text.is_none() && record.meta.is_none() {
                return Err(self.line_error("`text` is missing"));
            }
            return Ok(Some(record));
        }
    }
}

/// The byte order mark that some editors put at the start of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The line with U+FFFD in place of invalid UTF-8 and unpaired surrogates; `None` if it has neither.
fn replace_invalid_text(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut changed) = (&*text, matches!(text, std::borrow::Cow::Owned(_)));
    while let Some((before, escape)) = rest.find('\\').and_then(|at| rest.split_at_checked(at)) {
        out.push_str(before);
        let (character, len) = decode_escape(escape);
        // `\uXXXX` that is no character; of invalid digits the length is less.
        let is_unpaired = character.is_none() && len == 6;
        changed |= is_unpaired;
        let (copied, remaining) = escape.split_at_checked(len).unwrap_or((escape, ""));
        out.push_str(if is_unpaired { "\u{fffd}" } else { copied });
        rest = remaining;
    }
    out.push_str(rest);
    changed.then_some(out)
}

fn describe_json_error(error: &serde_json::Error) -> String {
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
