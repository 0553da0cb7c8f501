//! [`AggregationContext`]: what `sum` and `run_calls` need besides the items to add up runs. The price table in use,
//! with the operator's overlays, says which ids mean the same model; it may be replaced while the gateway runs, so each
//! evaluation uses one table throughout.

use std::sync::Arc;

use rates::{RateTable, same_model};

/// See the module documentation.
#[derive(Clone, Default)]
pub(super) struct AggregationContext {
    /// Window in which calls of one tool are counted, ns; 0 = not counted.
    pub(super) window: u64,
    /// The price table in use; `None`: the built-in one.
    pub(super) table: Option<Arc<RateTable>>,
}

impl AggregationContext {
    /// The same context without a window.
    pub(super) fn without_window(&self) -> Self {
        Self { window: 0, table: self.table.clone() }
    }

    /// Whether two model ids, as sent, mean the same model of a provider.
    pub(super) fn is_same_model(&self, provider: &str, a: &str, b: &str) -> bool {
        match &self.table {
            Some(table) => table.is_same_model(provider, a, b),
            None => same_model(provider, a, b),
        }
    }
}
