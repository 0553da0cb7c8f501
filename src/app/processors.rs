//! [`BuiltProcessors`]: builds every configured processor and what comes with it (trackers, rate tables, vaults). This
//! is the one place that knows how each is wired. Settings are in `components`; the order is that of the pipelines.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::app::build::{BackgroundTask, GatewayResources};
use crate::app::configured_component::ConfiguredComponent;
use crate::app::erasure_reports::ErasureReportTarget;
use crate::app::rates_refresh::RatesRefreshTask;
use crate::app::start_error::StartError;
use crate::app::vaults::{self, BuiltVault};
use crate::components::{ProcessorSettings, id_text};
use ::otlp::Signal;
use ::vault::chain::note::SigningKey;
use config::ComponentId;
use config::file::PipelineConfig;
use genai::Vocabulary;
use kernel::files::parent_folder;
use net::ProxyRules;
use pipeline::Processor;
use processors::attributes::AttributesProcessor;
use processors::cost::{self, CostProcessor};
use processors::filter::FilterProcessor;
use processors::normalize::NormalizeProcessor;
use processors::redact::{self, RedactProcessor};
use processors::resource::ResourceProcessor;
use processors::vault::{self, EchoFinder};
use rates::ActiveRates;
use recogniser::{self, PresidioClient, TextRecogniser};
use redaction::RedactionIdPolicy;
use runs::{CombinedRunCatalog, RunCatalog};
use tracker::RunTracker;

/// The resources that processors are built from.
pub(super) struct ProcessorResources<'p> {
    pub(super) resources: &'p GatewayResources,
    pub(super) vocabulary: &'p Arc<Vocabulary>,
    /// The policy for ids, shared so that an id has one form everywhere.
    pub(super) ids: &'p Arc<RedactionIdPolicy>,
    /// The memory of stripped content, shared by all vaults.
    pub(super) echo_finder: &'p EchoFinder,
    pub(super) proxies: &'p Arc<ProxyRules>,
    /// The signing keys of the vaults, by vault id.
    pub(super) signers: &'p HashMap<Arc<str>, Arc<SigningKey>>,
    /// The spool's folder; other state is kept beside it.
    pub(super) spool: &'p Path,
}

/// The processors and what comes with them.
#[derive(Default)]
pub(super) struct BuiltProcessors {
    pub(super) by_id: HashMap<ComponentId, Arc<dyn Processor>>,
    pub(super) trackers: Vec<(ComponentId, Arc<RunTracker>)>,
    pub(super) vaults: Vec<BuiltVault>,
    /// Vaults that accept reports of erasures.
    pub(super) erasure_targets: Vec<Arc<ErasureReportTarget>>,
    /// Tasks that refresh rate tables.
    pub(super) refresh_tasks: Vec<Arc<dyn BackgroundTask>>,
    /// The rate tables in use, by `cost` processor.
    rate_tables: HashMap<ComponentId, Arc<ActiveRates>>,
}

impl BuiltProcessors {
    /// Builds every processor in `components`.
    ///
    /// # Errors
    /// The first processor that can't be used as configured.
    pub(super) fn build(
        parts: &ProcessorResources<'_>,
        components: Vec<ConfiguredComponent<ProcessorSettings>>,
        pipelines: &[PipelineConfig],
    ) -> Result<Self, StartError> {
        let mut built = Self::default();
        for ConfiguredComponent { id, value: settings } in components {
            let holders = pipelines
                .iter()
                .filter(|pipeline| pipeline.processors.iter().any(|(processor_id, _)| *processor_id == id));
            let signals = holders.map(|pipeline| pipeline.signal).collect();
            let processor = built.build_processor(parts, &id, settings, signals)?;
            built.by_id.insert(id, processor);
        }
        built.assign_rate_tables(pipelines);
        Ok(built)
    }

    /// All trackers combined.
    pub(super) fn combined_catalog(&self) -> Arc<dyn RunCatalog> {
        let catalogs =
            self.trackers.iter().map(|(_, tracker)| Arc::<RunTracker>::clone(tracker) as Arc<dyn RunCatalog>).collect();
        Arc::new(CombinedRunCatalog(catalogs))
    }

    /// Gives each tracker the rate tables of the `cost` step in its pipeline, by which it identifies models.
    fn assign_rate_tables(&self, pipelines: &[PipelineConfig]) {
        for (id, tracker) in &self.trackers {
            let holders = pipelines
                .iter()
                .filter(|pipeline| pipeline.processors.iter().any(|(processor_id, _)| processor_id == id));
            let mut tables = holders
                .flat_map(|pipeline| &pipeline.processors)
                .filter_map(|(processor_id, _)| self.rate_tables.get(processor_id));
            tables.next().into_iter().for_each(|active_rates| tracker.set_rate_tables(Arc::clone(active_rates)));
        }
    }

