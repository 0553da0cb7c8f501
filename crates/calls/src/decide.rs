//! Decides what each record of a case is: a call, a layer, a sum or a total. It depends on the records, the spans
//! between them, and on which records were charged, which only breaks ties, so that a later record moves no charge.
//!
//! - Records of one answer are one call, as are a span and a log record that repeats it, and the nth span and the nth
//!   log record of one size in dialects that send both signals without an id.
//! - A call above another, with no span with tokens, tool or agent between them, is its outer layer if the counts are
//!   equal, and a sum if it has the counts of several together. Of calls without tokens the innermost counts, unless one
//!   around or inside it reports tokens.
//! - A price that a trusted upstream tollgate stamped is final. What it relayed without a stamp in the same trace is no
//!   call.
//! - A total is billed, bucket by bucket, for the tokens beyond those of the calls below it. A call with unknown
//!   parents
//!   and no known total above it counts as below the total of its trace that started first.

use std::cmp::Reverse;

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::case::{Case, TraceSpan};
use super::counts::CallTokenCounts;
use super::money::Money;
use super::record::{CallRecord, traits};

/// Maximum number of records that one is compared with.
const MAX_COMPARED: usize = 64;
/// Maximum number of spans that are walked from one record.
const MAX_STEPS: usize = 64;

/// What a call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallRole {
    /// A call of its own.
    #[default]
    Call,
    /// An outer layer: the call inside it is billed.
    Layer,
    /// No call: the sum of calls inside it, a call without tokens around or inside one with tokens, or what a trusted
    /// upstream tollgate left without a stamp.
    Sum,
    /// Reports the tokens of all calls below it.
    Total,
}

/// One call: records that report the same.
#[derive(Clone, Debug, Default)]
pub struct DecidedCall {
    /// What it is.
    pub role: CallRole,
    /// The index of the record that gives the price.
    pub winner: usize,
    /// `None`: no record has a price.
    pub(crate) due: Option<Money>,
    /// It lies below a total. Only for its status.
    pub(crate) is_below_total: bool,
    /// Of a total: the units that the calls below it account for.
    pub(crate) counted_below: Option<[u64; 4]>,
    /// Of a copy or a sum: the calls that are billed in its place.
    pub billed_instead: Vec<usize>,
}

impl DecidedCall {
    /// Why the record `at` of this call is not charged. `call_of`: the call of each record.
    pub(crate) fn uncharged_reason(&self, case: &Case, call_of: &[usize], at: usize) -> UnchargedReason {
        let winner = case.entries().get(self.winner);
        let is_charged_on_span = self.due.is_some() && winner.is_some_and(|entry| entry.record.has(traits::SPAN));
        match self.role {
            CallRole::Layer => UnchargedReason::Layer,
            CallRole::Sum => UnchargedReason::Sum,
            CallRole::Call if self.is_below_total => UnchargedReason::BelowTotal,
            CallRole::Call if !is_charged_on_span && is_first_span(case, call_of, at) => UnchargedReason::FirstSpan,
            CallRole::Call | CallRole::Total => UnchargedReason::Repeat,
        }
    }
}

/// Whether the record `at` is new and the first span of its call, of which no span was charged.
fn is_first_span(case: &Case, call_of: &[usize], at: usize) -> bool {
    let of_call =
        case.entries().iter().zip(call_of).enumerate().filter(|(_, (_, call))| Some(*call) == call_of.get(at));
    let mut spans = of_call.filter(|(_, (entry, _))| entry.record.has(traits::SPAN)).peekable();
    spans.peek().is_some_and(|(first, (entry, _))| *first == at && !entry.is_committed)
        && spans.all(|(_, (entry, _))| entry.charges.is_empty())
}

/// Why nothing is charged for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnchargedReason {
    /// It repeats a record that was charged.
    Repeat,
    /// It is the first span of a call that is charged on no span: on its log record, or not yet.
    FirstSpan,
    /// A total above it was charged for its tokens.
    BelowTotal,
    /// It is an outer layer of a call.
    Layer,
    /// [`CallRole::Sum`].
    Sum,
}

/// All calls of a case, and the call of each record.
pub struct Decision {
    /// All calls.
    pub calls: Vec<DecidedCall>,
    /// By record: the index of its call.
    pub call_of: Vec<usize>,
}

