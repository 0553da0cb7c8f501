//! Tests of the rate limit for logged refusals.

use std::time::Duration;

use super::RefusalLogLimiter;
use kernel::clock::{ManualClock, UnixNanos};

/// A flood of one reason is logged once a minute with its count, and hides no other reason.
#[test]
fn a_flood_is_counted_and_hides_nothing() {
    let clock = ManualClock::at(UnixNanos(0));
    let told = RefusalLogLimiter::new(clock.clone());
    assert_eq!(told.count_refusal("unauthenticated"), Some(0));
    assert!((0..1000).all(|_| told.count_refusal("unauthenticated").is_none()));
    assert_eq!(told.count_refusal("too_large"), Some(0));
    clock.advance(Duration::from_secs(60));
    assert_eq!(told.count_refusal("unauthenticated"), Some(1000));
    assert_eq!(told.count_refusal("unauthenticated"), None);
}
