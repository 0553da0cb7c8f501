//! **What**: the only file that reads time. **Why**: simulations and golden tests drive time by hand.
//! **Invariants**: wall time may jump, [`Clock::monotonic`] never goes back. **Not here**: calendar
//! formatting of partitions (`vault/`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch, as OTLP's `fixed64 *_unix_nano` fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// Whole seconds since the Unix epoch.
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// This instant plus `span`, saturating.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this instant; zero when the clock went back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A source of time. Shared; implementations are cheap to call.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time.
    fn now(&self) -> UnixNanos;
    /// Time since some fixed point of this process; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clocks.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic zero is now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads time")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads time")]
    fn now(&self) -> UnixNanos {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that moves only when told to; for tests and simulations.
pub struct ManualClock {
    now: AtomicU64,
    start: u64,
}

impl ManualClock {
    /// A clock standing at `now`.
    pub fn at(now: UnixNanos) -> Arc<Self> {
        Arc::new(Self { now: AtomicU64::new(now.0), start: now.0 })
    }

    /// Moves wall and monotonic time forward.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.now.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.now.load(Ordering::SeqCst).saturating_sub(self.start))
    }
}
