//! [`AlertEvaluator`]: alerts that a metrics store cannot compute because they need single runs or medians: loops,
//! iteration ceilings, runs that do not end, sessions that cost or take far more than is usual for their feature,
//! drift of a feature or tenant. An alert about a run or session fires once and ends with it; drift may fire again. No
//! rule depends on the number of runs, so more traffic alone fires nothing. All state is bounded. `evaluation` decides
//! when a run is over; `runs::RunCatalog` shows alerts and `outbox` passes them to connectors.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, TimeSpan};
use kernel::bounded_map::{AccountHash, BoundedMap};
use runs::fair_eviction::choose_eviction;
use runs::{
    Alert, AlertRule, CallStreak, RunOwner, RunPeaks, RunState, RunTotals, RunView, SessionView, total_input_tokens,
};

use super::codec::{put, put_list, take};
use super::observation::nanos;
use super::run::Run;

/// Maximum number of active alerts. Beyond it, the oldest alert of the account with the most is ended.
const MAX_ACTIVE: usize = 1000;
/// Maximum number of ended alerts that are still shown.
const MAX_ENDED: usize = 200;
/// Maximum number of features (and of tenants) with a baseline, over all accounts.
const MAX_BASELINES: usize = 200;
/// Ended runs or sessions in one baseline.
const BASELINE_LEN: usize = 200;

kernel::with_defaults! {
    /// Thresholds of the alerts.
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct AlertThresholds {
        /// Fires at this many identical calls of one tool in a row. Default: 5.
        pub identical_calls: u32 = 5,
        /// Fires above this many calls of one tool within `tool_window`. Default: 20.
        pub tool_calls: u32 = 20,
        /// Fires above this many tool calls of a run that repeat a failed call. Default: 2.
        pub tool_retries: u32 = 2,
        /// Fires for a run that has not ended after this long. Default: 1 hour.
        pub overdue_after: TimeSpan = TimeSpan::seconds(3600),
        /// Warns of a session that costs more than this multiple of its feature's median. Default: 5.
        pub session_cost: f64 = 5.0,
        /// Above this multiple of the median, the session counts as a runaway (critical). Default: 50.
        pub session_cost_runaway: f64 = 50.0,
        /// Fires for a session that takes longer than this multiple of its feature's 95th percentile. Default: 2.
        pub session_duration: f64 = 2.0,
        /// Fires when tokens per run of a feature, or cost per run of a tenant, in the latest runs exceed the runs
        /// before by this factor. Default: 1.5.
        pub drift: f64 = 1.5,
        /// Number of ended runs or sessions that a median or a percentile needs. A drift compares this many with as
        /// many before them, so it needs twice the number. Default: 30.
        pub min_runs: u32 = 30,
    }
}

impl AlertThresholds {
    pub(super) fn check(&self, problems: &mut Vec<FieldProblem>) {
        let factors = [
            ("session_cost", self.session_cost),
            ("session_cost_runaway", self.session_cost_runaway),
            ("session_duration", self.session_duration),
            ("drift", self.drift),
        ];
        for (name, _) in factors.iter().filter(|(_, factor)| factor.is_nan() || *factor <= 1.0) {
            problems.push(FieldProblem::new(format!("alerts.{name}"), "must be more than 1"));
        }
        if self.identical_calls < 2 {
            problems.push(FieldProblem::new("alerts.identical_calls", "must be at least 2"));
        }
        if !(5..=BASELINE_LEN as u32 / 2).contains(&self.min_runs) {
            problems.push(FieldProblem::new("alerts.min_runs", format!("must be from 5 to {}", BASELINE_LEN / 2)));
        }
    }
}

/// Baseline: values of the latest ended runs or sessions of a feature or tenant, oldest first.
#[derive(Clone, Default, Serialize, Deserialize)]
struct BaselineValues(VecDeque<f64>);

impl BaselineValues {
    fn add(&mut self, value: f64) {
        self.0.push_back(value);
        self.0.drain(..self.0.len().saturating_sub(BASELINE_LEN));
    }

