//! `exception.slug`: an identifier of equal failures, from the error type, the redacted message (with digits, ids and
//! quotations blanked) and the top stack frame. The nightly report groups the failures of all agents by it, across
//! restarts, replicas and versions.
//!
//! Made only from redacted text, before any cut; the same text gives the same slug on every gateway; a client's own
//! slug stays. The slug of a failed tool is made from its type and the tool's name, because the text is content. The
//! processor supplies the redacted texts.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use echoes::stack_frames;
use genai::{ContentLocation, ContentPlace, ItemFacts, cached_facts, is_short_name};
use kernel::hex;
use otlp::{NodeId, NodeKind, Payload, Signal, TextField};
use pipeline::Batch;
use redaction::replace_hits;

use super::recogniser_texts::RecogniserMode;
use super::{PlaceContext, RedactProcessor, UNSCANNED, WorkerBuffers, echoes_of};

/// The attribute.
pub(super) const SLUG: &str = "exception.slug";
/// Size of the digest, bytes.
const DIGEST_BYTES: usize = 6;
/// Maximum size of the type in a slug, bytes.
const TYPE_BYTES: usize = 48;
/// Maximum size of the blanked text that is hashed, bytes.
const TEXT_BYTES: usize = 16 << 10;

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
        let failed = payload.status_code(item.node) == 2;
        if !failed && !item.failed && !item.tool_failed && item.errors.is_empty() {
            return None;
        }
        if payload.get(item.node, SLUG).is_some() {
            return None;
        }
        let mut found = Self::default();
        let own = |place: &&ContentPlace| place.node == item.node;
        item.errors.iter().filter(own).for_each(|place| found.read_place(payload, place));
        // The last exception event is the one that ended the item.
        let events = item.errors.iter().filter(|place| !own(place) && payload.kind(place.node) == NodeKind::Event);
        events.for_each(|place| found.read_place(payload, place));
        found.kind = found.kind.or(item.error.as_deref());
        if item.tool_failed {
            // The tool's output is removed or stays as content, so failures are grouped by the tool's name.
            found.message = item.tool.as_deref();
            return (failed || item.failed || found.kind.is_some()).then_some(found);
        }
        if failed || item.failed {
            let status = payload.text(item.node, TextField::StatusMessage);
            found.message = found.message.or(Some(status).filter(|text| !text.is_empty()));
        } else if found.kind.is_none() && found.trace.is_none() {
            return None;
        }
        (found.kind.is_some() || found.message.is_some()).then_some(found)
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

    /// The slug. `redacted` returns a text's redacted form without any cut.
    pub(super) fn slug(&self, redacted: &mut dyn FnMut(&str) -> String) -> String {
        let kind = self.kind.map(&mut *redacted);
        let kind = kind.as_deref().map_or("", |kind| kind.rsplit(['.', ':', '/']).next().unwrap_or_default());
        let message = self.message.map(|text| blank_variable_parts(&redacted(text))).unwrap_or_default();
        let frame = self
            .trace
            .and_then(top_frame)
            .map(|frame| blank_variable_parts(&strip_folders(&redacted(frame))))
            .unwrap_or_default();
        let mut hash = Sha256::new();
        for part in [kind, &message, &frame] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        // No words of a sentence are shown; the digest distinguishes the failures.
        let shown = if is_short_name(kind, 1) { kind } else { "" };
        let word: String = shown.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(TYPE_BYTES).collect();
        let mut out = if word.is_empty() { "error".to_owned() } else { word };
        out.push('-');
        hex::push(&mut out, digest.get(..DIGEST_BYTES).unwrap_or(&digest));
        out
    }
}

