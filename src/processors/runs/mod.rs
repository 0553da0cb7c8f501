//! **What**: the processor that knows runs: one agent invocation each, told apart by what a dialect names, else by spans
//! and traces; and the sessions that runs share. It stamps the run on every agent item and adds up what runs did.
//! **Why**: traces show spans; people ask what an agent did, how long it took, what it cost and whether it failed.
//! **Invariants**: `process` changes nothing but its batch; state changes by effects of committed batches alone, and is
//! the same whatever the order and batching of items; a call seen on two signals counts once; all of it is bounded.
//! **Not here**: what an item is (`genai`), prices (`processors/cost`), pages and alerts.

mod acts;
mod alerts;
mod args;
mod codec;
pub mod config;
mod extras;
mod finish;
mod group;
mod history;
mod items;
mod layers;
mod measures;
mod meters;
mod observe;
mod outbox;
mod points;
mod resolve;
mod saved;
mod seen;
mod stamp;
mod state;
mod store;
mod sum;
mod summary;
mod table;
mod tokens;
mod tree;
mod twins;
mod view;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::UnixNanos;
use crate::genai::{Vocabulary, facts_of};
use crate::otlp::Signal;
use crate::pipeline::{Batch, Effect, Portion, Processor, Reason, Source};
use crate::pseudonym::IdPolicy;
use crate::runs::{
    Alert, Board, Budget, BudgetState, Detail, Investigations, Judged, Measure, Outcome, RunSums, RunView,
};
use crate::telemetry::Meter;

pub use alerts::Limits;
pub use config::{Config, Settings};

use meters::Meters;
use observe::{With, run_digest};
use seen::{SeenOutcome, Sight};
use state::State;

/// See the module.
pub struct Runs {
    id: Arc<str>,
    settings: Settings,
    vocabulary: Arc<Vocabulary>,
    ids: Arc<dyn IdPolicy>,
    meters: Meters,
    state: Mutex<State>,
}

impl Runs {
    /// A tracker that knows nothing yet. `ids`: how ids and names may be shown on pages and in metrics.
    pub fn new(
        id: Arc<str>,
        settings: Settings,
        vocabulary: Arc<Vocabulary>,
        ids: Arc<dyn IdPolicy>,
        meter: &Meter,
    ) -> Self {
        let state = Mutex::new(State::new(settings.clone(), Arc::clone(&ids)));
        Self { id, settings, vocabulary, ids, meters: Meters::new(meter), state }
    }

    /// What is to be committed when somebody says what became of a run: its account, and the effect. None: no such run.
    pub fn judged(&self, id: &str, outcome: Outcome, received: UnixNanos) -> Option<(String, Effect)> {
        let view = self.state.lock().find(id)?.view;
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
        Some((view.account, Effect::new(Arc::clone(&self.id), sight.encode())))
    }
}

impl Board for Runs {
    fn recent(&self, most: usize) -> Vec<RunView> {
        self.state.lock().recent(most)
    }

    fn run(&self, id: &str) -> Option<Detail> {
        self.state.lock().find(id)
    }

    fn budget(&self, id: &str) -> Option<Budget> {
        let view = self.state.lock().find(id)?.view;
        let ceiling = self.settings.ceiling(view.feature.as_deref());
        let state = match view.totals.iterations {
            used if used >= ceiling => BudgetState::Exceeded,
            used if used.saturating_mul(5) >= ceiling.saturating_mul(4) => BudgetState::Warned,
            _ => BudgetState::Ok,
        };
        Some(Budget { view, ceiling, state })
    }

    fn sums(&self) -> RunSums {
        self.state.lock().history.sums.clone()
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
        let facts = facts_of(&self.vocabulary, batch);
        if !facts.agent && self.settings.measures.is_empty() {
            return Ok(());
        }
        let with = With { settings: &self.settings, ids: &*self.ids };
        let (mut sight, refused) = observe::observe(&batch.origin, &batch.payload, &facts, with);
        self.meters.refused(refused);
        if sight.items.is_empty() && sight.measures.is_empty() {
            return Ok(());
        }
        let known = {
            let state = self.state.lock();
            stamp::asks(&sight, &state.store).then(|| stamp::known(&sight, &state.store))
        };
        stamp::stamp(batch, &facts, &sight, known);
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
        if let Some(sight) = Sight::decode(&effect.body) {
            self.state.lock().apply(&sight, &self.meters);
        }
    }

    fn tick(&self, now: UnixNanos) {
        let mut state = self.state.lock();
        state.tick(now, &self.meters);
        self.meters.live.set(state.open() as f64);
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        Some(self.state.lock().save())
    }

    fn restore(&self, checkpoint: &[u8]) {
        let state = State::load(self.settings.clone(), Arc::clone(&self.ids), checkpoint);
        if let Some(mut state) = state {
            let mut known = self.state.lock();
            state.outbox.keep_asking(&known.outbox);
            *known = state;
        } else {
            tracing::warn!("the saved state of runs is damaged or of another version; runs begin anew");
        }
    }
}
