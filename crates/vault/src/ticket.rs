//! **What**: [`VaultDraft`]: what a batch gives to the vault before it has numbers; [`VaultTicketer`] numbers it.
//! **Why**: references in the forwarded spans must be final when the batch is committed.
//! **Invariants**: a ticket copies and formats, nothing more; keys stand before fragments, fragments before leaves;
//! slot texts are exactly as wide as announced ([`widths`]). **Not here**: gathering and sealing (`processors/vault`).

use std::any::Any;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use kernel::clock::UnixNanos;
use otlp::SlotId;
use pipeline::spool::{Record, RecordKind};
use pipeline::{Ticketed, Ticketer};

use super::books::{Pin, Placed, Writer};
use super::keys::SessionKey;
use super::names::{MAX_NUMBER, Names, Scope};
use super::record::{self, FragmentHeader, Frame, KeyHeader, LeafHeader};
use super::row::{Link, TICKET_BYTES, Unnumbered};

/// Widths of the texts that a ticket fills in.
pub mod widths {
    /// `bytes=0000004096-0000009215`.
    pub const RANGE: usize = 27;
    /// Digits of a leaf number.
    pub const LEAF_DIGITS: usize = 12;
}

/// What one batch gives to the vault: one group per tenant and session.
pub struct VaultDraft {
    /// The batch's account.
    pub account: Arc<str>,
    /// Groups in order of their first item.
    pub groups: Vec<Group>,
}

/// One session of a batch.
pub struct Group {
    /// Where it belongs.
    pub scope: Arc<Scope>,
    /// Where its object lies ([`Names::spot`]).
    pub spot: Arc<str>,
    /// Arrival of the batch.
    pub arrived: UnixNanos,
    /// The session ended in this batch.
    pub end: bool,
    /// Its content, sealed; `None` when it has only actions.
    pub fragment: Option<Fragment>,
    /// Its leaves.
    pub rows: Vec<Unnumbered>,
    /// The slot for each leaf's number, if its item was stamped; as many as `rows`.
    pub leaf_slots: Vec<Option<SlotId>>,
}

/// Sealed content.
pub struct Fragment {
    /// Fragment id, hex.
    pub id: String,
    /// The key it is sealed to.
    pub key: Arc<SessionKey>,
    /// A body of the right room ([`Fragment::frame`]) that ends with the age file.
    pub frame: Frame,
    /// Slot of the reference.
    pub uri_slot: Option<SlotId>,
    /// Slot of the byte range.
    pub range_slot: Option<SlotId>,
    /// Texts that were known before the ticket.
    pub known: Vec<(SlotId, String)>,
    /// Of a fragment that refers to one in an open object.
    pub pin: Option<Pin>,
    /// Gets the number of its object, if that takes more.
    pub landed: Arc<OnceLock<u64>>,
}

impl Fragment {
    /// An empty body with room for the header of a fragment at this spot, of this key and id.
    pub fn frame(names: &Names, spot: &str, key: &str, id: &str) -> Frame {
        Frame::with_room(&FragmentHeader {
            object: names.object(spot, MAX_NUMBER),
            epoch: names.epoch().to_string(),
            key: key.to_owned(),
            fragment: id.to_owned(),
            offset: u64::MAX,
            last: false,
        })
    }
}

impl VaultDraft {
    /// Upper bound of the records' bytes, for the reservation.
    pub fn bytes(&self, names: &Names) -> u64 {
        let record = 512 + names.object("", 0).len() + names.prefix().len();
        let group = |group: &Group| {
            let object = group.scope.path().len().max(group.spot.len()) + record;
            let rows: usize = group.rows.iter().map(|row| row.len() + TICKET_BYTES + object).sum();
            let fragment =
                group.fragment.as_ref().map_or(0, |part| part.frame.len() + part.key.object_len() + 2 * object);
            rows + fragment + object
        };
        self.groups.iter().map(group).sum::<usize>() as u64
    }
}

/// Numbers drafts. Several may share one [`Writer`].
pub struct VaultTicketer {
    writer: Arc<Writer>,
    uri: UriBase,
    holders: Arc<[Arc<str>]>,
    /// Of keys and fragments.
    sealed: Arc<[Arc<str>]>,
}

/// Who holds keys and fragments until they are put, where exporters wait for that.
pub fn put_holder(holder: &str) -> Arc<str> {
    format!("{holder}+put").into()
}

/// What stands before an object's name in a reference: `s3://bucket/` or `file:///`.
#[derive(Clone, Debug)]
pub struct UriBase(pub Arc<str>);

