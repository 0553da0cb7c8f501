//! HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, and the connector that follows them. https and gRPC go through a
//! CONNECT tunnel, so that of https the proxy sees only names and ciphertext; loopback is never proxied; a proxy's
//! password is never shown. TLS is in `tls`.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

pub(super) type ConnectError = Box<dyn Error + Send + Sync>;

/// Why an environment variable does not name a usable proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The scheme is not `http://`.
    #[error("{0}: only http:// proxies are supported")]
    Scheme(&'static str),
    /// The value can't be parsed as `[http://][user:password@]host[:port]`.
    #[error("{0}: must be [http://][user:password@]host[:port]")]
    Address(&'static str),
}

/// Decides which destinations go through which proxy. No `Debug`, because proxy addresses contain passwords.
pub struct ProxyRules {
    rules: Matcher,
}

impl ProxyRules {
    /// Reads the variables through `var`, trying the upper-case name first.
    ///
    /// # Errors
    /// A variable can't be used; only `http://` proxies are supported.
    pub fn from_env(var: &dyn Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        let read = |name: &'static str| {
            let value = var(name).or_else(|| var(&name.to_ascii_lowercase())).unwrap_or_default();
            let value = value.trim().to_owned();
            let has_other_scheme =
                value.split_once("://").is_some_and(|(scheme, _)| !scheme.eq_ignore_ascii_case("http"));
            if has_other_scheme {
                return Err(ProxyError::Scheme(name));
            }
            // the matcher treats an unreadable value as "no proxy", and traffic would bypass the required proxy
            if value.is_empty() || is_parsable(&value) { Ok(value) } else { Err(ProxyError::Address(name)) }
        };
        let no_proxy = var("NO_PROXY").or_else(|| var("no_proxy")).unwrap_or_default();
        let rules = Matcher::builder()
            .https(read("HTTPS_PROXY")?)
            .http(read("HTTP_PROXY")?)
            .all(read("ALL_PROXY")?)
            .no(no_proxy)
            .build();
        Ok(Self { rules })
    }

    /// Uses no proxy at all.
    pub fn direct() -> Self {
        Self { rules: Matcher::builder().build() }
    }

    pub(super) fn proxy_for(&self, destination: &Uri) -> Option<Intercept> {
        if is_local_host(destination.host()?) { None } else { self.rules.intercept(destination) }
    }

    /// The `proxy-authorization` header that a plain `http://` request through the proxy needs.
    pub(super) fn authorization(&self, destination: &Uri) -> Option<HeaderValue> {
        if destination.scheme_str() != Some("http") {
            return None;
        }
        let mut value = self.proxy_for(destination)?.basic_auth()?.clone();
        value.set_sensitive(true);
        Some(value)
    }
}

/// Whether the matcher can parse a proxy's address: `[http://][user:password@]host[:port]`.
fn is_parsable(value: &str) -> bool {
    let host_and_port = value.rsplit_once('@').map_or(value, |(_, address)| address);
    let port = host_and_port.trim_end_matches('/').rsplit_once(':').map(|(_, port)| port);
    let is_port_valid = port
        .is_none_or(|port| port.starts_with("//") || port.ends_with(']') || config::address::parse_port(port).is_ok());
    let any_destination = Uri::from_static("http://tollgate.invalid");
    is_port_valid && Matcher::builder().all(value).build().intercept(&any_destination).is_some()
}

/// Connects directly, through a tunnel, or to the proxy itself.
#[derive(Clone)]
pub(super) struct ProxyConnector {
    http: HttpConnector,
    proxies: Arc<ProxyRules>,
    /// Whether plain connections are tunnelled like https, because a proxy can't forward plain HTTP/2.
    tunnel_always: bool,
}

impl ProxyConnector {
    pub(super) fn new(http: HttpConnector, proxies: Arc<ProxyRules>, tunnel_always: bool) -> Self {
        Self { http, proxies, tunnel_always }
    }

    fn proxy_for(&self, destination: &Uri) -> Option<Intercept> {
        if !self.tunnel_always || destination.scheme_str() == Some("https") {
            return self.proxies.proxy_for(destination);
        }
        let mut parts = destination.clone().into_parts();
        parts.scheme = Some(http::uri::Scheme::HTTPS);
        self.proxies.proxy_for(&Uri::from_parts(parts).ok()?)
    }
}

impl Service<Uri> for ProxyConnector {
    type Response = ProxyConnection;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<ProxyConnection, ConnectError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let Some(proxy) = self.proxy_for(&destination) else {
            let connecting = self.http.call(destination);
            return Box::pin(async move { Ok(ProxyConnection { io: connecting.await?, proxied: false }) });
        };
        if self.tunnel_always || destination.scheme_str() == Some("https") {
            let mut tunnel = Tunnel::new(proxy.uri().clone(), self.http.clone());
            if let Some(auth) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(auth.clone());
            }
            let destination = with_port(destination);
            return Box::pin(
                async move { Ok(ProxyConnection { io: tunnel.call(destination).await?, proxied: false }) },
            );
        }
        let connecting = self.http.call(proxy.uri().clone());
        Box::pin(async move { Ok(ProxyConnection { io: connecting.await?, proxied: true }) })
    }
}

/// Adds the default port, because CONNECT must name one.
fn with_port(destination: Uri) -> Uri {
    if destination.port().is_some() {
        return destination;
    }
    let port = if destination.scheme_str() == Some("http") { 80 } else { 443 };
    let authority = format!("{}:{port}", destination.host().unwrap_or_default());
    let mut parts = destination.clone().into_parts();
    let Ok(authority) = authority.parse() else { return destination };
    parts.authority = Some(authority);
    Uri::from_parts(parts).unwrap_or(destination)
}

/// A TCP connection, and whether its requests go to a proxy in absolute form.
pub(super) struct ProxyConnection {
    io: TokioIo<TcpStream>,
    proxied: bool,
}

impl Connection for ProxyConnection {
    fn connected(&self) -> Connected {
        self.io.inner().connected().proxy(self.proxied)
    }
}

impl Read for ProxyConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for ProxyConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

/// Whether a URL's host is this machine, judged by its name alone.
pub fn is_local_host(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}
