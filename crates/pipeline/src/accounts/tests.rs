//! Rate limits per account: only requests above the limit are refused, with the time after which they fit; accounts do
//! not share a limit.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use kernel::clock::{ManualClock, UnixNanos};

fn limiter(clock: &Arc<ManualClock>, requests: Option<f64>, bytes: Option<f64>) -> AccountLimiter {
    let rate = RateLimit { requests, bytes, burst: Duration::from_secs(2) };
    let named = [("free".into(), RateLimit { requests: None, bytes: None, burst: Duration::from_secs(1) })].into();
    AccountLimiter::new(RateLimits { others: Some(rate), named }, Arc::clone(clock) as Arc<dyn Clock>, &Meter::new())
}

fn after(limiter: &AccountLimiter, account: &str) -> Option<Duration> {
    match limiter.admit(&account.into()) {
        Ok(()) => None,
        Err(Outcome::Retry { after, reason: Reason::RateLimited }) => after,
        Err(other) => panic!("{other:?}"),
    }
}

/// A burst passes; the next request is refused with a retry time. Each account has its own limit, and a named account
/// has its configured one.
#[test]
fn requests_over_the_rate_are_told_when_to_come() {
    let clock = ManualClock::at(UnixNanos(0));
    let limiter = limiter(&clock, Some(10.0), None);
    for _ in 0..20 {
        assert_eq!(after(&limiter, "acme"), None);
    }
    assert_eq!(after(&limiter, "acme"), Some(Duration::from_millis(100)));
    assert_eq!(after(&limiter, "globex"), None);
    clock.advance(Duration::from_millis(100));
    assert_eq!(after(&limiter, "acme"), None);
    assert!(after(&limiter, "acme").is_some());
    for _ in 0..1000 {
        assert_eq!(after(&limiter, "free"), None);
    }
    clock.advance(Duration::from_secs(3600));
    assert_eq!((0..100).filter(|_| after(&limiter, "acme").is_none()).count(), 20, "no more than a burst is saved");
}

/// The size of a request is known only after it has arrived, so bytes beyond the limit are owed, and paid back before
/// the next request.
#[test]
fn bytes_that_were_too_many_are_paid_back() {
    let clock = ManualClock::at(UnixNanos(0));
    let limiter = limiter(&clock, None, Some(1000.0));
    assert_eq!(after(&limiter, "acme"), None);
    limiter.charge(&"acme".into(), 7000);
    let wait = after(&limiter, "acme").expect("5000 bytes are owed");
    assert!(wait > Duration::from_millis(5000) && wait < Duration::from_millis(5010), "{wait:?}");
    assert_eq!(after(&limiter, "globex"), None);
    clock.advance(wait);
    assert_eq!(after(&limiter, "acme"), None);
    limiter.charge(&"acme".into(), 1 << 40);
    assert_eq!(after(&limiter, "acme"), Some(MAX_RETRY_DELAY), "nobody is told to come back in a year");
}

/// Questions have the account's rate of requests for themselves: they neither use up that of telemetry, nor wait for it.
/// Seen failing: with one rate for both.
#[test]
fn questions_have_a_rate_of_their_own() {
    let clock = ManualClock::at(UnixNanos(0));
    let limiter = limiter(&clock, Some(10.0), Some(1000.0));
    let ask = || limiter.admit_question(&"acme".into()).is_ok();
    limiter.charge(&"acme".into(), 1 << 40);
    assert_eq!((0..30).filter(|_| ask()).count(), 20, "a burst");
    assert!(after(&limiter, "acme").is_some(), "telemetry owes bytes");
    assert_eq!(after(&limiter, "globex"), None);
    clock.advance(Duration::from_millis(100));
    assert!(ask() && !ask());
}
