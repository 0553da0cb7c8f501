//! Finds texts that stay in the telemetry but repeat content, and values that the vault must keep in full because
//! redaction will cut them or cannot search them. The vault step still has the content; redaction, which runs later,
//! replaces the texts found here.
//!
//! Reads only. The memory of earlier batches is read here and filled after the commit. Content is walked once, and
//! searched only if some text is long enough to quote it. Fingerprints and search are in the crate `echoes`.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use echoes::{ContentFingerprints, EchoReplacements, FingerprintCache, SessionKey, may_quote};
use genai::{ContentLocation, ContentPlace, Facts, ItemFacts, VaultedTexts, Vocabulary};
use otlp::{AttrId, Attribute, EncodedAttribute, NodeId, NodeKind, Payload, TextField, Value};

use super::content::guessed_place;
use redaction::is_id_bytes;

/// Finds echoes and values that redaction will cut, with the limits of the redact step.
#[derive(Clone)]
pub struct EchoFinder {
    /// Fingerprints of earlier batches' content.
    pub memory: Arc<FingerprintCache>,
    /// Maximum size of an error text that redaction leaves whole, bytes.
    pub max_error_text: usize,
    /// Maximum size of a text that redaction searches, bytes; a longer one becomes `[UNSCANNED]`.
    pub max_scan: usize,
}

/// Fingerprints to remember after the commit.
pub(super) type RememberedPrints = Vec<SessionPrints>;

/// Fingerprints of the content of one session or trace.
pub(super) struct SessionPrints {
    /// The keys of the session and of the trace, because a child span may not carry the session.
    pub(super) keys: [Option<SessionKey>; 2],
    pub(super) prints: ContentFingerprints,
}

/// Maximum number of texts checked in one log body, and in an item's errors.
const MAX_BODY_TEXTS: usize = 4096;
/// Maximum number of texts checked in one attribute.
const MAX_ATTRIBUTE_TEXTS: usize = 64;
/// Minimum size of a text that can quote content, bytes.
const MIN_QUOTE_BYTES: usize = 24;
/// Maximum size of a name or id that stays although content contains it, bytes.
const MAX_LABEL_BYTES: usize = 128;

impl EchoFinder {
    /// Finds the echoes of one batch before its content is removed, and the fingerprints of that content.
    pub(super) fn find_echoes(
        &self,
        account: &str,
        payload: &Payload,
        facts: &Facts,
        vocabulary: &Vocabulary,
    ) -> (EchoReplacements, RememberedPrints) {
        let prints = self.collect_prints(account, payload, facts);
        let (texts, sessions) = self.collect_texts(account, payload, facts, vocabulary);
        if texts.is_empty() {
            return (EchoReplacements::default(), prints);
        }
        let vaulted = VaultedTexts::collect(payload, facts);
        let ids = facts.items.iter().flat_map(item_ids).flatten().filter(|id| !id.contains(char::is_whitespace));
        let ids = ids.filter(|id| !vaulted.contains(id));
        let names =
            facts.items.iter().flat_map(|item| item_names(item).into_iter().flatten().map(move |name| (item, name)));
        // A name that also stays under its own key is left alone, even if content contains it.
        let names = names.filter(|(item, name)| !vaulted.contains(name) || is_kept_value(payload, item, name));
        let labels: BTreeSet<&str> = names.map(|(_, name)| name).chain(ids).collect();
        let labels: Vec<&str> = labels.into_iter().filter(|label| label.len() <= MAX_LABEL_BYTES).collect();
        let mut earlier: Vec<Arc<[u16]>> = sessions.iter().flat_map(|key| self.memory.session_texts(*key)).collect();
        // The same text is remembered under its session and its trace.
        earlier.sort_unstable_by_key(|text| text.as_ptr());
        earlier.dedup_by_key(|text| text.as_ptr());
        let content = prints.iter().flat_map(|session| session.prints.texts());
        let content = content.chain(earlier.iter().map(|text| &**text));
        let echoes = EchoReplacements::find(self.memory.key(), &texts, &labels, content);
        (echoes, prints)
    }

    /// The memory keys of an item's session and trace. Items with neither share one key per service.
    fn memory_keys(&self, account: &str, payload: &Payload, item: &ItemFacts) -> [Option<SessionKey>; 2] {
        let id = item.session.as_deref().filter(|id| !id.is_empty()).map(str::as_bytes);
        let trace = Some(payload.trace_id(item.node)).filter(|trace| !trace.is_empty());
        if id.is_none() && trace.is_none() {
            let service = payload.get_str(payload.resource(item.node), "service.name").unwrap_or_default();
            return [None, Some(self.memory.session_key(account, format!("service {service}").as_bytes()))];
        }
        [id, trace].map(|id| id.map(|id| self.memory.session_key(account, id)))
    }

