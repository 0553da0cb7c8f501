//! The data of an [`ItemGroup`]. `group` adds items to it.

use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

use runs::{ModelTotals, RunOwner, RunWork, ToolTotals};
use serde::{Deserialize, Serialize};

use super::observation::{Attribution, trouble};
use super::sorted_map::SortedMap;
use super::tokens::{PackedAttoUsd, PackedTokens};

/// Sessions and traces that were seen together, with all their items.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct ItemGroup {
    /// The replica that counts its runs: the one that got the latest batch.
    #[serde(skip)]
    pub(super) owner: RunOwner,
    pub(super) account: Box<str>,
    /// The number of a key is its index + 1; 0 = none.
    pub(super) keys: Vec<GroupKey>,
    pub(super) names: Vec<Box<str>>,
    /// By place in the trace: see [`super::observation::span_place`].
    pub(super) nodes: SortedMap<SpanNode>,
    pub(super) calls: SortedMap<ModelCallRecord>,
    pub(super) tools: SortedMap<ToolCallRecord>,
    pub(super) marks: SortedMap<LifecycleMark>,
    /// What was published about runs and sessions, by digests of their ids.
    pub(super) published: SortedMap<PublicationRecord>,
    /// Calls beyond the maximum of single items.
    pub(super) summed: SortedMap<SummedCalls>,
    /// The runs that are not over, as of the last evaluation or query.
    pub(super) current: Arc<[CurrentRun]>,
    /// Their part of the group's weight.
    pub(super) current_weight: usize,
    /// Keys of sessions that continue others, with the ids of these.
    pub(super) continued: Box<[(u32, Box<str>)]>,
    /// Keys of its runs that history has.
    pub(super) written: Box<[u64]>,
    /// After a start: the keys of runs that history has unless the last process ended before it wrote them.
    pub(super) maybe_written: Box<[u64]>,
    /// Gateway time of the batch that made the group, even if an earlier time came later, and the latest, unix ns.
    pub(super) first_received: u64,
    pub(super) received: u64,
    /// The engine's running time at the last batch.
    pub(super) touched: u64,
    pub(super) batch: u64,
    /// Runs that had not ended at the last evaluation.
    pub(super) unfinished_runs: u32,
    /// Number of runs that the dialect names, each with a key.
    pub(super) named_runs: u32,
    /// A model call failed or was not answered as requested, so the next call may replace it.
    pub(super) has_trouble: bool,
}

/// A session, a trace or a named run.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct GroupKey {
    /// The key's id in the store's index.
    pub(super) id: [u8; 16],
    pub(super) kind: u8,
    pub(super) text: Box<str>,
    /// Of a run: its session. Of a trace: the alphabetically first session that was seen with it.
    pub(super) session: u32,
    /// Earliest start and latest end of the key's items, unix ns; 0 = unknown.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The engine's running time at the last batch that named the key.
    pub(super) touched: u64,
    pub(super) tags: AttributionTags,
}

/// With numbers of the group's names.
pub(super) type AttributionTags = Attribution<u16>;

/// A place in a trace: a span, or one of which only log records were seen so far.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct SpanNode {
    pub(super) parent: u64,
    pub(super) trace: u32,
    /// The run that an item at this place names.
    pub(super) run: u32,
    pub(super) iteration: u32,
    /// Whether this span is an agent invocation that may be a run's root.
    pub(super) agent: bool,
    pub(super) denied: bool,
    /// Who or what denied it.
    pub(super) denial_source: u16,
}

/// Position of an item in a trace.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct TracePosition {
    /// True if `node` is the item's own span; false if it is the span a log record was written in.
    pub(super) is_own_span: bool,
    /// 0 = unknown.
    pub(super) node: u64,
    pub(super) trace: u32,
}

/// An item of a group: where and when it was, and what it reports.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct GroupRecord<T> {
    pub(super) position: TracePosition,
    pub(super) session: u32,
    /// The run that the item names; 0 = none.
    pub(super) run: u32,
    pub(super) flags: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) detail: T,
}

