//! [`SimDisk`]: a file system in memory that crashes, tears, fills up and fails as scripted. The real spool code runs
//! on it in one thread, thousands of times from seeds; with an fsync removed, the simulation must find losses.
//! Contents are durable after `sync_data`, names after `Directory::sync`. A reboot keeps any subset of the unsynced
//! 512-byte sectors and names; a failed `sync_data` drops the pending writes, as Linux does. `handles` implements the
//! traits of `disk`; the checks are in the tests that use this disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

mod handles;

const SECTOR: u64 = 512;

/// Kind of an operation, for faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A file is created.
    Create,
    /// Contents are written.
    Write,
    /// Contents are read.
    Read,
    /// `sync_data`.
    Sync,
    /// `Directory::sync`.
    SyncDirectory,
    /// A name is removed.
    Remove,
    /// A file is renamed.
    Rename,
    /// A file is truncated or extended.
    SetLen,
    /// Any other operation (open, list, lock, free, size).
    Other,
}

/// Fault of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
    /// Only a part is written.
    Short,
}

/// Called before each operation; returns its fault, if any.
pub type Faults = Box<dyn FnMut(Op) -> Option<Fault> + Send>;

/// An unsynced change of a file.
#[derive(Clone)]
enum Change {
    /// Offset and bytes.
    Write(u64, Vec<u8>),
    /// New length.
    Len(u64),
}

#[derive(Clone, Default)]
struct Inode {
    /// Contents as processes see them.
    live: Vec<u8>,
    /// Contents after a power failure, without the pending changes.
    durable: Vec<u8>,
    pending: Vec<Change>,
    allocated_bytes: u64,
    /// Number of the process that created the file.
    process: u64,
    has_failed_write: bool,
}

/// Names that change together (one for a creation or removal, two for a renaming), and their new inodes.
type NameChange = Vec<(String, Option<u64>)>;

#[derive(Default)]
struct World {
    inodes: BTreeMap<u64, Inode>,
    live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<NameChange>,
    locks: BTreeSet<String>,
    /// Number of the running process.
    process: u64,
    ops: u64,
    crash_at: Option<u64>,
    crashed: bool,
    capacity: u64,
    no_room_ahead: bool,
    ignore_sync_data: bool,
    ignore_sync_dir: bool,
    faults: Option<Faults>,
    rule_breaks: Vec<String>,
    /// How many more lists have a segment that is gone.
    ghost_lists: u32,
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
        Self(Arc::new(Mutex::new(World { capacity: u64::MAX / 2, ..World::default() })))
    }

    /// Number of operations so far.
    pub fn ops(&self) -> u64 {
        self.0.lock().ops
    }

    /// Makes the power fail just before operation number `op` (counted from 0 over the disk's whole life).
    pub fn crash_at(&self, op: Option<u64>) {
        self.0.lock().crash_at = op;
    }

    /// Whether the power has failed since the last reboot.
    pub fn crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// Sets the capacity in bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.lock().capacity = bytes;
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// Makes allocation ahead fail (EOPNOTSUPP).
    pub fn set_no_room_ahead(&self, on: bool) {
        self.0.lock().no_room_ahead = on;
    }

    /// For mutation tests: `sync_data` does nothing and returns Ok.
    pub fn set_ignore_sync_data(&self, on: bool) {
        self.0.lock().ignore_sync_data = on;
    }

    /// For mutation tests: `Directory::sync` does nothing and returns Ok.
    pub fn set_ignore_sync_dir(&self, on: bool) {
        self.0.lock().ignore_sync_dir = on;
    }

    /// Installs faults.
    pub fn set_faults(&self, faults: Option<Faults>) {
        self.0.lock().faults = faults;
    }

    /// The next `count` directory listings name a segment file that no longer exists.
    pub fn set_ghost_lists(&self, count: u32) {
        self.0.lock().ghost_lists = count;
    }

    /// Violations of the rules for an append-only writer: a write to a file of an earlier process, after a failed
    /// write, or over existing bytes (except with equal bytes).
    pub fn rule_breaks(&self) -> Vec<String> {
        self.0.lock().rule_breaks.clone()
    }

    /// Last contents of every file that ever existed, including removed ones.
    pub fn all_contents(&self) -> Vec<Vec<u8>> {
        self.0.lock().inodes.values().map(|inode| inode.live.clone()).collect()
    }

    /// Flips a bit of `name` durably, unnoticed by the process. Returns false if there is no such byte.
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

    /// Contents of `name` as a process sees them.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.0.lock();
        world.live.get(name).and_then(|id| world.inodes.get(id)).map(|inode| inode.live.clone())
    }

    /// Removes the name durably. Returns false if there is none.
    pub fn lose(&self, name: &str) -> bool {
        let mut world = self.0.lock();
        world.durable.remove(name);
        world.live.remove(name).is_some()
    }

    /// Creates a file durably.
    pub fn put(&self, name: &str, contents: &[u8]) {
        let mut world = self.0.lock();
        let id = world.inodes.len() as u64;
        let (live, process) = (contents.to_vec(), world.process);
        world.inodes.insert(id, Inode { durable: live.clone(), live, process, ..Inode::default() });
        world.live.insert(name.to_owned(), id);
        world.durable.insert(name.to_owned(), id);
    }

    /// An independent copy of the volume at this moment.
    pub fn fork(&self) -> Self {
        let world = self.0.lock();
        let copy = Self::new();
        {
            let mut other = copy.0.lock();
            other.inodes.clone_from(&world.inodes);
            other.live.clone_from(&world.live);
            other.durable.clone_from(&world.durable);
            other.pending.clone_from(&world.pending);
            other.process = world.process;
            other.capacity = world.capacity;
        }
        copy
    }

    /// Kills the process while the machine keeps running. Open handles become invalid.
    pub fn kill(&self) {
        let mut world = self.0.lock();
        world.process += 1;
        world.locks.clear();
        world.crashed = false;
        world.crash_at = None;
    }

    /// Fails the power and restores it: each unsynced sector and each unsynced change of names is kept if `coin`
    /// returns true. Open handles become invalid.
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
            inode.allocated_bytes = inode.live.len() as u64;
        }
        for change in std::mem::take(&mut world.pending) {
            if coin() {
                change_names(&mut world.durable, &change);
            }
        }
        world.live = world.durable.clone();
    }
}

