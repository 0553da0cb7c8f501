//! The `attributes` processor: inserts, updates and deletes attributes of spans, log records and data points, for back
//! ends that need a key or must not receive one.
//!
//! It runs after `redact` (checked in `config/graph`), so vault, cost and runs never depend on its changes. The actions
//! are in `processors/actions`; resources are changed by `resource`.

pub mod config;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use otlp::{NodeId, Signal};
use pipeline::{Batch, Processor, Reason};

use crate::spec::{BuiltProcessor, ProcessorBuildResult, ProcessorDeps, ProcessorProfile, ProcessorSpec};

pub use config::{AttributesConfig, AttributesSettings};

pub struct AttributesProcessor {
    id: Arc<str>,
    settings: AttributesSettings,
}

impl AttributesProcessor {
    pub fn new(id: Arc<str>, settings: AttributesSettings) -> Self {
        Self { id, settings }
    }
}

impl ProcessorSpec for AttributesSettings {
    fn profile(&self) -> ProcessorProfile<'_> {
        ProcessorProfile { notes: &[], redaction: None, privacy: None, calls_recogniser: false }
    }

    fn build(&self, id: &Arc<str>, _: &[Signal], _: &ProcessorDeps) -> ProcessorBuildResult {
        Ok(BuiltProcessor::new(Arc::new(AttributesProcessor::new(Arc::clone(id), self.clone()))))
    }
}

impl Processor for AttributesProcessor {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let items: Vec<NodeId> = batch.payload.items().collect();
        items.into_iter().for_each(|node| self.settings.actions.apply(&mut batch.payload, node));
        Ok(())
    }
}
