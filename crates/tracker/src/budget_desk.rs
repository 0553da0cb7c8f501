//! The [`BudgetDesk`] of the tracker: questions are answered with runs and sessions that are resolved as pages show
//! them, and alerts of budgets follow from the ledger. The crate `budgets` decides; all names in the ledger are in the
//! form that pages show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foldhash::{HashMap, HashMapExt as _};

use budgets::config::Budget;
use budgets::{Answer, BudgetDesk, BudgetLine, BudgetRecord, Crossing, Known, Names, Question, RECORD_SPAN};
use budgets::{Scope, Usage};
use kernel::pseudonym::is_pseudonym;
use otlp::{Signal, TextField};
use pipeline::{Batch, Effect, Trust};
use runs::{Alert, AlertRule, RunOwner, digest};

use super::RunTracker;
use super::budget_figures::{BudgetNews, EFFECT, GroupFigures, HEAVY, LINES_AGE, LiveUsage, MAX_AGE, MAX_CONTINUED};
use super::budget_figures::{RunFigures, ShownNames, model_of};
use super::codec::put;
use super::evaluation::state_without_end;
use super::group::ItemGroup;
use super::observation::{Attribution, BatchObservation, key_kind, numbered};
use super::resolve::ResolvedRuns;
use super::run::Run;
use super::store::key_id;
use super::view::ViewBuilder;

impl RunTracker {
    /// The records of answers and grants in a batch that tollgate itself made, as an effect.
    pub(super) fn record_effect(&self, batch: &Batch) -> Option<Effect> {
        let (origin, payload) = (&batch.origin, &batch.payload);
        let is_own = origin.trust == Trust::Internal && payload.signal() == Signal::Traces && !origin.repeat;
        if !is_own || self.settings.budgets.is_empty() {
            return None;
        }
        let is_record = |node: &_| payload.text(*node, TextField::Name) == RECORD_SPAN;
        let records: Vec<BudgetRecord> =
            payload.items().filter(is_record).filter_map(|node| BudgetRecord::read(payload, node)).collect();
        let news = BudgetNews { account: origin.account.to_string(), received: origin.received.0, records };
        let mut body = vec![EFFECT];
        put(&news, &mut body);
        (!news.records.is_empty()).then(|| Effect::new(Arc::clone(&self.id), body))
    }

    /// Applies answers and grants.
    pub(super) fn apply_records(&self, news: &BudgetNews, owner: &RunOwner) {
        let mut state = self.state.lock();
        for record in &news.records {
            state.ledger.apply(&news.account, record, news.received);
            if owner.is_here() && state.has_ticked() {
                let action = if record.shadow { "shadow" } else { record.kind.as_str() };
                let budget = if record.budget.is_empty() { "all" } else { &record.budget };
                self.metrics.count_decisions(budget, action, record.repeats.saturating_add(1));
            }
        }
    }

    /// The replicas of a fleet tell each other their effects, so that sums of budgets are the fleet's.
    pub fn join_fleet(&self) {
        self.figures.knows_fleet.store(true, Ordering::Relaxed);
    }

    /// Whether a budget is of this scope.
    pub fn has_budgets_by(&self, scope: Scope) -> bool {
        self.settings.budgets.iter().any(|budget| budget.scope == scope)
    }

    /// The names of a batch's items as budgets know them; made before the state is locked, because it takes time.
    pub(super) fn shown_names(&self, observation: &BatchObservation) -> ShownNames {
        let mut shown = ShownNames::new();
        if self.settings.budgets.is_empty() {
            return shown;
        }
        let account = &*observation.account;
        let name = |number| numbered(&observation.names, number).map(|name| &**name).filter(|name| !name.is_empty());
        let label = |number| name(number).map(|text| self.ids.redact_column(account, text).into_owned());
        for item in observation.items.iter().filter(|item| item.call.is_some() || item.tool.is_some()) {
            let Attribution { tenant, feature, user, issue, service, .. } = item.attribution;
            shown.entry((item.attribution, model_of(item))).or_insert_with(|| Names {
                user: name(user).map(|text| self.ids.pseudonym(account, text)),
                tenant: name(tenant).map(|text| self.ids.shown_id(account, text).into_owned()),
                feature: label(feature),
                issue: label(issue),
                service: label(service),
                model: label(model_of(item)),
                ..Names::default()
            });
        }
        shown
    }

