//! Plans: how calls are billed (`tests/cases/cost-plans.yaml`), and that what is to pay and what plans cover add up.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::totals::ways;
use super::{all, attributes, build_with, call, configured, one, processed_from, run};
use crate::cost::{CostConfig, CostProcessor, PlanConfig};
use crate::testing::case_file;
use genai::testing::request;
use otlp::Payload;
use pipeline::{Processor as _, Trust};
use rates::Usd;
use telemetry::{Meter, names};

#[derive(Deserialize)]
struct PlanCases {
    plans: Vec<PlanConfig>,
    calls: Vec<PlanCall>,
    bad: Vec<PlanSet>,
    good: Vec<PlanSet>,
}

#[derive(Deserialize)]
struct PlanCall {
    name: String,
    #[serde(default)]
    attributes: Map<String, Json>,
    #[serde(default)]
    resource: Map<String, Json>,
    account: Option<String>,
    /// The call is Codex's log event, with this kind of credential.
    codex: Option<String>,
    expect: String,
}

#[derive(Deserialize)]
struct PlanSet {
    why: String,
    #[serde(default)]
    field: String,
    plans: Vec<PlanConfig>,
}

fn cases() -> PlanCases {
    case_file("tests/cases/cost-plans.yaml")
}

fn with_plans(plans: Json, meter: &Meter) -> CostProcessor {
    let plans: Vec<PlanConfig> = serde_json::from_value(plans).unwrap();
    build_with(&configured(|config| config.plans = plans), meter)
}

impl PlanCall {
    fn payload(&self) -> Payload {
        let mut own = match &self.codex {
            Some(mode) => {
                json!({"event.name": "codex.sse_event", "event.kind": "response.completed", "conversation.id": "c",
                "model": "gpt-4o", "input_token_count": "1000", "output_token_count": "100", "auth_mode": mode})
            }
            None => call(1, 0, "gpt-4o", 1000, 100)["attributes"].clone(),
        };
        own.as_object_mut().unwrap().extend(self.attributes.clone());
        let item = json!({"name": "chat", "trace": 1, "span": 1, "attributes": own});
        let signal = if self.codex.is_some() { "logs" } else { "traces" };
        request::payload(&json!({"signal": signal, "resource": self.resource, "items": [item]}))
    }
}

/// Each kind of match, the order of plans, and what clients say: `tollgate.billing`, and nothing to pay if it is covered.
#[test]
fn calls_are_billed_by_their_plan() {
    let PlanCases { plans, calls, .. } = cases();
    let mut failed = Vec::new();
    for case in &calls {
        let cost = build_with(&configured(|config| config.plans.clone_from(&plans)), &Meter::new());
        let account = case.account.clone();
        let batch = processed_from(&cost, case.payload(), 1, |origin| {
            account.into_iter().for_each(|account| origin.account = account.as_str().into());
        });
        let stamped = attributes(&batch, 0);
        let payable = if case.expect == "api" { "0.0035" } else { "0" };
        let expected = json!([case.expect, "0.0035", payable, 0.0035]);
        let keys = ["tollgate.billing", "tollgate.cost.usd", "tollgate.cost.payable_usd", "gen_ai.usage.cost"];
        let found = json!(keys.map(|key| stamped.get(key)));
        if found != expected {
            failed.push(format!("{}: {found}", case.name));
        }
    }
    assert!(calls.len() >= 17 && failed.is_empty(), "{failed:#?}");
}

/// A user in two plans, and plans that can't be meant, are refused at the place of the fault.
#[test]
fn wrong_plans_are_refused() {
    let PlanCases { bad, good, .. } = cases();
    let check = |set: &PlanSet| CostConfig { plans: set.plans.clone(), ..CostConfig::default() }.settings().err();
    for set in &bad {
        let problems = check(set).unwrap_or_else(|| panic!("{} is taken", set.why));
        let fields: Vec<String> = problems.iter().map(|problem| problem.path.to_string()).collect();
        assert_eq!(fields, std::slice::from_ref(&set.field), "{}", set.why);
    }
    for set in &good {
        assert!(check(set).is_none(), "{}", set.why);
    }
}

