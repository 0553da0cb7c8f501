//! **What**: the `attributes` processor: inserts, updates and deletes attributes of spans, log records and data points.
//! **Why**: a back end wants a key, or must not have one. **Invariants**: stands after `redact` (`config/graph`), so
//! that what vault, cost and runs see never hangs on it. **Not here**: the actions (`processors/actions`), resources
//! (`resource`).

pub mod config;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use otlp::Node;
use pipeline::{Batch, Processor, Reason};

pub use config::{Config, Settings};

/// The processor.
pub struct Attributes {
    id: Arc<str>,
    settings: Settings,
}

impl Attributes {
    /// Builds it.
    pub fn new(id: Arc<str>, settings: Settings) -> Self {
        Self { id, settings }
    }
}

impl Processor for Attributes {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let items: Vec<Node> = batch.payload.items().collect();
        items.into_iter().for_each(|node| self.settings.actions.apply(&mut batch.payload, node));
        Ok(())
    }
}
