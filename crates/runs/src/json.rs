//! The JSON of runs, as the API returns it and pages and commands pass it on: one schema, documented in docs/runs.md.
//! `schema` is raised when a field is removed or changes its meaning, not when one is added.
//! Money is exact decimal text in USD; times are RFC 3339 in UTC or null; durations are seconds.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use genai::CallTokenBuckets;
use kernel::calendar::rfc3339;
use kernel::clock::UnixNanos;
use kernel::hex;
use rates::Usd;

use super::{
    Alert, CallStreak, InvestigationStats, MeasureAggregate, ModelTotals, RunBudget, RunDetail, RunStep, RunSums,
    RunTotals, RunView, UsageSum, total_input_tokens,
};

/// Version of the schema. 2: sums are over all runs, live ones up to now; `output` excludes `reasoning`; the cost of
/// unpriced calls alone is null.
pub const SCHEMA: u32 = 2;

const NANOS: f64 = 1e9;

/// A time; null if it is unknown.
pub fn time(at: u64) -> Value {
    if at == 0 { Value::Null } else { rfc3339(UnixNanos(at)).into() }
}

/// A cost as decimal text; null if no part of it has a price. `unpriced`: number of calls that are not in it.
pub fn cost(atto: i128, unpriced: u64) -> Value {
    super::amounts::cost_if_priced(atto, unpriced).map_or(Value::Null, |atto| Usd(atto).to_string().into())
}

/// What of a cost is to pay, as [`cost`].
pub fn payable(payable: i128, atto: i128, unpriced: u64) -> Value {
    super::amounts::cost_if_priced(atto, unpriced).map_or(Value::Null, |_| Usd(payable).to_string().into())
}

/// What caching saved, as decimal text; negative: cache writes cost more than reads saved. Null: nothing.
pub fn cache_savings(atto: i128) -> Value {
    if atto == 0 { Value::Null } else { Usd(atto).to_string().into() }
}

/// A span id; null if there is none.
pub fn span(id: [u8; 8]) -> Value {
    if id == [0; 8] { Value::Null } else { hex::encode(&id).into() }
}

/// A text; null if it is empty.
pub fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

/// The buckets are disjoint: `output` excludes `reasoning`. The two totals are sums over buckets.
fn tokens(tokens: &CallTokenBuckets) -> Value {
    json!({
        "input": tokens.input,
        "cache_read": tokens.cache_read,
        "cache_write_5m": tokens.cache_write_5m,
        "cache_write_1h": tokens.cache_write_1h,
        "output": tokens.output.saturating_sub(tokens.reasoning),
        "reasoning": tokens.reasoning,
        "input_total": total_input_tokens(tokens),
        "output_total": tokens.output,
    })
}

/// Names that occurred together, under these fields, and how often.
pub fn counts<'c, const N: usize, S: AsRef<str> + 'c>(
    fields: [&str; N],
    rows: impl IntoIterator<Item = (&'c [S; N], &'c u64)>,
) -> Value {
    let row = |(names, count): (&[S; N], &u64)| -> Map<String, Value> {
        let names = fields.iter().zip(names).map(|(field, name)| ((*field).to_owned(), name.as_ref().into()));
        names.chain([("count".to_owned(), (*count).into())]).collect()
    };
    rows.into_iter().map(row).collect()
}

