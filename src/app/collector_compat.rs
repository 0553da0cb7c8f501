//! Accepts a Collector's configuration by removing the parts that tollgate serves in another way, with a note for each,
//! so that such a file loads and its owner learns the replacement. A part is removed only if no data changes by it; a
//! processor that would change data stays and is reported as unknown. Keys inside components are handled in
//! `component_keys`, suggestions for unknown components in `replacements`. `tollgate migrate` (`src/cli/migrate`) reads
//! the same tables.

mod component_keys;
mod replacements;

pub(crate) use component_keys::{remove_component_keys, remove_entry};
pub(crate) use replacements::{ReplacementKind, describe_unlisted, find_replacement};

pub(crate) use crate::app::memory_limiter::convert_memory_limiter;
use crate::app::own_metrics::collector_metrics;
use config::Problem;
use config::file::ConfigFile;
use config::tree::{NodeValue, TreeNode};

/// Processors of the Collector that have no effect here, and why.
const PROCESSORS: [(&str, &str); 2] = [
    ("batch", "is not used: exporters merge waiting requests (`sending_queue.batch`), so clients are answered sooner"),
    (MEMORY_LIMITER, ""),
];

/// A processor or extension that is converted to tollgate's own `limits`.
pub(crate) const MEMORY_LIMITER: &str = "memory_limiter";

/// Extensions of the Collector that have no use here, and why.
const EXTENSIONS: [(&str, &str); 5] = [
    ("file_storage", "is not used: all data is queued in the spool, which is encrypted and synced"),
    ("zpages", "is not available and can be removed: see the start page of `admin`"),
    ("pprof", "is not available and can be removed"),
    ("memory_ballast", "is not used: there is no garbage collector to tune"),
    (MEMORY_LIMITER, ""),
];

/// Removes the parts that tollgate serves in another way, and returns a note for each.
pub(super) fn remove_unused_parts(file: &mut ConfigFile) -> Vec<Problem> {
    let mut notes = Vec::new();
    for (section, parts) in [("processors", &mut file.processors), ("extensions", &mut file.extensions)] {
        parts.retain(|part| {
            let Some(why) = find_unused_reason(section, &part.id.kind) else { return true };
            if part.id.kind == MEMORY_LIMITER {
                let path = format!("{section}.{}", part.id);
                notes.push(convert_memory_limiter(path, part.at, &part.body, &mut file.limits));
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
    file.enabled.retain(|(id, _)| find_unused_reason("extensions", &id.kind).is_none());
    for pipeline in &mut file.pipelines {
        pipeline.processors.retain(|(id, _)| find_unused_reason("processors", &id.kind).is_none());
    }
    for (section, parts) in [
        ("receivers", &mut file.receivers),
        ("processors", &mut file.processors),
        ("exporters", &mut file.exporters),
        ("extensions", &mut file.extensions),
    ] {
        for part in parts {
            let path = format!("{section}.{}", part.id);
            remove_component_keys(section, &part.id.kind, &path, &mut part.body, &mut notes);
        }
    }
    remove_telemetry_parts(&mut file.telemetry, &mut notes);
    notes
}

/// Why a processor or extension of the Collector has no effect here; `None` for one that tollgate does not serve in
/// another way.
pub(crate) fn find_unused_reason(section: &str, kind: &str) -> Option<&'static str> {
    let table = match section {
        "processors" => &PROCESSORS[..],
        "extensions" => &EXTENSIONS[..],
        _ => &[],
    };
    table.iter().find(|(unused, _)| *unused == kind).map(|(_, why)| *why)
}

/// Removes the parts of `service.telemetry` that tollgate does not use, and converts the others to its spelling.
pub(crate) fn remove_telemetry_parts(telemetry: &mut TreeNode, notes: &mut Vec<Problem>) {
    component_keys::remove_telemetry_keys(telemetry, notes);
    let NodeValue::Map(entries) = &mut telemetry.value else { return };
    entries.retain(|(key, _)| {
        let is_kept = !["traces", "resource"].contains(&key.name.as_str());
        if !is_kept {
            let message = "is not used: tollgate sends no traces about itself and sets its own resource attributes";
            notes.push(Problem::warning(Some(key.at), format!("service.telemetry.{}", key.name), message));
        }
        is_kept
    });
    let metrics = entries.iter_mut().find(|(key, _)| key.name == "metrics");
    metrics.into_iter().for_each(|(_, metrics)| collector_metrics::adapt_metrics(metrics, notes));
}
