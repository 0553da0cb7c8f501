//! [`Seen`]: the state of a route, as the client of the request may see it: the runs of its limits
//! (`telemetry/admin/roles`), and nothing that is made of others.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use parking_lot::Mutex;

use history::RunBoard;
use runs::{RunRecord, UNATTRIBUTED};
use telemetry::admin::auth::KnownClient;

pub(super) struct Seen<S>(pub(super) S);

pub(super) trait PageState: Clone + Send + Sync {
    fn limited_to(&self, client: &KnownClient) -> Self;
}

impl<S: PageState> FromRequestParts<S> for Seen<S> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let limited = parts.extensions.get::<KnownClient>().filter(|client| !client.roles.limits.is_empty());
        Ok(Self(limited.map_or_else(|| state.clone(), |client| state.limited_to(client))))
    }
}

/// The runs that `client` may see.
pub(super) fn limit_board(board: &RunBoard, client: &KnownClient) -> RunBoard {
    let KnownClient { roles, user_ids, .. } = client.clone();
    let ids = board.ids.clone();
    // the client's pseudonyms in each account, because a page visits many runs
    let pseudonyms: Mutex<HashMap<String, Vec<String>>> = Mutex::default();
    let is_own = move |account: &str, user: &str| {
        let make = || ids.iter().flat_map(|ids| user_ids.iter().map(|id| ids.pseudonym(account, id))).collect();
        pseudonyms.lock().entry(account.to_owned()).or_insert_with(make).iter().any(|own| own == user)
    };
    let permit = move |run: &RunRecord<'_>| {
        let is_own = || run.user.is_some_and(|user| is_own(run.account, user));
        let is_permitted = |tenant| roles.limits.iter().any(|limit| limit.permits(run.account, tenant, is_own));
        let mut others = run.other_tenants.iter().map(|(tenant, _)| *tenant).filter(|tenant| *tenant != UNATTRIBUTED);
        is_permitted(run.tenant.unwrap_or(UNATTRIBUTED)) && others.all(is_permitted)
    };
    RunBoard { permit: Some(Arc::new(permit)), ..board.clone() }
}
