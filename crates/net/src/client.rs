//! **What**: [`Client`]: pooled HTTP/1.1 and HTTP/2 requests through proxy and TLS. **Why**: every exporter goes out
//! the same way. **Invariants**: building it opens nothing and spawns nothing; connections are tasks of [`Spawn`]; an
//! answer is read up to a cap. **Not here**: time limits of a whole request and what answers mean (`exporters/`).

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::buf::Chain;
use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;

use super::proxy::{Connector, Proxies};
use super::rope::Rope;
use super::spawn::{HyperTasks, Spawn};
use super::tls::{self, TlsError};

/// For TCP; CONNECT and TLS are within the exporter's `timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An unused connection is closed after this.
const POOL_IDLE: Duration = Duration::from_secs(90);
const POOL_PER_HOST: usize = 8;
/// HTTP/2 pings to a silent server while a request waits, and how long one may stay unanswered.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// A request's body: a prefix and the rest, so that the rest need not be copied.
pub type Upload = Full<Chain<Bytes, Bytes>>;

/// `head` followed by `body`.
pub fn upload(head: Bytes, body: Bytes) -> Upload {
    Full::new(head.chain(body))
}

/// How to go out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// TLS of `https://` destinations; not needed (and no root is read) when every destination is plain.
    pub tls: Option<tls::Settings>,
    /// HTTP/2 only, also without TLS (gRPC).
    pub http2_only: bool,
}

/// A pooled client.
pub struct Client {
    inner: legacy::Client<HttpsConnector<Connector>, Upload>,
    proxies: Arc<Proxies>,
    /// Every request goes through a tunnel or directly: none of them may carry what only a proxy may see.
    tunnelled: bool,
}

/// Why there was no answer. Holds names of hosts and certificates at most.
#[derive(Debug)]
pub struct ClientError {
    text: String,
    /// Whether nobody listens there.
    pub refused: bool,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for ClientError {}

impl ClientError {
    /// The innermost cause says most: "connection refused", "invalid peer certificate".
    fn from(error: &(dyn Error + 'static)) -> Self {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let kind = innermost.downcast_ref::<io::Error>().map(io::Error::kind);
        Self { text: innermost.to_string(), refused: kind == Some(io::ErrorKind::ConnectionRefused) }
    }
}

impl Client {
    /// A client; `proxies` say which way.
    ///
    /// # Errors
    /// A TLS file that can't be used, or missing roots.
    pub fn build(settings: &Settings, proxies: Arc<Proxies>, tasks: Arc<dyn Spawn>) -> Result<Self, TlsError> {
        let tls = settings.tls.as_ref().map(tls::Settings::read).transpose()?;
        Self::with(settings, tls.map(|(config, _)| config), proxies, tasks)
    }

    /// The same with what files said.
    pub(super) fn with(
        settings: &Settings,
        tls: Option<rustls::ClientConfig>,
        proxies: Arc<Proxies>,
        tasks: Arc<dyn Spawn>,
    ) -> Result<Self, TlsError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(Duration::from_secs(60)));
        let connector = Connector::new(http, Arc::clone(&proxies), settings.http2_only);
        let tls = tls.map_or_else(no_roots, Ok)?;
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
            .http2_keep_alive_interval(PING.0)
            .http2_keep_alive_timeout(PING.1)
            .build(connector);
        Ok(Self { inner, proxies, tunnelled: settings.http2_only })
    }

    /// Sends one request; its URI is absolute.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn send(&self, mut request: Request<Upload>) -> Result<Response<Incoming>, ClientError> {
        if let Some(value) = self.for_the_proxy(request.uri()) {
            request.headers_mut().insert(http::header::PROXY_AUTHORIZATION, value);
        }
        self.inner.request(request).await.map_err(|error| ClientError::from(&error))
    }

    /// The proxy's credentials, where the request itself goes to the proxy and not past it.
    pub(super) fn for_the_proxy(&self, destination: &http::Uri) -> Option<http::HeaderValue> {
        if self.tunnelled { None } else { self.proxies.authorization(destination) }
    }
}

fn no_roots() -> Result<rustls::ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}

/// Why an answer could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// More than the cap.
    TooLarge,
    /// The connection ended first.
    Cut,
}

/// An answer's body up to `cap` bytes, and its trailers.
///
/// # Errors
/// See [`AnswerError`].
pub async fn read(mut body: Incoming, cap: usize) -> Result<(Bytes, HeaderMap), AnswerError> {
    let (mut rope, mut trailers) = (Rope::default(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| AnswerError::Cut)?;
        match frame.into_data() {
            Ok(data) if rope.len().saturating_add(data.len()) > cap => return Err(AnswerError::TooLarge),
            Ok(data) => rope.push(data),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((rope.into_bytes(), trailers))
}
