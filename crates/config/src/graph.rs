//! Checks across components: references, the order of processors, and the clearance and destination of every path.
//! What may leave is decided when the file is loaded, so that the error can name the path and the missing step.
//! Processors are known only by their [`StepRole`]. The outlet (`pipeline`) checks clearance again before each send.

use std::collections::{HashMap, HashSet};

use otlp::Signal;

use super::connectors;
use super::file::{ComponentSection, ConfigFile, PipelineConfig};
use super::id::ComponentId;
use super::problem::{Problem, SourcePosition, find_nearest};

/// The role of a processor in ordering and clearance, declared in the order that pipelines must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepRole {
    /// Translates attributes to the current names of the conventions.
    Normalize,
    /// Prices model calls.
    Cost,
    Runs,
    /// Moves content to the vault.
    Vault,
    Redact,
    /// Changes or drops items after all other steps; a pipeline may have several.
    Last,
}

impl StepRole {
    /// The component type that performs this step.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normalize => "normalize",
            Self::Cost => "cost",
            Self::Runs => "runs",
            Self::Vault => "vault",
            Self::Redact => "redact",
            Self::Last => "all others",
        }
    }
}

/// Facts about the configured components that the checks need.
pub struct ComponentFacts<'a> {
    /// The step of each configured processor.
    pub steps: &'a HashMap<ComponentId, StepRole>,
    /// Processors that count findings and change nothing (`redact` with `mode: audit`).
    pub audit_only: &'a HashSet<ComponentId>,
    /// Processors that let content pass (`redact` with `content: allow`).
    pub content_allowed: &'a HashSet<ComponentId>,
    /// Exporters that send to a third party.
    pub third_party: &'a HashSet<ComponentId>,
    /// Pairs of an exporter and a signal for which it has no endpoint.
    pub missing_endpoints: &'a HashSet<(ComponentId, Signal)>,
    /// Exporters that send a sample of the runs, each with the steps that its rules need.
    pub sampled: &'a HashMap<ComponentId, &'static [StepRole]>,
    /// For each connector, the step whose results it sends, and the signals it sends them as.
    pub connectors: &'a HashMap<ComponentId, (StepRole, &'static [Signal])>,
}

/// For a section (`processors`) and a type of component: `None` if the type exists, else the remedy for the unknown
/// type.
pub type UnknownTypeHint<'a> = &'a dyn Fn(&str, &str) -> Option<String>;

/// Checks references between components; this needs no typed component. A reference to a component that is defined with
/// an unknown type is not reported, because the definition is.
pub fn check_references(file: &ConfigFile, hint: UnknownTypeHint<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut references = ReferenceCheck { hint, problems: &mut problems };
    for pipeline in &file.pipelines {
        let path = format!("service.pipelines.{}", pipeline.id);
        for (kind, uses, sections, connectors) in [
            ("receivers", &pipeline.receivers, &file.receivers, &file.connectors[..]),
            ("processors", &pipeline.processors, &file.processors, &[][..]),
            ("exporters", &pipeline.exporters, &file.exporters, &file.connectors[..]),
        ] {
            references.report_missing(kind, &format!("{path}.{kind}"), uses, sections, connectors);
        }
    }
    references.report_missing("extensions", "service.extensions", &file.enabled, &file.extensions, &[]);
    references.report_unused(file);
    connectors::check_connector_references(file, &mut problems);
    problems
}

struct ReferenceCheck<'a> {
    hint: UnknownTypeHint<'a>,
    problems: &'a mut Vec<Problem>,
}

