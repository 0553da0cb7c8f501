//! Implements the traits of [`crate::disk`] for the simulated disk: directories, files, locks.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::MutexGuard;

use crate::disk::{Directory, DirectoryEntry, Disk, DiskFile, FreeSpace};

use super::{Change, Fault, Inode, Op, SimDisk, World, change_names, eio, put_bytes};

impl Disk for SimDisk {
    fn directory(&self, _: &Path) -> io::Result<Arc<dyn Directory>> {
        let mut world = self.0.lock();
        let process = world.process;
        world.begin_op(Op::Other, process)?;
        drop(world);
        Ok(Arc::new(Handle { disk: self.clone(), process, inode: 0 }))
    }

    /// The only directory always exists.
    fn existing(&self, path: &Path) -> io::Result<Arc<dyn Directory>> {
        self.directory(path)
    }
}

/// An open directory or file.
struct Handle {
    disk: SimDisk,
    /// The process that opened it.
    process: u64,
    inode: u64,
}

struct Lock {
    disk: SimDisk,
    process: u64,
    name: String,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut world = self.disk.0.lock();
        if world.process == self.process {
            world.locks.remove(&self.name);
        }
    }
}

impl Handle {
    /// See [`World::begin_op`].
    fn begin_op(&self, op: Op) -> io::Result<(MutexGuard<'_, World>, Option<Fault>)> {
        let mut world = self.disk.0.lock();
        let fault = world.begin_op(op, self.process)?;
        Ok((world, fault))
    }

    fn file_handle(&self, inode: u64) -> Arc<dyn DiskFile> {
        Arc::new(Self { disk: self.disk.clone(), process: self.process, inode })
    }
}

impl Directory for Handle {
    fn create(&self, name: &str, reserve: u64) -> io::Result<(Arc<dyn DiskFile>, bool)> {
        let mut world = self.begin_op(Op::Create)?.0;
        if world.live.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let allocated_bytes = if world.no_room_ahead { 0 } else { reserve };
        if world.used().saturating_add(allocated_bytes) > world.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = world.inodes.len() as u64;
        let live = vec![0; usize::try_from(allocated_bytes).unwrap_or(0)];
        let mut inode = Inode { live, allocated_bytes, process: self.process, ..Inode::default() };
        inode.pending.push(Change::Len(allocated_bytes));
        world.inodes.insert(id, inode);
        let change = vec![(name.to_owned(), Some(id))];
        change_names(&mut world.live, &change);
        world.pending.push(change);
        let is_allocated = reserve == 0 || !world.no_room_ahead;
        drop(world);
        Ok((self.file_handle(id), is_allocated))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.begin_op(Op::Other)?.0;
        let id = world.live.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        drop(world);
        Ok(self.file_handle(id))
    }

