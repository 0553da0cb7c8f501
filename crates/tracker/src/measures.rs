//! [`Measures`]: configured numeric span attributes, summed by service, tenant and commit.
//! Invariants: at most 500 series, further ones go to `other`; a span counts once as long as it is among the latest
//! 65,536 or more; the 95th percentile is accurate to 1 %. `extras` reads the values.

use std::collections::{BTreeMap, HashMap, HashSet};

use runs::{Measure, OTHER};

use super::bounds::UNATTRIBUTED;
use super::codec::{Code, fields};
use super::config::Settings;
use super::recorder::Recorder;
use super::seen::Sight;

/// Maximum number of series.
const SERIES: usize = 500;
/// At least this many and at most twice as many spans are remembered.
const SPANS: usize = 65_536;
/// Ratio of two adjacent bucket bounds: values in one bucket differ by 2 % at most, so its middle is within 1 %.
const STEP: f64 = 1.02;
/// Smaller positive values are counted in this value's bucket.
const LEAST: f64 = 1e-6;

/// Values of one measure with one set of labels.
#[derive(Clone, Default)]
struct Series {
    count: u64,
    sum: f64,
    /// Number of values by bucket.
    buckets: BTreeMap<u32, u64>,
}

fields!(Series { count, sum, buckets });

/// Measure, service, tenant, commit.
type Key = (String, (String, (String, String)));

/// See the module documentation.
#[derive(Default)]
pub(super) struct Measures {
    series: BTreeMap<Key, Series>,
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Code for Measures {
    fn put(&self, out: &mut Vec<u8>) {
        self.series.put(out);
        self.young.put(out);
        self.old.put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(Self { series: Code::take(from)?, young: Code::take(from)?, old: Code::take(from)? })
    }
}

impl Measures {
    /// Applies a committed batch. `shown` holds the batch's names as they may be shown.
    pub(super) fn apply(
        &mut self,
        sight: &Sight,
        settings: &Settings,
        shown: &HashMap<u32, String>,
        recorder: &dyn Recorder,
    ) {
        for seen in &sight.measures {
            let Some(name) = settings.measures.get(seen.name as usize) else { continue };
            if !self.is_new(seen.place, seen.name) {
                continue;
            }
            let text = |at: u32| shown.get(&at).map_or_else(|| UNATTRIBUTED.to_owned(), Clone::clone);
            let [service, tenant, commit] = [seen.service, seen.tenant, seen.commit].map(text);
            recorder.measure(&sight.account, [name, &service, &tenant, &commit], seen.value);
            let series = self.series(name, service, tenant, commit);
            series.count += 1;
            series.sum += seen.value;
            *series.buckets.entry(bucket(seen.value)).or_default() += 1;
        }
    }

    fn is_new(&mut self, place: u64, name: u32) -> bool {
        if place == 0 {
            return true;
        }
        let key = place.wrapping_add(u64::from(name).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if self.old.contains(&key) || !self.young.insert(key) {
            return false;
        }
        if self.young.len() >= SPANS {
            self.old = std::mem::take(&mut self.young);
        }
        true
    }

    fn series(&mut self, name: &str, service: String, tenant: String, commit: String) -> &mut Series {
        let key: Key = (name.to_owned(), (service, (tenant, commit)));
        let other = || OTHER.to_owned();
        let full = self.series.len() >= SERIES && !self.series.contains_key(&key);
        let key = if full { (name.to_owned(), (other(), (other(), other()))) } else { key };
        self.series.entry(key).or_default()
    }

    /// All series.
    pub(super) fn all(&self) -> Vec<Measure> {
        let measure = |((name, (service, (tenant, commit))), series): (&Key, &Series)| Measure {
            name: name.clone(),
            service: service.clone(),
            tenant: tenant.clone(),
            commit: commit.clone(),
            count: series.count,
            sum: series.sum,
            p95: series.p95(),
        };
        self.series.iter().map(measure).collect()
    }
}

impl Series {
    fn p95(&self) -> f64 {
        let rank = (self.count as f64 * 0.95).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return middle(*bucket);
            }
        }
        0.0
    }
}

/// Bucket 0 holds values that are not positive.
fn bucket(value: f64) -> u32 {
    if value <= 0.0 {
        return 0;
    }
    1 + ((value / LEAST).ln() / STEP.ln()).max(0.0) as u32
}

fn middle(bucket: u32) -> f64 {
    if bucket == 0 { 0.0 } else { LEAST * STEP.powf(f64::from(bucket) - 0.5) }
}
