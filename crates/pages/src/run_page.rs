//! The page of one run: its figures, the turns of its session, and the tree of its calls. Calls with cyclic or unknown
//! parents appear at the top level. The page shows no content.

use std::collections::{HashMap, HashSet};

use askama::Template;

use super::{AdminPages, text};
use runs::amounts::NO_PRICE;
use runs::{AnnotatorKind, EvaluationScore, RunDetail, RunStep, RunView, StepKind, UsageSum};

/// Maximum depth of the drawn tree.
const MAX_DEPTH: usize = 12;

#[derive(Template)]
#[template(path = "board_unknown.html")]
pub(super) struct UnknownRunPage;

impl UnknownRunPage {
    const PAGE: &'static str = "runs";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
}

/// The page shown when several accounts have a run with this id.
#[derive(Template)]
#[template(path = "board_whose.html")]
pub(super) struct AccountChoicePage {
    page: &'static str,
    version: &'static str,
    id: String,
    runs: Vec<(String, String)>,
}

impl AccountChoicePage {
    pub(super) fn build(pages: &AdminPages, id: &str, accounts: &[String]) -> Self {
        let run = |account: &String| (text::clean_name(account), pages.run_href(account, id));
        let runs = accounts.iter().map(run).collect();
        Self { page: "runs", version: env!("CARGO_PKG_VERSION"), id: text::clean_id(id), runs }
    }
}

struct CallRow {
    depth: usize,
    kind: &'static str,
    /// Number of the iteration that begins with this call; 0 if none does.
    iteration: u64,
    name: String,
    note: &'static str,
    tokens: String,
    duration: String,
    cost: String,
    /// Position on the time line: start and width, in thousandths.
    from: String,
    width: String,
}

struct TurnRow {
    number: usize,
    href: String,
    current: bool,
    state: String,
    bad: bool,
    iterations: String,
    cost: String,
    duration: String,
}

/// A session that this run's session continues, or this one itself.
struct StoryRow {
    session: String,
    href: String,
    runs: String,
    cost: String,
}

