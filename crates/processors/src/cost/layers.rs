//! **What**: claims that tell the layers of one call apart, and roll-ups above calls, when they come in different
//! requests. **Why**: within one request the vocabulary sees them together; across requests only claims remember.
//! **Invariants**: bounded by the claims. Spans end, and so come, before those around them: a roll-up of an emitter
//! that nobody described, however far above, is covered by what was billed below it, through spans of its own or
//! earlier requests. (One that comes before the spans between it and the calls is priced: best effort.) A layer farther
//! above is known by two things together: something below it was billed, and its counts were, in its trace. **Not
//! here**: layers within one request (`genai`).

use std::collections::HashMap;

use genai::usage::{input_forms, split};
use genai::{ItemFacts, id_kind, stem};
use otlp::{Node, NodeKind, Payload};
use pipeline::{Claim, ClaimKey, Claims};

use super::late::SpanId;

/// An instrumentation's span and the vendor's SDK's, below it through spans without tokens, or (in streams) beside it,
/// with the same counts and models that can be one. The two may come in either order.
pub(super) struct Layers {
    /// Claimed when this span is billed: itself, the nearest span above that may have tokens as covered, its counts
    /// among its siblings and in its trace; and that something below its parent, and something in its trace, was
    /// billed.
    pub(super) own: Vec<ClaimKey>,
    /// Held when another layer was billed: a span below, one above.
    others: Vec<ClaimKey>,
    /// Of a span that is a guess: held when anything below it was billed.
    covers: Option<ClaimKey>,
    /// Held both when a layer farther below was billed: something below this span and below no tool or agent there, and
    /// its counts in this trace.
    below: ClaimKey,
    alike: Vec<ClaimKey>,
    /// Held when a call with these counts and an id of this kind was billed in this trace; with this very id.
    ids: Option<(Vec<ClaimKey>, Vec<ClaimKey>)>,
    /// Held when a sibling of the other kind was billed.
    beside: Option<ClaimKey>,
}

impl Layers {
    /// `above`: the spans above, nearest first, up to the first that has tokens or is not in the request. `guessed`:
    /// nobody described the emitter or knows the operation, so that a span above others with tokens is their roll-up.
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
        let Size { whole, fresh, output, model, silent } = Size::of(item);
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
        // a layer may tell its output alone, which any input goes with
        let spoken = item.usage.output.is_some_and(|output| output > 0);
        let by_output = spoken.then(|| key(b"alike", b"", b"any"));
        let alike = if silent { by_output.into_iter().collect() } else { both(b"alike", b"").to_vec() };
        let below_it = below(account, trace, span);
        let mut own = vec![within(account, trace)];
        own.extend(both(b"billed", span).into_iter().take(forms));
        own.extend((silent && spoken).then(|| key(b"billed", span, b"silent")));
        own.extend(both(b"alike", b"").into_iter().take(forms));
        own.extend(by_output);
        own.extend(beside(item.inner));
        own.extend((!parent.is_empty()).then(|| below(account, trace, parent)));
        own.extend((!parent.is_empty()).then(|| near(account, trace, parent)));
        let ids = item.vendor_id().map(|id| (both(b"id kind", id_kind(id).as_bytes()), both(b"id", id.as_bytes())));
        own.extend(ids.iter().flat_map(|(kind, id)| [kind, id]).flat_map(|keys| keys.iter().copied().take(forms)));
        if let Some((_, last)) = above.last() {
            own.extend(both(b"covered", last).into_iter().take(forms));
        }
        let mut others = Vec::with_capacity(8);
        others.extend(both(b"covered", span).into_iter().take(forms));
        others.extend(above.iter().flat_map(|(_, id)| both(b"billed", id).into_iter().take(forms)));
        others.extend(above.iter().map(|(_, id)| key(b"billed", id, b"silent")));
        let ids = ids.map(|(kind, id)| (kind.to_vec(), id.to_vec()));
        let below = near(account, trace, span);
        let beside = beside(!item.inner);
        Some(Self { own, others, covers: guessed.then_some(below_it), below, alike, ids, beside })
    }

    /// Whether another layer of the call was billed.
    pub(super) fn seen(&self, claims: &Claims) -> bool {
        let held = |key: &ClaimKey| claims.holder(*key).is_some();
        let other = |(kind, id): &(Vec<ClaimKey>, Vec<ClaimKey>)| kind.iter().any(held) && !id.iter().any(held);
        let layer = || self.others.iter().any(held) || (held(&self.below) && self.alike.iter().any(held));
        self.covers.iter().chain(&self.beside).any(held) || (layer() && !self.ids.as_ref().is_some_and(other))
    }
}

