//! Whose an item is: its tenant, feature and user. Each is the item's own; else that of its nearest ancestor in the
//! request; else, for the tenant, that of its resource; else that of its run, from requests committed earlier
//! ([`adopt_owners`]) or from the rest of this one; else that of its resource. Decided before the item is priced, and
//! never again: later steps read the facts.
//!
//! `item_facts` reads what item and resource say, the crate `tracker` knows the runs.

use foldhash::{HashMap, HashMapExt as _};

use otlp::{NodeKind, Payload, Signal};

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
const USER: usize = 2;

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
    /// their own, so an item takes its feature from above only. A session is the run of an item without a trace; for
    /// other items it decides only what nothing else says.
    fn decides(self, part: usize, item: &ItemFacts, payload: &Payload) -> bool {
        match self {
            _ if part == TENANT && item.tenant.is_some() => false,
            Self::Span(..) => true,
            _ if part == FEATURE => false,
            Self::Trace(_) => true,
            Self::Session(_) => payload.trace_id(item.node).is_empty() || item.owner_part(part).is_none(),
        }
    }
}

/// The parts, by their position in an [`Owner`], that some items of the request state and others lack.
pub(super) fn passed_parts(payload: &Payload, entries: &[ItemWithDialect<'_>]) -> Vec<usize> {
    let is_passed = |part: &usize| {
        let mut stated = entries.iter().map(|entry| entry.facts.states_owner_part(*part));
        let first = stated.next();
        stated.any(|is_stated| Some(is_stated) != first)
    };
    (0..3).filter(|_| payload.signal() != Signal::Metrics).filter(is_passed).collect()
}

/// Gives each span the parts that it lacks, from its nearest ancestor in the request that states them.
pub(super) fn inherit_owners(entries: &mut [ItemWithDialect<'_>], spans: &SpanIndex<'_>, passed: &[usize]) {
    let is_stated_at = |at: usize, part| entries.get(at).is_some_and(|above| above.facts.states_owner_part(part));
    let found =
        find_missing(entries, passed, |item, part| spans.ancestors(item.node).find(|at| is_stated_at(*at, part)));
    set_parts(entries, found, true);
}

/// Gives each item the parts that it still lacks, from the other items of its span, trace or session in the request, if
/// those that state a part agree. A known tenant stays: it is the item's own, an ancestor's or its resource's.
pub(super) fn complete_owners(payload: &Payload, entries: &mut [ItemWithDialect<'_>]) {
    let passed = passed_parts(payload, entries);
    let text = |at: usize, part: usize| entries.get(at).and_then(|entry| entry.facts.owner_part(part));
    // The first item of the scope that states the part. `None`: another one contradicts it.
    let mut statements: HashMap<(Scope<'_>, usize), Option<usize>> = HashMap::new();
    for (at, entry) in entries.iter().enumerate() {
        for part in passed.iter().copied().filter(|part| entry.facts.states_owner_part(*part)) {
            for scope in Scope::of_item(payload, &entry.facts) {
                let known = statements.entry((scope, part)).or_insert(Some(at));
                *known = known.filter(|other| text(*other, part) == text(at, part));
            }
        }
    }
    let found = find_missing(entries, &passed, |item, part| {
        let mut scopes = Scope::of_item(payload, item).filter(|scope| scope.decides(part, item, payload));
        scopes.find_map(|scope| statements.get(&(scope, part)).copied().flatten())
    });
    for ItemWithDialect { facts, .. } in entries.iter_mut() {
        let [is_tenant_decided, ..] = &mut facts.owner_decided;
        *is_tenant_decided |= facts.tenant.is_some();
    }
    set_parts(entries, found, false);
}

/// A part of an owner: the index of its item, its position, and its text.
type OwnerPart = (usize, usize, String);

/// What items lack of the `passed` parts, as stated by the items whose indexes `find` returns.
fn find_missing(
    entries: &[ItemWithDialect<'_>],
    passed: &[usize],
    find: impl Fn(&ItemFacts, usize) -> Option<usize>,
) -> Vec<OwnerPart> {
    let mut found = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        for part in passed.iter().copied().filter(|part| !entry.facts.states_owner_part(*part)) {
            let source = find(&entry.facts, part).and_then(|source| entries.get(source));
            let text = source.and_then(|source| source.facts.owner_part(part));
            found.extend(text.map(|text| (at, part, text.to_owned())));
        }
    }
    found
}

fn set_parts(entries: &mut [ItemWithDialect<'_>], found: Vec<OwnerPart>, is_final: bool) {
    for (at, part, text) in found {
        if let Some(entry) = entries.get_mut(at) {
            entry.facts.set_owner_part(part, Some(text), is_final);
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
            let is_unknown = item.owner_part(part).is_none();
            if !item.states_owner_part(part) {
                let adopted = of_run.or(of_session.filter(|_| is_unknown));
                item.is_user_adopted |= part == USER && adopted.is_some() && adopted != item.user;
                item.set_owner_part(part, adopted, true);
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

    fn states_owner_part(&self, part: usize) -> bool {
        self.owner_decided.get(part) == Some(&true)
    }

    /// The user, if an item of this request or its resource states it: others may name anyone beside a session or
    /// trace.
    pub fn stated_user(&self) -> Option<&str> {
        self.user.as_deref().filter(|_| !self.is_user_adopted)
    }

    fn owner_part(&self, part: usize) -> Option<&str> {
        [&self.tenant, &self.feature, &self.user].get(part).copied()?.as_deref()
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
