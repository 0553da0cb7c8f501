//! Turns valid settings into a [`Blueprint`]: components, listeners and the engine's plan. Nothing is spawned or bound
//! here. Single kinds of components are built in `processors`, `exporters` and `extensions`; keys are read in `keys`;
//! `running` starts the result.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::app::build::{Blueprint, Built, Companion, Listener, Settings, Site, Way};
use crate::app::connect::Telling;
use crate::app::destinations::Pointed;
use crate::app::exporters::{exporters, wait_for_puts};
use crate::app::extensions::Ports;
use crate::app::keys::Keys;
use crate::app::limits::{self, LEAST_MEMORY};
use crate::app::memory::{Limit, Share};
use crate::app::notify::{self, Notify as Alerting};
use crate::app::own;
use crate::app::past::Past;
use crate::app::placed::Placed;
use crate::app::processors::{Parts, Processors};
use crate::app::seams::Seams;
use crate::app::start_error::StartError;
use crate::app::valid::Valid;
use crate::components::{ConnectorSettings, ExtensionSettings, ProcessorSettings, ReceiverSettings, id_text};
use ::otlp::Signal;
use config::file::Pipeline;
use config::{At, ComponentId, env};
use echoes::Memory;
use exporters::remote::Deps;
use genai::Vocabulary;
use history::Watch;
use kernel::files::folder_of;
use net::{Proxies, Sockets};
use pipeline::plan::{Limits, PipelinePlan};
use pipeline::{EnginePlan, Exporter, Processor, Source};
use processors::redact;
use processors::vault::Echoing;
use receivers::otlp;
use redaction::{Detector, Ids};
use runs::Board;
use telemetry::names;
use tracker::Runs;
use vault::chain::note::SigningKey;

/// File beside the spool that records which alerts were sent.
const ALERTS: &str = "alerts-sent.json";

/// Reads the keys and wires valid settings.
///
/// # Errors
/// A key file, a client or an address can't be used.
pub async fn blueprint(valid: Valid, seams: &Seams) -> Result<Blueprint, StartError> {
    let keys = Keys::read(&valid, &*seams.rng).await?;
    blueprint_for(valid, keys, seams, Round::default())
}

/// Resources that a gateway keeps when it reloads its configuration.
#[derive(Clone, Default)]
pub struct Round {
    /// The ports held over from the previous round.
    pub sockets: Option<Sockets>,
    /// Notified when a reload is requested through the admin port.
    pub again: Option<Arc<Notify>>,
}

/// Wires valid settings with keys that were already read, for one round of a gateway that can reload.
///
/// # Errors
/// See [`blueprint`].
pub fn blueprint_for(mut valid: Valid, keys: Keys, seams: &Seams, round: Round) -> Result<Blueprint, StartError> {
    let Keys { spool: keys, pseudonyms, signers } = keys;
    let shutdown = valid.limits.shutdown.0;
    let (memory, share) = memory_of(&mut valid);
    let settings = Settings { drain_requests: shutdown, drain_outlets: shutdown, memory, ..Settings::default() };
    let spool = valid.spool.clone();
    let vocabulary = Arc::new(Vocabulary::builtin().map_err(|error| StartError::new(error.0))?);
    let ids = Arc::new(Ids::new(detectors(&valid)?, pseudonyms));
    let proxies = Arc::new(Proxies::from_env(&env::var)?);
    let echoing =
        Echoing { memory: Arc::new(Memory::new(&*seams.rng)), error_text: error_text(&valid), scan: scan(&valid) };
    let past = Past::new(&valid, &keys);
    let build = Box::new(move |site: &Site| {
        Assembly { site, vocabulary, ids, echoing, proxies, signers, round, past, share }.build(valid)
    });
    Ok(Blueprint { spool, keys, settings, build })
}

/// Determines the memory limit and the share of requests, and lowers the receivers' limits to requests that fit into
/// it.
fn memory_of(valid: &mut Valid) -> (Option<Limit>, Share) {
    // The memory that the system gives, independent of a configured limit.
    let found = Limit::find();
    let given = found.as_ref().map(|given| given.bytes);
    let limit = Limit::of(found, valid.limits.memory.map(|memory| memory.0));
    let percent = valid.limits.memory_percentage.unwrap_or(100);
    let limit = limit.map(|limit| limit.part(percent, LEAST_MEMORY.0));
    let share = Share::of(limit.as_ref(), valid.limits.in_flight.map(|in_flight| in_flight.0), given);
    let largest = usize::try_from(share.largest).unwrap_or(usize::MAX);
    let lowered = valid.receivers.iter_mut().filter_map(|placed| {
        let ReceiverSettings::Otlp(settings) = &mut placed.what;
        settings.at_most(largest).then(|| placed.id.to_string())
    });
    let lowered: Vec<String> = lowered.collect();
    if let Some(limit) = &limit {
        let (bytes, set_by) = (limit.bytes, limit.origin.text());
        tracing::info!(bytes, set_by, in_flight = share.in_flight, "memory");
        if let Some(asked) = valid.limits.in_flight.map(|asked| asked.0).filter(|asked| *asked > share.in_flight) {
            tracing::warn!(
                asked,
                in_flight = share.in_flight,
                "limits.in_flight is more than there is memory for: less is taken"
            );
        }
        if !lowered.is_empty() {
            tracing::warn!(
                receivers = lowered.join(", "),
                largest,
                "larger requests than this are refused: they could not be held in memory"
            );
        }
    }
    (limit, share)
}

