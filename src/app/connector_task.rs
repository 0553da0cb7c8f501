//! Runs connectors as background tasks that send through the engine's inlet. The connectors are in the crate
//! `connectors`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use connectors::runs::RunsConnector;

use super::build::{BackgroundTask, InletCell};

pub(super) struct RunsConnectorTask {
    pub(super) connector: RunsConnector,
    pub(super) inlet: InletCell,
}

impl BackgroundTask for RunsConnectorTask {
    fn name(&self) -> &'static str {
        "runs connector"
    }

    fn run(self: Arc<Self>, stop: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // Always set: the engine exists before background tasks run.
            if let Some(inlet) = self.inlet.get() {
                self.connector.run(inlet, stop).await;
            }
        })
    }
}
