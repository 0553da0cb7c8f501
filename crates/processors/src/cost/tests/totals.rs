//! Tokens that an agent reports, beside or in place of its calls.

use serde_json::{Value as Json, json};

use super::{all, attributes, build, call, metered, one, run, status};
use crate::cost::CostProcessor;
use crate::testing::case_file;
use genai::BillingStatus;
use genai::testing::request;
use otlp::Payload;
use rates::Usd;
use telemetry::{Meter, names};

/// What the items of some requests were charged: by their stamps, and by the metrics.
fn charged(requests: &[Payload]) -> (Usd, String) {
    let (cost, meter): (CostProcessor, Meter) = metered();
    let mut sum = Usd::ZERO;
    for (number, payload) in (1..).zip(requests) {
        let batch = run(&cost, payload.clone(), number);
        for item in 0..payload.item_count() {
            let usd = attributes(&batch, item).remove("tollgate.cost.usd");
            sum = usd.map_or(sum, |usd| sum.plus(Usd::parse(usd.as_str().unwrap()).unwrap()).unwrap());
        }
    }
    let total = |name| meter.values(name).iter().sum::<f64>();
    (sum, format!("{:.9}", total(&names::COST_USD) - total(&names::COST_CORRECTED_USD)))
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

/// Must not regress: a call costs the same whoever reports its tokens, however often, in whatever order and batches.
#[test]
fn tokens_are_billed_whoever_reports_them() {
    let cases: Vec<Json> = case_file("tests/cases/reported-usage.yaml");
    let mut failed = Vec::new();
    for case in &cases {
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
        let usd = Usd::parse(case["usd"].as_str().unwrap()).unwrap();
        for (number, way) in ways.iter().enumerate() {
            let (stamps, metrics) = charged(way);
            if stamps != usd || metrics != format!("{:.9}", usd.to_f64()) {
                failed.push(format!("{}, way {number}: stamps {stamps}, metrics {metrics}", case["name"]));
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
    assert!(attributes(&batch, 0).keys().all(|key| !key.starts_with("tollgate.cost.")));
}
