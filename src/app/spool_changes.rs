//! Moves or drops data that waits in the spool: `tollgate spool reassign`, `replay` and `drop`. The command does it
//! itself if no gateway runs; a running gateway does it for `POST /-/spool` ([`router`]), part by part, so that each
//! request is short and an interrupted command can be repeated. Moving changes only the holder of a record, so a full
//! spool does not prevent it. If the new holder had the record under its own name and has finished it, a copy is
//! committed first, so a crash duplicates data and never loses it. A record keeps its clearance, checked at each send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use http::{StatusCode, header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::app::configured_component::ConfiguredComponent;
use crate::components::{ExporterSettings, id_text};
use net::SharedServices;
use net::spawn::run_blocking;
use pipeline::Reason;
use pipeline::forward_label::ForwardLabel;
use pipeline::plan::{AckMode, OutletSettings};
use pipeline::sampling::rules::exporter_of;
use pipeline::spool::{
    Committer, QUARANTINE, RecordKind, RecordSeq, Spool, SpoolReadError, SpoolRecord, SpoolStatus, StoredRecord,
    Transaction, bytes_to_reserve,
};
use telemetry::admin::auth::KnownClient;

pub(crate) const SPOOL_PATH: &str = "/-/spool";
/// Maximum number of records of a part.
const MAX_RECORDS_READ: usize = 1024;
/// Maximum number of bytes of a part.
const MAX_BYTES_READ: usize = 16 << 20;
/// How long committing a part's copies may take. Copies that are committed later still take the place of their records.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// The configured exporters. Those with `ack: offered` do not read the spool.
pub(crate) type MoveTargets = BTreeMap<Arc<str>, OutletSettings>;

pub(crate) fn move_targets(exporters: &[ConfiguredComponent<ExporterSettings>]) -> MoveTargets {
    let outlet = |settings: &ExporterSettings| settings.spec().profile().outlet.cloned().unwrap_or_default();
    exporters.iter().map(|placed| (id_text(&placed.id), outlet(&placed.value))).collect()
}

fn reads_spool(outlet: &OutletSettings) -> bool {
    outlet.ack != AckMode::Offered
}

/// Why a change, or its next part, was not made.
pub(crate) type ChangeError = (StatusCode, String);

