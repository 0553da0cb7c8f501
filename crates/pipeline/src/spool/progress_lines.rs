//! Turns the consumers' progress in the index into lines of the progress file.

use std::sync::Arc;

use super::index::{DoneRun, SpoolIndex, TransferRun};
use super::progress::ProgressLines;

/// Takes the records that were done or transferred since the last call out of the index, and adds them to `lines`.
pub(super) fn take_progress_lines(index: &mut SpoolIndex, lines: &mut ProgressLines) {
    let (transfers, done) = (index.take_transfer_log(), index.take_done_log());
    let index: &SpoolIndex = index;
    lines.add_transfers(transfers.iter().filter_map(|run| name_transfer(index, run)));
    lines.add_done(done.iter().filter_map(|run| name_done(index, run)));
}

/// The run with a name in place of the consumer's number.
pub(super) fn name_done<'a>(index: &'a SpoolIndex, run: &DoneRun) -> Option<(&'a Arc<str>, u64, u32)> {
    let (consumer, first, count) = *run;
    Some((index.name(consumer)?, first, count))
}

/// The run with names in place of the consumers' numbers.
pub(super) fn name_transfer<'a>(
    index: &'a SpoolIndex,
    run: &TransferRun,
) -> Option<(&'a Arc<str>, &'a Arc<str>, u64, u32)> {
    let (from, to, first, count) = *run;
    Some((index.name(from)?, index.name(to)?, first, count))
}