    fn build_processor(
        &mut self,
        parts: &ProcessorResources<'_>,
        component: &ComponentId,
        settings: ProcessorSettings,
        signals: Vec<Signal>,
    ) -> Result<Arc<dyn Processor>, StartError> {
        let (id, meter) = (id_text(component), &parts.resources.deps.meter);
        let vocabulary = Arc::clone(parts.vocabulary);
        Ok(match settings {
            ProcessorSettings::Normalize(settings) => {
                Arc::new(NormalizeProcessor::new(id, &settings, vocabulary, meter))
            }
            ProcessorSettings::Cost(settings) => {
                self.build_cost(parts, component, cost::CostSettings { signals, ..settings })?
            }
            ProcessorSettings::Runs(settings) => {
                let tracker = Arc::new(RunTracker::new(id, settings, vocabulary, parts.ids.clone(), meter));
                self.trackers.push((component.clone(), Arc::clone(&tracker)));
                tracker
            }
            ProcessorSettings::Vault(settings) => self.build_vault(parts, id, &settings)?,
            ProcessorSettings::Attributes(settings) => Arc::new(AttributesProcessor::new(id, settings)),
            ProcessorSettings::Resource(settings) => Arc::new(ResourceProcessor::new(id, settings)),
            ProcessorSettings::Filter(settings) => Arc::new(FilterProcessor::new(id, settings, meter)),
            ProcessorSettings::Redact(settings) => build_redactor(parts, id, settings)?,
        })
    }

    fn build_cost(
        &mut self,
        parts: &ProcessorResources<'_>,
        component: &ComponentId,
        settings: cost::CostSettings,
    ) -> Result<Arc<dyn Processor>, StartError> {
        let (deps, vocabulary) = (&parts.resources.deps, Arc::clone(parts.vocabulary));
        let cost = CostProcessor::new(id_text(component), &settings, vocabulary, &deps.meter)
            .map_err(|error| StartError::new(error.0))?;
        cost.warnings().iter().for_each(|warning| tracing::warn!("price overlay: {warning}"));
        let cost = Arc::new(cost.with_ids(parts.ids.clone()));
        self.rate_tables.insert(component.clone(), cost.shelf());
        if let Some(refresh) = settings.refresh.clone() {
            let (proxies, processor, folder) =
                (Arc::clone(parts.proxies), Arc::clone(&cost), parent_folder(parts.spool));
            let task =
                RatesRefreshTask::build(processor, settings, refresh, (deps, &parts.resources.tasks), proxies, folder)?;
            self.refresh_tasks.push(Arc::new(task));
        }
        Ok(cost)
    }

    fn build_vault(
        &mut self,
        parts: &ProcessorResources<'_>,
        id: Arc<str>,
        settings: &vault::VaultSettings,
    ) -> Result<Arc<dyn Processor>, StartError> {
        let (echo_finder, spool_and_key) = (parts.echo_finder.clone(), (parts.spool, parts.signers.get(&id).cloned()));
        let vocabulary = Arc::clone(parts.vocabulary);
        let (processor, vault) = vaults::build_vault(
            parts.resources,
            id,
            settings,
            vocabulary,
            parts.ids.clone(),
            echo_finder,
            spool_and_key,
        )?;
        self.erasure_targets.extend(vault.erasure_target.clone());
        self.vaults.push(vault);
        Ok(processor)
    }
}

fn build_redactor(
    parts: &ProcessorResources<'_>,
    id: Arc<str>,
    settings: redact::RedactSettings,
) -> Result<Arc<dyn Processor>, StartError> {
    let (meter, recogniser_settings) = (&parts.resources.deps.meter, settings.recogniser.clone());
    let redact =
        RedactProcessor::new(Arc::clone(&id), settings, Arc::clone(parts.vocabulary), parts.ids.clone(), meter);
    Ok(match recogniser_settings {
        None => Arc::new(redact),
        Some(recogniser_settings) => {
            Arc::new(redact.with_recogniser(build_recogniser(parts, &id, recogniser_settings)?, meter))
        }
    })
}

fn build_recogniser(
    parts: &ProcessorResources<'_>,
    id: &Arc<str>,
    settings: recogniser::Settings,
) -> Result<Arc<dyn TextRecogniser>, StartError> {
    let client_deps = recogniser::ClientDependencies {
        tasks: Arc::clone(&parts.resources.tasks),
        clock: Arc::clone(&parts.resources.deps.clock),
        proxies: Arc::clone(parts.proxies),
        meter: parts.resources.deps.meter.clone(),
    };
    let place = format!("processors.{id}.recogniser");
    let client = PresidioClient::build(Arc::clone(id), settings, client_deps)
        .map_err(|why| StartError::from(why).with_place(place))?;
    Ok(Arc::new(client))
}
