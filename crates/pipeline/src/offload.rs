//! **What**: [`Offload`]: where outlets send disk and CPU work, so that it does not hold up sockets.
//! **Why**: a seam like `Workers`, but not drained with the requests: outlets go on after the last one.
//! **Not here**: the threads (`app/tasks`).

use tokio::sync::oneshot;

/// Runs work off the async threads.
pub trait Offload: Send + Sync {
    /// Runs `work`; it may be run at once, on this thread. `name` is a fixed word for logs.
    fn offload(&self, name: &'static str, work: Box<dyn FnOnce() + Send>);
}

/// Runs everything at once on the calling thread.
pub struct Inline;

impl Offload for Inline {
    fn offload(&self, _: &'static str, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// Runs `work` and waits for what it gives; `None` when it vanished.
pub async fn offload<T, W>(offload: &dyn Offload, name: &'static str, work: W) -> Option<T>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let (give, take) = oneshot::channel();
    offload.offload(
        name,
        Box::new(move || {
            let _ = give.send(work());
        }),
    );
    take.await.ok()
}
