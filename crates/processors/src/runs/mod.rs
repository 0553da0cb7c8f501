//! The wiring of the `runs` processor. The processor itself is the crate `tracker`, because connectors, history and
//! pages use it too.

use std::sync::Arc;

use otlp::Signal;
use tracker::{RunTracker, Settings};

use crate::spec::{BuiltProcessor, ProcessorBuildResult, ProcessorDeps, ProcessorSpec};

impl ProcessorSpec for Settings {
    fn build(&self, id: &Arc<str>, _: &[Signal], deps: &ProcessorDeps) -> ProcessorBuildResult {
        let (vocabulary, ids) = (Arc::clone(&deps.vocabulary), Arc::clone(&deps.ids));
        let tracker = Arc::new(RunTracker::new(Arc::clone(id), self.clone(), vocabulary, ids, &deps.services.meter));
        let processor = Arc::clone(&tracker) as Arc<dyn pipeline::Processor>;
        Ok(BuiltProcessor { tracker: Some(tracker), ..BuiltProcessor::new(processor) })
    }
}
