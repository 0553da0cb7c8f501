//! [`SendSlots`]: bounds the requests in flight; [`SendSlot`]: the permission of one parcel to send. A parcel that
//! waits for its next attempt sends nothing, so it gives its slot to other parcels; otherwise a signal or account that
//! is not accepted would block all others. Parcels that waited come before new ones. The number of parked parcels is
//! bounded, and those beyond the bound keep their slot. With `ordered` no parcel is parked. A group is stuck while as
//! many of its parcels as may be open at once are parked, or retrying after that without a result yet. Waiting times
//! are in `backoff`; `lanes` bounds the open parcels of one group.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::gather::ParcelGroup;

/// Maximum number of parked parcels that hold only their positions in the spool.
const MAX_PARKED: usize = 1024;
/// Maximum number of parked parcels if each holds its bytes, because they exist nowhere else.
const MAX_PARKED_IN_MEMORY: usize = 64;
/// Maximum number of parked parcels that hold their bytes, outside the window, although the spool has them, because a
/// part of them was already delivered.
const MAX_PARKED_PARTIAL: usize = 16;

/// How parcels wait for their next attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ParkingMode {
    /// In their slot: no other parcel may overtake them.
    Never,
    /// Parked, with their bytes.
    InMemory,
    /// Parked without their bytes, which are read again.
    InSpool,
}

/// See the module.
pub(super) struct SendSlots {
    max_in_flight: usize,
    free: Arc<Semaphore>,
    parking: Arc<Semaphore>,
    partial_parking: Arc<Semaphore>,
    changed: Notify,
    groups: Mutex<HashMap<ParcelGroup, GroupState>>,
}

/// State of a group.
#[derive(Default)]
struct GroupState {
    /// Parcels that are parked, or retrying after that.
    waiting: usize,
    /// Requests that the back end accepted.
    accepted: u64,
}

impl SendSlots {
    /// Slots for this many concurrent attempts.
    pub(super) fn new(at_once: usize, aside: ParkingMode) -> Arc<Self> {
        let aside = match aside {
            ParkingMode::Never => 0,
            ParkingMode::InMemory => MAX_PARKED_IN_MEMORY,
            ParkingMode::InSpool => MAX_PARKED,
        };
        Arc::new(Self {
            max_in_flight: at_once,
            free: Arc::new(Semaphore::new(at_once)),
            parking: Arc::new(Semaphore::new(aside)),
            partial_parking: Arc::new(Semaphore::new(MAX_PARKED_PARTIAL)),
            changed: Notify::new(),
            groups: Mutex::default(),
        })
    }

    /// A slot, if one is free and no parked parcel waits for it.
    pub(super) fn take(self: &Arc<Self>) -> Option<SendSlot> {
        let held = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(SendSlot {
            slots: Arc::clone(self),
            held: Some(held),
            parking_permit: None,
            partial_permit: None,
            group: None,
            is_waiting: false,
        })
    }

    /// Completes when a parcel was parked, or got a result after that, since the last call.
    pub(super) async fn wait_for_change(&self) {
        self.changed.notified().await;
    }

    /// Whether no further parcel of this group can be sent now, because all that may be open are waiting.
    pub(super) fn is_stuck(&self, group: &ParcelGroup) -> bool {
        self.groups.lock().get(group).is_some_and(|known| known.waiting >= self.max_in_flight)
    }
}

/// One parcel's permission to send; dropping it returns the slot.
pub(super) struct SendSlot {
    slots: Arc<SendSlots>,
    held: Option<OwnedSemaphorePermit>,
    parking_permit: Option<OwnedSemaphorePermit>,
    partial_permit: Option<OwnedSemaphorePermit>,
    group: Option<ParcelGroup>,
    /// The parcel is counted in [`Known::waiting`].
    is_waiting: bool,
}

impl SendSlot {
    /// Assigns the slot to a parcel of this group.
    pub(super) fn set_group(&mut self, group: ParcelGroup) {
        self.group = Some(group);
    }

    fn with_group_state<T>(&self, act: impl FnOnce(&mut GroupState) -> T) -> Option<T> {
        let group = self.group.as_ref()?;
        let mut groups = self.slots.groups.lock();
        if groups.len() > MAX_PARKED {
            groups.retain(|_, known| known.waiting > 0);
        }
        Some(act(groups.entry(group.clone()).or_default()))
    }

    /// Parks the parcel and frees its slot. Returns false if too many parcels are parked; then the slot is kept.
    pub(super) fn park(&mut self) -> bool {
        let Ok(place) = Arc::clone(&self.slots.parking).try_acquire_owned() else { return false };
        (self.parking_permit, self.held) = (Some(place), None);
        if !std::mem::replace(&mut self.is_waiting, true) {
            self.with_group_state(|known| known.waiting += 1);
        }
        self.slots.changed.notify_one();
        true
    }

    /// Whether the parcel may be parked with bytes outside the window.
    pub(super) fn reserve_partial(&mut self) -> bool {
        self.partial_permit = Arc::clone(&self.slots.partial_parking).try_acquire_owned().ok();
        self.partial_permit.is_some()
    }

    /// Waits until the parcel may send again.
    pub(super) async fn reacquire(&mut self) {
        if self.held.is_none() {
            self.held = Arc::clone(&self.slots.free).acquire_owned().await.ok();
            (self.parking_permit, self.partial_permit) = (None, None);
        }
    }

    /// Records a result of the back end, which ends the waiting. `taken`: the data was accepted.
    pub(super) fn record_result(&mut self, taken: bool) {
        let waited = std::mem::take(&mut self.is_waiting);
        self.with_group_state(|known| {
            known.waiting = known.waiting.saturating_sub(usize::from(waited));
            known.accepted = known.accepted.wrapping_add(u64::from(taken));
        });
        if waited {
            self.slots.changed.notify_one();
        }
    }

    /// Number of accepted requests of the slot's group.
    pub(super) fn accepted_requests(&self) -> u64 {
        self.with_group_state(|known| known.accepted).unwrap_or_default()
    }

    /// Whether the outlet sends only one request at a time, so that no other request of the group can be sent
    /// meanwhile.
    pub(super) fn is_only_slot(&self) -> bool {
        self.slots.max_in_flight == 1
    }
}

impl Drop for SendSlot {
    fn drop(&mut self) {
        if self.is_waiting {
            self.record_result(false);
        }
    }
}
