//! [`Processors`]: builds every configured processor and what comes with it (trackers, rate tables, vaults). This is
//! the one place that knows how each is wired. Settings are in `components`; the order is that of the pipelines.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::app::build::{Companion, Site};
use crate::app::erasures::ErasureDesk;
use crate::app::placed::Placed;
use crate::app::rates::RatesTask;
use crate::app::start_error::StartError;
use crate::app::vaults::{self, Vault};
use crate::components::{ProcessorSettings, id_text};
use ::otlp::Signal;
use ::vault::chain::note::SigningKey;
use config::ComponentId;
use config::file::Pipeline;
use genai::Vocabulary;
use kernel::files::folder_of;
use net::Proxies;
use pipeline::Processor;
use processors::attributes::Attributes;
use processors::cost::{self, Cost};
use processors::filter::Filter;
use processors::normalize::Normalize;
use processors::redact::{self, Redact};
use processors::resource::ResourceAttributes;
use processors::vault::{self, Echoing};
use rates::Shelf;
use recogniser::{self, Presidio, Recognise};
use redaction::Ids;
use runs::{Board, Boards};
use tracker::Runs;

/// The resources that processors are built from.
pub(super) struct Parts<'p> {
    pub(super) site: &'p Site,
    pub(super) vocabulary: &'p Arc<Vocabulary>,
    /// The policy for ids, shared so that an id has one form everywhere.
    pub(super) ids: &'p Arc<Ids>,
    /// The memory of stripped content, shared by all vaults.
    pub(super) echoing: &'p Echoing,
    pub(super) proxies: &'p Arc<Proxies>,
    /// The signing keys of the vaults, by vault id.
    pub(super) signers: &'p HashMap<Arc<str>, Arc<SigningKey>>,
    /// The spool's folder; other state is kept beside it.
    pub(super) spool: &'p Path,
}

/// The processors and what comes with them.
#[derive(Default)]
pub(super) struct Processors {
    pub(super) by_id: HashMap<ComponentId, Arc<dyn Processor>>,
    pub(super) runs: Vec<(ComponentId, Arc<Runs>)>,
    pub(super) vaults: Vec<Vault>,
    /// Vaults that accept reports of erasures.
    pub(super) erasures: Vec<Arc<ErasureDesk>>,
    /// Tasks that refresh rate tables.
    pub(super) tables: Vec<Arc<dyn Companion>>,
    /// The rate tables in use, by `cost` processor.
    shelves: HashMap<ComponentId, Arc<Shelf>>,
}

impl Processors {
    /// Builds every processor in `placed`.
    ///
    /// # Errors
    /// The first processor that can't be used as configured.
    pub(super) fn build(
        parts: &Parts<'_>,
        placed: Vec<Placed<ProcessorSettings>>,
        pipelines: &[Pipeline],
    ) -> Result<Self, StartError> {
        let mut made = Self::default();
        for Placed { id, what } in placed {
            let holders = pipelines.iter().filter(|pipeline| pipeline.processors.iter().any(|(held, _)| *held == id));
            let signals = holders.map(|pipeline| pipeline.signal).collect();
            let processor = made.processor(parts, &id, what, signals)?;
            made.by_id.insert(id, processor);
        }
        made.price_runs(pipelines);
        Ok(made)
    }

    /// All trackers combined.
    pub(super) fn board(&self) -> Arc<dyn Board> {
        let boards = self.runs.iter().map(|(_, runs)| Arc::<Runs>::clone(runs) as Arc<dyn Board>).collect();
        Arc::new(Boards(boards))
    }

    /// Gives each tracker the rate tables of the `cost` step in its pipeline, by which it identifies models.
    fn price_runs(&self, pipelines: &[Pipeline]) {
        for (id, runs) in &self.runs {
            let holders = pipelines.iter().filter(|line| line.processors.iter().any(|(held, _)| held == id));
            let mut shelves = holders.flat_map(|line| &line.processors).filter_map(|(held, _)| self.shelves.get(held));
            shelves.next().into_iter().for_each(|shelf| runs.price_by(Arc::clone(shelf)));
        }
    }

