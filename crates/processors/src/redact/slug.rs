//! `exception.slug`: an identifier that equal failures share, so that a back end can group them across restarts,
//! replicas and versions. It is made from the error type, the redacted message (with digits, ids and quotations
//! blanked) and the top stack frame.
//!
//! Only redacted text is used, before any cut; the same text gives the same slug on every gateway; a client's own slug
//! stays. The slug of a failed tool is made from the error type and the tool's name, because its error text is content.

use std::sync::Arc;

use genai::{ContentLocation, ContentPlace, ItemFacts, cached_facts, is_identifier};
use kernel::hex;
use kernel::sha256::Sha256;
use kernel::stack_frames;
use otlp::{NodeId, NodeKind, Payload, Signal, TextField};
use pipeline::Batch;
use redaction::replace_hits;

use super::recogniser_texts::RecogniserMode;
use super::{PlaceContext, RedactProcessor, UNSCANNED, WorkerBuffers};
use crate::removed_texts::RemovedTexts;

pub(super) const SLUG_ATTRIBUTE: &str = "exception.slug";
/// Size of the digest, bytes.
const DIGEST_BYTES: usize = 6;
/// Maximum size of the type in a slug, bytes.
const MAX_TYPE_BYTES: usize = 48;
/// Maximum number of words in a type.
const MAX_TYPE_WORDS: usize = 8;
/// Maximum size of the blanked text that is hashed, bytes.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// The error type, message and stack trace of an item.
#[derive(Default)]
pub(super) struct ItemFailure<'p> {
    kind: Option<&'p str>,
    message: Option<&'p str>,
    trace: Option<&'p str>,
}

impl<'p> ItemFailure<'p> {
    /// The failure of an item, if it failed and has no slug yet.
    pub(super) fn from_item(payload: &'p Payload, item: &'p ItemFacts) -> Option<Self> {
        let has_error_status = payload.status_code(item.node) == 2;
        if !has_error_status && !item.failed && !item.tool_failed && item.errors.is_empty() {
            return None;
        }
        if payload.get(item.node, SLUG_ATTRIBUTE).is_some() {
            return None;
        }
        let mut failure = Self::default();
        let is_on_item = |place: &&ContentPlace| place.node == item.node;
        item.errors.iter().filter(is_on_item).for_each(|place| failure.read_place(payload, place));
        // The last exception event is the one that ended the item.
        let events =
            item.errors.iter().filter(|place| !is_on_item(place) && payload.kind(place.node) == NodeKind::Event);
        events.for_each(|place| failure.read_place(payload, place));
        failure.kind = failure.kind.or(item.error.as_deref());
        if item.tool_failed {
            // The tool's output is removed or stays as content, so failures are grouped by the tool's name.
            failure.message = item.tool.as_deref();
            return (has_error_status || item.failed || failure.kind.is_some()).then_some(failure);
        }
        if has_error_status || item.failed {
            let status = payload.text(item.node, TextField::StatusMessage);
            failure.message = failure.message.or(Some(status).filter(|text| !text.is_empty()));
        } else if failure.kind.is_none() && failure.trace.is_none() {
            return None;
        }
        (failure.kind.is_some() || failure.message.is_some()).then_some(failure)
    }

    fn read_place(&mut self, payload: &'p Payload, place: &ContentPlace) {
        let ContentLocation::Attribute(id) = place.at else { return };
        let Some(attribute) = payload.attribute(id) else { return };
        let Some(text) = attribute.value.as_str() else { return };
        match attribute.key {
            "exception.type" => self.kind = Some(text),
            "exception.message" => self.message = Some(text),
            "error.message" | "error" => self.message = self.message.or(Some(text)),
            "exception.stacktrace" => self.trace = Some(text),
            "error.stack" => self.trace = self.trace.or(Some(text)),
            _ => {}
        }
    }

    /// The slug. `redact` returns a text's redacted form without any cut.
    pub(super) fn slug(&self, redact: &mut dyn FnMut(&str) -> String) -> String {
        let kind = self.kind.map(&mut *redact);
        let kind = kind.as_deref().map_or("", |kind| kind.rsplit(['.', ':', '/']).next().unwrap_or_default());
        let message = self.message.map(|text| blank_variable_parts(&redact(text))).unwrap_or_default();
        let frame = self
            .trace
            .and_then(top_frame)
            .map(|frame| blank_variable_parts(&strip_folders(&redact(frame))))
            .unwrap_or_default();
        let digest = Sha256::digest_list([kind, &message, &frame]);
        // No words of a sentence are shown; the digest distinguishes the failures.
        let shown_type = if is_identifier(kind, MAX_TYPE_WORDS, 2 * MAX_TYPE_BYTES) { kind } else { "" };
        let type_word: String =
            shown_type.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(MAX_TYPE_BYTES).collect();
        let mut slug = if type_word.is_empty() { "error".to_owned() } else { type_word };
        slug.push('-');
        hex::push(&mut slug, digest.get(..DIGEST_BYTES).unwrap_or(&digest));
        slug
    }
}

