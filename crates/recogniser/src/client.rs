//! [`PresidioClient`] calls the recogniser over HTTP, with limited concurrency and one deadline for all calls of a
//! request. The endpoint is checked when it is configured. Redirects are not followed, and nothing but the findings of
//! an answer is used or logged. A call that is dropped at the deadline counts as failed. `answer` handles the bodies,
//! `circuit_breaker` decides when to pause.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::{HeaderValue, Request, StatusCode, header};
use parking_lot::Mutex;

use kernel::clock::with_timeout;
use net::client::{self, read_response, upload_body};
use net::spawn::run_blocking;
use net::{HttpClient, SharedServices, TlsError};
use redaction::recognised::EntityHit;
use telemetry::{Counter, Histogram, names};

use super::answer::{build_request, parse_findings};
use super::call_scheduler::CallScheduler;
use super::circuit_breaker::CircuitBreaker;
use super::config::{Config, OnRecogniserError, Settings};
use super::recognise::{RecogniserAnswers, TextRecogniser};

/// Largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// Longer answers are parsed on a blocking thread instead of the reactor, in bytes.
const MAX_INLINE_BYTES: usize = 64 << 10;

/// A recogniser with the API of Presidio's analyzer.
pub struct PresidioClient(Arc<ClientInner>);

struct ClientInner {
    id: Arc<str>,
    settings: Arc<Settings>,
    client: HttpClient,
    services: SharedServices,
    scheduler: Arc<CallScheduler>,
    /// Shared by all accounts: opens when the recogniser can't be reached or reports that it is unavailable.
    breaker: CircuitBreaker,
    /// One breaker per account for calls that time out, because the account's texts may be the cause.
    slow_breakers: Mutex<HashMap<Arc<str>, Arc<CircuitBreaker>>>,
    /// Whether the last call was refused, so that a refusal is logged only once.
    last_refused: AtomicBool,
    texts: Counter,
    bytes: Counter,
    seconds: Histogram,
}

kernel::word_enum! {
    /// Why a call gave no result. The words are values of a metric label.
    CallFault {
        /// No connection, or it ended too early.
        Unreachable = "unreachable",
        /// No answer before the deadline.
        TimedOut = "timed_out",
        /// No call was made: a breaker is open, or the batch was given up.
        NotCalled = "resting",
        /// The server reports that it is temporarily unavailable.
        Unavailable = "unavailable",
        /// The server failed on these texts.
        Failed = "failed",
        /// Any other status: a redirect, or a path or credential that the server does not accept.
        Refused = "refused",
        /// The server rejected the request as too large.
        TooLarge = "too_large",
        /// The body is not a valid answer to the request, or is too long.
        BadAnswer = "bad_answer",
    }
}

impl CallFault {
    /// Whether any other call would fail in the same way, whatever its texts.
    fn is_independent_of_texts(self) -> bool {
        matches!(self, Self::Unreachable | Self::Unavailable)
    }

    /// Whether one text may have caused the fault, so that the others should be sent separately.
    fn may_be_caused_by_text(self) -> bool {
        matches!(self, Self::Failed | Self::BadAnswer)
    }
}

impl PresidioClient {
    /// Builds the client without connecting. `id` is the id of the processor that uses it.
    ///
    /// # Errors
    /// A TLS file that can't be used, or missing roots.
    pub fn build(id: Arc<str>, settings: Settings, services: SharedServices) -> Result<Self, TlsError> {
        let meter = &services.meter;
        let client_settings = client::ClientSettings { tls: settings.tls.clone(), http2_only: false };
        let labels = &[("processor", &*id)];
        let inner = ClientInner {
            client: HttpClient::build(&client_settings, &services)?,
            scheduler: CallScheduler::new(settings.config.in_flight),
            breaker: CircuitBreaker::default(),
            slow_breakers: Mutex::default(),
            last_refused: AtomicBool::new(false),
            texts: meter.counter(&names::RECOGNISER_TEXTS, labels),
            bytes: meter.counter(&names::RECOGNISER_BYTES, labels),
            seconds: meter.histogram(&names::RECOGNISER_SECONDS, labels),
            settings: Arc::new(settings),
            id,
            services,
        };
        Ok(Self(Arc::new(inner)))
    }
}

