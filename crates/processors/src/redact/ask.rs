//! Selects the texts of a batch to send to an external recogniser, and decides what happens to each text without an
//! answer. The redaction pass itself selects the texts, so that the selection and the check for answers cannot differ.
//!
//! Listing has no visible effects and counts nothing. A selected text without an answer is never forwarded. The
//! recogniser is called in the crate `recogniser`, waiting is done in `pipeline/inquiry`, and findings are located in
//! `redaction/recognised`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use genai::Role;
use otlp::{Field, PlaceKind};
use pipeline::{Answer, Batch, Inquiry, Reason};
use recogniser::{Answers, OnError, Recognise};
use redaction::recognised::Named;
use telemetry::{Counter, Meter, names};

use super::config::Mode;
use super::policy::Treatment;
use super::{Counters, Redact, Visit, Worker, points_of};

/// How the pass uses the external recogniser.
#[derive(Clone, Copy)]
pub(super) enum Asked<'a> {
    /// No recogniser applies to these texts.
    Nobody,
    /// Only list the texts to ask about.
    List(&'a Listed),
    /// Listing pass, at a place that is not asked about: do nothing.
    Skip,
    /// Use these answers.
    Told(&'a Answers),
}

impl Asked<'_> {
    /// The mode for a place of this kind. Names of spans, events and metrics are not asked about, because dashboards
    /// group by them, and descriptions hold no personal data.
    pub(super) fn at(self, kind: PlaceKind) -> Self {
        match kind {
            PlaceKind::Key | PlaceKind::Value | PlaceKind::BytesValue | PlaceKind::Body => self,
            PlaceKind::Field(Field::StatusMessage) => self,
            _ if matches!(self, Self::List(_)) => Self::Skip,
            _ => Self::Nobody,
        }
    }
}

/// Texts to ask about, without duplicates, in batch order.
#[derive(Default)]
pub(super) struct Listed(RefCell<List>);

#[derive(Default)]
struct List {
    seen: HashSet<Arc<str>>,
    texts: Vec<Arc<str>>,
}

impl Listed {
    fn add(&self, text: &str) {
        let list = &mut *self.0.borrow_mut();
        if !list.seen.contains(text) {
            let text: Arc<str> = text.into();
            list.seen.insert(Arc::clone(&text));
            list.texts.push(text);
        }
    }
}

/// The recogniser's result for one text.
pub(super) enum Outside<'a> {
    /// Its findings, possibly none.
    Named(&'a [Named]),
    /// The text has yet to be asked about.
    Later,
    /// The text should have been asked about, but has no answer.
    Unknown,
}

/// The recogniser of a processor.
pub(super) struct Asking {
    recogniser: Arc<dyn Recognise>,
    /// A copy of the processor without counters, used for listing.
    lister: Box<Redact>,
    held: Counter,
}

impl Redact {
    /// Adds a recogniser. Without one, texts that the settings would ask about become `[UNSCANNED]`.
    #[must_use]
    pub fn with_recogniser(mut self, recogniser: Arc<dyn Recognise>, meter: &Meter) -> Self {
        let lister = Self {
            id: Arc::clone(&self.id),
            settings: self.settings.clone(),
            vocabulary: Arc::clone(&self.vocabulary),
            ids: Arc::clone(&self.ids),
            workers: parking_lot::Mutex::default(),
            counters: Counters::new(&self.id, &self.settings, &Meter::new()),
            asking: None,
        };
        let held = meter.counter(&names::RECOGNISER_HELD, &[("processor", &*self.id)]);
        self.asking = Some(Asking { recogniser, lister: Box::new(lister), held });
        self
    }

    pub(super) fn inquiry(&self, batch: &mut Batch) -> Option<Inquiry> {
        let (settings, asking) = (self.settings.recogniser.as_ref()?, self.asking.as_ref()?);
        let texts = asking.lister.texts(batch);
        if texts.is_empty() {
            return None;
        }
        // In audit mode nothing is held back.
        let hold = settings.on_error == OnError::Hold && self.settings.mode == Mode::Enforce;
        let (answers, held) =
            (asking.recogniser.ask(Arc::clone(&batch.origin.account), texts.clone()), asking.held.clone());
        Some(Box::pin(async move {
            let answers = answers.await;
            if hold && texts.iter().any(|text| answers.of(text).is_none()) {
                held.increment(1);
                return Err(Reason::Held);
            }
            Ok(Arc::new(answers) as Answer)
        }))
    }

    /// The texts of a batch to ask about. The batch is restored afterwards.
    fn texts(&self, batch: &mut Batch) -> Vec<Arc<str>> {
        let (listed, mut worker) = (Listed::default(), self.workers.lock().pop().unwrap_or_default());
        let payload = batch.payload.clone();
        self.drop_attributes(batch, &mut worker);
        self.redact_texts(batch, &points_of(batch), Asked::List(&listed), &mut worker);
        batch.payload = payload;
        self.workers.lock().push(Worker {
            shown: super::Shown::default(),
            lengths: super::Lengths::default(),
            ..worker
        });
        listed.0.into_inner().texts
    }

    /// The recogniser's result for a text under `key`, before the rules are applied.
    pub(super) fn outside<'a>(
        &self,
        visit: &Visit<'a>,
        (treatment, key): (Treatment, &str),
        text: &str,
    ) -> Outside<'a> {
        let Some(settings) = &self.settings.recogniser else { return Outside::Named(&[]) };
        match visit.asked {
            Asked::Nobody => Outside::Named(&[]),
            Asked::Skip => Outside::Later,
            Asked::List(listed) => {
                if self.wants(treatment, key, text) && text.len() <= settings.max_text {
                    listed.add(text);
                }
                Outside::Later
            }
            Asked::Told(answers) => match answers.of(text) {
                Some(named) => Outside::Named(named),
                None if self.wants(treatment, key, text) => {
                    self.counters.unanswered.increment(1);
                    Outside::Unknown
                }
                None => Outside::Named(&[]),
            },
        }
    }

    /// Whether a text may contain names: prose that its key does not declare an id, a version or a label.
    fn wants(&self, treatment: Treatment, key: &str, text: &str) -> bool {
        let free = matches!(treatment, Treatment::Scan | Treatment::ErrorText | Treatment::Path);
        free && is_prose(text) && (key.is_empty() || self.vocabulary.role(key) != Role::Label)
    }
}

/// Returns true if a text has several words, or letters of a script without blanks.
fn is_prose(text: &str) -> bool {
    let text = text.trim();
    let (mut letters, mut blank, mut foreign) = (0_usize, false, false);
    for char in text.chars() {
        letters += usize::from(char.is_alphabetic());
        blank |= char.is_whitespace();
        foreign |= !char.is_ascii() && char.is_alphabetic();
        if letters >= LETTERS && (blank || foreign) {
            return true;
        }
    }
    false
}

/// Minimum number of letters.
const LETTERS: usize = 2;