/// Parent of a span that is no record, and whether it is a tool or an agent; `None`: it is not known.
pub type SpanLookup<'c> = &'c dyn Fn([u8; 16], [u8; 8]) -> Option<([u8; 8], bool)>;

/// Records and what is known around them.
struct CaseView<'c> {
    records: Vec<&'c CallRecord>,
    is_charged: &'c dyn Fn(usize) -> bool,
    span_at: SpanLookup<'c>,
    /// Records of two traces may be one call by their size and time.
    has_traces: bool,
    /// The first record of each span that has one, by trace and span.
    by_span: HashMap<TraceSpan, usize>,
}

/// Decides about all records of a case.
pub(crate) fn decide(case: &Case) -> Decision {
    if let [only] = case.entries() {
        let record = &only.record;
        let role = if record.has(traits::TOTAL) { CallRole::Total } else { CallRole::Call };
        let due = record.price.filter(|_| !record.has(traits::WAITS));
        // some calls below it are in another case
        let due = if role == CallRole::Total && case.is_partial { Some(Money::ZERO) } else { due };
        return Decision {
            calls: vec![DecidedCall { role, winner: 0, due, ..DecidedCall::default() }],
            call_of: vec![0],
        };
    }
    let is_charged = |index: usize| case.entries().get(index).is_some_and(|entry| !entry.charges.is_empty());
    let span_at = |trace, span| case.node(trace, span);
    let records = case.entries().iter().map(|entry| &entry.record).collect();
    let view = CaseView::new(records, (&is_charged, true), &span_at);
    let mut decision = view.decide_roles();
    if decision.calls.iter().any(|call| call.role == CallRole::Total) {
        view.reduce_totals(&mut decision, case.is_partial);
    }
    decision
}

/// Decides which records are one call, and what each call is, without a ledger: nothing was charged, and totals are not
/// reduced. Calls of two traces stay apart unless they share an answer. `span_at`: the other spans of their traces.
pub fn decide_roles(records: &[CallRecord], span_at: SpanLookup<'_>) -> Decision {
    CaseView::new(records.iter().collect(), (&|_| false, false), span_at).decide_roles()
}

impl<'c> CaseView<'c> {
    fn new(
        records: Vec<&'c CallRecord>,
        (is_charged, has_traces): (&'c dyn Fn(usize) -> bool, bool),
        span_at: SpanLookup<'c>,
    ) -> Self {
        let mut by_span = HashMap::with_capacity(records.len());
        for (index, record) in records.iter().enumerate().filter(|(_, record)| record.has(traits::SPAN)) {
            by_span.entry((record.trace, record.span)).or_insert(index);
        }
        Self { records, is_charged, span_at, has_traces, by_span }
    }

    fn decide_roles(&self) -> Decision {
        let call_of = self.group_records();
        let mut calls: Vec<DecidedCall> = Vec::new();
        let mut numbers: HashMap<usize, usize> = HashMap::new();
        let call_of: Vec<usize> = call_of
            .into_iter()
            .enumerate()
            .map(|(index, first)| {
                let number = *numbers.entry(first).or_insert_with(|| {
                    calls.push(DecidedCall { winner: index, ..DecidedCall::default() });
                    calls.len() - 1
                });
                if let Some(call) = calls.get_mut(number)
                    && self.rank(index) > self.rank(call.winner)
                {
                    call.winner = index;
                }
                number
            })
            .collect();
        let is_complete: HashSet<usize> = call_of
            .iter()
            .enumerate()
            .filter(|(index, _)| !self.record(*index).has(traits::WAITS))
            .map(|(_, call)| *call)
            .collect();
        let stamped = self.records.iter().filter(|record| record.has(traits::STAMPED) && record.is_in_trace());
        let stamped_traces: HashSet<[u8; 16]> = stamped.map(|record| record.trace).collect();
        for (number, call) in calls.iter_mut().enumerate() {
            let record = self.record(call.winner);
            call.due = record.price.filter(|_| is_complete.contains(&number));
            if record.has(traits::TOTAL) {
                call.role = CallRole::Total;
            }
            if record.has(traits::RELAYED) && stamped_traces.contains(&record.trace) {
                (call.role, call.due) = (CallRole::Sum, Some(Money::ZERO));
            }
        }
        let mut decision = Decision { calls, call_of };
        self.mark_copies(&mut decision);
        decision
    }

    fn record(&self, index: usize) -> &'c CallRecord {
        static EMPTY: std::sync::LazyLock<CallRecord> = std::sync::LazyLock::new(CallRecord::default);
        self.records.get(index).map_or(&EMPTY, |record| *record)
    }

