//! Turns valid settings into a [`GatewayBlueprint`]: components, listeners and the engine's plan. Nothing is spawned or
//! bound here. Single kinds of components are built in `processors`, `exporters` and `extensions`; keys are read in
//! `keys`; `running` starts the result.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::app::alert_sender::{self, AlertSender as Alerting};
use crate::app::build::{
    BackgroundTask, GatewayBlueprint, GatewayComponents, GatewayResources, GatewaySettings, InletCell, Listener,
};
use crate::app::configured_component::ConfiguredComponent;
use crate::app::connector_task::RunsConnectorTask;
use crate::app::destinations::ExporterDestination;
use crate::app::exporters::{build_exporters, wait_for_puts};
use crate::app::extensions::ExtensionListeners;
use crate::app::gateway_deps::GatewayDeps;
use crate::app::gateway_keys::GatewayKeys;
use crate::app::history_setup::HistorySetup;
use crate::app::limits::{self, MIN_MEMORY};
use crate::app::memory::{MemoryLimit, RequestMemory};
use crate::app::own_metrics;
use crate::app::processors::{BuiltProcessors, ProcessorResources};
use crate::app::start_error::StartError;
use crate::app::valid_settings::ValidSettings;
use crate::components::{ConnectorSettings, ExtensionSettings, ProcessorSettings, ReceiverSettings, id_text};
use ::otlp::Signal;
use config::file::PipelineConfig;
use config::{ComponentId, SourcePosition, env};
use echoes::FingerprintCache;
use exporters::remote::ExporterDeps;
use genai::Vocabulary;
use history::FailedSpanRecorder;
use kernel::files::parent_folder;
use net::{ProxyRules, RetainedSockets};
use pipeline::plan::{EngineLimits, PipelinePlan};
use pipeline::{EnginePlan, Exporter, Processor, RequestSource};
use processors::redact;
use processors::vault::EchoFinder;
use receivers::otlp;
use redaction::{Detector, RedactionIdPolicy};
use runs::RunCatalog;
use telemetry::names;
use tracker::RunTracker;
use vault::chain::note::SigningKey;

/// File beside the spool that records which alerts were sent.
const SENT_ALERTS_FILE: &str = "alerts-sent.json";

/// Reads the keys and wires valid settings.
///
/// # Errors
/// A key file, a client or an address can't be used.
pub async fn build_blueprint(valid: ValidSettings, seams: &GatewayDeps) -> Result<GatewayBlueprint, StartError> {
    let keys = GatewayKeys::read(&valid, &*seams.rng).await?;
    build_blueprint_with_keys(valid, keys, seams, ReloadResources::default())
}

/// Resources that a gateway keeps when it reloads its configuration.
#[derive(Clone, Default)]
pub struct ReloadResources {
    /// The ports held over from the previous round.
    pub sockets: Option<RetainedSockets>,
    /// Notified when a reload is requested through the admin port.
    pub reload_requested: Option<Arc<Notify>>,
}

/// Wires valid settings with keys that were already read, for one round of a gateway that can reload.
///
/// # Errors
/// See [`build_blueprint`].
pub fn build_blueprint_with_keys(
    mut valid: ValidSettings,
    keys: GatewayKeys,
    seams: &GatewayDeps,
    round: ReloadResources,
) -> Result<GatewayBlueprint, StartError> {
    let GatewayKeys { spool: keys, pseudonyms, signers } = keys;
    let shutdown = valid.limits.shutdown.0;
    let (memory, share) = determine_memory_limits(&mut valid);
    let settings =
        GatewaySettings { drain_requests: shutdown, drain_outlets: shutdown, memory, ..GatewaySettings::default() };
    let spool = valid.spool.clone();
    let vocabulary = Arc::new(Vocabulary::builtin().map_err(|error| StartError::new(error.0))?);
    let ids = Arc::new(RedactionIdPolicy::new(collect_detectors(&valid)?, pseudonyms));
    let proxies = Arc::new(ProxyRules::from_env(&env::var)?);
    let echoing = EchoFinder {
        memory: Arc::new(FingerprintCache::new(&*seams.rng)),
        max_error_text: min_error_text_len(&valid),
        max_scan: min_scan_len(&valid),
    };
    let past = HistorySetup::new(&valid, &keys);
    let build = Box::new(move |site: &GatewayResources| {
        GatewayAssembler {
            site,
            vocabulary,
            ids,
            echo_detection: echoing,
            proxies,
            signers,
            reload_resources: round,
            past,
            share,
        }
        .build(valid)
    });
    Ok(GatewayBlueprint { spool, keys, settings, build })
}

