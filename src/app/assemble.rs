//! Turns valid settings into a [`GatewayBlueprint`]: components, listeners and the engine's plan. Nothing is spawned or
//! bound here. Single kinds of components are built in `processors`, `exporters` and `extensions`; keys are read in
//! `gateway_keys`; `running` starts the result.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::app::alert_sender::{self, AlertSender};
use crate::app::build::{
    BackgroundTask, GatewayBlueprint, GatewayComponents, GatewayResources, GatewaySettings, InletCell, Listener,
    ReloadResources, background_task,
};
use crate::app::configured_component::{ConfiguredComponent, admin_ports, vaults};
use crate::app::destinations::ExporterDestination;
use crate::app::exporters::{build_exporters, wait_for_puts};
use crate::app::extensions::ExtensionListeners;
use crate::app::gateway_deps::GatewayDeps;
use crate::app::gateway_keys::GatewayKeys;
use crate::app::history_setup::HistorySetup;
use crate::app::limits::{self, MIN_MEMORY};
use crate::app::listeners::{listen_for_hooks, listen_for_otlp, read_from_kafka};
use crate::app::memory::{MemoryLimit, RequestMemory};
use crate::app::own_metrics;
use crate::app::processors::{BuiltProcessors, processor_deps};
use crate::app::spool_changes::move_targets;
use crate::app::start_error::StartError;
use crate::app::valid_settings::ValidSettings;
use crate::components::{ConnectorSettings, ExtensionSettings, ReceiverSettings, id_text};
use ::otlp::Signal;
use config::file::PipelineConfig;
use config::graph::StepRole;
use config::{ComponentId, SourcePosition, env};
use exporters::remote::ExporterDeps;
use history::{ClientRecorder, FailedSpanRecorder, RunBoard};
use kafka::SessionPartitioner;
use kernel::files::parent_folder;
use kernel::secret::Secret;
use net::{ProxyRules, SharedServices};
use pages::alert_message::MessageLinks;
use pipeline::plan::{EngineLimits, PipelinePlan};
use pipeline::{EnginePlan, Exporter, Processor, RequestSource};
use processors::spec::{ProcessorDeps, ProcessorStorage};
use receivers::claude_code_hooks::ClaudeCodeHooksReceiver;
use receivers::kafka::{EffectsSenderParts, KafkaReceiver, PartitionHandOver};
use receivers::otlp;
use telemetry::names;
use tracker::RunTracker;

/// File beside the spool that records which alerts were sent.
const SENT_ALERTS_FILE: &str = "alerts-sent.json";

/// Reads the keys and wires valid settings.
///
/// # Errors
/// A key file, a client or an address can't be used.
pub async fn build_blueprint(valid: ValidSettings, deps: &GatewayDeps) -> Result<GatewayBlueprint, StartError> {
    let keys = GatewayKeys::read(&valid, deps).await?;
    build_blueprint_with_keys(valid, keys, ReloadResources::default())
}

/// Wires valid settings with keys that were already read, for one round of a gateway that can reload.
///
/// # Errors
/// See [`build_blueprint`].
pub fn build_blueprint_with_keys(
    mut valid: ValidSettings,
    keys: GatewayKeys,
    reload_resources: ReloadResources,
) -> Result<GatewayBlueprint, StartError> {
    let GatewayKeys { spool: spool_keys, pseudonyms, signers, admin_token } = keys;
    let shutdown = valid.limits.shutdown.0;
    let (memory_limit, request_memory) = determine_memory_limits(&mut valid);
    let settings = GatewaySettings {
        shutdown_delay: valid.limits.shutdown_delay.0,
        drain_requests: shutdown,
        drain_outlets: shutdown,
        memory: memory_limit,
        volumes: watched_volumes(&valid),
        ..GatewaySettings::default()
    };
    let spool = valid.spool.clone();
    let proxies = Arc::new(ProxyRules::from_env(&env::var)?);
    let history_setup = HistorySetup::new(&valid, &spool_keys);
    let build = Box::new(move |resources: &GatewayResources| {
        let services = resources.deps.services(Arc::clone(&resources.tasks), proxies);
        let storage =
            ProcessorStorage { spool: Arc::clone(&resources.spool), signers, made_by: valid.identity.clone() };
        let vocabulary = reload_resources.vocabulary.lock().take();
        let processor_deps = processor_deps(&valid, pseudonyms.clone(), services, vocabulary)?;
        GatewayAssembler {
            resources,
            partitioner: Arc::new(SessionPartitioner::new(processor_deps.vocabulary.session_keys(), pseudonyms)),
            processor_deps: ProcessorDeps { storage: Some(storage), ..processor_deps },
            admin_token,
            reload_resources,
            history_setup,
            request_memory,
        }
        .build(valid)
    });
    Ok(GatewayBlueprint { spool, keys: spool_keys, settings, build })
}

