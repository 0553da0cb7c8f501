//! [`Presidio`] calls the recogniser over HTTP, with limited concurrency and one deadline for all calls of a request.
//! The endpoint is checked when it is configured. Redirects are not followed, and nothing but the findings of an answer
//! is used or logged. A call that is dropped at the deadline counts as failed. `answer` handles the bodies, `breaker`
//! decides when to pause.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::{HeaderValue, Request, StatusCode, header};
use parking_lot::Mutex;

use kernel::clock::{Clock, within};
use net::client::{self, read, upload};
use net::spawn::blocking;
use net::{Client, Proxies, Spawn, TlsError};
use redaction::recognised::Named;
use telemetry::{Counter, Histogram, Meter, names};

use super::answer::{findings, question};
use super::breaker::Breaker;
use super::config::{OnError, Settings};
use super::recognise::{Answers, Recognise};
use super::turns::Turns;

/// Largest answer that is read, in bytes.
const MOST_ANSWER: usize = 8 << 20;
/// Longer answers are parsed off the reactor, in bytes.
const INLINE: usize = 64 << 10;

/// Dependencies of [`Presidio`].
#[derive(Clone)]
pub struct Deps {
    /// Runs the connections' tasks.
    pub tasks: Arc<dyn Spawn>,
    /// Measures the deadline.
    pub clock: Arc<dyn Clock>,
    /// Proxies for outgoing connections; loopback uses none.
    pub proxies: Arc<Proxies>,
    /// Metrics.
    pub meter: Meter,
}

/// A recogniser with the API of Presidio's analyzer.
pub struct Presidio(Arc<Inner>);

struct Inner {
    id: Arc<str>,
    settings: Arc<Settings>,
    client: Client,
    tasks: Arc<dyn Spawn>,
    clock: Arc<dyn Clock>,
    turns: Arc<Turns>,
    /// Shared by all accounts: opens when the recogniser can't be reached or reports that it is unavailable.
    breaker: Breaker,
    /// One breaker per account for calls that time out, because the account's texts may be the cause.
    slow: Mutex<HashMap<Arc<str>, Arc<Breaker>>>,
    /// Whether the last call was refused, so that a refusal is logged only once.
    refused: AtomicBool,
    meter: Meter,
    texts: Counter,
    bytes: Counter,
    seconds: Histogram,
}

/// Why a call gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// No connection, or it ended too early.
    Unreachable,
    /// No answer before the deadline.
    TimedOut,
    /// No call was made, because the breaker is open.
    Resting,
    /// The server reports that it is temporarily unavailable.
    Unavailable,
    /// The server failed on these texts.
    Failed,
    /// Any other status: a redirect, or a path or credential that the server does not accept.
    Refused,
    /// The server rejected the request as too large.
    TooLarge,
    /// The body is not a valid answer to the request, or is too long.
    BadAnswer,
}

impl Fault {
    fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Resting => "resting",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::BadAnswer => "bad_answer",
        }
    }

    /// Whether any other call would fail in the same way, whatever its texts.
    fn is_general(self) -> bool {
        matches!(self, Self::Unreachable | Self::Unavailable)
    }

    /// Whether one text may have caused the fault, so that the others should be sent separately.
    fn is_of_texts(self) -> bool {
        matches!(self, Self::Failed | Self::BadAnswer)
    }
}

impl Presidio {
    /// Builds the client without connecting. `id` is the id of the processor that uses it.
    ///
    /// # Errors
    /// A TLS file that can't be used, or missing roots.
    pub fn build(id: Arc<str>, settings: Settings, deps: Deps) -> Result<Self, TlsError> {
        let Deps { tasks, clock, proxies, meter } = deps;
        let way = client::Settings { tls: settings.tls.clone(), http2_only: false };
        let labels = &[("processor", &*id)];
        let inner = Inner {
            client: Client::build(&way, proxies, Arc::clone(&tasks))?,
            turns: Turns::new(settings.in_flight),
            breaker: Breaker::default(),
            slow: Mutex::default(),
            refused: AtomicBool::new(false),
            texts: meter.counter(&names::RECOGNISER_TEXTS, labels),
            bytes: meter.counter(&names::RECOGNISER_BYTES, labels),
            seconds: meter.histogram(&names::RECOGNISER_SECONDS, labels),
            settings: Arc::new(settings),
            id,
            tasks,
            clock,
            meter,
        };
        Ok(Self(Arc::new(inner)))
    }
}

