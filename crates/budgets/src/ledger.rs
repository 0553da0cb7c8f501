//! [`Ledger`]: what each key of each budget has used in its current period. It changes only by what was committed, so a
//! checkpoint and the effects behind it give the same sums. Bounded: 50,000 keys, shared fairly between accounts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use kernel::bounded_map::BoundedMap;
use runs::RunOwner;

use crate::answer::{Answer, BudgetUse};
use crate::config::{Budget, MatchBilling, OnUnknown};
use crate::names::{Known, Names, Question, Usage};
use crate::period::Period;
use crate::record::{BudgetRecord, RecordKind};
use crate::sentence::{advice, unknown_sentence, use_sentence};
use crate::words::{Action, Measure, Scope, Verdict};

const MAX_KEYS: usize = 50_000;
/// Those that end last.
const MAX_GRANTS: usize = 1000;
/// Continuing sessions whose earlier sessions are known.
const MAX_CONTINUING: usize = 10_000;
/// Periods that a key remembers: a clock that jumps forward and back finds its sums again.
const MAX_PERIODS: usize = 3;
/// All of the limit, in hundredths of a percent.
const WHOLE: u32 = 10_000;

/// What one committed item used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spending {
    /// 1e-18 USD; negative for a correction.
    pub atto_usd: i128,
    /// A plan covers it.
    pub is_covered: bool,
    pub model_calls: u64,
    pub tool_calls: u64,
}

/// More that one key may use, for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub account: String,
    /// The budget; "" for all budgets of the scope.
    pub budget: String,
    pub scope: Scope,
    pub key: String,
    pub measure: Measure,
    /// 1e-18 USD, or a number.
    pub extra: i128,
    /// Unix ns.
    pub until: u64,
    pub granted_by: String,
    pub reason: String,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct PeriodSum {
    atto_usd: i128,
    model_calls: u64,
    tool_calls: u64,
    /// For each threshold that is reached (`warn_at`, then the limit), when, unix ns, and the replica whose batch
    /// reached it ("" is this one).
    reached: Vec<(u64, String)>,
}

/// What one key of one budget has used. Of runs and sessions only stops are kept: `tracker` has their sums.
#[derive(Clone, Default, Serialize, Deserialize)]
struct KeySums {
    /// [`BudgetDefinition::digest`].
    budget: u64,
    account: String,
    key: String,
    /// By their begin, unix ns; 0 without a period.
    periods: BTreeMap<u64, PeriodSum>,
    /// Answers other than yes, and the time of the last one, unix ns.
    stops: u64,
    last_stop: u64,
}

/// A key is above a threshold of its budget.
#[derive(Clone, Debug)]
pub struct Crossing {
    pub account: String,
    pub budget: String,
    pub scope: Scope,
    pub key: String,
    /// 1e-18 USD, or numbers.
    pub spent: i128,
    pub limit: i128,
    /// The threshold that was reached last, in hundredths of a percent of the limit; 10,000 is the limit itself.
    pub share: u32,
    /// When, unix ns.
    pub at: u64,
    pub owner: RunOwner,
}

/// What one key of a budget has used, for people and programs.
#[derive(Clone, Debug)]
pub struct BudgetLine {
    pub account: String,
    pub budget: String,
    pub scope: Scope,
    pub key: String,
    pub period: Period,
    pub action: Action,
    pub shadow: bool,
    /// The budget's limits with what grants add; at least one.
    pub uses: Vec<(Measure, i128, i128)>,
    /// The largest share of a limit, 1.0 = all.
    pub share: f64,
    /// Number of warnings crossed, and whether a limit is.
    pub warnings: usize,
    pub is_over: bool,
    /// End of the period, unix ns; 0: none.
    pub until: u64,
    /// Since when the sum is complete, unix ns; 0: since the period began.
    pub known_since: u64,
    pub grants: Vec<Grant>,
    /// Answers other than yes, and the time of the last one, unix ns.
    pub stops: u64,
    pub last_stop: u64,
    /// Whose run or session it is, as far as known.
    pub names: Names,
}

/// A budget, and what identifies its sums.
#[derive(Clone)]
struct BudgetDefinition {
    budget: Budget,
    /// Changes when other calls would count, so that sums of two definitions don't mix.
    digest: u64,
    /// Begin and end of the period found last, because most calls are in it.
    last_period: (u64, u64),
}

