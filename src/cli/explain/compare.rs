//! Compares one request before and after the pipeline, item by item, with the facts read from it. The result serialises
//! completely; it holds the user's payload, so it has no `Debug`. `formatting` prints it.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value as Json;

use crate::app::dry_run::{DropReason, DryRun, DryRunResult};
use genai::usage::split_tokens;
use genai::{
    CallTokenBuckets, ContentBasis, ContentLocation, ContentPlace, DialectReason, EmbeddedContent, Facts, ItemFacts,
    ItemRole, Vocabulary, explain_dialects, missing_required_attributes,
};
use kernel::hex;
use otlp::{NodeId, NodeKind, Payload, TextField, Value};
use pipeline::Reason;
use rates::UnpricedReason;
use redaction::SearchScratch;
use telemetry::unpriced_calls::provider_line;

/// The reason of a call whose model no rate table has.
pub(super) const UNKNOWN_MODEL: &str = UnpricedReason::UnknownModel.as_str();
const UNKNOWN_PROVIDER: &str = UnpricedReason::UnknownProvider.as_str();
/// The decimals of a listed price per million tokens. One with more is a mean of several prices.
const MAX_PRICE_DECIMALS: u32 = 9;

#[derive(Serialize)]
pub(super) struct RequestExplanation {
    pub(super) signal: &'static str,
    pub(super) pipeline: String,
    pub(super) processors: Vec<String>,
    /// The privacy profile of the pipeline's vault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) privacy: Option<&'static str>,
    pub(super) items: Vec<ItemExplanation>,
    /// Resources and scopes.
    #[serde(rename = "resources_and_scopes")]
    pub(super) shared: Vec<ExplainedPart>,
}

/// A span, log record or data point.
#[derive(Serialize)]
pub(super) struct ItemExplanation {
    pub(super) kind: &'static str,
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) trace_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) span_id: String,
    pub(super) dialect: Option<&'static str>,
    pub(super) dialect_conditions: Vec<String>,
    pub(super) agent: bool,
    pub(super) role: &'static str,
    pub(super) ids: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<TokenCounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) price: Option<PriceExplanation>,
    pub(super) vault: Vec<VaultedContent>,
    /// Why the gateway refuses the item; the other fields then say what would happen to it otherwise.
    #[serde(rename = "refused_because", skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<&'static str>,
    /// The filter and rule that drop the item.
    #[serde(rename = "dropped_by", skip_serializing_if = "Option::is_none")]
    pub(super) dropped: Option<DropReason>,
    /// Attributes that the conventions require and that are still missing.
    #[serde(rename = "missing_attributes")]
    pub(super) missing: Vec<&'static str>,
    pub(super) parts: Vec<ExplainedPart>,
}

/// The item itself, one of its events, a resource or a scope.
#[derive(Serialize)]
pub(super) struct ExplainedPart {
    pub(super) node: String,
    pub(super) changes: Vec<AttributeChange>,
}

/// An attribute or field before and after.
#[derive(Default, Serialize)]
pub(super) struct AttributeChange {
    pub(super) key: String,
    /// `kept`, `changed`, `moved_to_vault`, `dropped` or `added`.
    pub(super) outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<Json>,
    /// Why the whole text was replaced, if not because of a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replaced_because: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rules: Vec<RuleHit>,
}