pub(super) type ModelCallRecord = GroupRecord<ModelCall>;
pub(super) type ToolCallRecord = GroupRecord<ToolCall>;
pub(super) type LifecycleMark = GroupRecord<MarkedEvent>;
/// Calls of one model or tool of which only sums are kept. Their items would make their group too large.
pub(super) type SummedCalls = GroupRecord<CallSums>;

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct ModelCall {
    pub(super) finish: u16,
    pub(super) model: u16,
    /// Price quality of the record that named the model.
    pub(super) model_quality: u8,
    pub(super) price_quality: u8,
    pub(super) tokens: PackedTokens,
    pub(super) atto: PackedAttoUsd,
    /// What caching saved of it. In the stored form it is at the end of the checkpoint.
    #[serde(skip)]
    pub(super) saved: PackedAttoUsd,
    pub(super) requested_model: u16,
    pub(super) provider: u16,
    pub(super) tenant: u16,
    pub(super) feature: u16,
    pub(super) error: u16,
    /// A constant of [`super::observation::trouble`].
    pub(super) trouble: u8,
    pub(super) fallback: u8,
    pub(super) attempts: u16,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct ToolCall {
    /// Name in the tool's own span.
    pub(super) name: u16,
    /// Name in other records.
    pub(super) alias: u16,
    pub(super) error: u16,
    /// Who or what denied it.
    pub(super) denial_source: u16,
    /// Keyed digest of the arguments; 0 = unknown.
    pub(super) args: u64,
    /// Lines that it added and removed. In the stored form they are at the end of the checkpoint.
    #[serde(skip)]
    pub(super) lines: [u32; 2],
}

/// An agent, turn or session started, ended or failed.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct MarkedEvent {
    /// A constant of [`super::observation::mark`].
    pub(super) kind: u8,
    pub(super) tenant: u16,
    pub(super) feature: u16,
    /// See [`super::observation::ObservedItem::model`].
    pub(super) model: u16,
    pub(super) error: u16,
    /// Of a turn's last message: its time, characters and words. Stored as [`ToolCall::lines`].
    #[serde(skip)]
    pub(super) summary: (u64, [u32; 2]),
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct CallSums {
    pub(super) tenant: u16,
    /// The model or tool.
    pub(super) name: u16,
    /// Answered model calls of the run's own loop.
    pub(super) iterations: u64,
    pub(super) failed_calls: u64,
    pub(super) model: ModelTotals,
    pub(super) tool: ToolTotals,
    /// Stored as [`ToolCall::lines`].
    #[serde(skip)]
    pub(super) work: RunWork,
}

/// A run that is not over, as history reads it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct CurrentRun {
    /// See [`runs::run_key`].
    pub(super) key: u64,
    /// See [`runs::encode_run`].
    pub(super) record: Box<[u8]>,
}

/// What was published about a run or session.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct PublicationRecord {
    /// The engine's running time when the end, or a late change after it, was published; 0 = not over.
    pub(super) over_at: u64,
    /// The engine's running time since when an uncertain end is shown on pages. It is not published, and no
    /// counter includes it.
    pub(super) presumed_at: u64,
    /// Digest of the last published version.
    pub(super) digest: u64,
    /// How many times the published version changed.
    pub(super) revision: u32,
    /// Alert rules that fired, as a bit set of rule numbers.
    pub(super) fired: u16,
}

impl<T> Deref for GroupRecord<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.detail
    }
}

impl<T> GroupRecord<T> {
    /// The same place and time with another detail.
    pub(super) fn with<U>(&self, detail: U) -> GroupRecord<U> {
        let Self { position, session, run, flags, start, end, .. } = *self;
        GroupRecord { position, session, run, flags, start, end, detail }
    }
}

impl ToolCall {
    /// The name in its own span, otherwise in other records.
    pub(super) fn any_name(&self) -> u16 {
        if self.name == 0 { self.alias } else { self.name }
    }
}

