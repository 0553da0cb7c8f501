//! **What**: whether a connection has work in hand ([`Activity`]) and when it has rested too long ([`Resting`]).
//! **Why**: hyper pings silent peers, but one that answers may stay for ever. **Invariants**: a request is work from its
//! head until its answer was taken; an answer that the client does not take is the client's rest, not our work.
//! **Not here**: closing (`listen`).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;

use super::listen::ReplyBody;

/// Requests begun and requests in hand.
#[derive(Clone, Copy, Default)]
struct Work {
    begun: bool,
    hands: usize,
}

/// The side that works.
#[derive(Clone)]
pub(super) struct Activity(watch::Sender<Work>);

/// The side that waits. It holds the other one, so that a connection that is going away does not look idle.
pub(super) struct Resting {
    work: watch::Receiver<Work>,
    _held: Activity,
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Not one request by the deadline.
    Silent,
    /// Too long without one.
    Idle,
}

/// Both sides of one connection.
pub(super) fn new() -> (Activity, Resting) {
    let (work, watched) = watch::channel(Work::default());
    let activity = Activity(work);
    (activity.clone(), Resting { work: watched, _held: activity })
}

impl Activity {
    /// A request came.
    pub(super) fn begin(&self) -> InHand {
        self.0.send_modify(|work| work.begun = true);
        let mut hand = InHand { work: self.0.clone(), held: false };
        hand.hold(true);
        hand
    }
}

/// One request in hand; let go when dropped.
pub(super) struct InHand {
    work: watch::Sender<Work>,
    held: bool,
}

impl InHand {
    fn hold(&mut self, held: bool) {
        if self.held != held {
            self.held = held;
            let change = |hands: usize| if held { hands.saturating_add(1) } else { hands.saturating_sub(1) };
            self.work.send_modify(|work| work.hands = change(work.hands));
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
    /// Ends when there was no request by `first`, or nothing in hand for `idle` after one.
    pub(super) async fn over(&mut self, first: Duration, idle: Duration) -> Rest {
        if tokio::time::timeout(first, self.work.wait_for(|work| work.begun)).await.is_err() {
            return Rest::Silent;
        }
        self.quiet(idle).await;
        Rest::Idle
    }

    /// Ends when there was a request.
    pub(super) async fn begun(&mut self) {
        let _ = self.work.wait_for(|work| work.begun).await;
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
