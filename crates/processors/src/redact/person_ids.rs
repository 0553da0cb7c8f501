//! Replaces user ids and names inside structured text, such as `{"user_id": 4711}` in a log line, with the same
//! pseudonym that the id gets as an attribute.
//!
//! Only entries whose key names a person are checked, and a text without structure costs one search for a bracket. Map
//! entries, whose keys are known, are handled in `mod`; `genai` decides which keys name a person.

use genai::structured_text::{StructureVisitor, WalkOutcome, may_contain_structure, rewrite_embedded};
use memchr::memmem;
use redaction::UNSCANNED;

use super::config::UserIdPolicy;
use super::policy::Treatment;
use super::{PlaceContext, RedactProcessor, WorkerBuffers};

/// Every key that names a person contains one of these.
const PERSON_KEY_MARKS: [&str; 3] = ["ser", "usr", "Usr"];

impl RedactProcessor {
    /// The new text, if it holds structure with user ids or names.
    pub(super) fn redact_person_ids(
        &self,
        context: &PlaceContext<'_>,
        text: &str,
        worker: &mut WorkerBuffers,
    ) -> Option<String> {
        let is_searched =
            self.settings.config.user_ids == UserIdPolicy::Pseudonym && text.len() <= self.settings.max_scan;
        let has_mark = || PERSON_KEY_MARKS.iter().any(|mark| memmem::find(text.as_bytes(), mark.as_bytes()).is_some());
        if !is_searched || !may_contain_structure(text) || !has_mark() {
            return None;
        }
        let mut redactor = PersonIdRedactor { processor: self, context, worker, has_replaced: false };
        match rewrite_embedded(text, &mut redactor) {
            WalkOutcome::Changed(redacted) => Some(redacted),
            WalkOutcome::TooDeep if redactor.has_replaced => {
                self.counters.count_unscanned(context.signal, 1);
                Some(UNSCANNED.to_owned())
            }
            WalkOutcome::Unchanged | WalkOutcome::NotStructure | WalkOutcome::TooDeep => None,
        }
    }
}

struct PersonIdRedactor<'a, 'b> {
    processor: &'a RedactProcessor,
    context: &'a PlaceContext<'b>,
    worker: &'a mut WorkerBuffers,
    /// An id was replaced.
    has_replaced: bool,
}

impl StructureVisitor for PersonIdRedactor<'_, '_> {
    fn replace_text(&mut self, key: &str, text: &str) -> Option<String> {
        let treatment = self.processor.key_rule(self.context.signal, key, self.worker).treatment;
        if treatment != Treatment::Person || text.is_empty() {
            return None;
        }
        let replaced = self.processor.apply_rules(self.context, (Treatment::Person, key), text, self.worker);
        self.has_replaced |= replaced.is_some();
        replaced
    }

    fn replace_word(&mut self, key: &str, word: &str) -> Option<String> {
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { self.replace_text(key, word) } else { None }
    }
}
