//! [`RunContribution`]: the share of one run in the sums by tenant, feature, model, user and session, stored as bytes
//! with the run's group. The sums include live runs, and a run's figures may change until it is over and sometimes
//! after; so with each new share the old one is subtracted. Names have passed the id policy. `history` holds the sums.

use runs::{ModelTotals, RunView, UNATTRIBUTED, UsageSum};
use serde::{Deserialize, Serialize};

use super::codec::{put, take};
use super::observe;

/// See the module documentation.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RunContribution {
    /// The run's own tenant first, then other tenants that some of its calls name.
    pub(super) tenants: Vec<(String, UsageSum)>,
    pub(super) feature: String,
    pub(super) user: String,
    pub(super) session: String,
    pub(super) sum: UsageSum,
    pub(super) models: Vec<(String, UsageSum)>,
}

impl RunContribution {
    pub(super) fn from_view(view: &RunView) -> Self {
        let name_or_default = |name: Option<&str>| name.unwrap_or(UNATTRIBUTED).to_owned();
        let mut sum = UsageSum::default();
        sum.add_run(view);
        let share_sum = |share: &ModelTotals| {
            let mut sum = UsageSum::default();
            sum.add_share(view, share);
            sum
        };
        let mut tenant_shares = view.totals.by_tenant(view.tenant.as_deref());
        let mut own_sum = sum.clone();
        if let Some((_, own_share)) = tenant_shares.next() {
            (own_sum.calls, own_sum.tokens, own_sum.atto_usd, own_sum.unpriced) =
                (own_share.calls, own_share.tokens, own_share.atto_usd, own_share.unpriced);
        }
        let own_tenant = (name_or_default(view.tenant.as_deref()), own_sum);
        let other_tenants = tenant_shares.map(|(tenant, share)| (name_or_default(tenant), share_sum(&share)));
        Self {
            tenants: std::iter::once(own_tenant).chain(other_tenants).collect(),
            feature: name_or_default(view.feature.as_deref()),
            user: name_or_default(view.user.as_deref()),
            session: view.session.clone(),
            models: view.totals.models.iter().map(|(model, totals)| (model.clone(), share_sum(totals))).collect(),
            sum,
        }
    }

    /// Changes when the share changes.
    pub(super) fn digest(&self) -> u64 {
        let mut bytes = Vec::new();
        put(self, &mut bytes);
        observe::digest(&[&kernel::hex::encode(&bytes)])
    }
}

/// Decodes all shares of a group; they are stored one after the other.
pub(super) fn decode_contributions(mut from: &[u8]) -> Vec<RunContribution> {
    let mut contributions = Vec::new();
    while let Some(contribution) = take(&mut from) {
        contributions.push(contribution);
    }
    contributions
}
