//! [`RefusalEvidence`]: what is known about a back end that refuses pieces of a parcel (the records merged for one
//! delivery). It decides which piece is sent
//! next, and whether a refused piece is split further: each refused item should be isolated, but with a bounded number
//! of requests and within a bounded time. Sending is in `deliver`.

use std::collections::VecDeque;
use std::time::Duration;

use otlp::MergedRequest;

/// If this many single items from all over a parcel were refused and nothing was accepted, the back end is taken to
/// refuse everything, and the remaining pieces are no longer split. Once anything was accepted, this limit does not
/// apply.
const REFUSED_ITEMS_LIMIT: usize = 16;
/// The same with `ordered`: there all these items are from the beginning of the parcel, and say less about its end.
const REFUSED_ITEMS_LIMIT_ORDERED: usize = 128;
/// After this many refused requests of a parcel, no piece is split any more, so that one parcel of many tiny items
/// can't block the exporter for hours.
const MAX_REFUSALS: usize = 1_000;
/// The same for the time spent in a parcel's requests, from the first refused one on.
const MAX_SEARCH_TIME: Duration = Duration::from_secs(60);
/// Refused requests that are allowed even if [`MAX_SEARCH_TIME`] is over, because the back end may be slow: enough to
/// isolate a few items, or one among thousands.
const ALWAYS_ALLOWED_REFUSALS: usize = 64;

/// The part of a parcel that is sent in one request.
pub(super) struct RequestPiece {
    pub(super) body: MergedRequest,
    pub(super) items: u64,
}

impl RequestPiece {
    /// A piece without data.
    pub(super) fn empty() -> Self {
        Self { body: MergedRequest::default(), items: 0 }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct RefusalEvidence {
    /// Items are sent in order.
    pub(super) ordered: bool,
    /// The back end accepted a part of this parcel.
    pub(super) any_accepted: bool,
    /// Number of single items refused.
    refused_items: usize,
    /// The last piece was a refused single item, so the next one should be from elsewhere in the parcel.
    skip_ahead: bool,
    /// Number of refused requests.
    refused_requests: usize,
    /// Time in requests with a result, from the first refused one on; waits and outages do not count.
    search_time: Duration,
}

impl RefusalEvidence {
    /// No evidence yet. `ordered`: items are sent in order.
    pub(super) fn new(ordered: bool) -> Self {
        Self { ordered, ..Self::default() }
    }

    /// Takes the next piece. `pieces` is in reverse order: its back is the parcel's next piece, so that a half is
    /// followed by its own halves. While nothing was accepted, a refused item is followed by a piece from its end.
    pub(super) fn take_next_piece(&mut self, pieces: &mut VecDeque<RequestPiece>) -> Option<RequestPiece> {
        let skips = std::mem::take(&mut self.skip_ahead) && !self.any_accepted && !self.ordered;
        if skips { pieces.pop_front() } else { pieces.pop_back() }
    }

    /// Forgets the evidence before the parcel is tried again. If nothing was accepted so far, one more refused item is
    /// enough to conclude again that everything is refused.
    pub(super) fn reset(&mut self) {
        let refused_items = if self.any_accepted { 0 } else { self.refused_items_limit() - 1 };
        *self = Self { refused_items, ..Self::new(self.ordered) };
    }

    fn refused_items_limit(&self) -> usize {
        if self.ordered { REFUSED_ITEMS_LIMIT_ORDERED } else { REFUSED_ITEMS_LIMIT }
    }

    /// Whether a refused piece should be split.
    pub(super) fn should_split(&self) -> bool {
        let is_within_bounds = match self.refused_requests {
            ..ALWAYS_ALLOWED_REFUSALS => true,
            ALWAYS_ALLOWED_REFUSALS..MAX_REFUSALS => self.search_time < MAX_SEARCH_TIME,
            _ => false,
        };
        (self.any_accepted || self.refused_items < self.refused_items_limit()) && is_within_bounds
    }

    /// Records that a request was accepted or refused, and how long it took.
    pub(super) fn record_result(&mut self, is_accepted: bool, took: Duration) {
        self.refused_requests += usize::from(!is_accepted);
        self.any_accepted |= is_accepted;
        if self.refused_requests > 0 {
            self.search_time = self.search_time.saturating_add(took);
        }
    }

    /// Records that a refused piece can't be split. `was_sent`: the back end refused it, not the exporter's own limit.
    pub(super) fn record_single_item(&mut self, was_sent: bool) {
        self.refused_items += usize::from(was_sent);
        self.skip_ahead = was_sent;
    }
}
