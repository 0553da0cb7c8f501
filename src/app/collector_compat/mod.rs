//! Accepts a Collector's configuration by removing the parts that tollgate serves in another way, with a note for each,
//! so that such a file loads and its owner learns the replacement. A part is removed only if no data changes by it; a
//! processor that would change data stays and is reported as unknown. `config/collector.yaml` says what becomes of each
//! part; `tollgate migrate` (`src/cli/migrate/mod.rs`) reads it through this file. Values are never quoted.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::app::memory_limiter::convert_memory_limiter;
use crate::app::own_metrics::collector_metrics;
use config::file::ConfigFile;
use config::tree::{NodeValue, TreeNode};
use config::{Problem, ProblemSeverity};

/// A processor or extension that is converted to tollgate's own `limits`.
pub(crate) const MEMORY_LIMITER: &str = "memory_limiter";

/// A JSON copy of the YAML file, because it is read at each start. A test keeps both in step.
const TABLE_TEXT: &str = include_str!("../../../config/collector.json");

/// A test parses the embedded text, so the empty table is never used.
static TABLE: LazyLock<CollectorTable> = LazyLock::new(|| serde_json::from_str(TABLE_TEXT).unwrap_or_default());

/// The contents of `config/collector.yaml`, whose head explains the fields. The outer keys are sections.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CollectorTable {
    unused: BTreeMap<String, BTreeMap<String, String>>,
    replacements: BTreeMap<String, Vec<ReplacementRow>>,
    keys: BTreeMap<String, Vec<KeyRow>>,
    actions: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplacementRow {
    types: Vec<String>,
    #[serde(default)]
    needless: bool,
    hint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRow {
    #[serde(default)]
    types: Vec<String>,
    keys: Vec<String>,
    #[serde(default)]
    accepted: Vec<String>,
    note: Option<String>,
    error: Option<String>,
}

/// The hint for a component of the Collector that tollgate does not have, and whether it can be removed without a
/// replacement.
pub(crate) fn find_replacement(section: &str, kind: &str) -> Option<(&'static str, bool)> {
    let rows = TABLE.replacements.get(section)?;
    let row = rows.iter().find(|row| row.types.iter().any(|one| one == kind))?;
    Some((row.hint.as_str(), row.needless))
}

/// Why a processor or extension of the Collector has no effect here. `None` for a `memory_limiter`, which has one.
fn find_unused_reason(section: &str, kind: &str) -> Option<&'static str> {
    TABLE.unused.get(section)?.get(kind).map(String::as_str)
}

fn is_removed(section: &str, kind: &str) -> bool {
    kind == MEMORY_LIMITER || find_unused_reason(section, kind).is_some()
}

/// Removes the parts that tollgate serves in another way, and returns a note for each.
pub(crate) fn remove_unused_parts(file: &mut ConfigFile) -> Vec<Problem> {
    let mut notes = Vec::new();
    for (section, parts) in [("processors", &mut file.processors), ("extensions", &mut file.extensions)] {
        parts.retain(|part| {
            let path = format!("{section}.{}", part.id);
            if part.id.kind == MEMORY_LIMITER {
                notes.push(convert_memory_limiter(path, part.at, &part.body, &mut file.limits));
                return false;
            }
            let why = find_unused_reason(section, &part.id.kind);
            notes.extend(why.map(|why| Problem::warning(Some(part.at), path, format!("`{}` {why}", part.id))));
            why.is_none()
        });
    }
    file.enabled.retain(|(id, _)| !is_removed("extensions", &id.kind));
    for pipeline in &mut file.pipelines {
        pipeline.processors.retain(|(id, _)| !is_removed("processors", &id.kind));
    }
    for (section, parts) in file.sections_mut() {
        for part in parts {
            let path = format!("{section}.{}", part.id);
            remove_keys(section, &part.id.kind, &path, &mut part.body, &mut notes);
            match (section, part.id.kind.as_str()) {
                ("processors", "attributes") => check_actions("actions", &path, &mut part.body, &mut notes),
                ("processors", "resource") => check_actions("attributes", &path, &mut part.body, &mut notes),
                _ => {}
            }
        }
    }
    remove_telemetry_parts(&mut file.telemetry, &mut notes);
    notes
}

/// Removes the parts of `service.telemetry` that tollgate does not use, and converts the others to its spelling.
fn remove_telemetry_parts(telemetry: &mut TreeNode, notes: &mut Vec<Problem>) {
    remove_keys("telemetry", "", "service.telemetry", telemetry, notes);
    let NodeValue::Map(entries) = &mut telemetry.value else { return };
    entries.retain(|(key, _)| {
        let is_kept = !["traces", "resource"].contains(&key.name.as_str());
        if !is_kept {
            let message = "is not used: tollgate sends no traces about itself and sets its own resource attributes";
            notes.push(Problem::warning(Some(key.at), format!("service.telemetry.{}", key.name), message));
        }
        is_kept
    });
    let metrics = telemetry.get_mut("metrics").into_iter();
    metrics.for_each(|(_, metrics)| collector_metrics::adapt_metrics(metrics, notes));
}

/// Reports attribute actions that tollgate does not have, and replaces each by a plain `delete` so that the rest of the
/// list can be checked.
fn check_actions(field: &str, path: &str, body: &mut TreeNode, notes: &mut Vec<Problem>) {
    let Some((_, TreeNode { value: NodeValue::Seq(items), .. })) = body.get_mut(field) else { return };
    for (index, item) in items.iter_mut().enumerate() {
        let action = item.get("action").map(|(_, action)| (action.at, action.value.clone()));
        let Some((position, NodeValue::Str(action))) = action else { continue };
        let Some(message) = TABLE.actions.get(&action) else { continue };
        notes.push(Problem::error(Some(position), format!("{path}.{field}[{index}].action"), message));
        let NodeValue::Map(entries) = &mut item.value else { continue };
        entries.retain(|(key, _)| ["key", "action"].contains(&key.name.as_str()));
        item.get_mut("action").into_iter().for_each(|(_, action)| action.value = NodeValue::Str("delete".to_owned()));
    }
}

/// Removes the Collector's keys from `body`, a component of type `kind` at `path`.
fn remove_keys(section: &str, kind: &str, path: &str, body: &mut TreeNode, notes: &mut Vec<Problem>) {
    let is_for_kind = |row: &&KeyRow| row.types.is_empty() || row.types.iter().any(|one| one == kind);
    for row in TABLE.keys.get(section).into_iter().flatten().filter(is_for_kind) {
        let (severity, message) = match (&row.error, &row.note) {
            (Some(error), _) => (ProblemSeverity::Error, error.as_str()),
            (None, note) => (ProblemSeverity::Warning, note.as_deref().unwrap_or_default()),
        };
        for field in &row.keys {
            let Some((key, value)) = body.remove(field) else { continue };
            if !is_one_of(&value, &row.accepted) {
                notes.push(Problem { severity, ..Problem::error(Some(key.at), format!("{path}.{field}"), message) });
            }
        }
    }
}

/// Whether the value is empty (as a map without entries is) or one of `accepted`, or a list whose items all are.
fn is_one_of(value: &TreeNode, accepted: &[String]) -> bool {
    match (&value.value, &value.raw) {
        (NodeValue::Null, _) => true,
        (NodeValue::Str(text), _) | (_, Some(text)) => accepted.contains(text),
        (NodeValue::Seq(items), _) => items.iter().all(|item| is_one_of(item, accepted)),
        (NodeValue::Map(entries), _) => entries.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
