//! `POST /-/budgets/grants`: raises a budget of one key for a time. The grant becomes a [`BudgetRecord`] in a request of
//! tollgate's own, so that it goes through pipelines like everything else: the ledger, the vault and back ends have it,
//! and a restart knows it. It is answered once it is committed. `access_control` decides who may post; the command is
//! `tollgate budgets grant` (`cli/budgets`).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use serde::{Deserialize, Serialize};

use crate::app::build::InletCell;
use budgets::config::{Budget, parse_amount};
use budgets::{BudgetDesk, BudgetRecord, Measure, Names, RecordKind, Scope};
use kernel::calendar::rfc3339;
use kernel::clock::{Clock, UnixNanos};
use kernel::pseudonym::{IdPolicy, PREFIX, is_pseudonym};
use kernel::rng::Rng;
use otlp::Signal;
use pipeline::{BytePermit, Clearance, ClientIdentity, InternalInput, Outcome, Submission, Trust};
use telemetry::admin::auth::KnownClient;

#[cfg(test)]
mod tests;

pub(crate) const GRANTS_PATH: &str = "/-/budgets/grants";
/// Longest time of a grant, in seconds: 31 days.
const MAX_SECONDS: u64 = 31 * 86_400;
/// Longest reason, key and account, in bytes.
const MAX_REASON: usize = 500;
const MAX_NAME: usize = 256;
/// Most calls, iterations or minutes.
const MAX_COUNT: u64 = 1_000_000_000;

/// The name of a client whose port asks for no credentials.
const LOCAL_CLIENT: &str = "local";

/// What is asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GrantRequest {
    /// The run, session, user, …: as the client sends it, or a pseudonym as pages show it.
    pub(crate) key: String,
    pub(crate) account: String,
    /// Default: that of the budget, or else `user`.
    pub(crate) scope: Option<String>,
    /// Default: all budgets of the scope.
    pub(crate) budget: Option<String>,
    /// What is added: exactly one of these.
    pub(crate) amount: Option<String>,
    pub(crate) model_calls: Option<u64>,
    pub(crate) iterations: Option<u64>,
    pub(crate) tool_calls: Option<u64>,
    pub(crate) minutes: Option<u64>,
    pub(crate) seconds: u64,
    pub(crate) reason: String,
}

/// What was granted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GrantAnswer {
    pub(crate) account: String,
    pub(crate) scope: String,
    /// In the form that pages show.
    pub(crate) key: String,
    /// The budgets that are raised.
    pub(crate) budgets: Vec<String>,
    pub(crate) measure: String,
    pub(crate) extra: String,
    pub(crate) until: String,
}

/// State of the route.
#[derive(Clone)]
pub(super) struct BudgetGrants {
    pub(super) desk: Option<Arc<dyn BudgetDesk>>,
    /// The receiver under which a request reaches the desk.
    pub(super) receiver: Option<Arc<str>>,
    pub(super) inlet: InletCell,
    pub(super) ids: Arc<dyn IdPolicy>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Arc<dyn Rng>,
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
    let who = client.as_ref().map_or(LOCAL_CLIENT, |client| &*client.name);
    match grants.grant(&body, who).await {
        Ok(answer) => {
            let body = serde_json::to_vec(&answer).unwrap_or_default();
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err((status, why)) => (status, format!("{why}\n")).into_response(),
    }
}

impl BudgetGrants {
    async fn grant(&self, body: &[u8], who: &str) -> Result<GrantAnswer, Refusal> {
        let Ok(request) = serde_json::from_slice::<GrantRequest>(body) else {
            return refuse("the body is no grant: see `tollgate budgets grant --help`");
        };
        let Some(desk) = &self.desk else {
            return refuse("no budgets are configured: set `budgets` of the processor `runs`");
        };
        let (scope, budgets) = find_budgets(desk.budgets(), &request)?;
        let (measure, extra) = request.extra()?;
        check_texts(&request)?;
        let limits_it = |budget: &&&Budget| budget.limits.iter().any(|(limited, _)| *limited == measure);
        let raised: Vec<String> = budgets.iter().filter(limits_it).map(|budget| budget.name.clone()).collect();
        if raised.is_empty() {
            return refuse(format!("no such budget limits `{}`", measure.as_str()));
        }
        let account = &*request.account;
        let (key, names) = self.name_key(scope, account, &request.key);
        let now = self.clock.now();
        let until = now.0.saturating_add(request.seconds.saturating_mul(1_000_000_000));
        let redact = |text: &str| self.ids.redact_column(account, text).into_owned();
        let record = BudgetRecord {
            kind: RecordKind::Grant,
            budget: request.budget.clone().unwrap_or_default(),
            scope,
            key: key.clone(),
            shadow: false,
            measure,
            spent: 0,
            limit: extra,
            until,
            who: redact(who),
            why: redact(request.reason.trim()),
        };
        self.commit(account, &record, &names, now).await?;
        tracing::info!(
            client = who,
            scope = scope.as_str(),
            seconds = request.seconds,
            "a budget was raised by a grant"
        );
        let (account, scope) = (account.to_owned(), scope.as_str().to_owned());
        let (extra, until) = (measure.decimal(extra), rfc3339(UnixNanos(until)));
        Ok(GrantAnswer { account, scope, key, budgets: raised, measure: measure.as_str().to_owned(), extra, until })
    }

