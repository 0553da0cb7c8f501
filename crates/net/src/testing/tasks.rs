//! [`TestTasks`]: tasks on the test's own runtime.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::Spawn;

/// Spawns on the current tokio runtime.
pub struct TestTasks;

impl TestTasks {
    /// A shared handle.
    pub fn shared() -> Arc<dyn Spawn> {
        Arc::new(Self)
    }
}

#[expect(clippy::disallowed_methods, reason = "tests make their own tasks")]
impl Spawn for TestTasks {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn spawn_blocking(&self, _name: &'static str, work: Box<dyn FnOnce() + Send + 'static>) {
        tokio::task::spawn_blocking(work);
    }
}
