//! [`HistoryStore`]: the SQLite file in which the last 48 hours survive a restart, so that a restart at night does not
//! cost the morning's report. The file holds only data that a third party may see; samples are encrypted as well. It is
//! at most 256 MiB; beyond that the account with most data loses its oldest. A full disk deletes nothing. A file that
//! is damaged, of another version or foreign is moved aside, never overwritten; a file that can't be opened for any
//! other reason stays. Only pages and reports depend on its contents. `src/app/history_recorder.rs` decides when to
//! write.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use super::entry::RunRecord;
use super::failures::{FailureCount, FailureKey, FailureSample, MAX_SAMPLES};
use super::memory::{MAX_RUNS, RETENTION};
use super::report::GROUPINGS;
use super::seal::SampleSealer;
use super::write::HistoryWrite;
use kernel::hex;
use kernel::rng::Rng;
use pipeline::spool::SpoolKey;

/// The file's application id: "toll".
const APPLICATION: i64 = 0x746f_6c6c;
const VERSION: i64 = 1;
/// Maximum number of pages of 4 KiB: 256 MiB.
const MAX_PAGES: i64 = 65_536;
/// The file is trimmed once it holds this many runs more than the maximum.
const EXCESS_RUNS: usize = 2000;
const COMPRESSION_LEVEL: i32 = 3;
/// Largest detail (the JSON of a run with its steps), bytes.
const MAX_DETAIL_BYTES: usize = 4 << 20;

/// Must be set before the first read: otherwise the WAL index is a memory-mapped file, and a mapped file on a full disk
/// kills the process (SIGBUS). <https://www.sqlite.org/wal.html#use_of_wal_without_shared_memory>
const EXCLUSIVE_LOCK: &str = "PRAGMA locking_mode = EXCLUSIVE";
const SETUP: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -1024;
    PRAGMA wal_autocheckpoint = 256;
";

const TABLES: &str = "
    BEGIN;
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS runs (key TEXT PRIMARY KEY, at INTEGER NOT NULL, entry BLOB NOT NULL, detail BLOB);
    CREATE INDEX IF NOT EXISTS runs_at ON runs (at);
    CREATE TABLE IF NOT EXISTS failures (slot INTEGER NOT NULL, key TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (slot, key)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS samples (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, sealed BLOB NOT NULL, account TEXT NOT NULL DEFAULT '');
    CREATE INDEX IF NOT EXISTS samples_at ON samples (at);
    COMMIT;
";

/// Runs with their account (the key up to the NUL) and their size.
const EACH_RUN: &str =
    "SELECT rowid AS id, at, substr(CAST(key AS BLOB), 1, instr(CAST(key AS BLOB), x'00')) AS account,
    length(key) + length(entry) + COALESCE(length(detail), 0) AS size FROM runs";
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
}

/// An open file.
pub struct HistoryStore {
    pub(super) db: Connection,
    /// `None`: samples are not written.
    sealer: Option<SampleSealer>,
    pub(super) max_pages: i64,
}

/// An opened file and its contents.
pub struct OpenedHistory {
    pub store: HistoryStore,
    pub runs: Vec<RunRecord>,
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
    /// Opens or creates the file. `keys`: the spool's keys; a new file's samples are sealed with the first one.
    ///
    /// # Errors
    /// The file can be neither opened nor created now ([`StoreError::Unusable`], [`StoreError::NotMoved`]).
    pub fn open(path: &Path, keys: &[SpoolKey], rng: &Arc<dyn Rng>, now: u64) -> Result<OpenedHistory, StoreError> {
        let unusable = |source| StoreError::Unusable { path: path.to_owned(), source };
        match Self::load_file(path, keys, rng, now) {
            Err(error) if is_damaged_or_foreign(&error) => {
                let aside = move_aside(path, now)?;
                let opened = Self::load_file(path, keys, rng, now).map_err(unusable)?;
                Ok(OpenedHistory { moved_aside: aside, ..opened })
            }
            loaded => loaded.map_err(unusable),
        }
    }

