//! Judges the times of an epoch's digests. A digest a minute proves when content was written; a gap between digests, or
//! a clock that was set back, leaves this open.
//!
//! Gaps are remarks, never failures, because an outage of the store makes the same gap. Gaps that the writer itself
//! declares (the last digest of a process that is gone) are not reported again. The writer's own digests determine the
//! usual interval. Neighbours: `epoch` (consistency of times), `links` (chains that ended).

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use kernel::clock::UnixNanos;
use vault::chain::digest::Digest;

/// Parses an RFC 3339 time.
pub(super) fn moment(text: &str) -> Option<UnixNanos> {
    let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    u64::try_from(nanos).ok().map(UnixNanos)
}

/// Shortest gap that is reported, seconds: by default a gateway makes a digest a minute.
const LEAST: u64 = 600;
/// A gap must exceed the usual interval by this factor.
const TIMES: u64 = 5;
/// Intervals needed to determine the usual one.
const ENOUGH: usize = 3;
/// Consecutive digests with the same time that a running clock can't produce.
const STILL: u64 = 2;

/// Times of the digests of one epoch.
#[derive(Default)]
pub(super) struct Times {
    /// Seconds between two digests.
    spans: Vec<u64>,
    /// Length, start and end of intervals longer than [`LEAST`].
    pub(super) long: Vec<(u64, String, String)>,
    /// Times at which the clock stood still, with the number of digests.
    pub(super) still: Vec<(String, u64)>,
    /// Consecutive digests with the current time.
    run: u64,
}

impl Times {
    /// Adds a valid digest.
    pub(super) fn take(&mut self, digest: &Digest) {
        // the first digest starts at another epoch's end; a recovered one declares that its own process had stopped
        if digest.n == 0 || digest.recovered {
            self.run = 0;
            return;
        }
        if digest.start == digest.end && !digest.last {
            self.run += 1;
            if self.run >= STILL {
                self.still.pop_if(|(at, _)| *at == digest.end);
                self.still.push((digest.end.clone(), self.run));
            }
            return;
        }
        self.run = 0;
        let seconds = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp);
        let span = seconds(&digest.start).zip(seconds(&digest.end)).and_then(|(start, end)| end.checked_sub(start));
        let Some(span) = span.and_then(|span| u64::try_from(span).ok()) else { return };
        self.spans.push(span);
        if span > LEAST {
            self.long.push((span, digest.start.clone(), digest.end.clone()));
        }
    }

    /// Longest usual interval, seconds; `None` if there are too few intervals, as in erasers' chains, which are written
    /// only for erasures.
    pub(super) fn most(&mut self) -> Option<u64> {
        let middle = self.spans.len().saturating_sub(1) / 2;
        let enough = self.spans.len() >= ENOUGH;
        enough.then(|| LEAST.max(self.spans.select_nth_unstable(middle).1.saturating_mul(TIMES)))
    }
}
