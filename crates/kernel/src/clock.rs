//! The only file that reads time, and the timers, so that simulations and golden tests can drive time by hand. Wall
//! time may jump; [`Clock::monotonic`] never goes back. `calendar` formats dates.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, Either, select};
use parking_lot::Mutex;

/// Nanoseconds since the Unix epoch, as in OTLP's `fixed64 *_unix_nano` fields.
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

    /// Time from `earlier` to this instant; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The longest step of the wall clock that state which follows it takes at once, ns: so a clock that jumps ahead for a
/// moment ends or expires nothing.
pub const MAX_CLOCK_STEP: u64 = 60_000_000_000;

/// A shared source of time. Implementations are cheap to call.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time.
    fn now(&self) -> UnixNanos;
    /// Time since a fixed point in this process; never goes back.
    fn monotonic(&self) -> Duration;
    /// Completes after `span`. The operating system's clock needs a surrounding tokio runtime.
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// The output of `future`, or `None` if it takes longer than `span`.
pub async fn with_timeout<F: Future>(clock: &dyn Clock, span: Duration, future: F) -> Option<F::Output> {
    match select(std::pin::pin!(future), clock.sleep(span)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

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
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixNanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that moves only when a test advances it, and its timers with it; for tests and simulations.
pub struct ManualClock {
    /// `start` plus the time that passed; timers use it.
    now: AtomicU64,
    /// How far the wall clock is ahead of `now`; negative if it is behind.
    skew: AtomicI64,
    start: u64,
    timers: Mutex<ManualTimers>,
    weak_self: Weak<ManualClock>,
}

#[derive(Default)]
struct ManualTimers {
    /// Number of timers made so far.
    count: u64,
    /// The sleeping timers, by time and number.
    sleeping: BTreeMap<(u64, u64), Option<Waker>>,
}

impl ManualClock {
    pub fn at(now: UnixNanos) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            now: AtomicU64::new(now.0),
            skew: AtomicI64::new(0),
            start: now.0,
            timers: Mutex::default(),
            weak_self: Weak::clone(this),
        })
    }

    /// Moves wall and monotonic time forward and wakes timers that are due.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let now = self.now.fetch_add(by, Ordering::SeqCst).saturating_add(by);
        let mut timers = self.timers.lock();
        let due = timers.sleeping.range_mut(..=(now, u64::MAX)).filter_map(|(_, waker)| waker.take());
        let wakers: Vec<Waker> = due.collect();
        drop(timers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Sets the wall clock back; monotonic time and timers do not change.
    pub fn set_back(&self, by: Duration) {
        self.skew.fetch_sub(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the wall clock forward; monotonic time and timers do not change.
    pub fn set_forward(&self, by: Duration) {
        self.skew.fetch_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// How long until the next timer is due; `None` if no timer is waiting.
    pub fn next_timer(&self) -> Option<Duration> {
        let timers = self.timers.lock();
        let ((at, _), _) = timers.sleeping.first_key_value()?;
        Some(Duration::from_nanos(at.saturating_sub(self.now.load(Ordering::SeqCst))))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.now.load(Ordering::SeqCst).saturating_add_signed(self.skew.load(Ordering::SeqCst)))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.now.load(Ordering::SeqCst).saturating_sub(self.start))
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        let at = UnixNanos(self.now.load(Ordering::SeqCst)).plus(span).0;
        let mut timers = self.timers.lock();
        timers.count += 1;
        let key = (at, timers.count);
        timers.sleeping.insert(key, None);
        Box::pin(ManualSleep { key, clock: Weak::clone(&self.weak_self) })
    }
}

/// Completes when the clock was moved far enough.
struct ManualSleep {
    key: (u64, u64),
    clock: Weak<ManualClock>,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(clock) = self.clock.upgrade() else { return Poll::Ready(()) };
        if clock.now.load(Ordering::SeqCst) >= self.key.0 {
            return Poll::Ready(());
        }
        clock.timers.lock().sleeping.insert(self.key, Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Some(clock) = self.clock.upgrade() {
            clock.timers.lock().sleeping.remove(&self.key);
        }
    }
}
