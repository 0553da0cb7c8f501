//! Turns the consumers' progress since the last call into lines of the progress file.

use std::sync::Arc;

use super::index::{SpoolIndex, TransferRun};
use super::progress::ProgressLines;

/// Takes the done and transferred records since the last call, as lines.
pub(super) fn take_progress_lines(index: &mut SpoolIndex, lines: &mut ProgressLines) {
    let given = index.take_transfer_log();
    let known: &SpoolIndex = index;
    lines.add_transfers(given.iter().filter_map(|run| name_transfer(known, run)));
    let log = index.take_done_log();
    lines.add_done(log.iter().filter_map(|(who, first, count)| Some((index.name(*who)?, *first, *count))));
}

/// A run with names in place of numbers.
pub(super) fn name_transfer<'a>(
    index: &'a SpoolIndex,
    run: &TransferRun,
) -> Option<(&'a Arc<str>, &'a Arc<str>, u64, u32)> {
    let (from, to, first, count) = *run;
    Some((index.name(from)?, index.name(to)?, first, count))
}
