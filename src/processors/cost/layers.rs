//! **What**: claims that tell the layers of one call apart, and roll-ups above calls, when they come in different
//! requests. **Why**: within one request the vocabulary sees them together; across requests only claims remember.
//! **Invariants**: bounded by the claims. Spans end, and so come, before those around them: a roll-up of an emitter that
//! nobody described, however far above, is covered by what was billed below it, through spans of its own or earlier
//! requests. (One that comes before the spans between it and the calls is priced: best effort.) A layer farther above is
//! known by two things together: something below it was billed, and its counts were, in its trace.
//! **Not here**: layers within one request (`genai`).

use std::collections::HashMap;

use crate::genai::usage::{input_forms, split};
use crate::genai::{ItemFacts, stem};
use crate::otlp::{Node, NodeKind, Payload};
use crate::pipeline::{Claim, ClaimKey, Claims};

use super::late::SpanId;

/// An instrumentation's span and the vendor's SDK's, below it through spans without tokens, or (in streams) beside it, with
/// the same counts and models that can be one. The two may come in either order.
pub(super) struct Layers {
    /// Claimed when this span is billed: itself, the nearest span above that may have tokens as covered, its counts among
    /// its siblings and in its trace; and that something below its parent, and something in its trace, was billed.
    pub(super) own: Vec<ClaimKey>,
    /// Held when another layer was billed: a span below, one above, a sibling of the other kind; of a span that is a guess,
    /// anything below it.
    others: Vec<ClaimKey>,
    /// Held both when a layer farther below was billed: something below this span, and its counts in this trace.
    below: ClaimKey,
    alike: [ClaimKey; 2],
}

impl Layers {
    /// `above`: the spans above, nearest first, up to the first that has tokens or is not in the request. `guessed`: nobody
    /// described the emitter or knows the operation, so that a span above others with tokens is their roll-up.
    pub(super) fn of(
        payload: &Payload,
        account: &str,
        item: &ItemFacts,
        guessed: bool,
        above: &[SpanId],
    ) -> Option<Self> {
        let (node, bytes) = (item.node, account.as_bytes());
        let (trace, span, parent) = (payload.trace_id(node), payload.span_id(node), payload.parent_span_id(node));
        if payload.kind(node) != NodeKind::Span || trace.is_empty() || span.is_empty() || span == parent {
            return None;
        }
        let Size { whole, fresh, output, model } = Size::of(item);
        let key = |word: &[u8], span: &[u8], input: &[u8]| {
            ClaimKey::of(&[word, bytes, trace, span, input, &output, model.as_bytes()])
        };
        let counts = split(item).ok();
        let beside = |inner: bool| {
            let counts = counts.as_ref()?;
            let (input, output) = (counts.total_input().to_le_bytes(), counts.output.to_le_bytes());
            let word: &[u8] = if inner { b"inner" } else { b"outer" };
            Some(ClaimKey::of(&[word, bytes, trace, parent, &input, &output]))
        };
        // both forms of the input, which are one where nothing was cached
        let both = |word: &[u8], span: &[u8]| {
            let first = key(word, span, &whole);
            [first, if whole == fresh { first } else { key(word, span, &fresh) }]
        };
        let forms = if whole == fresh { 1 } else { 2 };
        let alike = both(b"alike", b"");
        let below_it = below(account, trace, span);
        let mut own = vec![within(account, trace)];
        own.extend(both(b"billed", span).into_iter().take(forms));
        own.extend(alike.into_iter().take(forms));
        own.extend(beside(item.inner));
        own.extend((!parent.is_empty()).then(|| below(account, trace, parent)));
        if let Some((_, last)) = above.last() {
            own.extend(both(b"covered", last).into_iter().take(forms));
        }
        let mut others = Vec::with_capacity(6);
        others.extend(both(b"covered", span).into_iter().take(forms));
        others.extend(above.iter().flat_map(|(_, id)| both(b"billed", id).into_iter().take(forms)));
        others.extend(beside(!item.inner));
        others.extend(guessed.then_some(below_it));
        Some(Self { own, others, below: below_it, alike })
    }