impl TextRecogniser for PresidioClient {
    fn recognise(&self, account: Arc<str>, texts: Vec<Arc<str>>) -> BoxFuture<'static, RecogniserAnswers> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let answers = Mutex::new(RecogniserAnswers::default());
            let (batches, gave_up) = (inner.split_into_calls(texts).into_iter(), AtomicBool::new(false));
            let slow_breaker = Arc::clone(inner.slow_breakers.lock().entry(Arc::clone(&account)).or_default());
            let owner = CallOwner { account, slow_breaker };
            let send = |batch| inner.send_batch(batch, &owner, &answers, &gave_up);
            let mut running: FuturesUnordered<_> = batches.map(send).collect();
            let finish_all = async { while running.next().await.is_some() {} };
            // Answers that arrived in time count; the caller sees which are missing.
            let _ = with_timeout(&*inner.services.clock, inner.settings.config.timeout.0, finish_all).await;
            drop(running);
            answers.into_inner()
        })
    }
}

/// The account that a call is for, and its breaker for slow calls.
struct CallOwner {
    account: Arc<str>,
    slow_breaker: Arc<CircuitBreaker>,
}

impl ClientInner {
    /// Splits texts into calls, in order, within the configured limits of texts and bytes.
    fn split_into_calls(&self, texts: Vec<Arc<str>>) -> Vec<Vec<Arc<str>>> {
        let Config { batch_texts, batch_bytes, .. } = &self.settings.config;
        let mut batches: Vec<Vec<Arc<str>>> = Vec::new();
        let mut bytes = 0_usize;
        for text in texts {
            bytes = bytes.saturating_add(text.len());
            match batches.last_mut() {
                Some(last) if last.len() < *batch_texts && bytes as u64 <= batch_bytes.0 => last.push(text),
                _ => {
                    bytes = text.len();
                    batches.push(vec![text]);
                }
            }
        }
        batches
    }

    /// Sends one call. Splits it in halves if it is too large, or if one of its texts may have spoiled the answers of
    /// the others. Once `gave_up` is set, no further call begins; running calls finish, so that their results count.
    async fn send_batch(
        &self,
        texts: Vec<Arc<str>>,
        owner: &CallOwner,
        answers: &Mutex<RecogniserAnswers>,
        gave_up: &AtomicBool,
    ) {
        let mut pending_calls = vec![texts];
        while let Some(mut texts) = pending_calls.pop() {
            let may_isolate_texts = self.settings.config.on_error == OnRecogniserError::Unscanned;
            match self.send_call(&texts, owner, gave_up).await {
                Ok(found) => answers.lock().0.extend(texts.into_iter().zip(found)),
                Err(fault)
                    if texts.len() > 1
                        && (fault == CallFault::TooLarge || may_isolate_texts && fault.may_be_caused_by_text()) =>
                {
                    let second = texts.split_off(texts.len() / 2);
                    pending_calls.extend([second, texts]);
                }
                // With `hold`, one text without an answer holds the whole batch.
                Err(_) if self.settings.config.on_error == OnRecogniserError::Hold => {
                    gave_up.store(true, Ordering::Relaxed)
                }
                Err(_) => {}
            }
        }
    }

    async fn send_call(
        &self,
        texts: &[Arc<str>],
        owner: &CallOwner,
        gave_up: &AtomicBool,
    ) -> Result<Vec<Vec<EntityHit>>, CallFault> {
        let Some(_permit) = self.scheduler.acquire(&owner.account).await else { return Err(CallFault::NotCalled) };
        if gave_up.load(Ordering::Relaxed) {
            return Err(CallFault::NotCalled);
        }
        let now = self.services.clock.monotonic();
        let may_call_for_account = owner.slow_breaker.may_call(now);
        if !may_call_for_account || !self.breaker.may_call(now) {
            if may_call_for_account {
                owner.slow_breaker.record_inconclusive();
            }
            self.count_call(CallFault::NotCalled.as_str());
            return Err(CallFault::NotCalled);
        }
        let call = RunningCall { inner: self, slow_breaker: &owner.slow_breaker, began: now, ended: false };
        self.texts.increment(texts.len() as u64);
        self.bytes.increment(texts.iter().map(|text| text.len() as u64).sum());
        let mut result = self.post_texts(texts).await;
        if result.as_ref().is_err_and(|fault| *fault == CallFault::Unreachable) {
            // Retried once: the server may just have closed this pooled connection.
            result = self.post_texts(texts).await;
        }
        call.end(result.as_ref().err().copied());
        result
    }

