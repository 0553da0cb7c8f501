//! Turns the text of a configuration into valid settings: shape, types, settings, checks across components. `validate`,
//! `print-config` and `run` share it. The only I/O is `${file:…}`. All problems of a stage are collected before the
//! next stage starts. `assemble` opens the components.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::app::collector_compat;
use crate::app::key_opening::check_pseudonym_key;
use crate::app::sampling_checks;
use crate::app::start_checks::find_file_problems;
use crate::app::start_checks::finding::{FileContext, FileFinding};
use crate::components::{
    ConnectorConfig, ConnectorKind, ExporterConfig, ExporterKind, ExporterSettings, ExtensionConfig, ExtensionKind,
    ProcessorConfig, ProcessorKind, ReceiverConfig, ReceiverKind, ReceiverSettings, component_rows,
};
use ::vault::chain::digest::GatewayIdentity;
use config::env::SubstitutionLookup;
use config::file::{self, ComponentSection, ConfigFile, ParsedFile, PipelineConfig};
use config::graph::{self, ComponentFacts};
use config::problem::find_nearest;
use config::tree::{NodeValue, TreeNode};
use config::{ComponentId, FieldProblem, MaskedSource, Problem, ProblemSeverity, SourcePosition, de, sort_and_dedup};
use connectors::forward;
use kernel::key_source::{KeySource, LazyKey};
use kernel::pseudonym::FIRST_EPOCH;
use kernel::secret::Secret;
use net::LastGoodValue;
use otlp::Signal;
use pipeline::{Trust, spool};
use processors::spec::RedactionProfile;

pub use super::configured_component::ConfiguredComponent;
pub use super::limits::{AccountRateConfig, LimitsConfig};
pub use super::valid_settings::{
    LogsConfig, PlaceholderSettings, PseudonymsConfig, TelemetryConfig, TypedConfig, ValidSettings,
};

/// The result of reading a configuration.
pub struct ResolvedConfig {
    /// The masked text that problems are rendered against.
    pub source: MaskedSource,
    /// Warnings, if the file is usable.
    pub warnings: Vec<Problem>,
    /// The typed file and its settings, or all problems.
    pub result: Result<(TypedConfig, ValidSettings), Vec<Problem>>,
    /// If there are problems: as much of the file as could be used in spite of them.
    pub usable_parts: Option<Box<(TypedConfig, ValidSettings)>>,
}

/// Reads a configuration. `data_dir` is the folder for the spool if the file doesn't set one.
pub fn resolve_config(name: &str, text: &str, lookup: &dyn SubstitutionLookup, data_dir: &Path) -> ResolvedConfig {
    let ParsedFile { source, content, mut problems, unresolved } = file::read(name, text, lookup);
    let read_count = problems.len();
    let found = content.and_then(|mut file| {
        problems.extend(collector_compat::remove_unused_parts(&mut file));
        problems.extend(graph::check_references(&file, &unknown_type_hint));
        let typed = type_components(file, &mut problems);
        let valid = validate_settings(&typed, data_dir, &mut problems, GatewayIdentity::current(text))?;
        Some((typed, valid))
    });
    // Problems at the position of an unresolved `${…}` follow from it. Problems found while reading are always kept.
    let mut index = 0;
    problems.retain(|problem| {
        index += 1;
        index <= read_count || problem.at.is_none_or(|at| !unresolved.contains(&at))
    });
    sort_and_dedup(&mut problems);
    let has_errors = problems.iter().any(|problem| problem.severity == ProblemSeverity::Error);
    match found {
        Some(found) if !has_errors => {
            ResolvedConfig { source, warnings: problems, result: Ok(found), usable_parts: None }
        }
        mut found => {
            if let Some((_, valid)) = &mut found {
                valid.placeholders.components = true;
            }
            ResolvedConfig { source, warnings: Vec::new(), result: Err(problems), usable_parts: found.map(Box::new) }
        }
    }
}