/// The redaction rules for ids and index columns: those of every redact processor, or the built-in rules without one.
pub(super) fn detectors(valid: &Valid) -> Result<Vec<Arc<Detector>>, StartError> {
    let configured = valid.processors.iter().filter_map(|placed| match &placed.what {
        ProcessorSettings::Redact(settings) => Some(Arc::clone(&settings.detector)),
        _ => None,
    });
    let detectors: Vec<_> = configured.collect();
    if !detectors.is_empty() {
        return Ok(detectors);
    }
    redact::Config::default()
        .settings()
        .map(|settings| vec![settings.detector])
        .map_err(|problems| StartError::new(problems.first().map_or_else(String::new, |problem| problem.what.clone())))
}

/// The length of error text, in bytes, that every redact processor leaves uncut.
pub(super) fn error_text(valid: &Valid) -> usize {
    let limits = valid.processors.iter().filter_map(|placed| match &placed.what {
        ProcessorSettings::Redact(settings) => Some(settings.max_error_text),
        _ => None,
    });
    limits.min().unwrap_or(redact::ERROR_TEXT)
}

/// The length of text, in bytes, that every redact processor searches.
pub(super) fn scan(valid: &Valid) -> usize {
    let limits = valid.processors.iter().filter_map(|placed| match &placed.what {
        ProcessorSettings::Redact(settings) => Some(settings.max_scan),
        _ => None,
    });
    limits.min().unwrap_or(redact::SCAN)
}

struct Assembly<'s> {
    site: &'s Site,
    vocabulary: Arc<Vocabulary>,
    /// The policy for ids, shared so that an id has one form everywhere.
    ids: Arc<Ids>,
    /// The memory of stripped content, shared by all vaults.
    echoing: Echoing,
    proxies: Arc<Proxies>,
    /// The signing keys of the vaults, by vault id.
    signers: HashMap<Arc<str>, Arc<SigningKey>>,
    round: Round,
    past: Past,
    /// The share of memory for requests.
    share: Share,
}

