//! Compares each surface with the truth and with the others: during delivery and after it.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::super::support::AskRuns;
use super::make::{CEILING, Facts, RunTruth, Truth};
use super::read::{self, COUNTED, FIGURES, PART, SHARED, SUM, Series, TOTALS, facts};
use super::way::{Gate, Outside};
use history::{
    FailedSpans, FigureBuilder, ReportParameters, TimeWindow, build_report, figures_json, report_json, report_markdown,
};
use kernel::clock::UnixNanos;
use runs::Alert;
use runs::json as shape;

const DAY: u64 = 86_400_000_000_000;
/// Values of a run that are final at any moment; those that depend on the order of calls may change later.
const AT_ONCE: [&str; 9] =
    ["runs", "calls", "failed_calls", "tools", "failed_tools", "input", "output", "atto", "unpriced"];

pub(super) type Runs = BTreeMap<u64, RunTruth>;

/// Describes the differences of a surface.
fn differs(surface: &str, got: &Facts, wanted: &Facts) -> Option<String> {
    let both = got.iter().filter_map(|(name, got)| Some((name, got, wanted.get(name)?)));
    let off: Vec<String> = both
        .filter(|(_, got, wanted)| got != wanted)
        .map(|(name, got, wanted)| format!("{name} {got}, not {wanted}"))
        .collect();
    (!off.is_empty() || got.is_empty()).then(|| format!("{surface}: {}", off.join("; ")))
}

fn only(facts: &Facts, names: &[&str]) -> Facts {
    facts.iter().filter(|(name, _)| names.contains(name)).map(|(name, value)| (*name, *value)).collect()
}

fn sum_of<'f>(all: impl Iterator<Item = &'f Facts>) -> Facts {
    let mut sum = Truth::default().facts();
    for (name, value) in all.flatten() {
        *sum.entry(name).or_default() += value;
    }
    sum
}

fn total<'r>(runs: impl Iterator<Item = &'r RunTruth>) -> Truth {
    let mut sum = Truth::default();
    runs.for_each(|run| sum += run.totals);
    sum
}

/// Whether all prices are known: some arrive with a later log record.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) prices: bool,
}

/// The contents of all surfaces at one moment.
struct Told {
    rows: Vec<Json>,
    /// Totals of the rows.
    all: Facts,
    sessions: Json,
    sums: Json,
    page: Json,
    report: Json,
    text: String,
    alerts: Vec<Alert>,
}

impl Told {
    fn now(gate: &Gate, now: UnixNanos) -> Self {
        let views = gate.line.views();
        let board = gate.line.runs.board();
        let mut figures = FigureBuilder::new(TimeWindow::last(DAY, now.0));
        board.visit_runs(0, &mut |run| figures.add(run));
        let asked = || ReportParameters { since: DAY, ..ReportParameters::defaults() };
        let report = build_report(&FailedSpans::default(), &board, asked(), now.0);
        let rows = shape::runs(&views)["runs"].as_array().cloned().unwrap_or_default();
        let all: Vec<Facts> = rows.iter().map(row).collect();
        Self {
            all: sum_of(all.iter()),
            rows,
            sessions: shape::sessions(&views),
            sums: shape::sums(&board.sums(0)),
            page: figures_json(&figures.finish()),
            report: report_json(&report, &|_| None),
            text: report_markdown(&report, &|_| None),
            alerts: board.alerts(),
        }
    }

    /// All surfaces agree.
    fn agree(&self, found: &mut Vec<Option<String>>) {
        found.push(differs("api/sums", &facts(&self.sums["all"], SUM), &self.all));
        found.push(differs("page", &facts(&self.page, FIGURES), &self.all));
        found.push(differs("report as JSON", &facts(&self.report["runs"], COUNTED), &self.all));
        found.push(differs("report as text", &read::report_line(&self.text), &self.all));
        let sessions = self.sessions["sessions"].as_array().cloned().unwrap_or_default();
        let sessions: Vec<Facts> = sessions.iter().map(|one| facts(one, TOTALS)).collect();
        found.push(differs("api/sessions", &only(&sum_of(sessions.iter()), &names(TOTALS)), &self.all));
        for (by, parts) in [("by_tenant", &SHARED[..]), ("by_model", &SHARED), ("by_session", &names(SUM))] {
            let all: Vec<Facts> = each(&self.sums[by]).map(|(_, one)| facts(one, SUM)).collect();
            found.push(differs(&format!("api/sums {by}"), &only(&sum_of(all.iter()), parts), &self.all));
        }
        for by in ["by_tenant", "by_model"] {
            let shown = self.page[by].as_array().cloned().unwrap_or_default();
            let all: Vec<Facts> = shown.iter().map(|one| facts(one, COUNTED)).collect();
            found.push(differs(&format!("page {by}"), &only(&sum_of(all.iter()), &SHARED), &self.all));
            for share in &shown {
                let name = share["name"].as_str().unwrap_or_default();
                let sum = facts(&self.sums[by][name], SUM);
                found.push(differs(&format!("page {by} {name}"), &facts(share, COUNTED), &sum));
            }
        }
        found.push(self.alerts_once());
    }

