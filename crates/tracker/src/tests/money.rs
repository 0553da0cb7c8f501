//! Runs cost what the stamps say: both ask `calls` which records are one call.

use serde_json::{Value as Json, json};

use super::support::*;
use genai::testing::request;
use otlp::Payload;
use pipeline::Trust;
use rates::Usd;

fn chat([trace, at, parent]: [u64; 3], model: &str, [input, cached, output]: [u64; 3], more: &Json) -> Json {
    let mut tokens = usage(model, input, output);
    if model.is_empty() {
        tokens.as_object_mut().unwrap().remove("gen_ai.request.model");
    }
    if cached > 0 {
        tokens["gen_ai.usage.cache_read.input_tokens"] = json!(cached);
    }
    let known = json!({"gen_ai.provider.name": "openai"});
    span("chat", [trace, at, parent], [10, 20], &merged(merged(tokens, &known), more))
}

fn plain([trace, at, parent]: [u64; 3]) -> Json {
    json!({"name": "GET /", "trace": trace, "span": at, "parent": parent, "attributes": {"http.request.method": "GET"}})
}

fn total(trace: u64, at: u64, tokens: [u64; 2]) -> Json {
    let agent = json!({"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "gpt-4o"});
    span("invoke_agent", [trace, at, 0], [5, 30], &merged(usage("gpt-4o", tokens[0], tokens[1]), &agent))
}

/// What the stamps and what the runs cost.
fn costs(requests: &[Vec<Json>], trust: Trust) -> (Usd, Usd) {
    let [cost, _] = costs_with(&json!([]), requests, trust);
    cost
}

/// The same with plans: the cost, and what of it is to pay.
fn costs_with(plans: &Json, requests: &[Vec<Json>], trust: Trust) -> [(Usd, Usd); 2] {
    let plans = serde_json::from_value(plans.clone()).unwrap();
    let line = Line::priced(runs(), &telemetry::Meter::new(), |config| config.plans = plans);
    let mut stamped = [Usd::ZERO; 2];
    for items in requests {
        let batch = line.play_from(request::payload(&json!({"items": items})), trust);
        let payload: &Payload = &batch.payload;
        for (sum, key) in stamped.iter_mut().zip(["tollgate.cost.usd", "tollgate.cost.payable_usd"]) {
            for usd in payload.items().filter_map(|node| payload.get_str(node, key)) {
                *sum = sum.plus(Usd::parse(usd).unwrap()).unwrap();
            }
        }
    }
    let views = line.views();
    let [cost, payable] = [runs::RunTotals::atto_usd, runs::RunTotals::payable].map(|amount| {
        let shown = views.iter().filter_map(|view| runs::decode_run(&runs::encode_run(view, u64::MAX)));
        Usd(shown.map(|view| amount(&view.totals)).sum())
    });
    [(stamped[0], cost), (stamped[1], payable)]
}

/// Must not regress: each of these once gave a run another cost than its stamps.
#[test]
fn runs_cost_what_the_stamps_say() {
    let id = json!({"gen_ai.response.id": "chatcmpl-1"});
    let none = json!({});
    let large = |cached, output| chat([1, 2, 0], "gpt-4o", [100_000, cached, output], &id);
    let cases = [
        ("a later version costs less", vec![vec![large(0, 1)], vec![large(90_000, 20)]], "0.1377"),
        (
            "of equal answers the one with cached tokens counts",
            vec![vec![
                chat([1, 2, 0], "gpt-4o", [100_000, 0, 20], &id),
                chat([1, 3, 2], "gpt-4o", [100_000, 90_000, 20], &id),
            ]],
            "0.1377",
        ),
        (
            "the outer layer has a price, the inner one has none",
            vec![vec![chat([1, 2, 0], "gpt-4o", [1000, 0, 100], &none), chat([1, 3, 2], "", [1000, 0, 100], &none)]],
            "0.0035",
        ),
        (
            "a plain span between two layers comes last",
            vec![
                vec![chat([1, 2, 0], "gpt-4o", [1000, 0, 100], &none)],
                vec![chat([1, 3, 9], "gpt-4o", [1000, 0, 100], &none)],
                vec![plain([1, 9, 2]), plain([1, 10, 2])],
            ],
            "0.0035",
        ),
        (
            "a total, then its calls",
            vec![
                vec![total(1, 2, [1000, 100])],
                vec![chat([1, 3, 2], "gpt-4o", [600, 0, 60], &none), plain([1, 9, 2])],
            ],
            "0.0035",
        ),
    ];
    for (name, requests, usd) in cases {
        let usd = Usd::parse(usd).unwrap();
        assert_eq!(costs(&requests, Trust::ThirdParty), (usd, usd), "{name}");
        // the same if a plan covers all of it, or the chats but not the total
        let matches = [json!({"account": ["default"]}), json!({"attributes": {"gen_ai.operation.name": ["chat"]}})];
        for (at, matches) in matches.iter().enumerate() {
            let plans = json!([{"name": "p", "billing": "subscription", "match": matches}]);
            let [cost, (stamped, shown)] = costs_with(&plans, &requests, Trust::ThirdParty);
            assert_eq!((cost, stamped), ((usd, usd), shown), "{name}");
            assert!(at > 0 || shown == Usd::ZERO, "{name}: {shown} to pay");
        }
    }
    // a repeat, or another record of the call, that a plan matches afterwards covers nothing
    let plans = json!([{"name": "p", "billing": "subscription", "match": {"attributes": {"billing.plan": ["max"]}}}]);
    let tagged = merged(id.clone(), &json!({"billing.plan": "max"}));
    let usage = [1000, 0, 100];
    for (name, more) in [("a repeat", [1, 2, 0]), ("a copy", [1, 3, 2])] {
        let first = vec![chat([1, 2, 0], "gpt-4o", usage, &id)];
        let requests = [first, vec![chat(more, "gpt-4o", usage, &tagged)]];
        let usd = Usd::parse("0.0035").unwrap();
        assert_eq!(costs_with(&plans, &requests, Trust::ThirdParty), [(usd, usd); 2], "{name}");
    }
    // a trusted upstream charged the call; its total, which it found to be covered, comes first
    let stamps = json!({"tollgate.cost.status": "priced", "tollgate.cost.usd": "0.0035"});
    let call = chat([1, 3, 2], "gpt-4o", [1000, 0, 100], &stamps);
    let relayed = [vec![total(1, 2, [1000, 100])], vec![call, plain([1, 9, 2])]];
    let usd = Usd::parse("0.0035").unwrap();
    assert_eq!(costs(&relayed, Trust::Internal).1, usd, "the run");
}
