//! **What**: connectors as the app runs them: companions that find the engine's door. **Not here**: what they do
//! (`connectors/`).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use connectors::runs::Runs;

use super::build::{Companion, Way};

/// The `runs` connector beside the pipelines.
pub(super) struct Telling {
    /// The connector.
    pub(super) connector: Runs,
    /// The engine's door.
    pub(super) way: Way,
}

impl Companion for Telling {
    fn name(&self) -> &'static str {
        "runs connector"
    }

    fn run(self: Arc<Self>, stop: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // Set before companions run.
            if let Some(inlet) = self.way.get() {
                self.connector.run(inlet, stop).await;
            }
        })
    }
}