/// See the module documentation.
#[derive(Clone)]
pub struct Ledger {
    budgets: Vec<BudgetDefinition>,
    entries: BoundedMap<String, KeySums, MAX_KEYS>,
    grants: Vec<Grant>,
    /// By account and session, the sessions that it continues.
    continued: BoundedMap<u64, Arc<[String]>, MAX_CONTINUING>,
    /// Since when each budget is added up, unix ns, by digest.
    since: BTreeMap<u64, u64>,
    /// Entries that changed since the thresholds were looked at.
    changed: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct SavedLedger {
    since: BTreeMap<u64, u64>,
    grants: Vec<Grant>,
    entries: Vec<KeySums>,
}

impl Ledger {
    pub fn new(budgets: &Arc<[Budget]>) -> Self {
        let define = |budget: &Budget| {
            let zone = budget.zone.iana_name().unwrap_or_default();
            let mut parts = vec![&*budget.name, budget.scope.as_str(), budget.period.as_str(), zone];
            parts.extend(budget.matches.words());
            let digest = runs::digest(&parts);
            BudgetDefinition { budget: budget.clone(), digest, last_period: (0, 0) }
        };
        let budgets = budgets.iter().map(define).collect();
        let (entries, grants, continued, since, changed) = Default::default();
        Self { budgets, entries, grants, continued, since, changed }
    }

    pub fn is_empty(&self) -> bool {
        self.budgets.is_empty()
    }

    /// Whether a budget is for runs or sessions.
    pub fn has_budgets_of_runs(&self) -> bool {
        self.budgets.iter().any(|defined| defined.is_of_runs())
    }

    /// Adds what an item used that `owner` committed at `at`, unix ns.
    pub fn add(&mut self, account: &str, names: &Names, used: Spending, (at, owner): (u64, &RunOwner)) {
        for index in 0..self.budgets.len() {
            let Some(defined) = self.budgets.get(index).filter(|defined| !defined.is_of_runs()) else { continue };
            self.since.entry(defined.digest).or_insert(at);
            if !defined.counts(names, used.is_covered) {
                continue;
            }
            let Some(key) = scope_key(defined.budget.scope, account, names) else { continue };
            self.change(index, account, key, at, |entry, begin| {
                let sum = entry.periods.entry(begin).or_default();
                sum.atto_usd = sum.atto_usd.saturating_add(used.atto_usd);
                sum.model_calls = sum.model_calls.saturating_add(used.model_calls);
                sum.tool_calls = sum.tool_calls.saturating_add(used.tool_calls);
            });
            self.note_thresholds(index, account, key, (at, owner));
        }
    }

    /// Notes which sessions a session continues. What was granted to these raises its limit, too.
    pub fn note_continued(&mut self, account: &str, session: &str, earlier: Arc<[String]>) {
        self.continued.insert_for(account, runs::digest(&[account, session]), earlier, 1);
    }

    /// Applies the record of an answer or a grant that was committed at `at`.
    pub fn apply(&mut self, account: &str, record: &BudgetRecord, at: u64) {
        let BudgetRecord { budget, scope, key, measure, limit, until, granted_by, reason, .. } = record.clone();
        if record.kind != RecordKind::Grant {
            if let Some(index) = self.budgets.iter().position(|defined| defined.budget.name == budget) {
                let answers = record.repeats.saturating_add(1);
                self.change(index, account, &key, at, |entry, _| {
                    (entry.stops, entry.last_stop) = (entry.stops.saturating_add(answers), entry.last_stop.max(at));
                });
            }
            return;
        }
        let grant =
            Grant { account: account.to_owned(), budget, scope, key, measure, extra: limit, until, granted_by, reason };
        self.grants.retain(|grant| grant.until > at);
        self.grants.push(grant);
        self.grants.sort_by_key(|grant| Reverse(grant.until));
        self.grants.truncate(MAX_GRANTS);
        for index in 0..self.budgets.len() {
            let defined = self.budgets.get(index).filter(|defined| defined.budget.scope == scope);
            if defined.is_some_and(|defined| self.current_sum(defined, account, &record.key, at).is_some()) {
                self.note_thresholds(index, account, &record.key, (at, &RunOwner::Here));
            }
        }
    }

