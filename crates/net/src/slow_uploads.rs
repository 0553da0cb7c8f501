//! [`SlowUploads`]: counts a port's slow uploads, and how many of them are asked to end. Clients that send a byte now
//! and then must not occupy all connections of a port. Only a slow body is ended, only while another client waits, and
//! no more bodies than asked for. `upload_speed` decides what is slow; `listen` waits for a free connection.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Maximum number of uploads asked to end at once.
const MAX_TO_END: usize = 32;

/// The slow uploads of one port; see the module.
#[derive(Debug, Default)]
pub struct SlowUploads {
    slow: AtomicUsize,
    /// How many slow uploads still have to end.
    to_end: AtomicUsize,
}

impl SlowUploads {
    /// Asks an eighth of the slow uploads to end. False if none is slow.
    pub(super) fn ask_to_end(&self) -> bool {
        let slow = self.slow.load(Ordering::Relaxed);
        self.to_end.store((slow / 8).clamp(1, MAX_TO_END).min(slow), Ordering::Relaxed);
        slow > 0
    }

    /// Withdraws the request: no client waits any more.
    pub(super) fn withdraw_ask(&self) {
        self.to_end.store(0, Ordering::Relaxed);
    }

    /// Counts one more slow upload until the returned guard is dropped.
    pub(super) fn register_slow(&self) -> SlowUploadGuard<'_> {
        self.slow.fetch_add(1, Ordering::Relaxed);
        SlowUploadGuard(self)
    }
}

pub(super) struct SlowUploadGuard<'a>(&'a SlowUploads);

impl SlowUploadGuard<'_> {
    /// Takes one of the requests to end, if there is one; true means that this upload must end.
    pub(super) fn must_end(&self) -> bool {
        let one_less = |to_end: usize| to_end.checked_sub(1);
        self.0.to_end.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

impl Drop for SlowUploadGuard<'_> {
    fn drop(&mut self) {
        self.0.slow.fetch_sub(1, Ordering::Relaxed);
    }
}
