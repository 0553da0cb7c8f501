//! [`LabelValues`]: limits which texts from telemetry become values of a metric label. A series can never be removed,
//! so there must be few, and neither one account nor a stream of made-up names may use up the limit. A label has at
//! most `MAX_VALUES` values while the process lives, across reloads. The fewer values are left, the fewer an account
//! may have, so that other accounts get some. The first `SHOWN_AT_ONCE` values of an account are shown at once, later
//! ones when they occur for the `REPEATS_TO_SHOW`th time.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use kernel::bounded_map::BoundedMap;
use parking_lot::Mutex;

/// Maximum number of values of one label.
const MAX_VALUES: usize = 280;
/// An account may have this many times the number of values that are left: the first account 210, the next one 52.
const ACCOUNT_SHARE: usize = 3;
/// Number of values of an account that are shown at once.
const SHOWN_AT_ONCE: usize = 100;
/// How often a later value must occur to be shown. A name that is made up for each run never occurs so often.
const REPEATS_TO_SHOW: u8 = 8;
/// Maximum number of values whose occurrences are counted.
const MAX_COUNTED: usize = 1 << 14;
/// Longest value, in bytes.
const MAX_VALUE_BYTES: usize = 128;
/// The value for all texts that are not shown.
const OTHER: &str = "other";
/// The value for missing or empty texts.
const UNATTRIBUTED: &str = "unattributed";

#[derive(Default)]
struct KnownLabelValues {
    shown: HashSet<Box<str>>,
    values_by_account: HashMap<Box<str>, usize>,
    /// Occurrences by hash of account and value, of accounts with [`SHOWN_AT_ONCE`] values.
    occurrences: BoundedMap<u64, u8, MAX_COUNTED>,
}

/// The values of one label; see the module.
#[derive(Default)]
pub struct LabelValues(Mutex<KnownLabelValues>);

impl LabelValues {
    /// The label value for an account's text: the text itself, `other`, or `unattributed` for none.
    pub fn value<'a>(&self, account: &str, text: Option<&'a str>) -> &'a str {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return UNATTRIBUTED };
        if !is_name(text) {
            return OTHER;
        }
        let mut known = self.0.lock();
        if known.shown.contains(text) || known.admit_value(account, text) { text } else { OTHER }
    }
}

impl KnownLabelValues {
    fn admit_value(&mut self, account: &str, text: &str) -> bool {
        let account_values = self.values_by_account.get(account).copied().unwrap_or(0);
        let left = MAX_VALUES.saturating_sub(self.shown.len());
        if account_values >= left.saturating_mul(ACCOUNT_SHARE)
            || (account_values >= SHOWN_AT_ONCE && !self.has_recurred(account, text))
        {
            return false;
        }
        self.shown.insert(text.into());
        *self.values_by_account.entry(account.into()).or_default() += 1;
        true
    }

    fn has_recurred(&mut self, account: &str, text: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        (account, text).hash(&mut hasher);
        let digest = hasher.finish();
        let count = self.occurrences.update(account, digest, |count| {
            *count = count.saturating_add(1);
            *count
        });
        let has_recurred = count >= REPEATS_TO_SHOW;
        if has_recurred {
            self.occurrences.remove(&digest);
        }
        has_recurred
    }
}

/// A text may become a label value only if it looks like a name: an e-mail address or a sentence does not.
fn is_name(text: &str) -> bool {
    text.len() <= MAX_VALUE_BYTES && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte))
}

#[cfg(test)]
mod tests;
