//! The `redact` processor: visits every text in a batch and puts placeholders where the redaction rules match, because
//! forwarded telemetry may be read by on-call engineers who should not see customer data.
//!
//! Every text place is visited (tested by the completeness test of `otlp`). Credentials are dropped, private ids become
//! keyed pseudonyms, private numbers become placeholders and other numbers stay; bytes that are not text are replaced,
//! except ids. Only this step raises the text clearance. Rules and matching are in the crate `redaction`; content is
//! handled in `processors/vault`.

mod config;
mod fields;
mod finding_lengths;
mod left_structure;
mod numbers;
mod person_ids;
mod policy;
mod recogniser_texts;
mod repeated_values;
mod slug;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

pub use config::{
    ContentPolicy, DEFAULT_MAX_ERROR_TEXT, DEFAULT_MAX_SCAN, PrivateAddressPolicy, RedactConfig, RedactMode,
    RedactSettings, ReplacementForm, RuleOptions, UserIdPolicy,
};

use echoes::EchoReplacements;
use finding_lengths::FindingLengths;
use genai::{ItemFacts, Vocabulary, bounded_id, cached_facts};
use kernel::CONTENT;
use kernel::bounded_map::BoundedMap;
use kernel::pseudonym::IdPolicy;
use otlp::{
    AttrId, JudgeId, NodeId, NodeKind, OwnedValue, Payload, Signal, TextEdit, TextField, TextPlace, TextPlaceKind,
    VerdictBit,
};
use pipeline::{Batch, ContentState, Inquiry, Processor, Reason, TextState};
use policy::{Treatment, cap_error_text, cap_text, hide_home_user, is_opaque, is_own_pseudonym, treatment_for_key};
use recogniser::{PresidioClient, RecogniserAnswers};
use recogniser_texts::{ConfiguredRecogniser, RecogniserMode, RecogniserResult};
use redaction::{CleanTexts, RedactionHit, SearchScratch, UNSCANNED, is_id_bytes, replace_hits};
use slug::SLUG_ATTRIBUTE;
use telemetry::{Counter, Meter, names};

use crate::removed_texts::RemovedTexts;
use crate::spec::{
    BuiltProcessor, ProcessorBuildResult, ProcessorDeps, ProcessorProfile, ProcessorSpec, ProcessorUnusable,
    RedactionProfile,
};

pub struct RedactProcessor {
    id: Arc<str>,
    settings: RedactSettings,
    vocabulary: Arc<Vocabulary>,
    ids: Arc<dyn IdPolicy>,
    workers: Mutex<Vec<WorkerBuffers>>,
    counters: RedactCounters,
    /// Gives the verdict that all of a pair stays.
    judge: JudgeId,
    /// The external recogniser, if one is configured.
    recogniser: Option<ConfiguredRecogniser>,
}

/// Buffers and caches that a worker reuses.
#[derive(Default)]
struct WorkerBuffers {
    scratch: SearchScratch,
    clean_texts: CleanTexts,
    /// Cached by key.
    key_rules: BoundedMap<Box<str>, KeyRule, MAX_KEY_RULES>,
    /// The signal that `key_rules` apply to.
    signal: Option<Signal>,
    /// The rules of this batch's attributes by [`AttrId::index`], so that a key is looked up once.
    attribute_rules: Vec<Option<KeyRule>>,
    /// Redacted forms of this batch's ids, which occur on every item.
    redacted_ids: RedactedIds,
    /// Findings in this batch, if items record their lengths.
    lengths: FindingLengths,
    /// Values learned from this batch's texts, by node.
    learned: repeated_values::LearnedByNode,
    /// A rule matched in the text that is being judged.
    has_hits: bool,
}

/// Public ids, and those that a rule or policy makes private, with their redacted forms (`None`: unchanged).
type RedactedIds = [foldhash::HashMap<Box<str>, Option<Box<str>>>; 2];

