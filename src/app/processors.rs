//! Builds processors, for a gateway and for a dry run: both use the wiring of `ProcessorSpec`, and a dry run has no
//! storage. The settings are in `components`.

use std::sync::Arc;

use crate::app::build::{BackgroundTask, GatewayDeps};
use crate::app::configured_component::ConfiguredComponent;
use crate::app::gateway_keys;
use crate::app::start_error::StartError;
use crate::app::valid_settings::ValidSettings;
use crate::components::{ProcessorSettings, id_text};
use budgets::{BudgetDesk, Scope};
use command::keyfile::random_key;
use command::tasks::Tasks;
use config::file::PipelineConfig;
use config::{ComponentId, env};
use echoes::FingerprintCache;
use genai::Vocabulary;
use kernel::pseudonym::Pseudonymizer;
use net::{ProxyRules, SharedServices};
use otlp::Signal;
use processors::redact::RedactConfig;
use processors::spec::{BuiltProcessor, ProcessorDeps, ProcessorSpec, ProcessorUnusable};
use redaction::RedactionIdPolicy;
use runs::RunSource;
use tracker::RunTracker;

/// The services that the processors of `valid` are built with, without storage. `vocabulary` is the built-in one, if it
/// was built before.
///
/// # Errors
/// The built-in dialects or rules are damaged.
pub(super) fn processor_deps(
    valid: &ValidSettings,
    pseudonyms: Pseudonymizer,
    services: SharedServices,
    vocabulary: Option<Vocabulary>,
) -> Result<ProcessorDeps, StartError> {
    let mut redactions: Vec<_> =
        valid.processors.iter().filter_map(|component| component.value.spec().profile().redaction).collect();
    // Without a `redact` processor, the built-in rules apply to ids and index columns.
    let builtin;
    if redactions.is_empty() {
        builtin = RedactConfig::default().settings().map_err(|problems| {
            StartError::new(problems.first().map_or_else(String::new, |problem| problem.message.clone()))
        })?;
        redactions.extend(builtin.profile().redaction);
    }
    let detectors = redactions.iter().map(|redaction| Arc::clone(redaction.detector)).collect();
    let sellers = valid.processors.iter().filter_map(|component| component.value.spec().profile().providers).flatten();
    let vocabulary = vocabulary.map_or_else(Vocabulary::builtin, Ok).map_err(|error| StartError::new(error.0))?;
    let mut policies = valid.processors.iter().filter_map(|component| component.value.spec().profile().closed_items);
    let policy = policies.next().cloned().unwrap_or_default();
    if policies.any(|other| *other != policy) {
        return Err(StartError::new(
            "the `vault` processors differ in `agents`, `unlisted`, `labels`, `privacy` or `statements`; set the same \
             in all of them",
        ));
    }
    Ok(ProcessorDeps {
        vocabulary: Arc::new(vocabulary.with_sellers(sellers).with_policy(policy)),
        ids: Arc::new(RedactionIdPolicy::new(detectors, pseudonyms)),
        fingerprints: Arc::new(FingerprintCache::new(&*services.rng)),
        max_error_text: redactions.iter().map(|redaction| redaction.max_error_text).min().unwrap_or_default(),
        max_scan: redactions.iter().map(|redaction| redaction.max_scan).min().unwrap_or_default(),
        services,
        storage: None,
    })
}

/// The services of a dry run, and whether its pseudonyms use a key that was generated for it. It reads the key file for
/// pseudonyms, creates nothing, and uses the environment's proxies only if a processor asks another service.
///
/// # Errors
/// See [`processor_deps`]; or a proxy of the environment can't be used.
pub(super) fn dry_run_deps(valid: &ValidSettings, deps: &GatewayDeps) -> Result<(ProcessorDeps, bool), StartError> {
    let key = gateway_keys::find_pseudonym_key(valid);
    let is_temporary = key.is_none();
    let pseudonyms = Pseudonymizer::new(&key.unwrap_or_else(|| random_key(&*deps.rng)));
    let calls_recogniser = valid.processors.iter().any(|component| component.value.spec().profile().calls_recogniser);
    let proxies = ProxyRules::from_env(&|name: &str| env::var(name).filter(|_| calls_recogniser))?;
    let services = deps.services(Tasks::new(&deps.meter), Arc::new(proxies));
    Ok((processor_deps(valid, pseudonyms.with_epoch(valid.pseudonym_epoch), services, None)?, is_temporary))
}