/// A finding of a redaction rule in the original text.
#[derive(Serialize)]
pub(super) struct RuleHit {
    pub(super) rule: String,
    pub(super) placeholder: String,
    /// How certain the rule is.
    #[serde(rename = "certainty")]
    pub(super) why: &'static str,
    /// Range in characters of the text; in a list or map, of the value that contains it.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Tokens as reported and as priced.
#[derive(Serialize)]
pub(super) struct TokenCounts {
    pub(super) reported: BTreeMap<&'static str, u64>,
    pub(super) buckets: BTreeMap<&'static str, u64>,
    /// Whether the reported input includes cached tokens; `None` if unknown.
    pub(super) input_includes_cached: Option<bool>,
    /// Unrecognized usage keys with a number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unrecognized: Vec<Box<str>>,
}

#[derive(Serialize)]
pub(super) struct PriceExplanation {
    pub(super) status: &'static str,
    #[serde(rename = "cost_usd")]
    pub(super) usd: Option<String>,
    #[serde(rename = "rate_row")]
    pub(super) row: Option<String>,
    #[serde(rename = "rate_table")]
    pub(super) table: String,
    pub(super) reason: Option<&'static str>,
    /// The closest listed model id, if the model is unknown.
    #[serde(rename = "nearest_model", skip_serializing_if = "Option::is_none")]
    pub(super) nearest: Option<String>,
    /// The line of configuration that gives the call a price, if the provider is unknown.
    #[serde(rename = "price_config", skip_serializing_if = "Option::is_none")]
    pub(super) config_line: Option<String>,
    pub(super) flags: Option<Json>,
    #[serde(rename = "lines")]
    pub(super) sum: Vec<PriceLine>,
}

#[derive(Serialize)]
pub(super) struct PriceLine {
    pub(super) bucket: &'static str,
    pub(super) tokens: u64,
    /// USD per million tokens, if one price applied to all of them.
    pub(super) usd_per_million: Option<String>,
    #[serde(rename = "cost_usd")]
    pub(super) usd: String,
}

#[derive(Serialize)]
pub(super) struct VaultedContent {
    pub(super) key: String,
    pub(super) part: &'static str,
    pub(super) rule: &'static str,
    pub(super) bytes: usize,
}

pub(super) fn explain_request(
    vocabulary: &Vocabulary,
    result: &DryRunResult,
    privacy: Option<&'static str>,
) -> RequestExplanation {
    let (before, after) = (&result.before, &result.after);
    let no_facts = Facts { items: Vec::new(), has_agent_items: false, late_prices: Vec::new() };
    let facts = result.facts.as_deref().unwrap_or(&no_facts);
    let items = before.items().zip(after.items()).zip(explain_dialects(vocabulary, before)).enumerate();
    let items = items.map(|(at, (nodes, why))| explain_item(result, at, facts.items.get(at), nodes, why)).collect();
    let shared_nodes = |payload: &Payload| -> Vec<NodeId> {
        payload.nodes().filter(|node| matches!(payload.kind(*node), NodeKind::Resource | NodeKind::Scope)).collect()
    };
    let all_content: Vec<ContentPlace> = facts.items.iter().flat_map(|item| item.content.iter().copied()).collect();
    RequestExplanation {
        signal: before.signal().as_str(),
        pipeline: result.pipeline.to_string(),
        processors: result.steps.iter().map(|step| step.to_string()).collect(),
        privacy,
        items,
        shared: std::iter::zip(shared_nodes(before), shared_nodes(after))
            .map(|(old_node, new_node)| explain_part(result, old_node, new_node, &all_content))
            .filter(|part| !part.changes.is_empty())
            .collect(),
    }
}

/// Adds the closest listed model id to calls of unknown models, and the line of configuration to those of unknown
/// providers.
pub(super) fn add_remedies(items: &mut [ItemExplanation], dry: &DryRun) {
    for item in items {
        let (Some(price), Some(model)) = (item.price.as_mut(), item.ids.get("model")) else { continue };
        let provider = item.ids.get("provider").map(String::as_str);
        match (price.reason, provider) {
            (Some(UNKNOWN_MODEL), _) => price.nearest = dry.nearest_model(provider, model),
            (Some(UNKNOWN_PROVIDER), Some(provider)) => {
                let seller = dry.find_seller(provider, model).unwrap_or_default();
                price.config_line = provider_line(provider, UNKNOWN_PROVIDER, &seller);
            }
            _ => {}
        }
    }
}

fn explain_item(
    result: &DryRunResult,
    at: usize,
    facts: Option<&ItemFacts>,
    (old_node, new_node): (NodeId, NodeId),
    dialect_reason: DialectReason,
) -> ItemExplanation {
    let (before, after) = (&result.before, &result.after);
    let content = facts.map(|facts| facts.content.as_slice()).unwrap_or_default();
    let children = before.children(old_node).zip(after.children(new_node));
    let mut parts = vec![explain_part(result, old_node, new_node, content)];
    let children = children.map(|(old_node, new_node)| explain_part(result, old_node, new_node, content));
    parts.extend(children.filter(|part| !part.changes.is_empty()));
    ItemExplanation {
        kind: kind_name(before.kind(old_node)),
        name: item_name(before, old_node),
        trace_id: hex::encode(before.trace_id(old_node)),
        span_id: hex::encode(before.span_id(old_node)),
        dialect: facts.and_then(|facts| facts.dialect).or(dialect_reason.dialect),
        dialect_conditions: dialect_reason.conditions,
        agent: facts.is_some_and(|facts| facts.agent),
        role: facts.map_or("other", |facts| role_name(facts.call)),
        ids: facts.map(|facts| collect_ids(facts, after, new_node)).unwrap_or_default(),
        tokens: facts.filter(|facts| facts.usage.is_reported()).map(explain_tokens),
        price: facts.and_then(|facts| explain_price(facts, after, new_node)),
        vault: content.iter().filter_map(|place| explain_vaulted(before, place, facts?.embedded.as_deref())).collect(),
        refused: result.refused.get(at).copied().flatten().map(explain_refusal),
        dropped: result.dropped.get(at).cloned().flatten(),
        missing: facts.map(|facts| missing_required_attributes(after, new_node, facts)).unwrap_or_default(),
        parts,
    }
}

fn explain_refusal(reason: Reason) -> &'static str {
    match reason {
        Reason::BadIds => "`traceId` must have 32 hex digits and `spanId` 16, not all zero",
        Reason::ItemTooLarge => "it is larger than `limits.max_item_size`",
        other => other.text(),
    }
}

