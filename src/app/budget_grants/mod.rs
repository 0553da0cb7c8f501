//! `POST /-/budgets/grants`: raises a limit of one key for a time. The grant becomes a [`BudgetRecord`] in a request of
//! tollgate's own, which goes through the pipelines: the ledger, the vault and back ends have it, and a restart knows
//! it. It is answered once it is committed. `access_control` decides who may post; the command is `tollgate budgets
//! grant` (`cli/budgets`).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use serde::{Deserialize, Serialize};

use crate::app::build::InletCell;
use budgets::config::Budget;
use budgets::{BudgetDesk, BudgetRecord, Measure, Names, RecordKind, Scope};
use kernel::calendar::{cut_to_minutes, rfc3339};
use kernel::clock::UnixNanos;
use kernel::pseudonym::{IdPolicy, PREFIX, is_pseudonym};
use net::SharedServices;
use otlp::Signal;
use pipeline::{Clearance, Outcome, OwnRequest};
use rates::Usd;
use telemetry::admin::auth::KnownClient;

#[cfg(test)]
mod tests;

pub(crate) const GRANTS_PATH: &str = "/-/budgets/grants";
/// Longest time of a grant, in seconds: 31 days.
const MAX_SECONDS: u64 = 31 * 86_400;
/// Longest reason, and longest key and account, in bytes.
const MAX_REASON: usize = 500;
const MAX_NAME: usize = 256;
/// Most calls, iterations or minutes.
const MAX_COUNT: i128 = 1_000_000_000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantRequest {
    /// The run, session, user, …: as the client sends it, or a pseudonym as pages show it.
    pub(crate) key: String,
    pub(crate) account: String,
    /// `None`: that of the budget, or else `user`.
    pub(crate) scope: Option<String>,
    /// `None`: all budgets of the scope.
    pub(crate) budget: Option<String>,
    /// `amount` with `10USD`, or another measure with a number.
    pub(crate) measure: String,
    pub(crate) extra: String,
    pub(crate) seconds: u64,
    pub(crate) reason: String,
}

/// State of the route.
#[derive(Clone)]
pub(super) struct BudgetGrants {
    pub(super) desk: Option<Arc<dyn BudgetDesk>>,
    /// The receiver under which a request reaches the desk.
    pub(super) receiver: Option<Arc<str>>,
    pub(super) inlet: InletCell,
    pub(super) ids: Arc<dyn IdPolicy>,
    pub(super) services: SharedServices,
}

type Refusal = (StatusCode, String);

fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err((StatusCode::BAD_REQUEST, why.into()))
}

pub(super) fn router(grants: BudgetGrants) -> Router {
    Router::new().route(GRANTS_PATH, post(accept_grant)).with_state(grants)
}

async fn accept_grant(
    State(grants): State<BudgetGrants>,
    client: Option<Extension<KnownClient>>,
    body: Bytes,
) -> Response {
    // without a client the port asks for no credentials
    let who = client.as_ref().map_or("local", |client| &*client.name);
    let (status, text) = grants.grant(&body, who).await.map_or_else(|refusal| refusal, |done| (StatusCode::OK, done));
    (status, format!("{text}\n")).into_response()
}

impl BudgetGrants {
    /// Says what was granted.
    async fn grant(&self, body: &[u8], who: &str) -> Result<String, Refusal> {
        let Ok(request) = serde_json::from_slice::<GrantRequest>(body) else {
            return refuse("the body is not a grant request: see `tollgate budgets grant --help`");
        };
        let Some(desk) = &self.desk else {
            return refuse("no budgets are configured: set `budgets` of the processor `runs`");
        };
        request.check_texts()?;
        let (measure, limit) = request.extra()?;
        let (scope, raised) = find_budgets(desk.budgets(), &request, measure)?;
        let GrantRequest { account, key, reason, seconds, .. } = &request;
        let redact = |text: &str| self.ids.redact_column(account, text).into_owned();
        let shown = match scope {
            _ if is_pseudonym(key) => key.clone(),
            Scope::User => self.ids.pseudonym(account, key),
            Scope::Run | Scope::Session | Scope::Tenant => self.ids.shown_id(account, key).into_owned(),
            Scope::Feature | Scope::Issue => redact(key),
            Scope::Account => account.clone(),
        };
        // the vault keeps the grant where the run or session is; a pseudonym is no id that a client sends
        let sent = |of: Scope| (scope == of && !is_pseudonym(key)).then(|| key.clone());
        let names = Names { run: sent(Scope::Run), session: sent(Scope::Session), ..Names::default() };
        let now = self.services.clock.now();
        let until = now.0.saturating_add(seconds.saturating_mul(1_000_000_000));
        let budget = request.budget.clone().unwrap_or_default();
        let (granted_by, reason, key) = (redact(who), redact(reason.trim()), shown.clone());
        let record = BudgetRecord::new(RecordKind::Grant, budget, scope, key, (measure, 0, limit));
        let record = BudgetRecord { until, granted_by, reason, ..record };
        self.commit(account, &record, &names, now).await?;
        let (scope, until, raised) = (scope.as_str(), cut_to_minutes(&rfc3339(UnixNanos(until))), raised.join(", "));
        tracing::info!(client = record.granted_by, scope, seconds, "a grant raised a budget");
        let extra = format!("{} {}", measure.decimal(limit), measure.unit());
        Ok(format!("{scope} {shown} may use {extra} more until {until}: {raised} of account {account}"))
    }