/// What all layers and repeats of a call say of it: its input, told with or without what caches held, its output, and
/// the model without date and vendor.
pub(super) struct Size {
    pub(super) whole: [u8; 8],
    pub(super) fresh: [u8; 8],
    pub(super) output: [u8; 8],
    pub(super) model: String,
    /// Nothing was told of the input.
    pub(super) silent: bool,
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
            silent: reported.or(whole).is_none(),
        }
    }
}

/// Something below this span was billed.
fn below(account: &str, trace: &[u8], span: &[u8]) -> ClaimKey {
    ClaimKey::of(&[b"below", account.as_bytes(), trace, span])
}

/// The same, and between them is no tool and no agent.
fn near(account: &str, trace: &[u8], span: &[u8]) -> ClaimKey {
    ClaimKey::of(&[b"near", account.as_bytes(), trace, span])
}

/// Something in this trace was billed.
fn within(account: &str, trace: &[u8]) -> ClaimKey {
    ClaimKey::of(&[b"within", account.as_bytes(), trace])
}

/// Carries "something below was billed" up the spans of one request.
pub(super) struct Rise(Vec<Rung>);

struct Rung {
    node: Node,
    /// The claims that something below it was billed; the second one does not pass tools and agents.
    keys: [ClaimKey; 2],
    /// It is a tool's or an agent's.
    apart: bool,
    /// Its parent in the request.
    parent: Option<usize>,
}

impl Rise {
    /// The spans of a request, whatever they are, in traces of which something was billed.
    /// `apart`: which items are tools and agents.
    pub(super) fn of(claims: &Claims, payload: &Payload, account: &str, apart: &[bool]) -> Self {
        let mut billed: HashMap<&[u8], bool> = HashMap::new();
        let mut in_billed = |(_, node): &(usize, Node)| {
            let trace = payload.trace_id(*node);
            payload.kind(*node) == NodeKind::Span
                && *billed.entry(trace).or_insert_with(|| claims.holder(within(account, trace)).is_some())
        };
        let nodes: Vec<(usize, Node)> = payload.items().enumerate().filter(&mut in_billed).collect();
        let id = |node: Node| (payload.trace_id(node), payload.span_id(node));
        let by_id: HashMap<_, usize> = nodes.iter().enumerate().map(|(at, (_, node))| (id(*node), at)).collect();
        let rung = |(item, node): &(usize, Node)| {
            let (trace, span) = id(*node);
            let parent = by_id.get(&(trace, payload.parent_span_id(*node))).copied();
            let keys = [below(account, trace, span), near(account, trace, span)];
            Rung { node: *node, keys, apart: apart.get(*item) == Some(&true), parent }
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
        for (which, key_of) in [below, near].into_iter().enumerate() {
            let key = |rung: &Rung| rung.keys.get(which).copied();
            let held = |rung: &&Rung| key(rung).is_some_and(|key| claims.holder(key).is_some());
            for covered in self.0.iter().filter(held) {
                let mut rung = covered;
                while which == 0 || !rung.apart {
                    let above = rung.parent.and_then(|at| self.0.get(at));
                    let parent = payload.parent_span_id(rung.node);
                    let key =
                        above.and_then(key).unwrap_or_else(|| key_of(account, payload.trace_id(rung.node), parent));
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
}