    fn load_file(
        path: &Path,
        keys: &[SpoolKey],
        rng: &Arc<dyn Rng>,
        now: u64,
    ) -> Result<OpenedHistory, rusqlite::Error> {
        let mut store = Self { db: open_checked(path)?, sealer: None, max_pages: MAX_PAGES };
        let are_samples_readable = store.set_up_sealer(keys, rng)?;
        let parse_run = |bytes: Vec<u8>| serde_json::from_slice(&bytes).ok();
        let open_sample = |sealed: Vec<u8>| serde_json::from_slice(&store.sealer.as_ref()?.open(&sealed)?).ok();
        let runs = store.read_blobs("SELECT entry FROM runs WHERE at >= ?1 ORDER BY rowid", now, parse_run)?;
        let counts = store.read_counts(now)?;
        let query = "SELECT sealed FROM samples WHERE at >= ?1 ORDER BY id";
        let samples = if are_samples_readable { store.read_blobs(query, now, open_sample)? } else { Vec::new() };
        if !are_samples_readable {
            store.db.execute("DELETE FROM samples", [])?;
        }
        Ok(OpenedHistory { store, runs, counts, samples, moved_aside: None })
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

    /// Writes in one transaction, and deletes what is older than 48 hours. If the file's size limit is reached, deletes
    /// at least a tenth and tries again.
    ///
    /// # Errors
    /// [`StoreError::NotWritten`]; then nothing was written or deleted.
    pub fn write(&mut self, write: &HistoryWrite, now: u64) -> Result<(), StoreError> {
        let rows = HistoryRows::from_write(write, self.sealer.as_ref());
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

    /// `room`: delete this many bytes of runs before writing, or a tenth of the runs if that is more, and a tenth of
    /// the samples; `None`: delete none.
    fn write_rows(&mut self, rows: &HistoryRows, room: Option<i64>, now: u64) -> Result<(), rusqlite::Error> {
        let oldest = to_millis(now.saturating_sub(RETENTION));
        let transaction = self.db.transaction()?;
        transaction.execute("DELETE FROM runs WHERE at < ?1", [oldest])?;
        transaction.execute("DELETE FROM failures WHERE slot < ?1", [oldest])?;
        transaction.execute("DELETE FROM samples WHERE at < ?1", [oldest])?;
        if let Some(room) = room {
            make_room(&transaction, "runs", EACH_RUN, room)?;
            make_room(&transaction, "samples", EACH_SAMPLE, 0)?;
        }
        rows.put(&transaction)?;
        limit_rows(&transaction, "runs", EACH_RUN, MAX_RUNS, EXCESS_RUNS)?;
        limit_rows(&transaction, "samples", EACH_SAMPLE, MAX_SAMPLES, 0)?;
        transaction.commit()
    }

    /// The JSON of one run, if it was written.
    pub fn read_detail(&self, entry: &RunRecord) -> Option<String> {
        let query = "SELECT detail FROM runs WHERE key = ?1";
        let packed: Option<Vec<u8>> = self.db.query_row(query, [entry.key()], |row| row.get(0)).ok()?;
        String::from_utf8(zstd::bulk::decompress(&packed?, MAX_DETAIL_BYTES).ok()?).ok()
    }
}

/// A run as it is written: key, milliseconds, entry, compressed detail.
type StoredRunRow = (String, i64, Vec<u8>, Option<Vec<u8>>);

/// Rows as they are written.
struct HistoryRows {
    runs: Vec<StoredRunRow>,
    /// Keys of runs to delete.
    removed: Vec<String>,
    /// Start of the slot (milliseconds), key, count.
    counts: Vec<(i64, String, i64)>,
    /// Milliseconds, encrypted sample, account.
    samples: Vec<(i64, Vec<u8>, Arc<str>)>,
    /// Lower bound of the bytes needed.
    bytes: i64,
}

impl HistoryRows {
    fn from_write(write: &HistoryWrite, sealer: Option<&SampleSealer>) -> Self {
        let run_row = |(entry, detail): &(Arc<RunRecord>, Option<String>)| {
            let detail = detail.as_ref().filter(|detail| detail.len() <= MAX_DETAIL_BYTES);
            let detail = detail.and_then(|detail| zstd::bulk::compress(detail.as_bytes(), COMPRESSION_LEVEL).ok());
            (entry.key(), to_millis(entry.at), serde_json::to_vec(&**entry).unwrap_or_default(), detail)
        };
        let count_row = |count: &FailureCount| {
            (to_millis(count.slot), count_key(count), i64::try_from(count.count).unwrap_or(i64::MAX))
        };
        let sample_row = |sample: &Arc<FailureSample>| {
            let sealed = sealer?.seal(&serde_json::to_vec(&**sample).ok()?)?;
            Some((to_millis(sample.at), sealed, Arc::clone(&sample.account)))
        };
        let runs: Vec<_> = write.runs.iter().map(run_row).collect();
        let counts: Vec<_> = write.counts.iter().map(count_row).collect();
        let samples: Vec<_> = write.samples.iter().filter_map(sample_row).collect();
        let bytes =
            runs.iter().map(|(key, _, entry, detail)| key.len() + entry.len() + detail.as_ref().map_or(0, Vec::len));
        let bytes = bytes.chain(counts.iter().map(|(_, key, _)| key.len()));
        let bytes: usize = bytes.chain(samples.iter().map(|(_, sealed, _)| sealed.len())).sum();
        Self { runs, removed: write.removed.clone(), counts, samples, bytes: i64::try_from(bytes).unwrap_or(i64::MAX) }
    }

    fn put(&self, db: &Connection) -> Result<(), rusqlite::Error> {
        let mut delete_run = db.prepare("DELETE FROM runs WHERE key = ?1")?;
        for key in &self.removed {
            delete_run.execute([key])?;
        }
        let mut insert_run = db.prepare(
            "INSERT INTO runs (key, at, entry, detail) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE SET
             at = excluded.at, entry = excluded.entry, detail = COALESCE(excluded.detail, detail)",
        )?;
        for (key, at, entry, detail) in &self.runs {
            insert_run.execute(params![key, at, entry, detail])?;
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
    db.execute(&format!("DELETE FROM {table} WHERE rowid IN ({excess})"), [room]).map(drop)
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
    db.execute(&format!("DELETE FROM {table} WHERE rowid IN ({excess})"), [count.saturating_sub(to_i64(max_rows))])
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
    if tables > 0 && (application != APPLICATION || version != VERSION) {
        return Err(rusqlite::Error::InvalidQuery);
    }
    interpret_check(&db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?)?;
    db.execute_batch(SETUP)?;
    db.execute_batch(&format!("PRAGMA max_page_count = {MAX_PAGES}"))?;
    // An intact file must be readable from a full disk, so nothing is written that exists already.
    if tables == 0 {
        db.execute_batch(&format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}"))?;
    }
    db.execute_batch(TABLES)?;
    let count_account_columns = "SELECT COUNT(*) FROM pragma_table_info('samples') WHERE name = 'account'";
    if db.query_row(count_account_columns, [], |row| row.get::<_, i64>(0))? == 0 {
        db.execute_batch("ALTER TABLE samples ADD COLUMN account TEXT NOT NULL DEFAULT ''")?;
    }
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
