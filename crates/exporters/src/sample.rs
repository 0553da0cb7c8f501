//! `sample:` of an exporter, and its checked form. An exporter whose back end does not weigh what it gets must not
//! sample: its sums would be wrong.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, TimeSpan};
use pipeline::AckMode;
use pipeline::sampling::rules::{KeepRule, SampleRules};
use rates::Usd;

/// Smallest share of the other runs: one in a million.
const MAX_RATE: f64 = 1e6;
/// How far a share may be from one in a whole number: `0.33` is one in 3.
const TOLERANCE: f64 = 0.02;

kernel::with_defaults! {
    /// Which runs are sent whole, and which share of the others.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct SampleConfig {
        /// Runs that are sent whole: `errors` (the run or a model call failed), `alerts` (it raised one), `unpriced` (a
        /// call has no price), `cost_above` an amount, `slower_than` a time. Default: `[errors, alerts, unpriced]`.
        pub keep: Vec<KeepConfig> = vec![KeepConfig::Errors, KeepConfig::Alerts, KeepConfig::Unpriced],
        /// The share of the other runs that is sent: 1 divided by a whole number, such as 0.1 or 0.25; 0 for none.
        pub others: f64 = 0.1,
        /// Longest time that items wait in the spool for the decision about their run.
        pub wait: TimeSpan = TimeSpan::seconds(600),
        /// The attribute by which the back end multiplies: `SampleRate`. Not needed with `preset: honeycomb`.
        pub weight: Option<WeightAttribute>,
    }
}

/// Which runs are sent whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeepConfig {
    /// The run failed, or one of its model calls did.
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
    /// For how many items one stands, as Honeycomb and Refinery read it.
    SampleRate,
}

impl SampleConfig {
    /// Validates the section, of an exporter with this guarantee, and adds problems to `problems`.
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
                "would make sums wrong in a back end that does not multiply by `SampleRate`: use `preset: honeycomb`, \
                 or write `weight: SampleRate` if this back end does",
            );
        }
        if ack != AckMode::Spooled {
            refuse("sample", "requires `ack: spooled`, because items wait in the spool for the decision");
        }
        if ordered {
            refuse("sample", "can't be combined with `ordered`: runs are sent when they are decided");
        }
        if self.wait.0.is_zero() {
            refuse("sample.wait", "must be more than zero");
        }
        let others = match self.others {
            0.0 => Some(0),
            share if (1.0 / MAX_RATE..=1.0).contains(&share) => {
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
