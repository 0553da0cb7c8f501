//! Recording of history: a file that becomes available late, details for all accounts, runs that share an id.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use parking_lot::Mutex;

use super::super::build::GatewayDeps;
use super::super::history_recorder::HistoryRecorder;
use command::tasks::Tasks;
use history::testing::view;
use history::{FailedSpans, HistoryWrite, RunHistory};
use kernel::clock::{Clock, ManualClock, UnixNanos};
use pages::SharedHistoryStore;
use pipeline::spool::SpoolKey;
use runs::testing::runs::{Made, NOW as START};
use runs::{RunState, RunStep, RunView};

const MINUTE: Duration = Duration::from_secs(60);

struct Bench {
    clock: Arc<ManualClock>,
    remember: HistoryRecorder,
}

impl Bench {
    /// Lets the recorder see these runs.
    fn update(&mut self, runs: impl IntoIterator<Item = RunView>) {
        let runs = runs.into_iter().map(|view| (view, vec![RunStep::default()])).collect();
        self.remember.catalog = Arc::new(Made { runs, ..Made::default() });
        self.remember.update();
    }
}

fn bench(folder: &std::path::Path) -> Bench {
    let clock = ManualClock::at(UnixNanos(START));
    let seams = GatewayDeps { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..GatewayDeps::system() };
    let remember = HistoryRecorder {
        catalog: Arc::new(Made::default()),
        history: Arc::<RunHistory>::default(),
        failures: Arc::<FailedSpans>::default(),
        store: SharedHistoryStore::default(),
        file: folder.join("history.sqlite"),
        keys: vec![SpoolKey::from_bytes([1; 32])],
        tasks: Tasks::new(&seams.meter),
        deps: seams,
        is_failing: AtomicBool::new(false),
        unwritten: Mutex::new(HistoryWrite::default()),
        reopen_at: AtomicU64::new(0),
    };
    remember.prepare();
    Bench { clock, remember }
}

fn ended(account: &str, run: &str) -> RunView {
    RunView { account: account.into(), ..view(run, 5, 1, RunState::Ended, None, 1) }
}

/// Opening an unusable file is retried; then the history is restored, and what happened meanwhile is written.
#[test]
fn a_file_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    bench(folder.path()).update([ended("default", "past")]);
    let log = folder.path().join("history.sqlite-wal");
    std::fs::remove_file(&log).ok();
    std::fs::create_dir(&log).unwrap();
    let mut later = bench(folder.path());
    later.update([ended("default", "meanwhile")]);
    assert!(later.remember.store.lock().is_none() && later.remember.history.all_runs().len() == 1);
    std::fs::remove_dir(&log).unwrap();
    later.clock.advance(MINUTE);
    later.remember.update();
    assert!(later.remember.history.find_run("default", "past").is_some());
    drop(later);
    assert_eq!(bench(folder.path()).remember.history.all_runs().len(), 2);
}

/// Many runs of one account that end at once leave details for runs of other accounts, even for a run with the same id.
#[test]
fn runs_of_all_accounts_have_details() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    let flood = (0..100).map(|run| ended("flood", &format!("r{run}")));
    bench.update(flood.chain([ended("quiet", "r0"), ended("quiet", "own")]));
    let shelf = bench.remember.store.lock();
    let store = shelf.as_ref().unwrap();
    for run in ["r0", "own"] {
        let entry = bench.remember.history.find_run("quiet", run).unwrap();
        assert!(store.read_detail(&entry).is_some(), "{run}");
    }
}

/// A live run that was not shown for long is queried with its account; another account's run with the same id does not
/// end it.
#[test]
fn a_shared_id_ends_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    let live = |account: &str| RunView { account: account.into(), ..view("shared", 5, 1, RunState::Live, None, 1) };
    bench.update([live("quiet")]);
    // Many runs of others hide it from the next updates.
    let others = (0..200).map(|run| ended("flood", &format!("r{run}")));
    bench.update([live("flood")].into_iter().chain(others).chain([live("quiet")]));
    bench.clock.advance(MINUTE * 3);
    bench.remember.update();
    let entry = bench.remember.history.find_run("quiet", "shared").unwrap();
    assert!(entry.is_live(), "{}", entry.state);
}
