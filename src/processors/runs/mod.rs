//! **What**: the processor that knows runs: one agent invocation each, told apart by what a dialect names, else by spans
//! and traces; and the sessions that runs share. It stamps the run on every agent item and adds up what runs did.
//! **Why**: traces show spans; people ask what an agent did, how long it took, what it cost and whether it failed.
//! **Invariants**: `process` changes nothing but its batch; state changes by effects of committed batches alone, and is
//! the same whatever the order and batching of items; a call seen on two signals counts once; all of it is bounded.
//! **Not here**: what an item is (`genai`), prices (`processors/cost`), pages and alerts.

mod codec;
pub mod config;
mod group;
mod layers;
mod meters;
mod observe;
mod resolve;
mod seen;
mod stamp;
mod state;
mod store;
mod sum;
mod table;
mod tally;
mod tokens;
mod tree;
mod view;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::UnixNanos;
use crate::genai::{Vocabulary, facts_of};
use crate::otlp::Signal;
use crate::pipeline::{Batch, Effect, Processor, Reason};
use crate::pseudonym::IdPolicy;
use crate::telemetry::Meter;

pub use config::{Config, Settings};
pub use tally::{ModelTotals, ToolTotals, Totals};
pub use view::{RunState, RunView, Sum};

use meters::Meters;
use seen::Sight;
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

/// What ended runs add up to.
pub struct RunSums {
    /// By tenant; `unattributed` without one, `other` beyond 200.
    pub by_tenant: BTreeMap<String, Sum>,
    /// By model.
    pub by_model: BTreeMap<String, Sum>,
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

    /// The latest runs, live ones first, at most `most`.
    pub fn recent(&self, most: usize) -> Vec<RunView> {
        self.state.lock().recent(most)
    }

    /// What ended runs add up to, since the state began.
    pub fn sums(&self) -> RunSums {
        let (by_tenant, by_model) = self.state.lock().sums();
        RunSums { by_tenant, by_model }
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
        if !facts.agent {
            return Ok(());
        }
        let mut sight = observe::observe(&batch.origin, &batch.payload, &facts);
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
        if let Some(state) = state {
            *self.state.lock() = state;
        } else {
            tracing::warn!("the saved state of runs is damaged or of another version; runs begin anew");
        }
    }
}