    /// The percentile at `share`; `None` with fewer than `min_values` values or if it is not positive.
    fn percentile(&self, share: f64, min_values: usize) -> Option<f64> {
        let values = (self.0.len() >= min_values).then(|| self.0.iter().copied().collect())?;
        Some(percentile(values, share)).filter(|value| *value > 0.0)
    }

    /// The median of the latest `count` values divided by the median of the values before, which must be at least as
    /// many.
    fn drift(&self, count: usize) -> Option<f64> {
        let earlier_count = self.0.len().checked_sub(count).filter(|earlier| *earlier >= count)?;
        let median = |values: &mut dyn Iterator<Item = &f64>| Self(values.copied().collect()).percentile(0.5, 1);
        let earlier = median(&mut self.0.iter().take(earlier_count))?;
        let latest = median(&mut self.0.iter().skip(earlier_count))?;
        Some(latest / earlier)
    }
}

/// The nearest-rank percentile; 0 if there are no values.
pub(super) fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct FeatureBaseline {
    session_cost: BaselineValues,
    session_duration: BaselineValues,
    run_tokens: BaselineValues,
}

impl FeatureBaseline {
    /// The median of the cost (USD) and the 95th percentile of the duration (seconds) of sessions.
    fn usual_session(&self, limits: &AlertThresholds) -> [Option<f64>; 2] {
        let min_runs = limits.min_runs as usize;
        [self.session_cost.percentile(0.5, min_runs), self.session_duration.percentile(0.95, min_runs)]
    }
}

/// Rule, account, subject.
type AlertKey = (AlertRule, (String, String));

fn rule_bit(rule: AlertRule) -> u16 {
    AlertRule::rules().position(|one| one == rule).map_or(0, |number| 1 << number)
}

#[derive(Default)]
pub(super) struct AlertEvaluator {
    active: BTreeMap<AlertKey, Alert>,
    ended: BoundedMap<u64, Alert, MAX_ENDED>,
    features: Baselines<FeatureBaseline>,
    tenants: Baselines<BaselineValues>,
    /// Computed from `features`; reset when a session is added to them.
    bounds: Option<Arc<SessionBounds>>,
}

/// By account and name ([`account_scoped_name`]).
type Baselines<T> = BoundedMap<String, T, MAX_BASELINES>;

fn take_baselines<T: DeserializeOwned>(from: &mut &[u8]) -> Option<Baselines<T>> {
    let mut baselines = Baselines::default();
    for (name, baseline) in take::<Vec<(String, T)>>(from)? {
        let account = AccountHash::from(name.split('\n').next().unwrap_or_default());
        baselines.insert_for(account, name, baseline, 1);
    }
    Some(baselines)
}

/// Cost (USD) and duration (seconds) above which a session of a feature fires an alert, by [`account_scoped_name`].
pub(super) type SessionBounds = BTreeMap<String, (f64, f64)>;

/// A name with its account, so that equal names of two accounts stay apart.
pub(super) fn account_scoped_name(account: &str, name: &str) -> String {
    format!("{account}\n{name}")
}

/// The thresholds and the time of one evaluation.
#[derive(Clone, Copy)]
pub(super) struct RuleContext<'a> {
    pub(super) limits: &'a AlertThresholds,
    pub(super) ceiling: u64,
    /// Wall clock, unix ns; 0 = not known yet.
    pub(super) now: u64,
}

/// A broken rule, with value, threshold and the tool that it is about ("" = none).
type BrokenRule<'r> = (AlertRule, f64, f64, &'r str);

