//! The data of an [`ItemGroup`]. `group` adds items to it.

use std::sync::Arc;

use runs::{ModelTotals, RunOwner, ToolTotals};
use serde::{Deserialize, Serialize};

use super::observation::ItemAttribution;
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
    /// Gateway time of the first batch and of the last one, unix ns.
    pub(super) first_received: u64,
    pub(super) received: u64,
    /// The engine's running time at the last batch.
    pub(super) touched: u64,
    /// Number of the last batch.
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

/// Whose work it was and where it came from, as numbers of names.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct AttributionTags {
    pub(super) tenant: u16,
    pub(super) feature: u16,
    pub(super) user: u16,
    pub(super) template: u16,
    pub(super) incident: u16,
    pub(super) commit: u16,
    pub(super) issue: u16,
    pub(super) service: u16,
}

/// A place in a trace: a span, or one of which only log records were seen so far.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SpanNode {
    pub(super) parent: u64,
    pub(super) trace: u32,
    /// The run that an item at this place names.
    pub(super) run: u32,
    pub(super) iteration: u32,
    /// Whether this span is an agent invocation that may be a run's root.
    pub(super) agent: bool,
    /// A tool was denied at this span.
    pub(super) denied: bool,
    /// Who or what denied it.
    pub(super) denial_source: u16,
}

/// Position of an item in a trace.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct TracePosition {
    /// True if `node` is the item's own span; false if it is the span a log record was written in.
    pub(super) is_own_span: bool,
    /// 0 = unknown.
    pub(super) node: u64,
    pub(super) trace: u32,
}

/// A model call.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ModelCallRecord {
    pub(super) position: TracePosition,
    pub(super) session: u32,
    pub(super) run: u32,
    pub(super) flags: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) finish: u16,
    pub(super) model: u16,
    /// Price quality of the record that named the model.
    pub(super) model_quality: u8,
    pub(super) price_quality: u8,
    pub(super) tokens: PackedTokens,
    pub(super) atto: PackedAttoUsd,
    /// The model that was requested.
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

/// A tool call.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ToolCallRecord {
    pub(super) position: TracePosition,
    pub(super) session: u32,
    pub(super) run: u32,
    pub(super) flags: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    /// Name in the tool's own span.
    pub(super) name: u16,
    /// Name in other records.
    pub(super) alias: u16,
    pub(super) error: u16,
    /// Who or what denied it.
    pub(super) denial_source: u16,
    /// Keyed digest of the arguments; 0 = unknown.
    pub(super) args: u64,
}

/// A record that an agent, turn or session started, ended or failed.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct LifecycleMark {
    /// A constant of [`super::observation::mark`].
    pub(super) kind: u8,
    pub(super) position: TracePosition,
    pub(super) session: u32,
    pub(super) run: u32,
    pub(super) flags: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) finish: u16,
    pub(super) tenant: u16,
    pub(super) feature: u16,
    /// See [`super::observation::ObservedItem::model`].
    pub(super) model: u16,
    pub(super) error: u16,
}

/// A run that is not over, as history reads it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct CurrentRun {
    /// See [`runs::run_key`].
    pub(super) key: u64,
    /// See [`runs::encode_run`].
    pub(super) record: Box<[u8]>,
}

/// Calls of one model or tool of which only sums are kept. Their items would make their group too large.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct SummedCalls {
    pub(super) position: TracePosition,
    pub(super) session: u32,
    pub(super) run: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) tenant: u16,
    /// The model or tool.
    pub(super) name: u16,
    /// Answered model calls of the run's own loop.
    pub(super) iterations: u64,
    pub(super) failed_calls: u64,
    pub(super) model: ModelTotals,
    pub(super) tool: ToolTotals,
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

impl AttributionTags {
    pub(super) fn from_attribution(attribution: &ItemAttribution, mut name: impl FnMut(u32) -> u16) -> Self {
        let ItemAttribution { tenant, feature, user, template, incident, commit, issue, service } = *attribution;
        Self {
            tenant: name(tenant),
            feature: name(feature),
            user: name(user),
            template: name(template),
            incident: name(incident),
            commit: name(commit),
            issue: name(issue),
            service: name(service),
        }
    }

    /// Combines two sets of tags field by field.
    pub(super) fn zip(self, other: Self, combine: impl Fn(u16, u16) -> u16) -> Self {
        Self {
            tenant: combine(self.tenant, other.tenant),
            feature: combine(self.feature, other.feature),
            user: combine(self.user, other.user),
            template: combine(self.template, other.template),
            incident: combine(self.incident, other.incident),
            commit: combine(self.commit, other.commit),
            issue: combine(self.issue, other.issue),
            service: combine(self.service, other.service),
        }
    }

    pub(super) fn map(self, change: impl Fn(u16) -> u16) -> Self {
        self.zip(self, |name, _| change(name))
    }
}
