//! **What**: `grpc.health.v1` on the gRPC port. **Why** not tonic's alone: it is asked without a credential and answers when the
//! budget is full, and tonic would hold megabytes of each request and any number of watches. **Invariants**: a request
//! is [`REQUEST`] bytes at most and comes in the time that any other body has; so many watches at once and no more.
//! **Not here**: what is said (`mod`).

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use super::grpc::PREFIX;
use super::reply::{self, Refusal};
use crate::net::Limits;
use crate::net::listen::ReplyBody;
use crate::otlp::status::Code;
use crate::pipeline::{Outcome, Reason};

/// A service's name, bytes: ours have 60.
const REQUEST: usize = 4 * 1024;
/// Watches at once: each holds its connection for as long as it likes.
const WATCHES: usize = 32;

/// Answers health requests of one port.
pub(super) struct HealthDoor {
    service: BoxCloneSyncService<Request<Full<Bytes>>, Response<tonic::body::Body>, Infallible>,
    watches: Arc<Semaphore>,
}

/// Whether a request is for the health service.
pub(super) fn asked(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/")
}

impl HealthDoor {
    /// In front of tonic's.
    pub(super) fn new<H: Health>(server: HealthServer<H>) -> Self {
        let service = BoxCloneSyncService::new(server.max_decoding_message_size(REQUEST));
        Self { service, watches: Arc::new(Semaphore::new(WATCHES)) }
    }

    /// The answer, or why there is none; of `limits` only the times count.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        limits: &Limits,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let watches = request.uri().path().ends_with("/Watch");
        let place =
            if watches { Some(Arc::clone(&self.watches).try_acquire_owned().map_err(|_| full())?) } else { None };
        let (head, mut body) = request.into_parts();
        let message = match tokio::time::timeout(limits.total, read(&mut body, limits)).await {
            Ok(message) => message,
            Err(_) => Err(late()),
        };
        let message = message.map_err(|outcome| Refusal::of(&outcome))?;
        let request = Request::from_parts(head, Full::new(message));
        let response = match self.service.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        // A watch has its place until its stream is gone.
        Ok(response.map(|body| {
            reply::boxed(body.map_frame(move |frame| {
                let _place = &place;
                frame
            }))
        }))
    }
}

fn full() -> Refusal {
    let message = "too many watch the health of this port; ask with Check";
    Refusal::new(Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS, "health_watches", message)
}

fn late() -> Outcome {
    Outcome::Retry { after: None, reason: Reason::TimedOut }
}

/// One message with its prefix. Refused as soon as it says that it is too long, whatever comes of it.
async fn read(body: &mut Incoming, limits: &Limits) -> Result<Bytes, Outcome> {
    const TOO_LARGE: Outcome = Outcome::Refused { reason: Reason::TooLarge };
    let mut message = Vec::new();
    loop {
        let Ok(frame) = tokio::time::timeout(limits.idle, body.frame()).await else { return Err(late()) };
        let Some(frame) = frame else { return Ok(message.into()) };
        let Ok(frame) = frame else { return Err(Outcome::Retry { after: None, reason: Reason::Disconnected }) };
        let Ok(data) = frame.into_data() else { continue };
        if message.len().saturating_add(data.len()) > REQUEST.saturating_add(PREFIX) {
            return Err(TOO_LARGE);
        }
        message.extend_from_slice(&data);
        if let Some([_, a, b, c, d]) = message.first_chunk::<PREFIX>()
            && usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX) > REQUEST
        {
            return Err(TOO_LARGE);
        }
    }
}