impl ReferenceCheck<'_> {
    fn report_missing(
        &mut self,
        kind: &str,
        path: &str,
        uses: &[(ComponentId, SourcePosition)],
        sections: &[ComponentSection],
        connectors: &[ComponentSection],
    ) {
        let all = || sections.iter().chain(connectors);
        for (id, at) in uses.iter().filter(|(id, _)| !all().any(|section| section.id == *id)) {
            // The section with the misspelt type is reported where it is defined.
            let misspelt = |section: &&ComponentSection| {
                section.id.name == id.name
                    && (self.hint)(kind, &section.id.kind).is_some()
                    && find_nearest(&section.id.kind, [id.kind.as_str()]).is_some()
            };
            if (self.hint)(kind, &id.kind).is_none() && sections.iter().any(|section| misspelt(&section)) {
                continue;
            }
            let names: Vec<String> = all().map(|section| section.id.to_string()).collect();
            let near = find_nearest(&id.to_string(), names.iter().map(String::as_str));
            let hint = match (near, (self.hint)(kind, &id.kind)) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, Some(hint)) => {
                    format!("`{}` is not a known type of {}: {hint}", id.kind, kind.trim_end_matches('s'))
                }
                (None, None) => format!("add `{id}:` to `{kind}:`"),
            };
            let problem = Problem::error(Some(*at), path, format!("`{id}` is not in `{kind}:`"));
            self.problems.push(problem.with_hint(hint));
        }
    }

    fn report_unused(&mut self, file: &ConfigFile) {
        for (kind, sections) in file.sections().into_iter().filter(|(kind, _)| *kind != "connectors") {
            let place = if kind == "extensions" { "not in `service.extensions`" } else { "in no pipeline" };
            let has_known_type = |section: &&ComponentSection| (self.hint)(kind, &section.id.kind).is_none();
            for section in sections.iter().filter(has_known_type).filter(|section| !file.uses(kind, &section.id)) {
                let what = format!("`{}` is {place} and will not run", section.id);
                self.problems.push(Problem::warning(Some(section.at), format!("{kind}.{}", section.id), what));
            }
        }
    }
}

/// Checks order, clearance and destinations of every pipeline, and that no receiver's data is tracked twice.
pub fn check_pipelines(file: &ConfigFile, facts: &ComponentFacts<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for pipeline in &file.pipelines {
        check_order(pipeline, facts, &mut problems);
        check_clearance(pipeline, facts, &mut problems);
        warn_allowed_content(pipeline, facts, &mut problems);
        check_destinations(pipeline, facts, &mut problems);
        check_sampling(pipeline, facts, &mut problems);
    }
    check_shared_receivers(file, facts, &mut problems);
    connectors::check_connectors(file, facts, &mut problems);
    problems
}

fn check_order(pipeline: &PipelineConfig, facts: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    let path = format!("service.pipelines.{}.processors", pipeline.id);
    let mut latest: Option<(StepRole, &ComponentId)> = None;
    for (id, at) in &pipeline.processors {
        let Some(step) = facts.steps.get(id) else { continue };
        match latest {
            Some((before, other)) if before == *step && before != StepRole::Last => {
                let what = format!("`{other}` and `{id}` do the same step; a pipeline has at most one of each");
                problems.push(Problem::error(Some(*at), path.clone(), what));
            }
            Some((before, other)) if before > *step => {
                let what = format!("`{id}` must come before `{other}`");
                let hint = "the order is normalize, cost, runs, vault, redact, then all others";
                problems.push(Problem::error(Some(*at), path.clone(), what).with_hint(hint));
            }
            _ => {}
        }
        latest = Some(
            latest.map_or((*step, id), |(before, other)| if before > *step { (before, other) } else { (*step, id) }),
        );
    }
}

/// A hint with a complete list of processors that contains the missing steps, so that applying it causes no new error.
fn suggest_missing_steps(pipeline: &PipelineConfig, facts: &ComponentFacts<'_>, missing: &[StepRole]) -> String {
    let mut steps: Vec<(Option<StepRole>, String)> =
        pipeline.processors.iter().map(|(id, _)| (facts.steps.get(id).copied(), id.to_string())).collect();
    let mut bodies = Vec::new();
    for step in missing {
        let configured = facts.steps.iter().filter(|(id, other)| *other == step && !facts.audit_only.contains(id));
        let configured = configured.min_by_key(|(id, _)| *id);
        let name = configured.map_or_else(|| step.name().to_owned(), |(id, _)| id.to_string());
        if configured.is_none() {
            bodies.push(match step {
                StepRole::Vault => "`vault: { recipients: [age1…], store: { directory: vault } }` \
                    (`tollgate vault keygen --output auditor.key` prints the recipient)"
                    .to_owned(),
                step => format!("`{}: {{}}`", step.name()),
            });
        }
        let position = steps.iter().position(|(other, _)| other.is_some_and(|other| other > *step));
        steps.insert(position.unwrap_or(steps.len()), (Some(*step), name));
    }
    let names: Vec<String> = steps.into_iter().map(|(_, name)| name).collect();
    let add =
        if bodies.is_empty() { String::new() } else { format!("add {} to `processors:` and ", bodies.join(" and ")) };
    format!("{add}write `processors: [{}]` in the pipeline", names.join(", "))
}

