//! Which spans a back end may count, as exporters read it from the stamps (`counted_by`).

use serde_json::{Value as Json, json};

use super::{all, attributes, build, build_with, call, configured, metered, one, processed_from, run};
use pipeline::{Batch, Effect, Processor, Trust};
use telemetry::{Meter, names};

/// Status, flags, and the input that is charged if it is a part.
fn share(batch: &Batch, item: usize) -> (Json, Json, Json) {
    let stamps = attributes(batch, item);
    let stamp = |key: &str| stamps.get(key).cloned().unwrap_or(Json::Null);
    (stamp("tollgate.cost.status"), stamp("tollgate.cost.flags"), stamp("tollgate.usage.input"))
}

fn agent(span: u64, parent: u64, model: &str, input: u64, output: u64) -> Json {
    let mut agent = call(span, parent, model, input, output);
    agent["attributes"]["gen_ai.operation.name"] = json!("invoke_agent");
    agent
}

fn without(mut item: Json, keys: &[&str]) -> Json {
    keys.iter().for_each(|key| drop(item["attributes"].as_object_mut().unwrap().remove(*key)));
    item
}

/// A total of which calls below account for a part shows the rest, with a price and without one.
#[test]
fn a_total_shows_its_rest() {
    for (model, status) in [("gpt-4o", "priced"), ("nomodel-zz", "unpriced")] {
        let batch = run(&build(), all(&[&agent(1, 0, model, 30, 11), &call(2, 1, "gpt-4o", 10, 5)]), 1);
        let (found, flags, input) = share(&batch, 0);
        assert_eq!((found, input), (json!(status), json!(20)), "{model}");
        assert!(flags.as_array().unwrap().contains(&json!("remainder")), "{flags}");
    }
}

/// A total without a model keeps its tokens if nothing else reports any.
#[test]
fn a_total_without_a_model_is_left_alone_if_nothing_is_below() {
    let total = without(agent(1, 0, "", 100, 20), &["gen_ai.request.model"]);
    let silent = without(call(2, 1, "gpt-4o", 0, 0), &["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"]);
    assert_eq!(share(&run(&build(), all(&[&total, &silent]), 1), 0).0, Json::Null);
    let cost = build();
    run(&cost, one(call(2, 1, "gpt-4o", 10, 5)), 1);
    assert_eq!(share(&run(&cost, one(total), 2), 0).0, "included", "an earlier request has the call");
}

/// Parts that come after their sum do not count again, though only one of them has the correction.
#[test]
fn parts_after_their_sum() {
    let cost = build();
    assert_eq!(share(&run(&cost, one(call(1, 0, "gpt-4o", 30, 11)), 1), 0).0, "priced");
    let batch = run(&cost, all(&[&call(2, 1, "gpt-4o", 10, 5), &call(3, 1, "gpt-4o", 20, 6)]), 2);
    let flags = [0, 1].map(|item| share(&batch, item).1);
    assert_eq!(flags, [json!(["after_sum"]), json!(["net"])]);
}

/// The part of a grown answer is not known if its own span grew: no counts, also with `usage_attributes`.
#[test]
fn no_counts_of_an_unknown_part() {
    let cost = build_with(&configured(|config| config.usage_attributes = true), &Meter::new());
    run(&cost, one(call(1, 0, "gpt-4o", 10, 5)), 1);
    let (status, flags, input) = share(&run(&cost, one(call(1, 0, "gpt-4o", 10, 9)), 2), 0);
    assert_eq!((status, flags, input), (json!("correction"), json!(["grown"]), Json::Null));
}

/// What an upstream tollgate marked as included stays so, whatever arrives first, unless prices are made anew.
#[test]
fn an_upstream_mark_stands() {
    let mut sum = call(1, 0, "gpt-4o", 30, 11);
    sum["attributes"]["tollgate.cost.status"] = json!("included");
    let with = |trust, reprice: bool| {
        let cost = build_with(&configured(|config| config.reprice = reprice), &Meter::new());
        let batch = processed_from(&cost, one(sum.clone()), 1, |origin| origin.trust = trust);
        batch.effects.iter().for_each(|effect| cost.apply(effect));
        share(&batch, 0).0
    };
    assert_eq!(with(Trust::Internal, false), "included");
    assert_eq!(with(Trust::Internal, true), "priced");
    assert_eq!(with(Trust::ThirdParty, false), "priced");
}

/// Must not regress: an effect that was stored before it had times of first chunks is read, so its charges count.
#[test]
fn earlier_effects_are_read() {
    let batch = processed_from(&build(), one(call(1, 0, "gpt-4o", 1000, 100)), 1, |_| {});
    for cut in [0, 1] {
        let (cost, meter) = metered();
        for effect in &batch.effects {
            let body = &effect.body[..effect.body.len() - cut];
            cost.apply(&Effect::new(effect.processor.clone(), body.to_vec()));
        }
        assert_eq!(meter.values(&names::COST_USD), [0.0035], "{cut}");
    }
}
