//! Tests of the pages without sockets.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::{Pages, router};
use crate::clock::{Clock, UnixNanos};
use crate::history::{Failures, History};
use crate::runs::{
    Alert, Board, Budget, Detail, Investigations, Judged, Measure, Peaks, RunState, RunSums, RunView, Severity, Step,
    StepKind, Totals,
};
use crate::telemetry::admin::{self, Admin, Config};
use crate::telemetry::{Health, Meter};

const NOW: u64 = 1_800_000_000 * 1_000_000_000;
const MINUTE: u64 = 60_000_000_000;

struct Still;

impl Clock for Still {
    fn now(&self) -> UnixNanos {
        UnixNanos(NOW)
    }

    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

struct Here;

impl crate::net::Spawn for Here {
    fn spawn(&self, _: &'static str, _: futures_util::future::BoxFuture<'static, ()>) {}

    fn blocking(&self, _: &'static str, work: Box<dyn FnOnce() + Send + 'static>) {
        work();
    }
}

#[derive(Default)]
struct Tracker {
    details: Vec<(RunView, Vec<Step>)>,
    alerts: Vec<Alert>,
}

impl Board for Tracker {
    fn recent(&self, most: usize) -> Vec<RunView> {
        self.details.iter().take(most).map(|(view, _)| view.clone()).collect()
    }

    fn run(&self, id: &str) -> Option<Detail> {
        let (view, steps) = self.details.iter().find(|(view, _)| view.run == id)?;
        Some(Detail { view: view.clone(), steps: Some(steps.clone()), step_count: steps.len() as u64 })
    }

    fn budget(&self, _: &str, _: &str) -> Option<Budget> {
        None
    }

    fn sums(&self) -> RunSums {
        RunSums::default()
    }

    fn investigations(&self) -> BTreeMap<String, Investigations> {
        BTreeMap::new()
    }

    fn measures(&self) -> Vec<Measure> {
        Vec::new()
    }

    fn alerts(&self) -> Vec<Alert> {
        self.alerts.clone()
    }
}

fn run(id: &str, tenant: &str, state: RunState, atto: i128) -> RunView {
    let mut totals = Totals { iterations: 2, ..Totals::default() };
    totals.add_call(
        "claude-sonnet-4-5",
        crate::genai::Buckets { input: 1200, output: 34, ..Default::default() },
        Some(atto),
    );
    totals.tool("Bash").failed = 1;
    totals.add_denial("Edit", "user_reject", 2);
    totals.add_fallback(["overloaded_529", "anthropic", "claude-opus-4-5", "claude-sonnet-4-5"], 1);
    RunView {
        account: "default".into(),
        run: id.into(),
        session: "s".into(),
        trace: "0af7651916cd43dd8448eb211c80319c".into(),
        root: [7; 8],
        tenant: Some(tenant.into()),
        feature: None,
        user: None,
        template: None,
        incident: None,
        commit: Some("c0ffee".into()),
        issue: Some("OPS-1".into()),
        service: Some("agents".into()),
        state,
        failed: state == RunState::Failed,
        start: NOW - 12 * MINUTE,
        last: NOW - 10 * MINUTE,
        duration: 2 * MINUTE,
        totals,
        peaks: Peaks::default(),
        judged: Judged::default(),
    }
}

fn step(name: &str, span: u8, parent: u8, kind: StepKind) -> Step {
    Step {
        kind,
        name: name.into(),
        span: [span; 8],
        parent: [parent; 8],
        start: NOW - 12 * MINUTE + u64::from(span),
        duration: 1000,
        ..Step::default()
    }
}

fn pages(tracker: Tracker, link: &str) -> (axum::Router, Meter) {
    let (meter, health, history) = (Meter::new(), Health::new(), Arc::new(History::default()));
    history.note(&tracker.recent(usize::MAX), NOW);
    let config = Config {
        trace_link: admin::links::Config { template: Some(link.to_owned()), ..Default::default() },
        ..Config::default()
    };
    let settings = config.settings().unwrap_or_else(|_| panic!("settings"));
    let pages = Pages {
        history,
        failures: Arc::new(Failures::default()),
        shelf: super::Shelf::default(),
        board: Arc::new(tracker),
        tracked: true,
        ceiling: 50,
        link: settings.trace_link,
        vault: Some("s3://audit-logs/x".to_owned()),
        meter: meter.clone(),
        health: health.clone(),
        clock: Arc::new(Still),
        tasks: Arc::new(Here),
    };
    let guard = Admin { meter: meter.clone(), health, allowed_hosts: Vec::new(), auth: None };
    (admin::router(Arc::new(guard), router(Arc::new(pages))), meter)
}

async fn ask(router: &axum::Router, path: &str, accept: &str) -> (StatusCode, String) {
    let request = Request::get(path).header("host", "localhost").header("accept", accept);
    let answer = router.clone().oneshot(request.body(Body::empty()).expect("request")).await.expect("answer");
    let policy = answer.headers().get("content-security-policy").and_then(|value| value.to_str().ok()).unwrap_or("");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("script-src"), "{path}");
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

const HTML: &str = "text/html,application/xhtml+xml";
const LINK: &str = "https://back.example/t/{trace_id}?span={span_id}&from={start_s}";

/// From a number on the front page to the trace: the number's link, then a run's link.
#[tokio::test]
async fn two_clicks_from_a_number_to_the_trace() {
    let details =
        vec![(run("cheap", "acme", RunState::Ended, 1), vec![]), (run("dear", "acme", RunState::Ended, 9), vec![])];
    let (router, _) = pages(Tracker { details, alerts: Vec::new() }, LINK);
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
    assert!(row.contains(">dear<"), "the dearest comes first: {row}");
    assert!(row.contains("https://back.example/t/0af7651916cd43dd8448eb211c80319c?span=0707070707070707"), "{row}");
}

/// JSON at the same address, with the same figures; a browser gets HTML.
#[tokio::test]
async fn programs_get_json() {
    let details = vec![
        (run("a", "acme", RunState::Ended, 250_000_000_000_000_000), vec![]),
        (run("b", "acme", RunState::Failed, 500_000_000_000_000_000), vec![]),
    ];
    let (router, _) = pages(Tracker { details, alerts: Vec::new() }, LINK);
    let (_, text) = ask(&router, "/?window=1h", "application/json").await;
    let value: Value = serde_json::from_str(&text).expect("JSON");
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
        let (status, text) = ask(&router, path, "application/json").await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(serde_json::from_str::<Value>(&text).is_ok_and(|value| value["schema"] == 1), "{path}: {text}");
    }
    assert_eq!(ask(&router, "/runs/nobody", "application/json").await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(&router, "/report?since=3w", HTML).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&router, "/report?by=nonsense", HTML).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&router, "/report/issue/OPS-9", HTML).await.0, StatusCode::NOT_FOUND);
}

