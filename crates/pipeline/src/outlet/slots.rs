//! **What**: [`Slots`]: how many requests may be on their way, and [`Slot`], one parcel's right to one. **Why**: a
//! parcel that waits for its next attempt asks nothing of the back end; with a slot of its own a signal or an account
//! that is not taken would hold up all others. **Invariants**: at most so many attempts at once; who waited comes
//! before what is new; so many wait aside at once, those beyond keep their slot; where the order counts nobody stands
//! aside; a group is stuck while as many of its parcels as may be open at once wait aside or come back from there
//! without a verdict yet. **Not here**: how long is waited (`backoff`), how many of one signal and account are begun
//! (`lanes`).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::gather::Group;

/// Parcels that wait aside at once and hold nothing but their places in the spool.
const MOST_ASIDE: usize = 1024;
/// The same where each holds its bytes, because they are nowhere else.
const MOST_ASIDE_IN_MEMORY: usize = 64;
/// Of those that could be read again, so many may wait with their bytes, beside the window, because a part of them went
/// already.
const MOST_BEGUN: usize = 16;

/// Where parcels go that wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Aside {
    /// Nowhere: nothing may overtake them.
    Never,
    /// Aside, with their bytes.
    InMemory,
    /// Aside; their bytes are read again.
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

/// What is known of a group.
#[derive(Default)]
struct Known {
    /// Parcels that wait aside, or ask again since.
    waiting: usize,
    /// Requests that were taken.
    taken: u64,
}

impl Slots {
    /// So many attempts at once.
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

    /// A slot, if one is free and nobody waits for it.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let held = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Slot { slots: Arc::clone(self), held: Some(held), aside: None, begun: None, group: None, waits: false })
    }

    /// Ends when somebody stood aside, or was taken after that, since the last time.
    pub(super) async fn rested(&self) {
        self.rested.notified().await;
    }

    /// Whether nothing of this group can be asked for now, because all that may be open of it waits.
    pub(super) fn stuck(&self, group: &Group) -> bool {
        self.groups.lock().get(group).is_some_and(|known| known.waiting >= self.at_once)
    }
}

/// One parcel's right to ask the back end; given back when dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    held: Option<OwnedSemaphorePermit>,
    aside: Option<OwnedSemaphorePermit>,
    begun: Option<OwnedSemaphorePermit>,
    group: Option<Group>,
    /// Counted as waiting.
    waits: bool,
}

impl Slot {
    /// It is for a parcel of this group.
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

    /// Lets others ask meanwhile, if there is a place aside; whether there is.
    pub(super) fn stand_aside(&mut self) -> bool {
        let Ok(place) = Arc::clone(&self.slots.aside).try_acquire_owned() else { return false };
        (self.aside, self.held) = (Some(place), None);
        if !std::mem::replace(&mut self.waits, true) {
            self.known(|known| known.waiting += 1);
        }
        self.slots.rested.notify_one();
        true
    }

    /// Whether it may wait with bytes that nobody counts.
    pub(super) fn waits_begun(&mut self) -> bool {
        self.begun = Arc::clone(&self.slots.begun).try_acquire_owned().ok();
        self.begun.is_some()
    }

    /// Waits until it may ask again.
    pub(super) async fn come_back(&mut self) {
        if self.held.is_none() {
            self.held = Arc::clone(&self.slots.free).acquire_owned().await.ok();
            (self.aside, self.begun) = (None, None);
        }
    }

    /// There is a verdict: it waits no more. `taken`: it was.
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

    /// Requests of its group that were taken.
    pub(super) fn taken(&self) -> u64 {
        self.known(|known| known.taken).unwrap_or_default()
    }

    /// Whether nothing else of its group can be asked for meanwhile.
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
