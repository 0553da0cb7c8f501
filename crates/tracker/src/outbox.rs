//! [`Outbox`]: news that connectors still have to emit: finished runs and sessions, alerts, overrides.
//! The outbox is part of the state, so a crash between the end of a run and its emission loses nothing. An effect in
//! the transaction that emits news removes them, so nothing is emitted twice. At most 20,000 entries; beyond that the
//! oldest entry of the account with the most is dropped and counted. Empty while no connector is configured. After a
//! crash, an effect may be replayed before its news exist again; such news are then not emitted again. `summary` and
//! `points` encode news, `crates/connectors` sends them.

use std::collections::{HashMap, HashSet};

use kernel::bounded_map::{AccountHash, BoundedMap};
use otlp::Signal;
use runs::{Alert, EvaluationScore, RunTotals, RunView, SessionView, digest};
use serde::{Deserialize, Serialize};

use super::codec::{put, put_list, take};
use super::evaluation::view_digest;

const MAX_ENTRIES: usize = 20_000;
const MAX_BATCH_ENTRIES: usize = 500;
/// Maximum number of emitted identities that are remembered before their news exist.
const MAX_EMITTED_EARLY: usize = 100_000;
/// First byte of an effect that records what was emitted.
const EFFECT_TAG: u8 = 0xe1;

#[derive(Clone, Serialize, Deserialize)]
pub(super) enum OutboxEvent {
    /// A run is over, with revision 0; or a published run changed, with its new revision.
    Run(Box<RunView>, u32),
    Session(Box<SessionView>),
    Alert(Box<Alert>),
    /// A new investigation: account, agent type, incident.
    Investigation(String, String, String),
    /// A human overrode the agent's result: account, agent type, incident.
    Overridden(String, String, String),
    /// The 95th percentile of tool calls per investigation: account, agent type, value.
    ToolCallsP95(String, String, f64),
    /// A new or changed evaluation of a run: account, what it says.
    Evaluation(String, Box<EvaluationEvent>),
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct EvaluationEvent {
    /// Digest of the account and the run's id as shown.
    pub(super) run: u64,
    pub(super) score: EvaluationScore,
    /// Tenant and feature; "" = unknown.
    pub(super) whose: [String; 2],
}

impl OutboxEvent {
    /// The account whose credential sent the data.
    pub(super) fn account(&self) -> &str {
        match self {
            Self::Run(view, _) => &view.account,
            Self::Session(view) => &view.account,
            Self::Alert(alert) => &alert.account,
            Self::Investigation(account, ..)
            | Self::Overridden(account, ..)
            | Self::ToolCallsP95(account, ..)
            | Self::Evaluation(account, ..) => account,
        }
    }

    /// The run, if it is over now.
    pub(super) fn ended_run(&self) -> Option<&RunView> {
        match self {
            Self::Run(view, 0) => Some(view),
            _ => None,
        }
    }

    /// The sums of a run's or session's calls.
    fn totals(&self) -> Option<&RunTotals> {
        match self {
            Self::Run(view, _) => Some(&view.totals),
            Self::Session(view) => Some(&view.totals),
            _ => None,
        }
    }

    fn totals_mut(&mut self) -> Option<&mut RunTotals> {
        match self {
            Self::Run(view, _) => Some(&mut view.totals),
            Self::Session(view) => Some(&mut view.totals),
            _ => None,
        }
    }

