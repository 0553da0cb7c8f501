//! Checks across components: references, the order of processors, and the clearance and destination of every path.
//! Deciding what may leave when the file is loaded lets the error name the path and the missing step. Processors are
//! known only by their [`StepRole`]. The outlet (`pipeline`) checks clearance again before each send.

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
    /// Tracks runs.
    Runs,
    /// Moves content to the vault.
    Vault,
    /// Redacts text.
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
            Self::Last => "attributes, resource, filter",
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
        for (kind, uses, sections, more) in [
            ("receivers", &pipeline.receivers, &file.receivers, &file.connectors[..]),
            ("processors", &pipeline.processors, &file.processors, &[][..]),
            ("exporters", &pipeline.exporters, &file.exporters, &file.connectors[..]),
        ] {
            references.report_missing(kind, &format!("{path}.{kind}"), uses, sections, more);
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
        more: &[ComponentSection],
    ) {
        let all = || sections.iter().chain(more);
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
        for (kind, sections) in
            [("receivers", &file.receivers), ("processors", &file.processors), ("exporters", &file.exporters)]
        {
            for section in sections.iter().filter(|section| (self.hint)(kind, &section.id.kind).is_none()) {
                let used = file.pipelines.iter().any(|pipeline| {
                    let uses = match kind {
                        "receivers" => &pipeline.receivers,
                        "processors" => &pipeline.processors,
                        _ => &pipeline.exporters,
                    };
                    uses.iter().any(|(id, _)| *id == section.id)
                });
                if !used {
                    let what = format!("`{}` is in no pipeline and will not run", section.id);
                    self.problems.push(Problem::warning(Some(section.at), format!("{kind}.{}", section.id), what));
                }
            }
        }
        let enabled = |section: &ComponentSection| file.enabled.iter().any(|(id, _)| *id == section.id);
        let known = |section: &ComponentSection| (self.hint)("extensions", &section.id.kind).is_none();
        for section in file.extensions.iter().filter(|section| !enabled(section) && known(section)) {
            let what = format!("`{}` is not in `service.extensions` and will not run", section.id);
            self.problems.push(Problem::warning(Some(section.at), format!("extensions.{}", section.id), what));
        }
    }
}

/// Checks order, clearance and destinations of every pipeline, and that no receiver's data is tracked twice.
pub fn check_pipelines(file: &ConfigFile, known: &ComponentFacts<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for pipeline in &file.pipelines {
        check_order(pipeline, known, &mut problems);
        check_clearance(pipeline, known, &mut problems);
        warn_allowed_content(pipeline, known, &mut problems);
        check_destinations(pipeline, known, &mut problems);
    }
    check_shared_receivers(file, known, &mut problems);
    connectors::check_connectors(file, known, &mut problems);
    problems
}

fn check_order(pipeline: &PipelineConfig, known: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    let path = format!("service.pipelines.{}.processors", pipeline.id);
    let mut last: Option<(StepRole, &ComponentId)> = None;
    for (id, at) in &pipeline.processors {
        let Some(step) = known.steps.get(id) else { continue };
        match last {
            Some((before, other)) if before == *step && before != StepRole::Last => {
                let what = format!("`{other}` and `{id}` do the same step; a pipeline has at most one of each");
                problems.push(Problem::error(Some(*at), path.clone(), what));
            }
            Some((before, other)) if before > *step => {
                let what = format!("`{id}` must come before `{other}`");
                let hint = "the order is normalize, cost, runs, vault, redact, then attributes, resource and filter";
                problems.push(Problem::error(Some(*at), path.clone(), what).with_hint(hint));
            }
            _ => {}
        }
        last = Some(
            last.map_or((*step, id), |(before, other)| if before > *step { (before, other) } else { (*step, id) }),
        );
    }
}

/// A hint with a complete list of processors that contains the missing steps, so that applying it causes no new error.
fn suggest_missing_steps(pipeline: &PipelineConfig, known: &ComponentFacts<'_>, missing: &[StepRole]) -> String {
    let mut steps: Vec<(Option<StepRole>, String)> =
        pipeline.processors.iter().map(|(id, _)| (known.steps.get(id).copied(), id.to_string())).collect();
    let mut bodies = Vec::new();
    for step in missing {
        let configured = known.steps.iter().filter(|(id, other)| *other == step && !known.audit_only.contains(id));
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
        let at = steps.iter().position(|(other, _)| other.is_some_and(|other| other > *step));
        steps.insert(at.unwrap_or(steps.len()), (Some(*step), name));
    }
    let names: Vec<String> = steps.into_iter().map(|(_, name)| name).collect();
    let add =
        if bodies.is_empty() { String::new() } else { format!("add {} to `processors:` and ", bodies.join(" and ")) };
    format!("{add}write `processors: [{}]` in the pipeline", names.join(", "))
}

