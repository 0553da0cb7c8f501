//! **What**: the `resource` processor: inserts, updates and deletes attributes of resources. **Why**: a back end wants
//! a key, or must not have one. **Invariants**: stands after `redact` (`config/graph`), so that what vault, cost and
//! runs see never hangs on it. **Not here**: the actions (`processors/actions`), items (`attributes`).

pub mod config;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use otlp::{Node, NodeKind};
use pipeline::{Batch, Processor, Reason};

pub use config::{Config, Settings};

/// The processor.
pub struct ResourceAttributes {
    id: Arc<str>,
    settings: Settings,
}

impl ResourceAttributes {
    /// Builds it.
    pub fn new(id: Arc<str>, settings: Settings) -> Self {
        Self { id, settings }
    }
}

impl Processor for ResourceAttributes {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let is_resource = |node: &Node| batch.payload.kind(*node) == NodeKind::Resource;
        let resources: Vec<Node> = batch.payload.nodes().filter(is_resource).collect();
        resources.into_iter().for_each(|node| self.settings.actions.apply(&mut batch.payload, node));
        Ok(())
    }
}
