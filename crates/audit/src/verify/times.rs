//! **What**: judges when the digests of an epoch were made. **Why**: a digest a minute is what proves when something was written;
//! where none is, or the writer's clock went back, nothing does. **Invariants**: remarks, never failures: a store that was away
//! makes the same hole; what the writer says itself (the last digest of a process that is gone) is not told again; how often a
//! writer makes digests, its own digests tell. **Not here**: that times of digests fit together (`epoch`), chains that ended (`links`).

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use vault::chain::digest::Digest;

use super::Walk;
use super::walk::{Line, folder};

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
    long: Vec<(u64, String, String)>,
    /// Where the clock stood still: the moment, digests.
    still: Vec<(String, u64)>,
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
    fn most(&mut self) -> Option<u64> {
        let middle = self.spans.len().saturating_sub(1) / 2;
        let enough = self.spans.len() >= ENOUGH;
        enough.then(|| LEAST.max(self.spans.select_nth_unstable(middle).1.saturating_mul(TIMES)))
    }
}

impl Walk<'_> {
    /// Tells holes between the digests of an epoch, and clocks that went back.
    pub(super) fn times(&mut self, line: &Line, epoch: &str, mut times: Times) {
        let most = times.most();
        let at = folder(line, epoch);
        let long = times.long.into_iter().filter(|(span, ..)| most.is_some_and(|most| *span > most));
        for (_, from, to) in long {
            let what = format!(
                "no digest between {from} and {to}: nothing proves when in it was written what the next one names; \
                 the writer could not reach its store, did not run, or made none"
            );
            self.report.warn("no_digest", &at, what);
        }
        for (moment, digests) in times.still {
            let what = format!(
                "{digests} digests one after the other are dated {moment}, as the one they follow: the writer's clock was set back, \
                 and nothing proves when they were made until it had caught up"
            );
            self.report.warn("clock", &at, what);
        }
    }
}
