//! Decides what becomes of each component of a Collector's file, by the tables in `app/collector_compat`. `convert`
//! rewrites the components that need it.

use config::tree::{MapKey, NodeValue, TreeNode};

use super::convert;
use super::draft::{MigratedPart, MigrationDraft, SECTIONS};
use super::report::MigrationVerdict;
use super::tree_edit::qualify_references;
use crate::app::collector_compat::{self, MEMORY_LIMITER, ReplacementKind};
use crate::components::{ConnectorKind, ExporterKind, ExtensionKind, ProcessorKind, ReceiverKind};

/// Puts the components of a Collector's file into a draft of it.
pub(super) fn place_components(draft: &mut MigrationDraft, root: &TreeNode) {
    for section in SECTIONS {
        let Some((key, components)) = root.get(section) else { continue };
        if !matches!(components.value, NodeValue::Map(_) | NodeValue::Null) {
            let why =
                "is no map of components: if it is in another file, merge the files first (`otelcol print-config`)";
            draft.add_entry(MigrationVerdict::Missing, section, "", key.at.line, why);
        }
        for (key, body) in components.entries() {
            place_component(draft, section, key, body, root);
        }
    }
}

/// Decides what becomes of a component.
fn place_component(draft: &mut MigrationDraft, section: &'static str, key: &MapKey, body: &TreeNode, root: &TreeNode) {
    let id = key.name.as_str();
    let kind = id.split('/').next().unwrap_or(id);
    let mut part =
        MigratedPart { section, id: id.to_owned(), source_id: id.to_owned(), at: key.at, body: body.clone() };
    qualify_references(&mut part.body);
    let (component, line) = (part.component(), key.at.line);
    if !draft.is_used(section, id) {
        let why = if section == "extensions" { "`service.extensions` does not name it" } else { "no pipeline uses it" };
        return draft.add_entry(MigrationVerdict::NotNeeded, &component, "", line, why);
    }
    if let Some(why) = collector_compat::find_unused_reason(section, kind) {
        return match kind {
            MEMORY_LIMITER => convert::memory_limiter(&part, draft),
            _ => draft.add_entry(MigrationVerdict::NotNeeded, &component, "", line, why),
        };
    }
    if is_known(section, kind) {
        draft.add_entry(MigrationVerdict::Mapped, &component, "", line, "");
        convert::known_component(&mut part, root, draft);
        let mut notes = Vec::new();
        // What is removed from a processor can change more data than it did; `settle` decides.
        if section != "processors" {
            collector_compat::remove_component_keys(section, kind, &component, &mut part.body, &mut notes);
        }
        draft.add_notes(&component, &notes);
        return draft.parts.push(part);
    }
    match collector_compat::find_replacement(section, kind) {
        Some((ReplacementKind::Converted, why)) => convert::other_component(part, why, root, draft),
        Some((ReplacementKind::NotNeeded, why)) => {
            draft.add_entry(MigrationVerdict::NotNeeded, &component, "", line, why);
        }
        Some((ReplacementKind::Missing, why)) => draft.leave_behind(&part, why),
        None => draft.leave_behind(&part, collector_compat::describe_unlisted(section)),
    }
}

/// Whether tollgate has a component of this type, under this name.
fn is_known(section: &str, kind: &str) -> bool {
    match section {
        "receivers" => ReceiverKind::parse(kind).is_some(),
        "processors" => ProcessorKind::parse(kind).is_some(),
        "exporters" => ExporterKind::parse(kind).is_some(),
        "connectors" => ConnectorKind::parse(kind).is_some(),
        _ => ExtensionKind::parse(kind).is_some(),
    }
}
