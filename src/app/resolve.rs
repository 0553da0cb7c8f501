//! Turns the text of a configuration into valid settings: shape, types, settings, checks across components. `validate`,
//! `print-config` and `run` share it. The only I/O is `${file:…}`. All problems of a stage are collected before the
//! next stage starts. `assemble` opens the components.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::app::{collector, ports};
use crate::components::{
    ConnectorConfig, ConnectorKind, ConnectorSettings, ExporterConfig, ExporterKind, ExporterSettings, ExtensionConfig,
    ExtensionKind, ExtensionSettings, ProcessorConfig, ProcessorKind, ProcessorSettings, ReceiverConfig, ReceiverKind,
    ReceiverSettings, names,
};
use config::env::Lookup;
use config::file::{self, File, Pipeline, Reading, Section};
use config::graph::{self, Known};
use config::problem::nearest;
use config::tree::{Node, Val};
use config::{At, ComponentId, FieldProblem, Gravity, Problem, Source, de, sort_and_dedup};
use connectors::forward;
use net::Kept;
use otlp::Signal;
use pipeline::{Trust, spool};

pub use super::limits::{AccountRate, Limits};
pub use super::placed::Placed;
pub use super::valid::{Logs, Pseudonyms, StandsIn, Telemetry, Typed, Valid};

/// The result of reading a configuration.
pub struct Read {
    /// The masked text that problems are rendered against.
    pub source: Source,
    /// Warnings, if the file is usable.
    pub warnings: Vec<Problem>,
    /// The typed file and its settings, or all problems.
    pub result: Result<(Typed, Valid), Vec<Problem>>,
    /// If there are problems: as much of the file as could be used in spite of them.
    pub faulty: Option<Box<(Typed, Valid)>>,
}

/// Reads a configuration. `data_dir` is the folder for the spool if the file doesn't set one.
pub fn read(name: &str, text: &str, lookup: &dyn Lookup, data_dir: &Path) -> Read {
    let Reading { source, file, mut problems, unresolved } = file::read(name, text, lookup);
    let known = problems.len();
    let found = file.and_then(|mut file| {
        problems.extend(collector::served_otherwise(&mut file));
        problems.extend(graph::references(&file));
        let typed = typed(file, &mut problems);
        let mut valid = validate(&typed, data_dir, &mut problems)?;
        for Placed { what, .. } in &mut valid.processors {
            what.told_configuration(text);
        }
        Some((typed, valid))
    });
    let mut at = 0;
    problems.retain(|problem| {
        at += 1;
        at <= known || problem.at.is_none_or(|at| !unresolved.contains(&at))
    });
    sort_and_dedup(&mut problems);
    let errors = problems.iter().any(|problem| problem.gravity == Gravity::Error);
    match found {
        Some(found) if !errors => Read { source, warnings: problems, result: Ok(found), faulty: None },
        mut found => {
            if let Some((_, valid)) = &mut found {
                valid.stands_in.components = true;
            }
            Read { source, warnings: Vec::new(), result: Err(problems), faulty: found.map(Box::new) }
        }
    }
}

/// Types the file. Invalid entries are left out and reported in `problems`.
fn typed(file: File, problems: &mut Vec<Problem>) -> Typed {
    let mut types = Types { problems };
    let receivers = types.all("receivers", &file.receivers, ReceiverKind::parse, ReceiverKind::typed);
    let processors = types.all("processors", &file.processors, ProcessorKind::parse, ProcessorKind::typed);
    let exporters = types.all("exporters", &file.exporters, ExporterKind::parse, ExporterKind::typed);
    let connectors = types.all("connectors", &file.connectors, ConnectorKind::parse, ConnectorKind::typed);
    let extensions = types.all("extensions", &file.extensions, ExtensionKind::parse, ExtensionKind::typed);
    let spool = types.one("spool", &file.spool);
    let pseudonyms = types.one("pseudonyms", &file.pseudonyms);
    let limits = types.one("limits", &file.limits);
    let telemetry = types.one("service.telemetry", &file.telemetry);
    Typed { receivers, processors, exporters, connectors, extensions, spool, pseudonyms, limits, telemetry, file }
}

struct Types<'p> {
    problems: &'p mut Vec<Problem>,
}

