//! [`Ids`]: the redaction rules as the vault's [`IdPolicy`], because an id or column that the rules would change on a
//! span must not appear in an index line or object name either. Pseudonyms themselves are made in `kernel::pseudonym`.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;

use kernel::pseudonym::{IdPolicy, Pseudonymizer, is_unfit};

use super::composite::parts_are_private;
use super::detector::Detector;
use super::find::Scratch;
use super::resolve::{Hit, replace};

/// Rules and pseudonyms together.
pub struct Ids {
    rules: Vec<Rules>,
    pseudonyms: Pseudonymizer,
}

/// A rule set with its scratch buffers, which fit no other set.
struct Rules {
    detector: Arc<Detector>,
    scratch: Mutex<Vec<Scratch>>,
}

impl Rules {
    fn with_scratch<T>(&self, use_it: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        let result = use_it(&mut scratch);
        self.scratch.lock().push(scratch);
        result
    }

    fn is_private(&self, text: &str) -> bool {
        self.with_scratch(|scratch| {
            self.detector.is_private(text, scratch) || parts_are_private(&self.detector, text, scratch)
        })
    }

    fn column(&self, text: &str) -> Option<String> {
        self.with_scratch(|scratch| {
            let hits = self.detector.find(text, scratch);
            let put = &mut |hit: &Hit, _: &str, out: &mut String| out.push_str(self.detector.placeholder(hit));
            (!hits.is_empty()).then(|| replace(text, hits, put))
        })
    }
}

impl Ids {
    /// A policy over several rule sets: an id is private if any set finds it private. References to the vault occur in
    /// every pipeline, also in the one with the strictest rules.
    pub fn new(detectors: Vec<Arc<Detector>>, pseudonyms: Pseudonymizer) -> Self {
        let rules = detectors.into_iter().map(|detector| Rules { detector, scratch: Mutex::default() }).collect();
        Self { rules, pseudonyms }
    }
}

impl IdPolicy for Ids {
    fn shown<'a>(&self, account: &str, id: &'a str) -> Cow<'a, str> {
        if is_unfit(id) || self.rules.iter().any(|rules| rules.is_private(id)) {
            return self.pseudonyms.pseudonym(account, id).into();
        }
        id.into()
    }

    fn column<'a>(&self, _account: &str, text: &'a str) -> Cow<'a, str> {
        self.rules.iter().fold(Cow::Borrowed(text), |text, rules| match rules.column(&text) {
            Some(changed) => changed.into(),
            None => text,
        })
    }

    fn pseudonym(&self, account: &str, id: &str) -> String {
        self.pseudonyms.pseudonym(account, id)
    }
}

/// Whether non-text bytes have the width of an id (span, trace, digest) and are not plain text in wide characters, of
/// which at least half would be zeros.
pub fn is_id_bytes(bytes: &[u8]) -> bool {
    let zeros = bytes.iter().filter(|byte| **byte == 0).count();
    let printable = |byte: &u8| matches!(byte, b' '..=b'~');
    let wide =
        zeros * 2 >= bytes.len() && zeros < bytes.len() && bytes.iter().all(|byte| *byte == 0 || printable(byte));
    matches!(bytes.len(), 8 | 16 | 32) && !wide
}
