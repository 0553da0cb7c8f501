//! Runs outlets and background tasks, and handles their panics. Otherwise clients would still get OKs, and the missing
//! delivery would show only once the spool is full. An outlet restarts at its cursor after a pause, so requests in
//! flight are sent again. A background task that panicked makes the gateway unready, under its name. Panics of other
//! tasks are counted and logged in `tasks`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;

use super::RunningGateway;
use super::build::BackgroundTask;
use telemetry::names;

/// The first and the longest pause before an outlet restarts; it doubles with each restart.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// The `/readyz` message about a background task that panicked.
const TASK_PANICKED: &str = "panicked and has stopped; restart tollgate";

impl RunningGateway {
    /// Runs outlets and background tasks until they are asked to finish.
    pub(super) fn spawn_supervised(&self, background_tasks: Vec<BackgroundTask>) {
        for outlet in &self.engine.outlets {
            let (id, outlet) = (Arc::clone(outlet.id()), Arc::clone(outlet));
            self.spawn_restarting("outlet", id, move |finish| Arc::clone(&outlet).run(finish));
        }
        for sampler in &self.engine.samplers {
            let (id, sampler) = (Arc::clone(sampler.id()), Arc::clone(sampler));
            self.spawn_restarting("sampler", id, move |finish| Arc::clone(&sampler).run(finish));
        }
        for BackgroundTask { name, run, .. } in background_tasks {
            let run = run(self.stops.finish.subscribe());
            let (health, count_panic) = (self.deps.health.clone(), self.panic_counter(name));
            let run_task = async move {
                if AssertUnwindSafe(run).catch_unwind().await.is_err() {
                    count_panic();
                    tracing::error!(task = name, "a background task panicked and has stopped; restart tollgate");
                    health.set(name, Some(TASK_PANICKED));
                }
            };
            self.spawn_until_end(name, run_task, Some(self.finishing_tasks.add_member()));
        }
    }

    /// Runs a part of an exporter's delivery, again after a panic, which repeats what was in progress.
    fn spawn_restarting<F: Future<Output = ()> + Send + 'static>(
        &self,
        part: &'static str,
        exporter: Arc<str>,
        run: impl Fn(watch::Receiver<bool>) -> F + Send + Sync + 'static,
    ) {
        let finish = self.stops.finish.subscribe();
        let (clock, count_panic) = (Arc::clone(&self.deps.clock), self.panic_counter(part));
        let run_part = async move {
            let mut pause = RESTART_PAUSE.0;
            loop {
                if AssertUnwindSafe(run(finish.clone())).catch_unwind().await.is_ok() {
                    return;
                }
                count_panic();
                tracing::error!(exporter = &*exporter, part, "a part of the delivery panicked; it restarts");
                if *finish.borrow() {
                    return;
                }
                clock.sleep(pause).await;
                pause = (pause * 2).min(RESTART_PAUSE.1);
            }
        };
        self.spawn_until_end(part, run_part, Some(self.finishing_tasks.add_member()));
    }

    fn panic_counter(&self, place: &'static str) -> impl Fn() + Send + use<> {
        let counter = self.deps.meter.counter(&names::PANICS, &[("place", place)]);
        move || counter.increment(1)
    }
}
