//! The `redact` processor: visits every text in a batch and puts placeholders where the redaction rules match, because
//! forwarded telemetry may be read by on-call engineers who should not see customer data.
//!
//! Every text place is visited (tested by the completeness test of `otlp`). Credentials are dropped, ids become keyed
//! pseudonyms, private numbers become placeholders and other numbers stay; bytes that are not text are removed, except
//! ids. Only this step raises the text clearance. Rules and matching are in the crate `redaction`; content is handled
//! in `processors/vault`.

mod across;
mod ask;
mod config;
mod fields;
mod left;
mod lengths;
mod numbers;
mod people;
mod policy;
mod slug;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

pub use config::{
    Config, ContentPolicy, ERROR_TEXT, Form, Mode, PrivateAddresses, RuleOptions, SCAN, Settings, UserIds,
};

use ask::{Asked, Asking, Outside};
use echoes::Echoes;
use genai::{Vocabulary, carried_id};
use kernel::pseudonym::IdPolicy;
use lengths::Lengths;
use otlp::{AttrId, Field, Node, NodeKind, OwnedValue, Place, PlaceKind, Signal, TextEdit};
use pipeline::{Batch, Content, Inquiry, Processor, Reason, Text};
use policy::{Treatment, cap, cap_error, hide_home, is_opaque, treatment};
use recogniser::Answers;
use redaction::{Class, Hit, Scratch, is_id_bytes, replace};
use slug::SLUG;
use telemetry::{Counter, Meter, names};

/// The `redact` processor.
pub struct Redact {
    id: Arc<str>,
    settings: Settings,
    vocabulary: Arc<Vocabulary>,
    ids: Arc<dyn IdPolicy>,
    workers: Mutex<Vec<Worker>>,
    counters: Counters,
    /// The external recogniser, if one is configured.
    asking: Option<Asking>,
}

/// Buffers and caches that a worker reuses.
#[derive(Default)]
struct Worker {
    scratch: Scratch,
    /// Cached treatment of each key, and whether it is listed as content. Cleared when full, so that made-up keys do
    /// not use memory for long.
    treatments: HashMap<Box<str>, (Treatment, bool)>,
    /// The signal that the cached treatments apply to.
    signal: Option<Signal>,
    /// Redacted forms of this batch's ids, which occur on every item.
    shown: Shown,
    /// Findings in this batch, if items record their lengths.
    lengths: Lengths,
    /// Values learned from this batch's texts, by node.
    told: across::ByNode,
}

/// Ids with their redacted forms (`None`: unchanged): ids that are not private, private ids.
type Shown = [HashMap<Box<str>, Option<Box<str>>>; 2];

/// Maximum number of cached keys.
const MAX_TREATMENTS: usize = 4096;

impl Worker {
    fn treatment(&mut self, vocabulary: &Vocabulary, signal: Signal, key: &str) -> Treatment {
        self.known(vocabulary, signal, key).0
    }

    /// The treatment of a key, and whether it is listed as content.
    fn known(&mut self, vocabulary: &Vocabulary, signal: Signal, key: &str) -> (Treatment, bool) {
        if self.signal != Some(signal) || self.treatments.len() >= MAX_TREATMENTS {
            self.treatments.clear();
            self.signal = Some(signal);
        }
        if let Some(known) = self.treatments.get(key) {
            return *known;
        }
        let known = (treatment(vocabulary, signal, key), vocabulary.content_part(key).is_some());
        self.treatments.insert(key.into(), known);
        known
    }
}

