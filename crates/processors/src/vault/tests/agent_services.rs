//! Tests of services that an earlier version knew as agents', and of services that are not declared.

use std::sync::Arc;

use serde_json::json;

use super::super::earlier_agents::EarlierAgents;
use super::super::undeclared_agents::UndeclaredAgents;
use genai::testing::request;
use genai::{EarlierAgentServices, Facts, ItemFacts, ItemRole, ServiceIdentity};
use kernel::pseudonym::{PlainIds, Pseudonymizer};
use kernel::secret::Secret;
use kernel::sha256::Sha256;
use telemetry::Meter;
use telemetry::moved_keys::VaultSummary;

const SHOP: ServiceIdentity<'static> = ServiceIdentity { name: "shop", instance: "" };
const CREW: ServiceIdentity<'static> = ServiceIdentity { name: "unknown_service", instance: "crew-1" };

fn digest(account: &str, service: &ServiceIdentity<'_>) -> [u8; 16] {
    Sha256::short_list(&[account.as_bytes(), service.name.as_bytes(), service.instance.as_bytes()])
}

/// Services as an earlier version wrote them, without accounts in version 2.
fn earlier_effect(version: u8, services: &[(&str, ServiceIdentity<'_>)]) -> Vec<u8> {
    let entry = |(account, service): &(&str, ServiceIdentity<'_>)| {
        let mut entry = [&digest(account, service)[..], &7_u64.to_le_bytes()[..]].concat();
        entry.extend_from_slice(if version == 6 { &[9; 8][..] } else { &[] });
        entry
    };
    [version].into_iter().chain(services.iter().flat_map(entry)).collect()
}

fn earlier_checkpoint(services: &[u8]) -> Vec<u8> {
    let traces = [&[5][..], &[1; 24][..]].concat();
    let labels = [&[4][..], &[1; 36][..]].concat();
    let part = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    [vec![4], part(&traces), part(services), part(&labels)].concat()
}

fn saved(agents: &EarlierAgents) -> Vec<u8> {
    let mut checkpoint = Vec::new();
    agents.save(&mut checkpoint);
    checkpoint
}

/// Must not regress: an upgrade opens nothing. A service of the earlier checkpoint, or of an effect after it, is known
/// in its account, also after the next restart; traces and labels add nothing.
#[test]
fn earlier_services_stay() {
    for version in [6, 2] {
        let upgraded = EarlierAgents::new(false);
        assert!(!upgraded.contains("a", &SHOP), "nothing was restored");
        assert!(upgraded.restore(&earlier_checkpoint(&earlier_effect(version, &[("a", SHOP)]))));
        assert!(upgraded.apply(&earlier_effect(version, &[("b", CREW)])));
        for other in [&[5, 1, 1][..], &[1; 40][..], &[4; 37][..], &[][..]] {
            assert!(!upgraded.apply(other), "not of services");
        }
        let restarted = EarlierAgents::new(false);
        assert!(restarted.restore(&saved(&upgraded)));
        for agents in [&upgraded, &restarted] {
            assert!(agents.contains("a", &SHOP) && agents.contains("b", &CREW), "version {version}");
            assert!(!agents.contains("b", &SHOP) && !agents.contains("a", &CREW), "another account");
        }
    }
}

/// Must not regress: a checkpoint that can't be read is reported, not taken for an empty one.
#[test]
fn damaged_checkpoints_are_reported() {
    let whole = earlier_checkpoint(&earlier_effect(6, &[("a", SHOP)]));
    let services = 1 + 8 + 25 + 8 + 33;
    for damaged in [&[][..], &[3, 0][..], &[4][..], &whole[..services - 1], &earlier_checkpoint(&[7])[..]] {
        assert!(!EarlierAgents::new(false).restore(damaged), "{damaged:?}");
    }
}

/// Must not regress: once the configuration declares agents, earlier services are dropped for good.
#[test]
fn declared_agents_replace_earlier_ones() {
    let agents = EarlierAgents::new(true);
    assert!(agents.restore(&earlier_checkpoint(&earlier_effect(6, &[("a", SHOP)]))));
    assert!(agents.apply(&earlier_effect(6, &[("a", SHOP)])));
    assert!(!agents.contains("a", &SHOP) && saved(&agents).is_empty());
}

fn undeclared(meter: &Meter) -> UndeclaredAgents {
    let ids = PlainIds(Pseudonymizer::new(&Secret::new("k".to_owned())));
    UndeclaredAgents::new("vault".into(), Arc::new(ids), meter)
}

fn shown(meter: &Meter) -> Vec<(String, bool)> {
    let agents = VaultSummary::from_meter(meter).undeclared_agents.into_iter();
    agents.map(|agent| (agent.service, agent.is_closed)).collect()
}

/// Must not regress: an earlier service is named once it sends again, not before.
#[test]
fn earlier_services_are_named() {
    let (meter, earlier) = (Meter::new(), EarlierAgents::new(false));
    let agents = undeclared(&meter);
    earlier.apply(&earlier_effect(6, &[("a", SHOP), ("a", CREW)]));
    agents.observe_earlier(&earlier);
    assert!(shown(&meter).is_empty());
    assert!(earlier.contains("a", &SHOP));
    agents.observe_earlier(&earlier);
    assert_eq!(shown(&meter), [("shop".to_owned(), true)]);
}

fn observe(agents: &UndeclaredAgents, (account, service): (&str, &str), call: ItemRole, of_agent_resource: bool) {
    let case = json!({"resource": {"service.name": service}, "items": [{"name": "x", "trace": 1, "span": 1}]});
    let payload = request::payload(&case);
    let to_item = |node| ItemFacts { node, call, of_agent_resource, ..ItemFacts::default() };
    let facts = Facts { items: payload.items().map(to_item).collect(), ..Facts::default() };
    agents.observe(account, &payload, &facts);
}

/// Must not regress: services of agents' operations are named, if neither the configuration nor the resource says that
/// they are agents'. Model calls alone name none, and neither does a name that is no name.
#[test]
fn undeclared_services_are_named() {
    let meter = Meter::new();
    let agents = undeclared(&meter);
    for _ in 0..2 {
        observe(&agents, ("a", "billing"), ItemRole::Model, false);
        observe(&agents, ("a", "declared"), ItemRole::Agent, true);
        observe(&agents, ("a", "graphs"), ItemRole::Agent, false);
        observe(&agents, ("a", "tools"), ItemRole::Tool, false);
        observe(&agents, ("a", "Maria Huber is ill"), ItemRole::Tool, false);
    }
    let named = ["graphs", "other", "tools"].map(|name| (name.to_owned(), false));
    assert_eq!(shown(&meter), named);
    assert_eq!(VaultSummary::from_meter(&meter).agents_lines, ["vault: { agents: { services: [graphs, tools] } }"]);
    drop(agents);
    let reloaded = undeclared(&meter);
    assert!(shown(&meter).is_empty(), "the new configuration may declare them");
    observe(&reloaded, ("a", "tools"), ItemRole::Tool, false);
    assert_eq!(shown(&meter), [("tools".to_owned(), false)]);
}

/// Must not regress: an account that sends made-up service names hides no service of another account.
#[test]
fn a_flood_hides_no_other_account() {
    let meter = Meter::new();
    let agents = undeclared(&meter);
    (0..1000).for_each(|number| observe(&agents, ("a", &format!("made-up-{number}")), ItemRole::Agent, false));
    observe(&agents, ("b", "graphs"), ItemRole::Agent, false);
    assert!(shown(&meter).contains(&("graphs".to_owned(), false)));
}
