//! The `runs` processor. A run is one agent invocation, identified by the id that a dialect names, otherwise by spans
//! and traces; runs share sessions. The processor stamps the run on every agent item and sums up activity, duration,
//! cost and failures.
//! Invariants: `process` changes only its batch; state changes only by effects of committed batches and does not
//! depend on the order or batching of items; a call that arrives on two signals counts once; all state is bounded.
//! `genai` classifies items, `processors/cost` prices them, `pages` shows the result.

mod acts;
mod alerts;
mod args;
mod bounds;
mod codec;
pub mod config;
mod counted;
mod credit;
mod extras;
mod finish;
mod glance;
mod group;
mod history;
mod items;
mod layers;
mod look;
mod measures;
mod meters;
mod observe;
mod orphans;
mod outbox;
mod points;
mod recorder;
mod resolve;
mod run;
mod saved;
mod schedule;
mod seen;
mod slack;
mod stamp;
mod state;
mod store;
mod sum;
mod summary;
mod table;
mod terms;
mod timeline;
mod tokens;
mod tree;
mod twins;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use genai::{Vaulted, Vocabulary, facts_of};
use kernel::clock::UnixNanos;
use kernel::pseudonym::IdPolicy;
use otlp::Signal;
use pipeline::{Batch, Effect, Portion, Processor, Reason, Source};
use rates::Shelf;
use runs::{Alert, Board, Budget, BudgetState, Detail, Investigations, Judged, Measure, Outcome, RunSums, RunView};
use telemetry::Meter;

pub use alerts::{Limits, RULES as ALERT_RULES};
pub use config::{Config, Settings};

use credit::Credit;
use glance::Glances;
use group::Group;
use look::{Eyes, Look};
use meters::Meters;
use observe::{With, run_digest};
use seen::{SeenOutcome, Sight};
use state::State;
use store::Heard;
use terms::Terms;

/// Maximum number of groups evaluated in one tick, so that no tick takes long.
const LOOKS: usize = 2000;
/// Number of runs and sessions applied under one lock.
const PART: usize = 64;

/// See the module documentation.
pub struct Runs {
    id: Arc<str>,
    settings: Settings,
    vocabulary: Arc<Vocabulary>,
    ids: Arc<dyn IdPolicy>,
    meters: Meters,
    /// Limits what stamps may read.
    credit: Credit,
    /// Cached views of heavy groups.
    glances: Glances,
    /// The price tables in use; empty in pipelines without a cost step.
    shelf: OnceLock<Arc<Shelf>>,
    /// Locked only briefly: long work is done on snapshots of groups.
    state: Mutex<State>,
}

impl Runs {
    /// An empty tracker. `ids` decides how ids and names appear on pages and in metrics.
    pub fn new(
        id: Arc<str>,
        settings: Settings,
        vocabulary: Arc<Vocabulary>,
        ids: Arc<dyn IdPolicy>,
        meter: &Meter,
    ) -> Self {
        let state = Mutex::new(State::new(settings.clone()));
        let (credit, glances) = (Credit::default(), Glances::default());
        let (meters, shelf) = (Meters::new(meter), OnceLock::new());
        Self { id, settings, vocabulary, ids, meters, credit, glances, shelf, state }
    }

    /// Sets the price tables of the cost step before this one; they say which ids mean the same model. Only the first
    /// call counts.
    pub fn price_by(&self, shelf: Arc<Shelf>) {
        self.shelf.get_or_init(|| shelf);
    }

    fn terms(&self) -> Terms {
        let table = self.shelf.get().map(|shelf| Arc::clone(shelf.rates().common()));
        Terms { window: bounds::nanos(self.settings.tool_window), table }
    }

    /// The effect to commit for an outcome that a user recorded for a run of an account. `None`: no such run.
    pub fn judged(&self, account: &str, id: &str, outcome: Outcome, received: UnixNanos) -> Option<Effect> {
        let view = self.run_of(account, id)?.view;
        let judged = Judged { outcome: Some(outcome), scores: Vec::new() };
        let incident = view.incident.as_deref().unwrap_or("").into();
        let seen = SeenOutcome { run: run_digest(&view.account, &view.run), incident, judged };
        let sight = Sight {
            account: view.account.as_str().into(),
            received: received.0,
            keys: Vec::new(),
            names: Vec::new(),
            items: Vec::new(),
            outcomes: vec![seen],
            measures: Vec::new(),
        };
        Some(Effect::new(Arc::clone(&self.id), sight.encode()))
    }

    fn sight<'a>(&'a self, terms: &'a Terms) -> glance::With<'a> {
        glance::With { ids: &*self.ids, terms }
    }

    /// Publishes the last state of evicted groups.
    fn give_up(&self, gone: &[Group], eyes: &Eyes) {
        for group in gone {
            let look = Look::last(group, &*self.ids, &self.settings, eyes);
            self.state.lock().give_up(group, look, &self.meters);
        }
    }

    /// Counts tool calls in the metrics immediately.
    fn hear(&self, account: &str, heard: &[Heard]) {
        let mut shown: HashMap<&str, String> = HashMap::new();
        for heard in heard {
            let name = shown.entry(&heard.tool).or_insert_with(|| self.ids.column(account, &heard.tool).into_owned());
            self.meters.tool(account, name, heard);
        }
    }
}

impl Board for Runs {
    fn recent(&self, most: usize) -> Vec<RunView> {
        self.glances.recent(&self.state, self.sight(&self.terms()), most)
    }

    fn run(&self, id: &str) -> Option<Detail> {
        self.glances.find(&self.state, self.sight(&self.terms()), None, id)
    }

