//! State shared by the running `otlp` and `otlp_http` exporters, which differ only in framing: client, compression,
//! the timeout of an attempt, and the last failure that was logged.
//! Every attempt ends within its timeout, and a logged failure never contains text from the back end. `stanza` has the
//! configuration, `verdict` interprets statuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::cumulative::{Cumulative, Pending, Turn};
use super::stanza::{Common, Compression};
use kernel::clock::Clock;
use net::client::{self, ClientError, Upload};
use net::encoding::compress;
use net::spawn::blocking;
use net::{Encoding, Proxies, Renewed, Spawn, TlsError};
use otlp::Signal;
use pipeline::{ExportRequest, Outcome, Reason};
use telemetry::Meter;

/// Larger bodies are compressed on a blocking thread instead of the reactor.
const INLINE: usize = 64 * 1024;
/// How long after a refusal an encoding is tried again; the refusal may have been a passing fault of a proxy.
const AGAIN: Duration = Duration::from_secs(3600);

/// Shared services that exporters are built with.
#[derive(Clone)]
pub struct Deps {
    /// Spawns connection and compression tasks.
    pub tasks: Arc<dyn Spawn>,
    /// Used for dates in Retry-After, and for totals and renewals.
    pub clock: Arc<dyn Clock>,
    /// Proxies for outgoing connections.
    pub proxies: Arc<Proxies>,
    /// Registers metrics.
    pub meter: Meter,
}

/// State of a running exporter that sends to another machine.
pub struct Remote {
    /// Component id.
    pub id: Arc<str>,
    /// Settings shared by both exporters.
    pub common: Common,
    /// The HTTP client; it is rebuilt when TLS files change.
    client: Arc<Renewed>,
    /// Services the exporter was built with.
    pub deps: Deps,
    /// The encoding that the configuration asks for.
    first: Encoding,
    encoding: AtomicU8,
    /// When the back end last refused an encoding, in seconds of the monotonic clock; `u64::MAX`: never since the
    /// encoding was last reset.
    refused: AtomicU64,
    complaint: Mutex<String>,
    cumulative: Option<Cumulative>,
}

/// The form in which a request is sent.
pub enum Sent<'r> {
    /// The request unchanged.
    AsItIs,
    /// Deltas replaced by totals.
    Totals(Totals<'r>),
    /// Nothing is sent now; the outcome of the request.
    Not(Outcome),
}

impl Sent<'_> {
    /// The request to put on the wire in place of `request`.
    ///
    /// # Errors
    /// The outcome of a request that is not sent: nothing can be sent now, or no total is left to send.
    pub fn on_the_wire<'a>(&'a self, request: &'a ExportRequest) -> Result<&'a ExportRequest, Outcome> {
        match self {
            Self::AsItIs => Ok(request),
            Self::Not(outcome) => Err(outcome.clone()),
            Self::Totals(totals) if totals.request.body.is_empty() => Err(Outcome::Accepted),
            Self::Totals(totals) => Ok(&totals.request),
        }
    }

    /// Commits the totals if `outcome` is a success, and returns `outcome` for the engine.
    pub fn end(self, outcome: Outcome) -> Outcome {
        match self {
            Self::Totals(totals) => totals.end(outcome),
            Self::AsItIs | Self::Not(_) => outcome,
        }
    }
}

/// A request of totals. The next one waits until this one has an outcome.
pub struct Totals<'r> {
    of: &'r Cumulative,
    /// The request to send; an empty body means that there is nothing to send.
    pub request: ExportRequest,
    pending: Pending,
    _turn: Turn,
}

impl Totals<'_> {
    /// Commits the totals if they were delivered.
    pub fn end(self, outcome: Outcome) -> Outcome {
        if matches!(outcome, Outcome::Accepted | Outcome::Partial { .. }) {
            self.of.delivered(self.pending);
        }
        outcome
    }
}

impl Remote {
    /// Opens the client for `destinations`.
    ///
    /// # Errors
    /// A TLS file can't be used, or root certificates are missing.
    pub fn build(
        id: Arc<str>,
        common: Common,
        http2_only: bool,
        destinations: &[&Uri],
        deps: Deps,
    ) -> Result<Self, TlsError> {
        let encrypted = destinations.iter().any(|uri| uri.scheme() == Some(&Scheme::HTTPS));
        let settings = client::Settings { tls: encrypted.then(|| common.tls.clone()), http2_only };
        let (proxies, tasks, clock) = (Arc::clone(&deps.proxies), Arc::clone(&deps.tasks), Arc::clone(&deps.clock));
        let client = Arc::new(Renewed::build(settings, proxies, tasks, clock)?);
        let first = match (common.compression, common.zstd) {
            (Compression::Zstd, _) | (Compression::Auto, true) => Encoding::Zstd,
            (Compression::Gzip, _) | (Compression::Auto, false) => Encoding::Gzip,
            (Compression::None, _) => Encoding::Identity,
        };
        let encoding = AtomicU8::new(rank(first));
        let cumulative =
            common.cumulative.map(|settings| Cumulative::new(settings, &id, Arc::clone(&deps.clock), &deps.meter));
        let refused = AtomicU64::new(u64::MAX);
        Ok(Self { id, common, client, deps, first, encoding, refused, complaint: Mutex::default(), cumulative })
    }