    fn list(&self) -> io::Result<Vec<DirectoryEntry>> {
        let mut world = self.begin_op(Op::Other)?.0;
        let ghost = (world.ghost_lists > 0).then(|| DirectoryEntry { name: "seg-0000000099.spool".into(), len: 4096 });
        world.ghost_lists = world.ghost_lists.saturating_sub(1);
        let len = |id: &u64| world.inodes.get(id).map_or(0, |inode| inode.live.len() as u64);
        let entries = world.live.iter().map(|(name, id)| DirectoryEntry { name: name.clone(), len: len(id) });
        Ok(entries.chain(ghost).collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.begin_op(Op::Remove)?.0;
        if !world.live.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let change = vec![(name.to_owned(), None)];
        change_names(&mut world.live, &change);
        world.pending.push(change);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.begin_op(Op::Rename)?.0;
        let id = world.live.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        let change = vec![(from.to_owned(), None), (to.to_owned(), Some(id))];
        change_names(&mut world.live, &change);
        world.pending.push(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.begin_op(Op::SyncDirectory)?.0;
        if !world.ignore_sync_dir {
            world.pending.clear();
            world.durable = world.live.clone();
        }
        Ok(())
    }

    fn free_space(&self) -> io::Result<FreeSpace> {
        let world = self.begin_op(Op::Other)?.0;
        Ok(FreeSpace { bytes: world.capacity.saturating_sub(world.used()), total: world.capacity, files: u64::MAX })
    }

    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut world = self.begin_op(Op::Other)?.0;
        if !world.locks.insert(name.to_owned()) {
            return Ok(None);
        }
        drop(world);
        Ok(Some(Box::new(Lock { disk: self.disk.clone(), process: self.process, name: name.to_owned() })))
    }
}

impl DiskFile for Handle {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let (mut world, fault) = self.begin_op(Op::Write)?;
        let (used, capacity) = (world.used(), world.capacity);
        let process = self.process;
        let Some(inode) = world.inodes.get_mut(&self.inode) else { return Err(eio()) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let is_same = inode.live.get(start..start.saturating_add(bytes.len())) == Some(bytes);
        let end = start.saturating_add(bytes.len()).min(inode.live.len());
        let overwrites = inode.live.get(start..end).is_some_and(|present| present.iter().any(|byte| *byte != 0));
        let rules = [
            (inode.process != process, "of an earlier process was written to"),
            (inode.has_failed_write, "was written to after a failed write"),
            (overwrites, "was written over"),
        ];
        let violations = rules.into_iter().filter(|(is_broken, _)| *is_broken && !is_same).map(|(_, text)| text);
        let violations: Vec<&str> = violations.collect();
        let len = bytes.len() as u64;
        let growth = offset.saturating_add(len).saturating_sub(inode.allocated_bytes.max(inode.live.len() as u64));
        let fitting = len - growth.saturating_sub(capacity.saturating_sub(used)).min(len);
        let written = match fault {
            Some(Fault::Io) | Some(Fault::Short) => bytes.len() / 2,
            Some(Fault::Full) => 0,
            None => usize::try_from(fitting).unwrap_or(0),
        };
        let part = bytes.get(..written).unwrap_or_default();
        put_bytes(&mut inode.live, offset, part);
        inode.pending.push(Change::Write(offset, part.to_vec()));
        inode.has_failed_write |= written < bytes.len();
        world.record_rule_breaks(self.inode, offset, &violations);
        match fault {
            Some(Fault::Io) => Err(eio()),
            _ if written == 0 && !bytes.is_empty() => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(written),
        }
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let world = self.begin_op(Op::Read)?.0;
        let Some(inode) = world.inodes.get(&self.inode) else { return Err(eio()) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let source = inode.live.get(start..).unwrap_or_default();
        let read = out.len().min(source.len());
        if let (Some(target), Some(source)) = (out.get_mut(..read), source.get(..read)) {
            target.copy_from_slice(source);
        }
        Ok(read)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut world, fault) = self.begin_op(Op::Sync)?;
        let ignored = world.ignore_sync_data;
        let Some(inode) = world.inodes.get_mut(&self.inode) else { return Err(eio()) };
        if fault.is_some() {
            // The pages are marked clean: readers see them, but the disk will never have them.
            inode.pending.clear();
            return Err(eio());
        }
        if !ignored {
            for change in std::mem::take(&mut inode.pending) {
                match change {
                    Change::Write(offset, bytes) => put_bytes(&mut inode.durable, offset, &bytes),
                    Change::Len(len) => inode.durable.resize(usize::try_from(len).unwrap_or(0), 0),
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut world = self.begin_op(Op::SetLen)?.0;
        let Some(inode) = world.inodes.get_mut(&self.inode) else { return Err(eio()) };
        inode.live.resize(usize::try_from(len).unwrap_or(0), 0);
        inode.allocated_bytes = len;
        inode.pending.push(Change::Len(len));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let world = self.begin_op(Op::Other)?.0;
        world.inodes.get(&self.inode).map(|inode| inode.live.len() as u64).ok_or_else(eio)
    }
}