    /// The keys that changed since the last call and are above a threshold in the period of `now`.
    pub fn take_crossings(&mut self, now: u64) -> Vec<Crossing> {
        let changed = std::mem::take(&mut self.changed);
        let crossing_of = |id: &String| {
            let entry = self.entries.get(id)?;
            let defined = self.budgets.iter().find(|defined| defined.digest == entry.budget)?;
            let sum = entry.periods.get(&defined.period_bounds(now).0)?;
            let crossing = self.crossing(defined, (&entry.account, &entry.key), now, |measure| sum.amount(measure))?;
            let reached = defined.thresholds().position(|share| share == crossing.share);
            let (at, replica) = reached.and_then(|at| sum.reached.get(at)).cloned().unwrap_or((now, String::new()));
            let owner = if replica.is_empty() { RunOwner::Here } else { RunOwner::Replica(replica.into()) };
            Some(Crossing { at, owner, ..crossing })
        };
        changed.iter().filter_map(crossing_of).collect()
    }

    /// The budgets of which a run or session is above a threshold.
    pub fn run_crossings(
        &self,
        scope: Scope,
        account: &str,
        names: &Names,
        usage: Usage,
        now: u64,
    ) -> impl Iterator<Item = Crossing> {
        let of_scope = self.budgets.iter().filter(move |defined| defined.budget.scope == scope);
        of_scope.filter(move |defined| defined.budget.matches.fits(names)).filter_map(move |defined| {
            let key = scope_key(scope, account, names)?;
            self.crossing(defined, (account, key), now, |measure| usage_amount(&defined.budget, measure, usage))
        })
    }

    /// Whether a key is still above a threshold (hundredths of a percent) of a budget. `usage`: of a run or session.
    /// Such a key is kept in memory before others.
    pub fn holds(
        &mut self,
        budget: &str,
        (account, key): (&str, &str),
        share: u32,
        usage: Option<Usage>,
        now: u64,
    ) -> bool {
        let Some(index) = self.budgets.iter().position(|defined| defined.budget.name == budget) else { return false };
        let Some(defined) = self.budgets.get(index) else { return false };
        let sum = self.current_sum(defined, account, key, now);
        let spent = |measure| match usage {
            Some(usage) => usage_amount(&defined.budget, measure, usage),
            None => sum.map_or(0, |sum| sum.amount(measure)),
        };
        let holds = self.crossing(defined, (account, key), now, spent).is_some_and(|crossing| crossing.share == share);
        match usage {
            None if holds => self.change(index, account, key, now, |_, _| {}),
            None => _ = self.changed.insert(entry_key(defined, account, key)),
            Some(_) => {}
        }
        holds
    }

    /// The highest threshold that a key is above; `None`: none, or the budget only records.
    fn crossing(
        &self,
        defined: &BudgetDefinition,
        (account, key): (&str, &str),
        now: u64,
        spent: impl Fn(Measure) -> i128,
    ) -> Option<Crossing> {
        let worst = self.uses(defined, account, key, now, spent).into_iter().max_by_key(BudgetUse::share)?;
        let share = defined.thresholds().filter(|share| *share <= worst.share()).last()?;
        let BudgetUse { budget, key, spent, limit, .. } = worst;
        let (account, scope, owner) = (account.to_owned(), defined.budget.scope, RunOwner::Here);
        let crossing = Crossing { account, budget, scope, key, spent, limit, share, at: now, owner };
        Some(crossing).filter(|_| !defined.budget.shadow)
    }

    /// Notes which thresholds a key has reached, and when.
    fn note_thresholds(&mut self, index: usize, account: &str, key: &str, (at, owner): (u64, &RunOwner)) {
        let Some(defined) = self.budgets.get(index) else { return };
        let Some(sum) = self.current_sum(defined, account, key, at) else { return };
        let uses = self.uses(defined, account, key, at, |measure| sum.amount(measure));
        let share = uses.iter().map(BudgetUse::share).max().unwrap_or(0);
        let count = defined.thresholds().filter(|threshold| *threshold <= share).count();
        let (known, id) = (sum.reached.len(), entry_key(defined, account, key));
        if count > 0 || known > 0 {
            self.changed.insert(id);
        }
        if count != known {
            let replica = owner.replica().unwrap_or_default().to_owned();
            self.change(index, account, key, at, |entry, begin| {
                entry.periods.entry(begin).or_default().reached.resize(count, (at, replica));
            });
        }
    }

