//! [`TextRecogniser`]: the interface to a recogniser, and its [`RecogniserAnswers`].

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use redaction::recognised::EntityHit;

pub trait TextRecogniser: Send + Sync {
    /// Returns the findings in `texts` of one account, which must be distinct. Ends at its deadline; texts without an
    /// answer by then are missing.
    fn recognise(&self, account: Arc<str>, texts: Vec<Arc<str>>) -> BoxFuture<'static, RecogniserAnswers>;
}

/// Findings by text; a text that is missing got no answer. Has no `Debug`, because it holds telemetry text.
#[derive(Default)]
pub struct RecogniserAnswers(pub HashMap<Arc<str>, Vec<EntityHit>>);

impl RecogniserAnswers {
    /// The findings in `text`, if there was an answer.
    pub fn findings(&self, text: &str) -> Option<&[EntityHit]> {
        self.0.get(text).map(Vec::as_slice)
    }
}
