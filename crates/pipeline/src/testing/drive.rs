//! [`drive`]: runs a future on this thread under a [`ManualClock`]; time advances when nothing else can be done.

#![allow(missing_docs, reason = "test support")]

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use kernel::clock::{Clock, ManualClock};

struct WakeFlag(AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls `future` until it ends, or until `max_time` of the clock's time has passed (then `None`). While the future
/// waits, `work` is called to do other work; if it returns false, it had none, and time advances to the next timer.
pub fn drive<T>(
    clock: &ManualClock,
    max_time: Duration,
    future: impl Future<Output = T>,
    mut work: impl FnMut() -> bool,
) -> Option<T> {
    let mut future = pin!(future);
    let woken = Arc::new(WakeFlag(AtomicBool::new(false)));
    let waker = Arc::clone(&woken).into();
    let mut context = Context::from_waker(&waker);
    let end = clock.monotonic() + max_time;
    loop {
        woken.0.store(false, Ordering::SeqCst);
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        if woken.0.load(Ordering::SeqCst) || work() {
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
