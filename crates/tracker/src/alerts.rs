//! [`Alerts`]: alerts that a metrics store cannot compute because they need single runs or medians: loops, iteration
//! ceilings, runs that do not end, sessions that cost or take far more than is usual for their feature, drift.
//! An alert fires once per run or session and ends with it. No rule depends on the number of runs, so more traffic
//! alone fires nothing. Medians and drift need `least_runs` ended runs. All state is bounded. `state` decides when a
//! run is over; `runs::Board` and the connector deliver alerts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::{FieldProblem, Span};
use runs::share::{Queue, Used, victim};
use runs::{Alert, RunState, RunView, SessionView, Severity, input};

use super::bounds::nanos;
use super::codec::{Code, fields};
use super::run::Run;

/// Maximum number of active alerts. Beyond it, the oldest alert of the account with the most is ended.
const ACTIVE: usize = 1000;
/// Maximum number of ended alerts that are still shown.
const DONE: usize = 200;
/// Maximum number of features (and of tenants) with a baseline, over all accounts.
const PASTS: usize = 200;
/// Ended runs or sessions in one baseline.
const PAST: usize = 200;

/// Thresholds of the alerts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Fires at this many identical calls of one tool in a row. Default: 5.
    pub identical_calls: u32,
    /// Fires above this many calls of one tool within `tool_window`. Default: 20.
    pub tool_calls: u32,
    /// Fires above this many tool calls of a run that repeat a failed call. Default: 2.
    pub tool_retries: u32,
    /// Fires for a run that has not ended after this long. Default: 1 hour.
    pub unended_after: Span,
    /// Warns of a session that costs more than this multiple of its feature's median. Default: 5.
    pub session_cost: f64,
    /// Above this multiple of the median, the session counts as a runaway (critical). Default: 50.
    pub session_cost_runaway: f64,
    /// Fires for a session that takes longer than this multiple of its feature's 95th percentile. Default: 2.
    pub session_duration: f64,
    /// Fires when tokens per run of a feature, or cost per run of a tenant, in the latest runs exceed the runs before
    /// by this factor. Default: 1.5.
    pub drift: f64,
    /// Number of ended runs or sessions that a median, a percentile or a drift needs. Default: 30.
    pub least_runs: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            identical_calls: 5,
            tool_calls: 20,
            tool_retries: 2,
            unended_after: Span::seconds(3600),
            session_cost: 5.0,
            session_cost_runaway: 50.0,
            session_duration: 2.0,
            drift: 1.5,
            least_runs: 30,
        }
    }
}

impl Limits {
    /// Validates the thresholds and adds problems to `problems`.
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
        if !(5..=PAST as u32 / 2).contains(&self.least_runs) {
            problems.push(FieldProblem::new("alerts.least_runs", format!("must be from 5 to {}", PAST / 2)));
        }
    }
}

/// Every rule: name and severity.
pub const RULES: [(&str, Severity); 12] = [
    ("iteration_ceiling_near", Severity::Warning),
    ("iteration_ceiling", Severity::Critical),
    ("identical_tool_calls", Severity::Critical),
    ("tool_calls_in_window", Severity::Warning),
    ("tool_retries", Severity::Warning),
    ("run_unended", Severity::Warning),
    ("limit_hit", Severity::Warning),
    ("session_cost", Severity::Warning),
    ("session_cost_runaway", Severity::Critical),
    ("session_duration", Severity::Warning),
    ("tokens_per_run_drift", Severity::Warning),
    ("cost_per_run_drift", Severity::Warning),
];

const NEAR: usize = 0;
const CEILING: usize = 1;
const ROW: usize = 2;
const WINDOW: usize = 3;
const RETRIES: usize = 4;
const UNENDED: usize = 5;
const LIMIT: usize = 6;
const COST: usize = 7;
const RUNAWAY: usize = 8;
const DURATION: usize = 9;
const TOKENS: usize = 10;
const PER_RUN: usize = 11;