fn check_clearance(pipeline: &PipelineConfig, known: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    // An unknown processor is reported on its own. If its name is close to a step's name, that step is not also
    // missing.
    let meant = |id: &ComponentId, step: StepRole| {
        let steps = [StepRole::Normalize, StepRole::Cost, StepRole::Runs, StepRole::Vault, StepRole::Redact]
            .map(StepRole::name);
        !known.steps.contains_key(id) && find_nearest(&id.kind, steps) == Some(step.name())
    };
    let does = |id: &ComponentId, step: StepRole| {
        meant(id, step) || (known.steps.get(id) == Some(&step) && !known.audit_only.contains(id))
    };
    let allowed = |id: &ComponentId| allows_content(known, id, pipeline.signal);
    let has = |step: StepRole| {
        pipeline.processors.iter().any(|(id, _)| does(id, step) || (step == StepRole::Vault && allowed(id)))
    };
    // `redact` drops content keys on metrics, so metrics need no vault step. Output of connectors has no content.
    let needed: &[StepRole] =
        if pipeline.signal == Signal::Metrics || connectors::is_fed_by_connectors_only(pipeline, known) {
            &[StepRole::Redact]
        } else {
            &[StepRole::Vault, StepRole::Redact]
        };
    let missing: Vec<StepRole> = needed.iter().copied().filter(|step| !has(*step)).collect();
    let absent: Vec<&str> = missing.iter().map(|step| step.name()).collect();
    if absent.is_empty() {
        return;
    }
    for (id, at) in pipeline.exporters.iter().filter(|(id, _)| known.third_party.contains(id)) {
        let path = format!("service.pipelines.{}.exporters", pipeline.id);
        let way = describe_path(pipeline, id);
        if let Some((audit, _)) = pipeline.processors.iter().find(|(id, _)| known.audit_only.contains(id)) {
            let what = format!("`{id}` is a third party, but `{audit}` on the path {way} only counts (`mode: audit`)");
            let hint =
                format!("set `mode: enforce` on `{audit}`, or `trust: internal` on `{id}` if it may see everything");
            problems.push(Problem::error(Some(*at), path, what).with_hint(hint));
            continue;
        }
        let what = format!("`{id}` is a third party, but the path {way} has no step: {}", absent.join(", "));
        let allow = if absent.contains(&StepRole::Vault.name()) {
            ", or set `content: allow` on `redact` if content may go there, redacted"
        } else {
            ""
        };
        let steps = suggest_missing_steps(pipeline, known, &missing);
        let hint = format!("{steps}{allow}, or set `trust: internal` on `{id}` if it may see everything");
        problems.push(Problem::error(Some(*at), path, what).with_hint(hint));
    }
}

/// Whether a processor lets content pass. Metrics carry no content.
fn allows_content(known: &ComponentFacts<'_>, id: &ComponentId, signal: Signal) -> bool {
    known.content_allowed.contains(id) && !known.audit_only.contains(id) && signal != Signal::Metrics
}

/// Warns about content that goes to third parties because the configuration allows it.
fn warn_allowed_content(pipeline: &PipelineConfig, known: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    let vault = pipeline.processors.iter().any(|(id, _)| known.steps.get(id) == Some(&StepRole::Vault));
    for (redact, at) in
        pipeline.processors.iter().filter(|(id, _)| allows_content(known, id, pipeline.signal) && !vault)
    {
        let third = pipeline.exporters.iter().filter(|(id, _)| known.third_party.contains(id));
        let names: Vec<String> = third.map(|(id, _)| format!("`{id}`")).collect();
        if !names.is_empty() {
            let what = format!("`{redact}` has `content: allow`: {} will get content, redacted", names.join(", "));
            let path = format!("service.pipelines.{}.processors", pipeline.id);
            problems.push(Problem::warning(Some(*at), path, what));
        }
    }
}

/// Every exporter needs an endpoint for each signal it receives; otherwise the data would stay in the spool forever.
fn check_destinations(pipeline: &PipelineConfig, known: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    let signal = pipeline.signal.as_str();
    for (id, at) in &pipeline.exporters {
        if known.missing_endpoints.contains(&(id.clone(), pipeline.signal)) {
            let path = format!("service.pipelines.{}.exporters", pipeline.id);
            let what =
                format!("`{id}` has no endpoint for {signal}, but is on the path {}", describe_path(pipeline, id));
            let hint = format!("give `{id}` an `endpoint` or a `{signal}_endpoint`, or remove it from the pipeline");
            problems.push(Problem::error(Some(*at), path, what).with_hint(hint));
        }
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
fn check_shared_receivers(file: &ConfigFile, known: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    let stateful = |pipeline: &PipelineConfig| {
        let last = pipeline.processors.iter().rposition(|(id, _)| {
            matches!(known.steps.get(id), Some(StepRole::Cost | StepRole::Runs | StepRole::Vault))
        });
        let prefix = pipeline.processors.iter().take(last.map_or(0, |at| at + 1));
        prefix.map(|(id, _)| id.clone()).collect::<Vec<_>>()
    };
    for (index, second) in file.pipelines.iter().enumerate() {
        let first = file.pipelines.iter().take(index).find(|first| {
            first.signal == second.signal
                && first.receivers.iter().any(|(id, _)| second.receivers.iter().any(|(other, _)| id == other))
                && !stateful(first).is_empty()
                && !stateful(second).is_empty()
                && stateful(first) != stateful(second)
                // An unknown step may be the one that differs, and is reported elsewhere.
                && ![*first, second].iter().any(|one| one.processors.iter().any(|(id, _)| !known.steps.contains_key(id)))
        });
        if let Some(first) = first {
            let what = format!("`{}` and `{}` get the same data but track it differently", first.id, second.id);
            let hint = "pipelines that share a receiver must begin with the same processors up to cost, runs and vault";
            let path = format!("service.pipelines.{}.processors", second.id);
            problems.push(Problem::error(Some(second.at), path, what).with_hint(hint));
        }
    }
}
