//! Sums over runs, live ones up to now: [`UsageSum`] by tenant, feature, model, user and session;
//! [`InvestigationStats`].

use std::collections::BTreeMap;

use genai::CallTokenBuckets;
use serde::{Deserialize, Serialize};

use super::{ModelTotals, RunView, combine_buckets};

/// Sum over the runs of one tenant, model and so on, live ones up to now.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSum {
    /// Runs; for a model, those in which it answered; for a tenant, those with calls of the tenant.
    pub runs: u64,
    pub live: u64,
    /// Finished runs that failed.
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
    /// Answered calls without a price.
    pub unpriced: u64,
}

impl UsageSum {
    pub fn add_run(&mut self, run: &RunView) {
        let totals = &run.totals;
        let mut share = ModelTotals::default();
        totals.models.values().for_each(|model| share.add(model));
        self.add_share(run, &share);
        self.iterations += totals.iterations;
        self.failed_calls += totals.failed_calls;
        self.tool_calls += totals.tool_calls();
        self.tool_failures += totals.tool_failures();
        self.duration = self.duration.saturating_add(run.duration);
    }

    /// Adds a share of a run: that of one model or tenant.
    pub fn add_share(&mut self, run: &RunView, share: &ModelTotals) {
        self.runs += 1;
        let is_live = run.state == super::RunState::Live;
        self.live += u64::from(is_live);
        // A live run with a failure may still succeed.
        self.failed += u64::from(run.failed && !is_live);
        self.killed += u64::from(run.state == super::RunState::Killed);
        self.calls += share.calls;
        self.tokens = combine_buckets(self.tokens, share.tokens, u64::saturating_add);
        self.atto_usd = self.atto_usd.saturating_add(share.atto_usd);
        self.unpriced += share.unpriced;
    }

    /// Number of runs that are over.
    pub fn finished(&self) -> u64 {
        self.runs.saturating_sub(self.live)
    }

    /// Subtracts a sum that was added before.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, u64::saturating_sub, i128::saturating_sub);
    }

    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add, i128::saturating_add);
    }

    fn combine(&mut self, other: &Self, count: fn(u64, u64) -> u64, cost: fn(i128, i128) -> i128) {
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
            *sum = count(*sum, part);
        }
        self.tokens = combine_buckets(self.tokens, other.tokens, count);
        self.atto_usd = cost(self.atto_usd, other.atto_usd);
    }
}

/// Sums over all runs since the state began, live ones up to now.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct RunSums {
    pub all: UsageSum,
    /// By tenant (equal names of different accounts are added up); `unattributed` without one, `other` beyond 200.
    pub by_tenant: BTreeMap<String, UsageSum>,
    pub by_feature: BTreeMap<String, UsageSum>,
    pub by_model: BTreeMap<String, UsageSum>,
    /// By user (keyed pseudonyms): the 1,000 most expensive, and `other`.
    pub by_user: BTreeMap<String, UsageSum>,
    pub by_session: BTreeMap<String, UsageSum>,
    /// The same for each account; the inner sums have an empty `by_account`.
    #[serde(skip)]
    pub by_account: BTreeMap<String, RunSums>,
}

impl RunSums {
    /// Adds the sums of another tracker.
    pub fn add(&mut self, other: &Self) {
        self.all.add(&other.all);
        let maps = [
            (&mut self.by_tenant, &other.by_tenant),
            (&mut self.by_feature, &other.by_feature),
            (&mut self.by_model, &other.by_model),
            (&mut self.by_user, &other.by_user),
            (&mut self.by_session, &other.by_session),
        ];
        for (own_sums, other_sums) in maps {
            other_sums.iter().for_each(|(name, sum)| own_sums.entry(name.clone()).or_default().add(sum));
        }
        for (account, sums) in &other.by_account {
            self.by_account.entry(account.clone()).or_default().add(sums);
        }
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
