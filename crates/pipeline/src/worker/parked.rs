//! [`Parked`]: a request between two turns, whose step waits for an answer from outside. No worker thread waits.
//! It holds the request's bytes, receipt and claims. The request is always answered: it resumes, is kept back for the
//! question's reason, or, if the question disappears, the client is asked to retry. The processor that asks sets the
//! deadline.

use std::sync::Arc;

use crate::inquiry::Answer;
use crate::inquiry::Inquiry;
use crate::outcome::Reason;
use crate::route::Walk;

use super::{Work, Worker};

/// See the module.
struct Parked {
    worker: Arc<Worker>,
    /// `None` once the request has resumed.
    inside: Option<(Work, Walk)>,
}

impl Worker {
    /// Ends this turn; the next one starts with the answer.
    pub(super) fn park(self: &Arc<Self>, mut work: Work, walk: Walk, inquiry: Inquiry) {
        work.busy += self.clock.monotonic().saturating_sub(work.began);
        let parked = Parked::new(self, work, walk);
        let errand = async move {
            match inquiry.await {
                Ok(answer) => parked.go_on(answer),
                Err(reason) => parked.keep_back(reason),
            }
        };
        self.errands.run("inquiry", Box::pin(errand));
    }
}

impl Parked {
    fn new(worker: &Arc<Worker>, work: Work, walk: Walk) -> Self {
        worker.metrics.waiting.increment(1.0);
        Self { worker: Arc::clone(worker), inside: Some((work, walk)) }
    }

    fn go_on(mut self, answer: Answer) {
        if let Some((_, walk)) = &mut self.inside {
            walk.answer(answer);
        }
        let workers = Arc::clone(&self.worker.workers);
        // If the job is refused, it is dropped, and `Drop` keeps the request back.
        workers.submit(Box::new(move || self.resume()));
    }

    fn resume(mut self) {
        let Some((mut work, walk)) = self.inside.take() else { return };
        work.began = self.worker.clock.monotonic();
        self.worker.advance(work, walk);
    }

    fn keep_back(mut self, reason: Reason) {
        if let Some((work, _)) = self.inside.take() {
            self.worker.keep_back(work, reason);
        }
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.worker.metrics.waiting.decrement(1.0);
        if let Some((work, _)) = self.inside.take() {
            self.worker.keep_back(work, Reason::Overloaded);
        }
    }
}
