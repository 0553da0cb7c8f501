//! [`Outbox`]: news that connectors still have to emit: finished runs and sessions, alerts, overrides.
//! The outbox is part of the state, so a crash between the end of a run and its emission loses nothing. An effect in
//! the transaction that emits news removes them, so nothing is emitted twice. At most 20,000 entries; beyond that the
//! oldest entry of the account with the most is dropped and counted. Empty while no connector is configured. After a
//! crash, an effect may be replayed before its news exist again; those are then not emitted again. `summary` and
//! `points` encode news, `connectors/runs` sends them.

use std::collections::{HashMap, HashSet};

use otlp::Signal;
use runs::share::{Owned, Queue};
use runs::{Alert, RunView, SessionView};

use super::codec::Code;
use super::look::fingerprint;
use super::observe::digest;

/// Maximum number of entries.
const ENTRIES: usize = 20_000;
/// Maximum number of entries in one request.
const PORTION: usize = 500;
/// Maximum number of emitted numbers that are remembered before their news exist.
const FORETOLD: usize = 100_000;
/// First byte of an effect that records what was emitted.
const TAG: u8 = 0xe1;

/// One thing to emit.
#[derive(Clone)]
pub(super) enum News {
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
    ToolCalls(String, String, f64),
}

impl News {
    /// The account whose credential sent the data.
    pub(super) fn account(&self) -> &str {
        match self {
            Self::Run(view, _) => &view.account,
            Self::Session(view) => &view.account,
            Self::Alert(alert) => &alert.account,
            Self::Investigation(account, ..) | Self::Overridden(account, ..) | Self::ToolCalls(account, ..) => account,
        }
    }

    /// Identifies the news; the same after a crash.
    fn number(&self) -> u64 {
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
                    return digest(&["alert", alert.rule, account, session, run]);
                }
                let whose = alert.tenant.as_deref().or(alert.feature.as_deref()).unwrap_or("");
                digest(&["alert", alert.rule, account, whose, &alert.since.to_string()])
            }
            Self::Investigation(account, kind, incident) => digest(&["case", account, kind, incident]),
            Self::Overridden(account, kind, incident) => digest(&["override", account, kind, incident]),
            Self::ToolCalls(account, kind, value) => digest(&["calls", account, kind, &value.to_bits().to_string()]),
        }
    }

    /// Digest of a summary's content, whatever its revision.
    fn content(&self) -> Option<u64> {
        match self {
            Self::Run(view, _) => Some(content_of(view)),
            _ => None,
        }
    }

    /// For a gauge value: identifies the gauge, of which only the latest value is emitted.
    fn figure(&self) -> Option<u64> {
        match self {
            Self::ToolCalls(account, kind, _) => Some(digest(&["calls", account, kind])),
            _ => None,
        }
    }

    /// The signals on which it is emitted, as bits.
    fn signals(&self) -> u8 {
        match self {
            Self::Run(_, 0) | Self::Alert(_) => LOGS | METRICS,
            Self::Run(..) => LOGS,
            Self::Session(_) | Self::Investigation(..) | Self::Overridden(..) | Self::ToolCalls(..) => METRICS,
        }
    }
}

fn content_of(view: &RunView) -> u64 {
    digest(&["says", &view.account, &view.session, &view.run, &fingerprint(view).to_string()])
}

const LOGS: u8 = 1;
const METRICS: u8 = 2;

fn bit(signal: Signal) -> u8 {
    match signal {
        Signal::Logs => LOGS,
        Signal::Metrics => METRICS,
        Signal::Traces => 0,
    }
}

/// News that were not emitted yet.
struct Entry {
    number: u64,
    news: News,
    /// Signals on which it was not emitted yet.
    pending: u8,
}

impl Owned for Entry {
    fn account(&self) -> &str {
        self.news.account()
    }
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct Outbox {
    entries: Queue<Entry>,
    /// Signals on which news were emitted, by number, for news that do not exist again yet (see the module).
    foretold: HashMap<u64, u8>,
    /// Signals that connectors read.
    asked: u8,
    /// End of the last emitted metrics interval, unix ns.
    told: u64,
    dropped: u64,
}

/// The content of one request.
pub(super) struct Portion<'a> {
    pub(super) account: &'a str,
    pub(super) news: Vec<&'a News>,
    /// End of the previous metrics interval, unix ns; 0 = none.
    pub(super) since: u64,
    /// The effect that records the emission.
    pub(super) effect: Vec<u8>,
}

impl Outbox {
    /// Registers the signals that connectors read.
    pub(super) fn ask(&mut self, signals: &[Signal]) {
        self.asked = signals.iter().fold(self.asked, |asked, signal| asked | bit(*signal));
    }

    /// Whether any connector is configured.
    pub(super) fn is_asked(&self) -> bool {
        self.asked != 0
    }

    /// Adds news. Returns how many older entries were dropped.
    pub(super) fn put_in(&mut self, all: Vec<News>) -> u64 {
        // Only the latest value of a gauge is needed. Waiting entries are scanned once for all of them.
        let mut latest = HashMap::new();
        for (at, news) in all.iter().enumerate() {
            latest.extend(news.figure().map(|figure| (figure, at)));
        }
        if !latest.is_empty() {
            self.entries.retain_mut(|entry| entry.news.figure().is_none_or(|figure| !latest.contains_key(&figure)));
        }
        let is_latest = |(at, news): &(usize, News)| {
            news.figure().is_none_or(|figure| latest.get(&figure).is_none_or(|latest| latest == at))
        };
        all.into_iter().enumerate().filter(is_latest).map(|(_, news)| self.put(news)).sum()
    }

