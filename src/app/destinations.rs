//! Records in the spool's folder where each exporter last pointed. The spool knows an exporter by its name only, and
//! data waiting for one back end must not go to another because the name points elsewhere now. Data for a former host
//! or port is held under a consumer name that no exporter can have, until `moved_from` names that destination, the
//! exporter points there again, or the operator moves the data (`spool_changes`). The hold is durable before the new
//! destination is recorded, so a crash holds data and never sends it. The file has hosts and ports, no secrets.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use crate::app::configured_component::ConfiguredComponent;
use crate::app::start_error::StartError;
use crate::app::valid_settings::ValidSettings;
use crate::components::{ExporterSettings, id_text};
use config::ComponentId;
use kernel::files;
use pipeline::sampling::rules::waiting_consumer;
use pipeline::spool::{Committer, ConsumerStatus, Spool};

/// Name of the file in the spool's folder.
const DESTINATIONS_FILE: &str = "destinations";
/// Prefix of the consumers that hold data; no component type contains a colon.
const HELD_PREFIX: &str = "held:";

#[derive(Clone, Debug)]
pub struct ExporterDestination {
    pub exporter: Arc<str>,
    /// `host:port`; several are separated by commas.
    pub destination: String,
    /// Former destinations whose waiting data goes to the present one.
    pub moved_from: Vec<String>,
}

impl ExporterDestination {
    /// The destination of an exporter; `None` if it has none outside this machine.
    pub fn from_exporter(component: &ConfiguredComponent<ExporterSettings>) -> Option<Self> {
        let (destination, moved_from) = component.value.spec().profile().destination?;
        Some(Self { exporter: id_text(&component.id), destination, moved_from: moved_from.to_vec() })
    }

    /// The destinations of what waits for an exporter, and of what waits for its sampler.
    pub fn of_exporter(component: &ConfiguredComponent<ExporterSettings>) -> impl Iterator<Item = Self> {
        Self::from_exporter(component).into_iter().flat_map(|own| {
            let waiting = Self { exporter: waiting_consumer(&own.exporter), ..own.clone() };
            [own, waiting]
        })
    }

    /// Whether data that waited for `destination` goes to the present destination.
    fn accepts_data_for(&self, destination: &str) -> bool {
        self.destination == destination || self.moved_from.iter().any(|former| former == destination)
    }

    /// The consumer name that holds data for `destination`.
    fn held_consumer_name(&self, destination: &str) -> Arc<str> {
        format!("{HELD_PREFIX}{}@{destination}", self.exporter).into()
    }
}

/// The exporter and its former destination, if `consumer` is one that holds data.
pub fn parse_held_consumer(consumer: &str) -> Option<(&str, &str)> {
    consumer.strip_prefix(HELD_PREFIX)?.rsplit_once('@')
}

/// Holds the data of exporters that point elsewhere now, releases held data that an exporter accepts again, and
/// records all destinations. It has to run before anything is sent.
///
/// # Errors
/// Data of an exporter can't be held.
pub(super) fn update_destinations(
    spool: &Spool,
    committer: &mut Committer,
    exporters: &[ExporterDestination],
) -> Result<(), StartError> {
    let path = spool.settings().directory.join(DESTINATIONS_FILE);
    let recorded = read(&path).unwrap_or_else(|why| {
        tracing::warn!(
            why,
            "the record of exporters' former destinations can't be read; waiting data is sent to the present ones"
        );
        BTreeMap::new()
    });
    let (mut updated, mut moved) = (recorded.clone(), 0);
    for exporter in exporters {
        if let Some(former) = recorded.get(&*exporter.exporter).filter(|former| !exporter.accepts_data_for(former)) {
            moved += spool.transfer_all(&exporter.exporter, &exporter.held_consumer_name(former));
            if spool.pending_bytes(&exporter.exporter) > 0 {
                let (id, to) = (&exporter.exporter, &exporter.destination);
                return Err(StartError::new(format!(
                    "`{id}` now points to {to}, and the data waiting for {former} can't be held: give the exporter another name"
                )));
            }
        }
        for accepted in [&exporter.destination].into_iter().chain(&exporter.moved_from) {
            let records = spool.transfer_all(&exporter.held_consumer_name(accepted), &exporter.exporter);
            if records > 0 {
                let (exporter, to) = (&*exporter.exporter, &*exporter.destination);
                tracing::info!(exporter, records, formerly = &**accepted, to, "held data is released to the exporter");
            }
            moved += records;
        }
        updated.insert(exporter.exporter.to_string(), exporter.destination.clone());
    }
    updated.retain(|id, _| exporters.iter().any(|exporter| *exporter.exporter == **id) || spool.pending_bytes(id) > 0);
    let is_durable = moved == 0 || committer.flush_all();
    let written = if is_durable && updated != recorded { write(&path, &updated) } else { Ok(()) };
    let not_durable = (!is_durable).then(|| "the spool's progress can't be written".to_owned());
    if let Some(why) = written.err().or(not_durable) {
        tracing::warn!(
            why,
            "the exporters' destinations can't be recorded; waiting data may be held at the next start"
        );
    }
    Ok(())
}

/// Logs that a consumer's data is held and how to release it. Returns false for other consumers.
pub(super) fn log_held_data(consumer: &ConsumerStatus, exporters: &[ExporterDestination]) -> bool {
    let Some((exporter, formerly)) = parse_held_consumer(&consumer.name) else { return false };
    let to = exporters
        .iter()
        .find(|candidate| *candidate.exporter == *exporter)
        .map_or("nowhere", |candidate| &candidate.destination);
    tracing::warn!(
        consumer = &*consumer.name,
        exporter,
        formerly,
        to,
        records = consumer.records,
        bytes = consumer.bytes,
        "an exporter's destination changed: data waiting for the former destination is held; to send it to the new one, list the former one under the exporter's `moved_from` or use `spool reassign`; to delete it, use `spool drop`"
    );
    true
}

/// Exporters that point elsewhere than when they last ran, with a description of each change. Only reads the file.
pub fn find_changed_destinations(valid: &ValidSettings) -> Vec<(ComponentId, String)> {
    let Ok(recorded) = read(&valid.spool.directory.join(DESTINATIONS_FILE)) else { return Vec::new() };
    let change = |component: &ConfiguredComponent<ExporterSettings>| {
        let exporter = ExporterDestination::from_exporter(component)?;
        let former = recorded.get(&*exporter.exporter).filter(|former| !exporter.accepts_data_for(former))?;
        let to = exporter.destination;
        let message = format!(
            "now points to {to}, but to {former} at its last run: data still waiting for {former} will be held; to send it to {to}, \
             add `moved_from: ['{former}']`"
        );
        Some((component.id.clone(), message))
    };
    valid.exporters.iter().filter_map(change).collect()
}

/// The error for the file of destinations, with its path.
fn file_error(path: &Path, error: io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, String> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| file_error(path, error.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(file_error(path, error)),
    }
}

fn write(path: &Path, destinations: &BTreeMap<String, String>) -> Result<(), String> {
    let text = serde_json::to_vec(destinations).map_err(io::Error::from);
    text.and_then(|text| files::replace_file(path, &text)).map_err(|error| file_error(path, error))
}
