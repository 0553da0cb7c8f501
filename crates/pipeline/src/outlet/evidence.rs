//! [`Evidence`]: what is known about a back end that refuses parts of a parcel; chooses the next piece to send. Each
//! refused item should be isolated, but only within a bound of requests and time. Sending is in `deliver`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

/// If this many single items from all over a parcel were refused and nothing was accepted, the back end refuses
/// everything, and the remaining pieces are no longer split. As long as anything is accepted, refused pieces are split
/// down to the item.
const ALL_REFUSED: usize = 16;
/// The same with `ordered`, where all these items are from the beginning of the parcel and say less about its end.
const ALL_REFUSED_IN_ORDER: usize = 128;
/// After this many refused requests of a parcel, or this much time in its requests since the first of them (but see
/// [`FEW_REFUSALS`]), no piece is split any more, so that one parcel of many tiny items can't block the exporter for
/// hours. At most as many requests again are accepted meanwhile.
const MOST_REFUSALS: usize = 1_000;
const LONGEST_SEARCH: Duration = Duration::from_secs(60);
/// This many refused requests are always allowed, however slow the answers: enough to isolate a few items, or one among
/// thousands.
const FEW_REFUSALS: usize = 64;

/// The part of a parcel that is sent in one request.
pub(super) struct Piece {
    pub(super) body: Bytes,
    pub(super) items: u64,
}

impl Piece {
    /// A piece without data.
    pub(super) fn empty() -> Self {
        Self { body: Bytes::new(), items: 0 }
    }
}

/// What is known about a back end that refuses a parcel's pieces.
#[derive(Default)]
pub(super) struct Evidence {
    /// Items are sent in order.
    ordered: bool,
    /// The back end accepted a part of this parcel.
    pub(super) taken: bool,
    /// Number of single items refused.
    refused: usize,
    /// The last piece was a refused single item.
    elsewhere: bool,
    /// Number of refused requests.
    refusals: usize,
    /// Time in requests with a result, from the first refused one on; pauses and outages do not count.
    spent: Duration,
}

impl Evidence {
    /// No evidence yet. `ordered`: items are sent in order.
    pub(super) fn new(ordered: bool) -> Self {
        Self { ordered, ..Self::default() }
    }

    /// The next piece: the last one, so that halves of halves come first. While nothing was accepted, each refused item
    /// is followed by one of the largest pieces, so that the next refused item is from elsewhere.
    pub(super) fn next(&mut self, pieces: &mut VecDeque<Piece>) -> Option<Piece> {
        let elsewhere = std::mem::take(&mut self.elsewhere) && !self.taken && !self.ordered;
        if elsewhere { pieces.pop_front() } else { pieces.pop_back() }
    }

    /// Whether items are sent in order.
    pub(super) fn in_order(&self) -> bool {
        self.ordered
    }

    /// Forgets the evidence before a later attempt. If nothing was accepted, one more refused item is enough to
    /// conclude the same again.
    pub(super) fn again(&mut self) {
        let refused = if self.taken { 0 } else { self.refuses_all() - 1 };
        *self = Self { refused, ..Self::new(self.ordered) };
    }

    fn refuses_all(&self) -> usize {
        if self.ordered { ALL_REFUSED_IN_ORDER } else { ALL_REFUSED }
    }

    /// Whether a refused piece should be split.
    pub(super) fn halves(&self) -> bool {
        let goes_on = match self.refusals {
            ..FEW_REFUSALS => true,
            FEW_REFUSALS..MOST_REFUSALS => self.spent < LONGEST_SEARCH,
            _ => false,
        };
        (self.taken || self.refused < self.refuses_all()) && goes_on
    }

    /// A request was accepted or refused after this time.
    pub(super) fn asked(&mut self, taken: bool, took: Duration) {
        self.refusals += usize::from(!taken);
        self.taken |= taken;
        if self.refusals > 0 {
            self.spent = self.spent.saturating_add(took);
        }
    }

    /// A refused piece can't be split. `asked`: the back end refused it, not our own limit.
    pub(super) fn alone(&mut self, asked: bool) {
        self.refused += usize::from(asked);
        self.elsewhere = asked;
    }
}
