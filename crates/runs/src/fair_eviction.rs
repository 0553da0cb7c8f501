//! Fair eviction between accounts from maps whose entries have times of their own, which are not those of their last
//! writes: [`choose_eviction`], and [`split_fairly`] for many entries at once. The account with most entries loses its
//! oldest ones, exactly as many as exceed the bound, even if all have the same time. `kernel::bounded_map` evicts
//! by the same rule, in the order of writes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Chooses the entry to evict, of entries given as (account, last use, key).
pub fn choose_eviction<'k, K: 'k>(entries: impl Iterator<Item = (&'k str, u64, K)>) -> Option<K> {
    // For each account: the number of its entries, and the last use and key of its least recently used one.
    let mut accounts: BTreeMap<&str, (usize, u64, K)> = BTreeMap::new();
    for (account, last_use, key) in entries {
        match accounts.get_mut(account) {
            None => {
                accounts.insert(account, (1, last_use, key));
            }
            Some((count, oldest_use, oldest_key)) => {
                *count += 1;
                if last_use < *oldest_use {
                    (*oldest_use, *oldest_key) = (last_use, key);
                }
            }
        }
    }
    accounts.into_values().max_by_key(|(count, last_use, _)| (*count, Reverse(*last_use))).map(|(.., key)| key)
}

/// Splits entries, given as (account, time, weight, entry), into those that stay and those to evict. Later ones stay;
/// those that stay are in the order in which they would survive a smaller `max_weight`.
pub fn split_fairly<'a, T: Ord + Copy, K>(
    entries: impl Iterator<Item = (&'a str, T, usize, K)>,
    max_weight: usize,
) -> (Vec<K>, Vec<K>) {
    let mut accounts: BTreeMap<&str, Vec<(T, usize, K)>> = BTreeMap::new();
    for (account, time, weight, entry) in entries {
        accounts.entry(account).or_default().push((time, weight, entry));
    }
    let mut ranked = Vec::new();
    for mut account_entries in accounts.into_values() {
        account_entries.sort_by_key(|(time, ..)| Reverse(*time));
        let mut weight_so_far = 0_usize;
        for (time, weight, entry) in account_entries {
            weight_so_far = weight_so_far.saturating_add(weight);
            ranked.push((weight_so_far, Reverse(time), weight, entry));
        }
    }
    ranked.sort_by_key(|(weight_so_far, time, ..)| (*weight_so_far, *time));
    let (mut weight_left, mut kept, mut evicted) = (max_weight, Vec::new(), Vec::new());
    for (_, _, weight, entry) in ranked {
        match weight_left.checked_sub(weight) {
            Some(rest) => {
                weight_left = rest;
                kept.push(entry);
            }
            None => evicted.push(entry),
        }
    }
    (kept, evicted)
}
