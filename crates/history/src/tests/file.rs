//! Tests of the file: when it is moved aside, and when runs are deleted from it.

use rusqlite::ffi::Error as Code;

use super::super::store::{interpret_check, is_damaged_or_foreign};
use super::*;
use ::runs::{EndedRuns, run_key};

fn runs(account: &str, numbers: std::ops::Range<usize>, ago: u64, detail: usize) -> HistoryWrite {
    let run = |number: usize| {
        let mut view = view(&format!("r{number}"), ago, 1, RunState::Ended, None, 1);
        view.account = account.into();
        // Incompressible data.
        let mut noise = vec![0; detail / 2];
        SystemRng.fill(&mut noise);
        let step = ::runs::RunStep { name: kernel::hex::encode(&noise), ..Default::default() };
        (run_key(account, &view.run), ::runs::testing::runs::detail(&view, &[step]))
    };
    HistoryWrite { runs: EndedRuns { ended: numbers.map(run).collect(), removed: vec![] }, ..HistoryWrite::default() }
}

fn count(store: &HistoryStore, table: &str, account: &str) -> usize {
    let query = format!("SELECT COUNT(*) FROM {table} WHERE account = ?1");
    let count: i64 = store.db.query_row(&query, [account], |row| row.get(0)).expect("count");
    usize::try_from(count).expect("count")
}

/// A file that can't be opened now (here: its log's name is taken by a folder) is not moved aside: once the cause is
/// gone, its data is read.
#[test]
fn a_file_that_cant_be_opened_now_stays() {
    let folder = tempfile::tempdir().expect("folder");
    let (path, key) = (folder.path().join("h.sqlite"), SpoolKey::from_bytes([1; 32]));
    let rng: Arc<dyn Rng> = Arc::new(SystemRng);
    let mut opened = open(&path, &key);
    opened.store.write(&runs("default", 0..3, 5, 0), NOW).expect("write");
    drop(opened);
    let log = folder.path().join("h.sqlite-wal");
    std::fs::create_dir(&log).expect("folder");
    assert!(HistoryStore::open(&path, std::slice::from_ref(&key), &rng, NOW, 0).is_err());
    std::fs::remove_dir(&log).expect("folder");
    assert_eq!(count(&open(&path, &key).store, "runs", "default"), 3);
    let names = std::fs::read_dir(folder.path()).expect("folder").map(|file| file.expect("file").file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().contains("aside")));
}

/// The WAL index must not be memory-mapped, not even for an existing file: on a full disk, touching it kills the
/// process.
#[test]
fn nothing_is_mapped() {
    let folder = tempfile::tempdir().expect("folder");
    let (path, key) = (folder.path().join("h.sqlite"), SpoolKey::from_bytes([1; 32]));
    for _ in 0..2 {
        let mut opened = open(&path, &key);
        opened.store.write(&runs("default", 0..3, 5, 0), NOW).expect("write");
        assert!(path.with_extension("sqlite-wal").exists() && !path.with_extension("sqlite-shm").exists());
    }
}

/// Only an error about the file itself moves it aside; an I/O error does not.
#[test]
fn only_damage_moves_aside() {
    use rusqlite::ffi;
    let error = |code: i32| rusqlite::Error::SqliteFailure(Code::new(code), None);
    for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
        assert!(is_damaged_or_foreign(&error(code)), "{code}");
    }
    let others = [ffi::SQLITE_FULL, ffi::SQLITE_CANTOPEN, ffi::SQLITE_PERM, ffi::SQLITE_READONLY, ffi::SQLITE_IOERR];
    for code in others.into_iter().chain([ffi::SQLITE_NOMEM, ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED]) {
        assert!(!is_damaged_or_foreign(&error(code)), "{code}");
    }
    let of = |said: &str| interpret_check(said).err().map(|error| is_damaged_or_foreign(&error));
    assert_eq!(of("ok"), None);
    assert_eq!(of("Tree 2 page 3: btreeInitPage() returns error code 11"), Some(true));
    assert_eq!(of("Tree 2 page 3: unable to get the page. error code=10"), Some(false));
    assert_eq!(of("Tree 2 page 3: unable to get the page. error code=11"), Some(true));
}

/// A full disk must delete nothing from the file, however often a write is tried, although SQLite reports the same
/// error as for the file's own limit; at that limit the account that takes most loses data.
#[test]
fn a_full_disk_costs_no_past() {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open(&folder.path().join("h.sqlite"), &SpoolKey::from_bytes([1; 32])).store;
    store.write(&runs("quiet", 0..50, 60, 200), NOW).expect("write");
    store.write(&runs("flood", 0..40, 50, 100_000), NOW).expect("write");
    let pages: i64 = store.db.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("pages");
    store.db.execute_batch(&format!("PRAGMA max_page_count = {pages}")).expect("bound");
    for _ in 0..3 {
        let told = store.write(&runs("flood", 40..50, 5, 100_000), NOW);
        assert!(told.is_err_and(|why| why.to_string().contains("full")));
    }
    assert_eq!((count(&store, "details", "quiet"), count(&store, "details", "flood")), (50, 40), "a full disk");
    store.max_pages = pages;
    store.write(&runs("flood", 40..50, 5, 100_000), NOW).expect("there is room now");
    store.write(&runs("quiet", 50..52, 5, 100_000), NOW).expect("and for others");
    assert_eq!(count(&store, "details", "quiet"), 52);
    let flood = count(&store, "details", "flood");
    assert!((20..45).contains(&flood), "{flood}");
    let newest = store.read_run(run_key("flood", "r49"));
    assert!(newest.is_some_and(|run| run.steps.is_some()), "the oldest went");
}