    /// Of records that say the same, one that was charged gives the price: another one may be another tenant's, with
    /// other rates.
    fn rank(&self, index: usize) -> impl Ord + use<> {
        let record = self.record(index);
        (record.rank(), (self.is_charged)(index), Reverse((record.start, record.id)))
    }

    /// By record: the smallest index of a record of the same call.
    fn group_records(&self) -> Vec<usize> {
        let count = self.records.len();
        let mut groups = Groups((0..count).collect());
        let mut by_answer: HashMap<[u8; 16], Vec<usize>> = HashMap::new();
        let mut by_twin: HashMap<[u8; 16], [Vec<usize>; 2]> = HashMap::new();
        for index in 0..count {
            let record = self.record(index);
            if record.has_answer() {
                let others = by_answer.entry(record.answer).or_default();
                for other in
                    others.iter().rev().take(MAX_COMPARED).filter(|other| record.is_same_answer(self.record(**other)))
                {
                    groups.join(index, *other);
                }
                others.push(index);
            }
            if record.has_twin() {
                let [spans, logs] = by_twin.entry(record.twin).or_default();
                if record.has(traits::SPAN) { spans } else { logs }.push(index);
            }
            if record.has(traits::STAMPED) {
                continue;
            }
            if record.has(traits::SPAN) {
                // one span may be sent with and without its answer's id
                let same = self.by_span.get(&(record.trace, record.span)).filter(|same| **same != index);
                let is_one = |same: &&usize| {
                    let other = self.record(**same);
                    let lasting =
                        !(traits::WAITS | traits::CACHE_SPLIT | traits::RELAYED | traits::GONE | traits::BILLING);
                    !(record.has_answer() && other.has_answer()) && (record.traits ^ other.traits) & lasting == 0
                };
                same.filter(is_one).into_iter().for_each(|same| groups.join(index, *same));
            } else if let Some(span) = self.by_span.get(&(record.trace, record.span)) {
                let of_span = self.record(*span);
                let is_call = !of_span.has(traits::TOTAL) && !record.has(traits::TOTAL);
                if record.has(traits::OF_SPAN) || (is_call && record.wraps(of_span)) {
                    groups.join(index, *span);
                }
            }
        }
        for [mut spans, mut logs] in by_twin.into_values() {
            // pairs charged spans with uncharged logs first, so that a later record moves no charge
            for (list, is_first) in [(&mut spans, true), (&mut logs, false)] {
                let record = |index: &usize| (self.record(*index).start, self.record(*index).id);
                list.sort_unstable_by_key(|index| ((self.is_charged)(*index) != is_first, record(index)));
            }
            for (span, log) in spans.into_iter().zip(logs) {
                groups.join(span, log);
            }
        }
        (0..count).map(|index| groups.first(index)).collect()
    }

    /// The spans above a record, nearest first: whether it is known, its record, and whether it is a tool or an agent.
    fn spans_above(&self, record: &'c CallRecord) -> impl Iterator<Item = SpanAbove> {
        let mut next = if record.has(traits::SPAN) { record.parent } else { record.span };
        let trace = record.trace;
        std::iter::from_fn(move || {
            if next == [0; 8] {
                return None;
            }
            let span = next;
            let record = self.by_span.get(&(trace, span)).copied();
            let above = match (record.map(|index| self.record(index)), (self.span_at)(trace, span)) {
                (Some(known), _) => {
                    next = known.parent;
                    SpanAbove { record, is_boundary: known.has(traits::BOUNDARY), is_known: true }
                }
                (None, Some((parent, is_boundary))) => {
                    next = parent;
                    SpanAbove { record, is_boundary, is_known: true }
                }
                (None, None) => {
                    next = [0; 8];
                    SpanAbove { record, is_boundary: false, is_known: false }
                }
            };
            Some(above)
        })
        .take(MAX_STEPS)
    }

