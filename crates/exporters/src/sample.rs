//! The key `sample` of an exporter, and its checked form. It is refused unless the back end multiplies by the weight:
//! otherwise its sums would be too low.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, TimeSpan};
use pipeline::AckMode;
use pipeline::sampling::rules::{KeepRule, SampleRules};
use rates::Usd;

/// Largest sample rate: a share of one in a million.
const MAX_RATE: f64 = 1e6;
const MAX_WAIT: Duration = Duration::from_hours(24);
/// Allowed relative difference between 1 divided by a share and a whole number: `0.33` is one in 3.
const TOLERANCE: f64 = 0.02;

kernel::with_defaults! {
    /// Of which runs everything is sent, and of the others which share.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct SampleConfig {
        /// Runs of which everything is sent: `errors` (the run or one of its model calls failed; of a trace without a
        /// run, any span), `alerts` (the run or its session raised an alert), `unpriced` (a model call has no price),
        /// `{ cost_above: 1 USD }`, `{ slower_than: 10m }`. Default: `[errors, alerts, unpriced]`.
        pub keep: Vec<KeepConfig> = vec![KeepConfig::Errors, KeepConfig::Alerts, KeepConfig::Unpriced],
        /// The share of the other runs that is sent: 1 divided by a whole number, such as 0.1 or 0.25; 0 for none.
        pub others: f64 = 0.1,
        /// Longest time that items wait in the spool for the decision about their run.
        pub wait: TimeSpan = TimeSpan::seconds(600),
        /// The attribute by which the back end multiplies: `SampleRate`. Not needed with `preset: honeycomb`.
        pub weight: Option<WeightAttribute>,
    }
}

/// Runs of which everything is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeepConfig {
    /// The run failed, or one of its model calls did; in a trace without a run, any span.
    Errors,
    /// The run or its session raised an alert.
    Alerts,
    /// A model call has no price.
    Unpriced,
    /// The run costs more than this: `1 USD`.
    CostAbove(String),
    /// The run takes longer than this.
    SlowerThan(TimeSpan),
}

/// An attribute by which a back end multiplies what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WeightAttribute {
    /// How many items this one stands for, as Honeycomb and Refinery read it.
    SampleRate,
}

impl SampleConfig {
    /// A note if slow runs are decided before they are known to be slow.
    pub(crate) fn notes(&self) -> Vec<FieldProblem> {
        let is_early = |rule: &KeepConfig| matches!(rule, KeepConfig::SlowerThan(time) if time.0 >= self.wait.0);
        let what =
            "is not longer than `slower_than`: the first items of a slow run are decided before it is known to be slow";
        self.keep.iter().any(is_early).then(|| FieldProblem::new("sample.wait", what)).into_iter().collect()
    }

    /// Validates the section, given the exporter's `ack` and `ordered`, and adds problems to `problems`.
    pub(crate) fn resolve(
        &self,
        reads_weights: bool,
        (ack, ordered): (AckMode, bool),
        problems: &mut Vec<FieldProblem>,
    ) -> Arc<SampleRules> {
        let mut refuse = |key: &str, what: &str| problems.push(FieldProblem::new(key, what));
        if !reads_weights && self.weight.is_none() {
            refuse(
                "sample",
                "is only for back ends that multiply by `SampleRate`, such as Honeycomb; in others sums would be wrong. \
                 If this one does, write `weight: SampleRate`",
            );
        }
        if ack != AckMode::Spooled {
            refuse("sample", "requires `ack: spooled`, because items wait in the spool for the decision");
        }
        if ordered {
            refuse(
                "sample",
                "can't be combined with `ordered`: runs are decided at different times, so items do not leave in order of arrival",
            );
        }
        if self.wait.0.is_zero() || self.wait.0 > MAX_WAIT {
            refuse("sample.wait", "must be more than zero, and at most 1 day");
        }
        let others = match self.others {
            0.0 => Some(0),
            1.0 => Some(1),
            share if (1.0 / MAX_RATE..=0.51).contains(&share) => {
                let rate = (1.0 / share).round();
                ((1.0 / share - rate).abs() <= TOLERANCE * rate).then_some(rate as u32)
            }
            _ => None,
        };
        if others.is_none() {
            let what =
                "must be 1 divided by a whole number of at most 1000000, such as 0.5, 0.25 or 0.1; or 0 for none";
            refuse("sample.others", what);
        }
        let mut keep = Vec::new();
        for (index, rule) in self.keep.iter().enumerate() {
            keep.extend(match rule {
                KeepConfig::Errors => Some(KeepRule::Errors),
                KeepConfig::Alerts => Some(KeepRule::Alerts),
                KeepConfig::Unpriced => Some(KeepRule::Unpriced),
                KeepConfig::SlowerThan(time) => Some(KeepRule::SlowerThan(time.0)),
                KeepConfig::CostAbove(text) => {
                    let amount = Usd::parse_amount(text);
                    if amount.is_none() {
                        let key = format!("sample.keep.{index}.cost_above");
                        refuse(&key, "must be an amount above 0 with its currency: `1 USD`");
                    }
                    amount.map(|amount| KeepRule::CostAbove(amount.0))
                }
            });
        }
        Arc::new(SampleRules { keep, others: others.unwrap_or(0), wait: self.wait.0 })
    }
}
