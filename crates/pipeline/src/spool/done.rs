//! Turns the consumers' progress since the last call into lines of the progress file.

use std::sync::Arc;

use super::index::{GivenRun, Index};
use super::progress::Lines;

/// Takes the done and transferred records since the last call, as lines.
pub(super) fn take_done(index: &mut Index, lines: &mut Lines) {
    let given = index.take_given_log();
    let known: &Index = index;
    lines.given(given.iter().filter_map(|run| named(known, run)));
    let log = index.take_done_log();
    lines.done(log.iter().filter_map(|(who, first, count)| Some((index.name(*who)?, *first, *count))));
}

/// A run with names in place of numbers.
pub(super) fn named<'a>(index: &'a Index, run: &GivenRun) -> Option<(&'a Arc<str>, &'a Arc<str>, u64, u32)> {
    let (from, to, first, count) = *run;
    Some((index.name(from)?, index.name(to)?, first, count))
}
