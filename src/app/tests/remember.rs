//! Recording of history: a file that becomes available late, and runs that could not be written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use super::super::build::GatewayDeps;
use super::super::history_recorder::HistoryRecorder;
use command::tasks::Tasks;
use history::testing::view;
use history::{FailedSpans, RunBoard};
use kernel::clock::{Clock, ManualClock, UnixNanos};
use pipeline::spool::SpoolKey;
use runs::testing::runs::{Made, NOW as START, detail};
use runs::{EndedRuns, RunSource, RunState, run_key};

const MINUTE: Duration = Duration::from_secs(60);

struct Bench {
    clock: Arc<ManualClock>,
    tracker: Arc<Made>,
    recorder: HistoryRecorder,
}

fn bench(folder: &std::path::Path) -> Bench {
    let clock = ManualClock::at(UnixNanos(START));
    let deps = GatewayDeps { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..GatewayDeps::system() };
    let tracker = Arc::<Made>::default();
    let recorder = HistoryRecorder {
        runs: RunBoard { sources: vec![Arc::<Made>::clone(&tracker)], ..RunBoard::default() },
        failures: Arc::<FailedSpans>::default(),
        file: folder.join("history.sqlite"),
        keys: vec![SpoolKey::from_bytes([1; 32])],
        keep_runs: 0,
        services: deps.services(Tasks::new(&deps.meter), Arc::new(net::ProxyRules::direct())),
        is_failing: AtomicBool::new(false),
        reopen_at: AtomicU64::new(0),
    };
    recorder.prepare();
    Bench { clock, tracker, recorder }
}

impl Bench {
    /// A run ends in the tracker, then the recorder runs.
    fn end(&self, run: &str) {
        let view = view(run, 5, 1, RunState::Ended, None, 1);
        let ended = vec![(run_key("default", run), detail(&view, &[]))];
        self.tracker.give_back(EndedRuns { ended, removed: Vec::new() });
        self.recorder.update();
    }

    fn has(&self, run: &str) -> bool {
        self.recorder.runs.find_run("default", run).is_some()
    }
}

/// Opening an unusable file is retried; what ended meanwhile waits in the tracker and is written then.
#[test]
fn a_file_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    bench(folder.path()).end("past");
    let log = folder.path().join("history.sqlite-wal");
    std::fs::remove_file(&log).ok();
    std::fs::create_dir(&log).unwrap();
    let later = bench(folder.path());
    later.end("meanwhile");
    assert!(later.recorder.runs.store.lock().is_none() && !later.has("past"));
    assert_eq!(later.tracker.ended.lock().ended.len(), 1, "it waits");
    std::fs::remove_dir(&log).unwrap();
    later.clock.advance(MINUTE);
    later.recorder.update();
    assert!(later.has("past") && later.has("meanwhile"));
    drop(later);
    let again = bench(folder.path());
    assert!(again.has("past") && again.has("meanwhile"));
}
