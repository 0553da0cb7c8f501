//! [`Engine`]: the parts of the engine, put together from a plan and an open spool. The gateway and the single-threaded
//! simulation use the same parts. The engine spawns no task and binds no socket; tasks and threads are in
//! `crates/command/src/tasks.rs`, start and stop in `src/app`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use kernel::clock::Clock;
use kernel::rng::Rng;
use telemetry::{Meter, names};

use super::accounts::AccountLimiter;
use super::component::Exporter;
use super::delivery::DeliveryTracker;
use super::effects::Applier;
use super::inlet::ByteBudget;
use super::inlet::entry::{Inlet, InletParts};
use super::inquiry::ErrandRunner;
use super::offload::Offload;
use super::outlet::{Outlet, OutletContext, QUARANTINE};
use super::plan::WORKING_FACTOR;
use super::plan::{EnginePlan, OutletSettings};
use super::receipt::RequestRegistry;
use super::repeats::RepeatedRequests;
use super::route::PipelineRoutes;
use super::sampling::Sampler;
use super::sampling::rules::waiting_consumer;
use super::sequencer::{CHECKPOINT, Sequencer};
use super::spool::{ConsumerStatus, Spool};
use super::worker::{Worker, WorkerMetrics};
use super::workers::Workers;

#[cfg(test)]
mod tests;

/// Dependencies of the engine, which tests replace.
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
    /// One outlet per exporter, and a second one for each exporter with `in_memory`.
    pub outlets: Vec<Arc<Outlet>>,
    /// One per exporter that samples.
    pub samplers: Vec<Arc<Sampler>>,
    fill_trend: Mutex<SpoolFillTrend>,
    context: EngineContext,
}

impl Engine {
    /// Puts the parts together. `outlets` has settings by exporter id; exporters without an entry get the defaults.
    /// `other_consumers` are consumers of the spool besides the exporters.
    pub fn new(
        plan: &EnginePlan,
        outlets: &HashMap<Arc<str>, OutletSettings>,
        other_consumers: &[Arc<str>],
        context: EngineContext,
    ) -> Self {
        let EngineContext { spool, clock, rng, meter, .. } = &context;
        let processors = plan.processors();
        let applier = Arc::new(Applier::new(processors.clone(), meter));
        let delivery = Arc::new(DeliveryTracker::new(outlets, spool.next(), Arc::clone(clock), meter));
        let sequencer = Sequencer::new(
            Arc::clone(spool),
            Arc::clone(&applier),
            (&processors, &plan.effects_consumers),
            Arc::clone(&delivery),
            Arc::clone(clock),
            meter,
        );
        let exporters = plan.exporters();
        let rules_of = |exporter: &Arc<dyn Exporter>| {
            let rules = outlets.get(exporter.id()).and_then(|outlet| outlet.sample.clone())?;
            Some((Arc::clone(exporter.id()), rules, Arc::clone(plan.sample_states.as_ref()?)))
        };
        let sampled: Vec<_> = exporters.iter().filter_map(rules_of).collect();
        let sampled_ids: Vec<Arc<str>> = sampled.iter().map(|(id, ..)| Arc::clone(id)).collect();
        let repeats = RepeatedRequests::new(plan.limits.repeats);
        let registry = Arc::new(RequestRegistry::new(repeats, Arc::clone(clock), meter));
        let worker = Worker {
            routes: PipelineRoutes::new(plan, &sampled_ids, meter),
            sequencer: Arc::clone(&sequencer),
            applier: Arc::clone(&applier),
            registry,
            workers: Arc::clone(&context.workers),
            errands: Arc::clone(&context.errands),
            clock: Arc::clone(clock),
            rng: Arc::clone(rng),
            bisect_tries: plan.limits.bisect_tries,
            max_item_bytes: plan.limits.max_item_bytes,
            metrics: WorkerMetrics::new(meter),
        };
        let inlet = build_inlet(plan, Arc::new(worker), meter);
        let outlet_context = OutletContext {
            spool: Arc::clone(spool),
            offload: Arc::clone(&context.offload),
            clock: Arc::clone(clock),
            rng: Arc::clone(rng),
            meter: meter.clone(),
            delivery: Arc::clone(&delivery),
        };
        let samplers = (sampled.iter())
            .map(|(id, rules, runs)| Sampler::new(id, Arc::clone(rules), Arc::clone(runs), &outlet_context));
        let samplers = samplers.collect();
        let mut consumers: Vec<Arc<str>> = exporters.iter().map(|exporter| Arc::clone(exporter.id())).collect();
        consumers.extend([CHECKPOINT.into(), QUARANTINE.into()]);
        consumers.extend(other_consumers.iter().chain(&plan.effects_consumers).cloned());
        consumers.extend(exporters.iter().map(|exporter| waiting_consumer(exporter.id())));
        spool.set_configured_consumers(&consumers);
        let outlets = exporters.into_iter().flat_map(|exporter| {
            let settings = outlets.get(exporter.id()).cloned().unwrap_or_default();
            let outlet = Outlet::new(exporter, settings, outlet_context.clone());
            let memory_outlet = outlet.create_memory_outlet();
            std::iter::once(outlet).chain(memory_outlet)
        });
        let outlets = outlets.collect();
        Self { inlet, applier, sequencer, delivery, outlets, samplers, context, fill_trend: Mutex::default() }
    }

