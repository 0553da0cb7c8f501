//! [`CallRecord`]: the facts of one item from which the ledger decides.

use kernel::sha256::Sha256;
use serde::{Deserialize, Serialize};

use super::counts::CallTokenCounts;
use super::money::Money;

/// What is known of a record, as bits of [`CallRecord::traits`].
pub mod traits {
    /// A span; otherwise a log record.
    pub const SPAN: u16 = 1;
    /// Emitted by a vendor's SDK, below or beside an instrumentation's span of the same call.
    pub const VENDOR_SDK: u16 = 1 << 1;
    /// Reports the tokens of all calls below it (an agent's span).
    pub const TOTAL: u16 = 1 << 2;
    /// With [`TOTAL`]: reports the tokens of all calls of its trace (the end of a turn).
    pub const OF_TRACE: u16 = 1 << 3;
    /// Above spans with tokens it is their sum, unless it has more than twice their tokens.
    pub const GUESSED: u16 = 1 << 4;
    /// Above spans with tokens it is their sum.
    pub const LEAF_ONLY: u16 = 1 << 5;
    /// The lifetimes of its cache writes are known.
    pub const CACHE_SPLIT: u16 = 1 << 6;
    /// Waits for the record of the call on the signal that bills: billed itself only if that has no price.
    pub const WAITS: u16 = 1 << 7;
    /// Repeats the span in which it was written.
    pub const OF_SPAN: u16 = 1 << 8;
    /// A call inside this span is a separate call: it is a tool or an agent.
    pub const BOUNDARY: u16 = 1 << 9;
    /// With [`TOTAL`]: it may also have the tokens of earlier traces, so it is billed only if nothing is below it.
    pub const ACCUMULATES: u16 = 1 << 10;
    /// A trusted upstream tollgate decided about it: its price stands, whatever else is known.
    pub const STAMPED: u16 = 1 << 11;
    /// It came through a trusted upstream tollgate, which stamps all that it charges.
    pub const RELAYED: u16 = 1 << 12;
    /// Its item left in an earlier batch, so its stamp can't change any more.
    pub const GONE: u16 = 1 << 13;
    /// The highest 2 bits: how its call is billed; 0 = by the rate table.
    pub const BILLING: u16 = 3 << 14;
}

/// What one span or log record shows of a model call. Ids of an account's records never equal those of another's: the
/// digests include the account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The same for each repeat of the item.
    pub id: [u8; 16],
    /// Zeros: none.
    pub trace: [u8; 16],
    /// Its own span, or the span in which the log record was written. Zeros: none.
    pub span: [u8; 8],
    pub parent: [u8; 8],
    /// Constants of [`traits`].
    pub traits: u16,
    /// Digest of the provider's response id. Zeros: none.
    pub answer: [u8; 16],
    /// Digest of the kind of that id: two ids of one kind that differ are two answers. 0: none.
    pub answer_kind: u32,
    /// Digest of dialect and size, for calls that arrive on two signals without an id. Zeros: none.
    pub twin: [u8; 16],
    pub counts: CallTokenCounts,
    /// Digests of the stems of the response's and the requested model; 0 = none.
    pub models: [u32; 2],
    /// Unix ns.
    pub start: u64,
    pub end: u64,
    /// [`tenant_number`]; 0 = none.
    pub tenant: u64,
    /// Billed tokens: input, output, cache reads, cache writes.
    pub units: [u64; 4],
    /// The price of all its tokens. `None`: it has no price.
    pub price: Option<Money>,
}

/// A span that is no record of a call: it may stand between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanLink {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    pub parent: [u8; 8],
    /// A call inside it is a separate call: it is a tool or an agent.
    pub is_boundary: bool,
}

/// A number for a name, to compare it with others of its kind (FNV-1a). Never 0.
pub fn text_number(text: &str) -> u32 {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1)
}

/// A number for a tenant's name. From SHA-256, because a correction must not reach a tenant whose name was chosen.
pub fn tenant_number(name: &str) -> u64 {
    let digest: [u8; 16] = Sha256::short_list(&[b"tenant", name.as_bytes()]);
    u128::from_le_bytes(digest) as u64 | 1
}

