//! Accepts a Collector's configuration by removing the parts that tollgate serves in another way, with a note for each,
//! so that such a file loads and its owner learns the replacement. A part is removed only if no data changes by it; a
//! processor that would change data stays and is reported as unknown. Keys inside components are handled in `keys`,
//! suggestions for unknown components in `remedies`.

mod keys;
mod remedies;

pub(super) use remedies::remedy;

use crate::app::limiter;
use crate::app::own::written;
use config::file::File;
use config::tree::Val;
use config::{ComponentId, Problem};

/// Processors of the Collector that have no effect here, and why.
const PROCESSORS: [(&str, &str); 2] = [
    ("batch", "is not used: exporters merge what waits (`sending_queue.batch`), and clients get their answer sooner"),
    (LIMITER, ""),
];

/// A processor or extension that is converted to tollgate's own `limits`.
const LIMITER: &str = "memory_limiter";

/// Extensions of the Collector that have no use here, and why.
const EXTENSIONS: [(&str, &str); 5] = [
    ("file_storage", "is not used: everything waits in the spool, which is sealed and synced"),
    ("zpages", "is not served, and may be left out: see the first page of `admin`"),
    ("pprof", "is not served, and may be left out"),
    ("memory_ballast", "is not used: there is no collector of garbage to hold back"),
    (LIMITER, ""),
];

/// Removes those parts from `file` and returns a note for each.
pub(super) fn served_otherwise(file: &mut File) -> Vec<Problem> {
    let mut notes = Vec::new();
    for (section, parts, known) in
        [("processors", &mut file.processors, &PROCESSORS[..]), ("extensions", &mut file.extensions, &EXTENSIONS[..])]
    {
        parts.retain(|part| {
            let Some(why) = told(&part.id, known) else { return true };
            if part.id.kind == LIMITER {
                let path = format!("{section}.{}", part.id);
                notes.push(limiter::taken(path, part.at, &part.body, &mut file.limits));
                return false;
            }
            notes.push(Problem::warning(
                Some(part.at),
                format!("{section}.{}", part.id),
                format!("`{}` {why}", part.id),
            ));
            false
        });
    }
    file.enabled.retain(|(id, _)| told(id, &EXTENSIONS).is_none());
    for pipeline in &mut file.pipelines {
        pipeline.processors.retain(|(id, _)| told(id, &PROCESSORS).is_none());
    }
    for (section, parts) in [
        ("receivers", &mut file.receivers),
        ("processors", &mut file.processors),
        ("exporters", &mut file.exporters),
        ("extensions", &mut file.extensions),
    ] {
        for part in parts {
            let path = format!("{section}.{}", part.id);
            keys::taken(section, &part.id.kind, &path, &mut part.body, &mut notes);
        }
    }
    keys::taken_of_telemetry(&mut file.telemetry, &mut notes);
    if let Val::Map(entries) = &mut file.telemetry.value {
        entries.retain(|(key, _)| {
            let ours = !["traces", "resource"].contains(&key.name.as_str());
            if !ours {
                let what = "is not used: tollgate sends no traces of itself, and names itself in what it sends";
                notes.push(Problem::warning(Some(key.at), format!("service.telemetry.{}", key.name), what));
            }
            ours
        });
        let metrics = entries.iter_mut().find(|(key, _)| key.name == "metrics");
        metrics.into_iter().for_each(|(_, metrics)| written::served(metrics, &mut notes));
    }
    notes
}

fn told(id: &ComponentId, known: &[(&str, &'static str)]) -> Option<&'static str> {
    known.iter().find(|(kind, _)| *kind == id.kind).map(|(_, why)| *why)
}