/// Runs with calls, and samples, are bounded even if all have the same time; an account's flood evicts its own.
#[test]
fn the_file_is_bounded_by_account() {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open(&folder.path().join("h.sqlite"), &SpoolKey::from_bytes([1; 32])).store;
    let sample_of = |account: &str, at: u64| Arc::new(FailureSample { account: account.into(), ..sample(at) });
    let quiet = HistoryWrite { samples: vec![sample_of("quiet", NOW - MINUTE)], ..runs("quiet", 0..20, 0, 0) };
    store.write(&quiet, NOW).expect("write");
    let samples = (0..3100).map(|_| sample_of("flood", NOW)).collect();
    let most = crate::store::MAX_DETAILS;
    store.write(&HistoryWrite { samples, ..runs("flood", 0..most + most / 10 + 100, 0, 0) }, NOW).expect("write");
    assert_eq!((count(&store, "details", "quiet"), count(&store, "details", "flood")), (20, most - 20));
    assert_eq!(count(&store, "runs", "flood"), most + most / 10 + 100, "their rows stay");
    let number = |query: &str| store.db.query_row(query, [], |row| row.get::<_, i64>(0)).expect("number");
    assert_eq!(number("SELECT COUNT(*) FROM samples"), 3000);
    assert_eq!(number("SELECT COUNT(*) FROM samples WHERE account = 'quiet'"), 1);
}

/// A file of the version before is read: its runs, counts and samples.
#[test]
fn a_former_file_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    let (path, key) = (folder.path().join("h.sqlite"), SpoolKey::from_bytes([1; 32]));
    let mut store = open(&path, &key).store;
    store.write(&HistoryWrite { counts: vec![group(NOW, 4)], ..HistoryWrite::default() }, NOW).expect("write");
    let entry = r#"{"account":"default","run":"a","session":"s","trace":"","root":[0,0,0,0,0,0,0,0],"tenant":"acme",
        "feature":null,"user":null,"commit":null,"issue":null,"template":null,"service":"agents","state":"ended",
        "start":1800000000000000000,"at":1800000000000000000,"duration":5,"iterations":1,"calls":1,"failed_calls":0,
        "tool_calls":2,"tool_failures":1,"writes":0,"input":10,"output":2,"atto":170141183460469231731687303715884105,
        "unpriced":0,"models":[{"name":"gpt","calls":1,"input":10,"output":2,
        "atto":170141183460469231731687303715884105,"unpriced":0}],
        "tools":[{"name":"Bash","calls":2,"failed":1,"denied":0}],"fallbacks":[],"denials":[["Edit","hook",1]]}"#;
    let former = "DROP TABLE runs; DROP TABLE details; DROP TABLE accounts; ALTER TABLE samples DROP COLUMN account;
        CREATE TABLE runs (key TEXT PRIMARY KEY, at INTEGER NOT NULL, entry BLOB NOT NULL, detail BLOB);
        CREATE INDEX runs_at ON runs (at); PRAGMA user_version = 1";
    store.db.execute_batch(former).expect("as before");
    store.db.execute("INSERT INTO runs VALUES ('default', 1, CAST(?1 AS BLOB), NULL)", [entry]).expect("run");
    drop(store);
    for _ in 0..2 {
        let opened = open(&path, &key);
        assert!(opened.moved_aside.is_none());
        let run = opened.store.read_run(run_key("default", "a")).expect("run").view;
        assert_eq!(
            (run.totals.atto_usd(), run.totals.tool_failures()),
            (170_141_183_460_469_231_731_687_303_715_884_105, 1)
        );
        assert_eq!((opened.counts.len(), opened.store.accounts()), (1, vec!["default".to_owned()]));
    }
}

/// A count that was merged into another is deleted from the file.
#[test]
fn counts_have_accounts() {
    let folder = tempfile::tempdir().expect("folder");
    let (path, key) = (folder.path().join("h.sqlite"), SpoolKey::from_bytes([1; 32]));
    let mut store = open(&path, &key).store;
    let unnamed = FailureCount { account: "".into(), ..group(NOW, 3) };
    let counts = vec![group(NOW, 4), unnamed, group(NOW - MINUTE, 5)];
    store.write(&HistoryWrite { counts, ..HistoryWrite::default() }, NOW).expect("write");
    store.write(&HistoryWrite { counts: vec![group(NOW - MINUTE, 0)], ..HistoryWrite::default() }, NOW).expect("write");
    drop(store);
    let again = open(&path, &key);
    assert!(again.moved_aside.is_none());
    let mut told: Vec<(&str, u64)> = again.counts.iter().map(|group| (&*group.account, group.count)).collect();
    told.sort_unstable();
    assert_eq!(told, [("", 3), ("default", 4)]);
    let mut store = again.store;
    store.write(&HistoryWrite { samples: vec![Arc::new(sample(NOW))], ..HistoryWrite::default() }, NOW).expect("write");
}
