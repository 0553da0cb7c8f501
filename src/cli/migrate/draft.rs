//! The state of a migration: the components that are left, and what became of the others. It is filled by `place`;
//! `settle` removes what the loader refuses; [`MigrationDraft::assemble`] makes the result from what is left.

use std::collections::{BTreeMap, BTreeSet};

use config::tree::{MapKey, TreeNode};
use config::{Problem, ProblemSeverity, SourcePosition};
use otlp::Signal;

use super::report::{MigrationEntry, MigrationVerdict};
use super::tree_edit::{list_items, list_node, map_node, qualify_references, scalar_text, text_node};
use crate::app::collector_compat::remove_telemetry_parts;

/// The sections with components.
pub(super) const SECTIONS: [&str; 5] = ["receivers", "processors", "exporters", "connectors", "extensions"];
/// tollgate's steps for agents, in the order that pipelines must keep.
pub(super) const AGENT_STEPS: [&str; 5] = ["normalize", "cost", "runs", "vault", "redact"];
/// The exporter to a Collector that does what tollgate can't.
pub(super) const COLLECTOR_EXPORTER: &str = "otlp/collector";

/// What is added to the id of a pipeline for the half of it that receives from connectors: nothing if that is all of
/// it, otherwise depending on whether the id has a name.
const FORWARDED: [&str; 3] = ["", "/forwarded", "-forwarded"];

/// A component of the result that comes from the source.
pub(super) struct MigratedPart {
    /// Its section.
    pub(super) section: &'static str,
    /// Its id in the result.
    pub(super) id: String,
    /// Its id in the source.
    pub(super) source_id: String,
    /// Position of its key in the source.
    pub(super) at: SourcePosition,
    /// Its body.
    pub(super) body: TreeNode,
}

impl MigratedPart {
    /// The component's name in the report.
    pub(super) fn component(&self) -> String {
        format!("{}.{}", self.section, self.source_id)
    }
}

/// A pipeline of the source, or of the result.
#[derive(Clone, PartialEq)]
pub(super) struct PipelineDraft {
    /// Its id.
    pub(super) id: String,
    /// Its line in the source.
    pub(super) line: usize,
    receivers: Vec<String>,
    processors: Vec<String>,
    exporters: Vec<String>,
}

impl PipelineDraft {
    fn signal(&self) -> Option<Signal> {
        self.id.split('/').next().and_then(Signal::from_name)
    }

    fn to_node(&self) -> TreeNode {
        let list = |ids: &[String]| list_node(ids.iter().map(|id| text_node(id, SourcePosition::default())));
        map_node([
            ("receivers", list(&self.receivers)),
            ("processors", list(&self.processors)),
            ("exporters", list(&self.exporters)),
        ])
    }
}

/// The state of a migration.
pub(super) struct MigrationDraft {
    /// The components of the result.
    pub(super) parts: Vec<MigratedPart>,
    /// What became of each component so far.
    pub(super) entries: Vec<MigrationEntry>,
    /// The body of the step `redact`.
    pub(super) redact: TreeNode,
    /// `limits:`
    pub(super) limits: TreeNode,
    /// `service.telemetry:`
    pub(super) telemetry: TreeNode,
    /// Pipelines that the loader refused.
    refused_pipelines: BTreeSet<String>,
    /// Whether the result has the extension `admin`.
    pub(super) has_admin: bool,
    source_pipelines: Vec<PipelineDraft>,
    enabled_extensions: Vec<String>,
    /// Exporters and connectors that a Collector behind tollgate must keep.
    left_behind: BTreeSet<String>,
}

impl MigrationDraft {
    /// A draft without components, for a Collector's file.
    pub(super) fn new(root: &TreeNode) -> Self {
        let empty = TreeNode::null(SourcePosition::default());
        let service = root.get("service").map_or(&empty, |(_, service)| service);
        let extensions = service.get("extensions").map_or(&[][..], |(_, list)| list_items(list));
        let mut draft = Self {
            parts: Vec::new(),
            entries: Vec::new(),
            redact: empty.clone(),
            limits: empty.clone(),
            telemetry: empty.clone(),
            refused_pipelines: BTreeSet::new(),
            has_admin: root.get("extensions").is_none_or(|(_, extensions)| extensions.get("admin").is_none()),
            source_pipelines: Vec::new(),
            enabled_extensions: extensions.iter().filter_map(scalar_text).map(str::to_owned).collect(),
            left_behind: BTreeSet::new(),
        };
        draft.report_unknown_keys(root, "", &SECTIONS, "service");
        draft.report_unknown_keys(service, "service.", &["extensions", "pipelines"], "telemetry");
        for (key, body) in service.get("pipelines").map_or(&[][..], |(_, pipelines)| pipelines.entries()) {
            draft.read_pipeline(key, body);
        }
        draft.report_undefined(root);
        if let Some((_, telemetry)) = service.get("telemetry") {
            draft.telemetry = telemetry.clone();
            qualify_references(&mut draft.telemetry);
            let mut notes = Vec::new();
            remove_telemetry_parts(&mut draft.telemetry, &mut notes);
            draft.add_notes("service.telemetry", &notes);
        }
        draft
    }

