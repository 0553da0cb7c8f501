//! Checks that budgets have one ledger, that it learns of every answer, and that no budget refuses work whose key is
//! unknown. `budgets/config` checks single settings.

use super::start_checks::finding::{FileContext, FileFinding};
use crate::components::{ProcessorSettings, ReceiverSettings};
use budgets::Scope;
use budgets::config::{Budget, OnUnknown};
use config::{ComponentId, FieldProblem, ProblemSeverity};
use otlp::Signal;

/// The problems of budgets beside the settings of other components.
pub(super) fn check_budgets(context: &FileContext<'_>) -> Vec<FileFinding> {
    let with_budgets = context.valid.processors.iter().filter_map(|component| match &component.value {
        ProcessorSettings::Runs(settings) if !settings.budgets.is_empty() => Some((&component.id, &*settings.budgets)),
        _ => None,
    });
    let with_budgets: Vec<_> = with_budgets.collect();
    let Some((first, others)) = with_budgets.split_first() else { return Vec::new() };
    let message = "another `runs` processor has budgets already: set all of them there, and use it in all pipelines";
    let second = others.iter().map(|(id, _)| FileFinding::error("processors", id, "budgets", message));
    second.chain(find_lost_answers(context, first.0)).chain(find_early_refusals(context, *first)).collect()
}

/// The receivers that answer, with whether they verify users.
fn hook_receivers<'c>(context: &FileContext<'c>) -> impl Iterator<Item = (&'c ComponentId, bool)> + use<'c> {
    context.valid.receivers.iter().filter_map(|component| match &component.value {
        ReceiverSettings::ClaudeCodeHooks(settings) => Some((&component.id, settings.ports().verifies_identity())),
        _ => None,
    })
}

/// Receivers whose answers reach no ledger: each is a request of the receiver, and goes through its pipelines.
fn find_lost_answers(context: &FileContext<'_>, runs: &ComponentId) -> Vec<FileFinding> {
    let pipelines = context.valid.pipelines.iter().filter(|pipeline| pipeline.signal == Signal::Traces);
    let is_lost = |receiver: &ComponentId| {
        let mut own = pipelines.clone().filter(|of| of.receivers.iter().any(|(id, _)| id == receiver)).peekable();
        own.peek().is_some() && !own.any(|of| of.processors.iter().any(|(id, _)| id == runs))
    };
    let lost = hook_receivers(context).filter(|(receiver, _)| is_lost(receiver));
    let message = format!(
        "answers for the budgets of `processors.{runs}`, but no pipeline for traces with this receiver has that \
         processor, so the budgets would not learn whom they stopped: add `{runs}` to the `processors` of one"
    );
    lost.map(|(receiver, _)| FileFinding::error("receivers", receiver, "", message.clone())).collect()
}

/// Budgets that refuse the first prompt of each session, because no hook names whose it is.
fn find_early_refusals(context: &FileContext<'_>, (runs, budgets): (&ComponentId, &[Budget])) -> Vec<FileFinding> {
    let mut findings = Vec::new();
    for budget in budgets.iter().filter(|budget| budget.on_unknown == OnUnknown::Deny && !budget.shadow) {
        let (scope, name) = (budget.scope.as_str(), &budget.name);
        let (can_be_verified, remedy) = match budget.scope {
            Scope::Run | Scope::Session | Scope::Account => continue,
            Scope::User | Scope::Tenant => (true, "verify users there (`auth.oidc` or `auth.users`)"),
            Scope::Feature | Scope::Issue => (false, "let this budget stop proxies only"),
        };
        let refusing = hook_receivers(context).filter(|(_, verifies)| !(can_be_verified && *verifies));
        findings.extend(refusing.map(|(receiver, _)| {
            let message = format!(
                "`deny` refuses the first prompt of each session: hooks of `receivers.{receiver}` name no {scope}: it \
                 is known only once the session's telemetry has come; {remedy}, or set `allow`"
            );
            let problem = FieldProblem::new(format!("budgets.{name}.on_unknown"), message);
            FileFinding { section: "processors", id: runs.clone(), severity: ProblemSeverity::Warning, problem }
        }));
    }
    findings
}