impl Recognise for Presidio {
    fn ask(&self, account: Arc<str>, texts: Vec<Arc<str>>) -> BoxFuture<'static, Answers> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let answers = Mutex::new(Answers::default());
            let (batches, over) = (inner.batches(texts).into_iter(), AtomicBool::new(false));
            let asker = inner.asker(account);
            let ask = |batch| inner.batch(batch, &asker, &answers, &over);
            let mut running: FuturesUnordered<_> = batches.map(ask).collect();
            let all = async { while running.next().await.is_some() {} };
            // Answers that arrived in time count; the caller sees which are missing
            let _ = within(&*inner.clock, inner.settings.timeout, all).await;
            drop(running);
            answers.into_inner()
        })
    }
}

/// The account that a call is for, and its breaker for slow calls.
struct Asker {
    account: Arc<str>,
    slow: Arc<Breaker>,
}

impl Inner {
    fn asker(&self, account: Arc<str>) -> Asker {
        let slow = Arc::clone(self.slow.lock().entry(Arc::clone(&account)).or_default());
        Asker { account, slow }
    }

    /// Splits texts into calls, in order, within the configured limits of texts and bytes.
    fn batches(&self, texts: Vec<Arc<str>>) -> Vec<Vec<Arc<str>>> {
        let mut batches: Vec<Vec<Arc<str>>> = Vec::new();
        let mut bytes = 0_usize;
        for text in texts {
            bytes = bytes.saturating_add(text.len());
            match batches.last_mut() {
                Some(last) if last.len() < self.settings.batch_texts && bytes <= self.settings.batch_bytes => {
                    last.push(text);
                }
                _ => {
                    bytes = text.len();
                    batches.push(vec![text]);
                }
            }
        }
        batches
    }

    /// Sends one call. Splits it in halves if it is too large, or if one of its texts may have spoiled the answers of
    /// the others. `over`: no further calls are begun; running calls finish, so that their results are recorded.
    async fn batch(&self, texts: Vec<Arc<str>>, asker: &Asker, answers: &Mutex<Answers>, over: &AtomicBool) {
        let mut todo = vec![texts];
        while let Some(mut texts) = todo.pop() {
            let alone = self.settings.on_error == OnError::Unscanned;
            match self.call(&texts, asker, over).await {
                Ok(found) => answers.lock().0.extend(texts.into_iter().zip(found)),
                Err(fault) if texts.len() > 1 && (fault == Fault::TooLarge || alone && fault.is_of_texts()) => {
                    let second = texts.split_off(texts.len() / 2);
                    todo.extend([second, texts]);
                }
                // With `hold`, one text without an answer holds the whole batch
                Err(_) if self.settings.on_error == OnError::Hold => over.store(true, Ordering::Relaxed),
                Err(_) => {}
            }
        }
    }