fn item_name(payload: &Payload, node: NodeId) -> String {
    if payload.kind(node) == NodeKind::DataPoint {
        let metric = payload.parent(node);
        return metric.map(|metric| payload.text(metric, TextField::Name).to_owned()).unwrap_or_default();
    }
    let name = payload.text(node, payload.name_field(node));
    let event_name = payload.get_str(node, "event.name").unwrap_or_default();
    if name.is_empty() { event_name.to_owned() } else { name.to_owned() }
}

fn kind_name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Resource => "resource",
        NodeKind::Scope => "scope",
        NodeKind::Span => "span",
        NodeKind::Event => "event",
        NodeKind::Link => "link",
        NodeKind::LogRecord => "log",
        NodeKind::Metric => "metric",
        NodeKind::DataPoint => "data point",
        NodeKind::Exemplar => "exemplar",
    }
}

fn role_name(role: ItemRole) -> &'static str {
    match role {
        ItemRole::Model => "model call",
        ItemRole::ModelCopy => "model call, counted elsewhere or without tokens",
        ItemRole::Tool => "tool call",
        ItemRole::Agent => "agent invocation",
        ItemRole::TurnEnd => "end of a turn",
        ItemRole::SessionEnd => "end of a session",
        ItemRole::Permission => "permission decision",
        ItemRole::Other => "other",
    }
}

fn collect_ids(facts: &ItemFacts, after: &Payload, new_node: NodeId) -> BTreeMap<&'static str, String> {
    let read = [
        ("session", &facts.session),
        ("turn", &facts.turn),
        ("user", &facts.user),
        ("tenant", &facts.tenant),
        ("provider", &facts.provider),
        ("model", &facts.request_model),
        ("response_model", &facts.response_model),
        ("response_id", &facts.response_id),
        ("tool", &facts.tool),
        ("tool_call_id", &facts.tool_call),
        ("feature", &facts.feature),
    ];
    let read = read.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
    let run = after.get_str(new_node, "tollgate.run.id").map(|run| ("run", run.to_owned()));
    read.chain(run).collect()
}

fn explain_tokens(facts: &ItemFacts) -> TokenCounts {
    TokenCounts {
        reported: facts.usage.counts().collect(),
        buckets: find_buckets(facts).iter().flat_map(named_buckets).filter(|(_, count)| *count > 0).collect(),
        input_includes_cached: facts.input_includes_cached,
        unrecognized: facts.unrecognized_usage.clone(),
    }
}

fn find_buckets(facts: &ItemFacts) -> Option<CallTokenBuckets> {
    let priced =
        facts.cost.as_deref().map(|cost| cost.buckets).filter(|buckets| *buckets != CallTokenBuckets::default());
    priced.or_else(|| split_tokens(facts).ok().map(|split| split.buckets()))
}