/// What the items of some requests cost and have to be paid, by stamps and by metrics: `[cost, payable]` of each.
fn billed(plans: &Json, requests: &[Payload], trusts: bool) -> [[Usd; 2]; 2] {
    let meters = [Meter::new(), Meter::new()];
    let gateways = [with_plans(plans.clone(), &meters[0]), with_plans(json!([]), &meters[1])];
    let used = if trusts { &gateways[..] } else { &gateways[..1] };
    let mut stamps = [Usd::ZERO; 2];
    for (number, request) in (1..).zip(requests) {
        let mut payload = request.clone();
        for (at, cost) in used.iter().enumerate() {
            let batch = processed_from(cost, payload, number, |origin| {
                origin.trust = if at == 0 { Trust::ThirdParty } else { Trust::Internal };
            });
            batch.effects.iter().for_each(|effect| cost.apply(effect));
            for item in (0..request.item_count()).filter(|_| at + 1 == used.len()) {
                let stamped = attributes(&batch, item);
                for (sum, key) in stamps.iter_mut().zip(["tollgate.cost.usd", "tollgate.cost.payable_usd"]) {
                    let usd = stamped.get(key).map_or(Usd::ZERO, |usd| Usd::parse(usd.as_str().unwrap()).unwrap());
                    *sum = sum.plus(usd).unwrap();
                }
            }
            payload = batch.payload;
        }
    }
    let mut metrics = [0.0; 2];
    for (name, sign) in [(&names::COST_USD, 1.0), (&names::COST_CORRECTED_USD, -1.0)] {
        for series in meters[used.len() - 1].series(name) {
            let usd = series.number().unwrap() * sign;
            metrics[0] += usd;
            metrics[1] += if series.label("billing") == "api" { usd } else { 0.0 };
        }
    }
    [stamps, metrics.map(|usd| Usd::parse(&format!("{usd:.9}")).unwrap())]
}

/// Whatever the order and the batches, metrics and stamps say the same of what is to pay, and calls of a plan, with all
/// that corrects them, have nothing to pay.
#[test]
fn payable_and_covered_add_up() {
    let everything = json!([{"name": "all", "billing": "subscription", "match": {"account": ["default"]}}]);
    let chats = json!([{"name": "chats", "billing": "provisioned", "match": {"attributes": {"gen_ai.operation.name": ["chat"]}}}]);
    let cases: Vec<Json> = case_file("tests/cases/reported-usage.yaml");
    let nine = |usd: Usd| Usd::parse(&format!("{:.9}", usd.to_f64())).unwrap();
    let mut mixed = 0;
    for case in &cases {
        let (name, usd) = (&case["name"], Usd::parse(case["usd"].as_str().unwrap()).unwrap());
        for way in ways(case) {
            for trusts in [false, true] {
                let [stamps, metrics] = billed(&everything, &way, trusts);
                assert_eq!((stamps, metrics), ([usd, Usd::ZERO], [nine(usd), Usd::ZERO]), "{name}, all of a plan");
                let [stamps, metrics] = billed(&chats, &way, trusts);
                assert_eq!(stamps.map(nine), metrics, "{name}, some of a plan");
                assert_eq!(stamps[0], usd, "{name}");
                mixed += usize::from(stamps[1] != usd && stamps[1] != Usd::ZERO);
            }
        }
    }
    assert!(mixed > 0, "no case has both");
}

/// A stream that grows belongs to its plan, although the later record names no user: the difference is covered too.
#[test]
fn a_difference_is_billed_as_its_call() {
    let plans = json!([{"name": "max", "billing": "subscription", "match": {"user": ["ada"]}}]);
    let cost = with_plans(plans, &Meter::new());
    let mut first = super::with_id(call(1, 0, "gpt-4o", 1000, 100), "chatcmpl-1");
    first["attributes"]["user.id"] = json!("ada");
    run(&cost, one(first), 1);
    let later = super::with_id(call(2, 0, "gpt-4o", 1000, 200), "chatcmpl-1");
    let stamped = attributes(&run(&cost, all(&[&later]), 2), 0);
    let keys = ["tollgate.cost.usd", "tollgate.cost.payable_usd", "tollgate.billing"];
    assert_eq!(json!(keys.map(|key| stamped.get(key))), json!(["0.001", "0", "subscription"]));
}