impl RuleContext<'_> {
    /// Whether an unfinished run may break a rule. A cheap pre-check: it may be wrong, but never misses a run.
    pub(super) fn is_suspect(&self, run: &Run) -> bool {
        self.broken_rules(&run.totals, &run.peaks, run.killed, run.start).next().is_some()
    }

    /// `unended_since`: start of a run that has not ended, otherwise 0.
    fn broken_rules<'r>(
        &self,
        totals: &RunTotals,
        peaks: &'r RunPeaks,
        is_killed: bool,
        unended_since: u64,
    ) -> impl Iterator<Item = BrokenRule<'r>> {
        let (used, ceiling) = (totals.iterations as f64, self.ceiling as f64);
        let count_and_tool = |streak: &'r Option<CallStreak>| {
            streak.as_ref().map_or((0.0, ""), |streak| (streak.count as f64, &*streak.tool))
        };
        let (identical, identical_tool) = count_and_tool(&peaks.identical_row);
        let (in_window, busiest_tool) = count_and_tool(&peaks.busiest_window);
        let retries = totals.tool_retries() as f64;
        let limits = self.limits;
        let [max_identical, max_calls, max_retries] =
            [limits.identical_calls, limits.tool_calls, limits.tool_retries].map(f64::from);
        let age = self.now.saturating_sub(unended_since) as f64 / 1e9;
        let rules = [
            (used >= ceiling, (AlertRule::IterationCeiling, used, ceiling, "")),
            (used >= 0.8 * ceiling && used < ceiling, (AlertRule::IterationCeilingWarning, used, 0.8 * ceiling, "")),
            (identical >= max_identical, (AlertRule::IdenticalToolCalls, identical, max_identical, identical_tool)),
            (in_window > max_calls, (AlertRule::ToolCallsInWindow, in_window, max_calls, busiest_tool)),
            (retries > max_retries, (AlertRule::ToolRetries, retries, max_retries, "")),
            (self.is_overdue(unended_since), (AlertRule::RunOverdue, age, limits.overdue_after.0.as_secs_f64(), "")),
            (is_killed, (AlertRule::LimitHit, 1.0, 0.0, "")),
        ];
        rules.into_iter().filter(|(is_broken, _)| *is_broken).map(|(_, broken)| broken)
    }

    fn is_overdue(&self, start: u64) -> bool {
        start != 0 && self.now.saturating_sub(start) > nanos(self.limits.overdue_after.0)
    }
}