struct Counters {
    /// By signal, then by rule.
    redactions: HashMap<Signal, Vec<Counter>>,
    /// By signal and place.
    places: HashMap<(Signal, &'static str), Counter>,
    dropped: HashMap<Signal, Counter>,
    cut: HashMap<Signal, Counter>,
    unscanned: HashMap<Signal, Counter>,
    echoes: HashMap<Signal, Counter>,
    /// Texts that the recogniser did not answer.
    unanswered: Counter,
}

impl Counters {
    fn new(id: &str, settings: &Settings, meter: &Meter) -> Self {
        let by_signal = |def| {
            let counter = |signal: Signal| (signal, meter.counter(def, &[("signal", signal.as_str())]));
            Signal::ALL.into_iter().map(counter).collect()
        };
        let by_rule = |signal: Signal| {
            let counter =
                |rule: &Arc<str>| meter.counter(&names::REDACTIONS, &[("rule", &**rule), ("signal", signal.as_str())]);
            (signal, settings.detector.rule_names().map(counter).collect())
        };
        let places = Signal::ALL.into_iter().flat_map(|signal| PLACES.map(|place| (signal, place)));
        let by_place = |(signal, place): (Signal, &'static str)| {
            let labels = [("signal", signal.as_str()), ("place", place)];
            ((signal, place), meter.counter(&names::REDACTIONS_BY_PLACE, &labels))
        };
        Self {
            redactions: Signal::ALL.into_iter().map(by_rule).collect(),
            places: places.map(by_place).collect(),
            dropped: by_signal(&names::REDACT_DROPPED_ATTRIBUTES),
            cut: by_signal(&names::REDACT_CUT_VALUES),
            unscanned: by_signal(&names::REDACT_UNSCANNED_VALUES),
            echoes: by_signal(&names::REDACT_ECHOES),
            unanswered: meter.counter(&names::RECOGNISER_UNSCANNED, &[("processor", id)]),
        }
    }
}

/// Kinds of places, as metric labels.
const PLACES: [&str; 6] = ["key", "value", "body", "name", "status", "other"];

fn named(kind: PlaceKind) -> &'static str {
    match kind {
        PlaceKind::Key => "key",
        PlaceKind::Value | PlaceKind::BytesValue | PlaceKind::Binary | PlaceKind::Entry { .. } => "value",
        PlaceKind::Body => "body",
        PlaceKind::Field(Field::Name | Field::EventName) => "name",
        PlaceKind::Field(Field::StatusMessage) => "status",
        PlaceKind::Field(_) | PlaceKind::Other => "other",
    }
}

/// The settings that apply to all texts of one place.
struct Visit<'a> {
    account: &'a str,
    /// The node that holds the text, if the lengths of findings are recorded on it.
    node: Option<Node>,
    /// The node that holds the text, if values learned from the text are kept for its item.
    tells: Option<Node>,
    signal: Signal,
    /// One of [`PLACES`].
    place: &'static str,
    /// Placeholders carry a pseudonym.
    keyed: bool,
    /// Texts that repeat content.
    echoes: Option<&'a Echoes>,
    /// Results of the external recogniser.
    asked: Asked<'a>,
}

/// Replacement for texts that could not be searched and for bytes that are not text.
const UNSCANNED: &str = "[UNSCANNED]";

impl Redact {
    /// Creates the processor with compiled rules. `ids` also decides the form of ids in the vault's index and object
    /// names.
    pub fn new(
        id: Arc<str>,
        settings: Settings,
        vocabulary: Arc<Vocabulary>,
        ids: Arc<dyn IdPolicy>,
        meter: &Meter,
    ) -> Self {
        let counters = Counters::new(&id, &settings, meter);
        Self { id, settings, vocabulary, ids, workers: Mutex::default(), counters, asking: None }
    }

    /// Removes credentials on every signal, and content keys on metrics, which have no vault step.
    fn drop_attributes(&self, batch: &mut Batch, worker: &mut Worker) {
        let signal = batch.payload.signal();
        let mut doomed: Vec<AttrId> = Vec::new();
        for node in batch.payload.nodes() {
            for attribute in batch.payload.attributes(node) {
                if worker.treatment(&self.vocabulary, signal, attribute.key) == Treatment::Drop {
                    doomed.push(attribute.id);
                }
            }
        }
        if let Some(counter) = self.counters.dropped.get(&signal) {
            counter.increment(doomed.len() as u64);
        }
        for id in doomed {
            batch.payload.remove_attribute(id);
        }
    }

