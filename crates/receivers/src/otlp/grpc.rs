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

use super::health::{self, HealthEndpoint};
use crate::http_ports::reply::{self, BodyFormat, PREFIX, RequestRefusal};
use crate::http_ports::{BodyTally, ChargedBody, PartialResult, ReceiverPort, Sender};
use net::collect::discard;
use net::listen::{ReplyBody, RequestHandler};
use net::rope::Rope;
use net::{BodyError, ClientAddress, ContentEncoding, SlowUploads};
use otlp::Signal;
use otlp::status::GrpcCode;
use pipeline::BytePermit;

/// How much of an HTTP/1 request to the wrong port is read, and for how long, so that the response arrives.
const WRONG_PORT_READ: (usize, Duration) = (1 << 20, Duration::from_secs(2));

/// Handles requests on the gRPC port.
pub(super) struct GrpcPort {
    pub(super) port: ReceiverPort,
    pub(super) health: HealthEndpoint,
}

pub(super) fn grpc_service_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "opentelemetry.proto.collector.trace.v1.TraceService",
        Signal::Metrics => "opentelemetry.proto.collector.metrics.v1.MetricsService",
        Signal::Logs => "opentelemetry.proto.collector.logs.v1.LogsService",
    }
}

impl RequestHandler for GrpcPort {
    fn handle(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Response<ReplyBody>> {
        Box::pin(async move {
            let address = ClientAddress::of(request.extensions());
            if request.version() != Version::HTTP_2 || !is_grpc(request.headers()) {
                return self.answer_wrong_port(request).await;
            }
            if health::is_health_path(request.uri().path()) {
                return self.health.answer(request, (&self.port.limits, &self.port.upload_slots)).await.unwrap_or_else(
                    |refusal| {
                        self.port.meters.record_refusal(&refusal, address, None);
                        refusal.grpc_response()
                    },
                );
            }
            let mut sender = None;
            match self.port.meters.time_answer(self.export(request, &mut sender)).await {
                Ok(partial) => reply::grpc_ok(partial.as_ref()),
                Err(refusal) => {
                    let account = sender.as_ref().map(|sender: &Sender| &*sender.account);
                    self.port.meters.record_refusal(&refusal, address, account);
                    refusal.grpc_response()
                }
            }
        })
    }

    fn slow_uploads(&self) -> Arc<SlowUploads> {
        Arc::clone(&self.port.upload_slots)
    }
}

/// Whether the content type is `application/grpc` or `application/grpc+proto`, with or without parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/grpc") || essence.eq_ignore_ascii_case("application/grpc+proto")
}

impl GrpcPort {
    /// Answers another content type with HTTP 415, as gRPC prescribes; the body names the port that was meant.
    async fn answer_wrong_port(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        let format = BodyFormat::from_headers(request.headers());
        let address = ClientAddress::of(request.extensions());
        if request.version() < Version::HTTP_2 {
            discard(&mut request.into_body(), WRONG_PORT_READ.0, WRONG_PORT_READ.1).await;
        }
        let message = self.port.wrong_port_message("OTLP/gRPC", "OTLP/HTTP");
        let refusal = RequestRefusal::unsupported("wrong_port", message);
        self.port.meters.record_refusal(&refusal, address, None);
        refusal.http_response(format)
    }

    /// Takes a request; `sender` is set as soon as it is known.
    async fn export(
        &self,
        request: Request<Incoming>,
        sender: &mut Option<Sender>,
    ) -> Result<PartialResult, RequestRefusal> {
        let signal = parse_signal(request.uri().path())?;
        if request.method() != Method::POST {
            return Err(RequestRefusal::wrong_method("gRPC requests must use POST"));
        }
        let clients = &self.port.context.clients;
        let identified = clients.identify(request.headers(), request.extensions()).await;
        let sender = &*sender.insert(identified?);
        self.port.check_signal(signal)?;
        self.port.check_rate(&sender.account)?;
        let encoding = parse_encoding(request.headers())?;
        let Some(timeout) = parse_timeout(request.headers())? else {
            return self.receive(signal, sender, encoding, request.into_body()).await;
        };
        match tokio::time::timeout(timeout, self.receive(signal, sender, encoding, request.into_body())).await {
            Ok(result) => result,
            Err(_) => Err(RequestRefusal::deadline_exceeded()),
        }
    }

