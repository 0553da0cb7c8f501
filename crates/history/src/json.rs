//! **What**: the JSON of the screen. **Invariants**: money is decimal text in USD, times RFC 3339 or null, durations seconds;
//! `schema` is raised when a field changes its meaning or goes. **Not here**: JSON of the tracker (`runs/json`).

use serde_json::{Value, json};

use super::entry::Entry;
use super::figures::{Changed, Figures, Number, Share};
use kernel::calendar::rfc3339;
use kernel::clock::UnixNanos;
use kernel::hex;
use rates::Usd;
use runs::json::SCHEMA;

pub(super) fn time(at: u64) -> Value {
    if at == 0 { Value::Null } else { rfc3339(UnixNanos(at)).into() }
}

pub(super) fn usd(atto: i128) -> String {
    Usd(atto).to_string()
}

fn number(number: &Number) -> Value {
    json!({"value": number.value, "yesterday": number.before, "change": number.change(), "course": number.course})
}

fn shares(shares: &[Share]) -> Vec<Value> {
    let one = |share: &Share| {
        let account = Some(&share.account).filter(|account| !account.is_empty());
        json!({"name": share.name, "account": account, "names": share.names, "runs": share.runs, "failed": share.failed, "model_calls": share.calls,
            "input_tokens": share.input, "output_tokens": share.output, "cost_usd": usd(share.atto),
            "unpriced_calls": share.unpriced})
    };
    shares.iter().map(one).collect()
}

/// One run as history keeps it.
pub fn entry(run: &Entry) -> Value {
    let text = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
    json!({
        "id": run.run,
        "session_id": run.session,
        "account": run.account,
        "trace_id": text(&run.trace),
        "root_span_id": if run.root == [0; 8] { Value::Null } else { hex::encode(&run.root).into() },
        "tenant": run.tenant,
        "feature": run.feature,
        "user": run.user,
        "commit_sha": run.commit,
        "issue_id": run.issue,
        "service": run.service,
        "state": run.state,
        "start": time(run.start),
        "last": time(run.at),
        "duration_seconds": run.duration as f64 / 1e9,
        "iterations": run.iterations,
        "model_calls": run.calls,
        "failed_model_calls": run.failed_calls,
        "tool_calls": run.tool_calls,
        "failed_tool_calls": run.tool_failures,
        "writes": run.writes,
        "input_tokens": run.input,
        "output_tokens": run.output,
        "cost_usd": usd(run.atto),
        "unpriced_calls": run.unpriced,
    })
}

/// What the screen shows.
pub fn figures(figures: &Figures) -> Value {
    let runs = |runs: &[std::sync::Arc<Entry>]| runs.iter().map(|run| entry(run)).collect::<Vec<_>>();
    let tools = figures.tools.iter();
    let tools =
        tools.map(|tool| json!({"name": tool.name, "calls": tool.calls, "failed": tool.failed, "denied": tool.denied}));
    let denials = figures.denials.iter();
    let denials = denials.map(|row| json!({"tool": row.tool, "source": row.source, "count": row.count}));
    let fallbacks = figures.fallbacks.iter().map(|row| {
        json!({"reason": row.reason, "provider": row.provider, "from": row.from, "to": row.to,
            "tenant": row.tenant, "template": row.template, "count": row.count})
    });
    json!({
        "schema": SCHEMA,
        "from": time(figures.window.from),
        "to": time(figures.window.to),
        "runs": figures.runs,
        "failed_runs": figures.failed,
        "runs_yesterday": figures.runs_before,
        "live_runs": figures.live,
        "iterations": figures.iterations_total,
        "most_iterations": figures.most_iterations,
        "tool_calls": figures.tool_calls,
        "failed_tool_calls": figures.tool_failures,
        "cost_usd": usd(figures.atto),
        "cost_usd_yesterday": usd(figures.atto_before),
        "unpriced_calls": figures.unpriced,
        "iterations_per_run": number(&figures.iterations),
        "p95_seconds_per_run": number(&figures.p95),
        "failure_rate": number(&figures.failure),
        "cost_usd_per_run": number(&figures.cost),
        "by_tenant": shares(&figures.by_tenant),
        "by_model": shares(&figures.by_model),
        "by_feature": shares(&figures.by_feature),
        "tools": tools.collect::<Vec<_>>(),
        "permission_denials": denials.collect::<Vec<_>>(),
        "fallbacks": fallbacks.collect::<Vec<_>>(),
        "longest": runs(&figures.longest),
        "dearest": runs(&figures.dearest),
    })
}

/// Runs by commit or issue.
pub fn changes(by: &str, all: &[Changed]) -> Value {
    let one = |one: &Changed| {
        json!({"name": one.name, "service": one.service, "first": time(one.first), "last": time(one.last), "runs": one.runs,
            "iterations_per_run": one.iterations, "p95_seconds_per_run": one.p95, "failure_rate": one.failure,
            "cost_usd_per_run": one.cost, "cost_usd": usd(one.atto), "tool_failure_rate": one.tool_failure})
    };
    json!({"schema": SCHEMA, "by": by, "changes": all.iter().map(one).collect::<Vec<_>>()})
}