    /// Answers a question whose names are in the form that pages show.
    pub fn answer(&self, question: &Question, known: &Known, now: u64) -> Answer {
        let mut answer = Answer::allow();
        for defined in &self.budgets {
            let budget = &defined.budget;
            let key = scope_key(budget.scope, &question.account, &question.names);
            let Some(key) = key.filter(|_| budget.matches.fits(&question.names)) else {
                if budget.on_unknown == OnUnknown::Deny && budget.matches.may_fit(&question.names) {
                    let unknown = self.uses(defined, "", "", now, |_| 0).into_iter().next();
                    answer.stop(budget, question, unknown, &unknown_sentence(budget), true);
                }
                continue;
            };
            let usage = match budget.scope {
                Scope::Run => known.run.unwrap_or_default(),
                _ => known.session.unwrap_or_default(),
            };
            let sum = self.current_sum(defined, &question.account, key, now);
            let spent = |measure| match defined.is_of_runs() {
                true => usage_amount(budget, measure, usage),
                false => sum.map_or(0, |sum| sum.amount(measure)),
            };
            let uses = self.uses(defined, &question.account, key, now, spent);
            let Some(worst) = uses.iter().max_by_key(|used| used.share()).cloned() else { continue };
            if !defined.is_of_runs() {
                answer.known_since = answer.known_since.max(self.known_since(defined, now));
            }
            let sentence = use_sentence(budget, key, worst.measure, worst.spent, worst.limit);
            if worst.share() >= WHOLE {
                answer.stop(budget, question, Some(worst), &sentence, false);
            } else if budget.warn_at.first().is_some_and(|first| worst.share() >= *first) && !budget.shadow {
                answer.notes.push(sentence);
            }
            answer.budgets.extend(uses);
        }
        answer.budgets.sort_by_key(|used| Reverse(used.share()));
        answer
    }

