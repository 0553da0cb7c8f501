//! RFC 6962 hashing: [`Frontier`] (an append-only tree without its leaves), proofs and their checks. The gateway keeps
//! at most 64 hashes; a prover reads the leaves once.
//!
//! Hashing follows section 2.1 of the RFC; checks follow RFC 9162, 2.1.3.2 and 2.1.4.2, and refuse a proof that is
//! longer than necessary. Neighbour: `note` signs roots.

use kernel::sha256::Sha256;
use serde::{Deserialize, Serialize};

/// Hash of a tree node.
pub type NodeHash = [u8; 32];

/// The hash of a leaf.
pub fn leaf_hash(line: &[u8]) -> NodeHash {
    Sha256::digest_parts([&[0][..], line])
}

/// The hash of an inner node with these children.
pub fn node_hash(left: &NodeHash, right: &NodeHash) -> NodeHash {
    Sha256::digest_parts([&[1][..], left, right])
}

/// A tree that accepts leaves and computes its root. It keeps only the roots of its complete subtrees, largest first.
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
        // Each low bit that is set stands for a complete subtree of the same size as `node`
        let (mut node, mut sizes) = (leaf, self.size);
        while sizes & 1 == 1 {
            let Some(left) = self.nodes.pop() else { break };
            node = node_hash(&left, &node);
            sizes >>= 1;
        }
        self.nodes.push(node);
        self.size += 1;
    }

    /// The root; without leaves, the hash of the empty string.
    pub fn root(&self) -> NodeHash {
        let mut nodes = self.nodes.iter().rev();
        match nodes.next() {
            None => Sha256::digest([]),
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
    let mut hash = NodeHash::default();
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != hash.len() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

/// Complete subtrees whose roots form a proof, as ranges of leaves in the proof's order.
pub type ProofRanges = Vec<(u64, u64)>;

/// The audit path of leaf `index` in a tree of `size` leaves; `None` if there is no such leaf.
pub fn inclusion_ranges(index: u64, size: u64) -> Option<ProofRanges> {
    if index >= size {
        return None;
    }
    let (mut low, mut high, mut ranges) = (0, size, ProofRanges::new());
    while high - low > 1 {
        let middle = low + largest_power_below(high - low);
        if index < middle {
            ranges.push((middle, high));
            high = middle;
        } else {
            ranges.push((low, middle));
            low = middle;
        }
    }
    ranges.reverse();
    Some(ranges)
}

/// The proof that a tree of `old_size` leaves is a prefix of one with `new_size` leaves; `None` if it can't be.
pub fn consistency_ranges(old_size: u64, new_size: u64) -> Option<ProofRanges> {
    if old_size == 0 || old_size > new_size {
        return None;
    }
    // A verifier knows the root of the range `low..high` if it is the whole old tree
    let (mut low, mut high, mut is_whole_old_tree, mut ranges) = (0, new_size, true, ProofRanges::new());
    while old_size != high {
        let middle = low + largest_power_below(high - low);
        if old_size <= middle {
            ranges.push((middle, high));
            high = middle;
        } else {
            ranges.push((low, middle));
            low = middle;
            is_whole_old_tree = false;
        }
    }
    if !is_whole_old_tree {
        ranges.push((low, high));
    }
    ranges.reverse();
    Some(ranges)
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
    let (mut node_index, mut last_index, mut node) = (index, size - 1, *leaf);
    for sibling in path {
        if last_index == 0 {
            return false;
        }
        if node_index & 1 == 1 || node_index == last_index {
            node = node_hash(sibling, &node);
            while node_index & 1 == 0 && node_index != 0 {
                node_index >>= 1;
                last_index >>= 1;
            }
        } else {
            node = node_hash(&node, sibling);
        }
        node_index >>= 1;
        last_index >>= 1;
    }
    last_index == 0 && node == *root
}

/// Whether the tree of `old.0` leaves with root `old.1` is a prefix of `new`.
pub fn verify_consistency(old: (u64, &NodeHash), new: (u64, &NodeHash), proof: &[NodeHash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size > new_size || old_size == 0 {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    let mut siblings = proof.iter();
    let first = if old_size.is_power_of_two() { Some(old_root) } else { siblings.next() };
    let Some(first) = first else { return false };
    let (mut node_index, mut last_index) = (old_size - 1, new_size - 1);
    while node_index & 1 == 1 {
        node_index >>= 1;
        last_index >>= 1;
    }
    let (mut old_node, mut new_node) = (*first, *first);
    for sibling in siblings {
        if last_index == 0 {
            return false;
        }
        if node_index & 1 == 1 || node_index == last_index {
            (old_node, new_node) = (node_hash(sibling, &old_node), node_hash(sibling, &new_node));
            while node_index & 1 == 0 && node_index != 0 {
                node_index >>= 1;
                last_index >>= 1;
            }
        } else {
            new_node = node_hash(&new_node, sibling);
        }
        node_index >>= 1;
        last_index >>= 1;
    }
    last_index == 0 && old_node == *old_root && new_node == *new_root
}
