//! Tracks whether a connection has requests in progress ([`Activity`]), when it has been idle too long ([`Resting`]),
//! and which connections of a port have been idle longest ([`Room`]). hyper pings silent peers, but a peer that
//! answers pings could stay for ever.
//! A request is in progress from its head until its response is ready, and again while the response waits for data
//! from us; a response that the client does not read counts as idle time. A connection with requests in progress is
//! never asked to leave. `listen` closes connections.

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
const LEAVING: usize = 32;

/// The requests of a connection.
#[derive(Clone, Copy, Default)]
struct Work {
    begun: bool,
    /// Whether the connection can be closed gracefully while the client may be sending a request (HTTP/2).
    can_be_told: bool,
    hands: usize,
    /// When the connection became idle, as a sequence number of its port.
    rested: u64,
    /// Whether the connection was asked to make room.
    leave: bool,
}

/// The connections of a port.
#[derive(Default)]
pub(super) struct Room {
    /// Sequence numbers for new connections and the starts of idle periods.
    order: AtomicU64,
    all: Mutex<HashMap<u64, Activity>>,
}

impl Room {
    fn next(&self) -> u64 {
        self.order.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks the eighth of the idle connections that were idle longest to leave. False if none is idle and none is
    /// about to leave.
    pub(super) fn make(&self) -> bool {
        let all = self.all.lock();
        let works = all.values().map(|one| (*one.work.borrow(), one));
        let (leaving, mut resting): (Vec<_>, Vec<_>) =
            works.filter(|(work, _)| work.hands == 0).partition(|(work, _)| work.leave);
        resting.sort_unstable_by_key(|(work, _)| work.rested);
        let many = (resting.len() / 8).clamp(1, LEAVING);
        let told = resting.iter().take(many).filter(|(_, one)| one.leave()).count();
        told + leaving.len() > 0
    }

    /// Whether a connection that was asked to leave is about to close. One that received a request first is not.
    pub(super) fn is_leaving(&self) -> bool {
        self.all.lock().values().map(|one| *one.work.borrow()).any(|work| work.leave && work.hands == 0)
    }
}

/// The side of a connection that handles requests.
#[derive(Clone)]
pub(super) struct Activity {
    work: watch::Sender<Work>,
    room: Arc<Room>,
}

/// The side that waits until the connection is idle. It also holds the other side, so that a connection that is
/// closing does not look idle.
pub(super) struct Resting {
    work: watch::Receiver<Work>,
    held: Activity,
    /// The connection's key in [`Room`].
    name: u64,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// No request arrived before the deadline.
    Silent,
    /// The connection was idle for too long.
    Idle,
    /// The connection was idle longest when another client needed its place.
    Crowded,
}

/// Creates both sides of a new connection, which begins idle.
pub(super) fn new(room: &Arc<Room>) -> (Activity, Resting) {
    let name = room.next();
    let (work, watched) = watch::channel(Work { rested: name, ..Work::default() });
    let activity = Activity { work, room: Arc::clone(room) };
    room.all.lock().insert(name, activity.clone());
    (activity.clone(), Resting { work: watched, held: activity, name })
}

impl Activity {
    /// Records that a request arrived.
    pub(super) fn begin(&self, version: Version) -> InHand {
        self.work.send_modify(|work| (work.begun, work.can_be_told) = (true, version >= Version::HTTP_2));
        let mut hand = InHand { of: self.clone(), held: false };
        hand.hold(true);
        hand
    }

    /// Asks the connection to leave, and returns whether it was asked: not if it has requests in progress.
    fn leave(&self) -> bool {
        self.work.send_if_modified(|work| {
            work.leave = work.hands == 0;
            work.leave
        })
    }
}

/// A request in progress; dropping it ends that.
pub(super) struct InHand {
    of: Activity,
    held: bool,
}

impl InHand {
    fn hold(&mut self, held: bool) {
        if self.held != held {
            self.held = held;
            let change = |hands: usize| if held { hands.saturating_add(1) } else { hands.saturating_sub(1) };
            self.of.work.send_modify(|work| {
                work.hands = change(work.hands);
                if work.hands == 0 {
                    work.rested = self.of.room.next();
                }
            });
        }
    }

    /// The response is ready. From now on the request counts as in progress only while the response body has no data
    /// ready.
    pub(super) fn sending(mut self, answer: Response<ReplyBody>) -> Response<Sending> {
        self.hold(false);
        answer.map(|body| Sending { body, hand: self })
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.hold(false);
    }
}

/// A response body that is being sent.
pub(super) struct Sending {
    body: ReplyBody,
    hand: InHand,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = <ReplyBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.hand.hold(polled.is_pending());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Resting {
    /// Completes when no request came within `first`, when none was in progress for `idle` after a request, or when
    /// the connection is asked to leave.
    pub(super) async fn over(&mut self, first: Duration, idle: Duration) -> Rest {
        let mut told = self.work.clone();
        let rested = async {
            if tokio::time::timeout(first, self.work.wait_for(|work| work.begun)).await.is_err() {
                return Rest::Silent;
            }
            self.quiet(idle).await;
            Rest::Idle
        };
        tokio::select! {
            rest = rested => rest,
            _ = told.wait_for(|work| work.leave) => Rest::Crowded,
        }
    }

    /// Completes when the connection is asked to leave.
    pub(super) async fn crowded(&mut self) {
        let _ = self.work.wait_for(|work| work.leave).await;
    }

    /// Completes when the connection can be closed gracefully without losing a request: a request is in progress, or
    /// the protocol (HTTP/2) still answers requests sent meanwhile.
    pub(super) fn may_be_told(&self) -> impl Future<Output = ()> + use<> {
        let mut work = self.work.clone();
        async move {
            let _ = work.wait_for(|work| work.begun && (work.can_be_told || work.hands > 0)).await;
        }
    }

    /// Whether no request is in progress now.
    pub(super) fn resting(&mut self) -> bool {
        self.work.borrow_and_update().hands == 0
    }

    /// Completes when no request was in progress for `span`.
    pub(super) async fn quiet(&mut self, span: Duration) {
        loop {
            let resting = self.resting();
            // An error is impossible here: `held` keeps the sender alive.
            let changed = self.work.changed();
            if !resting {
                let _ = changed.await;
            } else if tokio::time::timeout(span, changed).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        self.held.room.all.lock().remove(&self.name);
    }
}
