//! [`HistoryStore`]: the SQLite file with ended runs and failing spans, so that a restart at night does not cost the
//! morning's report. Runs are kept for 48 hours with their calls, and as one small row each for longer if configured.
//! The file holds only data that a third party may see; samples are encrypted as well. It is at most 256 MiB; beyond
//! that the account with most data loses its oldest. A full disk deletes nothing. A file that is damaged, of another
//! version or foreign is moved aside, never overwritten; a file that can't be opened for any other reason stays. Only
//! pages and reports depend on its contents. `src/app/history_recorder.rs` decides when to write.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Statement, params};

use super::failures::{DAY, FailureCount, FailureKey, FailureSample, GROUPINGS, MAX_SAMPLES, RETENTION};
use super::former_file;
use super::seal::SampleSealer;
use kernel::clock::MAX_CLOCK_STEP;
use kernel::hex;
use kernel::rng::Rng;
use pipeline::spool::SpoolKey;
use runs::{EndedRuns, RunDetail, RunRecord, RunView, decode_run, encode_run};

/// The file's application id: "toll".
const APPLICATION: i64 = 0x746f_6c6c;
const VERSION: i64 = 2;
/// Maximum number of pages of 4 KiB: 256 MiB.
const MAX_PAGES: i64 = 65_536;
/// Maximum number of runs, and of runs with their calls; the file is trimmed once it holds a tenth more.
pub(super) const MAX_RUNS: usize = 500_000;
pub(super) const MAX_DETAILS: usize = 50_000;
const COMPRESSION_LEVEL: i32 = 3;
/// How long erased runs stay refused, ns: longer than any run is kept.
const ERASED_FOR: u64 = 500 * DAY;
/// Largest detail (the JSON of a run with its steps), bytes.
const MAX_DETAIL_BYTES: usize = 4 << 20;

/// Must be set before the first read: otherwise the WAL index is a memory-mapped file, and a mapped file on a full disk
/// kills the process (SIGBUS). <https://www.sqlite.org/wal.html#use_of_wal_without_shared_memory>
const EXCLUSIVE_LOCK: &str = "PRAGMA locking_mode = EXCLUSIVE";
const SETUP: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA temp_store = MEMORY;
    PRAGMA secure_delete = ON;
    PRAGMA cache_size = -1024;
    PRAGMA wal_autocheckpoint = 256;