/// Types the file. Invalid entries are left out and reported in `problems`.
fn type_components(file: ConfigFile, problems: &mut Vec<Problem>) -> TypedConfig {
    let mut types = SettingsChecker { problems };
    let receivers = types.type_all("receivers", &file.receivers, ReceiverKind::parse, ReceiverKind::typed);
    let processors = types.type_all("processors", &file.processors, ProcessorKind::parse, ProcessorKind::typed);
    let exporters = types.type_all("exporters", &file.exporters, ExporterKind::parse, ExporterKind::typed);
    let connectors = types.type_all("connectors", &file.connectors, ConnectorKind::parse, ConnectorKind::typed);
    let extensions = types.type_all("extensions", &file.extensions, ExtensionKind::parse, ExtensionKind::typed);
    let spool = types.type_section("spool", &file.spool);
    let pseudonyms = types.type_section("pseudonyms", &file.pseudonyms);
    let limits = types.type_section("limits", &file.limits);
    let telemetry = types.type_section("service.telemetry", &file.telemetry);
    TypedConfig { receivers, processors, exporters, connectors, extensions, spool, pseudonyms, limits, telemetry, file }
}

/// Types and checks the parts of a file, and collects their problems.
struct SettingsChecker<'p> {
    problems: &'p mut Vec<Problem>,
}

impl SettingsChecker<'_> {
    fn type_section<T: serde::de::DeserializeOwned + Default>(&mut self, path: &str, node: &TreeNode) -> T {
        let (found, problems) = de::deserialize_partial(node, path);
        self.problems.extend(problems);
        found.unwrap_or_default()
    }

    fn type_all<K, C>(
        &mut self,
        section: &str,
        sections: &[ComponentSection],
        parse: impl Fn(&str) -> Option<K>,
        type_body: impl Fn(K, &TreeNode, &str) -> (Option<C>, Vec<Problem>),
    ) -> Vec<ConfiguredComponent<C>> {
        let mut components = Vec::new();
        for ComponentSection { id, at, body } in sections {
            let path = format!("{section}.{id}");
            let Some(kind) = parse(&id.kind) else {
                let message = format!("`{}` is not a known type of {}", id.kind, section.trim_end_matches('s'));
                let hint = unknown_type_hint(section, &id.kind).unwrap_or_default();
                self.problems.push(Problem::error(Some(*at), path, message).with_hint(hint));
                continue;
            };
            let (config, problems) = type_body(kind, body, &path);
            components.extend(config.map(|config| ConfiguredComponent { id: id.clone(), value: config }));
            self.problems.extend(problems);
        }
        components
    }
}

/// The remedy for a type of component that does not exist; `None` for one that does. A connector may be named among
/// receivers and exporters.
pub(crate) fn unknown_type_hint(section: &str, kind: &str) -> Option<String> {
    let is_of = |section: &str| component_rows(section).iter().any(|row| row.names.contains(&kind));
    if is_of(section) || (["receivers", "exporters"].contains(&section) && is_of("connectors")) {
        return None;
    }
    let names: Vec<&str> = component_rows(section).iter().map(|row| row.name).collect();
    let near = || find_nearest(kind, names.iter().copied()).map(|near| format!("did you mean `{near}`?"));
    let replacement = collector_compat::find_replacement(section, kind).map(|(text, _)| text.to_owned());
    replacement.or_else(near).or_else(|| Some(format!("available: {}", names.join(", "))))
}