/// Baseline: values of the latest ended runs or sessions of a feature or tenant, oldest first.
#[derive(Clone, Default)]
struct Past(VecDeque<f64>);

impl Code for Past {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.len().put(out);
        self.0.iter().for_each(|value| value.put(out));
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Vec::take(from).map(|values: Vec<f64>| Self(values.into()))
    }
}

impl Past {
    fn add(&mut self, value: f64) {
        self.0.push_back(value);
        self.0.drain(..self.0.len().saturating_sub(PAST));
    }

    /// The percentile at `share`; `None` with fewer than `least` values or if it is not positive.
    fn at(&self, share: f64, least: usize) -> Option<f64> {
        if self.0.len() < least {
            return None;
        }
        let mut values: Vec<f64> = self.0.iter().copied().collect();
        values.sort_unstable_by(f64::total_cmp);
        let rank = (values.len() as f64 * share).ceil() as usize;
        values.get(rank.saturating_sub(1)).copied().filter(|value| *value > 0.0)
    }

    /// The median of the latest `least` values divided by the median of the values before, of which there must be as
    /// many.
    fn drift(&self, least: usize) -> Option<f64> {
        let cut = self.0.len().checked_sub(least).filter(|before| *before >= least)?;
        let part = |values: &mut dyn Iterator<Item = &f64>| Self(values.copied().collect());
        let before = part(&mut self.0.iter().take(cut)).at(0.5, 1)?;
        let latest = part(&mut self.0.iter().skip(cut)).at(0.5, 1)?;
        Some(latest / before)
    }
}

#[derive(Clone, Default)]
struct Known {
    session_cost: Past,
    session_duration: Past,
    run_tokens: Past,
}

fields!(Known { session_cost, session_duration, run_tokens });

/// Rule, account, subject.
type Key = (usize, (String, String));

/// See the module documentation.
#[derive(Clone, Default)]
pub(super) struct Alerts {
    active: BTreeMap<Key, Alert>,
    done: Queue<Alert>,
    features: BTreeMap<String, Known>,
    tenants: BTreeMap<String, Past>,
    /// Computed from `features`; reset when they change.
    bounds: Option<Arc<Bounds>>,
    used: Used,
    used_by_tenant: Used,
}

/// Cost (USD) and duration (seconds) above which a session of a feature fires an alert.
#[derive(Default)]
pub(super) struct Bounds(BTreeMap<String, (f64, f64)>);

impl Bounds {
    pub(super) fn of(&self, account: &str, feature: &str) -> Option<(f64, f64)> {
        self.0.get(&whose(account, feature)).copied()
    }
}

/// A name with its account, so that equal names of two accounts stay apart.
fn whose(account: &str, name: &str) -> String {
    format!("{account}\n{name}")
}

impl Code for Alert {
    fn put(&self, out: &mut Vec<u8>) {
        RULES.iter().position(|(rule, _)| *rule == self.rule).unwrap_or(0).put(out);
        for text in [&self.account, &self.run, &self.session, &self.trace, &self.tool] {
            text.put(out);
        }
        self.tenant.put(out);
        self.feature.put(out);
        self.value.put(out);
        self.threshold.put(out);
        self.since.put(out);
        self.until.put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let &(rule, severity) = RULES.get(usize::take(from)?)?;
        let mut text = || String::take(from);
        let (account, run, session, trace, tool) = (text()?, text()?, text()?, text()?, text()?);
        Some(Self {
            rule,
            severity,
            account,
            run,
            session,
            trace,
            tool,
            tenant: Code::take(from)?,
            feature: Code::take(from)?,
            value: Code::take(from)?,
            threshold: Code::take(from)?,
            since: Code::take(from)?,
            until: Code::take(from)?,
        })
    }
}