/// A larger form of a record that names no user is billed as the first: else taking the call back would pay something
/// out.
#[test]
fn a_larger_form_of_a_record_is_billed_as_the_first() {
    let plans = json!([{"name": "max", "billing": "subscription", "match": {"user": ["ada"]}}]);
    let mut first = call(1, 0, "gpt-4o", 1000, 100);
    first["attributes"]["user.id"] = json!("ada");
    let mut inner = call(2, 1, "gpt-4o", 1000, 200);
    inner["attributes"]["user.id"] = json!("ada");
    let requests = [one(first), one(call(1, 0, "gpt-4o", 1000, 200)), one(inner)];
    for count in 1..=3 {
        let [stamps, metrics] = billed(&plans, &requests[..count], false);
        assert_eq!([stamps[1], metrics[1]], [Usd::ZERO; 2], "after {count}");
    }
}

/// A seat's sum survives a restart, and counts the calls of its user alone; other months are apart.
#[test]
fn seats_are_summed_by_month() {
    let plans =
        || json!([{"name": "max", "billing": "subscription", "match": {"tenant": ["acme"]}, "seat_usd": "0.004"}]);
    let cost = with_plans(plans(), &Meter::new());
    for (number, user) in [(1, "ada"), (2, "ada"), (3, "bob")] {
        let mut item = call(number, 0, "gpt-4o", 1000, 100);
        item["trace"] = json!(number);
        item["attributes"]["tenant.id"] = json!("acme");
        item["attributes"]["user.id"] = json!(user);
        run(&cost, one(item), u8::try_from(number).unwrap());
    }
    let restarted = with_plans(plans(), &Meter::new());
    assert!(restarted.restore(&cost.checkpoint().unwrap()));
    for cost in [&cost, &restarted] {
        let seats = cost.ledger.seats.uses();
        let sums: Vec<(String, bool)> =
            seats.iter().map(|seat| (seat.used.to_string(), seat.used >= seat.price)).collect();
        assert_eq!(sums, [("0.007".to_owned(), true), ("0.0035".to_owned(), false)]);
        assert!(seats.iter().all(|seat| !seat.key.user.contains("ada") && !seat.key.user.contains("bob")));
        assert!(seats.iter().all(|seat| seat.key.month == "2026-11"));
    }
    restarted.tick(kernel::clock::UnixNanos(1_795_000_000_000_000_000 + 30 * 86_400_000_000_000));
    assert_eq!(restarted.ledger.seats.uses().len(), 2, "last month's are kept");
    restarted.tick(kernel::clock::UnixNanos(1_795_000_000_000_000_000 + 80 * 86_400_000_000_000));
    assert!(restarted.ledger.seats.uses().is_empty());
}

/// A checkpoint and an effect from before plans are read, and their charges count as those of the rate table.
#[test]
fn forms_without_plans_are_read() {
    let (cost, meter) = super::metered();
    let mut batch = processed_from(&cost, one(call(1, 0, "gpt-4o", 1000, 100)), 1, |_| {});
    let effect = batch.effects.first_mut().unwrap();
    // the last lists: one basis, no seat, one amount without savings, no savings in the ledger, no other currency
    effect.body.truncate(effect.body.len() - 8);
    batch.effects.iter().for_each(|effect| cost.apply(effect));
    let bases: BTreeMap<String, f64> = meter
        .series(&names::COST_USD)
        .iter()
        .map(|one| (one.label("billing").to_owned(), one.number().unwrap()))
        .collect();
    assert_eq!(bases, BTreeMap::from([("api".to_owned(), 0.0035)]));
}