    /// A line for each key of a budget, and for these runs and sessions, most used first.
    pub fn lines(&self, runs_and_sessions: &[(Scope, String, Names, Usage)], now: u64) -> Vec<BudgetLine> {
        let mut lines: Vec<BudgetLine> = Vec::new();
        for defined in &self.budgets {
            let runs_and_sessions = runs_and_sessions.iter().filter(|(scope, ..)| *scope == defined.budget.scope);
            for (scope, account, names, usage) in
                runs_and_sessions.filter(|(_, _, names, _)| defined.budget.matches.fits(names))
            {
                let Some(key) = scope_key(*scope, account, names) else { continue };
                let spent = |measure| usage_amount(&defined.budget, measure, *usage);
                lines.extend(self.line(defined, (account, key), names.clone(), now, spent));
            }
        }
        let with_sums = self.budgets.iter().filter(|defined| !defined.is_of_runs());
        let by_digest: HashMap<u64, &BudgetDefinition> = with_sums.map(|defined| (defined.digest, defined)).collect();
        for (_, entry) in self.entries.iter() {
            let Some(defined) = by_digest.get(&entry.budget) else { continue };
            let sum = entry.periods.get(&defined.period_bounds(now).0);
            let spent = |measure| sum.map_or(0, |sum| sum.amount(measure));
            lines.extend(self.line(defined, (&entry.account, &entry.key), Names::default(), now, spent));
        }
        lines.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| (&a.budget, &a.key).cmp(&(&b.budget, &b.key))));
        lines
    }

    fn line(
        &self,
        defined: &BudgetDefinition,
        (account, key): (&str, &str),
        names: Names,
        now: u64,
        spent: impl Fn(Measure) -> i128,
    ) -> Option<BudgetLine> {
        let budget = &defined.budget;
        let uses = self.uses(defined, account, key, now, spent);
        let share = uses.iter().map(BudgetUse::share).max()?;
        let entry = self.entries.get(&entry_key(defined, account, key));
        Some(BudgetLine {
            account: account.to_owned(),
            budget: budget.name.clone(),
            scope: budget.scope,
            key: key.to_owned(),
            period: budget.period,
            action: budget.action,
            shadow: budget.shadow,
            until: uses.first().map_or(0, |used| used.until),
            uses: uses.into_iter().map(|used| (used.measure, used.spent, used.limit)).collect(),
            share: f64::from(share) / f64::from(WHOLE),
            warnings: budget.warn_at.iter().filter(|at| **at <= share).count(),
            is_over: share >= WHOLE,
            known_since: self.known_since(defined, now),
            grants: self.grants_of(defined, account, key, now).cloned().collect(),
            stops: entry.map_or(0, |entry| entry.stops),
            last_stop: entry.map_or(0, |entry| entry.last_stop),
            names,
        })
    }

    /// What is used of each limit, with what grants add.
    fn uses(
        &self,
        defined: &BudgetDefinition,
        account: &str,
        key: &str,
        now: u64,
        spent: impl Fn(Measure) -> i128,
    ) -> Vec<BudgetUse> {
        let end = defined.period_bounds(now).1;
        let until = if end == u64::MAX { 0 } else { end };
        let use_of = |(measure, limit): &(Measure, i128)| {
            let grants = self.grants_of(defined, account, key, now).filter(|grant| grant.measure == *measure);
            let limit = grants.fold(*limit, |limit, grant| limit.saturating_add(grant.extra));
            let (budget, key) = (defined.budget.name.clone(), key.to_owned());
            BudgetUse { budget, key, measure: *measure, spent: spent(*measure), limit, until }
        };
        defined.budget.limits.iter().map(use_of).collect()
    }

    fn grants_of<'a>(
        &'a self,
        defined: &'a BudgetDefinition,
        account: &'a str,
        key: &'a str,
        now: u64,
    ) -> impl Iterator<Item = &'a Grant> {
        let is_session = defined.budget.scope == Scope::Session && !self.grants.is_empty();
        let earlier = is_session.then(|| self.continued.get(&runs::digest(&[account, key]))).flatten();
        let is_for = move |grant: &&Grant| {
            let is_budget = grant.budget.is_empty() || grant.budget == defined.budget.name;
            let is_named = grant.key == key || earlier.is_some_and(|earlier| earlier.contains(&grant.key));
            let is_key = grant.scope == defined.budget.scope && is_named && grant.account == account;
            is_budget && is_key && grant.until > now
        };
        self.grants.iter().filter(is_for)
    }

    /// Since when the sum of the period is complete; 0: since it began.
    fn known_since(&self, defined: &BudgetDefinition, now: u64) -> u64 {
        let begin = defined.period_bounds(now).0;
        let since = self.since.get(&defined.digest).copied().unwrap_or(now);
        if defined.is_of_runs() || since <= begin { 0 } else { since }
    }

    fn current_sum(&self, defined: &BudgetDefinition, account: &str, key: &str, now: u64) -> Option<&PeriodSum> {
        let begin = defined.period_bounds(now).0;
        self.entries.get(&entry_key(defined, account, key))?.periods.get(&begin)
    }

    /// Changes the entry of a key; the change gets the begin of the period around `at`. An entry that is evicted for it
    /// makes the sums of its budget incomplete.
    fn change(&mut self, index: usize, account: &str, key: &str, at: u64, change: impl FnOnce(&mut KeySums, u64)) {
        let Some(defined) = self.budgets.get_mut(index) else { return };
        let (digest, begin, id) = (defined.digest, defined.period_begin(at), entry_key(defined, account, key));
        let new = || KeySums { budget: digest, account: account.into(), key: key.into(), ..KeySums::default() };
        let mut entry = self.entries.remove(&id).unwrap_or_else(new);
        change(&mut entry, begin);
        while entry.periods.len() > MAX_PERIODS {
            entry.periods.pop_first();
        }
        for (_, evicted) in self.entries.insert_for(account, id, entry, 1) {
            self.since.insert(evicted.budget, at);
        }
    }

    /// The stored form.
    pub fn save(&self) -> Vec<u8> {
        let entries = self.entries.iter().map(|(_, entry)| entry.clone()).collect();
        let saved = SavedLedger { since: self.since.clone(), grants: self.grants.clone(), entries };
        postcard::to_allocvec(&saved).unwrap_or_default()
    }

    /// Restores what [`Self::save`] wrote, without budgets that were removed or changed. `None`: the data is damaged.
    pub fn restore(&mut self, saved: &[u8]) -> Option<()> {
        let SavedLedger { since, grants, entries } = postcard::from_bytes(saved).ok()?;
        let is_defined = |digest: u64| self.budgets.iter().any(|defined| defined.digest == digest);
        self.since = since.into_iter().filter(|(digest, _)| is_defined(*digest)).collect();
        self.grants = grants;
        self.entries = BoundedMap::default();
        for entry in entries {
            let defined = self.budgets.iter().find(|defined| defined.digest == entry.budget);
            if let Some(defined) = defined {
                let id = entry_key(defined, &entry.account, &entry.key);
                self.changed.insert(id.clone());
                self.entries.insert_for(&*entry.account.clone(), id, entry, 1);
            }
        }
        Some(())
    }
}

impl BudgetDefinition {
    /// Whether it is for runs or sessions, whose sums `tracker` has.
    fn is_of_runs(&self) -> bool {
        matches!(self.budget.scope, Scope::Run | Scope::Session)
    }

