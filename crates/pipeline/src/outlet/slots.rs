//! [`Slots`]: bounds the requests in flight; [`Slot`]: the permission of one parcel to send. A parcel that waits for
//! its next attempt sends nothing, so it gives its slot to other parcels; otherwise a signal or account that is not
//! accepted would block all others.
//! Parcels that waited come before new ones. The number of parked parcels is bounded, and those beyond the bound keep
//! their slot. With `ordered` no parcel is parked. A group is stuck while as many of its parcels as may be open at once
//! are parked, or retrying after that without a result yet. Waiting times are in `backoff`; `lanes` bounds the open
//! parcels of one group.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::gather::Group;

/// Maximum number of parked parcels that hold only their positions in the spool.
const MOST_ASIDE: usize = 1024;
/// Maximum number of parked parcels if each holds its bytes, because they exist nowhere else.
const MOST_ASIDE_IN_MEMORY: usize = 64;
/// Maximum number of parked parcels that hold their bytes, outside the window, although the spool has them, because a
/// part of them was already delivered.
const MOST_BEGUN: usize = 16;

/// How parcels wait for their next attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Aside {
    /// In their slot: no other parcel may overtake them.
    Never,
    /// Parked, with their bytes.
    InMemory,
    /// Parked without their bytes, which are read again.
    InSpool,
}

/// See the module.
pub(super) struct Slots {
    at_once: usize,
    free: Arc<Semaphore>,
    aside: Arc<Semaphore>,
    begun: Arc<Semaphore>,
    rested: Notify,
    groups: Mutex<HashMap<Group, Known>>,
}

/// State of a group.
#[derive(Default)]
struct Known {
    /// Parcels that are parked, or retrying after that.
    waiting: usize,
    /// Requests that the back end accepted.
    taken: u64,
}

impl Slots {
    /// Slots for this many concurrent attempts.
    pub(super) fn new(at_once: usize, aside: Aside) -> Arc<Self> {
        let aside = match aside {
            Aside::Never => 0,
            Aside::InMemory => MOST_ASIDE_IN_MEMORY,
            Aside::InSpool => MOST_ASIDE,
        };
        Arc::new(Self {
            at_once,
            free: Arc::new(Semaphore::new(at_once)),
            aside: Arc::new(Semaphore::new(aside)),
            begun: Arc::new(Semaphore::new(MOST_BEGUN)),
            rested: Notify::new(),
            groups: Mutex::default(),
        })
    }

    /// A slot, if one is free and no parked parcel waits for it.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let held = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Slot { slots: Arc::clone(self), held: Some(held), aside: None, begun: None, group: None, waits: false })
    }

    /// Completes when a parcel was parked, or got a result after that, since the last call.
    pub(super) async fn rested(&self) {
        self.rested.notified().await;
    }

    /// Whether no further parcel of this group can be sent now, because all that may be open are waiting.
    pub(super) fn stuck(&self, group: &Group) -> bool {
        self.groups.lock().get(group).is_some_and(|known| known.waiting >= self.at_once)
    }
}

/// One parcel's permission to send; dropping it returns the slot.
pub(super) struct Slot {
    slots: Arc<Slots>,
    held: Option<OwnedSemaphorePermit>,
    aside: Option<OwnedSemaphorePermit>,
    begun: Option<OwnedSemaphorePermit>,
    group: Option<Group>,
    /// The parcel is counted in [`Known::waiting`].
    waits: bool,
}

impl Slot {
    /// Assigns the slot to a parcel of this group.
    pub(super) fn serve(&mut self, group: Group) {
        self.group = Some(group);
    }

    fn known<T>(&self, act: impl FnOnce(&mut Known) -> T) -> Option<T> {
        let group = self.group.as_ref()?;
        let mut groups = self.slots.groups.lock();
        if groups.len() > MOST_ASIDE {
            groups.retain(|_, known| known.waiting > 0);
        }
        Some(act(groups.entry(group.clone()).or_default()))
    }

    /// Parks the parcel and frees its slot. Returns false if too many parcels are parked; then the slot is kept.
    pub(super) fn stand_aside(&mut self) -> bool {
        let Ok(place) = Arc::clone(&self.slots.aside).try_acquire_owned() else { return false };
        (self.aside, self.held) = (Some(place), None);
        if !std::mem::replace(&mut self.waits, true) {
            self.known(|known| known.waiting += 1);
        }
        self.slots.rested.notify_one();
        true
    }

    /// Whether the parcel may be parked with bytes outside the window.
    pub(super) fn waits_begun(&mut self) -> bool {
        self.begun = Arc::clone(&self.slots.begun).try_acquire_owned().ok();
        self.begun.is_some()
    }

    /// Waits until the parcel may send again.
    pub(super) async fn come_back(&mut self) {
        if self.held.is_none() {
            self.held = Arc::clone(&self.slots.free).acquire_owned().await.ok();
            (self.aside, self.begun) = (None, None);
        }
    }

    /// Records a result of the back end, which ends the waiting. `taken`: the data was accepted.
    pub(super) fn heard(&mut self, taken: bool) {
        let waited = std::mem::take(&mut self.waits);
        self.known(|known| {
            known.waiting = known.waiting.saturating_sub(usize::from(waited));
            known.taken = known.taken.wrapping_add(u64::from(taken));
        });
        if waited {
            self.slots.rested.notify_one();
        }
    }

    /// Number of accepted requests of the slot's group.
    pub(super) fn taken(&self) -> u64 {
        self.known(|known| known.taken).unwrap_or_default()
    }

    /// Whether the outlet sends only one request at a time, so that no other request of the group can be sent
    /// meanwhile.
    pub(super) fn is_the_only_one(&self) -> bool {
        self.slots.at_once == 1
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.waits {
            self.heard(false);
        }
    }
}
