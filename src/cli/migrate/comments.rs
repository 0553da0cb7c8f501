//! The text of the result: its YAML, with comments that say what became of each component, and why tollgate's own steps
//! are there. Like the report, comments contain no values.

use std::path::Path;

use config::tree::TreeNode;

use super::draft::{MigrationDraft, SECTIONS};
use super::report::{MigrationEntry, MigrationVerdict};
use super::write_yaml;

/// The text of the result, with comments that say what became of each component.
pub(super) fn render_result(root: &TreeNode, draft: &MigrationDraft, name: &str) -> String {
    let file = Path::new(name).file_name().map_or_else(|| name.to_owned(), |file| file.to_string_lossy().into_owned());
    write_yaml::write_yaml(root, &|path| comments_at(path, draft, &file))
}

fn comments_at(path: &str, draft: &MigrationDraft, file: &str) -> Vec<String> {
    let describe = |entry: &MigrationEntry, component: &str| {
        let path =
            [component, entry.key.as_str()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        let verdict =
            Some(entry.verdict.word()).filter(|_| !path.is_empty() || entry.verdict != MigrationVerdict::Mapped);
        let what: Vec<&str> = Some(path.as_str()).filter(|path| !path.is_empty()).into_iter().chain(verdict).collect();
        let parts = [format!("{file}:{}", entry.line), what.join(", "), entry.reason.clone()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    };
    let part_at = |component: &str| draft.parts.iter().find(|part| part.component() == component);
    if let Some(section) = path.strip_suffix('.') {
        // What became of components that are not in the section any more.
        let of_section = draft.entries.iter().filter(|entry| match section {
            "service" => {
                let is_shown = entry.component == "service.telemetry" && !draft.telemetry.entries().is_empty();
                entry.component.starts_with("service.") && !is_shown
            }
            "limits" => false,
            _ => {
                let rest = entry.component.strip_prefix(section).and_then(|rest| rest.strip_prefix('.'));
                rest.is_some() && part_at(&entry.component).is_none()
            }
        });
        return of_section.map(|entry| describe(entry, &entry.component)).collect();
    }
    let text: &[&str] = match path {
        "" => {
            &["tollgate's configuration, made by `tollgate migrate`. Comments name lines of the Collector's file, and \
             say what became of each component. Check it with `tollgate validate --config FILE`."]
        }
        "processors.normalize" => {
            &["tollgate's own steps for agents, which the Collector lacks. With `store: none` the content of agents \
             (prompts, completions, tool payloads) is dropped; to keep it encrypted, give `vault` a store and \
             `recipients`."]
        }
        "processors.redact" => &["Replaces private text; every pipeline to a third party needs it."],
        "exporters.otlp/collector" => &[
            "A Collector that keeps the exporters and connectors that are missing here: set COLLECTOR_ENDPOINT to its \
             OTLP address.",
        ],
        "extensions.admin" => &["Pages, /metrics and probes on 127.0.0.1:8888."],
        _ => &[],
    };
    let mut comments: Vec<String> = text.iter().map(|text| (*text).to_owned()).collect();
    let part = draft.parts.iter().find(|part| path == format!("{}.{}", part.section, part.id));
    let component = part.map_or_else(|| path.to_owned(), |part| part.component());
    let is_own = part.is_none() && SECTIONS.iter().any(|section| path.starts_with(&format!("{section}.")));
    if !is_own || path == "processors.redact" {
        let of_component = draft.entries.iter().filter(|entry| entry.component == component);
        comments.extend(of_component.map(|entry| describe(entry, "")));
    }
    comments
}
