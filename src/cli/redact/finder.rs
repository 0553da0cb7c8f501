//! [`Finder`]: applies the rules of a configuration, and its recogniser if there is one, to one text at a time. Without
//! an answer of the recogniser, the text has no result. Every text is sent; a gateway selects the texts in
//! `processors/redact/ask`.

use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::app::build::Seams;
use crate::app::dry::recogniser;
use crate::cli::error::CommandError;
use ::recogniser::{Presidio, Recognise};
use processors::redact::Settings;
use redaction::{Detector, Hit, Scratch};

/// Rules and recogniser of one configuration.
pub(super) struct Finder {
    pub(super) detector: Arc<Detector>,
    scratch: Scratch,
    outside: Option<(Runtime, Presidio)>,
}

/// The error if the recogniser does not answer.
const SILENT: &str = "the external recogniser gives no answer";

impl Finder {
    /// A finder for these settings.
    ///
    /// # Errors
    /// The recogniser's client can't be built.
    pub(super) fn new(settings: Settings) -> Result<Self, CommandError> {
        let mut runtime = None;
        let asks = settings.recogniser.map(|asks| recogniser("redact".into(), asks, &Seams::real(), &mut runtime));
        let presidio = asks.transpose()?;
        Ok(Self { detector: settings.detector, scratch: Scratch::new(), outside: runtime.zip(presidio) })
    }

    /// Finds private parts of a text.
    ///
    /// # Errors
    /// The recogniser does not answer.
    pub(super) fn find(&mut self, text: &str) -> Result<&[Hit], &'static str> {
        let Some((runtime, presidio)) = &self.outside else { return Ok(self.detector.find(text, &mut self.scratch)) };
        if text.is_empty() {
            return Ok(&[]);
        }
        let answers = runtime.block_on(presidio.ask("default".into(), vec![text.into()]));
        let named = answers.of(text).ok_or(SILENT)?;
        Ok(self.detector.find_with("", text, named, &mut self.scratch))
    }
}
