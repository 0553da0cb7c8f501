//! [`PackedTokens`] and [`PackedAttoUsd`]: compact forms of a call's token counts and cost. Each count is capped at
//! `2^42 - 1`; cost is exact.

use genai::CallTokenBuckets;

use serde::{Deserialize, Serialize};

/// Bits of a count in its own element, and in the shared number.
const LOW_BITS: u32 = 32;
const HIGH_BITS: u32 = 10;

/// Token counts of one call, in the order of [`Self::counts`]: the low bits of each count in an element of `low`, the
/// rarely used high bits of all in `high`, as bytes because of their alignment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 6]", into = "[u64; 6]")]
pub(super) struct PackedTokens {
    low: [u32; 6],
    high: [u8; 8],
}

impl PackedTokens {
    pub(super) fn from_buckets(buckets: &CallTokenBuckets) -> Self {
        let CallTokenBuckets { cache_write_1h, output, input, cache_read, cache_write_5m, reasoning } = *buckets;
        Self::from([cache_write_1h, output, input, cache_read, cache_write_5m, reasoning])
    }

    /// The counts, ordered so that comparing them ranks the more informative record higher: one that reports cache
    /// writes by lifetime, or whose output grew as a stream's does.
    pub(super) fn counts(self) -> [u64; 6] {
        let (high, mut shift) = (u64::from_le_bytes(self.high), HIGH_BITS * 6);
        self.low.map(|low| {
            shift -= HIGH_BITS;
            u64::from(low) | (((high >> shift) & ((1 << HIGH_BITS) - 1)) << LOW_BITS)
        })
    }

    pub(super) fn to_buckets(self) -> CallTokenBuckets {
        let [cache_write_1h, output, input, cache_read, cache_write_5m, reasoning] = self.counts();
        CallTokenBuckets { cache_write_1h, output, input, cache_read, cache_write_5m, reasoning }
    }
}

impl From<PackedTokens> for [u64; 6] {
    fn from(packed: PackedTokens) -> Self {
        packed.counts()
    }
}

impl From<[u64; 6]> for PackedTokens {
    fn from(counts: [u64; 6]) -> Self {
        let counts = counts.map(|count| count.min((1 << (LOW_BITS + HIGH_BITS)) - 1));
        let high: u64 = counts.iter().fold(0, |high, count| (high << HIGH_BITS) | (count >> LOW_BITS));
        Self { low: counts.map(|count| count as u32), high: high.to_le_bytes() }
    }
}

/// An amount in 1e-18 USD as bytes, because the alignment of an `i128` would enlarge all types that contain it.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(from = "i128", into = "i128")]
pub(super) struct PackedAttoUsd([u8; 16]);

impl PackedAttoUsd {
    pub(super) fn amount(self) -> i128 {
        i128::from_le_bytes(self.0)
    }
}

impl From<PackedAttoUsd> for i128 {
    fn from(packed: PackedAttoUsd) -> Self {
        packed.amount()
    }
}

impl From<i128> for PackedAttoUsd {
    fn from(amount: i128) -> Self {
        Self(amount.to_le_bytes())
    }
}
