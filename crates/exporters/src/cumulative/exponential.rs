//! Addition of exponential histograms. If two histograms have different bucket widths, the result has the wider ones.
//! Each side of zero holds at most [`MAX_BUCKETS`] buckets: buckets are widened until they fit, and no count is lost.
//! A point with an implausible scale or number of buckets is rejected. `series` decides which points are added.

use ::otlp::r#gen::opentelemetry::proto::metrics::v1 as otlp;
use otlp::ExponentialHistogramDataPoint;
use otlp::exponential_histogram_data_point::Buckets as Side;

use super::series::{add_finite, combine_if_both};

/// Maximum number of buckets on one side of zero; SDKs use the same limit.
const MAX_BUCKETS: i64 = 160;
/// A point with more buckets on one side is rejected as invalid.
const MAX_INPUT_BUCKETS: usize = 100_000;
/// A point with another scale is rejected as invalid. A scale lower by one means buckets twice as wide (logarithmic).
const VALID_SCALES: std::ops::RangeInclusive<i32> = -10..=20;

/// The values of an exponential histogram, without attributes and times.
#[derive(Clone)]
pub(super) struct ExponentialBuckets {
    scale: i32,
    zeros: u64,
    zero_threshold: f64,
    positive: BucketCounts,
    negative: BucketCounts,
    count: u64,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

/// The bucket counts on one side of zero.
#[derive(Clone, Default)]
struct BucketCounts {
    first_index: i64,
    counts: Vec<u64>,
}

impl ExponentialBuckets {
    /// Reads a data point; `None` if the point is not a valid histogram.
    pub(super) fn from_point(point: &ExponentialHistogramDataPoint) -> Option<Self> {
        let is_valid = VALID_SCALES.contains(&point.scale)
            && point.sum.is_none_or(f64::is_finite)
            && point.zero_threshold.is_finite()
            && point.zero_threshold >= 0.0;
        let histogram = Self {
            scale: point.scale,
            zeros: point.zero_count,
            zero_threshold: point.zero_threshold,
            positive: BucketCounts::from_side(point.positive.as_ref())?,
            negative: BucketCounts::from_side(point.negative.as_ref())?,
            count: point.count,
            sum: point.sum,
            min: point.min,
            max: point.max,
        };
        is_valid.then_some(histogram)?.fit_buckets()
    }

    /// Writes the values into `point`.
    pub(super) fn write(&self, point: &mut ExponentialHistogramDataPoint) {
        (point.scale, point.zero_count, point.zero_threshold) = (self.scale, self.zeros, self.zero_threshold);
        (point.count, point.sum, point.min, point.max) = (self.count, self.sum, self.min, self.max);
        (point.positive, point.negative) = (Some(self.positive.to_side()), Some(self.negative.to_side()));
    }

    /// The sum of both histograms; `None` if a count overflows or the sum is not finite.
    pub(super) fn plus(&self, added: &Self) -> Option<Self> {
        let threshold = self.zero_threshold.max(added.zero_threshold);
        let (mut left, mut right) = (self.clone(), added.clone());
        left.raise_zero_threshold(threshold)?;
        right.raise_zero_threshold(threshold)?;
        let mut scale = left.scale.min(right.scale);
        (left, right) = (left.rescale(scale)?, right.rescale(scale)?);
        // The scale is lowered before the buckets are merged: two histograms far apart would need too much memory.
        while left.positive.union_bucket_count(&right.positive).max(left.negative.union_bucket_count(&right.negative))
            > MAX_BUCKETS
        {
            scale = scale.checked_sub(1)?;
            (left, right) = (left.rescale(scale)?, right.rescale(scale)?);
        }
        Self {
            scale,
            zeros: left.zeros.checked_add(right.zeros)?,
            zero_threshold: threshold,
            positive: left.positive.plus(&right.positive)?,
            negative: left.negative.plus(&right.negative)?,
            count: left.count.checked_add(right.count)?,
            sum: add_finite(left.sum, right.sum)?,
            min: combine_if_both(left.min, right.min, f64::min),
            max: combine_if_both(left.max, right.max, f64::max),
        }
        .fit_buckets()
    }

