//! **What**: [`Store`]: the file in which 48 hours survive a restart (SQLite). **Why**: a restart at night must not cost the
//! report of the morning. **Invariants**: it holds what a third party may see, samples sealed besides; at most 256 MiB, the
//! oldest go first; a file that is damaged, newer or somebody else's is moved aside, never written over; nothing depends on
//! what is in it but pages. **Not here**: when it is written (`app/remember`).

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, params};

use super::failures::{Group, Sample};
use super::seal::Seal;
use super::{Entry, KEEP};
use crate::hex;
use crate::pipeline::spool::SpoolKey;
use crate::rng::Rng;

/// What the file says it is: "toll".
const APPLICATION: i64 = 0x746f_6c6c;
const VERSION: i64 = 1;
/// Pages of 4 KiB: 256 MiB.
const MAX_PAGES: i64 = 65_536;
/// Level of compression of details.
const LEVEL: i32 = 3;
/// Largest detail, bytes of JSON.
const MAX_DETAIL: usize = 4 << 20;

const SETUP: &str = "
    PRAGMA locking_mode = EXCLUSIVE;
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
    CREATE TABLE IF NOT EXISTS samples (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, sealed BLOB NOT NULL);
    CREATE INDEX IF NOT EXISTS samples_at ON samples (at);
    COMMIT;
";

/// An open file.
pub struct Store {
    db: Connection,
    seal: Option<Seal>,
}

/// What was in it.
pub struct Opened {
    /// The file.
    pub store: Store,
    /// Runs.
    pub runs: Vec<Entry>,
    /// Counts of failing spans.
    pub counts: Vec<Group>,
    /// Their samples.
    pub samples: Vec<Sample>,
    /// Where a file went that could not be used.
    pub aside: Option<PathBuf>,
}

/// What is to be written at once.
#[derive(Default)]
pub struct Write {
    /// Runs that are new or changed; their JSON, if it was fetched.
    pub runs: Vec<(Arc<Entry>, Option<String>)>,
    /// Counts as they stand.
    pub counts: Vec<Group>,
    /// New samples.
    pub samples: Vec<Arc<Sample>>,
    /// Runs before this go, unix ns.
    pub before: u64,
}

impl Write {
    /// This with what could not be written before, which goes first.
    pub fn after(self, mut older: Self) -> Self {
        older.runs.extend(self.runs);
        older.counts.extend(self.counts);
        older.samples.extend(self.samples);
        Self { before: self.before, ..older }
    }

    /// What of it waits for a file that can be written: of each kind the newest `most`.
    pub fn newest(mut self, most: usize) -> Self {
        self.runs.drain(..self.runs.len().saturating_sub(most));
        self.counts.drain(..self.counts.len().saturating_sub(most));
        self.samples.drain(..self.samples.len().saturating_sub(most));
        self
    }

    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.counts.is_empty() && self.samples.is_empty()
    }
}

/// Times are kept in ms: SQLite has signed numbers.
fn ms(ns: u64) -> i64 {
    i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX)
}

