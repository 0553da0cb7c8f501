//! [`Recognise`]: the interface to a recogniser, and its [`Answers`].

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use redaction::recognised::Named;

/// A recogniser of private text.
pub trait Recognise: Send + Sync {
    /// Returns the findings in `texts` of one account, which must be distinct. Ends at its deadline; texts without an
    /// answer by then are missing.
    fn ask(&self, account: Arc<str>, texts: Vec<Arc<str>>) -> BoxFuture<'static, Answers>;
}

/// Findings by text; a text that is missing got no answer. Has no `Debug`, because it holds telemetry text.
#[derive(Default)]
pub struct Answers(pub HashMap<Arc<str>, Vec<Named>>);

impl Answers {
    /// The findings in `text`, if there was an answer.
    pub fn of(&self, text: &str) -> Option<&[Named]> {
        self.0.get(text).map(Vec::as_slice)
    }
}