impl Types<'_> {
    fn one<T: serde::de::DeserializeOwned + Default>(&mut self, path: &str, node: &Node) -> T {
        let (found, problems) = de::partly(node, path);
        self.problems.extend(problems);
        found.unwrap_or_default()
    }

    fn all<K, C>(
        &mut self,
        section: &str,
        sections: &[Section],
        parse: impl Fn(&str) -> Option<K>,
        typed: impl Fn(K, &Node, &str) -> (Option<C>, Vec<Problem>),
    ) -> Vec<Placed<C>> {
        let mut all = Vec::new();
        for Section { id, at, body } in sections {
            let path = format!("{section}.{id}");
            let Some(kind) = parse(&id.kind) else {
                let known = names(section);
                let near = || nearest(&id.kind, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
                let hint = collector::remedy(section, &id.kind).map(str::to_owned).or_else(near);
                let hint = hint.unwrap_or_else(|| format!("there are: {}", known.join(", ")));
                let what = format!("`{}` is no type of {}", id.kind, section.trim_end_matches('s'));
                self.problems.push(Problem::error(Some(*at), path, what).with_hint(hint));
                continue;
            };
            let (what, problems) = typed(kind, body, &path);
            all.extend(what.map(|what| Placed { id: id.clone(), what }));
            self.problems.extend(problems);
        }
        all
    }
}

/// The settings of used components, and the checks across components.
fn validate(typed: &Typed, data_dir: &Path, problems: &mut Vec<Problem>) -> Option<Valid> {
    let file = &typed.file;
    let mut checks = Checks { problems };
    let used = checks.components(typed);
    checks.clashes(typed);
    checks.notes("receivers", &file.receivers, &used.receivers, ReceiverSettings::notes);
    checks.notes("processors", &file.processors, &used.processors, ProcessorSettings::notes);
    checks.notes("exporters", &file.exporters, &used.exporters, |settings| settings.spec().profile().notes);
    checks.notes("extensions", &file.extensions, &used.extensions, ExtensionSettings::notes);
    let beside = data_dir.join("spool");
    let spool = checks.one("spool", &file.spool, typed.spool.settings(&beside));
    let spool_keys = checks.one("spool", &file.spool, typed.spool.spool_keys());
    checks.pseudonym_key(typed);
    let own_metrics = checks.one("service.telemetry", &file.telemetry, typed.telemetry.metrics.settings());
    checks.limits(typed, &used.receivers);
    let kind_of = |section: &Section| Some((section.id.clone(), ConnectorKind::parse(&section.id.kind)?));
    let kinds: Vec<_> = file.connectors.iter().filter_map(kind_of).collect();
    let joined = ways(file, &kinds, checks.problems);
    let wrong = across_pipelines(file, &joined, &kinds, &used, problems);
    problems.extend(wrong);
    let stands_in = StandsIn { spool: spool.is_none(), keys: spool_keys.is_none(), components: false };
    let Used { receivers, processors, exporters, connectors, extensions } = used;
    Some(Valid {
        receivers,
        processors,
        exporters,
        connectors,
        extensions,
        spool: spool.or_else(|| spool::Config::default().settings(&beside).ok())?,
        spool_keys: spool_keys.unwrap_or_default(),
        pseudonym_key: typed.pseudonyms.key.clone(),
        limits: typed.limits.clone(),
        log_level: typed.telemetry.logs.level,
        own_metrics: own_metrics.unwrap_or_default(),
        pipelines: joined,
        admin_files: Kept::default(),
        stands_in,
    })
}

/// Settings of the components named by pipelines and `service.extensions`.
struct Used {
    receivers: Vec<Placed<ReceiverSettings>>,
    processors: Vec<Placed<ProcessorSettings>>,
    exporters: Vec<Placed<ExporterSettings>>,
    connectors: Vec<Placed<ConnectorSettings>>,
    extensions: Vec<Placed<ExtensionSettings>>,
}

/// The ids that pipelines name in one of their lists.
fn named(file: &File, list: fn(&Pipeline) -> &[(ComponentId, At)]) -> HashSet<&ComponentId> {
    file.pipelines.iter().flat_map(list).map(|(id, _)| id).collect()
}

