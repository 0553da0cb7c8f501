//! Writes an item's facts under their names in the configured version of OpenTelemetry's GenAI semantic conventions.
//! Nothing that goes to the vault is written.

use std::collections::HashMap;

use genai::usage::{Split, split};
use genai::{Call, Fact, ItemFacts, Vaulted, Vocabulary};
use otlp::{Node, OwnedValue, Payload, Value};

use super::config::{Semconv, Settings};

/// Older names that dashboards still read. They are never removed.
const KEPT: [&str; 2] = ["gen_ai.system", "session.id"];
/// The attribute for the type of a failure.
const ERROR: &str = "error.type";

/// The names to write and the attributes to remove.
pub(super) struct Names {
    semconv: Semconv,
    /// Per dialect: facts and the original keys to remove. Empty unless originals are removed.
    dropped: HashMap<&'static str, Vec<(Fact, Box<str>)>>,
    drop: bool,
}

impl Names {
    pub(super) fn new(settings: &Settings, vocabulary: &Vocabulary) -> Self {
        let mut names = Self { semconv: settings.semconv, dropped: HashMap::new(), drop: settings.drop_originals };
        for dialect in vocabulary.dialects().filter(|_| settings.drop_originals) {
            let mut list = Vec::new();
            for fact in Fact::ALL {
                let keys = vocabulary.originals(dialect, fact).into_iter();
                let keys = keys.filter(|key| !KEPT.contains(key) && !names.is_today(key));
                list.extend(keys.map(|key| (fact, key.into())));
            }
            names.dropped.insert(dialect, list);
        }
        names
    }

    /// The name of a fact in the configured version, if it has one.
    fn of(&self, fact: Fact) -> Option<&'static str> {
        let since = |version: Semconv, name| (self.semconv as u8 >= version as u8).then_some(name);
        match fact {
            Fact::Session => Some("gen_ai.conversation.id"),
            Fact::Operation => Some("gen_ai.operation.name"),
            Fact::Provider if self.semconv == Semconv::V36 => Some("gen_ai.system"),
            Fact::Provider => Some("gen_ai.provider.name"),
            Fact::RequestModel => Some("gen_ai.request.model"),
            Fact::ResponseModel => Some("gen_ai.response.model"),
            Fact::ResponseId => Some("gen_ai.response.id"),
            Fact::Tool => Some("gen_ai.tool.name"),
            Fact::ToolCall => Some("gen_ai.tool.call.id"),
            Fact::Finish => Some("gen_ai.response.finish_reasons"),
            Fact::Input => Some("gen_ai.usage.input_tokens"),
            Fact::Output => Some("gen_ai.usage.output_tokens"),
            Fact::CacheRead => since(Semconv::V40, "gen_ai.usage.cache_read.input_tokens"),
            Fact::CacheWrite if self.semconv == Semconv::Development => Some("gen_ai.usage.cache_write.input_tokens"),
            Fact::CacheWrite => since(Semconv::V40, "gen_ai.usage.cache_creation.input_tokens"),
            Fact::Reasoning => since(Semconv::Latest, "gen_ai.usage.reasoning.output_tokens"),
        }
    }

    /// Returns true if `key` is a name of the configured version.
    pub(super) fn has(&self, key: &str) -> bool {
        key == ERROR || self.is_today(key)
    }

    fn is_today(&self, key: &str) -> bool {
        Fact::ALL.into_iter().any(|fact| self.of(fact) == Some(key))
    }

    /// Writes the missing attributes of one item.
    pub(super) fn write(&self, payload: &mut Payload, item: &ItemFacts, vaulted: &Vaulted) {
        let Some(dialect) = item.dialect else { return };
        let mut out = Writer { names: self, payload, node: item.node, vaulted };
        for (id, value) in &item.mended {
            out.payload.replace_attribute(*id, value.clone());
        }
        out.text(Fact::Session, item.session.as_deref());
        out.extracted(item);
        if item.operation.is_some() || matches!(item.call, Call::TurnEnd) {
            out.text(Fact::Operation, item.operation.as_deref());
            let provider = item.provider.as_deref();
            out.text(Fact::Provider, if self.semconv == Semconv::V36 { provider.map(old_provider) } else { provider });
            out.text(Fact::RequestModel, item.request_model.as_deref());
            out.text(Fact::ResponseModel, item.response_model.as_deref());
            out.text(Fact::Tool, item.tool.as_deref());
            out.text(Fact::ToolCall, item.tool_call.as_deref());
            if item.failed {
                out.text_at(ERROR, item.error.as_deref());
            }
        }
        if matches!(item.call, Call::Model | Call::ModelCopy) || item.billable {
            out.text(Fact::ResponseId, item.response_id.as_deref());
            if let (Some(finish), Some(key)) = (&item.finish, self.of(Fact::Finish)) {
                out.set(key, OwnedValue::StrList(vec![finish.clone()]));
            }
        }
        if item.call == Call::Model || item.billable {
            out.tokens(item);
        }
        for (fact, key) in self.dropped.get(dialect).into_iter().flatten() {
            let written = self.of(*fact).is_some_and(|name| payload.get(item.node, name).is_some());
            if written {
                payload.remove(item.node, key);
            }
        }
    }
}

