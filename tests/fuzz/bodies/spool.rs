//! With any bytes in a spool's files, opening it returns, each record read is one that was sealed, and it can be used
//! further. The spool is always the same. Input: one byte selects the file, two bytes the offset; a zero byte then
//! truncates the file there, any other byte makes the remaining bytes overwrite it there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kernel::clock::{ManualClock, UnixNanos};
use kernel::rng::SeededRng;
use pipeline::RealDisk;
use pipeline::spool::{
    Committer, RecordKind, Spool, SpoolKey, SpoolRecord, SpoolSettings, Transaction, bytes_to_reserve,
};
use telemetry::Meter;

const NAMES: [&str; 24] = [
    "n00", "n01", "n02", "n03", "n04", "n05", "n06", "n07", "n08", "n09", "n10", "n11", "n12", "n13", "n14", "n15",
    "n16", "n17", "n18", "n19", "n20", "n21", "n22", "n23",
];

fn open(folder: &Path) -> Option<(Arc<Spool>, Committer)> {
    let clock = ManualClock::at(UnixNanos(1_700_000_000_000_000_000));
    let settings = SpoolSettings::new(folder.to_path_buf(), 256 << 10);
    let keys = [SpoolKey::from_bytes([7; 32])];
    Spool::open(Arc::new(RealDisk), &settings, &keys, clock, Arc::new(SeededRng::new(1)), &Meter::new()).ok()
}

/// Creates a spool with some records in an empty folder.
pub fn fill(folder: &Path) {
    let (spool, mut committer) = open(folder).expect("an empty folder");
    for name in NAMES {
        let body = name.repeat(300).into_bytes();
        let reservation = spool.reserve(bytes_to_reserve(1, body.len() as u64)).expect("room");
        let record = SpoolRecord { kind: RecordKind::Forward, holders: Arc::new(["a".into()]), body: body.into() };
        spool.enqueue(Transaction { account: "default".into(), records: vec![record] }, reservation, Box::new(|_| {}));
        committer.step(Duration::ZERO);
    }
}

/// One attempt on a copy of the spool made by [`fill`].
pub fn body(filled: &Path, scratch: &Path, data: &[u8]) {
    let Some((&[which, high, low], bytes)) = data.split_first_chunk() else { return };
    drop(std::fs::remove_dir_all(scratch));
    std::fs::create_dir_all(scratch).expect("a scratch folder");
    let mut names: Vec<_> =
        std::fs::read_dir(filled).expect("filled").map(|entry| entry.expect("entry").path()).collect();
    names.sort();
    for (at, path) in names.iter().enumerate() {
        let mut contents = std::fs::read(path).expect("readable");
        if at == usize::from(which) % names.len() {
            let start = usize::from(u16::from_be_bytes([high, low])) % (contents.len() + 1);
            match bytes.split_first() {
                Some((0, _)) => contents.truncate(start),
                Some((_, with)) => {
                    let end = (start + with.len()).min(contents.len());
                    let with = &with[..end - start];
                    contents[start..end].copy_from_slice(with);
                }
                None => {}
            }
        }
        std::fs::write(scratch.join(path.file_name().expect("a name")), contents).expect("writable");
    }
    let Some((spool, mut committer)) = open(scratch) else { return };
    for stored in spool.read("a", None, usize::MAX, usize::MAX).unwrap_or_default() {
        let known = NAMES.iter().any(|name| stored.body == name.repeat(300).as_bytes());
        assert!(known, "a record that nobody wrote");
    }
    committer.step(Duration::ZERO);
}