impl Store {
    /// Opens the file, or makes it. `keys`: the spool's, the first one seals.
    ///
    /// # Errors
    /// One line: it can't be opened nor made. Nothing is kept then.
    pub fn open(path: &Path, keys: &[SpoolKey], rng: &Arc<dyn Rng>, now: u64) -> Result<Opened, String> {
        let text = |error: rusqlite::Error| format!("can't use {}: {error}", path.display());
        let mut aside = None;
        let db = match checked(path) {
            Ok(db) => db,
            // somebody else has it open: it is theirs
            Err(error)
                if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) =>
            {
                return Err(text(error));
            }
            Err(_) => {
                aside = move_aside(path, now)?;
                checked(path).map_err(text)?
            }
        };
        let mut store = Self { db, seal: None };
        let known = store.seal(keys, rng).map_err(text)?;
        let (runs, counts) = (store.runs(now).map_err(text)?, store.counts(now).map_err(text)?);
        let samples = if known { store.samples(now).map_err(text)? } else { Vec::new() };
        if !known {
            store.db.execute("DELETE FROM samples", []).map_err(text)?;
        }
        Ok(Opened { store, runs, counts, samples, aside })
    }

    /// Whether the samples inside are readable; otherwise a new salt begins.
    fn seal(&mut self, keys: &[SpoolKey], rng: &Arc<dyn Rng>) -> Result<bool, rusqlite::Error> {
        let value = |name: &str| -> Option<Vec<u8>> {
            self.db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).ok()
        };
        let salt = value("salt").and_then(|salt| <[u8; 32]>::try_from(salt).ok());
        let id = value("key");
        let of_id = |key: &&SpoolKey| id.as_deref() == Some(key.id().as_bytes());
        if let (Some(salt), Some(key)) = (salt, keys.iter().find(of_id)) {
            self.seal = Seal::new(key, &salt, Arc::clone(rng));
            return Ok(true);
        }
        let Some(key) = keys.first() else { return Ok(false) };
        let mut salt = [0; 32];
        rng.fill(&mut salt);
        let put = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)";
        self.db.execute(put, params!["salt", salt.as_slice()])?;
        self.db.execute(put, params!["key", key.id().as_bytes()])?;
        self.seal = Seal::new(key, &salt, Arc::clone(rng));
        Ok(false)
    }

    fn runs(&self, now: u64) -> Result<Vec<Entry>, rusqlite::Error> {
        let mut rows = self.db.prepare("SELECT entry FROM runs WHERE at >= ?1")?;
        let found = rows.query_map([ms(now.saturating_sub(KEEP))], |row| row.get::<_, Vec<u8>>(0))?;
        // an entry of another version is left out
        found.filter_map(|row| row.map(|bytes| serde_json::from_slice(&bytes).ok()).transpose()).collect()
    }

    fn counts(&self, now: u64) -> Result<Vec<Group>, rusqlite::Error> {
        let mut rows = self.db.prepare("SELECT slot, key, count FROM failures WHERE slot >= ?1")?;
        let found = rows.query_map([ms(now.saturating_sub(KEEP))], |row| {
            let (slot, key, count): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let group = serde_json::from_str(&key).ok().map(|key| Group {
                key,
                slot: u64::try_from(slot).unwrap_or(0).saturating_mul(1_000_000),
                count: u64::try_from(count).unwrap_or(0),
            });
            Ok(group)
        })?;
        found.filter_map(Result::transpose).collect()
    }

    fn samples(&self, now: u64) -> Result<Vec<Sample>, rusqlite::Error> {
        let mut rows = self.db.prepare("SELECT sealed FROM samples WHERE at >= ?1 ORDER BY id")?;
        let found = rows.query_map([ms(now.saturating_sub(KEEP))], |row| row.get::<_, Vec<u8>>(0))?;
        let open = |sealed: Vec<u8>| serde_json::from_slice(&self.seal.as_ref()?.open(&sealed)?).ok();
        found.filter_map(|row| row.map(open).transpose()).collect()
    }

    /// Writes, and forgets what is old. A full file loses its oldest tenth first.
    ///
    /// # Errors
    /// One line; nothing was written then.
    pub fn write(&mut self, write: &Write, now: u64) -> Result<(), String> {
        match self.put(write, now) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                let text = |error: rusqlite::Error| error.to_string();
                let oldest = "DELETE FROM runs WHERE key IN (SELECT key FROM runs ORDER BY at LIMIT (SELECT COUNT(*) / 10 + 1 FROM runs))";
                self.db.execute(oldest, []).map_err(text)?;
                self.put(write, now).map_err(text)
            }
            done => done.map_err(|error| error.to_string()),
        }
    }

    fn put(&mut self, write: &Write, now: u64) -> Result<(), rusqlite::Error> {
        let old = ms(now.saturating_sub(KEEP));
        let seal = self.seal.as_ref();
        let transaction = self.db.transaction()?;
        {
            let mut run = transaction.prepare(
                "INSERT INTO runs (key, at, entry, detail) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE SET
                 at = excluded.at, entry = excluded.entry, detail = COALESCE(excluded.detail, detail)",
            )?;
            for (entry, detail) in &write.runs {
                let detail = detail.as_ref().filter(|detail| detail.len() <= MAX_DETAIL);
                let detail = detail.and_then(|detail| zstd::bulk::compress(detail.as_bytes(), LEVEL).ok());
                let body = serde_json::to_vec(&**entry).unwrap_or_default();
                run.execute(params![entry.key(), ms(entry.at), body, detail])?;
            }
            let mut count = transaction.prepare("INSERT OR REPLACE INTO failures VALUES (?1, ?2, ?3)")?;
            for group in &write.counts {
                let key = serde_json::to_string(&group.key).unwrap_or_default();
                count.execute(params![ms(group.slot), key, i64::try_from(group.count).unwrap_or(i64::MAX)])?;
            }
            let mut sample = transaction.prepare("INSERT INTO samples (at, sealed) VALUES (?1, ?2)")?;
            for one in &write.samples {
                let sealed = serde_json::to_vec(&**one).ok().and_then(|plain| seal?.seal(&plain));
                sealed.map_or(Ok(0), |sealed| sample.execute(params![ms(one.at), sealed]))?;
            }
        }
        transaction.execute("DELETE FROM runs WHERE at < ?1", [old.max(ms(write.before))])?;
        transaction.execute("DELETE FROM failures WHERE slot < ?1", [old])?;
        let crowd = "DELETE FROM samples WHERE at < ?1 OR id <= (SELECT COALESCE(MAX(id), 0) - 6000 FROM samples)";
        transaction.execute(crowd, [old])?;
        transaction.commit()
    }

    /// The JSON of one run, if it was written down.
    pub fn detail(&self, entry: &Entry) -> Option<String> {
        let query = "SELECT detail FROM runs WHERE key = ?1";
        let packed: Option<Vec<u8>> = self.db.query_row(query, [entry.key()], |row| row.get(0)).ok()?;
        String::from_utf8(zstd::bulk::decompress(&packed?, MAX_DETAIL).ok()?).ok()
    }
}

/// The file, if it is ours, whole, and not newer.
fn checked(path: &Path) -> Result<Connection, rusqlite::Error> {
    // what is inside is for whoever runs the gateway
    drop(fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path));
    let db = Connection::open(path)?;
    let number = |what: &str| db.query_row(&format!("PRAGMA {what}"), [], |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = db.query_row("SELECT COUNT(*) FROM sqlite_master", [], |row| row.get(0))?;
    let ours = application == APPLICATION && version == VERSION;
    let sound: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if (tables > 0 && !ours) || sound != "ok" {
        return Err(rusqlite::Error::InvalidQuery);
    }
    db.execute_batch(SETUP)?;
    db.execute_batch(&format!(
        "PRAGMA max_page_count = {MAX_PAGES}; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}"
    ))?;
    db.execute_batch(TABLES)?;
    Ok(db)
}

/// Moves the file and its companions aside; where it went.
fn move_aside(path: &Path, now: u64) -> Result<Option<PathBuf>, String> {
    let with = |path: &Path, ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let aside = with(path, &format!(".aside-{}", hex::encode(&(now / 1_000_000).to_be_bytes())));
    for ending in ["", "-wal", "-shm", "-journal"] {
        let (from, to) = (with(path, ending), with(&aside, ending));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            moved => moved.map_err(|error| format!("can't move {} aside: {error}", from.display()))?,
        }
    }
    Ok(Some(aside))
}