    /// Fingerprints the content of the batch.
    fn collect_prints(&self, account: &str, payload: &Payload, facts: &Facts) -> RememberedPrints {
        let mut sessions = RememberedPrints::new();
        for item in facts.items.iter().filter(|item| !item.content.is_empty()) {
            let keys = self.memory_keys(account, payload, item);
            if sessions.last().is_none_or(|session| session.keys != keys) {
                sessions.push(SessionPrints { keys, prints: ContentFingerprints::default() });
            }
            let Some(SessionPrints { prints, .. }) = sessions.last_mut() else { continue };
            for text in item.content.iter().filter_map(|place| place.value(payload)?.text_or_json()) {
                prints.add(self.memory.key(), &text);
            }
            for part in item.embedded.iter().flat_map(|embedded| &embedded.parts) {
                prints.add(self.memory.key(), &part.value);
            }
        }
        sessions.retain(|session| !session.prints.is_empty());
        sessions
    }

    /// Collects texts that could quote content, and the sessions they belong to.
    fn collect_texts<'p>(
        &self,
        account: &str,
        payload: &'p Payload,
        facts: &'p Facts,
        vocabulary: &Vocabulary,
    ) -> (Vec<&'p str>, HashSet<SessionKey>) {
        let (mut texts, mut sessions) = (BTreeSet::new(), HashSet::new());
        for item in &facts.items {
            let earlier_texts = texts.len();
            let labels =
                [&item.request_model, &item.response_model, &item.tool, &item.feature].map(|label| label.as_deref());
            visit_kept_texts(payload, item, vocabulary, &mut |text| {
                if may_quote(text, &labels) {
                    texts.insert(text);
                }
            });
            if texts.len() > earlier_texts {
                sessions.extend(self.memory_keys(account, payload, item).into_iter().flatten());
            }
        }
        (texts.into_iter().collect(), sessions)
    }

    /// Finds error texts that will be cut, and values that redaction cannot search: index of the item, place.
    pub(super) fn find_cut_values(
        &self,
        payload: &Payload,
        facts: &Facts,
        echoes: &EchoReplacements,
    ) -> Vec<(usize, ContentPlace)> {
        let mut found = Vec::new();
        // Allow for placeholders that are longer than the text they replace.
        let stays_whole =
            |text: &str| text.len() + text.len() / 4 <= self.max_error_text && echoes.replacement_for(text).is_none();
        for (index, item) in facts.items.iter().enumerate() {
            let status = guessed_place(item.node, ContentLocation::Status);
            // A tool's status message is already among its content.
            let status =
                Some(&status).filter(|_| !item.content.iter().any(|place| place.at == ContentLocation::Status));
            for place in item.errors.iter().chain(status).filter(|place| !item.content.contains(place)) {
                let (mut is_cut, mut texts_left) = (false, MAX_BODY_TEXTS);
                if let Some(value) = place.value(payload) {
                    visit_texts(value, &mut texts_left, &mut |text| is_cut |= !stays_whole(text));
                }
                // If some texts were not checked, keep the whole value, so that the vault misses nothing.
                if is_cut || texts_left == 0 {
                    found.push((index, *place));
                }
            }
            self.add_unsearchable(payload, item, index, &mut found);
        }
        found
    }

    /// Adds values of an item, its events and links that stay but cannot be searched: too long, or bytes that are not
    /// text. Encodings nested too deep in a text are detected only by the later search; no copy of those is kept.
    fn add_unsearchable(
        &self,
        payload: &Payload,
        item: &ItemFacts,
        index: usize,
        found: &mut Vec<(usize, ContentPlace)>,
    ) {
        let mut unsearchable: Vec<ContentPlace> = Vec::new();
        let mut add = |node: NodeId, at: ContentLocation, value: Value<'_>| {
            unsearchable.extend(is_unsearchable(value, self.max_scan).then(|| guessed_place(node, at)));
        };
        for node in std::iter::once(item.node).chain(payload.children(item.node)) {
            for attribute in payload.encoded_attributes(node) {
                let is_short_text = attribute.is_text() && attribute.value_len() <= self.max_scan;
                if !is_short_text && !attribute.is_number() {
                    add(node, ContentLocation::Attribute(attribute.id), attribute.decode().value);
                }
            }
        }
        payload.body(item.node).into_iter().for_each(|body| add(item.node, ContentLocation::Body, body));
        if unsearchable.is_empty() {
            return;
        }
        // A place that is content already, or was found as an error text, is not added again.
        let errors = found.iter().filter(|(of, _)| *of == index).map(|(_, place)| place);
        let known: HashSet<(NodeId, ContentLocation)> =
            item.content.iter().chain(errors).map(|place| (place.node, place.at)).collect();
        unsearchable.retain(|place| !known.contains(&(place.node, place.at)));
        found.extend(unsearchable.into_iter().map(|place| (index, place)));
    }
}