/// How values under a key are handled.
#[derive(Clone, Copy)]
struct KeyRule {
    treatment: Treatment,
    is_content: bool,
    /// It names a person, whatever the treatment.
    is_person: bool,
    /// Its values may be private because of it.
    names_private: bool,
    /// The key itself was searched, and no rule found anything in it.
    is_clean: bool,
}

/// Maximum number of cached keys.
const MAX_KEY_RULES: usize = 4096;

struct RedactCounters {
    /// By signal, then by rule.
    redactions: HashMap<Signal, Vec<Counter>>,
    places: HashMap<(Signal, &'static str), Counter>,
    dropped: HashMap<Signal, Counter>,
    cut: HashMap<Signal, Counter>,
    unscanned: HashMap<Signal, Counter>,
    echoes: HashMap<Signal, Counter>,
    /// Texts that the recogniser did not answer.
    unanswered: Counter,
}

impl RedactCounters {
    fn new(id: &str, settings: &RedactSettings, meter: &Meter) -> Self {
        let by_signal = |metric| {
            let counter = |signal: Signal| (signal, meter.counter(metric, &[("signal", signal.as_str())]));
            Signal::ALL.into_iter().map(counter).collect()
        };
        let by_rule = |signal: Signal| {
            let counter =
                |rule: &Arc<str>| meter.counter(&names::REDACTIONS, &[("rule", &**rule), ("signal", signal.as_str())]);
            (signal, settings.detector.rule_names().map(counter).collect())
        };
        let signal_places = Signal::ALL.into_iter().flat_map(|signal| PLACES.map(|place| (signal, place)));
        let by_place = |(signal, place): (Signal, &'static str)| {
            let labels = [("signal", signal.as_str()), ("place", place)];
            ((signal, place), meter.counter(&names::REDACTIONS_BY_PLACE, &labels))
        };
        Self {
            redactions: Signal::ALL.into_iter().map(by_rule).collect(),
            places: signal_places.map(by_place).collect(),
            dropped: by_signal(&names::REDACT_DROPPED_ATTRIBUTES),
            cut: by_signal(&names::REDACT_CUT_VALUES),
            unscanned: by_signal(&names::REDACT_UNSCANNED_VALUES),
            echoes: by_signal(&names::REDACT_ECHOES),
            unanswered: meter.counter(&names::RECOGNISER_UNSCANNED, &[("processor", id)]),
        }
    }

    fn count_unscanned(&self, signal: Signal, values: u64) {
        self.unscanned.get(&signal).into_iter().for_each(|counter| counter.increment(values));
    }
}

/// The rule whose hits in a version are no addresses.
const ADDRESS_RULE: &str = "ip_address";
/// Kinds of places, as metric labels.
const PLACES: [&str; 6] = ["key", "value", "body", "name", "status", "other"];

fn place_label(kind: TextPlaceKind) -> &'static str {
    match kind {
        TextPlaceKind::Key => "key",
        TextPlaceKind::Value | TextPlaceKind::BytesValue | TextPlaceKind::Binary | TextPlaceKind::Entry { .. } => {
            "value"
        }
        TextPlaceKind::Body => "body",
        TextPlaceKind::Field(TextField::Name | TextField::EventName) => "name",
        TextPlaceKind::Field(TextField::StatusMessage) => "status",
        TextPlaceKind::Field(_) | TextPlaceKind::Other => "other",
    }
}

/// The parameters of a redaction that are the same for all texts of one place.
struct PlaceContext<'a> {
    account: &'a str,
    /// The node that holds the text, if the lengths of findings are recorded on it.
    node: Option<NodeId>,
    /// The node that holds the text, if values found in it are also removed from the item's other texts.
    learn_for: Option<NodeId>,
    signal: Signal,
    place: &'static str,
    /// Whether placeholders carry a pseudonym.
    with_pseudonym: bool,
    /// Replacements for texts that repeat content.
    echoes: Option<&'a EchoReplacements>,
    /// Whether it is the text of an attribute whose pair may have a verdict.
    may_have_verdict: bool,
    /// How the external recogniser is used.
    recogniser_mode: RecogniserMode<'a>,
}

