//! **What**: valid settings to a [`Blueprint`]: key files, components, listeners, the engine's plan. **Why**: the only
//! place that knows how components are wired. **Invariants**: builds, does not spawn or bind. **Not here**: keys
//! (`keys`), the table (`components`), starting (`app`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::post;
use http::StatusCode;
use tokio::sync::Notify;

use crate::app::build::{Blueprint, Built, Companion, Listener, Settings, Site, Way};
use crate::app::connect::Telling;
use crate::app::destinations::Pointed;
use crate::app::erasures::{self, ErasureDesk};
use crate::app::exporters::{exporters, wait_for_puts};
use crate::app::humans::Humans;
use crate::app::keys::Keys;
use crate::app::limits::{self, LEAST_MEMORY};
use crate::app::listeners::{REST, Web};
use crate::app::memory::{Limit, Share};
use crate::app::notify::{self, Notify as Alerting};
use crate::app::own;
use crate::app::past::Past;
use crate::app::placed::Placed;
use crate::app::rates::RatesTask;
use crate::app::seams::Seams;
use crate::app::start_error::StartError;
use crate::app::valid::Valid;
use crate::app::vaults::{self, Vault};
use crate::app::{strangers, tap};
use crate::components::{ConnectorSettings, ExtensionSettings, ProcessorSettings, ReceiverSettings, id_text};
use ::otlp::Signal;
use config::file::Pipeline;
use config::{At, ComponentId, env};
use echoes::Memory;
use exporters::remote::Deps;
use genai::Vocabulary;
use history::Watch;
use kernel::files::folder_of;
use net::{Kept, Proxies, Sockets, server_tls};
use pipeline::plan::{Limits, PipelinePlan};
use pipeline::{EnginePlan, Exporter, Processor, Source};
use processors::attributes::Attributes;
use processors::cost::Cost;
use processors::filter::Filter;
use processors::normalize::Normalize;
use processors::redact::{self, Redact};
use processors::resource::ResourceAttributes;
use processors::vault::Echoing;
use rates::Shelf;
use receivers::otlp;
use recogniser::{self, Presidio, Recognise};
use redaction::{Detector, Ids};
use runs::api::Api;
use runs::{Board, Boards};
use telemetry::admin::{self, Admin};
use telemetry::names;
use tracker::Runs;
use vault::chain::note::SigningKey;

/// What was sent of alerts, beside the spool.
const ALERTS: &str = "alerts-sent.json";

/// Wires valid settings.
///
/// # Errors
/// One line: a key file, a client or an address that can't be used.
pub async fn blueprint(valid: Valid, seams: &Seams) -> Result<Blueprint, StartError> {
    let keys = Keys::read(&valid, &*seams.rng).await?;
    blueprint_for(valid, keys, seams, Round::default())
}

/// What a gateway that may begin again has over its rounds.
#[derive(Clone, Default)]
pub struct Round {
    /// Its ports.
    pub sockets: Option<Sockets>,
    /// Told when somebody asks the admin port for another round.
    pub again: Option<Arc<Notify>>,
}

/// The same for one round of several, with its keys.
///
/// # Errors
/// As [`blueprint`].
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

/// The limit of memory and what requests may take of it; receivers take nothing that could never fit.
fn memory_of(valid: &mut Valid) -> (Option<Limit>, Share) {
    // what there is, whatever is configured as the limit
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

/// Rules for ids and index columns: those of every redact processor, else the built-in ones.
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

/// What every redact processor leaves whole of an error text, bytes.
pub(super) fn error_text(valid: &Valid) -> usize {
    let limits = valid.processors.iter().filter_map(|placed| match &placed.what {
        ProcessorSettings::Redact(settings) => Some(settings.max_error_text),
        _ => None,
    });
    limits.min().unwrap_or(redact::ERROR_TEXT)
}

/// What every redact processor searches of a text, bytes.
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
    /// How ids may be shown, in one form everywhere.
    ids: Arc<Ids>,
    /// One memory of content for all vaults.
    echoing: Echoing,
    proxies: Arc<Proxies>,
    /// What signs the digests of each vault.
    signers: HashMap<Arc<str>, Arc<SigningKey>>,
    round: Round,
    past: Past,
    /// What requests may take of memory.
    share: Share,
}

