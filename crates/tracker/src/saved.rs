//! Checkpoint encoding of the types of the `runs` crate.

use runs::{
    Denial, Fallback, Judged, ModelTotals, Outcome, Peaks, RunState, RunView, Score, SessionView, Step, StepKind,
    Streak, Sum, ToolTotals, Totals, Trouble, Verdict,
};

use super::codec::{Code, fields};

fields!(ToolTotals { ok, failed, denied, retries });
fields!(ModelTotals { calls, tokens, atto_usd, unpriced, no_usage });
fields!(Denial { tool, source });
fields!(Fallback { reason, provider, from, to });
fields!(Trouble { reason, provider });
fields!(Totals {
    models,
    failed_calls,
    retries,
    tools,
    iterations,
    sub_agents,
    finish,
    errors,
    troubles,
    fallbacks,
    denials,
    reads,
    writes,
    swapped,
    others,
});
fields!(Step {
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
fields!(Streak { tool, count });
fields!(Peaks { slowest, most_expensive, row, window, context });
fields!(Score { name, label, value });
fields!(Outcome { verdict, confidence, resolved_in });
fields!(Judged { outcome, scores });
fields!(RunView {
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
    judged,
});
fields!(SessionView { account, session, tenant, feature, user, runs, failed, start, duration, totals });
fields!(Sum {
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

macro_rules! words {
    ($($kind:ident: [$($word:ident),*];)*) => {
        $(impl Code for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                let all = [$(Self::$word),*];
                out.push(all.iter().position(|known| known == self).unwrap_or(0) as u8);
            }

            fn take(from: &mut &[u8]) -> Option<Self> {
                let all = [$(Self::$word),*];
                all.get(usize::take(from)?).copied()
            }
        })*
    };
}

words! {
    RunState: [Live, Ended, Failed, Killed, Idle, Evicted];
    StepKind: [Model, Tool];
    Verdict: [Confirmed, Overridden];
}
