//! [`Uploader`]: moves committed records into the store: keys, then objects, then index lines. A reference in a
//! forwarded span is a promise, which the spool keeps through every outage until the uploader has stored the object.
//!
//! A seal (the list of an object's fragments, or a digest with its index object) is committed before the first attempt,
//! so that every attempt, after any crash, writes the same bytes. No record is marked done before its content is
//! stored, and attempts never end. A damaged record is reported, is never marked done, and blocks only itself: its
//! object is written with zeros in its place, and the index lines that point there stay, with hashes that don't match.
//! Memory holds positions, never the bodies of waiting records. Neighbours: `record_tracker` (bookkeeping),
//! `vault_writer` (numbers).

mod chain_handling;
mod chains;
mod digests;
mod erasures;
mod journal;
mod object_write;
mod open_sessions;
mod record_tracker;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{oneshot, watch};

use kernel::clock::{Clock, UnixNanos};
use kernel::rng::Rng;
use pipeline::spool::{RecordSeq, StoredRecord};
use telemetry::{Counter, Gauge, Meter, names as metric};

use super::chain::digest::GatewayIdentity;
use super::chain::note::SigningKey;
use super::chain::position::ChainId;
use super::chain::tree::NodeHash;
use super::recipients::AccountRecipients;
use super::spool_record;
use super::store::{ObjectKind, PutOutcome, StoreError, VaultStore};
use super::vault_writer::VaultWriter;
use chains::{ChainBreak, ChainStates};
use object_write::{FinishedWrite, TimedStore, WriteBackoff, WriteFailure};
use open_sessions::OpenSessions;
use record_tracker::{RecordTracker, UploadItem};

pub use erasures::ErasureInbox;
pub use journal::{JournalBacklog, JournalReadError, SpoolJournal, UploadJournal};

/// Interval at which a store is asked to remove expired objects.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// Longest wait between two rounds.
const TICK: Duration = Duration::from_secs(1);
const MAX_CONCURRENT_WRITES: usize = 8;
/// Idle rounds of `TICK / 20` after which a drain gives up on the remaining records.
const MAX_IDLE_ROUNDS: u32 = 100;
/// Longest wait before a put is retried that failed because of the object itself.
const MAX_OBJECT_RETRY_DELAY: Duration = Duration::from_secs(300);
/// How long a record may be late before a damaged record is assumed to be the cause.
const LATE_RECORD_GRACE: Duration = Duration::from_secs(60);
const MAX_READ_BYTES: usize = 4 << 20;
const MAX_READ_RECORDS: usize = 512;
/// Limit for tracked records; beyond that, writing has to catch up before more are read.
const MAX_TRACKED_RECORDS: usize = 400_000;
/// Limit for the lines of one index object, before compression.
const MAX_INDEX_BYTES: usize = 4 << 20;
const COMPRESSION_LEVEL: i32 = 3;

pub struct UploaderDependencies {
    /// The processor's id, used as metric label.
    pub id: Arc<str>,
    /// Access to the spool.
    pub journal: Arc<dyn UploadJournal>,
    pub store: Arc<dyn VaultStore>,
    /// Numbers and open objects of this process.
    pub writer: Arc<VaultWriter>,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Source of jitter and names.
    pub rng: Arc<dyn Rng>,
    /// Age at which an object closes.
    pub object_age: Duration,
    /// Time between index objects.
    pub index_interval: Duration,
    pub key: Arc<SigningKey>,
    /// The gateway's entry in its digests, without recipients.
    pub made_by: Option<GatewayIdentity>,
    /// The public keys that open an account's content, for the gateway's entry in the account's digests.
    pub recipients: Arc<dyn Fn(&str) -> AccountRecipients + Send + Sync>,
}

