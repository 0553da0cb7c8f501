//! Replaces user ids and names inside structured text, such as `{"user_id": 4711}` in a log line, with the same
//! pseudonym that the id gets as an attribute.
//!
//! Only entries whose key names a person are checked, and a text without such a key costs one search for a word. Map
//! entries, whose keys are known, are handled in `mod`; `genai` decides which keys name a person.

use genai::texts::{Visit as Walk, Walked, holds_structure, search};
use memchr::memmem;

use super::config::UserIds;
use super::policy::Treatment;
use super::{Redact, Visit, Worker};

/// Every key that names a person contains one of these.
const MARKS: [&str; 3] = ["ser", "usr", "Usr"];

impl Redact {
    /// The new text, if it holds structure with user ids or names.
    pub(super) fn people(&self, visit: &Visit<'_>, text: &str, worker: &mut Worker) -> Option<String> {
        let sought = self.settings.user_ids == UserIds::Pseudonym && text.len() <= self.settings.max_scan;
        let marked = || MARKS.iter().any(|mark| memmem::find(text.as_bytes(), mark.as_bytes()).is_some());
        if !sought || !marked() || !holds_structure(text) {
            return None;
        }
        match search(text, &mut People { redact: self, visit, worker }) {
            Walked::Changed(new) => Some(new),
            Walked::Same | Walked::Broken | Walked::TooDeep => None,
        }
    }
}

struct People<'a, 'b> {
    redact: &'a Redact,
    visit: &'a Visit<'b>,
    worker: &'a mut Worker,
}

impl Walk for People<'_, '_> {
    fn text(&mut self, key: &str, text: &str) -> Option<String> {
        let person = self.worker.treatment(&self.redact.vocabulary, self.visit.signal, key) == Treatment::Person;
        if !person || text.is_empty() {
            return None;
        }
        self.redact.by_rules(self.visit, (Treatment::Person, key), text, self.worker)
    }

    fn word(&mut self, key: &str, word: &str) -> Option<String> {
        let number = word.bytes().all(|byte| byte.is_ascii_digit());
        if number { self.text(key, word) } else { None }
    }
}
