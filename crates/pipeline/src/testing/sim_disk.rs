//! **What**: [`SimDisk`]: a file system in memory that crashes, tears, fills up and fails where told.
//! **Why**: the same spool code runs on it, in one thread, thousands of times from seeds; take an fsync away and the
//! simulation must find losses. **Invariants**: contents are durable after `sync_data`, names after `Directory::sync`;
//! a reboot keeps any subset of the unsynced 512-byte sectors and names; a failed `sync_data` drops what was pending,
//! as Linux does. **Not here**: what is checked (the tests that use it), the seam's traits (`handles`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

mod handles;

const SECTOR: u64 = 512;

/// What an operation does; for faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A file is made.
    Create,
    /// Contents are written.
    Write,
    /// Contents are read.
    Read,
    /// `sync_data`.
    Sync,
    /// `Directory::sync`.
    SyncDirectory,
    /// A name is taken away.
    Remove,
    /// A name is changed.
    Rename,
    /// A file is cut or extended.
    SetLen,
    /// Anything else (open, list, lock, free, size).
    Other,
}

/// What goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
    /// A write that takes only part.
    Short,
}

/// Called before each operation; tells what goes wrong.
pub type Faults = Box<dyn FnMut(Op) -> Option<Fault> + Send>;

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Len(u64),
}

#[derive(Clone, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Room taken ahead.
    taken: u64,
    /// Life of the process that made it.
    life: u64,
    /// A write failed or was short.
    spoilt: bool,
}

/// Names set at once: a creation, a removal, or both sides of a renaming.
type Names = Vec<(String, Option<u64>)>;

struct World {
    inodes: BTreeMap<u64, Inode>,
    live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<Names>,
    locks: BTreeSet<String>,
    life: u64,
    ops: u64,
    crash_at: Option<u64>,
    crashed: bool,
    capacity: u64,
    no_room_ahead: bool,
    ignore_sync_data: bool,
    ignore_sync_dir: bool,
    faults: Option<Faults>,
    rule_breaks: Vec<String>,
}

/// The file system. Clones share it.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<World>>);

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk without limits or faults.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(World {
            inodes: BTreeMap::new(),
            live: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            locks: BTreeSet::new(),
            life: 0,
            ops: 0,
            crash_at: None,
            crashed: false,
            capacity: u64::MAX / 2,
            no_room_ahead: false,
            ignore_sync_data: false,
            ignore_sync_dir: false,
            faults: None,
            rule_breaks: Vec::new(),
        })))
    }

    /// Operations so far.
    pub fn ops(&self) -> u64 {
        self.0.lock().ops
    }

    /// The power fails just before operation number `op` (counted from 0 over the disk's whole life).
    pub fn crash_at(&self, op: Option<u64>) {
        self.0.lock().crash_at = op;
    }

    /// Whether the power has failed since the last reboot.
    pub fn crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// Bytes that fit.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.lock().capacity = bytes;
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// Room can't be taken ahead (EOPNOTSUPP).
    pub fn set_no_room_ahead(&self, on: bool) {
        self.0.lock().no_room_ahead = on;
    }

    /// Mutation seam: `sync_data` does nothing (and says Ok).
    pub fn set_ignore_sync_data(&self, on: bool) {
        self.0.lock().ignore_sync_data = on;
    }

    /// Mutation seam: `Directory::sync` does nothing (and says Ok).
    pub fn set_ignore_sync_dir(&self, on: bool) {
        self.0.lock().ignore_sync_dir = on;
    }

    /// Installs faults.
    pub fn set_faults(&self, faults: Option<Faults>) {
        self.0.lock().faults = faults;
    }

    /// What an append-only writer must not do: writes to a file of an earlier process, after a failed write, or over
    /// bytes that were written before (unless with the same bytes).
    pub fn rule_breaks(&self) -> Vec<String> {
        self.0.lock().rule_breaks.clone()
    }

    /// Contents of every file that ever was, also removed ones, as last seen.
    pub fn all_contents(&self) -> Vec<Vec<u8>> {
        self.0.lock().inodes.values().map(|inode| inode.live.clone()).collect()
    }

    /// Flips a bit of `name` behind everybody's back, durably. False: there is no such byte.
    pub fn flip(&self, name: &str, offset: u64, bit: u8) -> bool {
        let mut world = self.0.lock();
        let Some(inode) = world.live.get(name).copied().and_then(|id| world.inodes.get_mut(&id)) else { return false };
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let (live, durable) = (inode.live.get_mut(at), inode.durable.get_mut(at));
        let (Some(live), Some(durable)) = (live, durable) else { return false };
        *live ^= 1 << (bit % 8);
        *durable ^= 1 << (bit % 8);
        true
    }

    /// The plain file names.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().live.keys().cloned().collect()
    }

    /// Contents of `name` as a process sees it.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.0.lock();
        world.live.get(name).and_then(|id| world.inodes.get(id)).map(|inode| inode.live.clone())
    }

    /// Takes away the name, durably. False: there is none.
    pub fn lose(&self, name: &str) -> bool {
        let mut world = self.0.lock();
        world.durable.remove(name);
        world.live.remove(name).is_some()
    }

    /// Puts a file there, durably.
    pub fn put(&self, name: &str, contents: &[u8]) {
        let mut world = self.0.lock();
        let id = world.inodes.len() as u64;
        let (live, life) = (contents.to_vec(), world.life);
        world.inodes.insert(id, Inode { durable: live.clone(), live, life, ..Inode::default() });
        world.live.insert(name.to_owned(), id);
        world.durable.insert(name.to_owned(), id);
    }

    /// A copy of the volume at this moment: clones no longer share it.
    pub fn fork(&self) -> Self {
        let world = self.0.lock();
        let copy = Self::new();
        {
            let mut other = copy.0.lock();
            other.inodes.clone_from(&world.inodes);
            other.live.clone_from(&world.live);
            other.durable.clone_from(&world.durable);
            other.pending.clone_from(&world.pending);
            other.life = world.life;
            other.capacity = world.capacity;
        }
        copy
    }

    /// The process ends without a word; the machine goes on. Open handles are dead.
    pub fn kill(&self) {
        let mut world = self.0.lock();
        world.life += 1;
        world.locks.clear();
        world.crashed = false;
        world.crash_at = None;
    }

    /// The power fails and comes back: of what was not synced, each sector and each change of names stays if `coin`
    /// says so. Open handles are dead.
    pub fn reboot(&self, mut coin: impl FnMut() -> bool) {
        self.kill();
        let mut world = self.0.lock();
        for inode in world.inodes.values_mut() {
            for change in std::mem::take(&mut inode.pending) {
                match change {
                    Change::Write(offset, bytes) => keep_some(&mut inode.durable, offset, &bytes, &mut coin),
                    Change::Len(len) if coin() => inode.durable.resize(usize::try_from(len).unwrap_or(0), 0),
                    Change::Len(_) => {}
                }
            }
            inode.live.clone_from(&inode.durable);
            inode.taken = inode.live.len() as u64;
        }
        for names in std::mem::take(&mut world.pending) {
            if coin() {
                set(&mut world.durable, &names);
            }
        }
        world.live = world.durable.clone();
    }
}

