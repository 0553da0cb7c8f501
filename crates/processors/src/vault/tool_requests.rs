//! Links tool calls to the model calls that requested them: `tollgate.tool.requested_by`. Auditors ask which model call
//! decided on an action, and the evidence is in content that is removed.
//!
//! Reads only. Ids of earlier batches are kept as keyed hashes, at most [`MAX_REMEMBERED`], added after the commit.
//! Runs and their tools are tracked in the crate `tracker`.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use genai::{ContentLocation, ContentPart, Facts, ItemFacts, ItemRole};
use otlp::{NodeId, Payload, Value};

use super::content::value_at;

/// The attribute.
pub(super) const REQUESTED_BY: &str = "tollgate.tool.requested_by";
/// Maximum number of tool calls remembered from earlier batches.
const MAX_REMEMBERED: usize = 1 << 16;
/// Maximum size of an output that is searched, bytes.
const OUTPUT_BYTES: usize = 1 << 20;
/// Maximum size of an id, bytes; and maximum number of ids in one output.
const MAX_IDS: (usize, usize) = (256, 256);

/// A span's id.
type SpanId = [u8; 8];
/// The requested tool calls of a batch: hash of account and tool call id, with the requesting span.
pub(super) type RequestedToolCalls = Vec<(u64, SpanId)>;

/// Tool calls that models requested.
#[derive(Default)]
pub(super) struct ToolCallRequests {
    hasher: RandomState,
    state: Mutex<(HashMap<u64, SpanId>, VecDeque<u64>)>,
}

impl ToolCallRequests {
    /// Collects the tool calls that the items of a batch request, and finds for each tool call in the batch the span
    /// that requested it.
    pub(super) fn link_batch(
        &self,
        account: &str,
        payload: &Payload,
        facts: &Facts,
    ) -> (RequestedToolCalls, Vec<(NodeId, SpanId)>) {
        let mut asked = RequestedToolCalls::new();
        let mut ids = Vec::new();
        for item in facts.items.iter().filter(|item| item.call != ItemRole::Tool) {
            let Ok(span) = SpanId::try_from(payload.span_id(item.node)) else { continue };
            ids.clear();
            collect_output_ids(payload, item, &mut ids);
            asked.extend(ids.iter().map(|id| (self.hash(account, id), span)));
        }
        let here: HashMap<u64, SpanId> = asked.iter().copied().collect();
        let mut found = Vec::new();
        for item in facts.items.iter().filter(|item| item.call == ItemRole::Tool) {
            let Some(id) = item.tool_call.as_deref() else { continue };
            let hash = self.hash(account, id);
            let by = here.get(&hash).copied().or_else(|| self.state.lock().0.get(&hash).copied());
            found.extend(by.filter(|by| by != payload.span_id(item.node)).map(|by| (item.node, by)));
        }
        (asked, found)
    }

    /// Adds the requests of a committed batch.
    pub(super) fn remember(&self, asked: &RequestedToolCalls) {
        let mut state = self.state.lock();
        let (spans, order) = &mut *state;
        for (hash, span) in asked {
            if spans.insert(*hash, *span).is_none() {
                order.push_back(*hash);
            }
            if order.len() > MAX_REMEMBERED
                && let Some(oldest) = order.pop_front()
            {
                spans.remove(&oldest);
            }
        }
    }

    fn hash(&self, account: &str, id: &str) -> u64 {
        self.hasher.hash_one((account, id))
    }
}