/// The provider's name in 1.36.
fn old_provider(today: &str) -> &str {
    match today {
        "azure.ai.openai" => "az.ai.openai",
        "azure.ai.inference" => "az.ai.inference",
        "x_ai" => "xai",
        same => same,
    }
}

/// Writes attributes of one node.
struct Writer<'a> {
    names: &'a Names,
    payload: &'a mut Payload,
    node: Node,
    vaulted: &'a Vaulted,
}

impl Writer<'_> {
    fn text(&mut self, fact: Fact, value: Option<&str>) {
        if let Some(key) = self.names.of(fact) {
            self.text_at(key, value);
        }
    }

    fn text_at(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !self.vaulted.holds(value)) {
            self.set(key, OwnedValue::Str(value.to_owned()));
        }
    }

    /// Writes numbers and ids that were extracted from content.
    fn extracted(&mut self, item: &ItemFacts) {
        for (key, value) in &item.extracted {
            match value {
                OwnedValue::Str(text) => self.text_at(key, Some(text)),
                OwnedValue::StrList(_) | OwnedValue::Structure(_) => {}
                value => self.set(key, value.clone()),
            }
        }
    }

    /// Writes token counts in the meaning of the conventions: input includes cache reads and writes.
    fn tokens(&mut self, item: &ItemFacts) {
        let Ok(split) = split(item) else { return };
        let usage = &item.usage;
        let Split { reasoning, output, output_audio, .. } = split;
        let read = split.cache_read.saturating_add(split.cache_read_audio);
        let told = [
            (Fact::Input, usage.input.is_some(), split.total_input()),
            (Fact::Output, usage.output.is_some(), output.saturating_add(output_audio)),
            (Fact::CacheRead, usage.cache_read.is_some(), read),
            (Fact::CacheWrite, usage.cache_write.is_some() || split.writes() > 0, split.writes()),
            (Fact::Reasoning, usage.reasoning.is_some(), reasoning),
        ];
        for (fact, _, count) in told.into_iter().filter(|(_, told, _)| *told) {
            let (Some(key), Ok(count)) = (self.names.of(fact), i64::try_from(count)) else { continue };
            // The attribute in the newest spelling already holds the count.
            let newest = "gen_ai.usage.cache_write.input_tokens";
            if fact == Fact::CacheWrite && !self.names.drop && self.payload.get(self.node, newest).is_some() {
                continue;
            }
            // If originals are removed, an existing count with a different meaning is corrected.
            if self.names.drop && self.payload.get(self.node, key).is_some_and(|there| there.as_count() != Some(count))
            {
                self.payload.remove(self.node, key);
            }
            self.set(key, OwnedValue::Int(count));
        }
    }

    /// Sets an attribute unless it already has a value of the right type.
    fn set(&mut self, key: &str, value: OwnedValue) {
        let fits = self.payload.get(self.node, key).is_some_and(|there| is_same_type(there, &value));
        if !fits {
            self.payload.set(self.node, key, value);
        }
    }
}

fn is_same_type(there: Value<'_>, value: &OwnedValue) -> bool {
    matches!(
        (there, value),
        (Value::Str(_), OwnedValue::Str(_))
            | (Value::Int(_), OwnedValue::Int(_))
            | (Value::Double(_), OwnedValue::Double(_))
            | (Value::Bool(_), OwnedValue::Bool(_))
            | (Value::List(_), OwnedValue::StrList(_))
    )
}
