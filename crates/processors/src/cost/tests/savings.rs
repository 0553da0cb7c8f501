//! What caching saves: the sign, the stamps, the metrics, and that they survive corrections, restarts and a second
//! gateway.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::totals::ways;
use super::{attributes, metered, one, processed, processed_from, run};
use crate::testing::case_file;
use otlp::Payload;
use pipeline::{Processor as _, Trust};
use rates::Usd;
use telemetry::{Meter, names};

const SAVINGS: &str = "tollgate.cost.cache_savings_usd";

/// A call of a model whose input costs 3 USD a million tokens: reading one from the cache saves 2.7, writing one (for 5
/// minutes) costs 0.75 more.
fn cached([read, write]: [u64; 2], output: u64, more: Json) -> Json {
    let mut call = json!({"name": "chat", "trace": 1, "span": 2, "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.response.id": "msg_1", "gen_ai.usage.input_tokens": 100 + read + write,
        "gen_ai.usage.output_tokens": output, "gen_ai.usage.cache_read.input_tokens": read,
        "gen_ai.usage.cache_creation.input_tokens": write}});
    call["attributes"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call
}

fn saved(meter: &Meter) -> [f64; 2] {
    [&names::COST_CACHE_SAVED_USD, &names::COST_CACHE_LOST_USD].map(|name| meter.values(name).iter().sum())
}

fn close(got: [f64; 2], wanted: [f64; 2]) -> bool {
    got.iter().zip(wanted).all(|(got, wanted)| (got - wanted).abs() < 1e-12)
}

/// Must not regress: reads save (positive), writes that nobody reads cost more (negative), and a call without a cache
/// says nothing.
#[test]
fn savings_have_the_right_sign() {
    for (tokens, expected, counted) in [
        ([10_000, 0], Some("0.027"), [0.027, 0.0]),
        ([0, 10_000], Some("-0.0075"), [0.0, 0.0075]),
        ([10_000, 1_000], Some("0.02625"), [0.026_25, 0.0]),
        ([1_000, 10_000], Some("-0.0048"), [0.0, 0.004_8]),
        ([5_000, 18_000], None, [0.0, 0.0]),
        ([0, 0], None, [0.0, 0.0]),
    ] {
        let (cost, meter) = metered();
        let stamped = attributes(&run(&cost, one(cached(tokens, 50, json!({}))), 1), 0);
        assert_eq!(stamped.get(SAVINGS).and_then(Json::as_str), expected, "{tokens:?}");
        assert!(stamped.contains_key("tollgate.cost.usd"));
        assert!(close(saved(&meter), counted), "{tokens:?}: {:?}", saved(&meter));
        let (restarted, meter) = metered();
        assert!(restarted.restore(&cost.checkpoint().unwrap()));
        assert!(close(saved(&meter), counted), "{tokens:?} after a restart");
    }
    let unpriced = cached([10_000, 0], 50, json!({"gen_ai.request.model": "nobody-knows-this"}));
    let (cost, meter) = metered();
    assert!(!attributes(&run(&cost, one(unpriced), 1), 0).contains_key(SAVINGS));
    assert!(meter.series(&names::COST_CACHE_SAVED_USD).is_empty());
}

/// The savings of a stream that grows add up to those of its last record, in one gateway or across a restart; a copy
/// and a repeat add nothing.
#[test]
fn savings_of_a_stream_are_those_of_its_last_record() {
    let steps = [[2_000, 0], [2_000, 500], [2_000, 9_000], [9_000, 9_000], [9_000, 9_000]];
    for restarts in [false, true] {
        let ((mut cost, mut meter), mut sum) = (metered(), Usd::ZERO);
        for (number, tokens) in (1..).zip(steps) {
            let mut call = cached(tokens, u64::from(number) * 10, json!({}));
            call["span"] = json!(number.min(4));
            let stamped = attributes(&run(&cost, one(call), number), 0);
            let usd = stamped.get(SAVINGS).map_or(Usd::ZERO, |usd| Usd::parse(usd.as_str().unwrap()).unwrap());
            sum = sum.plus(usd).unwrap();
            if restarts {
                let checkpoint = cost.checkpoint().unwrap();
                (cost, meter) = metered();
                assert!(cost.restore(&checkpoint));
            }
        }
        // 9000*2.7 - 9000*0.75
        assert_eq!(sum.to_string(), "0.01755", "restarts: {restarts}");
        let [saved, lost] = saved(&meter);
        assert!((saved - lost - 0.017_55).abs() < 1e-12, "{saved} - {lost}");
    }
}

/// Whoever reports the tokens, in whatever order and batches, directly or behind a trusted gateway: the stamps add up to
/// the same savings, and the metrics say the same.
#[test]
fn savings_do_not_depend_on_who_reports_them() {
    let cases: Vec<Json> = case_file("tests/cases/reported-usage.yaml");
    let mut with_savings = 0;
    for case in &cases {
        let mut seen = BTreeSet::new();
        for way in ways(case) {
            let gateways = [metered(), metered()];
            let mut sums = [Usd::ZERO; 2];
            for (number, request) in (1..).zip(&way) {
                let mut payload: Payload = request.clone();
                for ((cost, _), (sum, trust)) in
                    gateways.iter().zip(sums.iter_mut().zip([Trust::ThirdParty, Trust::Internal]))
                {
                    let batch = processed_from(cost, payload, number, |origin| origin.trust = trust);
                    batch.effects.iter().for_each(|effect| cost.apply(effect));
                    for usd in (0..request.item_count()).filter_map(|item| attributes(&batch, item).remove(SAVINGS)) {
                        *sum = sum.plus(Usd::parse(usd.as_str().unwrap()).unwrap()).unwrap();
                    }
                    payload = batch.payload;
                }
            }
            for ((_, meter), sum) in gateways.iter().zip(sums) {
                let [saved, lost] = saved(meter);
                assert!((saved - lost - sum.to_f64()).abs() < 1e-9, "{}: {saved} - {lost}, {sum}", case["name"]);
            }
            seen.extend(sums);
        }
        assert_eq!(seen.len(), 1, "{}: {seen:?}", case["name"]);
        with_savings += usize::from(!seen.contains(&Usd::ZERO));
    }
    assert!(with_savings > 5, "{with_savings}");
}

/// A checkpoint and an effect from before savings are read as without any.
#[test]
fn forms_without_savings_are_read() {
    let (cost, meter) = metered();
    let mut batch = processed(&cost, one(cached([0, 0], 50, json!({}))), 1);
    let effect = batch.effects.first_mut().unwrap();
    // the last lists: one amount without savings, no savings in the ledger; no other currency
    assert!(effect.body.ends_with(&[1, 0, 0, 0, 0]));
    effect.body.truncate(effect.body.len() - 5);
    batch.effects.iter().for_each(|effect| cost.apply(effect));
    assert_eq!(meter.values(&names::COST_USD).len(), 1);
    assert!(close(saved(&meter), [0.0, 0.0]));
}