fn named_buckets(buckets: &CallTokenBuckets) -> [(&'static str, u64); 6] {
    [
        ("input", buckets.input),
        ("cache_read", buckets.cache_read),
        ("cache_write_5m", buckets.cache_write_5m),
        ("cache_write_1h", buckets.cache_write_1h),
        ("output", buckets.output),
        ("reasoning", buckets.reasoning),
    ]
}

fn explain_price(facts: &ItemFacts, after: &Payload, new_node: NodeId) -> Option<PriceExplanation> {
    let cost = facts.cost.as_deref()?;
    let (buckets, mut sum) = (cost.buckets, Vec::new());
    for (bucket, key, tokens, one_price) in [
        ("input", "tollgate.cost.input_usd", buckets.input, true),
        ("cache_read", "tollgate.cost.cache_read_usd", buckets.cache_read, true),
        (
            "cache_write",
            "tollgate.cost.cache_write_usd",
            buckets.cache_write_5m + buckets.cache_write_1h,
            buckets.cache_write_5m == 0 || buckets.cache_write_1h == 0,
        ),
        ("output", "tollgate.cost.output_usd", buckets.output, true),
        ("fees", "tollgate.cost.fees_usd", 0, false),
    ] {
        let Some(usd) = after.get_str(new_node, key) else { continue };
        let usd_per_million = one_price.then(|| usd_per_million(usd, tokens)).flatten();
        sum.push(PriceLine { bucket, tokens, usd_per_million, usd: usd.to_owned() });
    }
    Some(PriceExplanation {
        status: cost.status.as_str(),
        usd: cost.usd.clone(),
        row: cost.rate_row.clone(),
        table: cost.rate_table.to_string(),
        reason: cost.reason,
        nearest: None,
        config_line: None,
        flags: after.get(new_node, "tollgate.cost.flags").map(to_json),
        sum,
    })
}

/// The price of a million tokens, if it is exact.
fn usd_per_million(usd: &str, tokens: u64) -> Option<String> {
    let (amount, count) = (Decimal::from_str_exact(usd).ok()?, Decimal::from(tokens));
    let price = amount.checked_mul(Decimal::from(1_000_000))?.checked_div(count)?.normalize();
    let recomputed = price.checked_mul(count)?.checked_div(Decimal::from(1_000_000))?;
    (recomputed == amount && price.scale() <= MAX_PRICE_DECIMALS).then(|| price.to_string())
}

fn explain_vaulted(
    before: &Payload,
    place: &ContentPlace,
    embedded: Option<&EmbeddedContent>,
) -> Option<VaultedContent> {
    if let ContentLocation::Embedded(index) = place.at {
        let part = embedded?.parts.get(index as usize)?;
        let (rule, bytes) = ("listed as content, inside a value that stays", part.value.len());
        return Some(VaultedContent { key: part.key.clone(), part: place.part.as_str(), rule, bytes });
    }
    let key = place.at.key(before)?;
    let bytes = match place.value(before)? {
        Value::Str(text) => text.len(),
        value => value.to_json().len(),
    };
    let rule = match place.basis {
        ContentBasis::Listed => "listed as content",
        ContentBasis::Key => "the key is text, not a name",
        ContentBasis::Guessed => "text of an agent's item that is not known to be harmless",
        ContentBasis::LongLabel => {
            "longer than a label, or not of its key's shape; `labels.keep` keeps the key's texts"
        }
        ContentBasis::Unlisted => "not one identifier, under an unlisted key; `labels.keep` keeps the key's texts",
    };
    Some(VaultedContent { key: key.to_owned(), part: place.part.as_str(), rule, bytes })
}

/// The visible fields and attributes of a node, in that order.
fn visible_fields(payload: &Payload, node: NodeId) -> Vec<(String, Json)> {
    let fields = [
        ("name", TextField::Name),
        ("event_name", TextField::EventName),
        ("severity_text", TextField::SeverityText),
        ("status.message", TextField::StatusMessage),
        ("trace_state", TextField::TraceState),
        ("version", TextField::Version),
        ("schema_url", TextField::SchemaUrl),
    ];
    let fields = fields.into_iter().map(|(name, field)| (name, payload.text(node, field)));
    let fields = fields.filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name.to_owned(), text.into()));
    let body = payload.body(node).map(|body| ("body".to_owned(), to_json(body)));
    let attributes = payload.attributes(node);
    let attributes = attributes.map(|attribute| (attribute.key.to_owned(), to_json(attribute.value)));
    fields.chain(body).chain(attributes).collect()
}