fn check_clearance(pipeline: &PipelineConfig, facts: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    // An unknown processor is reported on its own. If its name is close to a step's name, that step is not also
    // missing.
    let is_misspelt = |id: &ComponentId, step: StepRole| {
        let steps = [StepRole::Normalize, StepRole::Cost, StepRole::Runs, StepRole::Vault, StepRole::Redact]
            .map(StepRole::name);
        !facts.steps.contains_key(id) && find_nearest(&id.kind, steps) == Some(step.name())
    };
    let performs = |id: &ComponentId, step: StepRole| {
        is_misspelt(id, step) || (facts.steps.get(id) == Some(&step) && !facts.audit_only.contains(id))
    };
    let lets_content_pass = |id: &ComponentId| allows_content(facts, id, pipeline.signal);
    let has_step = |step: StepRole| {
        pipeline
            .processors
            .iter()
            .any(|(id, _)| performs(id, step) || (step == StepRole::Vault && lets_content_pass(id)))
    };
    // `redact` drops content keys on metrics, so metrics need no vault step. Output of connectors has no content.
    let needed: &[StepRole] =
        if pipeline.signal == Signal::Metrics || connectors::is_fed_by_connectors_only(pipeline, facts) {
            &[StepRole::Redact]
        } else {
            &[StepRole::Vault, StepRole::Redact]
        };
    let missing: Vec<StepRole> = needed.iter().copied().filter(|step| !has_step(*step)).collect();
    let missing_names: Vec<&str> = missing.iter().map(|step| step.name()).collect();
    if missing_names.is_empty() {
        return;
    }
    for (id, at) in pipeline.exporters.iter().filter(|(id, _)| facts.third_party.contains(id)) {
        let path = format!("service.pipelines.{}.exporters", pipeline.id);
        let shown_path = describe_path(pipeline, id);
        if let Some((audit, _)) = pipeline.processors.iter().find(|(id, _)| facts.audit_only.contains(id)) {
            let what =
                format!("`{id}` is a third party, but `{audit}` on the path {shown_path} only counts (`mode: audit`)");
            let hint =
                format!("set `mode: enforce` on `{audit}`, or `trust: internal` on `{id}` if it may see everything");
            problems.push(Problem::error(Some(*at), path, what).with_hint(hint));
            continue;
        }
        let what =
            format!("`{id}` is a third party, but the path {shown_path} has no step: {}", missing_names.join(", "));
        let allow = if missing_names.contains(&StepRole::Vault.name()) {
            ", or set `content: allow` on `redact` if content may go there, redacted"
        } else {
            ""
        };
        let steps = suggest_missing_steps(pipeline, facts, &missing);
        let hint = format!("{steps}{allow}, or set `trust: internal` on `{id}` if it may see everything");
        problems.push(Problem::error(Some(*at), path, what).with_hint(hint));
    }
}

/// Whether a processor lets content pass. Metrics carry no content.
fn allows_content(facts: &ComponentFacts<'_>, id: &ComponentId, signal: Signal) -> bool {
    facts.content_allowed.contains(id) && !facts.audit_only.contains(id) && signal != Signal::Metrics
}

/// Warns about content that goes to third parties because the configuration allows it.
fn warn_allowed_content(pipeline: &PipelineConfig, facts: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    let has_vault = pipeline.processors.iter().any(|(id, _)| facts.steps.get(id) == Some(&StepRole::Vault));
    for (redact, at) in
        pipeline.processors.iter().filter(|(id, _)| allows_content(facts, id, pipeline.signal) && !has_vault)
    {
        let third_parties = pipeline.exporters.iter().filter(|(id, _)| facts.third_party.contains(id));
        let names: Vec<String> = third_parties.map(|(id, _)| format!("`{id}`")).collect();
        if !names.is_empty() {
            let what = format!("`{redact}` has `content: allow`: {} will get content, redacted", names.join(", "));
            let path = format!("service.pipelines.{}.processors", pipeline.id);
            problems.push(Problem::warning(Some(*at), path, what));
        }
    }
}

