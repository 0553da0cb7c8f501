//! [`scan`]: reads one segment and adds its committed records to the index, without changing anything on disk. Records
//! that a crash left incomplete (a torn tail) end the segment. It is damaged if a valid record of a later write group
//! follows an invalid one, or if the valid records end before the recorded or the synced length. `recover` chooses the
//! segments.

use std::io;
use std::sync::Arc;

use crate::disk::{DiskFile, read_exact_at};

use super::cipher::SegmentCipher;
use super::encode::{EncodedTransaction, PlacedRecord, TableAdditions};
use super::index::SpoolIndex;
use super::record::{
    KIND_COMMIT, KIND_TABLE, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, TAG, TableEntry, TransactionHash, parse_table,
};

/// Bytes of one read.
const WINDOW_BYTES: usize = 1 << 20;
/// Internal records are small; a longer one was not written by tollgate.
const MAX_INTERNAL_BYTES: u32 = 64 << 20;

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

/// A segment's file, and what other files say about its length.
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
    /// Position of the next segment's record 0.
    pub(super) next_segment_first: u64,
}

/// A record with a correct checksum.
struct IntactRecord {
    header: RecordHeader,
    raw_header: [u8; RECORD_HEADER],
    tag: [u8; TAG],
}

/// Result of a scan.
pub(super) struct ScanResult {
    /// Bytes that hold committed records.
    pub(super) valid: u64,
    /// Bytes to keep: up to the last one that is not zero, or `valid` if that is recorded.
    pub(super) used: u64,
    /// Start of the last write group with a committed transaction; everything before it is known to be durable.
    pub(super) last_group: u64,
}

/// Reads `source` into `index`; the segment must have been added before.
pub(super) fn scan(index: &mut SpoolIndex, source: &SegmentSource) -> Result<ScanResult, ScanError> {
    let end = source.recorded_len.unwrap_or(source.size);
    if end > source.size || end < SEGMENT_HEADER as u64 {
        return Err(ScanError::Damage(source.size));
    }
    let start = SEGMENT_HEADER as u64;
    let mut scan = SegmentScan {
        source,
        reader: WindowReader::new(source, end),
        transaction: OpenTransaction::default(),
        valid: start,
        last_group: start,
    };
    let mut offset = start;
    while offset < end {
        let Some(record) = scan.reader.read_intact(offset, scan.transaction.next_record)? else { break };
        scan.add_record(index, offset, &record)?;
        offset += record.header.size();
        if source.first.saturating_add(u64::from(scan.transaction.next_record)) >= source.next_segment_first {
            break;
        }
    }
    match source.recorded_len {
        Some(recorded) if scan.valid != recorded => Err(ScanError::Damage(offset)),
        Some(_) => Ok(ScanResult { valid: scan.valid, used: scan.valid, last_group: scan.last_group }),
        None if scan.valid < source.synced => Err(ScanError::Damage(offset)),
        None => {
            let used = scan.reader.find_damage(offset, scan.transaction.next_record)?;
            Ok(ScanResult { valid: scan.valid, used, last_group: scan.last_group })
        }
    }
}

/// The transaction that is being read.
#[derive(Default)]
struct OpenTransaction {
    /// Number of the next record in the segment.
    next_record: u32,
    encoded: EncodedTransaction,
    hash: TransactionHash,
}

struct SegmentScan<'a> {
    source: &'a SegmentSource,
    reader: WindowReader<'a>,
    transaction: OpenTransaction,
    /// As in [`ScanResult`].
    valid: u64,
    last_group: u64,
}

impl SegmentScan<'_> {
    fn add_record(&mut self, index: &mut SpoolIndex, offset: u64, record: &IntactRecord) -> Result<(), ScanError> {
        let damage = || ScanError::Damage(offset);
        let header = &record.header;
        let placed_offset = u32::try_from(offset).map_err(|_| damage())?;
        if self.transaction.encoded.records.is_empty() {
            self.transaction.encoded.first = header.record;
        }
        self.transaction.next_record = header.record.checked_add(1).ok_or_else(damage)?;
        let placed = PlacedRecord { offset: placed_offset, account: header.account, set: header.set };
        self.transaction.encoded.records.push(placed);
        match header.kind {
            KIND_TABLE => {
                self.transaction.hash.add(&record.raw_header, &record.tag);
                let body = self.read_internal(offset, header)?;
                self.transaction.encoded.additions = parse_additions(&body).ok_or_else(damage)?;
                self.transaction.encoded.leading = 1;
            }
            KIND_COMMIT => {
                let body = self.read_internal(offset, header)?;
                let OpenTransaction { next_record, encoded, hash } = std::mem::take(&mut self.transaction);
                self.transaction.next_record = next_record;
                let is_intact = body == hash.commit_body();
                if !is_intact || !index.extend_tables(self.source.number, &encoded.additions) {
                    return Err(damage());
                }
                self.valid = offset + header.size();
                self.last_group = u64::from(header.group);
                index.commit(self.source.number, &encoded, self.valid, header.committed);
            }
            _ => self.transaction.hash.add(&record.raw_header, &record.tag),
        }
        Ok(())
    }

    /// The plain body of an internal record.
    fn read_internal(&self, offset: u64, header: &RecordHeader) -> Result<Vec<u8>, ScanError> {
        if header.len > MAX_INTERNAL_BYTES {
            return Err(ScanError::Damage(offset));
        }
        let mut body = vec![0; header.len as usize];
        read_exact_at(&*self.source.file, offset + RECORD_HEADER as u64, &mut body)?;
        let plain_len = self.source.cipher.open(&header.tail(), header.record, "", &mut body);
        body.truncate(plain_len.ok_or(ScanError::Damage(offset))?);
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

/// Reads the file in windows, up to the offset `end`.
struct WindowReader<'a> {
    source: &'a SegmentSource,
    end: u64,
    window: Vec<u8>,
    /// Offset of the window in the file.
    window_start: u64,
}

