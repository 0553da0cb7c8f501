//! Fixtures for the tests of this crate and of those that use it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test support"
)]

use ::runs::testing::runs::{self, MINUTE, NOW};
use ::runs::{RunState, RunView};

/// A run that ended `ago` minutes before now, and took `minutes`.
pub fn view(run: &str, ago: u64, minutes: u64, state: RunState, tenant: Option<&str>, atto: i128) -> RunView {
    let mut ended = runs::ended(run, minutes, atto);
    (ended.totals.tool("Bash").ok, ended.totals.tool("Bash").failed) = (3, 1);
    let (tenant, feature, failed) = (tenant.map(str::to_owned), Some("review".into()), state == RunState::Failed);
    let last = NOW - ago * MINUTE;
    RunView { tenant, feature, state, failed, last, start: last - minutes * MINUTE, ..ended }
}
