//! **What**: asks an external recogniser (Presidio's analyzer, or what speaks its API) what in texts is private.
//! **Why**: names and places in prose need a model; rules find them only beside cues.
//! **Invariants**: only to this machine or over TLS; texts of a batch once each, in calls of bounded size and number; every
//! wait ends at one deadline; an account with slow texts holds up no other; redirects are not followed; an answer is read up to a cap and never logged; nothing is kept
//! from one batch to the next; a text without a whole and sane answer has none.
//! **Not here**: which texts are asked about and what becomes of them (`processors/redact/ask`), where findings lie
//! (`redaction/recognised`), the stage of the engine (`pipeline/inquiry`).

mod answer;
mod breaker;
mod client;
mod config;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use redaction::recognised::Named;

pub use client::{Deps, Presidio};
pub use config::{Config, OnError, Settings, Tls};

/// Who can be asked.
pub trait Recognise: Send + Sync {
    /// What is private in each of `texts` of an account, each given once. Ends at its deadline.
    fn ask(&self, account: Arc<str>, texts: Vec<Arc<str>>) -> BoxFuture<'static, Answers>;
}

/// What was answered, by text; a text that is not in it got no answer. No `Debug`: it holds telemetry.
#[derive(Default)]
pub struct Answers(pub HashMap<Arc<str>, Vec<Named>>);

impl Answers {
    /// What is private in `text`, if there was an answer.
    pub fn of(&self, text: &str) -> Option<&[Named]> {
        self.0.get(text).map(Vec::as_slice)
    }
}