impl CallRecord {
    pub(crate) fn has(&self, traits: u16) -> bool {
        self.traits & traits == traits
    }

    /// This record, with the billing of another one.
    pub(crate) fn billed_as(&self, other: &Self) -> Self {
        let traits = self.traits & !traits::BILLING | other.traits & traits::BILLING;
        Self { traits, ..self.clone() }
    }

    /// A call that reports no tokens.
    pub(crate) fn is_without_tokens(&self) -> bool {
        self.counts.output.is_none() && !self.counts.has_input()
    }

    pub(crate) fn is_in_trace(&self) -> bool {
        self.trace != [0; 16]
    }

    pub(crate) fn has_answer(&self) -> bool {
        self.answer != [0; 16]
    }

    pub(crate) fn has_twin(&self) -> bool {
        self.twin != [0; 16]
    }

    /// The model that answered, else the requested one.
    pub(crate) fn model(&self) -> u32 {
        if self.models[0] == 0 { self.models[1] } else { self.models[0] }
    }

    /// Of two versions of one record, or two records of one call, the one that says more is larger.
    pub(crate) fn rank(&self) -> impl Ord + use<> {
        let is_priced = self.price.is_some();
        (
            is_priced && !self.has(traits::WAITS),
            is_priced,
            self.has(traits::CACHE_SPLIT),
            self.counts.output,
            // one that tells cached tokens apart
            self.units[2].saturating_add(self.units[3]),
            self.units,
        )
    }

    /// Whether the other record has the same answer. In one trace an id stands for one answer if both report the same
    /// input (the output of a stream grows), if one reports none, or if one is the other's span or parent; in two
    /// traces if size and model agree: some emitters number their answers anew. Without a trace the id is trusted.
    pub(crate) fn is_same_answer(&self, other: &Self) -> bool {
        if !self.has_answer() || self.answer != other.answer {
            return false;
        }
        if !self.is_in_trace() || !other.is_in_trace() {
            return true;
        }
        let (one, two) = (&self.counts, &other.counts);
        if self.trace != other.trace {
            return one.output == two.output && one.shares_input(two) && self.model() == other.model();
        }
        let is_at = |span: [u8; 8], at: [u8; 8]| span != [0; 8] && span == at;
        one.shares_input(two)
            || !one.has_input()
            || !two.has_input()
            || is_at(self.span, other.span)
            || is_at(self.parent, other.span)
            || is_at(other.parent, self.span)
    }

    /// Requested model, input and output, by which a vendor's SDK and an instrumentation beside it report one call.
    pub(crate) fn size(&self) -> (u32, Option<u64>, Option<u64>) {
        (self.models[1], self.counts.input[0], self.counts.output)
    }

    /// Whether a vendor SDK's span and an instrumentation's are the same call, which the SDK may trace in a trace of
    /// its own: they have one size and overlap in time, and at most one has an id.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.has(traits::VENDOR_SDK) != other.has(traits::VENDOR_SDK)
            && self.size() == other.size()
            && self.start <= other.end
            && other.start <= self.end
            && !(self.has_answer() && other.has_answer())
    }

    /// Whether this record can be an outer layer of the call that `inner` reports.
    pub(crate) fn wraps(&self, inner: &Self) -> bool {
        self.counts.matches_inner(&inner.counts) && self.may_be_call_of(inner)
    }

    /// Whether models and ids allow both to report one call.
    pub(crate) fn may_be_call_of(&self, other: &Self) -> bool {
        self.has_compatible_model(other) && !self.has_other_answer(other)
    }

    /// Both have an id of the same kind, and the ids differ.
    fn has_other_answer(&self, other: &Self) -> bool {
        self.has_answer() && other.has_answer() && self.answer != other.answer && self.answer_kind == other.answer_kind
    }

    /// One names no model, or they name one in common.
    pub(crate) fn has_compatible_model(&self, other: &Self) -> bool {
        self.model() == 0
            || other.model() == 0
            || self.models.iter().any(|model| *model != 0 && other.models.contains(model))
    }
}
