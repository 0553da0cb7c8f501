//! [`CheckpointStore`]: the processors' state on disk, and its recovery after a start. Committed effects count exactly
//! once, even across a crash: the state up to a position comes from the file, everything after it from the effects
//! records in the spool.
//! The file is replaced atomically. The effects records that it covers are dropped from the spool once it is durable,
//! or at the next start after a crash. It is sealed under a key of its own, derived from the spool's. A file that can't
//! be read, even in part, is logged, counted, and renamed before a new one replaces it (perhaps only its key is
//! missing); the state then starts with the effects still in the spool.

mod file;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use kernel::clock::Clock;
use kernel::rng::Rng;
use telemetry::{Counter, Gauge, Histogram, names};

use super::disk::{Directory, Disk, DiskFile};
use super::effects::{self, Applier, ProcessorSnapshot};
use super::engine::EngineContext;
use super::sequencer::CHECKPOINT;
use super::spool::{RecordKind, RecordSeq, Spool, SpoolKey, SpoolReadError};

/// Name of the file.
pub const FILE: &str = "checkpoint";
const DRAFT_FILE: &str = "checkpoint.new";
/// New name of an unreadable checkpoint. Only the newest one is kept.
const UNREADABLE_FILE: &str = "checkpoint.unreadable";
/// A larger file was not written by tollgate.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Bytes that a file is expected to have at least.
const MIN_CAPACITY: usize = 64 << 10;
/// Bytes and records of one read of the replay.
const REPLAY_BYTES: usize = 4 << 20;
const REPLAY_RECORDS: usize = 1024;

/// Writes and restores the processors' state.
pub struct CheckpointStore {
    directory: Arc<dyn Directory>,
    keys: Vec<SpoolKey>,
    rng: Arc<dyn Rng>,
    clock: Arc<dyn Clock>,
    spool: Arc<Spool>,
    applier: Arc<Applier>,
    /// The lock is held while a file is written.
    written: Mutex<WrittenFile>,
    /// The file on disk could not be read.
    unreadable: AtomicBool,
    write_seconds: Histogram,
    file_bytes: Gauge,
    write_failures: Counter,
    read_failures: Counter,
}

/// Result of a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreResult {
    /// The file was read.
    pub file: bool,
    /// Number of effects records applied from the spool.
    pub replayed: u64,
}

/// The file on disk.
#[derive(Default)]
struct WrittenFile {
    /// The last effects record that it covers.
    applied: Option<RecordSeq>,
    bytes: usize,
}

/// The file as found by a start.
#[derive(Default)]
struct StoredCheckpoint {
    /// Its snapshot, if that is readable.
    snapshot: Option<ProcessorSnapshot>,
    /// Size of the file, in bytes.
    bytes: u64,
    /// Whether the first key sealed it.
    has_present_key: bool,
}

impl CheckpointStore {
    /// Opens the folder `path`, creating it if it does not exist. The first key encrypts, all of them decrypt.
    pub fn open(
        context: &EngineContext,
        disk: &dyn Disk,
        path: &std::path::Path,
        keys: &[SpoolKey],
        applier: Arc<Applier>,
    ) -> io::Result<Self> {
        let (meter, failures) = (&context.meter, &names::CHECKPOINT_FAILURES);
        Ok(Self {
            directory: disk.directory(path)?,
            keys: keys.to_vec(),
            rng: Arc::clone(&context.rng),
            clock: Arc::clone(&context.clock),
            spool: Arc::clone(&context.spool),
            applier,
            written: Mutex::default(),
            unreadable: AtomicBool::new(false),
            write_seconds: meter.histogram(&names::CHECKPOINT_SECONDS, &[]),
            file_bytes: meter.gauge(&names::CHECKPOINT_BYTES, &[]),
            write_failures: meter.counter(failures, &[("step", "write")]),
            read_failures: meter.counter(failures, &[("step", "read")]),
        })
    }

