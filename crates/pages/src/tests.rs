//! Tests of the pages without sockets.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{AdminPages, BudgetBoard, router};
use ::runs::testing::runs::{self, MINUTE, Made, NOW};
use ::runs::{Alert, RunRecord, RunState, RunStep, RunView, StepKind, encode_run};
use history::{ClientTable, FailedSpans, RETENTION, RunBoard};
use kernel::clock::{ManualClock, UnixNanos};
use kernel::pseudonym::{IdPolicy, PlainIds, Pseudonymizer};
use kernel::secret::Secret;
use telemetry::admin::{self, AdminConfig, AdminState};
use telemetry::{Health, Meter, names};

/// A run with calls, failures, denials and fallbacks, which every page shows.
pub(crate) fn run(id: &str, tenant: &str, state: RunState, atto: i128) -> RunView {
    let mut one = runs::ended(id, 2, atto);
    one.totals.tool("Bash").failed = 1;
    one.totals.add_denial("Edit", "user_reject", 2);
    one.totals.add_fallback(["overloaded_529", "anthropic", "claude-opus-4-5", "claude-sonnet-4-5"], 1);
    let failed = state == RunState::Failed;
    let (start, last) = (NOW - 12 * MINUTE, NOW - 10 * MINUTE);
    RunView { session: "s".into(), tenant: Some(tenant.into()), state, failed, start, last, ..one }
}

pub(crate) fn made(runs: Vec<(RunView, Vec<RunStep>)>) -> Made {
    Made { runs, ..Made::default() }
}

fn step(name: &str, span: u8, parent: u8, kind: StepKind) -> RunStep {
    RunStep {
        kind,
        name: name.into(),
        span: [span; 8],
        parent: [parent; 8],
        start: NOW - 12 * MINUTE + u64::from(span),
        duration: 1000,
        ..RunStep::default()
    }
}

fn pages(tracker: Made, link: &str) -> (axum::Router, Meter) {
    pages_of(RunBoard { sources: vec![Arc::new(tracker)], ..RunBoard::default() }, link)
}

pub(crate) fn pages_of(runs: RunBoard, link: &str) -> (axum::Router, Meter) {
    let pages = state_of(runs, link);
    let (meter, health) = (pages.services.meter.clone(), pages.health.clone());
    let guard = AdminState { meter: meter.clone(), health, money: ::runs::amounts::format_dollars };
    (admin::guard_routes(admin::router(Arc::new(guard)).merge(router(Arc::new(pages))), Vec::new()), meter)
}

pub(crate) fn state_of(runs: RunBoard, link: &str) -> AdminPages {
    let config = AdminConfig {
        trace_link: admin::links::TraceLinkConfig { template: Some(link.to_owned()), ..Default::default() },
        ..AdminConfig::default()
    };
    let settings = config.settings().unwrap_or_else(|_| panic!("settings"));
    AdminPages {
        runs,
        keep_runs: RETENTION,
        failures: Arc::new(FailedSpans::default()),
        clients: Arc::new(ClientTable::default()),
        tracked: true,
        iteration_ceiling: 50,
        link: settings.trace_link,
        seats: vec![Arc::new(seats())],
        budgets: BudgetBoard::default(),
        vault: Some("s3://audit-logs/x".to_owned()),
        services: net::SharedServices { clock: ManualClock::at(UnixNanos(NOW)), ..net::testing::services() },
        health: Health::new(),
    }
}

/// Makes the pseudonyms of a key.
pub(crate) fn ids() -> Arc<dyn IdPolicy> {
    Arc::new(PlainIds(Pseudonymizer::new(&Secret::new("a key of pseudonyms".to_owned()))))
}

/// Seats of this month and the last one.
fn seats() -> rates::SeatSums {
    let seats = rates::SeatSums::new([("max".to_owned(), rates::Usd::parse("100").unwrap())].into());
    let used = [
        ("u-1", rates::month_of(NOW), 30),
        ("u-2", rates::month_of(NOW), 120),
        ("u-1", rates::month_of(NOW - 31 * 24 * 60 * MINUTE), 7),
    ];
    let key = |user: &str, month| rates::SeatKey { month, plan: "max".to_owned(), user: user.to_owned() };
    seats.add("default".into(), used.map(|(user, month, usd)| (key(user, month), usd * 1_000_000_000_000_000_000)));
    seats
}

pub(crate) async fn ask(router: &axum::Router, path: &str, accept: &str) -> (StatusCode, String) {
    let request = Request::get(path).header("host", "localhost").header("accept", accept);
    let answer = router.clone().oneshot(request.body(Body::empty()).expect("request")).await.expect("answer");
    let policy = answer.headers().get("content-security-policy").and_then(|value| value.to_str().ok()).unwrap_or("");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("script-src"), "{path}");
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