/// The settings of used components, and the checks across components.
fn validate_settings(
    typed: &TypedConfig,
    data_dir: &Path,
    problems: &mut Vec<Problem>,
    identity: GatewayIdentity,
) -> Option<ValidSettings> {
    let file = &typed.file;
    let mut checks = SettingsChecker { problems };
    let receivers = checks.validate_all(file, "receivers", &typed.receivers, ReceiverConfig::settings);
    let processors = checks.validate_all(file, "processors", &typed.processors, ProcessorConfig::settings);
    let exporters = checks.validate_all(file, "exporters", &typed.exporters, ExporterConfig::settings);
    let connectors = checks.validate_all(file, "connectors", &typed.connectors, ConnectorConfig::settings);
    let extensions = checks.validate_all(file, "extensions", &typed.extensions, ExtensionConfig::settings);
    let default_folder = data_dir.join("spool");
    let spool = checks.settings_or_report("spool", &file.spool, typed.spool.settings(&default_folder));
    let spool_keys = checks.settings_or_report("spool", &file.spool, typed.spool.spool_keys());
    let pseudonym_key = checks.check_pseudonym_key(typed);
    let own_metrics =
        checks.settings_or_report("service.telemetry", &file.telemetry, typed.telemetry.metrics.settings());
    checks.check_limits(typed, &receivers);
    let kind_of = |section: &ComponentSection| Some((section.id.clone(), ConnectorKind::parse(&section.id.kind)?));
    let kinds: Vec<_> = file.connectors.iter().filter_map(kind_of).collect();
    let pipelines = join_forwarded_pipelines(file, &kinds, checks.problems);
    let placeholders = PlaceholderSettings { spool: spool.is_none(), keys: spool_keys.is_none(), components: false };
    let valid = ValidSettings {
        receivers,
        processors,
        exporters,
        connectors,
        extensions,
        spool: spool.or_else(|| spool::SpoolConfig::default().settings(&default_folder).ok())?,
        spool_keys: spool_keys.unwrap_or_default(),
        pseudonym_key,
        pseudonym_epoch: typed.pseudonyms.epoch,
        limits: typed.limits.clone(),
        log_level: typed.telemetry.logs.level,
        own_metrics: own_metrics.unwrap_or_default(),
        pipelines,
        admin_certificates: LastGoodValue::default(),
        identity,
        placeholders,
    };
    checks.report_findings(&FileContext { typed, valid: &valid });
    let found = check_across_pipelines(file, &valid, &kinds, problems);
    problems.extend(found);
    Some(valid)
}

/// Problems across pipelines: references, order, and data that third parties would get.
fn check_across_pipelines(
    file: &ConfigFile,
    valid: &ValidSettings,
    kinds: &[(ComponentId, ConnectorKind)],
    problems: &[Problem],
) -> Vec<Problem> {
    let step = |section: &ComponentSection| Some((section.id.clone(), ProcessorKind::parse(&section.id.kind)?.step()));
    let steps = file.processors.iter().filter_map(step).collect::<HashMap<_, _>>();
    let connectors = kinds.iter().filter_map(|(id, kind)| Some((id.clone(), (kind.required_step()?, kind.signals()))));
    let connectors = connectors.collect::<HashMap<_, _>>();
    // If the processor has other faults, only the text of a setting is available.
    let ids_with = |predicate: fn(&RedactionProfile<'_>) -> bool, key: &str, word: &str| -> HashSet<ComponentId> {
        let settings_of =
            |section: &ComponentSection| valid.processors.iter().find(|component| component.id == section.id);
        let matches = |section: &&ComponentSection| match settings_of(section) {
            Some(component) => {
                component.value.spec().profile().redaction.is_some_and(|redaction| predicate(&redaction))
            }
            None => section.id.kind == "redact" && has_text(section, key, word),
        };
        file.processors.iter().filter(matches).map(|section| section.id.clone()).collect()
    };
    let audit_only = ids_with(|redaction| redaction.is_audit_only, "mode", "audit");
    let content_allowed = ids_with(|redaction| redaction.allows_content, "content", "allow");
    let sampled = sampling_checks::samples(&valid.exporters);
    let sampled = sampled.map(|(id, rules)| (id.clone(), sampling_checks::needed_steps(&rules))).collect();
    let facts = ComponentFacts {
        steps: &steps,
        audit_only: &audit_only,
        content_allowed: &content_allowed,
        third_party: &find_third_parties(file, &valid.exporters),
        missing_endpoints: &find_missing_endpoints(&valid.exporters, problems),
        sampled: &sampled,
        connectors: &connectors,
    };
    graph::check_pipelines(&ConfigFile { pipelines: valid.pipelines.clone(), ..file.clone() }, &facts)
}

fn has_text(section: &ComponentSection, key: &str, word: &str) -> bool {
    section.body.get(key).is_some_and(|(_, node)| matches!(&node.value, NodeValue::Str(text) if text == word))
}

