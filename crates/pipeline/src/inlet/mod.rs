//! The interface between receivers and the engine: the requests handed in ([`Submission`]), and the byte budget that
//! bounds everything in flight ([`ByteBudget`], [`BytePermit`]). Receivers charge bytes to the budget while these
//! arrive and are decompressed. They do so, and hand in requests, through a [`entry::ReceiverInlet`]. However a request
//! ends, its bytes return to the budget, because they are held by a permit that is dropped with it. A charge never
//! waits longer than the admission wait. Sockets are in `net`, statuses in `receivers/http_ports/reply`.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use otlp::Signal;

use super::batch::Effect;
use super::clearance::{Clearance, Trust};
use super::identity::ClientIdentity;
use super::outcome::{Outcome, Reason};
use super::pressure::{MemoryLevel, MemoryPressure};

/// How long a request that already holds bytes waits for more before it may be the next to give up.
const HOLDING_WAIT: Duration = Duration::from_millis(250);
/// Interval at which such requests give up, one at a time.
const GIVE_UP_INTERVAL: Duration = Duration::from_millis(10);

/// One complete request, as a receiver hands it in. No `Debug`: it holds telemetry.
pub struct Submission {
    /// Signal of the request.
    pub signal: Signal,
    /// `Export*ServiceRequest` in protobuf, not yet parsed.
    pub wire: Bytes,
    /// Bytes that the request holds of the budget: at least `wire.len()`.
    pub permit: BytePermit,
    /// Account of the credential; `default` without one.
    pub account: Arc<str>,
    /// Who sent the request, as the credential proves.
    pub identity: ClientIdentity,
    /// Component id of the receiver, e.g. `otlp`.
    pub receiver: Arc<str>,
    /// How far the receiver's clients are trusted.
    pub trust: Trust,
    /// Effects of the receiver's own state, committed with the request and applied after it. A request that only joins
    /// another with equal bytes commits none.
    pub effects: Vec<Effect>,
    /// The Kafka record that brought the request.
    pub source_record: Option<SourceRecord>,
}

/// A record of a topic, from which the batch's id is made. See [`super::BatchOrigin::id`].
pub struct SourceRecord {
    /// `topic/partition/offset`.
    pub position: Arc<str>,
    /// Id that the writer gave the record; a copy that it wrote again has the same. `None`: of another producer.
    pub id: Option<[u8; 16]>,
}

/// A request that tollgate makes itself, from no client. Without bytes only its effects are committed, and no pipeline
/// is needed.
pub struct OwnRequest {
    /// Signal of the request.
    pub signal: Signal,
    /// The account that it is about.
    pub account: Arc<str>,
    /// The receiver or connector whose pipelines it passes.
    pub receiver: Arc<str>,
    /// As [`Submission::wire`].
    pub wire: Bytes,
    /// Committed in the same transaction and applied after the commit, like those of processors.
    pub effects: Vec<Effect>,
    /// How far the request's bytes may travel, as declared by the code that made them.
    pub clearance: Clearance,
}

impl OwnRequest {
    /// The request as if a trusted client had sent it, and what a client could not add.
    fn into_submission(self, permit: BytePermit) -> (Submission, InternalInput) {
        let Self { signal, account, receiver, wire, effects, clearance } = self;
        let (identity, trust, source_record) = (ClientIdentity::Unverified, Trust::Internal, None);
        let submission =
            Submission { signal, wire, permit, account, identity, receiver, trust, effects: Vec::new(), source_record };
        (submission, InternalInput { effects, clearance })
    }
}

/// What a request that tollgate makes itself has beside a client's.
pub(crate) struct InternalInput {
    pub(crate) effects: Vec<Effect>,
    pub(crate) clearance: Clearance,
}

/// Bytes held of a [`ByteBudget`]; dropping the permit returns them.
#[derive(Default)]
pub struct BytePermit {
    semaphore_permit: Option<OwnedSemaphorePermit>,
}

impl BytePermit {
    /// A permit that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.semaphore_permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Returns up to `n` bytes early; the rest stays held.
    pub fn release(&mut self, n: usize) {
        if let Some(permit) = &mut self.semaphore_permit {
            drop(permit.split(n.min(permit.num_permits())));
        }
    }