pub(crate) async fn ask_json(router: &axum::Router, path: &str) -> Value {
    let (status, text) = ask(router, path, "application/json").await;
    assert_eq!(status, StatusCode::OK, "{path}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

pub(crate) const HTML: &str = "text/html,application/xhtml+xml";
const LINK: &str = "https://back.example/t/{trace_id}?span={span_id}&from={start_s}";

/// From a number on the overview to the trace: the number's link, then a run's link.
#[tokio::test]
async fn two_clicks_from_a_number_to_the_trace() {
    let details =
        vec![(run("cheap", "acme", RunState::Ended, 1), vec![]), (run("dear", "acme", RunState::Ended, 9), vec![])];
    let (router, _) = pages(made(details), LINK);
    let (status, front) = ask(&router, "/", HTML).await;
    assert_eq!(status, StatusCode::OK);
    let card = front.split("<a class=\"card").find(|card| card.contains("Cost per run")).expect("card");
    let first = card
        .split("href=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("first click")
        .replace("&#38;", "&");
    let (status, list) = ask(&router, &first, HTML).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    let row = list.split("<tr>").nth(2).expect("the first run");
    assert!(row.contains(">dear<"), "the most expensive comes first: {row}");
    assert!(row.contains("https://back.example/t/0af7651916cd43dd8448eb211c80319c?span=0707070707070707"), "{row}");
}

/// A program gets JSON with the same figures at the same address; a browser gets HTML.
#[tokio::test]
async fn programs_get_json() {
    let details = vec![
        (run("a", "acme", RunState::Ended, 250_000_000_000_000_000), vec![]),
        (run("b", "acme", RunState::Failed, 500_000_000_000_000_000), vec![]),
    ];
    let (router, _) = pages(made(details), LINK);
    let value = ask_json(&router, "/?window=1h").await;
    assert_eq!(
        (value["runs"].as_u64(), value["failed_runs"].as_u64(), value["cost_usd"].as_str()),
        (Some(2), Some(1), Some("0.75"))
    );
    assert_eq!(value["window"], "1h");
    let (_, html) = ask(&router, "/?window=1h", HTML).await;
    for shown in ["2 runs", "$0.75", "50 %", "user_reject", "overloaded_529", "claude-opus-4-5 → claude-sonnet-4-5"] {
        assert!(html.contains(shown), "{shown}: {html}");
    }
    for path in ["/runs", "/runs/a", "/changes", "/changes?by=issue", "/report", "/report/issue/OPS-1"] {
        assert_eq!(ask_json(&router, path).await["schema"], 2, "{path}");
    }
    assert_eq!(ask(&router, "/runs/nobody", "application/json").await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(&router, "/report?since=3w", HTML).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&router, "/report?by=nonsense", HTML).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&router, "/report/issue/OPS-9", HTML).await.0, StatusCode::NOT_FOUND);
}

/// What is to pay stands beside the API-equivalent, in sums and for the run, and only where plans cover a part of it;
/// seats are listed with their price, most used first, and those of last month only as JSON.
#[tokio::test]
async fn payable_stands_beside_the_api_equivalent() {
    const CENT: i128 = 10_000_000_000_000_000;
    let mut covered = run("covered", "acme", RunState::Ended, 500 * CENT);
    covered.totals.models.values_mut().for_each(|model| model.covered_atto_usd = 400 * CENT);
    let details = vec![(covered, vec![]), (run("paid", "globex", RunState::Ended, 25 * CENT), vec![])];
    let (router, _) = pages(made(details), LINK);
    let value = ask_json(&router, "/").await;
    assert_eq!((&value["cost_usd"], &value["payable_usd"]), (&"5.25".into(), &"1.25".into()));
    assert_eq!(
        (&value["by_tenant"][0]["payable_usd"], &value["by_tenant"][1]["payable_usd"]),
        (&"1".into(), &"0.25".into())
    );
    let (months, seats) =
        ([rates::month_of(NOW), rates::month_of(NOW - 31 * 24 * 60 * MINUTE)], value["seats"].as_array().unwrap());
    let rows: Vec<_> = seats
        .iter()
        .map(|seat| json!([seat["user"], seat["month"], seat["api_equivalent_usd"], seat["reaches_seat_price"]]))
        .collect();
    assert_eq!(
        rows,
        [
            json!(["u-2", months[0], "120", true]),
            json!(["u-1", months[0], "30", false]),
            json!(["u-1", months[1], "7", false])
        ]
    );
    let (_, html) = ask(&router, "/", HTML).await;
    for shown in [
        "<strong>$1.25 to pay</strong>",
        "$5.25</span> API-equivalent",
        "$1.00 to pay · 1 run",
        "$120.00 of $100.00 · worth its price",
        "$30.00 of $100.00 · below its price",
    ] {
        assert!(html.contains(shown), "{shown}: {html}");
    }
    assert!(!html.contains("$0.25 to pay") && !html.contains("$7.00 of"), "{html}");
    let (_, html) = ask(&router, "/runs/covered", HTML).await;
    assert!(html.contains("To pay") && html.contains("$1.00"), "{html}");
    assert!(!ask(&router, "/runs/paid", HTML).await.1.contains("To pay"));
}

/// What caching saved, or cost more, stands beside the cost of sums and of the run, with the right sign, and nowhere
/// where no cache was used.
#[tokio::test]
async fn cache_savings_have_their_sign() {
    const CENT: i128 = 10_000_000_000_000_000;
    let with = |name: &str, tenant: &str, saved: i128| {
        let mut view = run(name, tenant, RunState::Ended, 100 * CENT);
        view.totals.models.values_mut().for_each(|model| model.saved_atto_usd = saved);
        (view, vec![])
    };
    let runs =
        vec![with("reads", "acme", 250 * CENT), with("writes", "globex", -25 * CENT), with("plain", "initech", 0)];
    let (router, _) = pages(made(runs), LINK);
    let value = ask_json(&router, "/").await;
    assert_eq!(value["cache_savings_usd"], "2.25");
    let mut tenants: Vec<_> =
        value["by_tenant"].as_array().unwrap().iter().map(|one| &one["cache_savings_usd"]).collect();
    tenants.sort_by_key(|usd| usd.to_string());
    assert_eq!(tenants, [&json!("-0.25"), &json!("2.5"), &Value::Null]);
    let (_, html) = ask(&router, "/", HTML).await;
    for shown in ["(caching saved $2.25)", "caching saved $2.50 · 1 run", "caching cost $0.25 more · 1 run"] {
        assert!(html.contains(shown), "{shown}: {html}");
    }
    for (run, shown) in [("reads", "caching saved $2.50"), ("writes", "caching cost $0.25 more")] {
        assert!(ask(&router, &format!("/runs/{run}"), HTML).await.1.contains(shown));
    }
    assert!(!ask(&router, "/runs/plain", HTML).await.1.contains("caching"));
    assert_eq!(ask_json(&router, "/runs/reads").await["totals"]["cache_savings_usd"], "2.5");
}

/// A runaway agent is a live run: its cost is in all sums with the next response, and it is first where live runs are
/// sorted by cost. The browser refreshes the page unless automatic refresh is off. (Regression test: "Nothing was
/// spent" was shown for three live runs of $10.72.)
#[tokio::test]
async fn live_runs_count_up_to_now() {
    const CENT: i128 = 10_000_000_000_000_000;
    let mut details: Vec<_> =
        (0..15).map(|at| (run(&format!("idle-{at}"), "acme", RunState::Live, CENT), vec![])).collect();
    details.push((run("runaway", "globex", RunState::Live, 1057 * CENT), vec![step("m", 1, 0, StepKind::Model)]));
    let mut unknown = run("unknown", "initech", RunState::Live, 0);
    unknown.totals.models.values_mut().for_each(|model| model.unpriced = model.calls);
    details.push((unknown, vec![step("m", 1, 0, StepKind::Model)]));
    let (router, _) = pages(made(details), LINK);
    let value = ask_json(&router, "/").await;
    assert_eq!((&value["runs"], &value["live_runs"], &value["cost_usd"]), (&17.into(), &17.into(), &"10.72".into()));
    assert_eq!(value["by_tenant"][2]["cost_usd"], Value::Null, "{value}");
    // The time of a live run is counted like in `p95_seconds_per_run`: up to its last event.
    assert_eq!(value["longest"][0]["duration_seconds"], value["p95_seconds_per_run"]["value"], "{value}");
    let (_, html) = ask(&router, "/", HTML).await;
    for shown in
        ["17 runs", "17 live now", "$10.72", "up to now", "and 7 more live runs", "no price", "1 calls without"]
    {
        assert!(html.contains(shown), "{shown}: {html}");
    }
    assert!(!html.contains("Nothing was spent"));
    let (_, list) = ask(&router, "/runs?state=live&sort=cost", HTML).await;
    assert!(list.split("<tr>").nth(2).is_some_and(|row| row.contains(">runaway<")), "{list}");
    let (_, one) = ask(&router, "/runs/unknown", HTML).await;
    assert!(one.contains("no price") && !one.contains("$0<"), "{one}");
    for (path, again) in
        [("/", true), ("/runs", true), ("/runs/runaway", true), ("/?paused=1", false), ("/changes", false)]
    {
        let request = Request::get(path).header("host", "localhost").header("accept", HTML).body(Body::empty());
        let answer = router.clone().oneshot(request.expect("request")).await.expect("answer");
        assert_eq!(answer.headers().contains_key("refresh"), again, "{path}");
    }
}

/// The state of a card on the overview, and the whole card.
fn card(html: &str, title: &str) -> (String, String) {
    let card = html.split("<a class=\"card").find(|card| card.contains(title)).expect("card");
    (card.split('"').next().unwrap_or("").trim().to_owned(), card.to_owned())
}

/// `count` runs, of which the first `failed` failed, each with a cost of `cents` and a duration of `minutes`, `days`
/// ago.
fn many(count: usize, failed: usize, cents: i128, minutes: u64, days: u64) -> Vec<(RunView, Vec<RunStep>)> {
    let of = |at: usize| {
        let state = if at < failed { RunState::Failed } else { RunState::Ended };
        let one = run(&format!("r{days}-{at}"), "acme", state, cents * 10_000_000_000_000_000);
        let last = one.last - days * 24 * 60 * MINUTE;
        (RunView { duration: minutes * MINUTE, start: last - minutes * MINUTE, last, ..one }, vec![])
    };
    (0..count).map(of).collect()
}

/// A colour belongs to its own number: the average is good while one run is over the ceiling, which is shown beside
/// it. A number above its threshold is never good, and with too few runs no number is judged, which is stated.
/// (Regression test: the failure card was green at 100 %, 1 of 1.)
#[tokio::test]
async fn a_colour_belongs_to_its_number() {
    let mut details = many(9, 0, 1, 2, 0);
    let mut over = run("over", "acme", RunState::Live, 1);
    over.totals.iterations = 60;
    details.push((over, vec![]));
    let (router, _) = pages(made(details), LINK);
    let (_, html) = ask(&router, "/", HTML).await;
    let (state, card_) = card(&html, "Iterations per run");
    assert!(
        state == "good" && card_.contains("<div class=\"limit bad\">highest in one run 60 (ceiling 50)"),
        "{card_}"
    );
    let few = "too few runs to judge";
    for (today, yesterday, states) in [
        // 1 of 1 failed, with ten times yesterday's cost and time
        (many(1, 1, 10, 20, 0), many(1, 0, 1, 2, 1), ["", "", ""]),
        (many(1, 0, 1, 2, 0), many(1, 0, 1, 2, 1), ["", "", ""]),
        (many(29, 29, 10, 20, 0), many(40, 0, 1, 2, 1), ["", "", ""]),
        (many(30, 30, 10, 20, 0), many(30, 0, 1, 2, 1), ["bad", "bad", "bad"]),
        (many(30, 1, 1, 2, 0), many(30, 0, 1, 2, 1), ["good", "good", "good"]),
        // a single failure yesterday does not raise the threshold
        (many(30, 30, 1, 2, 0), many(1, 1, 1, 2, 1), ["bad", "", ""]),
        (many(30, 3, 1, 2, 0), many(30, 3, 1, 2, 1), ["good", "good", "good"]),
    ] {
        let (router, _) = pages(made(today.into_iter().chain(yesterday).collect()), LINK);
        let (_, html) = ask(&router, "/", HTML).await;
        for (title, wanted) in ["Failure rate", "p95 time per run", "Cost per run"].into_iter().zip(states) {
            let (state, card) = card(&html, title);
            assert_eq!(state, wanted, "{card}");
            assert_eq!(card.contains(few), wanted.is_empty(), "{card}");
        }
        let (state, card) = card(&html, "Iterations per run");
        assert!(state == "good" && !card.contains(few), "{card}");
    }
    let mut looping = run("loop", "acme", RunState::Ended, 1);
    for (iterations, wanted) in [(39, "good"), (40, "warn"), (50, "bad"), (500, "bad")] {
        looping.totals.iterations = iterations;
        let (router, _) = pages(made(vec![(looping.clone(), vec![])]), LINK);
        let (_, html) = ask(&router, "/", HTML).await;
        assert_eq!(card(&html, "Iterations per run").0, wanted, "{iterations}");
    }
    let (router, _) = pages(made(vec![]), LINK);
    let (_, html) = ask(&router, "/", HTML).await;
    assert!(html.contains("No runs yet") && !html.contains("without usage"), "{html}");
    for title in ["Iterations per run", "p95 time per run", "Failure rate", "Cost per run"] {
        assert_eq!(card(&html, title).0, "", "{title} of no runs");
    }
}

/// Names with markup, direction marks or endless length are escaped, cleaned and cut on every page.
#[tokio::test]
async fn hostile_names_do_nothing() {
    let names = ["<script>alert(1)</script>", "\u{202e}evil\u{2066}", "\" onmouseover=\"x", "a\u{0}b\n\r"];
    let endless = "x".repeat(5000);
    let details: Vec<_> = (names.into_iter().chain([endless.as_str()]).enumerate())
        .map(|(number, name)| {
            let mut one = run(&format!("{name}{number}"), name, RunState::Ended, 1);
            (one.feature, one.service, one.commit, one.issue) =
                (Some(name.into()), Some(name.into()), Some(name.into()), Some(name.into()));
            one.totals.tool(name).failed = 1;
            (one, vec![step(name, 1, 2, StepKind::Tool)])
        })
        .collect();
    let ids: Vec<String> =
        details.iter().map(|(view, _)| format!("/runs/{}", super::text::percent_encode(&view.run))).collect();
    let (router, _) = pages(made(details), "https://back.example/{trace_id}/{service}");
    let fixed = ["/", "/runs", "/changes", "/changes?by=issue"].map(str::to_owned);
    for path in fixed.into_iter().chain(ids) {
        let (status, html) = ask(&router, &path, HTML).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(!html.contains("<script") && !html.contains("onmouseover=\"x"), "{path}");
        assert!(!html.contains('\u{202e}') && !html.contains('\u{2066}') && !html.contains('\u{0}'), "{path}");
        assert!(!html.contains(&"x".repeat(61)) || path.contains("xxxx") || html.contains("href"), "{path}");
        let longest = html
            .split(['"', '<', '>'])
            .filter(|text| !text.starts_with("/runs") && !text.starts_with("https:"))
            .map(str::len)
            .max();
        assert!(longest.is_some_and(|longest| longest < 9000), "{path}: {longest:?}");
    }
}

/// Cyclic, unknown and missing parents still give a tree that contains every call.
#[tokio::test]
async fn a_run_is_a_tree_whatever_it_says() {
    let steps = vec![
        step("first", 1, 2, StepKind::Model),
        step("second", 2, 1, StepKind::Model),
        step("self", 3, 3, StepKind::Tool),
        step("foreign", 4, 99, StepKind::Model),
        RunStep { failed: true, duration: u64::MAX, start: 0, ..step("odd", 5, 4, StepKind::Tool) },
    ];
    let (router, _) = pages(made(vec![(run("a", "acme", RunState::Ended, 1), steps)]), LINK);
    let (status, html) = ask(&router, "/runs/a", HTML).await;
    assert_eq!(status, StatusCode::OK);
    for name in ["first", "second", "self", "foreign", "odd"] {
        assert_eq!(html.matches(&format!(">{name}<")).count(), 1, "{name}");
    }
    assert!(html.contains("Open trace"));
}

/// A message contains the measured value with its unit, and links to a trace and a run, also for an alert about a
/// session.
#[test]
fn every_message_leads_to_run_and_trace() {
    use super::alert_message::{ExampleRuns, MessageLinks, format_alert};
    let other = RunView { trace: "0b".into(), ..run("other", "acme", RunState::Ended, 1) };
    let all = [other, run("dear", "acme", RunState::Live, 9)].map(|view| encode_run(&view, NOW));
    let trace = AdminConfig {
        trace_link: admin::links::TraceLinkConfig { template: Some(LINK.to_owned()), ..Default::default() },
        public_url: Some("https://tollgate.example/".into()),
        ..AdminConfig::default()
    };
    let settings = trace.settings().unwrap_or_else(|_| panic!("settings"));
    let links = MessageLinks { trace: settings.trace_link, page: settings.public_url };
    let session =
        Alert { run: String::new(), trace: String::new(), session: "s".into(), ..runs::alert("session_cost", "", NOW) };
    let of_tenant = Alert { session: String::new(), feature: None, ..session.clone() };
    for alert in [session, of_tenant, Alert { session: "s".into(), ..runs::alert("session_cost", "dear", NOW) }] {
        let alerts = [alert.clone()];
        let mut examples = ExampleRuns::new(&alerts);
        all.iter().for_each(|run| examples.add(&RunRecord::decode(run).expect("a record")));
        let shown = format_alert(&alert, &links, examples.finish()[0].as_ref());
        let text = shown["text"].as_str().unwrap_or_default();
        assert!(text.contains("session_cost: $7.00, 1.4 × the limit of $5.00"), "{text}");
        assert!(
            text.contains("<https://back.example/t/0af7651916cd43dd8448eb211c80319c?span=0707070707070707"),
            "{text}"
        );
        assert!(text.contains("<https://tollgate.example/runs/dear?account=default|run>"), "{text}");
    }
    let bad = AdminConfig { public_url: Some("tollgate.example".into()), ..AdminConfig::default() };
    assert!(bad.settings().is_err_and(|problems| problems[0].path == "public_url"));
}

/// Alerts about one run and its session form a group, the most severe group first; a tenant's drift is a group of its
/// own and calls its run an example; an alert that ended is not shown. (Regression test: each alert was a row, latest
/// first, so that a critical one could be below a dozen warnings.)
#[tokio::test]
async fn alerts_about_one_run_stand_together() {
    let warning = |rule, run: &str, since| runs::alert(rule, run, since);
    let session = Alert { run: String::new(), session: "s".into(), ..runs::alert("session_cost_runaway", "", NOW - 3) };
    let drift =
        Alert { run: String::new(), session: String::new(), feature: None, ..warning("cost_per_run_drift", "", NOW) };
    let mut alerts = vec![drift];
    alerts.extend((0..20).map(|number| warning("tool_retries", &format!("other-{number}"), NOW - 1)));
    alerts.extend([
        warning("tool_calls_in_window", "a", NOW - 2),
        session,
        runs::alert("iteration_ceiling", "a", NOW - 4),
        Alert { until: Some(NOW), ..runs::alert("tool_retries", "ended", NOW - MINUTE) },
    ]);
    let details = vec![(run("a", "acme", RunState::Live, 9), vec![])];
    let tracker = Made { alerts: alerts.into(), ..made(details) };
    let (router, _) = pages(tracker, LINK);
    let (_, html) = ask(&router, "/", HTML).await;
    let section = html.split("<section class=\"alerts critical\">").nth(1).expect("alerts");
    let groups: Vec<&str> = section.split("</section>").next().expect("end").split("<li>").skip(1).collect();
    assert!(groups.len() == 12 && !html.contains("/runs/ended"), "{html}");
    let first = groups[0];
    let place = |text: &str| first.find(text).unwrap_or_else(|| panic!("{text} in {first}"));
    let order = [
        "run <a href=\"/runs/a?account=default\">",
        "session_cost_runaway",
        "iteration_ceiling",
        "tool_calls_in_window",
    ]
    .map(place);
    assert!(order.is_sorted() && first.matches("/runs/a").count() == 1, "{first}");
    assert!(groups[1].contains("tenant acme · for example run <a href=\"/runs/a?account=default\">"), "{}", groups[1]);
    assert!(section.contains("and 10 more: "), "{section}");
}

/// The page shows model calls that providers refused, whether or not another model took over, and those without a price
/// because their client reports no usage, with the setting to turn on (that was only logged, once a day); long ids are
/// complete, for a person who searches for them.
#[tokio::test]
async fn troubles_and_long_ids() {
    let id = "oncall-".repeat(20);
    let mut one = RunView { session: id.clone(), ..run(&id, "acme", RunState::Live, 9) };
    one.totals.sub_agents = 2;
    one.totals.failed_calls = 36;
    one.totals.add_trouble("overloaded_529", "anthropic", 36);
    one.totals.add_call("gpt-5-mini", Default::default(), None);
    one.totals.mark_no_usage("gpt-5-mini");
    let alerts = vec![runs::alert("iteration_ceiling", &id, NOW)];
    let tracker = Made { alerts: alerts.into(), ..made(vec![(one, vec![])]) };
    let (router, _) = pages(tracker, LINK);
    let (_, html) = ask(&router, "/", HTML).await;
    let sentence = "36 of 38 model calls were refused, rate limited or overloaded: anthropic overloaded_529 (36).";
    assert!(html.contains(sentence), "{html}");
    assert!(html.contains("1 model call was answered without usage, so it has no price: gpt-5-mini in agents (1)."));
    assert!(html.contains("stream_options.include_usage"), "{html}");
    assert_eq!(html.matches(&format!(">{id}</code>")).count(), 3, "in three tables");
    assert_eq!(html.matches(">agents ↗</a>").count(), 3, "the row's link is its trace");
    let (_, html) = ask(&router, &format!("/runs/{id}"), HTML).await;
    assert!(html.contains(&format!("<dd>{id}</dd>")), "its session: {html}");
    assert!(html.contains("<dt>Sub-agents</dt><dd><strong>2</strong>"), "{html}");
    let value = ask_json(&router, "/").await;
    assert_eq!((&value["model_call_failures"][0]["count"], &value["failed_model_calls"]), (&36.into(), &36.into()));
}

/// With two accounts that have a run of one id, each link names its account, an address without an account asks which,
/// and tenants of the same name stay separate.
#[tokio::test]
async fn an_id_of_two_accounts() {
    let of =
        |account: &str, atto: i128| RunView { account: account.into(), ..run("same", "acme", RunState::Ended, atto) };
    let details = vec![(of("ours", 9), vec![step("mine", 1, 0, StepKind::Tool)]), (of("theirs", 5), vec![])];
    let tracker = made(details);
    tracker.alerts.lock().push(Alert { account: "theirs".into(), ..runs::alert("limit_hit", "same", NOW) });
    let (router, _) = pages(tracker, LINK);
    let (_, front) = ask(&router, "/", HTML).await;
    for link in
        ["/runs/same?account=ours", "/runs/same?account=theirs", "tenant=acme&#38;account=ours", "acme · theirs"]
    {
        assert!(front.contains(link), "{link}: {front}");
    }
    assert!(!front.contains("\"/runs/same\""), "a link that leads to two");
    let (status, whose) = ask(&router, "/runs/same", HTML).await;
    assert!(status == StatusCode::CONFLICT && whose.contains("/runs/same?account=theirs"), "{whose}");
    let (status, text) = ask(&router, "/runs/same", "application/json").await;
    assert!(status == StatusCode::CONFLICT && text.contains("add ?account="), "{text}");
    let (status, html) = ask(&router, "/runs/same?account=ours", HTML).await;
    assert!(status == StatusCode::OK && html.contains("mine"), "{html}");
    let value = ask_json(&router, "/runs?account=theirs").await;
    assert_eq!(
        (value["runs"].as_array().map(Vec::len), value["runs"][0]["account"].as_str()),
        (Some(1), Some("theirs"))
    );
    let value = ask_json(&router, "/").await;
    assert_eq!(value["by_tenant"].as_array().map(Vec::len), Some(2), "{value}");
}

/// A link leads only to the back end, whatever the id contains; an invalid address is refused with its field.
#[test]
fn links_lead_where_they_should() {
    use telemetry::admin::links::{TraceBackend, TraceLinkConfig as Link, TraceTarget};
    let settle = |link: Link| AdminConfig { trace_link: link, ..AdminConfig::default() }.settings();
    let of = |back_end, base: &str| Link { back_end: Some(back_end), base: Some(base.to_owned()), ..Link::default() };
    let link = settle(of(TraceBackend::Signoz, "https://signoz.example/"))
        .ok()
        .and_then(|settings| settings.trace_link)
        .expect("link");
    let target = TraceTarget { trace: "../../evil?x=\"", span: "", start: 0, end: 0, service: "" };
    let url = link.url(&target).expect("url");
    assert_eq!(url, "https://signoz.example/trace/%2E%2E%2F%2E%2E%2Fevil%3Fx%3D%22?spanId=");
    assert!(link.url(&TraceTarget { trace: "", ..target }).is_none());
    let base = "https://ui.honeycomb.io/team/environments/prod/datasets/agents";
    let link = settle(of(TraceBackend::Honeycomb, base)).ok().and_then(|settings| settings.trace_link).expect("link");
    let url =
        link.url(&TraceTarget { trace: "ab", span: "cd", start: 100_000_000_000, end: 160_000_000_000, service: "" });
    assert_eq!(url.as_deref(), Some(&*format!("{base}/trace?trace_id=ab&span=cd&trace_start_ts=40&trace_end_ts=220")));
    let own = |template: &str| Link { template: Some(template.to_owned()), ..Link::default() };
    for wrong in [
        own("javascript:alert({trace_id})"),
        own("https://x/{nonsense}{trace_id}"),
        own("https://x/"),
        own("https://{service}/{trace_id}"),
        of(TraceBackend::Tempo, "https://x"),
        Link { back_end: Some(TraceBackend::Jaeger), ..Link::default() },
    ] {
        let problems = settle(wrong).expect_err("refused");
        assert!(problems.iter().all(|problem| problem.path.starts_with("trace_link.")));
    }
}

/// The run's page and JSON list the sessions before its own, each with its cost; a ring of sessions ends.
#[tokio::test]
async fn sessions_that_continue_each_other_are_one_story() {
    let part = |id: &str, continues: Option<&str>| RunView {
        session: format!("session <{id}>"),
        continues: continues.map(|session| format!("session <{session}>")),
        ..run(id, "acme", RunState::Ended, 9)
    };
    let runs = [part("a", None), part("b", Some("a")), part("b2", Some("a")), part("c", Some("b2"))];
    let runs = runs.map(|run| if run.run == "b2" { RunView { session: "session <b>".into(), ..run } } else { run });
    let last = RunView { continues: Some("session <b>".into()), ..runs[3].clone() };
    let ring = [part("x", Some("y")), part("y", Some("x"))];
    let all = runs[..3].iter().cloned().chain([last]).chain(ring);
    let (router, _) = pages(made(all.map(|run| (run, vec![])).collect()), LINK);
    let story = |json: &Value| {
        let parts = json["story"].as_array().expect("a story").iter();
        parts.map(|part| (part["session_id"].as_str().unwrap_or("").to_owned(), part["sum"]["runs"].clone())).collect()
    };
    let told: Vec<(String, Value)> = story(&ask_json(&router, "/runs/c").await);
    let expected = [("session <a>", 1), ("session <b>", 2), ("session <c>", 1)];
    assert_eq!(told, expected.map(|(session, runs)| (session.to_owned(), Value::from(runs))));
    let alone: Vec<(String, Value)> = story(&ask_json(&router, "/runs/a").await);
    assert!(alone.is_empty());
    let ring: Vec<(String, Value)> = story(&ask_json(&router, "/runs/x").await);
    let expected = [("session <y>", 1), ("session <x>", 1)];
    assert_eq!(ring, expected.map(|(session, runs)| (session.to_owned(), Value::from(runs))), "it ends");
    let (_, page) = ask(&router, "/runs/c", HTML).await;
    assert!(
        page.contains("The story") && page.contains("/runs?session=session%20%3Ca%3E&#38;account=default"),
        "{page}"
    );
    assert!(!page.contains("session <"), "escaped");
    let (_, page) = ask(&router, "/runs/a", HTML).await;
    assert!(!page.contains("The story"));
}

/// A user who misses a value finds its key, and one line that keeps all such keys, in the JSON of the gateway, the
/// overview and the report, and in the report's text. (Regression test: nothing named it.)
#[tokio::test]
async fn moved_keys_are_named() {
    let (router, meter) = pages(made(vec![]), LINK);
    let (_, text) = ask(&router, "/report", HTML).await;
    assert!(!text.contains("moved to the vault"), "{text}");
    for (key, count) in [("team", 1200), ("jira", 3)] {
        meter.counter(&names::VAULT_MOVED_VALUES, &[("processor", "vault"), ("key", key)]).increment(count);
    }
    meter.gauge(&names::VAULT_PRIVACY, &[("processor", "vault"), ("profile", "strict")]).set(1.0);
    for path in ["/api/gateway", "/", "/report"] {
        let json = ask_json(&router, path).await;
        assert_eq!(json["moved_keys"][0]["key"], "team", "{path}: {json}");
        assert_eq!(json["moved_keys"][1]["keep_config"], "vault: { labels: { keep: [jira] } }", "{path}: {json}");
        assert_eq!(json["keep_config"][0], "vault: { labels: { keep: [team, jira] } }", "{path}: {json}");
        assert_eq!(json["privacy"]["vault"], "strict", "{path}: {json}");
    }
    let (_, text) = ask(&router, "/report", HTML).await;
    assert!(text.contains("- 1,200 × `team`\n- 3 × `jira`\n"), "{text}");
    assert!(text.contains("`vault: { labels: { keep: [team, jira] } }`"), "{text}");
}

/// All moved keys are listed, not only the most frequent ones: each is missing on some dashboard.
#[tokio::test]
async fn all_moved_keys_are_listed() {
    let (router, meter) = pages(made(vec![]), LINK);
    for number in 0..60 {
        let key = format!("app.k{number}");
        meter.counter(&names::VAULT_MOVED_VALUES, &[("processor", "vault"), ("key", &key)]).increment(1);
    }
    let (_, text) = ask(&router, "/report", HTML).await;
    let json = ask_json(&router, "/report").await;
    assert_eq!((text.matches("- 1 × `app.k").count(), json["moved_keys"].as_array().map(Vec::len)), (60, Some(60)));
}

/// Undeclared agents are on the overview and in JSON with the line that declares them, if there are any.
#[tokio::test]
async fn undeclared_agents_are_named() {
    let (router, meter) = pages(made(vec![]), LINK);
    let (_, html) = ask(&router, "/", HTML).await;
    assert!(!html.contains("agents: { services"), "{html}");
    for (service, closed) in [("shop", "false"), ("crew", "true")] {
        let labels = [("processor", "vault"), ("service", service), ("closed", closed)];
        meter.gauge(&names::UNDECLARED_AGENT_SERVICES, &labels).set(1.0);
    }
    let line = "vault: { agents: { services: [crew, shop] } }";
    let (_, html) = ask(&router, "/", HTML).await;
    assert!(html.contains(line), "{html}");
    let json = ask_json(&router, "/api/gateway").await;
    assert_eq!(json["agents_config"][0], line, "{json}");
    assert_eq!(json["undeclared_agents"][0]["closed"], true, "{json}");
}

/// Calls without a price are listed, and an unknown provider with the line of configuration that prices it.
#[tokio::test]
async fn unpriced_calls_are_listed() {
    let (router, meter) = pages(made(vec![]), LINK);
    let (_, html) = ask(&router, "/", HTML).await;
    assert!(!html.contains("Calls without a price"), "{html}");
    let count = |provider, reason, nearest, count| {
        let labels = [("provider", provider), ("model", "m-<1>"), ("reason", reason), ("nearest", nearest)];
        meter.counter(&names::COST_UNPRICED, &labels).increment(count);
    };
    count("our-proxy", "unknown_provider", "openai/gpt-5-mini", 1200);
    count("openai", "unknown_model", "openai/gpt-5-mini", 7);
    count("other", "unknown_provider", "openai/gpt-5-mini", 3);
    let (_, html) = ask(&router, "/", HTML).await;
    assert!(html.contains("cost: { providers: { our-proxy: openai } }"), "{html}");
    assert!(html.contains("closest listed model: openai/gpt-5-mini") && !html.contains("m-<1>"), "{html}");
    for path in ["/api/gateway", "/"] {
        let json = ask_json(&router, path).await;
        let rows = &json["calls_without_price"];
        assert_eq!(rows[0]["price_config"], "cost: { providers: { our-proxy: openai } }", "{path}: {json}");
        assert_eq!((&rows[1]["price_config"], &rows[2]["price_config"]), (&Value::Null, &Value::Null), "{path}");
    }
}

/// Problems that need an operator although the gateway is ready are on both pages and in the JSON's `problems`.
#[tokio::test]
async fn problems_of_a_ready_gateway_are_shown() {
    let (router, meter) = pages(made(vec![]), LINK);
    meter.gauge(&names::CONFIG_LAST_RELOAD_SUCCESS, &[]).set(1.0);
    meter.gauge(&names::KAFKA_REACHABLE, &[("receiver", "kafka")]).set(1.0);
    let before = ask_json(&router, "/api/gateway").await["problems"].clone();
    meter.gauge(&names::CONFIG_LAST_RELOAD_SUCCESS, &[]).set(0.0);
    meter.gauge(&names::KAFKA_REACHABLE, &[("exporter", "kafka/eu")]).set(0.0);
    let (_, html) = ask(&router, "/", HTML).await;
    assert!(html.contains("configuration: runs an older configuration than the file"), "{html}");
    assert!(html.contains("exporter kafka/eu: no broker of Kafka answers"), "{html}");
    let problems = ask_json(&router, "/api/gateway").await["problems"].clone();
    let count = |problems: &Value| problems.as_array().map_or(0, Vec::len);
    assert_eq!(count(&problems), count(&before) + 2, "{problems}");
}

/// When streamed answers begin is shown by model, most calls first, as the bucket in which 95 of 100 lie.
#[tokio::test]
async fn first_chunks_are_shown() {
    let (router, meter) = pages(made(vec![]), LINK);
    assert!(!ask(&router, "/", HTML).await.1.contains("Time to first chunk"));
    let record = |model, count: usize, seconds| {
        let labels = [("model", model), ("provider", "openai")];
        (0..count).for_each(|_| meter.histogram(&names::FIRST_CHUNK, &labels).record(seconds));
    };
    record("gpt-<b>", 2, 700.0);
    record("gpt-4o", 95, 0.8);
    record("gpt-4o", 5, 40.0);
    let (_, html) = ask(&router, "/", HTML).await;
    assert!(html.contains("within 1.0 s") && html.contains("over 10 min") && !html.contains("gpt-<b>"), "{html}");
    let rows = &ask_json(&router, "/").await["first_chunks"];
    assert_eq!((&rows[0]["model"], &rows[0]["calls"]), (&json!("gpt-4o"), &json!(100)), "{rows}");
    assert_eq!((&rows[0]["p95_within_seconds"], &rows[1]["p95_within_seconds"]), (&json!(1.0), &Value::Null), "{rows}");
}

/// Measures the first page over 100,000 ended runs of two days; run it by name, in an optimised build. (A time is no
/// test, so it only prints.)
#[tokio::test]
#[ignore = "a measurement"]
#[expect(clippy::print_stderr, clippy::disallowed_methods, reason = "a measurement")]
async fn measure_a_hundred_thousand_runs() {
    let mut store = history::HistoryStore::in_memory();
    for part in 0..100_u64 {
        let one = |at: u64| {
            let number = part * 1000 + at;
            let mut one = run(&format!("{number:032x}"), &format!("tenant-{}", number % 50), RunState::Ended, 7);
            (one.last, one.session) = (NOW - number * MINUTE * 2880 / 100_000, format!("session-{}", number / 3));
            one.service = Some(format!("service-{}", number % 20));
            (::runs::run_key("default", &one.run), runs::detail(&one, &[step("m", 1, 0, StepKind::Model)]))
        };
        let ended = ::runs::EndedRuns { ended: (0..1000).map(one).collect(), removed: Vec::new() };
        let write = history::HistoryWrite { runs: ended, ..Default::default() };
        store.write(&write, NOW).expect("write");
    }
    let board = RunBoard { store: Arc::new(parking_lot::Mutex::new(Some(store))), ..RunBoard::default() };
    let (router, _) = pages_of(board, LINK);
    for path in ["/", "/?window=1h", "/runs", "/runs?service=service-3&sort=cost", "/changes", "/report"] {
        let begin = std::time::Instant::now();
        let (status, html) = ask(&router, path, HTML).await;
        eprintln!("{path}: {status}, {} bytes, {:?}", html.len(), begin.elapsed());
    }
}