    /// Restores the processors' state up to the end of the spool. To be called once, before anything is admitted.
    ///
    /// # Errors
    /// The spool or the file can't be read at the moment; a start without them would lose their state for good. A
    /// damaged file is not an error.
    pub fn restore(&self) -> Result<RestoreResult, SpoolReadError> {
        let mut restored = RestoreResult::default();
        let StoredCheckpoint { snapshot, bytes, has_present_key } = self.read_snapshot()?;
        self.spool.reserve_free_space(CHECKPOINT, bytes);
        if let Some(mut snapshot) = snapshot {
            if snapshot.applied.is_some_and(|applied| applied >= self.spool.status().next) {
                // The position belongs to another spool and is meaningless here.
                snapshot.applied = None;
            }
            for processor in self.applier.restore(&snapshot) {
                tracing::error!(
                    processor = &*processor,
                    "its part of the checkpoint is damaged or was written by a newer tollgate, so counts may be too low; \
                     the file will be renamed to `{UNREADABLE_FILE}` before the next checkpoint is written"
                );
                self.read_failures.increment(1);
                self.unreadable.store(true, Ordering::SeqCst);
            }
            // A file sealed with an older key is written again soon, or that key could never be taken away.
            self.written.lock().applied = snapshot.applied.filter(|_| has_present_key);
            if let Some(applied) = snapshot.applied {
                // A crash may have prevented this, and an idle gateway has no later write that would do it.
                self.spool.drop_pending(CHECKPOINT, Some(applied));
            }
            restored.file = true;
        }
        restored.replayed = self.replay_effects()?;
        Ok(restored)
    }

