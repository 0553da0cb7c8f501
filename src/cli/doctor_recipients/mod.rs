//! The lines of `vault doctor` that show who can open what: one for each group of accounts with the same recipients.
//! Neighbour: `app/vault_recipients` refuses a configuration in which nobody could open an account's content.

use std::collections::{BTreeMap, BTreeSet};

use vault::recipients::{AccountRecipients, KeyHolder, RecipientPolicy};
use vault::store::probe::ProbeCheck;

/// Most accounts that one line lists.
const MAX_LISTED_ACCOUNTS: usize = 10;

/// Who can open the content of `accounts`.
pub(super) fn check_recipients(policy: &RecipientPolicy, accounts: &BTreeSet<String>) -> Vec<ProbeCheck> {
    let mut groups: BTreeMap<(AccountRecipients, bool), Vec<&str>> = BTreeMap::new();
    for account in accounts {
        // tenants as the configuration has them: this is its owner's own terminal
        let holders = policy.holders(account, str::to_owned);
        groups.entry((holders, policy.covers(account))).or_default().push(account);
    }
    let mut checks: Vec<ProbeCheck> =
        groups.iter().map(|((holders, covered), names)| describe(holders, *covered, names)).collect();
    if !policy.covers_every_account() {
        let refused = ProbeCheck::new("content of accounts that no recipient names is refused", Ok(()));
        checks.push(ProbeCheck { answer: "nobody opens them".to_owned(), ..refused });
    }
    checks
}

fn describe(holders: &AccountRecipients, covered: bool, accounts: &[&str]) -> ProbeCheck {
    let shown = accounts.iter().take(MAX_LISTED_ACCOUNTS).copied().collect::<Vec<_>>().join(", ");
    let more = match accounts.len().saturating_sub(MAX_LISTED_ACCOUNTS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let remedy = "nobody could open all of it, so its requests are refused: add a recipient for the account";
    let whose = if accounts.len() == 1 { "account" } else { "accounts" };
    let property = format!("content of {whose} {shown}{more} has recipients");
    let keys = list_keys(holders);
    match covered {
        true => ProbeCheck { answer: keys, ..ProbeCheck::new(property, Ok(())) },
        false => ProbeCheck::new(property, Err((keys, remedy.to_owned()))),
    }
}

fn list_keys(holders: &AccountRecipients) -> String {
    let name = |holder: &KeyHolder| match &holder.tenants {
        None => holder.key.clone(),
        Some(tenants) => format!("{} only tenants {}", holder.key, tenants.join(", ")),
    };
    let names = holders.of.iter().map(name).collect::<Vec<_>>().join("; ");
    match holders.threshold {
        _ if holders.of.is_empty() => "nobody".to_owned(),
        Some(threshold) => format!("{threshold} together of {names}"),
        None => names,
    }
}

#[cfg(test)]
mod tests;
