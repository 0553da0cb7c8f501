//! **What**: judges when the digests of an epoch were made. **Why**: a digest a minute is what proves when something
//! was written; where none is, or the writer's clock went back, nothing does. **Invariants**: remarks, never failures:
//! a store that was away makes the same hole; what the writer says itself (the last digest of a process that is gone)
//! is not told again; how often a writer makes digests, its own digests tell. **Not here**: that times of digests fit
//! together (`epoch`), chains that ended (`links`).

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use kernel::clock::UnixNanos;
use vault::chain::digest::Digest;

/// An RFC 3339 time.
pub(super) fn moment(text: &str) -> Option<UnixNanos> {
    let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    u64::try_from(nanos).ok().map(UnixNanos)
}

/// The least hole that is told, seconds: a gateway makes a digest a minute, unless it is told otherwise.
const LEAST: u64 = 600;
/// A hole is so many times what is usual between two digests of the epoch.
const TIMES: u64 = 5;
/// Spans that tell what is usual.
const ENOUGH: usize = 3;
/// Digests of one moment, one after the other, that a clock which goes on does not make.
const STILL: u64 = 2;

/// Times of the digests of one epoch.
#[derive(Default)]
pub(super) struct Times {
    /// Seconds between two digests.
    spans: Vec<u64>,
    /// From, until: those that are longer than any rule's least.
    pub(super) long: Vec<(u64, String, String)>,
    /// Where the clock stood still: the moment, digests.
    pub(super) still: Vec<(String, u64)>,
    /// Digests of the same moment up to now.
    run: u64,
}

impl Times {
    /// Takes a digest that is sound.
    pub(super) fn take(&mut self, digest: &Digest) {
        // the first begins where another epoch ended; one of a later process says that its own had stopped
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

    /// What is more than usual, seconds; `None`: there are too few to tell, as of erasers, who write when they erase.
    pub(super) fn most(&mut self) -> Option<u64> {
        let middle = self.spans.len().saturating_sub(1) / 2;
        let enough = self.spans.len() >= ENOUGH;
        enough.then(|| LEAST.max(self.spans.select_nth_unstable(middle).1.saturating_mul(TIMES)))
    }
}
