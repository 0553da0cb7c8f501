//! **What**: what both ports do with a whole request: hand it in, count it, turn the outcome into an answer.
//! **Not here**: framing (`grpc`), paths and content types (`http`).

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

/// Requests up to this are counted where they were read: a large one may be nothing but items of a few bytes.
const INLINE_COUNT: usize = 1 << 20;

/// What is the same for both ports of a receiver.
pub(super) struct Door {
    /// Component id.
    pub(super) id: Arc<str>,
    /// How far clients are trusted.
    pub(super) trust: Trust,
    /// Whose data it is.
    pub(super) clients: Arc<Clients>,
    /// The engine.
    pub(super) admission: Arc<dyn Admission>,
    /// Makes tasks.
    pub(super) tasks: Arc<dyn Spawn>,
    /// Turns true when a drain is nearly over: who still waits for an outcome is told to come again.
    pub(super) ending: watch::Receiver<bool>,
}

impl Door {
    /// Hands in a request. An outcome that a drain can't wait for is `shutting_down`: it may come about all the same.
    async fn submit(&self, submission: Submission) -> Outcome {
        let mut ending = self.ending.clone();
        tokio::select! {
            biased;
            outcome = self.admission.submit(submission) => outcome,
            _ = ending.wait_for(|ending| *ending) => Reason::ShuttingDown.outcome(),
        }
    }
}

/// One port.
pub(super) struct Port {
    /// The receiver.
    pub(super) door: Arc<Door>,
    /// `grpc` or `http`.
    pub(super) transport: &'static str,
    /// Limits of one request.
    pub(super) limits: Limits,
    /// What its bodies are read with.
    pub(super) places: Arc<Places>,
    /// Its counters.
    pub(super) meters: Meters,
    /// The port number of the other protocol, if it is on.
    pub(super) other: Option<u16>,
}

/// A whole body with its charge.
pub(super) type Collected = net::Collected<BytePermit>;

/// What an OK says besides: rejected items and why.
pub(super) type Partial = Option<PartialSuccess>;

/// The engine's door, and how many bytes one request was charged: as sent, and inflated.
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
    /// What one request's body is collected through.
    pub(super) fn tally(&self) -> Tally<'_> {
        Tally { admission: &*self.door.admission, bytes: AtomicUsize::new(0) }
    }

    /// What bodies are collected with.
    pub(super) fn intake<'a>(&'a self, tally: &'a Tally<'a>) -> Intake<'a, Tally<'a>> {
        Intake { budget: tally, tasks: &*self.door.tasks, limits: &self.limits, places: &self.places }
    }

    /// A body was refused. What is wrong for good is paid for as if it had been taken in: it cost as much, and nobody
    /// else is to pay. (What may come again pays when it is taken in.)
    pub(super) fn refused(&self, account: &Arc<str>, tally: &Tally<'_>, refusal: Refusal) -> Refusal {
        if refusal.after.is_none() {
            self.door.admission.spend(account, tally.bytes.load(Ordering::Relaxed));
        }
        refusal
    }

    /// Refuses a signal that no pipeline takes before its body is read.
    pub(super) fn takes(&self, signal: Signal) -> Result<(), Refusal> {
        if self.door.admission.takes(signal) {
            return Ok(());
        }
        Err(Refusal::of(&Outcome::Refused { reason: Reason::NoPipeline }))
    }

    /// Refuses what is over the account's rate before its body is read.
    pub(super) fn admit(&self, account: &Arc<str>) -> Result<(), Refusal> {
        self.door.admission.admit(account).map_err(|outcome| Refusal::of(&outcome))
    }

    /// Hands in one whole request of `account`. An empty one is fine and nobody's work.
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

    /// Items of a request; 0 when it is malformed, which the engine finds and answers.
    async fn count(&self, signal: Signal, request: &Bytes) -> u64 {
        if request.len() <= INLINE_COUNT {
            return count_items(signal, request).unwrap_or_default();
        }
        let request = request.clone();
        let count = blocking(&*self.door.tasks, "count", move || count_items(signal, &request).unwrap_or_default());
        count.await.unwrap_or_default()
    }

    /// Where a client should have gone.
    pub(super) fn elsewhere(&self, here: &str, there: &str) -> String {
        match self.other {
            Some(port) => format!("this is the {here} port; {there} is served on port {port}"),
            None => format!("this is the {here} port; {there} is not served here"),
        }
    }
}
