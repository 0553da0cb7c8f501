//! Checks across components: references, the order of processors, and the clearance and destination of every path.
//! Deciding what may leave when the file is loaded lets the error name the path and the missing step. Processors are
//! known only by their [`Step`]. The outlet (`pipeline`) checks clearance again before each send.

use std::collections::{HashMap, HashSet};

use otlp::Signal;

use super::file::{File, Pipeline, Section};
use super::id::ComponentId;
use super::joins;
use super::problem::{At, Problem, nearest};

/// The role of a processor in ordering and clearance, declared in the order that pipelines must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
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

impl Step {
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
pub struct Known<'a> {
    /// The step of each configured processor.
    pub steps: &'a HashMap<ComponentId, Step>,
    /// Processors that count findings and change nothing (`redact` with `mode: audit`).
    pub audits: &'a HashSet<ComponentId>,
    /// Processors that let content pass (`redact` with `content: allow`).
    pub allows: &'a HashSet<ComponentId>,
    /// Exporters that send to a third party.
    pub third_party: &'a HashSet<ComponentId>,
    /// Pairs of an exporter and a signal for which it has no endpoint.
    pub not_taken: &'a HashSet<(ComponentId, Signal)>,
    /// For each connector, the step whose results it sends, and the signals it sends them as.
    pub joins: &'a HashMap<ComponentId, (Step, &'static [Signal])>,
}

/// Checks references between components; this needs no typed component.
pub fn references(file: &File) -> Vec<Problem> {
    let mut problems = Vec::new();
    for pipeline in &file.pipelines {
        let path = format!("service.pipelines.{}", pipeline.id);
        for (kind, uses, sections, more) in [
            ("receivers", &pipeline.receivers, &file.receivers, &file.connectors[..]),
            ("processors", &pipeline.processors, &file.processors, &[][..]),
            ("exporters", &pipeline.exporters, &file.exporters, &file.connectors[..]),
        ] {
            missing(kind, &format!("{path}.{kind}"), uses, sections, more, &mut problems);
        }
    }
    missing("extensions", "service.extensions", &file.enabled, &file.extensions, &[], &mut problems);
    unused(file, &mut problems);
    joins::references(file, &mut problems);
    problems
}

fn missing(
    kind: &str,
    path: &str,
    uses: &[(ComponentId, At)],
    sections: &[Section],
    more: &[Section],
    problems: &mut Vec<Problem>,
) {
    let all = || sections.iter().chain(more);
    for (id, at) in uses.iter().filter(|(id, _)| !all().any(|section| section.id == *id)) {
        let names: Vec<String> = all().map(|section| section.id.to_string()).collect();
        let hint = nearest(&id.to_string(), names.iter().map(String::as_str))
            .map_or_else(|| format!("add `{id}:` to `{kind}:`"), |near| format!("did you mean `{near}`?"));
        problems.push(Problem::error(Some(*at), path, format!("`{id}` is not in `{kind}:`")).with_hint(hint));
    }
}

fn unused(file: &File, problems: &mut Vec<Problem>) {
    for (kind, sections) in
        [("receivers", &file.receivers), ("processors", &file.processors), ("exporters", &file.exporters)]
    {
        for section in sections {
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
                problems.push(Problem::warning(Some(section.at), format!("{kind}.{}", section.id), what));
            }
        }
    }
    for section in file.extensions.iter().filter(|section| !file.enabled.iter().any(|(id, _)| *id == section.id)) {
        let what = format!("`{}` is not in `service.extensions` and will not run", section.id);
        problems.push(Problem::warning(Some(section.at), format!("extensions.{}", section.id), what));
    }
}

/// Checks order, clearance and destinations of every pipeline, and that no receiver's data is tracked twice.
pub fn check(file: &File, known: &Known<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for pipeline in &file.pipelines {
        order(pipeline, known, &mut problems);
        clearance(pipeline, known, &mut problems);
        allowances(pipeline, known, &mut problems);
        destinations(pipeline, known, &mut problems);
    }
    shared(file, known, &mut problems);
    joins::check(file, known, &mut problems);
    problems
}

