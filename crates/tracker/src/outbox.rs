//! [`Outbox`]: news that connectors still have to emit: finished runs and sessions, alerts, overrides.
//! The outbox is part of the state, so a crash between the end of a run and its emission loses nothing. An effect in
//! the transaction that emits news removes them, so nothing is emitted twice. At most 20,000 entries; beyond that the
//! oldest entry of the account with the most is dropped and counted. Empty while no connector is configured. After a
//! crash, an effect may be replayed before its news exist again; those are then not emitted again. `summary` and
//! `points` encode news, `connectors/runs` sends them.

use std::collections::{HashMap, HashSet};

use otlp::Signal;
use runs::fair_eviction::{AccountOwned, FairQueue};
use runs::{Alert, RunView, SessionView};

use super::codec::BinaryCodec;
use super::evaluation::view_digest;
use super::observe::digest;

/// Maximum number of entries.
const MAX_ENTRIES: usize = 20_000;
/// Maximum number of entries in one request.
const MAX_BATCH_ENTRIES: usize = 500;
/// Maximum number of emitted numbers that are remembered before their news exist.
const MAX_EMITTED_EARLY: usize = 100_000;
/// First byte of an effect that records what was emitted.
const EFFECT_TAG: u8 = 0xe1;

/// One thing to emit.
#[derive(Clone)]
pub(super) enum OutboxEvent {
    /// A run is over, or a published run changed: then its revision is above 0.
    Run(Box<RunView>, u32),
    /// A session is over.
    Session(Box<SessionView>),
    /// An alert fires.
    Alert(Box<Alert>),
    /// A new investigation: account, agent type, incident.
    Investigation(String, String, String),
    /// A human overrode the agent's result: account, agent type, incident.
    Overridden(String, String, String),
    /// The 95th percentile of tool calls per investigation: account, agent type, value.
    ToolCallsP95(String, String, f64),
}

impl OutboxEvent {
    /// The account whose credential sent the data.
    pub(super) fn account(&self) -> &str {
        match self {
            Self::Run(view, _) => &view.account,
            Self::Session(view) => &view.account,
            Self::Alert(alert) => &alert.account,
            Self::Investigation(account, ..) | Self::Overridden(account, ..) | Self::ToolCallsP95(account, ..) => {
                account
            }
        }
    }

    /// Identifies the news; the same after a crash.
    fn identity_digest(&self) -> u64 {
        match self {
            Self::Run(view, revision) => {
                digest(&["run", &view.account, &view.session, &view.run, &revision.to_string()])
            }
            Self::Session(view) => digest(&["session", &view.account, &view.session, &view.start.to_string()]),
            Self::Alert(alert) => {
                let subject = [&*alert.account, &alert.session, &alert.run];
                let [account, session, run] = subject;
                // A rule fires once for a run or session; after a crash perhaps later, when its tenant is known, so
                // neither time nor tenant is part of the number. Drift may fire again.
                if !run.is_empty() || !session.is_empty() {
                    return digest(&["alert", alert.rule.as_str(), account, session, run]);
                }
                let whose = alert.tenant.as_deref().or(alert.feature.as_deref()).unwrap_or("");
                digest(&["alert", alert.rule.as_str(), account, whose, &alert.since.to_string()])
            }
            Self::Investigation(account, kind, incident) => digest(&["case", account, kind, incident]),
            Self::Overridden(account, kind, incident) => digest(&["override", account, kind, incident]),
            Self::ToolCallsP95(account, kind, value) => digest(&["calls", account, kind, &value.to_bits().to_string()]),
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
            Self::ToolCallsP95(account, kind, _) => Some(digest(&["calls", account, kind])),
            _ => None,
        }
    }