    /// Sends one request, whose URI must be absolute.
    ///
    /// # Errors
    /// No response arrived.
    pub async fn send(&self, request: Request<Upload>) -> Result<Response<Incoming>, ClientError> {
        self.client.client(&self.id).await.send(request).await
    }

    /// Converts a metrics request to totals if `deltatocumulative` is configured.
    pub async fn totals(&self, request: &ExportRequest) -> Sent<'_> {
        let totals = self.cumulative.as_ref().filter(|_| request.signal == Signal::Metrics);
        let Some(totals) = totals else { return Sent::AsItIs };
        let turn = totals.turn().await;
        let (own, account, body) = (totals.clone(), Arc::clone(&request.account), request.body.clone());
        let convert = move || own.convert(&account, &body);
        match blocking(&*self.deps.tasks, "totals", convert).await {
            None => Sent::Not(Outcome::Retry { after: None, reason: Reason::Lost }),
            Some(None) => Sent::AsItIs,
            Some(Some((body, pending))) => {
                let (signal, account, items) = (request.signal, Arc::clone(&request.account), request.items);
                let request = ExportRequest { signal, account, body, items };
                Sent::Totals(Totals { of: totals, request, pending, _turn: turn })
            }
        }
    }

    /// Runs `attempt` within the exporter's `timeout`.
    pub async fn timed(&self, attempt: impl Future<Output = Outcome>) -> Outcome {
        match tokio::time::timeout(self.common.timeout, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.complain(Some("no answer in time".to_owned()));
                Outcome::Retry { after: None, reason: Reason::TimedOut }
            }
        }
    }

    /// The encoding to use for the next request.
    pub fn encoding(&self) -> Encoding {
        let refused = self.refused.load(Ordering::Relaxed);
        if self.deps.clock.monotonic().as_secs() >= refused.saturating_add(AGAIN.as_secs())
            && self.refused.compare_exchange(refused, u64::MAX, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.encoding.fetch_max(rank(self.first), Ordering::Relaxed);
        }
        match self.encoding.load(Ordering::Relaxed) {
            2 => Encoding::Zstd,
            1 => Encoding::Gzip,
            _ => Encoding::Identity,
        }
    }

    /// Records that the back end refused the encoding `used`. Returns true if a weaker encoding will be tried, which
    /// happens only with `compression: auto` and lasts an hour.
    pub fn step_down(&self, used: Encoding) -> bool {
        if self.common.compression != Compression::Auto || used == Encoding::Identity {
            return false;
        }
        let (from, to) = (rank(used), rank(used).saturating_sub(1));
        if self.encoding.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.refused.store(self.deps.clock.monotonic().as_secs(), Ordering::Relaxed);
        }
        true
    }

    /// Switches from gzip to zstd if the back end's response advertises zstd.
    pub fn advertised(&self, headers: &HeaderMap, name: &str) {
        let auto = self.common.compression == Compression::Auto && self.encoding() == Encoding::Gzip;
        let takes = |value: &str| value.split(',').any(|token| Encoding::parse(token) == Some(Encoding::Zstd));
        if auto && headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(takes) {
            self.encoding.store(rank(Encoding::Zstd), Ordering::Relaxed);
        }
    }

    /// Compresses `body`, on a blocking thread if it is large. `None` if compression failed.
    pub async fn compress(&self, encoding: Encoding, body: &Bytes) -> Option<Bytes> {
        if encoding == Encoding::Identity {
            return Some(body.clone());
        }
        if body.len() <= INLINE {
            return compress(encoding, body).ok();
        }
        let body = body.clone();
        blocking(&*self.deps.tasks, "compress", move || compress(encoding, &body).ok()).await.flatten()
    }

    /// Adds the configured headers.
    pub fn headers(&self, signal: Signal, account: &str, to: &mut HeaderMap) {
        to.insert(http::header::USER_AGENT, HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"))));
        let all = self.common.headers.iter().filter(|(_, _, only)| only.is_none_or(|only| only == signal));
        let all = all.map(|(name, secret, _)| (name, secret));
        let own = self.common.account_headers.get(account).into_iter().flatten().map(|(name, secret)| (name, secret));
        for (name, secret) in all.chain(own) {
            if let Ok(mut value) = HeaderValue::from_str(secret.expose()) {
                value.set_sensitive(true);
                to.insert(name.clone(), value);
            }
        }
    }

    /// Logs a failed `outcome`; `status` is an HTTP status or a gRPC code.
    pub fn report(&self, outcome: &Outcome, status: String) {
        let failed = matches!(outcome, Outcome::Retry { .. } | Outcome::Refused { .. });
        self.complain(failed.then_some(status));
    }

    /// Logs why deliveries fail, once until the reason changes or a delivery succeeds. `what` is tollgate's own text
    /// (a status or a connection error), never a back end's.
    pub fn complain(&self, what: Option<String>) {
        let what = what.unwrap_or_default();
        let mut last = self.complaint.lock();
        if *last != what {
            if !what.is_empty() {
                tracing::warn!(exporter = &*self.id, reason = what, "the back end does not take requests");
            }
            *last = what;
        }
    }
}

fn rank(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::Zstd => 2,
        Encoding::Gzip => 1,
        Encoding::Identity | Encoding::Deflate => 0,
    }
}