    /// Applies the effects records after the restored position; returns their number.
    fn replay_effects(&self) -> Result<u64, SpoolReadError> {
        let (mut after, mut replayed) = (self.applier.applied(), 0);
        loop {
            let records = match self.spool.read(CHECKPOINT, after, REPLAY_BYTES, REPLAY_RECORDS) {
                Ok(records) => records,
                Err(SpoolReadError::Damaged(seq)) => {
                    tracing::error!(
                        record = seq.0,
                        "an effects record in the spool is damaged and is skipped; counts may be too low"
                    );
                    self.read_failures.increment(1);
                    // Advances past the record, so that the next checkpoint drops it from the spool.
                    self.applier.apply(&[], Some(seq));
                    after = Some(seq);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(last) = records.last().map(|record| record.seq) else { return Ok(replayed) };
            for record in records.iter().filter(|record| record.kind == RecordKind::Effects) {
                match effects::decode(&record.body) {
                    Some(effects) => {
                        self.applier.apply(&effects, Some(record.seq));
                        replayed += 1;
                    }
                    None => {
                        tracing::error!(
                            record = record.seq.0,
                            "an effects record has an unknown version and is skipped; counts may be too low"
                        );
                        self.read_failures.increment(1);
                        self.applier.apply(&[], Some(record.seq));
                    }
                }
            }
            after = Some(last);
        }
    }

    /// Writes the current state if it changed, and drops the effects records that it covers from the spool.
    ///
    /// # Errors
    /// The file system's. The previous file and all effects records after it are then still there.
    pub fn write(&self) -> io::Result<()> {
        let mut written = self.written.lock();
        if self.applier.applied() <= written.applied {
            return Ok(());
        }
        let began = self.clock.monotonic();
        *written = self.replace_file(written.bytes).inspect_err(|_| self.write_failures.increment(1))?;
        if let Some(applied) = written.applied {
            self.spool.drop_pending(CHECKPOINT, Some(applied));
        }
        self.write_seconds.record(self.clock.monotonic().saturating_sub(began).as_secs_f64());
        Ok(())
    }

    /// `last_bytes`: size of the last file.
    fn replace_file(&self, last_bytes: usize) -> io::Result<WrittenFile> {
        let Some(key) = self.keys.first() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut salt = [0; 32];
        self.rng.fill(&mut salt);
        // Room for half as much again, so that a large state is not copied as it grows. Room costs nothing until it is
        // used.
        let (capacity, mut applied) = (last_bytes + last_bytes / 2 + MIN_CAPACITY, None);
        let save = |out: &mut Vec<u8>| {
            applied = self.applier.save(out)?;
            Some(())
        };
        let sealed = file::seal(key, &salt, capacity, save).ok_or(io::ErrorKind::InvalidData)?;
        if sealed.len() as u64 > MAX_FILE_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into()); // a start would refuse it
        }
        // On a volume that fills up, the next checkpoint must still fit next to this one: until it is written, the
        // effects stay in the spool.
        self.spool.reserve_free_space(CHECKPOINT, sealed.len() as u64);
        match self.directory.remove(DRAFT_FILE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if let Err(error) = self.write_draft(&sealed) {
            // Best effort: a partial draft would take the last bytes of a full volume.
            let _ = self.directory.remove(DRAFT_FILE);
            return Err(error);
        }
        self.rename_unreadable()?;
        self.directory.rename(DRAFT_FILE, FILE)?;
        self.directory.sync()?;
        self.file_bytes.set(sealed.len() as f64);
        Ok(WrittenFile { applied, bytes: sealed.len() })
    }

    /// Renames an unreadable file so that it is not overwritten. If a crash follows, the next start finds no file, and
    /// starts as this one did.
    fn rename_unreadable(&self) -> io::Result<()> {
        if !self.unreadable.load(Ordering::SeqCst) {
            return Ok(());
        }
        match self.directory.rename(FILE, UNREADABLE_FILE) {
            Ok(()) => tracing::warn!(
                "the unreadable checkpoint was renamed to `state/{UNREADABLE_FILE}` in the spool's folder"
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.unreadable.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn write_draft(&self, sealed: &[u8]) -> io::Result<()> {
        let (draft, _) = self.directory.create(DRAFT_FILE, 0)?;
        write_all(&*draft, sealed)?;
        draft.sync_data()
    }

    fn read_snapshot(&self) -> Result<StoredCheckpoint, SpoolReadError> {
        let sealed = match self.read_file(FILE) {
            Ok(Some(sealed)) => sealed,
            // After a crash between the two renames of `replace_file` there is only the draft, which was synced before.
            Ok(None) => {
                let draft = self.read_file(DRAFT_FILE).ok().flatten().unwrap_or_default();
                let bytes = draft.len() as u64;
                let snapshot = file::open(&self.keys, draft);
                return Ok(StoredCheckpoint { snapshot, bytes, ..StoredCheckpoint::default() });
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Vec::new(),
            Err(error) => {
                let text = format!(
                    "checkpoint file `{FILE}`: {error}; if the error persists, delete the file (counts will then be too low)"
                );
                return Err(SpoolReadError::Io(io::Error::new(error.kind(), text)));
            }
        };
        let has_present_key = self.keys.first().is_some_and(|key| file::names_key(key, &sealed));
        let bytes = sealed.len() as u64;
        let snapshot = file::open(&self.keys, sealed);
        if snapshot.is_none() {
            tracing::error!(
                "the checkpoint is damaged, was written by a newer tollgate, or its key is missing, so counts may be too low; it will be renamed to `{UNREADABLE_FILE}` before the next checkpoint is written"
            );
            self.read_failures.increment(1);
            self.unreadable.store(true, Ordering::SeqCst);
        }
        Ok(StoredCheckpoint { snapshot, bytes, has_present_key })
    }

    fn read_file(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match self.directory.open(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = file.size()?;
        if size > MAX_FILE_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        super::disk::read_exact_at(&*file, 0, &mut bytes)?;
        Ok(Some(bytes))
    }
}

fn write_all(file: &dyn DiskFile, mut bytes: &[u8]) -> io::Result<()> {
    let mut offset = 0;
    while !bytes.is_empty() {
        match file.write_at(offset, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                bytes = bytes.get(written..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