impl AlertEvaluator {
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        put(&self.active, out);
        put_list(self.ended.iter().map(|(_, alert)| alert), out);
        put_list(self.features.iter(), out);
        put_list(self.tenants.iter(), out);
    }

    pub(super) fn load(from: &mut &[u8]) -> Option<Self> {
        let mut alerts = Self { active: take(from)?, ..Self::default() };
        take::<Vec<Alert>>(from)?.into_iter().for_each(|alert| alerts.add_ended(alert));
        Some(Self { features: take_baselines(from)?, tenants: take_baselines(from)?, ..alerts })
    }

    /// Evaluates a run, finished (`over`) or not. `fired` holds the rules that fired for it, as a set of bits. Returns
    /// the alerts that fire now.
    pub(super) fn evaluate_run(
        &mut self,
        view: &RunView,
        over: bool,
        fired: &mut u16,
        rule: RuleContext<'_>,
    ) -> Vec<Alert> {
        let unended_since = if view.state == RunState::Live { view.start } else { 0 };
        let is_killed = view.state == RunState::Killed;
        let mut new = Vec::new();
        for broken in rule.broken_rules(&view.totals, &view.peaks, is_killed, unended_since) {
            let alert = Alert {
                run: view.run.clone(),
                session: view.session.clone(),
                trace: view.trace.clone(),
                tenant: view.tenant.clone(),
                feature: view.feature.clone(),
                ..new_alert(&view.owner, &view.account, rule.now, broken)
            };
            new.extend(self.fire_once(alert, &view.run, fired));
        }
        if over {
            self.end_alerts(&view.account, &view.run, rule.now);
            // until an item named the run, alerts were filed under its trace id
            self.end_alerts(&view.account, &view.trace, rule.now);
        }
        new
    }

    /// Adds a finished run to the baselines of its feature and tenants; returns alerts for drift.
    pub(super) fn update_baselines(&mut self, view: &RunView, rule: RuleContext<'_>) -> Vec<Alert> {
        let least = rule.limits.min_runs as usize;
        let tokens = view.totals.tokens();
        let tokens = total_input_tokens(&tokens).saturating_add(tokens.output) as f64;
        let mut moved = Vec::new();
        if let Some(feature) = &view.feature {
            let drift = self.features.update(&*view.account, account_scoped_name(&view.account, feature), |baseline| {
                baseline.run_tokens.add(tokens);
                baseline.run_tokens.drift(least)
            });
            moved.push((AlertRule::TokensPerRunDrift, feature.clone(), [None, view.feature.clone()], drift));
        }
        for (tenant, share) in view.totals.by_tenant(view.tenant.as_deref()) {
            let Some(tenant) = tenant else { continue };
            let drift = self.tenants.update(&*view.account, account_scoped_name(&view.account, tenant), |costs| {
                costs.add(share.atto_usd as f64);
                costs.drift(least)
            });
            moved.push((AlertRule::CostPerRunDrift, tenant.to_owned(), [view.tenant.clone(), None], drift));
        }
        let mut fired = Vec::new();
        for (drifted, subject, [tenant, feature], drift) in moved {
            match drift {
                Some(drift) if drift > rule.limits.drift => {
                    let broken = (drifted, drift, rule.limits.drift, "");
                    let alert = Alert { tenant, feature, ..new_alert(&view.owner, &view.account, rule.now, broken) };
                    fired.extend(self.fire(alert, &subject));
                }
                _ => self.end_alert(&(drifted, (view.account.clone(), subject)), rule.now),
            }
        }
        fired
    }

    /// Evaluates a session; with `over`, adds it to its feature's baseline. `fired`: see [`Self::evaluate_run`].
    pub(super) fn evaluate_session(
        &mut self,
        view: &SessionView,
        over: bool,
        fired: &mut u16,
        rule: RuleContext<'_>,
    ) -> Vec<Alert> {
        let Some(feature) = view.feature.clone() else { return Vec::new() };
        let (cost, seconds) = (view.totals.atto_usd() as f64 / 1e18, view.duration as f64 / 1e9);
        let known = self.features.get(&account_scoped_name(&view.account, &feature));
        let [median, p95] = known.map_or([None; 2], |known| known.usual_session(rule.limits));
        let broken = |broken_rule: AlertRule, value: f64, factor: f64, usual: Option<f64>| {
            let limit = usual.map(|usual| factor * usual).filter(|limit| value > *limit)?;
            Some((broken_rule, value, limit, ""))
        };
        let runaway = broken(AlertRule::SessionCostRunaway, cost, rule.limits.session_cost_runaway, median);
        let expensive = || broken(AlertRule::SessionCost, cost, rule.limits.session_cost, median);
        let long = broken(AlertRule::SessionDuration, seconds, rule.limits.session_duration, p95);
        let mut new = Vec::new();
        for broken in runaway.or_else(expensive).into_iter().chain(long) {
            let alert = Alert {
                session: view.session.clone(),
                tenant: view.tenant.clone(),
                feature: Some(feature.clone()),
                ..new_alert(&view.owner, &view.account, rule.now, broken)
            };
            new.extend(self.fire_once(alert, &view.session, fired));
        }
        if over {
            self.bounds = None;
            self.features.update(&*view.account, account_scoped_name(&view.account, &feature), |baseline| {
                baseline.session_cost.add(cost);
                baseline.session_duration.add(seconds);
            });
            self.end_alerts(&view.account, &view.session, rule.now);
        }
        new
    }

    /// The bounds that live sessions are compared with.
    pub(super) fn session_bounds(&mut self, limits: &AlertThresholds) -> Arc<SessionBounds> {
        let bounds = |baseline: &FeatureBaseline| {
            let [cost, seconds] = baseline.usual_session(limits);
            let bound = |usual: Option<f64>, factor: f64| usual.map_or(f64::MAX, |usual| usual * factor);
            (cost.is_some() || seconds.is_some())
                .then(|| (bound(cost, limits.session_cost), bound(seconds, limits.session_duration)))
        };
        let bounds_of_features = || {
            let features = self.features.iter();
            features.filter_map(|(name, baseline)| Some((name.clone(), bounds(baseline)?))).collect()
        };
        Arc::clone(self.bounds.get_or_insert_with(|| Arc::new(bounds_of_features())))
    }

    /// Fires an alert of a budget, which is its subject.
    pub(super) fn fire_budget(&mut self, alert: Alert) -> Option<Alert> {
        let subject = alert.tool.clone();
        self.fire(alert, &subject)
    }

    /// The active alerts of budgets.
    pub(super) fn of_budgets(&self) -> impl Iterator<Item = &Alert> {
        self.active.values().filter(|alert| alert.rule.is_of_budget())
    }

    /// Ends the alerts of budgets that do not hold any more.
    pub(super) fn end_budgets(&mut self, now: u64, mut holds: impl FnMut(&Alert) -> bool) {
        let over: Vec<AlertKey> = (self.of_budgets().filter(|alert| !holds(alert)))
            .map(|alert| (alert.rule, (alert.account.clone(), alert.tool.clone())))
            .collect();
        over.iter().for_each(|key| self.end_alert(key, now));
    }

    /// Fires unless the rule fired before for this subject: an alert that ended does not fire again.
    fn fire_once(&mut self, alert: Alert, subject: &str, fired: &mut u16) -> Option<Alert> {
        let bit = rule_bit(alert.rule);
        let holds = self.active.contains_key(&(alert.rule, (alert.account.clone(), subject.to_owned())));
        if *fired & bit != 0 && !holds {
            return None;
        }
        *fired |= bit;
        self.fire(alert, subject)
    }

    fn fire(&mut self, alert: Alert, subject: &str) -> Option<Alert> {
        let key = (alert.rule, (alert.account.clone(), subject.to_owned()));
        if let Some(known) = self.active.get_mut(&key) {
            known.value = known.value.max(alert.value);
            return None;
        }
        if self.active.len() >= MAX_ACTIVE {
            let alerts = self.active.iter().map(|(key, alert)| (&*alert.account, alert.since, key));
            if let Some(oldest) = choose_eviction(alerts).cloned() {
                self.end_alert(&oldest, alert.since);
            }
        }
        self.active.insert(key, alert.clone());
        Some(alert)
    }

    /// Ends the alerts about a run or session.
    pub(super) fn end_alerts(&mut self, account: &str, subject: &str, now: u64) {
        if self.active.is_empty() {
            return;
        }
        for rule in AlertRule::rules() {
            self.end_alert(&(rule, (account.to_owned(), subject.to_owned())), now);
        }
    }

    fn end_alert(&mut self, key: &AlertKey, now: u64) {
        let Some(mut alert) = self.active.remove(key) else { return };
        alert.until = Some(now.max(alert.since));
        self.add_ended(alert);
    }

    fn add_ended(&mut self, alert: Alert) {
        self.ended.push(AccountHash::from(&*alert.account), alert);
    }

    /// The owners of alerts, in the order of their saved form.
    pub(super) fn owners(&self) -> impl Iterator<Item = &RunOwner> {
        self.active.values().chain(self.ended.iter().map(|(_, alert)| alert)).map(|alert| &alert.owner)
    }

    /// Gives alerts their owners, in the order of [`Self::owners`].
    pub(super) fn set_owners(&mut self, owners: impl IntoIterator<Item = RunOwner>) {
        let alerts = self.active.values_mut().chain(self.ended.values_mut());
        alerts.zip(owners).for_each(|(alert, owner)| alert.owner = owner);
    }

    /// Active alerts, latest first, then ended ones, latest first.
    pub(super) fn all(&self) -> Vec<Alert> {
        let mut alerts: Vec<Alert> = self.active.values().cloned().collect();
        alerts.sort_by_key(|alert| std::cmp::Reverse((alert.since, alert.severity())));
        alerts.extend(self.ended.iter().rev().map(|(_, alert)| alert.clone()));
        alerts
    }
}

fn new_alert(owner: &RunOwner, account: &str, since: u64, (rule, value, threshold, tool): BrokenRule<'_>) -> Alert {
    Alert {
        owner: owner.clone(),
        rule,
        account: account.to_owned(),
        run: String::new(),
        session: String::new(),
        trace: String::new(),
        tenant: None,
        feature: None,
        tool: tool.to_owned(),
        value,
        threshold,
        since,
        until: None,
    }
}
