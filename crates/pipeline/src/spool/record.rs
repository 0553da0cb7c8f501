//! Format of a segment: little endian, every record at a multiple of 8, version 1. The seal is in `cipher`, reading
//! through a segment in `scan`, building one in `encode`.
//!
//! ```text
//! seg-{number:010}.spool
//!   header, 104 bytes: magic "TGSPOOL\n" | u16 version | u16 header length | u8 cipher (1 = AES-256-GCM) | 3 zeros |
//!     u64 segment number | u64 position of record 0 | u64 created, ns | u64 valid bytes of the segment before |
//!     key id [8] | salt [32] | 12 zeros | u32 CRC32C of all before it
//!   records, each: u32 length of the stored body (0 = no more) | u32 CRC32C(salt, rest of the header, stored body) |
//!     tail of 24 bytes: u32 number in the segment | u32 offset at which its write group starts |
//!     u64 committed, ns | u16 account | u16 holder set | u8 kind | 3 zeros
//!     stored body = AES-256-GCM(body), tag last; AAD = u64 segment number, tail, account's name |
//!     zeros up to a multiple of 8
//! ```
//! A record's position is that of the segment's record 0 plus its number; internal records use up numbers too.
//! A transaction is its records, preceded by an internal *table* record if names are new to the segment, and followed
//! by a *commit* record (u32 count, SHA-256 over header and tag of each); it is never split between segments. Account
//! and holder set are numbers of the segment's tables: entries `1 | u16 id | u16 length | name` and `2 | u16 id | u8
//! count | u16 name id …`. Number 0 is the empty name and the empty set.
//!
//! A *write group* is what one write and one sync make durable; it is written only after the group before it was
//! synced. So a valid record of a group that starts *after* an invalid record proves that the invalid one was once
//! durable: damage, not a torn tail. For the last group, a line in the progress file, written after the sync, proves
//! the same. One case can't be distinguished: a damaged last group whose line is missing, because the process ended
//! between sync and line, or the machine stopped within the second before the progress file is synced. It counts as
//! torn, although it may have been acknowledged.

use kernel::sha256::Sha256;

use super::transaction::RecordKind;

/// First bytes of a segment.
pub(super) const MAGIC: [u8; 8] = *b"TGSPOOL\n";
/// The version that is written.
pub(super) const VERSION: u16 = 1;
/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 104;
/// Bytes of a record's header.
pub(super) const RECORD_HEADER: usize = 32;
/// Bytes of the part of a record's header that checksum and seal cover.
pub(super) const TAIL: usize = 24;
/// Bytes of the tag after each body.
pub(super) const TAG: usize = 16;
/// Bytes of a commit record as stored, including header and padding.
pub(super) const COMMIT_SIZE: usize = round_up_to_8(RECORD_HEADER + 36 + TAG);
/// Kind byte of the internal table record.
pub(super) const KIND_TABLE: u8 = 128;
/// Kind byte of the commit record.
pub(super) const KIND_COMMIT: u8 = RecordKind::Commit as u8;
/// Longest name of an account or consumer, in bytes.
pub(super) const MAX_NAME: usize = 1024;

/// Tags of the entries of a table record.
const ENTRY_NAME: u8 = 1;
const ENTRY_SET: u8 = 2;

const CIPHER_AES: u8 = 1;
const CIPHER_OFF: u8 = 0;

/// `len` rounded up to the start of the next record.
pub(super) const fn round_up_to_8(len: usize) -> usize {
    len.div_ceil(8) * 8
}

/// Bytes that a record with a body of `len` bytes takes.
pub(super) const fn record_size(len: usize) -> usize {
    round_up_to_8(RECORD_HEADER + len + TAG)
}

/// File name of segment `number`.
pub(super) fn segment_name(number: u64) -> String {
    format!("seg-{number:010}.spool")
}

/// Reads little-endian numbers from the front of the bytes that are left.
pub(super) struct ByteReader<'a>(pub(super) &'a [u8]);

impl<'a> ByteReader<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(first)
    }

    /// A text after its length of two bytes.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let len = self.u16()?;
        std::str::from_utf8(self.bytes(usize::from(len))?).ok()
    }
}

/// Writes arrays one after the other; an array that does not fit is left out.
struct ByteWriter<'a>(&'a mut [u8]);

impl ByteWriter<'_> {
    fn array<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some((target, rest)) = std::mem::take(&mut self.0).split_first_chunk_mut::<N>() {
            *target = bytes;
            self.0 = rest;
        }
    }
}

/// A segment's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) sealed: bool,
    pub(super) number: u64,
    /// Position of record 0.
    pub(super) first: u64,
    /// Time in nanoseconds.
    pub(super) created: u64,
    /// Valid bytes of the segment before.
    pub(super) previous_len: u64,
    pub(super) key_id: [u8; 8],
    pub(super) salt: [u8; 32],
}

