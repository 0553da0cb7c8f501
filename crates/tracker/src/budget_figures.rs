//! What budgets need of the tracker: what each committed batch adds to the ledger, the figures of runs and sessions,
//! and which sessions were asked about. `budget_desk` answers questions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use foldhash::HashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use budgets::{BudgetLine, BudgetRecord, Crossing, Ledger, Measure, Names, Scope, Spending, Usage};
use kernel::bounded_map::BoundedMap;
use runs::{RunOwner, RunView, digest};

use super::codec::take;
use super::observation::{Attribution, BatchObservation, ObservedItem, flag, price_quality};
use super::store::NewToolCall;

/// First byte of an effect with records of answers and grants.
pub(super) const EFFECT: u8 = 0xb7;
/// Groups whose figures are kept for the next question.
const MAX_CACHED_GROUPS: usize = 1000;
/// Above this weight of a group its figures may be a second old, so that questions don't resolve it again and again.
pub(super) const HEAVY: usize = 2000;
/// Sessions that have asked, of which the process remembers the latest.
const MAX_ASKED_SESSIONS: usize = 50_000;
/// Sessions whose use is remembered for those that continue them.
const MAX_SESSIONS: usize = 50_000;
/// Sessions in a row, each continued by the one before, that count for a session's budget.
pub(super) const MAX_CONTINUED: usize = 16;
/// Time after which figures and lines are made anew, ns.
pub(super) const MAX_AGE: u64 = 10 * NANOS_PER_SECOND;
/// Time for which pages show the same lines, ns.
pub(super) const LINES_AGE: u64 = 2 * NANOS_PER_SECOND;
pub(super) const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Answers and grants of one batch.
#[derive(Serialize, Deserialize)]
pub(super) struct BudgetNews {
    pub(super) account: String,
    pub(super) received: u64,
    pub(super) records: Vec<BudgetRecord>,
}

impl BudgetNews {
    /// `None`: another effect, or damaged.
    pub(super) fn decode(effect: &[u8]) -> Option<Self> {
        let (&EFFECT, mut rest) = effect.split_first()? else { return None };
        take(&mut rest)
    }
}

/// The names of items, by attribution and model, in the form that pages show.
pub(super) type ShownNames = HashMap<(Attribution<u32>, u32), Names>;

/// One run of a group, for questions.
pub(super) struct RunFigures {
    /// Ids as sent.
    pub(super) run: String,
    pub(super) session: String,
    pub(super) trace: String,
    pub(super) shown: Names,
    /// Without its time.
    pub(super) usage: Usage,
    /// Unix ns; an `end` of 0: it is not over.
    pub(super) start: u64,
    pub(super) end: u64,
}

impl RunFigures {
    pub(super) fn is_over(&self) -> bool {
        self.end != 0
    }

    /// What it has used until `now`.
    pub(super) fn usage_until(&self, now: u64) -> Usage {
        let end = if self.is_over() { self.end } else { now };
        let seconds = if self.start == 0 { 0 } else { end.saturating_sub(self.start) / NANOS_PER_SECOND };
        Usage { seconds, ..self.usage }
    }
}

/// The runs of a group at one of its batches.
#[derive(Clone)]
pub(super) struct GroupFigures {
    pub(super) account: Arc<str>,
    pub(super) batch: u64,
    /// The clock at the last tick before, unix ns.
    pub(super) at: u64,
    pub(super) runs: Arc<[RunFigures]>,
    /// By session, what the sessions that it continues have used.
    pub(super) before: Arc<BTreeMap<String, Usage>>,
}

impl GroupFigures {
    pub(super) fn usage_before(&self, session: &str) -> Usage {
        self.before.get(session).copied().unwrap_or_default()
    }

