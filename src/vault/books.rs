//! **What**: [`Writer`]: a writer's name and epoch, and its books: open objects and leaf numbers.
//! **Why**: numbers are given in commit order, under the sequencer's lock; the uploader closes by age from outside.
//! **Invariants**: an epoch is never used again, so nothing has to be read back after a restart; an object that was
//! closed gets no more fragments; leaf numbers of an account have no gap; open objects are bounded (beyond that each
//! fragment is an object of its own). **Not here**: uploading (`uploader`), drafts (`ticket`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::UnixNanos;

use super::names::{Names, Scope};

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
    open: HashMap<Arc<Scope>, Open>,
    leaves: HashMap<Arc<str>, u64>,
    /// Leaves of calls whose price comes later, by their number.
    waiting: HashMap<u64, u64>,
}

struct Open {
    n: u64,
    len: u64,
    fragments: u32,
    since: UnixNanos,
}

/// Where a fragment was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
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

    /// Places a fragment of `len` bytes. `end`: the session is over, so the object closes.
    pub fn place(&self, scope: &Arc<Scope>, len: u64, arrived: UnixNanos, end: bool) -> Placed {
        let mut books = self.books.lock();
        if let Some(open) = books.open.get_mut(scope) {
            let (n, offset) = (open.n, open.len);
            open.len += len;
            open.fragments += 1;
            let last = end || open.len >= self.max_object;
            if last {
                books.open.remove(scope);
            }
            return Placed { object: self.names.object(scope, n), offset, last };
        }
        let n = books.next;
        books.next += 1;
        let last = end || len >= self.max_object || books.open.len() >= self.max_open;
        if !last {
            books.open.insert(scope.clone(), Open { n, len, fragments: 1, since: arrived });
        }
        Placed { object: self.names.object(scope, n), offset: 0, last }
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
        let due = |open: &Open| now.since(open.since) >= age || open.since > now.plus(MAX_SKEW);
        let mut books = self.books.lock();
        books
            .open
            .extract_if(|_, open| due(open))
            .map(|(scope, open)| Closed { object: self.names.object(&scope, open.n), fragments: open.fragments })
            .collect()
    }

    /// Objects open now.
    pub fn open(&self) -> usize {
        self.books.lock().open.len()
    }
}
