//! **What**: [`Values`]: which texts of telemetry a label of `/metrics` shows. **Why**: a series can't be taken back,
//! so there must not be many; and neither one account nor one stream of made-up names may use up what there is.
//! **Invariants**: at most `MOST` values of a label while the process lives, reloads included; the more an account
//! brought, the less it may still bring, so that something is left for the next; the first `AT_ONCE` of an account are
//! shown at once, later ones when they came `AGAIN` times. **Not here**: which labels there are (their owners).

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use parking_lot::Mutex;

/// Values of one label.
const MOST: usize = 280;
/// An account may have so many times what is left: the first one 210, the next one 52.
const SHARE: usize = 3;
/// Values of an account that are shown at once.
const AT_ONCE: usize = 100;
/// How often a later one must have come: a name that somebody makes up for each run never does.
const AGAIN: u8 = 8;
/// Names of an account that are watched for it.
const WATCHED: usize = 1024;
/// Longest value, bytes.
const LONGEST: usize = 128;
/// All that is not shown.
const OTHER: &str = "other";
/// What has no name.
const UNATTRIBUTED: &str = "unattributed";

#[derive(Default)]
struct Known {
    shown: HashSet<Box<str>>,
    brought: HashMap<Box<str>, usize>,
    /// By account: what one makes up must not cost another its counts. Only accounts that brought [`AT_ONCE`] have one.
    watched: HashMap<Box<str>, HashMap<u64, u8>>,
}

/// See the module.
#[derive(Default)]
pub struct Values(Mutex<Known>);

impl Values {
    /// What the label says of a text of an account: the text, `other`, or `unattributed` for none.
    pub fn value<'a>(&self, account: &str, text: Option<&'a str>) -> &'a str {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return UNATTRIBUTED };
        if !is_name(text) {
            return OTHER;
        }
        let mut known = self.0.lock();
        if known.shown.contains(text) || known.admits(account, text) { text } else { OTHER }
    }
}

impl Known {
    fn admits(&mut self, account: &str, text: &str) -> bool {
        let own = self.brought.get(account).copied().unwrap_or(0);
        let left = MOST.saturating_sub(self.shown.len());
        if own >= left.saturating_mul(SHARE) || (own >= AT_ONCE && !self.came_again(account, text)) {
            return false;
        }
        self.shown.insert(text.into());
        *self.brought.entry(account.into()).or_default() += 1;
        true
    }

    fn came_again(&mut self, account: &str, text: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let digest = hasher.finish();
        let watched = match self.watched.get_mut(account) {
            Some(watched) => watched,
            None => self.watched.entry(account.into()).or_default(),
        };
        if watched.len() >= WATCHED && !watched.contains_key(&digest) {
            // what comes often is soon watched again
            watched.clear();
        }
        let times = watched.entry(digest).or_default();
        *times = times.saturating_add(1);
        let enough = *times >= AGAIN;
        if enough {
            watched.remove(&digest);
        }
        enough
    }
}

/// A text may be a label only if it looks like a name: a mail address or a sentence does not.
fn is_name(text: &str) -> bool {
    text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte))
}

#[cfg(test)]
mod tests;
