//! **What**: the door between receivers and the engine: [`Admission`], what is handed in ([`Submission`]), and the
//! byte budget that bounds everything in flight ([`ByteBudget`], [`BytePermit`]).
//! **Why**: receivers charge bytes while they arrive and inflate; tests give them a fake door.
//! **Invariants**: bytes held by a permit return when it is dropped, whatever path that takes; a charge never waits
//! longer than the admission wait. **Not here**: sockets (`net/`), statuses (`receivers/otlp/reply`).

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use otlp::Signal;

use super::batch::Effect;
use super::clearance::{Clearance, Trust};
use super::outcome::{Outcome, Reason};
use super::pressure::{Level, Pressure};

/// How long a request in hand waits for more before any gives up.
const PATIENCE: Duration = Duration::from_millis(250);
/// From one that gives up to the next.
const TURN: Duration = Duration::from_millis(10);

/// What a receiver is given. Object-safe, so that tests can fake it; without defaults, so that none is half a door.
pub trait Admission: Send + Sync {
    /// Whether a pipeline takes this signal.
    fn takes(&self, signal: Signal) -> bool;
    /// Whether the account may send one more request now; asked before the body is read.
    ///
    /// # Errors
    /// `Retry` with [`Reason::RateLimited`] or [`Reason::LowMemory`]: to be answered as it is.
    fn admit(&self, account: &Arc<str>) -> Result<(), Outcome>;
    /// Adds `n` bytes to `permit`; waits for room up to the admission wait.
    ///
    /// # Errors
    /// `Retry` with [`Reason::Overloaded`], [`Reason::LowMemory`] or [`Reason::ShuttingDown`]: to be answered as it is.
    fn charge<'a>(&'a self, permit: &'a mut BytePermit, n: usize) -> BoxFuture<'a, Result<(), Outcome>>;
    /// Whether somebody waits for room at the moment.
    fn crowded(&self) -> bool;
    /// Counts bytes of `account` that came and were refused: whoever sends only such has used up its rate all the same.
    fn spend(&self, account: &Arc<str>, bytes: usize);
    /// Hands in one whole request. The work goes on when the returned future is dropped; the outcome is then lost.
    fn submit(&self, submission: Submission) -> BoxFuture<'static, Outcome>;
}

/// One whole request, as a receiver hands it in. No `Debug`: it holds telemetry.
pub struct Submission {
    /// Its signal.
    pub signal: Signal,
    /// `Export*ServiceRequest` in protobuf, not yet parsed.
    pub wire: Bytes,
    /// What it holds of the byte budget: at least `wire.len()`.
    pub permit: BytePermit,
    /// Account of the credential; `default` without one.
    pub account: Arc<str>,
    /// Component id of the receiver, e.g. `otlp`.
    pub receiver: Arc<str>,
    /// `grpc` or `http`.
    pub transport: &'static str,
    /// How far the receiver's clients are trusted.
    pub trust: Trust,
}

/// What a request that tollgate makes itself brings besides its bytes.
pub struct Made {
    /// Committed with it, in one transaction; applied after the commit, like those of processors.
    pub effects: Vec<Effect>,
    /// How far its bytes may travel: whoever made them knows what is in them.
    pub clearance: Clearance,
}

/// Bytes held of a [`ByteBudget`]; they return on drop.
#[derive(Default)]
pub struct BytePermit {
    held: Option<OwnedSemaphorePermit>,
}

impl BytePermit {
    /// A permit that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Gives back up to `n` bytes before the rest.
    pub fn release(&mut self, n: usize) {
        if let Some(held) = &mut self.held {
            drop(held.split(n.min(held.num_permits())));
        }
    }

    /// Adds what was just acquired. A permit of another budget replaces what is held (a mix can't happen in a
    /// running gateway: a receiver has one door).
    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.held {
            Some(held) if Arc::ptr_eq(held.semaphore(), more.semaphore()) => held.merge(more),
            _ => self.held = Some(more),
        }
    }
}