    /// Identifies the event; the same after a crash.
    fn identity_digest(&self) -> u64 {
        match self {
            Self::Run(view, revision) => {
                digest(&["run", &view.account, &view.session, &view.run, &revision.to_string()])
            }
            Self::Session(view) => digest(&["session", &view.account, &view.session, &view.start.to_string()]),
            Self::Alert(alert) => {
                let [account, session, run] = [&*alert.account, &alert.session, &alert.run];
                let is_of_run = !run.is_empty() || !session.is_empty();
                // A rule fires once for a run or session; after a crash perhaps later, when its tenant is known, so
                // neither time nor tenant is part of the identity. Drift may fire again.
                if alert.rule.is_of_budget() {
                    // each share fires once in a period, and of a run or session once
                    let since = if is_of_run { 0 } else { alert.since };
                    let [since, share] = [since, alert.threshold.to_bits()].map(|part| part.to_string());
                    return digest(&["budget", account, &alert.tool, &since, &share]);
                }
                if is_of_run {
                    return digest(&["alert", alert.rule.as_str(), account, session, run]);
                }
                let subject = alert.tenant.as_deref().or(alert.feature.as_deref()).unwrap_or("");
                digest(&["alert", alert.rule.as_str(), account, subject, &alert.since.to_string()])
            }
            Self::Investigation(account, agent_type, incident) => digest(&["case", account, agent_type, incident]),
            Self::Overridden(account, agent_type, incident) => digest(&["override", account, agent_type, incident]),
            Self::ToolCallsP95(account, agent_type, value) => {
                digest(&["calls", account, agent_type, &value.to_bits().to_string()])
            }
            Self::Evaluation(account, event) => {
                let EvaluationEvent { run, score, .. } = &**event;
                let value = score.value.map_or(0, f64::to_bits);
                let [run, value] = [*run, value].map(|part| part.to_string());
                digest(&["evaluation", account, &run, &score.name, &score.label, &value])
            }
        }
    }

    /// Digest of a summary's content, whatever its revision.
    fn content_digest(&self) -> Option<u64> {
        match self {
            Self::Run(view, _) => Some(run_content_digest(view)),
            _ => None,
        }
    }

    /// For a gauge value: identifies the gauge, of which only the latest value is emitted.
    fn gauge_digest(&self) -> Option<u64> {
        match self {
            Self::ToolCallsP95(account, agent_type, _) => Some(digest(&["calls", account, agent_type])),
            _ => None,
        }
    }

    /// The signals on which the event is emitted, as bits.
    fn signals(&self) -> u8 {
        match self {
            Self::Run(_, 0) | Self::Alert(_) => LOGS | METRICS,
            Self::Run(..) => LOGS,
            Self::Session(_)
            | Self::Investigation(..)
            | Self::Overridden(..)
            | Self::ToolCallsP95(..)
            | Self::Evaluation(..) => METRICS,
        }
    }
}

fn run_content_digest(view: &RunView) -> u64 {
    digest(&["says", &view.account, &view.session, &view.run, &view_digest(view).to_string()])
}

const LOGS: u8 = 1;
const METRICS: u8 = 2;

fn signal_bit(signal: Signal) -> u8 {
    match signal {
        Signal::Logs => LOGS,
        Signal::Metrics => METRICS,
        Signal::Traces => 0,
    }
}

/// An event that was not emitted yet on all its signals.
#[derive(Serialize, Deserialize)]
pub(super) struct OutboxEntry {
    /// See [`OutboxEvent::identity_digest`].
    identity: u64,
    /// Signals on which the event must still be emitted, as bits.
    pending: u8,
    pub(super) event: OutboxEvent,
}

#[derive(Default)]
pub(super) struct Outbox {
    pub(super) entries: BoundedMap<u64, OutboxEntry, MAX_ENTRIES>,
    /// By identity, the signals on which news were emitted that do not exist again yet (see the module); for summaries
    /// also by content.
    emitted_early: HashMap<u64, u8>,
    /// Signals that connectors read, as bits.
    signals: u8,
    /// End of the last emitted metrics interval, unix ns.
    last_metrics_end: u64,
}

pub(super) struct OutboxBatch<'a> {
    pub(super) account: &'a str,
    pub(super) events: Vec<&'a OutboxEvent>,
    /// End of the previous metrics interval, unix ns; 0 = none.
    pub(super) previous_end: u64,
    /// The effect that records the emission.
    pub(super) effect: Vec<u8>,
}