    /// The question with the names that pages show, and with what is known of its run and session.
    fn complete_question(&self, asked: &Question) -> (Question, Known, u64) {
        let account = &*asked.account;
        let shown_id = |id: &Option<String>| id.as_deref().map(|id| self.ids.shown_id(account, id).into_owned());
        let label =
            |text: &Option<String>| text.as_deref().map(|text| self.ids.redact_column(account, text).into_owned());
        let pseudonym = |id: &String| match is_pseudonym(id) {
            true => id.clone(),
            false => self.ids.pseudonym(account, id),
        };
        let names = &asked.names;
        let mut shown = Names {
            run: shown_id(&names.run),
            session: shown_id(&names.session),
            user: names.user.as_ref().map(pseudonym),
            tenant: shown_id(&names.tenant),
            feature: label(&names.feature),
            issue: label(&names.issue),
            service: label(&names.service),
            model: label(&names.model),
        };
        let (figures, now) = self.figures_of(asked);
        let runs = figures.as_ref().map(|figures| &*figures.runs).unwrap_or_default();
        let is_asked = |run: &&RunFigures| match (&names.session, &names.run, &asked.trace) {
            (Some(session), ..) => run.session == *session,
            (None, Some(named), _) => run.run == *named,
            (None, None, trace) => trace.as_ref().is_some_and(|trace| run.trace == *trace),
        };
        let first = runs.iter().find(is_asked);
        let of_session = || runs.iter().filter(|run| first.is_some_and(|first| run.session == first.session));
        // a run that is over is not the one that asks, unless it is named
        let current = match &names.run {
            Some(named) => of_session().find(|run| run.run == *named),
            None => of_session().filter(|run| !run.is_over()).max_by_key(|run| run.start),
        };
        let session = first.zip(figures.as_ref()).map(|(first, figures)| {
            of_session().fold(figures.usage_before(&first.session), |sum, run| sum.plus(run.usage_until(now)))
        });
        for known in current.into_iter().chain(of_session()).map(|run| &run.shown) {
            shown.fill_from(&Names { run: None, ..known.clone() });
        }
        shown.run = shown.run.or_else(|| current.and_then(|run| run.shown.run.clone()));
        let known = Known { run: current.map(|run| run.usage_until(now)), session };
        (Question { names: shown, ..asked.clone() }, known, now)
    }

    /// The group that a question is about, and the time.
    fn figures_of(&self, asked: &Question) -> (Option<GroupFigures>, u64) {
        let (account, names) = (&*asked.account, &asked.names);
        let session = names.session.as_deref().unwrap_or_default();
        let keys = [
            names.session.as_ref().map(|id| key_id(account, key_kind::SESSION, "", id)),
            names.run.as_ref().map(|id| key_id(account, key_kind::RUN, session, id)),
            asked.trace.as_ref().map(|id| key_id(account, key_kind::TRACE, "", id)),
        ];
        let (found, now) = {
            let state = self.state.lock();
            let id = keys.iter().flatten().find_map(|key| state.store.find_key(key)).map(|(id, _)| id);
            (id.and_then(|id| Some((id, state.store.snapshot(id)?))), state.wall_or_max())
        };
        let Some((id, group)) = found else { return (None, now) };
        let kept = || {
            let is_heavy = group.weight() > HEAVY;
            let is_fresh = |kept: &GroupFigures| match kept.batch == group.batch {
                true => now.saturating_sub(kept.at) < MAX_AGE,
                false => is_heavy && kept.at == now && kept.batch < group.batch,
            };
            self.figures.groups.lock().get(&id).filter(|kept| is_fresh(kept)).cloned()
        };
        if let Some(figures) = kept() {
            return (Some(figures), now);
        }
        let _one_at_a_time = (group.weight() > HEAVY).then(|| self.figures.resolving.lock());
        (Some(kept().unwrap_or_else(|| self.make_figures(id, &group, now))), now)
    }

    fn make_figures(&self, id: u32, group: &ItemGroup, now: u64) -> GroupFigures {
        let runs: Arc<[RunFigures]> = self.make_run_figures(group).into();
        let before = self.usage_before(group, &runs, now).into();
        let figures = GroupFigures { account: Arc::from(&*group.account), batch: group.batch, at: now, runs, before };
        self.figures.groups.lock().insert_for(&*group.account, id, figures.clone(), 1);
        figures
    }