    async fn receive(
        &self,
        signal: Signal,
        sender: &Sender,
        encoding: ContentEncoding,
        mut body: Incoming,
    ) -> Result<PartialResult, RequestRefusal> {
        let tally = self.port.tally();
        let message = self.read_message(&tally, encoding, &mut body).await;
        let message = message.map_err(|refusal| self.port.charge_refused_body(&sender.account, &tally, refusal))?;
        self.port.submit(signal, sender, message).await
    }

    async fn read_message(
        &self,
        tally: &BodyTally<'_>,
        encoding: ContentEncoding,
        body: &mut Incoming,
    ) -> Result<ChargedBody, RequestRefusal> {
        let intake = self.port.intake(tally);
        let mut reader = PrefixReader { max_bytes: intake.limits.wire, prefix: None };
        let mut permit = BytePermit::new();
        let rope = intake.read_body(body, &mut permit, |rope| reader.check_prefix(rope)).await;
        let rope = rope.map_err(RequestRefusal::body_failed)?;
        let Some(MessagePrefix { is_compressed, length }) = reader.prefix else {
            return Err(RequestRefusal::malformed_body("the request has no message".to_owned()));
        };
        if rope.len() != length {
            return Err(RequestRefusal::malformed_body(
                "the message is shorter than its length prefix says".to_owned(),
            ));
        }
        if is_compressed && encoding == ContentEncoding::Identity {
            return Err(RequestRefusal::malformed_body(
                "the message is marked as compressed, but the header grpc-encoding is missing".to_owned(),
            ));
        }
        let encoding = if is_compressed { encoding } else { ContentEncoding::Identity };
        let message = intake.inflate(encoding, rope, permit).await;
        message.map_err(|error| RequestRefusal::inflate_failed(encoding, &error))
    }
}

struct MessagePrefix {
    is_compressed: bool,
    length: usize,
}

struct PrefixReader {
    /// Largest message with its prefix, in bytes.
    max_bytes: usize,
    prefix: Option<MessagePrefix>,
}

impl PrefixReader {
    /// Removes the prefix as soon as it has arrived; refuses an invalid prefix, an oversized message, and bytes after
    /// the message.
    fn check_prefix(&mut self, rope: &mut Rope) -> Result<(), BodyError> {
        if self.prefix.is_none()
            && let Some([flag, a, b, c, d]) = rope.take_front::<PREFIX>()
        {
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            if length.saturating_add(PREFIX) > self.max_bytes {
                return Err(BodyError::TooLarge);
            }
            if flag > 1 {
                return Err(BodyError::Malformed);
            }
            self.prefix = Some(MessagePrefix { is_compressed: flag == 1, length });
        }
        match &self.prefix {
            Some(prefix) if rope.len() > prefix.length => Err(BodyError::Malformed),
            _ => Ok(()),
        }
    }
}

fn parse_signal(path: &str) -> Result<Signal, RequestRefusal> {
    let unknown = |message| RequestRefusal::new(GrpcCode::Unimplemented, StatusCode::NOT_FOUND, "not_found", message);
    let (service_name, method) =
        path.strip_prefix('/').and_then(|path| path.split_once('/')).ok_or_else(|| unknown("unknown service"))?;
    let signal = Signal::ALL.into_iter().find(|signal| grpc_service_name(*signal) == service_name);
    let signal = signal.ok_or_else(|| unknown("unknown service"))?;
    if method == "Export" { Ok(signal) } else { Err(unknown("unknown method: OTLP services only have `Export`")) }
}

fn parse_encoding(headers: &HeaderMap) -> Result<ContentEncoding, RequestRefusal> {
    let Some(value) = headers.get("grpc-encoding") else { return Ok(ContentEncoding::Identity) };
    value.to_str().ok().and_then(ContentEncoding::parse).ok_or_else(|| {
        let message = format!("this grpc-encoding is not supported; use one of: {}", ContentEncoding::ACCEPTED);
        RequestRefusal::new(GrpcCode::Unimplemented, StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", message)
    })
}

/// Parses `grpc-timeout`: up to eight digits and a unit.
pub(super) fn parse_timeout(headers: &HeaderMap) -> Result<Option<Duration>, RequestRefusal> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let parse = || {
        let text = value.to_str().ok()?;
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number: u64 = digits.parse().ok()?;
        Some(match unit {
            "H" => Duration::from_secs(number.saturating_mul(3600)),
            "M" => Duration::from_secs(number.saturating_mul(60)),
            "S" => Duration::from_secs(number),
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => return None,
        })
    };
    parse().map(Some).ok_or_else(|| {
        RequestRefusal::malformed_body("grpc-timeout must be 1 to 8 digits and a unit (H, M, S, m, u or n)".to_owned())
    })
}