    fn put(&mut self, news: News) -> u64 {
        let number = news.number();
        let told = self.foretold.remove(&number).unwrap_or(0);
        let pending = news.signals() & self.asked & !told;
        if pending == 0 {
            return 0;
        }
        let over = u64::from(self.entries.push(Entry { number, news, pending }, ENTRIES).is_some());
        self.dropped += over;
        over
    }

    /// The revision of a run's summary, and whether it must be emitted. That is `first`, unless it was emitted before
    /// a crash: then the revision after the last emitted one, or the last one if its content is the same.
    pub(super) fn revision(&mut self, view: &RunView, first: u32) -> (u32, bool) {
        let was_told = |told: Option<&u8>| told.is_some_and(|told| told & LOGS != 0);
        let mut next = first;
        while !self.foretold.is_empty() {
            let number = News::Run(Box::new(view.clone()), next).number();
            if !was_told(self.foretold.get(&number)) {
                break;
            }
            if next > 0 {
                self.foretold.remove(&number);
            }
            next += 1;
        }
        let is_same = next > first && was_told(self.foretold.remove(&content_of(view)).as_ref());
        if is_same { (next - 1, false) } else { (next, true) }
    }

    /// The next request of `signal`, emitted at `now`. Returns the same news until an effect records their emission.
    pub(super) fn portion(&self, signal: Signal, now: u64) -> Option<Portion<'_>> {
        let open = |entry: &&Entry| entry.pending & bit(signal) != 0;
        let account = self.entries.iter().find(open)?.news.account();
        let of_account = |entry: &&Entry| open(entry) && entry.news.account() == account;
        let chosen: Vec<&Entry> = self.entries.iter().filter(of_account).take(PORTION).collect();
        let mut effect = vec![TAG, bit(signal)];
        now.put(&mut effect);
        let mut numbers: Vec<u64> = chosen.iter().map(|entry| entry.number).collect();
        if signal == Signal::Logs {
            numbers.extend(chosen.iter().filter_map(|entry| entry.news.content()));
        }
        numbers.put(&mut effect);
        Some(Portion { account, news: chosen.iter().map(|entry| &entry.news).collect(), since: self.told, effect })
    }

    /// Applies an effect that records an emission. Returns false for any other effect.
    pub(super) fn apply(&mut self, effect: &[u8]) -> bool {
        let Some((&[TAG, signal], mut rest)) = effect.split_first_chunk::<2>() else { return false };
        let (Some(now), Some(numbers)) = (u64::take(&mut rest), <Vec<u64>>::take(&mut rest)) else { return true };
        if signal == METRICS {
            self.told = self.told.max(now);
        }
        let mut numbers: HashSet<u64> = numbers.into_iter().collect();
        // entries that share a number were emitted together; one left behind would be emitted again and again
        let mut known = HashSet::new();
        self.entries.retain_mut(|entry| {
            if numbers.contains(&entry.number) {
                entry.pending &= !signal;
                known.insert(entry.number);
                known.extend(entry.news.content().filter(|_| signal == LOGS));
            }
            entry.pending != 0
        });
        numbers.retain(|number| !known.contains(number));
        for number in numbers {
            if self.foretold.len() < FORETOLD {
                *self.foretold.entry(number).or_default() |= signal;
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
    pub(super) fn news(&self) -> impl Iterator<Item = &News> {
        self.entries.iter().map(|entry| &entry.news)
    }

    /// Keeps the current connectors' signals when a saved state is restored; news for signals that no connector reads
    /// any more are dropped.
    pub(super) fn keep_asking(&mut self, before: &Self) {
        self.asked = before.asked;
        let asked = self.asked;
        self.entries.retain_mut(|entry| {
            entry.pending &= asked;
            entry.pending != 0
        });
    }
}

impl Code for News {
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
            Self::ToolCalls(account, kind, value) => {
                out.push(5);
                [account, kind].into_iter().for_each(|text| text.put(out));
                value.put(out);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(match u8::take(from)? {
            0 => Self::Run(Box::new(Code::take(from)?), Code::take(from)?),
            1 => Self::Session(Box::new(Code::take(from)?)),
            2 => Self::Alert(Box::new(Code::take(from)?)),
            3 => Self::Investigation(Code::take(from)?, Code::take(from)?, Code::take(from)?),
            4 => Self::Overridden(Code::take(from)?, Code::take(from)?, Code::take(from)?),
            5 => Self::ToolCalls(Code::take(from)?, Code::take(from)?, Code::take(from)?),
            _ => return None,
        })
    }
}

impl Code for Outbox {
    fn put(&self, out: &mut Vec<u8>) {
        self.entries.len().put(out);
        for entry in self.entries.iter() {
            entry.number.put(out);
            entry.pending.put(out);
            entry.news.put(out);
        }
        self.foretold.put(out);
        self.told.put(out);
        self.dropped.put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let count = usize::take(from).filter(|count| *count <= from.len())?;
        let mut outbox = Self::default();
        for _ in 0..count {
            let (number, pending, news) = (Code::take(from)?, Code::take(from)?, Code::take(from)?);
            outbox.entries.push(Entry { number, news, pending }, ENTRIES);
        }
        outbox.foretold = Code::take(from)?;
        outbox.told = Code::take(from)?;
        outbox.dropped = Code::take(from)?;
        Some(outbox)
    }
}
