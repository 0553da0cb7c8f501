//! Runs the bodies of the data plane's fuzz targets (`tests/fuzz/bodies`) on seeded mutations of requests, briefly
//! enough for every test run. The nightly part `fuzz` searches at length; `tests/it/fuzz.rs` runs the other targets.

#![allow(unreachable_pub, reason = "shared with the fuzz targets")]

use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::TestRunner;
use prost::Message;

use super::{oracle, strategies};
use crate::testing::fields::requests_with;
use crate::{Signal, json};
use kernel::rng::{Rng, SeededRng};

#[path = "../../../../tests/fuzz/bodies/otlp_edit.rs"]
mod otlp_edit;
#[path = "../../../../tests/fuzz/bodies/otlp_json.rs"]
mod otlp_json;
#[path = "../../../../tests/fuzz/bodies/otlp_parse.rs"]
mod otlp_parse;
#[path = "../../../../tests/fuzz/bodies/otlp_requests.rs"]
mod otlp_requests;
#[path = "../../../../tests/fuzz/bodies/smoke.rs"]
mod smoke;

use smoke::smoke;

/// The first byte of an input that selects this signal.
fn pick(signal: Signal) -> u8 {
    Signal::ALL.iter().position(|one| *one == signal).and_then(|at| u8::try_from(at).ok()).unwrap()
}

/// Requests of all kinds: every field once, and samples of each signal from the property tests.
fn requests() -> Vec<(Signal, Vec<u8>)> {
    fn some<M: Message>(strategy: impl Strategy<Value = M>, signal: Signal, to: &mut Vec<(Signal, Vec<u8>)>) {
        let mut runner = TestRunner::deterministic();
        let made = (0..40).map(|_| strategy.new_tree(&mut runner).unwrap().current().encode_to_vec());
        // the length limit of fuzzer inputs
        to.extend(made.filter(|wire| wire.len() < 4_096).map(|wire| (signal, wire)));
    }
    let mut all: Vec<_> =
        requests_with(b"x").into_iter().step_by(5).map(|(signal, _, _, wire)| (signal, wire)).collect();
    some(strategies::traces(), Signal::Traces, &mut all);
    some(strategies::logs(), Signal::Logs, &mut all);
    some(strategies::metrics(), Signal::Metrics, &mut all);
    all
}

fn behind(head: &[u8], wire: &[u8]) -> Vec<u8> {
    [head, wire].concat()
}

/// Any bytes as a request: it is accepted and refused as by prost, with the same contents.
#[test]
fn parsing() {
    let examples: Vec<_> = requests().iter().map(|(signal, wire)| behind(&[pick(*signal)], wire)).collect();
    // the target's own order of signals
    let examples: Vec<_> = examples.iter().flat_map(|one| (0..3).map(|pick| behind(&[pick], &one[1..]))).collect();
    examples.iter().for_each(|example| otlp_parse::body(example));
    smoke(4_000, &examples, otlp_parse::body);
}

/// Any edits of any request: the payload reads the same as its encoded bytes.
#[test]
fn editing() {
    let dice = SeededRng::new(1);
    let steps = |signal| {
        let mut steps = vec![0; 20];
        dice.fill(&mut steps);
        [vec![pick(signal) + 3 * 5], steps].concat()
    };
    let examples: Vec<_> = requests().iter().map(|(signal, wire)| behind(&steps(*signal), wire)).collect();
    examples.iter().for_each(|example| otlp_edit::body(example));
    smoke(2_000, &examples, otlp_edit::body);
}

/// Any request is split at any limit.
#[test]
fn splitting() {
    let examples: Vec<_> = requests().iter().map(|(signal, wire)| behind(&[pick(*signal), 200, 0], wire)).collect();
    examples.iter().for_each(|example| otlp_requests::body(example));
    smoke(3_000, &examples, otlp_requests::body);
}

/// The JSON of any bytes that are a request is valid JSON.
#[test]
fn encoding() {
    let examples: Vec<_> = requests().iter().map(|(signal, wire)| behind(&[pick(*signal)], wire)).collect();
    smoke(4_000, &examples, |data| {
        let Some((pick, wire)) = data.split_first() else { return };
        let mut text = String::new();
        let written = json::encode(Signal::ALL[usize::from(pick % 3)], wire, &mut text);
        assert!(written.is_err() || serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    });
}

/// Any text as OTLP/JSON.
#[test]
fn transcoding() {
    let text = |(signal, wire): &(Signal, Vec<u8>)| {
        let mut text = String::new();
        json::encode(*signal, wire, &mut text).ok()?;
        Some(behind(&[pick(*signal)], text.as_bytes()))
    };
    let examples: Vec<_> = requests().iter().filter_map(text).collect();
    assert!(examples.len() > 50);
    examples.iter().for_each(|example| otlp_json::body(example));
    smoke(4_000, &examples, otlp_json::body);
}
