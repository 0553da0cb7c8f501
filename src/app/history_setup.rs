//! [`HistorySetup`]: wires the history of runs: its sources, its file, and the pages that show it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use crate::app::build::BackgroundTask;
use crate::app::configured_component::{ConfiguredComponent, admin_ports, vaults};
use crate::app::history_recorder::HistoryRecorder;
use crate::app::valid_settings::ValidSettings;
use crate::components::ProcessorSettings;
use history::{BoardSampleStates, ClientTable, FailedSpans, RETENTION, RunBoard, SharedHistoryStore};
use kernel::files::parent_folder;
use kernel::pseudonym::IdPolicy;
use net::SharedServices;
use pages::{AdminPages, BudgetBoard};
use pipeline::spool::SpoolKey;
use rates::SeatSums;
use runs::RunSource;
use telemetry::Health;
use telemetry::admin::links::TraceLink;

/// File beside the spool with ended runs.
const HISTORY_FILE: &str = "history.sqlite";
/// Longest time until a run that settled is evaluated.
const EVALUATION_TIME: Duration = Duration::from_secs(5);

/// The history, its file, and the settings that its pages need.
pub(super) struct HistorySetup {
    pub(super) failures: Arc<FailedSpans>,
    pub(super) clients: Arc<ClientTable>,
    store: SharedHistoryStore,
    /// Path of the file, beside the spool.
    file: PathBuf,
    keys: Vec<SpoolKey>,
    /// How long rows of runs are kept, ns.
    keep_runs: u64,
    /// Whether the `admin` extension is enabled, whose pages show the history.
    pub(super) has_admin_port: bool,
    /// Location of the vault's store, with which references to content begin.
    vault: Option<String>,
    /// The configured iteration ceiling of runs.
    iteration_ceiling: u64,
    /// How long after its last item a run is published.
    settle: Duration,
    /// Whether any processor tracks runs.
    has_trackers: bool,
}

/// The longest `settle` of the steps `runs`.
pub(super) fn longest_settle(processors: &[ConfiguredComponent<ProcessorSettings>]) -> Duration {
    let settle = processors.iter().filter_map(|component| match &component.value {
        ProcessorSettings::Runs(settings) => Some(settings.settle.0),
        _ => None,
    });
    settle.max().unwrap_or_default()
}

impl HistorySetup {
    pub(super) fn new(valid: &ValidSettings, keys: &[SpoolKey]) -> Self {
        let vault = vaults(&valid.processors).next().map(|(.., store)| store.profile().location);
        let ceiling = valid.processors.iter().find_map(|component| match &component.value {
            ProcessorSettings::Runs(settings) => Some(settings.iteration_ceiling),
            _ => None,
        });
        Self {
            failures: Arc::default(),
            clients: Arc::default(),
            store: SharedHistoryStore::default(),
            file: parent_folder(&valid.spool.directory).join(HISTORY_FILE),
            keys: keys.to_vec(),
            keep_runs: (admin_ports(&valid.extensions))
                .map(|(_, settings)| u64::try_from(settings.keep_runs.as_nanos()).unwrap_or(u64::MAX))
                .fold(RETENTION, u64::max),
            has_admin_port: admin_ports(&valid.extensions).next().is_some(),
            vault,
            settle: longest_settle(&valid.processors),
            has_trackers: ceiling.is_some(),
            iteration_ceiling: ceiling.unwrap_or(0).into(),
        }
    }

    /// All runs: those of these sources, and those in the file.
    pub(super) fn board(&self, sources: Vec<Arc<dyn RunSource>>, ids: Arc<dyn IdPolicy>) -> RunBoard {
        RunBoard { sources, store: Arc::clone(&self.store), ids: Some(ids), permit: None }
    }

    /// What samplers ask. A run's alerts are there some time after it is published.
    pub(super) fn sample_states(&self, board: RunBoard) -> BoardSampleStates {
        BoardSampleStates { board, settle: self.settle + EVALUATION_TIME }
    }

    /// The pages of this gateway.
    pub(super) fn build_pages(
        &self,
        (services, health): (SharedServices, Health),
        runs: RunBoard,
        link: Option<TraceLink>,
        seats: Vec<Arc<SeatSums>>,
        budgets: BudgetBoard,
    ) -> AdminPages {
        AdminPages {
            runs,
            keep_runs: self.keep_runs,
            failures: Arc::clone(&self.failures),
            clients: Arc::clone(&self.clients),
            tracked: self.has_trackers,
            iteration_ceiling: self.iteration_ceiling,
            link,
            seats,
            budgets,
            vault: self.vault.clone(),
            services,
            health,
        }
    }

    /// The background task that records the history.
    pub(super) fn build_recorder(&self, services: SharedServices, runs: RunBoard) -> BackgroundTask {
        let recorder = HistoryRecorder {
            runs,
            failures: Arc::clone(&self.failures),
            file: self.file.clone(),
            keys: self.keys.clone(),
            keep_runs: self.keep_runs,
            services,
            is_failing: AtomicBool::new(false),
            reopen_at: AtomicU64::new(0),
        };
        Arc::new(recorder).into_task()
    }
}