    /// Marks outer layers and sums. Inputs and models are compared because short outputs are often equal.
    fn mark_copies(&self, decision: &mut Decision) {
        let mut inner: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut silent: Vec<usize> = Vec::new();
        for (index, record) in self.records.iter().enumerate() {
            if !record.is_in_trace() {
                continue;
            }
            let above = self.spans_above(record).take_while(|above| above.is_known && !above.is_boundary);
            for outer in above.filter_map(|above| above.record).filter(|outer| *outer != index) {
                if self.record(outer).is_without_tokens() {
                    silent.push(outer);
                } else if record.is_without_tokens() {
                    silent.push(index);
                    break;
                } else {
                    let is_span = record.has(traits::SPAN);
                    inner.entry(outer).or_default().extend(is_span.then_some(index));
                    break;
                }
            }
        }
        for index in silent {
            let call = decision.call_of.get(index).and_then(|number| decision.calls.get_mut(*number));
            let is_silent = |winner: &CallRecord| winner.is_without_tokens() && !winner.has(traits::STAMPED);
            if let Some(call) = call.filter(|call| is_silent(self.record(call.winner))) {
                (call.role, call.due) = (CallRole::Sum, Some(Money::ZERO));
            }
        }
        let mut copies: Vec<(usize, CallRole, Vec<usize>)> = Vec::new();
        for (outer_index, inner) in inner {
            let outer = self.record(outer_index);
            let own_call = decision.call_of.get(outer_index);
            // The records of one call are no layers of each other.
            let others = || inner.iter().filter(|index| decision.call_of.get(**index) != own_call);
            let sum =
                || others().fold(CallTokenCounts::default(), |sum, index| sum.sum_with(&self.record(*index).counts));
            let wraps_one = others().any(|index| outer.wraps(self.record(*index)));
            let is_sum_of_several = || {
                others().count() > 1
                    && others().any(|index| outer.has_compatible_model(self.record(*index)))
                    && outer.counts.matches_inner(&sum())
            };
            let is_presumed_sum = || {
                others().next().is_some()
                    && (outer.has(traits::LEAF_ONLY)
                        || (outer.has(traits::GUESSED) && !outer.counts.is_more_than_double(&sum())))
            };
            let is_sum = || is_sum_of_several() || is_presumed_sum();
            if let Some(role) = wraps_one.then_some(CallRole::Layer).or_else(|| is_sum().then_some(CallRole::Sum)) {
                copies.push((outer_index, role, others().copied().collect()));
            }
        }
        let beside = self.copies_beside_sdk_calls(decision);
        copies.extend(beside.into_iter().map(|(index, other)| (index, CallRole::Layer, vec![other])));
        copies.sort_unstable_by_key(|(index, ..)| *index);
        for (index, role, others) in copies {
            if self.record(index).has(traits::STAMPED) {
                continue;
            }
            // a layer whose only inner call has no price is billed itself
            let is_unpriced =
                |record: &CallRecord| record.price.is_none() && record.traits & (traits::WAITS | traits::STAMPED) == 0;
            let (mut index, mut others) = (index, others);
            if let [inner] = others[..]
                && role == CallRole::Layer
                && is_unpriced(self.record(inner))
                && self.record(index).price.is_some()
            {
                (index, others) = (inner, vec![index]);
            }
            let others = others.iter().filter_map(|other| decision.call_of.get(*other)).copied().collect();
            let call = decision.call_of.get(index).and_then(|number| decision.calls.get_mut(*number));
            if let Some(call) = call.filter(|call| call.role == CallRole::Call) {
                (call.role, call.due, call.billed_instead) = (role, Some(Money::ZERO), others);
            }
        }
    }