/// Whether an effect records that news were emitted.
pub(super) fn is_emission(effect: &[u8]) -> bool {
    effect.first() == Some(&EFFECT_TAG)
}

impl Outbox {
    /// Registers the signals that connectors read.
    pub(super) fn register_signals(&mut self, signals: &[Signal]) {
        self.signals = signals.iter().fold(self.signals, |signals, signal| signals | signal_bit(*signal));
    }

    /// Adds news. Returns how many older entries were dropped.
    pub(super) fn push_events(&mut self, events: Vec<OutboxEvent>) -> u64 {
        if self.signals == 0 {
            return 0;
        }
        // Only the latest value of a gauge is needed. Waiting entries are scanned once for all gauges.
        let mut latest_by_gauge = HashMap::new();
        for (index, event) in events.iter().enumerate() {
            latest_by_gauge.extend(event.gauge_digest().map(|gauge| (gauge, index)));
        }
        if !latest_by_gauge.is_empty() {
            let is_replaced = |gauge| latest_by_gauge.contains_key(&gauge);
            self.entries.retain(|_, entry| !entry.event.gauge_digest().is_some_and(is_replaced));
        }
        let is_latest = |(index, event): &(usize, OutboxEvent)| {
            let latest = event.gauge_digest().and_then(|gauge| latest_by_gauge.get(&gauge));
            latest.is_none_or(|latest| latest == index)
        };
        events.into_iter().enumerate().filter(is_latest).map(|(_, event)| self.push_event(event)).sum()
    }

    fn push_event(&mut self, event: OutboxEvent) -> u64 {
        let identity = event.identity_digest();
        let emitted = self.emitted_early.remove(&identity).unwrap_or(0);
        let pending = event.signals() & self.signals & !emitted;
        if pending == 0 {
            return 0;
        }
        self.push_entry(OutboxEntry { identity, event, pending })
    }

    fn push_entry(&mut self, entry: OutboxEntry) -> u64 {
        self.entries.push(AccountHash::from(entry.event.account()), entry).len() as u64
    }

    /// The revision of a run's summary, and whether it must be emitted. The revision is `first`, unless the summary was
    /// emitted before a crash: then the revision after the last emitted one, or the last one if its content is the
    /// same.
    pub(super) fn next_revision(&mut self, view: &RunView, first: u32) -> (u32, bool) {
        let was_emitted = |signals: Option<&u8>| signals.is_some_and(|signals| signals & LOGS != 0);
        let mut next = first;
        while !self.emitted_early.is_empty() {
            let identity = OutboxEvent::Run(Box::new(view.clone()), next).identity_digest();
            if !was_emitted(self.emitted_early.get(&identity)) {
                break;
            }
            if next > 0 {
                self.emitted_early.remove(&identity);
            }
            next += 1;
        }
        let has_same_content =
            next > first && was_emitted(self.emitted_early.remove(&run_content_digest(view)).as_ref());
        if has_same_content { (next - 1, false) } else { (next, true) }
    }

