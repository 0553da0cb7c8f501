//! Delivers sessions: order, requests, pauses, repeats, and where the process ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::support::*;
use super::make::{self, CEILING, Dice, Facts, Feature, Item, Role};
use super::read::{self, Series};
use super::surfaces::{self, Known};
use crate::Config;
use genai::testing::request;
use kernel::clock::UnixNanos;
use otlp::{Payload, Signal};
use pipeline::{Effect, RequestSource};
use telemetry::Meter;

/// Quiet seconds after which a run with a reported end is over, and any run; with a margin.
const SETTLE: u64 = 28;
const IDLE: u64 = 1790;

/// A process: its steps and their metrics.
pub(super) struct Gate {
    pub(super) line: Line,
    pub(super) meter: Meter,
}

pub(super) fn open() -> Gate {
    let meter = Meter::new();
    let config = Config { iteration_ceiling: CEILING as u32, ..Config::default() };
    let settings = config.settings().unwrap_or_else(|_| panic!("valid"));
    let line = Line::metered(runs_with(settings, &meter), &meter);
    line.runs.enable_signals(&[Signal::Logs, Signal::Metrics]);
    Gate { line, meter }
}

/// State that outlives a process: the emitted events. (History's file does too.)
#[derive(Default)]
pub(super) struct Outside {
    /// The last revision, by trace.
    pub(super) summaries: BTreeMap<u64, (u64, Facts)>,
    /// Number of events by rule, trace and session.
    pub(super) alerts: BTreeMap<(String, u64, String), u64>,
    /// Metrics over OTLP.
    pub(super) sent: Series,
    /// `/metrics` of earlier processes.
    pub(super) counted: Series,
    /// A process was killed, so an unknown part of its counts may be counted again.
    pub(super) killed: bool,
}

impl Outside {
    /// `/metrics` of all processes.
    pub(super) fn metrics(&self, gate: &Gate) -> Series {
        let mut all = read::metrics(&gate.meter);
        let others = self.counted.iter().filter(|(name, _)| !name.starts_with("tollgate_cost_"));
        others.for_each(|(name, value)| *all.entry(name.clone()).or_default() += value);
        all
    }

    /// Emits everything that connectors would; returns the effects that record it.
    fn hear(&mut self, gate: &Gate, now: UnixNanos) -> Vec<Effect> {
        let mut effects = Vec::new();
        for signal in [Signal::Logs, Signal::Metrics] {
            while let Some(portion) = gate.line.runs.next_request(signal, now) {
                match signal {
                    Signal::Metrics => read::add_metrics(portion.wire, &mut self.sent, false),
                    Signal::Logs | Signal::Traces => self.read(portion.wire),
                }
                gate.line.apply(&portion.effect);
                effects.push(portion.effect);
            }
        }
        effects
    }

    fn read(&mut self, wire: bytes::Bytes) {
        for record in read::records(wire) {
            let (trace, of) = (read::trace_of(&record), |key| read::attribute(&record, key));
            if record.event_name == "tollgate.alert" {
                let key = (of("tollgate.alert.rule"), trace, of("session.id"));
                *self.alerts.entry(key).or_default() += 1;
                continue;
            }
            let revision = of("tollgate.run.revision").parse().unwrap_or(0);
            let known = self.summaries.entry(trace).or_insert((revision, Facts::new()));
            if revision >= known.0 {
                *known = (revision, read::summary(&record));
            }
        }
    }
}

/// The order of items, as indices.
fn ordered(items: &[Item], dice: &Dice<'_>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|at| items[*at].end);
    let is_root = |at: &usize| items[*at].role == Role::Root;
    let roots = order.iter().filter(|at| is_root(at)).copied();
    let missing: BTreeSet<usize> = roots.filter(|_| dice.has(Feature::RootMissing, 20)).collect();
    order.retain(|at| !missing.contains(at));
    let drawn = dice.below(6);
    let on = |number: u64, feature: Feature| drawn == number && dice.on.contains(&feature);
    if on(0, Feature::RootNever) {
        order.retain(|at| !is_root(at));
    } else if on(1, Feature::RootLast) {
        order.sort_by_key(is_root);
    } else if on(2, Feature::RootFirst) {
        order.sort_by_key(|at| !is_root(at));
    } else if on(3, Feature::Shuffled) {
        for at in (1..order.len()).rev() {
            order.swap(at, dice.below(at as u64 + 1) as usize);
        }
    } else if on(4, Feature::Reversed) {
        order.reverse();
    }
    order
}

