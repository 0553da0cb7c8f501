//! Checks of `sample` beside the steps of the pipelines: which steps its rules need, and whether items wait until the
//! step `runs` has evaluated their runs. `exporters/sample` checks the section alone.

use std::sync::Arc;

use config::graph::StepRole;
use config::{ComponentId, FieldProblem, ProblemSeverity};
use pipeline::sampling::rules::{KeepRule, SampleRules};

use crate::app::configured_component::ConfiguredComponent;
use crate::app::history_setup::longest_settle;
use crate::app::start_checks::finding::{FileContext, FileFinding};
use crate::components::ExporterSettings;

/// The exporters with `sample`, and their rules.
pub(super) fn samples(
    exporters: &[ConfiguredComponent<ExporterSettings>],
) -> impl Iterator<Item = (&ComponentId, Arc<SampleRules>)> {
    exporters
        .iter()
        .filter_map(|exporter| Some((&exporter.id, exporter.value.spec().profile().outlet?.sample.clone()?)))
}

/// The steps without which the rules would keep no run that they are to keep.
pub(super) fn needed_steps(rules: &SampleRules) -> &'static [StepRole] {
    let needs_price = |rule: &KeepRule| matches!(rule, KeepRule::Unpriced | KeepRule::CostAbove(_));
    match rules.keep.iter().any(needs_price) {
        true => &[StepRole::Cost, StepRole::Runs],
        false => &[StepRole::Runs],
    }
}

/// A heavy group of runs is evaluated once per `settle`, and an item that waits no longer is decided before.
pub(super) fn check_waits(context: &FileContext<'_>) -> Vec<FileFinding> {
    let settle = longest_settle(&context.valid.processors);
    let early = samples(&context.valid.exporters).filter(|(_, rules)| rules.wait <= settle);
    let finding = |(id, _): (&ComponentId, _)| FileFinding {
        section: "exporters",
        id: id.clone(),
        severity: ProblemSeverity::Warning,
        problem: FieldProblem::new(
            "sample.wait",
            format!(
                "is not longer than `settle` of the step runs ({settle:?}): items of a run that fails may be decided before it is known"
            ),
        ),
    };
    early.map(finding).collect()
}
