//! RFC 6962 hashing: [`Frontier`] (an append-only tree without its leaves), proofs and their checks. The gateway keeps
//! at most 64 hashes; a prover reads the leaves once.
//!
//! Hashing follows section 2.1 of the RFC; checks follow RFC 9162, 2.1.3.2 and 2.1.4.2, and refuse a proof that is
//! longer than necessary. Neighbour: `note` signs roots.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Hash of a tree node.
pub type NodeHash = [u8; 32];

/// The hash of a leaf.
pub fn leaf_hash(line: &[u8]) -> NodeHash {
    Sha256::new().chain_update([0]).chain_update(line).finalize().into()
}

/// The hash of an inner node with these children.
pub fn node_hash(left: &NodeHash, right: &NodeHash) -> NodeHash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree that accepts leaves and computes its root: the roots of its complete subtrees, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    nodes: Vec<NodeHash>,
}

impl Frontier {
    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: NodeHash) {
        let (mut node, mut merge) = (leaf, self.size);
        while merge & 1 == 1 {
            let Some(left) = self.nodes.pop() else { break };
            node = node_hash(&left, &node);
            merge >>= 1;
        }
        self.nodes.push(node);
        self.size += 1;
    }

    /// The root; without leaves, the hash of the empty string.
    pub fn root(&self) -> NodeHash {
        let mut nodes = self.nodes.iter().rev();
        match nodes.next() {
            None => Sha256::digest([]).into(),
            Some(last) => nodes.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// The serialised form, with hexadecimal hashes.
#[derive(Serialize, Deserialize)]
struct SerializedFrontier {
    size: u64,
    nodes: Vec<String>,
}

impl Serialize for Frontier {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nodes = self.nodes.iter().map(|node| kernel::hex::encode(node)).collect();
        SerializedFrontier { size: self.size, nodes }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Frontier {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let SerializedFrontier { size, nodes } = SerializedFrontier::deserialize(deserializer)?;
        let nodes: Option<Vec<NodeHash>> = nodes.iter().map(|node| parse_hash(node)).collect();
        let nodes = nodes.filter(|nodes| nodes.len() == size.count_ones() as usize);
        let nodes = nodes.ok_or_else(|| serde::de::Error::custom("not a frontier"))?;
        Ok(Self { size, nodes })
    }
}

/// Parses 32 bytes from hexadecimal digits.
pub fn parse_hash(text: &str) -> Option<NodeHash> {
    let mut out = NodeHash::default();
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != out.len() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for (to, [high, low]) in out.iter_mut().zip(pairs) {
        *to = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

/// Complete subtrees whose roots form a proof, as ranges of leaves in the proof's order.
pub type ProofRanges = Vec<(u64, u64)>;

/// The audit path of leaf `index` in a tree of `size` leaves; `None` if there is no such leaf.
pub fn inclusion_ranges(index: u64, size: u64) -> Option<ProofRanges> {
    if index >= size {
        return None;
    }
    let (mut low, mut high, mut out) = (0, size, ProofRanges::new());
    while high - low > 1 {
        let middle = low + largest_power_below(high - low);
        if index < middle {
            out.push((middle, high));
            high = middle;
        } else {
            out.push((low, middle));
            low = middle;
        }
    }
    out.reverse();
    Some(out)
}

/// The proof that a tree of `old` leaves is a prefix of one with `new` leaves; `None` if it can't be.
pub fn consistency_ranges(old: u64, new: u64) -> Option<ProofRanges> {
    if old == 0 || old > new {
        return None;
    }
    let (mut low, mut high, mut whole, mut out) = (0, new, true, ProofRanges::new());
    while old != high {
        let middle = low + largest_power_below(high - low);
        if old <= middle {
            out.push((middle, high));
            high = middle;
        } else {
            out.push((low, middle));
            low = middle;
            whole = false;
        }
    }
    if !whole {
        out.push((low, high));
    }
    out.reverse();
    Some(out)
}

/// The largest power of two below `size` (which is at least 2).
fn largest_power_below(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// Builds a proof in one pass over the leaves.
pub struct ProofBuilder {
    ranges: Vec<((u64, u64), Frontier)>,
}

impl ProofBuilder {
    /// A prover for the roots of these ranges.
    pub fn new(ranges: ProofRanges) -> Self {
        Self { ranges: ranges.into_iter().map(|range| (range, Frontier::default())).collect() }
    }

    /// Adds leaf number `index`; each leaf must be passed once, in order.
    pub fn add_leaf(&mut self, index: u64, hash: NodeHash) {
        if let Some((_, tree)) = self.ranges.iter_mut().find(|((first, end), _)| (*first..*end).contains(&index)) {
            tree.push(hash);
        }
    }

    /// The proof, if all its leaves were passed.
    pub fn proof(&self) -> Option<Vec<NodeHash>> {
        self.ranges.iter().map(|((first, end), tree)| (tree.size() == end - first).then(|| tree.root())).collect()
    }
}

/// Whether `leaf` is number `index` of the tree of `size` leaves with this root.
pub fn verify_inclusion(leaf: &NodeHash, index: u64, size: u64, path: &[NodeHash], root: &NodeHash) -> bool {
    if index >= size {
        return false;
    }
    let (mut number, mut last, mut node) = (index, size - 1, *leaf);
    for part in path {
        if last == 0 {
            return false;
        }
        if number & 1 == 1 || number == last {
            node = node_hash(part, &node);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            node = node_hash(&node, part);
        }
        number >>= 1;
        last >>= 1;
    }
    last == 0 && node == *root
}

/// Whether the tree of `old.0` leaves with root `old.1` is a prefix of `new`.
pub fn verify_consistency(old: (u64, &NodeHash), new: (u64, &NodeHash), proof: &[NodeHash]) -> bool {
    let ((old, old_root), (new, new_root)) = (old, new);
    if old > new || old == 0 {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    let mut parts = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { parts.next() };
    let Some(first) = first else { return false };
    let (mut number, mut last) = (old - 1, new - 1);
    while number & 1 == 1 {
        number >>= 1;
        last >>= 1;
    }
    let (mut from, mut to) = (*first, *first);
    for part in parts {
        if last == 0 {
            return false;
        }
        if number & 1 == 1 || number == last {
            (from, to) = (node_hash(part, &from), node_hash(part, &to));
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            to = node_hash(&to, part);
        }
        number >>= 1;
        last >>= 1;
    }
    last == 0 && from == *old_root && to == *new_root
}