pub fn totals(totals: &RunTotals) -> Value {
    let models_json = |models: &BTreeMap<String, ModelTotals>| -> Map<String, Value> {
        let model_json = |one: &ModelTotals| {
            json!({"calls": one.calls, "tokens": tokens(&one.tokens), "cost_usd": cost(one.atto_usd, one.unpriced),
                "payable_usd": payable(one.payable(), one.atto_usd, one.unpriced),
                "cache_savings_usd": cache_savings(one.saved_atto_usd),
                "unpriced_calls": one.unpriced, "calls_without_usage": one.no_usage})
        };
        models.iter().map(|(name, one)| (name.clone(), model_json(one))).collect()
    };
    let mut value = json!({
        "iterations": totals.iterations,
        "model_calls": totals.calls(),
        "failed_model_calls": totals.failed_calls,
        "model_retries": totals.retries,
        "tool_calls": totals.tool_calls(),
        "failed_tool_calls": totals.tool_failures(),
        "tool_retries": totals.tool_retries(),
        "sub_agents": totals.sub_agents,
        "tokens": tokens(&totals.tokens()),
        "cost_usd": cost(totals.atto_usd(), totals.unpriced()),
        "payable_usd": payable(totals.payable(), totals.atto_usd(), totals.unpriced()),
        "cache_savings_usd": cache_savings(totals.saved()),
        "unpriced_calls": totals.unpriced(),
        "models": models_json(&totals.models),
        "tools": totals.tools,
        "finish_reasons": totals.finish_reasons,
        "errors": totals.errors,
        "model_call_failures": counts(["reason", "provider"], &totals.troubles),
        "fallbacks": counts(["reason", "provider", "from", "to"], &totals.fallbacks),
        "permission_denials": counts(["tool", "source"], &totals.denials),
        "reads": totals.reads,
        "writes": totals.writes,
        "read_write_ratio": if totals.writes == 0 { Value::Null } else { json!(totals.reads as f64 / totals.writes as f64) },
        "model_changes": totals.model_changes,
        "other_tenants": models_json(&totals.other_tenants),
    });
    let [added, removed, characters, words] = totals.work.counts();
    if let Value::Object(fields) = &mut value {
        if (added, removed) != (0, 0) {
            fields.extend([("lines_added".into(), added.into()), ("lines_removed".into(), removed.into())]);
        }
        if (characters, words) != (0, 0) {
            fields.insert("summary".into(), json!({"characters": characters, "words": words}));
        }
    }
    value
}

fn step(step: &RunStep) -> Value {
    json!({
        "kind": step.kind.as_str(),
        "name": text(&step.name),
        "span_id": span(step.span),
        "parent_span_id": span(step.parent),
        "start": time(step.start),
        "duration_seconds": step.duration as f64 / NANOS,
        "failed": step.failed,
        "denied": step.denied,
        "sub_agent": step.sub_agent,
        "input_tokens": step.input_tokens,
        "output_tokens": step.output_tokens,
        "cost_usd": step.atto_usd.map(|atto| Usd(atto).to_string()),
    })
}

fn streak(streak: &Option<CallStreak>) -> Value {
    streak.as_ref().map_or(Value::Null, |streak| json!({"tool": text(&streak.tool), "count": streak.count}))
}

/// One run, without its steps.
pub fn run(view: &RunView) -> Value {
    let peaks = &view.peaks;
    let [first, last, most] = peaks.context;
    let outcome = view.judgement.outcome.map(|outcome| {
        json!({"outcome": outcome.verdict.as_str(), "confidence": outcome.confidence, "resolution_seconds": outcome.resolution_seconds})
    });
    let scores = view.judgement.scores.iter();
    let scores = scores.map(|score| {
        let kind = score.kind.map(|kind| kind.as_str());
        json!({"name": score.name, "label": text(&score.label), "value": score.value, "kind": kind})
    });
    json!({
        "id": view.run,
        "session_id": view.session,
        "session_continues": view.continues,
        "account": view.account,
        "replica": view.owner.replica(),
        "trace_id": text(&view.trace),
        "root_span_id": span(view.root),
        "tenant": view.tenant,
        "feature": view.feature,
        "user": view.user,
        "prompt_template": view.template,
        "incident": view.incident,
        "commit_sha": view.commit,
        "issue_id": view.issue,
        "service": view.service,
        "operation": view.operation,
        "state": view.state.as_str(),
        "failed": view.failed,
        "start": time(view.start),
        "last": time(view.last),
        "duration_seconds": view.duration as f64 / NANOS,
        "totals": totals(&view.totals),
        "slowest_step": peaks.slowest.as_ref().map(step),
        "most_expensive_step": peaks.most_expensive.as_ref().map(step),
        "identical_calls_in_a_row": streak(&peaks.identical_row),
        "most_calls_in_window": streak(&peaks.busiest_window),
        "context": {"first": first, "last": last, "max": most, "growth": peaks.context_growth()},
        "outcome": outcome,
        "evaluations": scores.collect::<Vec<_>>(),
    })
}