    fn counts(&self, names: &Names, is_covered: bool) -> bool {
        let fits_billing = match self.budget.matches.billing {
            None => true,
            Some(MatchBilling::Api) => !is_covered,
            Some(MatchBilling::Plan) => is_covered,
        };
        fits_billing && self.budget.matches.fits(names)
    }

    /// Begin and end of the period around `at`.
    fn period_bounds(&self, at: u64) -> (u64, u64) {
        let is_last = self.last_period.0 <= at && at < self.last_period.1;
        if is_last { self.last_period } else { self.budget.period.around(at, &self.budget.zone) }
    }

    /// Begin of the period around `at`; 0 for runs and sessions.
    fn period_begin(&mut self, at: u64) -> u64 {
        self.last_period = self.period_bounds(at);
        self.last_period.0
    }

    /// The shares at which an alert fires, in hundredths of a percent, lowest first.
    fn thresholds(&self) -> impl Iterator<Item = u32> {
        self.budget.warn_at.iter().copied().chain([WHOLE])
    }
}

impl PeriodSum {
    fn amount(&self, measure: Measure) -> i128 {
        match measure {
            Measure::Amount => self.atto_usd,
            Measure::ModelCalls => i128::from(self.model_calls),
            Measure::ToolCalls => i128::from(self.tool_calls),
            Measure::Iterations | Measure::Minutes => 0,
        }
    }
}

impl BudgetUse {
    /// Hundredths of a percent of the limit that are used, rounded down.
    pub fn share(&self) -> u32 {
        let share = self.spent.max(0).saturating_mul(i128::from(WHOLE)).checked_div(self.limit.max(1)).unwrap_or(0);
        u32::try_from(share).unwrap_or(u32::MAX)
    }
}

impl Answer {
    /// Stops the work as the budget says. The sentence of the most severe budget is the reason.
    fn stop(
        &mut self,
        budget: &Budget,
        question: &Question,
        used: Option<BudgetUse>,
        sentence: &str,
        is_unknown: bool,
    ) {
        let verdict = match budget.action {
            _ if is_unknown => Verdict::Deny,
            Action::Notify => Verdict::Allow,
            Action::Ask if question.can_ask => Verdict::Ask,
            Action::Ask | Action::Deny => Verdict::Deny,
        };
        if (verdict == Verdict::Allow || question.saves_work) && !budget.shadow {
            self.notes.push(sentence.to_owned());
            return;
        }
        let kind = if verdict == Verdict::Ask { RecordKind::Ask } else { RecordKind::Deny };
        let record = |BudgetUse { budget: name, key, measure, spent, limit, .. }| {
            let record = BudgetRecord::new(kind, name, budget.scope, key, (measure, spent, limit));
            BudgetRecord { shadow: budget.shadow, ..record }
        };
        self.records.extend(used.filter(|_| verdict != Verdict::Allow).map(record));
        if verdict > self.verdict && !budget.shadow {
            self.verdict = verdict;
            let advice = if is_unknown { String::new() } else { advice(budget, verdict) };
            self.reason = format!("{sentence} {advice}").trim_end().to_owned();
        }
    }
}

/// What a run or session has used of a measure.
fn usage_amount(budget: &Budget, measure: Measure, usage: Usage) -> i128 {
    match measure {
        Measure::Amount => match budget.matches.billing {
            None => usage.atto_usd,
            Some(MatchBilling::Api) => usage.atto_usd.saturating_sub(usage.covered_atto_usd),
            Some(MatchBilling::Plan) => usage.covered_atto_usd,
        },
        Measure::ModelCalls => i128::from(usage.model_calls),
        Measure::Iterations => i128::from(usage.iterations),
        Measure::ToolCalls => i128::from(usage.tool_calls),
        Measure::Minutes => i128::from(usage.seconds / 60),
    }
}

/// Whose budget of this scope it is.
fn scope_key<'a>(scope: Scope, account: &'a str, names: &'a Names) -> Option<&'a str> {
    let name = match scope {
        Scope::Run => &names.run,
        Scope::Session => &names.session,
        Scope::User => &names.user,
        Scope::Tenant => &names.tenant,
        Scope::Feature => &names.feature,
        Scope::Issue => &names.issue,
        Scope::Account => return Some(account),
    };
    name.as_deref().filter(|name| !name.is_empty())
}

fn entry_key(defined: &BudgetDefinition, account: &str, key: &str) -> String {
    format!("{:016x}\n{account}\n{key}", defined.digest)
}
