//! [`Uploader`]: moves committed records into the store: keys, then objects, then index lines. A reference in a
//! forwarded span is a promise, which the spool keeps through every outage until the uploader has stored the object.
//!
//! A seal (the list of fragments, or the index object itself) is committed before the first attempt, so that every
//! attempt, after any crash, writes the same bytes. No record is marked done before its content is stored, and attempts
//! never end. A damaged record is reported, is never marked done, and blocks only itself: its object is written with
//! zeros in its place, and the index lines that point there stay, with hashes that don't match. Memory holds positions,
//! never the bodies of waiting records. Neighbours: `shelf` (bookkeeping), `books` (numbers).

mod chains;
mod digests;
mod erasures;
mod flight;
mod journal;
mod keeping;
mod shelf;
#[cfg(test)]
pub(crate) mod tests;
mod totals;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{oneshot, watch};

use kernel::clock::{Clock, UnixNanos};
use kernel::rng::Rng;
use pipeline::spool::{Seq, Stored};
use telemetry::{Counter, Gauge, Meter, names as metric};

use super::books::Writer;
use super::chain::digest::MadeBy;
use super::chain::note::SigningKey;
use super::chain::tree::Hash;
use super::record;
use super::store::{ObjectKind, Put, StoreError, VaultStore};
use chains::{Broken, Chains};
use flight::{Failure, Landed, Pause};
use shelf::{Item, Line, Shelf};
use totals::Open;

pub use erasures::ErasureInbox;
pub use journal::{Journal, Pending, SpoolJournal, Unread};

/// Interval at which a store is asked to remove expired objects.
const SWEEP: Duration = Duration::from_secs(3600);
/// Longest wait between two rounds.
const TICK: Duration = Duration::from_secs(1);
/// Most concurrent writes.
const FLIGHTS: usize = 8;
/// Idle rounds of `TICK / 20` after which a drain gives up on the remaining records.
const IDLE_ROUNDS: u32 = 100;
/// Longest wait before a put is retried that failed because of the object itself.
const LONGEST_OWN: Duration = Duration::from_secs(300);
/// How long a record may be late before a damaged record is assumed to be the cause.
const GRACE: Duration = Duration::from_secs(60);
/// Most bytes and records per read.
const READ: (usize, usize) = (4 << 20, 512);
/// Most tracked records; beyond that, writing has to catch up before more are read.
const TRACKED: usize = 400_000;
/// Most bytes of lines in one index object, before compression.
const INDEX_BYTES: usize = 4 << 20;
const INDEX_LEVEL: i32 = 3;

/// When objects and index objects are written.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Age at which an object closes.
    pub object_age: Duration,
    /// Time between index objects.
    pub index_interval: Duration,
}

/// Dependencies of the uploader.
pub struct Parts {
    /// The processor's id, used as metric label.
    pub id: Arc<str>,
    /// Access to the spool.
    pub journal: Arc<dyn Journal>,
    /// The store to write to.
    pub store: Arc<dyn VaultStore>,
    /// Numbers and open objects of this process.
    pub writer: Arc<Writer>,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Source of jitter and names.
    pub rng: Arc<dyn Rng>,
    /// Intervals.
    pub pace: Pace,
    /// Key that signs digests.
    pub key: Arc<SigningKey>,
    /// The gateway's entry in its digests.
    pub made_by: Option<MadeBy>,
}

