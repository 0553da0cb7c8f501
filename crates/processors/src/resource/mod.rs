//! The `resource` processor: inserts, updates and deletes attributes of resources, for back ends that need a key or
//! must not receive one.
//!
//! It runs after `redact` (checked in `config/graph`), so vault, cost and runs never depend on its changes. The actions
//! are in `processors/actions`; items are changed by `attributes`.

pub mod config;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use otlp::{NodeId, NodeKind, Signal};
use pipeline::{Batch, Processor, Reason};

use crate::spec::{BuiltProcessor, ProcessorBuildResult, ProcessorDeps, ProcessorProfile, ProcessorSpec};

pub use config::{ResourceConfig, ResourceSettings};

pub struct ResourceProcessor {
    id: Arc<str>,
    settings: ResourceSettings,
}

impl ResourceProcessor {
    pub fn new(id: Arc<str>, settings: ResourceSettings) -> Self {
        Self { id, settings }
    }
}

impl ProcessorSpec for ResourceSettings {
    fn profile(&self) -> ProcessorProfile<'_> {
        ProcessorProfile { notes: &[], redaction: None, privacy: None, calls_recogniser: false }
    }

    fn build(&self, id: &Arc<str>, _: &[Signal], _: &ProcessorDeps) -> ProcessorBuildResult {
        Ok(BuiltProcessor::new(Arc::new(ResourceProcessor::new(Arc::clone(id), self.clone()))))
    }
}

impl Processor for ResourceProcessor {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let is_resource = |node: &NodeId| batch.payload.kind(*node) == NodeKind::Resource;
        let resources: Vec<NodeId> = batch.payload.nodes().filter(is_resource).collect();
        resources.into_iter().for_each(|node| self.settings.actions.apply(&mut batch.payload, node));
        Ok(())
    }
}
