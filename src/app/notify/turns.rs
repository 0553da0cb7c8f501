//! **What**: which alerts are told of first ([`in_turn`]). **Why**: a message that only counts wakes nobody: a flood
//! must not push others' alerts into it. **Not here**: how many are told of one by one (the parent).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use runs::Alert;

/// In the order in which they are told of: the loud ones first; among them accounts take turns, and of each account the
/// first of each tenant and rule comes before the second ones; then the oldest. So ten messages tell of what is
/// different.
pub(super) fn in_turn(mut news: Vec<Alert>) -> Vec<Alert> {
    let mut kinds = Turns::default();
    news.sort_by_key(|alert| alert.since);
    let kind = |alert: &Alert| [&alert.account, alert.tenant.as_deref().unwrap_or(""), alert.rule].join("\n");
    let mut placed: Vec<(usize, Alert)> = news.into_iter().map(|alert| (kinds.next(kind(&alert)), alert)).collect();
    placed.sort_by_key(|(turn, alert)| (Reverse(alert.severity), *turn, alert.since));
    let mut accounts = Turns::default();
    let whose = |alert: &Alert| [alert.severity.as_str(), &alert.account].join("\n");
    let mut placed: Vec<(usize, Alert)> =
        placed.into_iter().map(|(_, alert)| (accounts.next(whose(&alert)), alert)).collect();
    placed.sort_by_key(|(turn, alert)| (Reverse(alert.severity), *turn, alert.since));
    placed.into_iter().map(|(_, alert)| alert).collect()
}

/// Who had how many turns.
#[derive(Default)]
struct Turns(BTreeMap<String, usize>);

impl Turns {
    fn next(&mut self, whose: String) -> usize {
        let turn = self.0.entry(whose).or_default();
        *turn += 1;
        *turn
    }
}
