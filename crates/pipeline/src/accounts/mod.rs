//! [`AccountLimiter`]: rate limits of accounts, in requests and bytes per second, so that one account's storm leaves
//! room for the others. A request above the limit is refused before its body is read, with the time after which it may
//! be sent again. An admitted request is never refused later: if its bytes exceed what is left, the account owes them
//! and must wait. Questions have the same rate of requests, but take nothing from that of telemetry. Accounts come from
//! credentials, so there are few. Receivers determine the account of a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use kernel::clock::Clock;
use telemetry::{Meter, names};

use super::outcome::{Outcome, Reason};

#[cfg(test)]
mod tests;

/// Rate limit of one account.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// Requests per second.
    pub requests: Option<f64>,
    /// Bytes per second, after decompression.
    pub bytes: Option<f64>,
    /// Unused rate accumulates for this long.
    pub burst: Duration,
}

/// Rate limits of all accounts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RateLimits {
    /// Limit of each account that is not in `named`.
    pub others: Option<RateLimit>,
    /// Limits by account name.
    pub named: HashMap<Arc<str>, RateLimit>,
}

/// Enforces the rate limits.
pub struct AccountLimiter {
    rates: RateLimits,
    clock: Arc<dyn Clock>,
    meter: Meter,
    buckets: Mutex<Buckets>,
    /// Of questions, which bring no telemetry.
    questions: Mutex<Buckets>,
}

type Buckets = HashMap<Arc<str>, TokenBucket>;

/// Remaining requests and bytes of an account. Bytes may be negative (owed).
struct TokenBucket {
    requests: f64,
    bytes: f64,
    /// Time of the last update, monotonic.
    updated: Duration,
}

impl AccountLimiter {
    /// A limiter in which every account starts with a full burst.
    pub fn new(rates: RateLimits, clock: Arc<dyn Clock>, meter: &Meter) -> Self {
        Self { rates, clock, meter: meter.clone(), buckets: Mutex::default(), questions: Mutex::default() }
    }

    fn find_rate(&self, account: &str) -> Option<&RateLimit> {
        self.rates.named.get(account).or(self.rates.others.as_ref())
    }

    /// Takes one request of `account` from its rate.
    ///
    /// # Errors
    /// [`Outcome::Retry`] with [`Reason::RateLimited`] and the time after which the account may send again.
    pub fn admit(&self, account: &Arc<str>) -> Result<(), Outcome> {
        self.take_request(&self.buckets, account)
    }

    /// Takes one question of `account` from its rate of questions.
    ///
    /// # Errors
    /// See [`AccountLimiter::admit`].
    pub fn admit_question(&self, account: &Arc<str>) -> Result<(), Outcome> {
        self.take_request(&self.questions, account)
    }

    fn take_request(&self, buckets: &Mutex<Buckets>, account: &Arc<str>) -> Result<(), Outcome> {
        let Some(rate) = self.find_rate(account) else { return Ok(()) };
        let wait_seconds = self.update_bucket(buckets, account, rate, |bucket| {
            let for_requests = rate.requests.map_or(0.0, |rate| (1.0 - bucket.requests) / rate);
            // Requires at least one byte: owed bytes are paid back first.
            let for_bytes = rate.bytes.map_or(0.0, |rate| (1.0 - bucket.bytes) / rate);
            let wait_seconds = for_requests.max(for_bytes);
            if wait_seconds <= 0.0 {
                bucket.requests -= 1.0;
            }
            wait_seconds
        });
        if wait_seconds <= 0.0 {
            return Ok(());
        }
        self.meter.counter(&names::ACCOUNT_LIMITED, &[("account", account)]).increment(1);
        let wait = Duration::try_from_secs_f64(wait_seconds).unwrap_or(MAX_RETRY_DELAY).min(MAX_RETRY_DELAY);
        Err(Outcome::Retry { after: Some(wait), reason: Reason::RateLimited })
    }

    /// Counts a request of `account` with this many bytes.
    pub fn charge(&self, account: &Arc<str>, bytes: usize) {
        if let Some(rate) = self.find_rate(account) {
            self.update_bucket(&self.buckets, account, rate, |bucket| bucket.bytes -= bytes as f64);
        }
    }

    /// Refills the account's bucket up to now, then calls `change` with it.
    fn update_bucket<T>(
        &self,
        buckets: &Mutex<Buckets>,
        account: &Arc<str>,
        rate: &RateLimit,
        change: impl FnOnce(&mut TokenBucket) -> T,
    ) -> T {
        let now = self.clock.monotonic();
        let burst = rate.burst.as_secs_f64();
        // Allows at least one request, or none would ever pass.
        let capacity = |rate: Option<f64>| rate.map_or(f64::MAX, |rate| (rate * burst).max(1.0));
        let (max_requests, max_bytes) = (capacity(rate.requests), capacity(rate.bytes));
        let mut buckets = buckets.lock();
        let bucket = buckets.entry(Arc::clone(account)).or_insert(TokenBucket {
            requests: max_requests,
            bytes: max_bytes,
            updated: now,
        });
        let seconds = now.saturating_sub(bucket.updated).as_secs_f64();
        bucket.updated = now;
        bucket.requests = (bucket.requests + rate.requests.unwrap_or_default() * seconds).min(max_requests);
        bucket.bytes = (bucket.bytes + rate.bytes.unwrap_or_default() * seconds).min(max_bytes);
        change(bucket)
    }
}

/// Longest wait that a client is asked for; an account that owes more is refused again after it.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);
