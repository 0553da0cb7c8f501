//! Checks of connectors. A connector must be used both as an exporter and as a receiver, in pipelines that contain the
//! step it reports on; it must not feed itself, which would never end; and its output must not pass steps that track
//! agents, because no agent sent it. Other checks of pipelines are in `graph`.

use std::collections::{HashMap, HashSet};

use super::file::{ConfigFile, PipelineConfig};
use super::graph::{ComponentFacts, StepRole};
use super::id::ComponentId;
use super::problem::Problem;

/// Checks that need no typed components: ids are unambiguous, both sides are connected, and there is no cycle.
pub(super) fn check_connector_references(file: &ConfigFile, problems: &mut Vec<Problem>) {
    for section in &file.connectors {
        let path = format!("connectors.{}", section.id);
        let other_sections = [("receivers", &file.receivers), ("exporters", &file.exporters)];
        for (kind, _) in
            other_sections.iter().filter(|(_, sections)| sections.iter().any(|other| other.id == section.id))
        {
            let what = format!("`{}` is also in `{kind}:`, so a reference to it is ambiguous", section.id);
            problems.push(Problem::error(Some(section.at), path.clone(), what).with_hint("name it `type/name`"));
        }
        let what = match (file.uses("exporters", &section.id), file.uses("receivers", &section.id)) {
            (true, true) => continue,
            (false, false) => {
                let what = format!("`{}` is in no pipeline and will not run", section.id);
                problems.push(Problem::warning(Some(section.at), path, what));
                continue;
            }
            (true, false) => format!("`{}` is an exporter of a pipeline, but no pipeline receives from it", section.id),
            (false, true) => format!("`{}` is a receiver of a pipeline, but no pipeline exports to it", section.id),
        };
        let hint = "a connector is an exporter of one pipeline and a receiver of another";
        problems.push(Problem::error(Some(section.at), path, what).with_hint(hint));
    }
    report_cycles(file, problems);
}

/// Reports connectors whose output leads back to themselves.
fn report_cycles(file: &ConfigFile, problems: &mut Vec<Problem>) {
    let is_connector = |id: &ComponentId| file.connectors.iter().any(|section| section.id == *id);
    let mut successors: HashMap<&ComponentId, HashSet<&ComponentId>> = HashMap::new();
    for pipeline in &file.pipelines {
        for (from, _) in pipeline.receivers.iter().filter(|(id, _)| is_connector(id)) {
            successors
                .entry(from)
                .or_default()
                .extend(pipeline.exporters.iter().map(|(id, _)| id).filter(|id| is_connector(id)));
        }
    }
    for section in &file.connectors {
        let (mut reached, mut to_visit) = (HashSet::new(), vec![&section.id]);
        while let Some(id) = to_visit.pop() {
            for successor in successors.get(id).into_iter().flatten().filter(|successor| reached.insert(**successor)) {
                to_visit.push(successor);
            }
        }
        if reached.contains(&section.id) {
            let what = format!("the output of `{}` is fed back into it, which would never end", section.id);
            let hint = format!("remove `{}` from the exporters of the pipelines that it feeds", section.id);
            problems.push(Problem::error(Some(section.at), format!("connectors.{}", section.id), what).with_hint(hint));
        }
    }
}

/// Checks that need typed components.
pub(super) fn check_connectors(file: &ConfigFile, facts: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    for pipeline in &file.pipelines {
        check_connector_exports(pipeline, facts, problems);
        check_connector_receivers(pipeline, facts, problems);
    }
}

/// A pipeline that exports to a connector must contain the step whose results the connector sends.
fn check_connector_exports(pipeline: &PipelineConfig, facts: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    for (id, at) in &pipeline.exporters {
        let Some((step, _)) = facts.connectors.get(id) else { continue };
        if !pipeline.processors.iter().any(|(id, _)| facts.steps.get(id) == Some(step)) {
            let what = format!("`{id}` sends the results of `{}`, but the pipeline has no such processor", step.name());
            let hint = format!("add `{}` to the pipeline's processors", step.name());
            let path = format!("service.pipelines.{}.exporters", pipeline.id);
            problems.push(Problem::error(Some(*at), path, what).with_hint(hint));
        }
    }
}

/// A pipeline fed by a connector must have a signal that the connector sends, and must not price or track its data.
fn check_connector_receivers(pipeline: &PipelineConfig, facts: &ComponentFacts<'_>, problems: &mut Vec<Problem>) {
    let path = format!("service.pipelines.{}", pipeline.id);
    for (id, at) in &pipeline.receivers {
        let Some((_, signals)) = facts.connectors.get(id) else { continue };
        if !signals.contains(&pipeline.signal) {
            let names: Vec<&str> = signals.iter().map(|signal| signal.as_str()).collect();
            let what = format!("`{id}` sends {}, not {}", names.join(" and "), pipeline.signal.as_str());
            problems.push(Problem::error(Some(*at), format!("{path}.receivers"), what));
        }
        let tracks = |id: &ComponentId| matches!(facts.steps.get(id), Some(StepRole::Cost | StepRole::Runs));
        if let Some((step, _)) = pipeline.processors.iter().find(|(id, _)| tracks(id)) {
            let what = format!("`{step}` would track the output of `{id}` as if an agent had sent it");
            let hint = format!("give `{id}` a pipeline of its own, e.g. with `redact` alone");
            problems.push(Problem::error(Some(*at), format!("{path}.receivers"), what).with_hint(hint));
        }
    }
}

/// Whether a pipeline is fed by connectors only; such a pipeline carries no content.
pub(super) fn is_fed_by_connectors_only(pipeline: &PipelineConfig, facts: &ComponentFacts<'_>) -> bool {
    !pipeline.receivers.is_empty() && pipeline.receivers.iter().all(|(id, _)| facts.connectors.contains_key(id))
}