/// Builds one processor.
///
/// # Errors
/// It can't be used as configured.
pub(super) fn build_processor(
    ConfiguredComponent { id, value }: &ConfiguredComponent<ProcessorSettings>,
    pipelines: &[PipelineConfig],
    deps: &ProcessorDeps,
) -> Result<BuiltProcessor, ProcessorUnusable> {
    let signals: Vec<Signal> = pipelines_with(id, pipelines).map(|pipeline| pipeline.signal).collect();
    value.spec().build(&id_text(id), &signals, deps)
}

fn pipelines_with<'p>(
    processor: &ComponentId,
    pipelines: &'p [PipelineConfig],
) -> impl Iterator<Item = &'p PipelineConfig> {
    pipelines.iter().filter(move |pipeline| pipeline.processors.iter().any(|(id, _)| id == processor))
}

/// The processors of a configuration, in its order.
pub(super) struct BuiltProcessors(Vec<(ComponentId, BuiltProcessor)>);

impl BuiltProcessors {
    /// Builds every processor, and connects each tracker with the `cost` steps of its pipelines.
    ///
    /// # Errors
    /// The first processor that can't be used as configured.
    pub(super) fn build(valid: &ValidSettings, deps: &ProcessorDeps) -> Result<Self, StartError> {
        let build = |component: &ConfiguredComponent<ProcessorSettings>| {
            let id = component.id.clone();
            match build_processor(component, &valid.pipelines, deps) {
                Ok(built) => Ok((id, built)),
                Err(why @ ProcessorUnusable::Recogniser(_)) => {
                    let place = format!("processors.{id}.{}", why.field());
                    Err(StartError::new(why.to_string()).with_place(place))
                }
                Err(why) => Err(StartError::new(why.to_string())),
            }
        };
        let built = Self(valid.processors.iter().map(build).collect::<Result<_, _>>()?);
        // A tracker identifies models by the tables of the `cost` step in its pipeline. That step asks the tracker for
        // the tenant, feature and user of known runs.
        for (id, tracker) in built.trackers() {
            let steps = pipelines_with(id, &valid.pipelines).flat_map(|pipeline| &pipeline.processors);
            for step in steps.filter_map(|(step, _)| built.get(step)) {
                step.rate_tables.iter().for_each(|tables| tracker.set_rate_tables(Arc::clone(tables)));
                step.tracker_slot.iter().for_each(|slot| drop(slot.set(Arc::clone(tracker))));
            }
        }
        Ok(built)
    }

    fn get(&self, id: &ComponentId) -> Option<&BuiltProcessor> {
        self.0.iter().find(|(known, _)| known == id).map(|(_, built)| built)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &BuiltProcessor> {
        self.0.iter().map(|(_, built)| built)
    }

    pub(super) fn steps<'b>(&'b self, pipeline: &'b PipelineConfig) -> impl Iterator<Item = &'b BuiltProcessor> {
        pipeline.processors.iter().filter_map(|(id, _)| self.get(id))
    }

    pub(super) fn trackers(&self) -> impl Iterator<Item = (&ComponentId, &Arc<RunTracker>)> {
        self.0.iter().filter_map(|(id, built)| Some((id, built.tracker.as_ref()?)))
    }

    pub(super) fn run_sources(&self) -> Vec<Arc<dyn RunSource>> {
        self.trackers().map(|(_, tracker)| Arc::<RunTracker>::clone(tracker) as Arc<dyn RunSource>).collect()
    }

    /// The budgets of the `runs` processor that has some; only one may.
    pub(super) fn budget_desk(&self) -> Option<Arc<dyn BudgetDesk>> {
        let mut desks = self.trackers().map(|(_, tracker)| Arc::<RunTracker>::clone(tracker) as Arc<dyn BudgetDesk>);
        desks.find(|desk| desk.has_budgets())
    }

    /// What items must name so that budgets count them.
    pub(super) fn named_budget_scopes(&self) -> Vec<&'static str> {
        let named = [Scope::User, Scope::Tenant, Scope::Feature];
        let has = |scope: &Scope| self.trackers().any(|(_, tracker)| tracker.has_budgets_by(*scope));
        named.into_iter().filter(has).map(Scope::as_str).collect()
    }

    /// The receiver under which requests reach the budgets: one of a pipeline for traces with that processor.
    pub(super) fn budget_receiver(&self, pipelines: &[PipelineConfig]) -> Option<Arc<str>> {
        let (id, _) = self.trackers().find(|(_, tracker)| tracker.has_budgets())?;
        let pipeline = pipelines_with(id, pipelines).find(|pipeline| pipeline.signal == Signal::Traces)?;
        pipeline.receivers.first().map(|(receiver, _)| id_text(receiver))
    }

    pub(super) fn take_tasks(&mut self) -> Vec<BackgroundTask> {
        self.0.iter_mut().filter_map(|(_, built)| built.task.take()).collect()
    }
}