/// Collects the ids of the tool calls in an item's outputs.
fn collect_output_ids(payload: &Payload, item: &ItemFacts, ids: &mut Vec<String>) {
    let mut json = String::new();
    for place in item.content.iter().filter(|place| place.part == ContentPart::Output) {
        // A list under such a key is a list of tool calls.
        let calls = match place.at {
            ContentLocation::Attribute(id) => payload
                .attribute(id)
                .is_some_and(|one| one.key.ends_with("toolCalls") || one.key.ends_with("tool_calls")),
            _ => false,
        };
        match value_at(payload, place) {
            Some(Value::Str(text)) => collect_json_ids(text, calls, ids),
            Some(value @ (Value::Map(_) | Value::List(_))) => {
                json.clear();
                value.write_json(&mut json);
                collect_json_ids(&json, calls, ids);
            }
            _ => {}
        }
    }
    collect_answer_ids(payload, item, ids);
    if !matches!(item.call, ItemRole::Model | ItemRole::ModelCopy) {
        return;
    }
    // `llm.output_messages.0.message.tool_calls.0.tool_call.id`, `gen_ai.completion.0.tool_calls.0.id`
    for attribute in payload.attributes(item.node).filter(|attribute| attribute.key.ends_with(".id")) {
        let of_output =
            attribute.key.starts_with("llm.output_messages.") || attribute.key.starts_with("gen_ai.completion.");
        if of_output && attribute.key.contains(".tool_calls.") {
            ids.extend(attribute.value.as_str().filter(|id| is_valid_id(id, ids.len())).map(str::to_owned));
        }
    }
}

fn is_valid_id(id: &str, count: usize) -> bool {
    (1..=MAX_IDS.0).contains(&id.len()) && count < MAX_IDS.1
}

/// Some emitters list the model's answer among its input, as events; only the choice events are answers.
fn collect_answer_ids(payload: &Payload, item: &ItemFacts, ids: &mut Vec<String>) {
    for place in item.content.iter().filter(|place| matches!(place.part, ContentPart::Input | ContentPart::Other)) {
        let Some(text) = value_at(payload, place).and_then(|value| value.as_str()) else { continue };
        let choice = text.len() <= OUTPUT_BYTES && memchr::memmem::find(text.as_bytes(), b"gen_ai.choice").is_some();
        let events = choice.then(|| serde_json::from_str::<Vec<serde_json::Value>>(text).ok()).flatten();
        for event in events.into_iter().flatten() {
            if event.get("event.name").and_then(|name| name.as_str()) == Some("gen_ai.choice") {
                collect_json_ids(&event.to_string(), false, ids);
            }
        }
    }
}

fn collect_json_ids(text: &str, call: bool, ids: &mut Vec<String>) {
    let structured = text.trim_start().starts_with(['[', '{']) && text.len() <= OUTPUT_BYTES;
    let asks = ["tool", "function"].iter().any(|word| memchr::memmem::find(text.as_bytes(), word.as_bytes()).is_some());
    if structured && asks {
        // Truncated JSON yields the ids before the break.
        let _ = ToolCallIdVisitor { ids, call }.deserialize(&mut serde_json::Deserializer::from_str(text));
    }
}

/// Walks JSON. `call`: the next value is a tool call or a list of them.
struct ToolCallIdVisitor<'i> {
    ids: &'i mut Vec<String>,
    call: bool,
}

impl<'de> DeserializeSeed<'de> for ToolCallIdVisitor<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Returns a text; in structure, collects the ids.
impl<'de> Visitor<'de> for ToolCallIdVisitor<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok((text.len() <= MAX_IDS.0).then(|| text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element_seed(ToolCallIdVisitor { ids: &mut *self.ids, call: self.call })?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut id, mut call) = (None, self.call);
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let inner = ToolCallIdVisitor { ids: &mut *self.ids, call: matches!(&*key, "tool_calls" | "toolCalls") };
            let text = map.next_value_seed(inner)?;
            match &*key {
                "id" => id = id.or(text),
                "call_id" | "tool_call_id" | "toolCallId" => id = text.or(id),
                "type" => {
                    let kinds = ["tool_call", "tool_use", "function_call", "tool-call", "toolCall"];
                    call |= text.is_some_and(|kind| kinds.contains(&kind.as_str()));
                }
                _ => {}
            }
        }
        self.ids.extend(id.filter(|id| call && is_valid_id(id, self.ids.len())));
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
