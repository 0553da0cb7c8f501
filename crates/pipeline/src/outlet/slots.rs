//! [`SendSlots`]: bounds the requests in flight; [`SendSlot`]: the permission of one parcel to send. A parcel that
//! waits for its next attempt is parked: it gives its slot to other parcels, otherwise a signal or account that is not
//! accepted would block all others. Parked parcels get free slots before new ones. Their number is bounded; parcels
//! beyond the bound, and all with `ordered`, keep their slot while they wait. A group is stuck while as many of its
//! parcels as may be in flight at once are parked, or sent again after that without a result yet. Waiting times are in
//! `backoff`; `lanes` bounds the open parcels of one group.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::gather::ParcelGroup;

/// Maximum number of parked parcels that hold only their positions in the spool.
const MAX_PARKED: usize = 1024;
/// Maximum number of parked parcels whose bytes exist only in memory.
const MAX_PARKED_IN_MEMORY: usize = 64;
/// Maximum number of parked parcels whose bytes are not counted in the window although they are in memory, because they
/// can't be read again: the back end gave a result for a part of them.
const MAX_PARKED_OUTSIDE_WINDOW: usize = 16;

/// How parcels wait for their next attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ParkingMode {
    /// Not parked: no other parcel may overtake them.
    Never,
    /// Parked, with their bytes.
    InMemory,
    /// Parked without their bytes, which are read again.
    InSpool,
}

/// See the module.
pub(super) struct SendSlots {
    pub(super) max_in_flight: usize,
    free_slots: Arc<Semaphore>,
    parking_places: Arc<Semaphore>,
    outside_window_places: Arc<Semaphore>,
    changed: Notify,
    groups: Mutex<HashMap<ParcelGroup, GroupState>>,
}

/// State of a group.
#[derive(Default)]
struct GroupState {
    /// Number of parcels that are parked, or sent again after that without a result yet.
    waiting_parcels: usize,
    /// Number of requests that the back end accepted.
    accepted_requests: u64,
}

impl SendSlots {
    /// `max_in_flight` free slots.
    pub(super) fn new(max_in_flight: usize, parking_mode: ParkingMode) -> Arc<Self> {
        let max_parked = match parking_mode {
            ParkingMode::Never => 0,
            ParkingMode::InMemory => MAX_PARKED_IN_MEMORY,
            ParkingMode::InSpool => MAX_PARKED,
        };
        Arc::new(Self {
            max_in_flight,
            free_slots: Arc::new(Semaphore::new(max_in_flight)),
            parking_places: Arc::new(Semaphore::new(max_parked)),
            outside_window_places: Arc::new(Semaphore::new(MAX_PARKED_OUTSIDE_WINDOW)),
            changed: Notify::new(),
            groups: Mutex::default(),
        })
    }

    /// Takes a slot, if one is free and no parked parcel waits for it.
    pub(super) fn take(self: &Arc<Self>) -> Option<SendSlot> {
        let send_permit = Arc::clone(&self.free_slots).try_acquire_owned().ok()?;
        Some(SendSlot {
            slots: Arc::clone(self),
            send_permit: Some(send_permit),
            parking_permit: None,
            outside_window_permit: None,
            group: None,
            is_waiting: false,
        })
    }

    /// Completes if, since the last call, a parcel was parked or a waiting one got a result.
    pub(super) async fn wait_for_change(&self) {
        self.changed.notified().await;
    }

    /// Whether no further parcel of this group can be sent now, because as many as may be in flight are waiting.
    pub(super) fn is_stuck(&self, group: &ParcelGroup) -> bool {
        self.groups.lock().get(group).is_some_and(|state| state.waiting_parcels >= self.max_in_flight)
    }
}

/// One parcel's permission to send; dropping it returns the slot.
pub(super) struct SendSlot {
    pub(super) slots: Arc<SendSlots>,
    /// `None` while the parcel is parked.
    send_permit: Option<OwnedSemaphorePermit>,
    parking_permit: Option<OwnedSemaphorePermit>,
    outside_window_permit: Option<OwnedSemaphorePermit>,
    /// The group of the parcel that holds the slot.
    pub(super) group: Option<ParcelGroup>,
    /// The parcel is counted in [`GroupState::waiting_parcels`].
    is_waiting: bool,
}

impl SendSlot {
    /// Calls `action` with the state of the slot's group, if the slot has one.
    fn with_group_state<T>(&self, action: impl FnOnce(&mut GroupState) -> T) -> Option<T> {
        let group = self.group.as_ref()?;
        let mut groups = self.slots.groups.lock();
        if groups.len() > MAX_PARKED {
            groups.retain(|_, state| state.waiting_parcels > 0);
        }
        Some(action(groups.entry(group.clone()).or_default()))
    }

    /// Parks the parcel and frees its slot. Returns false, and keeps the slot, if too many parcels are parked.
    pub(super) fn park(&mut self) -> bool {
        let Ok(permit) = Arc::clone(&self.slots.parking_places).try_acquire_owned() else { return false };
        (self.parking_permit, self.send_permit) = (Some(permit), None);
        if !std::mem::replace(&mut self.is_waiting, true) {
            self.with_group_state(|state| state.waiting_parcels += 1);
        }
        self.slots.changed.notify_one();
        true
    }

    /// Lets the parked parcel keep its bytes outside the window. Returns false if too many parcels do so.
    pub(super) fn leave_window(&mut self) -> bool {
        self.outside_window_permit = Arc::clone(&self.slots.outside_window_places).try_acquire_owned().ok();
        self.outside_window_permit.is_some()
    }

    /// Waits until the parcel may send again.
    pub(super) async fn reacquire(&mut self) {
        if self.send_permit.is_none() {
            self.send_permit = Arc::clone(&self.slots.free_slots).acquire_owned().await.ok();
            (self.parking_permit, self.outside_window_permit) = (None, None);
        }
    }

    /// Records a result of the back end, which ends the waiting.
    pub(super) fn record_result(&mut self, is_accepted: bool) {
        let waited = std::mem::take(&mut self.is_waiting);
        self.with_group_state(|state| {
            state.waiting_parcels = state.waiting_parcels.saturating_sub(usize::from(waited));
            state.accepted_requests = state.accepted_requests.wrapping_add(u64::from(is_accepted));
        });
        if waited {
            self.slots.changed.notify_one();
        }
    }

    /// Number of accepted requests of the slot's group.
    pub(super) fn accepted_requests(&self) -> u64 {
        self.with_group_state(|state| state.accepted_requests).unwrap_or_default()
    }
}

impl Drop for SendSlot {
    fn drop(&mut self) {
        if self.is_waiting {
            self.record_result(false);
        }
    }
}
