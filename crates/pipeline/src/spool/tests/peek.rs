//! Peeking into a spool beside the running gateway.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::open::survey_live;
use super::*;
use crate::disk::{Directory, DirectoryEntry, Disk, DiskFile, FreeSpace};

/// A directory that still lists a segment for this many lists after its removal.
struct Lagging {
    inner: Arc<dyn Directory>,
    looks: AtomicU32,
}

impl Directory for Lagging {
    fn create(&self, name: &str, reserve: u64) -> io::Result<(Arc<dyn DiskFile>, bool)> {
        self.inner.create(name, reserve)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.open(name)
    }

    fn list(&self) -> io::Result<Vec<DirectoryEntry>> {
        let mut entries = self.inner.list()?;
        if self.looks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            entries.push(DirectoryEntry { name: "seg-0000000099.spool".to_owned(), len: 4096 });
        }
        Ok(entries)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn free_space(&self) -> io::Result<FreeSpace> {
        self.inner.free_space()
    }

    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.inner.lock(name)
    }
}

/// A segment that the gateway unlinks during a peek is not a failure; one that is listed and can't be read is.
#[test]
fn what_goes_meanwhile_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let (spool, mut committer) = open(&path, 1 << 20, &[key(1)]).unwrap();
    send(&spool, "acme", vec![super::record(RecordKind::Forward, &["a"], "x")]).unwrap();
    committer.step(STEP);
    let settings = SpoolSettings::new(path.clone(), 1 << 20);
    for (looks, fine) in [(0, true), (1, true), (2, true), (u32::MAX, false)] {
        let inner = RealDisk.directory(&path).unwrap();
        let directory: Arc<dyn Directory> = Arc::new(Lagging { inner, looks: AtomicU32::new(looks) });
        let found = survey_live(&directory, &settings, &[key(1)]);
        assert_eq!(found.is_ok(), fine, "listed {looks} times");
    }
}