/// The bytes that may be in flight at once. Clones share it.
#[derive(Clone)]
pub struct ByteBudget {
    free: Arc<Semaphore>,
    size: usize,
    wait: Duration,
    pressure: Arc<Pressure>,
    /// Held by the one that gives up.
    giving_up: Arc<Semaphore>,
    /// Charges that wait for room.
    waiting: Arc<AtomicUsize>,
}

/// One of them.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ByteBudget {
    /// A budget of `size` bytes (at most 2^60); a charge waits up to `wait` for room.
    pub fn new(size: usize, wait: Duration) -> Self {
        let size = size.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(size)),
            size,
            wait,
            pressure: Arc::default(),
            giving_up: Arc::new(Semaphore::new(1)),
            waiting: Arc::default(),
        }
    }

    /// Where it is told how short memory is.
    pub fn pressure(&self) -> &Arc<Pressure> {
        &self.pressure
    }

    /// Whether a request that holds `own` bytes has to come again for want of memory. One alone never has: memory that
    /// was freed is often given back to the system only when more is asked for, and a gateway that stands still gives
    /// none.
    pub fn is_short(&self, own: usize) -> bool {
        match self.pressure.level() {
            Level::Fine => false,
            Level::Short => own == 0 && self.in_use() > 0,
            Level::Critical => self.in_use() > own,
        }
    }

    /// The same budget with an endless wait, for tests that wait until every byte came back.
    #[cfg(any(test, feature = "testing"))]
    pub fn patient(self) -> Self {
        Self { wait: Duration::from_secs(3600), ..self }
    }

    /// Its size, bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether a charge waits for room at the moment.
    pub fn crowded(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes held at the moment.
    pub fn in_use(&self) -> usize {
        self.size.saturating_sub(self.free.available_permits())
    }

    /// Adds `n` bytes to `permit`, waiting for room in the order of arrival.
    ///
    /// # Errors
    /// [`Reason::Overloaded`] when there was none in time, or could never be; [`Reason::LowMemory`]; `permit` is as
    /// before.
    pub async fn charge(&self, permit: &mut BytePermit, n: usize) -> Result<(), Outcome> {
        if n == 0 {
            return Ok(());
        }
        let overloaded = Outcome::Retry { after: Some(Duration::from_secs(1)), reason: Reason::Overloaded };
        let Ok(n) = u32::try_from(n) else { return Err(overloaded) };
        if permit.bytes().saturating_add(n as usize) > self.size {
            return Err(overloaded);
        }
        if self.is_short(permit.bytes()) {
            return Err(Reason::LowMemory.outcome());
        }
        if let Ok(more) = Arc::clone(&self.free).try_acquire_many_owned(n) {
            permit.add(more);
            return Ok(());
        }
        let _waits = Waits::begin(&self.waiting);
        let granted = pin!(Arc::clone(&self.free).acquire_many_owned(n));
        let more = if permit.bytes() == 0 {
            // Holds nothing, and stands in nobody's way.
            tokio::time::timeout(self.wait, granted).await.ok()
        } else {
            self.wait_in_hand(granted).await
        };
        match more {
            Some(Ok(more)) => {
                permit.add(more);
                Ok(())
            }
            _ => Err(overloaded),
        }
    }

    /// Waits as one that holds a part already. When many do, each may keep the others from being whole: one after the
    /// other gives up and gives its part back, until the rest get on.
    async fn wait_in_hand<G: Future>(&self, mut granted: Pin<&mut G>) -> Option<G::Output> {
        if let Ok(more) = tokio::time::timeout(PATIENCE.min(self.wait), &mut granted).await {
            return Some(more);
        }
        let turn = async {
            let _turn = self.giving_up.acquire().await;
            tokio::time::sleep(TURN).await;
        };
        tokio::select! {
            biased;
            more = &mut granted => Some(more),
            _ = tokio::time::timeout(self.wait, turn) => None,
        }
    }
}

pub(crate) mod entry;
#[cfg(test)]
mod tests;
