//! **What**: [`Tokens`] and [`Atto`]: what a call took and cost, small. **Invariants**: a call of more than 4,294,967,295
//! tokens of one kind counts as that many; cost is exact.

use genai::Buckets;

use super::codec::fields;

/// Tokens of one call. The greater of two tells more: first whether cache writes are told apart, then how many there
/// are (a stream's grow).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tokens {
    cache_write_1h: u32,
    output: u32,
    input: u32,
    cache_read: u32,
    cache_write_5m: u32,
    reasoning: u32,
}

fields!(Tokens { cache_write_1h, output, input, cache_read, cache_write_5m, reasoning });

impl Tokens {
    pub(super) fn of(buckets: &Buckets) -> Self {
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            cache_write_1h: small(buckets.cache_write_1h),
            output: small(buckets.output),
            input: small(buckets.input),
            cache_read: small(buckets.cache_read),
            cache_write_5m: small(buckets.cache_write_5m),
            reasoning: small(buckets.reasoning),
        }
    }

    pub(super) fn buckets(self) -> Buckets {
        Buckets {
            input: self.input.into(),
            cache_read: self.cache_read.into(),
            cache_write_5m: self.cache_write_5m.into(),
            cache_write_1h: self.cache_write_1h.into(),
            output: self.output.into(),
            reasoning: self.reasoning.into(),
        }
    }
}

/// An amount in 1e-18 USD, in halves: an `i128` would make all that holds it larger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Atto {
    high: i64,
    low: u64,
}

impl Atto {
    pub(super) fn of(amount: i128) -> Self {
        Self { high: (amount >> 64) as i64, low: amount as u64 }
    }

    pub(super) fn amount(self) -> i128 {
        (i128::from(self.high) << 64) | i128::from(self.low)
    }
}

impl super::codec::Code for Atto {
    fn put(&self, out: &mut Vec<u8>) {
        self.amount().put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        i128::take(from).map(Self::of)
    }
}