";

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS runs (at INTEGER NOT NULL, id INTEGER NOT NULL, account TEXT NOT NULL, record BLOB NOT NULL, heard INTEGER NOT NULL, PRIMARY KEY (at, id)) WITHOUT ROWID;
    CREATE UNIQUE INDEX IF NOT EXISTS runs_id ON runs (id);
    CREATE TABLE IF NOT EXISTS details (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, account TEXT NOT NULL, detail BLOB NOT NULL);
    CREATE INDEX IF NOT EXISTS details_at ON details (at);
    CREATE TABLE IF NOT EXISTS earlier_parts (id INTEGER PRIMARY KEY, heard INTEGER NOT NULL, record BLOB NOT NULL, detail BLOB);
    CREATE TABLE IF NOT EXISTS erased (id INTEGER PRIMARY KEY, at INTEGER NOT NULL);
    CREATE TRIGGER IF NOT EXISTS detail_of_run AFTER DELETE ON runs BEGIN DELETE FROM details WHERE id = OLD.id; DELETE FROM earlier_parts WHERE id = OLD.id; END;
    CREATE TRIGGER IF NOT EXISTS erased_run BEFORE INSERT ON runs WHEN EXISTS (SELECT 1 FROM erased WHERE id = NEW.id) BEGIN SELECT RAISE(IGNORE); END;
    CREATE TRIGGER IF NOT EXISTS erased_detail BEFORE INSERT ON details WHEN EXISTS (SELECT 1 FROM erased WHERE id = NEW.id) BEGIN SELECT RAISE(IGNORE); END;
    CREATE TABLE IF NOT EXISTS failures (slot INTEGER NOT NULL, key TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (slot, key)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS samples (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, sealed BLOB NOT NULL, account TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS samples_at ON samples (at);
";

/// The rows of a table with their account and size.
const EACH_RUN: &str = "SELECT id, at, account, length(record) + 40 AS size FROM runs";
const EACH_DETAIL: &str = "SELECT id, at, account, length(detail) AS size FROM details";
const EACH_SAMPLE: &str = "SELECT id, at, account, length(sealed) AS size FROM samples";

/// Why the file could not be used. The file stays unchanged.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file can't be opened, created or read now: a full disk, no permission, another process that has it open.
    #[error("can't use {}: {source}", path.display())]
    Unusable { path: PathBuf, source: rusqlite::Error },
    /// The file is damaged or of another version, and can't be moved aside.
    #[error("can't move {} aside: {source}", path.display())]
    NotMoved {
        /// The file or one of its companions.
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    NotWritten(#[from] rusqlite::Error),
    #[error("the history file is not open")]
    Closed,
}

/// Data to be written in one transaction.
#[derive(Default)]
pub struct HistoryWrite {
    pub runs: EndedRuns,
    /// Current counts; 0 deletes the count.
    pub counts: Vec<FailureCount>,
    pub samples: Vec<Arc<FailureSample>>,
}

impl HistoryWrite {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.runs.ended.is_empty() && self.runs.removed.is_empty() && self.counts.is_empty() && self.samples.is_empty()
    }
}

/// An open file.
pub struct HistoryStore {
    pub(super) db: Connection,
    /// `None`: samples are not written.
    sealer: Option<SampleSealer>,
    pub(super) max_pages: i64,
    /// How long the rows of runs are kept, ns, and their calls.
    keep_runs: u64,
    keep_calls: u64,
    /// The time up to which expiry has come, ns. It follows the clock by at most [`MAX_CLOCK_STEP`] a write, so that a
    /// clock that jumps ahead for a moment expires nothing; 0 before the first write.
    pub(super) clock: u64,
}

/// An opened file, and the failing spans in it.
pub struct OpenedHistory {
    pub store: HistoryStore,
    /// Counts of failing spans.
    pub counts: Vec<FailureCount>,
    /// Samples of failing spans.
    pub samples: Vec<FailureSample>,
    /// New path of a damaged or foreign file that was moved aside.
    pub moved_aside: Option<PathBuf>,
}

/// Times are stored in ms, because SQLite's integers are signed: not all `u64` of ns would fit.
fn to_millis(ns: u64) -> i64 {
    i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX)
}

impl HistoryStore {
    /// Opens or creates the file. `keys`: the spool's keys; a new file's samples are sealed with the first one. Rows of
    /// runs are kept for `keep_runs` ns, at least for [`RETENTION`].
    ///
    /// # Errors
    /// The file can be neither opened nor created now ([`StoreError::Unusable`], [`StoreError::NotMoved`]).
    pub fn open(
        path: &Path,
        keys: &[SpoolKey],
        rng: &Arc<dyn Rng>,
        now: u64,
        keep_runs: u64,
    ) -> Result<OpenedHistory, StoreError> {
        let unusable = |source| StoreError::Unusable { path: path.to_owned(), source };
        let opened = match Self::load_file(path, keys, rng, now) {
            Err(error) if is_damaged_or_foreign(&error) => {
                let aside = move_aside(path, now)?;
                let opened = Self::load_file(path, keys, rng, now).map_err(unusable)?;
                Ok(OpenedHistory { moved_aside: aside, ..opened })
            }
            loaded => loaded.map_err(unusable),
        };
        opened.map(|mut opened| {
            opened.store.keep_runs = keep_runs.max(RETENTION);
            opened
        })
    }

    /// A store without a file.
    #[cfg(any(test, feature = "testing"))]
    #[allow(clippy::expect_used, reason = "test support")]
    pub fn in_memory() -> Self {
        let db = Connection::open_in_memory().expect("memory");
        db.execute_batch(TABLES).expect("tables");
        Self { db, sealer: None, max_pages: MAX_PAGES, keep_runs: u64::MAX, keep_calls: u64::MAX, clock: 0 }
    }

    fn load_file(
        path: &Path,
        keys: &[SpoolKey],
        rng: &Arc<dyn Rng>,
        now: u64,
    ) -> Result<OpenedHistory, rusqlite::Error> {
        let mut store = Self {
            db: open_checked(path)?,
            sealer: None,
            max_pages: MAX_PAGES,
            keep_runs: RETENTION,
            keep_calls: RETENTION,
            clock: 0,
        };
        let are_samples_readable = store.set_up_sealer(keys, rng)?;
        let open_sample = |sealed: Vec<u8>| serde_json::from_slice(&store.sealer.as_ref()?.open(&sealed)?).ok();
        let counts = store.read_counts(now)?;
        let query = "SELECT sealed FROM samples WHERE at >= ?1 ORDER BY id";
        let samples = if are_samples_readable { store.read_blobs(query, now, open_sample)? } else { Vec::new() };
        if !are_samples_readable {
            store.db.execute("DELETE FROM samples", [])?;
        }
        Ok(OpenedHistory { store, counts, samples, moved_aside: None })
    }

    /// Sets up the sealer. Returns whether the stored samples are readable; otherwise a new salt is stored.
    fn set_up_sealer(&mut self, keys: &[SpoolKey], rng: &Arc<dyn Rng>) -> Result<bool, rusqlite::Error> {
        let stored_value = |name: &str| -> Result<Option<Vec<u8>>, rusqlite::Error> {
            self.db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
        };
        let salt = stored_value("salt")?.and_then(|salt| <[u8; 32]>::try_from(salt).ok());
        let key_id = stored_value("key")?;
        let has_id = |key: &&SpoolKey| key_id.as_deref() == Some(key.id().as_bytes());
        if let (Some(salt), Some(key)) = (salt, keys.iter().find(has_id)) {
            self.sealer = SampleSealer::new(key, &salt, Arc::clone(rng));
            return Ok(true);
        }
        let Some(key) = keys.first() else { return Ok(false) };
        let mut salt = [0; 32];
        rng.fill(&mut salt);
        let insert = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)";
        self.db.execute(insert, params!["salt", salt.as_slice()])?;
        self.db.execute(insert, params!["key", key.id().as_bytes()])?;
        self.sealer = SampleSealer::new(key, &salt, Arc::clone(rng));
        Ok(false)
    }

    /// The blobs of `query` whose time is within the retention, parsed; those that can't be are skipped.
    fn read_blobs<T>(
        &self,
        query: &str,
        now: u64,
        parse: impl Fn(Vec<u8>) -> Option<T>,
    ) -> Result<Vec<T>, rusqlite::Error> {
        let mut statement = self.db.prepare(query)?;
        let blobs = statement.query_map([to_millis(now.saturating_sub(RETENTION))], |row| row.get::<_, Vec<u8>>(0))?;
        blobs.filter_map(|row| row.map(&parse).transpose()).collect()
    }

    fn read_counts(&self, now: u64) -> Result<Vec<FailureCount>, rusqlite::Error> {
        let mut statement = self.db.prepare("SELECT slot, key, count FROM failures WHERE slot >= ?1")?;
        let counts = statement.query_map([to_millis(now.saturating_sub(RETENTION))], |row| {
            let (slot, key, count): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let stored_count = parse_count_key(&key).map(|(key, account)| FailureCount {
                account,
                key,
                slot: u64::try_from(slot).unwrap_or(0).saturating_mul(1_000_000),
                count: u64::try_from(count).unwrap_or(0),
            });
            Ok(stored_count)
        })?;
        counts.filter_map(Result::transpose).collect()
    }

    /// Writes in one transaction, and deletes what is too old. If the file is at its size limit, at least a tenth of it
    /// is deleted first, and the write is tried again.
    ///
    /// # Errors
    /// [`StoreError::NotWritten`]; then nothing was written or deleted.
    pub fn write(&mut self, write: &HistoryWrite, now: u64) -> Result<(), StoreError> {
        let rows = HistoryRows::from_write(write, self.sealer.as_ref(), now);
        match self.write_rows(&rows, None, now) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) && self.is_near_limit(rows.bytes) => {
                Ok(self.write_rows(&rows, Some(rows.bytes.saturating_mul(2)), now)?)
            }
            result => Ok(result?),
        }
    }

    /// Whether this many bytes may exceed the file's size limit. A full disk gives the same error, but deleting runs
    /// would not help there.
    fn is_near_limit(&self, bytes: i64) -> bool {
        let read = |pragma: &str| self.db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0)).ok();
        let page_figures = || Some((read("page_count")?, read("freelist_count")?, read("page_size")?));
        let room = page_figures().map(|(used, free, size)| (self.max_pages - used + free).saturating_mul(size));
        room.is_some_and(|room| room < bytes.saturating_mul(3).saturating_add(1 << 20))
    }

    /// `room`: delete this many bytes of calls before writing, or a tenth if that is more, and a tenth of the samples,
    /// and of the runs if their calls are not enough; `None`: delete none.
    fn write_rows(&mut self, rows: &HistoryRows, room: Option<i64>, now: u64) -> Result<(), rusqlite::Error> {
        let clock = match self.clock {
            0 => self.read_newest()?.map_or(now, |newest| now.min(newest)),
            clock => now.min(clock.saturating_add(MAX_CLOCK_STEP)),
        };
        let before = |kept: u64| to_millis(clock.saturating_sub(kept));
        let oldest = before(RETENTION);
        let transaction = self.db.transaction()?;
        transaction.execute("DELETE FROM runs WHERE at < ?1", [before(self.keep_runs)])?;
        transaction.execute("DELETE FROM details WHERE at < ?1", [before(self.keep_calls)])?;
        let nanos = before(self.keep_calls).saturating_mul(1_000_000);
        transaction
            .execute("UPDATE earlier_parts SET detail = NULL WHERE heard < ?1 AND detail IS NOT NULL", [nanos])?;
        transaction.execute("DELETE FROM erased WHERE at < ?1", [before(ERASED_FOR)])?;
        transaction.execute("DELETE FROM failures WHERE slot < ?1", [oldest])?;
        transaction.execute("DELETE FROM samples WHERE at < ?1", [oldest])?;
        if let Some(room) = room {
            let calls = format!("SELECT COALESCE(SUM(size), 0) FROM ({EACH_DETAIL})");
            let calls: i64 = transaction.query_row(&calls, [], |row| row.get(0))?;
            make_room(&transaction, "details", EACH_DETAIL, room)?;
            if calls < room {
                make_room(&transaction, "runs", EACH_RUN, 0)?;
            }
            make_room(&transaction, "samples", EACH_SAMPLE, 0)?;
        }
        rows.put(&transaction)?;
        limit_rows(&transaction, "runs", EACH_RUN, MAX_RUNS, MAX_RUNS / 10)?;
        limit_rows(&transaction, "details", EACH_DETAIL, MAX_DETAILS, MAX_DETAILS / 10)?;
        limit_rows(&transaction, "samples", EACH_SAMPLE, MAX_SAMPLES, 0)?;
        transaction.commit()?;
        self.clock = clock;
        Ok(())
    }

    /// When the newest run was written, ns.
    fn read_newest(&self) -> Result<Option<u64>, rusqlite::Error> {
        let newest = self.db.query_row("SELECT MAX(at) FROM runs", [], |row| row.get::<_, Option<i64>>(0))?;
        Ok(newest.map(|millis| millis.unsigned_abs().saturating_mul(1_000_000)))
    }

    /// Calls `visit` with the key and record of each run that was written later than `from`. A row that can't be read
    /// is left out.
    pub(super) fn visit_runs(
        &self,
        from: u64,
        visit: &mut dyn FnMut(u64, &RunRecord<'_>),
    ) -> Result<(), rusqlite::Error> {
        let mut statement = self.db.prepare("SELECT id, record FROM runs WHERE at > ?1")?;
        let mut rows = statement.query([to_millis(from)])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let record = row.get_ref(1)?.as_blob().ok().and_then(RunRecord::decode);
            if let Some(record) = record {
                visit(id.cast_unsigned(), &record);
            }
        }
        Ok(())
    }

    /// Deletes runs at once, whatever their time, overwrites their bytes in the file, and takes them no more.
    pub(super) fn erase(&mut self, keys: &[u64], now: u64) -> Result<(), StoreError> {
        let transaction = self.db.transaction()?;
        {
            let mut insert = transaction.prepare("INSERT OR REPLACE INTO erased VALUES (?1, ?2)")?;
            for key in keys {
                insert.execute(params![key.cast_signed(), to_millis(now)])?;
            }
        }
        let removed = keys.iter().copied().map(u64::cast_signed).collect();
        HistoryRows { removed, ..HistoryRows::default() }.put(&transaction)?;
        transaction.commit()?;
        // the log still holds pages with the rows until a checkpoint
        Ok(self.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?)
    }

    /// One run, with its calls if they are kept.
    pub(super) fn read_run(&self, key: u64) -> Option<RunDetail> {
        let query = "SELECT record, detail FROM runs LEFT JOIN details USING (id) WHERE id = ?1";
        let stored = self.db.query_row(query, [key.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?))).ok()?;
        decode_detail(stored)
    }

    /// Accounts that have, or had, runs.
    pub(super) fn accounts(&self) -> Vec<String> {
        let read = || {
            let mut statement = self.db.prepare("SELECT name FROM accounts")?;
            let names = statement.query_map([], |row| row.get(0))?;
            names.collect::<Result<Vec<String>, rusqlite::Error>>()
        };
        read().unwrap_or_default()
    }
}

