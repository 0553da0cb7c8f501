//! Judges the times of an epoch's digests, which prove when content was written; a gap between digests, or a clock that
//! was set back, leaves this open. A digest signs the time by which the next one is written (`next_by`), so that a
//! writer without news, which is silent, has no gap.
//!
//! Both are warnings, never failures, because an outage of the store makes the same gap. A gap before a recovered
//! digest is not reported, because the writer declares it. In epochs of older writers, which sign no `next_by`, the
//! writer's own digests determine the usual interval. Neighbours: `epoch` (consistency of times), `epoch_links` (chains
//! that ended).

use vault::chain::digest::ChainDigest;
use vault::object_names::parse_time;

/// Shortest gap that is reported without `next_by`, seconds: older gateways make a digest a minute.
const MIN_REPORTED_GAP: u64 = 600;
/// A gap must exceed the usual interval by this factor.
const GAP_FACTOR: u64 = 5;
/// Intervals needed to determine the usual one.
const MIN_INTERVALS: usize = 3;
/// Consecutive digests with the same time that a running clock can't produce.
const MIN_SAME_TIMES: u64 = 2;

#[derive(Default)]
pub(super) struct DigestTimes {
    /// The time by which the next digest is due, if the last one says so.
    next_due: Option<String>,
    /// Digests that came later than due: start, end, and the time that was due.
    pub(super) gaps: Vec<[String; 3]>,
    /// Seconds between two digests.
    intervals: Vec<u64>,
    /// Intervals longer than [`MIN_REPORTED_GAP`]: seconds, start and end.
    pub(super) long_intervals: Vec<(u64, String, String)>,
    /// Times that several consecutive digests have, each with their number.
    pub(super) clock_stops: Vec<(String, u64)>,
    /// Number of consecutive digests, up to the newest, that start and end at the same time.
    same_time_run: u64,
}

impl DigestTimes {
    pub(super) fn add_digest(&mut self, digest: &ChainDigest) {
        let due = std::mem::replace(&mut self.next_due, digest.counters.next_by.clone());
        // the first digest starts at another epoch's end; a recovered one declares that its own process had stopped
        if digest.n == 0 || digest.recovered {
            self.same_time_run = 0;
            return;
        }
        if digest.start == digest.end && !digest.last {
            self.same_time_run += 1;
            if self.same_time_run >= MIN_SAME_TIMES {
                self.clock_stops.pop_if(|(time, _)| *time == digest.end);
                self.clock_stops.push((digest.end.clone(), self.same_time_run));
            }
            return;
        }
        self.same_time_run = 0;
        if let Some(due) = due {
            if due < digest.end {
                self.gaps.push([digest.start.clone(), digest.end.clone(), due]);
            }
            return;
        }
        let seconds = |text: &str| parse_time(text).map(|time| time.seconds());
        let times = seconds(&digest.start).zip(seconds(&digest.end));
        let Some(seconds) = times.and_then(|(start, end)| end.checked_sub(start)) else { return };
        self.intervals.push(seconds);
        if seconds > MIN_REPORTED_GAP {
            self.long_intervals.push((seconds, digest.start.clone(), digest.end.clone()));
        }
    }

    /// Longest usual interval, seconds; `None` if there are too few intervals, as in erasers' chains, which are written
    /// only for erasures.
    pub(super) fn longest_usual_interval(&mut self) -> Option<u64> {
        let middle = self.intervals.len().saturating_sub(1) / 2;
        let is_enough = self.intervals.len() >= MIN_INTERVALS;
        is_enough.then(|| MIN_REPORTED_GAP.max(self.intervals.select_nth_unstable(middle).1.saturating_mul(GAP_FACTOR)))
    }
}