    /// The next request of `signal`, emitted at `now`. Returns the same news until an effect records their emission.
    pub(super) fn next_batch(&self, signal: Signal, now: u64) -> Option<OutboxBatch<'_>> {
        let is_pending = |entry: &&OutboxEntry| entry.pending & signal_bit(signal) != 0;
        let mut pending = self.entries.iter().map(|(_, entry)| entry).filter(is_pending).peekable();
        let account = pending.peek()?.event.account();
        let of_account = |entry: &&OutboxEntry| entry.event.account() == account;
        let chosen: Vec<&OutboxEntry> = pending.filter(of_account).take(MAX_BATCH_ENTRIES).collect();
        let mut effect = vec![EFFECT_TAG, signal_bit(signal)];
        put(&now, &mut effect);
        let mut identities: Vec<u64> = chosen.iter().map(|entry| entry.identity).collect();
        if signal == Signal::Logs {
            identities.extend(chosen.iter().filter_map(|entry| entry.event.content_digest()));
        }
        put(&identities, &mut effect);
        Some(OutboxBatch {
            account,
            events: chosen.iter().map(|entry| &entry.event).collect(),
            previous_end: self.last_metrics_end,
            effect,
        })
    }

    /// Applies an effect that records an emission ([`is_emission`]). Returns false for any other effect.
    pub(super) fn apply_emission(&mut self, effect: &[u8]) -> bool {
        let Some((&[EFFECT_TAG, signal], mut rest)) = effect.split_first_chunk::<2>() else { return false };
        let (Some(now), Some(emitted)) = (take(&mut rest), take::<Vec<u64>>(&mut rest)) else { return true };
        if signal == METRICS {
            self.last_metrics_end = self.last_metrics_end.max(now);
        }
        let mut emitted: HashSet<u64> = emitted.into_iter().collect();
        // entries that share an identity were emitted together; one left behind would be emitted again and again
        let mut matched = HashSet::new();
        self.entries.retain(|_, entry| {
            if emitted.contains(&entry.identity) {
                entry.pending &= !signal;
                matched.insert(entry.identity);
                matched.extend(entry.event.content_digest().filter(|_| signal == LOGS));
            }
            entry.pending != 0
        });
        emitted.retain(|identity| !matched.contains(identity));
        for identity in emitted {
            if self.emitted_early.len() < MAX_EMITTED_EARLY {
                *self.emitted_early.entry(identity).or_default() |= signal;
            }
        }
        true
    }

    /// Keeps the current connectors' signals when a saved state is restored; news for signals that no connector reads
    /// any more are dropped.
    pub(super) fn keep_signals(&mut self, before: &Self) {
        self.signals = before.signals;
        let signals = self.signals;
        self.entries.retain(|_, entry| {
            entry.pending &= signals;
            entry.pending != 0
        });
    }

    pub(super) fn save(&self, out: &mut Vec<u8>) {
        put_list(self.entries.iter().map(|(_, entry)| entry), out);
        put(&(&self.emitted_early, self.last_metrics_end, 0_u64), out);
    }

    /// Appends what plans cover and caching saved of each event's cost, which the stored form of totals lacks; nothing
    /// without plans and caching.
    pub(super) fn save_covered(&self, out: &mut Vec<u8>) {
        let covered = self.entries.iter().filter_map(|(_, entry)| {
            let amounts: Vec<i128> = entry.event.totals()?.clone().unstored_mut().map(|atto| *atto).collect();
            amounts.iter().any(|atto| *atto != 0).then_some((entry.identity, amounts))
        });
        let covered: Vec<(u64, Vec<i128>)> = covered.collect();
        if !covered.is_empty() {
            put(&covered, out);
        }
    }

    /// Restores what [`Self::save_covered`] appended.
    pub(super) fn load_covered(&mut self, from: &mut &[u8]) -> Option<()> {
        let covered: HashMap<u64, Vec<i128>> = take::<Vec<(u64, Vec<i128>)>>(from)?.into_iter().collect();
        for entry in self.entries.values_mut() {
            let totals = entry.event.totals_mut().into_iter().flat_map(RunTotals::unstored_mut);
            let amounts = covered.get(&entry.identity).into_iter().flatten();
            totals.zip(amounts).for_each(|(known, atto)| *known = *atto);
        }
        Some(())
    }

    pub(super) fn load(from: &mut &[u8]) -> Option<Self> {
        let mut outbox = Self::default();
        take::<Vec<OutboxEntry>>(from)?.into_iter().for_each(|entry| _ = outbox.push_entry(entry));
        // former versions counted the dropped entries here
        (outbox.emitted_early, outbox.last_metrics_end, _) = take::<(_, _, u64)>(from)?;
        Some(outbox)
    }
}
