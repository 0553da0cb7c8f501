//! Moves or drops data that waits in the spool: `tollgate spool reassign`, `replay` and `drop`. The command does it
//! itself if no gateway runs; a running gateway does it for `POST /-/spool` ([`router`]), part by part, so that each
//! request is short and an interrupted command can be repeated. Moving changes only the holder of a record, so a full
//! spool does not prevent it. If the new holder has or had the record under its own name, a copy is committed first, so
//! a crash duplicates data and never loses it. A record keeps its clearance, which is checked at each send.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{StatusCode, header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use net::Spawn;
use net::spawn::run_blocking;
use pipeline::Reason;
use pipeline::forward_label::ForwardLabel;
use pipeline::spool::{
    Committer, QUARANTINE, RecordKind, RecordSeq, Spool, SpoolRecord, SpoolStatus, StoredRecord, Transaction,
    bytes_to_reserve,
};

pub(crate) const SPOOL_PATH: &str = "/-/spool";
/// Maximum number of records of a part.
const MAX_RECORDS_READ: usize = 1024;
/// Maximum number of bytes of a part.
const MAX_BYTES_READ: usize = 16 << 20;
/// Committer steps without progress after which committing fails.
const MAX_IDLE_STEPS: usize = 100;
/// How long a running gateway may take to commit a copy.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// What to do with the data that waits for a consumer.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum SpoolChange {
    /// Transfers it to an exporter; without `to`, quarantined data to the exporters whose back ends refused it.
    Move { from: String, to: Option<String>, part: Option<MovePart> },
    /// Deletes all of it.
    Drop { from: String },
}

/// A part of a move that has begun.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MovePart {
    /// Position of the last record that was handled.
    after: u64,
    /// End of the move: data that comes later is not moved.
    end: u64,
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct ChangeResult {
    /// Number of records that were moved or deleted.
    pub(crate) changed: u64,
    /// Number of records that can't be moved.
    pub(crate) not_moved: u64,
    /// The next part. `None`: the move is complete.
    pub(crate) next: Option<MovePart>,
}

impl SpoolChange {
    pub(crate) fn from(&self) -> &str {
        match self {
            Self::Move { from, .. } | Self::Drop { from } => from,
        }
    }

    /// Refuses unknown exporters and consumers for which nothing waits. Those of a move that has begun were checked.
    ///
    /// # Errors
    /// The reason, with the names that exist.
    pub(crate) fn check(&self, status: &SpoolStatus, exporters: &[Arc<str>]) -> Result<(), String> {
        let to = match self {
            Self::Move { part: Some(_), .. } => return Ok(()),
            Self::Move { to, .. } => to.as_deref(),
            Self::Drop { .. } => None,
        };
        if let Some(to) = to.filter(|to| !exporters.iter().any(|id| **id == **to)) {
            let names = exporters.join(", ");
            return Err(format!("`{to}` is not an exporter of the configuration; exporters: {names}"));
        }
        let from = self.from();
        if to == Some(from) {
            return Err(format!("the data is already waiting for `{from}`"));
        }
        let is_replay = matches!(self, Self::Move { .. }) && from == QUARANTINE;
        let waiting = || status.consumers.iter().filter(|entry| entry.records > 0);
        if is_replay || waiting().any(|entry| *entry.name == *from) {
            return Ok(());
        }
        let names = waiting().map(|entry| &*entry.name).collect::<Vec<_>>().join(", ");
        let names = if names.is_empty() { "none" } else { &names };
        Err(format!("no data is waiting for `{from}`; consumers with waiting data: {names}"))
    }

    /// Makes the change, or moves the next part. `committer` is `None` in a running gateway, whose own one writes copies.
    ///
    /// # Errors
    /// The spool can't be read or written. What was moved before stays moved.
    pub(crate) fn apply(
        &self,
        spool: &Spool,
        committer: Option<&mut Committer>,
        exporters: &[Arc<str>],
    ) -> Result<ChangeResult, String> {
        match self {
            Self::Move { from, to, part } => {
                move_part(spool, committer, (&from.as_str().into(), to.as_deref()), *part, exporters)
            }
            Self::Drop { from } => {
                let changed = spool.drop_pending(from, None);
                spool.announce_moves(from);
                spool.wake();
                Ok(ChangeResult { changed, ..ChangeResult::default() })
            }
        }
    }
}