    /// The key in the form that pages show, and as the record's span names it. A pseudonym stays, and is not the id that
    /// a client sends.
    fn name_key(&self, scope: Scope, account: &str, key: &str) -> (String, Names) {
        if is_pseudonym(key) {
            return (key.to_owned(), Names::default());
        }
        let (text, id) = (Some(key.to_owned()), || self.ids.shown_id(account, key).into_owned());
        let label = || self.ids.redact_column(account, key).into_owned();
        let none = Names::default();
        match scope {
            Scope::Run => (id(), Names { run: text, ..none }),
            Scope::Session => (id(), Names { session: text, ..none }),
            Scope::User => (self.ids.pseudonym(account, key), Names { user: text, ..none }),
            Scope::Tenant => (id(), Names { tenant: text, ..none }),
            Scope::Feature => (label(), Names { feature: text, ..none }),
            Scope::Issue => (label(), Names { issue: text, ..none }),
            Scope::Account => (account.to_owned(), none),
        }
    }

    async fn commit(&self, account: &str, record: &BudgetRecord, names: &Names, now: UnixNanos) -> Result<(), Refusal> {
        let not_now =
            || (StatusCode::SERVICE_UNAVAILABLE, "the grant can't be stored now: retry in a few seconds".to_owned());
        let Some(receiver) = &self.receiver else {
            return refuse("no pipeline for traces has the processor `runs` with the budgets");
        };
        let inlet = self.inlet.get().ok_or_else(not_now)?;
        let wire = Bytes::from(BudgetRecord::encode(std::slice::from_ref(record), names, now.0, || self.rng.id()));
        let mut permit = BytePermit::new();
        inlet.budget().charge(&mut permit, wire.len()).await.map_err(|_| not_now())?;
        let submission = Submission {
            signal: Signal::Traces,
            wire,
            permit,
            account: account.into(),
            identity: ClientIdentity::Unverified,
            receiver: Arc::clone(receiver),
            transport: "http",
            trust: Trust::Internal,
            effects: Vec::new(),
            source_record: None,
        };
        let input = InternalInput { effects: Vec::new(), clearance: Clearance::RECEIVED };
        match inlet.submit_internal(submission, input).await {
            Outcome::Accepted => Ok(()),
            _ => Err(not_now()),
        }
    }
}

/// The scope of a grant, and the budgets that it may raise.
fn find_budgets<'d>(configured: &'d [Budget], request: &GrantRequest) -> Result<(Scope, Vec<&'d Budget>), Refusal> {
    let asked = match request.scope.as_deref().map(|word| (word, Scope::parse(word))) {
        Some((_, None)) => {
            let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
            return refuse(format!("the scope must be one of {}", known.join(", ")));
        }
        Some((_, scope)) => scope,
        None => None,
    };
    let Some(name) = &request.budget else {
        let scope = asked.unwrap_or(Scope::User);
        let of_scope: Vec<&Budget> = configured.iter().filter(|budget| budget.scope == scope).collect();
        let none = format!("no budget has the scope `{}`", scope.as_str());
        return if of_scope.is_empty() { refuse(none) } else { Ok((scope, of_scope)) };
    };
    let Some(budget) = configured.iter().find(|budget| budget.name == *name) else {
        let known: Vec<_> = configured.iter().map(|budget| &*budget.name).collect();
        return refuse(format!("no budget has this name: there are {}", known.join(", ")));
    };
    match asked.filter(|scope| *scope != budget.scope) {
        Some(_) => refuse(format!("the budget {name} has the scope `{}`", budget.scope.as_str())),
        None => Ok((budget.scope, vec![budget])),
    }
}

fn check_texts(request: &GrantRequest) -> Result<(), Refusal> {
    let GrantRequest { key, account, reason, seconds, .. } = request;
    let is_bad =
        |text: &str, limit: usize| text.trim().is_empty() || text.len() > limit || text.chars().any(char::is_control);
    let has_damaged_pseudonym = key.starts_with(PREFIX) && !is_pseudonym(key);
    let problems = [
        (is_bad(key, MAX_NAME), "the key must be one line of at most 256 bytes"),
        (has_damaged_pseudonym, "a key that begins with `h-` must be a pseudonym as pages show it"),
        (is_bad(account, MAX_NAME), "the account must be one line of at most 256 bytes"),
        (is_bad(reason, MAX_REASON), "the reason must be one line of at most 500 bytes"),
        (!(1..=MAX_SECONDS).contains(seconds), "the time must be from 1 second to 31 days"),
    ];
    problems.into_iter().find(|(is_bad, _)| *is_bad).map_or(Ok(()), |(_, why)| refuse(why))
}

impl GrantRequest {
    /// What is added, of which measure.
    fn extra(&self) -> Result<(Measure, i128), Refusal> {
        let amount = self.amount.as_deref().map(parse_amount);
        if amount == Some(None) {
            return refuse("the amount must be above 0 with its currency: `10USD`");
        }
        let count = |number: Option<u64>| number.map(i128::from);
        let extras = [
            (Measure::Amount, amount.flatten()),
            (Measure::ModelCalls, count(self.model_calls)),
            (Measure::Iterations, count(self.iterations)),
            (Measure::ToolCalls, count(self.tool_calls)),
            (Measure::Minutes, count(self.minutes)),
        ];
        let mut given = extras.into_iter().filter_map(|(measure, extra)| Some((measure, extra?)));
        let (Some((measure, extra)), None) = (given.next(), given.next()) else {
            return refuse("one of amount, model calls, iterations, tool calls and minutes must be given");
        };
        let is_fit = measure == Measure::Amount || (1..=i128::from(MAX_COUNT)).contains(&extra);
        if is_fit { Ok((measure, extra)) } else { refuse("the number must be from 1 to 1000000000") }
    }
}