/// Why a segment's header can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Written in this later version of the format.
    Newer(u16),
    /// Wrong magic, checksum, length or cipher.
    Damaged,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(SEGMENT_HEADER as u16).to_le_bytes());
        out.extend_from_slice(&[if self.sealed { CIPHER_AES } else { CIPHER_OFF }, 0, 0, 0]);
        for number in [self.number, self.first, self.created, self.previous_len] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.key_id);
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut reader = ByteReader(bytes);
        match (reader.array::<8>(), reader.u16()) {
            (Some(MAGIC), Some(VERSION)) => {}
            (Some(MAGIC), Some(version)) if version > VERSION => return Err(HeaderError::Newer(version)),
            _ => return Err(HeaderError::Damaged),
        }
        Self::decode_fields(bytes, &mut reader).ok_or(HeaderError::Damaged)
    }

    /// Decodes the fields after the version, which `reader` has read. `None`: damaged.
    fn decode_fields(bytes: &[u8], reader: &mut ByteReader<'_>) -> Option<Self> {
        let (covered, checksum) = bytes.split_at_checked(SEGMENT_HEADER - 4)?;
        let length = reader.u16()?;
        let [cipher, ..] = reader.array::<4>()?;
        let header = Self {
            sealed: cipher != CIPHER_OFF,
            number: reader.u64()?,
            first: reader.u64()?,
            created: reader.u64()?,
            previous_len: reader.u64()?,
            key_id: reader.array()?,
            salt: reader.array()?,
        };
        let is_valid = ByteReader(checksum).u32()? == crc32c::crc32c(covered)
            && usize::from(length) == SEGMENT_HEADER
            && cipher <= CIPHER_AES;
        is_valid.then_some(header)
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    /// Stored length of the body, including the tag.
    pub(super) len: u32,
    pub(super) checksum: u32,
    /// Number of the record in the segment.
    pub(super) record: u32,
    /// Offset at which its write group starts.
    pub(super) group: u32,
    /// Time in nanoseconds.
    pub(super) committed: u64,
    /// Numbers of account and holder set in the segment's tables.
    pub(super) account: u16,
    pub(super) set: u16,
    pub(super) kind: u8,
}

impl RecordHeader {
    /// The part that checksum and seal cover.
    pub(super) fn tail(&self) -> [u8; TAIL] {
        let mut tail = [0; TAIL];
        let mut writer = ByteWriter(&mut tail);
        writer.array(self.record.to_le_bytes());
        writer.array(self.group.to_le_bytes());
        writer.array(self.committed.to_le_bytes());
        writer.array(self.account.to_le_bytes());
        writer.array(self.set.to_le_bytes());
        writer.array([self.kind]);
        tail
    }

    pub(super) fn encode(&self) -> [u8; RECORD_HEADER] {
        let mut out = [0; RECORD_HEADER];
        let mut writer = ByteWriter(&mut out);
        writer.array(self.len.to_le_bytes());
        writer.array(self.checksum.to_le_bytes());
        writer.array(self.tail());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = ByteReader(bytes);
        let header = Self {
            len: reader.u32()?,
            checksum: reader.u32()?,
            record: reader.u32()?,
            group: reader.u32()?,
            committed: reader.u64()?,
            account: reader.u16()?,
            set: reader.u16()?,
            kind: reader.u8()?,
        };
        (reader.array::<3>()? == [0; 3]).then_some(header)
    }

    /// Whether this can be a record at `offset` of a file that ends at `end`.
    pub(super) fn is_plausible(&self, offset: u64, end: u64) -> bool {
        (self.len as usize) >= TAG
            && offset.saturating_add(RECORD_HEADER as u64 + u64::from(self.len)) <= end
            && u64::from(self.group) <= offset
            && (self.kind == KIND_TABLE || RecordKind::from_byte(self.kind).is_some())
    }

    /// Distance from this record's offset to the next record's.
    pub(super) fn size(&self) -> u64 {
        round_up_to_8(RECORD_HEADER + self.len as usize) as u64
    }
}

impl RecordKind {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Key, Self::Fragment, Self::Forward, Self::Commit, Self::Seal, Self::Leaf, Self::Effects]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// Running hash of a transaction: header and tag of each record.
#[derive(Clone, Default)]
pub(super) struct TransactionHash {
    hash: Sha256,
    count: u32,
}

impl TransactionHash {
    pub(super) fn add(&mut self, header: &[u8; RECORD_HEADER], tag: &[u8; TAG]) {
        self.hash.update(header);
        self.hash.update(tag);
        self.count = self.count.saturating_add(1);
    }

    /// The body of the commit record.
    pub(super) fn commit_body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(36);
        body.extend_from_slice(&self.count.to_le_bytes());
        body.extend_from_slice(&self.hash.clone().finalize());
        body
    }
}

/// An entry of a table record.
pub(super) enum TableEntry<'a> {
    Name(u16, &'a str),
    Set(u16, Vec<u16>),
}

/// Appends one name to a table record's body.
pub(super) fn put_name(out: &mut Vec<u8>, id: u16, name: &str) {
    out.push(ENTRY_NAME);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
}

/// Appends one holder set to a table record's body.
pub(super) fn put_set(out: &mut Vec<u8>, id: u16, members: &[u16]) {
    out.push(ENTRY_SET);
    out.extend_from_slice(&id.to_le_bytes());
    out.push(members.len() as u8);
    for member in members {
        out.extend_from_slice(&member.to_le_bytes());
    }
}

/// Parses a table record's body. `None`: it is damaged.
pub(super) fn parse_table(body: &[u8]) -> Option<Vec<TableEntry<'_>>> {
    let mut reader = ByteReader(body);
    let mut entries = Vec::new();
    while !reader.0.is_empty() {
        let (tag, id) = (reader.u8()?, reader.u16()?);
        entries.push(match tag {
            ENTRY_NAME => TableEntry::Name(id, reader.text()?),
            ENTRY_SET => {
                let count = reader.u8()?;
                TableEntry::Set(id, (0..count).map(|_| reader.u16()).collect::<Option<_>>()?)
            }
            _ => return None,
        });
    }
    Some(entries)
}
