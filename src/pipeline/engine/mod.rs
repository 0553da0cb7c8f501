//! **What**: [`Engine`]: the parts of the engine put together from a plan and an open spool.
//! **Why**: the app, and a simulation on one thread, run the same parts. **Invariants**: spawns and binds nothing.
//! **Not here**: tasks and threads (`app/tasks`), start and stop (`app/`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::rng::Rng;
use crate::telemetry::{Meter, names};

use super::effects::Applier;
use super::inlet::{ByteBudget, Inlet};
use super::inquiry::Errands;
use super::offload::Offload;
use super::outlet::{Outlet, QUARANTINE, Shared};
use super::plan::WORKING_FACTOR;
use super::receipt::Desk;
use super::repeats::Repeats;
use super::route::Routes;
use super::sequencer::{CHECKPOINT, Sequencer};
use super::spool::Spool;
use super::worker::{Metrics, Worker};
use super::workers::Workers;
use super::{EnginePlan, OutletSettings};

#[cfg(test)]
mod tests;

/// The seams that the engine is given.
#[derive(Clone)]
pub struct Context {
    /// The durable queue.
    pub spool: Arc<Spool>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids and jitter.
    pub rng: Arc<dyn Rng>,
    /// Metrics.
    pub meter: Meter,
    /// Runs disk and CPU work of outlets.
    pub offload: Arc<dyn Offload>,
    /// Runs requests.
    pub workers: Arc<dyn Workers>,
    /// Runs what steps ask outside.
    pub errands: Arc<dyn Errands>,
}

/// A running engine's parts.
pub struct Engine {
    /// Where requests come in.
    pub inlet: Arc<Inlet>,
    /// State of the processors.
    pub applier: Arc<Applier>,
    /// Order of commits.
    pub sequencer: Arc<Sequencer>,
    /// One per exporter.
    pub outlets: Vec<Arc<Outlet>>,
    context: Context,
}

impl Engine {
    /// Puts the parts together. `outlets`: settings by exporter id; those that are not named get the defaults.
    /// `others`: consumers of the spool besides the exporters.
    pub fn new(
        plan: &EnginePlan,
        outlets: &HashMap<Arc<str>, OutletSettings>,
        others: &[Arc<str>],
        context: Context,
    ) -> Self {
        let Context { spool, clock, rng, meter, .. } = &context;
        let processors = plan.processors();
        let applier = Arc::new(Applier::new(processors.clone(), meter));
        let sequencer = Sequencer::new(Arc::clone(spool), Arc::clone(&applier), &processors, Arc::clone(clock), meter);
        let desk = Arc::new(Desk::new(Repeats::new(plan.limits.repeats), Arc::clone(clock), meter));
        let worker = Worker {
            routes: Routes::new(plan),
            sequencer: Arc::clone(&sequencer),
            applier: Arc::clone(&applier),
            desk,
            workers: Arc::clone(&context.workers),
            errands: Arc::clone(&context.errands),
            clock: Arc::clone(clock),
            rng: Arc::clone(rng),
            bisect_tries: plan.limits.bisect_tries,
            metrics: Metrics::new(meter),
        };
        let budget = ByteBudget::new(plan.limits.in_flight_bytes / WORKING_FACTOR, plan.limits.admission_wait);
        let workers = Arc::clone(&context.workers);
        let inlet = Inlet::new(Arc::new(worker), workers, budget, Arc::clone(clock));
        let shared = Shared {
            spool: Arc::clone(spool),
            offload: Arc::clone(&context.offload),
            clock: Arc::clone(clock),
            rng: Arc::clone(rng),
            meter: meter.clone(),
        };
        let exporters = plan.exporters();
        let mut consumers: Vec<Arc<str>> = exporters.iter().map(|exporter| Arc::clone(exporter.id())).collect();
        consumers.extend([CHECKPOINT.into(), QUARANTINE.into()]);
        consumers.extend(others.iter().cloned());
        spool.expect(&consumers);
        let outlets = exporters.into_iter().map(|exporter| {
            let settings = outlets.get(exporter.id()).cloned().unwrap_or_default();
            Outlet::new(exporter, settings, shared.clone())
        });
        Self { inlet, applier, sequencer, outlets: outlets.collect(), context }
    }

    /// Once a second: lets processors see the time and brings gauges up to date.
    pub fn tick(&self) {
        let Context { spool, clock, meter, workers, .. } = &self.context;
        let now = clock.now();
        self.applier.tick(now);
        let budget = self.inlet.budget();
        meter.gauge(&names::IN_FLIGHT_BYTES, &[]).set(budget.in_use() as f64);
        meter.gauge(&names::IN_FLIGHT_LIMIT, &[]).set(budget.size() as f64);
        meter.gauge(&names::WORKERS_WAITING, &[]).set(workers.waiting() as f64);
        let status = spool.status();
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