fn find_third_parties(file: &ConfigFile, exporters: &[ConfiguredComponent<ExporterSettings>]) -> HashSet<ComponentId> {
    let known_trust = |id: &ComponentId| {
        exporters.iter().find(|exporter| exporter.id == *id).map(|exporter| exporter.value.spec().profile().trust)
    };
    // If the exporter has other faults, only the text of this setting is available.
    let says_internal = |section: &ComponentSection| has_text(section, "trust", "internal");
    (file.exporters.iter())
        .filter(|section| match known_trust(&section.id) {
            Some(trust) => trust == Trust::ThirdParty,
            // Its settings may be unusable only because values are on another machine.
            None if section.body.has_unknown() => false,
            None => ExporterKind::parse(&section.id.kind).is_some() && !says_internal(section),
        })
        .map(|section| section.id.clone())
        .collect()
}

/// The signals for which an exporter has no endpoint. Exporters with errors are left out, since they are reported
/// already.
fn find_missing_endpoints(
    exporters: &[ConfiguredComponent<ExporterSettings>],
    problems: &[Problem],
) -> HashSet<(ComponentId, Signal)> {
    let has_errors = |exporter: &&ConfiguredComponent<ExporterSettings>| {
        let path = format!("exporters.{}", exporter.id);
        let is_field = |rest: &str| rest.is_empty() || rest.starts_with('.');
        let errors = problems.iter().filter(|problem| problem.severity == ProblemSeverity::Error);
        errors.filter_map(|problem| problem.path.strip_prefix(&path)).any(is_field)
    };
    (exporters.iter())
        .filter(|exporter| !has_errors(exporter))
        .flat_map(|exporter| Signal::ALL.map(|signal| (exporter, signal)))
        .filter(|(exporter, signal)| !exporter.value.spec().accepts_signal(*signal))
        .map(|(exporter, signal)| (exporter.id.clone(), signal))
        .collect()
}

/// The pipelines that run, after `forward` has joined those that it connects.
fn join_forwarded_pipelines(
    file: &ConfigFile,
    kinds: &[(ComponentId, ConnectorKind)],
    problems: &mut Vec<Problem>,
) -> Vec<PipelineConfig> {
    let forwards = kinds.iter().filter(|(_, kind)| *kind == ConnectorKind::Forward).map(|(id, _)| id.clone()).collect();
    problems.extend(forward::check_one_sided(&file.pipelines, &forwards));
    match forward::join_pipelines(&file.pipelines, &forwards) {
        Ok(pipelines) => pipelines,
        Err(problem) => {
            problems.push(problem);
            // Pipelines without a `forward` connector are usable all the same.
            let has_no_forward =
                |ids: &[(ComponentId, SourcePosition)]| !ids.iter().any(|(id, _)| forwards.contains(id));
            let is_usable =
                |pipeline: &&PipelineConfig| has_no_forward(&pipeline.receivers) && has_no_forward(&pipeline.exporters);
            file.pipelines.iter().filter(is_usable).cloned().collect()
        }
    }
}

