//! [`VaultDraft`] holds a batch's vault records before they have numbers; [`VaultTicketer`] numbers them, because the
//! references in forwarded spans must be final when the batch is committed.
//!
//! A ticket only copies and formats. Keys come before fragments and fragments before leaves. Slot texts have exactly
//! the announced widths ([`widths`]). Neighbour: `processors/vault` gathers and seals content.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use kernel::clock::UnixNanos;
use otlp::SlotId;
use pipeline::TicketResult;
use pipeline::spool::{RecordKind, SpoolRecord};

use super::index_row::{PriceLink, TICKET_BYTES, UnnumberedRow};
use super::key_ring::SessionKey;
use super::object_names::{FragmentScope, MAX_NUMBER, ObjectNames};
use super::spool_record::{self, FragmentHeader, KeyHeader, LeafHeader, RecordFrame};
use super::vault_writer::{FragmentPlacement, ObjectPin, VaultWriter};

/// Widths of the texts that a ticket fills in.
pub mod widths {
    /// A byte range such as `bytes=0000004096-0000009215`.
    pub const RANGE: usize = 27;
    pub const LEAF_DIGITS: usize = 12;
}

/// A batch's records for the vault: one group per tenant and session.
pub struct VaultDraft {
    pub account: Arc<str>,
    /// Groups in order of their first item.
    pub groups: Vec<DraftGroup>,
}

/// The records of one session in a batch.
pub struct DraftGroup {
    /// Account, tenant, session and day of the group.
    pub scope: Arc<FragmentScope>,
    /// Name prefix of the payload object ([`ObjectNames::object_prefix`]).
    pub object_prefix: Arc<str>,
    /// Arrival of the batch.
    pub arrived: UnixNanos,
    /// Whether the session ended in this batch.
    pub end: bool,
    /// The sealed content; `None` if the group has only actions.
    pub fragment: Option<SealedFragment>,
    /// Index lines of the group.
    pub rows: Vec<UnnumberedRow>,
    /// For each of `rows`, the slot for its leaf number, if the item was stamped.
    pub leaf_slots: Vec<Option<SlotId>>,
}

pub struct SealedFragment {
    /// Fragment id, hex.
    pub id: String,
    pub key: Arc<SessionKey>,
    /// A record body with the right room for a header ([`SealedFragment::empty_frame`]) that ends with the age file.
    pub frame: RecordFrame,
    pub uri_slot: Option<SlotId>,
    pub range_slot: Option<SlotId>,
    /// Slot texts that are known before the ticket.
    pub known_slots: Vec<(SlotId, String)>,
    /// Set if the fragment refers to one in an open object.
    pub pin: Option<ObjectPin>,
    /// Receives the object's number if the object stays open.
    pub object_number: Arc<OnceLock<u64>>,
}

impl SealedFragment {
    /// An empty record body with room for the header of a fragment with this object prefix, key and id.
    pub fn empty_frame(names: &ObjectNames, object_prefix: &str, key: &str, id: &str) -> RecordFrame {
        RecordFrame::with_room(&FragmentHeader {
            object: names.object(object_prefix, MAX_NUMBER),
            epoch: names.epoch().to_string(),
            key: key.to_owned(),
            fragment: id.to_owned(),
            offset: u64::MAX,
            last: false,
        })
    }
}

impl VaultDraft {
    /// Upper bound of the records' bytes, for the reservation in the spool.
    pub fn max_bytes(&self, names: &ObjectNames) -> u64 {
        let header_bytes = 512 + names.object("", 0).len() + names.prefix().len();
        let group_bytes = |group: &DraftGroup| {
            // a record's header, or an object's name
            let record = group.scope.path().len().max(group.object_prefix.len()) + header_bytes;
            let rows: usize = group.rows.iter().map(|row| row.max_size() + TICKET_BYTES + record).sum();
            let fragment = group.fragment.as_ref();
            let sealed = fragment.map_or(0, |part| part.frame.size() + part.key.object_len + 2 * record);
            rows + sealed + record
        };
        self.groups.iter().map(group_bytes).sum::<usize>() as u64
    }
}

/// Numbers drafts. Several ticketers may share one [`VaultWriter`].
pub struct VaultTicketer {
    writer: Arc<VaultWriter>,
    /// The part of a reference before the object's name: `s3://bucket/` or `file:///`.
    uri: Arc<str>,
    holders: Arc<[Arc<str>]>,
    /// Holders of key and fragment records.
    sealed_holders: Arc<[Arc<str>]>,
}

/// The holder that keeps keys and fragments until they are stored, for exporters that wait for that.
pub fn put_holder(holder: &str) -> Arc<str> {
    format!("{holder}+put").into()
}

impl VaultTicketer {
    /// A ticketer whose records are held by `holder`, the uploader.
    pub fn new(writer: Arc<VaultWriter>, uri: Arc<str>, holder: Arc<str>) -> Self {
        let holders: Arc<[Arc<str>]> = Arc::new([holder]);
        Self { writer, uri, sealed_holders: holders.clone(), holders }
    }

