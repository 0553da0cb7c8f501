//! **What**: whether a connection has work in hand ([`Activity`]), when it has rested too long ([`Resting`]), and which
//! of a port's have rested longest ([`Room`]). **Why**: hyper pings silent peers, but one that answers may stay for
//! ever. **Invariants**: a request is work from its head until its answer was taken; an answer that the client does not
//! take is the client's rest, not our work; nobody with work in hand is told to leave. **Not here**: closing
//! (`listen`).

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

/// Connections that are told to leave at once, at most.
const LEAVING: usize = 32;

/// Requests begun and requests in hand.
#[derive(Clone, Copy, Default)]
struct Work {
    begun: bool,
    /// Whether it can be told to go while it may be about to ask: HTTP/2.
    can_be_told: bool,
    hands: usize,
    /// When it began to rest, in the order of its port.
    rested: u64,
    /// Whether it is to make room.
    leave: bool,
}

/// The connections of a port.
#[derive(Default)]
pub(super) struct Room {
    /// Counts who comes and who begins to rest.
    order: AtomicU64,
    all: Mutex<HashMap<u64, Activity>>,
}

impl Room {
    fn next(&self) -> u64 {
        self.order.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells an eighth of those that rest to leave, those that have rested longest. False: none rests, and none is
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

    /// Whether one that was told to is about to leave; one that got something to do first is not.
    pub(super) fn is_leaving(&self) -> bool {
        self.all.lock().values().map(|one| *one.work.borrow()).any(|work| work.leave && work.hands == 0)
    }
}

/// The side that works.
#[derive(Clone)]
pub(super) struct Activity {
    work: watch::Sender<Work>,
    room: Arc<Room>,
}

/// The side that waits. It holds the other one, so that a connection that is going away does not look idle.
pub(super) struct Resting {
    work: watch::Receiver<Work>,
    held: Activity,
    /// Its name in the room.
    name: u64,
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Not one request by the deadline.
    Silent,
    /// Too long without one.
    Idle,
    /// Longest without one, when another wanted its place.
    Crowded,
}

/// Both sides of one connection, which begins to rest.
pub(super) fn new(room: &Arc<Room>) -> (Activity, Resting) {
    let name = room.next();
    let (work, watched) = watch::channel(Work { rested: name, ..Work::default() });
    let activity = Activity { work, room: Arc::clone(room) };
    room.all.lock().insert(name, activity.clone());
    (activity.clone(), Resting { work: watched, held: activity, name })
}

impl Activity {
    /// A request came.
    pub(super) fn begin(&self, version: Version) -> InHand {
        self.work.send_modify(|work| (work.begun, work.can_be_told) = (true, version >= Version::HTTP_2));
        let mut hand = InHand { of: self.clone(), held: false };
        hand.hold(true);
        hand
    }

    /// Whether it was told to: not if it has work in hand.
    fn leave(&self) -> bool {
        self.work.send_if_modified(|work| {
            work.leave = work.hands == 0;
            work.leave
        })
    }
}

/// One request in hand; let go when dropped.
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

    /// The answer is there; it is our work only while it has nothing to take.
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

/// A body on its way to the client.
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
    /// Ends when there was no request by `first`, or nothing in hand for `idle` after one, or it is to leave.
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

    /// Ends when it is to leave.
    pub(super) async fn crowded(&mut self) {
        let _ = self.work.wait_for(|work| work.leave).await;
    }

    /// Ends when its client may be told to go without being cut off in the middle of a word: it has asked for something
    /// that is in hand, or speaks a protocol in which what it asks for meanwhile is answered.
    pub(super) fn may_be_told(&self) -> impl Future<Output = ()> + use<> {
        let mut work = self.work.clone();
        async move {
            let _ = work.wait_for(|work| work.begun && (work.can_be_told || work.hands > 0)).await;
        }
    }

    /// Whether nothing is in hand now.
    pub(super) fn resting(&mut self) -> bool {
        self.work.borrow_and_update().hands == 0
    }

    /// Ends when nothing was in hand for `span`.
    pub(super) async fn quiet(&mut self, span: Duration) {
        loop {
            let resting = self.resting();
            // An error would mean that the sender is gone.
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
