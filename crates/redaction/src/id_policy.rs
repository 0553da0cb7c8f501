//! [`RedactionIdPolicy`]: the redaction rules as the vault's [`IdPolicy`], because an id or column that the rules would
//! change on a span must not appear in an index line or object name either. Pseudonyms themselves are made in
//! `kernel::pseudonym`.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;

use kernel::pseudonym::{IdPolicy, Pseudonymizer, is_unfit};

use super::composite_ids::has_private_part;
use super::detector::Detector;
use super::find::SearchScratch;
use super::resolve::{RedactionHit, replace_hits};

/// Decides by several rule sets which ids and columns are private, and makes their pseudonyms.
pub struct RedactionIdPolicy {
    detectors: Vec<PooledDetector>,
    pseudonyms: Pseudonymizer,
}

/// A rule set with its scratch buffers, which fit no other set.
struct PooledDetector {
    detector: Arc<Detector>,
    scratch: Mutex<Vec<SearchScratch>>,
}

impl PooledDetector {
    fn with_scratch<T>(&self, search: impl FnOnce(&mut SearchScratch) -> T) -> T {
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        let result = search(&mut scratch);
        self.scratch.lock().push(scratch);
        result
    }

    fn is_private(&self, text: &str) -> bool {
        self.with_scratch(|scratch| {
            self.detector.is_private(text, scratch) || has_private_part(&self.detector, text, scratch)
        })
    }

    fn redact_column(&self, text: &str) -> Option<String> {
        self.with_scratch(|scratch| {
            let hits = self.detector.find(text, scratch);
            let push_placeholder =
                &mut |hit: &RedactionHit, _: &str, out: &mut String| out.push_str(self.detector.placeholder(hit));
            (!hits.is_empty()).then(|| replace_hits(text, hits, push_placeholder))
        })
    }
}

impl RedactionIdPolicy {
    /// A policy over several rule sets: an id is private if any set finds it private. References to the vault occur in
    /// every pipeline, also in the one with the strictest rules.
    pub fn new(detectors: Vec<Arc<Detector>>, pseudonyms: Pseudonymizer) -> Self {
        let pooled = |detector| PooledDetector { detector, scratch: Mutex::default() };
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
