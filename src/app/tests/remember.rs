//! Recording of history: a file that becomes available late, details for all accounts, runs that share an id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::super::build::GatewayDeps;
use super::super::history_recorder::HistoryRecorder;
use command::tasks::Tasks;
use history::testing::view;
use history::{FailedSpans, HistoryWrite, RunHistory};
use kernel::clock::{Clock, UnixNanos};
use pages::SharedHistoryStore;
use pipeline::spool::SpoolKey;
use runs::{
    InvestigationStats, MeasureAggregate, RunBudget, RunCatalog, RunDetail, RunState, RunStep, RunSums, RunView,
};

const MINUTE: u64 = 60_000_000_000;
const START: u64 = 1_800_000_000_000_000_000;

struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.0.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A board with fixed runs; for a shared id it returns the first run.
#[derive(Default)]
struct Shown(Mutex<Vec<RunView>>);

impl RunCatalog for Shown {
    fn recent_runs(&self, most: usize) -> Vec<RunView> {
        self.0.lock().iter().take(most).cloned().collect()
    }
    fn find_run(&self, id: &str) -> Option<RunDetail> {
        let view = self.0.lock().iter().find(|view| view.run == id).cloned()?;
        Some(RunDetail { view, steps: Some(vec![RunStep::default()]), step_count: 1 })
    }
    fn find_run_of_account(&self, account: &str, id: &str) -> Option<RunDetail> {
        let view = self.0.lock().iter().find(|view| view.run == id && view.account == account).cloned()?;
        Some(RunDetail { view, steps: Some(vec![RunStep::default()]), step_count: 1 })
    }
    fn budget(&self, _: &str, _: &str) -> Option<RunBudget> {
        None
    }
    fn sums(&self) -> RunSums {
        RunSums::default()
    }
    fn investigations(&self) -> BTreeMap<String, InvestigationStats> {
        BTreeMap::new()
    }
    fn measures(&self) -> Vec<MeasureAggregate> {
        Vec::new()
    }
    fn alerts(&self) -> Vec<runs::Alert> {
        Vec::new()
    }
}

struct Bench {
    clock: Arc<Hand>,
    board: Arc<Shown>,
    remember: HistoryRecorder,
}

fn bench(folder: &std::path::Path) -> Bench {
    let (clock, board) = (Arc::new(Hand(AtomicU64::new(START))), Arc::new(Shown::default()));
    let seams = GatewayDeps { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..GatewayDeps::system() };
    let remember = HistoryRecorder {
        catalog: Arc::clone(&board) as Arc<dyn RunCatalog>,
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
    Bench { clock, board, remember }
}

fn ended(account: &str, run: &str) -> RunView {
    RunView { account: account.into(), ..view(run, 5, 1, RunState::Ended, None, 1) }
}

/// Opening an unusable file is retried; then the history is restored, and what happened meanwhile is written.
#[test]
fn a_file_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = bench(folder.path());
    first.remember.prepare();
    first.board.0.lock().push(ended("default", "past"));
    first.remember.update();
    drop(first);
    let log = folder.path().join("history.sqlite-wal");
    std::fs::remove_file(&log).ok();
    std::fs::create_dir(&log).unwrap();
    let later = bench(folder.path());
    later.remember.prepare();
    later.board.0.lock().push(ended("default", "meanwhile"));
    later.remember.update();
    assert!(later.remember.store.lock().is_none() && later.remember.history.all_runs().len() == 1);
    std::fs::remove_dir(&log).unwrap();
    later.clock.0.fetch_add(MINUTE, Ordering::Relaxed);
    later.remember.update();
    assert!(later.remember.history.find_run("default", "past").is_some());
    drop(later);
    let again = bench(folder.path());
    again.remember.prepare();
    assert_eq!(again.remember.history.all_runs().len(), 2);
}

/// Many runs of one account that end at once leave details for runs of other accounts, even for a run with the same id.
#[test]
fn runs_of_all_accounts_have_details() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path());
    bench.remember.prepare();
    let flood = (0..100).map(|run| ended("flood", &format!("r{run}")));
    bench.board.0.lock().extend(flood.chain([ended("quiet", "r0"), ended("quiet", "own")]));
    bench.remember.update();
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
    let bench = bench(folder.path());
    bench.remember.prepare();
    let live = |account: &str| RunView { account: account.into(), ..view("shared", 5, 1, RunState::Live, None, 1) };
    bench.board.0.lock().push(live("quiet"));
    bench.remember.update();
    // Many runs of others hide it from the next updates.
    let others = (0..200).map(|run| ended("flood", &format!("r{run}")));
    *bench.board.0.lock() = [live("flood")].into_iter().chain(others).chain([live("quiet")]).collect();
    bench.remember.update();
    bench.clock.0.fetch_add(3 * MINUTE, Ordering::Relaxed);
    bench.remember.update();
    let entry = bench.remember.history.find_run("quiet", "shared").unwrap();
    assert!(entry.is_live(), "{}", entry.state);
}