/// The stored forms of a run, and of the run with its calls (compressed).
type StoredRun = (Vec<u8>, Option<Vec<u8>>);

/// A run without its calls if these can't be read.
fn decode_detail((record, packed): StoredRun) -> Option<RunDetail> {
    let view = decode_run(&record)?;
    let unpack = |packed: Vec<u8>| {
        let detail: RunDetail = postcard::from_bytes(&zstd::bulk::decompress(&packed, MAX_DETAIL_BYTES).ok()?).ok()?;
        // these three are not in a view's own stored form
        let (operation, continues) = (view.operation.clone(), view.continues.clone());
        let totals = view.totals.clone();
        Some(RunDetail { view: RunView { operation, continues, totals, ..detail.view }, ..detail })
    };
    packed.and_then(unpack).or_else(|| {
        let step_count = view.totals.calls() + view.totals.failed_calls + view.totals.tool_calls();
        Some(RunDetail { view, steps: None, step_count, first_heard: 0, heard: 0 })
    })
}

fn encode_detail(detail: &RunDetail, now: u64) -> StoredRun {
    let bytes = postcard::to_allocvec(detail).ok().filter(|bytes| bytes.len() <= MAX_DETAIL_BYTES);
    let packed = bytes.filter(|_| detail.steps.is_some());
    (encode_run(&detail.view, now), packed.and_then(|bytes| zstd::bulk::compress(&bytes, COMPRESSION_LEVEL).ok()))
}