/// Problems across pipelines: references, order, and data that third parties would get.
fn across_pipelines(
    file: &File,
    joined: &[Pipeline],
    kinds: &[(ComponentId, ConnectorKind)],
    used: &Used,
    problems: &[Problem],
) -> Vec<Problem> {
    let step = |section: &Section| Some((section.id.clone(), ProcessorKind::parse(&section.id.kind)?.step()));
    let steps = file.processors.iter().filter_map(step).collect::<HashMap<_, _>>();
    let joins = kinds.iter().filter_map(|(id, kind)| Some((id.clone(), (kind.of_step()?, kind.signals()))));
    let joins = joins.collect::<HashMap<_, _>>();
    // If the processor has other faults, only the text of this setting is available.
    let says = |section: &Section, key: &str, word: &str| {
        section.body.get(key).is_some_and(|(_, node)| matches!(&node.value, Val::Str(said) if said == word))
    };
    let of = |wanted: fn(&ProcessorSettings) -> bool, key: &str, word: &str| -> HashSet<ComponentId> {
        let settled = |section: &Section| used.processors.iter().find(|placed| placed.id == section.id);
        let is = |section: &&Section| match settled(section) {
            Some(placed) => wanted(&placed.what),
            None => section.id.kind == "redact" && says(section, key, word),
        };
        file.processors.iter().filter(is).map(|section| section.id.clone()).collect()
    };
    let audits = of(ProcessorSettings::only_counts, "mode", "audit");
    let allows = of(ProcessorSettings::allows_content, "content", "allow");
    let known = Known {
        steps: &steps,
        audits: &audits,
        allows: &allows,
        third_party: &third_parties(file, &used.exporters),
        not_taken: &not_taken(&used.exporters, problems),
        joins: &joins,
    };
    graph::check(&File { pipelines: joined.to_vec(), ..file.clone() }, &known)
}

fn third_parties(file: &File, exporters: &[Placed<ExporterSettings>]) -> HashSet<ComponentId> {
    let known_trust = |id: &ComponentId| {
        exporters.iter().find(|known| known.id == *id).map(|known| known.what.spec().profile().trust)
    };
    // If the exporter has other faults, only the text of this setting is available.
    let says_internal = |section: &Section| {
        section.body.get("trust").is_some_and(|(_, node)| matches!(&node.value, Val::Str(word) if word == "internal"))
    };
    (file.exporters.iter())
        .filter(|section| match known_trust(&section.id) {
            Some(trust) => trust == Trust::ThirdParty,
            None => ExporterKind::parse(&section.id.kind).is_some() && !says_internal(section),
        })
        .map(|section| section.id.clone())
        .collect()
}

/// The signals for which an exporter has no endpoint. Exporters with errors are left out, since they are reported
/// already.
fn not_taken(exporters: &[Placed<ExporterSettings>], problems: &[Problem]) -> HashSet<(ComponentId, Signal)> {
    let faulty = |placed: &&Placed<ExporterSettings>| {
        let path = format!("exporters.{}", placed.id);
        let within = |rest: &str| rest.is_empty() || rest.starts_with('.');
        let errors = problems.iter().filter(|problem| problem.gravity == Gravity::Error);
        errors.filter_map(|problem| problem.path.strip_prefix(&path)).any(within)
    };
    (exporters.iter())
        .filter(|placed| !faulty(placed))
        .flat_map(|placed| Signal::ALL.map(|signal| (placed, signal)))
        .filter(|(placed, signal)| !placed.what.spec().takes(*signal))
        .map(|(placed, signal)| (placed.id.clone(), signal))
        .collect()
}

/// The pipelines that run, after `forward` has joined those that it connects.
fn ways(file: &File, kinds: &[(ComponentId, ConnectorKind)], problems: &mut Vec<Problem>) -> Vec<Pipeline> {
    let forwards = kinds.iter().filter(|(_, kind)| *kind == ConnectorKind::Forward).map(|(id, _)| id.clone()).collect();
    problems.extend(forward::one_sided(&file.pipelines, &forwards));
    match forward::joined(&file.pipelines, &forwards) {
        Ok(pipelines) => pipelines,
        Err(problem) => {
            problems.push(problem);
            // Pipelines without a `forward` connector are usable all the same.
            let apart = |ids: &[(ComponentId, At)]| !ids.iter().any(|(id, _)| forwards.contains(id));
            let whole = file.pipelines.iter().filter(|one| apart(&one.receivers) && apart(&one.exporters));
            whole.cloned().collect()
        }
    }
}

struct Checks<'p> {
    problems: &'p mut Vec<Problem>,
}