fn order(pipeline: &Pipeline, known: &Known<'_>, problems: &mut Vec<Problem>) {
    let path = format!("service.pipelines.{}.processors", pipeline.id);
    let mut last: Option<(Step, &ComponentId)> = None;
    for (id, at) in &pipeline.processors {
        let Some(step) = known.steps.get(id) else { continue };
        match last {
            Some((before, other)) if before == *step && before != Step::Last => {
                let what = format!("`{other}` and `{id}` do the same step; a pipeline has at most one of each");
                problems.push(Problem::error(Some(*at), path.clone(), what));
            }
            Some((before, other)) if before > *step => {
                let what = format!("`{id}` stands after `{other}`");
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
fn with_steps(pipeline: &Pipeline, known: &Known<'_>, missing: &[Step]) -> String {
    let mut steps: Vec<(Option<Step>, String)> =
        pipeline.processors.iter().map(|(id, _)| (known.steps.get(id).copied(), id.to_string())).collect();
    let mut bodies = Vec::new();
    for step in missing {
        let configured = known.steps.iter().filter(|(id, other)| *other == step && !known.audits.contains(id));
        let configured = configured.min_by_key(|(id, _)| *id);
        let name = configured.map_or_else(|| step.name().to_owned(), |(id, _)| id.to_string());
        if configured.is_none() {
            bodies.push(match step {
                Step::Vault => "`vault: { recipients: [age1…], store: { directory: vault } }` \
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

fn clearance(pipeline: &Pipeline, known: &Known<'_>, problems: &mut Vec<Problem>) {
    // An unknown processor is reported on its own. If its name is close to a step's name, that step is not also
    // missing.
    let meant = |id: &ComponentId, step: Step| {
        let steps = [Step::Normalize, Step::Cost, Step::Runs, Step::Vault, Step::Redact].map(Step::name);
        !known.steps.contains_key(id) && nearest(&id.kind, steps) == Some(step.name())
    };
    let does = |id: &ComponentId, step: Step| {
        meant(id, step) || (known.steps.get(id) == Some(&step) && !known.audits.contains(id))
    };
    let allowed = |id: &ComponentId| step_allows(known, id, pipeline.signal);
    let has =
        |step: Step| pipeline.processors.iter().any(|(id, _)| does(id, step) || (step == Step::Vault && allowed(id)));
    // `redact` drops content keys on metrics, so metrics need no vault step. Output of connectors has no content.
    let needed: &[Step] = if pipeline.signal == Signal::Metrics || joins::only(pipeline, known) {
        &[Step::Redact]
    } else {
        &[Step::Vault, Step::Redact]
    };
    let missing: Vec<Step> = needed.iter().copied().filter(|step| !has(*step)).collect();
    let absent: Vec<&str> = missing.iter().map(|step| step.name()).collect();
    if absent.is_empty() {
        return;
    }
    for (id, at) in pipeline.exporters.iter().filter(|(id, _)| known.third_party.contains(id)) {
        let path = format!("service.pipelines.{}.exporters", pipeline.id);
        let way = route(pipeline, id);
        if let Some((audit, _)) = pipeline.processors.iter().find(|(id, _)| known.audits.contains(id)) {
            let what = format!("`{id}` is a third party, but `{audit}` on the path {way} only counts (`mode: audit`)");
            let hint =
                format!("set `mode: enforce` on `{audit}`, or `trust: internal` on `{id}` if it may see everything");
            problems.push(Problem::error(Some(*at), path, what).with_hint(hint));
            continue;
        }
        let what = format!("`{id}` is a third party, but on the path {way} nothing does: {}", absent.join(", "));
        let allow = if absent.contains(&Step::Vault.name()) {
            ", or set `content: allow` on `redact` if content may go there, redacted"
        } else {
            ""
        };
        let steps = with_steps(pipeline, known, &missing);
        let hint = format!("{steps}{allow}, or set `trust: internal` on `{id}` if it may see everything");
        problems.push(Problem::error(Some(*at), path, what).with_hint(hint));
    }
}

/// Whether a processor lets content pass. Metrics carry no content.
fn step_allows(known: &Known<'_>, id: &ComponentId, signal: Signal) -> bool {
    known.allows.contains(id) && !known.audits.contains(id) && signal != Signal::Metrics
}

/// Warns about content that goes to third parties because the configuration allows it.
fn allowances(pipeline: &Pipeline, known: &Known<'_>, problems: &mut Vec<Problem>) {
    let vault = pipeline.processors.iter().any(|(id, _)| known.steps.get(id) == Some(&Step::Vault));
    for (redact, at) in pipeline.processors.iter().filter(|(id, _)| step_allows(known, id, pipeline.signal) && !vault) {
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
fn destinations(pipeline: &Pipeline, known: &Known<'_>, problems: &mut Vec<Problem>) {
    let signal = pipeline.signal.as_str();
    for (id, at) in &pipeline.exporters {
        if known.not_taken.contains(&(id.clone(), pipeline.signal)) {
            let path = format!("service.pipelines.{}.exporters", pipeline.id);
            let what = format!("`{id}` has no endpoint for {signal}, but is on the path {}", route(pipeline, id));
            let hint = format!("give `{id}` an `endpoint` or a `{signal}_endpoint`, or take it out of the pipeline");
            problems.push(Problem::error(Some(*at), path, what).with_hint(hint));
        }
    }
}

pub(super) fn route(pipeline: &Pipeline, exporter: &ComponentId) -> String {
    let mut parts: Vec<String> =
        vec![pipeline.receivers.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join("+")];
    parts.extend(pipeline.processors.iter().map(|(id, _)| id.to_string()));
    parts.push(exporter.to_string());
    parts.join(" → ")
}

/// Pipelines that share a receiver and a signal must begin with the same stateful steps, so that a record is priced,
/// tracked and vaulted once.
fn shared(file: &File, known: &Known<'_>, problems: &mut Vec<Problem>) {
    let stateful = |pipeline: &Pipeline| {
        let last = pipeline
            .processors
            .iter()
            .rposition(|(id, _)| matches!(known.steps.get(id), Some(Step::Cost | Step::Runs | Step::Vault)));
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
