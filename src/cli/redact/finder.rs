//! [`PrivateTextFinder`]: applies the rules of a configuration, and its recogniser if there is one, to one text at a
//! time. Without an answer of the recogniser, the text has no result. Every text is sent; a gateway selects the texts
//! in `processors/redact/recogniser_texts`.

use std::sync::Arc;

use tokio::runtime::Runtime;

use ::recogniser::{PresidioClient, TextRecogniser};
use command::error::CommandError;
use command::tasks::{self, command_services};
use config::env;
use net::ProxyRules;
use processors::redact::RedactSettings;
use redaction::{Detector, RedactionHit, SearchScratch};

/// Rules and recogniser of one configuration.
pub(super) struct PrivateTextFinder {
    pub(super) detector: Arc<Detector>,
    scratch: SearchScratch,
    recogniser: Option<(Runtime, PresidioClient)>,
}

/// The error if the recogniser does not answer.
const NO_ANSWER: &str = "the external recogniser did not answer";

impl PrivateTextFinder {
    /// A finder for these settings.
    ///
    /// # Errors
    /// The recogniser's client can't be built.
    pub(super) fn new(settings: RedactSettings) -> Result<Self, CommandError> {
        let recogniser = settings.recogniser.map(build_recogniser).transpose()?;
        Ok(Self { detector: settings.detector, scratch: SearchScratch::new(), recogniser })
    }

    /// Finds private parts of a text.
    ///
    /// # Errors
    /// The recogniser does not answer.
    pub(super) fn find(&mut self, text: &str) -> Result<&[RedactionHit], &'static str> {
        let Some((runtime, presidio)) = &self.recogniser else {
            return Ok(self.detector.find(text, &mut self.scratch));
        };
        if text.is_empty() {
            return Ok(&[]);
        }
        let answers = runtime.block_on(presidio.recognise("default".into(), vec![text.into()]));
        let entities = answers.findings(text).ok_or(NO_ANSWER)?;
        Ok(self.detector.find_with_entities("", text, entities, &mut self.scratch))
    }
}

fn build_recogniser(settings: ::recogniser::Settings) -> Result<(Runtime, PresidioClient), CommandError> {
    let runtime = tasks::build_runtime(1).map_err(|error| format!("can't start threads: {}", error.kind()))?;
    let proxies = ProxyRules::from_env(&env::var).map_err(|error| error.to_string())?;
    Ok((runtime, PresidioClient::build("redact".into(), settings, command_services(proxies))?))
}