impl<'a> PlaceContext<'a> {
    /// The context of an attribute's value, of which nothing is recorded or learned.
    fn of_values(account: &'a str, signal: Signal, recogniser_mode: RecogniserMode<'a>) -> Self {
        Self {
            account,
            node: None,
            learn_for: None,
            signal,
            place: place_label(TextPlaceKind::Value),
            with_pseudonym: false,
            echoes: None,
            may_have_verdict: false,
            recogniser_mode,
        }
    }
}

impl RedactProcessor {
    /// Creates the processor with compiled rules. `ids` also decides the form of ids in the vault's index and object
    /// names.
    pub fn new(
        id: Arc<str>,
        settings: RedactSettings,
        vocabulary: Arc<Vocabulary>,
        ids: Arc<dyn IdPolicy>,
        meter: &Meter,
    ) -> Self {
        let counters = RedactCounters::new(&id, &settings, meter);
        Self {
            id,
            settings,
            vocabulary,
            ids,
            workers: Mutex::default(),
            counters,
            judge: JudgeId::unique(),
            recogniser: None,
        }
    }

    /// How values under a key are handled.
    fn key_rule(&self, signal: Signal, key: &str, worker: &mut WorkerBuffers) -> KeyRule {
        if worker.signal.replace(signal) != Some(signal) {
            worker.key_rules = BoundedMap::default();
        }
        if let Some(rule) = worker.key_rules.get(key) {
            return *rule;
        }
        let rule = KeyRule {
            treatment: treatment_for_key(&self.vocabulary, signal, key),
            is_content: self.vocabulary.content_part(key).is_some(),
            is_person: self.vocabulary.is_person(key),
            names_private: self.settings.detector.names_private(key),
            is_clean: false,
        };
        worker.key_rules.insert(key.into(), rule);
        rule
    }

    /// The same for the key `key` of a place, which is looked up only if it is not its attribute's.
    fn rule_of_place(&self, signal: Signal, place: &TextPlace<'_>, key: &str, worker: &mut WorkerBuffers) -> KeyRule {
        let attribute = place.attribute.filter(|_| key == place.key);
        let known = attribute.and_then(|id| worker.attribute_rules.get(id.index()).copied().flatten());
        known.unwrap_or_else(|| self.key_rule(signal, key, worker))
    }

    /// Removes credentials on every signal, and content on metrics, which have no vault step.
    fn drop_attributes(&self, batch: &mut Batch, worker: &mut WorkerBuffers) {
        let signal = batch.payload.signal();
        let mut dropped: BTreeSet<AttrId> = BTreeSet::new();
        if signal == Signal::Metrics && self.settings.config.content == ContentPolicy::Vault {
            let facts = cached_facts(&self.vocabulary, &batch.origin.account, &batch.payload, &mut batch.facts);
            dropped.extend(facts.items.iter().flat_map(ItemFacts::content_attributes));
            fields::clear_closed_names(&mut batch.payload, &facts, &self.vocabulary);
        }
        worker.attribute_rules.clear();
        let stays = self.stays_verdict(&batch.payload);
        for node in batch.payload.nodes() {
            for attribute in batch.payload.encoded_attributes(node) {
                if stays.is_some_and(|stays| batch.payload.has_verdict(attribute.id, stays)) {
                    continue;
                }
                let rule = self.key_rule(signal, attribute.key(), worker);
                let (rules, index) = (&mut worker.attribute_rules, attribute.id.index());
                rules.resize(rules.len().max(index + 1), None);
                rules.get_mut(index).into_iter().for_each(|known| *known = Some(rule));
                if rule.treatment == Treatment::Drop {
                    dropped.insert(attribute.id);
                }
            }
        }
        if let Some(counter) = self.counters.dropped.get(&signal) {
            counter.increment(dropped.len() as u64);
        }
        for id in dropped {
            batch.payload.remove_attribute(id);
        }
    }