    /// Pairs of a copy and the span that is billed, of an instrumentation and a vendor's SDK that report one call
    /// beside each other. The copy is the one without an id; if both lack one, the instrumentation's.
    fn copies_beside_sdk_calls(&self, decision: &Decision) -> Vec<(usize, usize)> {
        let (mut siblings, mut by_size) = (HashMap::<_, Vec<usize>>::new(), HashMap::<_, Vec<usize>>::new());
        let is_call =
            |record: &CallRecord| record.has(traits::SPAN) && record.traits & (traits::TOTAL | traits::STAMPED) == 0;
        for (index, record) in self.records.iter().enumerate() {
            if is_call(record) && record.has(traits::VENDOR_SDK) && !record.is_without_tokens() {
                siblings.entry((record.trace, record.parent)).or_default().push(index);
                by_size.entry(record.size()).or_default().push(index);
            }
        }
        let (mut taken, mut copies): (HashSet<usize>, Vec<(usize, usize)>) = (HashSet::new(), Vec::new());
        if by_size.is_empty() {
            return copies;
        }
        for (index, record) in self.records.iter().enumerate() {
            if !is_call(record) || record.has(traits::VENDOR_SDK) || record.is_without_tokens() {
                continue;
            }
            let is_free =
                |other: &&usize| !taken.contains(other) && decision.call_of.get(index) != decision.call_of.get(**other);
            let is_same = |other: &&usize| {
                let sdk = self.record(**other);
                let counts = &record.counts;
                counts.output == sdk.counts.output && counts.shares_input(&sdk.counts) && record.may_be_call_of(sdk)
            };
            let of_parent = siblings.get(&(record.trace, record.parent)).into_iter().flatten();
            let of_size = by_size.get(&record.size()).into_iter().flatten();
            let sibling =
                of_parent.take(MAX_COMPARED).filter(is_free).find(is_same).filter(|_| record.parent != [0; 8]);
            let is_beside = |other: &&usize| {
                let sdk = self.record(**other);
                record.is_beside(sdk) && (self.has_traces || record.trace == sdk.trace)
            };
            let beside = || of_size.take(MAX_COMPARED).filter(is_free).find(is_beside);
            if let Some(sdk) = sibling.or_else(beside) {
                taken.insert(*sdk);
                let is_sdk_copy = record.has_answer() && !self.record(*sdk).has_answer();
                copies.push(if is_sdk_copy { (*sdk, index) } else { (index, *sdk) });
            }
        }
        copies
    }

