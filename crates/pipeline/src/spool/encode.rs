//! [`SegmentEncoder`]: turns transactions into the next bytes of one segment. No record number is used twice, so an
//! encoder whose output could not be written must be discarded. Writing is in `commit`.

use std::collections::HashMap;
use std::sync::Arc;

use super::cipher::SegmentCipher;
use super::record::{
    COMMIT_SIZE, KIND_COMMIT, KIND_TABLE, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, TAG, TransactionHash, put_name,
    put_set, record_size,
};
use super::transaction::{SpoolRecord, Transaction};

/// See the module.
pub(super) struct SegmentEncoder {
    cipher: Arc<SegmentCipher>,
    /// Offset after the last encoded record.
    pub(super) end: u64,
    next_record: u32,
    /// Numbers of the names and holder sets in the segment's tables.
    names: HashMap<Arc<str>, u16>,
    sets: HashMap<Vec<u16>, u16>,
}

/// A record as the index stores it.
#[derive(Clone, Copy)]
pub(super) struct PlacedRecord {
    pub(super) offset: u32,
    pub(super) account: u16,
    pub(super) set: u16,
}

/// An encoded transaction.
#[derive(Default)]
pub(super) struct EncodedTransaction {
    /// Number of its first record in the segment.
    pub(super) first: u32,
    /// All records, including internal ones, in order.
    pub(super) records: Vec<PlacedRecord>,
    /// Number of internal records before the transaction's own (0 or 1).
    pub(super) leading: u32,
    /// Names and sets that the transaction adds to the segment's tables.
    pub(super) additions: TableAdditions,
}

/// Additions to the tables, in order of the new numbers.
#[derive(Default)]
pub(super) struct TableAdditions {
    pub(super) names: Vec<(u16, Arc<str>)>,
    pub(super) sets: Vec<(u16, Vec<u16>)>,
}

impl TableAdditions {
    fn encode_body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (id, name) in &self.names {
            put_name(&mut body, *id, name);
        }
        for (id, members) in &self.sets {
            put_set(&mut body, *id, members);
        }
        body
    }
}

/// The fields of a record's header that depend on its transaction; the encoder adds the others.
#[derive(Clone, Copy)]
struct HeaderFields<'a> {
    kind: u8,
    account: u16,
    account_name: &'a str,
    set: u16,
    stamp: GroupStamp,
}

/// Header fields that all records of a write group share.
#[derive(Clone, Copy)]
pub(super) struct GroupStamp {
    /// Offset at which the group starts.
    pub(super) group: u32,
    /// Time of the commit, ns.
    pub(super) committed: u64,
}

/// A record could not be sealed.
pub(super) struct SealError;

impl SegmentEncoder {
    /// An encoder for an empty segment.
    pub(super) fn new(cipher: Arc<SegmentCipher>) -> Self {
        let (mut names, mut sets) = (HashMap::new(), HashMap::new());
        names.insert(Arc::from(""), 0);
        sets.insert(Vec::new(), 0);
        Self { cipher, end: SEGMENT_HEADER as u64, next_record: 0, names, sets }
    }

    /// Appends `transaction` to `out` if it ends at or before the offset `capacity`; the bytes must be written directly
    /// after those encoded before. `Ok(None)`: the transaction does not fit, and nothing changed.
    ///
    /// # Errors
    /// A record can't be sealed; neither `out` nor the encoder may be used any more.
    pub(super) fn append(
        &mut self,
        transaction: &Transaction,
        stamp: GroupStamp,
        capacity: u64,
        out: &mut Vec<u8>,
    ) -> Result<Option<EncodedTransaction>, SealError> {
        let Some(additions) = self.missing_entries(transaction) else { return Ok(None) };
        let table_body = additions.encode_body();
        let own_records: usize = transaction.records.iter().map(|record| record_size(record.body.len())).sum();
        let table_record = if table_body.is_empty() { 0 } else { record_size(table_body.len()) };
        let size = own_records + COMMIT_SIZE + table_record;
        let records = u32::try_from(transaction.records.len()).ok().and_then(|records| records.checked_add(2));
        let last_number = records.and_then(|records| self.next_record.checked_add(records));
        if self.end.saturating_add(size as u64) > capacity || last_number.is_none() {
            return Ok(None);
        }
        out.reserve(size);
        let encoded = self.encode_transaction(transaction, &additions, &table_body, stamp, out).ok_or(SealError)?;
        Ok(Some(EncodedTransaction { additions, ..encoded }))
    }