fn to_json(value: Value<'_>) -> Json {
    serde_json::from_str(&value.to_json()).unwrap_or(Json::Null)
}

fn explain_part(result: &DryRunResult, old_node: NodeId, new_node: NodeId, content: &[ContentPlace]) -> ExplainedPart {
    let (before, after) = (visible_fields(&result.before, old_node), visible_fields(&result.after, new_node));
    let mut unmatched: BTreeMap<&str, Vec<&Json>> = BTreeMap::new();
    for (key, value) in after.iter().rev() {
        unmatched.entry(key).or_default().push(value);
    }
    let mut vaulted: BTreeSet<&str> = BTreeSet::new();
    for place in content.iter().filter(|place| place.node == old_node) {
        vaulted.extend(place.at.key(&result.before));
        vaulted.extend((place.at == ContentLocation::Name).then_some("event_name"));
    }
    let mut changes: Vec<AttributeChange> = Vec::new();
    for (key, value) in &before {
        let new = unmatched.get_mut(key.as_str()).and_then(Vec::pop);
        let outcome = match new {
            Some(same) if same == value => "kept",
            Some(_) => "changed",
            None if vaulted.contains(key.as_str()) => "moved_to_vault",
            None => "dropped",
        };
        let changed = new.filter(|_| outcome == "changed");
        let replaced_because = changed.and_then(|new| whole_replacement_reason(new, vaulted.contains(key.as_str())));
        let by_rules = changed.is_some() && replaced_because.is_none();
        changes.push(AttributeChange {
            key: key.clone(),
            outcome,
            before: Some(value.clone()),
            after: changed.cloned(),
            rules: if by_rules { find_rule_hits(result, key, value) } else { Vec::new() },
            replaced_because,
        });
    }
    for (key, value) in &after {
        // Values without a counterpart were added; they are listed in the order of `after`.
        if let Some(added) = unmatched.get_mut(key.as_str())
            && added.pop().is_some()
        {
            let (key, after) = (key.clone(), Some(value.clone()));
            changes.push(AttributeChange { key, outcome: "added", after, ..AttributeChange::default() });
        }
    }
    let kind = kind_name(result.before.kind(old_node));
    let name = result.before.text(old_node, TextField::Name);
    ExplainedPart { node: if name.is_empty() { kind.to_owned() } else { format!("{kind} {name}") }, changes }
}

/// Why a whole text was replaced. Rule findings in it are then not the reason.
fn whole_replacement_reason(new: &Json, is_vaulted: bool) -> Option<&'static str> {
    match new.as_str()? {
        "[CONTENT]" if is_vaulted => Some("it is content and is now in the vault"),
        "[CONTENT]" => Some("it repeats content that went to the vault"),
        "[UNSCANNED]" => Some("it can't be searched: too long, nested too deeply, or not text"),
        _ => None,
    }
}

/// The rule findings in a value. Echoes of content and cut texts have none.
fn find_rule_hits(result: &DryRunResult, key: &str, value: &Json) -> Vec<RuleHit> {
    let Some(rules) = &result.rules else { return Vec::new() };
    let mut out = Vec::new();
    let mut scratch = SearchScratch::new();
    visit_texts(value, &mut |text| {
        let entities = result.answers.as_ref().and_then(|answers| answers.findings(text)).unwrap_or_default();
        for hit in rules.find_with_entities(key, text, entities, &mut scratch) {
            let chars = |at: usize| text.get(..at).unwrap_or_default().chars().count();
            out.push(RuleHit {
                rule: rules.rule_name(hit).to_owned(),
                placeholder: rules.placeholder(hit).to_owned(),
                why: rules.class(hit).explanation(),
                start: chars(hit.range.start),
                end: chars(hit.range.end),
            });
        }
    });
    out
}

fn visit_texts(value: &Json, visit: &mut dyn FnMut(&str)) {
    match value {
        Json::String(text) => visit(text),
        Json::Array(list) => list.iter().for_each(|one| visit_texts(one, visit)),
        Json::Object(map) => map.values().for_each(|one| visit_texts(one, visit)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}