    fn redact_texts(
        &self,
        batch: &mut Batch,
        data_points: &HashSet<NodeId>,
        recogniser_mode: RecogniserMode<'_>,
        worker: &mut WorkerBuffers,
    ) {
        let signal = batch.payload.signal();
        let account = Arc::clone(&batch.origin.account);
        let removed = RemovedTexts::of_batch(batch);
        let value_context = PlaceContext::of_values(&account, signal, recogniser_mode);
        let redacted_places = self.redact_left_structure(batch, &value_context, worker);
        // a text that stays may still repeat content
        let stays = self.stays_verdict(&batch.payload);
        let stays = stays.filter(|_| removed.as_ref().is_none_or(|removed| removed.echoes.is_empty()));
        batch.payload.edit_text_skipping(stays, |place, text| {
            if place.kind != TextPlaceKind::Key && is_inside_redacted(&redacted_places, place) {
                return TextEdit::Keep;
            }
            let context = PlaceContext {
                node: self.settings.config.record_lengths.then_some(place.node),
                place: place_label(place.kind),
                learn_for: Some(place.node),
                with_pseudonym: data_points.contains(&place.node),
                echoes: removed.as_deref().map(|removed| &removed.echoes),
                may_have_verdict: stays.is_some() && place.may_have_verdict && place.kind == TextPlaceKind::Value,
                recogniser_mode: recogniser_mode.for_place(place.kind),
                ..value_context
            };
            match place.kind {
                TextPlaceKind::Entry { number } => {
                    return self.redact_map_entry(&context, place.path_key, number, worker);
                }
                TextPlaceKind::Binary => return self.redact_bytes(&context, place),
                TextPlaceKind::Key if self.is_clean_key(&context, place, text, worker) => return TextEdit::KeepAlways,
                _ if fields::is_malformed_name(place, text) => {
                    self.counters.count_unscanned(signal, 1);
                    return TextEdit::Replace(CONTENT.to_owned());
                }
                _ => {}
            }
            worker.has_hits = false;
            match self.redact_text(&context, place, text, worker) {
                Some(replacement) => TextEdit::Replace(replacement),
                // values found in a text that stays are removed from the item's other texts, each time anew
                None if place.kind == TextPlaceKind::Value && !worker.has_hits => TextEdit::KeepAlways,
                None => TextEdit::Keep,
            }
        });
        for (node, key, text) in removed.iter().flat_map(|removed| &removed.values) {
            let hits = self.settings.detector.find_for_key(key, text, &mut worker.scratch);
            if !hits.is_empty() {
                self.settings.detector.collect_item_findings(text, hits, worker.learned.entry(*node).or_default());
            }
        }
        self.redact_repeated_values(batch, &value_context, &redacted_places, worker);
    }

    /// The verdict that all of a pair stays. None with a recogniser, which may answer differently the next time.
    fn stays_verdict(&self, payload: &Payload) -> Option<VerdictBit> {
        let has_recogniser = self.recogniser.is_some() || self.settings.recogniser.is_some();
        if has_recogniser { None } else { payload.verdict_bit((self.judge, payload.signal())) }
    }

    /// Returns true if an attribute's key was searched before without a finding. Most keys are on every item.
    fn is_clean_key(
        &self,
        context: &PlaceContext<'_>,
        place: &TextPlace<'_>,
        key: &str,
        worker: &mut WorkerBuffers,
    ) -> bool {
        let is_echo = context.echoes.is_some_and(|echoes| echoes.replacement_for(key).is_some());
        !is_echo && self.recogniser.is_none() && self.rule_of_place(context.signal, place, key, worker).is_clean
    }