impl Code for Alerts {
    fn put(&self, out: &mut Vec<u8>) {
        self.active.put(out);
        self.done.len().put(out);
        self.done.iter().for_each(|alert| alert.put(out));
        self.features.put(out);
        self.tenants.put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(Self {
            active: Code::take(from)?,
            done: Vec::take(from)?.into_iter().collect(),
            features: Code::take(from)?,
            tenants: Code::take(from)?,
            bounds: None,
            used: Used::default(),
            used_by_tenant: Used::default(),
        })
    }
}

/// The thresholds and the time of one evaluation.
#[derive(Clone, Copy)]
pub(super) struct Rule<'a> {
    pub(super) limits: &'a Limits,
    pub(super) ceiling: u64,
    /// Wall clock, unix ns; 0 = not known yet.
    pub(super) now: u64,
}

impl Rule<'_> {
    /// The rules that an unfinished run may break, as a bit set of rule numbers. A cheap pre-check: it may list too
    /// many rules, never too few.
    pub(super) fn suspicions(&self, run: &Run) -> u16 {
        let (totals, peaks, limits) = (&run.totals, &run.peaks, self.limits);
        let most = |streak: &Option<runs::Streak>| streak.as_ref().map_or(0, |streak| streak.count);
        let is_near = totals.iterations.saturating_mul(5) >= self.ceiling.saturating_mul(4);
        let rules = [
            (NEAR, is_near && totals.iterations < self.ceiling),
            (CEILING, totals.iterations >= self.ceiling),
            (ROW, most(&peaks.row) >= u64::from(limits.identical_calls)),
            (WINDOW, most(&peaks.window) > u64::from(limits.tool_calls)),
            (RETRIES, totals.tool_retries() > u64::from(limits.tool_retries)),
            (LIMIT, run.killed),
            (UNENDED, self.is_late(run.start)),
        ];
        rules.into_iter().filter(|(_, holds)| *holds).fold(0, |bits, (rule, _)| bits | 1 << rule)
    }

    fn is_late(&self, start: u64) -> bool {
        start != 0 && self.now.saturating_sub(start) > nanos(self.limits.unended_after.0)
    }
}

impl Alerts {
    /// Evaluates a run, finished (`over`) or not. `fired` holds the rules that fired for it, as a bit set of rule
    /// numbers. Returns the alerts that fire now.
    pub(super) fn run(&mut self, view: &RunView, over: bool, fired: &mut u16, rule: Rule<'_>) -> Vec<Alert> {
        let (totals, peaks, limits) = (&view.totals, &view.peaks, rule.limits);
        let mut found: Vec<(usize, f64, f64, &str)> = Vec::new();
        let (used, ceiling) = (totals.iterations as f64, rule.ceiling as f64);
        if used >= ceiling {
            found.push((CEILING, used, ceiling, ""));
        } else if used >= 0.8 * ceiling {
            found.push((NEAR, used, 0.8 * ceiling, ""));
        }
        if let Some(row) = peaks.row.as_ref().filter(|row| row.count >= u64::from(limits.identical_calls)) {
            found.push((ROW, row.count as f64, f64::from(limits.identical_calls), &row.tool));
        }
        if let Some(window) = peaks.window.as_ref().filter(|window| window.count > u64::from(limits.tool_calls)) {
            found.push((WINDOW, window.count as f64, f64::from(limits.tool_calls), &window.tool));
        }
        if totals.tool_retries() > u64::from(limits.tool_retries) {
            found.push((RETRIES, totals.tool_retries() as f64, f64::from(limits.tool_retries), ""));
        }
        let seconds = |ns: u64| ns as f64 / 1e9;
        if view.state == RunState::Live && rule.is_late(view.start) {
            let age = seconds(rule.now.saturating_sub(view.start));
            found.push((UNENDED, age, limits.unended_after.0.as_secs_f64(), ""));
        }
        if view.state == RunState::Killed {
            found.push((LIMIT, 1.0, 0.0, ""));
        }
        let mut new = Vec::new();
        for (rule_at, value, threshold, tool) in found {
            let about = of_run(view, rule.now, tool);
            new.extend(self.fire_once(rule_at, &about, (&view.run, fired), value, threshold));
        }
        if over {
            self.end(&view.account, &view.run, rule.now);
            // until an item named the run, alerts were filed under its trace id
            self.end(&view.account, &view.trace, rule.now);
        }
        new
    }