#[derive(Template)]
#[template(path = "board_run.html")]
pub(super) struct RunPage {
    page: &'static str,
    version: &'static str,
    title: String,
    id: String,
    state: String,
    live: bool,
    bad: bool,
    trace: Option<String>,
    trace_id: String,
    linked: bool,
    facts: Vec<(&'static str, String)>,
    numbers: Vec<(&'static str, String, String)>,
    tokens: Vec<(&'static str, String)>,
    /// Name, label, score, who judged.
    evaluations: Vec<(String, String, String, &'static str)>,
    turns: Vec<TurnRow>,
    /// The sessions that continue each other, up to this one; empty if it continues none.
    story: Vec<StoryRow>,
    calls: Vec<CallRow>,
    left: u64,
    known: bool,
    is_paused: bool,
    refresh_href: String,
    /// The active alerts: severity, rule, measured value.
    alerts: Vec<(&'static str, String, String)>,
}

impl RunPage {
    pub(super) fn build(pages: &AdminPages, run: &RunDetail, paused: bool) -> Self {
        let RunDetail { view, steps, step_count, .. } = run;
        let calls = call_rows(steps.as_deref().unwrap_or_default(), view);
        let href = pages.run_href(&view.account, &view.run);
        Self {
            page: "runs",
            version: env!("CARGO_PKG_VERSION"),
            title: text::clean_id(&view.title()),
            id: text::clean_id(&view.run),
            live: view.state.is_live(),
            bad: view.state.is_failed(),
            state: text::format_state(view.state.as_str()).to_owned(),
            trace: pages.trace_url(view),
            trace_id: view.trace.clone(),
            linked: pages.link.is_some(),
            facts: fact_rows(pages, view),
            numbers: figure_rows(view),
            tokens: token_rows(view),
            evaluations: evaluation_rows(view),
            turns: turn_rows(pages, view),
            story: story_rows(pages, view),
            is_paused: paused,
            refresh_href: if paused { href } else { format!("{href}&paused=1") },
            alerts: active_alerts(pages, view),
            left: step_count.saturating_sub(calls.len() as u64),
            calls,
            known: steps.is_some(),
        }
    }
}

fn fact_rows(pages: &AdminPages, view: &RunView) -> Vec<(&'static str, String)> {
    let account = pages.has_several_accounts().then_some(&*view.account);
    let facts = [
        ("Tenant", view.tenant.as_deref()),
        ("Feature", view.feature.as_deref()),
        ("User", view.user.as_deref()),
        ("Service", view.service.as_deref()),
        ("Operation", view.operation.as_deref()),
        ("Commit", view.commit.as_deref()),
        ("Issue", view.issue.as_deref()),
        ("Incident", view.incident.as_deref()),
        ("Prompt template", view.template.as_deref()),
        ("Counted by", view.owner.replica()),
        ("Account", account),
    ];
    let facts = facts.into_iter().filter_map(|(label, name)| Some((label, name.filter(|name| !name.is_empty())?)));
    let session = (!view.session.is_empty()).then(|| ("Session", text::clean_id(&view.session)));
    let facts = session.into_iter().chain(facts.map(|(label, name)| (label, text::clean_name(name))));
    facts.chain([("Started (UTC)", text::format_time(view.start))]).collect()
}

/// The active alerts about a run or its session.
fn active_alerts(pages: &AdminPages, view: &RunView) -> Vec<(&'static str, String, String)> {
    let mut alerts = pages.runs.alerts();
    alerts.retain(|alert| {
        let of_run = !alert.run.is_empty() && alert.run == view.run;
        let of_session = alert.run.is_empty() && !alert.session.is_empty() && alert.session == view.session;
        alert.until.is_none() && alert.account == view.account && (of_run || of_session)
    });
    alerts
        .iter()
        .map(|alert| (alert.severity().as_str(), text::clean_name(alert.rule.as_str()), alert.measurement_text()))
        .collect()
}

fn figure_rows(view: &RunView) -> Vec<(&'static str, String, String)> {
    let (totals, peaks) = (&view.totals, &view.peaks);
    let note = |count: u64, what: &str| match count {
        0 => String::new(),
        count => format!("{} {what}", text::format_count(count)),
    };
    let cost_note = match totals.unpriced() {
        0 => text::format_exact_usd(totals.atto_usd()),
        unpriced => note(unpriced, "calls without a price"),
    };
    let savings = text::format_cache_savings(totals.saved());
    let cost_note = [cost_note, savings].into_iter().filter(|note| !note.is_empty()).collect::<Vec<_>>().join(" · ");
    let slowest = peaks.slowest.as_ref().filter(|step| !step.name.is_empty()).map(|step| {
        format!("slowest call: {}, {}", text::clean_name(&step.name), text::format_seconds(step.duration as f64 / 1e9))
    });
    let streak = peaks.identical_row.as_ref().filter(|streak| streak.count > 2 && !streak.tool.is_empty());
    let streak = streak.map(|streak| format!("{} {} in a row", streak.count, text::clean_name(&streak.tool)));
    let mut figures = vec![
        ("Cost", totals.format_cost(), cost_note),
        ("Time", text::format_seconds(view.duration as f64 / 1e9), slowest.unwrap_or_default()),
        ("Iterations", text::format_count(totals.iterations), streak.unwrap_or_default()),
        ("Model calls", text::format_count(totals.calls()), note(totals.failed_calls, "failed")),
        ("Tool calls", text::format_count(totals.tool_calls()), note(totals.tool_failures(), "failed")),
    ];
    let payable = text::format_payable(totals.payable(), totals.atto_usd());
    if !payable.is_empty() {
        figures.insert(1, ("To pay", payable, "plans cover the rest of the cost".to_owned()));
    }
    if let agents @ 1.. = totals.sub_agents {
        figures.push(("Sub-agents", text::format_count(agents), "their cost and calls are included".to_owned()));
    }
    figures
}

fn token_rows(view: &RunView) -> Vec<(&'static str, String)> {
    let tokens = view.totals.tokens();
    let sources = [
        ("Input, fresh", tokens.input),
        ("Input, from cache", tokens.cache_read),
        ("Written to cache, 5 min", tokens.cache_write_5m),
        ("Written to cache, 1 h", tokens.cache_write_1h),
        ("Output, answers", tokens.output.saturating_sub(tokens.reasoning)),
        ("Output, reasoning", tokens.reasoning),
    ];
    let rows = sources.map(|(what, count)| (what, text::format_count(count)));
    let context = Some(view.peaks.context_growth()).filter(|growth| *growth > 0.0).map(|growth| {
        let [first, last, _] = view.peaks.context.map(text::format_tokens);
        ("Context, first → last prompt", format!("{first} → {last} ({growth:.1} ×)"))
    });
    rows.into_iter().chain(context).collect()
}

fn evaluation_rows(view: &RunView) -> Vec<(String, String, String, &'static str)> {
    let to_row = |score: &EvaluationScore| {
        let kind = score.kind.map_or("", AnnotatorKind::as_str);
        let value = score.value.map_or_else(String::new, |value| value.to_string());
        (text::clean_name(&score.name), text::clean_name(&score.label), value, kind)
    };
    view.judgement.scores.iter().map(to_row).collect()
}

fn turn_rows(pages: &AdminPages, view: &RunView) -> Vec<TurnRow> {
    let turns = pages.session_turns(view);
    let to_row = |(number, turn): (usize, &RunView)| TurnRow {
        number,
        href: pages.run_href(&turn.account, &turn.run),
        current: turn.run == view.run,
        state: text::format_state(turn.state.as_str()).to_owned(),
        bad: turn.state.is_failed(),
        iterations: text::format_count(turn.totals.iterations),
        cost: turn.totals.format_cost(),
        duration: text::format_seconds(turn.duration as f64 / 1e9),
    };
    (1..).zip(&turns).map(to_row).collect()
}

fn story_rows(pages: &AdminPages, view: &RunView) -> Vec<StoryRow> {
    let account = text::percent_encode(&view.account);
    let to_row = |(session, sum): (String, UsageSum)| StoryRow {
        href: format!("/runs?session={}&account={account}", text::percent_encode(&session)),
        session: text::clean_id(&session),
        runs: text::format_count(sum.runs),
        cost: text::format_cost(sum.atto_usd, sum.unpriced),
    };
    pages.story(view).into_iter().map(to_row).collect()
}

/// Lists the calls as a tree in order of time: a call is below the call of its parent span, and a tool call is below
/// the model call before it.
fn call_rows(steps: &[RunStep], view: &RunView) -> Vec<CallRow> {
    let spans = steps.iter().enumerate().filter(|(_, step)| step.span != [0; 8]);
    let spans: HashMap<[u8; 8], usize> = spans.map(|(at, step)| (step.span, at)).collect();
    let parent_index = |at: usize| {
        let parent = steps.get(at).and_then(|step| spans.get(&step.parent));
        parent.copied().filter(|parent_index| *parent_index != at)
    };
    let depth = |at: usize| {
        let (mut depth, mut seen, mut current) = (0, HashSet::from([at]), at);
        while let Some(parent) = parent_index(current).filter(|parent| depth < MAX_DEPTH && seen.insert(*parent)) {
            (depth, current) = (depth + 1, parent);
        }
        depth
    };
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let timed = steps.iter().filter(|step| step.start != 0);
    let starts = timed.clone().map(|step| step.start).chain(Some(view.start).filter(|start| *start != 0));
    let first_start = starts.min().unwrap_or(0);
    let ends = timed.map(|step| seconds(step.start.saturating_sub(first_start)) + seconds(step.duration));
    let total_seconds = ends.chain([seconds(view.duration)]).fold(0.001, f64::max);
    let mut iteration = 0;
    let mut order: Vec<(usize, &RunStep)> = steps.iter().enumerate().collect();
    order.sort_by_key(|(at, step)| (step.start, *at));
    let to_row = |(at, step): (usize, &RunStep)| {
        let is_model = step.kind == StepKind::Model;
        // a failed call is retried within the same iteration
        let begins_iteration = is_model && !step.sub_agent && !step.failed && depth(at) == 0;
        iteration += u64::from(begins_iteration);
        let min_depth = usize::from(!begins_iteration && iteration > 0) + usize::from(step.sub_agent && depth(at) == 0);
        let thousandths = |nanos: u64, min: f64| (seconds(nanos) / total_seconds * 1000.0).clamp(min, 1000.0);
        let note = match (step.failed, step.denied) {
            (_, true) => "denied",
            (true, _) => "failed",
            _ => "",
        };
        let tokens = [step.input_tokens, step.output_tokens].map(text::format_tokens).join(" → ");
        let has_no_cost = !is_model || step.failed;
        CallRow {
            depth: depth(at).max(min_depth),
            kind: step.kind.as_str(),
            iteration: if begins_iteration { iteration } else { 0 },
            name: text::clean_name(&step.name),
            note,
            tokens: if is_model { tokens } else { String::new() },
            duration: text::format_seconds(seconds(step.duration)),
            // an unanswered model call, and a call that is not a model call, show no cost
            cost: match step.atto_usd {
                Some(atto) => text::format_cost(atto, 0),
                None => if has_no_cost { "" } else { NO_PRICE }.to_owned(),
            },
            from: format!("{:.1}", thousandths(step.start.saturating_sub(first_start), 0.0)),
            width: format!("{:.1}", thousandths(step.duration, 2.0)),
        }
    };
    order.into_iter().map(to_row).collect()
}
