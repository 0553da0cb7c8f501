//! [`ParkedRequest`]: a request between two turns, whose next step waits for an answer from outside, without occupying
//! a thread. A parked request keeps its bytes, receipt and claims. It is always answered: it resumes, or is refused for
//! the reason with which the question failed, or, if the question disappears, the client is asked to retry. The
//! processor that asks sets the deadline.

use std::sync::Arc;

use crate::inquiry::Inquiry;
use crate::inquiry::InquiryAnswer;
use crate::outcome::Reason;
use crate::route::RouteExecution;

use super::{RequestWork, Worker};

/// A request that waits for an answer.
struct ParkedRequest {
    worker: Arc<Worker>,
    /// `None` once the request has resumed.
    state: Option<(RequestWork, RouteExecution)>,
}

impl Worker {
    /// Ends this turn; another one starts when the answer arrives.
    pub(super) fn park(self: &Arc<Self>, mut work: RequestWork, walk: RouteExecution, inquiry: Inquiry) {
        work.earlier_turns += self.clock.monotonic().saturating_sub(work.turn_began);
        self.metrics.waiting.increment(1.0);
        let parked = ParkedRequest { worker: Arc::clone(self), state: Some((work, walk)) };
        let errand = async move {
            match inquiry.await {
                Ok(answer) => parked.resume_with_answer(answer),
                Err(reason) => parked.reject_request(reason),
            }
        };
        self.errands.run("inquiry", Box::pin(errand));
    }
}

impl ParkedRequest {
    fn resume_with_answer(mut self, answer: InquiryAnswer) {
        if let Some((_, walk)) = &mut self.state {
            walk.store_answer(answer);
        }
        let workers = Arc::clone(&self.worker.workers);
        // If the workers refuse the job, they drop it, and `Drop` answers the client.
        workers.submit(Box::new(move || self.run_next_turn()));
    }

    fn run_next_turn(mut self) {
        let Some((mut work, walk)) = self.state.take() else { return };
        work.turn_began = self.worker.clock.monotonic();
        self.worker.run_turn(work, walk);
    }

    fn reject_request(mut self, reason: Reason) {
        if let Some((work, _)) = self.state.take() {
            self.worker.reject_request(work, reason);
        }
    }
}

impl Drop for ParkedRequest {
    fn drop(&mut self) {
        self.worker.metrics.waiting.decrement(1.0);
        if let Some((work, _)) = self.state.take() {
            self.worker.reject_request(work, Reason::Overloaded);
        }
    }
}
