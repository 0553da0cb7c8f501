//! Claims that recognise the layers of one call, and roll-ups above calls, when they arrive in different requests.
//! (Within one request `genai` handles them.)
//!
//! Bounded by the claims. A span ends, and arrives, before the spans around it, so a roll-up of an undescribed emitter
//! finds what was billed below it at any depth, through spans of its own or of earlier requests. A roll-up that arrives
//! before the spans between it and the calls is priced, as best effort. A layer farther above is recognised by two
//! claims in its trace together: something below it was billed, and its counts were billed.

use std::collections::HashMap;

use genai::usage::{input_forms, split_tokens};
use genai::{ItemFacts, model_stem, response_id_kind};
use otlp::{NodeId, NodeKind, Payload};
use pipeline::{ClaimKey, ClaimResult, Claims};

use super::waiting_calls::TraceSpanId;

/// Claims of a span that recognise another layer of the same call: a vendor SDK's span below an instrumentation's span
/// (with only spans without tokens between them) or, in streams, beside it, with equal counts and compatible models.
/// The layers may arrive in either order.
pub(super) struct LayerClaims {
    /// Claimed when this span is billed: its own counts, the nearest span above that may have tokens (as covered), its
    /// counts among its siblings and in its trace, and that something below its parent and in its trace was billed.
    pub(super) when_billed: Vec<ClaimKey>,
    /// Held if another layer was billed: a span below or above.
    other_layers: Vec<ClaimKey>,
    /// For a guessed span: held if anything below it was billed.
    billed_below: Option<ClaimKey>,
    /// Held together with a claim of `alike` if a layer farther below was billed: `below` for something below this span
    /// but not below a tool or agent there, `alike` for its counts in this trace.
    billed_far_below: ClaimKey,
    equal_counts: Vec<ClaimKey>,
    /// Claims for a billed call in this trace with these counts and a response id of this kind; and with exactly this
    /// id.
    ids: Option<(Vec<ClaimKey>, Vec<ClaimKey>)>,
    /// Held if a sibling of the other kind (vendor SDK or instrumentation) was billed.
    billed_sibling: Option<ClaimKey>,
}

impl LayerClaims {
    /// `above`: the spans above, nearest first, up to and including the first that has tokens or is not in the request.
    /// `guessed`: the emitter is undescribed or the operation unknown, so a span above others with tokens is treated as
    /// their roll-up.
    pub(super) fn from_span(
        payload: &Payload,
        account: &str,
        item: &ItemFacts,
        guessed: bool,
        above: &[TraceSpanId],
    ) -> Option<Self> {
        let (node, bytes) = (item.node, account.as_bytes());
        let (trace, span, parent) = (payload.trace_id(node), payload.span_id(node), payload.parent_span_id(node));
        if payload.kind(node) != NodeKind::Span || trace.is_empty() || span.is_empty() || span == parent {
            return None;
        }
        let CallSize { input_with_cached: whole, input_without_cached: fresh, output, model, no_input: silent } =
            CallSize::from_item(item);
        let key = |word: &[u8], span: &[u8], input: &[u8]| {
            ClaimKey::from_parts(&[word, bytes, trace, span, input, &output, model.as_bytes()])
        };
        let counts = split_tokens(item).ok();
        let beside = |inner: bool| {
            let counts = counts.as_ref()?;
            let (input, output) = (counts.total_input().to_le_bytes(), counts.output.to_le_bytes());
            let word: &[u8] = if inner { b"inner" } else { b"outer" };
            Some(ClaimKey::from_parts(&[word, bytes, trace, parent, &input, &output]))
        };
        // Both forms of the input. They are equal if nothing was cached.
        let both = |word: &[u8], span: &[u8]| {
            let first = key(word, span, &whole);
            [first, if whole == fresh { first } else { key(word, span, &fresh) }]
        };
        let forms = if whole == fresh { 1 } else { 2 };
        // A layer may report only its output, which matches any input.
        let spoken = item.usage.output.is_some_and(|output| output > 0);
        let by_output = spoken.then(|| key(b"alike", b"", b"any"));
        let alike = if silent { by_output.into_iter().collect() } else { both(b"alike", b"").to_vec() };
        let below_it = billed_below_claim(account, trace, span);
        let mut own = vec![billed_in_trace_claim(account, trace)];
        own.extend(both(b"billed", span).into_iter().take(forms));
        own.extend((silent && spoken).then(|| key(b"billed", span, b"silent")));
        own.extend(both(b"alike", b"").into_iter().take(forms));
        own.extend(by_output);
        own.extend(beside(item.from_vendor_sdk));
        own.extend((!parent.is_empty()).then(|| billed_below_claim(account, trace, parent)));
        own.extend((!parent.is_empty()).then(|| billed_nearby_claim(account, trace, parent)));
        let ids = item
            .provider_response_id()
            .map(|id| (both(b"id kind", response_id_kind(id).as_bytes()), both(b"id", id.as_bytes())));
        own.extend(ids.iter().flat_map(|(kind, id)| [kind, id]).flat_map(|keys| keys.iter().copied().take(forms)));
        if let Some((_, last)) = above.last() {
            own.extend(both(b"covered", last).into_iter().take(forms));
        }
        let mut others = Vec::with_capacity(8);
        others.extend(both(b"covered", span).into_iter().take(forms));
        others.extend(above.iter().flat_map(|(_, id)| both(b"billed", id).into_iter().take(forms)));
        others.extend(above.iter().map(|(_, id)| key(b"billed", id, b"silent")));
        let ids = ids.map(|(kind, id)| (kind.to_vec(), id.to_vec()));
        let below = billed_nearby_claim(account, trace, span);
        let beside = beside(!item.from_vendor_sdk);
        Some(Self {
            when_billed: own,
            other_layers: others,
            billed_below: guessed.then_some(below_it),
            billed_far_below: below,
            equal_counts: alike,
            ids,
            billed_sibling: beside,
        })
    }

