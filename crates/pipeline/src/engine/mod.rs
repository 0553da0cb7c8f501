//! [`Engine`]: the parts of the engine, put together from a plan and an open spool. The gateway and the single-threaded
//! simulation use the same parts. It spawns no task and binds no socket; tasks and threads are in `app/tasks`, start
//! and stop in `app/`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use kernel::clock::Clock;
use kernel::rng::Rng;
use telemetry::{Meter, names};

use super::accounts::AccountLimiter;
use super::delivery::DeliveryTracker;
use super::effects::Applier;
use super::inlet::ByteBudget;
use super::inlet::entry::Inlet;
use super::inquiry::ErrandRunner;
use super::offload::Offload;
use super::outlet::{Outlet, OutletContext, QUARANTINE};
use super::plan::WORKING_FACTOR;
use super::plan::{EnginePlan, OutletSettings};
use super::receipt::RequestRegistry;
use super::repeats::RepeatedRequests;
use super::route::PipelineRoutes;
use super::sequencer::{CHECKPOINT, Sequencer};
use super::spool::Spool;
use super::worker::{Worker, WorkerMetrics};
use super::workers::Workers;

#[cfg(test)]
mod tests;

/// The seams that the engine is given.
#[derive(Clone)]
pub struct EngineContext {
    /// The durable queue.
    pub spool: Arc<Spool>,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Source of ids and jitter.
    pub rng: Arc<dyn Rng>,
    /// Registry of the metrics.
    pub meter: Meter,
    /// Runs disk and CPU work of outlets.
    pub offload: Arc<dyn Offload>,
    /// Runs requests.
    pub workers: Arc<dyn Workers>,
    /// Runs the inquiries of processors.
    pub errands: Arc<dyn ErrandRunner>,
}

/// The parts of a running engine.
pub struct Engine {
    /// Entry point for requests.
    pub inlet: Arc<Inlet>,
    /// Applies effects to the state of the processors.
    pub applier: Arc<Applier>,
    /// Orders commits.
    pub sequencer: Arc<Sequencer>,
    /// Answers that wait for back ends, and the `max_pending` bounds.
    pub delivery: Arc<DeliveryTracker>,
    /// One outlet per exporter.
    pub outlets: Vec<Arc<Outlet>>,
    trend: Mutex<SpoolFillTrend>,
    context: EngineContext,
}

impl Engine {
    /// Puts the parts together. `outlets`: settings by exporter id, defaults for the others. `others`: consumers of the
    /// spool besides the exporters.
    pub fn new(
        plan: &EnginePlan,
        outlets: &HashMap<Arc<str>, OutletSettings>,
        others: &[Arc<str>],
        context: EngineContext,
    ) -> Self {
        let EngineContext { spool, clock, rng, meter, .. } = &context;
        let processors = plan.processors();
        let applier = Arc::new(Applier::new(processors.clone(), meter));
        let delivery = Arc::new(DeliveryTracker::new(outlets, spool.next(), Arc::clone(clock), meter));
        let (spool_too, applier_too, clock_too) = (Arc::clone(spool), Arc::clone(&applier), Arc::clone(clock));
        let sequencer = Sequencer::new(spool_too, applier_too, &processors, Arc::clone(&delivery), clock_too, meter);
        let desk = Arc::new(RequestRegistry::new(RepeatedRequests::new(plan.limits.repeats), Arc::clone(clock), meter));
        let worker = Worker {
            routes: PipelineRoutes::new(plan, meter),
            sequencer: Arc::clone(&sequencer),
            applier: Arc::clone(&applier),
            registry: desk,
            workers: Arc::clone(&context.workers),
            errands: Arc::clone(&context.errands),
            clock: Arc::clone(clock),
            rng: Arc::clone(rng),
            bisect_tries: plan.limits.bisect_tries,
            max_item_bytes: plan.limits.max_item_bytes,
            metrics: WorkerMetrics::new(meter),
        };
        let budget = ByteBudget::new(plan.limits.in_flight_bytes / WORKING_FACTOR, plan.limits.admission_wait);
        let workers = Arc::clone(&context.workers);
        let limiter = AccountLimiter::new(plan.limits.accounts.clone(), Arc::clone(clock), meter);
        let inlet = Inlet::new(Arc::new(worker), workers, budget, limiter, Arc::clone(clock));
        let shared = OutletContext {
            spool: Arc::clone(spool),
            offload: Arc::clone(&context.offload),
            clock: Arc::clone(clock),
            rng: Arc::clone(rng),
            meter: meter.clone(),
            delivery: Arc::clone(&delivery),
        };
        let exporters = plan.exporters();
        let mut consumers: Vec<Arc<str>> = exporters.iter().map(|exporter| Arc::clone(exporter.id())).collect();
        consumers.extend([CHECKPOINT.into(), QUARANTINE.into()]);
        consumers.extend(others.iter().cloned());
        spool.set_configured_consumers(&consumers);
        let outlets = exporters.into_iter().map(|exporter| {
            let settings = outlets.get(exporter.id()).cloned().unwrap_or_default();
            Outlet::new(exporter, settings, shared.clone())
        });
        Self { inlet, applier, sequencer, delivery, outlets: outlets.collect(), context, trend: Mutex::default() }
    }

