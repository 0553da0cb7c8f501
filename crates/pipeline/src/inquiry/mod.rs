//! The asynchronous stage of the engine: a processor that needs an answer from outside asks for it before it works
//! ([`super::Processor::inquire`]), and an [`ErrandRunner`] runs the question, because workers are synchronous and must
//! not wait for another process. A step asks when it is the next one to run, about the batch in the state just before
//! it. A waiting batch keeps its bytes, its receipt and its claims, and releases all of them if the question
//! disappears. The waiting request is in `worker/parked`, the tasks are in `crates/command/src/tasks.rs`.

#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

use super::outcome::Reason;

/// The answer to an inquiry; the type is the processor's own.
pub type InquiryAnswer = Arc<dyn Any + Send + Sync>;

/// A running question. It must end by itself: the processor sets a deadline. An error keeps the batch back.
pub type Inquiry = BoxFuture<'static, Result<InquiryAnswer, Reason>>;

/// Runs questions. The gateway runs them as tasks, tests inline, as with [`super::offload::Offload`].
pub trait ErrandRunner: Send + Sync {
    /// Runs `errand` to its end; it may be dropped when the gateway stops. `name` is a fixed word for logs.
    fn run(&self, name: &'static str, errand: BoxFuture<'static, ()>);
}

/// Polls each question once, on the calling thread; a question that has to wait is dropped.
pub struct InlineErrands;

impl ErrandRunner for InlineErrands {
    fn run(&self, _: &'static str, errand: BoxFuture<'static, ()>) {
        let _ = errand.now_or_never();
    }
}
