//! Serves `grpc.health.v1` on the gRPC port, in front of tonic's service: health checks need no credential and must be
//! answered when the byte budget is full, but tonic would buffer megabytes per request and keep any number of watches.
//! A request has at most [`MAX_REQUEST_BYTES`] bytes and the same time limits as any other body. At most
//! [`MAX_WATCHES`] watches run at once; one more ends the oldest, so that unauthenticated clients can't lock others
//! out. `mod` sets the status.

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

use crate::http_ports::reply::{self, PREFIX, RequestRefusal};
use net::collect::BodyFrames;
use net::listen::ReplyBody;
use net::{BodyError, BodyLimits, SlowUploads};
use otlp::status::GrpcCode;

/// Largest health request, in bytes; tollgate's own service names have about 60.
const MAX_REQUEST_BYTES: usize = 4 * 1024;
/// Maximum number of concurrent watches: each holds its connection for as long as its client likes.
const MAX_WATCHES: usize = 32;

/// Answers health requests of one port.
pub(super) struct HealthEndpoint {
    service: BoxCloneSyncService<Request<Full<Bytes>>, Response<tonic::body::Body>, Infallible>,
    /// One sender for each watch, oldest first; sending ends the watch.
    watches: Arc<Mutex<VecDeque<oneshot::Sender<()>>>>,
}

/// Whether a request is for the health service.
pub(super) fn is_health_path(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/")
}

impl HealthEndpoint {
    /// Wraps tonic's health service.
    pub(super) fn new<H: Health>(server: HealthServer<H>) -> Self {
        let service = BoxCloneSyncService::new(server.max_decoding_message_size(MAX_REQUEST_BYTES));
        Self { service, watches: Arc::default() }
    }

    /// Answers a health request. Only the time limits of `limits` apply.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        (limits, slow_uploads): (&BodyLimits, &SlowUploads),
    ) -> Result<Response<ReplyBody>, RequestRefusal> {
        let is_watch = request.uri().path().ends_with("/Watch");
        let (head, mut body) = request.into_parts();
        let message = read_message(&mut body, limits, slow_uploads).await;
        let message = message.map_err(RequestRefusal::body_failed)?;
        let request = Request::from_parts(head, Full::new(message));
        let response = match self.service.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if !is_watch {
            return Ok(response.map(reply::boxed));
        }
        let replaced = self.register_watch();
        Ok(response.map(|body| reply::boxed(HealthWatchBody { body, replaced: Some(replaced) })))
    }

    /// Registers a watch. The returned receiver is notified when a newer watch replaces this one.
    fn register_watch(&self) -> oneshot::Receiver<()> {
        let (replace, replaced) = oneshot::channel();
        let mut watches = self.watches.lock();
        watches.retain(|watch| !watch.is_closed());
        if watches.len() >= MAX_WATCHES
            && let Some(oldest) = watches.pop_front()
        {
            let _ = oldest.send(());
        }
        watches.push_back(replace);
        replaced
    }
}

/// The response body of a watch, which ends when a newer watch replaces it.
struct HealthWatchBody {
    body: tonic::body::Body,
    /// `None` after the watch was replaced.
    replaced: Option<oneshot::Receiver<()>>,
}

impl Body for HealthWatchBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let Some(replaced) = &mut self.replaced else { return Poll::Ready(None) };
        if Pin::new(replaced).poll(context).is_pending() {
            return Pin::new(&mut self.body).poll_frame(context);
        }
        self.replaced = None;
        // UNAVAILABLE makes the client retry.
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(GrpcCode::Unavailable as i32));
        trailers.insert(
            "grpc-message",
            HeaderValue::from_static("too many health watches on this port; use Check instead"),
        );
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

/// Reads one message with its prefix, and refuses it as soon as the prefix announces more than
/// [`MAX_REQUEST_BYTES`] bytes.
async fn read_message(
    body: &mut Incoming,
    limits: &BodyLimits,
    slow_uploads: &SlowUploads,
) -> Result<Bytes, BodyError> {
    let limits = BodyLimits { wire: MAX_REQUEST_BYTES.saturating_add(PREFIX), ..limits.clone() };
    let read = async {
        let (mut message, mut frames) = (Vec::new(), BodyFrames::new(body, &limits, slow_uploads));
        while let Some(data) = frames.next(|| false).await? {
            message.extend_from_slice(&data);
            if let Some([_, a, b, c, d]) = message.first_chunk::<PREFIX>()
                && usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX) > MAX_REQUEST_BYTES
            {
                return Err(BodyError::TooLarge);
            }
        }
        Ok(message.into())
    };
    limits.run_within(read).await
}
