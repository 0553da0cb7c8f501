//! [`UploadJournal`]: the uploader's view of the spool; [`SpoolJournal`] implements it with the real spool, and tests
//! use versions that crash, truncate and fail. Reading happens off the async threads. Neighbour: `record_tracker`
//! interprets the records.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::spool_record::SealKind;
use crate::ticket::put_holder;
use kernel::files;
use net::Spawn;
use net::spawn::run_blocking;
use pipeline::Reason;
use pipeline::spool::{
    RecordKind, RecordSeq, Spool, SpoolReadError, SpoolRecord, StoredRecord, Transaction, bytes_to_reserve,
};

const SHUTTING_DOWN: &str = "the gateway is shutting down";

/// The records that wait for the uploader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalBacklog {
    /// Bytes waiting.
    pub bytes: u64,
    /// Commit time of the oldest waiting record.
    pub oldest: Option<kernel::clock::UnixNanos>,
}

/// Why a read failed.
#[derive(Debug)]
pub enum JournalReadError {
    /// The first record after the position is damaged; later ones may be intact.
    Damaged(RecordSeq),
    /// The disk failed, or the gateway is stopping.
    Failed(String),
}

/// The uploader's view of the spool.
pub trait UploadJournal: Send + Sync {
    /// Records after `after` that are not done, in order, up to the first damaged one.
    fn read(
        &self,
        after: Option<RecordSeq>,
        max_bytes: usize,
        max_records: usize,
    ) -> BoxFuture<'static, Result<Vec<StoredRecord>, JournalReadError>>;
    /// Marks records as done: they are no longer needed.
    fn mark_done(&self, seqs: &[RecordSeq]);
    /// Releases exporters that wait for these records: the records are not done, but can't be stored.
    fn release_lost(&self, _seqs: &[RecordSeq]) {}
    /// Appends a seal of an object or digest; the seal is durable once it is read back. Seals of objects free no space,
    /// so they must leave room for seals that do.
    fn append_seal(&self, account: &Arc<str>, body: Bytes, kind: SealKind) -> Result<(), Reason>;
    /// The file with the chains' positions; `None` if it does not exist.
    fn read_chains(&self) -> BoxFuture<'static, io::Result<Option<Vec<u8>>>>;
    /// Replaces the file with the chains' positions, durably.
    fn write_chains(&self, bytes: Vec<u8>) -> BoxFuture<'static, io::Result<()>>;
    /// Resolves when a record is committed after this call (not only after the first poll).
    fn changed(&self) -> BoxFuture<'static, ()>;
    fn backlog(&self) -> JournalBacklog;
}

/// The spool as one holder sees it.
pub struct SpoolJournal {
    spool: Arc<Spool>,
    tasks: Arc<dyn Spawn>,
    holders: Arc<[Arc<str>]>,
    holder: Arc<str>,
    /// Holder of records for exporters that wait for puts.
    put_holder: Arc<str>,
    chains_file: PathBuf,
    changed: tokio::sync::watch::Receiver<u64>,
}

impl SpoolJournal {
    /// A journal of the records held by `holder`, the vault processor's id. The file with the positions of its chains
    /// is in `folder`, the spool's.
    pub fn new(spool: Arc<Spool>, tasks: Arc<dyn Spawn>, holder: Arc<str>, folder: &Path) -> Self {
        let changed = spool.changed(&holder);
        Self {
            spool,
            tasks,
            holders: Arc::new([holder.clone()]),
            put_holder: put_holder(&holder),
            chains_file: folder.join(format!("chain-{}", holder.replace('/', "-"))),
            holder,
            changed,
        }
    }

    fn with_chains_file<T: Send + 'static>(
        &self,
        access: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, io::Result<T>> {
        let (tasks, path) = (self.tasks.clone(), self.chains_file.clone());
        Box::pin(async move {
            let accessed = run_blocking(&*tasks, "chain positions", move || access(&path)).await;
            accessed.unwrap_or_else(|| Err(io::Error::other(SHUTTING_DOWN)))
        })
    }
}

impl UploadJournal for SpoolJournal {
    fn read(
        &self,
        after: Option<RecordSeq>,
        max_bytes: usize,
        max_records: usize,
    ) -> BoxFuture<'static, Result<Vec<StoredRecord>, JournalReadError>> {
        let (spool, holder, tasks) = (self.spool.clone(), self.holder.clone(), self.tasks.clone());
        Box::pin(async move {
            let read = move || {
                spool.read(&holder, after, max_bytes, max_records).map_err(|error| match error {
                    SpoolReadError::Damaged(seq) => JournalReadError::Damaged(seq),
                    error @ SpoolReadError::Io(_) => JournalReadError::Failed(error.to_string()),
                })
            };
            let stopped = || Err(JournalReadError::Failed(SHUTTING_DOWN.to_owned()));
            run_blocking(&*tasks, "vault read", read).await.unwrap_or_else(stopped)
        })
    }

    fn mark_done(&self, seqs: &[RecordSeq]) {
        // in this order: after a crash, no exporter may wait for records that the uploader has forgotten
        self.spool.mark_done(&self.put_holder, seqs);
        self.spool.mark_done(&self.holder, seqs);
    }

    fn release_lost(&self, seqs: &[RecordSeq]) {
        self.spool.mark_done(&self.put_holder, seqs);
    }

    fn append_seal(&self, account: &Arc<str>, body: Bytes, kind: SealKind) -> Result<(), Reason> {
        let bytes = bytes_to_reserve(1, body.len() as u64);
        let reservation = match kind {
            SealKind::Object => self.spool.reserve_to_prepare(bytes)?,
            SealKind::Digest | SealKind::Index => self.spool.reserve_to_drain(bytes)?,
        };
        let record = SpoolRecord { kind: RecordKind::Seal, holders: self.holders.clone(), body };
        let transaction = Transaction { account: account.clone(), records: vec![record] };
        // a failed commit poisons the spool, and the process ends
        self.spool.enqueue(transaction, reservation, Box::new(|_| {}));
        Ok(())
    }

    fn read_chains(&self) -> BoxFuture<'static, io::Result<Option<Vec<u8>>>> {
        self.with_chains_file(|path| match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        })
    }

    fn write_chains(&self, bytes: Vec<u8>) -> BoxFuture<'static, io::Result<()>> {
        self.with_chains_file(move |path| files::replace_file(path, &bytes))
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        let mut changed = self.changed.clone();
        changed.mark_unchanged(); // only changes from now on count
        Box::pin(async move {
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    fn backlog(&self) -> JournalBacklog {
        let status = self.spool.status();
        let consumer = status.consumers.iter().find(|consumer| consumer.name == self.holder);
        consumer.map_or_else(JournalBacklog::default, |consumer| JournalBacklog {
            bytes: consumer.bytes,
            oldest: consumer.oldest,
        })
    }
}