    /// Decides about an entry of a map. Credentials are removed whatever their type, content unless it is a number or a
    /// boolean.
    fn redact_map_entry(
        &self,
        context: &PlaceContext<'_>,
        key: &str,
        is_number: bool,
        worker: &mut WorkerBuffers,
    ) -> TextEdit {
        let KeyRule { treatment, is_content, .. } = self.key_rule(context.signal, key, worker);
        // Content that is still here was not taken by the vault step.
        let is_content = is_content && self.settings.config.content == ContentPolicy::Vault;
        if treatment == Treatment::Drop || (is_content && !is_number) {
            self.counters.dropped.get(&context.signal).into_iter().for_each(|counter| counter.increment(1));
            return TextEdit::Remove;
        }
        TextEdit::Keep
    }

    /// Replaces bytes that the rules cannot search, unless they are an id.
    fn redact_bytes(&self, context: &PlaceContext<'_>, place: &TextPlace<'_>) -> TextEdit {
        if is_id_bytes(place.bytes) {
            return TextEdit::Keep;
        }
        self.counters.count_unscanned(context.signal, 1);
        TextEdit::Replace(UNSCANNED.to_owned())
    }

    /// The replacement for `text`, if it changes.
    fn redact_text(
        &self,
        context: &PlaceContext<'_>,
        place: &TextPlace<'_>,
        text: &str,
        worker: &mut WorkerBuffers,
    ) -> Option<String> {
        let (treatment, key) = self.treatment_and_key(context.signal, place, worker);
        let is_attribute = matches!(place.kind, TextPlaceKind::Value | TextPlaceKind::BytesValue);
        if is_attribute && is_own_pseudonym(place.path_key, text) {
            return None;
        }
        // The same text may be a quotation in an error, but legitimate in a statement under its own key.
        let echo = context.echoes.and_then(|echoes| echoes.replacement_for(text));
        let echo = echo.filter(|_| !is_attribute || self.vocabulary.may_repeat_content(place.key));
        if echo.is_some() {
            self.counters.echoes.get(&context.signal).into_iter().for_each(|counter| counter.increment(1));
        }
        let searched = echo.unwrap_or(text);
        let is_value = is_attribute || place.kind == TextPlaceKind::Body;
        let may_hold_ids = is_value && treatment == Treatment::Scan;
        let with_pseudonyms = may_hold_ids.then(|| self.redact_person_ids(context, searched, worker)).flatten();
        let changed =
            self.apply_rules(context, (treatment, key), with_pseudonyms.as_deref().unwrap_or(searched), worker);
        let changed = changed.or(with_pseudonyms).or_else(|| echo.map(str::to_owned));
        self.cut_value(context, place.kind, treatment, changed.as_deref().unwrap_or(text)).or(changed)
    }

