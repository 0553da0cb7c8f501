//! The data of an [`ItemGroup`]. `group` adds items to it.

use runs::RunOwner;

use super::codec::record;
use super::compact_map::CompactMap;
use super::observation::ItemAttribution;
use super::tokens::{PackedAttoUsd, PackedTokens};

record! {
    /// Sessions and traces that were seen together, with all their items.
    #[derive(Clone, Default)]
    pub(super) struct ItemGroup {
        /// The replica that counts its runs: the one that got the latest batch.
        owner: RunOwner,
        account: Box<str>,
        /// The number of a key is its index + 1; 0 = none.
        keys: Vec<GroupKey>,
        names: Vec<Box<str>>,
        /// By place in the trace: see [`super::observation::span_place`].
        nodes: CompactMap<SpanNode>,
        calls: CompactMap<ModelCallRecord>,
        tools: CompactMap<ToolCallRecord>,
        marks: CompactMap<LifecycleMark>,
        /// What was published about runs and sessions, by digests of their ids.
        published: CompactMap<PublicationRecord>,
        /// The shares of its runs in the sums, encoded as in [`super::contribution`].
        contributions: Box<[u8]>,
        /// Gateway time of the last batch, unix ns.
        received: u64,
        /// The engine's running time at the last batch.
        touched: u64,
        /// Number of the last batch.
        batch: u64,
        /// Runs that had not ended at the last evaluation.
        unfinished_runs: u32,
        /// Number of runs that the dialect names, each with a key.
        named_runs: u32,
        /// A model call failed or was not answered as requested, so the next call may replace it.
        has_trouble: bool,
    }

    /// A session, a trace or a named run.
    #[derive(Clone, Default)]
    pub(super) struct GroupKey {
        /// The key's id in the store's index.
        id: [u8; 16],
        kind: u8,
        text: Box<str>,
        /// Of a run: its session. Of a trace: the alphabetically first session that was seen with it.
        session: u32,
        /// Earliest start and latest end of the key's items, unix ns; 0 = unknown.
        first: u64,
        last: u64,
        /// The engine's running time at the last batch that named the key.
        touched: u64,
        tags: AttributionTags,
    }

    /// Whose work it was and where it came from, as numbers of names.
    #[derive(Clone, Copy, Default)]
    pub(super) struct AttributionTags {
        tenant: u16,
        feature: u16,
        user: u16,
        template: u16,
        incident: u16,
        commit: u16,
        issue: u16,
        service: u16,
    }

    /// A place in a trace: a span, or one of which only log records were seen so far.
    #[derive(Clone)]
    pub(super) struct SpanNode {
        parent: u64,
        trace: u32,
        /// The run that an item at this place names.
        run: u32,
        iteration: u32,
        /// Whether this span is an agent invocation that may be a run's root.
        agent: bool,
        /// A tool was denied at this span.
        denied: bool,
        /// Who or what denied it.
        denial_source: u16,
    }

    /// Position of an item in a trace.
    #[derive(Clone, Default)]
    pub(super) struct TracePosition {
        /// True if `node` is the item's own span; false if it is the span a log record was written in.
        is_own_span: bool,
        /// 0 = unknown.
        node: u64,
        trace: u32,
    }

    /// A model call.
    #[derive(Clone)]
    pub(super) struct ModelCallRecord {
        position: TracePosition,
        session: u32,
        run: u32,
        flags: u32,
        start: u64,
        end: u64,
        finish: u16,
        model: u16,
        /// Price quality of the record that named the model.
        model_quality: u8,
        price_quality: u8,
        tokens: PackedTokens,
        atto: PackedAttoUsd,
        /// The model that was requested.
        requested_model: u16,
        provider: u16,
        tenant: u16,
        feature: u16,
        error: u16,
        /// A constant of [`super::observation::trouble`].
        trouble: u8,
        fallback: u8,
        attempts: u8,
    }

    /// A tool call.
    #[derive(Clone)]
    pub(super) struct ToolCallRecord {
        position: TracePosition,
        session: u32,
        run: u32,
        flags: u32,
        start: u64,
        end: u64,
        /// Name in the tool's own span.
        name: u16,
        /// Name in other records.
        alias: u16,
        error: u16,
        /// Who or what denied it.
        denial_source: u16,
        /// Keyed digest of the arguments; 0 = unknown.
        args: u64,
    }

    /// A record that an agent, turn or session started, ended or failed.
    #[derive(Clone)]
    pub(super) struct LifecycleMark {
        /// A constant of [`super::observation::mark`].
        kind: u8,
        position: TracePosition,
        session: u32,
        run: u32,
        flags: u32,
        start: u64,
        end: u64,
        finish: u16,
        tenant: u16,
        feature: u16,
        model: u16,
        error: u16,
    }

    /// What was published about a run or session.
    #[derive(Clone, Default)]
    pub(super) struct PublicationRecord {
        /// The engine's running time when the end, or a late change after it, was published; 0 = not over.
        over_at: u64,
        /// The engine's running time since when an uncertain end is shown on pages. It is not published, and no
        /// counter includes it.
        presumed_at: u64,
        /// Digest of the last published version.
        digest: u64,
        /// How many times the published version changed.
        revision: u32,
        /// Digest of the share in the sums at that time.
        contribution_digest: u64,
        /// Alert rules that fired, as a bit set of rule numbers.
        fired: u16,
    }
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