    fn report_unknown_keys(&mut self, node: &TreeNode, prefix: &str, known: &[&str], also: &str) {
        for (key, _) in node.entries().iter().filter(|(key, _)| !known.contains(&key.name.as_str()) && key.name != also)
        {
            let why = "is no part of a Collector's configuration";
            self.add_entry(MigrationVerdict::Missing, &format!("{prefix}{}", key.name), "", key.at.line, why);
        }
    }

    fn read_pipeline(&mut self, key: &MapKey, body: &TreeNode) {
        let ids = |name: &str| {
            let list = body.get(name).map_or(&[][..], |(_, list)| list_items(list));
            let mut ids: Vec<String> = Vec::new();
            for id in list.iter().filter_map(scalar_text) {
                if !ids.iter().any(|other| other == id) {
                    ids.push(id.to_owned());
                }
            }
            ids
        };
        self.source_pipelines.push(PipelineDraft {
            id: key.name.clone(),
            line: key.at.line,
            receivers: ids("receivers"),
            processors: ids("processors"),
            exporters: ids("exporters"),
        });
    }

    /// Records what pipelines name and no section defines.
    fn report_undefined(&mut self, root: &TreeNode) {
        let is_defined =
            |section: &str, id: &str| root.get(section).is_some_and(|(_, components)| components.get(id).is_some());
        for pipeline in self.source_pipelines.clone() {
            let component = format!("service.pipelines.{}", pipeline.id);
            for (section, ids) in [
                ("receivers", &pipeline.receivers),
                ("processors", &pipeline.processors),
                ("exporters", &pipeline.exporters),
            ] {
                let is_known =
                    |id: &String| is_defined(section, id) || (section != "processors" && is_defined("connectors", id));
                for id in ids.iter().filter(|id| !is_known(id)) {
                    let why = format!("`{id}` is not in `{section}:`");
                    self.add_entry(MigrationVerdict::Missing, &component, section, pipeline.line, why);
                }
            }
        }
    }

    /// Whether a pipeline or `service.extensions` names a component.
    pub(super) fn is_used(&self, section: &str, id: &str) -> bool {
        let names = |list: &[String]| list.iter().any(|other| other == id);
        match section {
            "extensions" => names(&self.enabled_extensions),
            "receivers" => self.source_pipelines.iter().any(|pipeline| names(&pipeline.receivers)),
            "processors" => self.source_pipelines.iter().any(|pipeline| names(&pipeline.processors)),
            "exporters" => self.source_pipelines.iter().any(|pipeline| names(&pipeline.exporters)),
            _ => self.source_pipelines.iter().any(|pipeline| names(&pipeline.receivers) || names(&pipeline.exporters)),
        }
    }

    /// The signals whose pipelines use a component.
    pub(super) fn signals_of(&self, id: &str) -> Vec<Signal> {
        let uses =
            |pipeline: &&PipelineDraft| pipeline.receivers.iter().chain(&pipeline.exporters).any(|other| other == id);
        let used: BTreeSet<&str> =
            self.source_pipelines.iter().filter(uses).filter_map(|one| Some(one.signal()?.as_str())).collect();
        Signal::ALL.into_iter().filter(|signal| used.contains(signal.as_str())).collect()
    }

    /// Records that a component is missing. What an exporter or connector got goes to a Collector behind tollgate.
    pub(super) fn leave_behind(&mut self, part: &MigratedPart, why: &str) {
        if ["exporters", "connectors"].contains(&part.section) {
            self.left_behind.insert(part.source_id.clone());
        }
        let component = part.component();
        // The reasons of its keys may be the reason for it.
        let is_reason = |entry: &MigrationEntry| !entry.key.is_empty() && entry.verdict == MigrationVerdict::Missing;
        self.entries.retain(|entry| entry.component != component || is_reason(entry));
        self.add_entry(MigrationVerdict::Missing, &component, "", part.at.line, why);
    }

    pub(super) fn add_entry(
        &mut self,
        verdict: MigrationVerdict,
        component: &str,
        key: &str,
        line: usize,
        reason: impl Into<String>,
    ) {
        let (component, key) = (component.to_owned(), key.to_owned());
        self.entries.push(MigrationEntry { verdict, component, key, line, reason: reason.into() });
    }

