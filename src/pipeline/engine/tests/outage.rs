//! One back end is away for hours: what that costs the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::clock::{Clock, ManualClock, UnixNanos};
use crate::pipeline::{Exporter, LONGEST_WISH, Outcome, OutletSettings, Processor};
use crate::rng::SeededRng;
use crate::testing::back_end::{BackEnd, Weather};
use crate::testing::drive::drive;
use crate::testing::engine::{Step, padded};
use crate::testing::rig::{Parts, Rig};

const MINUTE: Duration = Duration::from_secs(60);

/// One back end is dead, hangs or is half-open for six hours: the other one has each batch within a minute, memory of the sick one's outlet
/// stays within its window, nothing is lost, and the backlog of six hours drains in minutes once it is back.
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
        // as long as a back end may ask to be left alone, and a tenth, and the drain
        while rig.spool.pending_bytes("sick") > 0 {
            assert!(clock.monotonic() - back < LONGEST_WISH + 10 * MINUTE, "{weather:?}: it does not drain");
            minute(&mut rig, None);
        }
        assert!(names.iter().all(|name| sick.fate(name).taken == 1), "each once");
    }
}
