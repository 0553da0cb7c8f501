//! [`VaultWriter`]: a writer's name and epoch, with its open objects and leaf numbers. Numbers are assigned in commit
//! order, under the sequencer's lock; the uploader closes objects by age from outside.
//!
//! An epoch is never reused, so nothing has to be read back after a restart. A closed object gets no more fragments,
//! and an object that a batch in flight refers to stays open until that batch is placed or dropped ([`ObjectPin`]). An
//! account's leaf numbers have no gaps. The number of open objects is bounded; beyond the bound each fragment becomes
//! its own object. Neighbours: `uploader` (uploading), `ticket` (drafts).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use kernel::bounded_map::BoundedMap;
use kernel::clock::UnixNanos;

use super::object_names::{ObjectLayout, ObjectNames};

pub const MAX_OPEN_OBJECTS: usize = 16_384;

/// Limit for the calls whose leaf is remembered until their price arrives.
pub const MAX_REMEMBERED_LEAVES: usize = 65_536;

/// An opening time further in the future than this is not trusted: the object counts as due.
const MAX_SKEW: Duration = Duration::from_secs(60);

/// One writer in one epoch, shared by the ticketer and the uploader.
pub struct VaultWriter {
    names: ObjectNames,
    max_object: u64,
    state: Mutex<WriterState>,
}

#[derive(Default)]
struct WriterState {
    next_object: u64,
    /// Open objects by name prefix.
    open: HashMap<Arc<str>, OpenObject>,
    /// Next leaf number by account.
    next_leaves: HashMap<Arc<str>, u64>,
    /// Leaf number by call number, for calls that are priced later.
    remembered_leaves: BoundedMap<u64, u64, MAX_REMEMBERED_LEAVES>,
}

struct OpenObject {
    number: u64,
    len: u64,
    fragments: u32,
    opened_at: UnixNanos,
    /// Batches in flight whose content refers to content of this object.
    pins: u32,
    /// The object takes no more fragments, except from pins, and closes when none is left.
    full: bool,
}

/// Keeps an open object open for a fragment that refers to one in it. Dropping the pin without a ticket releases it.
pub struct ObjectPin {
    writer: Arc<VaultWriter>,
    object_prefix: Arc<str>,
    /// Number of the pinned object.
    pub number: u64,
    is_placed: bool,
}

impl Drop for ObjectPin {
    fn drop(&mut self) {
        if !self.is_placed {
            let mut state = self.writer.state.lock();
            if let Some(open) = state.open.get_mut(&self.object_prefix).filter(|open| open.number == self.number) {
                open.pins = open.pins.saturating_sub(1);
            }
        }
    }
}

/// Where a fragment was placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentPlacement {
    pub number: u64,
    pub object: String,
    /// Offset in the object, bytes.
    pub offset: u64,
    /// Whether no fragment follows in this object.
    pub last: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedObject {
    pub object: String,
    /// Fragments assigned to it; some may not be committed yet.
    pub fragments: u32,
}

impl VaultWriter {
    /// A writer that begins `names.epoch()`; objects close at `max_object` bytes.
    pub fn new(names: ObjectNames, max_object: u64) -> Self {
        Self { names, max_object, state: Mutex::default() }
    }

    /// Object names of this writer and epoch.
    pub fn names(&self) -> &ObjectNames {
        &self.names
    }

    /// Keeps the open object with this name prefix open until a fragment that refers to it is placed. `None` if no such
    /// object is open, or the object is full.
    pub fn pin_object(self: &Arc<Self>, object_prefix: &Arc<str>) -> Option<ObjectPin> {
        let mut state = self.state.lock();
        let open = state.open.get_mut(object_prefix).filter(|open| !open.full)?;
        open.pins += 1;
        Some(ObjectPin {
            writer: Arc::clone(self),
            object_prefix: Arc::clone(object_prefix),
            number: open.number,
            is_placed: false,
        })
    }

    /// Places a fragment of `len` bytes. If the session has ended, its object closes, unless objects are packed. With
    /// `pin` the fragment goes into the pinned object.
    pub fn place_fragment(
        &self,
        object_prefix: &Arc<str>,
        len: u64,
        arrived: UnixNanos,
        session_ended: bool,
        pin: Option<ObjectPin>,
    ) -> FragmentPlacement {
        let mut state = self.state.lock();
        let is_pinned = pin.is_some();
        // marked under the lock, because dropping a live pin would wait for the same lock
        pin.into_iter().for_each(|mut pin| pin.is_placed = true);
        if let Some(open) = state.open.get_mut(object_prefix) {
            let (number, offset) = (open.number, open.len);
            open.len += len;
            open.fragments += 1;
            open.pins = open.pins.saturating_sub(u32::from(is_pinned));
            open.full |= (session_ended && self.names.layout != ObjectLayout::Packed) || open.len >= self.max_object;
            let last = open.full && open.pins == 0;
            if last {
                state.open.remove(object_prefix);
            }
            return FragmentPlacement { number, object: self.names.object(object_prefix, number), offset, last };
        }
        let number = state.next_object;
        state.next_object += 1;
        let is_alone = self.names.layout == ObjectLayout::Turn;
        let last = is_alone
            || (session_ended && self.names.layout == ObjectLayout::Session)
            || len >= self.max_object
            || state.open.len() >= MAX_OPEN_OBJECTS;
        if !last {
            let open = OpenObject { number, len, fragments: 1, opened_at: arrived, pins: 0, full: false };
            state.open.insert(object_prefix.clone(), open);
        }
        FragmentPlacement { number, object: self.names.object(object_prefix, number), offset: 0, last }
    }

    /// Assigns `count` leaf numbers of an account and returns the first.
    pub fn assign_leaves(&self, account: &Arc<str>, count: u64) -> u64 {
        let mut state = self.state.lock();
        let next = state.next_leaves.entry(account.clone()).or_default();
        let first = *next;
        *next += count;
        first
    }

    /// Leaf numbers assigned to an account so far.
    pub fn assigned_leaves(&self, account: &str) -> u64 {
        self.state.lock().next_leaves.get(account).copied().unwrap_or_default()
    }

    /// Remembers the leaf of call number `call` of an account, which is priced later.
    pub fn remember_leaf(&self, account: &str, call: u64, leaf: u64) {
        self.state.lock().remembered_leaves.insert_for(account, call, leaf, 1);
    }

    /// Takes the remembered leaf of a call whose price has arrived.
    pub fn take_remembered_leaf(&self, call: u64) -> Option<u64> {
        self.state.lock().remembered_leaves.remove(&call)
    }

    /// Closes objects that are at least `age` old at `now`, or opened in the future because the clock went back. The
    /// caller waits for their fragments to be committed.
    pub fn close_due_objects(&self, now: UnixNanos, age: Duration) -> Vec<ClosedObject> {
        let close_if_due = |open: &mut OpenObject| {
            open.full |= now.since(open.opened_at) >= age || open.opened_at > now.plus(MAX_SKEW);
            open.full && open.pins == 0
        };
        let mut state = self.state.lock();
        state
            .open
            .extract_if(|_, open| close_if_due(open))
            .map(|(object_prefix, open)| ClosedObject {
                object: self.names.object(&object_prefix, open.number),
                fragments: open.fragments,
            })
            .collect()
    }

    /// Number of open objects.
    pub fn open_count(&self) -> usize {
        self.state.lock().open.len()
    }

    /// Numbers of the open objects that still take fragments.
    pub fn open_numbers(&self) -> HashSet<u64> {
        self.state.lock().open.values().filter(|open| !open.full).map(|open| open.number).collect()
    }
}
