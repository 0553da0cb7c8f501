//! The order and batching of items, and a crash, change nothing.

use proptest::prelude::*;
use proptest::test_runner::{Config as Runner, RngSeed, TestRunner};

use super::support::*;
use otlp::Payload;
use pipeline::Processor;
use runs::RunView;

fn play_all(payloads: &[Payload]) -> Vec<RunView> {
    let line = Line::whole(runs());
    payloads.iter().for_each(|payload| drop(line.play(payload.clone())));
    line.views()
}

/// If two spans of one call arrive in two requests, the first is billed, and only the inner one separates cache
/// writes; so its price depends on the order. A call has the tenant that its run was known to have when it was committed.
/// Nothing else depends on the order.
fn without_price(session: &str, mut views: Vec<RunView>) -> Vec<RunView> {
    for view in &mut views {
        view.tenant = None;
        view.totals.other_tenants.clear();
    }
    if ["semconv/anthropic", "openinference/anthropic"].contains(&session) {
        let models = views.iter_mut().flat_map(|view| view.totals.models.values_mut());
        models.for_each(|model| model.atto_usd = 0);
    }
    views
}

fn differ(session: &str, what: &str, got: &[RunView], expected: &[RunView]) -> Result<(), TestCaseError> {
    let text = |views: &[RunView]| views.iter().map(show).collect::<Vec<_>>().join("\n  ");
    prop_assert!(got == expected, "{session}, {what}:\n  {}\ninstead of\n  {}", text(got), text(expected));
    Ok(())
}

/// Requests of one signal with the items combined differently: a shuffled list, cut into pieces.
fn batches(payloads: &[Payload], order: &[usize], cuts: &[bool]) -> Vec<Payload> {
    let mut out = Vec::new();
    for (at, payload) in payloads.iter().enumerate() {
        if !cuts.get(at % cuts.len()).copied().unwrap_or(false) || payload.item_count() < 2 {
            out.push(payload.clone());
            continue;
        }
        let half = payload.item_count() / 2;
        out.push(payload.subset(&|item| item >= half));
        out.push(payload.subset(&|item| item < half));
    }
    let mut keyed: Vec<(usize, Payload)> = out
        .into_iter()
        .enumerate()
        .map(|(at, payload)| (order.get(at % order.len()).copied().unwrap_or(0), payload))
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, payload)| payload).collect()
}

/// Every recorded session gives the same runs: as requests or single items, in any order, cut anywhere, some repeated.
#[test]
fn any_order_and_batching() {
    let all: Vec<Session> = CLIENTS.into_iter().flat_map(sessions).collect();
    for session in &all {
        let expected = without_price(&session.name, play_all(&session.payloads));
        let singles = single_items(&session.payloads);
        let mut runner = TestRunner::new(Runner {
            cases: 6,
            rng_seed: RngSeed::Fixed(7),
            failure_persistence: None,
            ..Runner::default()
        });
        let order = prop::collection::vec(any::<usize>(), 64..=512);
        let cuts = prop::collection::vec(any::<bool>(), 1..16);
        let tested = runner.run(&(order, cuts, any::<bool>()), |(order, cuts, single)| {
            let mut payloads = batches(if single { &singles } else { &session.payloads }, &order, &cuts);
            // some are repeated
            let again: Vec<Payload> = payloads.iter().step_by(3).cloned().collect();
            payloads.extend(again);
            let got = without_price(&session.name, play_all(&payloads));
            differ(&session.name, "shuffled", &got, &expected)
        });
        tested.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A damaged checkpoint or effect is ignored.
#[test]
fn damage_is_ignored() {
    let session = sessions("claude-code").into_iter().next().unwrap();
    let line = Line::new(runs());
    let batches: Vec<_> = session.payloads.into_iter().map(|payload| line.play(payload)).collect();
    let checkpoint = line.runs.checkpoint().unwrap();
    let effect = batches.iter().flat_map(|batch| &batch.effects).max_by_key(|effect| effect.body.len()).unwrap();
    for at in 0..checkpoint.len() {
        let after = runs();
        after.restore(&checkpoint[..at]);
        assert!(after.recent_runs(10).is_empty(), "{at} of {}", checkpoint.len());
    }
    for at in 0..effect.body.len() {
        let after = Line::new(runs());
        let mut effect = effect.clone();
        effect.body.truncate(at);
        after.apply(&effect);
        assert!(after.views().is_empty());
        let mut flipped = effect.clone();
        flipped.body.iter_mut().for_each(|byte| *byte ^= 0x55);
        after.apply(&flipped);
    }
}
