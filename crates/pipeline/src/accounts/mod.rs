//! **What**: [`Limiter`]: how many requests and bytes a second each account may send. **Why**: one account's storm must
//! not take the room of the others. **Invariants**: what is over is refused before its body is read, with the time
//! after which it fits; what was taken in is never refused afterwards: an account that sent more than it had pays it
//! back by waiting; accounts come from credentials, so that there are few. **Not here**: whose a request is
//! (`receivers/`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use kernel::clock::Clock;
use telemetry::{Meter, names};

use super::outcome::{Outcome, Reason};

#[cfg(test)]
mod tests;

/// What one account may send.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Requests a second.
    pub requests: Option<f64>,
    /// Bytes a second, inflated.
    pub bytes: Option<f64>,
    /// What was not sent counts for so long.
    pub burst: Duration,
}

/// What accounts may send.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// Those that are not named.
    pub others: Option<Rate>,
    /// By name.
    pub named: HashMap<Arc<str>, Rate>,
}

/// Watches over rates.
pub struct Limiter {
    rates: Rates,
    clock: Arc<dyn Clock>,
    meter: Meter,
    buckets: Mutex<HashMap<Arc<str>, Bucket>>,
}

/// What an account has left. Bytes may be owed.
struct Bucket {
    requests: f64,
    bytes: f64,
    /// Monotonic.
    at: Duration,
}

impl Limiter {
    /// All accounts begin with a full burst.
    pub fn new(rates: Rates, clock: Arc<dyn Clock>, meter: &Meter) -> Self {
        Self { rates, clock, meter: meter.clone(), buckets: Mutex::default() }
    }

    fn rate(&self, account: &str) -> Option<&Rate> {
        self.rates.named.get(account).or(self.rates.others.as_ref())
    }

    /// Whether `account` may send one more request now.
    ///
    /// # Errors
    /// `Retry` with [`Reason::RateLimited`] and the time after which it may.
    pub fn admit(&self, account: &Arc<str>) -> Result<(), Outcome> {
        let Some(rate) = self.rate(account) else { return Ok(()) };
        let after = self.with(account, rate, |bucket| {
            let requests = rate.requests.map_or(0.0, |each| (1.0 - bucket.requests) / each);
            // A byte at least: what is owed is paid back first.
            let bytes = rate.bytes.map_or(0.0, |each| (1.0 - bucket.bytes) / each);
            let after = requests.max(bytes);
            if after <= 0.0 {
                bucket.requests -= 1.0;
            }
            after
        });
        if after <= 0.0 {
            return Ok(());
        }
        self.meter.counter(&names::ACCOUNT_LIMITED, &[("account", account)]).increment(1);
        let after = Duration::try_from_secs_f64(after).unwrap_or(LONGEST).min(LONGEST);
        Err(Outcome::Retry { after: Some(after), reason: Reason::RateLimited })
    }

    /// Counts a request of `account` with so many bytes.
    pub fn charge(&self, account: &Arc<str>, bytes: usize) {
        if let Some(rate) = self.rate(account) {
            self.with(account, rate, |bucket| bucket.bytes -= bytes as f64);
        }
    }

    fn with<T>(&self, account: &Arc<str>, rate: &Rate, then: impl FnOnce(&mut Bucket) -> T) -> T {
        let now = self.clock.monotonic();
        let burst = rate.burst.as_secs_f64();
        // At least one request, or none would ever pass.
        let most = |each: Option<f64>| each.map_or(f64::MAX, |each| (each * burst).max(1.0));
        let (requests, bytes) = (most(rate.requests), most(rate.bytes));
        let mut buckets = self.buckets.lock();
        let bucket = buckets.entry(Arc::clone(account)).or_insert(Bucket { requests, bytes, at: now });
        let seconds = now.saturating_sub(bucket.at).as_secs_f64();
        bucket.at = now;
        bucket.requests = (bucket.requests + rate.requests.unwrap_or_default() * seconds).min(requests);
        bucket.bytes = (bucket.bytes + rate.bytes.unwrap_or_default() * seconds).min(bytes);
        then(bucket)
    }
}

/// Who owes more is told to come back after this, and then again.
const LONGEST: Duration = Duration::from_secs(60);
