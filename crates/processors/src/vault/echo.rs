//! Finds texts that stay in the telemetry but repeat content, and values that the vault must keep in full because
//! redaction will cut them. The content is still available in this step; redaction, which runs later, inserts the
//! results.
//!
//! Reads only. The memory of earlier batches is read here and filled after the commit. Content is walked once, and
//! searched only if some text is long enough to quote it. Fingerprints and search are in the crate `echoes`.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use echoes::{Echoes, Memory, Prints, SessionKey, may_quote};
use genai::{Basis, ContentAt, ContentPlace, Facts, ItemFacts, Part, Vaulted, Vocabulary};
use otlp::{AttrId, Attribute, Field, Node, NodeKind, Payload, Value};

use super::content::value_at;
use redaction::is_id_bytes;

/// The settings of other parts of the gateway that this step depends on.
#[derive(Clone)]
pub struct Echoing {
    /// Fingerprints of earlier batches' content.
    pub memory: Arc<Memory>,
    /// Maximum size of an error text that redaction leaves whole, bytes.
    pub error_text: usize,
    /// Maximum size of a text that redaction searches, bytes; a longer one becomes `[UNSCANNED]`.
    pub scan: usize,
}

/// Fingerprints to remember after the commit.
pub(super) type Remembered = Vec<Said>;

/// Fingerprints of the content of one session or trace.
pub(super) struct Said {
    /// The keys of the session and of the trace, because a child span may not carry the session.
    pub(super) keys: [Option<SessionKey>; 2],
    pub(super) prints: Prints,
}

/// The results for one batch.
pub(super) struct Heard {
    pub(super) echoes: Echoes,
    pub(super) remembered: Remembered,
    /// Error texts that will be cut, and values that redaction cannot search: index of the item, place.
    pub(super) cut: Vec<(usize, ContentPlace)>,
}

/// Maximum number of texts checked in one body or error.
const BODY_TEXTS: usize = 4096;
/// Maximum number of texts checked in one attribute.
const LIST_TEXTS: usize = 64;
/// Minimum size of a text that can quote content, bytes.
const SHORTEST: usize = 24;
/// Maximum size of a name that stays, bytes.
const LABEL_BYTES: usize = 128;

impl Echoing {
    /// Processes one batch before its content is removed.
    pub(super) fn hear(&self, account: &str, payload: &Payload, facts: &Facts, vocabulary: &Vocabulary) -> Heard {
        let remembered = self.prints(account, payload, facts);
        let (texts, sessions) = self.texts(account, payload, facts, vocabulary);
        let echoes = match texts.is_empty() {
            true => Echoes::default(),
            false => {
                let vaulted = Vaulted::of(payload, facts);
                let ids = facts.items.iter().flat_map(ids).flatten().filter(|id| !id.contains(char::is_whitespace));
                let ids = ids.filter(|id| !vaulted.holds(id));
                let names =
                    facts.items.iter().flat_map(|item| names(item).into_iter().flatten().map(move |name| (item, name)));
                // A name that also stays under its own key is left alone, even if content contains it.
                let names = names.filter(|(item, name)| !vaulted.holds(name) || stays(payload, item, name));
                let labels: BTreeSet<&str> = names.map(|(_, name)| name).chain(ids).collect();
                let labels: Vec<&str> = labels.into_iter().filter(|label| label.len() <= LABEL_BYTES).collect();
                let mut known: Vec<Arc<[u16]>> = sessions.iter().flat_map(|key| self.memory.of(*key)).collect();
                // The same text is remembered under its session and its trace.
                known.sort_unstable_by_key(|text| text.as_ptr());
                known.dedup_by_key(|text| text.as_ptr());
                let here = remembered.iter().flat_map(|said| said.prints.texts());
                Echoes::find(self.memory.key(), &texts, &labels, here.chain(known.iter().map(|text| &**text)))
            }
        };
        let cut = self.cut(payload, facts, &echoes);
        Heard { echoes, remembered, cut }
    }

    /// For pipelines where content stays: finds only the error texts that will be cut.
    pub(super) fn hear_nothing(&self, payload: &Payload, facts: &Facts) -> Heard {
        let echoes = Echoes::default();
        Heard { cut: self.cut(payload, facts, &echoes), echoes, remembered: Vec::new() }
    }

    /// The memory keys of an item's session and trace. Items with neither share one key per service.
    fn keys(&self, account: &str, payload: &Payload, item: &ItemFacts) -> [Option<SessionKey>; 2] {
        let id = item.session.as_deref().filter(|id| !id.is_empty()).map(str::as_bytes);
        let trace = Some(payload.trace_id(item.node)).filter(|trace| !trace.is_empty());
        if id.is_none() && trace.is_none() {
            let service = payload.get_str(payload.resource(item.node), "service.name").unwrap_or_default();
            return [None, Some(self.memory.session(account, format!("service {service}").as_bytes()))];
        }
        [id, trace].map(|id| id.map(|id| self.memory.session(account, id)))
    }

