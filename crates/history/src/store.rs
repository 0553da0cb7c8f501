//! **What**: [`Store`]: the file in which 48 hours survive a restart (SQLite). **Why**: a restart at night must not
//! cost the report of the morning. **Invariants**: it holds what a third party may see, samples sealed besides; at most
//! 256 MiB; where that is not enough, whichever account has most gives way, oldest first; a disk that is full takes
//! nothing from what is there; a file that is damaged, newer or somebody else's is moved aside, never written over, and
//! no other is; nothing depends on what is in it but pages. **Not here**: when it is written (`app/remember`).

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use super::entry::Entry;
use super::failures::{Group, Key, MAX_SAMPLES, Sample};
use super::memory::{KEEP, MAX_RUNS};
use super::seal::Seal;
use super::write::Write;
use kernel::hex;
use kernel::rng::Rng;
use pipeline::spool::SpoolKey;

/// What the file says it is: "toll".
const APPLICATION: i64 = 0x746f_6c6c;
const VERSION: i64 = 1;
/// Pages of 4 KiB: 256 MiB.
const MAX_PAGES: i64 = 65_536;
/// Runs beyond those that are kept before the file is looked through.
const SLACK: usize = 2000;
/// Level of compression of details.
const LEVEL: i32 = 3;
/// Largest detail, bytes of JSON.
const MAX_DETAIL: usize = 4 << 20;

/// Before anything is read: else the log's index is a mapped file, and a mapped file on a full disk ends the process
/// (SIGBUS). <https://www.sqlite.org/wal.html#use_of_wal_without_shared_memory>
const ALONE: &str = "PRAGMA locking_mode = EXCLUSIVE";
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

/// Runs with their account (what stands before the NUL of the key), and what they take.
const EACH_RUN: &str =
    "SELECT rowid AS id, at, substr(CAST(key AS BLOB), 1, instr(CAST(key AS BLOB), x'00')) AS account,
    length(key) + length(entry) + COALESCE(length(detail), 0) AS size FROM runs";
/// The same of samples.
const EACH_SAMPLE: &str = "SELECT id, at, account, length(sealed) AS size FROM samples";

