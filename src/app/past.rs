//! [`Past`]: wires the history of runs: its sources, its file, and the pages that show it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::Mutex;

use crate::app::build::{Companion, Site};
use crate::app::remember::Remember;
use crate::app::valid::Valid;
use crate::components::{ExtensionSettings, ProcessorSettings};
use history::{Failures, History, Write};
use kernel::files::folder_of;
use pages::{Pages, Shelf};
use pipeline::spool::SpoolKey;
use runs::Board;
use telemetry::admin::links::TraceLink;

/// File beside the spool with the last 48 hours.
const HISTORY: &str = "history.sqlite";

/// The history, its file, and the settings that its pages need.
pub(super) struct Past {
    pub(super) history: Arc<History>,
    pub(super) failures: Arc<Failures>,
    shelf: Shelf,
    /// Path of the file, beside the spool.
    file: PathBuf,
    keys: Vec<SpoolKey>,
    /// Whether the `admin` extension is enabled, whose pages show the history.
    pub(super) shown: bool,
    /// Location of the vault's store, with which references to content begin.
    vault: Option<String>,
    /// The configured iteration ceiling of runs.
    ceiling: u64,
    /// Whether any processor tracks runs.
    tracked: bool,
}

impl Past {
    pub(super) fn new(valid: &Valid, keys: &[SpoolKey]) -> Self {
        let vault = valid.processors.iter().find_map(|placed| match &placed.what {
            ProcessorSettings::Vault(settings) => settings.store.as_ref().map(|store| store.spec().location()),
            _ => None,
        });
        let ceiling = valid.processors.iter().find_map(|placed| match &placed.what {
            ProcessorSettings::Runs(settings) => Some(settings.iteration_ceiling),
            _ => None,
        });
        Self {
            history: Arc::default(),
            failures: Arc::default(),
            shelf: Shelf::default(),
            file: folder_of(&valid.spool.directory).join(HISTORY),
            keys: keys.to_vec(),
            shown: valid.extensions.iter().any(|placed| matches!(placed.what, ExtensionSettings::Admin(_))),
            vault,
            tracked: ceiling.is_some(),
            ceiling: ceiling.unwrap_or(0),
        }
    }

    /// The pages of this gateway.
    pub(super) fn pages(&self, site: &Site, board: Arc<dyn Board>, link: Option<TraceLink>) -> Pages {
        let seams = &site.seams;
        Pages {
            history: Arc::clone(&self.history),
            failures: Arc::clone(&self.failures),
            shelf: Arc::clone(&self.shelf),
            board,
            tracked: self.tracked,
            ceiling: self.ceiling,
            link,
            vault: self.vault.clone(),
            meter: seams.meter.clone(),
            health: seams.health.clone(),
            clock: Arc::clone(&seams.clock),
            tasks: Arc::clone(&site.tasks),
            several: AtomicBool::new(false),
        }
    }

    /// The companion that records the history.
    pub(super) fn remember(&self, site: &Site, board: Arc<dyn Board>) -> Arc<dyn Companion> {
        Arc::new(Remember {
            board,
            history: Arc::clone(&self.history),
            failures: Arc::clone(&self.failures),
            shelf: Arc::clone(&self.shelf),
            file: self.file.clone(),
            keys: self.keys.clone(),
            seams: site.seams.clone(),
            tasks: Arc::clone(&site.tasks),
            failing: AtomicBool::new(false),
            owed: Mutex::new(Write::default()),
            again: AtomicU64::new(0),
        })
    }
}
