//! [`Writer`]: a writer's name and epoch, with its open objects and leaf numbers. Numbers are assigned in commit order,
//! under the sequencer's lock; the uploader closes objects by age from outside.
//!
//! An epoch is never reused, so nothing has to be read back after a restart. A closed object gets no more fragments,
//! and an object that a batch in flight refers to stays open until that batch is placed or dropped ([`Pin`]). An
//! account's leaf numbers have no gaps. The number of open objects is bounded; beyond the bound each fragment becomes
//! its own object. Neighbours: `uploader` (uploading), `ticket` (drafts).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use kernel::clock::UnixNanos;

use super::names::{Layout, Names};

/// Most objects that may be open at a time.
pub const MAX_OPEN: usize = 16_384;

/// Most calls whose leaf is remembered until their price arrives.
pub const MAX_WAITING: usize = 65_536;

/// An opening time further in the future than this is not trusted: the object counts as due.
const MAX_SKEW: Duration = Duration::from_secs(60);

/// One writer in one epoch, shared by the ticketer and the uploader.
pub struct Writer {
    names: Names,
    max_object: u64,
    max_open: usize,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    next: u64,
    open: HashMap<Arc<str>, Open>,
    leaves: HashMap<Arc<str>, u64>,
    /// Leaf number by call number, for calls that are priced later.
    waiting: HashMap<u64, u64>,
}

struct Open {
    n: u64,
    len: u64,
    fragments: u32,
    since: UnixNanos,
    /// Batches in flight whose content refers to content of this object.
    pins: u32,
    /// The object takes no more fragments, except from pins, and closes when none is left.
    full: bool,
}

/// Keeps an open object open for a fragment that refers to one in it. Dropping the pin without a ticket releases it.
pub struct Pin {
    writer: Arc<Writer>,
    spot: Arc<str>,
    n: u64,
    kept: bool,
}

impl Pin {
    /// Number of the pinned object.
    pub fn object(&self) -> u64 {
        self.n
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if !self.kept {
            let mut books = self.writer.books.lock();
            if let Some(open) = books.open.get_mut(&self.spot).filter(|open| open.n == self.n) {
                open.pins = open.pins.saturating_sub(1);
            }
        }
    }
}

/// Where a fragment was placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Number of the object.
    pub n: u64,
    /// Name of the object.
    pub object: String,
    /// Offset in it, bytes.
    pub offset: u64,
    /// No fragment follows in this object.
    pub last: bool,
}

/// An object that the uploader closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Name of the object.
    pub object: String,
    /// Fragments assigned to it; some may not be committed yet.
    pub fragments: u32,
}

impl Writer {
    /// A writer that begins `names.epoch()`; objects close at `max_object` bytes.
    pub fn new(names: Names, max_object: u64) -> Self {
        Self { names, max_object, max_open: MAX_OPEN, books: Mutex::default() }
    }

    /// The same writer with another limit of open objects.
    pub fn with_max_open(self, max_open: usize) -> Self {
        Self { max_open, ..self }
    }

    /// Object names of this writer and epoch.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Keeps the open object at `spot` open until a fragment that refers to it is placed. `None` if no object is open
    /// there or the object is full.
    pub fn pin(self: &Arc<Self>, spot: &Arc<str>) -> Option<Pin> {
        let mut books = self.books.lock();
        let open = books.open.get_mut(spot).filter(|open| !open.full)?;
        open.pins += 1;
        Some(Pin { writer: Arc::clone(self), spot: Arc::clone(spot), n: open.n, kept: false })
    }

    /// Places a fragment of `len` bytes. With `end` the session is over, so its object closes. With `pin` the fragment
    /// goes into the pinned object.
    pub fn place(&self, spot: &Arc<str>, len: u64, arrived: UnixNanos, end: bool, pin: Option<Pin>) -> Placed {
        let mut books = self.books.lock();
        let pinned = pin.is_some();
        // marked under the lock, because dropping a live pin would wait for the same lock
        pin.into_iter().for_each(|mut pin| pin.kept = true);
        if let Some(open) = books.open.get_mut(spot) {
            let (n, offset) = (open.n, open.len);
            open.len += len;
            open.fragments += 1;
            open.pins = open.pins.saturating_sub(u32::from(pinned));
            open.full |= (end && self.names.layout() != Layout::Packed) || open.len >= self.max_object;
            let last = open.full && open.pins == 0;
            if last {
                books.open.remove(spot);
            }
            return Placed { n, object: self.names.object(spot, n), offset, last };
        }
        let n = books.next;
        books.next += 1;
        let alone = self.names.layout() == Layout::Turn;
        let last = alone
            || (end && self.names.layout() == Layout::Session)
            || len >= self.max_object
            || books.open.len() >= self.max_open;
        if !last {
            let open = Open { n, len, fragments: 1, since: arrived, pins: 0, full: false };
            books.open.insert(spot.clone(), open);
        }
        Placed { n, object: self.names.object(spot, n), offset: 0, last }
    }

    /// Assigns `count` leaf numbers of an account and returns the first.
    pub fn leaves(&self, account: &Arc<str>, count: u64) -> u64 {
        let mut books = self.books.lock();
        let next = books.leaves.entry(account.clone()).or_default();
        let first = *next;
        *next += count;
        first
    }

    /// Leaf numbers assigned to an account so far.
    pub fn numbered(&self, account: &str) -> u64 {
        self.books.lock().leaves.get(account).copied().unwrap_or_default()
    }

    /// Remembers the leaf of a call that is priced later. At [`MAX_WAITING`] entries, all are forgotten.
    pub fn remember(&self, number: u64, leaf: u64) {
        let mut books = self.books.lock();
        if books.waiting.len() >= MAX_WAITING {
            books.waiting.clear();
        }
        books.waiting.insert(number, leaf);
    }

    /// Takes the remembered leaf of a call whose price has arrived.
    pub fn recall(&self, number: u64) -> Option<u64> {
        self.books.lock().waiting.remove(&number)
    }

    /// Closes objects that are at least `age` old at `now`, or opened in the future because the clock went back. The
    /// caller waits for their fragments to be committed.
    pub fn close(&self, now: UnixNanos, age: Duration) -> Vec<Closed> {
        let due = |open: &mut Open| {
            open.full |= now.since(open.since) >= age || open.since > now.plus(MAX_SKEW);
            open.full && open.pins == 0
        };
        let mut books = self.books.lock();
        books
            .open
            .extract_if(|_, open| due(open))
            .map(|(spot, open)| Closed { object: self.names.object(&spot, open.n), fragments: open.fragments })
            .collect()
    }

    /// Number of open objects.
    pub fn open(&self) -> usize {
        self.books.lock().open.len()
    }

    /// Numbers of the open objects that still take fragments.
    pub fn open_numbers(&self) -> HashSet<u64> {
        self.books.lock().open.values().filter(|open| !open.full).map(|open| open.n).collect()
    }
}