    fn encode_transaction(
        &mut self,
        transaction: &Transaction,
        additions: &TableAdditions,
        table_body: &[u8],
        stamp: GroupStamp,
        out: &mut Vec<u8>,
    ) -> Option<EncodedTransaction> {
        self.names.extend(additions.names.iter().map(|(id, name)| (Arc::clone(name), *id)));
        self.sets.extend(additions.sets.iter().map(|(id, members)| (members.clone(), *id)));
        let mut encoded = EncodedTransaction { first: self.next_record, ..EncodedTransaction::default() };
        let mut hash = TransactionHash::default();
        let internal = HeaderFields { kind: KIND_TABLE, account: 0, account_name: "", set: 0, stamp };
        if !table_body.is_empty() {
            encoded.leading = 1;
            encoded.records.push(self.encode_record(internal, table_body, &mut hash, out)?);
        }
        let account = self.names.get(&transaction.account).copied()?;
        for record in &transaction.records {
            let set = self.sets.get(&self.member_numbers(record)?).copied()?;
            let account_name = &*transaction.account;
            let fields = HeaderFields { kind: record.kind as u8, account, account_name, set, stamp };
            encoded.records.push(self.encode_record(fields, &record.body, &mut hash, out)?);
        }
        let (fields, body) = (HeaderFields { kind: KIND_COMMIT, ..internal }, hash.commit_body());
        encoded.records.push(self.encode_record(fields, &body, &mut hash, out)?);
        Some(encoded)
    }

    fn encode_record(
        &mut self,
        fields: HeaderFields<'_>,
        body: &[u8],
        hash: &mut TransactionHash,
        out: &mut Vec<u8>,
    ) -> Option<PlacedRecord> {
        let HeaderFields { kind, account, account_name, set, stamp: GroupStamp { group, committed } } = fields;
        let len = u32::try_from(body.len() + TAG).ok()?;
        let record = self.next_record;
        let mut header = RecordHeader { len, checksum: 0, record, group, committed, account, set, kind };
        let tail = header.tail();
        let start = out.len();
        out.resize(start + RECORD_HEADER, 0);
        out.extend_from_slice(body);
        let stored = out.get_mut(start + RECORD_HEADER..)?;
        let tag = self.cipher.seal(&tail, record, account_name, stored)?;
        out.extend_from_slice(&tag);
        let stored = out.get(start + RECORD_HEADER..)?;
        header.checksum = crc32c::crc32c_append(self.cipher.checksum_start(&tail), stored);
        let header = header.encode();
        out.get_mut(start..start + RECORD_HEADER)?.copy_from_slice(&header);
        hash.add(&header, &tag);
        let size = record_size(body.len());
        out.resize(start + size, 0);
        let placed = PlacedRecord { offset: u32::try_from(self.end).ok()?, account, set };
        self.end += size as u64;
        self.next_record += 1;
        Some(placed)
    }

    /// Numbers of the record's holders, each once, in rising order. `None`: a name is not in the table.
    fn member_numbers(&self, record: &SpoolRecord) -> Option<Vec<u16>> {
        let mut members =
            record.holders.iter().map(|name| self.names.get(name).copied()).collect::<Option<Vec<_>>>()?;
        members.sort_unstable();
        members.dedup();
        Some(members)
    }

    /// Names and sets of the transaction that the tables lack. `None`: the tables are full.
    fn missing_entries(&self, transaction: &Transaction) -> Option<TableAdditions> {
        let mut additions = TableAdditions::default();
        let mut new_names: HashMap<Arc<str>, u16> = HashMap::new();
        let names = transaction.records.iter().flat_map(|record| record.holders.iter());
        for name in std::iter::once(&transaction.account).chain(names) {
            if self.names.contains_key(name) || new_names.contains_key(name) {
                continue;
            }
            let id = u16::try_from(self.names.len() + new_names.len()).ok()?;
            new_names.insert(Arc::clone(name), id);
            additions.names.push((id, Arc::clone(name)));
        }
        for record in &transaction.records {
            let find_id = |name: &Arc<str>| self.names.get(name).or_else(|| new_names.get(name)).copied();
            let mut members = record.holders.iter().map(find_id).collect::<Option<Vec<_>>>()?;
            members.sort_unstable();
            members.dedup();
            if self.sets.contains_key(&members) || additions.sets.iter().any(|(_, known)| *known == members) {
                continue;
            }
            let id = u16::try_from(self.sets.len() + additions.sets.len()).ok()?;
            additions.sets.push((id, members));
        }
        Some(additions)
    }
}
