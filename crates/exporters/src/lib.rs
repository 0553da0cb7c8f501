//! Exporters: components that send telemetry on. Each makes one attempt per request and receives only telemetry that
//! was cleared for its `trust`; exporters never import each other. Queueing, retries and metrics are in
//! `pipeline/outlet`, clearance in `pipeline/clearance`.

pub mod cumulative;
pub mod debug;
pub mod file;
pub mod otlp;
pub mod otlp_http;
pub mod outcome;
pub mod preset;
pub mod queue;
mod remedies;
pub mod remote;
pub mod spec;
pub mod stanza;

#[cfg(test)]
mod tests;
