//! [`HttpClient`]: pooled HTTP/1.1 and HTTP/2 requests through proxy and TLS, used by every exporter. Building a client
//! opens and spawns nothing; connections are tasks of `Spawn`; a response is read up to a limit. `exporters/` sets
//! the time limit of a whole request and interprets responses.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
pub use hyper::body::Incoming;
use hyper::body::{Body, Frame, SizeHint};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;

use super::connection_remedy::connection_remedy;
use super::proxy::{ProxyConnector, ProxyRules};
use super::rope::Rope;
use super::shared_services::SharedServices;
use super::spawn::HyperTasks;
use super::tls::{self, TlsError};

/// TCP connect timeout; CONNECT and TLS count towards the exporter's `timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept.
const POOL_IDLE: Duration = Duration::from_secs(90);
const POOL_PER_HOST: usize = 8;
/// Interval of HTTP/2 pings to a silent server while a request waits.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long a ping may stay unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// A request body in parts, which are not copied together.
pub struct UploadBody {
    parts: std::vec::IntoIter<Bytes>,
    bytes_left: u64,
}

/// A request body of these parts.
pub fn upload_body(parts: impl IntoIterator<Item = Bytes>) -> UploadBody {
    let parts: Vec<Bytes> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    UploadBody { bytes_left: parts.iter().map(|part| part.len() as u64).sum(), parts: parts.into_iter() }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.parts.next();
        self.bytes_left -= part.as_ref().map_or(0, |part| part.len() as u64);
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes_left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes_left)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// TLS of `https://` destinations. `None` if every destination is plain text; then no root certificates are read.
    pub tls: Option<tls::ClientTlsSettings>,
    /// Use only HTTP/2, also without TLS (gRPC).
    pub http2_only: bool,
}

pub struct HttpClient {
    inner: legacy::Client<HttpsConnector<ProxyConnector>, UploadBody>,
    proxies: Arc<ProxyRules>,
    /// Every request goes through a tunnel or directly, so no request may carry the proxy's credentials.
    tunnelled: bool,
}

/// Why no response arrived. Contains at most names of hosts and certificates.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ClientError {
    /// The innermost cause.
    pub text: String,
    /// What the operator can do about it.
    pub remedy: &'static str,
    /// Whether the connection was refused.
    pub refused: bool,
}

impl ClientError {
    /// Uses the innermost cause, which says most: "connection refused", "invalid peer certificate".
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let kind = innermost.downcast_ref::<io::Error>().map(io::Error::kind);
        Self {
            text: innermost.to_string(),
            remedy: connection_remedy(error),
            refused: kind == Some(io::ErrorKind::ConnectionRefused),
        }
    }
}

impl HttpClient {
    /// Builds a client that uses the proxies and tasks of `services`.
    ///
    /// # Errors
    /// A TLS file can't be used, or root certificates are missing.
    pub fn build(settings: &ClientSettings, services: &SharedServices) -> Result<Self, TlsError> {
        let tls = settings.tls.as_ref().map(tls::ClientTlsSettings::read).transpose()?;
        Self::build_with_tls(settings, tls.map(|(config, _)| config), services)
    }

    /// Builds a client with a TLS configuration that was already read.
    pub(super) fn build_with_tls(
        settings: &ClientSettings,
        tls: Option<rustls::ClientConfig>,
        services: &SharedServices,
    ) -> Result<Self, TlsError> {
        let (proxies, tasks) = (Arc::clone(&services.proxies), Arc::clone(&services.tasks));
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(Duration::from_secs(60)));
        let connector = ProxyConnector::new(http, Arc::clone(&proxies), settings.http2_only);
        let tls = tls.map_or_else(config_without_roots, Ok)?;
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let name = settings.tls.as_ref().and_then(|tls| tls.server_name.clone());
        let builder = match name {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        let connector = if settings.http2_only {
            builder.enable_http2().wrap_connector(connector)
        } else {
            builder.enable_all_versions().wrap_connector(connector)
        };
        let inner = legacy::Client::builder(HyperTasks::new(tasks, "client"))
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_PER_HOST)
            .http2_only(settings.http2_only)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .build(connector);
        Ok(Self { inner, proxies, tunnelled: settings.http2_only })
    }

    /// Sends one request, whose URI must be absolute.
    ///
    /// # Errors
    /// No response arrived.
    pub async fn send(&self, mut request: Request<UploadBody>) -> Result<Response<Incoming>, ClientError> {
        if let Some(value) = self.proxy_authorization(request.uri()) {
            request.headers_mut().insert(http::header::PROXY_AUTHORIZATION, value);
        }
        self.inner.request(request).await.map_err(|error| ClientError::from_error(&error))
    }

    /// The proxy's credentials, if the request itself goes to the proxy instead of through a tunnel.
    pub(super) fn proxy_authorization(&self, destination: &http::Uri) -> Option<http::HeaderValue> {
        if self.tunnelled { None } else { self.proxies.authorization(destination) }
    }
}

fn config_without_roots() -> Result<rustls::ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}

/// Why a response could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseReadError {
    /// The body is larger than the limit.
    TooLarge,
    /// The connection ended before the body did.
    Truncated,
}

/// Reads a response's body up to `max_bytes` bytes, and its trailers.
///
/// # Errors
/// See [`ResponseReadError`].
pub async fn read_response(mut body: Incoming, max_bytes: usize) -> Result<(Bytes, HeaderMap), ResponseReadError> {
    let (mut rope, mut trailers) = (Rope::default(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ResponseReadError::Truncated)?;
        match frame.into_data() {
            Ok(data) if rope.len().saturating_add(data.len()) > max_bytes => return Err(ResponseReadError::TooLarge),
            Ok(data) => rope.push(data),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((rope.into_bytes(), trailers))
}
