//! Writes an item's facts under their names in the configured version of OpenTelemetry's GenAI semantic conventions.
//! Nothing that goes to the vault is written.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use genai::usage::{TokenSplit, split_tokens};
use genai::{ItemFacts, ItemRole, VERIFIED_IDS, VaultedTexts, Vocabulary};
use otlp::{NodeId, OwnedValue, Payload, Value};

use super::config::NormalizeConfig;
use super::config::SemconvVersion::{self, Development, Latest, V36, V37, V40};

/// Older names that dashboards still read. They are never removed.
const LEGACY_NAMES: [&str; 2] = ["gen_ai.system", "session.id"];
/// The names of facts, which are called as their lists in the dialects file, and the versions that have them. `Latest`
/// has both names of a fact that is being renamed.
static NAMES: [(&str, RangeInclusive<SemconvVersion>, &str); 16] = [
    ("session", V36..=Development, "gen_ai.conversation.id"),
    ("operation", V36..=Development, "gen_ai.operation.name"),
    ("provider", V36..=V36, "gen_ai.system"),
    ("provider", V37..=Development, "gen_ai.provider.name"),
    ("request_model", V36..=Development, "gen_ai.request.model"),
    ("response_model", V36..=Development, "gen_ai.response.model"),
    ("response_id", V36..=Development, "gen_ai.response.id"),
    ("tool", V36..=Development, "gen_ai.tool.name"),
    ("tool_call", V36..=Development, "gen_ai.tool.call.id"),
    ("finish", V36..=Development, "gen_ai.response.finish_reasons"),
    ("input", V36..=Development, "gen_ai.usage.input_tokens"),
    ("output", V36..=Development, "gen_ai.usage.output_tokens"),
    ("cache_read", V40..=Development, "gen_ai.usage.cache_read.input_tokens"),
    ("cache_write", V40..=Latest, "gen_ai.usage.cache_creation.input_tokens"),
    ("cache_write", Latest..=Development, "gen_ai.usage.cache_write.input_tokens"),
    ("reasoning", Latest..=Development, "gen_ai.usage.reasoning.output_tokens"),
];
/// The attribute for the type of a failure.
const ERROR_TYPE: &str = "error.type";

/// The names to write and the attributes to remove.
pub(super) struct SemconvNames {
    semconv: SemconvVersion,
    /// By dialect: the original keys to remove, each with its fact. Empty unless originals are removed.
    original_keys: HashMap<&'static str, Vec<(&'static str, Box<str>)>>,
    drops_originals: bool,
}

impl SemconvNames {
    pub(super) fn new(settings: &NormalizeConfig, vocabulary: &Vocabulary) -> Self {
        let mut names =
            Self { semconv: settings.semconv, original_keys: HashMap::new(), drops_originals: settings.drop_originals };
        for dialect in vocabulary.dialects().filter(|_| settings.drop_originals) {
            let mut dialect_keys = Vec::new();
            for &(fact, ..) in &NAMES {
                let keys = vocabulary.original_keys(dialect, fact).into_iter();
                let keys = keys.filter(|key| !LEGACY_NAMES.contains(key) && !names.is_fact_name(key));
                dialect_keys.extend(keys.map(|key| (fact, key.into())));
            }
            names.original_keys.insert(dialect, dialect_keys);
        }
        names
    }

    /// The names of a fact in the configured version.
    fn names_of(&self, fact: &str) -> impl Iterator<Item = &'static str> {
        let semconv = self.semconv;
        NAMES
            .iter()
            .filter(move |(named, versions, _)| *named == fact && versions.contains(&semconv))
            .map(|(_, _, name)| *name)
    }

    /// Returns true if `key` is a name of the configured version.
    pub(super) fn is_semconv_name(&self, key: &str) -> bool {
        key == ERROR_TYPE || self.is_fact_name(key)
    }

    fn is_fact_name(&self, key: &str) -> bool {
        NAMES.iter().any(|(_, versions, name)| *name == key && versions.contains(&self.semconv))
    }

    /// Writes the missing attributes of one item.
    pub(super) fn write(
        &self,
        payload: &mut Payload,
        item: &ItemFacts,
        vaulted: &VaultedTexts,
        vocabulary: &Vocabulary,
    ) {
        let Some(dialect) = item.dialect else { return };
        let mut writer = AttributeWriter { names: self, payload, node: item.node, vaulted };
        for (id, value) in &item.converted {
            writer.payload.replace_attribute(*id, value.clone());
        }
        writer.write_text("session", item.session.as_deref());
        writer.write_extracted(item, vocabulary);
        if item.operation.is_some() || matches!(item.call, ItemRole::TurnEnd) {
            writer.write_text("operation", item.operation.as_deref());
            let provider = item.provider.as_deref();
            let is_legacy = self.semconv == SemconvVersion::V36;
            writer.write_text("provider", if is_legacy { provider.map(legacy_provider) } else { provider });
            writer.write_text("request_model", item.request_model.as_deref());
            writer.write_text("response_model", item.response_model.as_deref());
            writer.write_text("tool", item.tool.as_deref());
            writer.write_text("tool_call", item.tool_call.as_deref());
            if item.failed {
                writer.write_text_at(ERROR_TYPE, item.error.as_deref());
            }
        }
        if matches!(item.call, ItemRole::Model | ItemRole::ModelCopy) || item.billable {
            writer.write_text("response_id", item.response_id.as_deref());
            for (finish, key) in item.finish.iter().zip(self.names_of("finish")) {
                writer.set_if_absent(key, OwnedValue::StrList(vec![finish.clone()]));
            }
        }
        if item.call == ItemRole::Model || item.billable {
            writer.write_tokens(item);
        }
        if self.drops_originals {
            self.remove_originals(payload, item.node, dialect, vocabulary);
        }
    }

    fn remove_originals(&self, payload: &mut Payload, node: NodeId, dialect: &str, vocabulary: &Vocabulary) {
        let listed = self.original_keys.get(dialect).into_iter().flatten().map(|(fact, key)| (*fact, key.to_string()));
        let keys = payload.attributes(node).map(|attribute| attribute.key).filter(|key| !self.is_fact_name(key));
        let spelled = keys.filter_map(|key| Some((vocabulary.counted_fact(key)?, key.to_owned())));
        for (fact, key) in listed.chain(spelled).collect::<Vec<_>>() {
            if self.names_of(fact).any(|name| payload.get(node, name).is_some()) {
                payload.remove(node, &key);
            }
        }
    }
}

