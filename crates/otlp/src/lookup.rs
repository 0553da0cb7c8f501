//! [`AttributeLookup`]: attributes by key, on nodes that have very many. A linear scan is fastest up to some dozens of
//! attributes; with thousands (flattened lists of messages), one scan per attribute would take quadratic time.
//! It contains only nodes with more than [`MAX_SCANNED_ATTRIBUTES`] attributes on the wire ("long" nodes). Entries of
//! edited attributes may be stale, so the key is compared again; no attribute is missing. Hashes have a random key, so
//! a sender cannot cause collisions. For all other nodes, this module scans the chain of attributes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::index::{AttrRec, PayloadIndex, StorageState};

/// Up to this many attributes are scanned. Low in tests, so that random requests have both kinds of node.
pub(super) const MAX_SCANNED_ATTRIBUTES: u32 = if cfg!(test) { 2 } else { 64 };

/// The attributes of all long nodes.
#[derive(Clone, Default)]
pub(super) struct AttributeLookup {
    hasher: RandomState,
    /// Node, hash of the key, attribute: those from the wire, sorted.
    wire: Vec<(u32, u32, u32)>,
    /// The same for added and renamed attributes; the ids are sorted.
    edits: HashMap<(u32, u32), Vec<u32>>,
}

impl AttributeLookup {
    fn hash_key(&self, key: &[u8]) -> u32 {
        self.hasher.hash_one(key) as u32
    }

    /// The attributes of `node` that may have `key`: from the wire, and from edits.
    fn candidates(&self, node: u32, key: &[u8]) -> (&[(u32, u32, u32)], &[u32]) {
        let hash = self.hash_key(key);
        let start = self.wire.partition_point(|entry| (entry.0, entry.1) < (node, hash));
        let end = self.wire.partition_point(|entry| (entry.0, entry.1) <= (node, hash));
        let edits = self.edits.get(&(node, hash)).map(Vec::as_slice).unwrap_or_default();
        (self.wire.get(start..end).unwrap_or_default(), edits)
    }
}

impl PayloadIndex {
    /// Marks long nodes and adds their attributes; called once, after the request was indexed.
    pub(super) fn fill_lookup(&mut self, request: &[u8]) {
        let mut has_long_nodes = false;
        for node in &mut self.nodes {
            node.has_lookup = node.attribute_count > MAX_SCANNED_ATTRIBUTES;
            has_long_nodes |= node.has_lookup;
        }
        if !has_long_nodes {
            return;
        }
        let mut wire = Vec::new();
        for (id, attr) in (0..).zip(&self.attrs).filter(|(_, attr)| self.node(attr.node).has_lookup) {
            wire.push((attr.node, self.lookup.hash_key(self.bytes(request, attr.state, attr.key)), id));
        }
        wire.sort_unstable();
        self.lookup.wire = wire;
    }

    /// Adds an attribute that has a new key.
    pub(super) fn add_to_lookup(&mut self, id: u32, node: u32, key: &[u8]) {
        if self.node(node).has_lookup {
            let hash = self.lookup.hash_key(key);
            let ids = self.lookup.edits.entry((node, hash)).or_default();
            if let Err(at) = ids.binary_search(&id) {
                ids.insert(at, id);
            }
        }
    }

    /// Replaces the record of an edited attribute.
    pub(super) fn put_attr(&mut self, request: &[u8], id: u32, attr: AttrRec) {
        if self.node(attr.node).has_lookup {
            let key_of = |attr: &AttrRec| self.bytes(request, attr.state, attr.key).to_vec();
            let new_key = key_of(&attr);
            if self.attrs.get(id as usize).is_none_or(|old| key_of(old) != new_key) {
                self.add_to_lookup(id, attr.node, &new_key);
            }
        }
        if let Some(stored) = self.attrs.get_mut(id as usize) {
            *stored = attr;
        }
    }

    /// Live attributes of `node` with this key, in order.
    pub(super) fn find(&self, request: &[u8], node: u32, key: &[u8]) -> Vec<u32> {
        let has_key = |id: &u32| self.has_key(request, *id, key);
        if !self.node(node).has_lookup {
            return self.attr_ids(node).filter(has_key).collect();
        }
        let (wire, edits) = self.lookup.candidates(node, key);
        let mut found: Vec<u32> =
            wire.iter().map(|entry| entry.2).chain(edits.iter().copied()).filter(has_key).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The last live attribute of `node` with this key.
    pub(super) fn find_last(&self, request: &[u8], node: u32, key: &[u8]) -> Option<&AttrRec> {
        let has_key = |id: &u32| self.has_key(request, *id, key);
        let last = if self.node(node).has_lookup {
            let (wire, edits) = self.lookup.candidates(node, key);
            let last_wire = wire.iter().rev().map(|entry| entry.2).find(has_key);
            last_wire.max(edits.iter().rev().copied().find(has_key))
        } else {
            self.attr_ids(node).filter(has_key).last()
        };
        self.attrs.get(last? as usize)
    }

    #[inline]
    fn has_key(&self, request: &[u8], id: u32, key: &[u8]) -> bool {
        let Some(attr) = self.attrs.get(id as usize) else { return false };
        // A removed attribute has no bytes; the empty key must not match it.
        attr.key.len() == key.len()
            && attr.state != StorageState::Removed
            && self.bytes(request, attr.state, attr.key) == key
    }
}
