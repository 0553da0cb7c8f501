//! [`Seen`]: the state of a route, as the client of the request may see it: the runs of its limits
//! (`telemetry/admin/roles`), and nothing that is made of others.

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use parking_lot::Mutex;

use super::{AdminPages, BudgetBoard};
use budgets::{BudgetLine, Scope};
use history::{RETENTION, RunBoard};
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

/// Whether a user of an account is the client.
fn own_user(board: &RunBoard, client: &KnownClient) -> impl Fn(&str, &str) -> bool + Send + Sync + 'static {
    let (ids, user_ids) = (board.ids.clone(), client.user_ids.clone());
    // the client's pseudonyms in each account, because a page visits many runs
    let pseudonyms: Mutex<HashMap<String, Vec<String>>> = Mutex::default();
    move |account: &str, user: &str| {
        let make = || ids.iter().flat_map(|ids| user_ids.iter().map(|id| ids.pseudonym(account, id))).collect();
        pseudonyms.lock().entry(account.to_owned()).or_insert_with(make).iter().any(|own| own == user)
    }
}

/// The budgets that `client` may see: a sum only if all that is in it may be seen. `runs`: those that it may see.
pub(super) fn limit_budgets(pages: &AdminPages, runs: &RunBoard, client: &KnownClient) -> BudgetBoard {
    if pages.budgets.desk.is_none() {
        return BudgetBoard::default();
    }
    let (limits, is_own) = (client.roles.limits.clone(), own_user(runs, client));
    let (visible, mut hidden) = (runs.permit.clone(), HashSet::new());
    // a session or run in which others have calls
    pages.runs.visit_runs(pages.now().saturating_sub(RETENTION), &mut |run| {
        if visible.as_ref().is_some_and(|permit| !permit(run)) {
            hidden.extend([run.run, run.session].map(|id| (run.account.to_owned(), id.to_owned())));
        }
    });
    let permit = move |line: &BudgetLine| {
        let own = |user: &str| is_own(&line.account, user);
        let names = &line.names;
        limits.iter().any(|limit| match line.scope {
            Scope::Run | Scope::Session => {
                let tenant = names.tenant.as_deref().unwrap_or(UNATTRIBUTED);
                let is_permitted = limit.permits(&line.account, tenant, || names.user.as_deref().is_some_and(own));
                is_permitted && !hidden.contains(&(line.account.clone(), line.key.clone()))
            }
            Scope::Tenant => limit.permits(&line.account, &line.key, || false),
            Scope::User => limit.tenants.is_none() && limit.permits(&line.account, "", || own(&line.key)),
            Scope::Feature | Scope::Issue | Scope::Account => {
                limit.tenants.is_none() && limit.permits(&line.account, "", || false)
            }
        })
    };
    BudgetBoard { permit: Some(Arc::new(permit)), ..pages.budgets.clone() }
}

/// The runs that `client` may see.
pub(super) fn limit_board(board: &RunBoard, client: &KnownClient) -> RunBoard {
    let (roles, is_own) = (client.roles.clone(), own_user(board, client));
    let permit = move |run: &RunRecord<'_>| {
        let is_own = || run.user.is_some_and(|user| is_own(run.account, user));
        let is_permitted = |tenant| roles.limits.iter().any(|limit| limit.permits(run.account, tenant, is_own));
        let mut others = run.other_tenants.iter().map(|(tenant, _)| *tenant).filter(|tenant| *tenant != UNATTRIBUTED);
        is_permitted(run.tenant.unwrap_or(UNATTRIBUTED)) && others.all(is_permitted)
    };
    RunBoard { permit: Some(Arc::new(permit)), ..board.clone() }
}
