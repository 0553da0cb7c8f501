//! [`WebhookPauses`]: pauses after failed messages, for the whole webhook or for single alerts. A webhook that is down
//! must not be called all the time, and one message that it refuses (a firewall that rejects a name) must not delay the
//! others. The size is bounded by the number of alerts. The attempts of one message are in the parent module.

use std::collections::{BTreeMap, BTreeSet};

use kernel::hex;
use kernel::sha256::Sha256;
use runs::Alert;

/// The shortest and longest pause after a failed message, in ns.
const MIN_PAUSE_NS: u64 = 60 * 1_000_000_000;
const MAX_PAUSE_NS: u64 = 15 * MIN_PAUSE_NS;

/// A pause after a failure.
#[derive(Default)]
struct AlertPause {
    /// End of the pause, unix ns.
    until: u64,
    /// Length in ns; 0 before the first failure.
    length: u64,
}

impl AlertPause {
    /// Starts the next pause: a minute, doubling each time up to fifteen minutes. Returns its length in ns.
    fn extend(&mut self, now: u64) -> u64 {
        self.length = self.length.saturating_mul(2).clamp(MIN_PAUSE_NS, MAX_PAUSE_NS);
        self.until = now.saturating_add(self.length);
        self.length
    }

    fn is_over(&self, now: u64) -> bool {
        now >= self.until
    }
}

/// All current pauses.
#[derive(Default)]
pub(super) struct WebhookPauses {
    webhook: AlertPause,
    /// Pauses by alert; see [`alert_key`].
    by_alert: BTreeMap<String, AlertPause>,
    /// The alert of the last message that failed on its own, if no message was sent since.
    last_failed: Option<String>,
}

impl WebhookPauses {
    /// Whether the whole webhook pauses.
    pub(super) fn is_webhook_paused(&self, now: u64) -> bool {
        !self.webhook.is_over(now)
    }

    /// The alerts that may be sent now. Those that failed before come last, so that they don't delay others.
    pub(super) fn filter_due(&mut self, mut alerts: Vec<Alert>, now: u64) -> Vec<Alert> {
        if !self.by_alert.is_empty() {
            let current: BTreeSet<String> = alerts.iter().map(alert_key).collect();
            self.by_alert.retain(|key, _| current.contains(key));
            alerts.retain(|alert| self.by_alert.get(&alert_key(alert)).is_none_or(|pause| pause.is_over(now)));
            alerts.sort_by_cached_key(|alert| self.by_alert.get(&alert_key(alert)).map_or(0, |pause| pause.length));
        }
        if self.is_webhook_paused(now) { Vec::new() } else { alerts }
    }

    pub(super) fn record_success(&mut self) {
        (self.webhook, self.last_failed) = Default::default();
    }

    /// Records a failed message and returns the pause in ns; `affects_all` if any other message would have failed too.
    /// If two different alerts in a row fail on their own, the whole webhook pauses for a minute.
    pub(super) fn record_failure(&mut self, alerts: &[Alert], affects_all: bool, now: u64) -> u64 {
        if affects_all {
            return self.webhook.extend(now);
        }
        let pauses = alerts.iter().map(|alert| self.by_alert.entry(alert_key(alert)).or_default().extend(now));
        let pause = pauses.max().unwrap_or(MIN_PAUSE_NS);
        let failed = alerts.first().map(alert_key);
        let previous = std::mem::replace(&mut self.last_failed, failed);
        if previous.is_some() && previous != self.last_failed {
            self.webhook.until = now.saturating_add(MIN_PAUSE_NS);
        }
        pause
    }
}

/// A digest of an alert's rule, account and subject.
pub(super) fn alert_key(alert: &Alert) -> String {
    let mut hash = Sha256::new();
    let (tenant, feature) = (alert.tenant.as_deref().unwrap_or(""), alert.feature.as_deref().unwrap_or(""));
    let subject = [alert.run.as_str(), if alert.run.is_empty() { &alert.session } else { "" }];
    let owner = if subject == ["", ""] { [tenant, feature] } else { ["", ""] };
    for part in [alert.rule.as_str(), &alert.account].into_iter().chain(subject).chain(owner) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize().get(..16).unwrap_or(&[]))
}