impl RedactProcessor {
    /// The `exception.slug` of each failed item. Must run before texts are cut.
    pub(super) fn failure_slugs(
        &self,
        batch: &mut Batch,
        asked: RecogniserMode<'_>,
        worker: &mut WorkerBuffers,
    ) -> Vec<(NodeId, String)> {
        let signal = batch.payload.signal();
        if signal == Signal::Metrics {
            return Vec::new();
        }
        let facts = cached_facts(&self.vocabulary, &batch.payload, &mut batch.facts);
        let echoes = echoes_of(batch);
        let account = Arc::clone(&batch.origin.account);
        let echoed = echoes.as_deref();
        let visit = PlaceContext {
            account: &account,
            node: None,
            learn_for: None,
            signal,
            place: "other",
            with_pseudonym: false,
            echoes: echoed,
            recogniser_mode: asked,
        };
        let mut redacted = |text: &str| {
            if text.len() > self.settings.max_scan {
                return UNSCANNED.to_owned();
            }
            let text = echoes.as_ref().and_then(|echoes| echoes.replacement_for(text)).unwrap_or(text);
            // A single frame was not sent to the recogniser; it holds code, not names.
            let told = if let RecogniserMode::Answered(answers) = visit.recogniser_mode {
                answers.findings(text)
            } else {
                None
            };
            let named = told.unwrap_or_default();
            let hits = self.settings.detector.find_with_entities("", text, named, &mut worker.scratch);
            replace_hits(text, hits, &mut |hit, found, out| self.write_placeholder(&visit, hit, found, out))
        };
        let failures =
            facts.items.iter().filter_map(|item| Some((item.node, ItemFailure::from_item(&batch.payload, item)?)));
        failures.map(|(node, failure)| (node, failure.slug(&mut redacted))).collect()
    }
}

/// The frame where the failure occurred: the last one in Python, otherwise the first.
fn top_frame(trace: &str) -> Option<&str> {
    let mut found = None;
    for (range, frame) in stack_frames::classify_lines(trace) {
        let Some(line) = trace.get(range).map(str::trim).filter(|line| frame && !line.ends_with(':')) else { continue };
        if !line.starts_with("File \"") {
            return Some(found.unwrap_or(line));
        }
        found = Some(line);
    }
    found
}

/// Removes folders from paths, because the same code is in different folders on each machine.
fn strip_folders(frame: &str) -> String {
    let mut out = String::with_capacity(frame.len());
    for (index, word) in frame.split(' ').enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let cut = word.rfind(['/', '\\']).map_or(0, |at| at + 1);
        out.push_str(word.get(cut..).unwrap_or(word));
    }
    out
}

/// Blanks the parts that differ between occurrences: digits and ids become `#`, quotations `""`.
pub(super) fn blank_variable_parts(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(TEXT_BYTES));
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        if out.len() >= TEXT_BYTES {
            break;
        }
        let (taken, put) = match char {
            '"' | '`' | '\'' => {
                quotation_len(rest, char, &out).map_or((char.len_utf8(), None), |len| (len, Some("\"\"")))
            }
            _ if char.is_alphanumeric() => {
                let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(rest.len());
                let token = rest.get(..word).unwrap_or_default();
                (word, token.contains(|c: char| c.is_ascii_digit()).then_some("#"))
            }
            _ if char.is_whitespace() => {
                let blanks = rest.len() - rest.trim_start().len();
                (blanks, Some(" "))
            }
            _ => (char.len_utf8(), None),
        };
        out.push_str(put.unwrap_or_else(|| rest.get(..taken).unwrap_or_default()));
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// The length of the quotation at the start of `rest`. An apostrophe within a word does not begin a quotation.
fn quotation_len(rest: &str, mark: char, before: &str) -> Option<usize> {
    if mark == '\'' && before.ends_with(char::is_alphanumeric) {
        return None;
    }
    let inner = rest.get(mark.len_utf8()..)?;
    let ends = |at: usize| {
        let next = inner.get(at + mark.len_utf8()..).and_then(|tail| tail.chars().next());
        mark != '\'' || !next.is_some_and(char::is_alphanumeric)
    };
    let (end, _) = inner.match_indices(mark).take(64).find(|(at, _)| ends(*at))?;
    Some(mark.len_utf8() * 2 + end)
}