/// Every exporter needs an endpoint for each signal it receives; otherwise the data would stay in the spool forever.
fn check_destinations(pipeline: &PipelineConfig, facts: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    let signal = pipeline.signal.as_str();
    for (id, at) in &pipeline.exporters {
        if facts.missing_endpoints.contains(&(id.clone(), pipeline.signal)) {
            let path = format!("service.pipelines.{}.exporters", pipeline.id);
            let what =
                format!("`{id}` has no endpoint for {signal}, but is on the path {}", describe_path(pipeline, id));
            let hint = format!("give `{id}` an `endpoint` or a `{signal}_endpoint`, or remove it from the pipeline");
            problems.push(Problem::error(Some(*at), path, what).with_hint(hint));
        }
    }
}

/// Runs can be chosen only where they are tracked.
fn check_sampling(pipeline: &PipelineConfig, facts: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    if pipeline.signal == Signal::Metrics || connectors::is_fed_by_connectors_only(pipeline, facts) {
        return;
    }
    for (id, at) in &pipeline.exporters {
        let is_missing =
            |step: &&StepRole| !pipeline.processors.iter().any(|(id, _)| facts.steps.get(id) == Some(*step));
        let needed = facts.sampled.get(id).copied().unwrap_or_default();
        let missing: Vec<StepRole> = needed.iter().filter(is_missing).copied().collect();
        if missing.is_empty() {
            continue;
        }
        let path = format!("service.pipelines.{}.exporters", pipeline.id);
        let names: Vec<&str> = missing.iter().map(|step| step.name()).collect();
        let (names, at_path) = (names.join(", "), describe_path(pipeline, id));
        let what = format!("the rules of `{id}`'s `sample` need the steps {names}, and the path {at_path} has none");
        let hint = suggest_missing_steps(pipeline, facts, &missing);
        problems.push(Problem::error(Some(*at), path, what).with_hint(hint));
    }
}

pub(super) fn describe_path(pipeline: &PipelineConfig, exporter: &ComponentId) -> String {
    let mut parts: Vec<String> =
        vec![pipeline.receivers.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join("+")];
    parts.extend(pipeline.processors.iter().map(|(id, _)| id.to_string()));
    parts.push(exporter.to_string());
    parts.join(" → ")
}

/// Pipelines that share a receiver and a signal must begin with the same stateful steps, so that a record is priced,
/// tracked and vaulted once.
fn check_shared_receivers(file: &ConfigFile, facts: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    let stateful_prefix = |pipeline: &PipelineConfig| {
        let last = pipeline.processors.iter().rposition(|(id, _)| {
            matches!(facts.steps.get(id), Some(StepRole::Cost | StepRole::Runs | StepRole::Vault))
        });
        let prefix = pipeline.processors.iter().take(last.map_or(0, |at| at + 1));
        prefix.map(|(id, _)| id.clone()).collect::<Vec<_>>()
    };
    for (index, second) in file.pipelines.iter().enumerate() {
        let first = file.pipelines.iter().take(index).find(|first| {
            first.signal == second.signal
                && first.receivers.iter().any(|(id, _)| second.receivers.iter().any(|(other, _)| id == other))
                && !stateful_prefix(first).is_empty()
                && !stateful_prefix(second).is_empty()
                && stateful_prefix(first) != stateful_prefix(second)
                // An unknown step may be the one that differs, and is reported elsewhere.
                && ![*first, second].iter().any(|pipeline| pipeline.processors.iter().any(|(id, _)| !facts.steps.contains_key(id)))
        });
        if let Some(first) = first {
            let what = format!("`{}` and `{}` get the same data but track it differently", first.id, second.id);
            let hint = "pipelines that share a receiver must begin with the same processors up to cost, runs and vault";
            let path = format!("service.pipelines.{}.processors", second.id);
            problems.push(Problem::error(Some(second.at), path, what).with_hint(hint));
        }
    }
}
