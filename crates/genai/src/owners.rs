//! Whose an item is: its tenant, feature and user. Each is the item's own; else that of its nearest ancestor in the
//! request; else, for the tenant, that of its resource; else that of its run, from requests committed earlier
//! ([`adopt_owners`]) or from the rest of this one; else that of its resource. Decided before the item is priced, and
//! never again: later steps read the facts.
//!
//! `item_facts` reads what item and resource say, the crate `tracker` knows the runs.

use foldhash::{HashMap, HashMapExt as _};

use otlp::{NodeId, NodeKind, Payload, Signal};

use super::facts::{Facts, ItemFacts};
use super::item_reader::SpanIndex;
use super::request_facts::ItemWithDialect;

/// Tenant, feature and user of a run, in this order; `None` = not known.
pub type Owner = [Option<String>; 3];

/// What earlier requests say about an item's run.
#[derive(Default)]
pub struct KnownOwner {
    /// The owner of the run.
    pub run: Owner,
    /// The owner of the run's session, which fills in what nothing else says.
    pub session: Owner,
}

/// Positions of tenant and feature in an [`Owner`].
const TENANT: usize = 0;
const FEATURE: usize = 1;

/// Where an item belongs, for [`adopt_owners`].
#[derive(Clone, Copy)]
pub struct RunAddress<'p> {
    /// The run's id as the item sent it.
    pub run: Option<&'p str>,
    /// Trace id; may be empty.
    pub trace: &'p [u8],
    /// The span above a span, or the span in which a log record was written; may be empty.
    pub span: &'p [u8],
    /// The session's id as sent.
    pub session: Option<&'p str>,
}

