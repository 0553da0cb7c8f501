//! Views of heavy groups, cached in a bounded [`RunViewCache`] until the group changes. `catalog` uses them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use kernel::bounded_map::BoundedMap;

use super::evaluation::DigestedRunView;
use super::store::KeyId;

/// Maximum number of keys with a cached pseudonym.
const MAX_CACHED_PSEUDONYMS: usize = 50_000;

/// Cached views of the latest runs of a group, as of one batch.
#[derive(Clone)]
pub(super) struct CachedGroupViews {
    pub(super) batch: u64,
    /// Number of unfinished runs at that time: a run may become "ended" without another batch.
    pub(super) unfinished_runs: u32,
    pub(super) covers_all_runs: bool,
    pub(super) views: Arc<Vec<DigestedRunView>>,
}

#[derive(Default)]
pub(super) struct RunViewCache {
    pub(super) views: Mutex<HashMap<KeyId, CachedGroupViews>>,
    /// Pseudonym of a key's text, or `None` if the text is shown as it is. Cached, because computing them dominates a
    /// search.
    pub(super) pseudonyms: Mutex<BoundedMap<KeyId, Option<Box<str>>, MAX_CACHED_PSEUDONYMS>>,
}
