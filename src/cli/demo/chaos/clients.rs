//! [`ChaosClients`]: tasks that send spans until they are stopped; a request without an OK is sent again unchanged. A
//! span id counts as accepted once its request was answered with a full OK. The parent module evaluates the ids.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use parking_lot::Mutex;

use crate::app::build::GatewayDeps;
use crate::cli::error::CommandError;
use kernel::clock::{Clock, with_timeout};
use net::client::{self, ClientSettings, HttpClient};
use net::{ProxyRules, Spawn};
use otlp::{Signal, json};

/// Number of concurrent clients.
const CLIENT_COUNT: usize = 3;
/// Spans per request.
const SPANS_PER_REQUEST: u64 = 20;
/// Pause before a request is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Pause between two requests of a client.
const REQUEST_PAUSE: Duration = Duration::from_millis(40);
/// The longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A group of sending clients.
pub(super) struct ChaosClients(Arc<ClientState>);

struct ClientState {
    client: HttpClient,
    clock: Arc<dyn Clock>,
    uri: String,
    is_sending: AtomicBool,
    /// Number of clients waiting for an answer.
    open_requests: AtomicUsize,
    next_id: AtomicU64,
    refused: AtomicU64,
    accepted: Mutex<BTreeSet<u64>>,
    last_refusal: Mutex<String>,
}

impl ChaosClients {
    /// Starts the clients, which wait for [`ChaosClients::set_sending`].
    ///
    /// # Errors
    /// The client can't be built.
    pub(super) fn start(gateway: SocketAddr, deps: &GatewayDeps, tasks: Arc<dyn Spawn>) -> Result<Self, CommandError> {
        let client = HttpClient::build(&ClientSettings::default(), Arc::new(ProxyRules::direct()), Arc::clone(&tasks))?;
        let state = Arc::new(ClientState {
            client,
            clock: Arc::clone(&deps.clock),
            uri: format!("http://{gateway}/v1/traces"),
            is_sending: AtomicBool::new(false),
            open_requests: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
            refused: AtomicU64::new(0),
            accepted: Mutex::default(),
            last_refusal: Mutex::default(),
        });
        for _ in 0..CLIENT_COUNT {
            tasks.spawn("chaos client", Box::pin(Arc::clone(&state).run()));
        }
        Ok(Self(state))
    }

    /// Starts sending, or stops it after the open requests.
    pub(super) fn set_sending(&self, on: bool) {
        self.0.is_sending.store(on, Ordering::SeqCst);
    }

    /// Whether no client waits for an answer.
    pub(super) fn is_idle(&self) -> bool {
        self.0.open_requests.load(Ordering::SeqCst) == 0
    }

    /// Number of spans answered with OK.
    pub(super) fn count(&self) -> u64 {
        self.0.accepted.lock().len() as u64
    }

    /// Ids of the spans answered with OK.
    pub(super) fn ids(&self) -> BTreeSet<u64> {
        self.0.accepted.lock().clone()
    }

    /// Ids of all spans ever made.
    pub(super) fn ids_made(&self) -> BTreeSet<u64> {
        (1..self.0.next_id.load(Ordering::SeqCst)).collect()
    }

    /// Number of answers other than OK; each such request is sent again.
    pub(super) fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::SeqCst)
    }

    /// HTTP status of the last refusal.
    pub(super) fn last_refusal(&self) -> String {
        self.0.last_refusal.lock().clone()
    }

    /// Whether this page answers with OK.
    pub(super) async fn is_page_ok(&self, page: &str) -> bool {
        matches!(self.0.send_request(Method::GET, page, Bytes::new()).await, Ok((StatusCode::OK, _)))
    }
}

impl ClientState {
    async fn run(self: Arc<Self>) {
        loop {
            // The counter is raised before `is_sending` is read, so that `is_idle` does not miss a client about to
            // start.
            self.open_requests.fetch_add(1, Ordering::SeqCst);
            if self.is_sending.load(Ordering::SeqCst) {
                self.send_until_accepted().await;
            }
            self.open_requests.fetch_sub(1, Ordering::SeqCst);
            self.clock.sleep(REQUEST_PAUSE).await;
        }
    }

    /// Sends one request until it is answered with OK.
    async fn send_until_accepted(&self) {
        let first = self.next_id.fetch_add(SPANS_PER_REQUEST, Ordering::SeqCst);
        let Ok(body) = json::decode(Signal::Traces, build_request(first).as_bytes()) else { return };
        let body = Bytes::from(body);
        loop {
            match self.send_request(Method::POST, &self.uri, body.clone()).await {
                Ok((StatusCode::OK, answer)) if answer.is_empty() => {
                    self.accepted.lock().extend(first..first + SPANS_PER_REQUEST);
                    return;
                }
                Ok((status, _)) => {
                    *self.last_refusal.lock() = status.to_string();
                    self.refused.fetch_add(1, Ordering::SeqCst);
                }
                Err(()) => {}
            }
            self.clock.sleep(RETRY_PAUSE).await;
        }
    }

    async fn send_request(&self, method: Method, uri: &str, body: Bytes) -> Result<(StatusCode, Bytes), ()> {
        let request = Request::builder().method(method).uri(uri).header(header::CONTENT_TYPE, "application/x-protobuf");
        let request = request.body(client::upload_body(Bytes::new(), body)).map_err(drop)?;
        let answer = async {
            let answer = self.client.send(request).await.map_err(drop)?;
            let status = answer.status();
            let (body, _) = client::read_response(answer.into_body(), MAX_ANSWER_BYTES).await.map_err(drop)?;
            Ok((status, body))
        };
        with_timeout(&*self.clock, ANSWER_TIMEOUT, answer).await.unwrap_or(Err(()))
    }
}

/// A request with spans of an agent, with ids from `first` on.
fn build_request(first: u64) -> String {
    let mut out = String::from(
        r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"chaos"}}]},"scopeSpans":[{"spans":["#,
    );
    for id in first..first + SPANS_PER_REQUEST {
        let comma = if id == first { "" } else { "," };
        let _ = write!(
            out,
            r#"{comma}{{"traceId":"{id:032x}","spanId":"{id:016x}","name":"chat","kind":3,"startTimeUnixNano":"1","endTimeUnixNano":"2","attributes":[{{"key":"gen_ai.conversation.id","value":{{"stringValue":"chaos-{}"}}}},{{"key":"gen_ai.operation.name","value":{{"stringValue":"chat"}}}},{{"key":"gen_ai.request.model","value":{{"stringValue":"claude-sonnet-4-5"}}}},{{"key":"gen_ai.input.messages","value":{{"stringValue":"what becomes of {id}?"}}}}]}}"#,
            id % 4
        );
    }
    out.push_str("]}]}]}");
    out
}
