//! Ends of runs by the spans that enclose them. A run that is part of a request or job ends with the root of its trace,
//! whatever the root is: [`mark::ROOT`]. A service's part of a trace ends with the span whose parent is in another
//! process ([`mark::ENTRY`]), if that span encloses everything that is known of the run; so the span of an MCP server
//! ends no run of the agent that called it. What comes later opens the run again.
//! Only spans in traces of which the tracker knows or the batch holds agents' items are observed. The ends of other
//! traces wait in [`EarlyEnds`], in this process alone. `sum` finds the ends of agents.

use foldhash::{HashMap, HashSet};
use parking_lot::Mutex;

use genai::{Facts, ItemRole};
use kernel::bounded_map::{AccountHash, BoundedMap};
use otlp::{NodeId, Payload, Signal, TextField};

use super::group::{ItemGroup, LifecycleMark};
use super::observation::{flag, is_observed, mark};
use super::run::{ItemRecord, Run, RunIdentity, RunItem};

/// Items may lie this far outside of the span that encloses them, ns.
const SLACK: u64 = 1_000_000_000;
const STATUS_ERROR: i32 = 2;

/// A span that ends its trace or its service's part of it.
pub(super) struct EndSpan {
    pub(super) node: NodeId,
    pub(super) trace: [u8; 16],
    /// [`mark::ROOT`] or [`mark::ENTRY`].
    pub(super) mark: u8,
}

impl EndSpan {
    /// All ended spans of a payload that have no parent, or one in another process.
    pub(super) fn find_all(payload: &Payload) -> Vec<Self> {
        if payload.signal() != Signal::Traces {
            return Vec::new();
        }
        let end_span = |node: NodeId| {
            let mark = match payload.parent_span_id(node).iter().all(|byte| *byte == 0) {
                true => mark::ROOT,
                false if payload.has_remote_parent(node) => mark::ENTRY,
                false => return None,
            };
            let trace = <[u8; 16]>::try_from(payload.trace_id(node)).ok()?;
            (payload.end_time(node) != 0).then_some(Self { node, trace, mark })
        };
        payload.items().filter_map(end_span).collect()
    }

    /// Whether the span needs a mark of its own, if it is an item of this role: agents and calls without a parent are
    /// recorded anyway, and the end of a turn or session says so itself.
    pub(super) fn needs_mark(&self, role: ItemRole) -> bool {
        match role {
            ItemRole::Agent | ItemRole::Model | ItemRole::ModelCopy | ItemRole::Tool => self.mark == mark::ENTRY,
            ItemRole::TurnEnd | ItemRole::SessionEnd => false,
            _ => true,
        }
    }

    pub(super) fn flags(&self, payload: &Payload) -> u32 {
        let has_failed = payload.status_code(self.node) == STATUS_ERROR;
        flag::ENDED | if has_failed { flag::FAILED } else { 0 }
    }

    /// The route of the request, otherwise the span's name.
    pub(super) fn operation<'p>(&self, payload: &'p Payload) -> &'p str {
        let name = payload.text(self.node, TextField::Name);
        payload.get_str(self.node, "http.route").filter(|route| !name.ends_with(route)).unwrap_or(name)
    }
}

/// An end that arrived before everything else of its trace.
#[derive(Clone)]
pub(super) struct EarlyEnd {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) mark: u8,
    pub(super) flags: u32,
    /// As sent, unix ns.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) operation: Box<str>,
}

impl EarlyEnd {
    fn new(end: &EndSpan, payload: &Payload) -> Self {
        let EndSpan { node, trace, mark } = *end;
        Self {
            trace,
            span: <[u8; 8]>::try_from(payload.span_id(node)).unwrap_or_default(),
            mark,
            flags: end.flags(payload),
            start: payload.time(node),
            end: payload.end_time(node),
            operation: Some(end.operation(payload))
                .filter(|name| name.len() <= MAX_OPERATION_BYTES)
                .unwrap_or("")
                .into(),
        }
    }
}

const MAX_EARLY_ENDS: usize = 4096;
/// A longer operation is not kept, bytes.
const MAX_OPERATION_BYTES: usize = 256;

/// The latest ends of traces that have no items yet; the account with most loses its oldest.
#[derive(Default)]
pub(super) struct EarlyEnds(Mutex<BoundedMap<(AccountHash, [u8; 16]), EarlyEnd, MAX_EARLY_ENDS>>);