    fn processor(
        &mut self,
        parts: &Parts<'_>,
        component: &ComponentId,
        settings: ProcessorSettings,
        signals: Vec<Signal>,
    ) -> Result<Arc<dyn Processor>, StartError> {
        let (id, meter) = (id_text(component), &parts.site.seams.meter);
        let vocabulary = Arc::clone(parts.vocabulary);
        Ok(match settings {
            ProcessorSettings::Normalize(settings) => Arc::new(Normalize::new(id, &settings, vocabulary, meter)),
            ProcessorSettings::Cost(settings) => self.cost(parts, component, cost::Settings { signals, ..settings })?,
            ProcessorSettings::Runs(settings) => {
                let runs = Arc::new(Runs::new(id, settings, vocabulary, parts.ids.clone(), meter));
                self.runs.push((component.clone(), Arc::clone(&runs)));
                runs
            }
            ProcessorSettings::Vault(settings) => self.vault(parts, id, &settings)?,
            ProcessorSettings::Attributes(settings) => Arc::new(Attributes::new(id, settings)),
            ProcessorSettings::Resource(settings) => Arc::new(ResourceAttributes::new(id, settings)),
            ProcessorSettings::Filter(settings) => Arc::new(Filter::new(id, settings, meter)),
            ProcessorSettings::Redact(settings) => redactor(parts, id, settings)?,
        })
    }

    fn cost(
        &mut self,
        parts: &Parts<'_>,
        component: &ComponentId,
        settings: cost::Settings,
    ) -> Result<Arc<dyn Processor>, StartError> {
        let (seams, vocabulary) = (&parts.site.seams, Arc::clone(parts.vocabulary));
        let cost = Cost::new(id_text(component), &settings, vocabulary, &seams.meter)
            .map_err(|error| StartError::new(error.0))?;
        cost.warnings().iter().for_each(|warning| tracing::warn!("price overlay: {warning}"));
        let cost = Arc::new(cost.with_ids(parts.ids.clone()));
        self.shelves.insert(component.clone(), cost.shelf());
        if let Some(refresh) = settings.refresh.clone() {
            let (proxies, made, folder) = (Arc::clone(parts.proxies), Arc::clone(&cost), folder_of(parts.spool));
            let task = RatesTask::build(made, settings, refresh, (seams, &parts.site.tasks), proxies, folder)?;
            self.tables.push(Arc::new(task));
        }
        Ok(cost)
    }

    fn vault(
        &mut self,
        parts: &Parts<'_>,
        id: Arc<str>,
        settings: &vault::Settings,
    ) -> Result<Arc<dyn Processor>, StartError> {
        let (echoing, keeping) = (parts.echoing.clone(), (parts.spool, parts.signers.get(&id).cloned()));
        let vocabulary = Arc::clone(parts.vocabulary);
        let (processor, vault) =
            vaults::build(parts.site, id, settings, vocabulary, parts.ids.clone(), echoing, keeping)?;
        self.erasures.extend(vault.erasures.clone());
        self.vaults.push(vault);
        Ok(processor)
    }
}

fn redactor(parts: &Parts<'_>, id: Arc<str>, settings: redact::Settings) -> Result<Arc<dyn Processor>, StartError> {
    let (meter, asks) = (&parts.site.seams.meter, settings.recogniser.clone());
    let redact = Redact::new(Arc::clone(&id), settings, Arc::clone(parts.vocabulary), parts.ids.clone(), meter);
    Ok(match asks {
        None => Arc::new(redact),
        Some(asks) => Arc::new(redact.with_recogniser(recogniser(parts, &id, asks)?, meter)),
    })
}

fn recogniser(parts: &Parts<'_>, id: &Arc<str>, asks: recogniser::Settings) -> Result<Arc<dyn Recognise>, StartError> {
    let deps = recogniser::Deps {
        tasks: Arc::clone(&parts.site.tasks),
        clock: Arc::clone(&parts.site.seams.clock),
        proxies: Arc::clone(parts.proxies),
        meter: parts.site.seams.meter.clone(),
    };
    let place = format!("processors.{id}.recogniser");
    let made = Presidio::build(Arc::clone(id), asks, deps).map_err(|why| StartError::from(why).at(place))?;
    Ok(Arc::new(made))
}
