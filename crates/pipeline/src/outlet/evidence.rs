//! [`RefusalEvidence`]: what is known about a back end that refuses parts of a parcel; chooses the next piece to send.
//! Each refused item should be isolated, but only within a bound of requests and time. Sending is in `deliver`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

/// If this many single items from all over a parcel were refused and nothing was accepted, the back end refuses
/// everything, and the remaining pieces are no longer split. As long as anything is accepted, refused pieces are split
/// down to the item.
const REFUSED_ITEMS_LIMIT: usize = 16;
/// The same with `ordered`, where all these items are from the beginning of the parcel and say less about its end.
const REFUSED_ITEMS_LIMIT_ORDERED: usize = 128;
/// After this many refused requests of a parcel, or this much time in its requests since the first of them (but see
/// [`ALWAYS_ALLOWED_REFUSALS`]), no piece is split any more, so that one parcel of many tiny items can't block the
/// exporter for hours. At most as many requests again are accepted meanwhile.
const MAX_REFUSALS: usize = 1_000;
const MAX_SEARCH_TIME: Duration = Duration::from_secs(60);
/// This many refused requests are always allowed, however slow the answers: enough to isolate a few items, or one among
/// thousands.
const ALWAYS_ALLOWED_REFUSALS: usize = 64;

/// The part of a parcel that is sent in one request.
pub(super) struct RequestPiece {
    pub(super) body: Bytes,
    pub(super) items: u64,
}

impl RequestPiece {
    /// A piece without data.
    pub(super) fn empty() -> Self {
        Self { body: Bytes::new(), items: 0 }
    }
}

/// What is known about a back end that refuses a parcel's pieces.
#[derive(Default)]
pub(super) struct RefusalEvidence {
    /// Items are sent in order.
    ordered: bool,
    /// The back end accepted a part of this parcel.
    pub(super) any_accepted: bool,
    /// Number of single items refused.
    refused_items: usize,
    /// The last piece was a refused single item.
    skip_ahead: bool,
    /// Number of refused requests.
    refused_requests: usize,
    /// Time in requests with a result, from the first refused one on; pauses and outages do not count.
    spent: Duration,
}

impl RefusalEvidence {
    /// No evidence yet. `ordered`: items are sent in order.
    pub(super) fn new(ordered: bool) -> Self {
        Self { ordered, ..Self::default() }
    }

    /// The next piece: the last one, so that halves of halves come first. While nothing was accepted, each refused item
    /// is followed by one of the largest pieces, so that the next refused item is from elsewhere.
    pub(super) fn next(&mut self, pieces: &mut VecDeque<RequestPiece>) -> Option<RequestPiece> {
        let elsewhere = std::mem::take(&mut self.skip_ahead) && !self.any_accepted && !self.ordered;
        if elsewhere { pieces.pop_front() } else { pieces.pop_back() }
    }

    /// Whether items are sent in order.
    pub(super) fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// Forgets the evidence before a later attempt. If nothing was accepted, one more refused item is enough to
    /// conclude the same again.
    pub(super) fn reset(&mut self) {
        let refused = if self.any_accepted { 0 } else { self.refused_limit() - 1 };
        *self = Self { refused_items: refused, ..Self::new(self.ordered) };
    }

    fn refused_limit(&self) -> usize {
        if self.ordered { REFUSED_ITEMS_LIMIT_ORDERED } else { REFUSED_ITEMS_LIMIT }
    }

    /// Whether a refused piece should be split.
    pub(super) fn should_split(&self) -> bool {
        let goes_on = match self.refused_requests {
            ..ALWAYS_ALLOWED_REFUSALS => true,
            ALWAYS_ALLOWED_REFUSALS..MAX_REFUSALS => self.spent < MAX_SEARCH_TIME,
            _ => false,
        };
        (self.any_accepted || self.refused_items < self.refused_limit()) && goes_on
    }

    /// A request was accepted or refused after this time.
    pub(super) fn record_result(&mut self, taken: bool, took: Duration) {
        self.refused_requests += usize::from(!taken);
        self.any_accepted |= taken;
        if self.refused_requests > 0 {
            self.spent = self.spent.saturating_add(took);
        }
    }

    /// A refused piece can't be split. `asked`: the back end refused it, not our own limit.
    pub(super) fn record_single_item(&mut self, asked: bool) {
        self.refused_items += usize::from(asked);
        self.skip_ahead = asked;
    }
}
