//! [`Receipt`]: the duty to answer one request. However a request ends, its receipt returns the bytes to the budget,
//! answers the waiting clients and counts the request. A receipt that is dropped unanswered answers
//! *retry*.
//! Requests that wait for the same answer are kept in `repeats`.

use std::sync::Arc;

use tokio::sync::watch;

use kernel::clock::Clock;
use telemetry::{Counter, Meter, names};

use super::inlet::BytePermit;
use super::outcome::{Outcome, Reason};
use super::repeats::{RepeatedRequests, RequestFingerprint};

/// State that all receipts share.
pub struct RequestRegistry {
    /// In-flight and remembered requests.
    pub(crate) repeats: RepeatedRequests,
    clock: Arc<dyn Clock>,
    meter: Meter,
    accepted: Counter,
    /// Number of requests between admission and answer.
    open_requests: watch::Sender<usize>,
}

impl RequestRegistry {
    /// A registry with no open request.
    pub fn new(repeats: RepeatedRequests, clock: Arc<dyn Clock>, meter: &Meter) -> Self {
        let accepted = meter.counter(&names::REQUESTS, &[("outcome", "accepted"), ("reason", "")]);
        Self { repeats, clock, meter: meter.clone(), accepted, open_requests: watch::Sender::new(0) }
    }

    /// Completes when no request is open.
    pub async fn wait_until_drained(&self) {
        let _ = self.open_requests.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Counts one more open request until the returned value is dropped.
    pub fn open_request(self: &Arc<Self>) -> OpenRequest {
        self.open_requests.send_modify(|count| *count += 1);
        OpenRequest(Arc::clone(self))
    }

    fn count_outcome(&self, outcome: &Outcome) {
        let reason = match outcome {
            Outcome::Accepted => return self.accepted.increment(1),
            Outcome::Partial { reason, .. } | Outcome::Retry { reason, .. } | Outcome::Refused { reason } => reason,
        };
        self.meter.counter(&names::REQUESTS, &[("outcome", outcome.label()), ("reason", reason.label())]).increment(1);
    }
}

/// Counts an open request until dropped.
pub struct OpenRequest(Arc<RequestRegistry>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open_requests.send_modify(|count| *count -= 1);
    }
}

/// The duty to answer one request.
pub struct Receipt {
    registry: Arc<RequestRegistry>,
    fingerprint: RequestFingerprint,
    answered: bool,
    // Dropped in this order: the bytes return before the request counts as ended.
    permit: BytePermit,
    _open: OpenRequest,
}

impl Receipt {
    /// The receipt of the request that was registered under `fingerprint`.
    pub fn new(
        registry: &Arc<RequestRegistry>,
        fingerprint: RequestFingerprint,
        permit: BytePermit,
        open: OpenRequest,
    ) -> Self {
        Self { registry: Arc::clone(registry), fingerprint, answered: false, permit, _open: open }
    }

    /// Returns the bytes to the budget before the answer: the request is on disk, or in memory that has its own limit.
    pub fn release(&mut self) {
        drop(std::mem::take(&mut self.permit));
    }

    /// Sends `outcome` to the clients that wait now, without ending the request: later ones with equal bytes join it.
    pub fn answer_waiters(&self, outcome: &Outcome) {
        self.registry.repeats.answer_waiters(&self.fingerprint, outcome);
    }

    /// Answers the request. `committed`: the data is safe, whatever the outcome says.
    pub fn resolve(mut self, outcome: &Outcome, committed: bool) {
        self.end(outcome, committed);
    }

    fn end(&mut self, outcome: &Outcome, committed: bool) {
        self.answered = true;
        self.registry.count_outcome(outcome);
        self.registry.repeats.finish(self.fingerprint, outcome, committed, self.registry.clock.now());
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.answered {
            self.end(&Outcome::Retry { after: None, reason: Reason::Lost }, false);
        }
    }
}