    /// The same ticketer for exporters that wait until keys and fragments are stored.
    #[must_use]
    pub fn with_put_holder(self) -> Self {
        let put_holders = self.holders.iter().map(|holder| put_holder(holder));
        Self { sealed_holders: self.holders.iter().cloned().chain(put_holders).collect(), ..self }
    }

    fn build_record(&self, kind: RecordKind, body: Bytes) -> SpoolRecord {
        let holders = match kind {
            RecordKind::Key | RecordKind::Fragment => &self.sealed_holders,
            _ => &self.holders,
        };
        SpoolRecord { kind, holders: holders.clone(), body }
    }

    fn number_group(&self, account: &Arc<str>, group: DraftGroup, out: &mut TicketResult) {
        let DraftGroup { scope, object_prefix, arrived, end, fragment, rows, leaf_slots } = group;
        let names = self.writer.names();
        let mut placement: Option<FragmentPlacement> = None;
        if let Some(mut fragment) = fragment {
            let len = fragment.frame.rest().len() as u64;
            let placed = self.writer.place_fragment(&object_prefix, len, arrived, end, fragment.pin.take());
            if !placed.last {
                let _ = fragment.object_number.set(placed.number); // set nowhere else
            }
            self.number_fragment(&scope, fragment, &placed, len, out);
            placement = Some(placed);
        }
        let first = self.writer.assign_leaves(account, rows.len() as u64);
        let object = placement.as_ref().map(|placed| (placed.object.as_str(), placed.offset));
        let size: usize =
            rows.iter().map(|row| row.max_size() + TICKET_BYTES + object.map_or(0, |(name, _)| name.len())).sum();
        let mut lines = String::with_capacity(size);
        for (leaf, (row, slot)) in (first..).zip(rows.iter().zip(&leaf_slots)) {
            let call_leaf = match row.link {
                None => None,
                Some(PriceLink::Call(number)) => {
                    self.writer.remember_leaf(account, number, leaf);
                    None
                }
                Some(PriceLink::Price(number)) => {
                    self.writer.take_remembered_leaf(number).map(|leaf| leaf_text(names, leaf))
                }
            };
            row.write_line(&mut lines, leaf, object, call_leaf.as_deref());
            if let Some(slot) = slot {
                out.slots.push((*slot, leaf_text(names, leaf)));
            }
        }
        if rows.is_empty() {
            return;
        }
        let header = LeafHeader {
            writer: names.writer().to_string(),
            epoch: names.epoch().to_string(),
            first,
            count: rows.len() as u64,
            object: placement.map(|placed| placed.object),
            day: scope.date.clone(),
        };
        out.records.push(self.build_record(RecordKind::Leaf, spool_record::pack(&header, lines.as_bytes())));
    }

    fn number_fragment(
        &self,
        scope: &FragmentScope,
        fragment: SealedFragment,
        placed: &FragmentPlacement,
        len: u64,
        out: &mut TicketResult,
    ) {
        let names = self.writer.names();
        let key = fragment.key.id().to_owned();
        if let Some(key_object) = fragment.key.take_object() {
            let header = KeyHeader { name: names.key(scope, &key), key: key.clone(), epoch: names.epoch().to_string() };
            out.records.push(self.build_record(RecordKind::Key, spool_record::pack(&header, &key_object)));
        }
        if let Some(slot) = fragment.uri_slot {
            out.slots.push((slot, format!("{}{}", self.uri, placed.object)));
        }
        if let Some(slot) = fragment.range_slot {
            out.slots.push((slot, range_text(placed.offset, len)));
        }
        out.slots.extend(fragment.known_slots);
        let header = FragmentHeader {
            object: placed.object.clone(),
            epoch: names.epoch().to_string(),
            key,
            fragment: fragment.id,
            offset: placed.offset,
            last: placed.last,
        };
        out.records.push(self.build_record(RecordKind::Fragment, fragment.frame.finish(&header)));
    }

    /// See [`pipeline::Ticketer`].
    pub fn ticket(&mut self, draft: Box<dyn Any + Send>) -> TicketResult {
        let mut out = TicketResult::default();
        if let Ok(draft) = draft.downcast::<VaultDraft>() {
            let VaultDraft { account, groups } = *draft;
            for group in groups {
                self.number_group(&account, group, &mut out);
            }
        }
        out
    }
}

/// `bytes=first-last`, zero-padded; still a valid HTTP range.
fn range_text(offset: u64, len: u64) -> String {
    format!("bytes={offset:010}-{:010}", (offset + len).saturating_sub(1))
}

/// A leaf as `writer/epoch/leaf`.
pub fn leaf_text(names: &ObjectNames, leaf: u64) -> String {
    format!("{}/{}/{leaf:0width$}", names.writer(), names.epoch(), width = widths::LEAF_DIGITS)
}
