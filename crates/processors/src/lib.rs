//! **What**: one folder per processor. **Why**: each is a pure step over a batch. **Invariants**: processors never
//! import each other; what they share is vocabulary (`genai`), rules (`redaction`), vault and rates.
//! **Not here**: order and clearance (`config/graph`), the engine (`pipeline`).

pub mod actions;
pub mod attributes;
pub mod cost;
pub mod filter;
pub mod normalize;
pub mod redact;
pub mod resource;
pub mod vault;
