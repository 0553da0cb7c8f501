//! Keeps a back end that counts tokens from counting a call twice. Instrumentations report the tokens of one call on
//! several spans; the step `cost` marks those that are not charged (`tollgate.cost.status`). On their way to such a
//! back end they lose the attributes that it counts, which move to `tollgate.reported.<name>`. A span that is charged
//! only a part, such as a total above calls, carries that part instead, and the first span of a call that is charged on
//! its log record keeps its tokens. The back ends below count spans only, so log records stay as they are.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use otlp::{AttrId, NodeId, OwnedValue, Payload, Signal, UnknownFields};

/// How a back end counts model calls and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CountedBy {
    /// Nothing is moved.
    #[default]
    None,
    /// Prices spans by model and tokens (docs.honeycomb.io/investigate/observe/llm-cost).
    Honeycomb,
    /// Prices the tokens of spans that name a requested model
    /// (signoz.io/docs/ai-observability-telemetry-requirements). It also counts each such span as a call; the model
    /// stays, because boards group by it.
    Signoz,
    /// Reads each number below `gen_ai.usage.` as tokens of that name (langfuse.com/integrations/native/opentelemetry).
    Langfuse,
    /// Sums and prices OpenInference's token counts, and the conventions' (arize.com/docs/phoenix, cost tracking).
    Phoenix,
    /// Sums and prices the conventions' tokens
    /// (docs.datadoghq.com/llm_observability/instrumentation/otel_instrumentation).
    Datadog,
}

/// Which of the attributes that tollgate writes are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stamps {
    /// All of them.
    #[default]
    All,
    /// Those by which cost is added up, and by which a run and its content are found.
    Essential,
}

/// What [`Stamps::Essential`] leaves out: the parts and origin of a price, sizes and digests of content, estimates of
/// where input went, and the further names of a reference.
const NOT_ESSENTIAL: [&str; 22] = [
    "tollgate.cost.rates",
    "tollgate.cost.rate",
    "tollgate.cost.input_usd",
    "tollgate.cost.output_usd",
    "tollgate.cost.cache_read_usd",
    "tollgate.cost.cache_write_usd",
    "tollgate.cost.fees_usd",
    "tollgate.cost.cache_savings_usd",
    "tollgate.usage.*",
    "tollgate.input.*",
    "tollgate.context.*",
    "tollgate.content.shape",
    "tollgate.output.*",
    "gen_ai.payload.key_id",
    "gen_ai.payload.commitment",
    "gen_ai.payload.bytes",
    "gen_ai.input.messages_ref",
    "gen_ai.output.messages_ref",
    "gen_ai.system_instructions_ref",
    "gen_ai.tool.definitions_ref",
    "gen_ai.tool.call.arguments_ref",
    "gen_ai.tool.call.result_ref",
];

/// Whether a list has the key, or an entry that ends with `*` and matches the beginning of the key.
fn is_listed(list: &[&str], key: &str) -> bool {
    list.iter().any(|entry| entry.strip_suffix('*').map_or(key == *entry, |start| key.starts_with(start)))
}

/// Keys of token counts, each with the buckets of `tollgate.usage.*` that it sums up.
const TOKEN_KEYS: [(&str, &[&str]); 10] = [
    ("gen_ai.usage.input_tokens", INPUT),
    ("gen_ai.usage.prompt_tokens", INPUT),
    ("llm.token_count.prompt", INPUT),
    ("gen_ai.usage.output_tokens", &["output"]),
    ("gen_ai.usage.completion_tokens", &["output"]),
    ("llm.token_count.completion", &["output"]),
    ("gen_ai.usage.cache_read.input_tokens", &["cache_read"]),
    ("llm.token_count.prompt_details.cache_read", &["cache_read"]),
    ("gen_ai.usage.cache_creation.input_tokens", &["cache_write_5m", "cache_write_1h"]),
    ("llm.token_count.prompt_details.cache_write", &["cache_write_5m", "cache_write_1h"]),
];
const REQUEST_MODEL: &str = "gen_ai.request.model";
/// The conventions' input includes cached tokens.
const INPUT: &[&str] = &["input", "cache_read", "cache_write_5m", "cache_write_1h"];

/// A change to a span before it is sent.
enum Change {
    Remove(AttrId),
    Move(AttrId, String),
    Set(AttrId, i64),
    /// The model that answered, where the back end asks for the requested one.
    NameModel(NodeId, String),
}

