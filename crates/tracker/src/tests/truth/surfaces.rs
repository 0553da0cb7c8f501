//! What each surface tells, as a [`Truth`].

use prost::Message;

use super::make::{Session, Truth};
use super::way::Gate;
use history::{History, Window, figures};
use kernel::clock::UnixNanos;
use otlp::Signal;
use otlp::r#gen::opentelemetry::proto;
use pipeline::Source;
use proto::collector::logs::v1::ExportLogsServiceRequest;
use proto::common::v1::any_value::Value;
use runs::{Board, RunView, Sum};
use telemetry::names;

const DAY: u64 = 86_400_000_000_000;

fn of_views(views: &[RunView]) -> Truth {
    let mut all = Truth::default();
    for view in views {
        let totals = &view.totals;
        all += Truth {
            runs: 1,
            failed: u64::from(view.failed),
            iterations: totals.iterations,
            calls: totals.calls(),
            failed_calls: totals.failed_calls,
            retries: totals.retries,
            fallbacks: totals.fallbacks.values().sum(),
            tools: totals.tool_calls(),
            failed_tools: totals.tool_failures(),
            tool_retries: totals.tool_retries(),
            sub_agents: totals.sub_agents,
            input: totals.input_tokens(),
            output: totals.tokens().output,
            atto: totals.atto_usd(),
            unpriced: totals.unpriced(),
        };
    }
    all
}

/// A sum tells no retries, fallbacks and sub-agents: those of the truth.
fn of_sum(sum: &Sum, truth: Truth) -> Truth {
    Truth {
        runs: sum.runs,
        failed: sum.failed,
        iterations: sum.iterations,
        calls: sum.calls,
        failed_calls: sum.failed_calls,
        tools: sum.tool_calls,
        failed_tools: sum.tool_failures,
        input: sum.tokens.input,
        output: sum.tokens.output,
        atto: sum.atto_usd,
        unpriced: sum.unpriced,
        ..truth
    }
}

fn of_history(views: &[RunView], now: u64, truth: Truth) -> Truth {
    let history = History::default();
    history.note(views, now);
    let told = figures(&history.all(), Window::last(DAY, now)).sum;
    Truth {
        runs: told.runs,
        failed: told.failed,
        iterations: told.iterations,
        tools: told.tool_calls,
        failed_tools: told.tool_failures,
        calls: told.calls,
        input: told.input,
        output: told.output,
        atto: told.atto,
        unpriced: told.unpriced,
        ..truth
    }
}

/// What run summaries tell: of each run the last revision.
fn of_summaries(gate: &Gate, now: UnixNanos) -> Truth {
    let mut last = std::collections::BTreeMap::new();
    while let Some(portion) = gate.line.runs.portion(Signal::Logs, now) {
        let request = ExportLogsServiceRequest::decode(portion.wire).unwrap();
        let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        for record in scopes.flat_map(|scope| scope.log_records).filter(|record| record.event_name.ends_with("summary"))
        {
            let of = |key: &str| record.attributes.iter().find(|one| one.key == key)?.value.as_ref()?.value.clone();
            let int = |key: &str| match of(key) {
                Some(Value::IntValue(number)) => u64::try_from(number).unwrap(),
                _ => 0,
            };
            let text = |key: &str| match of(key) {
                Some(Value::StringValue(text)) => text,
                _ => String::new(),
            };
            let one = Truth {
                runs: 1,
                failed: u64::from(of("error") == Some(Value::BoolValue(true))),
                iterations: int("tollgate.run.iterations"),
                calls: int("tollgate.run.model_calls"),
                failed_calls: int("tollgate.run.failed_model_calls"),
                retries: int("tollgate.run.model_retries"),
                fallbacks: int("tollgate.run.fallbacks"),
                tools: int("agent.tool_calls_made"),
                failed_tools: int("tollgate.run.failed_tool_calls"),
                tool_retries: int("tollgate.run.tool_retries"),
                sub_agents: int("tollgate.run.sub_agents"),
                input: int("agent.total_input_tokens"),
                output: int("agent.total_output_tokens"),
                atto: atto(&text("tollgate.run.cost_usd")),
                unpriced: int("tollgate.run.unpriced_calls"),
            };
            last.insert(text("tollgate.run.id") + &text("tollgate.run.key"), one);
        }
        gate.line.apply(&portion.effect);
    }
    let mut all = Truth::default();
    last.into_values().for_each(|one| all += one);
    all
}

/// Decimal text in 1e-18.
fn atto(text: &str) -> i128 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{part:0<18}").parse().unwrap_or(-1)
}

fn compare(surface: &str, got: Truth, truth: Truth) -> Option<String> {
    (got != truth).then(|| format!("{surface}: {got:?}\n     truth: {truth:?}"))
}

/// While it goes on: the rows of runs, the figures of the page.
pub(super) fn live(gate: &Gate, session: &Session, now: UnixNanos, page: bool) -> Vec<String> {
    let views = gate.line.views();
    let truth = session.truth;
    let told = |()| compare("page while live", of_history(&views, now.0, truth), truth);
    let page = page.then_some(()).and_then(told);
    [compare("api/runs while live", of_views(&views), truth), page].into_iter().flatten().collect()
}

/// When it is over: all of them.
pub(super) fn over(gate: &Gate, session: &Session, now: UnixNanos, (restart, kill): (bool, bool)) -> Vec<String> {
    let truth = session.truth;
    let (views, sums) = (gate.line.views(), gate.line.runs.sums());
    let mut found = vec![
        compare("api/runs", of_views(&views), truth),
        compare("api/sums", of_sum(&sums.all, truth), truth),
        compare("page and report", of_history(&views, now.0, truth), truth),
        compare("run summaries", of_summaries(gate, now), truth),
    ];
    let mut by_session = Sum::default();
    sums.by_session.values().for_each(|sum| by_session.add(sum));
    found.push(compare("sums by session", of_sum(&by_session, truth), truth));
    let history = History::default();
    history.note(&views, now.0);
    let page = figures(&history.all(), Window::last(DAY, now.0)).by_tenant;
    for (tenant, atto) in &session.tenants {
        let got = page.iter().find(|share| share.name == *tenant).map_or(0, |share| share.sum.atto);
        found.push((got != *atto).then(|| format!("page by tenant: {tenant}: {got}, truth {atto}")));
        let got = sums.by_tenant.get(tenant).map_or(0, |sum| sum.atto_usd);
        found.push((got != *atto).then(|| format!("sums by tenant: {tenant}: {got}, truth {atto}")));
    }
    let counted = gate.counted_runs();
    // a killed process may have counted what the next one counts again: nobody knows how much of it was read
    found.push(
        (!kill && counted != truth.runs as f64).then(|| format!("metrics, runs: {counted}, truth {}", truth.runs)),
    );
    let cost: f64 = gate.meter.values(&names::COST_USD).iter().sum();
    let wanted = truth.atto as f64 / 1e18;
    // a process counts what it saw itself
    let off = !restart && !kill && (cost - wanted).abs() > 1e-12;
    found.push(off.then(|| format!("metrics, cost: {cost}, truth {wanted}")));
    found.into_iter().flatten().collect()
}