    /// Gives exporters that sample no longer what waited for a decision. To be called once, before outlets run.
    pub fn release_waiting(&self) {
        let is_sampled = |id: &Arc<str>| self.samplers.iter().any(|sampler| sampler.id() == id);
        for outlet in self.outlets.iter().filter(|outlet| !is_sampled(outlet.id())) {
            self.context.spool.transfer_all(&waiting_consumer(outlet.id()), outlet.id());
        }
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
        let seconds_left = self.fill_trend.lock().update(clock.monotonic(), status.available);
        meter.gauge(&names::SPOOL_TIME_LEFT, &[]).set(seconds_left);
        for outlet in self.outlets.iter().filter(|outlet| !outlet.is_memory_outlet()) {
            let consumer = status.consumers.iter().find(|consumer| consumer.name == *outlet.id());
            let labels = [("exporter", &**outlet.id())];
            let age_of = |consumer: Option<&ConsumerStatus>| consumer?.oldest.map(|oldest| now.since(oldest));
            let mut age = age_of(consumer).unwrap_or_default();
            if let Some(sampler) = self.samplers.iter().find(|sampler| sampler.id() == outlet.id()) {
                let waiting = waiting_consumer(outlet.id());
                let undecided = status.consumers.iter().find(|consumer| consumer.name == waiting);
                meter.gauge(&names::SAMPLE_WAITING, &labels).set(undecided.map_or(0, |all| all.records) as f64);
                // What waits longer than it may is late, as what the back end does not take.
                age = age.max(age_of(undecided).unwrap_or_default().saturating_sub(sampler.longest_wait()));
            }
            let in_memory = self.delivery.memory_queue(outlet.id()).map_or(0, |queue| queue.clients().0 as u64);
            let waiting = consumer.map_or(0, |consumer| consumer.records) + in_memory;
            meter.gauge(&names::QUEUE_SIZE, &labels).set(waiting as f64);
            meter.gauge(&names::QUEUE_CAPACITY, &labels).set(status.capacity(consumer) as f64);
            meter.gauge(&names::QUEUE_AGE, &labels).set(age.as_secs_f64());
        }
    }
}

fn build_inlet(plan: &EnginePlan, worker: Arc<Worker>, meter: &Meter) -> Arc<Inlet> {
    let routes = Arc::clone(&worker);
    Inlet::new(InletParts {
        accepts_signal: Box::new(move |receiver, signal| routes.routes.find(receiver, signal).is_some()),
        registry: Arc::clone(&worker.registry),
        tap: worker.sequencer.tap.clone(),
        budget: ByteBudget::new(plan.limits.in_flight_bytes / WORKING_FACTOR, plan.limits.admission_wait),
        limiter: AccountLimiter::new(plan.limits.accounts.clone(), Arc::clone(&worker.clock), meter),
        clock: Arc::clone(&worker.clock),
        queue: Box::new(move |request| {
            let owned = Arc::clone(&worker);
            worker.workers.submit(Box::new(move || owned.process_request(request)))
        }),
    })
}

/// How fast the spool fills.
#[derive(Default)]
struct SpoolFillTrend {
    /// Time (monotonic) and free bytes of the spool at the last update.
    last_sample: Option<(Duration, u64)>,
    /// Smoothed rate, bytes per second.
    rate: f64,
}

impl SpoolFillTrend {
    /// Time constant of the smoothing.
    const SMOOTHING_SECONDS: f64 = 300.0;
    /// Maximum of the reported time, also reported if the spool does not fill.
    const MAX_SECONDS_LEFT: f64 = 10_000.0 * 3600.0;

    /// Updates the rate; returns the seconds until the spool is full at this rate.
    fn update(&mut self, now: Duration, free_bytes: u64) -> f64 {
        if let Some((then, free_then)) = self.last_sample {
            let seconds = now.saturating_sub(then).as_secs_f64();
            if seconds > 0.0 {
                let current_rate = (free_then as f64 - free_bytes as f64) / seconds;
                let weight = 1.0 - (-seconds / Self::SMOOTHING_SECONDS).exp();
                self.rate += (current_rate - self.rate) * weight;
            }
        }
        self.last_sample = Some((now, free_bytes));
        if free_bytes == 0 {
            return 0.0;
        }
        if self.rate <= 0.0 {
            return Self::MAX_SECONDS_LEFT;
        }
        (free_bytes as f64 / self.rate).min(Self::MAX_SECONDS_LEFT)
    }
}
