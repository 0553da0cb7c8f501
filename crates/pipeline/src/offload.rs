//! [`Offload`]: runs the disk and CPU work of outlets, so that it does not block tasks that own sockets. The threads
//! are in `crates/command/src/tasks.rs`.
//! Unlike `workers`, this is not drained with the requests: outlets continue after the last request.

use tokio::sync::oneshot;

/// Runs work off the async threads.
pub trait Offload: Send + Sync {
    /// Runs `work`, possibly at once on the calling thread. `name` is a fixed word for logs.
    fn offload(&self, name: &'static str, work: Box<dyn FnOnce() + Send>);
}

/// Runs all work at once on the calling thread.
pub struct InlineOffload;

impl Offload for InlineOffload {
    fn offload(&self, _: &'static str, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// Runs `work` and waits for its result; `None` if the work ended without one.
pub async fn offload<T, W>(offload: &dyn Offload, name: &'static str, work: W) -> Option<T>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    offload.offload(
        name,
        Box::new(move || {
            let _ = sender.send(work());
        }),
    );
    receiver.await.ok()
}