/// Determines the memory limit and the share of requests, and lowers the receivers' limits to requests that fit into
/// it.
fn determine_memory_limits(valid: &mut ValidSettings) -> (Option<MemoryLimit>, RequestMemory) {
    // The memory that the system gives, independent of a configured limit.
    let found = MemoryLimit::find();
    let given = found.as_ref().map(|given| given.bytes);
    let limit = MemoryLimit::with_configured(found, valid.limits.memory.map(|memory| memory.0));
    let percent = valid.limits.memory_percentage.unwrap_or(100);
    let limit = limit.map(|limit| limit.scaled_to(percent, MIN_MEMORY.0));
    let share = RequestMemory::compute(limit.as_ref(), valid.limits.in_flight.map(|in_flight| in_flight.0), given);
    let largest = usize::try_from(share.largest).unwrap_or(usize::MAX);
    let lowered = valid.receivers.iter_mut().filter_map(|placed| {
        let ReceiverSettings::Otlp(settings) = &mut placed.value;
        settings.cap_request_size(largest).then(|| placed.id.to_string())
    });
    let lowered: Vec<String> = lowered.collect();
    if let Some(limit) = &limit {
        let (bytes, set_by) = (limit.bytes, limit.origin.text());
        tracing::info!(bytes, set_by, in_flight = share.in_flight, "memory");
        if let Some(asked) = valid.limits.in_flight.map(|asked| asked.0).filter(|asked| *asked > share.in_flight) {
            tracing::warn!(
                asked,
                in_flight = share.in_flight,
                "limits.in_flight exceeds the available memory; using a lower value"
            );
        }
        if !lowered.is_empty() {
            tracing::warn!(
                receivers = lowered.join(", "),
                largest,
                "requests larger than this are refused because they would not fit in memory"
            );
        }
    }
    (limit, share)
}

/// The redaction rules for ids and index columns: those of every redact processor, or the built-in rules without one.
pub(super) fn collect_detectors(valid: &ValidSettings) -> Result<Vec<Arc<Detector>>, StartError> {
    let configured = valid.processors.iter().filter_map(|placed| match &placed.value {
        ProcessorSettings::Redact(settings) => Some(Arc::clone(&settings.detector)),
        _ => None,
    });
    let detectors: Vec<_> = configured.collect();
    if !detectors.is_empty() {
        return Ok(detectors);
    }
    redact::RedactConfig::default().settings().map(|settings| vec![settings.detector]).map_err(|problems| {
        StartError::new(problems.first().map_or_else(String::new, |problem| problem.message.clone()))
    })
}

/// The length of error text, in bytes, that every redact processor leaves uncut.
pub(super) fn min_error_text_len(valid: &ValidSettings) -> usize {
    let limits = valid.processors.iter().filter_map(|placed| match &placed.value {
        ProcessorSettings::Redact(settings) => Some(settings.max_error_text),
        _ => None,
    });
    limits.min().unwrap_or(redact::DEFAULT_MAX_ERROR_TEXT)
}

/// The length of text, in bytes, that every redact processor searches.
pub(super) fn min_scan_len(valid: &ValidSettings) -> usize {
    let limits = valid.processors.iter().filter_map(|placed| match &placed.value {
        ProcessorSettings::Redact(settings) => Some(settings.max_scan),
        _ => None,
    });
    limits.min().unwrap_or(redact::DEFAULT_MAX_SCAN)
}

struct GatewayAssembler<'s> {
    site: &'s GatewayResources,
    vocabulary: Arc<Vocabulary>,
    /// The policy for ids, shared so that an id has one form everywhere.
    ids: Arc<RedactionIdPolicy>,
    /// The memory of stripped content, shared by all vaults.
    echo_detection: EchoFinder,
    proxies: Arc<ProxyRules>,
    /// The signing keys of the vaults, by vault id.
    signers: HashMap<Arc<str>, Arc<SigningKey>>,
    reload_resources: ReloadResources,
    past: HistorySetup,
    /// The share of memory for requests.
    share: RequestMemory,
}