/// A run as it is written.
struct RunRow {
    id: i64,
    /// Milliseconds: since when its time to be kept runs.
    at: i64,
    account: String,
    stored: StoredRun,
    /// When the gateway first and last heard of its group, ns; 0 = unknown.
    first_heard: i64,
    heard: i64,
    now: u64,
}

impl RunRow {
    fn new(detail: &RunDetail, now: u64) -> Self {
        let to_nanos = |time: u64| i64::try_from(time).unwrap_or(0);
        Self {
            id: detail.view.key().cast_signed(),
            at: to_millis(if detail.heard == 0 { now } else { detail.heard.min(now) }),
            account: detail.view.account.clone(),
            stored: encode_detail(detail, now),
            first_heard: to_nanos(detail.first_heard),
            heard: to_nanos(detail.heard),
            now,
        }
    }
}

/// The parts of runs before their groups were evicted.
struct EarlierParts<'c> {
    keep: Statement<'c>,
    forget: Statement<'c>,
    find: Statement<'c>,
}

impl<'c> EarlierParts<'c> {
    fn new(db: &'c Connection) -> Result<Self, rusqlite::Error> {
        let keep = "INSERT OR REPLACE INTO earlier_parts SELECT id, heard, record, detail FROM runs \
            LEFT JOIN details USING (id) WHERE id = ?1 AND heard BETWEEN 1 AND ?2 - 1";
        Ok(Self {
            keep: db.prepare(keep)?,
            forget: db.prepare("DELETE FROM earlier_parts WHERE id = ?1 AND heard >= ?2")?,
            find: db.prepare("SELECT record, detail FROM earlier_parts WHERE id = ?1")?,
        })
    }