/// What a record reports.
pub(super) trait RecordDetail: Copy {
    /// The numbers of its names.
    fn names_mut(&mut self) -> impl Iterator<Item = &mut u16>;

    /// This, completed from another record of the same item; `first` chooses one of two names.
    fn complete(self, other: Self, first: impl Fn(u16, u16) -> u16) -> Self;
}

fn choose_names<T: RecordDetail>(mut known: T, mut other: T, first: impl Fn(u16, u16) -> u16) -> T {
    known.names_mut().zip(other.names_mut()).for_each(|(name, other)| *name = first(*name, *other));
    known
}

impl RecordDetail for ModelCall {
    fn names_mut(&mut self) -> impl Iterator<Item = &mut u16> {
        let Self { finish, model, requested_model, provider, tenant, feature, error, .. } = self;
        [finish, model, requested_model, provider, tenant, feature, error].into_iter()
    }

    fn complete(self, other: Self, first: impl Fn(u16, u16) -> u16) -> Self {
        let price = |call: &Self| (call.price_quality, call.atto.amount(), call.saved.amount());
        let (price_quality, atto, saved) = price(&self).max(price(&other));
        Self {
            model: of_better((self.model_quality, self.model), (other.model_quality, other.model), &first),
            tenant: of_better((self.price_quality, self.tenant), (other.price_quality, other.tenant), &first),
            model_quality: self.model_quality.max(other.model_quality),
            price_quality,
            atto: PackedAttoUsd::from(atto),
            saved: PackedAttoUsd::from(saved),
            tokens: if self.tokens.counts() < other.tokens.counts() { other.tokens } else { self.tokens },
            trouble: most_specific_trouble(self.trouble, other.trouble),
            fallback: most_specific_trouble(self.fallback, other.fallback),
            attempts: self.attempts.max(other.attempts),
            ..choose_names(self, other, first)
        }
    }
}

impl RecordDetail for ToolCall {
    fn names_mut(&mut self) -> impl Iterator<Item = &mut u16> {
        [&mut self.name, &mut self.alias, &mut self.error, &mut self.denial_source].into_iter()
    }

    fn complete(self, other: Self, first: impl Fn(u16, u16) -> u16) -> Self {
        let (args, lines) = (self.args.max(other.args), self.lines.max(other.lines));
        Self { args, lines, ..choose_names(self, other, first) }
    }
}

impl RecordDetail for MarkedEvent {
    fn names_mut(&mut self) -> impl Iterator<Item = &mut u16> {
        [&mut self.tenant, &mut self.feature, &mut self.model, &mut self.error].into_iter()
    }

    fn complete(self, other: Self, first: impl Fn(u16, u16) -> u16) -> Self {
        let (kind, summary) = (self.kind.max(other.kind), self.summary.max(other.summary));
        Self { kind, summary, ..choose_names(self, other, first) }
    }
}

impl RecordDetail for CallSums {
    fn names_mut(&mut self) -> impl Iterator<Item = &mut u16> {
        [&mut self.tenant, &mut self.name].into_iter()
    }

    /// Sums of other items are added.
    fn complete(mut self, other: Self, _: impl Fn(u16, u16) -> u16) -> Self {
        self.iterations += other.iterations;
        self.failed_calls += other.failed_calls;
        self.model.add(&other.model);
        self.tool.add(&other.tool);
        self.work.add(&other.work);
        self
    }
}

/// Returns the more specific trouble: a named one, then "other", then none; of two named ones the lower number.
fn most_specific_trouble(a: u8, b: u8) -> u8 {
    match (a, b) {
        (trouble::NONE, trouble) | (trouble, trouble::NONE) => trouble,
        _ => a.min(b),
    }
}

/// The name in the record of better quality; of two equal ones, what `tie` returns.
fn of_better(known: (u8, u16), new: (u8, u16), tie: impl FnOnce(u16, u16) -> u16) -> u16 {
    match known.0.cmp(&new.0) {
        Ordering::Greater => known.1,
        Ordering::Less => new.1,
        Ordering::Equal => tie(known.1, new.1),
    }
}
