//! **What**: which texts of a batch an external recogniser is asked about, and what becomes of each without its answer.
//! **Why**: the same walk decides what is asked and what needs an answer, so that no text slips between the two.
//! **Invariants**: listing changes nothing that shows and counts nothing; a text that is to be asked about and has no
//! answer never stays. **Not here**: calling (`recogniser`), waiting (`pipeline/inquiry`), where findings lie
//! (`redaction/recognised`).

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

/// What is known from outside.
#[derive(Clone, Copy)]
pub(super) enum Asked<'a> {
    /// Nobody is asked about these texts.
    Nobody,
    /// Those to be asked about are listed, and nothing else is done with any.
    List(&'a Listed),
    /// The same where nobody is asked: nothing is done.
    Skip,
    /// What was answered.
    Told(&'a Answers),
}

impl Asked<'_> {
    /// The same where it holds for texts of such a place. Names of spans, events and metrics are what dashboards group
    /// by, descriptions are nobody's data.
    pub(super) fn at(self, kind: PlaceKind) -> Self {
        match kind {
            PlaceKind::Key | PlaceKind::Value | PlaceKind::BytesValue | PlaceKind::Body => self,
            PlaceKind::Field(Field::StatusMessage) => self,
            _ if matches!(self, Self::List(_)) => Self::Skip,
            _ => Self::Nobody,
        }
    }
}

/// Texts to be asked about, each once, in the order of the batch.
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

/// What the recogniser says about one text.
pub(super) enum Outside<'a> {
    /// This, maybe nothing.
    Named(&'a [Named]),
    /// It is still to be asked.
    Later,
    /// It should have been asked, and nothing is known.
    Unknown,
}

/// A processor that asks.
pub(super) struct Asking {
    recogniser: Arc<dyn Recognise>,
    /// The same processor without counters.
    lister: Box<Redact>,
    held: Counter,
}

impl Redact {
    /// The same with somebody to ask. Without one, texts that its settings want asked about become `[UNSCANNED]`.
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
        // whoever only counts holds nothing up
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

    /// The texts of a batch that are to be asked about.
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

    /// What is known from outside about a text under `key`, before the rules look at it.
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

    /// Whether a text may hold names: not what its key says is an id, a version or a label, not single words.
    fn wants(&self, treatment: Treatment, key: &str, text: &str) -> bool {
        let free = matches!(treatment, Treatment::Scan | Treatment::ErrorText | Treatment::Path);
        free && is_prose(text) && (key.is_empty() || self.vocabulary.role(key) != Role::Label)
    }
}

/// Whether a text has several words, or letters of a script that does not part them.
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

/// Letters that a text must have.
const LETTERS: usize = 2;
