//! Tests of the effect that one back end's outage of hours has on the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::back_end::{BackEnd, Weather};
use kernel::clock::{Clock, ManualClock, UnixNanos};
use kernel::rng::SeededRng;
use otlp::Signal;
use pipeline::testing::drive::drive;
use pipeline::testing::engine::{Step, logs, padded, spans};
use pipeline::testing::rig::{Parts, Rig};
use pipeline::testing::sim_disk::SimDisk;
use pipeline::{AckMode, Exporter, MAX_RETRY_AFTER, Outcome, OutletSettings, PipelinePlan, Processor};

const MINUTE: Duration = Duration::from_secs(60);

/// One back end is down, hangs or is half-open for six hours. The other one receives each batch within a minute, the
/// memory of the failing one's outlet stays within its window, nothing is lost, and the backlog drains within minutes
/// once the back end is healthy.
#[test]
fn a_dead_back_end_holds_up_nobody() {
    for weather in [Weather::Dead, Weather::HalfOpen, Weather::Unavailable, Weather::Limits, Weather::Denies] {
        let clock = ManualClock::at(UnixNanos(1_700_000_000_000_000_000));
        let rng = Arc::new(SeededRng::new(7));
        let (sick, well) = (BackEnd::new("sick", false, &clock, &rng), BackEnd::new("well", true, &clock, &rng));
        well.heal();
        sick.set(weather, 6 * 60 * MINUTE);
        let exporters: Vec<Arc<dyn Exporter>> = vec![sick.clone(), well.clone()];
        let clear: Arc<dyn Processor> = Step::clear("clear");
        let mut parts = Parts::new(vec![clear], exporters);
        parts.clock = Arc::clone(&clock);
        parts.outlets = OutletSettings { window_bytes: 16 << 10, merge_bytes: 2_000, ..OutletSettings::default() };
        let folder = tempfile::tempdir().unwrap();
        let mut rig = parts.open(folder.path());
        let stop = watch::Sender::new(false);
        let outlets: Vec<_> = rig.engine.outlets.iter().map(|one| Arc::clone(one).run(stop.subscribe())).collect();
        let mut outlets = join_all(outlets).boxed();
        let mut names = Vec::new();
        let mut minute = |rig: &mut Rig, name: Option<&str>| {
            let answer = name.map(|name| rig.submit(padded(&[name], 80)));
            drive(&clock, MINUTE, &mut outlets, || rig.commit().committed > 0);
            assert!(answer.is_none_or(|answer| answer.now_or_never() == Some(Outcome::Accepted)));
        };
        for n in 0..360 {
            let name = format!("item-{n}");
            minute(&mut rig, Some(&name));
            assert_eq!(rig.spool.pending_bytes("well"), 0, "minute {n} of {weather:?}");
            names.push(name);
        }
        assert!(names.iter().all(|name| sick.fate(name).taken == 0 && well.fate(name).taken == 1));
        assert!(rig.spool.pending_bytes("sick") > 50_000, "it waits");
        assert!(sick.peak.load(Ordering::SeqCst) <= OutletSettings::default().consumers);
        sick.heal();
        let back = clock.monotonic();
        // the longest wait that a back end may ask for, a tenth of it, and the time to drain
        while rig.spool.pending_bytes("sick") > 0 {
            assert!(clock.monotonic() - back < MAX_RETRY_AFTER + 10 * MINUTE, "{weather:?}: it does not drain");
            minute(&mut rig, None);
        }
        assert!(names.iter().all(|name| sick.fate(name).taken == 1), "each once");
    }
}

/// A back end answers 404 to logs for six hours, while far more logs arrive than are read ahead. With any outlet
/// settings each trace arrives within its minute. Once logs are accepted, all waiting ones arrive within minutes, each
/// once, and traces still arrive.
#[test]
fn a_signal_that_is_refused_holds_up_no_other() {
    for seed in 0..24 {
        let clock = ManualClock::at(UnixNanos(1_700_000_000_000_000_000));
        let rng = Arc::new(SeededRng::new(seed));
        let pick = |below: u64| rng.next() % below;
        let one = BackEnd::new("x", pick(2) == 0, &clock, &rng);
        one.set(Weather::Well, 24 * 60 * MINUTE);
        one.refuse(Signal::Logs);
        let clear: Arc<dyn Processor> = Step::clear("clear");
        let mut parts = Parts::new(vec![clear], vec![one.clone()]);
        let traces = parts.pipelines[0].clone();
        parts.pipelines.push(PipelinePlan { id: "logs".into(), signal: Signal::Logs, ..traces });
        parts.clock = Arc::clone(&clock);
        parts.disk = Arc::new(SimDisk::new());
        parts.outlets = OutletSettings {
            consumers: 1 + usize::try_from(pick(4)).unwrap(),
            window_bytes: 1 + usize::try_from(pick(20_000)).unwrap(),
            merge_bytes: 1 + usize::try_from(pick(3_000)).unwrap(),
            ack: [AckMode::Spooled, AckMode::Spooled, AckMode::Delivered][usize::try_from(pick(3)).unwrap()],
            max_pending: (pick(3) == 0).then_some(8 << 20),
            ..OutletSettings::default()
        };
        let mut rig = parts.open(std::path::Path::new("/sim"));
        let stop = watch::Sender::new(false);
        let mut run = Arc::clone(&rig.engine.outlets[0]).run(stop.subscribe()).boxed();
        let (mut all, mut turn) = (Vec::new(), 0);
        let mut minute = |rig: &mut Rig, all: &mut Vec<String>, many: u64| {
            turn += 1;
            for n in 0..many {
                let name = format!("log-{turn}-{n}");
                drop(rig.submit_signal("default", Signal::Logs, logs(&[&name])));
                all.push(name);
            }
            let name = format!("trace-{turn}");
            drop(rig.submit(spans(&[&name])));
            drive(&clock, MINUTE, &mut run, || rig.commit().committed > 0);
            assert_eq!(one.fate(&name).taken, 1, "minute {turn} of seed {seed}");
            all.push(name);
        };
        for _ in 0..360 {
            minute(&mut rig, &mut all, 1 + rng.next() % 6);
        }
        assert!(rig.spool.pending_bytes("x") > 50_000, "logs wait");
        one.heal();
        for _ in 0..20 {
            minute(&mut rig, &mut all, 1);
        }
        assert_eq!(rig.spool.pending_bytes("x"), 0, "seed {seed}");
        assert!(all.iter().all(|name| one.fate(name).taken == 1), "each once");
    }
}
