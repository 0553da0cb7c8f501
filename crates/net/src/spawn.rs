//! **What**: [`Spawn`], the handle by which sockets get tasks, and its adapter for hyper. **Why**: only `app/tasks`
//! spawns; a task that is handed out here is known there by name. **Not here**: the implementation.

use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;

/// Makes tasks. Given to receivers and exporters; object-safe.
pub trait Spawn: Send + Sync + 'static {
    /// Runs `task` until it ends or the gateway does. `name` is a fixed word for logs.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
    /// Runs `work`, which keeps a CPU busy, where it does not hold up sockets. It may be run at once, on this thread.
    fn blocking(&self, name: &'static str, work: Box<dyn FnOnce() + Send + 'static>);
}

/// Lets hyper make its tasks (one per HTTP/2 stream or pooled connection) through [`Spawn`].
#[derive(Clone)]
pub struct HyperTasks {
    tasks: Arc<dyn Spawn>,
    name: &'static str,
}

impl HyperTasks {
    /// Tasks are made by `tasks` under `name`.
    pub fn new(tasks: Arc<dyn Spawn>, name: &'static str) -> Self {
        Self { tasks, name }
    }
}

impl<F> hyper::rt::Executor<F> for HyperTasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.tasks.spawn(self.name, Box::pin(task));
    }
}

/// Runs `work` through [`Spawn::blocking`] and waits for what it gives; `None` when it vanished.
pub async fn blocking<T, W>(tasks: &dyn Spawn, name: &'static str, work: W) -> Option<T>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let (give, take) = tokio::sync::oneshot::channel();
    tasks.blocking(
        name,
        Box::new(move || {
            let _ = give.send(work());
        }),
    );
    take.await.ok()
}
