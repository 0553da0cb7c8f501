//! Tests of verified ids: they replace what clients claim under every key that a dialect reads, on every signal.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::super::tests::build;
use crate::testing::{attributes, origin, received};
use genai::testing::builtin::vocabulary;
use genai::testing::request;
use genai::{OwnerKey, read_facts};
use pipeline::{Batch, BatchOrigin, ClientIdentity, Processor as _, Trust, VerifiedIdentity};
use telemetry::Meter;

fn verified(user: Option<&str>, tenant: Option<&str>, groups: &[&str]) -> ClientIdentity {
    let id = |id: Option<&str>| id.map(Arc::from);
    let groups = groups.iter().map(|group| (*group).into()).collect();
    ClientIdentity::Verified(Arc::new(VerifiedIdentity { user: id(user), tenant: id(tenant), groups }))
}

fn batch(case: &Json, identity: ClientIdentity, trust: Trust) -> Batch {
    Batch::new(Arc::new(BatchOrigin { identity, trust, ..origin() }), request::payload(case))
}

/// The first item's attributes after the step, and those of its resource.
fn written(case: &Json, identity: ClientIdentity) -> [Map<String, Json>; 2] {
    let mut batch = batch(case, identity, Trust::ThirdParty);
    build(&Meter::new()).process(&mut batch).unwrap();
    let after = received(&batch);
    let item = after.items().next().unwrap();
    [attributes(&after, item), attributes(&after, after.resource(item))]
}

