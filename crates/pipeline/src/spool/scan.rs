//! Reads through one segment and adds its committed records to the index. It changes nothing on disk. A torn tail ends
//! the segment; a valid record behind an invalid one of an earlier write group is damage. If the valid length is known,
//! anything shorter is damage, and so is anything shorter than the synced length. `recover` chooses the segments.

use std::io;
use std::sync::Arc;

use crate::disk::{DiskFile, read_exact_at};

use super::cipher::Cipher;
use super::encode::{Additions, Encoded, Placed};
use super::index::Index;
use super::record::{
    KIND_COMMIT, KIND_TABLE, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, TAG, TableEntry, TransactionHash, table,
};

const WINDOW: usize = 1 << 20;
/// Internal records are small; a longer one was not written by tollgate.
const MAX_INTERNAL: u32 = 64 << 20;

/// Why a segment can't be used.
pub(super) enum Trouble {
    /// The file could not be read.
    Io(io::Error),
    /// The contents are damaged, at the offset of the first wrong record.
    Damage(u64),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A segment's file, and how much of it counts.
pub(super) struct Source {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) cipher: Arc<Cipher>,
    /// Size of the file.
    pub(super) size: u64,
    /// Valid bytes, if recorded.
    pub(super) known: Option<u64>,
    /// Lower bound of the synced bytes.
    pub(super) synced: u64,
    /// Position of record 0.
    pub(super) first: u64,
    /// Records from this position on belong to the next segment.
    pub(super) bound: u64,
}

/// A record with a correct checksum.
struct Whole {
    header: RecordHeader,
    raw: [u8; RECORD_HEADER],
    tag: [u8; TAG],
}

/// How much of a segment counts.
pub(super) struct Scanned {
    /// Bytes that hold committed records.
    pub(super) valid: u64,
    /// Bytes to keep: up to the last one that is not zero, or `valid` if that is recorded.
    pub(super) used: u64,
    /// Start of the last write group with a committed transaction; everything before it is known to be durable.
    pub(super) group: u64,
}

/// Reads `source` into `index`; the segment must have been added before.
pub(super) fn scan(index: &mut Index, source: &Source) -> Result<Scanned, Trouble> {
    let end = source.known.unwrap_or(source.size);
    if end > source.size || end < SEGMENT_HEADER as u64 {
        return Err(Trouble::Damage(source.size));
    }
    let start = SEGMENT_HEADER as u64;
    let mut walk = Walk { source, reader: Reader::new(source, end), open: Open::default(), valid: start, group: start };
    let mut offset = start;
    while offset < end {
        let Some(whole) = walk.reader.whole(offset, walk.open.next)? else { break };
        walk.take(index, offset, &whole)?;
        offset += whole.header.size();
        if source.first.saturating_add(u64::from(walk.open.next)) >= source.bound {
            break;
        }
    }
    match source.known {
        Some(known) if walk.valid != known => Err(Trouble::Damage(offset)),
        Some(_) => Ok(Scanned { valid: walk.valid, used: walk.valid, group: walk.group }),
        None if walk.valid < source.synced => Err(Trouble::Damage(offset)),
        None => {
            let used = walk.reader.look_behind(offset, walk.open.next)?;
            Ok(Scanned { valid: walk.valid, used, group: walk.group })
        }
    }
}

/// The transaction that is being read.
#[derive(Default)]
struct Open {
    next: u32,
    encoded: Encoded,
    hash: TransactionHash,
}

struct Walk<'a> {
    source: &'a Source,
    reader: Reader<'a>,
    open: Open,
    valid: u64,
    group: u64,
}

impl Walk<'_> {
    fn take(&mut self, index: &mut Index, offset: u64, whole: &Whole) -> Result<(), Trouble> {
        let damage = || Trouble::Damage(offset);
        let header = &whole.header;
        let at = u32::try_from(offset).map_err(|_| damage())?;
        if self.open.encoded.records.is_empty() {
            self.open.encoded.first = header.record;
        }
        self.open.next = header.record.checked_add(1).ok_or_else(damage)?;
        self.open.encoded.records.push(Placed { offset: at, account: header.account, set: header.set });
        match header.kind {
            KIND_TABLE => {
                self.open.hash.add(&whole.raw, &whole.tag);
                let body = self.internal(offset, header)?;
                self.open.encoded.additions = additions(&body).ok_or_else(damage)?;
                self.open.encoded.leading = 1;
            }
            KIND_COMMIT => {
                let body = self.internal(offset, header)?;
                let open = std::mem::take(&mut self.open);
                self.open.next = open.next;
                if body != open.hash.body() || !index.extend_tables(self.source.number, &open.encoded.additions) {
                    return Err(damage());
                }
                self.valid = offset + header.size();
                self.group = u64::from(header.group);
                index.commit(self.source.number, &open.encoded, self.valid, header.committed);
            }
            _ => self.open.hash.add(&whole.raw, &whole.tag),
        }
        Ok(())
    }

    /// The plain body of an internal record.
    fn internal(&self, offset: u64, header: &RecordHeader) -> Result<Vec<u8>, Trouble> {
        if header.len > MAX_INTERNAL {
            return Err(Trouble::Damage(offset));
        }
        let mut body = vec![0; header.len as usize];
        read_exact_at(&*self.source.file, offset + RECORD_HEADER as u64, &mut body)?;
        let plain = self.source.cipher.open(&header.tail(), header.record, "", &mut body);
        body.truncate(plain.ok_or(Trouble::Damage(offset))?);
        Ok(body)
    }
}

