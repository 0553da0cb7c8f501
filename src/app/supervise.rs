//! Runs outlets and companions, and handles their panics. Clients would go on getting OKs, and data that is no longer
//! delivered would show only once the spool is full. An outlet restarts at its cursor after a pause, so requests in
//! flight are sent again. A companion that panicked makes the gateway unready, under its name. Panics of other tasks
//! are counted and logged in `tasks`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::RunningGateway;
use super::build::BackgroundTask;
use telemetry::names;

/// Pause before an outlet restarts; it doubles from the first to the second value.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// The `/readyz` message about a companion that panicked.
const TASK_PANICKED: &str = "panicked and has stopped; restart tollgate";

impl RunningGateway {
    /// Runs outlets and companions until they are asked to finish.
    pub(super) fn spawn_supervised(&self, companions: Vec<Arc<dyn BackgroundTask>>) {
        for outlet in &self.engine.outlets {
            let (outlet, finish) = (Arc::clone(outlet), self.stops.finish.subscribe());
            let (clock, panics) = (Arc::clone(&self.seams.clock), self.panic_counter("outlet"));
            let task = async move {
                let mut rest = RESTART_PAUSE.0;
                loop {
                    let run = AssertUnwindSafe(Arc::clone(&outlet).run(finish.clone()));
                    if run.catch_unwind().await.is_ok() {
                        return;
                    }
                    panics();
                    tracing::error!(exporter = &**outlet.id(), "an outlet panicked; it restarts at its cursor");
                    if *finish.borrow() {
                        return;
                    }
                    clock.sleep(rest).await;
                    rest = (rest * 2).min(RESTART_PAUSE.1);
                }
            };
            self.spawn_until_end("outlet", task, Some(self.finishing_tasks.add_member()));
        }
        for companion in companions {
            let (name, run) = (companion.name(), companion.run(self.stops.finish.subscribe()));
            let (health, panics) = (self.seams.health.clone(), self.panic_counter(name));
            let task = async move {
                if AssertUnwindSafe(run).catch_unwind().await.is_err() {
                    panics();
                    tracing::error!(task = name, "a background task panicked and has stopped; restart tollgate");
                    health.set(name, Some(TASK_PANICKED));
                }
            };
            self.spawn_until_end(name, task, Some(self.finishing_tasks.add_member()));
        }
    }

    fn panic_counter(&self, place: &'static str) -> impl Fn() + Send + use<> {
        let counter = self.seams.meter.counter(&names::PANICS, &[("place", place)]);
        move || counter.increment(1)
    }
}