    /// Records the loader's notes on keys that it removed from `component`.
    pub(super) fn add_notes(&mut self, component: &str, notes: &[Problem]) {
        for note in notes {
            let is_error = note.severity == ProblemSeverity::Error;
            let verdict = if is_error { MigrationVerdict::Missing } else { MigrationVerdict::NotNeeded };
            let key = note.path.strip_prefix(component).unwrap_or_default().trim_start_matches('.').to_owned();
            self.add_entry(verdict, component, &key, note.at.map_or(0, |at| at.line), note.message.clone());
        }
    }

    /// An id for a component that gets another type, such as `debug` or `debug/logging` for `logging`.
    pub(super) fn rename(&self, part: &MigratedPart, kind: &str, root: &TreeNode) -> String {
        let name = part.source_id.split_once('/').map_or("", |(_, name)| name);
        let plain = if name.is_empty() { kind.to_owned() } else { format!("{kind}/{name}") };
        let in_source = |id: &str| root.get(part.section).is_some_and(|(_, section)| section.get(id).is_some());
        let is_taken = in_source(&plain) || self.parts.iter().any(|one| one.section == part.section && one.id == plain);
        if is_taken { format!("{kind}/{}", part.source_id.replace('/', "-")) } else { plain }
    }

    /// The pipelines of the result. A pipeline without a receiver or an exporter that is left is dropped, and so is one
    /// that a `forward` connector no longer reaches. The Collector behind tollgate gets what a receiver sends once.
    pub(super) fn build_pipelines(&self) -> Vec<PipelineDraft> {
        let find = |sections: &[&str], id: &String| {
            let part = self.parts.iter().find(|part| sections.contains(&part.section) && part.source_id == *id);
            part.map(|part| part.id.clone())
        };
        let mut built: Vec<PipelineDraft> = Vec::new();
        let mut sent_to_collector = BTreeSet::new();
        for source in self.source_pipelines.iter().filter(|one| one.signal().is_some()) {
            let mut exporters: Vec<String> = Vec::new();
            for id in &source.exporters {
                let collector = || self.left_behind.contains(id).then(|| COLLECTOR_EXPORTER.to_owned());
                let exporter = find(&["exporters", "connectors"], id).or_else(collector);
                exporters.extend(exporter.filter(|exporter| !exporters.contains(exporter)));
            }
            let receivers: Vec<String> =
                source.receivers.iter().filter_map(|id| find(&["receivers", "connectors"], id)).collect();
            if exporters.iter().any(|id| id == COLLECTOR_EXPORTER) {
                let signal = source.signal().map_or("", Signal::as_str);
                let added: Vec<bool> =
                    receivers.iter().map(|id| sent_to_collector.insert((signal, id.clone()))).collect();
                exporters.retain(|id| id != COLLECTOR_EXPORTER || added.contains(&true));
            }
            built.push(PipelineDraft {
                receivers,
                processors: source.processors.iter().filter_map(|id| find(&["processors"], id)).collect(),
                exporters,
                ..source.clone()
            });
        }
        built.retain(|one| !self.refused_pipelines.contains(&one.id));
        loop {
            let before = built.clone();
            for pipeline in &mut built {
                let sides = |id: &String, pick: fn(&PipelineDraft) -> &Vec<String>| {
                    !self.is_connector(id)
                        || before.iter().any(|other| other.signal() == pipeline.signal() && pick(other).contains(id))
                };
                let receivers = pipeline.receivers.iter().filter(|id| sides(id, |other| &other.exporters));
                let exporters = pipeline.exporters.iter().filter(|id| sides(id, |other| &other.receivers));
                let (receivers, exporters) = (receivers.cloned().collect(), exporters.cloned().collect());
                (pipeline.receivers, pipeline.exporters) = (receivers, exporters);
            }
            built.retain(|one| !one.receivers.is_empty() && !one.exporters.is_empty());
            if built == before {
                return built.into_iter().flat_map(|pipeline| self.add_steps(pipeline)).collect();
            }
        }
    }

    /// Leaves out a pipeline of the result that the loader refuses. Returns whether it was there.
    pub(super) fn refuse_pipeline(&mut self, id: &str, why: String) -> bool {
        let is_source = |one: &&PipelineDraft| id.strip_prefix(&one.id).is_some_and(|rest| FORWARDED.contains(&rest));
        let Some(source) = self.source_pipelines.iter().find(is_source).cloned() else { return false };
        let component = format!("service.pipelines.{}", source.id);
        self.add_entry(MigrationVerdict::Missing, &component, "", source.line, why);
        self.refused_pipelines.insert(source.id)
    }

    fn is_connector(&self, id: &str) -> bool {
        self.parts.iter().any(|part| part.section == "connectors" && part.id == id)
    }