impl Checks<'_> {
    /// The settings of every used component.
    fn components(&mut self, typed: &Typed) -> Used {
        let file = &typed.file;
        let (from, to) = (named(file, |p| &p.receivers), named(file, |p| &p.exporters));
        let through = named(file, |p| &p.processors);
        let joining = from.union(&to).copied().collect();
        let enabled = file.enabled.iter().map(|(id, _)| id).collect();
        Used {
            receivers: self.all("receivers", &file.receivers, &typed.receivers, &from, ReceiverConfig::settings),
            processors: self.all(
                "processors",
                &file.processors,
                &typed.processors,
                &through,
                ProcessorConfig::settings,
            ),
            exporters: self.all("exporters", &file.exporters, &typed.exporters, &to, ExporterConfig::settings),
            connectors: self.all(
                "connectors",
                &file.connectors,
                &typed.connectors,
                &joining,
                ConnectorConfig::settings,
            ),
            extensions: self.all(
                "extensions",
                &file.extensions,
                &typed.extensions,
                &enabled,
                ExtensionConfig::settings,
            ),
        }
    }

    /// Reports listeners that want the same port.
    fn clashes(&mut self, typed: &Typed) {
        let file = &typed.file;
        let listening = named(file, |p| &p.receivers);
        let used = |section: &str, id: &ComponentId| match section {
            "receivers" => listening.contains(id),
            _ => file.enabled.iter().any(|(enabled, _)| enabled == id),
        };
        for (port, what) in ports::clashes(&typed.receivers, &typed.extensions, &used) {
            let sections = if port.section == "receivers" { &file.receivers } else { &file.extensions };
            let written = sections.iter().filter(|section| section.id == *port.id);
            let wrong = || vec![FieldProblem::new(port.field, what.as_str())];
            let path = format!("{}.{}", port.section, port.id);
            written.for_each(|written| self.place(Gravity::Error, &path, &written.body, written.at, wrong()));
        }
    }

    fn pseudonym_key(&mut self, typed: &Typed) {
        if typed.pseudonyms.key.as_ref().is_some_and(|key| key.expose().trim().is_empty()) {
            let (node, empty) = (&typed.file.pseudonyms, "is empty: anyone could make these pseudonyms");
            self.place(Gravity::Error, "pseudonyms", node, node.at, vec![FieldProblem::new("key", empty)]);
        }
    }

    /// Checks the limits against each other, and against the accounts that receivers know.
    fn limits(&mut self, typed: &Typed, receivers: &[Placed<ReceiverSettings>]) {
        let file = &typed.file;
        self.one("limits", &file.limits, typed.limits.check(receivers));
        let listening = named(file, |p| &p.receivers);
        let whole = |section: &Section| receivers.iter().any(|placed| placed.id == section.id);
        // The accounts of an invalid receiver are unknown.
        if file.receivers.iter().all(|section| !listening.contains(&section.id) || whole(section)) {
            let nobody = typed.limits.of_nobody(receivers);
            self.place(Gravity::Warning, "limits", &file.limits, file.limits.at, nobody);
        }
    }

    fn one<T>(&mut self, path: &str, node: &Node, result: Result<T, Vec<FieldProblem>>) -> Option<T> {
        result.map_err(|problems| self.place(Gravity::Error, path, node, node.at, problems)).ok()
    }

    /// Reports field problems at their positions, except for fields that already have a typing error.
    fn place(&mut self, gravity: Gravity, path: &str, node: &Node, at: At, problems: Vec<FieldProblem>) {
        let inside = format!("{path}.");
        let mistyped: Vec<At> = (self.problems.iter())
            .filter(|known| known.path == path || known.path.starts_with(&inside))
            .filter_map(|known| known.at)
            .collect();
        for FieldProblem { path: field, what } in problems {
            let found = if field.is_empty() || node.entries().is_empty() { at } else { node.nearest(&field) };
            let absent = found == at || found == node.at;
            if mistyped.contains(&found) || (absent && !mistyped.is_empty()) {
                continue;
            }
            let full = if field.is_empty() { path.to_owned() } else { format!("{path}.{field}") };
            self.problems.push(Problem { gravity, ..Problem::error(Some(found), full, what) });
        }
    }

    fn notes<S>(
        &mut self,
        section: &str,
        sections: &[Section],
        all: &[Placed<S>],
        notes: impl Fn(&S) -> &[FieldProblem],
    ) {
        for placed in all {
            let Some(written) = sections.iter().find(|section| section.id == placed.id) else { continue };
            let path = format!("{section}.{}", placed.id);
            self.place(Gravity::Warning, &path, &written.body, written.at, notes(&placed.what).to_vec());
        }
    }

    fn all<C, S>(
        &mut self,
        section: &str,
        sections: &[Section],
        configs: &[Placed<C>],
        used: &HashSet<&ComponentId>,
        settings: impl Fn(&C) -> Result<S, Vec<FieldProblem>>,
    ) -> Vec<Placed<S>> {
        let mut all = Vec::new();
        for placed in configs.iter().filter(|placed| used.contains(&placed.id)) {
            let Some(written) = sections.iter().find(|section| section.id == placed.id) else { continue };
            match settings(&placed.what) {
                Ok(what) => all.push(Placed { id: placed.id.clone(), what }),
                Err(problems) => {
                    self.place(Gravity::Error, &format!("{section}.{}", placed.id), &written.body, written.at, problems)
                }
            }
        }
        all
    }
}
