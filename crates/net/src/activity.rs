//! Tracks whether a connection has requests in progress ([`ConnectionActivity`]), when it has been idle too long
//! ([`IdleWatcher`]), and which connections of a port have been idle longest ([`PortConnections`]). hyper pings silent
//! peers, but a peer that answers pings could stay for ever. A request is in progress from its head until its response
//! is ready, and again while the response waits for data from us; a response that the client does not read counts as
//! idle time. A connection with requests in progress is never asked to leave. `listen` closes connections.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, Version};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::reply::ReplyBody;

/// Maximum number of connections asked to leave at once.
const MAX_LEAVING: usize = 32;

#[derive(Clone, Copy, Default)]
struct ConnectionLoad {
    had_request: bool,
    /// Whether the connection can be closed gracefully while the client may be sending a request (HTTP/2).
    can_close_gracefully: bool,
    in_progress: usize,
    /// When the connection became idle, as a sequence number of its port.
    idle_since: u64,
    /// Whether the connection was asked to make room.
    asked_to_leave: bool,
}

#[derive(Default)]
pub(super) struct PortConnections {
    /// Sequence numbers for new connections and the starts of idle periods.
    order: AtomicU64,
    connections: Mutex<HashMap<u64, ConnectionActivity>>,
}

impl PortConnections {
    fn next_sequence(&self) -> u64 {
        self.order.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks an eighth of the idle connections to leave, those that were idle longest. False if none is idle and none is
    /// about to leave.
    pub(super) fn ask_idle_to_leave(&self) -> bool {
        let connections = self.connections.lock();
        let loads = connections.values().map(|connection| (*connection.load.borrow(), connection));
        let (leaving, mut idle): (Vec<_>, Vec<_>) =
            loads.filter(|(load, _)| load.in_progress == 0).partition(|(load, _)| load.asked_to_leave);
        idle.sort_unstable_by_key(|(load, _)| load.idle_since);
        let max_asked = (idle.len() / 8).clamp(1, MAX_LEAVING);
        let asked = idle.iter().take(max_asked).filter(|(_, connection)| connection.ask_to_leave()).count();
        asked + leaving.len() > 0
    }

    /// Whether a connection that was asked to leave is about to close. One that received a request first is not.
    pub(super) fn has_leaving(&self) -> bool {
        let connections = self.connections.lock();
        let mut loads = connections.values().map(|connection| *connection.load.borrow());
        loads.any(|load| load.asked_to_leave && load.in_progress == 0)
    }
}

/// The side of a connection that handles requests.
#[derive(Clone)]
pub(super) struct ConnectionActivity {
    load: watch::Sender<ConnectionLoad>,
    port: Arc<PortConnections>,
}

/// The side that waits until the connection is idle. It also holds the other side, so that the channel stays open.
pub(super) struct IdleWatcher {
    load: watch::Receiver<ConnectionLoad>,
    activity: ConnectionActivity,
    /// The connection's key in [`PortConnections`].
    key: u64,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// No request arrived before the deadline.
    NoRequest,
    /// The connection was idle for too long.
    Idle,
    /// The connection was idle longest when another client needed its place.
    Evicted,
}

/// Creates both sides of a new connection, which begins idle.
pub(super) fn track_connection(port: &Arc<PortConnections>) -> (ConnectionActivity, IdleWatcher) {
    let key = port.next_sequence();
    let (sender, receiver) = watch::channel(ConnectionLoad { idle_since: key, ..ConnectionLoad::default() });
    let activity = ConnectionActivity { load: sender, port: Arc::clone(port) };
    port.connections.lock().insert(key, activity.clone());
    (activity.clone(), IdleWatcher { load: receiver, activity, key })
}

impl ConnectionActivity {
    /// Records that a request arrived.
    pub(super) fn begin_request(&self, version: Version) -> RequestInProgress {
        self.load
            .send_modify(|load| (load.had_request, load.can_close_gracefully) = (true, version >= Version::HTTP_2));
        let mut request = RequestInProgress { activity: self.clone(), is_counted: false };
        request.set_counted(true);
        request
    }

    /// Asks the connection to leave, and returns whether it was asked: not if it has requests in progress.
    fn ask_to_leave(&self) -> bool {
        self.load.send_if_modified(|load| {
            load.asked_to_leave = load.in_progress == 0;
            load.asked_to_leave
        })
    }
}

/// A request in progress; dropping it ends the request.
pub(super) struct RequestInProgress {
    activity: ConnectionActivity,
    is_counted: bool,
}

impl RequestInProgress {
    fn set_counted(&mut self, counted: bool) {
        if self.is_counted != counted {
            self.is_counted = counted;
            self.activity.load.send_modify(|load| {
                load.in_progress =
                    if counted { load.in_progress.saturating_add(1) } else { load.in_progress.saturating_sub(1) };
                if load.in_progress == 0 {
                    load.idle_since = self.activity.port.next_sequence();
                }
            });
        }
    }

    /// The response is ready. From now on the request counts as in progress only while the response body has no data
    /// ready.
    pub(super) fn track_response(mut self, response: Response<ReplyBody>) -> Response<TrackedResponseBody> {
        self.set_counted(false);
        response.map(|body| TrackedResponseBody { body, request: self })
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.set_counted(false);
    }
}

/// A response body that is being sent.
pub(super) struct TrackedResponseBody {
    body: ReplyBody,
    request: RequestInProgress,
}

impl Body for TrackedResponseBody {
    type Data = Bytes;
    type Error = <ReplyBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.request.set_counted(polled.is_pending());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl IdleWatcher {
    /// Completes when no request came within `first`, when after a first request none was in progress for `idle`, or
    /// when the connection is asked to leave.
    pub(super) async fn wait_for_close_reason(&mut self, first: Duration, idle: Duration) -> CloseReason {
        let mut leave_requests = self.load.clone();
        let idle_too_long = async {
            if tokio::time::timeout(first, self.load.wait_for(|load| load.had_request)).await.is_err() {
                return CloseReason::NoRequest;
            }
            self.wait_until_idle_for(idle).await;
            CloseReason::Idle
        };
        tokio::select! {
            reason = idle_too_long => reason,
            _ = leave_requests.wait_for(|load| load.asked_to_leave) => CloseReason::Evicted,
        }
    }

    /// Completes when the connection is asked to leave.
    pub(super) async fn wait_until_crowded(&mut self) {
        let _ = self.load.wait_for(|load| load.asked_to_leave).await;
    }

    /// Completes when the connection can be closed gracefully without losing a request: a request is in progress, or
    /// the protocol (HTTP/2) still answers requests sent meanwhile.
    pub(super) fn wait_until_closable(&self) -> impl Future<Output = ()> + use<> {
        let mut load = self.load.clone();
        async move {
            let _ = load.wait_for(|load| load.had_request && (load.can_close_gracefully || load.in_progress > 0)).await;
        }
    }

    /// Whether no request is in progress now.
    pub(super) fn is_idle(&mut self) -> bool {
        self.load.borrow_and_update().in_progress == 0
    }

    /// Completes when no request was in progress for `span`.
    pub(super) async fn wait_until_idle_for(&mut self, span: Duration) {
        loop {
            let is_idle = self.is_idle();
            // An error is impossible here: `activity` keeps the sender alive.
            let changed = self.load.changed();
            if !is_idle {
                let _ = changed.await;
            } else if tokio::time::timeout(span, changed).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for IdleWatcher {
    fn drop(&mut self) {
        self.activity.port.connections.lock().remove(&self.key);
    }
}