    async fn post_texts(&self, texts: &[Arc<str>]) -> Result<Vec<Vec<EntityHit>>, CallFault> {
        let body = build_request(&self.settings, texts).ok_or(CallFault::BadAnswer)?;
        let mut request = Request::post(self.settings.endpoint.clone())
            .body(upload_body([Bytes::from(body)]))
            .map_err(|_| CallFault::Unreachable)?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"))));
        headers.extend(self.settings.headers.clone());
        let answer = self.client.send(request).await.map_err(|_| CallFault::Unreachable)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::PAYLOAD_TOO_LARGE => return Err(CallFault::TooLarge),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => return Err(CallFault::Unavailable),
            status if status.is_server_error() => return Err(CallFault::Failed),
            _ => return Err(CallFault::Refused),
        }
        let (body, _) = read_response(answer.into_body(), MAX_ANSWER_BYTES).await.map_err(|error| match error {
            client::ResponseReadError::TooLarge => CallFault::BadAnswer,
            client::ResponseReadError::Truncated => CallFault::Unreachable,
        })?;
        self.parse_answer(texts, body).await.ok_or(CallFault::BadAnswer)
    }

    async fn parse_answer(&self, texts: &[Arc<str>], body: Bytes) -> Option<Vec<Vec<EntityHit>>> {
        if body.len() <= MAX_INLINE_BYTES {
            return parse_findings(&self.settings, texts, &body);
        }
        let (settings, texts) = (Arc::clone(&self.settings), texts.to_vec());
        run_blocking(&*self.services.tasks, "recogniser", move || parse_findings(&settings, &texts, &body)).await?
    }

    fn count_call(&self, outcome: &'static str) {
        let labels = &[("processor", &*self.id), ("outcome", outcome)];
        self.services.meter.counter(&names::RECOGNISER_CALLS, labels).increment(1);
    }
}

/// A call in progress. If it is dropped before its end, it counts as timed out.
struct RunningCall<'i> {
    inner: &'i ClientInner,
    slow_breaker: &'i CircuitBreaker,
    began: Duration,
    ended: bool,
}

impl RunningCall<'_> {
    fn end(mut self, fault: Option<CallFault>) {
        self.ended = true;
        self.record_result(fault);
    }

    fn record_result(&self, fault: Option<CallFault>) {
        let (inner, now) = (self.inner, self.inner.services.clock.monotonic());
        inner.count_call(fault.map_or("answered", CallFault::as_str));
        inner.seconds.record(now.saturating_sub(self.began).as_secs_f64());
        let fault_to_log = match fault {
            None => {
                inner.last_refused.store(false, Ordering::Relaxed);
                if self.slow_breaker.record_success() | inner.breaker.record_success() {
                    tracing::info!(processor = &*inner.id, "the external recogniser is available again");
                }
                None
            }
            Some(fault) if fault.is_independent_of_texts() => {
                self.slow_breaker.record_inconclusive();
                inner.breaker.record_failure(now).then_some(fault)
            }
            Some(fault @ CallFault::TimedOut) => {
                inner.breaker.record_inconclusive();
                self.slow_breaker.record_failure(now).then_some(fault)
            }
            Some(fault) => {
                self.slow_breaker.record_inconclusive();
                inner.breaker.record_inconclusive();
                let is_first = fault == CallFault::Refused && !inner.last_refused.swap(true, Ordering::Relaxed);
                is_first.then_some(fault)
            }
        };
        if let Some(fault) = fault_to_log {
            let why = fault.as_str();
            tracing::warn!(processor = &*inner.id, why, "calls to the external recogniser fail");
        }
    }
}

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.record_result(Some(CallFault::TimedOut));
        }
    }
}
