//! What users asked for by name: each of their alerts, thresholds, metrics and attributes has a line in a table here,
//! which is compared with what ships. Their behaviour is tested elsewhere: rules in `deploy/alerts/tests`, tollgate's
//! own alerts and metrics in `crates/tracker/src/tests`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ::otlp::{Payload, Signal, json as otlp};
use bytes::Bytes;
use serde_json::{Value as Json, json};
use telemetry::names::ALL;
use tracker::{AlertThresholds, Config};

use crate::client::attributes;
use crate::gateway;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The Prometheus rules by name, with white space normalised.
fn rules() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for file in ["agents", "incidents", "measures", "runs", "gateway"] {
        let text = read(&format!("deploy/alerts/prometheus/{file}.yaml"));
        for rule in text.split("- alert: ").skip(1) {
            let (name, rest) = rule.split_once('\n').unwrap();
            let rest = rest.split("- record: ").next().unwrap();
            all.insert(name.trim().to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    all
}

/// The requested alert; the rule's name; texts that the rule must contain.
const ALERTS: [(&str, &str, &[&str]); 24] = [
    (
        "override rate > 5 per 100, 24 periods",
        "SREAgent-HighOverrideRate",
        &["agent_human_override_count[1d]", "> 0.05"],
    ),
    ("cost > 50 USD a day", "SREAgent-CostAnomaly", &["agent_estimated_cost_usd[1d]", "> 50"]),
    (
        "tool calls per investigation p95 > 25",
        "SREAgent-ToolCallAnomaly",
        &["agent_tool_calls_per_investigation_p95) > 25"],
    ),
    (
        "session cost > 5x the median of its feature",
        "AgentSessionCostHigh",
        &["> 5 * feature:agent_session_cost_usd:p50_1d", ">= 30"],
    ),
    (
        "> 50x is a runaway",
        "AgentSessionCostRunaway",
        &["> 50 * feature:agent_session_cost_usd:p50_1d", "severity: critical"],
    ),
    ("tool error rate > 20 % in 5 minutes", "AgentToolErrorRate", &["increase5m > 0.2"]),
    ("of all tools", "AgentToolsErrorRate", &["increase5m) > 0.2"]),
    ("session duration > 2x p95", "AgentSessionLong", &["> 2 * feature:agent_session_duration_seconds:p95_1d"]),
    ("finish reason length in > 5 % of turns", "AgentFinishLength", &["reason=\"length\"", "> 0.05"]),
    ("tool retries > 2 per turn", "AgentToolRetries", &["> 2"]),
    ("recursion limit hit", "AgentLimitHit", &["state=\"killed\""]),
    ("one tool more than N times in a window", "AgentRunToolRepeated", &["tool_calls_in_window"]),
    ("iterations cross a ceiling", "AgentRunOverCeiling", &["rule=\"iteration_ceiling\"", "severity: critical"]),
    ("warned before", "AgentRunNearCeiling", &["iteration_ceiling_warning", "severity: warning"]),
    ("a run that has not ended", "AgentRunUnended", &["run_overdue"]),
    (
        "p95 time per run > 1.5x the same hour yesterday",
        "AgentRunTimeClimbing",
        &["p95_1h > 1.5 *", "offset 1d", ">= 30"],
    ),
    ("failures > 2x baseline and > 5 %", "AgentFailureSpike", &["> 0.05", "<= 2 * (feature:agent_runs_failed:ratio1d"]),
    ("of tools", "AgentToolFailureSpike", &["> 0.05", "<= 2 * (tool:agent_tool_failures:ratio1d"]),
    ("tokens per run rise", "AgentTokensDrift", &["agent_turns:increase6h > 1.5 *", ">= 30"]),
    (
        "cost per tenant rises without a rise in traffic",
        "AgentCostDrift",
        &["/ tenant:agent_runs:increase6h > 1.5 *", ">= 30"],
    ),
    ("climbing 429s", "AgentRateLimitsClimbing", &["rate_limited_429"]),
    ("runs of 529s", "AgentOverloaded", &["overloaded_529"]),
    ("refusals of a tenant", "AgentRefusalsTenant", &["refusal"]),
    ("refusals of a template", "AgentRefusalsTemplate", &["refusal"]),
];

/// Detects a changed threshold, a removed alert, and a rule that depends on call volume.
#[test]
fn alerts_and_thresholds() {
    let rules = rules();
    for (asked, alert, says) in ALERTS {
        let rule = rules.get(alert).unwrap_or_else(|| panic!("{asked}: no rule {alert}"));
        says.iter().for_each(|part| assert!(rule.contains(part), "{asked}: {alert} does not say `{part}`: {rule}"));
    }
    let template: Vec<String> = ["honeycomb/main.tf", "cloudwatch/alarms.yaml", "signoz/rules.json"]
        .map(|file| read(&format!("deploy/alerts/{file}")))
        .into();
    for name in ["SREAgent-HighOverrideRate", "SREAgent-CostAnomaly", "SREAgent-ToolCallAnomaly"] {
        assert!(template.iter().all(|file| file.contains(name)), "{name}");
    }
}

/// tollgate's own alerts, with the users' thresholds as defaults.
#[test]
fn defaults_of_its_own_alerts() {
    let AlertThresholds { identical_calls, tool_calls, tool_retries, overdue_after, .. } = AlertThresholds::default();
    assert_eq!((identical_calls, tool_calls, tool_retries), (5, 20, 2));
    assert_eq!(overdue_after.0.as_secs(), 3600);
    let limits = AlertThresholds::default();
    assert_eq!(
        [limits.session_cost, limits.session_cost_runaway, limits.session_duration, limits.drift],
        [5.0, 50.0, 2.0, 1.5]
    );
    assert_eq!(limits.min_runs, 30);
    let config = Config::default();
    assert_eq!(config.tool_window.0.as_secs(), 600);
    assert_eq!(config.measures, ["athena.query_cost", "s3.bytes_scanned", "billing.record_count"]);
    for key in ["feature", "agent.feature", "gen_ai.agent.name"] {
        assert!(config.feature_from.iter().any(|known| known == key), "{key}");
    }
    let runbook = read("docs/runs.md");
    for rule in runs::AlertRule::rules().map(runs::AlertRule::as_str) {
        assert!(runbook.contains(&format!("`{rule}`")), "{rule}");
    }
}

/// The metric's name over OTLP and in Prometheus.
const METRICS: [(&str, &str); 17] = [
    ("agent.session.duration_seconds", "agent_session_duration_seconds"),
    ("agent.session.llm_calls_total", "agent_session_llm_calls"),
    ("agent.session.tool_calls_total", "agent_session_tool_calls"),
    ("agent.session.cost_usd", "agent_session_cost_usd"),
    ("agent.session.error_rate", "agent_session_errors_total"),
    ("agent.sessions", "agent_sessions_total"),
    ("agent.turn.input_tokens", "agent_turn_input_tokens"),
    ("agent.turn.output_tokens", "agent_turn_output_tokens"),
    ("agent.run.iterations", "agent_run_iterations"),
    ("agent.run.duration_seconds", "agent_run_duration_seconds"),
    ("agent.run.cost_usd", "agent_run_cost_usd"),
    ("agent.fallbacks", "agent_fallback_total"),
    ("agent.permission_denials", "agent_permission_denials_total"),
    ("agent.human_override_count", "agent_human_override_count"),
    ("agent.estimated_cost_usd", "agent_estimated_cost_usd"),
    ("agent.tool_calls_per_investigation_p95", "agent_tool_calls_per_investigation_p95"),
    ("agent.alerts", "agent_alert_total"),
];

/// Each metric has its name on `/metrics`, its name over OTLP, and a place in the docs.
#[test]
fn metrics_by_name() {
    let (told, docs) = (read("crates/tracker/src/points.rs"), read("docs/runs.md"));
    for (otlp, prometheus) in METRICS {
        assert!(ALL.iter().any(|def| def.name == prometheus), "{prometheus}");
        assert!(told.contains(&format!("\"{otlp}\"")), "{otlp} is not told over OTLP");
        assert!(docs.contains(otlp), "{otlp} is not in docs/runs.md");
    }
}

/// Input as the articles spell it: attributes that dashboards need, on the spans that carry them.
fn asked_for() -> Vec<(&'static str, Json)> {
    vec![
        (
            "claude_code.tool",
            json!({"session.id": "s1", "turn.id": "t1", "gen_ai.operation.name": "tool_call", "gen_ai.tool.name": "Bash",
                "gen_ai.tool.type": "extension", "gen_ai.tool.success": true, "tool_use_id": "toolu_1", "tool.duration_ms": 12}),
        ),
        (
            "claude_code.turn.stop_failure",
            json!({"session.id": "s1", "gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5",
                "agent.stop_reason": "max_turns", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5,
                "gen_ai.usage.cache_creation_tokens": 3, "gen_ai.usage.cache_read_tokens": 7, "gen_ai.usage.cache_hit_ratio": 0.5}),
        ),
        (
            "query",
            json!({"tenant.id": "acme", "billing.record_count": 5, "s3.bytes_scanned": 1000, "athena.query_cost": 0.5, "error": true}),
        ),
        (
            "invoke_agent triage",
            json!({"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "anthropic", "gen_ai.agent.id": "a1",
                "gen_ai.agent.name": "triage", "gen_ai.agent.version": "3", "gen_ai.conversation.id": "c1", "error.type": "timeout"}),
        ),
        (
            "agent.run",
            json!({"gen_ai.system": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "incident.id": "INC-7", "agent.type": "sre"}),
        ),
        (
            "gen_ai.chat",
            json!({"gen_ai.request.max_tokens": 4096, "message_count": 3, "gen_ai.response.id": "msg_1",
                "gen_ai.response.finish_reason": "end_turn", "gen_ai.usage.input_tokens": 9, "gen_ai.latency_ms": 800}),
        ),
        (
            "gen_ai.tool.search",
            json!({"gen_ai.tool.name": "search", "gen_ai.tool.call.id": "call_1", "tool.result_length": 99}),
        ),
        // the panels of the dashboard of claude-otel-hooks users
        ("claude_code.session.start", json!({"session.id": "s1"})),
        ("claude_code.session.end", json!({"session.id": "s1", "session.duration_ms": 61_000})),
        ("claude_code.user_prompt", json!({"session.id": "s1"})),
        (
            "claude_code.tool.edit",
            json!({"gen_ai.tool.name": "Edit", "edit.lines_added": 7, "edit.lines_removed": 2, "gen_ai.tool.success": false}),
        ),
        ("claude_code.permission.denied", json!({"session.id": "s1", "gen_ai.tool.name": "Bash"})),
        ("claude_code.subagent", json!({"session.id": "s1", "agent.type": "Explore", "agent.duration_ms": 1200})),
        ("claude_code.context.compact", json!({"session.id": "s1", "context.tokens_saved": 90_000})),
        (
            "claude_code.turn.stop",
            json!({"session.id": "s1", "git.repo": "acme/shop", "agent.stop_reason": "end_turn"}),
        ),
        ("api_error", json!({"session.id": "s1", "error": "overloaded_error", "status_code": 529})),
        (
            "model",
            json!({"model": "claude-haiku-4-5", "tenant": "acme", "iteration": 2, "input_tokens": 10, "output_tokens": 2,
                "stop_reason": "refusal", "error": "overloaded_error", "status": 529}),
        ),
    ]
}

/// None of these attributes is removed or renamed on the way to a third party, including those of the resource.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_by_name() {
    let service = json!({"service.name": "agents", "service.version": "1.2", "build.commit_sha": "c0ffee", "deploy.environment": "prod",
        "work_tracker.issue_id": "OPS-7"});
    let span = |(at, (name, all)): (u64, (&'static str, Json))| {
        json!({"traceId": format!("{:032x}", at + 1), "spanId": format!("{:016x}", at + 1), "name": name,
            "startTimeUnixNano": "1795000000000000000", "endTimeUnixNano": "1795000000250000000", "attributes": attributes(&all)})
    };
    let spans: Vec<Json> = (0..).zip(asked_for()).map(span).collect();
    let request = json!({"resourceSpans": [{"resource": {"attributes": attributes(&service)}, "scopeSpans": [{"spans": spans}]}]});
    let sent = otlp::decode(Signal::Traces, request.to_string().as_bytes()).unwrap();
    let out = gateway::forwarded(vec![(Signal::Traces, sent)]).await;
    let payloads: Vec<Payload> =
        out.into_iter().map(|(signal, bytes)| Payload::parse(signal, Bytes::from(bytes)).ok().unwrap()).collect();
    let items = || payloads.iter().flat_map(|payload| payload.items().map(move |item| (payload, item)));
    assert_eq!(items().count(), asked_for().len());
    for (name, wanted) in asked_for() {
        let (payload, item) =
            items().find(|(payload, item)| payload.text(*item, ::otlp::TextField::Name) == name).unwrap();
        let there = |node, key: &str| -> Json {
            let mut text = String::new();
            payload.get(node, key).unwrap_or_else(|| panic!("{name}: {key} is gone")).write_json(&mut text);
            serde_json::from_str(&text).unwrap()
        };
        let same = |one: &Json, other: &Json| {
            one == other || one.to_string().trim_matches('"') == other.to_string().trim_matches('"')
        };
        for (key, value) in wanted.as_object().unwrap() {
            assert!(same(&there(item, key), value), "{name}: {key} is {}", there(item, key));
        }
        for (key, value) in service.as_object().unwrap() {
            assert!(same(&there(payload.resource(item), key), value), "{name}: {key}");
        }
    }
}

/// The spans and events of the dashboard of claude-otel-hooks users, and the attributes by which its panels filter,
/// group and sum.
const PANELS: [(&str, &str); 6] = [
    ("claude_code.tool", "session.id gen_ai.tool.name gen_ai.tool.success edit.lines_added"),
    ("claude_code.user_prompt", "session.id"),
    ("claude_code.session.end", "session.duration_ms"),
    ("claude_code.permission.denied", "gen_ai.tool.name"),
    ("claude_code.subagent", "agent.type agent.duration_ms"),
    (
        "claude_code.turn.stop",
        "session.id git.repo agent.stop_reason gen_ai.request.model gen_ai.usage.input_tokens \
            gen_ai.usage.output_tokens gen_ai.usage.cache_read_tokens gen_ai.usage.cache_creation_tokens \
            gen_ai.usage.cache_hit_ratio",
    ),
];

/// Every recorded span of claude-otel-hooks keeps its duration and what the panels read of it, so each panel shows the
/// same figures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panels_show_the_same() {
    let mut sent = Vec::new();
    for session in ["articles", "turns", "failures"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/claude-otel-hooks").join(session);
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.file_name().unwrap().to_string_lossy().ends_with("-traces.pb") {
                sent.push((Signal::Traces, fs::read(path).unwrap()));
            }
        }
    }
    let read = |requests: &[(Signal, Vec<u8>)]| {
        let mut rows = Vec::new();
        for (signal, bytes) in requests {
            let payload = Payload::parse(*signal, Bytes::copy_from_slice(bytes)).ok().unwrap();
            for item in payload.items() {
                let name = payload.text(item, ::otlp::TextField::Name);
                let Some((_, keys)) = PANELS.iter().find(|(of, _)| *of == name) else { continue };
                let mut row = format!("{name} {}", payload.end_time(item) - payload.time(item));
                for key in keys.split_whitespace() {
                    row.push(' ');
                    let value = payload.get(item, key).or_else(|| payload.get(payload.resource(item), key));
                    value.iter().for_each(|value| value.write_json(&mut row));
                }
                rows.push(row);
            }
        }
        rows.sort();
        rows
    };
    let wanted = read(&sent);
    assert!(wanted.len() > 10, "{}", wanted.len());
    assert_eq!(read(&gateway::forwarded(sent).await), wanted);
}