    /// The treatment of a place's text, and its key ("" = none).
    fn treatment_and_key<'p>(
        &self,
        signal: Signal,
        place: &TextPlace<'p>,
        worker: &mut WorkerBuffers,
    ) -> (Treatment, &'p str) {
        match place.kind {
            TextPlaceKind::Field(TextField::StatusMessage) => (Treatment::ErrorText, ""),
            kind if !has_cap(kind) => (Treatment::Scan, ""),
            _ => (self.treatment(signal, place, worker), place.path_key),
        }
    }

    /// Cuts a value, body or status message to its cap. `None` if it fits.
    fn cut_value(
        &self,
        context: &PlaceContext<'_>,
        kind: TextPlaceKind,
        treatment: Treatment,
        text: &str,
    ) -> Option<String> {
        let cut = match treatment {
            _ if !has_cap(kind) => None,
            Treatment::ErrorText => cap_error_text(text, self.settings.max_error_text),
            _ => cap_text(text, self.settings.max_value),
        };
        if cut.is_some() {
            self.counters.cut.get(&context.signal).into_iter().for_each(|counter| counter.increment(1));
        }
        cut
    }

    /// The treatment of a place. A value inside a structured error text is error text too.
    fn treatment(&self, signal: Signal, place: &TextPlace<'_>, worker: &mut WorkerBuffers) -> Treatment {
        let treatment = self.rule_of_place(signal, place, place.path_key, worker).treatment;
        let is_nested = treatment == Treatment::Scan && place.path_key != place.key && !place.key.is_empty();
        match is_nested && self.rule_of_place(signal, place, place.key, worker).treatment == Treatment::ErrorText {
            true => Treatment::ErrorText,
            false => treatment,
        }
    }

    /// Applies the rules to a text under a key. `None` if nothing changes.
    fn apply_rules(
        &self,
        context: &PlaceContext<'_>,
        (treatment, key): (Treatment, &str),
        text: &str,
        worker: &mut WorkerBuffers,
    ) -> Option<String> {
        if text.len() > self.settings.max_scan {
            return self.replace_unscanned(context, treatment, text, worker);
        }
        let entities = match self.recogniser_result(context, (treatment, key), text) {
            RecogniserResult::Findings(entities) => entities,
            RecogniserResult::Pending => return None,
            RecogniserResult::Unanswered => return Some(UNSCANNED.to_owned()),
        };
        // A recogniser may answer differently the next time.
        let may_remember = self.recogniser.is_none();
        // A pair that occurs again has a verdict.
        let is_cached = may_remember && !context.may_have_verdict;
        let hits: &[RedactionHit] = if is_cached && worker.clean_texts.contains(key, text) {
            &[]
        } else {
            let hits = self.settings.detector.find_with_entities(key, text, entities, &mut worker.scratch);
            if is_cached && hits.is_empty() {
                worker.clean_texts.insert(key, text);
            }
            hits
        };
        if may_remember && hits.is_empty() && context.place == place_label(TextPlaceKind::Key) {
            let rule = worker.key_rules.get(text).map(|rule| KeyRule { is_clean: true, ..*rule });
            rule.into_iter().for_each(|rule| drop(worker.key_rules.insert(text.into(), rule)));
        }
        // A version such as `1.2.3.4` looks like an address.
        let are_all_addresses =
            |hits: &[RedactionHit]| hits.iter().all(|hit| self.settings.detector.rule_name(hit) == ADDRESS_RULE);
        let hits = if treatment == Treatment::Version && are_all_addresses(hits) { &[] } else { hits };
        self.count_hits(context, hits);
        worker.has_hits |= !hits.is_empty();
        context.node.into_iter().for_each(|node| worker.lengths.add(node, hits));
        if let Some(node) = context.learn_for.filter(|_| !hits.is_empty()) {
            self.settings.detector.collect_item_findings(text, hits, worker.learned.entry(node).or_default());
        }
        let is_person = treatment == Treatment::Person;
        if is_person || treatment == Treatment::Identity {
            let is_named =
                is_person && self.settings.config.user_ids == UserIdPolicy::Pseudonym && !is_opaque(&bounded_id(text));
            let is_private = !hits.is_empty() || is_named;
            return self.redacted_id(context.account, text, is_private, &mut worker.redacted_ids);
        }
        let changed = self.replace_hits(context, text, hits);
        if treatment == Treatment::Path {
            return hide_home_user(changed.as_deref().unwrap_or(text)).or(changed);
        }
        changed
    }

    /// The text with its hits replaced by placeholders. `None` without hits.
    fn replace_hits(&self, context: &PlaceContext<'_>, text: &str, hits: &[RedactionHit]) -> Option<String> {
        match hits.iter().find(|hit| self.replacement_form(hit) == ReplacementForm::Drop) {
            _ if hits.is_empty() => None,
            Some(hit) => Some(self.settings.detector.placeholder(hit).to_owned()),
            None => {
                Some(replace_hits(text, hits, &mut |hit, found, out| self.write_placeholder(context, hit, found, out)))
            }
        }
    }

    /// The replacement for a text that is too long to search.
    fn replace_unscanned(
        &self,
        context: &PlaceContext<'_>,
        treatment: Treatment,
        text: &str,
        worker: &mut WorkerBuffers,
    ) -> Option<String> {
        self.counters.count_unscanned(context.signal, 1);
        context.node.into_iter().for_each(|node| worker.lengths.add_unscanned(node, text.len()));
        match treatment {
            Treatment::Identity | Treatment::Person => {
                self.redacted_id(context.account, text, true, &mut worker.redacted_ids)
            }
            _ => Some(UNSCANNED.to_owned()),
        }
    }

    /// The redacted form of an id, if it differs from the id itself.
    fn redacted_id(&self, account: &str, text: &str, is_private: bool, cache: &mut RedactedIds) -> Option<String> {
        let id = bounded_id(text);
        let redact = || match self.ids.shown_id(account, &id) {
            shown if *shown != *text => Some(shown.into()),
            _ => is_private.then(|| self.ids.pseudonym(account, &id).into()),
        };
        let [public, private] = cache;
        let forms = if is_private { private } else { public };
        let redacted = match forms.get(text) {
            Some(redacted) => redacted.clone(),
            None => forms.entry(text.into()).or_insert_with(redact).clone(),
        };
        redacted.map(String::from)
    }

    fn count_hits(&self, context: &PlaceContext<'_>, hits: &[RedactionHit]) {
        if hits.is_empty() {
            return;
        }
        if let Some(counters) = self.counters.redactions.get(&context.signal) {
            hits.iter().filter_map(|hit| counters.get(hit.rule())).for_each(|counter| counter.increment(1));
        }
        let place_counter = self.counters.places.get(&(context.signal, context.place));
        place_counter.into_iter().for_each(|counter| counter.increment(hits.len() as u64));
        if hits.iter().any(|hit| self.settings.detector.is_unscanned(hit)) {
            self.counters.count_unscanned(context.signal, 1);
        }
    }

    fn replacement_form(&self, hit: &RedactionHit) -> ReplacementForm {
        self.settings.forms.get(hit.rule()).copied().unwrap_or_default()
    }

    /// Writes the placeholder for a hit. On data points it carries a keyed pseudonym, because a shared placeholder
    /// would merge series.
    fn write_placeholder(&self, context: &PlaceContext<'_>, hit: &RedactionHit, found: &str, out: &mut String) {
        let placeholder = self.settings.detector.placeholder(hit);
        if !context.with_pseudonym && self.replacement_form(hit) != ReplacementForm::Pseudonym {
            out.push_str(placeholder);
            return;
        }
        let pseudonym = self.ids.pseudonym(context.account, found);
        out.push_str(placeholder.trim_end_matches(']'));
        out.push(':');
        // `h-` and 16 hex digits: the placeholder's grammar.
        out.push_str(pseudonym.get(..18).unwrap_or(&pseudonym));
        out.push(']');
    }
}

