//! [`Spawn`], the interface through which sockets get tasks, and its adapter for hyper. Only `command/tasks` spawns
//! tasks, so that every task is known there by name.

use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;

/// Spawns tasks. Given to receivers and exporters; object-safe.
pub trait Spawn: Send + Sync + 'static {
    /// Runs `task` until it ends or the gateway does. `name` is a fixed word for logs.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
    /// Runs CPU-bound `work` where it does not hold up sockets. It may run at once, on the current thread.
    fn spawn_blocking(&self, name: &'static str, work: Box<dyn FnOnce() + Send + 'static>);
}

/// Lets hyper spawn its tasks (one per HTTP/2 stream or pooled connection) through [`Spawn`].
#[derive(Clone)]
pub struct HyperTasks {
    tasks: Arc<dyn Spawn>,
    name: &'static str,
}

impl HyperTasks {
    /// Spawns tasks through `tasks` under `name`.
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

/// Runs `work` through [`Spawn::spawn_blocking`] and returns its result; `None` if the task ended without one.
pub async fn run_blocking<T, W>(tasks: &dyn Spawn, name: &'static str, work: W) -> Option<T>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let (sender, receiver) = tokio::sync::oneshot::channel();
    tasks.spawn_blocking(
        name,
        Box::new(move || {
            let _ = sender.send(work());
        }),
    );
    receiver.await.ok()
}
