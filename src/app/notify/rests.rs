//! **What**: [`Rests`]: how long nothing is sent, or not this message, after one failed. **Why**: a webhook that is
//! down must not be asked all the time, and a message that it alone does not take (a firewall that dislikes a name)
//! must not hold up the others. **Invariants**: bounded by the alerts there are. **Not here**: attempts of one message
//! (the parent).

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use kernel::hex;
use runs::Alert;

/// The pause after a message that failed, ns.
const SHORTEST: u64 = 60 * 1_000_000_000;
const LONGEST: u64 = 15 * SHORTEST;

/// The pause after a failure.
#[derive(Default)]
struct Rest {
    /// Unix ns.
    until: u64,
    pause: u64,
}

impl Rest {
    /// The next pause: a minute, then twice as long each time, up to a quarter of an hour; ns.
    fn longer(&mut self, now: u64) -> u64 {
        self.pause = self.pause.saturating_mul(2).clamp(SHORTEST, LONGEST);
        self.until = now.saturating_add(self.pause);
        self.pause
    }

    fn is_over(&self, now: u64) -> bool {
        now >= self.until
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Rests {
    all: Rest,
    /// By what the alert is about.
    each: BTreeMap<String, Rest>,
    /// What the last message was about that failed on its own, if none was sent since.
    failed: Option<String>,
}

impl Rests {
    /// Whether nothing is sent.
    pub(super) fn all(&self, now: u64) -> bool {
        !self.all.is_over(now)
    }

    /// What may be sent now; what failed before comes last, so that it stands in nobody's way.
    pub(super) fn due(&mut self, mut news: Vec<Alert>, now: u64) -> Vec<Alert> {
        if !self.each.is_empty() {
            let known: BTreeSet<String> = news.iter().map(key).collect();
            self.each.retain(|key, _| known.contains(key));
            news.retain(|alert| self.each.get(&key(alert)).is_none_or(|rest| rest.is_over(now)));
            news.sort_by_cached_key(|alert| self.each.get(&key(alert)).map_or(0, |rest| rest.pause));
        }
        if self.all(now) { Vec::new() } else { news }
    }

    pub(super) fn sent(&mut self) {
        (self.all, self.failed) = Default::default();
    }

    /// A message failed; `whole`: so would any other. A second one that fails on its own is taken for all of them, for
    /// a minute. Until it is tried again, ns.
    pub(super) fn failed(&mut self, about: &[Alert], whole: bool, now: u64) -> u64 {
        if whole {
            return self.all.longer(now);
        }
        let pauses = about.iter().map(|alert| self.each.entry(key(alert)).or_default().longer(now));
        let pause = pauses.max().unwrap_or(SHORTEST);
        let this = about.first().map(key);
        let before = std::mem::replace(&mut self.failed, this);
        if before.is_some() && before != self.failed {
            self.all.until = now.saturating_add(SHORTEST);
        }
        pause
    }
}

/// Rule, account, and what it is about.
pub(super) fn key(alert: &Alert) -> String {
    let mut hash = Sha256::new();
    let (tenant, feature) = (alert.tenant.as_deref().unwrap_or(""), alert.feature.as_deref().unwrap_or(""));
    let subject = [alert.run.as_str(), if alert.run.is_empty() { &alert.session } else { "" }];
    let whose = if subject == ["", ""] { [tenant, feature] } else { ["", ""] };
    for part in [alert.rule, &alert.account].into_iter().chain(subject).chain(whose) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize().get(..16).unwrap_or(&[]))
}