fn change_names(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    for (name, inode) in change {
        match inode {
            Some(inode) => names.insert(name.clone(), *inode),
            None => names.remove(name),
        };
    }
}

/// Applies the sectors of a write that `coin` keeps.
fn keep_some(durable: &mut Vec<u8>, offset: u64, bytes: &[u8], coin: &mut impl FnMut() -> bool) {
    let (mut sector_offset, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let len = usize::try_from(SECTOR - sector_offset % SECTOR).unwrap_or(1).min(rest.len());
        let Some((sector, after)) = rest.split_at_checked(len) else { return };
        if coin() {
            put_bytes(durable, sector_offset, sector);
        }
        sector_offset += len as u64;
        rest = after;
    }
}

/// Writes into `contents`, which grows with zeros if necessary.
fn put_bytes(contents: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(bytes.len());
    if contents.len() < end {
        contents.resize(end, 0);
    }
    if let Some(target) = contents.get_mut(start..end) {
        target.copy_from_slice(bytes);
    }
}

fn eio() -> io::Error {
    io::Error::other("simulated I/O error")
}

impl World {
    /// Begins an operation of `process`: counts it, crashes if it is due, and returns its fault, if any.
    fn begin_op(&mut self, op: Op, process: u64) -> io::Result<Option<Fault>> {
        if self.crashed || process != self.process {
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

    /// Records violations of the rules for an append-only writer. A draft that replaces its file as a whole is exempt.
    fn record_rule_breaks(&mut self, inode: u64, offset: u64, violations: &[&str]) {
        let name = self.live.iter().find(|(_, id)| **id == inode).map_or("", |(name, _)| name);
        let is_draft = name.ends_with(".new");
        let texts = violations.iter().map(|violation| format!("file {inode} `{name}` {violation} at {offset}"));
        self.rule_breaks.extend(texts.filter(|_| !is_draft));
    }

    fn used(&self) -> u64 {
        let named: BTreeSet<u64> = self.live.values().copied().collect();
        named
            .iter()
            .filter_map(|id| self.inodes.get(id))
            .map(|inode| inode.allocated_bytes.max(inode.live.len() as u64))
            .sum()
    }
}