    /// Each rule fires once for each run or session.
    fn alerts_once(&self) -> Option<String> {
        let mut seen = BTreeMap::<(&str, &str, &str), u64>::new();
        for alert in &self.alerts {
            *seen.entry((alert.rule.as_str(), &alert.trace, &alert.session)).or_default() += 1;
        }
        let twice = seen.into_iter().find(|(_, count)| *count > 1)?;
        Some(format!("alerts: {twice:?}"))
    }

    /// These values of runs and their shares equal the truth.
    fn is_true(&self, runs: &Runs, names: &[&str], found: &mut Vec<Option<String>>) {
        let mut rows = BTreeMap::new();
        for one in &self.rows {
            let trace = read::trace(one["trace_id"].as_str().unwrap_or_default());
            if rows.insert(trace, one).is_some() {
                found.push(Some(format!("api/runs: run {trace} is there twice")));
            }
        }
        for (trace, truth) in runs {
            let row = rows.remove(trace).map(row).unwrap_or_default();
            let surface = format!("api/runs {trace}");
            found.push(differs(&surface, &only(&row, names), &truth.totals.facts()));
        }
        found.extend(rows.into_keys().map(|trace| Some(format!("api/runs: run {trace} is none"))));
        let mut tenants = BTreeMap::<&str, Truth>::new();
        let mut models = BTreeMap::<&str, Truth>::new();
        for run in runs.values() {
            run.tenants.iter().for_each(|(name, share)| *tenants.entry(name).or_default() += *share);
            run.models.iter().for_each(|(name, share)| *models.entry(name).or_default() += *share);
        }
        for (by, shares) in [("by_tenant", tenants), ("by_model", models)] {
            for (name, share) in shares {
                let parts: Vec<&str> = names.iter().copied().filter(|name| SHARED.contains(name)).collect();
                let got = only(&facts(&self.sums[by][name], SUM), &parts);
                found.push(differs(&format!("api/sums {by} {name}"), &got, &share.facts()));
            }
        }
    }
}

/// A row of `/api/runs`. A live run is not yet counted as failed.
fn row(row: &Json) -> Facts {
    let failed = row["failed"] == json!(true) && row["state"] != json!("live");
    let more = [("runs", 1), ("failed", i128::from(failed))];
    facts(row, TOTALS).into_iter().chain(more).collect()
}

fn names(places: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    places.iter().map(|(name, _)| *name).collect()
}

fn each(map: &Json) -> impl Iterator<Item = (&String, &Json)> {
    map.as_object().into_iter().flatten()
}

/// Checks during delivery, against the items delivered so far.
pub(super) fn live(gate: &Gate, runs: &Runs, now: UnixNanos, known: Known) -> Vec<String> {
    let (told, mut found) = (Told::now(gate, now), Vec::new());
    told.agree(&mut found);
    let names: Vec<&str> =
        AT_ONCE.into_iter().filter(|name| known.prices || !["atto", "unpriced"].contains(name)).collect();
    told.is_true(runs, &names, &mut found);
    for (trace, run) in runs.iter().filter(|(_, run)| run.totals.iterations >= CEILING.into()) {
        let fires = |alert: &Alert| alert.rule.as_str() == "iteration_ceiling" && read::trace(&alert.trace) == *trace;
        let missing = !told.alerts.iter().any(fires);
        found.push(missing.then(|| format!("alerts: run {trace}: {} iterations", run.totals.iterations)));
    }
    found.push(near("metrics, cost", cost_of(&gate.meter), told.all["atto"] as f64 / 1e18));
    found.into_iter().flatten().map(|one| format!("live, {one}")).collect()
}

/// Saved in checkpoints and restored, so a kill does not affect it.
pub(super) const COST: &str = "tollgate_cost_usd_total";

const TAKEN_BACK: &str = "tollgate_cost_corrected_usd_total";

