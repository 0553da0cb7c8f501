//! The processors, one folder each. A processor is a step over a batch. Processors never import each other; `actions`
//! is two of them, and knowledge that several need is in crates (`genai`, `redaction`, `vault`, `rates`).
//! `spec` is how a gateway and a dry run wire one; `removed_texts` is what the vault step tells the redact step.
//! Order and clearance are checked in `config/graph`; the engine is in `pipeline`.

pub mod actions;
pub mod cost;
pub mod filter;
pub mod normalize;
pub mod redact;
mod removed_texts;
pub mod runs;
pub mod spec;
pub mod vault;

#[cfg(test)]
mod testing;
