//! The processors, one folder each; every processor is a pure step over a batch. Processors never import each other:
//! they share only the vocabulary (`genai`), rules (`redaction`), vault and rates. Order and clearance are checked in
//! `config/graph`; the engine is in `pipeline`.

pub mod actions;
pub mod attributes;
pub mod cost;
pub mod filter;
pub mod normalize;
pub mod redact;
pub mod resource;
pub mod vault;