impl Assembly<'_> {
    fn build(self, valid: Valid) -> Result<Built, StartError> {
        self.site.seams.meter.gauge(&names::INFO, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        let way = Way::default();
        let mut processors =
            Processors::build(&self.parts(&valid.spool.directory), valid.processors, &valid.pipelines)?;
        let pointed = valid.exporters.iter().filter_map(Pointed::of).collect();
        let deps = self.deps();
        let (exporters, mut outlets) = exporters(valid.exporters, &deps)?;
        let plan = EnginePlan {
            pipelines: self.pipelines(&valid.pipelines, &processors.by_id, &exporters),
            limits: self.limits(&valid.limits),
        };
        let alerts = folder_of(&valid.spool.directory).join(ALERTS);
        let alerting = self.alerting(&valid.extensions, processors.board(), alerts)?;
        let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
        for Placed { id, what } in valid.receivers {
            let ReceiverSettings::Otlp(settings) = what;
            listeners.push(Box::new(otlp::Otlp::build(id_text(&id), settings).among(self.round.sockets.clone())));
        }
        let ports = Ports {
            site: self.site,
            past: &self.past,
            processors: &processors,
            way: &way,
            alerting: alerting.as_ref(),
            files: &valid.admin_files,
            sockets: self.round.sockets.as_ref(),
            again: self.round.again.as_ref(),
        };
        listeners.extend(valid.extensions.into_iter().map(|placed| ports.listener(placed.what)));
        let vaults = std::mem::take(&mut processors.vaults);
        wait_for_puts(&vaults, &plan, &mut outlets)?;
        let kept = vaults.iter().filter(|vault| vault.uploader.is_some());
        let consumers = kept.flat_map(|vault| [Some(vault.id.clone()), vault.waits.clone()]).flatten().collect();
        let mut companions: Vec<Arc<dyn Companion>> = vaults.into_iter().filter_map(|vault| vault.uploader).collect();
        companions.append(&mut processors.tables);
        companions.extend(own::companions(valid.own_metrics, &deps, &*self.site.seams.rng)?);
        let connect = |placed| self.connector(placed, &valid.pipelines, &processors.runs, &way);
        companions.extend(valid.connectors.into_iter().filter_map(connect));
        companions.extend(self.past.shown.then(|| self.past.remember(self.site, processors.board())));
        companions.extend(alerting.map(|alerting| alerting as Arc<dyn Companion>));
        Ok(Built { plan, outlets, consumers, pointed, companions, listeners, way })
    }

    /// The parts that processors are built from; `spool` is the spool's folder.
    fn parts<'p>(&'p self, spool: &'p Path) -> Parts<'p> {
        Parts {
            site: self.site,
            vocabulary: &self.vocabulary,
            ids: &self.ids,
            echoing: &self.echoing,
            proxies: &self.proxies,
            signers: &self.signers,
            spool,
        }
    }

    fn deps(&self) -> Deps {
        Deps {
            tasks: Arc::clone(&self.site.tasks),
            clock: Arc::clone(&self.site.seams.clock),
            proxies: Arc::clone(&self.proxies),
            meter: self.site.seams.meter.clone(),
        }
    }

    /// The pipelines with their components. If the admin port shows history, each pipeline ends with a [`Watch`] for
    /// failing spans.
    fn pipelines(
        &self,
        pipelines: &[Pipeline],
        processors: &HashMap<ComponentId, Arc<dyn Processor>>,
        exporters: &HashMap<ComponentId, Arc<dyn Exporter>>,
    ) -> Vec<PipelinePlan> {
        let watch = || Arc::new(Watch::new(Arc::clone(&self.past.failures))) as Arc<dyn Processor>;
        let watch = self.past.shown.then(watch);
        let plan = |pipeline: &Pipeline| PipelinePlan {
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

    fn limits(&self, limits: &limits::Limits) -> Limits {
        Limits {
            in_flight_bytes: usize::try_from(self.share.in_flight).unwrap_or(usize::MAX),
            admission_wait: limits.admission_wait.0,
            max_item_bytes: usize::try_from(limits.max_item_size.0).unwrap_or(usize::MAX),
            accounts: limits.rates(),
            ..Limits::default()
        }
    }

    /// The companion that runs a connector: it takes the results of the trackers in pipelines that export to it, and
    /// sends them to the pipelines that receive from it.
    fn connector(
        &self,
        Placed { id, what }: Placed<ConnectorSettings>,
        pipelines: &[Pipeline],
        runs: &[(ComponentId, Arc<Runs>)],
        way: &Way,
    ) -> Option<Arc<dyn Companion>> {
        let ConnectorSettings::Runs(settings) = what else { return None };
        let has = |list: &[(ComponentId, At)], wanted: &ComponentId| list.iter().any(|(id, _)| id == wanted);
        let from = || pipelines.iter().filter(|pipeline| has(&pipeline.exporters, &id));
        let feeds = |runs: &ComponentId| from().any(|pipeline| has(&pipeline.processors, runs));
        let sources = runs.iter().filter(|(runs, _)| feeds(runs));
        let sources = sources.map(|(_, runs)| Arc::<Runs>::clone(runs) as Arc<dyn Source>).collect();
        let to = pipelines.iter().filter(|pipeline| has(&pipeline.receivers, &id));
        let mut signals: Vec<Signal> = to.map(|pipeline| pipeline.signal).collect();
        signals.sort_unstable_by_key(|signal| signal.as_str());
        signals.dedup();
        let (clock, meter) = (Arc::clone(&self.site.seams.clock), &self.site.seams.meter);
        let connector = connectors::runs::Runs::build(id_text(&id), settings, sources, signals, clock, meter);
        Some(Arc::new(Telling { connector, way: Arc::clone(way) }))
    }

    /// The sender of alerts, if a webhook is configured.
    fn alerting(
        &self,
        extensions: &[Placed<ExtensionSettings>],
        board: Arc<dyn Board>,
        file: PathBuf,
    ) -> Result<Option<Arc<Alerting>>, StartError> {
        let asked = extensions.iter().find_map(|placed| match &placed.what {
            ExtensionSettings::Admin(settings) => {
                let links =
                    pages::notice::Links { trace: settings.trace_link.clone(), page: settings.public_url.clone() };
                Some((settings.alerts.clone()?, links))
            }
            ExtensionSettings::HealthCheck(_) => None,
        });
        let Some((webhook, links)) = asked else { return Ok(None) };
        let parts = notify::Parts {
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
