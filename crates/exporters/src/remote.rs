//! What the exporters `otlp` and `otlp_http` share: client, compression, the timeout of an attempt, and the last
//! failure that was logged. [`OtlpProtocol`] has the rest: framing, headers, and the reading of responses.
//! Every attempt ends within its timeout, and a logged failure never contains text from the back end. `stanza` has the
//! configuration, `outcome` interprets statuses.

use std::iter;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, response};
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::counted_by::{CountedBy, Stamps};
use super::cumulative::CumulativeConverter;
use super::outcome::UNAVAILABLE;
pub use super::spec::ExporterDeps;
use super::spec::{BuildError, ExportTarget, ExporterProfile, ExporterSpec};
use super::stanza::{Compression, RemoteSettings, destination_of_urls};
use config::ComponentId;
use net::client::{self, ClientError, upload_body};
use net::encoding::compress;
use net::spawn::run_blocking;
use net::{ContentEncoding, ReloadingClient, TlsError};
use otlp::{MergedRequest, Signal};
use pipeline::{AttemptFailure, ExportRequest, Exporter, Outcome, Reason, Trust};

/// Larger bodies are prepared on a blocking thread instead of the reactor.
const MAX_INLINE_BODY: usize = 64 * 1024;
/// How long after a refusal the configured encoding is tried again: a proxy may have had a passing fault.
const ENCODING_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// State of a running exporter that sends to another machine.
pub struct RemoteExporter {
    pub id: Arc<str>,
    /// Settings shared by both exporters.
    pub common: RemoteSettings,
    /// The HTTP client; it is rebuilt when TLS files change.
    client: Arc<ReloadingClient>,
    /// Services the exporter was built with.
    pub deps: ExporterDeps,
    /// The encoding that the configuration asks for.
    configured_encoding: ContentEncoding,
    encoding: Mutex<EncodingInUse>,
    last_failure: Mutex<Option<AttemptFailure>>,
    cumulative: Option<CumulativeConverter>,
}

struct EncodingInUse {
    encoding: ContentEncoding,
    /// When the back end last refused an encoding, in seconds of the monotonic clock; `None`: not since the configured
    /// encoding was last tried again.
    refused_at: Option<u64>,
}

/// How requests of OTLP are framed and their responses are read.
pub trait OtlpProtocol: Clone + Send + Sync + 'static {
    const VERSION: Version;
    /// The header that names a request's encoding, and the one by which a server names those that it accepts.
    const ENCODING_HEADERS: [&'static str; 2];
    /// The bytes before a body of `length` bytes; `None` if it is too long.
    fn frame(encoding: ContentEncoding, length: usize) -> Option<Bytes>;
    /// Adds the protocol's own headers. `timeout`: the client's.
    fn add_headers(timeout: Duration, headers: &mut HeaderMap);
    /// The outcome of a request that was sent with `encoding`.
    fn evaluate_response(
        remote: &RemoteExporter,
        encoding: ContentEncoding,
        head: response::Parts,
        body: Incoming,
    ) -> impl Future<Output = Outcome> + Send;
}

/// The checked settings of an exporter that sends OTLP to another machine.
#[derive(Clone, Debug)]
pub struct OtlpSettings<P> {
    /// The URL for each signal; the exporter does not take a signal without a URL.
    pub urls: Vec<(Signal, Uri)>,
    pub common: RemoteSettings,
    /// Which telemetry the exporter may receive.
    pub trust: Trust,
    pub(crate) protocol: PhantomData<P>,
}

impl<P: OtlpProtocol> ExporterSpec for OtlpSettings<P> {
    fn profile(&self) -> ExporterProfile<'_> {
        let http = self.urls.first().map(|(_, url)| url).filter(|_| P::VERSION < Version::HTTP_2);
        let destination = destination_of_urls(self.urls.iter().map(|(_, url)| url));
        ExporterProfile {
            trust: self.trust,
            target: ExportTarget::Server { tls: &self.common.tls, http },
            destination: Some((destination, &self.common.moved_from)),
            outlet: Some(&self.common.outlet),
            notes: &self.common.notes,
        }
    }

    fn accepts_signal(&self, signal: Signal) -> bool {
        self.urls.iter().any(|(with_url, _)| *with_url == signal)
    }

    fn build(&self, id: &ComponentId, deps: ExporterDeps) -> Result<Arc<dyn Exporter>, BuildError> {
        Ok(Arc::new(OtlpExporter::build(id.to_string().into(), self.clone(), deps)?))
    }
}

/// Sends OTLP to another machine over the protocol `P`.
pub struct OtlpExporter<P> {
    remote: RemoteExporter,
    trust: Trust,
    urls: Vec<(Signal, Uri)>,
    protocol: PhantomData<P>,
}

