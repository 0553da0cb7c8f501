//! **What**: [`Counted`]: what one run adds to the sums by tenant, feature, model, user and session, as bytes that are
//! kept with its group. **Why**: sums hold live runs too, and a run's figures change until it is over and sometimes
//! after: what it added before is taken out again. **Invariants**: names have passed the id policy. **Not here**: the
//! sums (`history`).

use runs::{ModelTotals, RunView, Sum};

use super::bounds::UNATTRIBUTED;
use super::codec::{Code, fields};
use super::observe;

/// See the module.
#[derive(Clone, PartialEq)]
pub(super) struct Counted {
    /// That of the run, then others whose calls it has.
    pub(super) tenants: Vec<(String, Sum)>,
    pub(super) feature: String,
    pub(super) user: String,
    pub(super) session: String,
    pub(super) sum: Sum,
    pub(super) models: Vec<(String, Sum)>,
}

fields!(Counted { tenants, feature, user, session, sum, models });

impl Counted {
    pub(super) fn of(view: &RunView) -> Self {
        let name = |name: Option<&str>| name.unwrap_or(UNATTRIBUTED).to_owned();
        let mut sum = Sum::default();
        sum.add_run(view);
        let share = |share: &ModelTotals| {
            let mut sum = Sum::default();
            sum.add_share(view, share);
            sum
        };
        let mut tenants = view.totals.by_tenant(view.tenant.as_deref());
        let mut own = sum.clone();
        if let Some((_, rest)) = tenants.next() {
            (own.calls, own.tokens, own.atto_usd, own.unpriced) =
                (rest.calls, rest.tokens, rest.atto_usd, rest.unpriced);
        }
        let own = (name(view.tenant.as_deref()), own);
        Self {
            tenants: std::iter::once(own).chain(tenants.map(|(tenant, rest)| (name(tenant), share(&rest)))).collect(),
            feature: name(view.feature.as_deref()),
            user: name(view.user.as_deref()),
            session: view.session.clone(),
            models: view.totals.models.iter().map(|(model, totals)| (model.clone(), share(totals))).collect(),
            sum,
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
