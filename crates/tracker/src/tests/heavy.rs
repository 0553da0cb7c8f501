//! Groups that take long to evaluate: their alerts are still timely, and a sender's cost is bounded.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::support::*;
use crate::group::PublicationRecord;
use crate::timeline::tests::steps;
use genai::testing::request;
use kernel::clock::UnixNanos;
use pipeline::Processor;
use runs::{Alert, RunCatalog};
use telemetry::Meter;

/// A live run of a heavy session.
struct Scene {
    line: Line,
    meter: Meter,
    now: UnixNanos,
    calls: u64,
}

impl Scene {
    fn new() -> Self {
        let meter = Meter::new();
        let line = Line::new(runs_with(settings(), &meter));
        line.runs.tick(NOW);
        let mut scene = Self { line, meter, now: NOW, calls: 0 };
        scene.call(1);
        let mut state = scene.line.runs.state.lock();
        state.store.change_group(0, |group| {
            // replaces thousands of items, which would make the test too slow
            (1..200_000).for_each(|key| {
                group.published.insert(key << 20, PublicationRecord::default());
            });
        });
        drop(state);
        scene.call(1);
        // after this evaluation nothing is due for a quarter of a minute
        (0..40).for_each(|_| scene.second());
        scene
    }

    fn call(&mut self, count: u64) {
        self.call_in(1, count);
    }

    fn call_in(&mut self, trace: u64, count: u64) {
        let whose = merged(usage("m", 1, 1), &json!({"session.id": "s"}));
        let call = |n: u64| span("chat", [trace, 10 + n, 1], [n, n + 1], &whose);
        let items: Vec<Json> = (self.calls..self.calls + count).map(call).collect();
        self.calls += count;
        self.line.play(request::payload(&json!({"items": items})));
    }

    fn second(&mut self) {
        self.now = self.now.plus(Duration::from_secs(1));
        self.line.runs.tick(self.now);
    }

    fn alert(&self, rule: &str) -> Option<Alert> {
        self.line.runs.alerts().into_iter().find(|alert| alert.rule.as_str() == rule)
    }

    /// Seconds until an alert fires.
    fn until(&mut self, rule: &str) -> u64 {
        let waits = |scene: &mut Self| {
            scene.second();
            scene.alert(rule).is_none()
        };
        1 + (0..60).take_while(|_| waits(self)).count() as u64
    }
}

/// A ceiling's alert, and its warning, fire within 5 s of the crossing, once each. Regression test: the alert waited
/// for the group's next evaluation, a quarter of a minute later.
#[test]
fn a_ceiling_is_told_in_time() {
    let mut scene = Scene::new();
    scene.call(37);
    (0..10).for_each(|_| scene.second());
    assert!(scene.line.runs.alerts().is_empty(), "39 of 50");
    scene.call(1);
    let near = scene.until("iteration_ceiling_warning");
    scene.call(9);
    (0..10).for_each(|_| scene.second());
    assert!(scene.alert("iteration_ceiling").is_none(), "49 of 50");
    scene.call(1);
    let ceiling = scene.until("iteration_ceiling");
    assert!(near <= 5 && ceiling <= 5, "{near} s, {ceiling} s");
    for _ in 0..50 {
        scene.call(1);
        scene.second();
    }
    (0..35).for_each(|_| scene.second());
    assert_eq!(scene.alert("iteration_ceiling").map(|alert| alert.value), Some(scene.calls as f64), "it keeps up");
    let text = scene.meter.render();
    for rule in ["iteration_ceiling", "iteration_ceiling_warning"] {
        let counted = format!("agent_alert_total{{rule=\"{rule}\",tenant=\"unattributed\"}} 1\n");
        assert!(text.contains(&counted), "{text}");
    }
}

/// Items sent to a heavy group cause another evaluation only if a ceiling may have been crossed: not for tools, nor
/// for calls of a run that is far from it or whose alerts fired.
#[test]
fn items_do_not_make_a_heavy_group_be_looked_through() {
    let mut scene = Scene::new();
    let each = steps(|| drop(scene.line.runs.recent_runs(1)));
    // a minute has two regular evaluations, and one that was in progress when the group became heavy
    let minute = |scene: &mut Scene, calls: u64| {
        steps(|| {
            (0..60).for_each(|second| {
                scene.call(u64::from(second % 2 == 0) * calls);
                scene.second();
            });
        })
    };
    let quiet = minute(&mut scene, 1);
    assert!(quiet <= 6 * (each + 32), "{quiet} steps for 30 calls below the ceiling, {each} a pass");
    minute(&mut scene, 1);
    assert!(scene.alert("iteration_ceiling").is_some(), "{}", scene.calls);
    let fired = minute(&mut scene, 30);
    assert!(fired <= 6 * (each + 1000), "{fired} steps for 900 calls above it, {each} a pass");
}

/// Many runs of a heavy session cross their ceilings, with calls in any order: every alert is timely.
#[test]
fn every_crossing_is_told_in_time() {
    let mut scene = Scene::new();
    let mut draw = 7_u64;
    let mut counts = [0_u64; 12];
    let mut crossed: Vec<(u64, String)> = Vec::new();
    for second in 0..240 {
        for _ in 0..3 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (draw >> 33) as usize % counts.len();
            let count = 1 + (draw >> 50) % 3;
            let before = counts[at];
            counts[at] += count;
            scene.call_in(100 + at as u64, count);
            if before < 50 && counts[at] >= 50 {
                crossed.push((second, format!("{:032}", 100 + at)));
            }
        }
        scene.second();
        let told = scene.line.runs.alerts();
        let is_told =
            |run: &str| told.iter().any(|alert| alert.rule.as_str() == "iteration_ceiling" && alert.run == run);
        let late = crossed.iter().find(|(at, run)| second >= at + 5 && !is_told(run));
        assert!(late.is_none(), "{late:?} at {second}: {counts:?}");
    }
    assert!(crossed.len() > 9, "{counts:?}");
}
