//! [`RunContribution`]: the share of one run in the sums by tenant, feature, model, user and session, stored as bytes
//! with the run's group. The sums include live runs, and a run's figures may change until it is over and sometimes
//! after; so the old share is subtracted before the new one is added. Names have passed the id policy. `history` holds
//! the sums.

use runs::{ModelTotals, RunView, UsageSum};

use super::codec::{BinaryCodec, fields};
use super::constants::UNATTRIBUTED;
use super::observe;

/// See the module documentation.
#[derive(Clone, PartialEq)]
pub(super) struct RunContribution {
    /// The run's own tenant first, then other tenants that some of its calls name.
    pub(super) tenants: Vec<(String, UsageSum)>,
    pub(super) feature: String,
    pub(super) user: String,
    pub(super) session: String,
    pub(super) sum: UsageSum,
    pub(super) models: Vec<(String, UsageSum)>,
}

fields!(RunContribution { tenants, feature, user, session, sum, models });

impl RunContribution {
    pub(super) fn from_view(view: &RunView) -> Self {
        let name = |name: Option<&str>| name.unwrap_or(UNATTRIBUTED).to_owned();
        let mut sum = UsageSum::default();
        sum.add_run(view);
        let share = |share: &ModelTotals| {
            let mut sum = UsageSum::default();
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

    /// Changes when the share changes.
    pub(super) fn digest(&self) -> u64 {
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        observe::digest(&[&kernel::hex::encode(&bytes)])
    }
}

/// Decodes all shares of a group; they are stored one after the other.
pub(super) fn decode_contributions(mut from: &[u8]) -> Vec<RunContribution> {
    let mut all = Vec::new();
    while let Some(one) = RunContribution::take(&mut from) {
        all.push(one);
    }
    all
}
