//! Checkpoint encoding of the types of the `runs` crate.

use runs::{
    CallStreak, EvaluationScore, ModelCallTrouble, ModelFallback, ModelTotals, OutcomeVerdict, PermissionDenial,
    RunJudgement, RunOutcome, RunOwner, RunPeaks, RunState, RunStep, RunTotals, RunView, SessionView, StepKind,
    ToolTotals, UsageSum,
};

use super::codec::{BinaryCodec, fields};

fields!(ToolTotals { ok, failed, denied, retries });
fields!(ModelTotals { calls, tokens, atto_usd, unpriced, no_usage });
fields!(PermissionDenial { tool, source });
fields!(ModelFallback { reason, provider, from, to });
fields!(ModelCallTrouble { reason, provider });
fields!(RunTotals {
    models,
    failed_calls,
    retries,
    tools,
    iterations,
    sub_agents,
    finish_reasons,
    errors,
    troubles,
    fallbacks,
    denials,
    reads,
    writes,
    model_changes,
    other_tenants,
});
fields!(RunStep {
    kind,
    name,
    span,
    parent,
    start,
    duration,
    failed,
    denied,
    sub_agent,
    input_tokens,
    output_tokens,
    atto_usd,
});
fields!(CallStreak { tool, count });
fields!(RunPeaks { slowest, most_expensive, identical_row, busiest_window, context });
fields!(EvaluationScore { name, label, value });
fields!(RunOutcome { verdict, confidence, resolution_seconds });
fields!(RunJudgement { outcome, scores });
fields!(RunView {
    owner,
    account,
    run,
    session,
    trace,
    root,
    tenant,
    feature,
    user,
    template,
    incident,
    commit,
    issue,
    service,
    state,
    failed,
    start,
    last,
    duration,
    totals,
    peaks,
    judgement,
});
fields!(SessionView { owner, account, session, tenant, feature, user, runs, failed, start, duration, totals });
fields!(UsageSum {
    runs,
    live,
    failed,
    killed,
    iterations,
    calls,
    failed_calls,
    tool_calls,
    tool_failures,
    duration,
    tokens,
    atto_usd,
    unpriced,
});

/// Encodes an enum without fields as the position of its variant in the list.
macro_rules! variants {
    ($($name:ident: [$($variant:ident),*];)*) => {
        $(impl BinaryCodec for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let variants = [$(Self::$variant),*];
                out.push(variants.iter().position(|known| known == self).unwrap_or(0) as u8);
            }

            fn take(from: &mut &[u8]) -> Option<Self> {
                let variants = [$(Self::$variant),*];
                variants.get(usize::take(from)?).copied()
            }
        })*
    };
}

variants! {
    RunState: [Live, Ended, Failed, Killed, Idle, Evicted];
    StepKind: [Model, Tool];
    OutcomeVerdict: [Confirmed, Overridden];
}

/// Takes no bytes: owners of groups and alerts are saved at the end of a checkpoint, and those of runs that are over
/// are not kept over a restart. So the saved forms and digests of views stay what they were.
impl BinaryCodec for RunOwner {
    fn put(&self, _: &mut Vec<u8>) {}

    fn take(_: &mut &[u8]) -> Option<Self> {
        Some(Self::Here)
    }
}