    fn redact_texts(&self, batch: &mut Batch, points: &HashSet<Node>, asked: Asked<'_>, worker: &mut Worker) {
        let signal = batch.payload.signal();
        let account = Arc::clone(&batch.origin.account);
        let echoes = echoes_of(batch);
        let place = named(PlaceKind::Value);
        let content =
            Visit { account: &account, node: None, tells: None, signal, place, keyed: false, echoes: None, asked };
        let done = self.left(batch, &content, worker);
        batch.payload.edit_text(|place, text| {
            if !done.is_empty() && place.kind != PlaceKind::Key && is_done(&done, place) {
                return TextEdit::Keep;
            }
            let visit = Visit {
                account: &account,
                node: self.settings.record_lengths.then_some(place.node),
                signal,
                place: named(place.kind),
                tells: Some(place.node),
                keyed: points.contains(&place.node),
                echoes: echoes.as_deref(),
                asked: asked.at(place.kind),
            };
            match place.kind {
                PlaceKind::Entry { number } => return self.entry(&visit, place.path_key, number, worker),
                PlaceKind::Binary => return self.binary(&visit, place),
                _ => {}
            }
            match self.redact_text(&visit, place, text, worker) {
                Some(replacement) => TextEdit::Replace(replacement),
                None => TextEdit::Keep,
            }
        });
        self.carry_over(batch, &content, &done, worker);
    }

    /// Decides about a map entry, which is not an attribute of its own. Credentials and content are removed here
    /// whether they are text, numbers or bytes.
    fn entry(&self, visit: &Visit<'_>, key: &str, number: bool, worker: &mut Worker) -> TextEdit {
        let (treatment, content) = worker.known(&self.vocabulary, visit.signal, key);
        // Listed content belongs in the vault, but below another key the vault step did not take it.
        let content = content && self.settings.content == ContentPolicy::Vault;
        if treatment == Treatment::Drop || (content && !number) {
            self.counters.dropped.get(&visit.signal).into_iter().for_each(|counter| counter.increment(1));
            return TextEdit::Remove;
        }
        TextEdit::Keep
    }

    /// Removes bytes that the rules cannot search, unless they are an id.
    fn binary(&self, visit: &Visit<'_>, place: &Place<'_>) -> TextEdit {
        if is_id_bytes(place.bytes) {
            return TextEdit::Keep;
        }
        self.counters.unscanned.get(&visit.signal).into_iter().for_each(|counter| counter.increment(1));
        TextEdit::Replace(UNSCANNED.to_owned())
    }

    /// The replacement for `text`, if it changes.
    fn redact_text(&self, visit: &Visit<'_>, place: &Place<'_>, text: &str, worker: &mut Worker) -> Option<String> {
        let (treatment, key) = self.under(visit.signal, place, worker);
        let attribute = matches!(place.kind, PlaceKind::Value | PlaceKind::BytesValue);
        // The same text may be a quotation in an error, but legitimate in a statement under its own key.
        let echo = visit.echoes.and_then(|echoes| echoes.of(text));
        let echo = echo.filter(|_| !attribute || self.vocabulary.may_repeat(place.key));
        if echo.is_some() {
            self.counters.echoes.get(&visit.signal).into_iter().for_each(|counter| counter.increment(1));
        }
        let text_now = echo.unwrap_or(text);
        let body = attribute || place.kind == PlaceKind::Body;
        let people = if body && treatment == Treatment::Scan { self.people(visit, text_now, worker) } else { None };
        let changed = self.by_rules(visit, (treatment, key), people.as_deref().unwrap_or(text_now), worker);
        let changed = changed.or(people).or_else(|| echo.map(str::to_owned));
        self.cut(visit, place.kind, treatment, changed.as_deref().unwrap_or(text)).or(changed)
    }

