//! The handling that both ports share for a complete request: submit it, count it, turn the outcome into a response.
//! `grpc` has the framing, `http` the paths and content types.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::auth::Clients;
use super::meters::Meters;
use super::reply::{self, Refusal};
use net::spawn::blocking;
use net::{BodyBudget, Intake, Limits, Places, Spawn};
use otlp::status::PartialSuccess;
use otlp::{Signal, count_items};
use pipeline::{Admission, BytePermit, Outcome, Reason, Submission, Trust};

/// Smaller requests are counted on the reactor instead of a blocking thread; a large one may consist of tiny items.
const INLINE_COUNT: usize = 1 << 20;

/// The state shared by both ports of a receiver.
pub(super) struct Door {
    /// Component id.
    pub(super) id: Arc<str>,
    /// How far clients are trusted.
    pub(super) trust: Trust,
    /// Finds the account of a request.
    pub(super) clients: Arc<Clients>,
    /// The engine's inlet.
    pub(super) admission: Arc<dyn Admission>,
    /// Spawns tasks.
    pub(super) tasks: Arc<dyn Spawn>,
    /// Becomes true when a drain is nearly over: clients that still wait for an outcome are then asked to retry.
    pub(super) ending: watch::Receiver<bool>,
}

impl Door {
    /// Submits a request. If a drain ends first, the outcome is `shutting_down`, although the request may still
    /// succeed.
    async fn submit(&self, submission: Submission) -> Outcome {
        let mut ending = self.ending.clone();
        tokio::select! {
            biased;
            outcome = self.admission.submit(submission) => outcome,
            _ = ending.wait_for(|ending| *ending) => Reason::ShuttingDown.outcome(),
        }
    }
}

/// One port of a receiver.
pub(super) struct Port {
    /// The state shared with the other port.
    pub(super) door: Arc<Door>,
    /// `grpc` or `http`.
    pub(super) transport: &'static str,
    /// Size and time limits of one request.
    pub(super) limits: Limits,
    /// Tracks slow uploads, which are ended when a new connection needs their place.
    pub(super) places: Arc<Places>,
    /// The port's metrics.
    pub(super) meters: Meters,
    /// The port number of the other protocol, if it is on.
    pub(super) other: Option<u16>,
}

/// A complete body with its byte permit.
pub(super) type Collected = net::Collected<BytePermit>;

/// Rejected items and the reason, sent with an OK.
pub(super) type Partial = Option<PartialSuccess>;

/// The byte budget for one request's body; counts the bytes that it charged, both as sent and as inflated.
pub(super) struct Tally<'a> {
    admission: &'a dyn Admission,
    bytes: AtomicUsize,
}

impl BodyBudget for Tally<'_> {
    type Permit = BytePermit;
    type NoRoom = Outcome;

    fn charge<'a>(&'a self, permit: &'a mut BytePermit, n: usize) -> BoxFuture<'a, Result<(), Outcome>> {
        self.bytes.fetch_add(n, Ordering::Relaxed);
        self.admission.charge(permit, n)
    }

    fn held(&self, permit: &BytePermit) -> usize {
        permit.bytes()
    }

    fn release(&self, permit: &mut BytePermit, n: usize) {
        permit.release(n);
    }

    fn is_crowded(&self) -> bool {
        self.admission.crowded()
    }
}

impl Port {
    /// The byte budget of a new request.
    pub(super) fn tally(&self) -> Tally<'_> {
        Tally { admission: &*self.door.admission, bytes: AtomicUsize::new(0) }
    }

    /// The collector of a request's body.
    pub(super) fn intake<'a>(&'a self, tally: &'a Tally<'a>) -> Intake<'a, Tally<'a>> {
        Intake { budget: tally, tasks: &*self.door.tasks, limits: &self.limits, places: &self.places }
    }

    /// Handles a refused body. A body that is refused for good counts against the account's rate as if it had been
    /// accepted: it cost as much work, which other accounts must not pay for. A retryable one is charged when it is
    /// accepted.
    pub(super) fn refused(&self, account: &Arc<str>, tally: &Tally<'_>, refusal: Refusal) -> Refusal {
        if refusal.after.is_none() {
            self.door.admission.spend(account, tally.bytes.load(Ordering::Relaxed));
        }
        refusal
    }

    /// Refuses, before reading the body, a signal that no pipeline takes.
    pub(super) fn takes(&self, signal: Signal) -> Result<(), Refusal> {
        if self.door.admission.takes(signal) {
            return Ok(());
        }
        Err(Refusal::of(&Outcome::Refused { reason: Reason::NoPipeline }))
    }

    /// Refuses, before reading the body, a request over the account's rate.
    pub(super) fn admit(&self, account: &Arc<str>) -> Result<(), Refusal> {
        self.door.admission.admit(account).map_err(|outcome| Refusal::of(&outcome))
    }

    /// Submits one complete request of `account`. An empty request succeeds without reaching the engine.
    pub(super) async fn submit(
        &self,
        signal: Signal,
        account: Arc<str>,
        request: Collected,
    ) -> Result<Partial, Refusal> {
        if request.bytes.is_empty() {
            return Ok(None);
        }
        let items = self.count(signal, &request.bytes).await;
        let door = &self.door;
        let submission = Submission {
            signal,
            wire: request.bytes,
            permit: request.permit,
            account,
            receiver: Arc::clone(&door.id),
            transport: self.transport,
            trust: door.trust,
        };
        let outcome = door.submit(submission).await;
        self.meters.submitted(signal, items, &outcome);
        reply::accepted(&outcome)
    }

    /// Counts the items of a request; 0 if it is malformed, which the engine detects and reports.
    async fn count(&self, signal: Signal, request: &Bytes) -> u64 {
        if request.len() <= INLINE_COUNT {
            return count_items(signal, request).unwrap_or_default();
        }
        let request = request.clone();
        let count = blocking(&*self.door.tasks, "count", move || count_items(signal, &request).unwrap_or_default());
        count.await.unwrap_or_default()
    }

    /// The message for a request that came to the wrong port.
    pub(super) fn elsewhere(&self, here: &str, there: &str) -> String {
        match self.other {
            Some(port) => format!("this is the {here} port; {there} is served on port {port}"),
            None => format!("this is the {here} port; {there} is not served here"),
        }
    }
}
