//! [`SeatSums`]: what the calls of each seat would have cost by the rate table, by calendar month (UTC), beside the
//! seat's price. Kept for this month and the last one, and bounded. `processors/cost` adds to it, `pages` shows it.

use std::collections::BTreeMap;

use kernel::bounded_map::{AccountHash, BoundedMap};
use kernel::calendar::rfc3339;
use kernel::clock::UnixNanos;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::decimal::Usd;

/// Maximum number of seats in both months together.
const MAX_SEATS: usize = 20_000;

/// A seat in a month.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SeatKey {
    /// `2026-11`.
    pub month: String,
    pub plan: String,
    /// The user, as a keyed pseudonym.
    pub user: String,
}

/// A seat with its price, and what its calls would have cost.
pub struct SeatUse {
    pub key: SeatKey,
    pub price: Usd,
    pub used: Usd,
}

/// See the module.
pub struct SeatSums {
    /// By plan.
    prices: BTreeMap<String, Usd>,
    sums: Mutex<BoundedMap<SeatKey, i128, MAX_SEATS>>,
}

/// The month of a time, such as `2026-11`.
pub fn month_of(at: u64) -> String {
    rfc3339(UnixNanos(at)).chars().take(7).collect()
}

impl SeatSums {
    /// `prices`: of a seat a month, by plan.
    pub fn new(prices: BTreeMap<String, Usd>) -> Self {
        Self { prices, sums: Mutex::default() }
    }

    /// Adds calls; `atto`: 1e-18 USD.
    pub fn add(&self, account: AccountHash, seats: impl IntoIterator<Item = (SeatKey, i128)>) {
        let mut sums = self.sums.lock();
        for (key, atto) in seats {
            sums.update(account, key, |sum: &mut i128| *sum = sum.saturating_add(atto));
        }
    }

    /// Forgets the months before the last one.
    pub fn expire(&self, now: u64) {
        let kept = month_of(now.saturating_sub(31 * 86_400_000_000_000));
        self.sums.lock().expire(|key, _| key.month < kept);
    }

    /// All seats, the latest month first, and of a month the most used ones.
    pub fn uses(&self) -> Vec<SeatUse> {
        let price = |key: &SeatKey| self.prices.get(&key.plan).copied();
        let to_use =
            |(key, used): (&SeatKey, &i128)| Some(SeatUse { price: price(key)?, used: Usd(*used), key: key.clone() });
        let mut seats: Vec<SeatUse> = self.sums.lock().iter().filter_map(to_use).collect();
        seats.sort_by(|a, b| (&b.key.month, b.used, &a.key.user).cmp(&(&a.key.month, a.used, &b.key.user)));
        seats
    }

    /// All sums, for a checkpoint.
    pub fn entries(&self) -> Vec<(AccountHash, SeatKey, i128)> {
        self.sums.lock().entries().map(|(account, key, atto)| (account, key.clone(), *atto)).collect()
    }
}
