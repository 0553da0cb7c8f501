//! Answers the requests of hooks. The answer to a stored event is 200 with an empty body, by which Claude Code decides
//! nothing; every other answer is an error that the client logs and passes over. An OK follows the engine's `Accepted`,
//! so it means that the event is on disk. `span` makes the spans, `http_ports/reply` has the statuses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, request};
use http_body_util::Empty;
use hyper::body::Incoming;

use super::span::translate_event;
use super::start_times::StartTimes;
use crate::http_ports::http_request::parse_content_encoding;
use crate::http_ports::reply::{self, BodyFormat, RequestRefusal};
use crate::http_ports::web_pages::refuse_web_page;
use crate::http_ports::{BodyTally, ChargedBody, ReceiverPort, Sender};
use kernel::clock::{Clock, with_timeout};
use net::listen::{ReplyBody, RequestHandler};
use net::{ContentEncoding, SlowUploads};
use otlp::Signal;
use otlp::status::GrpcCode;
use pipeline::{Outcome, Reason};

/// While an event is translated, its texts are held as attributes and as the request; both are charged.
const COPIES: usize = 2;

/// Handles the requests of hooks.
pub(super) struct HookPort {
    pub(super) port: ReceiverPort,
    pub(super) path: String,
    /// How long a complete event may take to be stored before it is answered.
    pub(super) answer_within: Duration,
    pub(super) starts: Arc<StartTimes>,
    pub(super) clock: Arc<dyn Clock>,
}

impl RequestHandler for HookPort {
    fn handle(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Response<ReplyBody>> {
        Box::pin(async move {
            let (parts, mut body) = request.into_parts();
            let mut sender = None;
            match self.port.meters.time_answer(self.store_event(&parts, &mut body, &mut sender)).await {
                Ok(()) => Response::new(reply::boxed(Empty::new())),
                Err(refusal) => self.port.answer_refused_http(&parts, body, &refusal, sender.as_ref()).await,
            }
        })
    }

    fn slow_uploads(&self) -> Arc<SlowUploads> {
        Arc::clone(&self.port.upload_slots)
    }
}

impl HookPort {
    /// Stores the event; `sender` is set as soon as it is known.
    async fn store_event(
        &self,
        parts: &request::Parts,
        body: &mut Incoming,
        sender: &mut Option<Sender>,
    ) -> Result<(), RequestRefusal> {
        if parts.uri.path() != self.path {
            let message = format!("hooks of Claude Code are served at {}", self.path);
            return Err(RequestRefusal::new(GrpcCode::NotFound, StatusCode::NOT_FOUND, "not_found", message));
        }
        if parts.method != Method::POST {
            return Err(RequestRefusal::wrong_method("hooks must use POST").with_header("allow", "POST"));
        }
        if self.port.guards_browsers {
            refuse_web_page(parts, |_| false)?;
        }
        let clients = &self.port.context.clients;
        let sender = &*sender.insert(clients.identify(&parts.headers, &parts.extensions).await?);
        self.port.check_signal(Signal::Traces)?;
        self.port.check_rate(&sender.account)?;
        // A web page can't send this type to another origin without being asked, so it can't invent events.
        if BodyFormat::from_headers(&parts.headers) != Some(BodyFormat::Json) {
            return Err(RequestRefusal::unsupported("content_type", "the content type must be application/json"));
        }
        let encoding = parse_content_encoding(&parts.headers)?;
        let tally = self.port.tally();
        let request = self.read_event(&tally, (&sender.account, encoding), body).await;
        let request = request.map_err(|refusal| self.port.charge_refused_body(&sender.account, &tally, refusal))?;
        // The engine goes on with an event whose hook is not waited for any more.
        let stored = with_timeout(&*self.clock, self.answer_within, self.port.submit(Signal::Traces, sender, request));
        let late = || RequestRefusal::from_outcome(&Outcome::Retry { after: None, reason: Reason::TimedOut });
        match stored.await.unwrap_or_else(|| Err(late()))? {
            None => Ok(()),
            // An event is one span: an OK for a part of it would be one for nothing.
            Some(partial) => {
                let (code, status) = (GrpcCode::InvalidArgument, StatusCode::UNPROCESSABLE_ENTITY);
                Err(RequestRefusal::new(code, status, "rejected", partial.message))
            }
        }
    }

    /// Reads an event and makes the request for it.
    async fn read_event(
        &self,
        tally: &BodyTally<'_>,
        (account, encoding): (&Arc<str>, ContentEncoding),
        body: &mut Incoming,
    ) -> Result<ChargedBody, RequestRefusal> {
        let intake = self.port.intake(tally);
        let body = ReceiverPort::read_inflated(&intake, encoding, body).await?;
        let (now, starts, account) = (self.clock.now().0, Arc::clone(&self.starts), Arc::clone(account));
        let translate = move |bytes: Bytes| {
            let request = translate_event(&bytes, &account, now, &starts);
            request.map_err(|error| RequestRefusal::malformed_body(error.to_string()))
        };
        self.port.convert_body(&intake, body, ("hook", COPIES), translate).await
    }
}
