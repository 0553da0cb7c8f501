//! Claims that recognise the layers of one call, and roll-ups above calls, when they arrive in different requests.
//! (Within one request `genai` recognises them.) The bound of the claims is the only bound.
//!
//! A span ends before the spans around it, and usually arrives before them. So a roll-up of an emitter that no dialect
//! describes finds claims of the calls billed below it, at any depth. A roll-up that arrives before the spans between
//! it and the calls is priced. A layer farther above is recognised by two claims in its trace together: something below
//! it was billed, and its counts were billed.

use foldhash::HashMap;
use genai::usage::{input_forms, split_tokens};
use genai::{ItemFacts, model_stem, response_id_kind};
use otlp::{NodeId, NodeKind, Payload};
use pipeline::{ClaimKey, ClaimResult, Claims};

use super::waiting_calls::TraceSpanId;

/// Claims of a span that recognise another layer of the same call: a vendor SDK's span below an instrumentation's span
/// (with only spans without tokens between them) or, in streams, beside it, with equal counts and compatible models.
/// The layers may arrive in either order.
pub(super) struct LayerClaims {
    /// Claimed when this span is billed: its own counts, the last span of `ancestors` (as covered), its counts among
    /// its siblings and in its trace, and that something below its parent and in its trace was billed.
    pub(super) when_billed: Vec<ClaimKey>,
    /// Held if a layer right below or above was billed.
    other_layers: Vec<ClaimKey>,
    /// For a guessed span: held if anything below it was billed.
    billed_below: Option<ClaimKey>,
    /// Held if something below this span was billed, with no tool or agent between them. Together with a claim of
    /// `equal_counts` it shows that a layer farther below was billed.
    billed_far_below: ClaimKey,
    /// Held if these counts were billed in this trace.
    equal_counts: Vec<ClaimKey>,
    response_id: Option<ResponseIdClaims>,
    /// Held if a sibling of the other kind (vendor SDK or instrumentation) was billed.
    billed_sibling: Option<ClaimKey>,
}

/// Claims for a call with the same counts that was billed in this trace.
struct ResponseIdClaims {
    same_kind: Vec<ClaimKey>,
    same_id: Vec<ClaimKey>,
}

impl LayerClaims {
    /// `ancestors`: the spans above, nearest first, up to the first boundary or the first missing one. `guessed`: no
    /// dialect describes the emitter, or the operation is unknown, so a span above others with tokens counts as their
    /// roll-up.
    pub(super) fn from_span(
        payload: &Payload,
        account: &str,
        item: &ItemFacts,
        guessed: bool,
        ancestors: &[TraceSpanId],
    ) -> Option<Self> {
        let (node, account_bytes) = (item.node, account.as_bytes());
        let (trace, span, parent) = (payload.trace_id(node), payload.span_id(node), payload.parent_span_id(node));
        if payload.kind(node) != NodeKind::Span || trace.is_empty() || span.is_empty() || span == parent {
            return None;
        }
        let CallSize { inputs, output, model, no_input } = CallSize::from_item(item);
        let key = |word: &[u8], span: &[u8], input: &[u8]| {
            ClaimKey::from_parts(&[word, account_bytes, trace, span, input, &output, model.as_bytes()])
        };
        let keys =
            |word: &[u8], span: &[u8]| -> Vec<ClaimKey> { inputs.iter().map(|input| key(word, span, input)).collect() };
        let split = split_tokens(item).ok();
        let sibling_key = |from_vendor_sdk: bool| {
            let split = split.as_ref()?;
            let (input, output) = (split.total_input().to_le_bytes(), split.output.to_le_bytes());
            let word: &[u8] = if from_vendor_sdk { b"inner" } else { b"outer" };
            Some(ClaimKey::from_parts(&[word, account_bytes, trace, parent, &input, &output]))
        };
        // A layer may report only its output, which matches any input.
        let has_output = item.usage.output.is_some_and(|output| output > 0);
        let any_input = has_output.then(|| key(b"alike", b"", b"any"));
        let response_id = item.provider_response_id().map(|id| ResponseIdClaims {
            same_kind: keys(b"id kind", response_id_kind(id).as_bytes()),
            same_id: keys(b"id", id.as_bytes()),
        });
        let mut when_billed = vec![billed_in_trace_claim(account, trace)];
        when_billed.extend(keys(b"billed", span));
        when_billed.extend((no_input && has_output).then(|| key(b"billed", span, b"silent")));
        let alike = keys(b"alike", b"");
        when_billed.extend(alike.iter().copied().chain(any_input));
        when_billed.extend(sibling_key(item.from_vendor_sdk));
        if !parent.is_empty() {
            when_billed
                .extend([billed_below_claim(account, trace, parent), billed_nearby_claim(account, trace, parent)]);
        }
        when_billed.extend(response_id.iter().flat_map(|claims| claims.same_kind.iter().chain(&claims.same_id)));
        if let Some((_, last)) = ancestors.last() {
            when_billed.extend(keys(b"covered", last));
        }
        let mut other_layers = keys(b"covered", span);
        other_layers.extend(ancestors.iter().flat_map(|(_, ancestor)| keys(b"billed", ancestor)));
        other_layers.extend(ancestors.iter().map(|(_, ancestor)| key(b"billed", ancestor, b"silent")));
        Some(Self {
            when_billed,
            other_layers,
            billed_below: guessed.then(|| billed_below_claim(account, trace, span)),
            billed_far_below: billed_nearby_claim(account, trace, span),
            equal_counts: if no_input { any_input.into_iter().collect() } else { alike },
            response_id,
            billed_sibling: sibling_key(!item.from_vendor_sdk),
        })
    }

