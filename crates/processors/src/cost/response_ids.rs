//! Detects response ids that do not identify a call, such as `chatcmpl-1` from a mock or from a gateway that numbers
//! its answers. The same id in another trace with another model or other counts, or in the same trace with another
//! input, belongs to a different call.
//!
//! A repeat or another layer of a call reports the same values in any trace. Without a trace the id is trusted. The
//! layers of one call are recognised in `layers`.

use std::collections::HashSet;

use foldhash::HashMap;
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

/// The key of a call whose response id another call has; `None` without such an id.
pub(super) fn span_key(payload: &Payload, item: &ItemFacts) -> Option<String> {
    let base = format!("r/{}", item.response_id.as_deref()?);
    Some(separate_call_key(&base, payload.trace_id(item.node), payload.span_id(item.node)))
}

/// The key of a call whose response id was already used by a different call.
fn separate_call_key(base: &str, trace: &[u8], span: &[u8]) -> String {
    format!("{base}@{}/{}", hex::encode(trace), hex::encode(span))
}

/// Gives separate keys to calls of this request that share only a response id. Returns the affected items.
pub(super) fn separate_reused_ids(payload: &Payload, facts: &mut Facts) -> HashSet<usize> {
    let mut reused = HashSet::new();
    let mut id_counts: HashMap<&str, usize> = HashMap::default();
    for id in facts.items.iter().filter(|item| item.billable).filter_map(response_id_key) {
        *id_counts.entry(id).or_default() += 1;
    }
    let shared: HashSet<String> =
        id_counts.into_iter().filter(|(_, times)| *times > 1).map(|(id, _)| id.to_owned()).collect();
    if shared.is_empty() {
        return reused;
    }
    let (mut keys_by_claim, mut seen_ids) = (HashMap::<ClaimKey, String>::default(), HashSet::new());
    for (index, item) in facts.items.iter_mut().enumerate().filter(|(_, item)| item.billable) {
        let Some(base) = response_id_key(item).filter(|id| shared.contains(*id)).map(str::to_owned) else { continue };
        let trace = payload.trace_id(item.node);
        let id_use = IdUse::from_item("", &base, payload, item);
        let recorded = id_use.recorded_claims();
        let same_call = id_use.same_call_claims(&recorded);
        let same_call_key = same_call.iter().find_map(|claim| keys_by_claim.get(claim)).cloned();
        let is_first_use = seen_ids.insert(base.clone());
        let key = same_call_key.unwrap_or_else(|| {
            if is_first_use || trace.is_empty() {
                base.clone()
            } else {
                separate_call_key(&base, trace, payload.span_id(item.node))
            }
        });
        for claim in recorded {
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
///
/// Uses in one trace belong to one call if they report the same input (the output of a stream grows), if one reports no
/// input, or if they are the same span or a span and its parent. Uses in different traces belong to one call if size
/// and model agree.
struct IdUse<'a> {
    account: &'a [u8],
    base: &'a [u8],
    trace: &'a [u8],
    span: &'a [u8],
    parent: &'a [u8],
    size: CallSize,
}

impl<'a> IdUse<'a> {
    fn from_item(account: &'a str, base: &'a str, payload: &'a Payload, item: &ItemFacts) -> Self {
        Self {
            account: account.as_bytes(),
            base: base.as_bytes(),
            trace: payload.trace_id(item.node),
            span: payload.span_id(item.node),
            parent: payload.parent_span_id(item.node),
            size: CallSize::from_item(item),
        }
    }

    fn key(&self, word: &[u8], trace: &[u8], detail: &[u8]) -> ClaimKey {
        ClaimKey::from_parts(&[word, self.account, self.base, trace, detail])
    }

    /// Claims that record this use, taken when the call is billed under this id.
    fn recorded_claims(&self) -> Vec<ClaimKey> {
        let (trace, CallSize { inputs, output, model, no_input }) = (self.trace, &self.size);
        let size_key = |input: &[u8; 8]| {
            ClaimKey::from_parts(&[b"id of", self.account, self.base, input, output, model.as_bytes()])
        };
        let mut recorded = vec![self.key(b"id in", trace, &[])];
        recorded.extend(inputs.iter().map(size_key));
        if *no_input {
            recorded.push(self.key(b"id in silent", trace, &[]));
        } else {
            recorded.extend(inputs.iter().map(|input| self.key(b"id with", trace, input)));
        }
        recorded.extend((!self.span.is_empty()).then(|| self.key(b"id at", trace, self.span)));
        recorded.extend((!self.parent.is_empty()).then(|| self.key(b"id below", trace, self.parent)));
        recorded
    }

    /// Any one of these claims, if held, shows an earlier use by the same call. `recorded`: this use's own claims.
    fn same_call_claims(&self, recorded: &[ClaimKey]) -> Vec<ClaimKey> {
        let trace = self.trace;
        let mut same_call = vec![self.key(b"id in", &[], &[]), self.key(b"id in silent", trace, &[])];
        same_call.extend(recorded.first().filter(|_| self.size.no_input));
        let sizes = self.size.inputs.len() + if self.size.no_input { 1 } else { self.size.inputs.len() };
        same_call.extend(recorded.iter().skip(1).take(sizes));
        if !self.span.is_empty() {
            same_call.extend([self.key(b"id at", trace, self.span), self.key(b"id below", trace, self.span)]);
        }
        same_call.extend((!self.parent.is_empty()).then(|| self.key(b"id at", trace, self.parent)));
        same_call
    }
}

/// The evidence from earlier requests about a call's response id.
pub(super) struct ResponseIdEvidence {
    /// Claims that record this use of the id.
    pub(super) recorded: Vec<ClaimKey>,
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
    let id_use = IdUse::from_item(account, &base, payload, item);
    let recorded = id_use.recorded_claims();
    let held_by_other_batch = |key: ClaimKey| claims.holder(key).is_some_and(|holder| holder != *batch);
    let is_used = held_by_other_batch(ClaimKey::from_parts(&[b"call", account.as_bytes(), base.as_bytes()]));
    // Most ids are new: what their use is compared with is not computed.
    let is_same_call =
        is_used && (trace.is_empty() || id_use.same_call_claims(&recorded).into_iter().any(held_by_other_batch));
    let separate_key =
        (is_used && !is_same_call && id == base).then(|| separate_call_key(&base, trace, payload.span_id(item.node)));
    Some(ResponseIdEvidence { recorded, separate_key, seen_before: is_same_call })
}
