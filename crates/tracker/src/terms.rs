//! **What**: [`Terms`]: what runs are added up by beside their items. **Why**: which ids mean one model is for the
//! price table to say that is in force, with the operator's overlays; it may change while the gateway runs.
//! **Invariants**: one look goes by one table. **Not here**: adding up (`sum`, `acts`).

use std::sync::Arc;

use rates::{Table, same_model};

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Terms {
    /// The time in which calls of one tool are counted, ns; 0 = nobody asks.
    pub(super) window: u64,
    /// The price table in force; None: the built-in one.
    pub(super) table: Option<Arc<Table>>,
}

impl Terms {
    /// The same without a window.
    pub(super) fn without_window(&self) -> Self {
        Self { window: 0, table: self.table.clone() }
    }

    /// Whether two ids, as sent, mean the same model of a provider.
    pub(super) fn is_same_model(&self, provider: &str, one: &str, other: &str) -> bool {
        match &self.table {
            Some(table) => table.is_same_model(provider, one, other),
            None => same_model(provider, one, other),
        }
    }
}
