//! The port's answers, over real sockets. What each answer does to the agent is in `tests/peers/parts/claude.py`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prost::Message as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::{ClaudeCodeHooksConfig, ClaudeCodeHooksReceiver, RunningClaudeCodeHooks};
use super::{ExportTraceServiceRequest, NOON, event};
use budgets::BudgetDesk;
use fixtures::until::until;
use kernel::clock::{Clock, ManualClock, SystemClock, UnixNanos};
use net::testing::tasks::TestTasks;
use pipeline::accounts::{RateLimit, RateLimits};
use pipeline::testing::fake_engine::{FakeEngine, ReceivedRequest};
use pipeline::{ByteBudget, Outcome, Reason};
use telemetry::Meter;

pub(super) const TOKEN: &str = "token-of-acme-0123";
/// Of an account that may send one request a second.
pub(super) const BUSY_TOKEN: &str = "token-of-busy-0123";
/// Of an account that may send one byte a second.
pub(super) const SLOW_TOKEN: &str = "token-of-slow-0123";
pub(super) const PATH: &str = "/v1/hooks/claude-code";
const LIMIT: usize = 300_000;

pub(super) struct Rig {
    pub(super) engine: Arc<FakeEngine>,
    running: RunningClaudeCodeHooks,
    pub(super) address: SocketAddr,
    pub(super) meter: Meter,
}

impl Rig {
    async fn new(clock: Arc<dyn Clock>, open: bool) -> Self {
        Self::with_budgets(clock, open, json!({"max_request_body_size": LIMIT}), None).await
    }

    /// With further settings in `config`, and a desk.
    pub(super) async fn with_budgets(
        clock: Arc<dyn Clock>,
        open: bool,
        mut config: Value,
        desk: Option<Arc<dyn BudgetDesk>>,
    ) -> Self {
        config["endpoint"] = "127.0.0.1:0".into();
        config["auth"]["tokens"] = json!({"acme": [TOKEN], "busy": [BUSY_TOKEN], "slow": [SLOW_TOKEN]});
        let settings = serde_json::from_value::<ClaudeCodeHooksConfig>(config).expect("readable").settings();
        let limit = RateLimit { requests: Some(1.0), bytes: None, burst: Duration::ZERO };
        let slow = RateLimit { requests: None, bytes: Some(1.0), burst: Duration::ZERO };
        let rates = RateLimits { named: [("busy".into(), limit), ("slow".into(), slow)].into(), others: None };
        let budget = ByteBudget::new(64 << 20, Duration::from_millis(20));
        let (engine, inlet) = FakeEngine::start("claude_code_hooks", budget, rates, Arc::clone(&clock));
        engine.holds_answers.store(!open, Ordering::SeqCst);
        let receiver = ClaudeCodeHooksReceiver::build("claude_code_hooks".into(), settings.expect("valid"));
        let bound = receiver.bind().await.expect("a port").with_budgets(desk);
        let address = bound.address().expect("tcp");
        let meter = Meter::new();
        let running = bound.serve(inlet, TestTasks::shared(), clock, &meter);
        Self { engine, running, address, meter }
    }

    /// Sends one request and returns status and body.
    pub(super) async fn send(&self, request: &Sent<'_>) -> (u16, String) {
        send(self.address, request).await
    }
}

/// One request; the default is what a hook sends.
#[derive(Clone)]
pub(super) struct Sent<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) token: &'a str,
    pub(super) content_type: &'a str,
    /// Further header lines.
    pub(super) headers: String,
    pub(super) body: String,
}

impl Default for Sent<'_> {
    fn default() -> Self {
        let body = event("Stop", r#","last_assistant_message":"CANARY""#);
        Self {
            method: "POST",
            path: PATH,
            token: TOKEN,
            content_type: "application/json",
            headers: String::new(),
            body,
        }
    }
}

pub(super) async fn send(
    to: SocketAddr,
    Sent { method, path, token, content_type, headers, body }: &Sent<'_>,
) -> (u16, String) {
    let mut socket = TcpStream::connect(to).await.expect("connects");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: {content_type}\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    // the receiver may answer, and close, before it has read all
    let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.expect("an answer");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).expect("a status").parse().expect("a number"), body.to_owned())
}

