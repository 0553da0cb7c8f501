//! A back end that records requests and sends prepared responses, plain or over TLS, and a proxy in front of it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A received request.
pub struct Seen {
    /// HTTP version.
    pub version: Version,
    /// HTTP method.
    pub method: Method,
    /// Request target; absolute over HTTP/2 and towards a proxy.
    pub uri: Uri,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as sent.
    pub body: Bytes,
}

impl Seen {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Whether the body, which is text, contains `text`.
    pub fn contains(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(text)
    }
}

/// A prepared response.
#[derive(Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Bytes,
    /// Trailers.
    pub trailers: Vec<(&'static str, String)>,
    /// Never respond at all.
    pub hang: bool,
}

impl Answer {
    /// An HTTP response.
    pub fn http(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), trailers: Vec::new(), hang: false }
    }

    /// A gRPC response with `message` and status `code`.
    pub fn grpc(code: i32, message: &[u8]) -> Self {
        let body = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
        Self {
            headers: vec![("content-type", "application/grpc".into())],
            trailers: vec![("grpc-status", code.to_string())],
            body: Bytes::from(body),
            ..Self::http(200)
        }
    }

    /// A gRPC response without a message: trailers only.
    pub fn grpc_failure(code: i32) -> Self {
        Self::http(200).with("content-type", "application/grpc").with("grpc-status", &code.to_string())
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }
}

/// A back end that records requests.
pub struct Sink {
    /// Its address.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    connections: Arc<AtomicUsize>,
}

impl Sink {
    /// Starts a back end that responds with `answers` in turn, then with 200 and no body.
    pub async fn new(tls: Option<Arc<rustls::ServerConfig>>, answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, answers) = (Arc::default(), Arc::new(Mutex::new(answers.into_iter().collect())));
        let connections = Arc::new(AtomicUsize::new(0));
        let sink = Self {
            address,
            seen: Arc::clone(&seen),
            answers: Arc::clone(&answers),
            connections: Arc::clone(&connections),
        };
        spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (tls, seen, answers) = (tls.clone(), Arc::clone(&seen), Arc::clone(&answers));
                spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(socket) = tokio_rustls::TlsAcceptor::from(tls).accept(socket).await {
                                serve(TokioIo::new(socket), seen, answers).await;
                            }
                        }
                        None => serve(TokioIo::new(socket), seen, answers).await,
                    }
                });
            }
        });
        sink
    }

    /// All requests that [`Self::seen`] has not yet taken.
    pub fn requests(&self) -> parking_lot::MutexGuard<'_, Vec<Seen>> {
        self.seen.lock()
    }

    /// The requests since the last call.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock())
    }

    /// Number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Appends a prepared response.
    pub fn answer(&self, answer: Answer) {
        self.answers.lock().push_back(answer);
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

async fn serve<I>(io: I, seen: Arc<Mutex<Vec<Seen>>>, answers: Arc<Mutex<VecDeque<Answer>>>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (seen, answers) = (Arc::clone(&seen), Arc::clone(&answers));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let (version, method) = (parts.version, parts.method);
            seen.lock().push(Seen { version, method, uri: parts.uri, headers: parts.headers, body });
            let answer = answers.lock().pop_front().unwrap_or_else(|| Answer::http(200));
            if answer.hang {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(reply(answer))
        }
    });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
}

fn reply(answer: Answer) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>> {
    let trailers = header_map(answer.trailers);
    let body = Full::new(answer.body);
    let body = if trailers.is_empty() {
        body.boxed_unsync()
    } else {
        body.with_trailers(async { Some(Ok(trailers)) }).boxed_unsync()
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap();
    response.headers_mut().extend(header_map(answer.headers));
    response
}

fn header_map(pairs: Vec<(&'static str, String)>) -> HeaderMap {
    let pair =
        |(name, value): (&'static str, String)| (HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
    pairs.into_iter().map(pair).collect()
}

/// A proxy that tunnels every CONNECT to one address, whatever name was requested.
pub struct Proxy {
    /// Its address.
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts a proxy that tunnels to `target`.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), heads: Arc::default() };
        let heads = Arc::clone(&proxy.heads);
        spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let heads = Arc::clone(&heads);
                spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(client.read_u8().await.unwrap());
                    }
                    heads.lock().push(String::from_utf8(head).unwrap());
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let mut server = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        proxy
    }

    /// The CONNECT requests since the last call.
    pub fn heads(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock())
    }
}
