//! Reads checkpoints of the two versions before, in which the tracker kept sums and the latest ended runs itself.

use std::collections::BTreeMap;

use runs::{EndedRuns, RunDetail, RunView, UsageSum, run_key};
use serde::Deserialize;

use super::codec::take;
use super::group::{
    GroupKey, GroupRecord, ItemGroup, MarkedEvent, ModelCallRecord, PublicationRecord, SpanNode, ToolCallRecord,
};
use super::sorted_map::SortedMap;

/// The version without replicas, and the one with them.
pub(super) const VERSIONS: [u8; 2] = [7, 8];

type FormerSums = BTreeMap<String, UsageSum>;

/// Takes the latest ended runs, for history, and the sums, which history has too.
pub(super) fn take_ended_runs(from: &mut &[u8]) -> Option<EndedRuns> {
    let views: Vec<RunView> = take(from)?;
    take::<BTreeMap<String, (UsageSum, [FormerSums; 5])>>(from)?;
    let detail = |view: RunView| {
        let key = run_key(&view.account, &view.run);
        (key, RunDetail { view, steps: None, step_count: 0, first_heard: 0, heard: 0 })
    };
    Some(EndedRuns { ended: views.into_iter().map(detail).collect(), removed: Vec::new() })
}

#[derive(Deserialize)]
struct FormerPublication {
    over_at: u64,
    presumed_at: u64,
    digest: u64,
    revision: u32,
    _contribution_digest: u64,
    fired: u16,
}

#[derive(Deserialize)]
struct FormerGroup {
    account: Box<str>,
    keys: Vec<GroupKey>,
    names: Vec<Box<str>>,
    nodes: SortedMap<SpanNode>,
    calls: SortedMap<ModelCallRecord>,
    tools: SortedMap<ToolCallRecord>,
    /// The kind of mark came first, then the record with its names.
    marks: SortedMap<(u8, GroupRecord<[u16; 5]>)>,
    published: SortedMap<FormerPublication>,
    _contributions: Box<[u8]>,
    received: u64,
    touched: u64,
    batch: u64,
    unfinished_runs: u32,
    named_runs: u32,
    has_trouble: bool,
}

pub(super) fn take_groups(from: &mut &[u8]) -> Option<Vec<ItemGroup>> {
    Some(take::<Vec<FormerGroup>>(from)?.into_iter().map(ItemGroup::from).collect())
}

impl From<FormerGroup> for ItemGroup {
    fn from(former: FormerGroup) -> Self {
        let published = former.published.map(|record| {
            let FormerPublication { over_at, presumed_at, digest, revision, fired, .. } = record;
            PublicationRecord { over_at, presumed_at, digest, revision, fired }
        });
        let marks = former.marks.map(|(kind, record)| {
            let [_finish, tenant, feature, model, error] = record.detail;
            record.with(MarkedEvent { kind, tenant, feature, model, error, summary: <_>::default() })
        });
        let FormerGroup { account, keys, names, nodes, calls, tools, received, touched, batch, .. } = former;
        let FormerGroup { unfinished_runs, named_runs, has_trouble, .. } = former;
        #[rustfmt::skip]
        let group = Self {
            account, keys, names, nodes, calls, tools, marks, published, received, touched, batch, unfinished_runs,
            named_runs, has_trouble, first_received: 1, ..Self::default()
        };
        group
    }
}