    async fn call(&self, texts: &[Arc<str>], asker: &Asker, over: &AtomicBool) -> Result<Vec<Vec<Named>>, Fault> {
        let Some(_turn) = self.turns.take(&asker.account).await else { return Err(Fault::Resting) };
        if over.load(Ordering::Relaxed) {
            return Err(Fault::Resting);
        }
        let now = self.clock.monotonic();
        let own = asker.slow.may_call(now);
        if !own || !self.breaker.may_call(now) {
            if own {
                asker.slow.forgotten();
            }
            self.count("resting");
            return Err(Fault::Resting);
        }
        let call = Call { inner: self, slow: &asker.slow, began: now, ended: false };
        self.texts.increment(texts.len() as u64);
        self.bytes.increment(texts.iter().map(|text| text.len() as u64).sum());
        let mut answered = self.exchange(texts).await;
        if answered.as_ref().is_err_and(|fault| *fault == Fault::Unreachable) {
            // Retried once: the server may just have closed this pooled connection
            answered = self.exchange(texts).await;
        }
        call.end(answered.as_ref().err().copied());
        answered
    }

    async fn exchange(&self, texts: &[Arc<str>]) -> Result<Vec<Vec<Named>>, Fault> {
        let body = question(&self.settings, texts).ok_or(Fault::BadAnswer)?;
        let mut request = Request::post(self.settings.endpoint.clone())
            .body(upload(Bytes::from(body), Bytes::new()))
            .map_err(|_| Fault::Unreachable)?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"))));
        headers.extend(self.settings.headers.clone());
        let answer = self.client.send(request).await.map_err(|_| Fault::Unreachable)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::PAYLOAD_TOO_LARGE => return Err(Fault::TooLarge),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => return Err(Fault::Unavailable),
            status if status.is_server_error() => return Err(Fault::Failed),
            _ => return Err(Fault::Refused),
        }
        let (body, _) = read(answer.into_body(), MOST_ANSWER).await.map_err(|error| match error {
            client::AnswerError::TooLarge => Fault::BadAnswer,
            client::AnswerError::Cut => Fault::Unreachable,
        })?;
        self.findings(texts, body).await.ok_or(Fault::BadAnswer)
    }

    async fn findings(&self, texts: &[Arc<str>], body: Bytes) -> Option<Vec<Vec<Named>>> {
        if body.len() <= INLINE {
            return findings(&self.settings, texts, &body);
        }
        let (settings, texts) = (Arc::clone(&self.settings), texts.to_vec());
        blocking(&*self.tasks, "recogniser", move || findings(&settings, &texts, &body)).await?
    }

    fn count(&self, outcome: &'static str) {
        let labels = &[("processor", &*self.id), ("outcome", outcome)];
        self.meter.counter(&names::RECOGNISER_CALLS, labels).increment(1);
    }
}

/// A call in progress. If it is dropped before its end, it counts as timed out.
struct Call<'i> {
    inner: &'i Inner,
    slow: &'i Breaker,
    /// Monotonic.
    began: Duration,
    ended: bool,
}

impl Call<'_> {
    fn end(mut self, fault: Option<Fault>) {
        self.ended = true;
        self.tell(fault);
    }

    fn tell(&self, fault: Option<Fault>) {
        let (inner, now) = (self.inner, self.inner.clock.monotonic());
        inner.count(fault.map_or("answered", Fault::label));
        inner.seconds.record(now.saturating_sub(self.began).as_secs_f64());
        let told = match fault {
            None => {
                inner.refused.store(false, Ordering::Relaxed);
                if self.slow.succeeded() | inner.breaker.succeeded() {
                    tracing::info!(processor = &*inner.id, "the external recogniser answers again");
                }
                None
            }
            Some(fault) if fault.is_general() => {
                self.slow.forgotten();
                inner.breaker.failed(now).then_some(fault)
            }
            Some(fault @ Fault::TimedOut) => {
                inner.breaker.forgotten();
                self.slow.failed(now).then_some(fault)
            }
            Some(fault) => {
                self.slow.forgotten();
                inner.breaker.forgotten();
                let first = fault == Fault::Refused && !inner.refused.swap(true, Ordering::Relaxed);
                first.then_some(fault)
            }
        };
        if let Some(fault) = told {
            let why = fault.label();
            tracing::warn!(processor = &*inner.id, why, "the external recogniser gives no answers");
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Some(Fault::TimedOut));
        }
    }
}
