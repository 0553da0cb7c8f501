//! The gRPC port: one unary message per request, framed by hand.
//! Framing is by hand because tonic can't charge a message while it arrives, has one size limit where OTLP needs two,
//! and answers an oversized message in a way that makes clients loop.
//! A request is submitted only if its message is complete. The client's `grpc-timeout` ends the wait, not the work.
//! `reply` has the statuses, `health` serves `grpc.health.v1`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::health::{self, HealthDoor};
use super::port::{Collected, Partial, Port, Tally};
use super::reply::{self, Format, PREFIX, Refusal};
use net::collect::discard;
use net::listen::{Handler, Near, ReplyBody};
use net::rope::Rope;
use net::{BodyError, Encoding, Places};
use otlp::Signal;
use otlp::status::Code;
use pipeline::BytePermit;

/// How much of a request to the wrong port is read, and for how long, so that the response arrives.
const WRONG_PORT_READ: (usize, Duration) = (1 << 20, Duration::from_secs(2));

/// Handles requests on the gRPC port.
pub(super) struct GrpcPort {
    pub(super) port: Port,
    pub(super) health: HealthDoor,
}

/// Full gRPC service name of a signal.
pub(super) fn service(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "opentelemetry.proto.collector.trace.v1.TraceService",
        Signal::Metrics => "opentelemetry.proto.collector.metrics.v1.MetricsService",
        Signal::Logs => "opentelemetry.proto.collector.logs.v1.LogsService",
    }
}

impl Handler for GrpcPort {
    fn handle(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Response<ReplyBody>> {
        Box::pin(async move {
            let near = is_near(&request);
            if request.version() != Version::HTTP_2 || !is_grpc(request.headers()) {
                return self.wrong_port(request).await;
            }
            if health::asked(request.uri().path()) {
                return self.health.answer(request, (&self.port.limits, &self.port.places)).await.unwrap_or_else(
                    |refusal| {
                        self.port.meters.refusal(&refusal, near);
                        refusal.grpc()
                    },
                );
            }
            match self.export(request).await {
                Ok(partial) => {
                    self.port.meters.success();
                    reply::grpc_ok(partial.as_ref())
                }
                Err(refusal) => {
                    self.port.meters.refusal(&refusal, near);
                    refusal.grpc()
                }
            }
        })
    }

    fn places(&self) -> Arc<Places> {
        Arc::clone(&self.port.places)
    }
}

fn is_near(request: &Request<Incoming>) -> bool {
    request.extensions().get::<Near>().is_some()
}

/// Whether the content type is `application/grpc` or `application/grpc+proto`, with or without parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/grpc") || essence.eq_ignore_ascii_case("application/grpc+proto")
}

impl GrpcPort {
    /// Answers another content type with HTTP 415, as gRPC prescribes; the body names the port that was meant.
    async fn wrong_port(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        let format = Format::of(request.headers());
        let near = is_near(&request);
        let http1 = request.version() < Version::HTTP_2;
        if http1 {
            discard(&mut request.into_body(), WRONG_PORT_READ.0, WRONG_PORT_READ.1).await;
        }
        let message = self.port.elsewhere("OTLP/gRPC", "OTLP/HTTP");
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let refusal = Refusal::new(Code::InvalidArgument, status, "wrong_port", message);
        self.port.meters.refusal(&refusal, near);
        refusal.http(format)
    }

    async fn export(&self, request: Request<Incoming>) -> Result<Partial, Refusal> {
        let signal = signal_of(request.uri().path())?;
        if request.method() != Method::POST {
            let message = "gRPC requests are sent with POST";
            return Err(Refusal::new(Code::Unimplemented, StatusCode::METHOD_NOT_ALLOWED, "method", message));
        }
        let account = self.port.door.clients.account(request.headers(), request.extensions())?;
        self.port.takes(signal)?;
        self.port.admit(&account)?;
        let encoding = encoding(request.headers())?;
        let Some(limit) = timeout(request.headers())? else {
            return self.receive(signal, account, encoding, request.into_body()).await;
        };
        match tokio::time::timeout(limit, self.receive(signal, account, encoding, request.into_body())).await {
            Ok(result) => result,
            Err(_) => Err(Refusal::deadline()),
        }
    }