    /// Adds bytes just acquired. Bytes of another budget would replace the bytes held; that can't happen in a running
    /// gateway, where a receiver has one budget.
    fn add(&mut self, acquired: OwnedSemaphorePermit) {
        match &mut self.semaphore_permit {
            Some(permit) if Arc::ptr_eq(permit.semaphore(), acquired.semaphore()) => permit.merge(acquired),
            _ => self.semaphore_permit = Some(acquired),
        }
    }
}

/// The bytes that may be in flight at once. Clones share the budget.
#[derive(Clone)]
pub struct ByteBudget {
    free_bytes: Arc<Semaphore>,
    size: usize,
    max_wait: Duration,
    /// The memory level that the budget reads; `src/app/memory/mod.rs` sets it.
    pub pressure: Arc<MemoryPressure>,
    /// One permit, held by the request that gives up next.
    giving_up: Arc<Semaphore>,
    /// Number of charges that wait for room.
    waiting_charges: Arc<AtomicUsize>,
}

/// Counts one charge that waits for room, until dropped.
struct WaitingCharge<'a>(&'a AtomicUsize);

impl<'a> WaitingCharge<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitingCharge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ByteBudget {
    /// A budget of `size` bytes; a charge waits up to `max_wait` for room.
    pub fn new(size: usize, max_wait: Duration) -> Self {
        let size = size.min(Semaphore::MAX_PERMITS);
        Self {
            free_bytes: Arc::new(Semaphore::new(size)),
            size,
            max_wait,
            pressure: Arc::default(),
            giving_up: Arc::new(Semaphore::new(1)),
            waiting_charges: Arc::default(),
        }
    }

    /// Whether a request that holds `own_bytes` must be refused because memory is short. A request that is alone is
    /// never refused: freed memory often returns to the system only when more is requested, so an idle gateway would
    /// stay short for ever.
    pub fn is_short(&self, own_bytes: usize) -> bool {
        match self.pressure.level() {
            MemoryLevel::Normal => false,
            MemoryLevel::Short => own_bytes == 0 && self.in_use() > 0,
            MemoryLevel::Critical => self.in_use() > own_bytes,
        }
    }

    /// Size of the budget, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether a charge is waiting for room now.
    pub fn is_crowded(&self) -> bool {
        self.waiting_charges.load(Ordering::Relaxed) > 0
    }

    /// Bytes held now.
    pub fn in_use(&self) -> usize {
        self.size.saturating_sub(self.free_bytes.available_permits())
    }

    /// Adds `n` bytes to `permit`, waiting for room in order of arrival.
    ///
    /// # Errors
    /// [`Reason::Overloaded`] if there was no room in time, or can never be, and [`Reason::LowMemory`]. `permit` is
    /// then unchanged.
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
        if let Ok(acquired) = Arc::clone(&self.free_bytes).try_acquire_many_owned(n) {
            permit.add(acquired);
            return Ok(());
        }
        let _waiting = WaitingCharge::begin(&self.waiting_charges);
        let acquisition = pin!(Arc::clone(&self.free_bytes).acquire_many_owned(n));
        let acquired = if permit.bytes() == 0 {
            // The permit holds nothing yet, so this request blocks no other.
            tokio::time::timeout(self.max_wait, acquisition).await.ok()
        } else {
            self.wait_holding_bytes(acquisition).await
        };
        match acquired {
            Some(Ok(acquired)) => {
                permit.add(acquired);
                Ok(())
            }
            _ => Err(overloaded),
        }
    }

    /// Waits for more bytes with a permit that already holds some. If many requests do this, each may keep the others
    /// from completing, so they give up one after the other and return their bytes until the rest can go on. `None`:
    /// the request must give up.
    async fn wait_holding_bytes<A: Future>(&self, mut acquisition: Pin<&mut A>) -> Option<A::Output> {
        if let Ok(acquired) = tokio::time::timeout(HOLDING_WAIT.min(self.max_wait), &mut acquisition).await {
            return Some(acquired);
        }
        let turn_to_give_up = async {
            let _turn = self.giving_up.acquire().await;
            tokio::time::sleep(GIVE_UP_INTERVAL).await;
        };
        tokio::select! {
            biased;
            acquired = &mut acquisition => Some(acquired),
            _ = tokio::time::timeout(self.max_wait, turn_to_give_up) => None,
        }
    }
}

pub mod entry;
#[cfg(test)]
mod tests;