/// The processors that others than the engine know.
#[derive(Default)]
struct Known {
    /// By id.
    runs: Vec<(ComponentId, Arc<Runs>)>,
    /// Where reports of erasures go.
    erasures: Vec<Arc<ErasureDesk>>,
    /// What steps price by, by id.
    shelves: HashMap<ComponentId, Arc<Shelf>>,
    way: Way,
}

impl Known {
    /// All trackers as one.
    fn board(&self) -> Arc<dyn Board> {
        let boards = self.runs.iter().map(|(_, runs)| Arc::<Runs>::clone(runs) as Arc<dyn Board>).collect();
        Arc::new(Boards(boards))
    }

    /// Trackers tell models apart by the tables of the step that prices in the same pipeline.
    fn price(&self, pipelines: &[Pipeline]) {
        for (id, runs) in &self.runs {
            let holders = pipelines.iter().filter(|line| line.processors.iter().any(|(held, _)| held == id));
            let mut shelves = holders.flat_map(|line| &line.processors).filter_map(|(held, _)| self.shelves.get(held));
            shelves.next().into_iter().for_each(|shelf| runs.price_by(Arc::clone(shelf)));
        }
    }
}

/// What processors bring besides themselves.
struct Beside<'b> {
    vaults: &'b mut Vec<Vault>,
    known: &'b mut Known,
    /// Tasks that look for newer rate tables.
    tables: &'b mut Vec<Arc<dyn Companion>>,
    /// The folder beside the spool.
    folder: &'b Path,
    /// The spool's own.
    spool: &'b Path,
}

