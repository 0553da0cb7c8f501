//! **What**: [`Finder`]: the rules of a configuration, and its recogniser if it has one, over one text at a time.
//! **Invariants**: without the recogniser's answer nothing is told about a text. **Not here**: which texts a gateway
//! sends it (`processors/redact/ask`): here each is sent.

use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::app::build::Seams;
use crate::app::dry::recogniser;
use crate::cli::error::CommandError;
use ::recogniser::{Presidio, Recognise};
use processors::redact::Settings;
use redaction::{Detector, Hit, Scratch};

/// See the module.
pub(super) struct Finder {
    pub(super) detector: Arc<Detector>,
    scratch: Scratch,
    outside: Option<(Runtime, Presidio)>,
}

/// What is said when there is no answer.
const SILENT: &str = "the external recogniser gives no answer";

impl Finder {
    /// For settings of `redact`.
    ///
    /// # Errors
    /// One line: the recogniser can't be asked.
    pub(super) fn new(settings: Settings) -> Result<Self, CommandError> {
        let mut runtime = None;
        let asks = settings.recogniser.map(|asks| recogniser("redact".into(), asks, &Seams::real(), &mut runtime));
        let presidio = asks.transpose()?;
        Ok(Self { detector: settings.detector, scratch: Scratch::new(), outside: runtime.zip(presidio) })
    }

    /// What is private in a text.
    ///
    /// # Errors
    /// There is no answer.
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
