//! Tests of actions on items and resources, compared with the Collector's behaviour, and of invalid actions.

use serde_json::json;

use super::*;
use crate::testing::batch;
use genai::testing::request;

fn processor(settings: Result<ActionSettings, Vec<FieldProblem>>) -> ActionProcessor {
    ActionProcessor { id: "actions".into(), settings: settings.expect("valid") }
}

fn config(actions: serde_json::Value) -> AttributesConfig {
    serde_json::from_value(json!({ "actions": actions })).expect("readable")
}

/// `insert` keeps an existing value, `update` ignores a missing one, `upsert` sets both, `delete` removes all
/// occurrences; in order, and types stay.
#[test]
fn each_verb_does_what_the_collector_does() {
    let actions = json!([
        { "key": "there", "action": "insert", "value": "new" },
        { "key": "absent", "action": "insert", "value": 7 },
        { "key": "there2", "action": "update", "value": true },
        { "key": "absent2", "action": "update", "value": "new" },
        { "key": "absent3", "action": "upsert", "value": 0.5 },
        { "key": "copy", "action": "upsert", "from_attribute": "number" },
        { "key": "copy2", "action": "upsert", "from_attribute": "nothing" },
        { "key": "gone", "action": "delete" },
    ]);
    let step = processor(config(actions).settings());
    let item = json!({ "name": "a", "trace": 1, "span": 2, "attributes": { "there": "old", "there2": "old", "gone": 1, "number": 3 } });
    let mut batch = batch(request::payload(&json!({ "resource": { "gone": "stays" }, "items": [item.clone(), item] })));
    step.process(&mut batch).expect("never fails");
    let payload = &batch.payload;
    for item in payload.items() {
        let all = crate::testing::attributes(payload, item);
        assert_eq!(
            json!(all),
            json!({ "absent3": 0.5, "absent": 7, "copy": 3, "number": 3, "there2": true, "there": "old" })
        );
    }
    let resource: NodeId = payload.resource(payload.items().next().expect("an item"));
    assert_eq!(payload.get_str(resource, "gone"), Some("stays"), "items alone");
}

/// Attributes stamped by tollgate can be deleted, but not set or copied; all errors are reported at once.
#[test]
fn what_cannot_be_meant_is_refused() {
    let wrong = config(json!([
        { "key": "", "action": "upsert", "value": 1 },
        { "key": "gen_ai.payload.s3_uri", "action": "upsert", "value": "s3://elsewhere" },
        { "key": "a", "action": "insert", "from_attribute": "gen_ai.input.messages_ref" },
        { "key": "a", "action": "insert", "value": 1, "from_attribute": "b" },
        { "key": "a", "action": "update" },
        { "key": "a", "action": "delete", "value": 1 },
        { "key": "tollgate.run.id", "action": "delete" },
    ]));
    let problems = wrong.settings().expect_err("refused");
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "actions[0].key",
            "actions[1].key",
            "actions[2].from_attribute",
            "actions[3].from_attribute",
            "actions[4]",
            "actions[5]"
        ]
    );
    assert!(AttributesConfig::default().settings().is_err());
    assert!(
        serde_json::from_value::<AttributesConfig>(json!({ "actions": [{ "key": "a", "action": "hash" }] })).is_err()
    );
}

/// The actions are applied once to each resource of a request; items stay unchanged.
#[test]
fn resources_alone_are_changed() {
    let config: ResourceConfig = serde_json::from_value(json!({ "attributes": [
        { "key": "deployment.environment.name", "action": "upsert", "value": "prod" },
        { "key": "host.id", "action": "delete" },
    ] }))
    .expect("readable");
    let step = processor(config.settings());
    let group = |name: &str| json!({ "resource": { "service.name": name, "host.id": "h" }, "items": [{ "name": "a", "trace": 1, "span": 2, "attributes": { "host.id": "item's" } }] });
    let mut batch = batch(request::payload(&json!({ "groups": [group("a"), group("b")] })));
    step.process(&mut batch).expect("never fails");
    for item in batch.payload.items() {
        let resource = batch.payload.resource(item);
        assert_eq!(batch.payload.get_str(resource, "deployment.environment.name"), Some("prod"));
        assert!(batch.payload.get(resource, "host.id").is_none());
        assert!(batch.payload.get_str(resource, "service.name").is_some());
        assert_eq!(batch.payload.get_str(item, "host.id"), Some("item's"));
    }
}
