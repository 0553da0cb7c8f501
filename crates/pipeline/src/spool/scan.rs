//! Reads through one segment and adds its committed records to the index. It changes nothing on disk. A torn tail ends
//! the segment; a valid record behind an invalid one of an earlier write group is damage. If the valid length is known,
//! anything shorter is damage, and so is anything shorter than the synced length. `recover` chooses the segments.

use std::io;
use std::sync::Arc;

use crate::disk::{DiskFile, read_exact_at};

use super::cipher::SegmentCipher;
use super::encode::{EncodedTransaction, PlacedRecord, TableAdditions};
use super::index::SpoolIndex;
use super::record::{
    KIND_COMMIT, KIND_TABLE, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, TAG, TableEntry, TransactionHash, parse_table,
};

const WINDOW: usize = 1 << 20;
/// Internal records are small; a longer one was not written by tollgate.
const MAX_INTERNAL: u32 = 64 << 20;

/// Why a segment can't be used.
pub(super) enum ScanError {
    /// The file could not be read.
    Io(io::Error),
    /// The contents are damaged, at the offset of the first wrong record.
    Damage(u64),
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A segment's file, and how much of it counts.
pub(super) struct SegmentSource {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) cipher: Arc<SegmentCipher>,
    /// Size of the file.
    pub(super) size: u64,
    /// Valid bytes, if recorded.
    pub(super) recorded_len: Option<u64>,
    /// Lower bound of the synced bytes.
    pub(super) synced: u64,
    /// Position of record 0.
    pub(super) first: u64,
    /// Records from this position on belong to the next segment.
    pub(super) bound: u64,
}

/// A record with a correct checksum.
struct IntactRecord {
    header: RecordHeader,
    raw: [u8; RECORD_HEADER],
    tag: [u8; TAG],
}

/// How much of a segment counts.
pub(super) struct ScanResult {
    /// Bytes that hold committed records.
    pub(super) valid: u64,
    /// Bytes to keep: up to the last one that is not zero, or `valid` if that is recorded.
    pub(super) used: u64,
    /// Start of the last write group with a committed transaction; everything before it is known to be durable.
    pub(super) group: u64,
}

/// Reads `source` into `index`; the segment must have been added before.
pub(super) fn scan(index: &mut SpoolIndex, source: &SegmentSource) -> Result<ScanResult, ScanError> {
    let end = source.recorded_len.unwrap_or(source.size);
    if end > source.size || end < SEGMENT_HEADER as u64 {
        return Err(ScanError::Damage(source.size));
    }
    let start = SEGMENT_HEADER as u64;
    let mut walk = SegmentScan {
        source,
        reader: WindowReader::new(source, end),
        transaction: OpenTransaction::default(),
        valid: start,
        group: start,
    };
    let mut offset = start;
    while offset < end {
        let Some(whole) = walk.reader.read_intact(offset, walk.transaction.next)? else { break };
        walk.add_record(index, offset, &whole)?;
        offset += whole.header.size();
        if source.first.saturating_add(u64::from(walk.transaction.next)) >= source.bound {
            break;
        }
    }
    match source.recorded_len {
        Some(known) if walk.valid != known => Err(ScanError::Damage(offset)),
        Some(_) => Ok(ScanResult { valid: walk.valid, used: walk.valid, group: walk.group }),
        None if walk.valid < source.synced => Err(ScanError::Damage(offset)),
        None => {
            let used = walk.reader.find_damage(offset, walk.transaction.next)?;
            Ok(ScanResult { valid: walk.valid, used, group: walk.group })
        }
    }
}

/// The transaction that is being read.
#[derive(Default)]
struct OpenTransaction {
    next: u32,
    encoded: EncodedTransaction,
    hash: TransactionHash,
}

struct SegmentScan<'a> {
    source: &'a SegmentSource,
    reader: WindowReader<'a>,
    transaction: OpenTransaction,
    valid: u64,
    group: u64,
}

