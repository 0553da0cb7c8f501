//! What the ledger of calls reads of an item.

use calls::{CallRecord, CallTokenCounts, Money, SpanLink, model_stem, tenant_number, text_number, traits};
use genai::usage::{TokenSplit, input_forms, split_tokens};
use genai::{CallTokenBuckets, ItemFacts, ItemRole, Vocabulary, response_id_kind};
use kernel::sha256::Sha256;
use otlp::{NodeId, NodeKind, Payload};

use super::price::PriceParts;
use super::waiting_calls::LedgerKey;

/// Whether the item reports tokens or a model call, so that the ledger decides about it.
pub(super) fn is_record(item: &ItemFacts) -> bool {
    (item.billable || item.no_usage || is_total(item)) && !item.copy
}

/// Whether the item reports the tokens of all calls below it.
pub(super) fn is_total(item: &ItemFacts) -> bool {
    match item.call {
        ItemRole::Agent => item.usage.has_billed_tokens(),
        ItemRole::TurnEnd => item.billable,
        _ => false,
    }
}

pub(super) fn is_tool_or_agent(item: &ItemFacts) -> bool {
    matches!(item.call, ItemRole::Tool | ItemRole::Agent)
}

fn id<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

/// A span as a link between records.
pub(super) fn span_link(payload: &Payload, node: NodeId, is_boundary: bool) -> Option<SpanLink> {
    let trace = <[u8; 16]>::try_from(payload.trace_id(node)).ok()?;
    let span = <[u8; 8]>::try_from(payload.span_id(node)).ok()?;
    Some(SpanLink { trace, span, parent: id(payload.parent_span_id(node)), is_boundary })
}

/// The units that a price distinguishes: input, output, cache reads, cache writes.
pub(super) fn units(split: &TokenSplit) -> [u64; 4] {
    let buckets = split.buckets();
    [buckets.input, buckets.output, buckets.cache_read, buckets.cache_write_5m.saturating_add(buckets.cache_write_1h)]
}

/// Tokens that were billed before, as far as the ledger knows them.
pub(super) fn split_of_units([input, output, cache_read, cache_write]: [u64; 4]) -> TokenSplit {
    TokenSplit { input, output, cache_read, cache_write, ..TokenSplit::default() }
}

/// Takes units out of the buckets.
pub(super) fn subtract(buckets: &mut CallTokenBuckets, [input, output, cache_read, cache_write]: [u64; 4]) {
    let beyond_short = cache_write.saturating_sub(buckets.cache_write_5m);
    let before = CallTokenBuckets {
        input,
        cache_read,
        cache_write_5m: cache_write,
        cache_write_1h: beyond_short,
        output,
        reasoning: output,
    };
    *buckets = buckets.combine(before, u64::saturating_sub);
}

impl From<PriceParts> for Money {
    fn from(PriceParts { input, output, cache_read, cache_write, fees, saved }: PriceParts) -> Self {
        Self([input.0, output.0, cache_read.0, cache_write.0, fees.0], saved.map(|usd| usd.0))
    }
}

/// The record of an item, as yet without a price.
pub(super) fn call_record(
    vocabulary: &Vocabulary,
    payload: &Payload,
    (account, batch): (&str, &[u8; 16]),
    index: usize,
    item: &ItemFacts,
) -> CallRecord {
    let (node, account) = (item.node, account.as_bytes());
    let is_span = payload.kind(node) == NodeKind::Span;
    let is_total = is_total(item);
    let (trace, span) = (payload.trace_id(node), payload.span_id(node));
    let split = split_tokens(item).ok();
    let counts = CallTokenCounts { input: input_forms(item, split.as_ref()), output: item.usage.output };
    let response_id = item.provider_response_id().filter(|_| !is_total);
    let call = item.call_key.as_deref().unwrap_or_default().as_bytes();
    let own_id = if is_span && !trace.is_empty() && !span.is_empty() {
        Sha256::short_list(&[b"span", account, trace, span, call])
    } else if call.is_empty() {
        // nothing tells it from others
        Sha256::short_list(&[b"item", batch, &index.to_le_bytes()])
    } else {
        let [input, output] = [item.usage.input, item.usage.output].map(|count| count.unwrap_or(0).to_le_bytes());
        Sha256::short_list(&[b"log", account, trace, span, call, &payload.time(node).to_le_bytes(), &input, &output])
    };
    let twin = match (item.on_two_signals && response_id.is_none(), item.dialect) {
        (true, Some(dialect)) => {
            let [input, output] = [item.usage.input, item.usage.output].map(|count| count.unwrap_or(0).to_le_bytes());
            Sha256::short_list(&[b"twin", account, dialect.as_bytes(), &input, &output])
        }
        _ => [0; 16],
    };
    let is_generic = item.dialect.is_some_and(|dialect| vocabulary.is_generic_dialect(dialect));
    let traits = [
        (traits::SPAN, is_span),
        (traits::VENDOR_SDK, item.from_vendor_sdk),
        (traits::TOTAL, is_total),
        (traits::OF_TRACE, is_total && !is_span),
        (traits::GUESSED, item.guessed),
        (traits::LEAF_ONLY, is_generic && !item.guessed),
        (traits::CACHE_SPLIT, item.usage.cache_write_1h.is_some()),
        (traits::OF_SPAN, item.counts_if_no_span),
        (traits::BOUNDARY, is_tool_or_agent(item)),
        (traits::ACCUMULATES, is_total && item.accumulates),
    ];
    let model =
        |name: &Option<String>| name.as_deref().map_or(0, |name| text_number(&model_stem(name).to_ascii_lowercase()));
    CallRecord {
        id: own_id,
        trace: id(trace),
        span: id(span),
        parent: if is_span { id(payload.parent_span_id(node)) } else { [0; 8] },
        traits: traits.into_iter().filter(|(_, is_set)| *is_set).fold(0, |sum, (bit, _)| sum | bit),
        answer: response_id.map_or([0; 16], |id| Sha256::short_list(&[b"answer", account, id.as_bytes()])),
        answer_kind: response_id.map_or(0, |id| text_number(response_id_kind(id))),
        twin,
        counts,
        models: [model(&item.response_model), model(&item.request_model)],
        start: payload.time(node),
        end: payload.end_time(node),
        tenant: item.tenant.as_deref().map_or(0, tenant_number),
        units: split.as_ref().map(units).unwrap_or_default(),
        price: None,
    }
}

/// The key of a client's session. Where records carry no response id (Codex), spans do not carry the session of the
/// logs either, so all clients share one key.
pub(super) fn session_key(account: &str, item: &ItemFacts) -> LedgerKey {
    let session = item.session.as_deref().filter(|_| item.response_id.is_some()).unwrap_or("");
    let dialect = item.dialect.unwrap_or_default();
    Sha256::short_list(&[b"client", account.as_bytes(), dialect.as_bytes(), session.as_bytes()])
}