/// The folders of the spool and of vaults, with the labels of their volumes.
fn watched_volumes(valid: &ValidSettings) -> Vec<(String, PathBuf)> {
    let vaults = vaults(&valid.processors)
        .filter_map(|(id, _, store)| Some((id.to_string(), store.profile().folder?.to_owned())));
    std::iter::once(("spool".to_owned(), valid.spool.directory.clone())).chain(vaults).collect()
}

/// Determines the memory limit and the requests' share of it, and lowers the receivers' limits to requests that fit
/// into that share.
fn determine_memory_limits(valid: &mut ValidSettings) -> (Option<MemoryLimit>, RequestMemory) {
    // The memory that the system gives, independent of a configured limit.
    let system_limit = MemoryLimit::find();
    let system_bytes = system_limit.as_ref().map(|limit| limit.bytes);
    let limit = MemoryLimit::with_configured(system_limit, valid.limits.memory.map(|memory| memory.0));
    let percent = valid.limits.memory_percentage.unwrap_or(100);
    let limit = limit.map(|limit| limit.scaled_to(percent, MIN_MEMORY.0));
    let request_memory =
        RequestMemory::compute(limit.as_ref(), valid.limits.in_flight.map(|in_flight| in_flight.0), system_bytes);
    let largest = usize::try_from(request_memory.largest).unwrap_or(usize::MAX);
    let lowered = valid.receivers.iter_mut().filter_map(|component| {
        let is_lowered = match &mut component.value {
            ReceiverSettings::Otlp(settings) => settings.cap_request_size(largest),
            ReceiverSettings::ClaudeCodeHooks(settings) => settings.cap_request_size(largest),
            ReceiverSettings::Kafka(settings) => {
                let configured = std::mem::replace(&mut settings.max_request_bytes, largest);
                settings.max_request_bytes = configured.min(largest);
                configured > largest
            }
        };
        is_lowered.then(|| component.id.to_string())
    });
    let lowered: Vec<String> = lowered.collect();
    if let Some(limit) = &limit {
        let (bytes, set_by) = (limit.bytes, limit.origin.as_str());
        tracing::info!(bytes, set_by, in_flight = request_memory.in_flight, "memory");
        if let Some(asked) =
            valid.limits.in_flight.map(|asked| asked.0).filter(|asked| *asked > request_memory.in_flight)
        {
            tracing::warn!(
                asked,
                in_flight = request_memory.in_flight,
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
    (limit, request_memory)
}

/// The receivers, and what they need besides.
#[derive(Default)]
struct BuiltReceivers {
    listeners: Vec<Listener>,
    /// Parts that have state.
    state: Vec<Arc<dyn Processor>>,
    /// Consumers of the spool that tell other replicas of effects, and their tasks.
    effects_consumers: Vec<Arc<str>>,
    effects_senders: Vec<BackgroundTask>,
    /// What `tollgate fleet drain` asks.
    hand_overs: Vec<PartitionHandOver>,
}

struct GatewayAssembler<'s> {
    resources: &'s GatewayResources,
    processor_deps: ProcessorDeps,
    /// Sorts items by session, for Kafka's partitions.
    partitioner: Arc<SessionPartitioner>,
    /// The token for changes through an admin port without credentials.
    admin_token: Option<Secret>,
    reload_resources: ReloadResources,
    history_setup: HistorySetup,
    request_memory: RequestMemory,
}

impl GatewayAssembler<'_> {
    fn build(self, valid: ValidSettings) -> Result<GatewayComponents, StartError> {
        self.resources.deps.meter.gauge(&names::INFO, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        let inlet = InletCell::default();
        let mut processors = BuiltProcessors::build(&valid, &self.processor_deps)?;
        let destinations = valid.exporters.iter().flat_map(ExporterDestination::of_exporter).collect();
        let (move_targets, services) = (move_targets(&valid.exporters), &self.processor_deps.services);
        let exporter_deps = ExporterDeps { services: services.clone(), partitioner: Arc::clone(&self.partitioner) };
        let (exporters, mut outlets) = build_exporters(valid.exporters, &exporter_deps)?;
        self.history_setup.clients.set_budget_scopes(processors.named_budget_scopes());
        let receivers = self.build_receivers(valid.receivers, &processors)?;
        let mut listeners = receivers.listeners;
        let runs = self.history_setup.board(processors.run_sources(), Arc::clone(&self.processor_deps.ids));
        let plan = EnginePlan {
            sample_states: Some(Arc::new(self.history_setup.sample_states(runs.clone()))),
            pipelines: self.plan_pipelines(&valid.pipelines, &processors, &exporters),
            limits: self.engine_limits(&valid.limits),
            other_state: receivers.state,
            effects_consumers: receivers.effects_consumers,
        };
        let sent_alerts_file = parent_folder(&valid.spool.directory).join(SENT_ALERTS_FILE);
        let alert_sender = self.build_alert_sender(&valid.extensions, runs.clone(), sent_alerts_file)?;
        let extension_listeners = ExtensionListeners {
            resources: self.resources,
            deps: &self.processor_deps,
            history: &self.history_setup,
            runs: &runs,
            processors: &processors,
            inlet: &inlet,
            pipelines: &valid.pipelines,
            alert_sender: alert_sender.as_ref(),
            admin_certificates: &valid.admin_certificates,
            admin_token: self.admin_token.as_ref(),
            reload: &self.reload_resources,
            move_targets: Arc::new(move_targets),
            hand_overs: &receivers.hand_overs,
        };
        for component in valid.extensions {
            listeners.push(extension_listeners.build_listener(component.value)?);
        }
        wait_for_puts(&processors, &plan, &mut outlets)?;
        let consumers = processors.all().flat_map(|built| built.consumers.clone()).collect();
        let mut background_tasks = processors.take_tasks();
        background_tasks.extend(receivers.effects_senders);
        background_tasks.extend(own_metrics::build_export_tasks(valid.own_metrics, &exporter_deps)?);
        let build_connector = |component| self.build_connector(component, &valid.pipelines, &processors, &inlet);
        background_tasks.extend(valid.connectors.into_iter().filter_map(build_connector));
        let has_pages = self.history_setup.has_admin_port;
        let samples = |exporter: &Arc<dyn Exporter>| outlets.get(exporter.id()).is_some_and(|it| it.sample.is_some());
        let keeps_history = has_pages || plan.exporters().iter().any(samples);
        background_tasks.extend(keeps_history.then(|| self.history_setup.build_recorder(services.clone(), runs)));
        background_tasks.extend(alert_sender.map(AlertSender::into_task));
        Ok(GatewayComponents { plan, outlets, consumers, destinations, background_tasks, listeners, inlet })
    }

    /// The receivers, and the state that the engine keeps for them.
    fn build_receivers(
        &self,
        receivers: Vec<ConfiguredComponent<ReceiverSettings>>,
        processors: &BuiltProcessors,
    ) -> Result<BuiltReceivers, StartError> {
        let mut built = BuiltReceivers::default();
        let (sockets, services) = (&self.reload_resources.sockets, &self.processor_deps.services);
        for ConfiguredComponent { id, value } in receivers {
            match value {
                ReceiverSettings::Otlp(settings) => {
                    let receiver = otlp::OtlpReceiver::build(id_text(&id), settings).with_oidc(services.clone());
                    built.listeners.push(listen_for_otlp(receiver.with_sockets(sockets.clone())));
                }
                ReceiverSettings::ClaudeCodeHooks(settings) => {
                    let receiver = ClaudeCodeHooksReceiver::build(id_text(&id), settings).with_oidc(services.clone());
                    let receiver = receiver.with_sockets(sockets.clone());
                    let clock = Arc::clone(&services.clock);
                    built.listeners.push(listen_for_hooks(receiver, clock, processors.budget_desk()));
                }
                ReceiverSettings::Kafka(settings) => {
                    let client = ::kafka::build_client(&settings.brokers);
                    let client = client.map_err(|why| {
                        StartError::new(format!("{why}; {}", why.fault.remedy()))
                            .with_place(format_args!("receivers.{id}"))
                    })?;
                    processors.trackers().for_each(|(_, tracker)| tracker.join_fleet());
                    let sharing: Vec<_> = processors.all().map(|built| Arc::clone(&built.processor)).collect();
                    let receiver = KafkaReceiver::build(id_text(&id), settings, client);
                    let receiver = receiver.with_shared_effects(&sharing, &*services.rng);
                    built.state.extend(receiver.state());
                    built.effects_consumers.extend(receiver.effects_consumer());
                    built.hand_overs.push(receiver.hand_over());
                    let spool = Arc::clone(&self.resources.spool);
                    let sender = receiver.effects_sender(EffectsSenderParts { spool, services: services.clone() });
                    built.effects_senders.extend(sender.map(|sender| {
                        let run = |stop| async move { sender.run(stop).await };
                        background_task("shared effects", || (), run)
                    }));
                    built.listeners.push(read_from_kafka(receiver, services.clone()));
                }
            }
        }
        Ok(built)
    }

    /// The pipelines with their components. If the admin port shows history, each pipeline ends with a
    /// [`FailedSpanRecorder`], and has a [`ClientRecorder`] behind `normalize`, or near its end if it has none.
    fn plan_pipelines(
        &self,
        pipelines: &[PipelineConfig],
        processors: &BuiltProcessors,
        exporters: &HashMap<ComponentId, Arc<dyn Exporter>>,
    ) -> Vec<PipelinePlan> {
        let (failures, ids) = (Arc::clone(&self.history_setup.failures), &self.processor_deps.ids);
        let recorder = || Arc::new(FailedSpanRecorder::new(failures, Arc::clone(ids))) as Arc<dyn Processor>;
        let recorder = self.history_setup.has_admin_port.then(recorder);
        let clients = Arc::clone(&self.history_setup.clients);
        let client_recorder: Arc<dyn Processor> = Arc::new(ClientRecorder::new(clients, Arc::clone(ids)));
        let steps = |pipeline: &PipelineConfig| {
            let ids = &pipeline.processors;
            let steps = processors.steps(pipeline);
            let mut steps: Vec<_> = steps.map(|built| Arc::clone(&built.processor)).collect();
            if let Some(recorder) = &recorder {
                let normalize = ids.iter().position(|(id, _)| id.kind == StepRole::Normalize.name());
                steps.insert(normalize.map_or(steps.len(), |at| at + 1), Arc::clone(&client_recorder));
                steps.push(Arc::clone(recorder));
            }
            steps
        };
        let plan = |pipeline: &PipelineConfig| PipelinePlan {
            id: id_text(&pipeline.id),
            signal: pipeline.signal,
            receivers: pipeline.receivers.iter().map(|(id, _)| id_text(id)).collect(),
            processors: steps(pipeline),
            exporters: pipeline.exporters.iter().filter_map(|(id, _)| exporters.get(id).cloned()).collect(),
        };
        pipelines.iter().map(plan).collect()
    }

    fn engine_limits(&self, limits: &limits::LimitsConfig) -> EngineLimits {
        EngineLimits {
            in_flight_bytes: usize::try_from(self.request_memory.in_flight).unwrap_or(usize::MAX),
            admission_wait: limits.admission_wait.0,
            max_item_bytes: usize::try_from(limits.max_item_size.0).unwrap_or(usize::MAX),
            accounts: limits.account_rates(),
            ..EngineLimits::default()
        }
    }

    /// The task of a `runs` connector: it takes the results of the trackers in pipelines that export to it, and sends
    /// them to the pipelines that receive from it. `None` for other connectors.
    fn build_connector(
        &self,
        ConfiguredComponent { id, value }: ConfiguredComponent<ConnectorSettings>,
        pipelines: &[PipelineConfig],
        processors: &BuiltProcessors,
        inlet: &InletCell,
    ) -> Option<BackgroundTask> {
        let ConnectorSettings::Runs(settings) = value else { return None };
        let contains =
            |list: &[(ComponentId, SourcePosition)], wanted: &ComponentId| list.iter().any(|(id, _)| id == wanted);
        let exporting = || pipelines.iter().filter(|pipeline| contains(&pipeline.exporters, &id));
        let is_source = |tracker: &ComponentId| exporting().any(|pipeline| contains(&pipeline.processors, tracker));
        let sources = processors.trackers().filter(|(id, _)| is_source(id));
        let sources = sources.map(|(_, tracker)| Arc::<RunTracker>::clone(tracker) as Arc<dyn RequestSource>).collect();
        let receiving = pipelines.iter().filter(|pipeline| contains(&pipeline.receivers, &id));
        let mut signals: Vec<Signal> = receiving.map(|pipeline| pipeline.signal).collect();
        signals.sort_unstable_by_key(|signal| signal.as_str());
        signals.dedup();
        let SharedServices { clock, meter, .. } = self.processor_deps.services.clone();
        let connector = connectors::runs::RunsConnector::build(id_text(&id), settings, sources, signals, clock, &meter);
        let inlet = Arc::clone(inlet);
        let run = |stop| async move {
            // Always set: the engine exists before background tasks run.
            if let Some(inlet) = inlet.get() {
                connector.run(inlet, stop).await;
            }
        };
        Some(background_task("runs connector", || (), run))
    }

    fn build_alert_sender(
        &self,
        extensions: &[ConfiguredComponent<ExtensionSettings>],
        runs: RunBoard,
        file: PathBuf,
    ) -> Result<Option<Arc<AlertSender>>, StartError> {
        let with_webhook = admin_ports(extensions).find_map(|(_, settings)| Some((settings, settings.alerts.clone()?)));
        let Some((settings, webhook)) = with_webhook else { return Ok(None) };
        let links = MessageLinks { trace: settings.trace_link.clone(), page: settings.public_url.clone() };
        let parts = alert_sender::AlertSenderParts {
            runs,
            ids: Arc::clone(&self.processor_deps.ids),
            links,
            services: self.processor_deps.services.clone(),
            file,
        };
        AlertSender::build(webhook, parts).map(|sender| Some(Arc::new(sender)))
    }
}
