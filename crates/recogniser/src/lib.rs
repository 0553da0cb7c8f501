//! Asks an external recogniser (Presidio's analyzer, or a server with the same API) which parts of texts are private.
//! Names and places in prose need a model; rules find them only next to cue words.
//!
//! Texts go only to this machine or over TLS, each text of a batch once, in calls of bounded size and number, with one
//! deadline for all waits. Slow texts of one account do not delay other accounts. Redirects are not followed. Answers
//! are size-limited and never logged, an invalid answer counts as none, and nothing is cached between batches.
//!
//! `processors/redact/recogniser_texts` chooses the texts, `redaction/recognised` applies the findings, and
//! `pipeline/inquiry` is the stage of the engine that waits for them.

mod answer;
mod call_scheduler;
mod circuit_breaker;
mod client;
mod config;
mod recognise;
#[cfg(test)]
mod tests;

pub use client::PresidioClient;
pub use config::{Config, OnRecogniserError, Settings, TlsConfig};
pub use recognise::{RecogniserAnswers, TextRecogniser};
