//! **What**: parts of a Collector's configuration that tollgate serves in another way: taken out, with a note that says which.
//! **Why**: a file of the Collector loads, and its owner learns what each part became. **Invariants**: only what loses nothing
//! here is taken out; a processor that would change data is an unknown component, which is an error. **Not here**: keys of
//! components that are the same (each component's `config`).

use crate::config::file::File;
use crate::config::tree::Val;
use crate::config::{ComponentId, Problem};

/// Processors that do nothing here.
const PROCESSORS: [(&str, &str); 2] = [
    ("batch", "is not used: exporters merge what waits (`sending_queue.batch`), and clients get their answer sooner"),
    (
        "memory_limiter",
        "is not used: the cgroup's limit is known by itself (`limits.memory`), and clients are told when to come again",
    ),
];

/// Extensions that have no use here.
const EXTENSIONS: [(&str, &str); 4] = [
    ("file_storage", "is not used: everything waits in the spool, which is sealed and synced"),
    ("zpages", "is not served: see the first page of `admin`"),
    ("pprof", "is not served"),
    ("memory_limiter", "is not used: the cgroup's limit is known by itself (`limits.memory`)"),
];

/// Takes them out; a note for each.
pub(super) fn served_otherwise(file: &mut File) -> Vec<Problem> {
    let mut notes = Vec::new();
    for (section, parts, known) in
        [("processors", &mut file.processors, &PROCESSORS[..]), ("extensions", &mut file.extensions, &EXTENSIONS[..])]
    {
        parts.retain(|part| {
            let Some(why) = told(&part.id, known) else { return true };
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
    if let Val::Map(entries) = &mut file.telemetry.value {
        entries.retain(|(key, _)| {
            let ours = !["metrics", "traces", "resource"].contains(&key.name.as_str());
            if !ours {
                let what = "is not used: `/metrics` of the extension `admin` tells all";
                notes.push(Problem::warning(Some(key.at), format!("service.telemetry.{}", key.name), what));
            }
            ours
        });
    }
    notes
}

fn told(id: &ComponentId, known: &[(&str, &'static str)]) -> Option<&'static str> {
    known.iter().find(|(kind, _)| *kind == id.kind).map(|(_, why)| *why)
}
