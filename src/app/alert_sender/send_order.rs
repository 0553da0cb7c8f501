//! The order in which alerts are sent ([`sort_for_sending`]). Only the first alerts get a message of their own, and a
//! summary wakes no one, so one account's flood must not push the alerts of others into the summary. The parent module
//! limits the number of messages.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use runs::Alert;

/// Sorts alerts for sending: by severity, then accounts in turn. Within an account, the first alert of each tenant and
/// rule precedes every second one, and older ones come first, so that the first ten messages are about different
/// things.
pub(super) fn sort_for_sending(mut alerts: Vec<Alert>) -> Vec<Alert> {
    let mut kind_turns = TurnCounter::default();
    alerts.sort_by_key(|alert| alert.since);
    let kind = |alert: &Alert| [&alert.account, alert.tenant.as_deref().unwrap_or(""), alert.rule.as_str()].join("\n");
    let mut placed: Vec<(usize, Alert)> =
        alerts.into_iter().map(|alert| (kind_turns.next_turn(kind(&alert)), alert)).collect();
    placed.sort_by_key(|(turn, alert)| (Reverse(alert.severity), *turn, alert.since));
    let mut account_turns = TurnCounter::default();
    let account = |alert: &Alert| [alert.severity.as_str(), &alert.account].join("\n");
    let mut placed: Vec<(usize, Alert)> =
        placed.into_iter().map(|(_, alert)| (account_turns.next_turn(account(&alert)), alert)).collect();
    placed.sort_by_key(|(turn, alert)| (Reverse(alert.severity), *turn, alert.since));
    placed.into_iter().map(|(_, alert)| alert).collect()
}

/// The number of alerts placed so far, by key.
#[derive(Default)]
struct TurnCounter(BTreeMap<String, usize>);

impl TurnCounter {
    fn next_turn(&mut self, key: String) -> usize {
        let turn = self.0.entry(key).or_default();
        *turn += 1;
        *turn
    }
}