impl CountedBy {
    /// The attributes that the back end counts or prices; an entry that ends with `*` matches by its beginning.
    pub fn counted_keys(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Honeycomb => &[
                "gen_ai.usage.input_tokens",
                "gen_ai.usage.prompt_tokens",
                "gen_ai.usage.output_tokens",
                "gen_ai.usage.completion_tokens",
                "gen_ai.usage.cache_read.input_tokens",
                "gen_ai.usage.cache_creation.input_tokens",
            ],
            Self::Langfuse => &[
                "gen_ai.usage.*",
                "llm.token_count.*",
                "langfuse.observation.usage_details",
                "langfuse.observation.cost_details",
            ],
            Self::Phoenix => &["gen_ai.usage.*", "llm.token_count.*"],
            Self::Signoz | Self::Datadog => &[
                "gen_ai.usage.input_tokens",
                "gen_ai.usage.output_tokens",
                "gen_ai.usage.cache_read.input_tokens",
                "gen_ai.usage.cache_creation.input_tokens",
            ],
        }
    }

    fn counts(self, key: &str) -> bool {
        // the step `cost` writes it only on items that are charged
        key != "gen_ai.usage.cost" && is_listed(self.counted_keys(), key)
    }

    /// The request as this back end should get it. A request that can't be parsed stays as it is: the back end refuses
    /// it.
    pub fn adjust(self, stamps: Stamps, signal: Signal, request: Bytes) -> Bytes {
        let counts = self != Self::None && signal == Signal::Traces;
        let is_reduced = stamps == Stamps::Essential && signal != Signal::Metrics;
        if !counts && !is_reduced {
            return request;
        }
        let Ok(mut payload) = Payload::parse(signal, request.clone()) else { return request };
        let mut changes = Vec::new();
        for item in payload.items() {
            if counts {
                self.collect_changes(&payload, item, &mut changes);
            }
            let attributes = payload.encoded_attributes(item).filter(|_| is_reduced);
            let left_out = attributes.filter(|attribute| is_listed(&NOT_ESSENTIAL, attribute.key()));
            changes.extend(left_out.map(|attribute| Change::Remove(attribute.id)));
        }
        if changes.is_empty() {
            return request;
        }
        for change in changes {
            match change {
                Change::Remove(id) => payload.remove_attribute(id),
                Change::Move(id, key) => payload.rename_attribute(id, &key),
                Change::Set(id, count) => payload.replace_attribute(id, OwnedValue::Int(count)),
                Change::NameModel(span, model) => payload.set(span, REQUEST_MODEL, OwnedValue::Str(model)),
            }
        }
        payload.encode(UnknownFields::Keep).map_or(request, |encoded| encoded.bytes.into())
    }

    fn collect_changes(self, payload: &Payload, span: NodeId, changes: &mut Vec<Change>) {
        let Some(share) = ChargedShare::of(payload, span) else {
            let is_call = self == Self::Signoz && payload.get(span, "tollgate.cost.status").is_some();
            if let Some(model) = payload.get_str(span, "gen_ai.response.model").filter(|_| is_call)
                && payload.get(span, REQUEST_MODEL).is_none()
            {
                changes.push(Change::NameModel(span, model.to_owned()));
            }
            return;
        };
        for attribute in payload.encoded_attributes(span).filter(|attribute| self.counts(attribute.key())) {
            let key = attribute.key();
            let part = |bucket: &str| payload.get(span, &format!("tollgate.usage.{bucket}"))?.as_count();
            let of_share = |(_, buckets): &(&str, &[&str])| {
                buckets.iter().map(|bucket| part(bucket)).try_fold(0_i64, |sum, count| sum.checked_add(count?))
            };
            let share_of_key = TOKEN_KEYS.iter().find(|(known, _)| *known == key).and_then(of_share);
            let change = match (share, share_of_key) {
                (ChargedShare::Part, Some(count)) => Change::Set(attribute.id, count),
                _ => Change::Move(attribute.id, format!("tollgate.reported.{key}")),
            };
            changes.push(change);
        }
    }
}

/// Which of its tokens a span shows, if not all.
#[derive(Clone, Copy)]
enum ChargedShare {
    /// Those in `tollgate.usage.*`.
    Part,
    Nothing,
}

impl ChargedShare {
    /// `None`: it shows all of them, because it stands for its call or has no stamp.
    fn of(payload: &Payload, span: NodeId) -> Option<Self> {
        let flags = payload.get(span, "tollgate.cost.flags");
        let has = |words: &[&str]| {
            let mut flags = flags.iter().flat_map(otlp::Value::items);
            flags.any(|word| word.as_str().is_some_and(|word| words.contains(&word)))
        };
        let is_difference = has(&["grown", "after_span", "after_sum", "remainder", "net"]);
        let is_known = !has(&["after_sum", "net"]) && payload.get(span, "tollgate.usage.input").is_some();
        match payload.get_str(span, "tollgate.cost.status")? {
            "not_counted" if has(&["on_log"]) => None,
            "correction" | "priced" | "unpriced" if is_difference && is_known => Some(Self::Part),
            "priced" | "unpriced" if !is_difference => None,
            "included" | "not_counted" | "correction" | "priced" | "unpriced" => Some(Self::Nothing),
            _ => None,
        }
    }
}