    /// The same histogram with the wider buckets of `scale`; `None` if `scale` is finer than the current one.
    fn rescale(&self, scale: i32) -> Option<Self> {
        let halvings = u32::try_from(self.scale.checked_sub(scale)?).ok()?;
        let (positive, negative) = (self.positive.widen(halvings)?, self.negative.widen(halvings)?);
        Some(Self { scale, positive, negative, ..self.clone() })
    }

    /// Widens the buckets until each side of zero has at most [`MAX_BUCKETS`].
    fn fit_buckets(self) -> Option<Self> {
        let mut histogram = self;
        while histogram.positive.bucket_count().max(histogram.negative.bucket_count()) > MAX_BUCKETS {
            histogram = histogram.rescale(histogram.scale.checked_sub(1)?)?;
        }
        Some(histogram)
    }

    /// Raises the zero threshold and moves the counts of buckets below it to the zero count.
    fn raise_zero_threshold(&mut self, threshold: f64) -> Option<()> {
        if threshold > self.zero_threshold {
            self.zero_threshold = threshold;
            // Bucket i ends at base^(i + 1), base = 2^(2^-scale).
            let width = 2_f64.powi(-self.scale);
            let is_below = |first: i64, at: usize| ((first + at as i64 + 1) as f64 * width).exp2() <= threshold;
            for side in [&mut self.positive, &mut self.negative] {
                let first = side.first_index;
                for (_, count) in side.counts.iter_mut().enumerate().filter(|(at, _)| is_below(first, *at)) {
                    self.zeros = self.zeros.checked_add(std::mem::take(count))?;
                }
            }
        }
        Some(())
    }
}

impl BucketCounts {
    fn from_side(side: Option<&Side>) -> Option<Self> {
        let Some(side) = side else { return Some(Self::default()) };
        let counts = side.bucket_counts.clone();
        (counts.len() <= MAX_INPUT_BUCKETS)
            .then_some(Self { first_index: side.offset.into(), counts })
            .map(Self::trim_empty)
    }

    fn to_side(&self) -> Side {
        Side { offset: i32::try_from(self.first_index).unwrap_or(0), bucket_counts: self.counts.clone() }
    }

    /// Removes empty buckets at both ends.
    fn trim_empty(mut self) -> Self {
        let is_used = |count: &u64| *count > 0;
        self.counts.truncate(self.counts.iter().rposition(is_used).map_or(0, |last| last + 1));
        let empty = self.counts.iter().position(is_used).unwrap_or(0);
        self.counts.drain(..empty);
        self.first_index = if self.counts.is_empty() { 0 } else { self.first_index + empty as i64 };
        self
    }

    fn bucket_count(&self) -> i64 {
        self.counts.len() as i64
    }

    /// The number of buckets that the union of both ranges has.
    fn union_bucket_count(&self, other: &Self) -> i64 {
        if self.counts.is_empty() || other.counts.is_empty() {
            return self.bucket_count().max(other.bucket_count());
        }
        let end_index = |side: &Self| side.first_index.saturating_add(side.bucket_count());
        end_index(self).max(end_index(other)).saturating_sub(self.first_index.min(other.first_index))
    }

    /// Merges each group of `2^halvings` buckets into one.
    fn widen(&self, halvings: u32) -> Option<Self> {
        let wide_index = |at: usize| {
            (self.first_index + at as i64).checked_shr(halvings).unwrap_or(if self.first_index < 0 { -1 } else { 0 })
        };
        self.counts
            .iter()
            .enumerate()
            .try_fold(Self::default(), |wide, (at, count)| wide.add_count(wide_index(at), *count))
    }

    fn plus(&self, added: &Self) -> Option<Self> {
        added
            .counts
            .iter()
            .enumerate()
            .try_fold(self.clone(), |sum, (at, count)| sum.add_count(added.first_index + at as i64, *count))
    }

    /// Adds `count` to bucket `index`.
    fn add_count(mut self, index: i64, count: u64) -> Option<Self> {
        if count == 0 {
            return Some(self);
        }
        if self.counts.is_empty() {
            self.first_index = index;
        }
        let missing = usize::try_from(self.first_index.saturating_sub(index)).unwrap_or(0);
        if missing > 0 {
            drop(self.counts.splice(..0, std::iter::repeat_n(0, missing)));
            self.first_index = index;
        }
        let at = usize::try_from(index.checked_sub(self.first_index)?).ok()?;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        let slot = self.counts.get_mut(at)?;
        *slot = slot.checked_add(count)?;
        Some(self)
    }
}
