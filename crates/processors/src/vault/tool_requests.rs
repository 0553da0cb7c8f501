//! Links tool calls to the model calls that requested them: `tollgate.tool.requested_by`. Auditors ask which model call
//! decided on an action, and the evidence is in content that is removed.
//!
//! Reads only. Ids of earlier batches are kept as keyed hashes, at most [`MAX_REMEMBERED`], added after the commit.
//! Runs and their tools are tracked in the crate `tracker`.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use genai::{ContentPart, Facts, ItemFacts, ItemRole};
use kernel::bounded_map::{AccountHash, BoundedMap};
use otlp::{NodeId, Payload};

pub(super) const REQUESTED_BY_ATTRIBUTE: &str = "tollgate.tool.requested_by";
/// Maximum number of tool calls remembered from earlier batches.
const MAX_REMEMBERED: usize = 1 << 16;
/// Maximum size of an output that is searched, bytes.
const MAX_OUTPUT_BYTES: usize = 1 << 20;
const MAX_ID_BYTES: usize = 256;
/// Maximum number of ids collected from one item.
const MAX_IDS: usize = 256;

type SpanId = [u8; 8];
/// The requested tool calls of a batch: hash of account and tool call id, with the requesting span.
pub(super) type RequestedToolCalls = Vec<(u64, SpanId)>;

#[derive(Default)]
pub(super) struct ToolCallRequests {
    hasher: RandomState,
    /// The requests of earlier batches, by hash of account and tool call id.
    remembered: Mutex<BoundedMap<u64, SpanId, MAX_REMEMBERED>>,
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
        let mut requests = RequestedToolCalls::new();
        let mut ids = Vec::new();
        for item in facts.items.iter().filter(|item| item.call != ItemRole::Tool) {
            let Ok(span) = SpanId::try_from(payload.span_id(item.node)) else { continue };
            ids.clear();
            collect_output_ids(payload, item, &mut ids);
            requests.extend(ids.iter().map(|id| (self.hash(account, id), span)));
        }
        let requested_here: HashMap<u64, SpanId> = requests.iter().copied().collect();
        let mut links = Vec::new();
        for item in facts.items.iter().filter(|item| item.call == ItemRole::Tool) {
            let Some(id) = item.tool_call.as_deref() else { continue };
            let hash = self.hash(account, id);
            let requester = requested_here.get(&hash).copied();
            let requester = requester.or_else(|| self.remembered.lock().get(&hash).copied());
            let requester = requester.filter(|span| span != payload.span_id(item.node));
            links.extend(requester.map(|span| (item.node, span)));
        }
        (requests, links)
    }

    /// Adds the requests of a committed batch.
    pub(super) fn remember(&self, account: AccountHash, requests: &RequestedToolCalls) {
        let mut remembered = self.remembered.lock();
        requests.iter().for_each(|(hash, span)| drop(remembered.insert_for(account, *hash, *span, 1)));
    }

    fn hash(&self, account: &str, id: &str) -> u64 {
        self.hasher.hash_one((account, id))
    }
}

fn collect_output_ids(payload: &Payload, item: &ItemFacts, ids: &mut Vec<String>) {
    for place in item.content.iter().filter(|place| place.part == ContentPart::Output) {
        // Under such a key the value is a list of tool calls.
        let key = place.at.key(payload).unwrap_or_default();
        let is_call_list = key.ends_with("toolCalls") || key.ends_with("tool_calls");
        let text = place.value(payload).and_then(|value| value.text_or_json());
        text.into_iter().for_each(|text| collect_json_ids(&text, is_call_list, ids));
    }
    collect_answer_ids(payload, item, ids);
    if !matches!(item.call, ItemRole::Model | ItemRole::ModelCopy) {
        return;
    }
    // `llm.output_messages.0.message.tool_calls.0.tool_call.id`, `gen_ai.completion.0.tool_calls.0.id`
    for attribute in payload.attributes(item.node).filter(|attribute| attribute.key.ends_with(".id")) {
        let is_output =
            attribute.key.starts_with("llm.output_messages.") || attribute.key.starts_with("gen_ai.completion.");
        if is_output && attribute.key.contains(".tool_calls.") {
            ids.extend(attribute.value.as_str().filter(|id| is_valid_id(id, ids.len())).map(str::to_owned));
        }
    }
}

fn is_valid_id(id: &str, count: usize) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len()) && count < MAX_IDS
}

/// Collects ids from answers that some emitters list among the input, as events; only the choice events are answers.
fn collect_answer_ids(payload: &Payload, item: &ItemFacts, ids: &mut Vec<String>) {
    for place in item.content.iter().filter(|place| matches!(place.part, ContentPart::Input | ContentPart::Other)) {
        let Some(text) = place.value(payload).and_then(|value| value.as_str()) else { continue };
        let has_choice =
            text.len() <= MAX_OUTPUT_BYTES && memchr::memmem::find(text.as_bytes(), b"gen_ai.choice").is_some();
        let events = has_choice.then(|| serde_json::from_str::<Vec<serde_json::Value>>(text).ok()).flatten();
        for event in events.into_iter().flatten() {
            if event.get("event.name").and_then(|name| name.as_str()) == Some("gen_ai.choice") {
                collect_json_ids(&event.to_string(), false, ids);
            }
        }
    }
}

fn collect_json_ids(text: &str, is_call: bool, ids: &mut Vec<String>) {
    let is_structure = text.trim_start().starts_with(['[', '{']) && text.len() <= MAX_OUTPUT_BYTES;
    let mentions_call =
        ["tool", "function"].iter().any(|word| memchr::memmem::find(text.as_bytes(), word.as_bytes()).is_some());
    if is_structure && mentions_call {
        // Truncated JSON yields the ids before the break.
        let _ = ToolCallIdVisitor { ids, is_call }.deserialize(&mut serde_json::Deserializer::from_str(text));
    }
}

struct ToolCallIdVisitor<'i> {
    ids: &'i mut Vec<String>,
    /// The visited value is a tool call or a list of them.
    is_call: bool,
}

impl<'de> DeserializeSeed<'de> for ToolCallIdVisitor<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Returns the value if it is a short text. In structure, collects the ids.
impl<'de> Visitor<'de> for ToolCallIdVisitor<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok((text.len() <= MAX_ID_BYTES).then(|| text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element_seed(ToolCallIdVisitor { ids: &mut *self.ids, is_call: self.is_call })?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut id, mut is_call) = (None, self.is_call);
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let inner = ToolCallIdVisitor { ids: &mut *self.ids, is_call: matches!(&*key, "tool_calls" | "toolCalls") };
            let text = map.next_value_seed(inner)?;
            match &*key {
                "id" => id = id.or(text),
                "call_id" | "tool_call_id" | "toolCallId" => id = text.or(id),
                "type" => {
                    let kinds = ["tool_call", "tool_use", "function_call", "tool-call", "toolCall"];
                    is_call |= text.is_some_and(|kind| kinds.contains(&kind.as_str()));
                }
                _ => {}
            }
        }
        self.ids.extend(id.filter(|id| is_call && is_valid_id(id, self.ids.len())));
        Ok(None)
    }

    visit_scalars_as!(None);
}