    /// The whole run, if the file has an earlier part of it. A group that began before the last item of that part came
    /// contains it.
    fn join(&mut self, run: &RunRow) -> Result<Option<StoredRun>, rusqlite::Error> {
        if run.first_heard == 0 {
            return Ok(None);
        }
        self.keep.execute([run.id, run.first_heard])?;
        self.forget.execute([run.id, run.first_heard])?;
        let earlier = self.find.query_row([run.id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let join = |earlier: StoredRun| {
            let (earlier, later) = (decode_detail(earlier)?, decode_detail(run.stored.clone())?);
            Some(encode_detail(&earlier.with_later_part(later), run.now))
        };
        Ok(earlier.and_then(join))
    }
}

/// Rows as they are written.
#[derive(Default)]
struct HistoryRows {
    runs: Vec<RunRow>,
    /// Keys of runs to delete.
    removed: Vec<i64>,
    /// Start of the slot (milliseconds), key, count.
    counts: Vec<(i64, String, i64)>,
    /// Milliseconds, encrypted sample, account.
    samples: Vec<(i64, Vec<u8>, Arc<str>)>,
    /// Lower bound of the bytes needed.
    bytes: i64,
}

impl HistoryRows {
    fn from_write(write: &HistoryWrite, sealer: Option<&SampleSealer>, now: u64) -> Self {
        let count_row = |count: &FailureCount| {
            (to_millis(count.slot), count_key(count), i64::try_from(count.count).unwrap_or(i64::MAX))
        };
        let sample_row = |sample: &Arc<FailureSample>| {
            let sealed = sealer?.seal(&serde_json::to_vec(&**sample).ok()?)?;
            Some((to_millis(sample.at), sealed, Arc::clone(&sample.account)))
        };
        let runs: Vec<RunRow> = write.runs.ended.iter().map(|(_, detail)| RunRow::new(detail, now)).collect();
        let counts: Vec<_> = write.counts.iter().map(count_row).collect();
        let samples: Vec<_> = write.samples.iter().filter_map(sample_row).collect();
        let bytes = runs.iter().map(|RunRow { stored, .. }| stored.0.len() + stored.1.as_ref().map_or(0, Vec::len));
        let bytes = bytes.chain(counts.iter().map(|(_, key, _)| key.len()));
        let bytes: usize = bytes.chain(samples.iter().map(|(_, sealed, _)| sealed.len())).sum();
        let removed = write.runs.removed.iter().map(|key| key.cast_signed()).collect();
        Self { runs, removed, counts, samples, bytes: i64::try_from(bytes).unwrap_or(i64::MAX) }
    }

    fn put(&self, db: &Connection) -> Result<(), rusqlite::Error> {
        let mut delete_run = db.prepare("DELETE FROM runs WHERE id = ?1")?;
        let mut delete_detail = db.prepare("DELETE FROM details WHERE id = ?1")?;
        for id in &self.removed {
            delete_run.execute([id])?;
            delete_detail.execute([id])?;
        }
        let mut insert_account = db.prepare("INSERT OR IGNORE INTO accounts VALUES (?1)")?;
        let mut insert_run = db.prepare("INSERT OR REPLACE INTO runs VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let mut insert_detail = db.prepare("INSERT OR REPLACE INTO details VALUES (?1, ?2, ?3, ?4)")?;
        let mut find_same = db.prepare("SELECT at FROM runs WHERE id = ?1 AND record = ?2")?;
        let mut earlier_parts = EarlierParts::new(db)?;
        for run in &self.runs {
            let RunRow { id, at, account, stored, heard, .. } = run;
            let joined = earlier_parts.join(run)?;
            let (record, detail) = joined.as_ref().unwrap_or(stored);
            // a start gives every run again that its state still has; one that did not change keeps its time
            let same = find_same.query_row(params![id, record], |row| row.get::<_, i64>(0)).optional()?;
            let at = &same.map_or(*at, |same| same.min(*at));
            insert_account.execute([account])?;
            insert_run.execute(params![at, id, account, record, heard])?;
            if let Some(detail) = detail {
                insert_detail.execute(params![id, at, account, detail])?;
            }
        }
        let mut insert_count = db.prepare("INSERT OR REPLACE INTO failures VALUES (?1, ?2, ?3)")?;
        let mut delete_count = db.prepare("DELETE FROM failures WHERE slot = ?1 AND key = ?2")?;
        for (slot, key, count) in &self.counts {
            if *count == 0 {
                delete_count.execute(params![slot, key])?
            } else {
                insert_count.execute(params![slot, key, count])?
            };
        }
        let mut insert_sample = db.prepare("INSERT INTO samples (at, sealed, account) VALUES (?1, ?2, ?3)")?;
        for (at, sealed, account) in &self.samples {
            insert_sample.execute(params![at, sealed, &**account])?;
        }
        Ok(())
    }
}

/// Key of a count in the file: its grouping values and the account.
fn count_key(count: &FailureCount) -> String {
    // Without an account the key is as older versions wrote it.
    let account = (!count.account.is_empty()).then_some(&count.account);
    serde_json::to_string(&count.key.iter().chain(account).collect::<Vec<_>>()).unwrap_or_default()
}

/// The grouping values and the account of a count's key.
fn parse_count_key(text: &str) -> Option<(FailureKey, Arc<str>)> {
    let mut values: Vec<Arc<str>> = serde_json::from_str(text).ok()?;
    let account = if values.len() > GROUPINGS.len() { values.pop()? } else { "".into() };
    Some((FailureKey::try_from(values).ok()?, account))
}

/// Deletes a tenth of the bytes, or `room` bytes if that is more: the oldest rows of the accounts that use most bytes.
/// Each row is ranked by the bytes that its account uses up to this row, latest rows first.
fn make_room(db: &Connection, table: &str, each: &str, room: i64) -> Result<(), rusqlite::Error> {
    let with_bytes_used = format!(
        "SELECT id, size, SUM(size) OVER (PARTITION BY account ORDER BY at DESC, id DESC) AS used FROM ({each})"
    );
    let with_bytes_before =
        format!("SELECT id, SUM(size) OVER (ORDER BY used DESC, id) - size AS before FROM ({with_bytes_used})");
    let excess =
        format!("SELECT id FROM ({with_bytes_before}) WHERE before < MAX(?1, (SELECT SUM(size) / 10 FROM ({each})))");
    db.execute(&format!("DELETE FROM {table} WHERE id IN ({excess})"), [room]).map(drop)
}

/// Deletes the rows beyond `max_rows`, once they are more than `max_excess`: the oldest of the accounts that have most.
fn limit_rows(
    db: &Connection,
    table: &str,
    each: &str,
    max_rows: usize,
    max_excess: usize,
) -> Result<(), rusqlite::Error> {
    let count: i64 = db.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0))?;
    let to_i64 = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    if count <= to_i64(max_rows).saturating_add(to_i64(max_excess)) {
        return Ok(());
    }
    let ranked = format!(
        "SELECT id, at, ROW_NUMBER() OVER (PARTITION BY account ORDER BY at DESC, id DESC) AS place FROM ({each})"
    );
    let excess = format!("SELECT id FROM ({ranked}) ORDER BY place DESC, at, id LIMIT ?1");
    db.execute(&format!("DELETE FROM {table} WHERE id IN ({excess})"), [count.saturating_sub(to_i64(max_rows))])
        .map(drop)
}

/// Whether an error means that the file is damaged, of another version, or foreign. Otherwise it may be intact.
pub(super) fn is_damaged_or_foreign(error: &rusqlite::Error) -> bool {
    let damaged = [Some(ErrorCode::DatabaseCorrupt), Some(ErrorCode::NotADatabase)];
    damaged.contains(&error.sqlite_error_code()) || matches!(error, rusqlite::Error::InvalidQuery)
}

/// Interprets the result of SQLite's check. A page that could not be read may be intact, so a read failure counts as an
/// I/O error.
pub(super) fn interpret_check(result: &str) -> Result<(), rusqlite::Error> {
    let code_text = result.split("unable to get the page. error code=").nth(1);
    let code = code_text.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    match code {
        _ if result == "ok" => Ok(()),
        Some(code) => Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)),
        None => Err(rusqlite::Error::InvalidQuery),
    }
}

