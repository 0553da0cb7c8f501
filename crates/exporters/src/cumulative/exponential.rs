//! Addition of exponential histograms. If two histograms have different bucket widths, the result has the wider ones.
//! Each side of zero holds at most [`MOST`] buckets: buckets are widened until they fit, and no count is lost. A point
//! with an implausible scale or number of buckets is rejected. `series` decides which points are added.

use ::otlp::r#gen::opentelemetry::proto::metrics::v1 as otlp;
use otlp::ExponentialHistogramDataPoint;
use otlp::exponential_histogram_data_point::Buckets as Side;

use super::series::{add_finite, combine_if_both};

/// Maximum number of buckets on one side of zero; SDKs use the same limit.
const MAX_BUCKETS: i64 = 160;
/// Points with more buckets or other scales are rejected as invalid.
const MAX_INPUT_BUCKETS: usize = 100_000;
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

/// Bucket counts, starting at bucket index `first`.
#[derive(Clone, Default)]
struct BucketCounts {
    first: i64,
    counts: Vec<u64>,
}

impl ExponentialBuckets {
    /// Reads a data point; `None` if the point is not a valid histogram.
    pub(super) fn from_point(point: &ExponentialHistogramDataPoint) -> Option<Self> {
        let sane = VALID_SCALES.contains(&point.scale)
            && point.sum.is_none_or(f64::is_finite)
            && point.zero_threshold.is_finite()
            && point.zero_threshold >= 0.0;
        let made = Self {
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
        sane.then_some(made)?.fit_buckets()
    }

    /// Writes the values into `point`.
    pub(super) fn write(&self, point: &mut ExponentialHistogramDataPoint) {
        (point.scale, point.zero_count, point.zero_threshold) = (self.scale, self.zeros, self.zero_threshold);
        (point.count, point.sum, point.min, point.max) = (self.count, self.sum, self.min, self.max);
        (point.positive, point.negative) = (Some(self.positive.to_side()), Some(self.negative.to_side()));
    }

    /// The sum of both histograms; `None` if a count overflows.
    pub(super) fn plus(&self, more: &Self) -> Option<Self> {
        let threshold = self.zero_threshold.max(more.zero_threshold);
        let (mut one, mut two) = (self.clone(), more.clone());
        one.raise_zero_threshold(threshold)?;
        two.raise_zero_threshold(threshold)?;
        let mut scale = one.scale.min(two.scale);
        (one, two) = (one.rescale(scale)?, two.rescale(scale)?);
        // The scale is lowered before the buckets are merged: two histograms far apart would need too much memory.
        while one.positive.union_bucket_count(&two.positive).max(one.negative.union_bucket_count(&two.negative))
            > MAX_BUCKETS
        {
            scale = scale.checked_sub(1)?;
            (one, two) = (one.rescale(scale)?, two.rescale(scale)?);
        }
        Self {
            scale,
            zeros: one.zeros.checked_add(two.zeros)?,
            zero_threshold: threshold,
            positive: one.positive.plus(&two.positive)?,
            negative: one.negative.plus(&two.negative)?,
            count: one.count.checked_add(two.count)?,
            sum: add_finite(one.sum, two.sum)?,
            min: combine_if_both(one.min, two.min, f64::min),
            max: combine_if_both(one.max, two.max, f64::max),
        }
        .fit_buckets()
    }

    /// The same histogram with the wider buckets of `scale`; `None` if `scale` is finer than the current one.
    fn rescale(&self, scale: i32) -> Option<Self> {
        let by = u32::try_from(self.scale.checked_sub(scale)?).ok()?;
        let (positive, negative) = (self.positive.widen(by)?, self.negative.widen(by)?);
        Some(Self { scale, positive, negative, ..self.clone() })
    }

    /// Widens the buckets until each side of zero has at most [`MOST`].
    fn fit_buckets(self) -> Option<Self> {
        let mut fits = self;
        while fits.positive.bucket_count().max(fits.negative.bucket_count()) > MAX_BUCKETS {
            fits = fits.rescale(fits.scale.checked_sub(1)?)?;
        }
        Some(fits)
    }

    /// Raises the zero threshold and moves the counts of buckets below it to the zero count.
    fn raise_zero_threshold(&mut self, threshold: f64) -> Option<()> {
        if threshold > self.zero_threshold {
            self.zero_threshold = threshold;
            // Bucket i ends at base^(i + 1), base = 2^(2^-scale).
            let width = 2_f64.powi(-self.scale);
            let below = |first: i64, at: usize| ((first + at as i64 + 1) as f64 * width).exp2() <= threshold;
            for side in [&mut self.positive, &mut self.negative] {
                let first = side.first;
                for (_, count) in side.counts.iter_mut().enumerate().filter(|(at, _)| below(first, *at)) {
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
        let each = side.bucket_counts.clone();
        (each.len() <= MAX_INPUT_BUCKETS)
            .then_some(Self { first: side.offset.into(), counts: each })
            .map(Self::trim_empty)
    }

    fn to_side(&self) -> Side {
        Side { offset: i32::try_from(self.first).unwrap_or(0), bucket_counts: self.counts.clone() }
    }

    /// Removes empty buckets at both ends.
    fn trim_empty(mut self) -> Self {
        let used = |count: &u64| *count > 0;
        self.counts.truncate(self.counts.iter().rposition(used).map_or(0, |last| last + 1));
        let empty = self.counts.iter().position(used).unwrap_or(0);
        self.counts.drain(..empty);
        self.first = if self.counts.is_empty() { 0 } else { self.first + empty as i64 };
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
        let end = |side: &Self| side.first.saturating_add(side.bucket_count());
        end(self).max(end(other)).saturating_sub(self.first.min(other.first))
    }

    /// Merges each group of `2^by` buckets into one.
    fn widen(&self, by: u32) -> Option<Self> {
        let narrow =
            |at: usize| (self.first + at as i64).checked_shr(by).unwrap_or(if self.first < 0 { -1 } else { 0 });
        self.counts.iter().enumerate().try_fold(Self::default(), |wide, (at, count)| wide.add_count(narrow(at), *count))
    }

    fn plus(&self, more: &Self) -> Option<Self> {
        more.counts
            .iter()
            .enumerate()
            .try_fold(self.clone(), |sum, (at, count)| sum.add_count(more.first + at as i64, *count))
    }

    /// Adds `count` to bucket `index`.
    fn add_count(mut self, index: i64, count: u64) -> Option<Self> {
        if count == 0 {
            return Some(self);
        }
        if self.counts.is_empty() {
            self.first = index;
        }
        let missing = usize::try_from(self.first.saturating_sub(index)).unwrap_or(0);
        if missing > 0 {
            drop(self.counts.splice(..0, std::iter::repeat_n(0, missing)));
            self.first = index;
        }
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        let slot = self.counts.get_mut(at)?;
        *slot = slot.checked_add(count)?;
        Some(self)
    }
}
