//! **What**: today's names for what an item's facts say. Source: OpenTelemetry's GenAI semantic conventions 1.41.

use crate::genai::usage::{Split, split};
use crate::genai::{Call, ItemFacts, Vaulted};
use crate::otlp::{Node, OwnedValue, Payload, Value};

/// The type that a name's value must have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    List,
}

/// Writes what is missing on one item; nothing of what goes to the vault.
pub(super) fn write(payload: &mut Payload, item: &ItemFacts, vaulted: &Vaulted) {
    if item.dialect.is_none() {
        return;
    }
    let node = item.node;
    let text = |payload: &mut Payload, node: Node, key: &str, value: Option<&str>| {
        text(payload, node, key, value.filter(|value| !vaulted.holds(value)));
    };
    text(payload, node, "gen_ai.conversation.id", item.session.as_deref());
    for (key, value) in &item.extracted {
        match value.as_i64() {
            Some(number) => set(payload, node, key, Kind::Int, OwnedValue::Int(number)),
            None => text(payload, node, key, value.as_str()),
        }
    }
    if item.operation.is_some() || matches!(item.call, Call::TurnEnd) {
        text(payload, node, "gen_ai.operation.name", item.operation.as_deref());
        text(payload, node, "gen_ai.provider.name", item.provider.as_deref());
        text(payload, node, "gen_ai.request.model", item.request_model.as_deref());
        text(payload, node, "gen_ai.response.model", item.response_model.as_deref());
        text(payload, node, "gen_ai.tool.name", item.tool.as_deref());
        text(payload, node, "gen_ai.tool.call.id", item.tool_call.as_deref());
        if item.failed {
            text(payload, node, "error.type", item.error.as_deref());
        }
    }
    if matches!(item.call, Call::Model | Call::ModelCopy) || item.billable {
        text(payload, node, "gen_ai.response.id", item.response_id.as_deref());
        if let Some(finish) = &item.finish {
            set(payload, node, "gen_ai.response.finish_reasons", Kind::List, OwnedValue::StrList(vec![finish.clone()]));
        }
    }
    if item.call == Call::Model || item.billable {
        tokens(payload, item);
    }
}

/// Token counts as the conventions have them: input includes what was read from and written to caches.
fn tokens(payload: &mut Payload, item: &ItemFacts) {
    let Ok(split) = split(item) else { return };
    let (usage, node) = (&item.usage, item.node);
    let Split { reasoning, output, output_audio, .. } = split;
    let read = split.cache_read.saturating_add(split.cache_read_audio);
    let told = [
        ("gen_ai.usage.input_tokens", usage.input.is_some(), split.total_input()),
        ("gen_ai.usage.output_tokens", usage.output.is_some(), output.saturating_add(output_audio)),
        ("gen_ai.usage.cache_read.input_tokens", usage.cache_read.is_some(), read),
        ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write.is_some() || split.writes() > 0, split.writes()),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning.is_some(), reasoning),
    ];
    for (key, _, count) in told.into_iter().filter(|(_, told, _)| *told) {
        let Ok(count) = i64::try_from(count) else { continue };
        // the newest spelling says the same
        if key == "gen_ai.usage.cache_creation.input_tokens"
            && payload.get(node, "gen_ai.usage.cache_write.input_tokens").is_some()
        {
            continue;
        }
        set(payload, node, key, Kind::Int, OwnedValue::Int(count));
    }
}

fn text(payload: &mut Payload, node: Node, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        set(payload, node, key, Kind::Text, OwnedValue::Str(value.to_owned()));
    }
}

/// A value of the right type stays; of a wrong one it is replaced by the same fact in the right one.
fn set(payload: &mut Payload, node: Node, key: &str, kind: Kind, value: OwnedValue) {
    let there = payload.get(node, key).map(|value| match value {
        Value::Str(_) => Some(Kind::Text),
        Value::Int(_) => Some(Kind::Int),
        Value::List(_) => Some(Kind::List),
        _ => None,
    });
    if there != Some(Some(kind)) {
        payload.set(node, key, value);
    }
}