/// Why the file could not be used. It stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be opened, made or read now: a full disk, no permission, another process that has it open.
    #[error("can't use {}: {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// It is damaged or of another version, and can't be moved aside.
    #[error("can't move {} aside: {source}", path.display())]
    NotMoved {
        /// The file or one of its companions.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Nothing was written.
    #[error(transparent)]
    NotWritten(#[from] rusqlite::Error),
}

/// An open file.
pub struct Store {
    pub(super) db: Connection,
    seal: Option<Seal>,
    /// Its own bound, pages.
    pub(super) pages: i64,
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

/// Times are kept in ms: SQLite has signed numbers.
fn ms(ns: u64) -> i64 {
    i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX)
}

impl Store {
    /// Opens the file, or makes it. `keys`: the spool's, the first one seals.
    ///
    /// # Errors
    /// It can't be opened nor made now ([`StoreError::Unusable`], [`StoreError::NotMoved`]).
    pub fn open(path: &Path, keys: &[SpoolKey], rng: &Arc<dyn Rng>, now: u64) -> Result<Opened, StoreError> {
        let unusable = |source| StoreError::Unusable { path: path.to_owned(), source };
        match Self::load(path, keys, rng, now) {
            Err(error) if spoilt(&error) => {
                let aside = move_aside(path, now)?;
                let opened = Self::load(path, keys, rng, now).map_err(unusable)?;
                Ok(Opened { aside, ..opened })
            }
            // a full disk, no permission, somebody else who has it open: it may be whole
            loaded => loaded.map_err(unusable),
        }
    }

    fn load(path: &Path, keys: &[SpoolKey], rng: &Arc<dyn Rng>, now: u64) -> Result<Opened, rusqlite::Error> {
        let mut store = Self { db: checked(path)?, seal: None, pages: MAX_PAGES };
        let known = store.seal(keys, rng)?;
        let (runs, counts) = (store.runs(now)?, store.counts(now)?);
        let samples = if known { store.samples(now)? } else { Vec::new() };
        if !known {
            store.db.execute("DELETE FROM samples", [])?;
        }
        Ok(Opened { store, runs, counts, samples, aside: None })
    }

    /// Whether the samples inside are readable; otherwise a new salt begins.
    fn seal(&mut self, keys: &[SpoolKey], rng: &Arc<dyn Rng>) -> Result<bool, rusqlite::Error> {
        let value = |name: &str| -> Result<Option<Vec<u8>>, rusqlite::Error> {
            self.db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
        };
        let salt = value("salt")?.and_then(|salt| <[u8; 32]>::try_from(salt).ok());
        let id = value("key")?;
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
        let mut rows = self.db.prepare("SELECT entry FROM runs WHERE at >= ?1 ORDER BY rowid")?;
        let found = rows.query_map([ms(now.saturating_sub(KEEP))], |row| row.get::<_, Vec<u8>>(0))?;
        // an entry of another version is left out
        found.filter_map(|row| row.map(|bytes| serde_json::from_slice(&bytes).ok()).transpose()).collect()
    }

    fn counts(&self, now: u64) -> Result<Vec<Group>, rusqlite::Error> {
        let mut rows = self.db.prepare("SELECT slot, key, count FROM failures WHERE slot >= ?1")?;
        let found = rows.query_map([ms(now.saturating_sub(KEEP))], |row| {
            let (slot, key, count): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let group = named(&key).map(|(key, account)| Group {
                account,
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

    /// Writes, and forgets what is old. Where the file's own bound is reached, a tenth goes first.
    ///
    /// # Errors
    /// [`StoreError::NotWritten`]; nothing was written then, nor did anything go.
    pub fn write(&mut self, write: &Write, now: u64) -> Result<(), StoreError> {
        let rows = Rows::of(write, self.seal.as_ref());
        match self.put(&rows, None, now) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) && self.bound_is_near(rows.bytes) => {
                Ok(self.put(&rows, Some(rows.bytes.saturating_mul(2)), now)?)
            }
            done => Ok(done?),
        }
    }

    /// Whether so many bytes may not fit below the file's own bound. A disk that is full says the same, and gains
    /// nothing by runs that go.
    fn bound_is_near(&self, bytes: i64) -> bool {
        let number = |what: &str| self.db.query_row(&format!("PRAGMA {what}"), [], |row| row.get::<_, i64>(0)).ok();
        let used = || Some((number("page_count")?, number("freelist_count")?, number("page_size")?));
        let room = used().map(|(pages, free, size)| (self.pages - pages + free).saturating_mul(size));
        room.is_some_and(|room| room < bytes.saturating_mul(3).saturating_add(1 << 20))
    }

    /// `room`: bytes that are made free before, besides a tenth of what there is.
    fn put(&mut self, rows: &Rows, room: Option<i64>, now: u64) -> Result<(), rusqlite::Error> {
        let old = ms(now.saturating_sub(KEEP));
        let transaction = self.db.transaction()?;
        transaction.execute("DELETE FROM runs WHERE at < ?1", [old])?;
        transaction.execute("DELETE FROM failures WHERE slot < ?1", [old])?;
        transaction.execute("DELETE FROM samples WHERE at < ?1", [old])?;
        if let Some(room) = room {
            make_room(&transaction, "runs", EACH_RUN, room)?;
            make_room(&transaction, "samples", EACH_SAMPLE, 0)?;
        }
        rows.put(&transaction)?;
        bound(&transaction, "runs", EACH_RUN, MAX_RUNS, SLACK)?;
        bound(&transaction, "samples", EACH_SAMPLE, MAX_SAMPLES, 0)?;
        transaction.commit()
    }

    /// The JSON of one run, if it was written down.
    pub fn detail(&self, entry: &Entry) -> Option<String> {
        let query = "SELECT detail FROM runs WHERE key = ?1";
        let packed: Option<Vec<u8>> = self.db.query_row(query, [entry.key()], |row| row.get(0)).ok()?;
        String::from_utf8(zstd::bulk::decompress(&packed?, MAX_DETAIL).ok()?).ok()
    }
}

/// A run as it is written: its key, milliseconds, entry, packed detail.
type Run = (String, i64, Vec<u8>, Option<Vec<u8>>);

/// What is written, as it is written.
struct Rows {
    runs: Vec<Run>,
    gone: Vec<String>,
    counts: Vec<(i64, String, i64)>,
    samples: Vec<(i64, Vec<u8>, Arc<str>)>,
    /// What it takes at least.
    bytes: i64,
}

impl Rows {
    fn of(write: &Write, seal: Option<&Seal>) -> Self {
        let run = |(entry, detail): &(Arc<Entry>, Option<String>)| {
            let detail = detail.as_ref().filter(|detail| detail.len() <= MAX_DETAIL);
            let detail = detail.and_then(|detail| zstd::bulk::compress(detail.as_bytes(), LEVEL).ok());
            (entry.key(), ms(entry.at), serde_json::to_vec(&**entry).unwrap_or_default(), detail)
        };
        let count = |group: &Group| (ms(group.slot), name(group), i64::try_from(group.count).unwrap_or(i64::MAX));
        let sample = |one: &Arc<Sample>| {
            let sealed = seal?.seal(&serde_json::to_vec(&**one).ok()?)?;
            Some((ms(one.at), sealed, Arc::clone(&one.account)))
        };
        let runs: Vec<_> = write.runs.iter().map(run).collect();
        let counts: Vec<_> = write.counts.iter().map(count).collect();
        let samples: Vec<_> = write.samples.iter().filter_map(sample).collect();
        let bytes =
            runs.iter().map(|(key, _, body, detail)| key.len() + body.len() + detail.as_ref().map_or(0, Vec::len));
        let bytes = bytes.chain(counts.iter().map(|(_, key, _)| key.len()));
        let bytes: usize = bytes.chain(samples.iter().map(|(_, sealed, _)| sealed.len())).sum();
        Self { runs, gone: write.gone.clone(), counts, samples, bytes: i64::try_from(bytes).unwrap_or(i64::MAX) }
    }

    fn put(&self, db: &Connection) -> Result<(), rusqlite::Error> {
        let mut gone = db.prepare("DELETE FROM runs WHERE key = ?1")?;
        for key in &self.gone {
            gone.execute([key])?;
        }
        let mut run = db.prepare(
            "INSERT INTO runs (key, at, entry, detail) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE SET
             at = excluded.at, entry = excluded.entry, detail = COALESCE(excluded.detail, detail)",
        )?;
        for (key, at, body, detail) in &self.runs {
            run.execute(params![key, at, body, detail])?;
        }
        let mut count = db.prepare("INSERT OR REPLACE INTO failures VALUES (?1, ?2, ?3)")?;
        let mut gone = db.prepare("DELETE FROM failures WHERE slot = ?1 AND key = ?2")?;
        for (slot, key, number) in &self.counts {
            if *number == 0 {
                gone.execute(params![slot, key])?
            } else {
                count.execute(params![slot, key, number])?
            };
        }
        let mut sample = db.prepare("INSERT INTO samples (at, sealed, account) VALUES (?1, ?2, ?3)")?;
        for (at, sealed, account) in &self.samples {
            sample.execute(params![at, sealed, &**account])?;
        }
        Ok(())
    }
}

/// A count's name in the file: values and account.
fn name(group: &Group) -> String {
    // as before accounts were told
    let account = (!group.account.is_empty()).then_some(&group.account);
    serde_json::to_string(&group.key.iter().chain(account).collect::<Vec<_>>()).unwrap_or_default()
}

fn named(name: &str) -> Option<(Key, Arc<str>)> {
    let mut words: Vec<Arc<str>> = serde_json::from_str(name).ok()?;
    let account = if words.len() > 7 { words.pop()? } else { "".into() };
    Some((Key::try_from(words).ok()?, account))
}

/// Lets a tenth go, at least `room` bytes: of those who take most, the oldest.
fn make_room(db: &Connection, table: &str, each: &str, room: i64) -> Result<(), rusqlite::Error> {
    let used = format!(
        "SELECT id, size, SUM(size) OVER (PARTITION BY account ORDER BY at DESC, id DESC) AS used FROM ({each})"
    );
    let before = format!("SELECT id, SUM(size) OVER (ORDER BY used DESC, id) - size AS before FROM ({used})");
    let gone = format!("SELECT id FROM ({before}) WHERE before < MAX(?1, (SELECT SUM(size) / 10 FROM ({each})))");
    db.execute(&format!("DELETE FROM {table} WHERE rowid IN ({gone})"), [room]).map(drop)
}

/// Lets go what is beyond `most`, once that is more than `slack`: of those who have most, the oldest.
fn bound(db: &Connection, table: &str, each: &str, most: usize, slack: usize) -> Result<(), rusqlite::Error> {
    let count: i64 = db.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0))?;
    let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    if count <= number(most).saturating_add(number(slack)) {
        return Ok(());
    }
    let rank = format!(
        "SELECT id, at, ROW_NUMBER() OVER (PARTITION BY account ORDER BY at DESC, id DESC) AS place FROM ({each})"
    );
    let gone = format!("SELECT id FROM ({rank}) ORDER BY place DESC, at, id LIMIT ?1");
    db.execute(&format!("DELETE FROM {table} WHERE rowid IN ({gone})"), [count.saturating_sub(number(most))]).map(drop)
}

/// Whether an error says that the file is damaged, of another version, or somebody else's.
pub(super) fn spoilt(error: &rusqlite::Error) -> bool {
    let damaged = [Some(ErrorCode::DatabaseCorrupt), Some(ErrorCode::NotADatabase)];
    damaged.contains(&error.sqlite_error_code()) || matches!(error, rusqlite::Error::InvalidQuery)
}

/// What a check of the file says; what could not be read may be whole.
pub(super) fn judged(said: &str) -> Result<(), rusqlite::Error> {
    let unread = said.split("unable to get the page. error code=").nth(1);
    let code = unread.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    match code {
        _ if said == "ok" => Ok(()),
        Some(code) => Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)),
        None => Err(rusqlite::Error::InvalidQuery),
    }
}