    fn prints(&self, account: &str, payload: &Payload, facts: &Facts) -> Remembered {
        let (mut out, mut json): (Remembered, String) = (Vec::new(), String::new());
        for item in facts.items.iter().filter(|item| !item.content.is_empty()) {
            let keys = self.keys(account, payload, item);
            if out.last().is_none_or(|said| said.keys != keys) {
                out.push(Said { keys, prints: Prints::default() });
            }
            let Some(Said { prints, .. }) = out.last_mut() else { continue };
            for value in item.content.iter().filter_map(|place| value_at(payload, place)) {
                match value {
                    Value::Str(text) => prints.add(self.memory.key(), text),
                    Value::Map(_) | Value::List(_) => {
                        json.clear();
                        value.write_json(&mut json);
                        prints.add(self.memory.key(), &json);
                    }
                    _ => {}
                }
            }
            for part in item.inside.iter().flat_map(|inside| &inside.parts) {
                prints.add(self.memory.key(), &part.value);
            }
        }
        out.retain(|said| !said.prints.is_empty());
        out
    }

    /// Collects texts that could quote content, and the sessions they belong to.
    fn texts<'p>(
        &self,
        account: &str,
        payload: &'p Payload,
        facts: &'p Facts,
        vocabulary: &Vocabulary,
    ) -> (Vec<&'p str>, HashSet<SessionKey>) {
        let (mut texts, mut sessions) = (BTreeSet::new(), HashSet::new());
        for item in &facts.items {
            let before = texts.len();
            let labels =
                [&item.request_model, &item.response_model, &item.tool, &item.feature].map(|label| label.as_deref());
            each_text(payload, item, vocabulary, &mut |text| {
                if may_quote(text, &labels) {
                    texts.insert(text);
                }
            });
            if texts.len() > before {
                sessions.extend(self.keys(account, payload, item).into_iter().flatten());
            }
        }
        (texts.into_iter().collect(), sessions)
    }

    fn cut(&self, payload: &Payload, facts: &Facts, echoes: &Echoes) -> Vec<(usize, ContentPlace)> {
        let mut out = Vec::new();
        // Allow for placeholders that are longer than the text they replace.
        let whole = |text: &str| text.len() + text.len() / 4 <= self.error_text && echoes.of(text).is_none();
        for (at, item) in facts.items.iter().enumerate() {
            let status =
                ContentPlace { node: item.node, at: ContentAt::Status, part: Part::Other, basis: Basis::Listed };
            // A tool's status message is already among its content.
            let status = Some(&status).filter(|_| !item.content.iter().any(|place| place.at == ContentAt::Status));
            let texts = item.errors.iter().chain(status);
            out.extend(
                texts
                    .filter(|place| !item.content.contains(place))
                    .filter(|place| {
                        let mut cut = false;
                        let mut left = BODY_TEXTS;
                        value_at(payload, place)
                            .into_iter()
                            .for_each(|value| texts_in(value, &mut left, &mut |text| cut |= !whole(text)));
                        // If some texts were not checked, keep the whole value, so that the vault misses nothing.
                        cut || left == 0
                    })
                    .map(|place| (at, *place)),
            );
            self.unscanned(payload, item, at, &mut out);
        }
        out
    }

    /// Adds values of an item, its events and links that stay but cannot be searched: too long, or bytes that are not
    /// text. Values that are nested too deep are only detected by the later search; of those no copy is kept.
    fn unscanned(&self, payload: &Payload, item: &ItemFacts, at: usize, out: &mut Vec<(usize, ContentPlace)>) {
        let begin = out.len();
        let mut add = |node: Node, place: ContentAt, value: Value<'_>| {
            if exceeds(value, self.scan, 0) {
                out.push((at, ContentPlace { node, at: place, part: Part::Other, basis: Basis::Guessed }));
            }
        };
        for node in std::iter::once(item.node).chain(payload.children(item.node)) {
            payload.attributes(node).for_each(|one| add(node, ContentAt::Attribute(one.id), one.value));
        }
        payload.body(item.node).into_iter().for_each(|body| add(item.node, ContentAt::Body, body));
        if out.len() > begin {
            let known: HashSet<(Node, ContentAt)> = item.content.iter().map(|place| (place.node, place.at)).collect();
            let earlier: HashSet<(Node, ContentAt)> =
                out.iter().take(begin).filter(|(of, _)| *of == at).map(|(_, place)| (place.node, place.at)).collect();
            let mut index = 0;
            out.retain(|(_, place)| {
                index += 1;
                let key = (place.node, place.at);
                index <= begin || !(known.contains(&key) || earlier.contains(&key))
            });
        }
    }
}