fn unavailable(reason: Reason) -> ChangeError {
    (StatusCode::SERVICE_UNAVAILABLE, reason.text().to_owned())
}

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
    pub(crate) fn check(&self, status: &SpoolStatus, exporters: &MoveTargets) -> Result<(), String> {
        let to = match self {
            Self::Move { part: Some(_), .. } => return Ok(()),
            Self::Move { to, .. } => to.as_deref(),
            Self::Drop { .. } => None,
        };
        if let Some(to) = to.filter(|to| !exporters.get(*to).is_some_and(reads_spool)) {
            let names = exporters.iter().filter(|(_, outlet)| reads_spool(outlet)).map(|(id, _)| &**id);
            let names = names.collect::<Vec<_>>().join(", ");
            return Err(format!(
                "`{to}` is not an exporter of the configuration that reads the spool (`ack: offered` does not); exporters: {names}"
            ));
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

    /// Makes the change, or moves the next part. `committer` is `None` in a running gateway, whose own writes copies.
    ///
    /// # Errors
    /// The spool can't be read or written, or `max_pending` of an exporter is reached. What was moved stays moved.
    pub(crate) fn apply(
        &self,
        spool: &Arc<Spool>,
        committer: Option<&mut Committer>,
        exporters: &MoveTargets,
    ) -> Result<ChangeResult, ChangeError> {
        match self {
            Self::Move { from, to, part } => {
                move_part(spool, committer, (&from.as_str().into(), to.as_deref()), *part, exporters)
            }
            Self::Drop { from } => {
                let changed = spool.drop_pending(from, None);
                spool.announce_moves(from);
                Ok(ChangeResult { changed, ..ChangeResult::default() })
            }
        }
    }
}

fn move_part(
    spool: &Arc<Spool>,
    committer: Option<&mut Committer>,
    (from, to): (&Arc<str>, Option<&str>),
    part: Option<MovePart>,
    exporters: &MoveTargets,
) -> Result<ChangeResult, ChangeError> {
    // What a back end refuses again after a replay is in the quarantine again, and must not be moved in circles.
    let end = part.map_or_else(|| spool.next().0, |part| part.end);
    let after = part.map(|part| RecordSeq(part.after));
    let next_after = |seq: RecordSeq| (seq.0 < end).then_some(MovePart { after: seq.0, end });
    let records = match spool.read(from, after, MAX_BYTES_READ, MAX_RECORDS_READ) {
        Ok(records) => records,
        // The records behind it can be moved.
        Err(SpoolReadError::Damaged(seq)) => {
            let next = next_after(seq);
            return Ok(ChangeResult { not_moved: u64::from(next.is_some()), next, ..ChangeResult::default() });
        }
        Err(error) => return Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    };
    let (mut result, mut holders) = (ChangeResult::default(), BTreeSet::from([Arc::clone(from)]));
    let (mut copies, mut failure) = (PartCopies::new(), None);
    for record in records.into_iter().take_while(|record| record.seq.0 < end) {
        match RecordMove::new(&record, to, exporters).filter(|planned| planned.holder != *from) {
            Some(planned) => {
                holders.insert(Arc::clone(&planned.holder));
                match planned.apply(spool, from, &record, &mut copies) {
                    Ok(is_moved) => result.changed += u64::from(is_moved),
                    Err(why) => {
                        failure = Some(why);
                        break;
                    }
                }
            }
            None => result.not_moved += 1,
        }
        result.next = next_after(record.seq);
    }
    let committed = copies.wait_for_commit(committer);
    if result.changed > 0 {
        holders.iter().for_each(|holder| spool.announce_moves(holder));
    }
    match failure {
        Some(why) if result.next.is_none() => Err(why),
        // After a failure the next part begins with that record, and reports it.
        _ => committed.map(|()| result).map_err(unavailable),
    }
}

/// A record that can be moved.
struct RecordMove {
    /// The new holder.
    holder: Arc<str>,
    max_pending: Option<u64>,
    /// Without the refusal, as its copy has it.
    label: ForwardLabel,
    telemetry: Bytes,
}

impl RecordMove {
    fn new(record: &StoredRecord, to: Option<&str>, exporters: &MoveTargets) -> Option<Self> {
        if record.kind != RecordKind::Forward {
            return None;
        }
        let (mut label, telemetry) = ForwardLabel::split(&record.body)?;
        let refused = label.refused.take();
        let exporter = to.or(refused.as_ref().map(|(refused_by, _)| refused_by.as_str()))?;
        let (holder, outlet) = exporters.get_key_value(exporter)?;
        let max_pending = outlet.max_pending;
        reads_spool(outlet).then(|| Self { holder: Arc::clone(holder), max_pending, label, telemetry })
    }

    /// Moves the record, or queues a copy. Returns false if nothing is left to move.
    fn apply(
        self,
        spool: &Arc<Spool>,
        from: &Arc<str>,
        record: &StoredRecord,
        copies: &mut PartCopies,
    ) -> Result<bool, ChangeError> {
        let (Self { holder, max_pending, label, telemetry }, seqs) = (self, [record.seq]);
        // The exporters of a pipeline share records: the new holder will deliver this one anyway.
        if spool.is_any_pending(&holder, &seqs) {
            spool.mark_done(from, &seqs);
            return Ok(true);
        }
        let pending = spool.pending_bytes(&holder) + copies.bytes + record.body.len() as u64;
        if let Some(limit) = max_pending.filter(|limit| pending > *limit) {
            let why =
                format!("more data would exceed `max_pending` of `{holder}` ({limit} bytes): raise it, or try later");
            return Err((StatusCode::CONFLICT, why));
        }
        if spool.transfer_record(from, &holder, record.seq) {
            return Ok(true);
        }
        // A running exporter may have delivered the record since it was read.
        if !spool.is_any_pending(from, &seqs) {
            return Ok(false);
        }
        let mut body = telemetry.to_vec();
        label.append_to(&mut body);
        let copy = SpoolRecord { kind: RecordKind::Forward, holders: Arc::new([holder]), body: body.into() };
        let transaction = Transaction { account: Arc::clone(&record.account), records: vec![copy] };
        copies.enqueue(spool, from, record.seq, transaction).map(|()| true).map_err(unavailable)
    }
}

/// The copies of a part, which are committed together.
struct PartCopies {
    count: usize,
    bytes: u64,
    sender: SyncSender<Result<(), Reason>>,
    results: Receiver<Result<(), Reason>>,
}

impl PartCopies {
    fn new() -> Self {
        let (sender, results) = sync_channel(MAX_RECORDS_READ);
        Self { count: 0, bytes: 0, sender, results }
    }

    /// Queues the copy of a record, which ends the record for `from` once the copy is committed.
    fn enqueue(
        &mut self,
        spool: &Arc<Spool>,
        from: &Arc<str>,
        seq: RecordSeq,
        copy: Transaction,
    ) -> Result<(), Reason> {
        let bytes: u64 = copy.records.iter().map(|record| record.body.len() as u64).sum();
        let reservation = spool.reserve_to_prepare(bytes_to_reserve(copy.records.len(), bytes))?;
        let (sender, in_spool, from) = (self.sender.clone(), Arc::clone(spool), Arc::clone(from));
        let on_commit = move |result: Result<&[RecordSeq], Reason>| {
            if result.is_ok() {
                in_spool.mark_done(&from, &[seq]);
            }
            let _ = sender.try_send(result.map(drop));
        };
        spool.enqueue(copy, reservation, Box::new(on_commit));
        (self.count, self.bytes) = (self.count + 1, self.bytes + bytes);
        Ok(())
    }

    fn wait_for_commit(self, mut committer: Option<&mut Committer>) -> Result<(), Reason> {
        drop(self.sender);
        for _ in 0..self.count {
            if let Some(committer) = &mut committer {
                committer.step(Duration::ZERO);
            }
            self.results.recv_timeout(COMMIT_TIMEOUT).unwrap_or(Err(Reason::TimedOut))?;
        }
        Ok(())
    }
}

/// What changes in a running gateway need.
pub(super) struct SpoolChanges {
    pub(super) spool: Arc<Spool>,
    pub(super) exporters: Arc<MoveTargets>,
    pub(super) services: SharedServices,
    /// Held during a change, so that there is one at a time.
    pub(super) running: Mutex<()>,
}

pub(super) fn router(changes: SpoolChanges) -> Router {
    Router::new().route(SPOOL_PATH, post(change)).with_state(Arc::new(changes))
}

async fn change(
    State(changes): State<Arc<SpoolChanges>>,
    client: Option<Extension<KnownClient>>,
    body: Bytes,
) -> Response {
    let Ok(change) = serde_json::from_slice::<SpoolChange>(&body) else {
        return (StatusCode::BAD_REQUEST, "the body is no change of the spool\n").into_response();
    };
    let tasks = Arc::clone(&changes.services.tasks);
    let apply = move || changes.apply(&change, client.as_ref().map(|client| &*client.name));
    let changed = run_blocking(&*tasks, "spool change", apply).await;
    match changed.unwrap_or(Err(unavailable(Reason::ShuttingDown))) {
        // Numbers can always be written.
        Ok(result) => ([(header::CONTENT_TYPE, "application/json")], serde_json::to_vec(&result).unwrap_or_default())
            .into_response(),
        Err((status, why)) => (status, format!("{why}\n")).into_response(),
    }
}

impl SpoolChanges {
    fn apply(&self, change: &SpoolChange, client: Option<&str>) -> Result<ChangeResult, ChangeError> {
        let refuse = |why: &str| Err((StatusCode::CONFLICT, why.to_owned()));
        let Some(_running) = self.running.try_lock() else {
            return refuse("another change of the spool is running: try again");
        };
        let (status, from) = (self.spool.status(), change.from());
        change.check(&status, &self.exporters).map_err(|why| (StatusCode::NOT_FOUND, why))?;
        let is_exporter = self.exporters.contains_key(exporter_of(from));
        let is_used = status.consumers.iter().any(|entry| entry.configured && *entry.name == *from);
        if is_used && !is_exporter && from != QUARANTINE {
            return refuse("a running gateway needs its own records: stop it, and run the command again");
        }
        let result = change.apply(&self.spool, None, &self.exporters)?;
        if result.changed > 0 {
            self.spool.write_progress();
            let (done, to) = match change {
                SpoolChange::Move { to, .. } => ("moved", to.as_deref()),
                SpoolChange::Drop { .. } => ("dropped", None),
            };
            let records = result.changed;
            tracing::warn!(
                consumer = from,
                to,
                client,
                records,
                "an operator {done} data that was waiting in the spool"
            );
        }
        Ok(result)
    }
}