    /// To be called once a second: calls the processors' `tick` and updates gauges.
    pub fn tick(&self) {
        let EngineContext { spool, clock, meter, workers, .. } = &self.context;
        let now = clock.now();
        self.applier.tick(now);
        self.delivery.answer_expired();
        self.delivery.expire(spool);
        self.delivery.check_bounds(spool);
        let budget = self.inlet.budget();
        meter.gauge(&names::IN_FLIGHT_BYTES, &[]).set(budget.in_use() as f64);
        meter.gauge(&names::IN_FLIGHT_LIMIT, &[]).set(budget.size() as f64);
        meter.gauge(&names::WORKERS_WAITING, &[]).set(workers.waiting_jobs() as f64);
        let status = spool.status();
        let left = self.trend.lock().time_left(clock.monotonic(), status.available);
        meter.gauge(&names::SPOOL_TIME_LEFT, &[]).set(left);
        for outlet in &self.outlets {
            let waiting = status.consumers.iter().find(|consumer| consumer.name == *outlet.id());
            let labels = [("exporter", &**outlet.id())];
            let age =
                waiting.and_then(|consumer| consumer.oldest).map_or(0.0, |oldest| now.since(oldest).as_secs_f64());
            meter.gauge(&names::QUEUE_SIZE, &labels).set(waiting.map_or(0, |consumer| consumer.records) as f64);
            meter.gauge(&names::QUEUE_CAPACITY, &labels).set(status.capacity(waiting) as f64);
            meter.gauge(&names::QUEUE_AGE, &labels).set(age);
        }
    }
}

/// How fast the spool fills.
#[derive(Default)]
struct SpoolFillTrend {
    /// Time (monotonic) and free bytes of the spool at the last update.
    last: Option<(Duration, u64)>,
    /// Bytes per second, smoothed.
    rate: f64,
}

impl SpoolFillTrend {
    /// Time constant of the smoothing, seconds.
    const SMOOTHING_SECONDS: f64 = 300.0;
    /// Reported if the spool does not fill: seconds.
    const MAX_SECONDS_LEFT: f64 = 10_000.0 * 3600.0;

    /// Seconds until the spool is full at the present rate.
    fn time_left(&mut self, now: Duration, left: u64) -> f64 {
        if let Some((then, before)) = self.last {
            let seconds = now.saturating_sub(then).as_secs_f64();
            if seconds > 0.0 {
                let present = (before as f64 - left as f64) / seconds;
                let weight = 1.0 - (-seconds / Self::SMOOTHING_SECONDS).exp();
                self.rate += (present - self.rate) * weight;
            }
        }
        self.last = Some((now, left));
        if left == 0 {
            return 0.0;
        }
        if self.rate <= 0.0 {
            return Self::MAX_SECONDS_LEFT;
        }
        (left as f64 / self.rate).min(Self::MAX_SECONDS_LEFT)
    }
}
