//! **What**: components that send telemetry on. **Why**: one attempt each; queue, retry and metrics are the outlet's.
//! **Invariants**: exporters never import each other; what they get was cleared for their `trust`.
//! **Not here**: cursors and retry (`pipeline/outlet`), clearance (`pipeline/clearance`).

pub mod cumulative;
pub mod debug;
pub mod file;
pub mod otlp;
pub mod otlp_http;
pub mod preset;
pub mod queue;
pub mod remote;
pub mod spec;
pub mod stanza;
pub mod verdict;

#[cfg(test)]
mod tests;
