//! Reads committed records back, one ([`read_record`]) or several ([`read_records`]). Number, checksum and seal of each
//! must be right.

use std::io;

use bytes::Bytes;

use crate::disk::read_exact_at;
use kernel::clock::UnixNanos;

use super::index::PlannedRead;
use super::record::{RECORD_HEADER, RecordHeader};
use super::status::SpoolReadError;
use super::transaction::{RecordKind, StoredRecord};

/// Reads and decrypts `plan` up to the first error, which is reported only if it is the first record's: the next read
/// starts with that record.
pub(super) fn read_records(plan: &[PlannedRead]) -> Result<Vec<StoredRecord>, SpoolReadError> {
    let mut records = Vec::with_capacity(plan.len());
    for planned in plan {
        match read_record(planned) {
            Ok(record) => records.push(record),
            Err(_) if !records.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}

/// Reads and decrypts `planned`.
pub(super) fn read_record(planned: &PlannedRead) -> Result<StoredRecord, SpoolReadError> {
    let damaged = || SpoolReadError::Damaged(planned.seq);
    let size = usize::try_from(planned.size).map_err(|_| damaged())?;
    let mut bytes = vec![0; size];
    read_exact_at(&*planned.file, planned.offset, &mut bytes).map_err(|error| match error.kind() {
        // The file was longer when it was opened.
        io::ErrorKind::UnexpectedEof => damaged(),
        _ => SpoolReadError::Io(error),
    })?;
    let (header, rest) = bytes.split_at_mut_checked(RECORD_HEADER).ok_or_else(damaged)?;
    let header = RecordHeader::decode(header).filter(|header| header.record == planned.record).ok_or_else(damaged)?;
    let stored_body = rest.get_mut(..header.len as usize).ok_or_else(damaged)?;
    let tail = header.tail();
    if crc32c::crc32c_append(planned.cipher.checksum_start(&tail), stored_body) != header.checksum {
        return Err(damaged());
    }
    let plain_len = planned.cipher.open(&tail, planned.record, &planned.account, stored_body).ok_or_else(damaged)?;
    let kind = RecordKind::from_byte(header.kind).ok_or_else(damaged)?;
    let body = Bytes::from(bytes).slice(RECORD_HEADER..RECORD_HEADER + plain_len);
    Ok(StoredRecord {
        seq: planned.seq,
        kind,
        account: planned.account.clone(),
        committed: UnixNanos(header.committed),
        body,
    })
}