impl Assembly<'_> {
    fn build(self, valid: Valid) -> Result<Built, StartError> {
        self.site.seams.meter.gauge(&names::INFO, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        let mut vaults: Vec<Vault> = Vec::new();
        let mut known = Known::default();
        let mut tables: Vec<Arc<dyn Companion>> = Vec::new();
        let spool = valid.spool.directory.clone();
        let folder = folder_of(&spool).to_path_buf();
        let processors = {
            let (vaults, known, tables) = (&mut vaults, &mut known, &mut tables);
            let mut beside = Beside { vaults, known, tables, folder: &folder, spool: &spool };
            self.processors(valid.processors, &valid.pipelines, &mut beside)?
        };
        known.price(&valid.pipelines);
        let pointed = valid.exporters.iter().filter_map(Pointed::of).collect();
        let deps = self.deps();
        let (exporters, mut outlets) = exporters(valid.exporters, &deps)?;
        let plan = EnginePlan {
            pipelines: self.pipelines(&valid.pipelines, &processors, &exporters),
            limits: self.limits(&valid.limits),
        };
        let alerting = self.alerting(&valid.extensions, &known, folder.join(ALERTS))?;
        let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
        for Placed { id, what } in valid.receivers {
            let ReceiverSettings::Otlp(settings) = what;
            listeners.push(Box::new(otlp::Otlp::build(id_text(&id), settings).among(self.round.sockets.clone())));
        }
        for Placed { what, .. } in valid.extensions {
            listeners.push(self.extension(what, &known, alerting.clone(), &valid.admin_files));
        }
        wait_for_puts(&vaults, &plan, &mut outlets)?;
        let kept = vaults.iter().filter(|vault| vault.uploader.is_some());
        let consumers = kept.flat_map(|vault| [Some(vault.id.clone()), vault.waits.clone()]).flatten().collect();
        let mut companions: Vec<Arc<dyn Companion>> = vaults.into_iter().filter_map(|vault| vault.uploader).collect();
        companions.append(&mut tables);
        companions.extend(own::companions(valid.own_metrics, &deps, &*self.site.seams.rng)?);
        let connectors = valid.connectors.into_iter();
        companions.extend(connectors.filter_map(|placed| self.connector(placed, &valid.pipelines, &known)));
        companions.extend(self.past.shown.then(|| self.past.remember(self.site, known.board())));
        companions.extend(alerting.map(|alerting| alerting as Arc<dyn Companion>));
        Ok(Built { plan, outlets, consumers, pointed, companions, listeners, way: known.way })
    }

    /// What exporters are built with.
    fn deps(&self) -> Deps {
        Deps {
            tasks: Arc::clone(&self.site.tasks),
            clock: Arc::clone(&self.site.seams.clock),
            proxies: Arc::clone(&self.proxies),
            meter: self.site.seams.meter.clone(),
        }
    }

    fn processors(
        &self,
        placed: Vec<Placed<ProcessorSettings>>,
        pipelines: &[Pipeline],
        beside: &mut Beside<'_>,
    ) -> Result<HashMap<ComponentId, Arc<dyn Processor>>, StartError> {
        let build = |Placed { id, what }: Placed<ProcessorSettings>| {
            let holders = pipelines.iter().filter(|pipeline| pipeline.processors.iter().any(|(held, _)| *held == id));
            let signals = holders.map(|pipeline| pipeline.signal).collect();
            let processor = self.processor(&id, what, signals, beside)?;
            Ok((id, processor))
        };
        placed.into_iter().map(build).collect()
    }

    /// The pipelines with their components; a failure watch ends each one while somebody may ask for the past.
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

    fn processor(
        &self,
        id: &ComponentId,
        settings: ProcessorSettings,
        signals: Vec<Signal>,
        beside: &mut Beside<'_>,
    ) -> Result<Arc<dyn Processor>, StartError> {
        let component = id.clone();
        let (id, meter, vocabulary) = (id_text(id), &self.site.seams.meter, Arc::clone(&self.vocabulary));
        Ok(match settings {
            ProcessorSettings::Normalize(settings) => Arc::new(Normalize::new(id, &settings, vocabulary, meter)),
            ProcessorSettings::Cost(mut settings) => {
                settings.signals = signals;
                let cost = Cost::new(id, &settings, vocabulary, meter).map_err(|error| StartError::new(error.0))?;
                cost.warnings().iter().for_each(|warning| tracing::warn!("price overlay: {warning}"));
                let cost = Arc::new(cost.with_ids(self.ids.clone()));
                beside.known.shelves.insert(component, cost.shelf());
                if let Some(refresh) = settings.refresh.clone() {
                    let (proxies, made) = (Arc::clone(&self.proxies), Arc::clone(&cost));
                    let task = RatesTask::build(
                        made,
                        settings,
                        refresh,
                        (&self.site.seams, &self.site.tasks),
                        proxies,
                        beside.folder,
                    )?;
                    beside.tables.push(Arc::new(task));
                }
                cost
            }
            ProcessorSettings::Runs(settings) => {
                let runs = Arc::new(Runs::new(id, settings, vocabulary, self.ids.clone(), meter));
                beside.known.runs.push((component, Arc::clone(&runs)));
                runs
            }
            ProcessorSettings::Vault(settings) => {
                let (echoing, keeping) = (self.echoing.clone(), (beside.spool, self.signers.get(&id).cloned()));
                let (processor, vault) =
                    vaults::build(self.site, id, &settings, vocabulary, self.ids.clone(), echoing, keeping)?;
                beside.known.erasures.extend(vault.erasures.clone());
                beside.vaults.push(vault);
                processor
            }
            ProcessorSettings::Attributes(settings) => Arc::new(Attributes::new(id, settings)),
            ProcessorSettings::Resource(settings) => Arc::new(ResourceAttributes::new(id, settings)),
            ProcessorSettings::Filter(settings) => Arc::new(Filter::new(id, settings, meter)),
            ProcessorSettings::Redact(settings) => {
                let asks = settings.recogniser.clone();
                let redact = Redact::new(Arc::clone(&id), settings, vocabulary, self.ids.clone(), meter);
                match asks {
                    None => Arc::new(redact),
                    Some(asks) => Arc::new(redact.with_recogniser(self.recogniser(id, asks)?, meter)),
                }
            }
        })
    }

    /// A connector tells what the trackers of the pipelines that export to it found, to the pipelines that receive from it.
    fn connector(
        &self,
        Placed { id, what }: Placed<ConnectorSettings>,
        pipelines: &[Pipeline],
        known: &Known,
    ) -> Option<Arc<dyn Companion>> {
        let ConnectorSettings::Runs(settings) = what else { return None };
        let has = |list: &[(ComponentId, At)], wanted: &ComponentId| list.iter().any(|(id, _)| id == wanted);
        let from = || pipelines.iter().filter(|pipeline| has(&pipeline.exporters, &id));
        let feeds = |runs: &ComponentId| from().any(|pipeline| has(&pipeline.processors, runs));
        let sources = known.runs.iter().filter(|(runs, _)| feeds(runs));
        let sources = sources.map(|(_, runs)| Arc::<Runs>::clone(runs) as Arc<dyn Source>).collect();
        let to = pipelines.iter().filter(|pipeline| has(&pipeline.receivers, &id));
        let mut signals: Vec<Signal> = to.map(|pipeline| pipeline.signal).collect();
        signals.sort_unstable_by_key(|signal| signal.as_str());
        signals.dedup();
        let (clock, meter) = (Arc::clone(&self.site.seams.clock), &self.site.seams.meter);
        let connector = connectors::runs::Runs::build(id_text(&id), settings, sources, signals, clock, meter);
        Some(Arc::new(Telling { connector, way: Arc::clone(&known.way) }))
    }

    fn recogniser(&self, id: Arc<str>, settings: recogniser::Settings) -> Result<Arc<dyn Recognise>, StartError> {
        let deps = recogniser::Deps {
            tasks: Arc::clone(&self.site.tasks),
            clock: Arc::clone(&self.site.seams.clock),
            proxies: Arc::clone(&self.proxies),
            meter: self.site.seams.meter.clone(),
        };
        let place = format!("processors.{id}.recogniser");
        Ok(Arc::new(Presidio::build(id, settings, deps).map_err(|why| StartError::from(why).at(place))?))
    }

    /// What sends alerts, where a webhook is configured.
    fn alerting(
        &self,
        extensions: &[Placed<ExtensionSettings>],
        known: &Known,
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
            board: known.board(),
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

    fn extension(
        &self,
        settings: ExtensionSettings,
        known: &Known,
        alerting: Option<Arc<Alerting>>,
        files: &Kept<server_tls::Made>,
    ) -> Box<dyn Listener> {
        let seams = &self.site.seams;
        let (name, endpoint, router, tls) = match settings {
            ExtensionSettings::Admin(settings) => {
                let (meter, health) = (seams.meter.clone(), seams.health.clone());
                let pages = Admin { meter, health, allowed_hosts: settings.allowed_hosts, auth: settings.auth };
                let again = self.round.again.clone().map_or_else(Router::new, reload_route);
                let more = pages::router(Arc::new(self.past.pages(self.site, known.board(), settings.trace_link)));
                let tls = settings.tls.as_ref().map(|port| server_tls::Settings::from(port).keeping(files));
                let looking = tap::Site {
                    way: Arc::clone(&known.way),
                    clock: Arc::clone(&seams.clock),
                    tasks: Arc::clone(&self.site.tasks),
                    guarded: pages.auth.is_some(),
                };
                let api = self
                    .api(known)
                    .merge(tap::router(looking))
                    .merge(notify::routes::router(alerting))
                    .merge(again)
                    .merge(erasures::router(known.erasures.clone()))
                    .merge(more)
                    .layer(middleware::from_fn_with_state(pages.auth.is_some(), strangers::only_read));
                ("admin", settings.endpoint, admin::router(Arc::new(pages), api), tls)
            }
            ExtensionSettings::HealthCheck(settings) => {
                ("health_check", settings.endpoint, admin::health_router(seams.health.clone(), &settings.path), None)
            }
        };
        Box::new(Web { name, endpoint, router, rest: REST, sockets: self.round.sockets.clone(), tls })
    }

    /// The API of runs.
    fn api(&self, known: &Known) -> axum::Router {
        let (way, runs) = (Arc::clone(&known.way), known.runs.iter().map(|(_, runs)| Arc::clone(runs)).collect());
        let humans = Humans { runs, way, clock: Arc::clone(&self.site.seams.clock) };
        let tasks = Arc::clone(&self.site.tasks);
        runs::api::router(Api { board: known.board(), judge: Arc::new(humans), tasks })
    }
}

/// `POST /-/reload`.
fn reload_route(again: Arc<Notify>) -> Router {
    let told = move || async move {
        again.notify_one();
        (StatusCode::ACCEPTED, "the configuration is read again; the log tells what came of it\n")
    };
    Router::new().route("/-/reload", post(told))
}