impl EarlyEnds {
    /// Keeps those ends of a batch whose traces the tracker does not know, and returns those that came before the items
    /// of this batch.
    pub(super) fn exchange(
        &self,
        account: &str,
        payload: &Payload,
        facts: &Facts,
        (ends, known): (&[EndSpan], &HashSet<[u8; 16]>),
    ) -> Vec<EarlyEnd> {
        if ends.is_empty() && self.0.lock().is_empty() {
            return Vec::new();
        }
        let observed = facts.items.iter().filter(|item| is_observed(item));
        let traces: HashSet<[u8; 16]> =
            observed.filter_map(|item| <[u8; 16]>::try_from(payload.trace_id(item.node)).ok()).collect();
        let is_early = |end: &&EndSpan| !known.contains(&end.trace) && !traces.contains(&end.trace);
        let new: Vec<EarlyEnd> = ends.iter().filter(is_early).map(|end| EarlyEnd::new(end, payload)).collect();
        if new.is_empty() && traces.is_empty() {
            return Vec::new();
        }
        let account = AccountHash::from(account);
        let mut early = self.0.lock();
        for end in new {
            // the root counts, otherwise the outermost entry span
            let rank = |end: &EarlyEnd| (end.mark == mark::ROOT, std::cmp::Reverse(end.start));
            if early.get(&(account, end.trace)).is_none_or(|known| rank(known) < rank(&end)) {
                early.insert_for(account, (account, end.trace), end, 1);
            }
        }
        if early.is_empty() {
            return Vec::new();
        }
        traces.iter().filter_map(|trace| early.get(&(account, *trace)).cloned()).collect()
    }
}

impl LifecycleMark {
    /// Whether it marks the end of a trace or of a service's part of it, and so belongs to no run itself.
    pub(super) fn ends_trace(&self) -> bool {
        matches!(self.kind, mark::ROOT | mark::ENTRY)
    }

    fn encloses(&self, item: &RunItem<'_>) -> bool {
        self.position.trace == item.position.trace
            && item.start.saturating_add(SLACK) >= self.start
            && item.end <= self.end.saturating_add(SLACK)
    }
}

/// Ends the runs whose traces, or parts of traces, have ended, and names the operation of each.
pub(super) fn end_runs(group: &ItemGroup, runs: &mut [Run], items: &[RunItem<'_>], item_runs: &[Option<usize>]) {
    let ends = trace_ends(group);
    let ends_of = |run: &Run| ends.get(&run.trace).map(Vec::as_slice).unwrap_or_default();
    let mut open: HashSet<usize> = HashSet::default();
    for (item, run_index) in items.iter().zip(item_runs) {
        let is_root = match item.record {
            ItemRecord::Call(_) | ItemRecord::Tool(_) => {
                item.position.is_own_span && group.nodes.get(item.position.node).is_some_and(|node| node.parent == 0)
            }
            ItemRecord::Summed(sum) => sum.flags & flag::ENDED != 0,
            ItemRecord::Mark(_) => continue,
        };
        let Some(run) = run_index.and_then(|run_index| runs.get_mut(run_index)) else { continue };
        if is_root && run.id == RunIdentity::Trace(item.position.trace) {
            run.ended = true;
        }
        let ends = ends_of(run);
        if !ends.is_empty() && !ends.iter().any(|end| end.encloses(item)) {
            open.extend(*run_index);
        }
    }
    for (run_index, run) in runs.iter_mut().enumerate() {
        let Some(first) = ends_of(run).first() else { continue };
        run.operation = first.model;
        if first.kind == mark::ROOT || !open.contains(&run_index) {
            run.end_with(first);
        }
    }
}

/// By trace: its root, otherwise the entries of services, the earliest first.
fn trace_ends(group: &ItemGroup) -> HashMap<u32, Vec<&LifecycleMark>> {
    let mut ends: HashMap<u32, Vec<&LifecycleMark>> = HashMap::default();
    for mark in group.marks.values().filter(|mark| mark.ends_trace()) {
        ends.entry(mark.position.trace).or_default().push(mark);
    }
    ends.values_mut().for_each(|ends| {
        ends.sort_by_key(|end| (std::cmp::Reverse(end.kind == mark::ROOT), end.start, end.position.node));
    });
    ends
}

impl Run {
    fn end_with(&mut self, end: &LifecycleMark) {
        match self.id {
            RunIdentity::Trace(_) if !self.ended => {
                self.ended = true;
                self.failed |= end.flags & flag::FAILED != 0;
                self.root = Some((end.start, end.end));
                self.roots = vec![end.position.node];
            }
            RunIdentity::Root(_) => {
                self.ended |= self.presumed_end;
                self.failed |= self.presumed_failed;
            }
            _ => {}
        }
    }
}