pub fn detail(detail: &RunDetail) -> Value {
    let mut value = run(&detail.view);
    if let Value::Object(fields) = &mut value {
        let steps = detail.steps.as_ref().map(|steps| steps.iter().map(step).collect::<Vec<_>>());
        fields.insert("steps".into(), steps.map_or(Value::Null, Value::from));
        fields.insert("step_count".into(), detail.step_count.into());
        fields.insert("schema".into(), SCHEMA.into());
    }
    value
}

pub fn budget(budget: &RunBudget) -> Value {
    let totals = &budget.view.totals;
    json!({
        "schema": SCHEMA,
        "id": budget.view.run,
        "state": budget.state.as_str(),
        "iterations": totals.iterations,
        "iteration_ceiling": budget.ceiling,
        "iterations_left": budget.ceiling.saturating_sub(totals.iterations),
        "cost_usd": cost(totals.atto_usd(), totals.unpriced()),
        "payable_usd": payable(totals.payable(), totals.atto_usd(), totals.unpriced()),
        "tool_calls": totals.tool_calls(),
        "run_state": budget.view.state.as_str(),
    })
}

pub fn sum(sum: &UsageSum) -> Value {
    json!({
        "runs": sum.runs,
        "live": sum.live,
        "failed": sum.failed,
        "killed": sum.killed,
        "iterations": sum.iterations,
        "model_calls": sum.calls,
        "failed_model_calls": sum.failed_calls,
        "tool_calls": sum.tool_calls,
        "failed_tool_calls": sum.tool_failures,
        "duration_seconds": sum.duration as f64 / NANOS,
        "tokens": tokens(&sum.tokens),
        "cost_usd": cost(sum.atto_usd, sum.unpriced),
        "payable_usd": payable(sum.payable(), sum.atto_usd, sum.unpriced),
        "cache_savings_usd": cache_savings(sum.saved_atto_usd),
        "unpriced_calls": sum.unpriced,
    })
}

/// Sums over runs, live ones up to now.
pub fn sums(sums: &RunSums) -> Value {
    let accounts: Map<String, Value> =
        sums.by_account.iter().map(|(name, one)| (name.clone(), sums_without_accounts(one))).collect();
    let mut value = sums_without_accounts(sums);
    if let Value::Object(fields) = &mut value {
        fields.insert("schema".into(), SCHEMA.into());
        fields.insert("by_account".into(), accounts.into());
    }
    value
}

fn sums_without_accounts(sums: &RunSums) -> Value {
    let sums_by_name = |sums: &BTreeMap<String, UsageSum>| -> Map<String, Value> {
        sums.iter().map(|(name, one)| (name.clone(), sum(one))).collect()
    };
    json!({
        "all": sum(&sums.all),
        "by_tenant": sums_by_name(&sums.by_tenant),
        "by_feature": sums_by_name(&sums.by_feature),
        "by_model": sums_by_name(&sums.by_model),
        "by_service": sums_by_name(&sums.by_service),
        "by_user": sums_by_name(&sums.by_user),
        "by_session": sums_by_name(&sums.by_session),
    })
}