    async fn commit(&self, account: &str, record: &BudgetRecord, names: &Names, now: UnixNanos) -> Result<(), Refusal> {
        let not_now =
            || (StatusCode::SERVICE_UNAVAILABLE, "the grant can't be stored now: retry in a few seconds".to_owned());
        let Some(receiver) = &self.receiver else {
            return refuse("no pipeline for traces has the processor `runs` with the budgets");
        };
        let inlet = self.inlet.get().ok_or_else(not_now)?;
        let wire = BudgetRecord::encode(std::slice::from_ref(record), names, now.0, || self.services.rng.id()).into();
        let (account, receiver, effects) = (account.into(), Arc::clone(receiver), Vec::new());
        let (signal, clearance) = (Signal::Traces, Clearance::RECEIVED);
        match inlet.submit_own(OwnRequest { signal, account, receiver, wire, effects, clearance }).await {
            Outcome::Accepted => Ok(()),
            _ => Err(not_now()),
        }
    }
}

/// The scope of a grant, and the names of the budgets that it raises.
fn find_budgets(all: &[Budget], request: &GrantRequest, measure: Measure) -> Result<(Scope, Vec<String>), Refusal> {
    let list = |words: Vec<&str>| words.join(", ");
    let asked = request.scope.as_deref().map(|word| Scope::parse(word).ok_or(word)).transpose();
    let Ok(asked) = asked else {
        let known = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        return refuse(format!("the scope must be one of {}", list(known)));
    };
    let named = match &request.budget {
        None => None,
        Some(name) => match all.iter().find(|budget| budget.name == *name) {
            None => {
                let known = list(all.iter().map(|budget| &*budget.name).collect());
                return refuse(format!("no budget has this name; there are: {known}"));
            }
            found => found,
        },
    };
    let scope = asked.or(named.map(|budget| budget.scope)).unwrap_or(Scope::User);
    let is_raised = |budget: &&Budget| {
        let is_named = named.is_none_or(|named| named.name == budget.name);
        is_named && budget.scope == scope && budget.limits.iter().any(|(limited, _)| *limited == measure)
    };
    let raised: Vec<String> = all.iter().filter(is_raised).map(|budget| budget.name.clone()).collect();
    let (scope_word, measure) = (scope.as_str(), measure.as_str());
    match raised.is_empty() {
        true => {
            refuse(format!("no budget of scope `{scope_word}` has the limit `{measure}`: set `--scope` or `--budget`"))
        }
        false => Ok((scope, raised)),
    }
}

impl GrantRequest {
    fn check_texts(&self) -> Result<(), Refusal> {
        let is_bad =
            |text: &str, most: usize| text.trim().is_empty() || text.len() > most || text.chars().any(char::is_control);
        let has_damaged_pseudonym = self.key.starts_with(PREFIX) && !is_pseudonym(&self.key);
        let problems = [
            (is_bad(&self.key, MAX_NAME), "the key must be one line of at most 256 bytes"),
            (has_damaged_pseudonym, "a key that begins with `h-` must be a pseudonym as pages show it"),
            (is_bad(&self.account, MAX_NAME), "the account must be one line of at most 256 bytes"),
            (is_bad(&self.reason, MAX_REASON), "the reason must be one line of at most 500 bytes"),
            (!(1..=MAX_SECONDS).contains(&self.seconds), "the time must be from 1 second to 31 days"),
        ];
        problems.into_iter().find(|(is_bad, _)| *is_bad).map_or(Ok(()), |(_, why)| refuse(why))
    }

    /// What is added, of which measure.
    fn extra(&self) -> Result<(Measure, i128), Refusal> {
        let count = || self.extra.parse().ok().filter(|count| (1..=MAX_COUNT).contains(count));
        match Measure::parse(&self.measure) {
            None => refuse("the measure must be amount, model_calls, iterations, tool_calls or minutes"),
            Some(Measure::Amount) => Usd::parse_amount(&self.extra).map_or_else(
                || refuse("the amount must be above 0 with its currency: `10USD`"),
                |extra| Ok((Measure::Amount, extra.0)),
            ),
            Some(measure) => {
                count().map_or_else(|| refuse("the number must be from 1 to 1000000000"), |extra| Ok((measure, extra)))
            }
        }
    }
}