impl SegmentScan<'_> {
    fn add_record(&mut self, index: &mut SpoolIndex, offset: u64, whole: &IntactRecord) -> Result<(), ScanError> {
        let damage = || ScanError::Damage(offset);
        let header = &whole.header;
        let at = u32::try_from(offset).map_err(|_| damage())?;
        if self.transaction.encoded.records.is_empty() {
            self.transaction.encoded.first = header.record;
        }
        self.transaction.next = header.record.checked_add(1).ok_or_else(damage)?;
        self.transaction.encoded.records.push(PlacedRecord { offset: at, account: header.account, set: header.set });
        match header.kind {
            KIND_TABLE => {
                self.transaction.hash.add(&whole.raw, &whole.tag);
                let body = self.read_internal(offset, header)?;
                self.transaction.encoded.additions = parse_additions(&body).ok_or_else(damage)?;
                self.transaction.encoded.leading = 1;
            }
            KIND_COMMIT => {
                let body = self.read_internal(offset, header)?;
                let open = std::mem::take(&mut self.transaction);
                self.transaction.next = open.next;
                if body != open.hash.commit_body() || !index.extend_tables(self.source.number, &open.encoded.additions)
                {
                    return Err(damage());
                }
                self.valid = offset + header.size();
                self.group = u64::from(header.group);
                index.commit(self.source.number, &open.encoded, self.valid, header.committed);
            }
            _ => self.transaction.hash.add(&whole.raw, &whole.tag),
        }
        Ok(())
    }

    /// The plain body of an internal record.
    fn read_internal(&self, offset: u64, header: &RecordHeader) -> Result<Vec<u8>, ScanError> {
        if header.len > MAX_INTERNAL {
            return Err(ScanError::Damage(offset));
        }
        let mut body = vec![0; header.len as usize];
        read_exact_at(&*self.source.file, offset + RECORD_HEADER as u64, &mut body)?;
        let plain = self.source.cipher.open(&header.tail(), header.record, "", &mut body);
        body.truncate(plain.ok_or(ScanError::Damage(offset))?);
        Ok(body)
    }
}

fn parse_additions(body: &[u8]) -> Option<TableAdditions> {
    let mut additions = TableAdditions::default();
    for entry in parse_table(body)? {
        match entry {
            TableEntry::Name(id, name) => additions.names.push((id, Arc::from(name))),
            TableEntry::Set(id, members) => additions.sets.push((id, members)),
        }
    }
    Some(additions)
}

/// Reads the file in windows.
struct WindowReader<'a> {
    source: &'a SegmentSource,
    end: u64,
    window: Vec<u8>,
    start: u64,
}

impl<'a> WindowReader<'a> {
    fn new(source: &'a SegmentSource, end: u64) -> Self {
        Self { source, end, window: Vec::new(), start: 0 }
    }

    /// Up to `len` bytes (at most a window) at `offset`; fewer at the end.
    fn read_bytes(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
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
        let raw = self.read_bytes(offset, RECORD_HEADER)?;
        let Ok(raw) = <[u8; RECORD_HEADER]>::try_from(raw) else { return Ok(None) };
        Ok(RecordHeader::decode(&raw).filter(|header| header.is_plausible(offset, end)).map(|header| (raw, header)))
    }

    /// The record at `offset` if it is intact and has the number `record`.
    fn read_intact(&mut self, offset: u64, record: u32) -> io::Result<Option<IntactRecord>> {
        match self.header(offset)? {
            Some((raw, header)) if header.record == record => self.check(offset, raw, header),
            _ => Ok(None),
        }
    }

    fn check(
        &mut self,
        offset: u64,
        raw: [u8; RECORD_HEADER],
        header: RecordHeader,
    ) -> io::Result<Option<IntactRecord>> {
        let mut checksum = self.source.cipher.checksum_start(&header.tail());
        let mut at = offset + RECORD_HEADER as u64;
        let mut left = header.len as usize;
        let mut tag = [0; TAG];
        while left > 0 {
            let piece = self.read_bytes(at, left)?;
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
        Ok((checksum == header.checksum).then_some(IntactRecord { header, raw, tag }))
    }

    /// Searches behind the first invalid record (number `record`, at `offset`) for one that proves damage. Returns the
    /// end of the bytes that are not zero.
    fn find_damage(&mut self, offset: u64, record: u32) -> Result<u64, ScanError> {
        let (mut at, mut used) = (offset, offset);
        while at < self.end {
            let zeros = self.count_zeros(at)?;
            if zeros > 0 {
                at += zeros;
                continue;
            }
            match self.header(at)? {
                Some((raw, header)) if header.record > record && self.check(at, raw, header)?.is_some() => {
                    if u64::from(header.group) > offset {
                        return Err(ScanError::Damage(offset));
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
    fn count_zeros(&mut self, offset: u64) -> io::Result<u64> {
        let bytes = self.read_bytes(offset, 4096)?;
        let zeros = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        Ok(if zeros == bytes.len() { zeros as u64 } else { zeros as u64 / 8 * 8 })
    }
}
