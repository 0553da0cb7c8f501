//! Checks that budgets have one ledger: only one `runs` processor may have budgets, because each adds up what it sees.

use super::start_checks::finding::{FileContext, FileFinding};
use crate::components::ProcessorSettings;

/// Finds every `runs` processor with budgets but the first.
pub(super) fn check_budgets(context: &FileContext<'_>) -> Vec<FileFinding> {
    let has_budgets = |settings: &ProcessorSettings| match settings {
        ProcessorSettings::Runs(settings) => !settings.budgets.is_empty(),
        _ => false,
    };
    let with_budgets = context.valid.processors.iter().filter(|component| has_budgets(&component.value));
    let message = "another `runs` processor has budgets already: set all of them there, and use it in all pipelines";
    with_budgets.skip(1).map(|component| FileFinding::error("processors", &component.id, "budgets", message)).collect()
}