    /// Puts tollgate's steps first where data enters. What comes through a connector has passed them, so a pipeline
    /// that receives in both ways becomes two.
    fn add_steps(&self, pipeline: PipelineDraft) -> Vec<PipelineDraft> {
        let (forwarded, received): (Vec<String>, Vec<String>) =
            pipeline.receivers.iter().cloned().partition(|id| self.is_connector(id));
        // Metrics have no content.
        let is_needed = |step: &&str| pipeline.signal() != Some(Signal::Metrics) || *step == "redact";
        let mut processors: Vec<String> = AGENT_STEPS.into_iter().filter(is_needed).map(str::to_owned).collect();
        processors.extend(pipeline.processors.iter().cloned());
        let is_mixed = !forwarded.is_empty() && !received.is_empty();
        let [own, first, further] = FORWARDED;
        let suffix = if !is_mixed {
            own
        } else if pipeline.id.contains('/') {
            further
        } else {
            first
        };
        let id = format!("{}{suffix}", pipeline.id);
        let second = PipelineDraft { id, receivers: forwarded, ..pipeline.clone() };
        let first = PipelineDraft { receivers: received, processors, ..pipeline };
        [first, second].into_iter().filter(|one| !one.receivers.is_empty()).collect()
    }

    /// The result as a tree. Its nodes have the positions of the source.
    pub(super) fn assemble(&self) -> TreeNode {
        let pipelines = self.build_pipelines();
        let uses = |section: &str, id: &str| {
            let is_listed = |list: &[String]| list.iter().any(|other| other == id);
            section == "extensions"
                || pipelines.iter().any(|one| match section {
                    "receivers" => is_listed(&one.receivers),
                    "processors" => is_listed(&one.processors),
                    "exporters" => is_listed(&one.exporters),
                    _ => is_listed(&one.receivers) || is_listed(&one.exporters),
                })
        };
        let mut sections: BTreeMap<&str, Vec<(String, TreeNode)>> = BTreeMap::new();
        for step in AGENT_STEPS.into_iter().filter(|step| uses("processors", step)) {
            let body = match step {
                "vault" => map_node([("store", text_node("none", SourcePosition::default()))]),
                "redact" => self.redact.clone(),
                _ => TreeNode::null(SourcePosition::default()),
            };
            sections.entry("processors").or_default().push((step.to_owned(), body));
        }
        for part in self.parts.iter().filter(|part| uses(part.section, &part.id)) {
            sections.entry(part.section).or_default().push((part.id.clone(), part.body.clone()));
        }
        if uses("exporters", COLLECTOR_EXPORTER) {
            let endpoint = text_node("${env:COLLECTOR_ENDPOINT}", SourcePosition::default());
            let body = map_node([("endpoint", endpoint)]);
            sections.entry("exporters").or_default().push((COLLECTOR_EXPORTER.to_owned(), body));
        }
        if self.has_admin {
            let body = TreeNode::null(SourcePosition::default());
            sections.entry("extensions").or_default().push(("admin".to_owned(), body));
        }
        let extensions = sections.get("extensions").into_iter().flatten();
        let extensions = list_node(extensions.map(|(id, _)| text_node(id, SourcePosition::default())));
        let mut service = vec![("extensions", extensions)];
        if !self.telemetry.entries().is_empty() {
            service.push(("telemetry", self.telemetry.clone()));
        }
        service.push(("pipelines", map_node(pipelines.iter().map(|one| (one.id.clone(), one.to_node())))));
        let mut root: Vec<(&str, TreeNode)> =
            SECTIONS.into_iter().map(|name| (name, map_node(sections.remove(name).unwrap_or_default()))).collect();
        if !self.limits.entries().is_empty() {
            root.push(("limits", self.limits.clone()));
        }
        root.push(("service", map_node(service)));
        map_node(root)
    }

    /// Records the pipelines that are not in the result, and the components that only they used.
    pub(super) fn report_left_out(&mut self, result: &TreeNode) {
        let built = self.build_pipelines();
        for source in self.source_pipelines.clone() {
            let is_left_out =
                !self.refused_pipelines.contains(&source.id) && !built.iter().any(|one| one.id == source.id);
            if is_left_out {
                let why = match source.signal() {
                    None => "tollgate has the signals `traces`, `metrics` and `logs`",
                    Some(_) => {
                        "has no receiver or no exporter that is left, or only repeats what `otlp/collector` gets: leave \
                         it in a Collector"
                    }
                };
                let component = format!("service.pipelines.{}", source.id);
                self.add_entry(MigrationVerdict::Missing, &component, "", source.line, why);
            }
        }
        let is_in_result =
            |part: &MigratedPart| result.get(part.section).is_some_and(|(_, section)| section.get(&part.id).is_some());
        let (left, left_out) = std::mem::take(&mut self.parts).into_iter().partition(is_in_result);
        self.parts = left;
        let left_out: Vec<MigratedPart> = left_out;
        left_out.iter().for_each(|part| self.leave_behind(part, "stays in a Collector with the pipelines that use it"));
        self.entries.sort_by_key(|entry| entry.line);
    }
}
