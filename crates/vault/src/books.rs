//! **What**: [`Writer`]: a writer's name and epoch, and its books: open objects and leaf numbers. **Why**: numbers are
//! given in commit order, under the sequencer's lock; the uploader closes by age from outside. **Invariants**: an epoch
//! is never used again, so nothing has to be read back after a restart; an object that was closed gets no more
//! fragments, and one that a batch on its way refers into is not closed before that batch is placed or gone ([`Pin`]);
//! leaf numbers of an account have no gap; open objects are bounded (beyond that each fragment is an object of its
//! own). **Not here**: uploading (`uploader`), drafts (`ticket`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use kernel::clock::UnixNanos;

use super::names::{Layout, Names};

/// Objects that may be open at a time.
pub const MAX_OPEN: usize = 16_384;

/// Calls whose leaf is kept until their price comes.
pub const MAX_WAITING: usize = 65_536;

/// An object may have been opened so long after now before its age is not believed.
const MAX_SKEW: Duration = Duration::from_secs(60);

/// One writer in one epoch. Shared by the ticketer and the uploader.
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
    /// Leaves of calls whose price comes later, by their number.
    waiting: HashMap<u64, u64>,
}

struct Open {
    n: u64,
    len: u64,
    fragments: u32,
    since: UnixNanos,
    /// Batches on their way whose content refers to content in it.
    pins: u32,
    /// It closes as soon as no such batch is on its way.
    full: bool,
}

/// A promise that an open object stays open for a fragment that refers to one in it. Dropped without a ticket, it is
/// taken back.
pub struct Pin {
    writer: Arc<Writer>,
    spot: Arc<str>,
    n: u64,
    kept: bool,
}

impl Pin {
    /// The object's number.
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

/// Where a fragment was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Number of the object.
    pub n: u64,
    /// Name of the object.
    pub object: String,
    /// Offset in it, bytes.
    pub offset: u64,
    /// No fragment will follow.
    pub last: bool,
}

/// An object that was closed from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Name of the object.
    pub object: String,
    /// Fragments it has; some may not be committed yet.
    pub fragments: u32,
}

impl Writer {
    /// A writer that begins `names.epoch()`; objects close at `max_object` bytes.
    pub fn new(names: Names, max_object: u64) -> Self {
        Self { names, max_object, max_open: MAX_OPEN, books: Mutex::default() }
    }

    /// The same with another bound of open objects.
    pub fn with_max_open(self, max_open: usize) -> Self {
        Self { max_open, ..self }
    }

    /// Names of this writer and epoch.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Keeps the open object at `spot` open until a fragment that refers into it is placed. `None`: none is open, or it
    /// takes no more.
    pub fn pin(self: &Arc<Self>, spot: &Arc<str>) -> Option<Pin> {
        let mut books = self.books.lock();
        let open = books.open.get_mut(spot).filter(|open| !open.full)?;
        open.pins += 1;
        Some(Pin { writer: Arc::clone(self), spot: Arc::clone(spot), n: open.n, kept: false })
    }

    /// Places a fragment of `len` bytes. `end`: the session is over, so its object closes. `pin`: into the object that
    /// it keeps open.
    pub fn place(&self, spot: &Arc<str>, len: u64, arrived: UnixNanos, end: bool, pin: Option<Pin>) -> Placed {
        let mut books = self.books.lock();
        let pinned = pin.is_some();
        // under the lock: its drop would wait for it
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

    /// Numbers for `count` leaves of an account: the first one.
    pub fn leaves(&self, account: &Arc<str>, count: u64) -> u64 {
        let mut books = self.books.lock();
        let next = books.leaves.entry(account.clone()).or_default();
        let first = *next;
        *next += count;
        first
    }

    /// Leaves that an account was given.
    pub fn numbered(&self, account: &str) -> u64 {
        self.books.lock().leaves.get(account).copied().unwrap_or_default()
    }

    /// Keeps the leaf of a call whose price comes later; beyond [`MAX_WAITING`] of them all are forgotten.
    pub fn remember(&self, number: u64, leaf: u64) {
        let mut books = self.books.lock();
        if books.waiting.len() >= MAX_WAITING {
            books.waiting.clear();
        }
        books.waiting.insert(number, leaf);
    }

    /// The leaf of a call whose price has come.
    pub fn recall(&self, number: u64) -> Option<u64> {
        self.books.lock().waiting.remove(&number)
    }

    /// Closes objects that are `age` old at `now` (or from the future: the clock went back). The caller waits for
    /// their fragments to be committed.
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

    /// Objects open now.
    pub fn open(&self) -> usize {
        self.books.lock().open.len()
    }

    /// Numbers of the objects that take fragments.
    pub fn open_numbers(&self) -> HashSet<u64> {
        self.books.lock().open.values().filter(|open| !open.full).map(|open| open.n).collect()
    }
}