/// Requests of one signal each.
fn requests(items: &[Item], dice: &Dice<'_>) -> Vec<Vec<usize>> {
    let (mut order, mut all) = (ordered(items, dice), Vec::new());
    while !order.is_empty() {
        let count = (1 + dice.below(6) as usize).min(order.len());
        let some: Vec<usize> = order.drain(..count).collect();
        let (logs, spans): (Vec<usize>, Vec<usize>) =
            some.into_iter().partition(|at| items[*at].signal == Signal::Logs);
        for one in [spans, logs].into_iter().filter(|one| !one.is_empty()) {
            if dice.has(Feature::Repeated, 20) {
                all.push(one.clone());
            }
            all.push(one);
        }
    }
    all
}

fn payload(items: &[Item], request: &[usize]) -> Payload {
    let mut groups = BTreeMap::<&str, Vec<&Json>>::new();
    request.iter().for_each(|at| groups.entry(items[*at].scope).or_default().push(&items[*at].json));
    let groups: Vec<Json> =
        groups.into_iter().map(|(scope, items)| json!({"scope": {"name": scope}, "items": items})).collect();
    let signal = if items[request[0]].signal == Signal::Logs { "logs" } else { "traces" };
    request::payload(&json!({"signal": signal, "groups": groups}))
}

/// Runs that got items after they may have been over: counters show them without these items.
#[derive(Default)]
struct Late {
    /// Time of the last item, by session and trace.
    last: BTreeMap<(usize, u64), u64>,
    rooted: BTreeSet<u64>,
    ended: BTreeSet<usize>,
    any: bool,
}

impl Late {
    fn note(&mut self, item: &Item, now: u64) {
        let since = |last: u64| now.saturating_sub(last) / 1_000_000_000;
        if item.role == Role::SessionEnd {
            let runs = self.last.iter().filter(|((session, _), _)| *session == item.session);
            self.any |= runs.map(|(_, last)| since(*last)).any(|quiet| quiet >= IDLE);
            self.ended.insert(item.session);
            return;
        }
        let ended = self.rooted.contains(&item.trace) || self.ended.contains(&item.session);
        let quiet = if ended { SETTLE } else { IDLE };
        let last = self.last.insert((item.session, item.trace), now);
        self.any |= last.is_some_and(|last| since(last) >= quiet);
        if matches!(item.role, Role::Root | Role::Request) {
            self.rooted.insert(item.trace);
        }
    }
}

/// One delivery.
struct Way<'a> {
    dice: &'a Dice<'a>,
    items: &'a [Item],
    came: Vec<bool>,
    /// Roots whose traces are not known yet. Known gap: the next process does not know them.
    early: Vec<usize>,
    gate: Gate,
    outside: Outside,
    now: UnixNanos,
    late: Late,
    known: Known,
    /// The last checkpoint, and the effects committed since.
    saved: Option<Vec<Option<Vec<u8>>>>,
    since: Vec<Effect>,
}

