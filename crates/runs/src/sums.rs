//! **What**: runs added up, live ones up to now: [`Sum`] by tenant, feature, model, user and session;
//! [`Investigations`].

use std::collections::BTreeMap;

use genai::Buckets;

use super::{ModelTotals, RunView, add, subtract};

/// Runs of one tenant, model and so on, added up, live ones up to now.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sum {
    /// Runs (of a model: in which it answered; of a tenant: with calls of theirs).
    pub runs: u64,
    /// Of these, not over.
    pub live: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Of these, ended by a limit.
    pub killed: u64,
    /// Iterations (of a model: none).
    pub iterations: u64,
    /// Model calls that were answered.
    pub calls: u64,
    /// Model calls that were not (of a model: none).
    pub failed_calls: u64,
    /// Tool calls (of a model: none).
    pub tool_calls: u64,
    /// Of these, failed.
    pub tool_failures: u64,
    /// Their durations, ns (of a model: none).
    pub duration: u64,
    /// Tokens.
    pub tokens: Buckets,
    /// Cost, 1e-18 USD, without unpriced calls.
    pub atto_usd: i128,
    /// Answered calls without a price.
    pub unpriced: u64,
}

impl Sum {
    /// Adds one run.
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
        let live = run.state == super::RunState::Live;
        self.live += u64::from(live);
        // a live run may still go well
        self.failed += u64::from(run.failed && !live);
        self.killed += u64::from(run.state == super::RunState::Killed);
        self.calls += share.calls;
        self.tokens = add(self.tokens, share.tokens);
        self.atto_usd = self.atto_usd.saturating_add(share.atto_usd);
        self.unpriced += share.unpriced;
    }

    /// Takes out what was added before.
    pub fn subtract(&mut self, other: &Self) {
        let less = |mine: &mut u64, theirs: u64| *mine = mine.saturating_sub(theirs);
        less(&mut self.runs, other.runs);
        less(&mut self.live, other.live);
        less(&mut self.failed, other.failed);
        less(&mut self.killed, other.killed);
        less(&mut self.iterations, other.iterations);
        less(&mut self.calls, other.calls);
        less(&mut self.failed_calls, other.failed_calls);
        less(&mut self.tool_calls, other.tool_calls);
        less(&mut self.tool_failures, other.tool_failures);
        less(&mut self.duration, other.duration);
        self.tokens = subtract(self.tokens, other.tokens);
        self.atto_usd = self.atto_usd.saturating_sub(other.atto_usd);
        less(&mut self.unpriced, other.unpriced);
    }

    /// Adds another sum.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.live += other.live;
        self.failed += other.failed;
        self.killed += other.killed;
        self.iterations += other.iterations;
        self.calls += other.calls;
        self.failed_calls += other.failed_calls;
        self.tool_calls += other.tool_calls;
        self.tool_failures += other.tool_failures;
        self.duration = self.duration.saturating_add(other.duration);
        self.tokens = add(self.tokens, other.tokens);
        self.atto_usd = self.atto_usd.saturating_add(other.atto_usd);
        self.unpriced += other.unpriced;
    }
}

/// What runs add up to since the state began, live ones up to now.
#[derive(Clone, Default)]
pub struct RunSums {
    /// All of them.
    pub all: Sum,
    /// By tenant (of one name in all accounts); `unattributed` without one, `other` beyond 200.
    pub by_tenant: BTreeMap<String, Sum>,
    /// By feature, likewise.
    pub by_feature: BTreeMap<String, Sum>,
    /// By model, likewise.
    pub by_model: BTreeMap<String, Sum>,
    /// By user (keyed pseudonyms): the 1,000 of the highest cost, and `other`.
    pub by_user: BTreeMap<String, Sum>,
    /// By session, likewise.
    pub by_session: BTreeMap<String, Sum>,
    /// The same of each account, whose names are its own; empty in these.
    pub by_account: BTreeMap<String, RunSums>,
}

impl RunSums {
    /// Adds what another tracker added up.
    pub fn add(&mut self, other: &Self) {
        self.all.add(&other.all);
        let maps = [
            (&mut self.by_tenant, &other.by_tenant),
            (&mut self.by_feature, &other.by_feature),
            (&mut self.by_model, &other.by_model),
            (&mut self.by_user, &other.by_user),
            (&mut self.by_session, &other.by_session),
        ];
        for (mine, theirs) in maps {
            theirs.iter().for_each(|(name, sum)| mine.entry(name.clone()).or_default().add(sum));
        }
        for (account, sums) in &other.by_account {
            self.by_account.entry(account.clone()).or_default().add(sums);
        }
    }
}

/// Investigations (runs that share an incident) of one kind of agent.
#[derive(Clone, Default)]
pub struct Investigations {
    /// How many are known.
    pub count: u64,
    /// Of these, judged by a human.
    pub judged: u64,
    /// Of these, overridden.
    pub overridden: u64,
    /// The 95th percentile of tool calls per investigation.
    pub tool_calls_p95: f64,
    /// Mean tool calls.
    pub tool_calls_mean: f64,
    /// Cost of all, 1e-18 USD.
    pub atto_usd: i128,
    /// Mean seconds to resolution by tenths of confidence (0.0–0.1 is the first) and how many; only of those that tell
    /// both.
    pub resolution: [(u64, f64); 10],
}
