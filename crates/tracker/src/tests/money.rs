//! Runs cost what the stamps say: both ask `calls` which records are one call.

use serde_json::{Value as Json, json};

use super::support::*;
use genai::testing::request;
use otlp::Payload;
use pipeline::{Processor as _, Trust};
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
    let [cost, _, (stamped, shown)] = costs_with(&json!([]), requests, trust);
    assert_eq!(stamped, shown, "what caching saved");
    cost
}

/// The same with plans: the cost, what of it is to pay, and what caching saved. Each is the same after a restart of the
/// step and in history.
fn costs_with(plans: &Json, requests: &[Vec<Json>], trust: Trust) -> [(Usd, Usd); 3] {
    let plans = serde_json::from_value(plans.clone()).unwrap();
    let line = Line::priced(runs(), &telemetry::Meter::new(), |config| config.plans = plans);
    let mut stamped = [Usd::ZERO; 3];
    let keys = ["tollgate.cost.usd", "tollgate.cost.payable_usd", "tollgate.cost.cache_savings_usd"];
    for items in requests {
        let batch = line.play_from(request::payload(&json!({"items": items})), trust);
        let payload: &Payload = &batch.payload;
        for (sum, key) in stamped.iter_mut().zip(keys) {
            for usd in payload.items().filter_map(|node| payload.get_str(node, key)) {
                *sum = sum.plus(Usd::parse(usd).unwrap()).unwrap();
            }
        }
    }
    let views = line.views();
    let amounts = [runs::RunTotals::atto_usd, runs::RunTotals::payable, runs::RunTotals::saved];
    let [cost, payable, saved] = amounts.map(|amount| {
        let shown = views.iter().filter_map(|view| runs::decode_run(&runs::encode_run(view, u64::MAX)));
        Usd(shown.map(|view| amount(&view.totals)).sum())
    });
    [(stamped[0], cost), (stamped[1], payable), (stamped[2], saved)]
}

/// What caching saved is a run's as its cost is: in a stream that grows, with a correction, for the models and tenants,
/// after a restart, and in effects of before, which end without it.
#[test]
fn runs_save_what_the_stamps_say() {
    let by_write =
        |write: u64| json!({"gen_ai.provider.name": "anthropic", "gen_ai.usage.cache_creation.input_tokens": write});
    let sonnet = |[at, input, cached, write]: [u64; 4], more: &Json| {
        chat([1, at, 0], "claude-sonnet-4-5", [input, cached, 20], &merged(by_write(write), more))
    };
    let (acme, id) = (json!({"tenant.id": "acme"}), json!({"gen_ai.response.id": "msg_1", "tenant.id": "globex"}));
    let requests = [
        vec![sonnet([2, 10_000, 9_000, 0], &acme)],
        vec![sonnet([3, 10_000, 0, 9_000], &id)],
        vec![sonnet([4, 10_000, 1_000, 9_000], &id)],
        vec![chat([2, 5, 0], "gpt-4o", [1_000, 0, 10], &json!({}))],
    ];
    let line = Line::whole(runs());
    let mut saved = Usd::ZERO;
    for items in &requests {
        let batch = line.play(request::payload(&json!({"items": items})));
        let stamped =
            batch.payload.items().filter_map(|node| batch.payload.get_str(node, "tollgate.cost.cache_savings_usd"));
        saved = stamped.fold(saved, |sum, usd| sum.plus(Usd::parse(usd).unwrap()).unwrap());
    }
    // 9000*2.7, and 1000*2.7 - 9000*0.75
    assert_eq!(saved.to_string(), "0.02025");
    let figures = |line: &Line| -> Vec<(Option<String>, String, String)> {
        let of_run = |view: &runs::RunView| {
            let parts = view.totals.by_tenant(view.tenant.as_deref()).map(|(name, part)| {
                (name.map(str::to_owned), Usd(part.saved_atto_usd).to_string(), Usd(part.atto_usd).to_string())
            });
            parts.collect::<Vec<_>>()
        };
        line.views().iter().flat_map(of_run).collect()
    };
    let told = figures(&line);
    let by_tenant: Vec<(Option<&str>, &str)> =
        told.iter().map(|(name, saved, _)| (name.as_deref(), &**saved)).collect();
    assert_eq!(by_tenant, [(Some("acme"), "0.0243"), (Some("globex"), "-0.00405"), (None, "0")]);
    let restarted = Line::whole(runs());
    restarted.restore(&line.checkpoints());
    assert_eq!(figures(&restarted), told);
    // an effect of the version before, without the list at its end
    let former = Line::whole(runs());
    let batch = line.process(request::payload(&json!({"items": requests[0]})));
    let effect = batch.effects.iter().find(|effect| effect.processor == *line.runs.id()).unwrap();
    let mut observation = crate::observation::BatchObservation::decode(&effect.body).unwrap();
    observation.items.iter_mut().filter_map(|item| item.call.as_mut()).for_each(|call| call.saved = 0);
    assert!(observation.encode().len() <= effect.body.len());
    former.runs.apply(&pipeline::Effect::new(line.runs.id().clone(), observation.encode()));
    let without: Vec<String> = figures(&former).into_iter().map(|(_, saved, _)| saved).collect();
    assert_eq!(without, ["0"]);
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
            let [cost, (stamped, shown), _] = costs_with(&plans, &requests, Trust::ThirdParty);
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
        assert_eq!(costs_with(&plans, &requests, Trust::ThirdParty)[..2], [(usd, usd); 2], "{name}");
    }
    // a trusted upstream charged the call; its total, which it found to be covered, comes first
    let stamps = json!({"tollgate.cost.status": "priced", "tollgate.cost.usd": "0.0035"});
    let call = chat([1, 3, 2], "gpt-4o", [1000, 0, 100], &stamps);
    let relayed = [vec![total(1, 2, [1000, 100])], vec![call, plain([1, 9, 2])]];
    let usd = Usd::parse("0.0035").unwrap();
    assert_eq!(costs(&relayed, Trust::Internal).1, usd, "the run");
}
