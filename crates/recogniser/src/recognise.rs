//! **What**: [`Recognise`]: who can be asked what is private, and what was answered.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use redaction::recognised::Named;

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
