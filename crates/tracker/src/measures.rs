//! [`Measures`]: configured numeric span attributes, summed by service, tenant and commit.
//! Invariants: at most 500 series, values of further ones are added to `other`; a span's value counts once as long as
//! it is among the latest 65,536; the 95th percentile is accurate to 1 %. `attributes` reads the values.

use std::collections::{BTreeMap, HashMap, HashSet};

use runs::{MeasureAggregate, OTHER, UNATTRIBUTED};
use serde::{Deserialize, Serialize};

use super::config::Settings;
use super::metrics::RunMetrics;
use super::observation::BatchObservation;

const MAX_SERIES: usize = 500;
/// Span and measure of at least this many latest values are remembered, and of at most twice as many.
const REMEMBERED_VALUES: usize = 65_536;
/// Ratio of two adjacent bucket bounds: values in one bucket differ by 2 % at most, so its middle is within 1 %.
const BUCKET_RATIO: f64 = 1.02;
/// Smaller positive values are counted in this value's bucket.
const SMALLEST_VALUE: f64 = 1e-6;

/// Values of one measure with one set of labels.
#[derive(Clone, Default, Serialize, Deserialize)]
struct MeasureSeries {
    count: u64,
    sum: f64,
    buckets: BTreeMap<u32, u64>,
}

/// Measure, service, tenant, commit.
type SeriesKey = [String; 4];

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Measures {
    series: BTreeMap<SeriesKey, MeasureSeries>,
    /// Span and measure of each remembered value, hashed.
    recent_values: HashSet<u64>,
    older_values: HashSet<u64>,
}

impl Measures {
    /// Applies a committed batch. `shown_names` holds the batch's names as they may be shown, by number.
    pub(super) fn apply(
        &mut self,
        observation: &BatchObservation,
        settings: &Settings,
        shown_names: &HashMap<u32, String>,
        metrics: Option<&RunMetrics>,
    ) {
        for observed in &observation.measures {
            let Some(name) = settings.measures.get(observed.measure as usize) else { continue };
            if !self.is_new(observed.place, observed.measure) {
                continue;
            }
            let label = |number: u32| shown_names.get(&number).map_or_else(|| UNATTRIBUTED.to_owned(), Clone::clone);
            let [service, tenant, commit] = [observed.service, observed.tenant, observed.commit].map(label);
            if let Some(metrics) = metrics {
                metrics.record_measure(&observation.account, [name, &service, &tenant, &commit], observed.value);
            }
            let series = self.series_mut([name.clone(), service, tenant, commit]);
            series.count += 1;
            series.sum += observed.value;
            *series.buckets.entry(bucket_of_value(observed.value)).or_default() += 1;
        }
    }

    fn is_new(&mut self, place: u64, measure: u32) -> bool {
        if place == 0 {
            return true;
        }
        let key = place.wrapping_add(u64::from(measure).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if self.older_values.contains(&key) || !self.recent_values.insert(key) {
            return false;
        }
        if self.recent_values.len() >= REMEMBERED_VALUES {
            self.older_values = std::mem::take(&mut self.recent_values);
        }
        true
    }

    fn series_mut(&mut self, key: SeriesKey) -> &mut MeasureSeries {
        let is_full = self.series.len() >= MAX_SERIES && !self.series.contains_key(&key);
        let [measure, labels @ ..] = key;
        let [service, tenant, commit] = if is_full { [(); 3].map(|()| OTHER.to_owned()) } else { labels };
        self.series.entry([measure, service, tenant, commit]).or_default()
    }

    pub(super) fn list(&self) -> Vec<MeasureAggregate> {
        let aggregate = |([name, service, tenant, commit], series): (&SeriesKey, &MeasureSeries)| MeasureAggregate {
            name: name.clone(),
            service: service.clone(),
            tenant: tenant.clone(),
            commit: commit.clone(),
            count: series.count,
            sum: series.sum,
            p95: series.p95(),
        };
        self.series.iter().map(aggregate).collect()
    }
}

impl MeasureSeries {
    fn p95(&self) -> f64 {
        let rank = (self.count as f64 * 0.95).ceil() as u64;
        let mut counted = 0;
        let bucket = self.buckets.iter().find(|(_, count)| {
            counted += **count;
            counted >= rank
        });
        bucket.map_or(0.0, |(bucket, _)| bucket_middle(*bucket))
    }
}

/// The bucket of a value: bucket 0 holds values that are not positive, bucket 1 begins at [`SMALLEST_VALUE`].
fn bucket_of_value(value: f64) -> u32 {
    if value <= 0.0 {
        return 0;
    }
    1 + ((value / SMALLEST_VALUE).ln() / BUCKET_RATIO.ln()).max(0.0) as u32
}

fn bucket_middle(bucket: u32) -> f64 {
    if bucket == 0 { 0.0 } else { SMALLEST_VALUE * BUCKET_RATIO.powf(f64::from(bucket) - 0.5) }
}
