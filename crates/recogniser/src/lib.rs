//! **What**: asks an external recogniser (Presidio's analyzer, or what speaks its API) what in texts is private.
//! **Why**: names and places in prose need a model; rules find them only beside cues. **Invariants**: only to this
//! machine or over TLS; texts of a batch once each, in calls of bounded size and number; every wait ends at one
//! deadline; an account with slow texts holds up no other; redirects are not followed; an answer is read up to a cap
//! and never logged; nothing is kept from one batch to the next; a text without a whole and sane answer has none. **Not
//! here**: which texts are asked about and what becomes of them (`processors/redact/ask`), where findings lie
//! (`redaction/recognised`), the stage of the engine (`pipeline/inquiry`).

mod answer;
mod breaker;
mod client;
mod config;
mod recognise;
#[cfg(test)]
mod tests;
mod turns;

pub use client::{Deps, Presidio};
pub use config::{Config, OnError, Settings, Tls};
pub use recognise::{Answers, Recognise};