impl RedactProcessor {
    /// The `exception.slug` of each failed item. Must run before texts are cut.
    pub(super) fn failure_slugs(
        &self,
        batch: &mut Batch,
        recogniser_mode: RecogniserMode<'_>,
        worker: &mut WorkerBuffers,
    ) -> Vec<(NodeId, String)> {
        let signal = batch.payload.signal();
        if signal == Signal::Metrics {
            return Vec::new();
        }
        let facts = cached_facts(&self.vocabulary, &batch.origin.account, &batch.payload, &mut batch.facts);
        let removed = RemovedTexts::of_batch(batch);
        let account = Arc::clone(&batch.origin.account);
        let values = PlaceContext::of_values(&account, signal, recogniser_mode);
        let context =
            PlaceContext { place: "other", echoes: removed.as_deref().map(|removed| &removed.echoes), ..values };
        let mut redact = |text: &str| {
            if text.len() > self.settings.max_scan {
                return UNSCANNED.to_owned();
            }
            let text = context.echoes.and_then(|echoes| echoes.replacement_for(text)).unwrap_or(text);
            // A single stack frame was not sent to the recogniser and has no answer: it holds code, not names.
            let entities = match recogniser_mode {
                RecogniserMode::Answered(answers) => answers.findings(text).unwrap_or_default(),
                _ => &[],
            };
            let hits = self.settings.detector.find_with_entities("", text, entities, &mut worker.scratch);
            replace_hits(text, hits, &mut |hit, found, out| self.write_placeholder(&context, hit, found, out))
        };
        let failures =
            facts.items.iter().filter_map(|item| Some((item.node, ItemFailure::from_item(&batch.payload, item)?)));
        failures.map(|(node, failure)| (node, failure.slug(&mut redact))).collect()
    }
}

/// The frame where the failure occurred: the last one in Python, otherwise the first.
fn top_frame(trace: &str) -> Option<&str> {
    let mut last_python_frame = None;
    for (range, is_frame) in stack_frames::classify_lines(trace) {
        let Some(line) = trace.get(range).map(str::trim).filter(|line| is_frame && !line.ends_with(':')) else {
            continue;
        };
        if !line.starts_with("File \"") {
            return Some(last_python_frame.unwrap_or(line));
        }
        last_python_frame = Some(line);
    }
    last_python_frame
}

/// Removes folders from paths, because the same code is in different folders on each machine.
fn strip_folders(frame: &str) -> String {
    frame.split(' ').map(|word| word.rsplit(['/', '\\']).next().unwrap_or(word)).collect::<Vec<_>>().join(" ")
}

/// Blanks the parts that differ between occurrences: digits and ids become `#`, quotations `""`.
pub(super) fn blank_variable_parts(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT_BYTES));
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        if out.len() >= MAX_TEXT_BYTES {
            break;
        }
        let (length, replacement) = match char {
            '"' | '`' | '\'' => {
                quotation_len(rest, char, &out).map_or((char.len_utf8(), None), |len| (len, Some("\"\"")))
            }
            _ if char.is_alphanumeric() => {
                let word_len =
                    rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(rest.len());
                let word = rest.get(..word_len).unwrap_or_default();
                (word_len, word.contains(|c: char| c.is_ascii_digit()).then_some("#"))
            }
            _ if char.is_whitespace() => {
                let blanks = rest.len() - rest.trim_start().len();
                (blanks, Some(" "))
            }
            _ => (char.len_utf8(), None),
        };
        out.push_str(replacement.unwrap_or_else(|| rest.get(..length).unwrap_or_default()));
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

/// The length of the quotation at the start of `rest`. An apostrophe within a word does not begin a quotation.
fn quotation_len(rest: &str, mark: char, before: &str) -> Option<usize> {
    if mark == '\'' && before.ends_with(char::is_alphanumeric) {
        return None;
    }
    let quoted = rest.get(mark.len_utf8()..)?;
    let is_end = |at: usize| {
        let next = quoted.get(at + mark.len_utf8()..).and_then(|tail| tail.chars().next());
        mark != '\'' || !next.is_some_and(char::is_alphanumeric)
    };
    let (end, _) = quoted.match_indices(mark).take(64).find(|(at, _)| is_end(*at))?;
    Some(mark.len_utf8() * 2 + end)
}
