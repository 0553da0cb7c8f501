//! **What**: [`Counted`]: what one run adds to the sums by tenant, feature, model, user and session, as bytes that are kept with
//! its group. **Why**: sums hold live runs too, and a run's figures change until it is over and sometimes after: what it added
//! before is taken out again. **Invariants**: names have passed the id policy. **Not here**: the sums (`history`).

use runs::{RunView, Sum, Totals};

use super::bounds::UNATTRIBUTED;
use super::codec::{Code, fields};
use super::observe;

/// See the module.
#[derive(Clone, PartialEq)]
pub(super) struct Counted {
    pub(super) tenant: String,
    pub(super) feature: String,
    pub(super) user: String,
    pub(super) session: String,
    pub(super) sum: Sum,
    pub(super) models: Vec<(String, Sum)>,
}

fields!(Counted { tenant, feature, user, session, sum, models });

impl Counted {
    pub(super) fn of(view: &RunView) -> Self {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| UNATTRIBUTED.to_owned());
        let mut sum = Sum::default();
        sum.add_run(view);
        let of_model = |(model, totals): (&String, &runs::ModelTotals)| {
            let part = Totals { models: [(model.clone(), *totals)].into(), ..Totals::default() };
            let mut sum = Sum::default();
            sum.add_share(view, &part);
            (model.clone(), sum)
        };
        Self {
            tenant: name(&view.tenant),
            feature: name(&view.feature),
            user: name(&view.user),
            session: view.session.clone(),
            sum,
            models: view.totals.models.iter().map(of_model).collect(),
        }
    }

    /// By this a change is seen.
    pub(super) fn digest(&self) -> u64 {
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        observe::digest(&[&kernel::hex::encode(&bytes)])
    }
}

/// All of a group, which stand one after the other.
pub(super) fn decode(mut from: &[u8]) -> Vec<Counted> {
    let mut all = Vec::new();
    while let Some(one) = Counted::take(&mut from) {
        all.push(one);
    }
    all
}

/// Those of two groups that became one.
pub(super) fn joined(one: &[u8], other: &[u8]) -> Box<[u8]> {
    [one, other].concat().into()
}
