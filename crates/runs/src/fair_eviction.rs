//! Fair eviction between accounts from maps whose entries have times of their own, which are not those of their last
//! writes: [`choose_eviction`], and [`split_fairly`] for many entries at once. The account with most entries loses its
//! oldest ones, exactly as many as exceed the bound, even if all have the same time. `kernel::bounded_map` evicts
//! by the same rule, in the order of writes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Chooses the entry to evict, of entries given as (account, last use, key).
pub fn choose_eviction<'k, K: 'k>(entries: impl Iterator<Item = (&'k str, u64, K)>) -> Option<K> {
    // of several entries with one time, the first is evicted
    let mut entries: Vec<_> = entries.collect();
    entries.reverse();
    let others = entries.len().checked_sub(1)?;
    split_fairly(entries.into_iter(), others).1.pop()
}

/// Splits entries, given as (account, time, entry), into the `max` that stay and those to evict. Later ones stay; those
/// that stay are in the order in which they would survive a smaller `max`.
pub fn split_fairly<'a, T: Ord + Copy, K>(
    entries: impl Iterator<Item = (&'a str, T, K)>,
    max: usize,
) -> (Vec<K>, Vec<K>) {
    let mut accounts: BTreeMap<&str, Vec<(T, K)>> = BTreeMap::new();
    for (account, time, entry) in entries {
        accounts.entry(account).or_default().push((time, entry));
    }
    let mut ranked = Vec::new();
    for mut account_entries in accounts.into_values() {
        account_entries.sort_by_key(|(time, _)| Reverse(*time));
        ranked.extend((0_usize..).zip(account_entries).map(|(place, (time, entry))| (place, Reverse(time), entry)));
    }
    ranked.sort_by_key(|(place, time, _)| (*place, *time));
    let mut kept: Vec<K> = ranked.into_iter().map(|(.., entry)| entry).collect();
    let evicted = kept.split_off(max.min(kept.len()));
    (kept, evicted)
}