/// Returns true if redaction cannot search a value or a part of it.
fn is_unsearchable(value: Value<'_>, max_bytes: usize) -> bool {
    value.any_leaf(&mut |leaf| match leaf {
        Value::Str(text) => text.len() > max_bytes,
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(_) => bytes.len() > max_bytes,
            Err(_) => !is_id_bytes(bytes),
        },
        _ => false,
    })
}

/// Visits the texts of an item that stay and may quote content: error texts, status message and name of a span; body of
/// a log; on an agent's item also text under unlisted keys, including its events and links. Queries, addresses, labels
/// and ids are never treated as quotations.
fn visit_kept_texts<'p>(
    payload: &'p Payload,
    item: &'p ItemFacts,
    vocabulary: &Vocabulary,
    visit: &mut impl FnMut(&'p str),
) {
    // The rest of each text from which content is removed.
    let edits = item.embedded.iter().flat_map(|embedded| &embedded.edits);
    edits.flat_map(|edit| edit.texts.values()).for_each(|rest| visit(rest));
    let mut texts_left = MAX_BODY_TEXTS;
    let errors = item.errors.iter().filter_map(|place| place.value(payload));
    errors.for_each(|value| visit_texts(value, &mut texts_left, visit));
    match payload.kind(item.node) {
        NodeKind::Span => {
            visit(payload.text(item.node, TextField::Name));
            visit(payload.text(item.node, TextField::StatusMessage));
        }
        NodeKind::LogRecord => {
            visit(payload.text(item.node, TextField::EventName));
            if !item.content.iter().any(|place| place.at == ContentLocation::Body) {
                let mut texts_left = MAX_BODY_TEXTS;
                payload.body(item.node).into_iter().for_each(|body| visit_texts(body, &mut texts_left, visit));
            }
        }
        _ => {}
    }
    if item.agent || item.closed {
        let removed = removed_attributes(item);
        let stays = |attribute: &Attribute<'_>| {
            !removed.contains(&attribute.id) && vocabulary.may_repeat_content(attribute.key)
        };
        visit_attribute_texts(payload, &stays, item.node, visit);
        for child in payload.children(item.node) {
            if payload.kind(child) == NodeKind::Event {
                visit(payload.text(child, TextField::Name));
            }
            visit_attribute_texts(payload, &stays, child, visit);
        }
    }
}

/// Visits the texts of a node's attributes that stay and may quote content.
fn visit_attribute_texts<'p>(
    payload: &'p Payload,
    stays: &impl Fn(&Attribute<'_>) -> bool,
    node: NodeId,
    visit: &mut impl FnMut(&'p str),
) {
    // The key is looked up only for the few values that are long enough.
    let is_short = |value: &EncodedAttribute<'_>| value.is_text() && value.value_len() < MIN_QUOTE_BYTES;
    for attribute in payload.encoded_attributes(node).filter(|one| !one.is_number() && !is_short(one)) {
        let attribute = attribute.decode();
        match attribute.value {
            Value::Str(text) if text.len() >= MIN_QUOTE_BYTES && stays(&attribute) => visit(text),
            Value::List(_) | Value::Map(_) if stays(&attribute) => {
                let mut texts_left = MAX_ATTRIBUTE_TEXTS;
                visit_texts(attribute.value, &mut texts_left, visit);
            }
            _ => {}
        }
    }
}

fn removed_attributes(item: &ItemFacts) -> HashSet<AttrId> {
    let attribute = |place: &ContentPlace| match place.at {
        ContentLocation::Attribute(id) => Some(id),
        _ => None,
    };
    item.content.iter().filter_map(attribute).collect()
}

/// Returns true if a text is the whole value of an attribute that stays.
fn is_kept_value(payload: &Payload, item: &ItemFacts, text: &str) -> bool {
    let mut same = payload.attributes(item.node).filter(|attribute| attribute.value.as_str() == Some(text)).peekable();
    same.peek().is_some() && {
        let removed = removed_attributes(item);
        same.any(|attribute| !removed.contains(&attribute.id))
    }
}

/// Visits the texts in a value, at most `texts_left` of them, and counts that number down.
fn visit_texts<'p>(value: Value<'p>, texts_left: &mut usize, visit: &mut impl FnMut(&'p str)) {
    value.any_leaf(&mut |leaf| {
        if let Some(text) = leaf.as_str().filter(|_| *texts_left > 0) {
            *texts_left -= 1;
            visit(text);
        }
        *texts_left == 0
    });
}

fn item_ids(item: &ItemFacts) -> [Option<&str>; 7] {
    [&item.session, &item.run, &item.turn, &item.user, &item.tenant, &item.tool_call, &item.response_id]
        .map(|id| id.as_deref())
}

/// The names of an item: of its tool, models, feature, actor and provider.
fn item_names(item: &ItemFacts) -> [Option<&str>; 6] {
    [&item.tool, &item.request_model, &item.response_model, &item.feature, &item.actor, &item.provider]
        .map(|name| name.as_deref())
}