    /// Adds a finished run to the baselines of its feature and tenants; returns alerts for drift.
    pub(super) fn learn(&mut self, view: &RunView, rule: Rule<'_>) -> Vec<Alert> {
        let least = rule.limits.least_runs as usize;
        let tokens = view.totals.tokens();
        let tokens = input(&tokens).saturating_add(tokens.output) as f64;
        let mut moved: Vec<(usize, String, Option<f64>)> = Vec::new();
        if let Some(feature) = &view.feature {
            let known = self.used.entry(&mut self.features, &whose(&view.account, feature), PASTS);
            known.run_tokens.add(tokens);
            moved.push((TOKENS, feature.clone(), known.run_tokens.drift(least)));
        }
        for (tenant, share) in view.totals.by_tenant(view.tenant.as_deref()) {
            let Some(tenant) = tenant else { continue };
            let past = self.used_by_tenant.entry(&mut self.tenants, &whose(&view.account, tenant), PASTS);
            past.add(share.atto_usd as f64);
            moved.push((PER_RUN, tenant.to_owned(), past.drift(least)));
        }
        let mut fired = Vec::new();
        for (at, subject, drift) in moved {
            let mut about = of_run(view, rule.now, "");
            (about.run, about.session, about.trace) = (String::new(), String::new(), String::new());
            if at == TOKENS {
                about.tenant = None
            } else {
                about.feature = None
            }
            match drift {
                Some(drift) if drift > rule.limits.drift => {
                    fired.extend(self.fire_about(at, &about, &subject, drift, rule.limits.drift));
                }
                _ => self.end_one(&(at, (view.account.clone(), subject)), rule.now),
            }
        }
        fired
    }

    /// Evaluates a session; with `over`, adds it to its feature's baseline. `fired`: see [`Alerts::run`].
    pub(super) fn session(&mut self, view: &SessionView, over: bool, fired: &mut u16, rule: Rule<'_>) -> Vec<Alert> {
        let Some(feature) = view.feature.clone() else { return Vec::new() };
        let least = rule.limits.least_runs as usize;
        let (cost, seconds) = (view.totals.atto_usd() as f64 / 1e18, view.duration as f64 / 1e9);
        let known = self.features.get(&whose(&view.account, &feature)).cloned().unwrap_or_default();
        let mut found = Vec::new();
        if let Some(median) = known.session_cost.at(0.5, least) {
            if cost > rule.limits.session_cost_runaway * median {
                found.push((RUNAWAY, cost, rule.limits.session_cost_runaway * median));
            } else if cost > rule.limits.session_cost * median {
                found.push((COST, cost, rule.limits.session_cost * median));
            }
        }
        if let Some(p95) = known.session_duration.at(0.95, least)
            && seconds > rule.limits.session_duration * p95
        {
            found.push((DURATION, seconds, rule.limits.session_duration * p95));
        }
        let about = Alert {
            rule: "",
            severity: Severity::Warning,
            account: view.account.clone(),
            run: String::new(),
            session: view.session.clone(),
            trace: String::new(),
            tenant: view.tenant.clone(),
            feature: Some(feature.clone()),
            tool: String::new(),
            value: 0.0,
            threshold: 0.0,
            since: rule.now,
            until: None,
        };
        let mut new = Vec::new();
        for (at, value, threshold) in found {
            new.extend(self.fire_once(at, &about, (&view.session, fired), value, threshold));
        }
        if over {
            self.bounds = None;
            let known = self.used.entry(&mut self.features, &whose(&view.account, &feature), PASTS);
            known.session_cost.add(cost);
            known.session_duration.add(seconds);
            self.end(&view.account, &view.session, rule.now);
        }
        new
    }

