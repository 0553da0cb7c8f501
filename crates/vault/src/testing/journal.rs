//! [`FakeJournal`], an [`UploadJournal`] in memory, and the signing key of tests.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use kernel::clock::UnixNanos;
use kernel::rng::SeededRng;
use pipeline::Reason;
use pipeline::spool::{RecordKind, RecordSeq, StoredRecord};

use crate::spool_record;
use crate::uploader::{JournalBacklog, JournalReadError, UploadJournal};

/// Start time of tests.
pub const NOON: UnixNanos = UnixNanos(1_795_168_800_000_000_000);

/// A journal in memory. Appended records are durable at once, the marks of done records only once a test sets `synced`.
#[derive(Default)]
pub struct FakeJournal(pub Mutex<FakeState>);

#[derive(Clone, Default)]
pub struct FakeState {
    pub records: Vec<StoredRecord>,
    /// Records that were marked as done, in order.
    pub done: Vec<RecordSeq>,
    /// Number of entries of `done` that survive every crash.
    pub synced: usize,
    /// Whether seals are refused.
    pub full: bool,
    /// Records that can't be read.
    pub damaged: HashSet<RecordSeq>,
    /// The file with the chains' positions.
    pub chains: Option<Vec<u8>>,
}

impl FakeJournal {
    /// Appends a record.
    pub fn append(&self, kind: RecordKind, account: &str, body: Bytes) {
        let mut state = self.0.lock();
        let seq = RecordSeq(state.records.last().map_or(0, |last| last.seq.0 + 3)); // as in a spool, numbers have gaps
        state.records.push(StoredRecord { seq, kind, account: account.into(), committed: NOON, body });
    }

    /// A second journal with the same contents, as on a cloned volume.
    pub fn fork(&self) -> Self {
        Self(Mutex::new(self.0.lock().clone()))
    }

    /// Simulates a crash: of the marks after `synced`, only the first `survivors` survive.
    pub fn crash(&self, survivors: usize) {
        let mut state = self.0.lock();
        let done = (state.synced + survivors).min(state.done.len());
        state.done.truncate(done);
        state.synced = done;
    }

    /// Makes record number `index` of this kind unreadable.
    pub fn damage(&self, kind: RecordKind, index: usize) -> RecordSeq {
        let mut state = self.0.lock();
        let seq = state.records.iter().filter(|stored| stored.kind == kind).nth(index).expect("a record").seq;
        state.damaged.insert(seq);
        seq
    }

    /// Makes one of the records of this kind that are not done unreadable; `index` wraps around.
    pub fn damage_waiting(&self, kind: RecordKind, index: usize) {
        let waiting: Vec<_> = self.waiting().into_iter().filter(|stored| stored.kind == kind).collect();
        if !waiting.is_empty() {
            self.0.lock().damaged.insert(waiting[index % waiting.len()].seq);
        }
    }

    fn waiting(&self) -> Vec<StoredRecord> {
        let state = self.0.lock();
        let done: HashSet<RecordSeq> = state.done.iter().copied().collect();
        state.records.iter().filter(|stored| !done.contains(&stored.seq)).cloned().collect()
    }

    /// The records that are not done.
    pub fn waiting_seqs(&self) -> HashSet<RecordSeq> {
        self.waiting().iter().map(|stored| stored.seq).collect()
    }

    /// The records of a kind.
    pub fn of_kind(&self, kind: RecordKind) -> Vec<StoredRecord> {
        self.0.lock().records.iter().filter(|stored| stored.kind == kind).cloned().collect()
    }

    /// The kinds of the records that are not done, in order.
    pub fn waiting_kinds(&self) -> Vec<RecordKind> {
        self.waiting().iter().map(|stored| stored.kind).collect()
    }
}

impl UploadJournal for FakeJournal {
    fn read(
        &self,
        after: Option<RecordSeq>,
        max_bytes: usize,
        max_records: usize,
    ) -> BoxFuture<'static, Result<Vec<StoredRecord>, JournalReadError>> {
        let state = self.0.lock();
        let done: HashSet<RecordSeq> = state.done.iter().copied().collect();
        let mut bytes = 0;
        let is_wanted =
            |stored: &&StoredRecord| after.is_none_or(|after| stored.seq > after) && !done.contains(&stored.seq);
        let next = state.records.iter().find(is_wanted).map(|stored| stored.seq);
        if let Some(damaged) = next.filter(|next| state.damaged.contains(next)) {
            return Box::pin(async move { Err(JournalReadError::Damaged(damaged)) });
        }
        let read = state
            .records
            .iter()
            .filter(is_wanted)
            .take_while(|stored| !state.damaged.contains(&stored.seq))
            .take(max_records.min(3)) // so that a restart takes many steps
            .take_while(|stored| {
                let is_first = bytes == 0;
                bytes += stored.body.len();
                is_first || bytes <= max_bytes
            })
            .cloned()
            .collect();
        Box::pin(async move { Ok(read) })
    }

    fn mark_done(&self, seqs: &[RecordSeq]) {
        self.0.lock().done.extend_from_slice(seqs);
    }

    fn append_seal(&self, account: &Arc<str>, body: Bytes, _: spool_record::SealKind) -> Result<(), Reason> {
        if self.0.lock().full {
            return Err(Reason::SpoolFull);
        }
        self.append(RecordKind::Seal, account, body);
        Ok(())
    }

    fn read_chains(&self) -> BoxFuture<'static, io::Result<Option<Vec<u8>>>> {
        let chains = self.0.lock().chains.clone();
        Box::pin(async move { Ok(chains) })
    }

    fn write_chains(&self, bytes: Vec<u8>) -> BoxFuture<'static, io::Result<()>> {
        self.0.lock().chains = Some(bytes);
        Box::pin(async { Ok(()) })
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn backlog(&self) -> JournalBacklog {
        JournalBacklog::default()
    }
}

/// The signing key of tests, the same each time.
pub fn signing_key() -> crate::chain::note::SigningKey {
    let text = crate::chain::note::SigningKey::generate("vault.test", &SeededRng::new(7)).expect("key");
    crate::chain::note::SigningKey::from_secret(&text).expect("key")
}
