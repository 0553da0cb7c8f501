//! **What**: `grpc.health.v1` on the gRPC port. **Why** not tonic's alone: it is asked without a credential and answers
//! when the budget is full, and tonic would hold megabytes of each request and any number of watches. **Invariants**: a
//! request is [`REQUEST`] bytes at most and comes in the time that any other body has; so many watches at once and no
//! more: one more ends the oldest, so that nobody who is asked for no credential can lock out the others. **Not here**:
//! what is said (`mod`).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::Full;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use super::reply::{self, PREFIX, Refusal};
use net::collect::Frames;
use net::listen::ReplyBody;
use net::{BodyError, Limits, Places};
use otlp::status::Code;

/// A service's name, bytes: ours have 60.
const REQUEST: usize = 4 * 1024;
/// Watches at once: each holds its connection for as long as it likes.
const WATCHES: usize = 32;

/// Answers health requests of one port.
pub(super) struct HealthDoor {
    service: BoxCloneSyncService<Request<Full<Bytes>>, Response<tonic::body::Body>, Infallible>,
    watches: Arc<Mutex<VecDeque<oneshot::Sender<()>>>>,
}

/// Whether a request is for the health service.
pub(super) fn asked(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/")
}

impl HealthDoor {
    /// In front of tonic's.
    pub(super) fn new<H: Health>(server: HealthServer<H>) -> Self {
        let service = BoxCloneSyncService::new(server.max_decoding_message_size(REQUEST));
        Self { service, watches: Arc::default() }
    }

    /// The answer, or why there is none; of `limits` only the times count.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        (limits, places): (&Limits, &Places),
    ) -> Result<Response<ReplyBody>, Refusal> {
        let watches = request.uri().path().ends_with("/Watch");
        let (head, mut body) = request.into_parts();
        let message = read(&mut body, limits, places).await;
        let message = message.map_err(|error| Refusal::of(&reply::outcome_of(error.into())))?;
        let request = Request::from_parts(head, Full::new(message));
        let response = match self.service.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if !watches {
            return Ok(response.map(reply::boxed));
        }
        let told = self.place();
        Ok(response.map(|body| reply::boxed(Watch { body, told: Some(told) })))
    }

    /// A place for one more watch; it is told when another takes it.
    fn place(&self) -> oneshot::Receiver<()> {
        let (place, told) = oneshot::channel();
        let mut watches = self.watches.lock();
        watches.retain(|watch| !watch.is_closed());
        if watches.len() >= WATCHES
            && let Some(oldest) = watches.pop_front()
        {
            let _ = oldest.send(());
        }
        watches.push_back(place);
        told
    }
}

/// What a watch is told, until another takes its place.
struct Watch {
    body: tonic::body::Body,
    /// None: it was.
    told: Option<oneshot::Receiver<()>>,
}

impl Body for Watch {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let Some(told) = &mut self.told else { return Poll::Ready(None) };
        if Pin::new(told).poll(context).is_pending() {
            return Pin::new(&mut self.body).poll_frame(context);
        }
        self.told = None;
        // The status that says: come again.
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(Code::Unavailable as i32));
        trailers
            .insert("grpc-message", HeaderValue::from_static("others watch the health of this port; ask with Check"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

/// One message with its prefix. Refused as soon as it says that it is too long, whatever comes of it.
async fn read(body: &mut Incoming, limits: &Limits, places: &Places) -> Result<Bytes, BodyError> {
    let limits = Limits { wire: REQUEST.saturating_add(PREFIX), ..limits.clone() };
    let read = async {
        let (mut message, mut frames) = (Vec::new(), Frames::of(body, &limits, places));
        while let Some(data) = frames.next(|| false).await? {
            message.extend_from_slice(&data);
            if let Some([_, a, b, c, d]) = message.first_chunk::<PREFIX>()
                && usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX) > REQUEST
            {
                return Err(BodyError::TooLarge);
            }
        }
        Ok(message.into())
    };
    limits.within(read).await
}
