//! **What**: [`Sight`]: what runs saw in one batch, as its effect carries it. **Why**: state is changed by effects alone,
//! so the same ones give the same state, now or after a crash.
//! **Invariants**: holds ids and label-shaped names, never content; index 0 is "none" everywhere.
//! **Not here**: how it is read from a payload (`observe`), what becomes of it (`group`).

use std::collections::HashMap;

use crate::genai::Buckets;

use super::codec::{Code, record};

/// Yes-or-no facts of an item, as bits.
pub(super) mod flag {
    /// It failed.
    pub(crate) const FAILED: u16 = 1;
    /// Whatever it tells of is over.
    pub(crate) const ENDED: u16 = 1 << 1;
    /// It is a span, so its place is its own; of a log record it is where it was written.
    pub(crate) const SPAN: u16 = 1 << 2;
    /// A sub-agent did it.
    pub(crate) const SUB: u16 = 1 << 3;
    /// The tool call was denied: the item's own, or that of the span directly above.
    pub(crate) const DENIED: u16 = 1 << 4;
    /// A model answered, as far as this item knows (not a copy, not a failure without tokens).
    pub(crate) const REAL: u16 = 1 << 5;
    /// The tokens of a whole turn: they count where no call of the run tells its own.
    pub(crate) const TURN: u16 = 1 << 6;
    /// The tool was run or its result told (a decision alone is no call).
    pub(crate) const RAN: u16 = 1 << 7;
    /// The item is the tool call itself, so its name for the tool is the best.
    pub(crate) const NAMED: u16 = 1 << 8;
    /// It says of itself that all went well.
    pub(crate) const OKAY: u16 = 1 << 9;
    /// A model call that is no step of the agent's loop (embeddings, rankings).
    pub(crate) const ASIDE: u16 = 1 << 10;
}

/// What an item marks.
pub(super) mod mark {
    /// Nothing.
    pub(crate) const NONE: u8 = 0;
    /// An agent invocation.
    pub(crate) const AGENT: u8 = 1;
    /// The end of a turn.
    pub(crate) const TURN_END: u8 = 2;
    /// The end of a session.
    pub(crate) const SESSION_END: u8 = 3;
    /// A sub-agent that is known by its id alone.
    pub(crate) const SUB_AGENT: u8 = 4;
}

/// What an id is an id of.
pub(super) mod kind {
    /// A session.
    pub(crate) const SESSION: u8 = 1;
    /// A trace, in hex.
    pub(crate) const TRACE: u8 = 2;
    /// A run that the dialect names, within its session.
    pub(crate) const RUN: u8 = 3;
}

record! {
    /// One batch.
    pub(super) struct Sight {
        account: Box<str>,
        /// When the gateway got it, unix ns.
        received: u64,
        keys: Vec<KeySeen>,
        names: Vec<Box<str>>,
        items: Vec<Seen>,
    }

    /// An id.
    #[derive(Clone, PartialEq, Eq, Hash)]
    pub(super) struct KeySeen {
        kind: u8,
        text: Box<str>,
        /// Of a run: its session.
        within: u32,
    }

    /// One agent item.
    #[derive(Clone)]
    pub(super) struct Seen {
        trace: u32,
        session: u32,
        run: u32,
        /// Place in the trace: see [`place`].
        node: u64,
        parent: u64,
        flags: u16,
        /// Number + 1.
        iteration: u32,
        /// Unix ns; 0 = not told, or absurd.
        start: u64,
        end: u64,
        tenant: u32,
        feature: u32,
        finish: u32,
        /// The model of an agent invocation: that of its calls which tell none.
        model: u32,
        mark: u8,
        /// Digest of the sub-agent's id.
        sub_agent: u64,
        call: Option<SeenCall>,
        tool: Option<SeenTool>,
    }

    /// A model call.
    #[derive(Clone)]
    pub(super) struct SeenCall {
        /// Digest of what identifies it.
        key: u64,
        model: u32,
        /// How good its price is: see [`worth`].
        worth: u8,
        buckets: Buckets,
        /// 1e-18 USD; counts only when priced.
        atto: i128,
    }

    /// A tool call.
    #[derive(Clone)]
    pub(super) struct SeenTool {
        key: u64,
        name: u32,
    }
}

/// Of the records of one call the one with the most worth gives the price.
pub(super) mod worth {
    /// A repeat of a call that was counted before.
    pub(crate) const NOT_COUNTED: u8 = 0;
    /// No cost step saw it.
    pub(crate) const UNKNOWN: u8 = 1;
    /// Billed on its other signal.
    pub(crate) const DEFERRED: u8 = 2;
    /// It has no price.
    pub(crate) const UNPRICED: u8 = 3;
    /// Priced.
    pub(crate) const PRICED: u8 = 4;
}

const VERSION: u8 = 1;

impl Sight {
    /// The effect's body.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.items.len() * 48);
        out.push(VERSION);
        self.put(&mut out);
        out
    }

    /// `None`: damaged, or of another version.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let (&VERSION, mut rest) = body.split_first()? else { return None };
        Self::take(&mut rest).filter(|_| rest.is_empty())
    }

    /// Makes one of what differs in its time alone: a client's start writes dozens of such records.
    pub(super) fn compact(&mut self) {
        let mut plain = HashMap::new();
        let mut kept: Vec<Seen> = Vec::with_capacity(self.items.len());
        for seen in self.items.drain(..) {
            if !seen.is_plain() {
                kept.push(seen);
                continue;
            }
            let who = (seen.tenant, seen.feature, seen.iteration, seen.sub_agent);
            let at = *plain.entry((seen.trace, seen.session, seen.run, seen.node, who)).or_insert(kept.len());
            match kept.get_mut(at) {
                Some(known) => {
                    known.start = earlier(known.start, seen.start);
                    known.end = known.end.max(seen.end);
                }
                None => kept.push(seen),
            }
        }
        self.items = kept;
    }
}

impl Seen {
    /// Tells nothing but who was active, where and when.
    fn is_plain(&self) -> bool {
        self.flags == 0 && self.mark == mark::NONE && self.call.is_none() && self.tool.is_none()
    }
}

/// The earlier of two times, of which 0 is none.
pub(super) fn earlier(a: u64, b: u64) -> u64 {
    if a == 0 || b == 0 { a.max(b) } else { a.min(b) }
}

/// One number for a span of a trace; never 0. Spans of one trace never share one.
pub(super) fn place(trace: [u8; 16], span: [u8; 8]) -> u64 {
    let number = u128::from_be_bytes(trace);
    let seed = scramble(number as u64 ^ scramble((number >> 64) as u64));
    scramble(u64::from_be_bytes(span) ^ seed).max(1)
}

/// A one-to-one mixing of 64 bits (the finaliser of splitmix64).
fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
