//! Tests of calls whose model or provider is on an ancestor in another batch.

use serde_json::{Value as Json, json};

use super::{
    DEFERRED, PRICED, UNPRICED, assert_shows, attributes, build, build_with, configured, facts_in, metered, one,
    processed, run, status,
};
use kernel::clock::UnixNanos;
use pipeline::Processor;
use telemetry::Meter;

/// A call with tokens only.
fn child(span: u64, parent: u64) -> Json {
    json!({"name": "gen_ai.chat", "trace": 1, "span": span, "parent": parent, "attributes": {
        "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 50, "tenant.id": "acme"}})
}

fn root(span: u64, parent: u64) -> Json {
    json!({"name": "agent.run", "trace": 1, "span": span, "parent": parent, "attributes": {
        "gen_ai.system": "openai", "gen_ai.request.model": "gpt-5-mini"}})
}

const TOTAL: &str = "tollgate_cost_usd_total{tenant=\"acme\",model=\"gpt-5-mini\",provider=\"openai\",billing=\"api\"}";

/// The call is deferred, and priced once when the ancestor arrives, whichever pipelines see it; totals and late prices
/// are updated.
#[test]
fn priced_when_the_ancestor_comes() {
    let (cost, meter) = metered();
    let first = run(&cost, one(child(3, 2)), 1);
    assert_eq!(status(&first, 0), DEFERRED);
    assert_eq!(attributes(&first, 0)["tollgate.cost.status"], "deferred");
    assert!(!meter.render().contains(TOTAL));
    let second = run(&cost, one(root(2, 0)), 2);
    let late = &facts_in(&second).late_prices;
    assert_eq!(late.len(), 1);
    assert_eq!(late[0].cost.usd.as_deref(), Some("0.00035"));
    assert_eq!((late[0].span[7], late[0].parent[7]), (3, 2));
    assert_shows(&meter, &format!("{TOTAL} 0.00035"));
    let again = run(&cost, one(root(2, 0)), 3);
    assert!(facts_in(&again).late_prices.is_empty(), "once");
    assert!(meter.render().contains(&format!("{TOTAL} 0.00035")));
}

/// An ancestor that arrived before is used at once; one farther up is used when it arrives.
#[test]
fn ancestors_before_and_further_up() {
    let cost = build();
    run(&cost, one(root(2, 0)), 1);
    assert_eq!(status(&run(&cost, one(child(3, 2)), 2), 0), PRICED);

    let cost = build();
    run(&cost, one(child(4, 3)), 1);
    let middle = json!({"name": "agent.run", "trace": 1, "span": 3, "parent": 2, "attributes": {}});
    assert!(facts_in(&run(&cost, one(middle), 2)).late_prices.is_empty());
    assert_eq!(facts_in(&run(&cost, one(root(2, 0)), 3)).late_prices.len(), 1);
}

/// Waiting calls survive a crash and a checkpoint; a batch that is not committed changes nothing.
#[test]
fn restarts_and_lost_batches() {
    let first = build();
    let deferred = run(&first, one(child(3, 2)), 1);
    let replayed = build();
    deferred.effects.iter().for_each(|effect| replayed.apply(effect));
    assert_eq!(facts_in(&run(&replayed, one(root(2, 0)), 2)).late_prices.len(), 1);

    let restored = build();
    restored.restore(&first.checkpoint().unwrap());
    let lost = processed(&restored, one(root(2, 0)), 3);
    assert_eq!(facts_in(&lost).late_prices.len(), 1);
    restored.discard(&lost.origin.id);
    assert_eq!(facts_in(&run(&restored, one(root(2, 0)), 4)).late_prices.len(), 1, "not committed: not priced yet");
}

/// A call whose waiting time is over is counted as unpriced; a call without any ancestor, or with a model that is not
/// listed, is unpriced at once.
#[test]
fn waiting_ends() {
    let (cost, meter) = metered();
    run(&cost, one(child(3, 2)), 1);
    cost.tick(UnixNanos(1_795_000_500_000_000_000));
    assert!(!meter.render().contains("tollgate_cost_unpriced_total{"));
    cost.tick(UnixNanos(1_795_000_700_000_000_000));
    assert_shows(&meter, "reason=\"no_model\",nearest=\"\"} 1");
    assert_shows(&meter, "tollgate_cost_calls_total{status=\"unpriced\"} 1");
    assert!(facts_in(&run(&cost, one(root(2, 0)), 2)).late_prices.is_empty());
    assert_eq!(status(&run(&cost, one(child(9, 0)), 3), 0), UNPRICED);
    let mut unlisted = child(3, 2);
    unlisted["attributes"]["gen_ai.request.model"] = json!("nobody");
    assert_eq!(status(&run(&build(), one(unlisted), 1), 0), UNPRICED);
}

/// A call with a model that several providers list, whose provider never arrived, is reported as ambiguous: no unknown
/// provider was named.
#[test]
fn waiting_for_a_provider_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rates.yaml");
    let rates = r#"models: [{id: m, rates: [{price: {input: "1", output: "2"}}]}]"#;
    let head = "schema: 1\nversion: t\ncurrency: USD\nper_tokens: 1000000\n";
    std::fs::write(&path, format!("{head}providers: {{p: {{{rates}}}, q: {{{rates}}}}}\n")).unwrap();
    let meter = Meter::new();
    let cost = build_with(&configured(|config| config.rates = path.display().to_string()), &meter);
    let mut call = child(3, 2);
    call["attributes"]["gen_ai.request.model"] = json!("m");
    assert_eq!(status(&run(&cost, one(call), 1), 0), DEFERRED);
    cost.tick(UnixNanos(1_795_000_700_000_000_000));
    let text = meter.render();
    assert!(text.contains("model=\"m\",reason=\"ambiguous_provider\",nearest="), "{text}");
    assert!(!text.contains("unknown_provider"), "{text}");
    assert!(text.contains("tollgate_cost_calls_total{status=\"unpriced\"} 1"), "{text}");
}