/// Maximum nesting depth; a deeper value counts as unsearchable.
const DEEPEST: u8 = 64;

/// Returns true if redaction cannot search a value or a part of it.
fn exceeds(value: Value<'_>, scan: usize, depth: u8) -> bool {
    match value {
        Value::Str(text) => text.len() > scan,
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(_) => bytes.len() > scan,
            Err(_) => !is_id_bytes(bytes),
        },
        Value::Map(_) => depth >= DEEPEST || value.entries().any(|(_, entry)| exceeds(entry, scan, depth + 1)),
        Value::List(_) => depth >= DEEPEST || value.items().any(|item| exceeds(item, scan, depth + 1)),
        _ => false,
    }
}

/// Visits the texts of an item that stay and may quote content: error texts, status message and name of a span; body of
/// a log; on an agent's item also text under unlisted keys, including its events and links. Queries, addresses, labels
/// and ids are never treated as quotations.
fn each_text<'p>(payload: &'p Payload, item: &'p ItemFacts, vocabulary: &Vocabulary, visit: &mut impl FnMut(&'p str)) {
    // The rest of a text from which content was removed.
    let rests = item.inside.iter().flat_map(|inside| &inside.edits);
    rests.flat_map(|edit| edit.texts.values()).for_each(|rest| visit(rest));
    let mut left = BODY_TEXTS;
    let errors = item.errors.iter().filter_map(|place| value_at(payload, place));
    errors.for_each(|value| texts_in(value, &mut left, visit));
    match payload.kind(item.node) {
        NodeKind::Span => {
            visit(payload.text(item.node, Field::Name));
            visit(payload.text(item.node, Field::StatusMessage));
        }
        NodeKind::LogRecord => {
            visit(payload.text(item.node, Field::EventName));
            if !item.content.iter().any(|place| place.at == ContentAt::Body) {
                let mut left = BODY_TEXTS;
                payload.body(item.node).into_iter().for_each(|body| texts_in(body, &mut left, visit));
            }
        }
        _ => {}
    }
    if item.agent {
        let gone = gone(item);
        let stays = |attribute: &Attribute<'_>| !gone.contains(&attribute.id) && vocabulary.may_repeat(attribute.key);
        attributes(payload, &stays, item.node, visit);
        for child in payload.children(item.node) {
            if payload.kind(child) == NodeKind::Event {
                visit(payload.text(child, Field::Name));
            }
            attributes(payload, &stays, child, visit);
        }
    }
}

/// Visits the texts of a node's attributes that stay and may quote content.
fn attributes<'p>(
    payload: &'p Payload,
    stays: &impl Fn(&Attribute<'_>) -> bool,
    node: Node,
    visit: &mut impl FnMut(&'p str),
) {
    for attribute in payload.attributes(node) {
        // the key is looked up for the few values that are long enough
        match attribute.value {
            Value::Str(text) if text.len() >= SHORTEST && stays(&attribute) => visit(text),
            Value::List(_) | Value::Map(_) if stays(&attribute) => {
                let mut left = LIST_TEXTS;
                texts_in(attribute.value, &mut left, visit);
            }
            _ => {}
        }
    }
}

/// The attributes that are removed.
fn gone(item: &ItemFacts) -> HashSet<AttrId> {
    let attribute = |place: &ContentPlace| match place.at {
        ContentAt::Attribute(id) => Some(id),
        _ => None,
    };
    item.content.iter().filter_map(attribute).collect()
}

/// Returns true if a text is the whole value of an attribute that stays.
fn stays(payload: &Payload, item: &ItemFacts, text: &str) -> bool {
    let mut same = payload.attributes(item.node).filter(|attribute| attribute.value.as_str() == Some(text)).peekable();
    same.peek().is_some() && {
        let gone = gone(item);
        same.any(|attribute| !gone.contains(&attribute.id))
    }
}

fn texts_in<'p>(value: Value<'p>, left: &mut usize, visit: &mut impl FnMut(&'p str)) {
    match value {
        Value::Str(text) if *left > 0 => {
            *left -= 1;
            visit(text);
        }
        Value::List(_) => value.items().for_each(|item| texts_in(item, left, visit)),
        Value::Map(_) => value.entries().for_each(|(_, entry)| texts_in(entry, left, visit)),
        _ => {}
    }
}

/// The ids of an item.
fn ids(item: &ItemFacts) -> [Option<&str>; 7] {
    [&item.session, &item.run, &item.turn, &item.user, &item.tenant, &item.tool_call, &item.response_id]
        .map(|id| id.as_deref())
}

/// The names of an item: of its tool, models, feature, actor and provider.
fn names(item: &ItemFacts) -> [Option<&str>; 6] {
    [&item.tool, &item.request_model, &item.response_model, &item.feature, &item.actor, &item.provider]
        .map(|name| name.as_deref())
}