fn move_part(
    spool: &Spool,
    mut committer: Option<&mut Committer>,
    (from, to): (&Arc<str>, Option<&str>),
    part: Option<MovePart>,
    exporters: &[Arc<str>],
) -> Result<ChangeResult, String> {
    // What a back end refuses again after a replay is in the quarantine again, and must not be moved in circles.
    let end = part.map_or_else(|| spool.next().0, |part| part.end);
    let after = part.map(|part| RecordSeq(part.after));
    let records = spool.read(from, after, MAX_BYTES_READ, MAX_RECORDS_READ).map_err(|error| error.to_string())?;
    let (mut result, mut holders) = (ChangeResult::default(), BTreeSet::from([Arc::clone(from)]));
    for record in records.into_iter().take_while(|record| record.seq.0 < end) {
        let next = Some(MovePart { after: record.seq.0, end });
        let copy = copy_for_exporter(&record, to, exporters);
        let Some((holder, transaction)) = copy.filter(|(holder, _)| holder != from) else {
            (result.next, result.not_moved) = (next, result.not_moved + 1);
            continue;
        };
        // A running exporter may have delivered the record since it was read; then nothing is left to move.
        let is_transferred = spool.transfer_record(from, &holder, record.seq);
        if is_transferred || spool.is_any_pending(from, &[record.seq]) {
            if !is_transferred {
                match commit(spool, committer.as_deref_mut(), transaction) {
                    Ok(()) => spool.mark_done(from, &[record.seq]),
                    // The next part begins with this record, and reports the error.
                    Err(_) if result.next.is_some() => break,
                    Err(reason) => return Err(reason.text().to_owned()),
                }
            }
            result.changed += 1;
            holders.insert(holder);
        }
        result.next = next;
    }
    if result.changed > 0 {
        holders.iter().for_each(|holder| spool.announce_moves(holder));
    }
    Ok(result)
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

fn commit(spool: &Spool, committer: Option<&mut Committer>, transaction: Transaction) -> Result<(), Reason> {
    let committed = enqueue(spool, transaction)?;
    let Some(committer) = committer else {
        return committed.recv_timeout(COMMIT_TIMEOUT).unwrap_or(Err(Reason::SpoolFull));
    };
    for _ in 0..MAX_IDLE_STEPS {
        committer.step(Duration::ZERO);
        if let Ok(result) = committed.try_recv() {
            return result;
        }
    }
    Err(Reason::SpoolFailed)
}

fn enqueue(spool: &Spool, transaction: Transaction) -> Result<Receiver<Result<(), Reason>>, Reason> {
    let bytes = transaction.records.iter().map(|record| record.body.len() as u64).sum();
    let reservation = spool.reserve_to_drain(bytes_to_reserve(transaction.records.len(), bytes))?;
    let (sender, committed) = sync_channel(1);
    let on_commit = move |result: Result<&[RecordSeq], Reason>| {
        let _ = sender.try_send(result.map(drop));
    };
    spool.enqueue(transaction, reservation, Box::new(on_commit));
    Ok(committed)
}

/// What changes in a running gateway need.
pub(super) struct SpoolChanges {
    pub(super) spool: Arc<Spool>,
    pub(super) exporters: Arc<[Arc<str>]>,
    pub(super) tasks: Arc<dyn Spawn>,
    /// Held during a change, so that there is one at a time.
    pub(super) running: Mutex<()>,
}

pub(super) fn router(changes: SpoolChanges) -> Router {
    Router::new().route(SPOOL_PATH, post(change)).with_state(Arc::new(changes))
}

async fn change(State(changes): State<Arc<SpoolChanges>>, body: Bytes) -> Response {
    let Ok(change) = serde_json::from_slice::<SpoolChange>(&body) else {
        return (StatusCode::BAD_REQUEST, "the body is no change of the spool\n").into_response();
    };
    let tasks = Arc::clone(&changes.tasks);
    let changed = run_blocking(&*tasks, "spool change", move || changes.apply(&change)).await;
    match changed.unwrap_or(Err((StatusCode::SERVICE_UNAVAILABLE, Reason::ShuttingDown.text().to_owned()))) {
        // Numbers can always be written.
        Ok(result) => ([(header::CONTENT_TYPE, "application/json")], serde_json::to_vec(&result).unwrap_or_default())
            .into_response(),
        Err((status, why)) => (status, format!("{why}\n")).into_response(),
    }
}

impl SpoolChanges {
    fn apply(&self, change: &SpoolChange) -> Result<ChangeResult, (StatusCode, String)> {
        let refuse = |why: &str| Err((StatusCode::CONFLICT, why.to_owned()));
        let Some(_running) = self.running.try_lock() else {
            return refuse("another change of the spool is running: try again");
        };
        let (status, from) = (self.spool.status(), change.from());
        change.check(&status, &self.exporters).map_err(|why| (StatusCode::NOT_FOUND, why))?;
        let is_exporter = self.exporters.iter().any(|exporter| **exporter == *from);
        let is_used = status.consumers.iter().any(|entry| entry.configured && *entry.name == *from);
        if is_used && !is_exporter && from != QUARANTINE {
            return refuse("a running gateway needs its own records: stop it, and run the command again");
        }
        let result =
            change.apply(&self.spool, None, &self.exporters).map_err(|why| (StatusCode::SERVICE_UNAVAILABLE, why))?;
        if result.changed > 0 {
            let (records, is_drop) = (result.changed, matches!(change, SpoolChange::Drop { .. }));
            let done = if is_drop { "dropped" } else { "moved" };
            tracing::warn!(consumer = from, records, "an operator {done} data that was waiting in the spool");
        }
        Ok(result)
    }
}
