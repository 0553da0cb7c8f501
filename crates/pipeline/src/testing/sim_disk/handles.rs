//! The simulated disk's implementation of the seam's traits: directories, files, locks.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Directory, DirectoryEntry, Disk, DiskFile, FreeSpace};

use super::{Change, Fault, Inode, Op, SimDisk, eio, put, set};

impl Disk for SimDisk {
    fn directory(&self, _: &Path) -> io::Result<Arc<dyn Directory>> {
        let mut world = self.0.lock();
        let life = world.life;
        world.op(Op::Other, life)?;
        drop(world);
        Ok(Arc::new(Handle { disk: self.clone(), life, inode: 0 }))
    }

    /// The only directory always exists.
    fn existing(&self, path: &Path) -> io::Result<Arc<dyn Directory>> {
        self.directory(path)
    }
}

/// An open directory or file.
struct Handle {
    disk: SimDisk,
    life: u64,
    inode: u64,
}

struct Lock {
    disk: SimDisk,
    life: u64,
    name: String,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut world = self.disk.0.lock();
        if world.life == self.life {
            world.locks.remove(&self.name);
        }
    }
}

impl Handle {
    fn file(&self, inode: u64) -> Arc<dyn DiskFile> {
        Arc::new(Self { disk: self.disk.clone(), life: self.life, inode })
    }
}

impl Directory for Handle {
    fn create(&self, name: &str, reserve: u64) -> io::Result<(Arc<dyn DiskFile>, bool)> {
        let mut world = self.disk.0.lock();
        world.op(Op::Create, self.life)?;
        if world.live.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let taken = if world.no_room_ahead { 0 } else { reserve };
        if world.used().saturating_add(taken) > world.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = world.inodes.len() as u64;
        let len = usize::try_from(taken).unwrap_or(0);
        let mut inode = Inode { live: vec![0; len], taken, life: self.life, ..Inode::default() };
        inode.pending.push(Change::Len(taken));
        world.inodes.insert(id, inode);
        let names = vec![(name.to_owned(), Some(id))];
        set(&mut world.live, &names);
        world.pending.push(names);
        let really = reserve == 0 || !world.no_room_ahead;
        drop(world);
        Ok((self.file(id), really))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.disk.0.lock();
        world.op(Op::Other, self.life)?;
        let id = world.live.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        drop(world);
        Ok(self.file(id))
    }

    fn list(&self) -> io::Result<Vec<DirectoryEntry>> {
        let mut world = self.disk.0.lock();
        world.op(Op::Other, self.life)?;
        let len = |id: &u64| world.inodes.get(id).map_or(0, |inode| inode.live.len() as u64);
        Ok(world.live.iter().map(|(name, id)| DirectoryEntry { name: name.clone(), len: len(id) }).collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.disk.0.lock();
        world.op(Op::Remove, self.life)?;
        if !world.live.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = vec![(name.to_owned(), None)];
        set(&mut world.live, &names);
        world.pending.push(names);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.disk.0.lock();
        world.op(Op::Rename, self.life)?;
        let id = world.live.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        let names = vec![(from.to_owned(), None), (to.to_owned(), Some(id))];
        set(&mut world.live, &names);
        world.pending.push(names);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.0.lock();
        world.op(Op::SyncDirectory, self.life)?;
        if !world.ignore_sync_dir {
            world.pending.clear();
            world.durable = world.live.clone();
        }
        Ok(())
    }

    fn free_space(&self) -> io::Result<FreeSpace> {
        let mut world = self.disk.0.lock();
        world.op(Op::Other, self.life)?;
        Ok(FreeSpace { bytes: world.capacity.saturating_sub(world.used()), total: world.capacity, files: u64::MAX })
    }

    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut world = self.disk.0.lock();
        world.op(Op::Other, self.life)?;
        if !world.locks.insert(name.to_owned()) {
            return Ok(None);
        }
        drop(world);
        Ok(Some(Box::new(Lock { disk: self.disk.clone(), life: self.life, name: name.to_owned() })))
    }
}

impl DiskFile for Handle {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut world = self.disk.0.lock();
        let fault = world.op(Op::Write, self.life)?;
        let (used, capacity) = (world.used(), world.capacity);
        let life = self.life;
        let Some(inode) = world.inodes.get_mut(&self.inode) else { return Err(eio()) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let same = inode.live.get(start..start.saturating_add(bytes.len())) == Some(bytes);
        let end = start.saturating_add(bytes.len()).min(inode.live.len());
        let over = inode.live.get(start..end).is_some_and(|there| there.iter().any(|byte| *byte != 0));
        let broken = [
            (inode.life != life, "of an earlier process was written to"),
            (inode.spoilt, "was written to after a failed write"),
            (over, "was written over"),
        ];
        let broken = broken.into_iter().filter(|(broken, _)| *broken && !same).map(|(_, what)| what);
        let broken: Vec<&str> = broken.collect();
        let end = offset.saturating_add(bytes.len() as u64);
        let grows = end.saturating_sub(inode.taken.max(inode.live.len() as u64));
        let fits = bytes.len() as u64 - grows.saturating_sub(capacity.saturating_sub(used)).min(bytes.len() as u64);
        let take = match fault {
            Some(Fault::Io) | Some(Fault::Short) => bytes.len() / 2,
            Some(Fault::Full) => 0,
            None => usize::try_from(fits).unwrap_or(0),
        };
        let part = bytes.get(..take).unwrap_or_default();
        put(&mut inode.live, offset, part);
        inode.pending.push(Change::Write(offset, part.to_vec()));
        inode.spoilt |= take < bytes.len();
        world.broken(self.inode, offset, &broken);
        match fault {
            Some(Fault::Io) => Err(eio()),
            _ if take == 0 && !bytes.is_empty() => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(take),
        }
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut world = self.disk.0.lock();
        world.op(Op::Read, self.life)?;
        let Some(inode) = world.inodes.get(&self.inode) else { return Err(eio()) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let from = inode.live.get(start..).unwrap_or_default();
        let read = out.len().min(from.len());
        if let (Some(to), Some(from)) = (out.get_mut(..read), from.get(..read)) {
            to.copy_from_slice(from);
        }
        Ok(read)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.disk.0.lock();
        let fault = world.op(Op::Sync, self.life)?;
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
                    Change::Write(offset, bytes) => put(&mut inode.durable, offset, &bytes),
                    Change::Len(len) => inode.durable.resize(usize::try_from(len).unwrap_or(0), 0),
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut world = self.disk.0.lock();
        world.op(Op::SetLen, self.life)?;
        let Some(inode) = world.inodes.get_mut(&self.inode) else { return Err(eio()) };
        inode.live.resize(usize::try_from(len).unwrap_or(0), 0);
        inode.taken = len;
        inode.pending.push(Change::Len(len));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let mut world = self.disk.0.lock();
        world.op(Op::Other, self.life)?;
        world.inodes.get(&self.inode).map(|inode| inode.live.len() as u64).ok_or_else(eio)
    }
}
