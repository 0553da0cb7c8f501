//! Sums over runs, live ones up to now: [`UsageSum`] by tenant, feature, model, user and session;
//! [`InvestigationStats`].

use std::collections::BTreeMap;

use genai::CallTokenBuckets;
use serde::{Deserialize, Serialize};

use super::fair_eviction::split_fairly;
use super::record::RunRecord;
use super::totals::{ModelTotals, OTHER, UNATTRIBUTED, combine_buckets, total_input_tokens};
use super::view::RunState;

/// Sum over the runs of one tenant, model and so on, live ones up to now.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSum {
    /// Runs; for a model, those in which it answered; for a tenant, those with calls of the tenant.
    pub runs: u64,
    pub live: u64,
    /// Finished runs that failed or were ended by a limit.
    pub failed: u64,
    /// Runs that were ended by a limit.
    pub killed: u64,
    /// Iterations (0 for a model).
    pub iterations: u64,
    /// Model calls that were answered.
    pub calls: u64,
    /// Model calls that were not answered (0 for a model).
    pub failed_calls: u64,
    /// Tool calls (0 for a model).
    pub tool_calls: u64,
    /// Tool calls that failed.
    pub tool_failures: u64,
    /// Sum of the durations, ns (0 for a model).
    pub duration: u64,
    pub tokens: CallTokenBuckets,
    /// Cost, 1e-18 USD, without unpriced calls.
    pub atto_usd: i128,
    /// The part of the cost that plans cover.
    #[serde(skip)]
    pub covered_atto_usd: i128,
    /// What caching saved.
    #[serde(skip)]
    pub saved_atto_usd: i128,
    /// Answered calls without a price.
    pub unpriced: u64,
}

impl UsageSum {
    /// The sum of one run.
    pub fn of_run(run: &RunRecord<'_>) -> Self {
        Self {
            iterations: run.iterations,
            failed_calls: run.failed_calls,
            tool_calls: run.tools.iter().map(|(_, tool)| tool.calls()).sum(),
            tool_failures: run.tools.iter().map(|(_, tool)| tool.failed).sum(),
            duration: run.duration,
            ..Self::of_share(run, &run.total())
        }
    }

    /// A share of a run: that of one model or tenant.
    pub fn of_share(run: &RunRecord<'_>, share: &ModelTotals) -> Self {
        Self {
            runs: 1,
            live: u64::from(run.state.is_live()),
            failed: u64::from(run.state.is_failed()),
            killed: u64::from(run.state == RunState::Killed),
            calls: share.calls,
            tokens: share.tokens,
            atto_usd: share.atto_usd,
            covered_atto_usd: share.covered_atto_usd,
            saved_atto_usd: share.saved_atto_usd,
            unpriced: share.unpriced,
            ..Self::default()
        }
    }

    /// The shares of a run's tenants, of whose sum this is: first that of its own tenant, which has all that is not a
    /// call's, then those of others.
    pub fn by_tenant<'r>(&self, run: &'r RunRecord<'_>) -> impl Iterator<Item = (Option<&'r str>, Self)> {
        let mut own = run.total();
        run.other_tenants.iter().for_each(|(_, other)| own.subtract(other));
        let ModelTotals { calls, tokens, atto_usd, covered_atto_usd, saved_atto_usd, unpriced, .. } = own;
        let own = Self { calls, tokens, atto_usd, covered_atto_usd, saved_atto_usd, unpriced, ..self.clone() };
        let others = run
            .other_tenants
            .iter()
            .map(|(name, other)| (Some(*name).filter(|name| *name != UNATTRIBUTED), Self::of_share(run, other)));
        std::iter::once((run.tenant, own)).chain(others)
    }

    /// What is to pay, 1e-18 USD.
    pub fn payable(&self) -> i128 {
        self.atto_usd.saturating_sub(self.covered_atto_usd)
    }

    /// Input tokens, including cached ones.
    pub fn input(&self) -> u64 {
        total_input_tokens(&self.tokens)
    }

    /// Number of runs that are over.
    pub fn finished(&self) -> u64 {
        self.runs.saturating_sub(self.live)
    }

    pub fn add(&mut self, other: &Self) {
        for (sum, part) in [
            (&mut self.runs, other.runs),
            (&mut self.live, other.live),
            (&mut self.failed, other.failed),
            (&mut self.killed, other.killed),
            (&mut self.iterations, other.iterations),
            (&mut self.calls, other.calls),
            (&mut self.failed_calls, other.failed_calls),
            (&mut self.tool_calls, other.tool_calls),
            (&mut self.tool_failures, other.tool_failures),
            (&mut self.duration, other.duration),
            (&mut self.unpriced, other.unpriced),
        ] {
            *sum = sum.saturating_add(part);
        }
        self.tokens = combine_buckets(self.tokens, other.tokens, u64::saturating_add);
        self.atto_usd = self.atto_usd.saturating_add(other.atto_usd);
        self.covered_atto_usd = self.covered_atto_usd.saturating_add(other.covered_atto_usd);
        self.saved_atto_usd = self.saved_atto_usd.saturating_add(other.saved_atto_usd);
    }
}