/// A provider's name in version 1.36.
fn legacy_provider(provider: &str) -> &str {
    match provider {
        "azure.ai.openai" => "az.ai.openai",
        "azure.ai.inference" => "az.ai.inference",
        "x_ai" => "xai",
        unchanged => unchanged,
    }
}

/// Writes attributes of one node.
struct AttributeWriter<'a> {
    names: &'a SemconvNames,
    payload: &'a mut Payload,
    node: NodeId,
    vaulted: &'a VaultedTexts,
}

impl AttributeWriter<'_> {
    fn write_text(&mut self, fact: &str, value: Option<&str>) {
        for key in self.names.names_of(fact) {
            self.write_text_at(key, value);
        }
    }

    fn write_text_at(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !self.vaulted.contains(value)) {
            self.set_if_absent(key, OwnedValue::Str(value.to_owned()));
        }
    }

    /// Writes the numbers and ids that were extracted from content, except users and tenants beside verified ones.
    fn write_extracted(&mut self, item: &ItemFacts, vocabulary: &Vocabulary) {
        if item.extracted.is_empty() {
            return;
        }
        let verified = self.payload.get_str(self.node, VERIFIED_IDS).unwrap_or_default().to_owned();
        let is_written = |key: &str| !vocabulary.owner_key(key).is_some_and(|kind| kind.is_verified_in(&verified));
        for (key, value) in item.extracted.iter().filter(|(key, _)| is_written(key)) {
            match value {
                OwnedValue::Str(text) => self.write_text_at(key, Some(text)),
                OwnedValue::StrList(_) | OwnedValue::Structure(_) => {}
                value => self.set_if_absent(key, value.clone()),
            }
        }
    }

    /// Writes token counts in the meaning of the conventions: input includes cache reads and writes.
    fn write_tokens(&mut self, item: &ItemFacts) {
        let Ok(split) = split_tokens(item) else { return };
        let usage = &item.usage;
        let TokenSplit { reasoning, output, output_audio, .. } = split;
        let cache_read = split.cache_read.saturating_add(split.cache_read_audio);
        let counts = [
            ("input", usage.input.is_some(), split.total_input()),
            ("output", usage.output.is_some(), output.saturating_add(output_audio)),
            ("cache_read", usage.cache_read.is_some(), cache_read),
            ("cache_write", usage.cache_write.is_some() || split.total_cache_writes() > 0, split.total_cache_writes()),
            ("reasoning", usage.reasoning.is_some(), reasoning),
        ];
        for (fact, _, count) in counts.into_iter().filter(|(_, is_reported, _)| *is_reported) {
            let Ok(count) = i64::try_from(count) else { continue };
            for key in self.names.names_of(fact) {
                // If originals are removed, an existing count with a different meaning is corrected.
                if self.names.drops_originals
                    && self.payload.get(self.node, key).is_some_and(|existing| existing.as_count() != Some(count))
                {
                    self.payload.remove(self.node, key);
                }
                self.set_if_absent(key, OwnedValue::Int(count));
            }
        }
    }

    /// Sets an attribute unless it already has a value of the right type.
    fn set_if_absent(&mut self, key: &str, value: OwnedValue) {
        let is_present = self.payload.get(self.node, key).is_some_and(|existing| is_same_type(existing, &value));
        if !is_present {
            self.payload.set(self.node, key, value);
        }
    }
}

fn is_same_type(existing: Value<'_>, value: &OwnedValue) -> bool {
    matches!(
        (existing, value),
        (Value::Str(_), OwnedValue::Str(_))
            | (Value::Int(_), OwnedValue::Int(_))
            | (Value::Double(_), OwnedValue::Double(_))
            | (Value::Bool(_), OwnedValue::Bool(_))
            | (Value::List(_), OwnedValue::StrList(_))
    )
}