impl GatewayAssembler<'_> {
    fn build(self, valid: ValidSettings) -> Result<GatewayComponents, StartError> {
        self.site.seams.meter.gauge(&names::INFO, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        let way = InletCell::default();
        let mut processors =
            BuiltProcessors::build(&self.processor_parts(&valid.spool.directory), valid.processors, &valid.pipelines)?;
        let pointed = valid.exporters.iter().filter_map(ExporterDestination::from_exporter).collect();
        let deps = self.exporter_deps();
        let (exporters, mut outlets) = build_exporters(valid.exporters, &deps)?;
        let plan = EnginePlan {
            pipelines: self.plan_pipelines(&valid.pipelines, &processors.by_id, &exporters),
            limits: self.engine_limits(&valid.limits),
        };
        let alerts = parent_folder(&valid.spool.directory).join(SENT_ALERTS_FILE);
        let alerting = self.build_alert_sender(&valid.extensions, processors.combined_board(), alerts)?;
        let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
        for ConfiguredComponent { id, value: what } in valid.receivers {
            let ReceiverSettings::Otlp(settings) = what;
            listeners.push(Box::new(
                otlp::OtlpReceiver::build(id_text(&id), settings).with_sockets(self.reload_resources.sockets.clone()),
            ));
        }
        let ports = ExtensionListeners {
            site: self.site,
            history: &self.past,
            processors: &processors,
            inlet: &way,
            pipelines: valid.pipelines.iter().map(|line| line.id.to_string()).collect(),
            alerting: alerting.as_ref(),
            admin_certificates: &valid.admin_certificates,
            sockets: self.reload_resources.sockets.as_ref(),
            reload_requested: self.reload_resources.reload_requested.as_ref(),
        };
        listeners.extend(valid.extensions.into_iter().map(|placed| ports.build_listener(placed.value)));
        let vaults = std::mem::take(&mut processors.vaults);
        wait_for_puts(&vaults, &plan, &mut outlets)?;
        let kept = vaults.iter().filter(|vault| vault.uploader.is_some());
        let consumers = kept.flat_map(|vault| [Some(vault.id.clone()), vault.put_holder.clone()]).flatten().collect();
        let mut companions: Vec<Arc<dyn BackgroundTask>> =
            vaults.into_iter().filter_map(|vault| vault.uploader).collect();
        companions.append(&mut processors.refresh_tasks);
        companions.extend(own_metrics::build_export_tasks(valid.own_metrics, &deps, &*self.site.seams.rng)?);
        let connect = |placed| self.build_connector(placed, &valid.pipelines, &processors.trackers, &way);
        companions.extend(valid.connectors.into_iter().filter_map(connect));
        companions
            .extend(self.past.has_admin_port.then(|| self.past.build_recorder(self.site, processors.combined_board())));
        companions.extend(alerting.map(|alerting| alerting as Arc<dyn BackgroundTask>));
        Ok(GatewayComponents {
            plan,
            outlets,
            consumers,
            destinations: pointed,
            background_tasks: companions,
            listeners,
            inlet: way,
        })
    }

    /// The parts that processors are built from; `spool` is the spool's folder.
    fn processor_parts<'p>(&'p self, spool: &'p Path) -> ProcessorResources<'p> {
        ProcessorResources {
            site: self.site,
            vocabulary: &self.vocabulary,
            ids: &self.ids,
            echo_detection: &self.echo_detection,
            proxies: &self.proxies,
            signers: &self.signers,
            spool,
        }
    }

    fn exporter_deps(&self) -> ExporterDeps {
        ExporterDeps {
            tasks: Arc::clone(&self.site.tasks),
            clock: Arc::clone(&self.site.seams.clock),
            proxies: Arc::clone(&self.proxies),
            meter: self.site.seams.meter.clone(),
        }
    }

    /// The pipelines with their components. If the admin port shows history, each pipeline ends with a [`Watch`] for
    /// failing spans.
    fn plan_pipelines(
        &self,
        pipelines: &[PipelineConfig],
        processors: &HashMap<ComponentId, Arc<dyn Processor>>,
        exporters: &HashMap<ComponentId, Arc<dyn Exporter>>,
    ) -> Vec<PipelinePlan> {
        let watch = || Arc::new(FailedSpanRecorder::new(Arc::clone(&self.past.failures))) as Arc<dyn Processor>;
        let watch = self.past.has_admin_port.then(watch);
        let plan = |pipeline: &PipelineConfig| PipelinePlan {
            id: id_text(&pipeline.id),
            signal: pipeline.signal,
            receivers: pipeline.receivers.iter().map(|(id, _)| id_text(id)).collect(),
            processors: (pipeline.processors.iter().filter_map(|(id, _)| processors.get(id).cloned()))
                .chain(watch.clone())
                .collect(),
            exporters: pipeline.exporters.iter().filter_map(|(id, _)| exporters.get(id).cloned()).collect(),
        };
        pipelines.iter().map(plan).collect()
    }

    fn engine_limits(&self, limits: &limits::LimitsConfig) -> EngineLimits {
        EngineLimits {
            in_flight_bytes: usize::try_from(self.share.in_flight).unwrap_or(usize::MAX),
            admission_wait: limits.admission_wait.0,
            max_item_bytes: usize::try_from(limits.max_item_size.0).unwrap_or(usize::MAX),
            accounts: limits.account_rates(),
            ..EngineLimits::default()
        }
    }

    /// The companion that runs a connector: it takes the results of the trackers in pipelines that export to it, and
    /// sends them to the pipelines that receive from it.
    fn build_connector(
        &self,
        ConfiguredComponent { id, value: what }: ConfiguredComponent<ConnectorSettings>,
        pipelines: &[PipelineConfig],
        runs: &[(ComponentId, Arc<RunTracker>)],
        way: &InletCell,
    ) -> Option<Arc<dyn BackgroundTask>> {
        let ConnectorSettings::Runs(settings) = what else { return None };
        let has =
            |list: &[(ComponentId, SourcePosition)], wanted: &ComponentId| list.iter().any(|(id, _)| id == wanted);
        let from = || pipelines.iter().filter(|pipeline| has(&pipeline.exporters, &id));
        let feeds = |runs: &ComponentId| from().any(|pipeline| has(&pipeline.processors, runs));
        let sources = runs.iter().filter(|(runs, _)| feeds(runs));
        let sources = sources.map(|(_, runs)| Arc::<RunTracker>::clone(runs) as Arc<dyn RequestSource>).collect();
        let to = pipelines.iter().filter(|pipeline| has(&pipeline.receivers, &id));
        let mut signals: Vec<Signal> = to.map(|pipeline| pipeline.signal).collect();
        signals.sort_unstable_by_key(|signal| signal.as_str());
        signals.dedup();
        let (clock, meter) = (Arc::clone(&self.site.seams.clock), &self.site.seams.meter);
        let connector = connectors::runs::RunsConnector::build(id_text(&id), settings, sources, signals, clock, meter);
        Some(Arc::new(RunsConnectorTask { connector, inlet: Arc::clone(way) }))
    }

    /// The sender of alerts, if a webhook is configured.
    fn build_alert_sender(
        &self,
        extensions: &[ConfiguredComponent<ExtensionSettings>],
        board: Arc<dyn RunCatalog>,
        file: PathBuf,
    ) -> Result<Option<Arc<Alerting>>, StartError> {
        let asked = extensions.iter().find_map(|placed| match &placed.value {
            ExtensionSettings::Admin(settings) => {
                let links = pages::alert_message::MessageLinks {
                    trace: settings.trace_link.clone(),
                    page: settings.public_url.clone(),
                };
                Some((settings.alerts.clone()?, links))
            }
            ExtensionSettings::HealthCheck(_) => None,
        });
        let Some((webhook, links)) = asked else { return Ok(None) };
        let parts = alert_sender::AlertSenderParts {
            board,
            ids: self.ids.clone(),
            links,
            history: Arc::clone(&self.past.history),
            seams: self.site.seams.clone(),
            tasks: Arc::clone(&self.site.tasks),
            proxies: Arc::clone(&self.proxies),
            file,
        };
        Alerting::build(webhook, parts).map(|alerting| Some(Arc::new(alerting)))
    }
}