    /// The treatment of a place's text, and its key ("" = none).
    fn under<'p>(&self, signal: Signal, place: &Place<'p>, worker: &mut Worker) -> (Treatment, &'p str) {
        match place.kind {
            PlaceKind::Value | PlaceKind::BytesValue | PlaceKind::Body => {
                (self.treatment(signal, place, worker), place.path_key)
            }
            PlaceKind::Field(Field::StatusMessage) => (Treatment::ErrorText, ""),
            _ => (Treatment::Scan, ""),
        }
    }

    /// Cuts a value or status to its cap if it is longer.
    fn cut(&self, visit: &Visit<'_>, kind: PlaceKind, treatment: Treatment, whole: &str) -> Option<String> {
        let cut = match kind {
            PlaceKind::Value | PlaceKind::BytesValue | PlaceKind::Body | PlaceKind::Field(Field::StatusMessage) => {
                match treatment {
                    Treatment::ErrorText => cap_error(whole, self.settings.max_error_text),
                    _ => cap(whole, self.settings.max_value),
                }
            }
            _ => None,
        };
        if cut.is_some() {
            self.counters.cut.get(&visit.signal).into_iter().for_each(|counter| counter.increment(1));
        }
        cut
    }

    /// The treatment of a place. A value inside a structured error text is error text too.
    fn treatment(&self, signal: Signal, place: &Place<'_>, worker: &mut Worker) -> Treatment {
        let own = worker.treatment(&self.vocabulary, signal, place.path_key);
        let inside = own == Treatment::Scan && place.path_key != place.key && !place.key.is_empty();
        match inside && worker.treatment(&self.vocabulary, signal, place.key) == Treatment::ErrorText {
            true => Treatment::ErrorText,
            false => own,
        }
    }

    /// Applies the rules to a text under a key. `None` if nothing changes.
    fn by_rules(
        &self,
        visit: &Visit<'_>,
        (treatment, key): (Treatment, &str),
        text: &str,
        worker: &mut Worker,
    ) -> Option<String> {
        if text.len() > self.settings.max_scan {
            return self.unscanned(visit, treatment, text, worker);
        }
        let named = match self.outside(visit, (treatment, key), text) {
            Outside::Named(named) => named,
            Outside::Later => return None,
            Outside::Unknown => return Some(UNSCANNED.to_owned()),
        };
        let hits = self.settings.detector.find_with(key, text, named, &mut worker.scratch);
        let shapes_only = |hits: &[Hit]| hits.iter().all(|hit| self.settings.detector.class(hit) == Class::Shape);
        let hits = if treatment == Treatment::Version && shapes_only(hits) { &[] } else { hits };
        self.count(visit, hits);
        visit.node.into_iter().for_each(|node| worker.lengths.add(node, hits));
        if let Some(node) = visit.tells.filter(|_| !hits.is_empty()) {
            self.settings.detector.tell(text, hits, worker.told.entry(node).or_default());
        }
        let person = treatment == Treatment::Person;
        if person || treatment == Treatment::Identity {
            let named = person && self.settings.user_ids == UserIds::Pseudonym && !is_opaque(&carried_id(text));
            let private = !hits.is_empty() || named;
            return self.shown(visit.account, text, private, &mut worker.shown);
        }
        let changed = self.written(visit, text, hits);
        if treatment == Treatment::Path {
            return hide_home(changed.as_deref().unwrap_or(text)).or(changed);
        }
        changed
    }

    /// The text with its hits replaced by placeholders. `None` without hits.
    fn written(&self, visit: &Visit<'_>, text: &str, hits: &[Hit]) -> Option<String> {
        match hits.iter().find(|hit| self.form(hit) == Form::Drop) {
            _ if hits.is_empty() => None,
            Some(hit) => Some(self.settings.detector.placeholder(hit).to_owned()),
            None => Some(replace(text, hits, &mut |hit, found, out| self.place(visit, hit, found, out))),
        }
    }

    /// The replacement for a text that is too long to search.
    fn unscanned(&self, visit: &Visit<'_>, treatment: Treatment, text: &str, worker: &mut Worker) -> Option<String> {
        self.counters.unscanned.get(&visit.signal).into_iter().for_each(|counter| counter.increment(1));
        visit.node.into_iter().for_each(|node| worker.lengths.add_unscanned(node, text.len()));
        match treatment {
            Treatment::Identity | Treatment::Person => self.shown(visit.account, text, true, &mut worker.shown),
            _ => Some(UNSCANNED.to_owned()),
        }
    }

    /// The redacted form of an id, if it differs from the id itself.
    fn shown(&self, account: &str, text: &str, private: bool, known: &mut Shown) -> Option<String> {
        let id = carried_id(text);
        let form = || match self.ids.shown(account, &id) {
            shown if *shown != *text => Some(shown.into()),
            _ => private.then(|| self.ids.pseudonym(account, &id).into()),
        };
        let [public, secret] = known;
        let known = if private { secret } else { public };
        let shown = match known.get(text) {
            Some(shown) => shown.clone(),
            None => known.entry(text.into()).or_insert_with(form).clone(),
        };
        shown.map(String::from)
    }

    fn count(&self, visit: &Visit<'_>, hits: &[Hit]) {
        if hits.is_empty() {
            return;
        }
        if let Some(counters) = self.counters.redactions.get(&visit.signal) {
            hits.iter().filter_map(|hit| counters.get(hit.rule())).for_each(|counter| counter.increment(1));
        }
        let place = self.counters.places.get(&(visit.signal, visit.place));
        place.into_iter().for_each(|counter| counter.increment(hits.len() as u64));
        if hits.iter().any(|hit| self.settings.detector.is_unscanned(hit)) {
            self.counters.unscanned.get(&visit.signal).into_iter().for_each(|counter| counter.increment(1));
        }
    }

    fn form(&self, hit: &Hit) -> Form {
        self.settings.forms.get(hit.rule()).copied().unwrap_or_default()
    }

    /// Writes the placeholder for a hit. On data points it carries a keyed pseudonym, because a shared placeholder
    /// would merge series.
    fn place(&self, visit: &Visit<'_>, hit: &Hit, found: &str, out: &mut String) {
        let placeholder = self.settings.detector.placeholder(hit);
        if !visit.keyed && self.form(hit) != Form::Pseudonym {
            out.push_str(placeholder);
            return;
        }
        let pseudonym = self.ids.pseudonym(visit.account, found);
        out.push_str(placeholder.trim_end_matches(']'));
        out.push(':');
        // `h-` and 16 hex digits: the placeholder's grammar.
        out.push_str(pseudonym.get(..18).unwrap_or(&pseudonym));
        out.push(']');
    }
}

