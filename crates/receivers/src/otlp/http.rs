//! The HTTP port: `/v1/traces`, `/v1/metrics`, `/v1/logs`, protobuf and JSON.
//! A response has the content type of its request. JSON is transcoded to protobuf before it is submitted.
//! `http_ports/reply` has the statuses, `http_ports/http_request` the response to a refused request, `otlp/json` the
//! JSON codec.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request};
use hyper::body::Incoming;

use super::config::CorsConfig;
use crate::http_ports::http_request::parse_content_encoding;
use crate::http_ports::reply::{self, BodyFormat, RequestRefusal};
use crate::http_ports::web_pages::refuse_web_page;
use crate::http_ports::{BodyTally, ChargedBody, PartialResult, ReceiverPort, Sender};
use net::listen::{ReplyBody, RequestHandler};
use net::{ClientAddress, ContentEncoding, SlowUploads};
use otlp::status::GrpcCode;
use otlp::{Signal, json};
use pipeline::{Outcome, Reason};

/// Handles requests on the HTTP port.
pub(super) struct HttpPort {
    pub(super) port: ReceiverPort,
    /// Served paths. The response to any other path names the first three: one for each signal.
    pub(super) paths: Vec<(Signal, String)>,
    pub(super) cors: Option<CorsConfig>,
}

impl RequestHandler for HttpPort {
    fn handle(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Response<ReplyBody>> {
        Box::pin(async move {
            let (parts, mut body) = request.into_parts();
            if let Some(headers) =
                self.cors.as_ref().and_then(|cors| cors.preflight_headers(&parts.method, &parts.headers))
            {
                let mut response = Response::new(reply::boxed(http_body_util::Empty::new()));
                *response.status_mut() = StatusCode::NO_CONTENT;
                *response.headers_mut() = headers;
                return response;
            }
            let mut sender = None;
            let exported = self.port.meters.time_answer(self.export(&parts, &mut body, &mut sender)).await;
            let mut response = match exported {
                Ok((signal, format, partial)) => reply::http_ok(signal, format, partial.as_ref()),
                Err(refusal) if refusal.label == WRONG_PORT => {
                    self.port.meters.record_refusal(&refusal, ClientAddress::of(&parts.extensions), None);
                    refusal.grpc_response()
                }
                Err(refusal) => self.port.answer_refused_http(&parts, body, &refusal, sender.as_ref()).await,
            };
            if let Some(cors) = &self.cors {
                cors.add_headers(&parts.headers, response.headers_mut());
            }
            response
        })
    }

    fn slow_uploads(&self) -> Arc<SlowUploads> {
        Arc::clone(&self.port.upload_slots)
    }
}

impl HttpPort {
    /// Takes a request; `sender` is set as soon as it is known.
    async fn export(
        &self,
        parts: &request::Parts,
        body: &mut Incoming,
        sender: &mut Option<Sender>,
    ) -> Result<(Signal, BodyFormat, PartialResult), RequestRefusal> {
        if is_grpc(&parts.headers) {
            let message = self.port.wrong_port_message("OTLP/HTTP", "OTLP/gRPC");
            return Err(RequestRefusal::new(GrpcCode::Unimplemented, StatusCode::OK, WRONG_PORT, message));
        }
        let signal = self.find_signal(parts.uri.path())?;
        if parts.method != Method::POST {
            return Err(RequestRefusal::wrong_method("OTLP requests must use POST").with_header("allow", "POST"));
        }
        if self.port.guards_browsers {
            refuse_web_page(parts, |origin| self.cors.as_ref().is_some_and(|cors| cors.allows(origin)))?;
        }
        let clients = &self.port.context.clients;
        let sender = &*sender.insert(clients.identify(&parts.headers, &parts.extensions).await?);
        self.port.check_signal(signal)?;
        self.port.check_rate(&sender.account)?;
        let format = BodyFormat::from_headers(&parts.headers).ok_or_else(|| {
            let message = "the content type must be application/x-protobuf or application/json";
            RequestRefusal::unsupported("content_type", message)
        })?;
        let encoding = parse_content_encoding(&parts.headers)?;
        let tally = self.port.tally();
        let request = self.read_request(&tally, (signal, format, encoding), body).await;
        let request = request.map_err(|refusal| self.port.charge_refused_body(&sender.account, &tally, refusal))?;
        Ok((signal, format, self.port.submit(signal, sender, request).await?))
    }

    /// Reads a body and converts it to protobuf.
    async fn read_request(
        &self,
        tally: &BodyTally<'_>,
        (signal, format, encoding): (Signal, BodyFormat, ContentEncoding),
        body: &mut Incoming,
    ) -> Result<ChargedBody, RequestRefusal> {
        let intake = self.port.intake(tally);
        let inflated = ReceiverPort::read_inflated(&intake, encoding, body).await?;
        if format != BodyFormat::Json {
            return Ok(inflated);
        }
        let limit = self.port.limits.inflated;
        // An empty body is invalid JSON, although it is a valid protobuf message.
        let decode = move |bytes: Bytes| {
            let decoded = json::decode_within(signal, &bytes, limit);
            decoded.map(|request| (request, ())).map_err(|error| match error.is_too_large() {
                true => RequestRefusal::from_outcome(&Outcome::Refused { reason: Reason::TooLarge }),
                false => RequestRefusal::malformed_body(error.to_string()),
            })
        };
        // Protobuf is smaller than its JSON as a rule.
        let (request, ()) = self.port.convert_body(&intake, inflated, ("json", 1), decode).await?;
        Ok(request)
    }

    fn find_signal(&self, path: &str) -> Result<Signal, RequestRefusal> {
        self.paths.iter().find(|(_, served)| served == path).map(|(signal, _)| *signal).ok_or_else(|| {
            let served: Vec<&str> = self.paths.iter().take(3).map(|(_, path)| path.as_str()).collect();
            let message = format!("OTLP is served at {}", served.join(", "));
            RequestRefusal::new(GrpcCode::NotFound, StatusCode::NOT_FOUND, "not_found", message)
        })
    }
}

const WRONG_PORT: &str = "wrong_port";

fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    value.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
}
