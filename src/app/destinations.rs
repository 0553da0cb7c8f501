//! Records in the spool's folder where each exporter last pointed. The spool knows an exporter by its name only, and
//! data waiting for one back end must not go to another because the name points elsewhere now. Data for a former host
//! or port is held under a consumer name that no exporter can have, until the configuration allows it (`moved_from`),
//! the exporter points there again, or the operator moves it (`cli/spool_move`). The hold is durable before the new
//! destination is recorded, so a crash holds data and never sends it. The file has hosts and ports, no secrets.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::app::placed::Placed;
use crate::app::start_error::StartError;
use crate::app::valid::Valid;
use crate::components::{ExporterSettings, id_text};
use config::ComponentId;
use kernel::files;
use pipeline::spool::{Committer, ConsumerStatus, Spool};

/// Name of the file in the spool's folder.
const FILE: &str = "destinations";
/// Prefix of the consumers that hold data; no component type contains a colon.
const HELD: &str = "held:";

/// An exporter's destination.
#[derive(Clone, Debug)]
pub struct Pointed {
    /// The exporter's id.
    pub exporter: Arc<str>,
    /// `host:port`; several are separated by commas.
    pub to: String,
    /// Former destinations whose waiting data goes to the present one.
    pub moved_from: Vec<String>,
}

impl Pointed {
    /// The destination of an exporter; `None` if it has none outside this machine.
    pub fn of(placed: &Placed<ExporterSettings>) -> Option<Self> {
        let (to, moved_from) = placed.what.spec().profile().destination?;
        Some(Self { exporter: id_text(&placed.id), to, moved_from: moved_from.to_vec() })
    }

    /// Whether data that waited for `place` goes to the present destination.
    fn takes(&self, place: &str) -> bool {
        self.to == place || self.moved_from.iter().any(|former| former == place)
    }

    /// The consumer name that holds data for `place`.
    fn holder(&self, place: &str) -> Arc<str> {
        format!("{HELD}{}@{place}", self.exporter).into()
    }
}

/// The exporter and its former destination, if `consumer` is one that holds data.
pub fn held(consumer: &str) -> Option<(&str, &str)> {
    consumer.strip_prefix(HELD)?.rsplit_once('@')
}

/// Holds the data of exporters that point elsewhere now, releases held data that may go on, and records all
/// destinations. It has to run before anything is sent.
///
/// # Errors
/// Data of an exporter can't be held.
pub(super) fn settle(spool: &Spool, committer: &mut Committer, pointed: &[Pointed]) -> Result<(), StartError> {
    let path = spool.settings().directory.join(FILE);
    let before = read(&path).unwrap_or_else(|why| {
        tracing::warn!(
            why = why.to_string(),
            "where exporters pointed before is not known: what waits for them goes to where they point now"
        );
        BTreeMap::new()
    });
    let (mut now, mut moved) = (before.clone(), 0);
    for exporter in pointed {
        if let Some(was) = before.get(&*exporter.exporter).filter(|was| !exporter.takes(was)) {
            moved += spool.give_all(&exporter.exporter, &exporter.holder(was));
            if spool.pending_bytes(&exporter.exporter) > 0 {
                let (id, to) = (&exporter.exporter, &exporter.to);
                return Err(StartError::new(format!(
                    "`{id}` points to {to} now, and what waits for {was} can't be held: give it another name"
                )));
            }
        }
        for place in [&exporter.to].into_iter().chain(&exporter.moved_from) {
            let records = spool.give_all(&exporter.holder(place), &exporter.exporter);
            if records > 0 {
                let (exporter, to) = (&*exporter.exporter, &*exporter.to);
                tracing::info!(exporter, records, formerly = &**place, to, "what was held goes on");
            }
            moved += records;
        }
        now.insert(exporter.exporter.to_string(), exporter.to.clone());
    }
    now.retain(|id, _| pointed.iter().any(|known| *known.exporter == **id) || spool.pending_bytes(id) > 0);
    let kept = moved == 0 || committer.keep();
    let written = if kept && now != before { write(&path, &now) } else { Ok(()) };
    if let Some(why) =
        written.err().map(|why| why.to_string()).or((!kept).then(|| "the spool's progress can't be written".to_owned()))
    {
        tracing::warn!(why, "where exporters point can't be noted; what waits for them may be held at the next start");
    }
    Ok(())
}

/// Logs that a consumer's data is held and how to release it. Returns false for other consumers.
pub(super) fn tell(consumer: &ConsumerStatus, pointed: &[Pointed]) -> bool {
    let Some((exporter, formerly)) = held(&consumer.name) else { return false };
    let to = pointed.iter().find(|known| *known.exporter == *exporter).map_or("nowhere", |known| &known.to);
    tracing::warn!(
        consumer = &*consumer.name,
        exporter,
        formerly,
        to,
        records = consumer.records,
        bytes = consumer.bytes,
        "an exporter points elsewhere: what waited for its former destination is held; to send it to the new one, name the former under `moved_from` of the exporter, or use `spool reassign`; `spool drop` gives it up"
    );
    true
}

/// Exporters that point elsewhere than when they last ran, with a description of each change. Only reads the file.
pub fn changes(valid: &Valid) -> Vec<(ComponentId, String)> {
    let Ok(before) = read(&valid.spool.directory.join(FILE)) else { return Vec::new() };
    let change = |placed: &Placed<ExporterSettings>| {
        let pointed = Pointed::of(placed)?;
        let was = before.get(&*pointed.exporter).filter(|was| !pointed.takes(was))?;
        let to = pointed.to;
        let what = format!(
            "points to {to} now, and to {was} when it ran last: what still waits for {was} will be held; to send it to {to}, \
             add `moved_from: ['{was}']`"
        );
        Some((placed.id.clone(), what))
    };
    valid.exporters.iter().filter_map(change).collect()
}

/// The file of destinations can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
struct FileError {
    path: PathBuf,
    why: io::Error,
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, FileError> {
    let cant = |why| FileError { path: path.to_owned(), why };
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| cant(error.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(cant(error)),
    }
}

fn write(path: &Path, places: &BTreeMap<String, String>) -> Result<(), FileError> {
    let cant = |why| FileError { path: path.to_owned(), why };
    let text = serde_json::to_vec(places).map_err(|error| cant(error.into()))?;
    files::replace(path, &text).map_err(cant)
}