struct Metrics {
    uploads: Vec<(ObjectKind, &'static str, Counter)>,
    corrupt: Counter,
    breaks: Vec<(Broken, Counter)>,
    gaps: Counter,
    damaged: Counter,
    pending: Gauge,
    lag: Gauge,
}

/// Which digests are due.
#[derive(Clone, Copy)]
struct Due {
    /// The interval is over: every chain gets a digest.
    beat: bool,
    /// The last round could not take all lines.
    more: bool,
    /// Everything is stored and no more records will arrive.
    end: bool,
}

/// Uploads the vault's records (see the module).
pub struct Uploader {
    parts: Parts,
    shelf: Shelf,
    chains: Chains,
    /// Sessions that have no session line yet.
    open: BTreeMap<Line, Open>,
    /// Whether the chains' positions were read.
    restored: bool,
    /// Sizes and hashes of stored objects that are in no digest yet.
    landed: HashMap<Arc<str>, (u64, Hash)>,
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
    after: Option<Seq>,
    /// Records to read once more.
    again: Vec<Seq>,
    /// Whether the spool may have more records to read immediately.
    more: bool,
    indexed: Duration,
    /// Whether the last index object could not take all lines.
    index_more: bool,
    reported: Option<Duration>,
    /// Time of the last sweep.
    swept: Option<Duration>,
    pause: Pause,
    inbox: Arc<ErasureInbox>,
    /// Reports of erasures to confirm after the next save.
    unconfirmed: Vec<oneshot::Sender<()>>,
    metrics: Metrics,
}

impl Uploader {
    /// An uploader that begins at the first record that is not done.
    pub fn new(parts: Parts, meter: &Meter) -> Self {
        let id = parts.id.clone();
        let outcomes =
            ["written", "exists", "retry", "denied", "corrupt", "differs", "missing", "gone", "damaged", "full"];
        let uploads = ObjectKind::ALL.iter().flat_map(|kind| outcomes.map(|outcome| (*kind, outcome)));
        let uploads = uploads.map(|(kind, outcome)| {
            let labels: &[(&'static str, &str)] = &[("processor", &id), ("kind", kind.label()), ("outcome", outcome)];
            (kind, outcome, meter.counter(&metric::VAULT_UPLOADS, labels))
        });
        let label: &[(&'static str, &str)] = &[("processor", &id)];
        let metrics = Metrics {
            uploads: uploads.collect(),
            corrupt: meter.counter(&metric::VAULT_CORRUPT_UPLOADS, label),
            breaks: [Broken::Fork, Broken::Damaged, Broken::Dropped]
                .map(|why| {
                    let labels: &[(&'static str, &str)] = &[("processor", &id), ("reason", why.label())];
                    (why, meter.counter(&metric::VAULT_CHAIN_BREAKS, labels))
                })
                .into(),
            gaps: meter.counter(&metric::VAULT_GAP_LEAVES, label),
            damaged: meter.counter(&metric::VAULT_DAMAGED_RECORDS, label),
            pending: meter.gauge(&metric::VAULT_PENDING_BYTES, label),
            lag: meter.gauge(&metric::VAULT_UPLOAD_LAG, label),
        };
        Self {
            shelf: Shelf::new(parts.writer.names().epoch().clone()),
            chains: Chains::new(parts.writer.names().writer().clone(), parts.writer.names().epoch().clone()),
            open: BTreeMap::new(),
            restored: false,
            landed: HashMap::new(),
            flights: FuturesUnordered::new(),
            after: None,
            again: Vec::new(),
            more: true,
            indexed: parts.clock.monotonic(),
            index_more: false,
            reported: None,
            swept: None,
            pause: Pause::default(),
            inbox: Arc::default(),
            unconfirmed: Vec::new(),
            metrics,
            parts,
        }
    }

    /// Runs until `stop` is true, then drains: ends when nothing is left or the store fails; the rest stays in the
    /// spool. The caller must set a deadline.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow_and_update() {
            let (changed, inbox) = (self.parts.journal.changed(), Arc::clone(&self.inbox));
            let busy = self.turn(Haste::None).await;
            let wait = if busy { Duration::ZERO } else { self.pause.wait(self.parts.clock.monotonic(), TICK) };
            tokio::select! {
                biased;
                changed = stop.changed() => if changed.is_err() { break },
                Some(landed) = self.flights.next(), if !self.flights.is_empty() => self.land(landed),
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
        self.pause.retry_now();
        let mut idle = 0;
        while idle < IDLE_ROUNDS {
            let changed = self.parts.journal.changed();
            let busy = self.turn(Haste::All).await;
            if let Some(landed) = self.flights.next().await {
                self.land(landed);
                idle = 0;
            } else if self.shelf.caught_up() && !self.more && self.again.is_empty() && self.is_empty() {
                return !self.shelf.has_damage();
            } else if self.pause.failing() {
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
        let mut busy = self.turn(Haste::None).await;
        while let Some(landed) = self.flights.next().await {
            self.land(landed);
            busy = true;
        }
        busy
    }

    /// Whether no record waits and every chain of this process has its last digest.
    fn is_empty(&self) -> bool {
        self.shelf.is_empty() && self.chains.is_idle()
    }

    async fn turn(&mut self, haste: Haste) -> bool {
        if !self.restored && !self.restore().await {
            return false;
        }
        let read = self.read().await;
        self.take_erasures();
        let saved = self.save().await;
        let now = self.parts.clock.now();
        let age = if haste == Haste::All { Duration::ZERO } else { self.parts.pace.object_age };
        let closed = self.parts.writer.close(now, age);
        self.shelf.close(closed);
        let monotonic = self.parts.clock.monotonic();
        if !self.more {
            self.give_up_waiting(monotonic, self.parts.pace.object_age + GRACE);
        }
        self.seal_objects(monotonic);
        let end = haste == Haste::All && self.shelf.caught_up() && !self.more && self.shelf.all_stored();
        let beat = end || monotonic.saturating_sub(self.indexed) >= self.parts.pace.index_interval;
        if beat && haste == Haste::None {
            self.indexed = monotonic;
        }
        let more = std::mem::take(&mut self.index_more);
        self.seal_digests(now, monotonic, Due { beat, more, end }).await;
        for item in self.chains.ready() {
            self.shelf.push_ready(item);
        }
        self.launch(now, monotonic);
        self.sweep(now, monotonic).await;
        self.report(now, monotonic);
        read || saved
    }

    /// Reads more records. True if there may be more.
    async fn read(&mut self) -> bool {
        if self.shelf.tracked() >= TRACKED && self.shelf.has_ready() {
            return false;
        }
        let monotonic = self.parts.clock.monotonic();
        self.read_again(monotonic).await;
        let records = match self.parts.journal.read(self.after, READ.0, READ.1).await {
            Ok(records) => records,
            Err(Unread::Damaged(seq)) => {
                self.after = Some(seq);
                self.damaged(seq);
                return true;
            }
            Err(Unread::Failed(why)) => {
                self.pause.failed(self.parts.clock.monotonic(), &*self.parts.rng);
                tracing::error!(vault = &*self.parts.id, why, "the vault's records can't be read from the spool");
                return false;
            }
        };
        self.more = !records.is_empty();
        if records.is_empty() {
            self.shelf.catch_up();
        }
        for stored in &records {
            self.after = Some(stored.seq);
            self.take_in(stored, monotonic);
        }
        self.more
    }

    fn take_in(&mut self, stored: &Stored, monotonic: Duration) {
        let read = self.shelf.read(stored, monotonic);
        if read.damaged {
            self.damaged(stored.seq);
        }
        for late in read.late {
            self.damaged(late);
        }
        self.done(&read.done);
        if let Some(digest) = read.digest {
            self.take_digest(&digest);
        }
    }

    /// Re-reads lines whose index object was damaged before it was written.
    async fn read_again(&mut self, monotonic: Duration) {
        for seq in std::mem::take(&mut self.again) {
            match flight::record(&*self.parts.journal, seq).await {
                Ok(stored) => self.take_in(&stored, monotonic),
                Err(Failure::Gone) => {}
                Err(Failure::Damaged) => self.damaged(seq),
                Err(Failure::Store(_)) => self.again.push(seq),
            }
        }
    }

    /// Handles a record whose content can't be stored: it is reported once and never marked done.
    fn damaged(&mut self, seq: Seq) {
        if self.shelf.damage(seq) {
            self.parts.journal.lost(&[seq]);
            self.metrics.damaged.increment(1);
            tracing::error!(
                vault = &*self.parts.id,
                record = seq.0,
                "a record of the vault is damaged: what it held is not stored; it stays in the spool, the rest goes on"
            );
        }
    }

    /// Marks records as done: first the claims, then the record that claims them.
    fn done(&self, seqs: &[Seq]) {
        if let Some((last, claims)) = seqs.split_last() {
            if !claims.is_empty() {
                self.parts.journal.done(claims);
            }
            self.parts.journal.done(&[*last]);
        }
    }

    fn seal_objects(&mut self, monotonic: Duration) {
        while let Some(to_seal) = self.shelf.next_to_seal(monotonic) {
            let body = record::pack(&to_seal.header, &[]);
            if self.parts.journal.seal(&to_seal.account, body, record::Sealed::Object).is_err() {
                // the spool has no room now; the next round retries
                return self.shelf.not_sealed(to_seal);
            }
        }
    }

    fn launch(&mut self, now: UnixNanos, monotonic: Duration) {
        let room = if self.pause.failing() { 1 } else { FLIGHTS };
        while self.flights.len() < room && self.pause.over(monotonic) {
            let Some(mut item) = self.shelf.next(monotonic) else { return };
            item.aside = self.chains.aside(&item.name).map(Arc::from);
            let (journal, store) = (self.parts.journal.clone(), self.parts.store.clone());
            self.flights.push(Box::pin(flight::fly(journal, store, item, now)));
        }
    }

    fn land(&mut self, landed: Landed) {
        let Landed { mut item, lost, result, bytes, position, lines } = landed;
        let outcome = match &result {
            Ok(Put::Written) => "written",
            Ok(Put::Exists) => "exists",
            Err(failure) => failure.label(),
        };
        let same = |kind: ObjectKind, name: &str| kind == item.kind && name == outcome;
        if let Some((.., counter)) = self.metrics.uploads.iter().find(|(kind, name, _)| same(*kind, name)) {
            counter.increment(1);
        }
        if !lost.is_empty() {
            lost.iter().for_each(|seq| self.damaged(*seq));
            self.shelf.without(&mut item, &lost);
        }
        if item.kind == ObjectKind::Chain {
            return self.land_digest(item, result, position, &lines);
        }
        match result {
            Ok(Put::Exists) if may_move(item.kind) && item.fresh => self.set_aside(item),
            Err(Failure::Store(StoreError::Differs)) if may_move(item.kind) => self.set_aside(item),
            Ok(_) => {
                if item.kind == ObjectKind::Key {
                    self.chains.forget_aside(&item.name);
                }
                if let Some(known) = bytes.filter(|_| self.landed.len() < TRACKED) {
                    self.landed.insert(item.name.clone(), known);
                }
                let done = self.shelf.stored(&item);
                self.done(&done);
                if self.pause.succeeded() {
                    tracing::info!(vault = &*self.parts.id, "the vault's store works again");
                }
            }
            Err(Failure::Gone) => {
                tracing::warn!(vault = &*self.parts.id, object = &*item.name, "records were dropped from the spool");
                let done = self.shelf.stored(&item);
                self.done(&done);
            }
            Err(Failure::Damaged) => {
                if item.kind != ObjectKind::Payload {
                    self.damaged(item.seq);
                }
                self.shelf.lost(&item);
                self.again.append(&mut item.claims);
            }
            Err(Failure::Store(error)) => self.failed(item, &error),
        }
    }

    fn failed(&mut self, mut item: Item, error: &StoreError) {
        let monotonic = self.parts.clock.monotonic();
        // an attempt without an answer may have written the object; one that the store rejected has not
        item.fresh &= item.kind == ObjectKind::Chain || matches!(error, StoreError::Busy(_) | StoreError::Denied(_));
        // these errors concern one object; the others continue
        let own = matches!(error, StoreError::Differs | StoreError::Corrupt(_));
        let say = if own {
            self.metrics.corrupt.increment(1);
            item.not_before = monotonic + Duration::from_secs(1 << item.attempts.min(10)).min(LONGEST_OWN);
            item.attempts = item.attempts.saturating_add(1);
            item.attempts.is_power_of_two()
        } else {
            self.pause.failed(monotonic, &*self.parts.rng)
        };
        if say {
            // names contain only ids that passed the redaction rules, so they may be logged
            let (vault, object, kind) = (&*self.parts.id, &*item.name, item.kind.label());
            tracing::error!(vault, object, kind, %error, "the vault's store can't be written; the spool keeps everything");
        }
        self.shelf.put_back(item, !own);
    }

    fn report(&mut self, now: UnixNanos, monotonic: Duration) {
        if self.reported.is_some_and(|reported| monotonic.saturating_sub(reported) < TICK) {
            return;
        }
        self.reported = Some(monotonic);
        let pending = self.parts.journal.pending();
        self.metrics.pending.set(pending.bytes as f64);
        self.metrics.lag.set(pending.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64()));
    }
}

/// Kinds that can be found under an alternative name: a digest signs that of a payload object, and keys are looked up
/// by folder.
fn may_move(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::Payload | ObjectKind::Key)
}

/// How much is closed and written before its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Haste {
    /// Nothing.
    None,
    /// Everything, because the gateway stops.
    All,
}
