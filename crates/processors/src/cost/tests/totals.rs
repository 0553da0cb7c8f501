//! Tokens that an agent reports, beside or in place of its calls.

use serde_json::{Value as Json, json};

use super::{all, attributes, build, call, cost_attributes, metered, one, processed_from, run, status};
use crate::cost::CostProcessor;
use crate::testing::case_file;
use genai::BillingStatus;
use genai::testing::request;
use otlp::Payload;
use pipeline::{Processor as _, Trust};
use rates::Usd;
use telemetry::{Meter, names};

/// What the items of some requests were charged, by their stamps and by the metrics: of a gateway, and of a second one
/// that trusts the first.
fn charged(requests: &[Payload]) -> [(Usd, String); 2] {
    let gateways: [(CostProcessor, Meter); 2] = [metered(), metered()];
    let mut sums = [Usd::ZERO; 2];
    for (number, request) in (1..).zip(requests) {
        let mut payload = request.clone();
        for (at, (cost, _)) in gateways.iter().enumerate() {
            let batch = processed_from(cost, payload, number, |origin| {
                origin.trust = if at == 0 { Trust::ThirdParty } else { Trust::Internal };
            });
            batch.effects.iter().for_each(|effect| cost.apply(effect));
            for item in 0..request.item_count() {
                let usd = attributes(&batch, item).remove("tollgate.cost.usd");
                let usd = usd.map_or(Usd::ZERO, |usd| Usd::parse(usd.as_str().unwrap()).unwrap());
                sums[at] = sums[at].plus(usd).unwrap();
            }
            payload = batch.payload;
        }
    }
    let metrics = gateways.map(|(_, meter)| {
        let [charged, corrected] =
            [&names::COST_USD, &names::COST_CORRECTED_USD].map(|name| meter.values(name).iter().sum::<f64>());
        format!("{:.9}", charged - corrected)
    });
    let [own, behind] = metrics;
    [(sums[0], own), (sums[1], behind)]
}

fn orders(count: usize) -> Vec<Vec<usize>> {
    match count {
        0 => vec![Vec::new()],
        _ => orders(count - 1)
            .into_iter()
            .flat_map(|order| {
                (0..count).map(move |at| {
                    let mut longer = order.clone();
                    longer.insert(at, count - 1);
                    longer
                })
            })
            .collect(),
    }
}

/// The requests of a case in every order, whole and item by item, and twice.
pub(super) fn ways(case: &Json) -> Vec<Vec<Payload>> {
    let requests: Vec<Payload> = case["requests"].as_array().unwrap().iter().map(request::payload).collect();
    let mut ways: Vec<Vec<Payload>> = Vec::new();
    for order in orders(requests.len()) {
        let ordered: Vec<Payload> = order.into_iter().map(|at| requests[at].clone()).collect();
        let singles = |payload: &Payload| -> Vec<Payload> {
            (0..payload.item_count()).map(|item| payload.subset(&|at| at == item)).collect()
        };
        let single: Vec<Payload> = ordered.iter().flat_map(singles).collect();
        let repeated = ordered.iter().chain(&ordered).cloned().collect();
        ways.extend([single.iter().rev().cloned().collect(), single, repeated, ordered]);
    }
    ways
}

/// Must not regress: a call costs the same whoever reports its tokens, however often, in whatever order and batches.
#[test]
fn tokens_are_billed_whoever_reports_them() {
    let cases: Vec<Json> = case_file("tests/cases/reported-usage.yaml");
    let mut failed = Vec::new();
    for case in &cases {
        let usd = Usd::parse(case["usd"].as_str().unwrap()).unwrap();
        for (number, way) in ways(case).iter().enumerate() {
            for (gateway, (stamps, metrics)) in charged(way).into_iter().enumerate() {
                if stamps != usd || metrics != format!("{:.9}", usd.to_f64()) {
                    let name = &case["name"];
                    failed.push(format!("{name}, way {number}, gateway {gateway}: stamps {stamps}, metrics {metrics}"));
                }
            }
        }
    }
    assert!(cases.len() >= 9 && failed.is_empty(), "{failed:#?}");
}

/// A total pays no fee per request, and its size chooses no price tier: the calls that it sums had their own sizes.
#[test]
fn totals_have_no_size() {
    let agent = |input: u64| {
        let mut item = call(1, 0, "gemini-2.5-pro", input, 10);
        item["attributes"]["gen_ai.provider.name"] = json!("gcp.gemini");
        item["attributes"]["gen_ai.operation.name"] = json!("invoke_agent");
        item
    };
    let usd = |item: Json| attributes(&run(&build(), one(item), 1), 0)["tollgate.cost.usd"].clone();
    assert_eq!(usd(agent(1_000_000)), "1.2501", "1.25 USD per million, also above 200,000");
}

/// An agent without a model and without calls gets no zero; neither does one whose calls have all its tokens.
#[test]
fn nothing_is_no_zero() {
    let agent = json!({"name": "invoke_agent", "trace": 1, "span": 1, "attributes": {
        "gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 5}});
    let batch = run(&build(), one(agent), 1);
    assert_eq!((status(&batch, 0), attributes(&batch, 0).contains_key("tollgate.cost.usd")), (None, false));
    let mut total = call(1, 0, "gpt-4o", 10, 5);
    total["attributes"]["gen_ai.operation.name"] = json!("invoke_agent");
    let batch = run(&build(), all(&[&total, &call(2, 1, "gpt-4o", 10, 5)]), 1);
    assert_eq!([status(&batch, 0), status(&batch, 1)], [None, Some(BillingStatus::Priced)]);
    assert_eq!(cost_attributes(&batch, 0), [("tollgate.cost.status".to_owned(), json!("included"))]);
}