fn additions(body: &[u8]) -> Option<Additions> {
    let mut additions = Additions::default();
    for entry in table(body)? {
        match entry {
            TableEntry::Name(id, name) => additions.names.push((id, Arc::from(name))),
            TableEntry::Set(id, members) => additions.sets.push((id, members)),
        }
    }
    Some(additions)
}

/// Reads the file in windows.
struct Reader<'a> {
    source: &'a Source,
    end: u64,
    window: Vec<u8>,
    start: u64,
}

impl<'a> Reader<'a> {
    fn new(source: &'a Source, end: u64) -> Self {
        Self { source, end, window: Vec::new(), start: 0 }
    }

    /// Up to `len` bytes (at most a window) at `offset`; fewer at the end.
    fn bytes(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let len = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(len.min(WINDOW));
        let inside = offset >= self.start && offset + len as u64 <= self.start + self.window.len() as u64;
        if !inside {
            let want = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(WINDOW);
            self.window.resize(want, 0);
            self.start = offset;
            if let Err(error) = read_exact_at(&*self.source.file, offset, &mut self.window) {
                self.window.clear();
                return Err(error);
            }
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.window.get(from..from.saturating_add(len)).unwrap_or_default())
    }

    fn header(&mut self, offset: u64) -> io::Result<Option<([u8; RECORD_HEADER], RecordHeader)>> {
        let end = self.end;
        let raw = self.bytes(offset, RECORD_HEADER)?;
        let Ok(raw) = <[u8; RECORD_HEADER]>::try_from(raw) else { return Ok(None) };
        Ok(RecordHeader::decode(&raw).filter(|header| header.plausible(offset, end)).map(|header| (raw, header)))
    }

    /// The record at `offset` if it is intact and has the number `record`.
    fn whole(&mut self, offset: u64, record: u32) -> io::Result<Option<Whole>> {
        match self.header(offset)? {
            Some((raw, header)) if header.record == record => self.check(offset, raw, header),
            _ => Ok(None),
        }
    }

    fn check(&mut self, offset: u64, raw: [u8; RECORD_HEADER], header: RecordHeader) -> io::Result<Option<Whole>> {
        let mut checksum = self.source.cipher.checksum_start(&header.tail());
        let mut at = offset + RECORD_HEADER as u64;
        let mut left = header.len as usize;
        let mut tag = [0; TAG];
        while left > 0 {
            let piece = self.bytes(at, left)?;
            if piece.is_empty() {
                return Ok(None);
            }
            checksum = crc32c::crc32c_append(checksum, piece);
            let taken = piece.len();
            // The tag's bytes in this piece.
            let before_tag = left.saturating_sub(TAG);
            let inside = piece.get(before_tag.min(taken)..).unwrap_or_default();
            let place = TAG - left.min(TAG);
            for (to, from) in tag.iter_mut().skip(place).zip(inside) {
                *to = *from;
            }
            at += taken as u64;
            left -= taken;
        }
        Ok((checksum == header.checksum).then_some(Whole { header, raw, tag }))
    }

    /// Searches behind the first invalid record (number `record`, at `offset`) for one that proves damage. Returns the
    /// end of the bytes that are not zero.
    fn look_behind(&mut self, offset: u64, record: u32) -> Result<u64, Trouble> {
        let (mut at, mut used) = (offset, offset);
        while at < self.end {
            let zeros = self.zeros(at)?;
            if zeros > 0 {
                at += zeros;
                continue;
            }
            match self.header(at)? {
                Some((raw, header)) if header.record > record && self.check(at, raw, header)?.is_some() => {
                    if u64::from(header.group) > offset {
                        return Err(Trouble::Damage(offset));
                    }
                    at += header.size();
                }
                _ => at += 8,
            }
            used = at;
        }
        Ok(used.min(self.end))
    }

    /// Number of zero bytes at `offset`, in multiples of 8.
    fn zeros(&mut self, offset: u64) -> io::Result<u64> {
        let bytes = self.bytes(offset, 4096)?;
        let zeros = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        Ok(if zeros == bytes.len() { zeros as u64 } else { zeros as u64 / 8 * 8 })
    }
}