impl<P: OtlpProtocol> OtlpExporter<P> {
    /// Creates an exporter with component id `id`. Reads TLS files; connects only when there is something to send.
    ///
    /// # Errors
    /// A TLS file can't be used, or root certificates are missing.
    pub fn build(id: Arc<str>, settings: OtlpSettings<P>, deps: ExporterDeps) -> Result<Self, TlsError> {
        let OtlpSettings { urls, common, trust, protocol } = settings;
        let has_tls = urls.iter().any(|(_, url)| url.scheme() == Some(&Scheme::HTTPS));
        let settings = client::ClientSettings {
            tls: has_tls.then(|| common.tls.clone()),
            http2_only: P::VERSION == Version::HTTP_2,
        };
        let client = Arc::new(ReloadingClient::build(settings, deps.services.clone())?);
        let configured_encoding = match (common.compression, common.accepts_zstd) {
            (Compression::Zstd, _) | (Compression::Auto, true) => ContentEncoding::Zstd,
            (Compression::Gzip, _) | (Compression::Auto, false) => ContentEncoding::Gzip,
            (Compression::None, _) => ContentEncoding::Identity,
        };
        let cumulative = common.cumulative.map(|settings| {
            CumulativeConverter::new(settings, &id, Arc::clone(&deps.services.clock), &deps.services.meter)
        });
        let remote = RemoteExporter {
            id,
            common,
            client,
            deps,
            configured_encoding,
            encoding: Mutex::new(EncodingInUse { encoding: configured_encoding, refused_at: None }),
            last_failure: Mutex::default(),
            cumulative,
        };
        Ok(Self { remote, trust, urls, protocol })
    }

    /// Makes one attempt to send a request of metrics with totals in place of deltas. The next one waits until this one
    /// has an outcome.
    async fn send_totals(&self, converter: &CumulativeConverter, request: &ExportRequest) -> Outcome {
        let turn = converter.acquire_turn().await;
        let (owned, account, body) = (converter.clone(), Arc::clone(&request.account), request.body.clone());
        let convert = move || owned.convert(&account, &body.joined());
        let Some(converted) = run_blocking(&*self.remote.deps.services.tasks, "totals", convert).await else {
            return Outcome::Retry { after: None, reason: Reason::Lost };
        };
        let Some((body, pending)) = converted else {
            drop(turn);
            return self.remote.with_timeout(self.send_once(request)).await;
        };
        // An empty body means that the conversion dropped all points.
        let outcome = if body.is_empty() {
            Outcome::Accepted
        } else {
            let totals = ExportRequest { body: body.into(), ..request.clone() };
            self.remote.with_timeout(self.send_once(&totals)).await
        };
        if matches!(outcome, Outcome::Accepted | Outcome::Partial { .. }) {
            converter.commit_delivered(pending);
        }
        outcome
    }

    /// Makes one attempt to send a request.
    async fn send_once(&self, request: &ExportRequest) -> Outcome {
        let Some((_, url)) = self.urls.iter().find(|(signal, _)| *signal == request.signal) else {
            let reason = format!("no URL is configured for {}", request.signal.as_str());
            let remedy = "set `endpoint`, or the signal's own URL";
            self.remote.log_failure(Some(AttemptFailure { reason, remedy }));
            return Outcome::Retry { after: None, reason: Reason::Denied };
        };
        let encoding = self.remote.encoding();
        let Some(body) = self.remote.prepare_body(encoding, request).await else { return UNAVAILABLE };
        let Some(frame) = P::frame(encoding, body.len()) else { return Outcome::Refused { reason: Reason::TooLarge } };
        let mut http_request = Request::new(upload_body(iter::once(frame).chain(body.parts().iter().cloned())));
        *http_request.method_mut() = Method::POST;
        *http_request.version_mut() = P::VERSION;
        *http_request.uri_mut() = url.clone();
        let headers = http_request.headers_mut();
        self.remote.add_headers(request.signal, &request.account, headers);
        P::add_headers(self.remote.common.timeout, headers);
        let [encoding_header, advertising_header] = P::ENCODING_HEADERS;
        if encoding != ContentEncoding::Identity {
            headers.insert(encoding_header, HeaderValue::from_static(encoding.as_str()));
        }
        match self.remote.client.current_client(&self.remote.id).await.send(http_request).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                self.remote.note_advertised_encodings(&head.headers, advertising_header);
                P::evaluate_response(&self.remote, encoding, head, body).await
            }
            Err(ClientError { text, remedy, .. }) => {
                self.remote.log_failure(Some(AttemptFailure { reason: text, remedy }));
                UNAVAILABLE
            }
        }
    }
}

impl<P: OtlpProtocol> Exporter for OtlpExporter<P> {
    fn id(&self) -> &Arc<str> {
        &self.remote.id
    }

    fn trust(&self) -> Trust {
        self.trust
    }

    fn max_request_bytes(&self) -> usize {
        self.remote.common.max_request_bytes
    }

    fn send<'a>(&'a self, request: &'a ExportRequest) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match &self.remote.cumulative {
                Some(converter) if request.signal == Signal::Metrics => self.send_totals(converter, request).await,
                _ => self.remote.with_timeout(self.send_once(request)).await,
            }
        })
    }

    fn last_failure(&self) -> Option<AttemptFailure> {
        self.remote.last_failure.lock().clone()
    }
}

