//! Fixtures for the tests of this crate and of those that use it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test support"
)]

pub mod tasks;

use std::sync::Arc;

use kernel::clock::{ManualClock, UnixNanos};
use kernel::rng::SystemRng;
use telemetry::Meter;

use crate::{ProxyRules, SharedServices};

/// The services of a test: tasks on its runtime, a clock that stands still, metrics of its own, no proxies.
pub fn services() -> SharedServices {
    SharedServices {
        tasks: tasks::TestTasks::shared(),
        clock: ManualClock::at(UnixNanos(0)),
        rng: Arc::new(SystemRng),
        meter: Meter::new(),
        proxies: Arc::new(ProxyRules::direct()),
    }
}
