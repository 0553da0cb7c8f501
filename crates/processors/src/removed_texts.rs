//! [`RemovedTexts`]: what the `vault` step tells the `redact` step about texts that it removed, so that the texts that
//! stay do not repeat them. It travels beside the batch (`pipeline::Batch::echoes`).

use std::sync::Arc;

use echoes::EchoReplacements;
use otlp::NodeId;
use pipeline::Batch;

/// See the module documentation.
#[derive(Default)]
pub(crate) struct RemovedTexts {
    /// Replacements for texts that repeat content.
    pub(crate) echoes: EchoReplacements,
    /// Short values that went to the vault although no list names their keys, with node and key: a name among them
    /// (`customer_name`) is redacted in the item's other texts.
    pub(crate) values: Vec<(NodeId, Box<str>, Box<str>)>,
}

impl RemovedTexts {
    pub(crate) fn of_batch(batch: &Batch) -> Option<Arc<Self>> {
        batch.echoes.clone()?.downcast().ok()
    }
}