/// Data points and exemplars, whose placeholders carry a pseudonym.
fn points_of(batch: &Batch) -> HashSet<Node> {
    let point = |node: &Node| matches!(batch.payload.kind(*node), NodeKind::DataPoint | NodeKind::Exemplar);
    match batch.payload.signal() {
        Signal::Metrics => batch.payload.nodes().filter(point).collect(),
        _ => HashSet::new(),
    }
}

/// Returns true if a place lies inside a value that was already redacted as structure.
fn is_done(done: &left::Done, place: &Place<'_>) -> bool {
    let inside = !matches!(place.kind, PlaceKind::Field(_) | PlaceKind::Other);
    inside && done.contains(&(place.node, place.attribute))
}

/// The texts that repeat content, as found by the step that removed the content.
fn echoes_of(batch: &Batch) -> Option<Arc<Echoes>> {
    batch.echoes.clone().and_then(|echoes| echoes.downcast::<Echoes>().ok())
}

impl Processor for Redact {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn inquire(&self, batch: &mut Batch) -> Option<Inquiry> {
        self.inquiry(batch)
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        if self.settings.mode == Mode::Audit {
            // Audit mode: redact and count everything, then restore the batch.
            let (payload, clearance) = (batch.payload.clone(), batch.clearance);
            let done = self.enforce(batch);
            (batch.payload, batch.clearance) = (payload, clearance);
            return done;
        }
        self.enforce(batch)
    }
}

impl Redact {
    fn enforce(&self, batch: &mut Batch) -> Result<(), Reason> {
        let mut worker = self.workers.lock().pop().unwrap_or_default();
        let answer = batch.answer.take();
        let (answers, none) = (answer.as_ref().and_then(|answer| answer.downcast_ref::<Answers>()), Answers::default());
        let asked = match self.settings.recogniser {
            Some(_) => Asked::Told(answers.unwrap_or(&none)),
            None => Asked::Nobody,
        };
        self.drop_attributes(batch, &mut worker);
        let closed = fields::close(&mut batch.payload);
        self.counters.unscanned.get(&batch.payload.signal()).into_iter().for_each(|counter| counter.increment(closed));
        let slugs = self.slugs(batch, asked, &mut worker);
        let points = points_of(batch);
        self.redact_texts(batch, &points, asked, &mut worker);
        self.numbers(batch, &points, &mut worker);
        worker.shown = Shown::default();
        std::mem::take(&mut worker.lengths).write(&mut batch.payload, &self.settings.detector);
        // Set after redaction, because digits of a digest could look like a private number.
        for (node, slug) in slugs {
            batch.payload.set(node, SLUG, OwnedValue::Str(slug));
        }
        self.workers.lock().push(worker);
        batch.clearance.text = Text::Redacted;
        // Content that the user allowed counts as cleared.
        if batch.payload.signal() == Signal::Metrics || self.settings.content == ContentPolicy::Allow {
            batch.clearance.content = Content::Stripped;
        }
        Ok(())
    }
}