fn cost_of(meter: &telemetry::Meter) -> f64 {
    let sum = |name| meter.values(name).iter().sum::<f64>();
    sum(&telemetry::names::COST_USD) - sum(&telemetry::names::COST_CORRECTED_USD)
}

fn near(surface: &str, got: f64, wanted: f64) -> Option<String> {
    let off = (got - wanted).abs() > 1e-9 * (1.0 + wanted.abs());
    off.then(|| format!("{surface}: {got}, not {wanted}"))
}

/// Checks after the end: all values of all surfaces. `late`: some runs got items after they were over, which counters
/// cannot show.
pub(super) fn over(
    gate: &Gate,
    outside: &Outside,
    runs: &Runs,
    now: UnixNanos,
    (late, known): (bool, Known),
) -> Vec<String> {
    let (told, mut found) = (Told::now(gate, now), Vec::new());
    told.agree(&mut found);
    let all: Vec<&str> = Truth::default().facts().into_keys().collect();
    told.is_true(runs, &all, &mut found);
    found.push(differs("api/runs", &told.all, &total(runs.values()).facts()));
    for one in &told.rows {
        let trace = read::trace(one["trace_id"].as_str().unwrap_or_default());
        found.extend(runs.get(&trace).map(|run| words(one, trace, run)).into_iter().flatten());
    }
    for (name, one) in each(&told.sums["by_session"]) {
        let of = runs.values().filter(|run| format!("s{}", run.session) == *name);
        found.push(differs(&format!("api/sums {name}"), &facts(one, SUM), &total(of).facts()));
    }
    for one in told.sessions["sessions"].as_array().into_iter().flatten() {
        let of = runs.values().filter(|run| one["id"] == json!(format!("s{}", run.session)));
        found.push(differs(&format!("api/sessions {}", one["id"]), &facts(one, TOTALS), &total(of).facts()));
    }
    // A run that was emitted under its trace id before a kill and named since is emitted as another run.
    let renamed = outside.killed && !known.prices;
    for (trace, run) in runs.iter().filter(|_| !renamed) {
        let summary = outside.summaries.get(trace).map(|(_, facts)| facts.clone()).unwrap_or_default();
        found.push(differs(&format!("run summary {trace}"), &summary, &run.totals.facts()));
    }
    alerts(&told, outside, runs, renamed, &mut found);
    let metrics = outside.metrics(gate);
    if !renamed {
        counters(&outside.sent, "OTLP", runs, (late, outside.killed), &mut found);
    }
    costs(&metrics, runs, &mut found);
    if !outside.killed {
        counters(&metrics, "/metrics", runs, (late, false), &mut found);
        at_once(&metrics, runs, &mut found);
        for (name, value) in &outside.sent {
            let got = metrics.get(name).copied().unwrap_or(0.0);
            found.push(near(&format!("OTLP beside /metrics, {name}"), *value, got));
        }
    }
    found.into_iter().flatten().collect()
}

/// Checks non-numeric fields, and the shares of a run.
fn words(row: &Json, trace: u64, run: &RunTruth) -> Vec<Option<String>> {
    let is = |name: &str, wanted: Json| {
        let got = &row[name];
        (*got != wanted).then(|| format!("api/runs {trace}: {name} {got}, not {wanted}"))
    };
    let mut found =
        vec![is("state", json!(run.state())), is("tenant", json!(run.tenant())), is("feature", json!("triage"))];
    found.push(is("session_id", json!(format!("s{}", run.session))));
    found.push(run.seconds.and_then(|seconds| is("duration_seconds", json!(seconds as f64))));
    for (model, share) in &run.models {
        let got = facts(&row["totals"]["models"][model], PART);
        found.push(differs(&format!("api/runs {trace} {model}"), &got, &share.facts()));
    }
    for (tenant, share) in run.tenants.iter().filter(|(tenant, _)| **tenant != run.tenant()) {
        let got = facts(&row["totals"]["other_tenants"][tenant], PART);
        found.push(differs(&format!("api/runs {trace} {tenant}"), &got, &share.facts()));
    }
    found
}

