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
use crate::clearance::{Clearance, Trust};
use crate::inlet::{Admission, ByteBudget, BytePermit, InternalInput, Submission};
use crate::outcome::{Outcome, Reason};
use crate::tap::Tap;
use crate::worker::{AdmittedRequest, Worker};
use crate::workers::Workers;
use kernel::clock::Clock;
use otlp::Signal;

/// Admits requests of all receivers.
pub struct Inlet {
    worker: Arc<Worker>,
    workers: Arc<dyn Workers>,
    budget: ByteBudget,
    limiter: AccountLimiter,
    clock: Arc<dyn Clock>,
    is_open: AtomicBool,
}

impl Inlet {
    /// Creates an open inlet that runs admitted requests with `worker`, on `workers`.
    pub fn new(
        worker: Arc<Worker>,
        workers: Arc<dyn Workers>,
        budget: ByteBudget,
        limiter: AccountLimiter,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self { worker, workers, budget, limiter, clock, is_open: AtomicBool::new(true) })
    }

    /// The interface for the receiver with this id.
    pub fn for_receiver(self: &Arc<Self>, receiver: &str) -> Arc<dyn Admission> {
        Arc::new(ReceiverInlet { inlet: Arc::clone(self), receiver: receiver.into() })
    }

    /// Stops admitting requests.
    pub fn close(&self) {
        self.is_open.store(false, Ordering::SeqCst);
    }

    /// Completes when every admitted request is answered.
    pub async fn wait_until_drained(&self) {
        self.worker.registry.wait_until_drained().await;
    }

    /// The tap that shows committed data.
    pub fn tap(&self) -> &Tap {
        self.worker.sequencer.tap()
    }

    /// The byte budget.
    pub fn budget(&self) -> &ByteBudget {
        &self.budget
    }

    /// Hands in a request that tollgate makes itself. If it has no bytes, only its effects are committed, and no
    /// pipeline is needed.
    pub fn submit_internal(&self, submission: Submission, input: InternalInput) -> BoxFuture<'static, Outcome> {
        await_outcome(self.submit(submission, Some(input)))
    }

    fn submit(
        &self,
        submission: Submission,
        internal: Option<InternalInput>,
    ) -> Result<oneshot::Receiver<Outcome>, Reason> {
        // Counted before the check, so that a task which closes the inlet and then waits for open requests misses none.
        let open = self.worker.registry.open_request();
        if !self.is_open.load(Ordering::SeqCst) {
            return Err(Reason::ShuttingDown);
        }
        if internal.is_none() {
            self.limiter.charge(&submission.account, submission.wire.len());
        }
        let (waiter, answer) = oneshot::channel();
        let worker = Arc::clone(&self.worker);
        let request = AdmittedRequest { submission, received: self.clock.now(), waiter, open, internal };
        let is_queued = self.workers.submit(Box::new(move || worker.process_request(request)));
        if is_queued { Ok(answer) } else { Err(Reason::Overloaded) }
    }
}

/// One receiver's view of the inlet.
struct ReceiverInlet {
    inlet: Arc<Inlet>,
    receiver: Arc<str>,
}

impl Admission for ReceiverInlet {
    fn accepts_signal(&self, signal: Signal) -> bool {
        self.inlet.worker.routes.find(&self.receiver, signal).is_some()
    }

    fn admit(&self, account: &Arc<str>) -> Result<(), Outcome> {
        if self.inlet.budget.is_short(0) {
            return Err(Reason::LowMemory.outcome());
        }
        self.inlet.limiter.admit(account)
    }

    fn charge<'a>(&'a self, permit: &'a mut BytePermit, n: usize) -> BoxFuture<'a, Result<(), Outcome>> {
        Box::pin(async move {
            if !self.inlet.is_open.load(Ordering::SeqCst) {
                return Err(Reason::ShuttingDown.outcome());
            }
            self.inlet.budget.charge(permit, n).await
        })
    }

    fn is_crowded(&self) -> bool {
        self.inlet.budget.is_crowded()
    }

    fn charge_refused(&self, account: &Arc<str>, bytes: usize) {
        self.inlet.limiter.charge(account, bytes);
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'static, Outcome> {
        await_outcome(self.inlet.submit(submission, None))
    }

    fn submit_effects(&self, effects: Vec<Effect>, permit: BytePermit) -> BoxFuture<'static, Outcome> {
        let nothing = Submission {
            signal: Signal::Traces,
            wire: Bytes::new(),
            permit,
            account: "default".into(),
            receiver: Arc::clone(&self.receiver),
            transport: "internal",
            trust: Trust::Internal,
            effects: Vec::new(),
            source_record: None,
        };
        self.inlet.submit_internal(nothing, InternalInput { effects, clearance: Clearance::RECEIVED })
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
