//! [`PartitionHandOver`]: asks a receiver to leave its group for good while the gateway runs on, so that the rest of a
//! worker's data is delivered before its volume is deleted (`tollgate fleet drain`).

use std::sync::Arc;

use parking_lot::Mutex;

/// See the module. Clones are about the same receiver.
#[derive(Clone)]
pub struct PartitionHandOver {
    receiver: Arc<str>,
    state: Arc<Mutex<HandOverState>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HandOverState {
    NotAsked,
    Asked,
    Done,
}

impl PartitionHandOver {
    pub(super) fn new(receiver: Arc<str>) -> Self {
        Self { receiver, state: Arc::new(Mutex::new(HandOverState::NotAsked)) }
    }

    /// Component id of the receiver.
    pub fn receiver(&self) -> &Arc<str> {
        &self.receiver
    }

    /// Asks for it. The receiver finishes what is under way, commits it and leaves; it reads again after a restart or a
    /// reload.
    pub fn ask(&self) {
        let mut state = self.state.lock();
        if *state == HandOverState::NotAsked {
            *state = HandOverState::Asked;
        }
    }

    /// Whether the receiver was asked.
    pub fn is_asked(&self) -> bool {
        *self.state.lock() != HandOverState::NotAsked
    }

    /// Whether the receiver has left its group.
    pub fn is_done(&self) -> bool {
        *self.state.lock() == HandOverState::Done
    }

    pub(super) fn set_done(&self) {
        *self.state.lock() = HandOverState::Done;
    }
}
