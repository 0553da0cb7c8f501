//! [`drive`]: runs a future on this thread under a [`ManualClock`]; time advances when nothing else can be done.

#![allow(missing_docs, reason = "test support")]

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use kernel::clock::{Clock, ManualClock};

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls `future` until it ends, or until `span` of the clock's time has passed (then `None`). While the future waits,
/// `idle` is called to do some work (true: it did); if it has none, time advances to the next timer.
pub fn drive<T>(
    clock: &ManualClock,
    span: Duration,
    future: impl Future<Output = T>,
    mut idle: impl FnMut() -> bool,
) -> Option<T> {
    let mut future = pin!(future);
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Arc::clone(&flag).into();
    let mut context = Context::from_waker(&waker);
    let end = clock.monotonic() + span;
    loop {
        flag.0.store(false, Ordering::SeqCst);
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        if flag.0.load(Ordering::SeqCst) || idle() {
            continue;
        }
        let left = end.saturating_sub(clock.monotonic());
        match clock.next_timer() {
            Some(next) if next <= left => clock.advance(next),
            _ => {
                clock.advance(left);
                return None;
            }
        }
    }
}