/// Maximum number of tenants, features, models or services with a sum of their own, and of users or sessions.
const MAX_NAMED_SUMS: usize = 200;
const MAX_USERS_OR_SESSIONS: usize = 1000;

/// Sums over runs, live ones up to now.
#[derive(Clone, Default)]
pub struct RunSums {
    pub all: UsageSum,
    /// By tenant (equal names of different accounts are added up); `unattributed` without one, `other` beyond 200.
    pub by_tenant: BTreeMap<String, UsageSum>,
    pub by_feature: BTreeMap<String, UsageSum>,
    pub by_model: BTreeMap<String, UsageSum>,
    pub by_service: BTreeMap<String, UsageSum>,
    /// By user (keyed pseudonyms): the 1,000 most expensive, and `other`.
    pub by_user: BTreeMap<String, UsageSum>,
    pub by_session: BTreeMap<String, UsageSum>,
    /// The same for each account; the inner sums have an empty `by_account`.
    pub by_account: BTreeMap<String, RunSums>,
}

type SumsByName = BTreeMap<String, UsageSum>;

type SumsMap = fn(&mut RunSums) -> &mut SumsByName;

/// The maps of [`RunSums`], with the maximum number of names in each.
const MAPS: [(SumsMap, usize); 6] = [
    (|sums| &mut sums.by_tenant, MAX_NAMED_SUMS),
    (|sums| &mut sums.by_feature, MAX_NAMED_SUMS),
    (|sums| &mut sums.by_model, MAX_NAMED_SUMS),
    (|sums| &mut sums.by_service, MAX_NAMED_SUMS),
    (|sums| &mut sums.by_user, MAX_USERS_OR_SESSIONS),
    (|sums| &mut sums.by_session, MAX_USERS_OR_SESSIONS),
];

/// The entry of a name, which is copied only if it is new.
fn entry<'m, T: Default>(map: &'m mut BTreeMap<String, T>, name: &str) -> Option<&'m mut T> {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), T::default());
    }
    map.get_mut(name)
}

impl RunSums {
    /// Adds up runs, by account; [`Self::finish`] adds the accounts.
    pub fn add_run(&mut self, run: &RunRecord<'_>) {
        let Some(own) = entry(&mut self.by_account, run.account) else { return };
        let sum = UsageSum::of_run(run);
        let add = |sums: &mut SumsByName, name: Option<&str>, share: &UsageSum| {
            entry(sums, name.unwrap_or(UNATTRIBUTED)).into_iter().for_each(|sum| sum.add(share));
        };
        for (tenant, share) in sum.by_tenant(run) {
            add(&mut own.by_tenant, tenant, &share);
        }
        for (model, share) in &run.models {
            add(&mut own.by_model, Some(model), &UsageSum::of_share(run, share));
        }
        add(&mut own.by_feature, run.feature, &sum);
        add(&mut own.by_service, run.service, &sum);
        add(&mut own.by_user, run.user, &sum);
        add(&mut own.by_session, Some(run.session), &sum);
        own.all.add(&sum);
    }

    /// The sums of all accounts. The cheapest names beyond the maximum, of the accounts with most names, become
    /// `other`.
    pub fn finish(mut self) -> Self {
        for (map, max_names) in MAPS {
            let names = self.by_account.iter_mut().flat_map(|(account, sums)| {
                map(sums).iter().map(move |(name, sum)| (&**account, (sum.atto_usd, sum.runs), 1, (account, name)))
            });
            let excess = split_fairly(names.filter(|(.., (_, name))| *name != OTHER), max_names).1;
            let excess: Vec<(String, String)> =
                excess.into_iter().map(|(account, name)| (account.clone(), name.clone())).collect();
            for (account, name) in excess {
                let Some(sums) = self.by_account.get_mut(&account).map(map) else { continue };
                let sum = sums.remove(&name).unwrap_or_default();
                sums.entry(OTHER.to_owned()).or_default().add(&sum);
            }
        }
        for own in self.by_account.values_mut() {
            self.all.add(&own.all);
        }
        let mut accounts = std::mem::take(&mut self.by_account);
        for (map, _) in MAPS {
            for (name, sum) in accounts.values_mut().flat_map(|own| map(own).iter()) {
                map(&mut self).entry(name.clone()).or_default().add(sum);
            }
        }
        self.by_account = accounts;
        self
    }
}

/// Investigations (runs that share an incident) of one kind of agent.
#[derive(Clone, Default)]
pub struct InvestigationStats {
    /// Number of known investigations.
    pub count: u64,
    pub judged: u64,
    pub overridden: u64,
    /// The 95th percentile of tool calls per investigation.
    pub tool_calls_p95: f64,
    pub tool_calls_mean: f64,
    /// Cost of all, 1e-18 USD.
    pub atto_usd: i128,
    /// For each tenth of confidence (the first is 0.0–0.1): the number of investigations that report confidence and
    /// time to resolution, and the mean of that time in seconds.
    pub resolution: [(u64, f64); 10],
}
