//! Selects the texts of a batch to send to an external recogniser, and closes each text that has no answer. The
//! redaction pass itself lists the texts, so that the list and the check for answers cannot differ.
//!
//! Listing restores the batch and counts nothing. A text that needs an answer and has none is never forwarded. The
//! recogniser is called in the crate `recogniser`, waiting is done in `pipeline/inquiry`, and findings are located in
//! `redaction/recognised`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use genai::KeyRole;
use otlp::TextPlaceKind;
use pipeline::{Batch, Inquiry, InquiryAnswer, Reason};
use recogniser::{OnRecogniserError, RecogniserAnswers, TextRecogniser};
use redaction::recognised::EntityHit;
use telemetry::{Counter, Meter, names};

use super::config::RedactMode;
use super::policy::Treatment;
use super::{PlaceContext, RedactProcessor, WorkerBuffers, data_points_of, has_cap};

/// How the pass uses the external recogniser.
#[derive(Clone, Copy)]
pub(super) enum RecogniserMode<'a> {
    /// No recogniser applies to these texts.
    NoRecogniser,
    /// Only list the texts to ask about.
    List(&'a TextsToAsk),
    /// Listing pass, at a place that is not asked about: do nothing.
    Skip,
    /// Use these answers.
    Answered(&'a RecogniserAnswers),
}

impl RecogniserMode<'_> {
    /// The mode for a place of this kind. Names of spans, events and metrics are not asked about, because dashboards
    /// group by them, and descriptions hold no personal data.
    pub(super) fn for_place(self, kind: TextPlaceKind) -> Self {
        match kind {
            TextPlaceKind::Key => self,
            _ if has_cap(kind) => self,
            _ if matches!(self, Self::List(_)) => Self::Skip,
            _ => Self::NoRecogniser,
        }
    }
}

/// Texts to ask about, without duplicates, in batch order.
#[derive(Default)]
pub(super) struct TextsToAsk(RefCell<UniqueTexts>);

#[derive(Default)]
struct UniqueTexts {
    seen: HashSet<Arc<str>>,
    texts: Vec<Arc<str>>,
}

impl TextsToAsk {
    fn add(&self, text: &str) {
        let unique = &mut *self.0.borrow_mut();
        if !unique.seen.contains(text) {
            let text: Arc<str> = text.into();
            unique.seen.insert(Arc::clone(&text));
            unique.texts.push(text);
        }
    }
}

pub(super) enum RecogniserResult<'a> {
    /// Its findings, possibly none.
    Findings(&'a [EntityHit]),
    /// The text has yet to be asked about.
    Pending,
    /// The text should have been asked about, but has no answer.
    Unanswered,
}

pub(super) struct ConfiguredRecogniser {
    recogniser: Arc<dyn TextRecogniser>,
    /// A copy of the processor with counters of its own, used for listing.
    lister: Box<RedactProcessor>,
    held_requests: Counter,
}

impl RedactProcessor {
    /// Adds a recogniser. Without one, texts that the settings would ask about become `[UNSCANNED]`.
    #[must_use]
    pub fn with_recogniser(mut self, recogniser: Arc<dyn TextRecogniser>, meter: &Meter) -> Self {
        let (id, vocabulary, ids) = (Arc::clone(&self.id), Arc::clone(&self.vocabulary), Arc::clone(&self.ids));
        let lister = Self::new(id, self.settings.clone(), vocabulary, ids, &Meter::new());
        let held_requests = meter.counter(&names::RECOGNISER_HELD, &[("processor", &*self.id)]);
        self.recogniser = Some(ConfiguredRecogniser { recogniser, lister: Box::new(lister), held_requests });
        self
    }

    /// The question for this batch. `None` without a recogniser or without texts to ask about.
    pub(super) fn build_inquiry(&self, batch: &mut Batch) -> Option<Inquiry> {
        let (settings, configured) = (self.settings.recogniser.as_ref()?, self.recogniser.as_ref()?);
        let texts = configured.lister.texts_to_ask(batch);
        if texts.is_empty() {
            return None;
        }
        // In audit mode nothing is held back.
        let holds_batch =
            settings.config.on_error == OnRecogniserError::Hold && self.settings.config.mode == RedactMode::Enforce;
        let answers = configured.recogniser.recognise(Arc::clone(&batch.origin.account), texts.clone());
        let held_requests = configured.held_requests.clone();
        Some(Box::pin(async move {
            let answers = answers.await;
            if holds_batch && texts.iter().any(|text| answers.findings(text).is_none()) {
                held_requests.increment(1);
                return Err(Reason::RecogniserUnavailable);
            }
            Ok(Arc::new(answers) as InquiryAnswer)
        }))
    }

    /// The texts of a batch to ask about. The batch is restored afterwards.
    fn texts_to_ask(&self, batch: &mut Batch) -> Vec<Arc<str>> {
        let (listed, mut worker) = (TextsToAsk::default(), self.workers.lock().pop().unwrap_or_default());
        let payload = batch.payload.clone();
        self.drop_attributes(batch, &mut worker);
        self.redact_texts(batch, &data_points_of(batch), RecogniserMode::List(&listed), &mut worker);
        batch.payload = payload;
        self.workers.lock().push(WorkerBuffers {
            redacted_ids: super::RedactedIds::default(),
            lengths: super::FindingLengths::default(),
            ..worker
        });
        listed.0.into_inner().texts
    }

    /// The recogniser's result for a text under `key`, before the rules are applied.
    pub(super) fn recogniser_result<'a>(
        &self,
        context: &PlaceContext<'a>,
        (treatment, key): (Treatment, &str),
        text: &str,
    ) -> RecogniserResult<'a> {
        let Some(settings) = &self.settings.recogniser else { return RecogniserResult::Findings(&[]) };
        match context.recogniser_mode {
            RecogniserMode::NoRecogniser => RecogniserResult::Findings(&[]),
            RecogniserMode::Skip => RecogniserResult::Pending,
            RecogniserMode::List(listed) => {
                if self.may_contain_names(treatment, key, text) && text.len() as u64 <= settings.config.max_text_bytes.0
                {
                    listed.add(text);
                }
                RecogniserResult::Pending
            }
            RecogniserMode::Answered(answers) => match answers.findings(text) {
                Some(findings) => RecogniserResult::Findings(findings),
                None if self.may_contain_names(treatment, key, text) => {
                    self.counters.unanswered.increment(1);
                    RecogniserResult::Unanswered
                }
                None => RecogniserResult::Findings(&[]),
            },
        }
    }

    /// Returns true for prose, unless its key declares it an id, a version or a label.
    fn may_contain_names(&self, treatment: Treatment, key: &str, text: &str) -> bool {
        let is_free_text = matches!(treatment, Treatment::Scan | Treatment::ErrorText | Treatment::Path);
        is_free_text && is_prose(text) && (key.is_empty() || self.vocabulary.role(key) != KeyRole::Label)
    }
}

/// Minimum number of letters in prose.
const MIN_LETTERS: usize = 2;

/// Returns true if a text has letters, and a blank or a letter beyond ASCII (whose script may need no blanks).
fn is_prose(text: &str) -> bool {
    let (mut letters, mut has_blank, mut has_foreign_letter) = (0_usize, false, false);
    for char in text.trim().chars() {
        letters += usize::from(char.is_alphabetic());
        has_blank |= char.is_whitespace();
        has_foreign_letter |= !char.is_ascii() && char.is_alphabetic();
        if letters >= MIN_LETTERS && (has_blank || has_foreign_letter) {
            return true;
        }
    }
    false
}