/// A stored event is answered with 200 and an empty body, the only answer by which Claude Code decides nothing.
#[tokio::test]
async fn stored_event_gets_an_empty_ok() {
    let rig = Rig::new(Arc::new(SystemClock::new()), true).await;
    assert_eq!(rig.send(&Sent::default()).await, (200, String::new()));
    let large = event("PostToolUse", &format!(r#","tool_name":"Read","tool_response":"{}""#, "x".repeat(LIMIT / 2)));
    assert_eq!(rig.send(&Sent { body: large, ..Sent::default() }).await, (200, String::new()));
    let name = |request: &ReceivedRequest| {
        assert!(request.charged >= request.wire.len(), "the request is charged");
        let decoded = ExportTraceServiceRequest::decode(request.wire.clone()).expect("a request");
        (request.account.clone(), decoded.resource_spans[0].scope_spans[0].spans[0].name.clone())
    };
    let stored: Vec<_> = rig.engine.take_requests().iter().map(name).collect();
    let expected = ["claude_code.turn.stop", "claude_code.tool"].map(|name| ("acme".to_owned(), name.to_owned()));
    assert_eq!(stored, expected);
    let text = rig.meter.render();
    assert!(text.contains("tollgate_receiver_answer_duration_seconds_count{"), "{text}");
}

/// Everything else gets an error that says what is wrong, without a word of the event.
#[tokio::test]
async fn refusals_have_their_status() {
    let rig = Rig::new(Arc::new(SystemClock::new()), true).await;
    let ok = Sent::default;
    let huge = event("Stop", &format!(r#","last_assistant_message":"{}""#, "CANARY".repeat(LIMIT)));
    for (status, request) in [
        (404, Sent { path: "/v1/traces", ..ok() }),
        (405, Sent { method: "GET", ..ok() }),
        (401, Sent { token: "CANARY-wrong-token", ..ok() }),
        (415, Sent { content_type: "text/plain", ..ok() }),
        (400, Sent { body: "CANARY".to_owned(), ..ok() }),
        (400, Sent { body: r#"{"hook_event_name":"CANARY"}"#.to_owned(), ..ok() }),
        (413, Sent { body: huge, ..ok() }),
    ] {
        let (found, body) = rig.send(&request).await;
        assert_eq!(found, status, "{body}");
        assert!(!body.is_empty() && !body.contains("CANARY"), "{body}");
    }
    assert!(rig.engine.take_requests().is_empty());
    for (status, outcome) in [
        (503, Reason::SpoolFull.outcome()),
        (503, Reason::ShuttingDown.outcome()),
        (422, Outcome::Partial { rejected: 1, reason: Reason::ItemTooLarge }),
    ] {
        rig.engine.outcomes.lock().push_back(outcome);
        assert_eq!(rig.send(&ok()).await.0, status);
    }
    for status in [200, 429] {
        assert_eq!(rig.send(&Sent { token: BUSY_TOKEN, ..ok() }).await.0, status);
    }
    let text = rig.meter.render();
    for labels in [
        r#"reason="unauthenticated",account="unattributed",from="loopback"} 1"#,
        r#"reason="rate_limited",account="busy"} 1"#,
    ] {
        assert!(text.contains(labels), "{labels}: {text}");
    }
}

/// The agent waits for the answer, so it comes after `answer_within` even if the event is not stored by then.
#[tokio::test]
async fn slow_store_is_not_waited_for() {
    let clock = ManualClock::at(UnixNanos(NOON));
    let rig = Rig::new(Arc::clone(&clock) as Arc<dyn Clock>, false).await;
    let request = Sent::default();
    let answer = rig.send(&request);
    let time_passes = async {
        until(|| rig.engine.held_count() == 1).await;
        // the timer may be made just after the event arrived
        loop {
            clock.advance(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        (status, _) = answer => assert_eq!(status, 503),
        () = time_passes => {}
    }
    assert_eq!(rig.engine.take_requests().len(), 1, "the engine has the event all the same");
}

/// A drain ends although a hook still waits.
#[tokio::test]
async fn drain_answers_waiting_hooks() {
    let rig = Rig::new(ManualClock::at(UnixNanos(NOON)), false).await;
    let Rig { engine, running, address: to, .. } = rig;
    let request = Sent::default();
    let drained = async {
        until(|| engine.held_count() == 1).await;
        running.drain(Duration::from_millis(200)).await;
    };
    let ((status, _), ()) = tokio::join!(send(to, &request), drained);
    assert_eq!(status, 503);
}
