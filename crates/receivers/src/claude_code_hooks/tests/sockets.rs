//! The port's answers, over real sockets. What each answer does to the agent is in `tests/peers/parts/claude.py`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::super::{ClaudeCodeHooksConfig, ClaudeCodeHooksReceiver, RunningClaudeCodeHooks};
use super::*;
use kernel::clock::{Clock, ManualClock, SystemClock, UnixNanos};
use net::testing::tasks::TestTasks;
use otlp::Signal;
use pipeline::{Admission, ByteBudget, BytePermit, Effect, Outcome, Reason, Submission};
use telemetry::Meter;

const TOKEN: &str = "token-of-acme-0123";
const PATH: &str = "/v1/hooks/claude-code";
const LIMIT: usize = 300_000;

/// An inlet that records spans with their accounts and answers with prepared outcomes.
struct FakeInlet {
    budget: ByteBudget,
    outcomes: Mutex<VecDeque<Outcome>>,
    stored: Mutex<Vec<(String, String)>>,
    admitted: Mutex<Result<(), Outcome>>,
    /// A submission is answered when there is a permit.
    gate: Semaphore,
    arrived: Semaphore,
}

impl Admission for FakeInlet {
    fn accepts_signal(&self, signal: Signal) -> bool {
        signal == Signal::Traces
    }

    fn admit(&self, _: &Arc<str>) -> Result<(), Outcome> {
        self.admitted.lock().clone()
    }

    fn charge<'a>(&'a self, permit: &'a mut BytePermit, n: usize) -> BoxFuture<'a, Result<(), Outcome>> {
        Box::pin(self.budget.charge(permit, n))
    }

    fn is_crowded(&self) -> bool {
        self.budget.is_crowded()
    }

    fn submit_effects(&self, _: Vec<Effect>, _: BytePermit) -> BoxFuture<'static, Outcome> {
        Box::pin(async { Outcome::Accepted })
    }

    fn charge_refused(&self, _: &Arc<str>, _: usize) {}

    fn submit(&self, submission: Submission) -> BoxFuture<'static, Outcome> {
        let request = ExportTraceServiceRequest::decode(submission.wire.clone()).expect("a request");
        let name = request.resource_spans[0].scope_spans[0].spans[0].name.clone();
        self.stored.lock().push((submission.account.to_string(), name));
        assert!(submission.permit.bytes() >= submission.wire.len(), "the request is charged");
        self.arrived.add_permits(1);
        let outcome = self.outcomes.lock().pop_front().unwrap_or(Outcome::Accepted);
        match self.gate.try_acquire() {
            Ok(permit) => {
                permit.forget();
                Box::pin(async { outcome })
            }
            Err(_) => Box::pin(std::future::pending()),
        }
    }
}

struct Rig {
    inlet: Arc<FakeInlet>,
    running: RunningClaudeCodeHooks,
}

impl Rig {
    async fn new(clock: Arc<dyn Clock>, open: bool) -> Self {
        let config = json!({"endpoint": "127.0.0.1:0", "auth": {"tokens": {"acme": [TOKEN]}},
                            "max_request_body_size": LIMIT});
        let settings = serde_json::from_value::<ClaudeCodeHooksConfig>(config).expect("readable").settings();
        let inlet = Arc::new(FakeInlet {
            budget: ByteBudget::new(8 << 20, Duration::from_millis(20)),
            outcomes: Mutex::default(),
            stored: Mutex::default(),
            admitted: Mutex::new(Ok(())),
            gate: Semaphore::new(if open { 1000 } else { 0 }),
            arrived: Semaphore::new(0),
        });
        let receiver = ClaudeCodeHooksReceiver::build("claude_code_hooks".into(), settings.expect("valid"));
        let bound = receiver.bind().await.expect("a port");
        let admission = Arc::clone(&inlet) as Arc<dyn Admission>;
        let running = bound.serve(admission, TestTasks::shared(), clock, &Meter::new());
        Self { inlet, running }
    }

    /// Sends one request and returns status and body.
    async fn send(&self, request: &Sent<'_>) -> (u16, String) {
        send(self.running.address().expect("tcp"), request).await
    }
}

/// One request; the default is what a hook sends.
#[derive(Clone)]
struct Sent<'a> {
    method: &'a str,
    path: &'a str,
    token: &'a str,
    content_type: &'a str,
    body: String,
}

impl Default for Sent<'_> {
    fn default() -> Self {
        let body = event("Stop", r#","last_assistant_message":"CANARY""#);
        Self { method: "POST", path: PATH, token: TOKEN, content_type: "application/json", body }
    }
}

async fn send(to: SocketAddr, Sent { method, path, token, content_type, body }: &Sent<'_>) -> (u16, String) {
    let mut socket = TcpStream::connect(to).await.expect("connects");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
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
    let stored = std::mem::take(&mut *rig.inlet.stored.lock());
    let expected = ["claude_code.turn.stop", "claude_code.tool"].map(|name| ("acme".to_owned(), name.to_owned()));
    assert_eq!(stored, expected);
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
    assert!(rig.inlet.stored.lock().is_empty());
    for (status, outcome) in [
        (503, Reason::SpoolFull.outcome()),
        (503, Reason::ShuttingDown.outcome()),
        (422, Outcome::Partial { rejected: 1, reason: Reason::ItemTooLarge }),
    ] {
        rig.inlet.outcomes.lock().push_back(outcome);
        assert_eq!(rig.send(&ok()).await.0, status);
    }
    *rig.inlet.admitted.lock() = Err(Reason::RateLimited.outcome());
    assert_eq!(rig.send(&ok()).await.0, 429);
}

/// The agent waits for the answer, so it comes after `answer_within` even if the event is not stored by then.
#[tokio::test]
async fn slow_store_is_not_waited_for() {
    let clock = ManualClock::at(UnixNanos(NOON));
    let rig = Rig::new(Arc::clone(&clock) as Arc<dyn Clock>, false).await;
    let request = Sent::default();
    let answer = rig.send(&request);
    let time_passes = async {
        rig.inlet.arrived.acquire().await.expect("open").forget();
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
    assert_eq!(rig.inlet.stored.lock().len(), 1, "the engine has the event all the same");
}

/// A drain ends although a hook still waits.
#[tokio::test]
async fn drain_answers_waiting_hooks() {
    let rig = Rig::new(ManualClock::at(UnixNanos(NOON)), false).await;
    let to = rig.running.address().expect("tcp");
    let Rig { inlet, running } = rig;
    let request = Sent::default();
    let drained = async {
        inlet.arrived.acquire().await.expect("open").forget();
        running.drain(Duration::from_millis(200)).await;
    };
    let ((status, _), ()) = tokio::join!(send(to, &request), drained);
    assert_eq!(status, 503);
}