fn set(map: &mut BTreeMap<String, u64>, names: &Names) {
    for (name, inode) in names {
        match inode {
            Some(inode) => map.insert(name.clone(), *inode),
            None => map.remove(name),
        };
    }
}

/// Applies the sectors of a write that `coin` keeps.
fn keep_some(durable: &mut Vec<u8>, offset: u64, bytes: &[u8], coin: &mut impl FnMut() -> bool) {
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let left = usize::try_from(SECTOR - at % SECTOR).unwrap_or(1).min(rest.len());
        let Some((sector, behind)) = rest.split_at_checked(left) else { return };
        if coin() {
            put(durable, at, sector);
        }
        at += left as u64;
        rest = behind;
    }
}

/// Writes into `to`, which grows with zeros.
fn put(to: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(bytes.len());
    if to.len() < end {
        to.resize(end, 0);
    }
    if let Some(place) = to.get_mut(start..end) {
        place.copy_from_slice(bytes);
    }
}

fn eio() -> io::Error {
    io::Error::other("simulated I/O error")
}

impl World {
    /// Counts an operation; tells whether it fails.
    fn op(&mut self, op: Op, life: u64) -> io::Result<Option<Fault>> {
        if self.crashed || life != self.life {
            return Err(io::Error::other("the simulated machine is off"));
        }
        if self.crash_at == Some(self.ops) {
            self.crashed = true;
            return Err(io::Error::other("the simulated machine went off"));
        }
        self.ops += 1;
        let fault = self.faults.as_mut().and_then(|faults| faults(op));
        match fault {
            Some(_) if op == Op::Write => Ok(fault),
            Some(Fault::Io) if op == Op::Sync => Ok(fault),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(_) => Err(eio()),
            None => Ok(None),
        }
    }

    /// Notes what an append-only writer must not do. A draft that replaces its file as a whole is none.
    fn broken(&mut self, inode: u64, offset: u64, what: &[&str]) {
        let name = self.live.iter().find(|(_, id)| **id == inode).map_or("", |(name, _)| name);
        let draft = name.ends_with(".new");
        let broken = what.iter().map(|what| format!("file {inode} `{name}` {what} at {offset}"));
        self.rule_breaks.extend(broken.filter(|_| !draft));
    }

    fn used(&self) -> u64 {
        let named: BTreeSet<u64> = self.live.values().copied().collect();
        named.iter().filter_map(|id| self.inodes.get(id)).map(|inode| inode.taken.max(inode.live.len() as u64)).sum()
    }
}
