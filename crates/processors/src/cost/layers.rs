//! Claims that recognise the layers of one call, and roll-ups above calls, when they arrive in different requests.
//! (Within one request `genai` handles them.)
//!
//! Bounded by the claims. A span ends, and arrives, before the spans around it, so a roll-up of an undescribed emitter
//! finds what was billed below it at any depth, through spans of its own or of earlier requests. A roll-up that arrives
//! before the spans between it and the calls is priced, as best effort. A layer farther above is recognised by two
//! claims in its trace together: something below it was billed, and its counts were billed.

use std::collections::HashMap;

use genai::usage::{input_forms, split};
use genai::{ItemFacts, id_kind, stem};
use otlp::{Node, NodeKind, Payload};
use pipeline::{Claim, ClaimKey, Claims};

use super::late::SpanId;

/// Claims of a span that recognise another layer of the same call: a vendor SDK's span below an instrumentation's span
/// (with only spans without tokens between them) or, in streams, beside it, with equal counts and compatible models.
/// The layers may arrive in either order.
pub(super) struct Layers {
    /// Claimed when this span is billed: its own counts, the nearest span above that may have tokens (as covered), its
    /// counts among its siblings and in its trace, and that something below its parent and in its trace was billed.
    pub(super) own: Vec<ClaimKey>,
    /// Held if another layer was billed: a span below or above.
    others: Vec<ClaimKey>,
    /// For a guessed span: held if anything below it was billed.
    covers: Option<ClaimKey>,
    /// Held together with a claim of `alike` if a layer farther below was billed: `below` for something below this span
    /// but not below a tool or agent there, `alike` for its counts in this trace.
    below: ClaimKey,
    alike: Vec<ClaimKey>,
    /// Claims for a billed call in this trace with these counts and a response id of this kind; and with exactly this
    /// id.
    ids: Option<(Vec<ClaimKey>, Vec<ClaimKey>)>,
    /// Held if a sibling of the other kind (vendor SDK or instrumentation) was billed.
    beside: Option<ClaimKey>,
}

impl Layers {
    /// `above`: the spans above, nearest first, up to and including the first that has tokens or is not in the request.
    /// `guessed`: the emitter is undescribed or the operation unknown, so a span above others with tokens is treated as
    /// their roll-up.
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

    /// Returns true if another layer of the call was billed.
    pub(super) fn seen(&self, claims: &Claims) -> bool {
        let held = |key: &ClaimKey| claims.holder(*key).is_some();
        let other = |(kind, id): &(Vec<ClaimKey>, Vec<ClaimKey>)| kind.iter().any(held) && !id.iter().any(held);
        let layer = || self.others.iter().any(held) || (held(&self.below) && self.alike.iter().any(held));
        self.covers.iter().chain(&self.beside).any(held) || (layer() && !self.ids.as_ref().is_some_and(other))
    }
}

/// The values that all layers and repeats of a call share: input with and without cached tokens, output, and the model
/// without date and vendor.
pub(super) struct Size {
    pub(super) whole: [u8; 8],
    pub(super) fresh: [u8; 8],
    pub(super) output: [u8; 8],
    pub(super) model: String,
    /// No input was reported.
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

/// Claim: something below this span was billed.
fn below(account: &str, trace: &[u8], span: &[u8]) -> ClaimKey {
    ClaimKey::of(&[b"below", account.as_bytes(), trace, span])
}

/// Claim: something below this span was billed, with no tool or agent between them.
fn near(account: &str, trace: &[u8], span: &[u8]) -> ClaimKey {
    ClaimKey::of(&[b"near", account.as_bytes(), trace, span])
}

/// Claim: something in this trace was billed.
fn within(account: &str, trace: &[u8]) -> ClaimKey {
    ClaimKey::of(&[b"within", account.as_bytes(), trace])
}

/// Propagates the claims "something below was billed" up the spans of one request.
pub(super) struct Rise(Vec<Rung>);

struct Rung {
    node: Node,
    /// The claims that something below the span was billed. The second one does not pass tools and agents.
    keys: [ClaimKey; 2],
    /// The span is a tool or an agent.
    apart: bool,
    /// Index of the parent span in the request.
    parent: Option<usize>,
}

impl Rise {
    /// Collects all spans of a request in traces with billed calls. `apart`: which items are tools and agents.
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

    /// Takes claims for the ancestors of spans that now have a billed call below them, by calling `claim` for each.
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
                    // If the claim was already taken, it was propagated further up at that time.
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