/// Opens the file and checks that it is tollgate's, intact, and not of another version.
fn open_checked(path: &Path) -> Result<Connection, rusqlite::Error> {
    // The contents are only for the user who runs the gateway.
    drop(fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path));
    let db = Connection::open(path)?;
    db.execute_batch(EXCLUSIVE_LOCK)?;
    let read = |pragma: &str| db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0));
    let (application, version) = (read("application_id")?, read("user_version")?);
    let tables: i64 = db.query_row("SELECT COUNT(*) FROM sqlite_master", [], |row| row.get(0))?;
    if tables > 0 && (application != APPLICATION || ![VERSION, former_file::VERSION].contains(&version)) {
        return Err(rusqlite::Error::InvalidQuery);
    }
    interpret_check(&db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?)?;
    db.execute_batch(SETUP)?;
    db.execute_batch(&format!("PRAGMA max_page_count = {MAX_PAGES}"))?;
    // An intact file must be readable from a full disk, so nothing is written that exists already.
    let transaction = db.unchecked_transaction()?;
    let is_former = tables > 0 && version == former_file::VERSION;
    let former_runs = if is_former { former_file::take_runs(&transaction)? } else { Vec::new() };
    if tables == 0 || is_former {
        let pragmas = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}");
        transaction.execute_batch(&pragmas)?;
    }
    transaction.execute_batch(TABLES)?;
    let row = |view: RunView| {
        let last = view.last;
        RunRow::new(&RunDetail { view, steps: None, step_count: 0, first_heard: 0, heard: 0 }, last)
    };
    let runs = former_runs.into_iter().map(row).collect();
    HistoryRows { runs, ..HistoryRows::default() }.put(&transaction)?;
    transaction.commit()?;
    Ok(db)
}

/// Moves the file and its companions aside; returns the new path.
fn move_aside(path: &Path, now: u64) -> Result<Option<PathBuf>, StoreError> {
    let append = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = append(path, &format!(".aside-{}", hex::encode(&(now / 1_000_000).to_be_bytes())));
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let (from, to) = (append(path, suffix), append(&aside, suffix));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            moved => moved.map_err(|source| StoreError::NotMoved { path: from, source })?,
        }
    }
    Ok(Some(aside))
}