/// Checks which alerts fired, and that each was emitted once.
fn alerts(told: &Told, outside: &Outside, runs: &Runs, renamed: bool, found: &mut Vec<Option<String>>) {
    for ((rule, trace, session), count) in &outside.alerts {
        found
            .push((*count > 1 && !renamed).then(|| format!("alert events: {rule} of {trace} {session} {count} times")));
    }
    let fired = |rule: &str, trace: u64| {
        told.alerts.iter().filter(|alert| alert.rule.as_str() == rule && read::trace(&alert.trace) == trace).count()
    };
    for (trace, run) in runs {
        let sent = |rule: &str| outside.alerts.keys().filter(|(one, of, _)| one == rule && of == trace).count();
        let must = [
            ("iteration_ceiling", run.totals.iterations >= CEILING.into(), run.totals.calls >= CEILING.into()),
            ("iteration_ceiling_warning", false, run.totals.calls * 5 >= i128::from(CEILING) * 4),
            ("tool_retries", run.totals.tool_retries > 2, run.totals.tool_retries > 2),
        ];
        for (rule, must, may) in must {
            let (shown, sent) = (fired(rule, *trace), sent(rule));
            let wrong = (must && shown == 0) || (!may && shown > 0) || (shown != sent && !outside.killed);
            let what = || format!("alerts: {rule} of run {trace}: {shown} shown, {sent} sent: {:?}", run.totals);
            found.push(wrong.then(what));
        }
    }
    if !outside.killed {
        let sent: u64 = outside.alerts.values().sum();
        found.push(near("alert events beside OTLP", sent as f64, read::total(&outside.sent, "agent_alert_total", "")));
    }
}

/// Checks counters and histograms of finished runs.
fn counters(all: &Series, of: &str, runs: &Runs, (late, killed): (bool, bool), found: &mut Vec<Option<String>>) {
    let mut is = |name: &str, label: &str, wanted: f64| {
        found.push(near(&format!("{of}, {name} {label}"), read::total(all, name, label), wanted));
    };
    is("agent_runs_total", "", runs.len() as f64);
    is("agent_run_iterations_count", "", runs.len() as f64);
    if late {
        return;
    }
    let mut states = BTreeMap::<(&str, &str), f64>::new();
    let mut costs = BTreeMap::<&str, f64>::new();
    let mut tokens = BTreeMap::<&str, (f64, f64)>::new();
    for run in runs.values() {
        *states.entry((run.state(), run.tenant())).or_default() += 1.0;
        run.tenants.iter().for_each(|(name, share)| *costs.entry(name).or_default() += share.atto as f64 / 1e18);
        for (name, share) in &run.models {
            let (input, output) = tokens.entry(name).or_default();
            (*input, *output) = (*input + share.input as f64, *output + share.output as f64);
        }
    }
    for ((state, tenant), count) in states {
        is("agent_runs_total", &format!("state={state},tenant={tenant}"), count);
    }
    for (tenant, cost) in costs {
        is("agent_run_cost_usd_sum", &format!("tenant={tenant}"), cost);
        // a session that was over before a kill may be over again with the items since
        if !killed {
            is("agent_session_cost_usd_sum", &format!("tenant={tenant}"), cost);
        }
    }
    for (model, (input, output)) in tokens {
        is("agent_turn_input_tokens_sum", &format!("model={model}}}"), input);
        is("agent_turn_output_tokens_sum", &format!("model={model}}}"), output);
    }
    let all = total(runs.values());
    is("agent_run_iterations_sum", "", all.iterations as f64);
    is("agent_estimated_cost_usd", "", all.atto as f64 / 1e18);
    is("agent_fallback_total", "", all.fallbacks as f64);
    if !killed {
        is("agent_session_llm_calls_sum", "", all.calls as f64);
        is("agent_session_tool_calls_sum", "", all.tools as f64);
    }
}

/// Checks the metrics that are counted immediately.
fn at_once(metrics: &Series, runs: &Runs, found: &mut Vec<Option<String>>) {
    let all = total(runs.values());
    let mut is = |name: &str, label: &str, wanted: f64| {
        found.push(near(&format!("/metrics, {name} {label}"), read::total(metrics, name, label), wanted));
    };
    is("agent_tool_calls_total", "", all.tools as f64);
    is("agent_tool_failures_total", "", all.failed_tools as f64);
}

/// Checks the cost of calls by tenant and by model.
fn costs(metrics: &Series, runs: &Runs, found: &mut Vec<Option<String>>) {
    let mut costs = BTreeMap::<String, f64>::new();
    for run in runs.values() {
        for (name, share) in &run.tenants {
            *costs.entry(format!("tenant={name}")).or_default() += share.atto as f64 / 1e18;
        }
        for (name, share) in &run.models {
            *costs.entry(format!("model={name},")).or_default() += share.atto as f64 / 1e18;
        }
    }
    for (label, cost) in costs {
        let got = read::total(metrics, COST, &label) - read::total(metrics, TAKEN_BACK, &label);
        found.push(near(&format!("/metrics, {COST} {label}"), got, cost));
    }
}