/// Delivers the items; returns the differences from the truth, one line each, starting with the surface.
pub(super) fn deliver(items: &[Item], seed: u64, on: &[Feature]) -> Vec<String> {
    let dice = Dice::new(seed ^ 0x5eed, on);
    let requests = requests(items, &dice);
    let ends = dice.below(requests.len() as u64) as usize;
    let (restart, kill) = (dice.has(Feature::Restart, 50), dice.has(Feature::Kill, 50));
    let saved_at = dice.below(ends as u64 + 1) as usize;
    let slow = dice.has(Feature::Slow, 25);
    let (long_at, long) = (dice.below(requests.len() as u64) as usize, dice.has(Feature::LongPause, 12));
    let known = Known { prices: items.iter().all(|item| item.signal == Signal::Traces) };
    let came = vec![false; items.len()];
    let (outside, late, early) = (Outside::default(), Late::default(), Vec::new());
    let (saved, since) = (None, Vec::new());
    let mut way = Way { dice: &dice, items, came, early, gate: open(), outside, now: NOW, late, known, saved, since };
    way.gate.line.runs.tick_now(way.now);
    let mut found = Vec::new();
    for (at, request) in requests.iter().enumerate() {
        if at == saved_at {
            (way.saved, way.since) = (Some(way.gate.line.checkpoints()), Vec::new());
        }
        way.play(request);
        let pause = match (at == long_at && long, slow, dice.has(Feature::Pause, 4)) {
            (true, ..) => 1800 + dice.below(600),
            (_, true, _) => 45,
            (_, _, true) => [400, 1200][dice.below(2) as usize],
            _ => dice.below(5),
        };
        found.extend(way.pause(pause));
        if at == ends && (restart || kill) {
            way.end_process(kill);
        }
        if !found.is_empty() {
            return found;
        }
    }
    way.wait(4000);
    way.hear();
    surfaces::over(&way.gate, &way.outside, &way.truth(), way.now, (way.late.any, known))
}

impl Way<'_> {
    fn truth(&self) -> surfaces::Runs {
        make::add_up(self.items.iter().zip(&self.came).filter(|(_, came)| **came).map(|(item, _)| item))
    }

    fn play(&mut self, request: &[usize]) {
        self.since.extend(self.gate.line.play(payload(self.items, request)).effects);
        let is_known = |trace: u64, came: &[bool]| {
            let mut items = self.items.iter().enumerate().filter(|(_, item)| item.trace == trace);
            items.any(|(at, item)| {
                !matches!(item.role, Role::Request | Role::Ordinary) && (came[at] || request.contains(&at))
            })
        };
        for at in request {
            let item = &self.items[*at];
            if item.role == Role::Request && !is_known(item.trace, &self.came) {
                self.early.push(*at);
                continue;
            }
            self.came[*at] = true;
            if item.role != Role::Ordinary {
                self.late.note(item, self.now.0);
            }
        }
        let (came, early): (Vec<usize>, Vec<usize>) =
            self.early.iter().partition(|at| is_known(self.items[**at].trace, &self.came));
        self.early = early;
        for at in came {
            self.came[at] = true;
            self.late.note(&self.items[at], self.now.0);
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now = wait(&self.gate.line.runs, self.now, Duration::from_secs(seconds));
    }

    fn hear(&mut self) {
        let effects = self.outside.hear(&self.gate, self.now);
        self.since.extend(effects);
    }

    /// Lets time pass; after two seconds the surfaces must show the truth.
    fn pause(&mut self, seconds: u64) -> Vec<String> {
        self.wait(seconds);
        if self.dice.below(4) == 0 {
            self.hear();
        }
        if seconds < 2 || self.dice.below(3) > 0 {
            return Vec::new();
        }
        surfaces::live(&self.gate, &self.truth(), self.now, self.known)
    }

    /// Ends the process, orderly or not, and starts another one.
    fn end_process(&mut self, kill: bool) {
        let (state, effects) = match (kill, self.saved.take()) {
            (true, Some(saved)) => (saved, std::mem::take(&mut self.since)),
            _ => (self.gate.line.checkpoints(), Vec::new()),
        };
        self.outside.killed |= kill;
        self.outside.counted = self.outside.metrics(&self.gate);
        self.early.clear();
        let before = std::mem::replace(&mut self.gate, open());
        *self.gate.line.runs.test_history.lock() = Arc::clone(&before.line.runs.test_history.lock());
        self.gate.line.number_on_from(&before.line);
        self.gate.line.restore(&state);
        effects.iter().for_each(|effect| self.gate.line.apply(effect));
        self.gate.line.runs.tick_now(self.now);
    }
}
