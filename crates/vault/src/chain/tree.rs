//! RFC 6962 hashing: [`Frontier`] (an append-only tree without its leaves), of which the gateway keeps at most 64
//! hashes. Hashing follows section 2.1 of the RFC. Neighbour: `note` signs roots.

use kernel::sha256::Sha256;
use serde::{Deserialize, Serialize};

pub type NodeHash = [u8; 32];

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
    kernel::hex::decode(text)?.try_into().ok()
}
