//! Groups that take long to look at: their alerts come in time all the same, and what a sender costs stays bounded.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::support::*;
use crate::group::Announced;
use crate::timeline::tests::steps;
use genai::testing::request;
use kernel::clock::UnixNanos;
use pipeline::Processor;
use runs::{Alert, Board};
use telemetry::Meter;

const T0: u64 = 1_795_166_000;

/// A live run of a session that is heavy.
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
        state.store.change(0, |group| {
            // stands for thousands of items, which would take a test too long
            (1..200_000).for_each(|key| drop(group.announced.insert(key << 20, Announced::default())));
        });
        drop(state);
        scene.call(1);
        // the look after which nothing is due for a quarter of a minute
        (0..40).for_each(|_| scene.second());
        scene
    }

    fn call(&mut self, count: u64) {
        let call = |n: u64| {
            json!({"name": "chat", "trace": 1, "span": 10 + n, "parent": 1, "start": T0 + n, "end": T0 + n + 1, "attributes": {
                "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "session.id": "s", "gen_ai.request.model": "m",
                "gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 1}})
        };
        let items: Vec<Json> = (self.calls..self.calls + count).map(call).collect();
        self.calls += count;
        self.line.play(request::payload(&json!({"items": items})));
    }

    fn second(&mut self) {
        self.now = self.now.plus(Duration::from_secs(1));
        self.line.runs.tick(self.now);
    }

    fn alert(&self, rule: &str) -> Option<Alert> {
        self.line.runs.alerts().into_iter().find(|alert| alert.rule == rule)
    }

    /// Seconds until an alert holds.
    fn until(&mut self, rule: &str) -> u64 {
        let waits = |scene: &mut Self| {
            scene.second();
            scene.alert(rule).is_none()
        };
        1 + (0..60).take_while(|_| waits(self)).count() as u64
    }
}

/// A ceiling's alert comes within 5 s of the crossing (it came with the group's next look, a quarter of a minute later), the warning
/// before it too, each once.
#[test]
fn a_ceiling_is_told_in_time() {
    let mut scene = Scene::new();
    scene.call(37);
    (0..10).for_each(|_| scene.second());
    assert!(scene.line.runs.alerts().is_empty(), "39 of 50");
    scene.call(1);
    let near = scene.until("iteration_ceiling_near");
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
    for rule in ["iteration_ceiling", "iteration_ceiling_near"] {
        let counted = format!("agent_alert_total{{rule=\"{rule}\",tenant=\"unattributed\"}} 1\n");
        assert!(text.contains(&counted), "{text}");
    }
}

/// Whoever sends into a heavy group all the time makes it be gone through once in some seconds, not at each batch.
#[test]
fn items_do_not_make_a_heavy_group_be_looked_through() {
    let mut scene = Scene::new();
    let each = steps(|| drop(scene.line.runs.recent(1)));
    let spent = steps(|| {
        for _ in 0..60 {
            (0..5).for_each(|_| scene.call(1));
            scene.second();
        }
    });
    // calls are added meanwhile: none of these passes is over more than all of them
    let most = each + 300;
    assert!(spent <= 18 * most, "{spent} steps in a minute, {most} a pass");
}