    /// What the sessions that these runs' sessions continue have used, when their groups were resolved last.
    fn usage_before(&self, group: &ItemGroup, runs: &[RunFigures], now: u64) -> BTreeMap<String, Usage> {
        if !self.has_budgets_by(Scope::Session) {
            return BTreeMap::new();
        }
        let account = &*group.account;
        self.note_sessions(group, runs, now);
        let chains: Vec<(String, BTreeSet<String>)> = {
            let state = self.state.lock();
            let chain = |(session, continued): (&str, &str)| {
                let predecessor = |session: &&str| state.continuations.predecessor_of(account, session);
                let chain = std::iter::successors(Some(continued), predecessor).take(MAX_CONTINUED);
                (session.to_owned(), chain.filter(|earlier| *earlier != session).map(str::to_owned).collect())
            };
            group.continued_sessions().map(chain).collect()
        };
        let mut before = BTreeMap::new();
        for (session, earlier) in chains {
            let shown = |id: &String| self.ids.shown_id(account, id).into_owned();
            let (shown_session, shown_earlier) = (shown(&session), earlier.iter().map(shown).collect());
            self.state.lock().ledger.note_continued(account, &shown_session, shown_earlier);
            let used = earlier.iter().map(|earlier| self.usage_of_session(account, earlier, now));
            before.insert(session, used.fold(Usage::default(), Usage::plus));
        }
        before
    }

    fn usage_of_session(&self, account: &str, session: &str, now: u64) -> Usage {
        let digest = digest(&[account, session]);
        let known = || self.figures.sessions.lock().get(&digest).copied();
        if let Some(usage) = known() {
            return usage;
        }
        // its group was not resolved since the start, or is gone
        let key = key_id(account, key_kind::SESSION, "", session);
        let group = self.state.lock().store.groups_of(&[key]).pop();
        match group {
            Some(group) => self.note_sessions(&group, &self.make_run_figures(&group), now),
            None => _ = self.figures.sessions.lock().insert_for(account, digest, Usage::default(), 1),
        }
        known().unwrap_or_default()
    }

    /// Remembers what each session of a group used itself.
    fn note_sessions(&self, group: &ItemGroup, runs: &[RunFigures], now: u64) {
        let sessions = group.keys.iter().filter(|key| key.kind == key_kind::SESSION);
        let mut used: BTreeMap<&str, Usage> = sessions.map(|key| (&*key.text, Usage::default())).collect();
        for run in runs {
            let usage = used.entry(&run.session).or_default();
            *usage = usage.plus(run.usage_until(now));
        }
        let mut known = self.figures.sessions.lock();
        for (session, usage) in used {
            known.insert_for(&*group.account, digest(&[&group.account, session]), usage, 1);
        }
    }

    fn make_run_figures(&self, group: &ItemGroup) -> Vec<RunFigures> {
        let context = self.aggregation_context();
        let resolved = ResolvedRuns::resolve(group, &context);
        let views = ViewBuilder { ids: &*self.ids, resolved: &resolved };
        let figures_of_run = |run| {
            let run: &Run = run;
            let view = views.run_view(run, state_without_end(group, run));
            let end = if view.state.is_live() { 0 } else { run.last.max(1) };
            let total = run.totals.total();
            RunFigures {
                run: run.id_text.clone(),
                session: run.session.clone(),
                trace: view.trace,
                usage: Usage {
                    atto_usd: total.atto_usd,
                    covered_atto_usd: total.covered_atto_usd,
                    model_calls: total.calls,
                    iterations: run.totals.iterations,
                    tool_calls: run.totals.tool_calls(),
                    seconds: 0,
                },
                shown: Names {
                    run: Some(view.run),
                    session: Some(view.session),
                    user: view.user,
                    tenant: view.tenant,
                    feature: view.feature,
                    issue: view.issue,
                    service: view.service,
                    model: None,
                },
                start: run.start,
                end,
            }
        };
        resolved.runs.iter().map(figures_of_run).collect()
    }

    /// Notes what the runs of an evaluated group have used, if there are budgets for runs or sessions.
    pub(super) fn watch_runs(&self, id: u32, group: &ItemGroup, now: u64) {
        if !self.state.lock().ledger.has_budgets_of_runs() {
            return;
        }
        let figures = self.make_figures(id, group, now);
        let state = self.state.lock();
        for (scope, names, usage) in figures.live(now) {
            let crossings = state.ledger.run_crossings(scope, &group.account, &names, usage, now);
            let owned = crossings.map(|crossing| Crossing { owner: group.owner.clone(), ..crossing });
            self.figures.crossings.lock().extend(owned);
        }
    }

