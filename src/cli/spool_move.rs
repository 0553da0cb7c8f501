//! `tollgate spool peek`, `reassign` and `replay`: shows waiting data, or moves it to another exporter, for data that a
//! back end refused or whose exporter was removed. The gateway must be stopped. Moving changes only the holder of a
//! record, so a full spool does not prevent it. If the new holder has or had the record under its own name, a copy is
//! committed first, so a crash duplicates data and never loses it. A record keeps its clearance, which is checked at
//! each send. `peek` shows content only with `--json`. `list` and `drop` are in `spool`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use command::error::{CommandError, ExitStatus};
use command::output::{print_result, print_to_stderr};
use kernel::clock::UnixNanos;
use kernel::terminal::format_count;
use otlp::json;
use pipeline::Reason;
use pipeline::forward_label::ForwardLabel;
use pipeline::outlet::QUARANTINE;
use pipeline::spool::{
    Committer, RecordKind, RecordSeq, Spool, SpoolRecord, StoredRecord, Transaction, bytes_to_reserve,
};

/// Maximum number of records read at once.
const MAX_RECORDS_READ: usize = 64;
/// Maximum number of bytes read at once.
const MAX_BYTES_READ: usize = 16 << 20;
/// Committer steps without progress after which committing fails.
const MAX_IDLE_STEPS: usize = 100;

/// Prints the first `limit` records that wait for `consumer`.
pub(super) fn print_records(
    spool: &Spool,
    consumer: &str,
    limit: usize,
    as_json: bool,
    now: UnixNanos,
) -> Result<ExitStatus, CommandError> {
    let mut text = String::new();
    if !as_json {
        text.push_str(&format!(
            "{:>12} {:>9} {:<8} {:>7} {:>10} {:<20} {}\n",
            "RECORD", "AGE", "SIGNAL", "ITEMS", "BYTES", "PIPELINE", "REFUSED"
        ));
    }
    let (mut after, mut shown) = (None, 0);
    while shown < limit {
        let records = match spool.read(consumer, after, MAX_BYTES_READ, MAX_RECORDS_READ.min(limit - shown)) {
            Ok(records) if records.is_empty() => break,
            Ok(records) => records,
            Err(error) => return Err(CommandError::Failed(error.to_string())),
        };
        after = records.last().map(|record| record.seq);
        shown += records.len();
        records.iter().for_each(|record| text.push_str(&format_record(record, as_json, now)));
    }
    print_result(&text)
}

fn format_record(record: &StoredRecord, as_json: bool, now: UnixNanos) -> String {
    let Some((label, body)) = ForwardLabel::split(&record.body).filter(|_| record.kind == RecordKind::Forward) else {
        return if as_json { String::new() } else { format!("{:>12} (not telemetry)\n", record.seq.0) };
    };
    if as_json {
        let mut line = String::new();
        return json::encode(label.signal, &body, &mut line).map_or_else(|_| String::new(), |()| line + "\n");
    }
    let (age, bytes) = (now.since(record.committed).as_secs(), body.len());
    let refused = label.refused.map_or_else(String::new, |(who, why)| format!("{who}: {}", why.label()));
    format!(
        "{:>12} {:>8}s {:<8} {:>7} {:>10} {:<20} {refused}\n",
        record.seq.0,
        age,
        label.signal.as_str(),
        label.items,
        bytes,
        label.pipeline
    )
}

/// Moves the data waiting for `from` to `to`. Without `to`, quarantined data returns to the exporters whose back ends
/// refused it.
pub(super) fn move_records(
    spool: &Spool,
    committer: Committer,
    from: &str,
    to: Option<&str>,
    exporters: &[Arc<str>],
) -> Result<ExitStatus, CommandError> {
    let mut committer = committer;
    let old_holder: Arc<str> = from.into();
    let (mut after, mut moved, mut not_moved) = (None, 0_u64, 0_u64);
    loop {
        let records = match spool.read(from, after, MAX_BYTES_READ, MAX_RECORDS_READ) {
            Ok(records) if records.is_empty() => break,
            Ok(records) => records,
            Err(error) => return Err(CommandError::Failed(error.to_string())),
        };
        after = records.last().map(|record| record.seq);
        for record in records {
            let Some((new_holder, transaction)) = copy_for_exporter(&record, to, exporters) else {
                not_moved += 1;
                continue;
            };
            if !spool.transfer_record(&old_holder, &new_holder, record.seq) {
                if let Err(why) = commit_transaction(spool, &mut committer, transaction) {
                    return Err(CommandError::Failed(format!(
                        "{} moved, then moving failed: {why}",
                        format_count(moved, "record")
                    )));
                }
                spool.mark_done(from, &[record.seq]);
            }
            moved += 1;
        }
    }
    if !committer.close() {
        return Err("the spool's progress could not be written; some records may be delivered twice".into());
    }
    if not_moved > 0 {
        print_to_stderr(&format!(
            "{} not moved: they are not telemetry, or the exporter whose back end refused them is not configured (use --to)",
            format_count(not_moved, "record")
        ));
    }
    print_result(&format!("{} of `{from}` moved\n", format_count(moved, "record")))
}

/// The record's new holder, and a copy of the record for it; `None` if the record can't be moved.
fn copy_for_exporter(
    record: &StoredRecord,
    to: Option<&str>,
    exporters: &[Arc<str>],
) -> Option<(Arc<str>, Transaction)> {
    if record.kind != RecordKind::Forward {
        return None;
    }
    let (mut label, telemetry) = ForwardLabel::split(&record.body)?;
    let refused = label.refused.take();
    let exporter = to.or(refused.as_ref().map(|(refused_by, _)| refused_by.as_str()))?;
    let new_holder = exporters.iter().find(|known| ***known == *exporter)?;
    let mut body = telemetry.to_vec();
    label.append_to(&mut body);
    let copy =
        SpoolRecord { kind: RecordKind::Forward, holders: Arc::new([Arc::clone(new_holder)]), body: body.into() };
    Some((Arc::clone(new_holder), Transaction { account: Arc::clone(&record.account), records: vec![copy] }))
}

fn commit_transaction(spool: &Spool, committer: &mut Committer, transaction: Transaction) -> Result<(), CommandError> {
    let bytes = transaction.records.iter().map(|record| record.body.len() as u64).sum();
    let commit_error = |reason: Reason| CommandError::Failed(reason.text().to_owned());
    let reservation =
        spool.reserve_to_drain(bytes_to_reserve(transaction.records.len(), bytes)).map_err(commit_error)?;
    let committed: Arc<Mutex<Option<Result<(), Reason>>>> = Arc::default();
    let result_slot = Arc::clone(&committed);
    let on_commit = move |result: Result<&[RecordSeq], Reason>| *result_slot.lock() = Some(result.map(drop));
    spool.enqueue(transaction, reservation, Box::new(on_commit));
    for _ in 0..MAX_IDLE_STEPS {
        committer.step(Duration::ZERO);
        if let Some(result) = committed.lock().take() {
            return result.map_err(commit_error);
        }
    }
    Err("the spool can't be written".into())
}

/// The consumer that holds data refused by back ends.
pub(super) const QUARANTINE_CONSUMER: &str = QUARANTINE;