    /// The bounds that live sessions are compared with.
    pub(super) fn bounds(&mut self, limits: &Limits) -> Arc<Bounds> {
        let least = limits.least_runs as usize;
        let bound = |known: &Known| {
            let cost = known.session_cost.at(0.5, least).map(|median| median * limits.session_cost);
            let seconds = known.session_duration.at(0.95, least).map(|p95| p95 * limits.session_duration);
            (cost.is_some() || seconds.is_some()).then(|| (cost.unwrap_or(f64::MAX), seconds.unwrap_or(f64::MAX)))
        };
        let all = |features: &BTreeMap<String, Known>| {
            features.iter().filter_map(|(name, known)| Some((name.clone(), bound(known)?))).collect()
        };
        Arc::clone(self.bounds.get_or_insert_with(|| Arc::new(Bounds(all(&self.features)))))
    }

    /// Ends the alerts of a run that was evicted.
    pub(super) fn forget(&mut self, account: &str, run: &str, now: u64) {
        if !self.active.is_empty() {
            self.end(account, run, now);
        }
    }

    /// Fires unless the rule fired before for this subject: an alert that ended does not fire again.
    fn fire_once(
        &mut self,
        at: usize,
        about: &Alert,
        (subject, fired): (&str, &mut u16),
        value: f64,
        threshold: f64,
    ) -> Option<Alert> {
        let bit = 1 << at;
        let holds = self.active.contains_key(&(at, (about.account.clone(), subject.to_owned())));
        if *fired & bit != 0 && !holds {
            return None;
        }
        *fired |= bit;
        self.fire_about(at, about, subject, value, threshold)
    }

    fn fire_about(&mut self, at: usize, about: &Alert, subject: &str, value: f64, threshold: f64) -> Option<Alert> {
        let &(rule, severity) = RULES.get(at)?;
        let key = (at, (about.account.clone(), subject.to_owned()));
        if let Some(known) = self.active.get_mut(&key) {
            known.value = known.value.max(value);
            return None;
        }
        let alert = Alert { rule, severity, value, threshold, ..about.clone() };
        if self.active.len() >= ACTIVE {
            let all = self.active.iter().map(|(key, alert)| (&*alert.account, alert.since, key));
            if let Some(oldest) = victim(all).cloned() {
                self.end_one(&oldest, about.since);
            }
        }
        self.active.insert(key, alert.clone());
        Some(alert)
    }

    /// Ends all alerts of a subject that is over.
    fn end(&mut self, account: &str, subject: &str, now: u64) {
        for at in 0..RULES.len() {
            self.end_one(&(at, (account.to_owned(), subject.to_owned())), now);
        }
    }

    fn end_one(&mut self, key: &Key, now: u64) {
        let Some(mut alert) = self.active.remove(key) else { return };
        alert.until = Some(now.max(alert.since));
        self.done.push(alert, DONE);
    }

    /// Active alerts, latest first, then ended ones, latest first.
    pub(super) fn all(&self) -> Vec<Alert> {
        let mut all: Vec<Alert> = self.active.values().cloned().collect();
        all.sort_by_key(|alert| std::cmp::Reverse((alert.since, alert.severity)));
        all.extend(self.done.iter().rev().cloned());
        all.truncate(ACTIVE);
        all
    }
}

fn of_run(view: &RunView, now: u64, tool: &str) -> Alert {
    Alert {
        rule: "",
        severity: Severity::Warning,
        account: view.account.clone(),
        run: view.run.clone(),
        session: view.session.clone(),
        trace: view.trace.clone(),
        tenant: view.tenant.clone(),
        feature: view.feature.clone(),
        tool: tool.to_owned(),
        value: 0.0,
        threshold: 0.0,
        since: now,
        until: None,
    }
}