impl<'a> WindowReader<'a> {
    fn new(source: &'a SegmentSource, end: u64) -> Self {
        Self { source, end, window: Vec::new(), window_start: 0 }
    }

    /// Up to `len` bytes (at most a window) at `offset`; fewer at the end.
    fn read_bytes(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let len = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(len.min(WINDOW_BYTES));
        let window_end = self.window_start + self.window.len() as u64;
        if offset < self.window_start || offset + len as u64 > window_end {
            let window_len = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(WINDOW_BYTES);
            self.window.resize(window_len, 0);
            self.window_start = offset;
            if let Err(error) = read_exact_at(&*self.source.file, offset, &mut self.window) {
                self.window.clear();
                return Err(error);
            }
        }
        let from = usize::try_from(offset - self.window_start).unwrap_or(usize::MAX);
        Ok(self.window.get(from..from.saturating_add(len)).unwrap_or_default())
    }

    /// The header at `offset` as bytes and decoded, if there can be a record.
    fn read_header(&mut self, offset: u64) -> io::Result<Option<([u8; RECORD_HEADER], RecordHeader)>> {
        let end = self.end;
        let raw = self.read_bytes(offset, RECORD_HEADER)?;
        let Ok(raw) = <[u8; RECORD_HEADER]>::try_from(raw) else { return Ok(None) };
        Ok(RecordHeader::decode(&raw).filter(|header| header.is_plausible(offset, end)).map(|header| (raw, header)))
    }

    /// The record at `offset` if it is intact and has the number `record`.
    fn read_intact(&mut self, offset: u64, record: u32) -> io::Result<Option<IntactRecord>> {
        match self.read_header(offset)? {
            Some((raw, header)) if header.record == record => self.check_record(offset, raw, header),
            _ => Ok(None),
        }
    }

    /// The record with this header at `offset`, if its checksum is correct.
    fn check_record(
        &mut self,
        offset: u64,
        raw_header: [u8; RECORD_HEADER],
        header: RecordHeader,
    ) -> io::Result<Option<IntactRecord>> {
        let mut checksum = self.source.cipher.checksum_start(&header.tail());
        let mut piece_offset = offset + RECORD_HEADER as u64;
        let mut bytes_left = header.len as usize;
        let mut tag = [0; TAG];
        while bytes_left > 0 {
            let piece = self.read_bytes(piece_offset, bytes_left)?;
            if piece.is_empty() {
                return Ok(None);
            }
            checksum = crc32c::crc32c_append(checksum, piece);
            let piece_len = piece.len();
            // The tag is the end of the body, and may be spread over two pieces.
            let before_tag = bytes_left.saturating_sub(TAG);
            let tag_part = piece.get(before_tag.min(piece_len)..).unwrap_or_default();
            let tag_filled = TAG - bytes_left.min(TAG);
            for (to, from) in tag.iter_mut().skip(tag_filled).zip(tag_part) {
                *to = *from;
            }
            piece_offset += piece_len as u64;
            bytes_left -= piece_len;
        }
        Ok((checksum == header.checksum).then_some(IntactRecord { header, raw_header, tag }))
    }

    /// Searches after the first invalid record (number `record`, at `offset`) for a valid one of a later write group,
    /// which proves damage. Returns the end of the bytes that are not zero.
    fn find_damage(&mut self, offset: u64, record: u32) -> Result<u64, ScanError> {
        let (mut next, mut used) = (offset, offset);
        while next < self.end {
            let zeros = self.count_zeros(next)?;
            if zeros > 0 {
                next += zeros;
                continue;
            }
            match self.read_header(next)? {
                Some((raw, header)) if header.record > record && self.check_record(next, raw, header)?.is_some() => {
                    if u64::from(header.group) > offset {
                        return Err(ScanError::Damage(offset));
                    }
                    next += header.size();
                }
                _ => next += 8,
            }
            used = next;
        }
        Ok(used.min(self.end))
    }

    /// Number of zero bytes at `offset`, rounded down to a multiple of 8 unless they end the bytes read.
    fn count_zeros(&mut self, offset: u64) -> io::Result<u64> {
        let bytes = self.read_bytes(offset, 4096)?;
        let zeros = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        Ok(if zeros == bytes.len() { zeros as u64 } else { zeros as u64 / 8 * 8 })
    }
}