/// Whatever key and signal a client names another user or tenant with, the facts that all later steps read are the
/// verified ones, and the claim stays readable. (Failed while an id in a log record's body came before `user.id`.)
#[test]
fn every_claim_gives_way() {
    let (vocabulary, identity) = (vocabulary(), verified(Some("ann"), Some("corp"), &["dev"]));
    let keys: Vec<(&str, OwnerKey)> = vocabulary.owner_keys().collect();
    assert!(keys.len() > 30 && keys.contains(&("user.id", OwnerKey::User)), "{}", keys.len());
    let claims: Map<String, Json> = keys.iter().map(|(key, _)| ((*key).to_owned(), json!("mallory"))).collect();
    let mut tried = 0;
    for (name, case) in request::cases("tests/cases/dialects").into_iter().filter(|(_, case)| case["items"].is_array())
    {
        for on_resource in [false, true] {
            let mut case = case.clone();
            let claim = |node: &mut Json| {
                let mut all = node.as_object().cloned().unwrap_or_default();
                all.extend(claims.clone());
                *node = Json::Object(all);
            };
            match case["items"].as_array_mut() {
                Some(items) if !on_resource => items.iter_mut().for_each(|item| claim(&mut item["attributes"])),
                _ => claim(&mut case["resource"]),
            }
            let mut batch = batch(&case, identity.clone(), Trust::ThirdParty);
            super::write_identity(&mut batch.payload, &verified_ids(&identity), &vocabulary);
            let after = received(&batch);
            for item in read_facts(&vocabulary, &after).items {
                tried += 1;
                let owner = (item.user.as_deref(), item.tenant.as_deref());
                assert_eq!(owner, (Some("ann"), Some("corp")), "{name}, resource: {on_resource}");
                // an item's own claim comes before its resource's
                let claimed = item.claimed_user.as_deref();
                assert!(claimed == Some("mallory") || on_resource && claimed.is_some(), "{name}: {claimed:?}");
                let node = if on_resource { after.resource(item.node) } else { item.node };
                let shown = attributes(&after, node);
                let is_moved = |key: &str| shown[&format!("tollgate.claimed.{key}")] == "mallory";
                assert!(keys.iter().all(|(key, _)| is_moved(key)), "{name}");
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

fn verified_ids(identity: &ClientIdentity) -> Arc<VerifiedIdentity> {
    match identity {
        ClientIdentity::Verified(ids) => Arc::clone(ids),
        _ => panic!("not verified"),
    }
}

fn span(attributes: Json) -> Json {
    json!({ "items": [{ "name": "chat", "trace": 1, "span": 1, "attributes": attributes }] })
}

/// Only what the credential proves is replaced; an equal id is no claim, and a client can't set tollgate's own keys.
#[test]
fn only_what_is_proved_changes() {
    let case =
        span(json!({ "user.id": "bob", "user.email": "ann", "tenant.id": "other", "tollgate.user.groups": ["root"],
        "tollgate.claimed.user.id": "carol", "user_id": 7 }));
    let [own, _] = written(&case, verified(Some("ann"), None, &[]));
    assert_eq!(own["user.id"], "ann");
    assert_eq!((&own["tollgate.claimed.user.id"], &own["tollgate.claimed.user_id"]), (&json!("bob"), &json!(7)));
    assert_eq!((&own["user.email"], &own["tenant.id"]), (&json!("ann"), &json!("other")));
    assert!(!own.contains_key("tollgate.user.groups") && !own.contains_key("user_id"));
    let [own, _] = written(&case, verified(None, Some("corp"), &["dev", "ops"]));
    assert_eq!((&own["user.id"], &own["tenant.id"]), (&json!("bob"), &json!("corp")));
    assert_eq!(own["tollgate.user.groups"], json!(["dev", "ops"]));
    let [own, _] = written(&case, ClientIdentity::Unverified);
    assert_eq!((&own["user.id"], own.contains_key("tollgate.user.groups")), (&json!("bob"), false));
    assert!(!own.contains_key("tollgate.claimed.user.id"));
}

/// An id in a body is not copied beside the verified one.
#[test]
fn ids_in_bodies_stay_there() {
    let body =
        json!({ "event": "agent_decision", "session_id": "s", "user_id": "mallory", "tokens_in": 12 }).to_string();
    let case = json!({ "signal": "logs", "items": [{ "body": body }] });
    for (identity, copied) in [(ClientIdentity::Unverified, true), (verified(Some("ann"), None, &[]), false)] {
        let [own, _] = written(&case, identity);
        assert_eq!(own.values().any(|value| value == "mallory"), copied, "{own:?}");
    }
}

/// A worker keeps the ids that an edge wrote, and removes all other stamps.
#[test]
fn a_worker_keeps_what_the_edge_wrote() {
    let case = span(json!({ "user.id": "ann", "tollgate.claimed.user.id": "bob", "tollgate.user.groups": ["dev"],
        "tollgate.identity.verified": "user", "tollgate.cost.usd": "1" }));
    let [own, _] = written(&case, ClientIdentity::WrittenByEdge);
    assert_eq!(own["tollgate.identity.verified"], "user");
    assert_eq!((&own["user.id"], &own["tollgate.claimed.user.id"]), (&json!("ann"), &json!("bob")));
    assert_eq!(own["tollgate.user.groups"], json!(["dev"]));
    assert!(!own.contains_key("tollgate.cost.usd"));
}

/// Claims are counted by kind, after the commit.
#[test]
fn claims_are_counted() {
    let meter = Meter::new();
    let processor = build(&meter);
    let case = span(json!({ "user.id": "bob", "user.email": "bob@example.com", "organization.id": "other" }));
    let mut batch = batch(&case, verified(Some("ann"), Some("corp"), &[]), Trust::ThirdParty);
    processor.process(&mut batch).unwrap();
    let count = |kind: OwnerKey| {
        let line = format!("tollgate_claimed_identities_total{{processor=\"normalize\",kind=\"{}\"}} ", kind.as_str());
        let text = meter.render();
        text.lines().find_map(|found| found.strip_prefix(&line)?.parse::<u64>().ok()).unwrap_or_default()
    };
    assert_eq!(OwnerKey::ALL.map(count), [0, 0]);
    batch.effects.iter().for_each(|effect| processor.apply(effect));
    assert_eq!(OwnerKey::ALL.map(count), [2, 1]);
    assert!(!meter.render().contains("bob"));
}