/// Returns true for a value, a body or a status message.
fn has_cap(kind: TextPlaceKind) -> bool {
    matches!(kind, TextPlaceKind::Value | TextPlaceKind::BytesValue | TextPlaceKind::Body)
        || kind == TextPlaceKind::Field(TextField::StatusMessage)
}

/// Data points and exemplars, whose placeholders carry a pseudonym.
fn data_points_of(batch: &Batch) -> HashSet<NodeId> {
    let is_point = |node: &NodeId| matches!(batch.payload.kind(*node), NodeKind::DataPoint | NodeKind::Exemplar);
    match batch.payload.signal() {
        Signal::Metrics => batch.payload.nodes().filter(is_point).collect(),
        _ => HashSet::new(),
    }
}

/// Returns true if a place lies inside a value that was already redacted as structure.
fn is_inside_redacted(redacted: &left_structure::RedactedPlaces, place: &TextPlace<'_>) -> bool {
    let is_in_value = !matches!(place.kind, TextPlaceKind::Field(_) | TextPlaceKind::Other);
    is_in_value && redacted.contains(&(place.node, place.attribute))
}

impl ProcessorSpec for RedactSettings {
    fn profile(&self) -> ProcessorProfile<'_> {
        let redaction = RedactionProfile {
            detector: &self.detector,
            max_error_text: self.max_error_text,
            max_scan: self.max_scan,
            is_audit_only: self.config.mode == RedactMode::Audit,
            allows_content: self.config.content == ContentPolicy::Allow,
        };
        let calls_recogniser = self.recogniser.is_some();
        ProcessorProfile { redaction: Some(redaction), calls_recogniser, ..ProcessorProfile::default() }
    }

    fn build(&self, id: &Arc<str>, _: &[Signal], deps: &ProcessorDeps) -> ProcessorBuildResult {
        let (vocabulary, ids) = (Arc::clone(&deps.vocabulary), Arc::clone(&deps.ids));
        let mut redact = RedactProcessor::new(Arc::clone(id), self.clone(), vocabulary, ids, &deps.services.meter);
        if let Some(settings) = self.recogniser.clone() {
            let client = PresidioClient::build(Arc::clone(id), settings, deps.services.clone());
            let client = client.map_err(ProcessorUnusable::Recogniser)?;
            redact = redact.with_recogniser(Arc::new(client), &deps.services.meter);
        }
        let rules = Some(Arc::clone(&self.detector));
        Ok(BuiltProcessor { rules, ..BuiltProcessor::new(Arc::new(redact)) })
    }
}