    /// The signals on which it is emitted, as bits.
    fn signals(&self) -> u8 {
        match self {
            Self::Run(_, 0) | Self::Alert(_) => LOGS | METRICS,
            Self::Run(..) => LOGS,
            Self::Session(_) | Self::Investigation(..) | Self::Overridden(..) | Self::ToolCallsP95(..) => METRICS,
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

/// News that were not emitted yet.
struct OutboxEntry {
    number: u64,
    event: OutboxEvent,
    /// Signals on which it was not emitted yet.
    pending: u8,
}

impl AccountOwned for OutboxEntry {
    fn account(&self) -> &str {
        self.event.account()
    }
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct Outbox {
    entries: FairQueue<OutboxEntry>,
    /// Signals on which news were emitted, by number, for news that do not exist again yet (see the module).
    emitted_early: HashMap<u64, u8>,
    /// Signals that connectors read.
    signals: u8,
    /// End of the last emitted metrics interval, unix ns.
    last_metrics_end: u64,
    dropped: u64,
}

/// The content of one request.
pub(super) struct OutboxBatch<'a> {
    pub(super) account: &'a str,
    pub(super) events: Vec<&'a OutboxEvent>,
    /// End of the previous metrics interval, unix ns; 0 = none.
    pub(super) previous_end: u64,
    /// The effect that records the emission.
    pub(super) effect: Vec<u8>,
}

impl Outbox {
    /// Registers the signals that connectors read.
    pub(super) fn register_signals(&mut self, signals: &[Signal]) {
        self.signals = signals.iter().fold(self.signals, |asked, signal| asked | signal_bit(*signal));
    }

    /// Whether any connector is configured.
    pub(super) fn has_connector(&self) -> bool {
        self.signals != 0
    }

    /// Adds news. Returns how many older entries were dropped.
    pub(super) fn push_events(&mut self, all: Vec<OutboxEvent>) -> u64 {
        // Only the latest value of a gauge is needed. Waiting entries are scanned once for all of them.
        let mut latest = HashMap::new();
        for (at, news) in all.iter().enumerate() {
            latest.extend(news.gauge_digest().map(|figure| (figure, at)));
        }
        if !latest.is_empty() {
            self.entries
                .retain_mut(|entry| entry.event.gauge_digest().is_none_or(|figure| !latest.contains_key(&figure)));
        }
        let is_latest = |(at, news): &(usize, OutboxEvent)| {
            news.gauge_digest().is_none_or(|figure| latest.get(&figure).is_none_or(|latest| latest == at))
        };
        all.into_iter().enumerate().filter(is_latest).map(|(_, news)| self.put(news)).sum()
    }

    fn put(&mut self, news: OutboxEvent) -> u64 {
        let number = news.identity_digest();
        let told = self.emitted_early.remove(&number).unwrap_or(0);
        let pending = news.signals() & self.signals & !told;
        if pending == 0 {
            return 0;
        }
        let over = u64::from(self.entries.push(OutboxEntry { number, event: news, pending }, MAX_ENTRIES).is_some());
        self.dropped += over;
        over
    }

    /// The revision of a run's summary, and whether it must be emitted. That is `first`, unless it was emitted before
    /// a crash: then the revision after the last emitted one, or the last one if its content is the same.
    pub(super) fn next_revision(&mut self, view: &RunView, first: u32) -> (u32, bool) {
        let was_told = |told: Option<&u8>| told.is_some_and(|told| told & LOGS != 0);
        let mut next = first;
        while !self.emitted_early.is_empty() {
            let number = OutboxEvent::Run(Box::new(view.clone()), next).identity_digest();
            if !was_told(self.emitted_early.get(&number)) {
                break;
            }
            if next > 0 {
                self.emitted_early.remove(&number);
            }
            next += 1;
        }
        let is_same = next > first && was_told(self.emitted_early.remove(&run_content_digest(view)).as_ref());
        if is_same { (next - 1, false) } else { (next, true) }
    }

    /// The next request of `signal`, emitted at `now`. Returns the same news until an effect records their emission.
    pub(super) fn next_batch(&self, signal: Signal, now: u64) -> Option<OutboxBatch<'_>> {
        let open = |entry: &&OutboxEntry| entry.pending & signal_bit(signal) != 0;
        let account = self.entries.iter().find(open)?.event.account();
        let of_account = |entry: &&OutboxEntry| open(entry) && entry.event.account() == account;
        let chosen: Vec<&OutboxEntry> = self.entries.iter().filter(of_account).take(MAX_BATCH_ENTRIES).collect();
        let mut effect = vec![EFFECT_TAG, signal_bit(signal)];
        now.put(&mut effect);
        let mut numbers: Vec<u64> = chosen.iter().map(|entry| entry.number).collect();
        if signal == Signal::Logs {
            numbers.extend(chosen.iter().filter_map(|entry| entry.event.content_digest()));
        }
        numbers.put(&mut effect);
        Some(OutboxBatch {
            account,
            events: chosen.iter().map(|entry| &entry.event).collect(),
            previous_end: self.last_metrics_end,
            effect,
        })
    }

    /// Applies an effect that records an emission. Returns false for any other effect.
    pub(super) fn apply_emission(&mut self, effect: &[u8]) -> bool {
        let Some((&[EFFECT_TAG, signal], mut rest)) = effect.split_first_chunk::<2>() else { return false };
        let (Some(now), Some(numbers)) = (u64::take(&mut rest), <Vec<u64>>::take(&mut rest)) else { return true };
        if signal == METRICS {
            self.last_metrics_end = self.last_metrics_end.max(now);
        }
        let mut numbers: HashSet<u64> = numbers.into_iter().collect();
        // entries that share a number were emitted together; one left behind would be emitted again and again
        let mut known = HashSet::new();
        self.entries.retain_mut(|entry| {
            if numbers.contains(&entry.number) {
                entry.pending &= !signal;
                known.insert(entry.number);
                known.extend(entry.event.content_digest().filter(|_| signal == LOGS));
            }
            entry.pending != 0
        });
        numbers.retain(|number| !known.contains(number));
        for number in numbers {
            if self.emitted_early.len() < MAX_EMITTED_EARLY {
                *self.emitted_early.entry(number).or_default() |= signal;
            }
        }
        true
    }

    /// Number of waiting entries.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Waiting news, oldest first.
    #[cfg(test)]
    pub(super) fn news(&self) -> impl Iterator<Item = &OutboxEvent> {
        self.entries.iter().map(|entry| &entry.event)
    }

    /// Keeps the current connectors' signals when a saved state is restored; news for signals that no connector reads
    /// any more are dropped.
    pub(super) fn keep_signals(&mut self, before: &Self) {
        self.signals = before.signals;
        let asked = self.signals;
        self.entries.retain_mut(|entry| {
            entry.pending &= asked;
            entry.pending != 0
        });
    }
}

impl BinaryCodec for OutboxEvent {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Run(view, revision) => {
                out.push(0);
                view.put(out);
                revision.put(out);
            }
            Self::Session(view) => {
                out.push(1);
                view.put(out);
            }
            Self::Alert(alert) => {
                out.push(2);
                alert.put(out);
            }
            Self::Investigation(account, kind, incident) => {
                out.push(3);
                [account, kind, incident].into_iter().for_each(|text| text.put(out));
            }
            Self::Overridden(account, kind, incident) => {
                out.push(4);
                [account, kind, incident].into_iter().for_each(|text| text.put(out));
            }
            Self::ToolCallsP95(account, kind, value) => {
                out.push(5);
                [account, kind].into_iter().for_each(|text| text.put(out));
                value.put(out);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(match u8::take(from)? {
            0 => Self::Run(Box::new(BinaryCodec::take(from)?), BinaryCodec::take(from)?),
            1 => Self::Session(Box::new(BinaryCodec::take(from)?)),
            2 => Self::Alert(Box::new(BinaryCodec::take(from)?)),
            3 => Self::Investigation(BinaryCodec::take(from)?, BinaryCodec::take(from)?, BinaryCodec::take(from)?),
            4 => Self::Overridden(BinaryCodec::take(from)?, BinaryCodec::take(from)?, BinaryCodec::take(from)?),
            5 => Self::ToolCallsP95(BinaryCodec::take(from)?, BinaryCodec::take(from)?, BinaryCodec::take(from)?),
            _ => return None,
        })
    }
}

impl BinaryCodec for Outbox {
    fn put(&self, out: &mut Vec<u8>) {
        self.entries.len().put(out);
        for entry in self.entries.iter() {
            entry.number.put(out);
            entry.pending.put(out);
            entry.event.put(out);
        }
        self.emitted_early.put(out);
        self.last_metrics_end.put(out);
        self.dropped.put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let count = usize::take(from).filter(|count| *count <= from.len())?;
        let mut outbox = Self::default();
        for _ in 0..count {
            let (number, pending, news) =
                (BinaryCodec::take(from)?, BinaryCodec::take(from)?, BinaryCodec::take(from)?);
            outbox.entries.push(OutboxEntry { number, event: news, pending }, MAX_ENTRIES);
        }
        outbox.emitted_early = BinaryCodec::take(from)?;
        outbox.last_metrics_end = BinaryCodec::take(from)?;
        outbox.dropped = BinaryCodec::take(from)?;
        Some(outbox)
    }
}
