//! [`Rests`]: pauses after failed messages, for the whole webhook or for single alerts. A webhook that is down must not
//! be called all the time, and one message that it refuses (a firewall that rejects a name) must not delay the others.
//! The size is bounded by the number of alerts. The attempts of one message are in the parent module.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use kernel::hex;
use runs::Alert;

/// The shortest and longest pause after a failed message, in ns.
const SHORTEST: u64 = 60 * 1_000_000_000;
const LONGEST: u64 = 15 * SHORTEST;

/// A pause after a failure.
#[derive(Default)]
struct Rest {
    /// End of the pause, unix ns.
    until: u64,
    pause: u64,
}

impl Rest {
    /// Starts the next pause: a minute, doubling each time up to fifteen minutes. Returns its length in ns.
    fn longer(&mut self, now: u64) -> u64 {
        self.pause = self.pause.saturating_mul(2).clamp(SHORTEST, LONGEST);
        self.until = now.saturating_add(self.pause);
        self.pause
    }

    fn is_over(&self, now: u64) -> bool {
        now >= self.until
    }
}

/// All current pauses.
#[derive(Default)]
pub(super) struct Rests {
    all: Rest,
    /// Pauses by alert; see [`key`].
    each: BTreeMap<String, Rest>,
    /// The alert of the last message that failed on its own, if no message was sent since.
    failed: Option<String>,
}

impl Rests {
    /// Whether the whole webhook pauses.
    pub(super) fn all(&self, now: u64) -> bool {
        !self.all.is_over(now)
    }

    /// The alerts that may be sent now. Those that failed before come last, so that they don't delay others.
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

    /// Records a failed message and returns the pause in ns. With `whole`, any other message would have failed too. If
    /// a second alert in a row fails on its own, the whole webhook pauses for a minute.
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

/// A digest of an alert's rule, account and subject.
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