    /// Returns true if another layer of the call was billed.
    pub(super) fn is_other_layer_billed(&self, claims: &Claims) -> bool {
        let is_held = |key: &ClaimKey| claims.holder(*key).is_some();
        // Another id of the same kind means another call.
        let is_other_call =
            |ids: &ResponseIdClaims| ids.same_kind.iter().any(is_held) && !ids.same_id.iter().any(is_held);
        let is_layer_billed = || {
            self.other_layers.iter().any(is_held)
                || (is_held(&self.billed_far_below) && self.equal_counts.iter().any(is_held))
        };
        self.billed_below.iter().chain(&self.billed_sibling).any(is_held)
            || (is_layer_billed() && !self.response_id.as_ref().is_some_and(is_other_call))
    }
}

/// The values that all layers and repeats of a call share.
pub(super) struct CallSize {
    /// The input with and without cached tokens; a single value if both are equal.
    pub(super) inputs: Vec<[u8; 8]>,
    pub(super) output: [u8; 8],
    /// The model without date and vendor.
    pub(super) model: String,
    /// No input was reported.
    pub(super) no_input: bool,
}

impl CallSize {
    pub(super) fn from_item(item: &ItemFacts) -> Self {
        let split = split_tokens(item).ok();
        let [reported, total, uncached] = input_forms(item, split.as_ref()).map(|input| input.map(u64::to_le_bytes));
        let model = item.response_model.as_deref().or(item.request_model.as_deref()).unwrap_or("");
        let mut inputs = vec![total.or(reported).unwrap_or_default(), uncached.or(reported).unwrap_or_default()];
        inputs.dedup();
        Self {
            inputs,
            output: item.usage.output.unwrap_or(0).to_le_bytes(),
            model: model_stem(model).to_lowercase(),
            no_input: reported.or(total).is_none(),
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
    /// Claims that something below the span was billed: at any depth, and with no tool or agent between them.
    keys: [ClaimKey; 2],
    is_tool_or_agent: bool,
    /// Position of the parent span in [`AncestorClaims`].
    parent: Option<usize>,
}

impl AncestorClaims {
    /// Collects the spans of a request that are in traces with billed calls. `is_tool_or_agent`: by item.
    pub(super) fn from_payload(claims: &Claims, payload: &Payload, account: &str, is_tool_or_agent: &[bool]) -> Self {
        let mut billed_traces: HashMap<&[u8], bool> = HashMap::default();
        let mut is_in_billed_trace = |(_, node): &(usize, NodeId)| {
            let trace = payload.trace_id(*node);
            payload.kind(*node) == NodeKind::Span
                && *billed_traces
                    .entry(trace)
                    .or_insert_with(|| claims.holder(billed_in_trace_claim(account, trace)).is_some())
        };
        let nodes: Vec<(usize, NodeId)> = payload.items().enumerate().filter(&mut is_in_billed_trace).collect();
        let id = |node: NodeId| (payload.trace_id(node), payload.span_id(node));
        let by_id: HashMap<_, usize> = nodes.iter().enumerate().map(|(at, (_, node))| (id(*node), at)).collect();
        let ancestor_span = |(item, node): &(usize, NodeId)| {
            let (trace, span) = id(*node);
            let parent = by_id.get(&(trace, payload.parent_span_id(*node))).copied();
            let keys = [billed_below_claim(account, trace, span), billed_nearby_claim(account, trace, span)];
            AncestorSpan { node: *node, keys, is_tool_or_agent: is_tool_or_agent.get(*item) == Some(&true), parent }
        };
        Self(nodes.iter().map(ancestor_span).collect())
    }

    /// Extends the claims "something below was billed" from each span that has one to its ancestors, by calling
    /// `claim`.
    pub(super) fn claim_ancestors(
        &self,
        claims: &Claims,
        payload: &Payload,
        account: &str,
        claim: &mut dyn FnMut(ClaimKey) -> ClaimResult,
    ) {
        for (index, key_of) in [billed_below_claim, billed_nearby_claim].into_iter().enumerate() {
            let passes_tools = index == 0;
            let key = |span: &AncestorSpan| span.keys.get(index).copied();
            let is_held = |span: &&AncestorSpan| key(span).is_some_and(|key| claims.holder(key).is_some());
            for start in self.0.iter().filter(is_held) {
                let mut span = start;
                while passes_tools || !span.is_tool_or_agent {
                    let parent = span.parent.and_then(|at| self.0.get(at));
                    let (trace, parent_id) = (payload.trace_id(span.node), payload.parent_span_id(span.node));
                    let parent_key = parent.and_then(key).unwrap_or_else(|| key_of(account, trace, parent_id));
                    // If the claim was already taken, it was propagated further up at that time.
                    if parent_id.is_empty() || claim(parent_key) != ClaimResult::First {
                        break;
                    }
                    let Some(parent) = parent else { break };
                    span = parent;
                }
            }
        }
    }
}