    async fn receive(
        &self,
        signal: Signal,
        account: Arc<str>,
        encoding: Encoding,
        mut body: Incoming,
    ) -> Result<Partial, Refusal> {
        let tally = self.port.tally();
        let whole = self.collect(&tally, encoding, &mut body).await;
        let whole = whole.map_err(|refusal| self.port.refused(&account, &tally, refusal))?;
        self.port.submit(signal, account, whole).await
    }

    /// Reads the one message of a request.
    async fn collect(&self, tally: &Tally<'_>, encoding: Encoding, body: &mut Incoming) -> Result<Collected, Refusal> {
        let intake = self.port.intake(tally);
        let mut head = Head { limit: intake.limits.wire, found: None };
        let mut permit = BytePermit::new();
        let gathered = intake.gather(body, &mut permit, |rope| head.check(rope)).await;
        let rope = gathered.map_err(|error| Refusal::of(&reply::outcome_of(error)))?;
        let Some((compressed, length)) = head.found else {
            return Err(Refusal::malformed("the request has no message".to_owned()));
        };
        if rope.len() != length {
            return Err(Refusal::malformed("the message is shorter than its length says".to_owned()));
        }
        if compressed && encoding == Encoding::Identity {
            return Err(Refusal::malformed("the message is marked compressed without a grpc-encoding".to_owned()));
        }
        let encoding = if compressed { encoding } else { Encoding::Identity };
        let whole = intake.inflate(encoding, rope, permit).await;
        whole.map_err(|error| Refusal::inflating(encoding, &reply::outcome_of(error)))
    }
}

/// Reads the prefix of the message.
struct Head {
    limit: usize,
    found: Option<(bool, usize)>,
}

impl Head {
    /// Removes the prefix as soon as it has arrived; refuses an invalid prefix, an oversized message, and bytes after
    /// the message.
    fn check(&mut self, rope: &mut Rope) -> Result<(), BodyError> {
        if self.found.is_none()
            && let Some([flag, a, b, c, d]) = rope.take::<PREFIX>()
        {
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            if length.saturating_add(PREFIX) > self.limit {
                return Err(BodyError::TooLarge);
            }
            if flag > 1 {
                return Err(BodyError::Malformed);
            }
            self.found = Some((flag == 1, length));
        }
        match self.found {
            Some((_, length)) if rope.len() > length => Err(BodyError::Malformed),
            _ => Ok(()),
        }
    }
}

fn signal_of(path: &str) -> Result<Signal, Refusal> {
    let unknown = |message| Refusal::new(Code::Unimplemented, StatusCode::NOT_FOUND, "not_found", message);
    let (service_name, method) =
        path.strip_prefix('/').and_then(|path| path.split_once('/')).ok_or_else(|| unknown("unknown service"))?;
    let signal = Signal::ALL.into_iter().find(|signal| service(*signal) == service_name);
    let signal = signal.ok_or_else(|| unknown("unknown service"))?;
    if method == "Export" { Ok(signal) } else { Err(unknown("unknown method: an OTLP service has `Export`")) }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let Some(value) = headers.get("grpc-encoding") else { return Ok(Encoding::Identity) };
    value.to_str().ok().and_then(Encoding::parse).ok_or_else(|| {
        let message = format!("this grpc-encoding is not supported; these are: {}", Encoding::ACCEPTED);
        Refusal::new(Code::Unimplemented, StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", message)
    })
}

/// Parses `grpc-timeout`: up to eight digits and a unit.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let read = || {
        let text = value.to_str().ok()?;
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let n: u64 = digits.parse().ok()?;
        Some(match unit {
            "H" => Duration::from_secs(n.saturating_mul(3600)),
            "M" => Duration::from_secs(n.saturating_mul(60)),
            "S" => Duration::from_secs(n),
            "m" => Duration::from_millis(n),
            "u" => Duration::from_micros(n),
            "n" => Duration::from_nanos(n),
            _ => return None,
        })
    };
    read().map(Some).ok_or_else(|| Refusal::malformed("grpc-timeout is not digits and a unit".to_owned()))
}
