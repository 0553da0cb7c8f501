//! How a session comes: in which order and requests, with what pauses, what comes twice, where the process ends.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::support::*;
use super::make::{Dice, Feature, Session, Span, Truth};
use super::surfaces;
use genai::testing::request;
use otlp::Signal;
use pipeline::{Effect, Source};
use telemetry::{Meter, names};

/// A gateway's steps and what they count on.
pub(super) struct Gate {
    pub(super) line: Line,
    pub(super) meter: Meter,
    /// Runs that the process before this one counted.
    pub(super) counted: f64,
}

pub(super) fn open(counted: f64) -> Gate {
    let meter = Meter::new();
    let line = Line::metered(runs_with(settings(), &meter), &meter);
    line.runs.ask(&[Signal::Logs]);
    Gate { line, meter, counted }
}

impl Gate {
    pub(super) fn counted_runs(&self) -> f64 {
        self.counted + self.meter.values(&names::RUNS).iter().sum::<f64>()
    }
}

fn ordered(session: &Session, dice: &Dice<'_>) -> Vec<Span> {
    let mut spans = session.spans.clone();
    spans.sort_by_key(|span| span.end);
    let drawn = dice.below(6);
    let on = |number: u64, feature: Feature| drawn == number && dice.on.contains(&feature);
    if on(0, Feature::RootNever) {
        spans.retain(|span| !span.root);
    } else if on(1, Feature::RootLast) {
        spans.sort_by_key(|span| (span.root, span.end));
    } else if on(2, Feature::RootFirst) {
        spans.sort_by_key(|span| (!span.root, span.end));
    } else if on(3, Feature::Shuffled) {
        for at in (1..spans.len()).rev() {
            spans.swap(at, dice.below(at as u64 + 1) as usize);
        }
    } else if on(4, Feature::Reversed) {
        spans.reverse();
    }
    spans
}

fn requests(session: &Session, dice: &Dice<'_>) -> Vec<Vec<Json>> {
    let mut spans: Vec<Json> = ordered(session, dice).into_iter().map(|span| span.json).collect();
    let mut all = Vec::new();
    while !spans.is_empty() {
        let count = (1 + dice.below(6) as usize).min(spans.len());
        let one: Vec<Json> = spans.drain(..count).collect();
        if dice.has(Feature::Repeated, 30) {
            all.push(one.clone());
        }
        all.push(one);
    }
    all
}

/// Delivers it; what differs from the truth, a line each, which begins with the surface.
pub(super) fn deliver(session: &Session, seed: u64, on: &[Feature]) -> Vec<String> {
    let dice = Dice::new(seed ^ 0x5eed, on);
    let requests = requests(session, &dice);
    let rooted = requests.iter().flatten().any(|span| span.get("parent").is_none());
    // where roots never come nobody tells that a run failed
    let failed = if rooted { session.truth.failed } else { 0 };
    let session = &Session { truth: Truth { failed, ..session.truth }, ..session.clone() };
    let ends = dice.below(requests.len() as u64) as usize;
    let (restart, kill) = (dice.has(Feature::Restart, 50), dice.has(Feature::Kill, 50));
    let saved_at = dice.below(ends as u64 + 1) as usize;
    let slow = dice.has(Feature::Slow, 30);
    let (mut gate, mut now) = (open(0.0), NOW);
    gate.line.runs.tick_now(now);
    let mut saved = None;
    let mut since: Vec<Effect> = Vec::new();
    for (at, items) in requests.iter().enumerate() {
        if at == saved_at {
            (saved, since) = (Some(gate.line.checkpoints()), Vec::new());
        }
        since.extend(gate.line.play(request::payload(&json!({"items": items}))).effects);
        let pause = Duration::from_secs(if slow { 45 } else { dice.below(2) });
        now = wait(&gate.line.runs, now, pause);
        if at == ends && (restart || kill) {
            let (state, effects) = match (kill, saved.take()) {
                (true, Some(saved)) => (saved, std::mem::take(&mut since)),
                _ => (gate.line.checkpoints(), Vec::new()),
            };
            gate = open(gate.counted_runs());
            gate.line.restore(&state);
            effects.iter().for_each(|effect| gate.line.apply(effect));
            gate.line.runs.tick_now(now);
        }
    }
    let mut found = surfaces::live(&gate, session, now, on.contains(&Feature::LivePage));
    now = wait(&gate.line.runs, now, Duration::from_secs(4000));
    found.extend(surfaces::over(&gate, session, now, (restart, kill)));
    found
}