    /// Its runs and sessions that are not over, with what they have used until `now`.
    pub(super) fn live(&self, now: u64) -> impl Iterator<Item = (Scope, Names, Usage)> {
        let mut sessions: BTreeMap<&str, (Names, Usage, bool)> = BTreeMap::new();
        for run in &*self.runs {
            let (names, usage, is_live) = sessions.entry(&run.session).or_default();
            names.fill_from(&Names { run: None, ..run.shown.clone() });
            (*usage, *is_live) = (usage.plus(run.usage_until(now)), *is_live || !run.is_over());
        }
        let runs = self.runs.iter().filter(|run| !run.is_over());
        let runs = runs.map(move |run| (Scope::Run, run.shown.clone(), run.usage_until(now)));
        let sessions = sessions.into_iter().filter(|(_, (.., is_live))| *is_live);
        runs.chain(sessions.map(|(id, (names, usage, _))| (Scope::Session, names, usage.plus(self.usage_before(id)))))
    }
}

#[derive(Default)]
pub(super) struct FiguresCache {
    pub(super) groups: Mutex<BoundedMap<u32, GroupFigures, MAX_CACHED_GROUPS>>,
    /// What each session used itself, by digest, when its group was resolved last.
    pub(super) sessions: Mutex<BoundedMap<u64, Usage, MAX_SESSIONS>>,
    /// Held while a heavy group is resolved, so that questions about it wait for one result.
    pub(super) resolving: Mutex<()>,
    /// Runs and sessions above a threshold, until the next tick.
    pub(super) crossings: Mutex<Vec<Crossing>>,
    /// The lines that pages and gauges show, and the time of the tick before, unix ns.
    pub(super) lines: Mutex<(u64, Arc<[BudgetLine]>)>,
    pub(super) knows_fleet: AtomicBool,
}

/// Sessions that a hook or proxy has asked about in this process.
#[derive(Default)]
pub(super) struct AskedSessions(BoundedMap<u64, (), MAX_ASKED_SESSIONS>);

impl AskedSessions {
    pub(super) fn add(&mut self, account: &str, session: &str) {
        self.0.insert_for(account, digest(&[account, session]), (), 1);
    }

    /// Cost of a run in USD if nothing asked about its session. A run that began before `since` (unix ns) counts as
    /// asked.
    pub(super) fn unasked_cost(&self, run: &RunView, since: u64) -> Option<f64> {
        let has_asked = self.0.get(&digest(&[&run.account, &run.session])).is_some();
        (!has_asked && run.start >= since).then(|| Measure::Amount.to_f64(run.totals.atto_usd()))
    }
}

pub(super) fn model_of(item: &ObservedItem) -> u32 {
    item.call.as_ref().map_or(0, |call| call.model)
}

/// What an item's call used, if its record is the one that counts, or a correction.
fn spending_of(item: &ObservedItem) -> Option<Spending> {
    let call = item.call.as_ref()?;
    let is_covered = item.flags & flag::COVERED != 0;
    let (atto_usd, model_calls) = match call.price_quality {
        price_quality::CHANGE => (call.atto, 0),
        price_quality::PRICED => (call.atto, u64::from(call.is_answered(item.flags)?)),
        _ => (0, u64::from(call.is_answered(item.flags)?)),
    };
    Some(Spending { atto_usd, is_covered, model_calls, tool_calls: 0 })
}

/// Adds what a committed batch used to the ledger. `new_tools`: the tool calls that it reports first.
pub(super) fn add_spending(
    ledger: &mut Ledger,
    observation: &BatchObservation,
    spenders: &ShownNames,
    new_tools: &[NewToolCall],
    owner: &RunOwner,
) {
    if ledger.is_empty() {
        return;
    }
    let tool_spending = |call: &NewToolCall| {
        let item = observation.items.get(call.item).filter(|_| call.ran)?;
        Some((item, Spending { tool_calls: 1, ..Spending::default() }))
    };
    let calls = observation.items.iter().filter_map(|item| Some((item, spending_of(item)?)));
    for (item, used) in calls.chain(new_tools.iter().filter_map(tool_spending)) {
        if let Some(names) = spenders.get(&(item.attribution, model_of(item))) {
            ledger.add(&observation.account, names, used, (observation.received, owner));
        }
    }
}

/// By account and the id of a run or session.
pub(super) type LiveUsage = HashMap<(String, String), Usage>;