/// Names that would be markup, that turn their direction, or that are endless: escaped, cut, cleaned, on every page.
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
    let ids: Vec<String> = details.iter().map(|(view, _)| format!("/runs/{}", super::text::part(&view.run))).collect();
    let (router, _) = pages(Tracker { details, alerts: Vec::new() }, "https://back.example/{trace_id}/{service}");
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

/// Cyclic, foreign and missing parents draw a tree all the same, with every call in it.
#[tokio::test]
async fn a_run_is_a_tree_whatever_it_says() {
    let steps = vec![
        step("first", 1, 2, StepKind::Model),
        step("second", 2, 1, StepKind::Model),
        step("self", 3, 3, StepKind::Tool),
        step("foreign", 4, 99, StepKind::Model),
        Step { failed: true, duration: u64::MAX, start: 0, ..step("odd", 5, 4, StepKind::Tool) },
    ];
    let (router, _) =
        pages(Tracker { details: vec![(run("a", "acme", RunState::Ended, 1), steps)], alerts: Vec::new() }, LINK);
    let (status, html) = ask(&router, "/runs/a", HTML).await;
    assert_eq!(status, StatusCode::OK);
    for name in ["first", "second", "self", "foreign", "odd"] {
        assert_eq!(html.matches(&format!(">{name}<")).count(), 1, "{name}");
    }
    assert!(html.contains("Open trace"));
}

/// An alert that holds is shown with its run; one that ended is not.
#[tokio::test]
async fn alerts_that_hold_are_shown() {
    let alert = |rule, until| Alert {
        rule,
        severity: Severity::Critical,
        account: "default".into(),
        run: "a".into(),
        session: "s".into(),
        trace: String::new(),
        tenant: Some("acme".into()),
        feature: None,
        tool: "Bash".into(),
        value: 51.0,
        threshold: 50.0,
        since: NOW - MINUTE,
        until,
    };
    let alerts = vec![alert("iteration_ceiling", None), alert("tool_loop", Some(NOW))];
    let (router, _) = pages(Tracker { details: Vec::new(), alerts }, LINK);
    let (_, html) = ask(&router, "/", HTML).await;
    assert!(html.contains("iteration_ceiling") && html.contains("/runs/a") && !html.contains("tool_loop"));
    assert!(html.contains("No runs yet"));
}

/// A link leads to the back end only, whatever an id says; what can't be an address is refused with its field.
#[test]
fn links_lead_where_they_should() {
    use crate::telemetry::admin::links::{BackEnd, Config as Link, Target};
    let settle = |link: Link| Config { trace_link: link, ..Config::default() }.settings();
    let of = |back_end, base: &str| Link { back_end: Some(back_end), base: Some(base.to_owned()), ..Link::default() };
    let link = settle(of(BackEnd::Signoz, "https://signoz.example/"))
        .ok()
        .and_then(|settings| settings.trace_link)
        .expect("link");
    let target = Target { trace: "../../evil?x=\"", span: "", start: 0, end: 0, service: "" };
    let url = link.url(&target).expect("url");
    assert_eq!(url, "https://signoz.example/trace/%2E%2E%2F%2E%2E%2Fevil%3Fx%3D%22?spanId=");
    assert!(link.url(&Target { trace: "", ..target }).is_none());
    let base = "https://ui.honeycomb.io/team/environments/prod/datasets/agents";
    let link = settle(of(BackEnd::Honeycomb, base)).ok().and_then(|settings| settings.trace_link).expect("link");
    let url = link.url(&Target { trace: "ab", span: "cd", start: 100_000_000_000, end: 160_000_000_000, service: "" });
    assert_eq!(url.as_deref(), Some(&*format!("{base}/trace?trace_id=ab&span=cd&trace_start_ts=40&trace_end_ts=220")));
    let own = |template: &str| Link { template: Some(template.to_owned()), ..Link::default() };
    for wrong in [
        own("javascript:alert({trace_id})"),
        own("https://x/{nonsense}{trace_id}"),
        own("https://x/"),
        own("https://{service}/{trace_id}"),
        of(BackEnd::Tempo, "https://x"),
        Link { back_end: Some(BackEnd::Jaeger), ..Link::default() },
    ] {
        let problems = settle(wrong).expect_err("refused");
        assert!(problems.iter().all(|problem| problem.path.starts_with("trace_link.")));
    }
}
