//! The JSON of the history API. Money is decimal text in USD, times are RFC 3339 or null, durations are seconds.
//! `schema` is raised when a field is removed or changes its meaning. The tracker's JSON is in `runs::json`.

use serde_json::{Value, json};

use super::figures::{ChangeFigures, CostShare, WindowFigures, WindowMetric};
use super::name_sums::NameCounts;
use runs::json::{SCHEMA, cache_savings, cost, counts, payable, span, text, time};
use runs::{RunView, UsageSum};

fn metric_json(metric: &WindowMetric) -> Value {
    json!({"value": metric.value, "yesterday": metric.yesterday, "change": metric.change(), "series": metric.series})
}

fn shares_json(shares: &[CostShare]) -> Vec<Value> {
    let row = |share: &CostShare| {
        let account = Some(&share.account).filter(|account| !account.is_empty());
        json!({"name": share.name, "account": account, "names": share.names,
            "runs": share.sum.runs, "live": share.sum.live, "failed": share.sum.failed, "model_calls": share.sum.calls,
            "input_tokens": share.sum.input(), "output_tokens": share.sum.tokens.output,
            "cost_usd": cost(share.sum.atto_usd, share.sum.unpriced),
            "payable_usd": payable(share.sum.payable(), share.sum.atto_usd, share.sum.unpriced),
            "cache_savings_usd": cache_savings(share.sum.saved_atto_usd),
            "unpriced_calls": share.sum.unpriced})
    };
    shares.iter().map(row).collect()
}

pub(super) fn sums_json(sum: &UsageSum) -> Value {
    json!({
        "runs": sum.runs,
        "live": sum.live,
        "failed": sum.failed,
        "iterations": sum.iterations,
        "model_calls": sum.calls,
        "tool_calls": sum.tool_calls,
        "failed_tool_calls": sum.tool_failures,
        "input_tokens": sum.input(),
        "output_tokens": sum.tokens.output,
        "cost_usd": cost(sum.atto_usd, sum.unpriced),
        "payable_usd": payable(sum.payable(), sum.atto_usd, sum.unpriced),
        "cache_savings_usd": cache_savings(sum.saved_atto_usd),
        "unpriced_calls": sum.unpriced,
    })
}

/// One run in a list.
pub fn run_json(run: &RunView) -> Value {
    let totals = &run.totals;
    json!({
        "id": run.run,
        "session_id": run.session,
        "session_continues": run.continues,
        "account": run.account,
        "trace_id": text(&run.trace),
        "root_span_id": span(run.root),
        "tenant": run.tenant,
        "feature": run.feature,
        "user": run.user,
        "commit_sha": run.commit,
        "issue_id": run.issue,
        "service": run.service,
        "operation": run.operation,
        "state": run.state.as_str(),
        "start": time(run.start),
        "last": time(run.last),
        "duration_seconds": run.duration as f64 / 1e9,
        "iterations": totals.iterations,
        "model_calls": totals.calls(),
        "failed_model_calls": totals.failed_calls,
        "tool_calls": totals.tool_calls(),
        "failed_tool_calls": totals.tool_failures(),
        "writes": totals.writes,
        "input_tokens": totals.input_tokens(),
        "output_tokens": totals.tokens().output,
        "cost_usd": cost(totals.atto_usd(), totals.unpriced()),
        "payable_usd": payable(totals.payable(), totals.atto_usd(), totals.unpriced()),
        "cache_savings_usd": cache_savings(totals.saved()),
        "unpriced_calls": totals.unpriced(),
    })
}

fn name_counts<const N: usize>(counts: &NameCounts<N>) -> impl Iterator<Item = (&[Box<str>; N], &u64)> {
    counts.iter().map(|(names, count)| (names, count))
}

/// The figures of a window; sums are over all runs, live ones up to now.
pub fn figures_json(figures: &WindowFigures) -> Value {
    let runs = |runs: &[RunView]| runs.iter().map(run_json).collect::<Vec<_>>();
    let tools = figures.tools.iter().map(
        |([name], tool)| json!({"name": name, "calls": tool.calls(), "failed": tool.failed, "denied": tool.denied}),
    );
    let fallback_fields = ["reason", "provider", "from", "to", "tenant", "template"];
    let sum = &figures.sum;
    json!({
        "schema": SCHEMA,
        "from": time(figures.window.from),
        "to": time(figures.window.to),
        "runs": sum.runs,
        "live_runs": sum.live,
        "failed_runs": sum.failed,
        "runs_yesterday": figures.yesterday.runs,
        "iterations": sum.iterations,
        "most_iterations": figures.most_iterations,
        "model_calls": sum.calls,
        "failed_model_calls": sum.failed_calls,
        "tool_calls": sum.tool_calls,
        "failed_tool_calls": sum.tool_failures,
        "input_tokens": sum.input(),
        "output_tokens": sum.tokens.output,
        "cost_usd": cost(sum.atto_usd, sum.unpriced),
        "payable_usd": payable(sum.payable(), sum.atto_usd, sum.unpriced),
        "cache_savings_usd": cache_savings(sum.saved_atto_usd),
        "cost_usd_yesterday": cost(figures.yesterday.atto_usd, figures.yesterday.unpriced),
        "unpriced_calls": sum.unpriced,
        "iterations_per_run": metric_json(&figures.iterations),
        "p95_seconds_per_run": metric_json(&figures.p95),
        "failure_rate": metric_json(&figures.failure),
        "cost_usd_per_run": metric_json(&figures.cost),
        "by_tenant": shares_json(&figures.by_tenant),
        "by_model": shares_json(&figures.by_model),
        "by_feature": shares_json(&figures.by_feature),
        "tools": tools.collect::<Vec<_>>(),
        "permission_denials": counts(["tool", "source"], name_counts(&figures.denials)),
        "model_call_failures": counts(["reason", "provider"], name_counts(&figures.troubles)),
        "fallbacks": counts(fallback_fields, name_counts(&figures.fallbacks)),
        "calls_without_usage": figures.no_usage.json(),
        "longest": runs(&figures.longest),
        "most_expensive": runs(&figures.most_expensive),
    })
}

/// Runs by commit or issue (`by`).
pub fn changes_json(by: &str, changes: &[ChangeFigures]) -> Value {
    let row = |change: &ChangeFigures| {
        let averages = &change.averages;
        json!({"name": change.name, "service": change.service, "first": time(change.first), "last": time(change.last),
            "runs": change.sum.runs, "live": change.sum.live, "iterations_per_run": averages.iterations,
            "p95_seconds_per_run": averages.p95, "failure_rate": averages.failure, "cost_usd_per_run": averages.cost,
            "cost_usd": cost(change.sum.atto_usd, change.sum.unpriced),
            "payable_usd": payable(change.sum.payable(), change.sum.atto_usd, change.sum.unpriced), "tool_failure_rate": averages.tool_failure})
    };
    json!({"schema": SCHEMA, "by": by, "changes": changes.iter().map(row).collect::<Vec<_>>()})
}
