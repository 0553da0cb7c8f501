//! **What**: [`Ids`]: the redaction rules as the vault's [`IdPolicy`]. **Why**: an id or a column that the rules would
//! touch on a span must not stand in an index line or an object name either. **Not here**: the forms (`pseudonym`).

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::pseudonym::{IdPolicy, PREFIX, Pseudonymizer};

use super::{Detector, Scratch, replace};

/// Rules and pseudonyms together.
pub struct Ids {
    detector: Arc<Detector>,
    pseudonyms: Pseudonymizer,
    scratch: Mutex<Vec<Scratch>>,
}

impl Ids {
    /// The policy of one redaction rule set.
    pub fn new(detector: Arc<Detector>, pseudonyms: Pseudonymizer) -> Self {
        Self { detector, pseudonyms, scratch: Mutex::default() }
    }

    fn with_scratch<T>(&self, use_it: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        let result = use_it(&mut scratch);
        self.scratch.lock().push(scratch);
        result
    }
}

impl IdPolicy for Ids {
    fn shown<'a>(&self, account: &str, id: &'a str) -> Cow<'a, str> {
        if id.starts_with(PREFIX) || self.with_scratch(|scratch| self.detector.is_private(id, scratch)) {
            return self.pseudonyms.pseudonym(account, id).into();
        }
        id.into()
    }

    fn column<'a>(&self, _account: &str, text: &'a str) -> Cow<'a, str> {
        self.with_scratch(|scratch| {
            let hits = self.detector.find(text, scratch);
            if hits.is_empty() {
                return text.into();
            }
            replace(text, hits, &mut |hit, _, out| out.push_str(self.detector.placeholder(hit))).into()
        })
    }

    fn pseudonym(&self, account: &str, id: &str) -> String {
        self.pseudonyms.pseudonym(account, id)
    }
}