/// Investigations by agent type.
pub fn investigations(all: &BTreeMap<String, InvestigationStats>) -> Value {
    let stats_json = |stats: &InvestigationStats| {
        let tenths = (0_u32..).zip(&stats.resolution).filter(|(_, (count, _))| *count > 0);
        let resolution = tenths.map(|(tenth, (count, mean))| {
            json!({"confidence_from": f64::from(tenth) / 10.0, "count": count, "mean_resolution_seconds": mean})
        });
        json!({
            "investigations": stats.count,
            "judged": stats.judged,
            "overridden": stats.overridden,
            "override_rate": if stats.judged == 0 { Value::Null } else { json!(stats.overridden as f64 / stats.judged as f64) },
            "tool_calls_p95": stats.tool_calls_p95,
            "tool_calls_mean": stats.tool_calls_mean,
            "cost_usd": Usd(stats.atto_usd).to_string(),
            "resolution_by_confidence": resolution.collect::<Vec<_>>(),
        })
    };
    let types: Map<String, Value> = all.iter().map(|(name, stats)| (name.clone(), stats_json(stats))).collect();
    json!({"schema": SCHEMA, "by_agent_type": types})
}

/// Numeric span attributes.
pub fn measures(all: &[MeasureAggregate]) -> Value {
    json!({"schema": SCHEMA, "measures": all})
}

pub fn alerts(all: &[Alert]) -> Value {
    let alert_json = |alert: &Alert| {
        json!({
            "rule": alert.rule.as_str(),
            "severity": alert.severity().as_str(),
            "state": if alert.until.is_none() { "firing" } else { "resolved" },
            "account": alert.account,
            "run_id": text(&alert.run),
            "session_id": text(&alert.session),
            "trace_id": text(&alert.trace),
            "tenant": alert.tenant,
            "feature": alert.feature,
            alert.subject_word(): text(&alert.tool),
            "value": alert.value,
            "threshold": alert.threshold,
            "unit": alert.unit().as_str(),
            "multiple": alert.multiple(),
            "measured": alert.measurement_text(),
            "since": time(alert.since),
            "until": alert.until.map_or(Value::Null, time),
        })
    };
    json!({"schema": SCHEMA, "alerts": all.iter().map(alert_json).collect::<Vec<_>>()})
}

pub fn runs(all: &[RunView]) -> Value {
    json!({"schema": SCHEMA, "runs": all.iter().map(run).collect::<Vec<_>>()})
}

/// Sessions of these runs, the one with the latest event first.
pub fn sessions(all: &[RunView]) -> Value {
    let mut by_session: BTreeMap<(&str, &str), Vec<&RunView>> = BTreeMap::new();
    for view in all {
        by_session.entry((&view.account, &view.session)).or_default().push(view);
    }
    let mut sessions: Vec<(u64, Value)> = (by_session.into_iter())
        .map(|((account, session), runs)| {
            let mut sum = RunTotals::default();
            runs.iter().for_each(|run| sum.add(&run.totals));
            let last = runs.iter().map(|run| run.last).max().unwrap_or(0);
            let start = runs.iter().map(|run| run.start).filter(|start| *start != 0).min().unwrap_or(0);
            let live = runs.iter().any(|run| run.state == super::RunState::Live);
            let value = json!({
                "id": session,
                "account": account,
                "runs": runs.len(),
                "live": live,
                "failed": runs.iter().any(|run| run.failed),
                "tenant": runs.iter().find_map(|run| run.tenant.clone()),
                "feature": runs.iter().find_map(|run| run.feature.clone()),
                "user": runs.iter().find_map(|run| run.user.clone()),
                "start": time(start),
                "last": time(last),
                "duration_seconds": last.saturating_sub(start) as f64 / NANOS,
                "totals": totals(&sum),
            });
            (last, value)
        })
        .collect();
    sessions.sort_by_key(|(last, _)| std::cmp::Reverse(*last));
    json!({"schema": SCHEMA, "sessions": sessions.into_iter().map(|(_, value)| value).collect::<Vec<_>>()})
}
