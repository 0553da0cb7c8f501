//! **What**: who makes room where there is not enough for all: [`victim`], [`Used`]. **Why**: one account that names a thousand
//! tenants must not take away what others' medians and alerts rest on. **Invariants**: whoever has most makes room, with what
//! was used longest ago. **Not here**: how much there is (`alerts`, `history`).

use std::collections::{BTreeMap, HashMap};

/// Of entries as (account, when used, key): the one that goes.
pub(super) fn victim<'k, K: 'k>(entries: impl Iterator<Item = (&'k str, u64, K)>) -> Option<K> {
    let mut accounts: BTreeMap<&str, (usize, u64, K)> = BTreeMap::new();
    for (account, used, key) in entries {
        match accounts.get_mut(account) {
            None => {
                accounts.insert(account, (1, used, key));
            }
            Some(known) => {
                known.0 += 1;
                if used < known.1 {
                    (known.1, known.2) = (used, key);
                }
            }
        }
    }
    accounts.into_values().max_by_key(|(count, used, _)| (*count, std::cmp::Reverse(*used))).map(|(.., key)| key)
}

/// When names were used, in uses.
#[derive(Clone, Default)]
pub(super) struct Used {
    now: u64,
    last: HashMap<String, u64>,
}

impl Used {
    /// The entry of a name of an account (`account`, a line end, the name), of which there are at most `most`.
    pub(super) fn entry<'m, T: Default>(
        &mut self,
        map: &'m mut BTreeMap<String, T>,
        name: &str,
        most: usize,
    ) -> &'m mut T {
        if map.len() >= most && !map.contains_key(name) {
            let used = |name: &String| self.last.get(name).copied().unwrap_or(0);
            let account = |name: &'_ String| name.split('\n').next().map_or(0, str::len);
            let entries = map.keys().map(|name| (name.get(..account(name)).unwrap_or(""), used(name), name));
            if let Some(name) = victim(entries).cloned() {
                map.remove(&name);
                self.last.remove(&name);
            }
        }
        self.now += 1;
        self.last.insert(name.to_owned(), self.now);
        map.entry(name.to_owned()).or_default()
    }
}
