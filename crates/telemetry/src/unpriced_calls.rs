//! [`UnpricedCalls`]: model calls without a price, by provider, model and reason, each with the line of configuration
//! that names a provider of the rate table, if that gives the calls a price. The list is made from the metrics alone,
//! so its names passed the rules for labels. `processors/cost` decides what has a price.

use super::meter::Meter;
use super::moved_keys::yaml_scalar;
use super::names;
use super::series::MetricSeries;

/// Calls of one provider and model that have no price for the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpricedCalls {
    pub provider: String,
    pub model: String,
    /// As in `tollgate.cost.reason`.
    pub reason: String,
    /// The closest id of the rate table, `provider/id`, or "".
    pub nearest: String,
    /// Number of calls since the gateway started.
    pub count: u64,
    /// See [`provider_line`].
    pub config_line: Option<String>,
}

impl UnpricedCalls {
    /// Reads the current metrics; most calls first.
    pub fn from_meter(meter: &Meter) -> Vec<Self> {
        let to_calls = |series: MetricSeries| {
            let count = series.number().filter(|count| *count > 0.0)? as u64;
            let label = |name: &str| series.label(name).to_owned();
            let (provider, reason, nearest) = (label("provider"), label("reason"), label("nearest"));
            let config_line = provider_line(&provider, &reason, &nearest);
            Some(Self { provider, model: label("model"), reason, nearest, count, config_line })
        };
        let mut calls: Vec<Self> = meter.series(&names::COST_UNPRICED).into_iter().filter_map(to_calls).collect();
        calls.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| (&a.provider, &a.model).cmp(&(&b.provider, &b.model))));
        calls
    }
}

/// The line of configuration that gives calls of an unknown provider a price: that of `seller`, an id of the rate table
/// (`provider/id`). `None` for another reason, a name that stands for several, and without a seller.
pub fn provider_line(provider: &str, reason: &str, seller: &str) -> Option<String> {
    let is_named = !matches!(provider, "other" | "unknown");
    let (seller, _) = seller.split_once('/').filter(|_| reason == "unknown_provider" && is_named)?;
    Some(format!("cost: {{ providers: {{ {}: {} }} }}", yaml_scalar(provider), yaml_scalar(seller)))
}
