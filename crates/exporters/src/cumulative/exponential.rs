//! Addition of exponential histograms. If two histograms have different bucket widths, the result has the wider ones.
//! Each side of zero holds at most [`MOST`] buckets: buckets are widened until they fit, and no count is lost. A point
//! with an implausible scale or number of buckets is rejected. `stream` decides which points are added.

use ::otlp::r#gen::opentelemetry::proto::metrics::v1 as otlp;
use otlp::ExponentialHistogramDataPoint;
use otlp::exponential_histogram_data_point::Buckets as Side;

use super::stream::{both, plus};

/// Maximum number of buckets on one side of zero; SDKs use the same limit.
const MOST: i64 = 160;
/// Points with more buckets or other scales are rejected as invalid.
const MOST_IN: usize = 100_000;
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;

/// The values of an exponential histogram, without attributes and times.
#[derive(Clone)]
pub(super) struct Buckets {
    scale: i32,
    zeros: u64,
    zero_threshold: f64,
    positive: Counts,
    negative: Counts,
    count: u64,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

/// Bucket counts, starting at bucket index `first`.
#[derive(Clone, Default)]
struct Counts {
    first: i64,
    each: Vec<u64>,
}

impl Buckets {
    /// Reads a data point; `None` if the point is not a valid histogram.
    pub(super) fn of(point: &ExponentialHistogramDataPoint) -> Option<Self> {
        let sane = SCALES.contains(&point.scale)
            && point.sum.is_none_or(f64::is_finite)
            && point.zero_threshold.is_finite()
            && point.zero_threshold >= 0.0;
        let made = Self {
            scale: point.scale,
            zeros: point.zero_count,
            zero_threshold: point.zero_threshold,
            positive: Counts::of(point.positive.as_ref())?,
            negative: Counts::of(point.negative.as_ref())?,
            count: point.count,
            sum: point.sum,
            min: point.min,
            max: point.max,
        };
        sane.then_some(made)?.fitted()
    }

    /// Writes the values into `point`.
    pub(super) fn write(&self, point: &mut ExponentialHistogramDataPoint) {
        (point.scale, point.zero_count, point.zero_threshold) = (self.scale, self.zeros, self.zero_threshold);
        (point.count, point.sum, point.min, point.max) = (self.count, self.sum, self.min, self.max);
        (point.positive, point.negative) = (Some(self.positive.side()), Some(self.negative.side()));
    }

    /// The sum of both histograms; `None` if a count overflows.
    pub(super) fn plus(&self, more: &Self) -> Option<Self> {
        let threshold = self.zero_threshold.max(more.zero_threshold);
        let (mut one, mut two) = (self.clone(), more.clone());
        one.swallow(threshold)?;
        two.swallow(threshold)?;
        let mut scale = one.scale.min(two.scale);
        (one, two) = (one.at(scale)?, two.at(scale)?);
        // The scale is lowered before the buckets are merged: two histograms far apart would need too much memory.
        while one.positive.span_with(&two.positive).max(one.negative.span_with(&two.negative)) > MOST {
            scale = scale.checked_sub(1)?;
            (one, two) = (one.at(scale)?, two.at(scale)?);
        }
        Self {
            scale,
            zeros: one.zeros.checked_add(two.zeros)?,
            zero_threshold: threshold,
            positive: one.positive.plus(&two.positive)?,
            negative: one.negative.plus(&two.negative)?,
            count: one.count.checked_add(two.count)?,
            sum: plus(one.sum, two.sum)?,
            min: both(one.min, two.min, f64::min),
            max: both(one.max, two.max, f64::max),
        }
        .fitted()
    }

    /// The same histogram with the wider buckets of `scale`; `None` if `scale` is finer than the current one.
    fn at(&self, scale: i32) -> Option<Self> {
        let by = u32::try_from(self.scale.checked_sub(scale)?).ok()?;
        let (positive, negative) = (self.positive.wider(by)?, self.negative.wider(by)?);
        Some(Self { scale, positive, negative, ..self.clone() })
    }

    /// Widens the buckets until each side of zero has at most [`MOST`].
    fn fitted(self) -> Option<Self> {
        let mut fits = self;
        while fits.positive.span().max(fits.negative.span()) > MOST {
            fits = fits.at(fits.scale.checked_sub(1)?)?;
        }
        Some(fits)
    }

    /// Raises the zero threshold and moves the counts of buckets below it to the zero count.
    fn swallow(&mut self, threshold: f64) -> Option<()> {
        if threshold > self.zero_threshold {
            self.zero_threshold = threshold;
            // Bucket i ends at base^(i + 1), base = 2^(2^-scale).
            let width = 2_f64.powi(-self.scale);
            let below = |first: i64, at: usize| ((first + at as i64 + 1) as f64 * width).exp2() <= threshold;
            for side in [&mut self.positive, &mut self.negative] {
                let first = side.first;
                for (_, count) in side.each.iter_mut().enumerate().filter(|(at, _)| below(first, *at)) {
                    self.zeros = self.zeros.checked_add(std::mem::take(count))?;
                }
            }
        }
        Some(())
    }
}

impl Counts {
    fn of(side: Option<&Side>) -> Option<Self> {
        let Some(side) = side else { return Some(Self::default()) };
        let each = side.bucket_counts.clone();
        (each.len() <= MOST_IN).then_some(Self { first: side.offset.into(), each }).map(Self::trimmed)
    }

    fn side(&self) -> Side {
        Side { offset: i32::try_from(self.first).unwrap_or(0), bucket_counts: self.each.clone() }
    }

    /// Removes empty buckets at both ends.
    fn trimmed(mut self) -> Self {
        let used = |count: &u64| *count > 0;
        self.each.truncate(self.each.iter().rposition(used).map_or(0, |last| last + 1));
        let empty = self.each.iter().position(used).unwrap_or(0);
        self.each.drain(..empty);
        self.first = if self.each.is_empty() { 0 } else { self.first + empty as i64 };
        self
    }

    fn span(&self) -> i64 {
        self.each.len() as i64
    }

    /// The number of buckets that the union of both ranges has.
    fn span_with(&self, other: &Self) -> i64 {
        if self.each.is_empty() || other.each.is_empty() {
            return self.span().max(other.span());
        }
        let end = |side: &Self| side.first.saturating_add(side.span());
        end(self).max(end(other)).saturating_sub(self.first.min(other.first))
    }

    /// Merges each group of `2^by` buckets into one.
    fn wider(&self, by: u32) -> Option<Self> {
        let narrow =
            |at: usize| (self.first + at as i64).checked_shr(by).unwrap_or(if self.first < 0 { -1 } else { 0 });
        self.each.iter().enumerate().try_fold(Self::default(), |wide, (at, count)| wide.with(narrow(at), *count))
    }

    fn plus(&self, more: &Self) -> Option<Self> {
        more.each.iter().enumerate().try_fold(self.clone(), |sum, (at, count)| sum.with(more.first + at as i64, *count))
    }

    /// Adds `count` to bucket `index`.
    fn with(mut self, index: i64, count: u64) -> Option<Self> {
        if count == 0 {
            return Some(self);
        }
        if self.each.is_empty() {
            self.first = index;
        }
        let missing = usize::try_from(self.first.saturating_sub(index)).unwrap_or(0);
        if missing > 0 {
            drop(self.each.splice(..0, std::iter::repeat_n(0, missing)));
            self.first = index;
        }
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        if at >= self.each.len() {
            self.each.resize(at + 1, 0);
        }
        let slot = self.each.get_mut(at)?;
        *slot = slot.checked_add(count)?;
        Some(self)
    }
}