    /// Whether another layer of the call was billed.
    pub(super) fn seen(&self, claims: &Claims) -> bool {
        let held = |key: &ClaimKey| claims.holder(*key).is_some();
        self.others.iter().any(held) || (held(&self.below) && self.alike.iter().any(held))
    }
}

/// What all layers and repeats of a call say of it: its input, told with or without what caches held, its output, and the
/// model without date and vendor.
pub(super) struct Size {
    pub(super) whole: [u8; 8],
    pub(super) fresh: [u8; 8],
    pub(super) output: [u8; 8],
    pub(super) model: String,
}

impl Size {
    pub(super) fn of(item: &ItemFacts) -> Self {
        let counts = split(item).ok();
        let [reported, whole, fresh] = input_forms(item, counts.as_ref()).map(|input| input.map(u64::to_le_bytes));
        let model = item.response_model.as_deref().or(item.request_model.as_deref()).unwrap_or("");
        Self {
            whole: whole.or(reported).unwrap_or_default(),
            fresh: fresh.or(reported).unwrap_or_default(),
            output: item.usage.output.unwrap_or(0).to_le_bytes(),
            model: stem(model).to_lowercase(),
        }
    }
}

/// Something below this span was billed.
fn below(account: &str, trace: &[u8], span: &[u8]) -> ClaimKey {
    ClaimKey::of(&[b"below", account.as_bytes(), trace, span])
}

/// Something in this trace was billed.
fn within(account: &str, trace: &[u8]) -> ClaimKey {
    ClaimKey::of(&[b"within", account.as_bytes(), trace])
}

/// Carries "something below was billed" up the spans of one request.
pub(super) struct Rise(Vec<Rung>);

struct Rung {
    node: Node,
    /// The claim that something below it was billed.
    below: ClaimKey,
    /// Its parent in the request.
    parent: Option<usize>,
}

impl Rise {
    /// The spans of a request, whatever they are, in traces of which something was billed.
    pub(super) fn of(claims: &Claims, payload: &Payload, account: &str) -> Self {
        let mut billed: HashMap<&[u8], bool> = HashMap::new();
        let mut in_billed = |node: &Node| {
            let trace = payload.trace_id(*node);
            payload.kind(*node) == NodeKind::Span
                && *billed.entry(trace).or_insert_with(|| claims.holder(within(account, trace)).is_some())
        };
        let nodes: Vec<Node> = payload.items().filter(&mut in_billed).collect();
        let id = |node: Node| (payload.trace_id(node), payload.span_id(node));
        let by_id: HashMap<_, usize> = nodes.iter().enumerate().map(|(at, node)| (id(*node), at)).collect();
        let rung = |node: &Node| {
            let (trace, span) = id(*node);
            let parent = by_id.get(&(trace, payload.parent_span_id(*node))).copied();
            Rung { node: *node, below: below(account, trace, span), parent }
        };
        Self(nodes.iter().map(rung).collect())
    }

    /// Claims for what is above spans that are covered now. `claim` is asked for each.
    pub(super) fn run(
        &self,
        claims: &Claims,
        payload: &Payload,
        account: &str,
        claim: &mut dyn FnMut(ClaimKey) -> Claim,
    ) {
        for covered in self.0.iter().filter(|rung| claims.holder(rung.below).is_some()) {
            let mut rung = covered;
            loop {
                let above = rung.parent.and_then(|at| self.0.get(at));
                let parent = payload.parent_span_id(rung.node);
                let key =
                    above.map_or_else(|| below(account, payload.trace_id(rung.node), parent), |above| above.below);
                // what was claimed before was carried up by whoever did
                if parent.is_empty() || claim(key) != Claim::First {
                    break;
                }
                let Some(above) = above else { break };
                rung = above;
            }
        }
    }
}
