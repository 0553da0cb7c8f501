//! One series: its total so far, and how a delta point becomes the next total.
//! A point is dropped if it is not newer than the last one or began before the series did. An invalid value leaves the
//! total unchanged. If a point can't be added (different bounds, an overflow), the series starts again from that
//! point. The parent module keeps the series; `exponential` adds exponential histograms.

use ::otlp::r#gen::opentelemetry::proto::metrics::v1 as otlp;
use otlp::number_data_point::Value;
use otlp::{ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint};

use super::exponential::ExponentialBuckets;

/// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`
const NO_VALUE: u32 = 1;

#[derive(Clone)]
pub(super) struct MetricSeries {
    /// When the total was zero, in Unix nanoseconds.
    start: u64,
    /// Time of the last point, in Unix nanoseconds.
    last_time: u64,
    total: SeriesTotal,
}

#[derive(Clone)]
enum SeriesTotal {
    Number(Value),
    Histogram(HistogramDataPoint),
    Exponential(ExponentialBuckets),
}

/// A delta point that will be turned into a cumulative one in place.
pub(super) enum DeltaPoint<'p> {
    /// A point of a sum, and whether the sum is monotonic.
    Number(&'p mut NumberDataPoint, bool),
    /// A point of a histogram with explicit bounds.
    Histogram(&'p mut HistogramDataPoint),
    Exponential(&'p mut ExponentialHistogramDataPoint),
}

/// Why a point is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DropReason {
    /// The point is not newer than the last one (a repeat, or too late), or began before the series.
    Older,
    /// The point has no time or no valid value.
    Invalid,
}

impl MetricSeries {
    /// Adds `point` to the series, and writes the new total into `point`.
    pub(super) fn add_point(before: Option<&Self>, point: DeltaPoint<'_>) -> Result<Self, DropReason> {
        let (start, time, flags) = match &point {
            DeltaPoint::Number(point, _) => (point.start_time_unix_nano, point.time_unix_nano, point.flags),
            DeltaPoint::Histogram(point) => (point.start_time_unix_nano, point.time_unix_nano, point.flags),
            DeltaPoint::Exponential(point) => (point.start_time_unix_nano, point.time_unix_nano, point.flags),
        };
        if flags & NO_VALUE != 0 || time == 0 {
            return Err(DropReason::Invalid);
        }
        if before.is_some_and(|before| time <= before.last_time || (start != 0 && start < before.start)) {
            return Err(DropReason::Older);
        }
        let point_start = if start == 0 { time } else { start };
        let (total, is_continued) = match &point {
            DeltaPoint::Number(point, monotonic) => add_number(before.map(|before| &before.total), point, *monotonic)?,
            DeltaPoint::Histogram(point) => add_histogram(before.map(|before| &before.total), point)?,
            DeltaPoint::Exponential(point) => add_exponential(before.map(|before| &before.total), point)?,
        };
        let start = before.filter(|_| is_continued).map_or(point_start, |before| before.start);
        let after = Self { start, last_time: time, total };
        after.write_total(point);
        Ok(after)
    }

    fn write_total(&self, point: DeltaPoint<'_>) {
        match (point, &self.total) {
            (DeltaPoint::Number(point, _), SeriesTotal::Number(value)) => {
                (point.start_time_unix_nano, point.value) = (self.start, Some(*value));
            }
            (DeltaPoint::Histogram(point), SeriesTotal::Histogram(total)) => {
                point.start_time_unix_nano = self.start;
                (point.count, point.sum, point.min, point.max) = (total.count, total.sum, total.min, total.max);
                point.bucket_counts.clone_from(&total.bucket_counts);
            }
            (DeltaPoint::Exponential(point), SeriesTotal::Exponential(total)) => {
                point.start_time_unix_nano = self.start;
                total.write(point);
            }
            _ => {}
        }
    }
}

/// The total after a point, and whether the series continues (false: it starts again).
type AddResult = Result<(SeriesTotal, bool), DropReason>;

fn add_number(before: Option<&SeriesTotal>, point: &NumberDataPoint, monotonic: bool) -> AddResult {
    let delta = point.value.ok_or(DropReason::Invalid)?;
    let is_invalid = match delta {
        Value::AsInt(value) => monotonic && value < 0,
        Value::AsDouble(value) => !value.is_finite() || (monotonic && value < 0.0),
    };
    if is_invalid {
        return Err(DropReason::Invalid);
    }
    let sum = match (before, delta) {
        (Some(SeriesTotal::Number(Value::AsInt(total))), Value::AsInt(value)) => {
            total.checked_add(value).map(Value::AsInt)
        }
        (Some(SeriesTotal::Number(total)), delta) => {
            Some(Value::AsDouble(to_f64(*total) + to_f64(delta))).filter(|sum| to_f64(*sum).is_finite())
        }
        _ => None,
    };
    Ok((SeriesTotal::Number(sum.unwrap_or(delta)), sum.is_some()))
}

fn to_f64(value: Value) -> f64 {
    match value {
        Value::AsInt(value) => value as f64,
        Value::AsDouble(value) => value,
    }
}

fn add_histogram(before: Option<&SeriesTotal>, point: &HistogramDataPoint) -> AddResult {
    let is_complete = point.bucket_counts.is_empty() || point.bucket_counts.len() == point.explicit_bounds.len() + 1;
    if !is_complete || point.sum.is_some_and(|sum| !sum.is_finite()) {
        return Err(DropReason::Invalid);
    }
    let sum = match before {
        Some(SeriesTotal::Histogram(total)) => merge_histograms(total, point),
        _ => None,
    };
    let is_continued = sum.is_some();
    let mut total = sum.unwrap_or_else(|| point.clone());
    // The stored total needs no attributes and exemplars.
    (total.attributes, total.exemplars) = (Vec::new(), Vec::new());
    Ok((SeriesTotal::Histogram(total), is_continued))
}

/// `None` if the bounds differ, a count overflows or the sum is not finite.
fn merge_histograms(total: &HistogramDataPoint, point: &HistogramDataPoint) -> Option<HistogramDataPoint> {
    let has_same_bounds =
        total.explicit_bounds == point.explicit_bounds && total.bucket_counts.len() == point.bucket_counts.len();
    if !has_same_bounds {
        return None;
    }
    let pairs = total.bucket_counts.iter().zip(&point.bucket_counts);
    let bucket_counts = pairs.map(|(total, more)| total.checked_add(*more)).collect::<Option<Vec<u64>>>()?;
    Some(HistogramDataPoint {
        count: total.count.checked_add(point.count)?,
        sum: add_finite(total.sum, point.sum)?,
        min: combine_if_both(total.min, point.min, f64::min),
        max: combine_if_both(total.max, point.max, f64::max),
        bucket_counts,
        explicit_bounds: total.explicit_bounds.clone(),
        ..HistogramDataPoint::default()
    })
}

/// The sum if both values exist; the outer `None` means that the sum is not finite.
pub(super) fn add_finite(total: Option<f64>, more: Option<f64>) -> Option<Option<f64>> {
    let sum = total.zip(more).map(|(total, more)| total + more);
    if sum.is_some_and(|sum| !sum.is_finite()) { None } else { Some(sum) }
}

/// The smaller or larger value if both exist.
pub(super) fn combine_if_both(a: Option<f64>, b: Option<f64>, pick: fn(f64, f64) -> f64) -> Option<f64> {
    a.zip(b).map(|(a, b)| pick(a, b))
}

fn add_exponential(before: Option<&SeriesTotal>, point: &ExponentialHistogramDataPoint) -> AddResult {
    let delta = ExponentialBuckets::from_point(point).ok_or(DropReason::Invalid)?;
    let sum = match before {
        Some(SeriesTotal::Exponential(total)) => total.plus(&delta),
        _ => None,
    };
    let is_continued = sum.is_some();
    Ok((SeriesTotal::Exponential(sum.unwrap_or(delta)), is_continued))
}