/// The file, if it is ours, whole, and not newer.
fn checked(path: &Path) -> Result<Connection, rusqlite::Error> {
    // what is inside is for whoever runs the gateway
    drop(fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path));
    let db = Connection::open(path)?;
    db.execute_batch(ALONE)?;
    let number = |what: &str| db.query_row(&format!("PRAGMA {what}"), [], |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = db.query_row("SELECT COUNT(*) FROM sqlite_master", [], |row| row.get(0))?;
    if tables > 0 && (application != APPLICATION || version != VERSION) {
        return Err(rusqlite::Error::InvalidQuery);
    }
    judged(&db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?)?;
    db.execute_batch(SETUP)?;
    db.execute_batch(&format!("PRAGMA max_page_count = {MAX_PAGES}"))?;
    // what is whole is read from a full disk, too: nothing is written that is there
    if tables == 0 {
        db.execute_batch(&format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}"))?;
    }
    db.execute_batch(TABLES)?;
    let told = "SELECT COUNT(*) FROM pragma_table_info('samples') WHERE name = 'account'";
    if db.query_row(told, [], |row| row.get::<_, i64>(0))? == 0 {
        db.execute_batch("ALTER TABLE samples ADD COLUMN account TEXT NOT NULL DEFAULT ''")?;
    }
    Ok(db)
}

/// Moves the file and its companions aside; where it went.
fn move_aside(path: &Path, now: u64) -> Result<Option<PathBuf>, StoreError> {
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
            moved => moved.map_err(|source| StoreError::NotMoved { path: from, source })?,
        }
    }
    Ok(Some(aside))
}