    /// Fires and ends alerts of budgets, and sets their gauges.
    pub(super) fn tick_budgets(&self) {
        if self.settings.budgets.is_empty() {
            return;
        }
        let run_crossings = std::mem::take(&mut *self.figures.crossings.lock());
        let mut state = self.state.lock();
        let now = state.wall_or_max();
        let has_run_alerts = state.alerts.of_budgets().any(|alert| !alert.run.is_empty() || !alert.session.is_empty());
        let live = if has_run_alerts { self.live_usage(now) } else { HashMap::new() };
        state.end_budget_alerts(now, &live);
        let crossings = state.ledger.take_crossings(now).into_iter().chain(run_crossings);
        crossings.map(alert_of).for_each(|alert| state.publish_budget_alert(alert, &self.metrics));
        // `lines` locks the state while it holds the lines
        drop(state);
        let is_due = now.saturating_sub(self.figures.lines.lock().0) >= MAX_AGE;
        if is_due {
            self.metrics.set_budgets(&self.lines());
        }
    }

    /// What runs and sessions that are not over have used, by scope, account and key.
    fn live_usage(&self, now: u64) -> LiveUsage {
        let groups = self.figures.groups.lock();
        let mut live = LiveUsage::new();
        for (_, figures) in groups.iter() {
            for (scope, names, usage) in figures.live(now) {
                let key = if scope == Scope::Run { names.run } else { names.session };
                live.insert((figures.account.to_string(), key.unwrap_or_default()), usage);
            }
        }
        live
    }
}

/// The alert of a crossing. `tool` holds `BUDGET KEY`; the key is also in the field of its scope.
fn alert_of(crossing: Crossing) -> Alert {
    let Crossing { account, budget, scope, key, spent, limit, share, at, owner } = crossing;
    let only = |wanted: Scope| if scope == wanted { key.clone() } else { String::new() };
    let is_over = spent >= limit;
    Alert {
        owner,
        rule: if is_over { AlertRule::BudgetExceeded } else { AlertRule::BudgetWarning },
        run: only(Scope::Run),
        session: only(Scope::Session),
        trace: String::new(),
        tool: format!("{budget} {key}"),
        tenant: (scope == Scope::Tenant).then(|| key.clone()),
        feature: (scope == Scope::Feature).then(|| key.clone()),
        value: spent as f64 / limit as f64,
        threshold: f64::from(share) / 10_000.0,
        account,
        since: at,
        until: None,
    }
}

impl BudgetDesk for RunTracker {
    fn has_budgets(&self) -> bool {
        !self.settings.budgets.is_empty()
    }

    fn budgets(&self) -> &[Budget] {
        &self.settings.budgets
    }

    fn knows_fleet(&self) -> bool {
        self.figures.knows_fleet.load(Ordering::Relaxed)
    }

    fn answer(&self, question: &Question) -> Answer {
        if self.settings.budgets.is_empty() {
            return Answer::allow();
        }
        let (question, known, now) = self.complete_question(question);
        let mut state = self.state.lock();
        if let Some(session) = &question.names.session {
            state.asked.add(&question.account, session);
        }
        state.ledger.answer(&question, &known, now)
    }

    fn lines(&self) -> Arc<[BudgetLine]> {
        let mut lines = self.figures.lines.lock();
        let (now, ledger) = {
            let state = self.state.lock();
            let now = state.wall_or_max();
            if now.saturating_sub(lines.0) < LINES_AGE && lines.0 <= now {
                return Arc::clone(&lines.1);
            }
            (now, state.ledger.clone())
        };
        let groups: Vec<GroupFigures> = self.figures.groups.lock().iter().map(|(_, kept)| kept.clone()).collect();
        let of_group = |figures: &GroupFigures| {
            let account = figures.account.to_string();
            let with_account = |(scope, names, usage)| (scope, account.clone(), names, usage);
            figures.live(now).map(with_account).collect::<Vec<_>>()
        };
        let runs_and_sessions: Vec<_> = groups.iter().flat_map(of_group).collect();
        *lines = (now, ledger.lines(&runs_and_sessions, now).into());
        Arc::clone(&lines.1)
    }
}