    fn run_of(&self, account: &str, id: &str) -> Option<Detail> {
        self.glances.find(&self.state, self.sight(&self.terms()), Some(account), id)
    }

    fn accounts(&self, id: &str) -> Vec<String> {
        self.glances.accounts(&self.state, self.sight(&self.terms()), id)
    }

    fn budget(&self, account: &str, id: &str) -> Option<Budget> {
        let view = self.run_of(account, id)?.view;
        let ceiling = self.settings.ceiling(view.feature.as_deref());
        let state = match view.totals.iterations {
            used if used >= ceiling => BudgetState::Exceeded,
            used if used.saturating_mul(5) >= ceiling.saturating_mul(4) => BudgetState::Warned,
            _ => BudgetState::Ok,
        };
        Some(Budget { view, ceiling, state })
    }

    fn sums(&self) -> RunSums {
        self.state.lock().history.sums()
    }

    fn investigations(&self) -> BTreeMap<String, Investigations> {
        self.state.lock().history.investigations()
    }

    fn measures(&self) -> Vec<Measure> {
        self.state.lock().measures.all()
    }

    fn alerts(&self) -> Vec<Alert> {
        self.state.lock().alerts.all()
    }
}

impl Source for Runs {
    fn ask(&self, signals: &[Signal]) {
        self.state.lock().outbox.ask(signals);
    }

    fn portion(&self, signal: Signal, now: UnixNanos) -> Option<Portion> {
        let state = self.state.lock();
        let portion = state.outbox.portion(signal, now.0)?;
        let wire = match signal {
            Signal::Metrics => points::request(&portion.news, &self.meters.labels, portion.since, now.0),
            Signal::Logs | Signal::Traces => summary::request(&portion.news, now.0),
        };
        let effect = Effect::new(Arc::clone(&self.id), portion.effect);
        Some(Portion { account: portion.account.into(), wire: wire.into(), effect })
    }
}

impl Processor for Runs {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        if batch.payload.signal() == Signal::Metrics {
            return Ok(());
        }
        let facts = facts_of(&self.vocabulary, &batch.payload, &mut batch.facts);
        if !facts.agent && self.settings.measures.is_empty() {
            return Ok(());
        }
        let vaulted = Vaulted::of(&batch.payload, &facts);
        let with = With { settings: &self.settings, ids: &*self.ids, vaulted: &vaulted };
        let (mut sight, refused) = observe::observe(&batch.origin, &batch.payload, &facts, with);
        self.meters.refused(refused);
        if sight.items.is_empty() && sight.measures.is_empty() {
            return Ok(());
        }
        let ids = store::key_ids(&sight);
        let groups = {
            let state = self.state.lock();
            stamp::asks(&sight, &ids, &state.store).then(|| state.store.groups_of(&ids))
        };
        let known = groups.map(|groups| stamp::known(&sight, &ids, groups, &self.credit, &self.terms()));
        stamp::stamp(batch, &facts, &vaulted, &sight, known);
        if !batch.origin.repeat {
            sight.compact();
            batch.effects.push(Effect::new(Arc::clone(&self.id), sight.encode()));
        }
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        if self.state.lock().outbox.apply(&effect.body) {
            return;
        }
        let Some(sight) = Sight::decode(&effect.body) else { return };
        let account = &*sight.account;
        let shown = sight.measured().map(|(at, name)| (at, self.ids.column(account, name).into_owned())).collect();
        let (applied, eyes) = {
            let mut state = self.state.lock();
            let applied = state.apply(&sight, &shown, &self.meters);
            let eyes = (!applied.gone.is_empty()).then(|| state.eyes(self.terms()));
            (applied, eyes)
        };
        self.hear(account, &applied.heard);
        if let Some(eyes) = eyes {
            self.give_up(&applied.gone, &eyes);
        }
    }

    fn tick(&self, now: UnixNanos) {
        let eyes = {
            let mut state = self.state.lock();
            state.pass(now);
            state.eyes(self.terms())
        };
        for _ in 0..LOOKS {
            let Some((id, group)) = self.state.lock().next_due() else { break };
            let mut look = Look::of(&group, &*self.ids, &self.settings, &eyes);
            drop(group); // the lock holder would have to copy the group on a change
            let mut found = std::mem::take(&mut look.found).into_iter().peekable();
            let mut whole = true;
            while whole && found.peek().is_some() {
                let part = found.by_ref().take(PART).collect();
                whole = self.state.lock().take(id, &look, part, &self.meters);
            }
            if whole {
                self.state.lock().end_look(id, look);
            }
        }
        for _ in 0..LOOKS {
            let Some((id, group)) = self.state.lock().next_suspected() else { break };
            let mut look = Look::suspects(&group, &*self.ids, &self.settings, &eyes);
            drop(group); // the lock holder would have to copy the group on a change
            let found = std::mem::take(&mut look.found);
            let mut state = self.state.lock();
            if state.take(id, &look, found, &self.meters) {
                state.end_suspects(id, look);
            }
        }
        let gone = self.state.lock().store.drain_dormant();
        self.give_up(&gone, &eyes);
        let mut state = self.state.lock();
        state.count();
        self.meters.live.set(state.open() as f64);
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        Some(self.state.lock().save())
    }

    fn restore(&self, checkpoint: &[u8]) {
        let state = State::load(self.settings.clone(), checkpoint);
        if let Some(mut state) = state {
            let mut known = self.state.lock();
            state.outbox.keep_asking(&known.outbox);
            *known = state;
        } else {
            tracing::warn!("the saved state of runs is damaged or of another version; runs begin anew");
        }
    }
}
