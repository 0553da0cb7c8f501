//! **What**: [`Evidence`]: what is known of a back end that refuses parts of a parcel, and which part is asked for
//! next. **Why**: each refused item should be found alone, but not at any price. **Not here**: asking (`deliver`).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

/// So many items of a parcel, from all over it, refused one by one, and nothing taken: the back end refuses everything,
/// and what is left is set aside in the pieces it is in. While anything is taken refused pieces are halved down to the
/// item.
const ALL_REFUSED: usize = 16;
/// The same where items stay in their order: all are from the parcel's beginning, which says less of its end.
const ALL_REFUSED_IN_ORDER: usize = 128;
/// So many refused requests of a parcel, or so much time in its requests since the first of them (but see
/// [`FEW_REFUSALS`]), and no piece is halved any more: one parcel of many tiny items must not keep the exporter from
/// everybody else's for hours. (As many again are taken, at most.)
const MOST_REFUSALS: usize = 1_000;
const LONGEST_SEARCH: Duration = Duration::from_secs(60);
/// So many refused requests are always allowed, however slow the answers: a few items, or one among thousands, are
/// found with them.
const FEW_REFUSALS: usize = 64;

/// A part of a parcel that goes in one request.
pub(super) struct Piece {
    pub(super) body: Bytes,
    pub(super) items: u64,
}

impl Piece {
    /// Of nothing.
    pub(super) fn empty() -> Self {
        Self { body: Bytes::new(), items: 0 }
    }
}

/// What is known of a back end that refuses a parcel's pieces.
#[derive(Default)]
pub(super) struct Evidence {
    /// The order of items is kept.
    ordered: bool,
    /// It took something of this parcel.
    pub(super) taken: bool,
    /// Items that it refused one by one.
    refused: usize,
    /// The last piece was such an item.
    elsewhere: bool,
    /// Requests that it refused.
    refusals: usize,
    /// In requests with a verdict, from the first refused one on; pauses and outages do not count.
    spent: Duration,
}

impl Evidence {
    /// Nothing yet; `ordered`: the order of items is kept.
    pub(super) fn new(ordered: bool) -> Self {
        Self { ordered, ..Self::default() }
    }

    /// The next piece: the last one, so that halves of halves come first; while nothing was taken, after each refused
    /// item one of the largest, so that the next refused item lies elsewhere.
    pub(super) fn next(&mut self, pieces: &mut VecDeque<Piece>) -> Option<Piece> {
        let elsewhere = std::mem::take(&mut self.elsewhere) && !self.taken && !self.ordered;
        if elsewhere { pieces.pop_front() } else { pieces.pop_back() }
    }

    /// Whether the order of items is kept.
    pub(super) fn in_order(&self) -> bool {
        self.ordered
    }

    /// Nothing is known any more: it is asked some time later. Where it took nothing, one more refused item is enough
    /// to say so again.
    pub(super) fn again(&mut self) {
        let refused = if self.taken { 0 } else { self.refuses_all() - 1 };
        *self = Self { refused, ..Self::new(self.ordered) };
    }

    fn refuses_all(&self) -> usize {
        if self.ordered { ALL_REFUSED_IN_ORDER } else { ALL_REFUSED }
    }

    /// Whether a refused piece is worth the requests for its halves.
    pub(super) fn halves(&self) -> bool {
        let goes_on = match self.refusals {
            ..FEW_REFUSALS => true,
            FEW_REFUSALS..MOST_REFUSALS => self.spent < LONGEST_SEARCH,
            _ => false,
        };
        (self.taken || self.refused < self.refuses_all()) && goes_on
    }

    /// A request was taken or refused after this time.
    pub(super) fn asked(&mut self, taken: bool, took: Duration) {
        self.refusals += usize::from(!taken);
        self.taken |= taken;
        if self.refusals > 0 {
            self.spent = self.spent.saturating_add(took);
        }
    }

    /// A piece can't be halved; `asked`: by the back end's word, not our own measure.
    pub(super) fn alone(&mut self, asked: bool) {
        self.refused += usize::from(asked);
        self.elsewhere = asked;
    }
}