struct UploaderMetrics {
    uploads: HashMap<(ObjectKind, &'static str), Counter>,
    corrupt: Counter,
    breaks: HashMap<ChainBreak, Counter>,
    gaps: Counter,
    damaged: Counter,
    pending: Gauge,
    lag: Gauge,
}

#[derive(Clone, Copy)]
struct DueDigests {
    /// The interval is over: every chain gets a digest.
    interval_over: bool,
    /// The last round could not take all lines.
    lines_left: bool,
    /// Everything is stored and no more records will arrive.
    final_round: bool,
}

/// Uploads the vault's records (see the module).
pub struct Uploader {
    deps: UploaderDependencies,
    timed_store: Arc<TimedStore>,
    record_tracker: RecordTracker,
    chains: ChainStates,
    /// Sessions that have no session line yet.
    open_sessions: BTreeMap<ChainId, OpenSessions>,
    /// Whether the chains' positions were read.
    is_restored: bool,
    /// Sizes and hashes of stored objects that are in no digest yet.
    stored_objects: HashMap<Arc<str>, (u64, NodeHash)>,
    writes: FuturesUnordered<BoxFuture<'static, FinishedWrite>>,
    read_position: Option<RecordSeq>,
    /// Records to read once more.
    records_to_reread: Vec<RecordSeq>,
    /// Whether the spool may have more records to read immediately.
    may_have_unread: bool,
    last_digest_at: Duration,
    /// Whether the last index object could not take all lines.
    has_more_lines: bool,
    last_report_at: Option<Duration>,
    last_sweep_at: Option<Duration>,
    /// Digests declare content of digests before this time as expired.
    expired_before: Option<UnixNanos>,
    backoff: WriteBackoff,
    inbox: Arc<ErasureInbox>,
    /// Reports of erasures to confirm after the next save.
    confirmations: Vec<oneshot::Sender<()>>,
    metrics: UploaderMetrics,
}

impl Uploader {
    /// An uploader that begins at the first record that is not done.
    pub fn new(deps: UploaderDependencies, meter: &Meter) -> Self {
        let id = deps.id.clone();
        let outcomes =
            ["written", "exists", "retry", "denied", "corrupt", "differs", "missing", "gone", "damaged", "full"];
        let uploads = ObjectKind::ALL.iter().flat_map(|kind| outcomes.map(|outcome| (*kind, outcome)));
        let uploads = uploads.map(|(kind, outcome)| {
            let labels: &[(&'static str, &str)] = &[("processor", &id), ("kind", kind.as_str()), ("outcome", outcome)];
            ((kind, outcome), meter.counter(&metric::VAULT_UPLOADS, labels))
        });
        let processor_label: &[(&'static str, &str)] = &[("processor", &id)];
        let (store, clock) = (Arc::clone(&deps.store), Arc::clone(&deps.clock));
        let timed_store = TimedStore { processor: Arc::clone(&id), store, clock, meter: meter.clone() };
        let metrics = UploaderMetrics {
            uploads: uploads.collect(),
            corrupt: meter.counter(&metric::VAULT_CORRUPT_UPLOADS, processor_label),
            breaks: (ChainBreak::ALL.iter())
                .map(|why| {
                    let labels: &[(&'static str, &str)] = &[("processor", &id), ("reason", why.label())];
                    (*why, meter.counter(&metric::VAULT_CHAIN_BREAKS, labels))
                })
                .collect(),
            gaps: meter.counter(&metric::VAULT_GAP_LEAVES, processor_label),
            damaged: meter.counter(&metric::VAULT_DAMAGED_RECORDS, processor_label),
            pending: meter.gauge(&metric::VAULT_PENDING_BYTES, processor_label),
            lag: meter.gauge(&metric::VAULT_UPLOAD_LAG, processor_label),
        };
        Self {
            record_tracker: RecordTracker::new(deps.writer.names().epoch().clone()),
            chains: ChainStates::new(deps.writer.names().writer().clone(), deps.writer.names().epoch().clone()),
            open_sessions: BTreeMap::new(),
            is_restored: false,
            stored_objects: HashMap::new(),
            writes: FuturesUnordered::new(),
            read_position: None,
            records_to_reread: Vec::new(),
            may_have_unread: true,
            last_digest_at: deps.clock.monotonic(),
            has_more_lines: false,
            last_report_at: None,
            last_sweep_at: None,
            expired_before: None,
            backoff: WriteBackoff::default(),
            inbox: Arc::default(),
            confirmations: Vec::new(),
            metrics,
            timed_store: Arc::new(timed_store),
            deps,
        }
    }

    /// Runs until `stop` is true, then drains: ends when nothing is left or the store fails; the rest stays in the
    /// spool. The caller must set a deadline.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow_and_update() {
            let (changed, inbox) = (self.deps.journal.changed(), Arc::clone(&self.inbox));
            let busy = self.run_round(DrainMode::Normal).await;
            let wait = if busy { Duration::ZERO } else { self.backoff.time_left(self.deps.clock.monotonic(), TICK) };
            tokio::select! {
                biased;
                changed = stop.changed() => if changed.is_err() { break },
                Some(finished) = self.writes.next(), if !self.writes.is_empty() => self.finish_write(finished),
                () = changed => {},
                () = inbox.arrived() => {},
                () = tokio::time::sleep(wait) => {},
            }
        }
        self.drain().await;
    }

    /// Closes every object and writes everything, in order, until nothing is left or the store fails. Returns whether
    /// nothing is left.
    pub async fn drain(&mut self) -> bool {
        self.backoff.retry_at = Duration::ZERO;
        let mut idle = 0;
        while idle < MAX_IDLE_ROUNDS {
            let changed = self.deps.journal.changed();
            let busy = self.run_round(DrainMode::Drain).await;
            if let Some(finished) = self.writes.next().await {
                self.finish_write(finished);
                idle = 0;
            } else if self.record_tracker.caught_up
                && !self.may_have_unread
                && self.records_to_reread.is_empty()
                && self.is_empty()
            {
                return self.record_tracker.damaged.is_empty();
            } else if self.backoff.is_failing() {
                return false;
            } else if !busy {
                // the uploader's own seals are read back once they are committed
                tokio::select! { () = changed => {}, () = tokio::time::sleep(TICK / 20) => {} }
                idle += 1;
            }
        }
        false
    }

    /// Runs one round without waiting: reads, closes, seals, starts writes, and handles finished ones. For tests and
    /// simulations that drive it by hand; [`Uploader::run`] does the same. Returns whether there may be more to do.
    pub async fn step(&mut self) -> bool {
        let mut busy = self.run_round(DrainMode::Normal).await;
        while let Some(finished) = self.writes.next().await {
            self.finish_write(finished);
            busy = true;
        }
        busy
    }

    /// Whether no record waits and every chain of this process has its last digest.
    fn is_empty(&self) -> bool {
        self.record_tracker.is_empty() && self.chains.is_idle()
    }

    async fn run_round(&mut self, mode: DrainMode) -> bool {
        if !self.is_restored && !self.restore_positions().await {
            return false;
        }
        let has_read = self.read().await;
        self.take_erasures();
        let has_saved = self.save_positions().await;
        let now = self.deps.clock.now();
        let age = if mode == DrainMode::Drain { Duration::ZERO } else { self.deps.object_age };
        let closed_objects = self.deps.writer.close_due_objects(now, age);
        self.record_tracker.close_objects(closed_objects);
        let monotonic = self.deps.clock.monotonic();
        if !self.may_have_unread {
            self.stop_waiting_for_lost(monotonic, self.deps.object_age + LATE_RECORD_GRACE);
        }
        self.seal_objects(monotonic);
        let final_round = mode == DrainMode::Drain
            && self.record_tracker.caught_up
            && !self.may_have_unread
            && self.record_tracker.unstored.is_empty();
        let interval_over = final_round || monotonic.saturating_sub(self.last_digest_at) >= self.deps.index_interval;
        if interval_over && mode == DrainMode::Normal {
            self.last_digest_at = monotonic;
        }
        let lines_left = std::mem::take(&mut self.has_more_lines);
        self.seal_digests(now, monotonic, DueDigests { interval_over, lines_left, final_round }).await;
        // first, because everything that a digest names is stored; a store without room takes digests only
        self.chains.take_ready().into_iter().for_each(|item| self.record_tracker.put_back(item, true));
        self.start_writes(now, monotonic);
        self.sweep(now, monotonic).await;
        if self.last_report_at.is_none_or(|reported| monotonic.saturating_sub(reported) >= TICK) {
            self.last_report_at = Some(monotonic);
            self.report_backlog(now);
            self.make_room().await;
        }
        has_read || has_saved
    }

    /// Reads more records. True if there may be more.
    async fn read(&mut self) -> bool {
        if self.record_tracker.tracked >= MAX_TRACKED_RECORDS && !self.record_tracker.ready.is_empty() {
            return false;
        }
        let monotonic = self.deps.clock.monotonic();
        self.reread_records(monotonic).await;
        let records = match self.deps.journal.read(self.read_position, MAX_READ_BYTES, MAX_READ_RECORDS).await {
            Ok(records) => records,
            Err(JournalReadError::Damaged(seq)) => {
                self.read_position = Some(seq);
                self.report_damaged(seq);
                return true;
            }
            Err(JournalReadError::Failed(why)) => {
                self.backoff.record_failure(self.deps.clock.monotonic(), &*self.deps.rng);
                tracing::error!(vault = &*self.deps.id, why, "the vault's records can't be read from the spool");
                return false;
            }
        };
        self.may_have_unread = !records.is_empty();
        if records.is_empty() {
            self.record_tracker.mark_caught_up();
        }
        for stored in &records {
            self.read_position = Some(stored.seq);
            self.register_record(stored, monotonic);
        }
        self.may_have_unread
    }

    fn register_record(&mut self, stored: &StoredRecord, monotonic: Duration) {
        let effects = self.record_tracker.register_record(stored, monotonic);
        if effects.damaged {
            self.report_damaged(stored.seq);
        }
        for late in effects.late {
            self.report_damaged(late);
        }
        self.mark_done(&effects.done);
        if let Some(digest) = effects.digest {
            self.handle_digest(&digest);
        }
    }

    /// Re-reads lines whose index object was damaged before it was written.
    async fn reread_records(&mut self, monotonic: Duration) {
        for seq in std::mem::take(&mut self.records_to_reread) {
            match object_write::read_record(&*self.deps.journal, seq).await {
                Ok(stored) => self.register_record(&stored, monotonic),
                Err(WriteFailure::Dropped) => {}
                Err(WriteFailure::Damaged) => self.report_damaged(seq),
                Err(WriteFailure::Store(_)) => self.records_to_reread.push(seq),
            }
        }
    }

    /// Handles a record whose content can't be stored: it is reported once and never marked done.
    fn report_damaged(&mut self, seq: RecordSeq) {
        if self.record_tracker.mark_damaged(seq) {
            self.deps.journal.release_lost(&[seq]);
            self.metrics.damaged.increment(1);
            tracing::error!(
                vault = &*self.deps.id,
                record = seq.0,
                "a vault record is damaged: its content is not stored and the record stays in the spool; other uploads continue"
            );
        }
    }

    /// Marks records as done: first the claims, then the record that claims them.
    fn mark_done(&self, seqs: &[RecordSeq]) {
        if let Some((claimant, claims)) = seqs.split_last() {
            if !claims.is_empty() {
                self.deps.journal.mark_done(claims);
            }
            self.deps.journal.mark_done(&[*claimant]);
        }
    }

    fn seal_objects(&mut self, monotonic: Duration) {
        while let Some(to_seal) = self.record_tracker.next_to_seal(monotonic) {
            let body = spool_record::pack(&to_seal.header, &[]);
            if self.deps.journal.append_seal(&to_seal.account, body, spool_record::SealKind::Object).is_err() {
                // the spool has no room now; the next round retries
                return self.record_tracker.to_seal.push(to_seal.header.name.into());
            }
        }
    }

    fn start_writes(&mut self, now: UnixNanos, monotonic: Duration) {
        let max_writes = if self.backoff.is_failing() { 1 } else { MAX_CONCURRENT_WRITES };
        while self.writes.len() < max_writes && self.backoff.is_over(monotonic) {
            let Some(mut item) = self.record_tracker.next_item(monotonic) else { return };
            item.alternative_name = self.chains.alternative_name(&item.name).map(Arc::from);
            let (journal, store) = (self.deps.journal.clone(), Arc::clone(&self.timed_store));
            self.writes.push(Box::pin(object_write::write_object(journal, store, item, now)));
        }
    }

    fn finish_write(&mut self, finished: FinishedWrite) {
        let FinishedWrite { mut item, damaged_fragments, result, size_and_hash, position, line_objects } = finished;
        let outcome = match &result {
            Ok(outcome) => outcome.label(),
            Err(failure) => failure.label(),
        };
        self.metrics.uploads.get(&(item.kind, outcome)).into_iter().for_each(|counter| counter.increment(1));
        if !damaged_fragments.is_empty() {
            damaged_fragments.iter().for_each(|seq| self.report_damaged(*seq));
            self.record_tracker.remove_damaged_fragments(&mut item, &damaged_fragments);
        }
        if item.kind == ObjectKind::Chain {
            return self.finish_digest_write(item, result, position, &line_objects);
        }
        match result {
            Ok(PutOutcome::Exists) if may_have_alternative_name(item.kind) && item.is_first_attempt => {
                self.use_alternative_name(item)
            }
            Err(WriteFailure::Store(StoreError::Differs)) if may_have_alternative_name(item.kind) => {
                self.use_alternative_name(item)
            }
            Ok(_) => {
                if item.kind == ObjectKind::Key {
                    self.chains.forget_alternative_name(&item.name);
                }
                if let Some(stored) = size_and_hash.filter(|_| self.stored_objects.len() < MAX_TRACKED_RECORDS) {
                    self.stored_objects.insert(item.name.clone(), stored);
                }
                let done = self.record_tracker.untrack_item(&item);
                self.mark_done(&done);
                self.backoff.record_success(&self.deps.id);
            }
            Err(WriteFailure::Dropped) => {
                tracing::warn!(vault = &*self.deps.id, object = &*item.name, "records were dropped from the spool");
                let done = self.record_tracker.untrack_item(&item);
                self.mark_done(&done);
            }
            Err(WriteFailure::Damaged) => {
                if item.kind != ObjectKind::Payload {
                    self.report_damaged(item.seq);
                }
                // none of its records is done: the object was not stored, and nothing waits for it any more
                drop(self.record_tracker.untrack_item(&item));
                self.records_to_reread.append(&mut item.claims);
            }
            Err(WriteFailure::Store(error)) => self.handle_write_failure(item, &error),
        }
    }

    fn handle_write_failure(&mut self, mut item: UploadItem, error: &StoreError) {
        let monotonic = self.deps.clock.monotonic();
        // an attempt without an answer may have written the object; one that the store rejected has not
        item.is_first_attempt &=
            item.kind == ObjectKind::Chain || matches!(error, StoreError::Busy(_) | StoreError::Denied(_));
        // these errors concern one object; the others continue
        let concerns_object = matches!(error, StoreError::Differs | StoreError::Corrupt(_));
        let should_log = if concerns_object {
            self.metrics.corrupt.increment(1);
            item.not_before = monotonic + Duration::from_secs(1 << item.attempts.min(10)).min(MAX_OBJECT_RETRY_DELAY);
            item.attempts = item.attempts.saturating_add(1);
            item.attempts.is_power_of_two()
        } else {
            self.backoff.record_failure(monotonic, &*self.deps.rng)
        };
        if *error == StoreError::Full {
            // the folder itself says so, and may make room
            self.backoff.retry_at = self.backoff.retry_at.min(monotonic + TICK);
        }
        if should_log {
            // names contain only ids that passed the redaction rules, so they may be logged
            let (vault, object, kind) = (&*self.deps.id, &*item.name, item.kind.as_str());
            tracing::error!(vault, object, kind, %error, "can't write to the vault's store; all data stays in the spool");
        }
        self.record_tracker.put_back(item, !concerns_object);
    }

    fn report_backlog(&self, now: UnixNanos) {
        let pending = self.deps.journal.backlog();
        self.metrics.pending.set(pending.bytes as f64);
        self.metrics.lag.set(pending.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64()));
    }
}

/// Whether an object of this kind can be found under an alternative name: a digest signs that of a payload object, and
/// keys are looked up by folder.
fn may_have_alternative_name(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::Payload | ObjectKind::Key)
}

/// How much is closed and written before its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DrainMode {
    Normal,
    /// Everything, because the gateway stops.
    Drain,
}
