//! Detects response ids that do not identify a call, such as `chatcmpl-1` from a mock or from a gateway that numbers
//! its answers. The same id in another trace with another model or other counts, or in the same trace with another
//! input, belongs to a different call.
//!
//! A repeat or another layer of a call reports the same values in any trace. Without a trace the id is trusted. The
//! layers of one call are recognised in `layers`.

use std::collections::{HashMap, HashSet};

use genai::{Facts, ItemFacts};
use kernel::hex;
use otlp::Payload;
use pipeline::{ClaimKey, Claims};

use super::layers::CallSize;
use super::waiting_calls::LedgerKey;

/// The call's key, if it is a response id.
fn response_id_key(item: &ItemFacts) -> Option<&str> {
    item.call_key.as_deref().filter(|key| key.starts_with("r/"))
}

/// The key under which an answer's size is remembered: by trace, id, dialect and scope, because other layers may count
/// differently.
pub(super) fn answer_key(account: &str, payload: &Payload, item: &ItemFacts) -> Option<LedgerKey> {
    let (id, dialect) = (response_id_key(item)?, item.dialect?);
    let scope = payload.text(payload.scope(item.node), otlp::TextField::Name);
    let trace = payload.trace_id(item.node);
    let parts: [&[u8]; 6] = [b"answer", account.as_bytes(), trace, id.as_bytes(), dialect.as_bytes(), scope.as_bytes()];
    Some(ClaimKey::from_parts(&parts).to_bytes())
}

/// The key of a call whose response id was already used by a different call.
fn separate_call_key(base: &str, trace: &[u8], span: &[u8]) -> String {
    format!("{base}@{}/{}", hex::encode(trace), hex::encode(span))
}

/// Gives separate keys to calls of this request that share only a response id. Returns the affected items.
pub(super) fn separate_reused_ids(payload: &Payload, facts: &mut Facts) -> HashSet<usize> {
    let mut reused = HashSet::new();
    let mut id_counts: HashMap<&str, usize> = HashMap::new();
    for id in facts.items.iter().filter(|item| item.billable).filter_map(response_id_key) {
        *id_counts.entry(id).or_default() += 1;
    }
    let shared: HashSet<String> =
        id_counts.into_iter().filter(|(_, times)| *times > 1).map(|(id, _)| id.to_owned()).collect();
    if shared.is_empty() {
        return reused;
    }
    let (mut keys_by_claim, mut seen_ids) = (HashMap::<ClaimKey, String>::new(), HashSet::new());
    for (index, item) in facts.items.iter_mut().enumerate().filter(|(_, item)| item.billable) {
        let Some(base) = response_id_key(item).filter(|id| shared.contains(*id)).map(str::to_owned) else { continue };
        let trace = payload.trace_id(item.node);
        let id_use = IdUseClaims::from_item("", &base, payload, item);
        let same_call_key = id_use.same_call.iter().find_map(|claim| keys_by_claim.get(claim)).cloned();
        let is_first_use = seen_ids.insert(base.clone());
        let key = same_call_key.unwrap_or_else(|| {
            if is_first_use || trace.is_empty() {
                base.clone()
            } else {
                separate_call_key(&base, trace, payload.span_id(item.node))
            }
        });
        for claim in id_use.recorded_claims() {
            keys_by_claim.entry(claim).or_insert_with(|| key.clone());
        }
        if key != base {
            reused.insert(index);
            item.call_key = Some(key);
        }
    }
    reused
}

/// How a response id was used: the trace and span, and the call's model and size.
pub(super) struct IdUseClaims {
    /// Taken when the call is billed under this id.
    recorded: Vec<ClaimKey>,
    /// Any one of them, if held, shows an earlier use by the same call.
    same_call: Vec<ClaimKey>,
}

impl IdUseClaims {
    /// Uses in one trace belong to one call if they report the same input (the output of a stream grows), if one
    /// reports no input, or if they are the same span or a span and its parent. Uses in different traces belong to one
    /// call if size and model agree.
    fn from_item(account: &str, base: &str, payload: &Payload, item: &ItemFacts) -> Self {
        let CallSize { inputs, output, model, no_input } = CallSize::from_item(item);
        let (trace, span) = (payload.trace_id(item.node), payload.span_id(item.node));
        let parent = payload.parent_span_id(item.node);
        let (account, base) = (account.as_bytes(), base.as_bytes());
        let key =
            |word: &[u8], trace: &[u8], detail: &[u8]| ClaimKey::from_parts(&[word, account, base, trace, detail]);
        let size_key =
            |input: &[u8]| ClaimKey::from_parts(&[b"id of", account, base, input, &output, model.as_bytes()]);
        let mut recorded = vec![key(b"id in", trace, &[])];
        let mut same_call = vec![key(b"id in", &[], &[]), key(b"id in silent", trace, &[])];
        recorded.extend(inputs.iter().map(|input| size_key(input)));
        if no_input {
            recorded.push(key(b"id in silent", trace, &[]));
            same_call.push(key(b"id in", trace, &[]));
        } else {
            recorded.extend(inputs.iter().map(|input| key(b"id with", trace, input)));
        }
        same_call.extend(recorded.iter().skip(1));
        if !span.is_empty() {
            recorded.push(key(b"id at", trace, span));
            same_call.extend([key(b"id at", trace, span), key(b"id below", trace, span)]);
        }
        if !parent.is_empty() {
            recorded.push(key(b"id below", trace, parent));
            same_call.push(key(b"id at", trace, parent));
        }
        Self { recorded, same_call }
    }

    /// Claims that record this use.
    pub(super) fn recorded_claims(&self) -> impl Iterator<Item = ClaimKey> {
        self.recorded.iter().copied()
    }
}

/// The evidence from earlier requests about a call's response id.
pub(super) struct ResponseIdEvidence {
    pub(super) id_use: IdUseClaims,
    /// The key to count the call under, if its id was already used by a different call.
    pub(super) separate_key: Option<String>,
    /// The same call was billed before under this id.
    pub(super) seen_before: bool,
}

/// Compares a call with earlier uses of its response id in batches other than `batch`. `None` if the call has no
/// response id as its key.
pub(super) fn compare_id_uses(
    claims: &Claims,
    batch: &[u8; 16],
    payload: &Payload,
    account: &str,
    item: &ItemFacts,
) -> Option<ResponseIdEvidence> {
    let (id, response_id) = (response_id_key(item)?, item.response_id.as_deref()?);
    let base = format!("r/{response_id}");
    let trace = payload.trace_id(item.node);
    let id_use = IdUseClaims::from_item(account, &base, payload, item);
    let held_by_other_batch = |key: ClaimKey| claims.holder(key).is_some_and(|holder| holder != *batch);
    let is_used = held_by_other_batch(ClaimKey::from_parts(&[b"call", account.as_bytes(), base.as_bytes()]));
    let is_same_call = trace.is_empty() || id_use.same_call.iter().copied().any(held_by_other_batch);
    let separate_key =
        (is_used && !is_same_call && id == base).then(|| separate_call_key(&base, trace, payload.span_id(item.node)));
    Some(ResponseIdEvidence { id_use, separate_key, seen_before: is_used && is_same_call })
}
