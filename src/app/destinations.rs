//! **What**: where exporters pointed when they ran last, kept in the spool's folder (`settle`). **Why**: the spool
//! knows an exporter by its name; what waits for one back end must not go to another because a name points elsewhere
//! now. **Invariants**: what waited for another host or port is held under a name that no exporter can have, and no
//! longer only where the configuration says so (`moved_from`), the exporter points there again, or its owner moves it;
//! who holds what is durable before the file says where an exporter points now, so that a crash holds and never sends;
//! the file says hosts and ports, no secrets. **Not here**: the spool, moving by hand (`cli/spool_move`).

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

/// The file in the spool's folder.
const FILE: &str = "destinations";
/// Before what is held: no component's type has a colon.
const HELD: &str = "held:";

/// Where an exporter points.
#[derive(Clone, Debug)]
pub struct Pointed {
    /// Its id.
    pub exporter: Arc<str>,
    /// `host:port`, several with commas between them.
    pub to: String,
    /// The same of before: what waited for there goes to where it points now.
    pub moved_from: Vec<String>,
}

impl Pointed {
    /// None: it points to nothing beyond this machine.
    pub fn of(placed: &Placed<ExporterSettings>) -> Option<Self> {
        let (to, moved_from) = placed.what.spec().profile().destination?;
        Some(Self { exporter: id_text(&placed.id), to, moved_from: moved_from.to_vec() })
    }

    /// Whether what waited for `place` goes to where it points now.
    fn takes(&self, place: &str) -> bool {
        self.to == place || self.moved_from.iter().any(|former| former == place)
    }

    /// Who holds what waited for `place`.
    fn holder(&self, place: &str) -> Arc<str> {
        format!("{HELD}{}@{place}", self.exporter).into()
    }
}

/// The exporter, and where it pointed, of a consumer that is held.
pub fn held(consumer: &str) -> Option<(&str, &str)> {
    consumer.strip_prefix(HELD)?.rsplit_once('@')
}

/// Holds what waits for exporters that point elsewhere now, gives back what may go on, and notes where all point.
/// Before anything is sent.
///
/// # Errors
/// One line: something can't be held.
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

/// Says of a consumer that it is held, and what ends that. False: it is another.
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

/// Exporters that point elsewhere than when they ran last, and a line about each. Makes nothing, and asks nobody who is
/// running.
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
