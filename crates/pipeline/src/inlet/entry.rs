//! [`Inlet`], the engine's entry point, and [`ReceiverInlet`], one receiver's view of it. After [`Inlet::close`] no new
//! request is admitted, and every admitted one is answered. The byte budget is in the parent module, the processing of
//! requests in `worker`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::accounts::AccountLimiter;
use crate::batch::Effect;
use crate::clearance::Clearance;
use crate::inlet::{ByteBudget, BytePermit, InternalInput, OwnRequest, Submission};
use crate::outcome::{Outcome, Reason};
use crate::receipt::RequestRegistry;
use crate::tap::Tap;
use crate::worker::AdmittedRequest;
use kernel::clock::Clock;
use otlp::Signal;

/// Whether a pipeline takes this signal from the receiver with this id.
pub type SignalFilter = dyn Fn(&str, Signal) -> bool + Send + Sync;

/// The engine behind an inlet, as far as the inlet needs it.
pub struct InletParts {
    /// Refuses signals before their bytes are read.
    pub(crate) accepts_signal: Box<SignalFilter>,
    /// Queues an admitted request; `false` if the queue is full.
    pub(crate) queue: Box<dyn Fn(AdmittedRequest) -> bool + Send + Sync>,
    /// Counts open requests.
    pub(crate) registry: Arc<RequestRegistry>,
    pub(crate) tap: Tap,
    pub(crate) budget: ByteBudget,
    pub(crate) limiter: AccountLimiter,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Admits requests of all receivers.
pub struct Inlet {
    parts: InletParts,
    is_open: AtomicBool,
}

impl Inlet {
    /// Creates an open inlet.
    pub fn new(parts: InletParts) -> Arc<Self> {
        Arc::new(Self { parts, is_open: AtomicBool::new(true) })
    }

    /// The interface for the receiver with this id.
    pub fn for_receiver(self: &Arc<Self>, receiver: &str) -> ReceiverInlet {
        ReceiverInlet { inlet: Arc::clone(self), receiver: receiver.into() }
    }

    /// Stops admitting requests.
    pub fn close(&self) {
        self.is_open.store(false, Ordering::SeqCst);
    }

    /// Completes when every admitted request is answered.
    pub async fn wait_until_drained(&self) {
        self.parts.registry.wait_until_drained().await;
    }

    /// The tap that shows committed data.
    pub fn tap(&self) -> &Tap {
        &self.parts.tap
    }

    /// The byte budget.
    pub fn budget(&self) -> &ByteBudget {
        &self.parts.budget
    }

    /// Hands in a request that tollgate makes itself, once the budget has room for its bytes.
    pub async fn submit_own(&self, request: OwnRequest) -> Outcome {
        let mut permit = BytePermit::new();
        match self.budget().charge(&mut permit, request.wire.len()).await {
            Ok(()) => self.submit_charged(request, permit).await,
            Err(outcome) => outcome,
        }
    }

    fn submit_charged(&self, request: OwnRequest, permit: BytePermit) -> BoxFuture<'static, Outcome> {
        let (submission, input) = request.into_submission(permit);
        await_outcome(self.submit(submission, Some(input)))
    }

    fn submit(
        &self,
        submission: Submission,
        internal: Option<InternalInput>,
    ) -> Result<oneshot::Receiver<Outcome>, Reason> {
        // Counted before the check, so that a task which closes the inlet and then waits for open requests misses none.
        let open = self.parts.registry.open_request();
        if !self.is_open.load(Ordering::SeqCst) {
            return Err(Reason::ShuttingDown);
        }
        if internal.is_none() {
            self.parts.limiter.charge(&submission.account, submission.wire.len());
        }
        let (waiter, answer) = oneshot::channel();
        let request = AdmittedRequest { submission, received: self.parts.clock.now(), waiter, open, internal };
        if (self.parts.queue)(request) { Ok(answer) } else { Err(Reason::Overloaded) }
    }
}

/// The engine as one receiver sees it.
#[derive(Clone)]
pub struct ReceiverInlet {
    inlet: Arc<Inlet>,
    receiver: Arc<str>,
}

impl ReceiverInlet {
    /// Whether a pipeline takes this signal from the receiver.
    pub fn accepts_signal(&self, signal: Signal) -> bool {
        (self.inlet.parts.accepts_signal)(&self.receiver, signal)
    }

    /// Takes one request from the account's rate; called before the body is read.
    ///
    /// # Errors
    /// [`Outcome::Retry`] with [`Reason::RateLimited`] or [`Reason::LowMemory`], to be sent to the client unchanged.
    pub fn admit(&self, account: &Arc<str>) -> Result<(), Outcome> {
        if self.inlet.budget().is_short(0) {
            return Err(Reason::LowMemory.outcome());
        }
        self.inlet.parts.limiter.admit(account)
    }

    /// Takes one question of the account from its rate of questions.
    ///
    /// # Errors
    /// [`Outcome::Retry`] with [`Reason::RateLimited`], to be sent to the client unchanged.
    pub fn admit_question(&self, account: &Arc<str>) -> Result<(), Outcome> {
        self.inlet.parts.limiter.admit_question(account)
    }

    /// Adds `n` bytes to `permit`; waits for room up to the admission wait.
    ///
    /// # Errors
    /// [`Outcome::Retry`] with [`Reason::Overloaded`], [`Reason::LowMemory`] or [`Reason::ShuttingDown`], to be sent to
    /// the client unchanged.
    pub async fn charge(&self, permit: &mut BytePermit, n: usize) -> Result<(), Outcome> {
        if !self.inlet.is_open.load(Ordering::SeqCst) {
            return Err(Reason::ShuttingDown.outcome());
        }
        self.inlet.budget().charge(permit, n).await
    }

    /// Whether any request is waiting for room in the budget now.
    pub fn is_crowded(&self) -> bool {
        self.inlet.budget().is_crowded()
    }

    /// Counts bytes of `account` that arrived and were refused, so that a client which only sends refused requests
    /// still uses up its rate.
    pub fn charge_refused(&self, account: &Arc<str>, bytes: usize) {
        self.inlet.parts.limiter.charge(account, bytes);
    }

    /// Hands in one complete request. If the returned future is dropped, the work continues, but its outcome is lost.
    pub fn submit(&self, submission: Submission) -> BoxFuture<'static, Outcome> {
        await_outcome(self.inlet.submit(submission, None))
    }

    /// Hands in a request about an account that tollgate made itself, so that it takes nothing from the account's rate.
    pub fn submit_own(&self, submission: Submission) -> BoxFuture<'static, Outcome> {
        let input = InternalInput { effects: Vec::new(), clearance: Clearance::RECEIVED };
        await_outcome(self.inlet.submit(submission, Some(input)))
    }

    /// Commits effects without a request. They hold `permit`'s bytes of the budget until they are committed.
    pub fn submit_effects(&self, effects: Vec<Effect>, permit: BytePermit) -> BoxFuture<'static, Outcome> {
        let (receiver, account) = (Arc::clone(&self.receiver), "default".into());
        let (signal, wire, clearance) = (Signal::Traces, Bytes::new(), Clearance::RECEIVED);
        self.inlet.submit_charged(OwnRequest { signal, account, receiver, wire, effects, clearance }, permit)
    }
}

fn await_outcome(answer: Result<oneshot::Receiver<Outcome>, Reason>) -> BoxFuture<'static, Outcome> {
    Box::pin(async move {
        match answer {
            Ok(answer) => answer.await.unwrap_or_else(|_| Reason::Lost.outcome()),
            Err(reason) => reason.outcome(),
        }
    })
}