impl Processor for RedactProcessor {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn inquire(&self, batch: &mut Batch) -> Option<Inquiry> {
        self.build_inquiry(batch)
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        if self.settings.config.mode == RedactMode::Audit {
            // Audit mode: redact and count everything, then restore the batch.
            let (payload, clearance) = (batch.payload.clone(), batch.clearance);
            let result = self.redact_batch(batch);
            (batch.payload, batch.clearance) = (payload, clearance);
            return result;
        }
        self.redact_batch(batch)
    }
}

impl RedactProcessor {
    fn redact_batch(&self, batch: &mut Batch) -> Result<(), Reason> {
        let mut worker = self.workers.lock().pop().unwrap_or_default();
        let answer = batch.answer.take();
        let answers = answer.as_ref().and_then(|answer| answer.downcast_ref::<RecogniserAnswers>());
        let no_answers = RecogniserAnswers::default();
        let recogniser_mode = match self.settings.recogniser {
            Some(_) => RecogniserMode::Answered(answers.unwrap_or(&no_answers)),
            None => RecogniserMode::NoRecogniser,
        };
        batch.payload.find_pairs(&self.vocabulary.pair_verdicts);
        self.drop_attributes(batch, &mut worker);
        let cleared = fields::clear_malformed_fields(&mut batch.payload);
        self.counters.count_unscanned(batch.payload.signal(), cleared);
        let slugs = self.failure_slugs(batch, recogniser_mode, &mut worker);
        let data_points = data_points_of(batch);
        self.redact_texts(batch, &data_points, recogniser_mode, &mut worker);
        self.redact_numbers(batch, &data_points, &mut worker);
        worker.redacted_ids = RedactedIds::default();
        std::mem::take(&mut worker.lengths).write(&mut batch.payload, &self.settings.detector);
        // Set after redaction, because digits of a digest could look like a private number.
        for (node, slug) in slugs {
            batch.payload.set(node, SLUG_ATTRIBUTE, OwnedValue::Str(slug));
        }
        self.workers.lock().push(worker);
        batch.clearance.text = TextState::Redacted;
        // Content that the user allowed counts as cleared.
        if batch.payload.signal() == Signal::Metrics || self.settings.config.content == ContentPolicy::Allow {
            batch.clearance.content = ContentState::Stripped;
        }
        Ok(())
    }
}
