//! Exporters: components that send telemetry. Each makes one attempt per request and receives only telemetry that was
//! cleared for its `trust`; exporters never import each other. `pipeline/outlet` has queueing, retries and the metrics
//! of deliveries, `pipeline/clearance` the clearance.

mod counted_by;
pub mod cumulative;
pub mod debug;
pub mod file;
pub mod kafka;
pub mod otlp;
pub mod otlp_http;
pub mod outcome;
pub mod preset;
pub mod queue;
mod remedies;
pub mod remote;
pub mod sample;
pub mod spec;
pub mod stanza;

pub use counted_by::{CountedBy, Stamps};

#[cfg(test)]
mod tests;
