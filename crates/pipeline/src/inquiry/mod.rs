//! **What**: the asynchronous stage of the engine: a step that has to know something from outside asks before it works
//! ([`super::Processor::inquire`]), and [`Errands`] run the question while no worker is held up.
//! **Why**: workers are synchronous and keep CPUs busy; an answer from another process takes as long as it takes.
//! **Invariants**: only a batch's own step asks, with the batch as it stands just before that step; a batch that waits
//! holds its bytes, its receipt and its claims, and gives all of them back if the question vanishes.
//! **Not here**: what is asked (processors), how tasks are made (`app/tasks`), the waiting request (`worker/parked`).

#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::outcome::Reason;

/// What a step learnt; its own type.
pub type Answer = Arc<dyn Any + Send + Sync>;

/// A question on its way. It must end by itself: whoever asks sets a deadline. An error keeps the batch back.
pub type Inquiry = BoxFuture<'static, Result<Answer, Reason>>;

/// Runs questions. A seam, as [`super::offload::Offload`] is.
pub trait Errands: Send + Sync {
    /// Runs `errand` to its end. It may be dropped at the end of the gateway. `name` is a fixed word for logs.
    fn run(&self, name: &'static str, errand: BoxFuture<'static, ()>);
}

/// Looks at each question once, on the calling thread; one that has to wait is dropped.
pub struct Inline;

impl Errands for Inline {
    fn run(&self, _: &'static str, errand: BoxFuture<'static, ()>) {
        let _ = errand.now_or_never();
    }
}