/// A part of a request whose items have the same owner, if they name only one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Scope<'p> {
    /// The log records written in one span.
    Span(&'p [u8], &'p [u8]),
    Trace(&'p [u8]),
    Session(&'p str),
}

impl<'p> Scope<'p> {
    /// The item's scopes, narrowest first.
    fn of_item(payload: &'p Payload, item: &'p ItemFacts) -> impl Iterator<Item = Self> {
        let (trace, span) = (payload.trace_id(item.node), payload.span_id(item.node));
        let is_log = payload.kind(item.node) == NodeKind::LogRecord;
        let span = Some(Self::Span(trace, span)).filter(|_| is_log && !trace.is_empty() && !span.is_empty());
        let session = item.session.as_deref().filter(|id| !id.is_empty()).map(Self::Session);
        let trace = Some(Self::Trace(trace)).filter(|_| !trace.is_empty());
        [span, trace, session].into_iter().flatten()
    }

    /// Whether the scope decides this part of an owner. None replaces the tenant of a resource: two deployments may use
    /// one session id, and any item may name the trace of another. The agents of a trace or session have features of
    /// their own, so an item takes its feature from above only. A session is the run of an item without a trace; else it
    /// only fills in what is not known at all.
    fn decides(self, part: usize, item: &ItemFacts, payload: &Payload) -> bool {
        match self {
            _ if part == TENANT && item.tenant.is_some() => false,
            Self::Span(..) => true,
            _ if part == FEATURE => false,
            Self::Trace(_) => true,
            Self::Session(_) => payload.trace_id(item.node).is_empty() || item.owner().get(part) == Some(&None),
        }
    }
}

/// The only item of a scope that states a part of an owner, or one of several that agree.
#[derive(Clone, Copy, Default)]
enum Statement {
    #[default]
    Absent,
    By(usize),
    Contradictory,
}

/// The parts that some items of the request state and others lack.
pub(super) fn passed_parts(payload: &Payload, entries: &[ItemWithDialect<'_>]) -> [bool; 3] {
    let is_passed = |part: usize| {
        let is_stated = |entry: &ItemWithDialect<'_>| entry.facts.owner_decided.get(part) == Some(&true);
        entries.iter().any(is_stated) && !entries.iter().all(is_stated)
    };
    if payload.signal() == Signal::Metrics { [false; 3] } else { std::array::from_fn(is_passed) }
}

/// Adds to each span what it lacks and its nearest ancestor in the request states.
pub(super) fn inherit_owners(
    payload: &Payload,
    entries: &mut [ItemWithDialect<'_>],
    nodes: &[NodeId],
    spans: &SpanIndex<'_>,
    passed: [bool; 3],
) {
    let find = |entry: &ItemWithDialect<'_>| {
        let mut sources = [None; 3];
        let mut missing = missing_parts(&entry.facts, passed);
        for ancestor in spans.ancestors(payload, nodes, entry.facts.node) {
            let Some(above) = entries.get(ancestor).filter(|_| missing.contains(&true)) else { break };
            for ((source, is_missing), is_stated) in sources.iter_mut().zip(&mut missing).zip(above.facts.owner_decided)
            {
                if *is_missing && is_stated {
                    (*source, *is_missing) = (Some(ancestor), false);
                }
            }
        }
        sources
    };
    let sources: Vec<PartSources> = entries.iter().map(find).collect();
    copy_parts(entries, &sources, true);
}

/// Adds to each item what it still lacks and the rest of its run states in the request. A tenant that is known before
/// is the item's own, an ancestor's or its resource's, and no run replaces it.
pub(super) fn complete_owners(payload: &Payload, entries: &mut [ItemWithDialect<'_>], passed: [bool; 3]) {
    let is_open = entries.iter().any(|entry| missing_parts(&entry.facts, passed).contains(&true));
    let sources = if is_open { find_in_scopes(payload, entries, passed) } else { Vec::new() };
    for ItemWithDialect { facts, .. } in entries.iter_mut() {
        let [is_tenant_decided, ..] = &mut facts.owner_decided;
        *is_tenant_decided |= facts.tenant.is_some();
    }
    copy_parts(entries, &sources, false);
}

/// The index of the item that each part of an owner is copied from.
type PartSources = [Option<usize>; 3];

fn missing_parts(item: &ItemFacts, passed: [bool; 3]) -> [bool; 3] {
    let mut missing = passed;
    missing.iter_mut().zip(item.owner_decided).for_each(|(is_missing, is_decided)| *is_missing &= !is_decided);
    missing
}

/// For each item, another one of its span, trace or session that states what the item lacks, if all that do agree.
fn find_in_scopes(payload: &Payload, entries: &[ItemWithDialect<'_>], passed: [bool; 3]) -> Vec<PartSources> {
    let mut scopes: HashMap<Scope<'_>, [Statement; 3]> = HashMap::new();
    let text = |at: usize, part: usize| entries.get(at).and_then(|entry| entry.facts.owner().get(part).copied()?);
    for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.facts.owner_decided.contains(&true)) {
        for scope in Scope::of_item(payload, &entry.facts) {
            let statements = scopes.entry(scope).or_default();
            for (part, (known, is_stated)) in statements.iter_mut().zip(entry.facts.owner_decided).enumerate() {
                *known = match *known {
                    known if !is_stated => known,
                    Statement::Absent => Statement::By(at),
                    Statement::By(other) if text(other, part) == text(at, part) => Statement::By(other),
                    _ => Statement::Contradictory,
                };
            }
        }
    }
    let find = |item: &ItemFacts, part: usize| {
        let scopes_of_item = Scope::of_item(payload, item).filter(|scope| scope.decides(part, item, payload));
        let mut statements = scopes_of_item.filter_map(|scope| scopes.get(&scope)?.get(part).copied());
        statements.find_map(|statement| if let Statement::By(at) = statement { Some(at) } else { None })
    };
    let sources = entries.iter().map(|entry| {
        let missing = missing_parts(&entry.facts, passed);
        std::array::from_fn(|part| if missing.get(part) == Some(&true) { find(&entry.facts, part) } else { None })
    });
    sources.collect()
}

/// Copies each part of an owner from the item that `sources` names. `is_final`: no run may replace it.
fn copy_parts(entries: &mut [ItemWithDialect<'_>], sources: &[PartSources], is_final: bool) {
    for (at, sources) in sources.iter().enumerate() {
        for (part, source) in sources.iter().enumerate() {
            let Some(source) = source.and_then(|source| entries.get(source)) else { continue };
            let text = source.facts.owner().get(part).copied().flatten().map(str::to_owned);
            let Some(facts) = entries.get_mut(at).map(|entry| &mut entry.facts) else { continue };
            facts.set_owner_part(part, text, is_final);
        }
    }
}

/// Completes the owners of items that neither state theirs nor have ancestors that do. `find_owners` gives for each
/// address what earlier requests of the account say. Later calls change nothing.
pub fn adopt_owners(
    payload: &Payload,
    facts: &mut Facts,
    find_owners: impl FnOnce(&[RunAddress<'_>]) -> Vec<KnownOwner>,
) {
    let open_items = facts.items.iter().filter(|item| item.has_open_owner());
    let addresses: Vec<RunAddress<'_>> = open_items.map(|item| run_address(payload, item)).collect();
    if addresses.is_empty() {
        return;
    }
    let mut owners = find_owners(&addresses).into_iter();
    for item in facts.items.iter_mut().filter(|item| item.has_open_owner()) {
        let KnownOwner { run, session } = owners.next().unwrap_or_default();
        for (part, (of_run, of_session)) in run.into_iter().zip(session).enumerate() {
            let is_unknown = item.owner().get(part) == Some(&None);
            if item.owner_decided.get(part) == Some(&false) {
                item.set_owner_part(part, of_run.or(of_session.filter(|_| is_unknown)), true);
            }
        }
        item.owner_decided = [true; 3];
    }
}

fn run_address<'p>(payload: &'p Payload, item: &'p ItemFacts) -> RunAddress<'p> {
    let is_span = payload.kind(item.node) == NodeKind::Span;
    RunAddress {
        run: item.run.as_deref(),
        trace: payload.trace_id(item.node),
        span: if is_span { payload.parent_span_id(item.node) } else { payload.span_id(item.node) },
        session: item.session.as_deref(),
    }
}

impl Facts {
    /// Whether the owners of some items are still open: no step has called [`adopt_owners`].
    pub fn has_open_owners(&self) -> bool {
        self.items.iter().any(ItemFacts::has_open_owner)
    }
}

impl ItemFacts {
    fn has_open_owner(&self) -> bool {
        self.owner_decided.contains(&false)
    }

    /// Tenant, feature and user.
    fn owner(&self) -> [Option<&str>; 3] {
        [self.tenant.as_deref(), self.feature.as_deref(), self.user.as_deref()]
    }

    /// Sets a part of the owner if `text` is known. `is_final`: the run may no longer replace it.
    fn set_owner_part(&mut self, part: usize, text: Option<String>, is_final: bool) {
        let parts = [&mut self.tenant, &mut self.feature, &mut self.user];
        let Some((known, decided)) = parts.into_iter().zip(&mut self.owner_decided).nth(part) else { return };
        if text.is_some() {
            *known = text;
            *decided |= is_final;
        }
    }
}