impl SettingsChecker<'_> {
    /// Reports problems between the settings of several components.
    fn report_findings(&mut self, context: &FileContext<'_>) {
        for FileFinding { section, id, severity, problem } in find_file_problems(context) {
            let mut written = context.typed.file.section(section).iter();
            let Some(written) = written.find(|written| written.id == id) else { continue };
            self.report_problems(severity, &format!("{section}.{id}"), &written.body, written.at, vec![problem]);
        }
    }

    /// The key for pseudonyms, if the configuration names one. Reports a key that could be guessed.
    fn check_pseudonym_key(&mut self, typed: &TypedConfig) -> Option<LazyKey<Secret>> {
        let (mut problems, config) = (Vec::new(), &typed.pseudonyms);
        let key = config.key.clone().and_then(|source| match &source {
            KeySource::Value(text) => match check_pseudonym_key(text) {
                Ok(key) => Some(LazyKey::with_key(source, key)),
                Err(why) => {
                    problems.push(FieldProblem::new("key", why));
                    None
                }
            },
            KeySource::Service(_) | KeySource::Unknown => Some(LazyKey::new(source)),
        });
        if config.epoch < FIRST_EPOCH {
            problems.push(FieldProblem::new("epoch", "must be a number from 1 to 255"));
        }
        let node = &typed.file.pseudonyms;
        self.report_problems(ProblemSeverity::Error, "pseudonyms", node, node.at, problems);
        key
    }

    /// Checks the limits against each other, and against the accounts that receivers know.
    fn check_limits(&mut self, typed: &TypedConfig, receivers: &[ConfiguredComponent<ReceiverSettings>]) {
        let file = &typed.file;
        self.settings_or_report("limits", &file.limits, typed.limits.check(receivers));
        let is_valid = |section: &ComponentSection| receivers.iter().any(|receiver| receiver.id == section.id);
        // The accounts of an invalid receiver are unknown.
        if file.receivers.iter().all(|section| !file.uses("receivers", &section.id) || is_valid(section)) {
            let unknown = typed.limits.find_unknown_accounts(receivers);
            self.report_problems(ProblemSeverity::Warning, "limits", &file.limits, file.limits.at, unknown);
        }
    }

    fn settings_or_report<T>(
        &mut self,
        path: &str,
        node: &TreeNode,
        result: Result<T, Vec<FieldProblem>>,
    ) -> Option<T> {
        result.map_err(|problems| self.report_problems(ProblemSeverity::Error, path, node, node.at, problems)).ok()
    }

    /// Reports field problems at their positions, except for fields that already have a typing error.
    fn report_problems(
        &mut self,
        severity: ProblemSeverity,
        path: &str,
        node: &TreeNode,
        at: SourcePosition,
        problems: Vec<FieldProblem>,
    ) {
        let inside = format!("{path}.");
        let mistyped: Vec<SourcePosition> = (self.problems.iter())
            .filter(|problem| problem.path == path || problem.path.starts_with(&inside))
            // a warning must not hide a fault of the same field
            .filter(|problem| problem.severity == ProblemSeverity::Error)
            .filter_map(|problem| problem.at)
            .collect();
        for FieldProblem { path: field, message } in problems {
            let position =
                if field.is_empty() || node.entries().is_empty() { at } else { node.nearest_position(&field) };
            let is_absent = position == at || position == node.at;
            if mistyped.contains(&position) || (is_absent && !mistyped.is_empty()) {
                continue;
            }
            let full_path = if field.is_empty() { path.to_owned() } else { format!("{path}.{field}") };
            // A faulty field was left out with the map around it, which therefore only seems to be missing.
            let (below, item) = (format!("{full_path}."), format!("{full_path}["));
            let absence_texts =
                ["is missing", "must have at least one ", "must list at least one ", "has no credentials"];
            if absence_texts.iter().any(|start| message.starts_with(start))
                && self
                    .problems
                    .iter()
                    .any(|problem| problem.path.starts_with(&below) || problem.path.starts_with(&item))
            {
                continue;
            }
            self.problems.push(Problem { severity, ..Problem::error(Some(position), full_path, message) });
        }
    }

    fn validate_all<C, S>(
        &mut self,
        file: &ConfigFile,
        section: &str,
        configs: &[ConfiguredComponent<C>],
        settings: impl Fn(&C) -> Result<S, Vec<FieldProblem>>,
    ) -> Vec<ConfiguredComponent<S>> {
        let mut valid = Vec::new();
        for component in configs.iter().filter(|component| file.uses(section, &component.id)) {
            let Some(written) = file.section(section).iter().find(|section| section.id == component.id) else {
                continue;
            };
            match settings(&component.value) {
                Ok(settings) => valid.push(ConfiguredComponent { id: component.id.clone(), value: settings }),
                Err(problems) => self.report_problems(
                    ProblemSeverity::Error,
                    &format!("{section}.{}", component.id),
                    &written.body,
                    written.at,
                    problems,
                ),
            }
        }
        valid
    }
}
