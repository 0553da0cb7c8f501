//! [`Journal`]: the uploader's view of the spool; [`SpoolJournal`] implements it with the real spool, and tests use
//! versions that crash, truncate and fail. Reading happens off the async threads. Neighbour: `shelf` interprets the
//! records.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::record::Sealed;
use crate::ticket::put_holder;
use kernel::files;
use net::Spawn;
use net::spawn::blocking;
use pipeline::Reason;
use pipeline::spool::{ReadError, Record, RecordKind, Seq, Spool, Stored, Transaction, room_for};

const SHUTTING: &str = "the gateway is shutting down";

/// The backlog in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Bytes waiting.
    pub bytes: u64,
    /// Commit time of the oldest waiting record.
    pub oldest: Option<kernel::clock::UnixNanos>,
}

/// Why a read failed.
#[derive(Debug)]
pub enum Unread {
    /// The first record after the position is damaged; later ones may be intact.
    Damaged(Seq),
    /// The disk failed, or the gateway is stopping.
    Failed(String),
}

/// The uploader's view of the spool.
pub trait Journal: Send + Sync {
    /// Records after `after` that are not done, in order, up to the first damaged one.
    fn read(
        &self,
        after: Option<Seq>,
        max_bytes: usize,
        max_records: usize,
    ) -> BoxFuture<'static, Result<Vec<Stored>, Unread>>;
    /// Marks records as done: they are no longer needed.
    fn done(&self, seqs: &[Seq]);
    /// Releases exporters that wait for these records: the records are not done, but can't be stored.
    fn lost(&self, _seqs: &[Seq]) {}
    /// Appends a seal of an object or digest; the seal is durable once it is read back. Seals of objects free no space,
    /// so they must leave room for seals that do.
    ///
    /// # Errors
    /// The spool has no room, or failed.
    fn seal(&self, account: &Arc<str>, body: Bytes, of: Sealed) -> Result<(), Reason>;
    /// The file with the chains' positions; `None` if it does not exist.
    fn chains(&self) -> BoxFuture<'static, io::Result<Option<Vec<u8>>>>;
    /// Replaces the file with the chains' positions, durably.
    fn keep_chains(&self, bytes: Vec<u8>) -> BoxFuture<'static, io::Result<()>>;
    /// Resolves when a record is committed after this call (not only after the first poll).
    fn changed(&self) -> BoxFuture<'static, ()>;
    /// The current backlog.
    fn pending(&self) -> Pending;
}

/// The spool as one holder sees it.
pub struct SpoolJournal {
    spool: Arc<Spool>,
    tasks: Arc<dyn Spawn>,
    holders: Arc<[Arc<str>]>,
    holder: Arc<str>,
    /// Holder of records for exporters that wait for puts.
    put: Arc<str>,
    chains: PathBuf,
    changed: tokio::sync::watch::Receiver<u64>,
}

impl SpoolJournal {
    /// A journal of the records held by `holder`, the vault processor's id. The file with the positions of its chains
    /// is in `folder`, the spool's.
    pub fn new(spool: Arc<Spool>, tasks: Arc<dyn Spawn>, holder: Arc<str>, folder: &Path) -> Self {
        let changed = spool.changed(&holder);
        let chains = folder.join(format!("chain-{}", holder.replace('/', "-")));
        let put = put_holder(&holder);
        Self { spool, tasks, holders: Arc::new([holder.clone()]), holder, put, chains, changed }
    }
}

impl Journal for SpoolJournal {
    fn read(
        &self,
        after: Option<Seq>,
        max_bytes: usize,
        max_records: usize,
    ) -> BoxFuture<'static, Result<Vec<Stored>, Unread>> {
        let (spool, holder, tasks) = (self.spool.clone(), self.holder.clone(), self.tasks.clone());
        Box::pin(async move {
            let read = move || {
                spool.read(&holder, after, max_bytes, max_records).map_err(|error| match error {
                    ReadError::Damaged(seq) => Unread::Damaged(seq),
                    error @ ReadError::Io(_) => Unread::Failed(error.to_string()),
                })
            };
            match blocking(&*tasks, "vault read", read).await {
                Some(result) => result,
                None => Err(Unread::Failed(SHUTTING.to_owned())),
            }
        })
    }

    fn done(&self, seqs: &[Seq]) {
        // in this order: after a crash, no exporter may wait for records that the uploader has forgotten
        self.spool.done(&self.put, seqs);
        self.spool.done(&self.holder, seqs);
    }

    fn lost(&self, seqs: &[Seq]) {
        self.spool.done(&self.put, seqs);
    }

    fn seal(&self, account: &Arc<str>, body: Bytes, of: Sealed) -> Result<(), Reason> {
        let room = room_for(1, body.len() as u64);
        let reservation = match of {
            Sealed::Object => self.spool.reserve_to_prepare(room)?,
            Sealed::Digest | Sealed::Index => self.spool.reserve_to_drain(room)?,
        };
        let record = Record { kind: RecordKind::Seal, holders: self.holders.clone(), body };
        let transaction = Transaction { account: account.clone(), records: vec![record] };
        // a failed commit poisons the spool, and the process ends
        self.spool.enqueue(transaction, reservation, Box::new(|_| {}));
        Ok(())
    }

    fn chains(&self) -> BoxFuture<'static, io::Result<Option<Vec<u8>>>> {
        let (tasks, path) = (self.tasks.clone(), self.chains.clone());
        Box::pin(async move {
            let read = move || match std::fs::read(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
                Ok(bytes) => Ok(Some(bytes)),
            };
            blocking(&*tasks, "chain positions", read).await.unwrap_or_else(|| Err(io::Error::other(SHUTTING)))
        })
    }

    fn keep_chains(&self, bytes: Vec<u8>) -> BoxFuture<'static, io::Result<()>> {
        let (tasks, path) = (self.tasks.clone(), self.chains.clone());
        Box::pin(async move {
            let write = move || files::replace(&path, &bytes);
            blocking(&*tasks, "chain positions", write).await.unwrap_or_else(|| Err(io::Error::other(SHUTTING)))
        })
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

    fn pending(&self) -> Pending {
        let status = self.spool.status();
        let ours = status.consumers.iter().find(|consumer| consumer.name == self.holder);
        ours.map_or_else(Pending::default, |ours| Pending { bytes: ours.bytes, oldest: ours.oldest })
    }
}
