//! Tests of the file: when it is moved aside, and when runs are deleted from it.

use rusqlite::ffi::Error as Code;

use super::super::store::{interpret_check, is_damaged_or_foreign};
use super::*;

fn runs(account: &str, numbers: std::ops::Range<usize>, ago: u64, detail: usize) -> HistoryWrite {
    let run = |number: usize| {
        let mut view = view(&format!("r{number}"), ago, 1, RunState::Ended, None, 1);
        view.account = account.into();
        // Incompressible data.
        let mut noise = vec![0; detail / 2];
        SystemRng.fill(&mut noise);
        (Arc::new(RunRecord::from_view(&view, NOW)), Some(kernel::hex::encode(&noise)))
    };
    HistoryWrite { runs: numbers.map(run).collect(), ..HistoryWrite::default() }
}

fn count(store: &HistoryStore, account: &str) -> usize {
    let query = "SELECT COUNT(*) FROM runs WHERE instr(CAST(key AS BLOB), CAST(?1 AS BLOB)) = 1";
    let count: i64 = store.db.query_row(query, [account], |row| row.get(0)).expect("count");
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
    assert!(HistoryStore::open(&path, std::slice::from_ref(&key), &rng, NOW).is_err());
    std::fs::remove_dir(&log).expect("folder");
    assert_eq!(open(&path, &key).runs.len(), 3);
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
    assert_eq!((count(&store, "quiet"), count(&store, "flood")), (50, 40), "a full disk");
    store.max_pages = pages;
    store.write(&runs("flood", 40..50, 5, 100_000), NOW).expect("there is room now");
    store.write(&runs("quiet", 50..52, 5, 100_000), NOW).expect("and for others");
    assert_eq!(count(&store, "quiet"), 52);
    let flood = count(&store, "flood");
    assert!((20..45).contains(&flood), "{flood}");
    let newest = runs("flood", 49..50, 5, 0).runs.remove(0).0;
    assert!(store.read_detail(&newest).is_some(), "the oldest went");
}

/// The file holds as many runs and samples as memory does, even if all have the same time; an account's flood evicts
/// its own.
#[test]
fn the_file_is_bounded_by_account() {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open(&folder.path().join("h.sqlite"), &SpoolKey::from_bytes([1; 32])).store;
    let base = Arc::new(RunRecord::from_view(&view("r", 0, 1, RunState::Ended, None, 1), NOW));
    let of = |account: &str, number: usize| {
        let entry = RunRecord { account: account.into(), run: format!("r{number}").into(), ..(*base).clone() };
        (Arc::new(entry), None)
    };
    let sample_of = |account: &str, at: u64| Arc::new(FailureSample { account: account.into(), ..sample(at) });
    let quiet = HistoryWrite {
        runs: (0..20).map(|number| of("quiet", number)).collect(),
        samples: vec![sample_of("quiet", NOW - MINUTE)],
        ..HistoryWrite::default()
    };
    store.write(&quiet, NOW).expect("write");
    let flood = HistoryWrite {
        runs: (0..MAX_RUNS + 2100).map(|number| of("flood", number)).collect(),
        samples: (0..3100).map(|_| sample_of("flood", NOW)).collect(),
        ..HistoryWrite::default()
    };
    store.write(&flood, NOW).expect("write");
    assert_eq!((count(&store, "quiet"), count(&store, "flood")), (20, MAX_RUNS - 20));
    let number = |query: &str| store.db.query_row(query, [], |row| row.get::<_, i64>(0)).expect("number");
    assert_eq!(number("SELECT COUNT(*) FROM samples"), 3000);
    assert_eq!(number("SELECT COUNT(*) FROM samples WHERE account = 'quiet'"), 1);
}

/// A count that was merged into another is deleted from the file; counts and samples of an older file without accounts
/// are read.
#[test]
fn counts_have_accounts() {
    let folder = tempfile::tempdir().expect("folder");
    let (path, key) = (folder.path().join("h.sqlite"), SpoolKey::from_bytes([1; 32]));
    let mut store = open(&path, &key).store;
    let unnamed = FailureCount { account: "".into(), ..group(NOW, 3) };
    let counts = vec![group(NOW, 4), unnamed, group(NOW - MINUTE, 5)];
    store.write(&HistoryWrite { counts, ..HistoryWrite::default() }, NOW).expect("write");
    store.write(&HistoryWrite { counts: vec![group(NOW - MINUTE, 0)], ..HistoryWrite::default() }, NOW).expect("write");
    store.db.execute_batch("ALTER TABLE samples DROP COLUMN account").expect("as before");
    drop(store);
    let again = open(&path, &key);
    assert!(again.moved_aside.is_none());
    let mut told: Vec<(&str, u64)> = again.counts.iter().map(|group| (&*group.account, group.count)).collect();
    told.sort_unstable();
    assert_eq!(told, [("", 3), ("default", 4)]);
    let mut store = again.store;
    store.write(&HistoryWrite { samples: vec![Arc::new(sample(NOW))], ..HistoryWrite::default() }, NOW).expect("write");
}