    /// Returns true if another layer of the call was billed.
    pub(super) fn is_other_layer_billed(&self, claims: &Claims) -> bool {
        let held = |key: &ClaimKey| claims.holder(*key).is_some();
        let other = |(kind, id): &(Vec<ClaimKey>, Vec<ClaimKey>)| kind.iter().any(held) && !id.iter().any(held);
        let layer = || {
            self.other_layers.iter().any(held) || (held(&self.billed_far_below) && self.equal_counts.iter().any(held))
        };
        self.billed_below.iter().chain(&self.billed_sibling).any(held)
            || (layer() && !self.ids.as_ref().is_some_and(other))
    }
}

/// The values that all layers and repeats of a call share: input with and without cached tokens, output, and the model
/// without date and vendor.
pub(super) struct CallSize {
    pub(super) input_with_cached: [u8; 8],
    pub(super) input_without_cached: [u8; 8],
    pub(super) output: [u8; 8],
    pub(super) model: String,
    /// No input was reported.
    pub(super) no_input: bool,
}

impl CallSize {
    pub(super) fn from_item(item: &ItemFacts) -> Self {
        let counts = split_tokens(item).ok();
        let [reported, whole, fresh] = input_forms(item, counts.as_ref()).map(|input| input.map(u64::to_le_bytes));
        let model = item.response_model.as_deref().or(item.request_model.as_deref()).unwrap_or("");
        Self {
            input_with_cached: whole.or(reported).unwrap_or_default(),
            input_without_cached: fresh.or(reported).unwrap_or_default(),
            output: item.usage.output.unwrap_or(0).to_le_bytes(),
            model: model_stem(model).to_lowercase(),
            no_input: reported.or(whole).is_none(),
        }
    }
}

/// Claim: something below this span was billed.
fn billed_below_claim(account: &str, trace: &[u8], span: &[u8]) -> ClaimKey {
    ClaimKey::from_parts(&[b"below", account.as_bytes(), trace, span])
}

/// Claim: something below this span was billed, with no tool or agent between them.
fn billed_nearby_claim(account: &str, trace: &[u8], span: &[u8]) -> ClaimKey {
    ClaimKey::from_parts(&[b"near", account.as_bytes(), trace, span])
}

/// Claim: something in this trace was billed.
fn billed_in_trace_claim(account: &str, trace: &[u8]) -> ClaimKey {
    ClaimKey::from_parts(&[b"within", account.as_bytes(), trace])
}

/// Propagates the claims "something below was billed" up the spans of one request.
pub(super) struct AncestorClaims(Vec<AncestorSpan>);

struct AncestorSpan {
    node: NodeId,
    /// The claims that something below the span was billed. The second one does not pass tools and agents.
    keys: [ClaimKey; 2],
    /// The span is a tool or an agent.
    is_separate_call: bool,
    /// Index of the parent span in the request.
    parent: Option<usize>,
}

impl AncestorClaims {
    /// Collects all spans of a request in traces with billed calls. `apart`: which items are tools and agents.
    pub(super) fn from_payload(claims: &Claims, payload: &Payload, account: &str, apart: &[bool]) -> Self {
        let mut billed: HashMap<&[u8], bool> = HashMap::new();
        let mut in_billed = |(_, node): &(usize, NodeId)| {
            let trace = payload.trace_id(*node);
            payload.kind(*node) == NodeKind::Span
                && *billed
                    .entry(trace)
                    .or_insert_with(|| claims.holder(billed_in_trace_claim(account, trace)).is_some())
        };
        let nodes: Vec<(usize, NodeId)> = payload.items().enumerate().filter(&mut in_billed).collect();
        let id = |node: NodeId| (payload.trace_id(node), payload.span_id(node));
        let by_id: HashMap<_, usize> = nodes.iter().enumerate().map(|(at, (_, node))| (id(*node), at)).collect();
        let rung = |(item, node): &(usize, NodeId)| {
            let (trace, span) = id(*node);
            let parent = by_id.get(&(trace, payload.parent_span_id(*node))).copied();
            let keys = [billed_below_claim(account, trace, span), billed_nearby_claim(account, trace, span)];
            AncestorSpan { node: *node, keys, is_separate_call: apart.get(*item) == Some(&true), parent }
        };
        Self(nodes.iter().map(rung).collect())
    }

    /// Takes claims for the ancestors of spans that now have a billed call below them, by calling `claim` for each.
    pub(super) fn claim_ancestors(
        &self,
        claims: &Claims,
        payload: &Payload,
        account: &str,
        claim: &mut dyn FnMut(ClaimKey) -> ClaimResult,
    ) {
        for (which, key_of) in [billed_below_claim, billed_nearby_claim].into_iter().enumerate() {
            let key = |rung: &AncestorSpan| rung.keys.get(which).copied();
            let held = |rung: &&AncestorSpan| key(rung).is_some_and(|key| claims.holder(key).is_some());
            for covered in self.0.iter().filter(held) {
                let mut rung = covered;
                while which == 0 || !rung.is_separate_call {
                    let above = rung.parent.and_then(|at| self.0.get(at));
                    let parent = payload.parent_span_id(rung.node);
                    let key =
                        above.and_then(key).unwrap_or_else(|| key_of(account, payload.trace_id(rung.node), parent));
                    // If the claim was already taken, it was propagated further up at that time.
                    if parent.is_empty() || claim(key) != ClaimResult::First {
                        break;
                    }
                    let Some(above) = above else { break };
                    rung = above;
                }
            }
        }
    }
}
