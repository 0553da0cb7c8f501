//! [`FakeEngine`]: notes the requests of a receiver and gives them the outcomes that a test prepared. The inlet before
//! it is real: budget, rates, and the count of open requests.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::accounts::{AccountLimiter, RateLimits};
use crate::inlet::entry::InletParts;
use crate::receipt::{OpenRequest, RequestRegistry};
use crate::repeats::{AnswerSender, RepeatLimits, RepeatedRequests};
use crate::tap::Tap;
use crate::worker::AdmittedRequest;
use crate::{ByteBudget, ClientIdentity, Inlet, Outcome, ReceiverInlet, Submission};
use kernel::clock::Clock;
use otlp::Signal;
use telemetry::Meter;

/// The duty to answer one request.
pub struct Answer {
    waiter: AnswerSender,
    _open: OpenRequest,
}

impl Answer {
    pub fn send(self, outcome: Outcome) {
        drop(self.waiter.send(outcome));
    }
}

/// An inlet with `process` in place of an engine; a request comes with all its effects.
pub fn inlet_over(
    (budget, rates): (ByteBudget, RateLimits),
    clock: Arc<dyn Clock>,
    accepts: impl Fn(Signal) -> bool + Send + Sync + 'static,
    process: impl Fn(Submission, Answer) + Send + Sync + 'static,
) -> Arc<Inlet> {
    let (meter, repeats) = (Meter::new(), RepeatedRequests::new(RepeatLimits::default()));
    Inlet::new(InletParts {
        accepts_signal: Box::new(move |_, signal| accepts(signal)),
        queue: Box::new(move |AdmittedRequest { mut submission, waiter, open, internal, .. }| {
            submission.effects.extend(internal.into_iter().flat_map(|input| input.effects));
            process(submission, Answer { waiter, _open: open });
            true
        }),
        registry: Arc::new(RequestRegistry::new(repeats, Arc::clone(&clock), &meter)),
        tap: Tap::new(&meter),
        budget,
        limiter: AccountLimiter::new(rates, Arc::clone(&clock), &meter),
        clock,
    })
}

/// A request as it was handed in.
pub struct ReceivedRequest {
    pub signal: Signal,
    pub account: String,
    pub identity: ClientIdentity,
    pub wire: Bytes,
    /// Bytes that it held of the budget.
    pub charged: usize,
}

/// See the module.
pub struct FakeEngine {
    pub budget: ByteBudget,
    /// Signals that no pipeline takes.
    pub refused_signals: Mutex<Vec<Signal>>,
    /// Outcomes of the next requests; later ones are accepted.
    pub outcomes: Mutex<VecDeque<Outcome>>,
    pub requests: Mutex<Vec<ReceivedRequest>>,
    /// Whether requests wait for [`FakeEngine::answer_held`].
    pub holds_answers: AtomicBool,
    held: Mutex<Vec<(Submission, Outcome, Answer)>>,
}

impl FakeEngine {
    /// An engine, and its inlet for the receiver with this id.
    pub fn start(
        receiver: &str,
        budget: ByteBudget,
        rates: RateLimits,
        clock: Arc<dyn Clock>,
    ) -> (Arc<Self>, ReceiverInlet) {
        let engine = Arc::new(Self {
            budget: budget.clone(),
            refused_signals: Mutex::default(),
            outcomes: Mutex::default(),
            requests: Mutex::default(),
            holds_answers: AtomicBool::default(),
            held: Mutex::default(),
        });
        let [accepting, processing] = [(); 2].map(|()| Arc::clone(&engine));
        let inlet = inlet_over(
            (budget, rates),
            clock,
            move |signal| !accepting.refused_signals.lock().contains(&signal),
            move |submission, answer| processing.process(submission, answer),
        );
        (engine, inlet.for_receiver(receiver))
    }

    fn process(&self, submission: Submission, answer: Answer) {
        let Submission { signal, account, identity, wire, permit, .. } = &submission;
        let (account, identity, wire) = (account.to_string(), identity.clone(), wire.clone());
        let (signal, charged) = (*signal, permit.bytes());
        self.requests.lock().push(ReceivedRequest { signal, account, identity, wire, charged });
        let outcome = self.outcomes.lock().pop_front().unwrap_or(Outcome::Accepted);
        self.held.lock().push((submission, outcome, answer));
        if !self.holds_answers.load(Ordering::SeqCst) {
            self.answer_held();
        }
    }

    /// Number of requests that wait for their answers.
    pub fn held_count(&self) -> usize {
        self.held.lock().len()
    }

    pub fn answer_held(&self) {
        for (submission, outcome, answer) in std::mem::take(&mut *self.held.lock()) {
            drop(submission);
            answer.send(outcome);
        }
    }

    /// Takes the requests since the last call.
    pub fn take_requests(&self) -> Vec<ReceivedRequest> {
        std::mem::take(&mut self.requests.lock())
    }

    /// The accounts of the requests that were not taken.
    pub fn accounts(&self) -> Vec<String> {
        self.requests.lock().iter().map(|request| request.account.clone()).collect()
    }
}
