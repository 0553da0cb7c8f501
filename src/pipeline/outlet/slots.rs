//! **What**: [`Slots`]: how many requests may be on their way, and [`Slot`], one parcel's right to one. **Why**: a parcel that waits for
//! its next attempt asks nothing of the back end; with a slot of its own a signal or an account that is not taken would hold up all
//! others. **Invariants**: at most so many attempts at once; who waited comes before what is new; so many wait aside at once, those
//! beyond keep their slot; where the order counts nobody stands aside. **Not here**: how long is waited (`backoff`), how many of
//! one signal and account are begun (`lanes`).

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Parcels that wait aside at once.
const MOST_ASIDE: usize = 64;

/// See the module.
pub(super) struct Slots {
    free: Arc<Semaphore>,
    aside: Arc<Semaphore>,
    rested: Notify,
}

impl Slots {
    /// So many attempts at once; `ordered`: nothing may overtake what waits.
    pub(super) fn new(at_once: usize, ordered: bool) -> Arc<Self> {
        let aside = if ordered { 0 } else { MOST_ASIDE };
        Arc::new(Self {
            free: Arc::new(Semaphore::new(at_once)),
            aside: Arc::new(Semaphore::new(aside)),
            rested: Notify::new(),
        })
    }

    /// A slot, if one is free and nobody waits for it.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let held = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Slot { slots: Arc::clone(self), held: Some(held), aside: None })
    }

    /// Ends when somebody stood aside since the last time.
    pub(super) async fn rested(&self) {
        self.rested.notified().await;
    }
}

/// One parcel's right to ask the back end; given back when dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    held: Option<OwnedSemaphorePermit>,
    aside: Option<OwnedSemaphorePermit>,
}

impl Slot {
    /// Lets others ask meanwhile, if there is a place aside.
    pub(super) fn stand_aside(&mut self) {
        if let Ok(place) = Arc::clone(&self.slots.aside).try_acquire_owned() {
            (self.aside, self.held) = (Some(place), None);
            self.slots.rested.notify_one();
        }
    }

    /// Waits until it may ask again.
    pub(super) async fn come_back(&mut self) {
        if self.held.is_none() {
            self.held = Arc::clone(&self.slots.free).acquire_owned().await.ok();
            self.aside = None;
        }
    }
}