impl UriBase {
    /// The reference to an object.
    pub fn uri(&self, name: &str) -> String {
        format!("{}{name}", self.0)
    }
}

impl VaultTicketer {
    /// A ticketer whose records are kept for `holder`, the uploader.
    pub fn new(writer: Arc<Writer>, uri: UriBase, holder: Arc<str>) -> Self {
        let holders: Arc<[Arc<str>]> = Arc::new([holder]);
        Self { writer, uri, sealed: holders.clone(), holders }
    }

    /// The same where exporters wait until keys and fragments are put.
    #[must_use]
    pub fn awaited(self) -> Self {
        let put = self.holders.iter().map(|holder| put_holder(holder));
        Self { sealed: self.holders.iter().cloned().chain(put).collect(), ..self }
    }

    fn record(&self, kind: RecordKind, body: Bytes) -> Record {
        let holders = match kind {
            RecordKind::Key | RecordKind::Fragment => &self.sealed,
            _ => &self.holders,
        };
        Record { kind, holders: holders.clone(), body }
    }

    fn group(&self, account: &Arc<str>, group: Group, out: &mut Ticketed) {
        let Group { scope, spot, arrived, end, fragment, rows, leaf_slots } = group;
        let names = self.writer.names();
        let mut placed: Option<Placed> = None;
        if let Some(mut fragment) = fragment {
            let len = fragment.frame.rest().len() as u64;
            let place = self.writer.place(&spot, len, arrived, end, fragment.pin.take());
            if !place.last {
                let _ = fragment.landed.set(place.n); // it is set here alone
            }
            self.fragment(&scope, fragment, &place, len, out);
            placed = Some(place);
        }
        let first = self.writer.leaves(account, rows.len() as u64);
        let object = placed.as_ref().map(|placed| (placed.object.as_str(), placed.offset));
        let size: usize =
            rows.iter().map(|row| row.len() + TICKET_BYTES + object.map_or(0, |(name, _)| name.len())).sum();
        let mut lines = String::with_capacity(size);
        for (leaf, (row, slot)) in (first..).zip(rows.iter().zip(&leaf_slots)) {
            let of = match row.link {
                None => None,
                Some(Link::Call(number)) => {
                    self.writer.remember(number, leaf);
                    None
                }
                Some(Link::Price(number)) => self.writer.recall(number).map(|leaf| leaf_text(names, leaf)),
            };
            row.write(&mut lines, leaf, object, of.as_deref());
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
            object: placed.map(|placed| placed.object),
            day: scope.date.clone(),
        };
        out.records.push(self.record(RecordKind::Leaf, record::pack(&header, lines.as_bytes())));
    }

    fn fragment(&self, scope: &Scope, fragment: Fragment, placed: &Placed, len: u64, out: &mut Ticketed) {
        let names = self.writer.names();
        let key = fragment.key.id().to_owned();
        if let Some(object) = fragment.key.take_object() {
            let header = KeyHeader { name: names.key(scope, &key), key: key.clone(), epoch: names.epoch().to_string() };
            out.records.push(self.record(RecordKind::Key, record::pack(&header, &object)));
        }
        if let Some(slot) = fragment.uri_slot {
            out.slots.push((slot, self.uri.uri(&placed.object)));
        }
        if let Some(slot) = fragment.range_slot {
            out.slots.push((slot, range_text(placed.offset, len)));
        }
        out.slots.extend(fragment.known);
        let header = FragmentHeader {
            object: placed.object.clone(),
            epoch: names.epoch().to_string(),
            key,
            fragment: fragment.id,
            offset: placed.offset,
            last: placed.last,
        };
        out.records.push(self.record(RecordKind::Fragment, fragment.frame.finish(&header)));
    }
}

impl Ticketer for VaultTicketer {
    fn ticket(&mut self, draft: Box<dyn Any + Send>) -> Ticketed {
        let mut out = Ticketed::default();
        if let Ok(draft) = draft.downcast::<VaultDraft>() {
            let VaultDraft { account, groups } = *draft;
            for group in groups {
                self.group(&account, group, &mut out);
            }
        }
        out
    }
}

/// `bytes=first-last`, zero-padded: still a valid range for HTTP.
fn range_text(offset: u64, len: u64) -> String {
    format!("bytes={offset:010}-{:010}", (offset + len).saturating_sub(1))
}

/// `writer/epoch/leaf`.
pub fn leaf_text(names: &Names, leaf: u64) -> String {
    let mut out = format!("{}/{}/", names.writer(), names.epoch());
    let _ = write!(out, "{leaf:0width$}", width = widths::LEAF_DIGITS); // can't fail
    out
}
