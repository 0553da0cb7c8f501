//! [`RedactionIdPolicy`]: the redaction rules as the vault's [`IdPolicy`], because an id or column that the rules would
//! change on a span must not appear in an index line or object name either. Pseudonyms themselves are made in
//! `kernel::pseudonym`.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;

use kernel::pseudonym::{IdPolicy, Pseudonymizer, is_unfit};

use super::clean_texts::CleanTexts;
use super::composite_ids::has_private_part;
use super::detector::Detector;
use super::find::SearchScratch;
use super::resolve::{RedactionHit, replace_hits};

/// Decides by several rule sets which ids and columns are private, and makes their pseudonyms.
pub struct RedactionIdPolicy {
    detectors: Vec<PooledDetector>,
    pseudonyms: Pseudonymizer,
}

/// A rule set with the state of its searches, which fits no other set.
struct PooledDetector {
    detector: Arc<Detector>,
    /// Boxed, because moving 10 KB in and out costs as much as a short search.
    pool: Mutex<Vec<Box<IdSearch>>>,
}

/// Buffers of a search, and the texts that it found clean: names and ids are the same on most rows of a session.
#[derive(Default)]
struct IdSearch {
    scratch: SearchScratch,
    clean_ids: CleanTexts,
    clean_columns: CleanTexts,
}

impl PooledDetector {
    fn with_search<T>(&self, search: impl FnOnce(&mut IdSearch) -> T) -> T {
        let mut pooled = self.pool.lock().pop().unwrap_or_default();
        let result = search(&mut pooled);
        self.pool.lock().push(pooled);
        result
    }

    fn is_private(&self, text: &str) -> bool {
        self.with_search(|search| {
            if search.clean_ids.contains("", text) {
                return false;
            }
            let scratch = &mut search.scratch;
            let is_private = self.detector.is_private(text, scratch) || has_private_part(&self.detector, text, scratch);
            if !is_private {
                search.clean_ids.insert("", text);
            }
            is_private
        })
    }

    fn redact_column(&self, text: &str) -> Option<String> {
        self.with_search(|search| {
            if search.clean_columns.contains("", text) {
                return None;
            }
            let hits = self.detector.find(text, &mut search.scratch);
            if hits.is_empty() {
                search.clean_columns.insert("", text);
                return None;
            }
            let push_placeholder =
                &mut |hit: &RedactionHit, _: &str, out: &mut String| out.push_str(self.detector.placeholder(hit));
            Some(replace_hits(text, hits, push_placeholder))
        })
    }
}

impl RedactionIdPolicy {
    /// A policy over several rule sets: an id is private if any set finds it private. References to the vault occur in
    /// every pipeline, also in the one with the strictest rules.
    pub fn new(detectors: Vec<Arc<Detector>>, pseudonyms: Pseudonymizer) -> Self {
        let pooled = |detector| PooledDetector { detector, pool: Mutex::default() };
        Self { detectors: detectors.into_iter().map(pooled).collect(), pseudonyms }
    }
}

impl IdPolicy for RedactionIdPolicy {
    fn shown_id<'a>(&self, account: &str, id: &'a str) -> Cow<'a, str> {
        if is_unfit(id) || self.detectors.iter().any(|detector| detector.is_private(id)) {
            return self.pseudonyms.pseudonym(account, id).into();
        }
        id.into()
    }

    fn redact_column<'a>(&self, _account: &str, text: &'a str) -> Cow<'a, str> {
        self.detectors.iter().fold(Cow::Borrowed(text), |text, detector| match detector.redact_column(&text) {
            Some(changed) => changed.into(),
            None => text,
        })
    }

    fn pseudonym(&self, account: &str, id: &str) -> String {
        self.pseudonyms.pseudonym(account, id)
    }
}

/// Whether bytes have the width of an id (span, trace, digest) and are not ASCII text in UTF-16 or UTF-32, of which at
/// least half of the bytes are zeros.
pub fn is_id_bytes(bytes: &[u8]) -> bool {
    let zeros = bytes.iter().filter(|byte| **byte == 0).count();
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~');
    let is_wide_text =
        zeros * 2 >= bytes.len() && zeros < bytes.len() && bytes.iter().all(|byte| *byte == 0 || is_printable(byte));
    matches!(bytes.len(), 8 | 16 | 32) && !is_wide_text
}