    /// Reduces each total by the calls below it, the innermost totals first.
    fn reduce_totals(&self, decision: &mut Decision, is_partial: bool) {
        // By call: the totals above one of its records, nearest first.
        let totals: Vec<usize> =
            (0..decision.calls.len()).filter(|number| decision.is(*number, CallRole::Total)).collect();
        let mut above: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, record) in self.records.iter().enumerate() {
            let Some(number) = decision.call_of.get(index).copied() else { continue };
            let is_total = decision.is(number, CallRole::Total);
            if !is_total && !decision.is(number, CallRole::Call) {
                continue;
            }
            let list = above.entry(number).or_default();
            let mut is_chain_known = true;
            for (step, span) in self.spans_above(record).enumerate() {
                is_chain_known = span.is_known && step + 1 < MAX_STEPS;
                let total = span.record.and_then(|record| decision.call_of.get(record)).copied();
                let is_above =
                    |total: &usize| decision.is(*total, CallRole::Total) && *total != number && !list.contains(total);
                let found = total.filter(is_above);
                list.extend(found);
            }
            is_chain_known &= !(record.is_in_trace() && record.span == [0; 8]);
            // The end of a turn covers its trace. Without a known chain the first total of the trace covers the call.
            let of_trace = || totals.iter().filter(|total| self.record(decision.winner(**total)).trace == record.trace);
            let turn_ends = of_trace().filter(|total| self.record(decision.winner(**total)).has(traits::OF_TRACE));
            let key = |total: &&usize| {
                let record = self.record(decision.winner(**total));
                (record.start, record.id)
            };
            let is_alone = !is_chain_known && !is_total && list.is_empty();
            let first = if is_alone { of_trace().min_by_key(key) } else { None };
            let is_turn_end = is_total && record.has(traits::OF_TRACE);
            for total in turn_ends.chain(first).filter(|total| **total != number && !is_turn_end) {
                if !list.contains(total) {
                    list.push(*total);
                }
            }
        }
        let mut order: Vec<(usize, usize)> =
            totals.iter().map(|total| (above.get(total).map_or(0, Vec::len), *total)).collect();
        order.sort_unstable_by(|one, other| other.cmp(one));
        let mut below: HashMap<usize, [u64; 4]> = HashMap::new();
        let add = |below: &mut HashMap<usize, [u64; 4]>, number: usize, units: [u64; 4]| {
            for total in above.get(&number).into_iter().flatten() {
                let sum = below.entry(*total).or_default();
                sum.iter_mut().zip(units).for_each(|(sum, more)| *sum = sum.saturating_add(more));
            }
        };
        for number in 0..decision.calls.len() {
            if decision.is(number, CallRole::Call) {
                add(&mut below, number, self.record(decision.winner(number)).units);
                if above.get(&number).is_some_and(|totals| !totals.is_empty())
                    && let Some(call) = decision.calls.get_mut(number)
                {
                    call.is_below_total = true;
                }
            }
        }
        for (_, total) in order {
            let record = self.record(decision.winner(total));
            let counted = below.get(&total).copied().unwrap_or_default();
            let mut rest = record.units;
            rest.iter_mut().zip(counted).for_each(|(rest, counted)| *rest = rest.saturating_sub(counted));
            // Whether a total's input includes cached tokens is often unsure: what may be included is not billed.
            let [input, _, cache_read, cache_write] = counted;
            let with_cached = input.saturating_add(cache_read).saturating_add(cache_write);
            if let (Some(reported), [rest_input, ..]) = (record.counts.input[0], &mut rest) {
                *rest_input = (*rest_input).min(reported.saturating_sub(with_cached));
            }
            if is_partial || (record.has(traits::ACCUMULATES) && counted != [0; 4]) {
                rest = [0; 4];
            }
            add(&mut below, total, rest);
            if let Some(call) = decision.calls.get_mut(total)
                && (is_partial || counted != [0; 4])
            {
                let mut before = record.units;
                before.iter_mut().zip(rest).for_each(|(before, rest)| *before = before.saturating_sub(rest));
                call.counted_below = Some(before);
                call.due =
                    call.due.map(|due| share(due, record.units, rest)).or(rest.eq(&[0; 4]).then_some(Money::ZERO));
            }
        }
    }
}

impl Decision {
    fn is(&self, number: usize, role: CallRole) -> bool {
        self.calls.get(number).is_some_and(|call| call.role == role)
    }

    fn winner(&self, number: usize) -> usize {
        self.calls.get(number).map_or(0, |call| call.winner)
    }
}

/// The part of a price that belongs to `rest` of the `units`.
fn share(price: Money, units: [u64; 4], rest: [u64; 4]) -> Money {
    let Money(mut parts, mut saved) = price;
    // fees belong to calls, not to what a total has beyond them
    parts[4] = 0;
    let [by_unit @ .., _] = &mut parts;
    let of_cache = |units: [u64; 4]| units.into_iter().chain([units[2], units[3]]);
    for ((part, whole), rest) in by_unit.iter_mut().chain(&mut saved).zip(of_cache(units)).zip(of_cache(rest)) {
        let per_unit = part.checked_div(i128::from(whole)).unwrap_or(0);
        let remainder = part.checked_rem(i128::from(whole)).unwrap_or(0);
        let rest = i128::from(rest);
        let exact = per_unit.saturating_mul(rest);
        *part = exact.saturating_add(remainder.saturating_mul(rest).checked_div(i128::from(whole)).unwrap_or(0));
    }
    Money(parts, saved)
}

/// A span above a record.
struct SpanAbove {
    record: Option<usize>,
    is_boundary: bool,
    is_known: bool,
}

/// Groups of indices. The smallest index of a group is its name.
struct Groups(Vec<usize>);

impl Groups {
    fn first(&mut self, mut index: usize) -> usize {
        while let Some(&parent) = self.0.get(index).filter(|parent| **parent != index) {
            let above = self.0.get(parent).copied().unwrap_or(parent);
            if let Some(slot) = self.0.get_mut(index) {
                *slot = above;
            }
            index = parent;
        }
        index
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.first(one), self.first(other));
        if let Some(slot) = self.0.get_mut(one.max(other)) {
            *slot = one.min(other);
        }
    }
}