impl RemoteExporter {
    /// Runs `attempt` within the exporter's `timeout`.
    pub async fn with_timeout(&self, attempt: impl Future<Output = Outcome>) -> Outcome {
        match tokio::time::timeout(self.common.timeout, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let remedy = "check firewalls and proxies (HTTPS_PROXY), and `timeout`";
                self.log_failure(Some(AttemptFailure { reason: "no response within `timeout`".to_owned(), remedy }));
                Outcome::Retry { after: None, reason: Reason::TimedOut }
            }
        }
    }

    /// The encoding to use for the next request.
    pub fn encoding(&self) -> ContentEncoding {
        let (mut used, now) = (self.encoding.lock(), self.deps.services.clock.monotonic().as_secs());
        if used.refused_at.is_some_and(|at| now >= at.saturating_add(ENCODING_RETRY_AFTER.as_secs())) {
            used.refused_at = None;
            // The back end may have advertised zstd, which is no weaker than any other.
            if used.encoding != ContentEncoding::Zstd {
                used.encoding = self.configured_encoding;
            }
        }
        used.encoding
    }

    /// Falls back from an encoding that the back end refused to the next weaker one, for an hour. Returns false without
    /// `compression: auto`, or if there is no weaker one.
    pub fn fall_back_encoding(&self, refused: ContentEncoding) -> bool {
        if self.common.compression != Compression::Auto || refused == ContentEncoding::Identity {
            return false;
        }
        let weaker = if refused == ContentEncoding::Zstd { ContentEncoding::Gzip } else { ContentEncoding::Identity };
        let mut used = self.encoding.lock();
        if used.encoding == refused {
            *used =
                EncodingInUse { encoding: weaker, refused_at: Some(self.deps.services.clock.monotonic().as_secs()) };
        }
        true
    }

    /// Switches from gzip to zstd if the back end's response advertises zstd.
    pub fn note_advertised_encodings(&self, headers: &HeaderMap, name: &str) {
        let may_switch = self.common.compression == Compression::Auto && self.encoding() == ContentEncoding::Gzip;
        let accepts_zstd =
            |value: &str| value.split(',').any(|token| ContentEncoding::parse(token) == Some(ContentEncoding::Zstd));
        if may_switch && headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(accepts_zstd) {
            self.encoding.lock().encoding = ContentEncoding::Zstd;
        }
    }

    /// The body as it is sent: with what the back end may count, and compressed. A large one is made on a blocking
    /// thread. `None` if compression failed.
    async fn prepare_body(&self, encoding: ContentEncoding, request: &ExportRequest) -> Option<MergedRequest> {
        let (counted_by, stamps) = (self.common.counted_by, self.common.stamps);
        let (signal, body) = (request.signal, request.body.clone());
        let is_unchanged = counted_by == CountedBy::None && stamps == Stamps::All;
        let is_inline = (is_unchanged && encoding == ContentEncoding::Identity) || body.len() <= MAX_INLINE_BODY;
        let prepare = move || {
            let body = if is_unchanged { body } else { counted_by.adjust(stamps, signal, body.joined()).into() };
            match encoding {
                ContentEncoding::Identity => Some(body),
                _ => compress(encoding, body.parts()).ok().map(MergedRequest::from),
            }
        };
        if is_inline {
            return prepare();
        }
        run_blocking(&*self.deps.services.tasks, "compress", prepare).await.flatten()
    }

    pub fn add_headers(&self, signal: Signal, account: &str, to: &mut HeaderMap) {
        to.insert(http::header::USER_AGENT, HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"))));
        let shared = self.common.headers.iter().filter(|(_, _, only)| only.is_none_or(|only| only == signal));
        let shared = shared.map(|(name, secret, _)| (name, secret));
        let own = self.common.account_headers.get(account).into_iter().flatten().map(|(name, secret)| (name, secret));
        for (name, secret) in shared.chain(own) {
            if let Ok(mut value) = HeaderValue::from_str(secret.expose()) {
                value.set_sensitive(true);
                to.insert(name.clone(), value);
            }
        }
    }

    /// Logs `failure` if `outcome` is a retry or a refusal; otherwise records that the attempt succeeded.
    pub fn log_outcome(&self, outcome: &Outcome, failure: AttemptFailure) {
        let has_failed = matches!(outcome, Outcome::Retry { .. } | Outcome::Refused { .. });
        self.log_failure(has_failed.then_some(failure));
    }

    /// Logs why deliveries fail, once until the reason changes or a delivery succeeds. `failure` is tollgate's own text
    /// (a status or a connection error), never a back end's.
    pub fn log_failure(&self, failure: Option<AttemptFailure>) {
        let mut last = self.last_failure.lock();
        if *last != failure {
            if let Some(failure) = &failure {
                tracing::warn!(exporter = &*self.id, reason = failure.reason, "requests to the back end fail");
            }
            *last = failure;
        }
    }
}
