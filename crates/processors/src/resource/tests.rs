//! Tests that actions are applied to resources and to nothing else.

use serde_json::json;

use super::{ResourceConfig, ResourceProcessor};
use crate::testing::batch;
use genai::testing::request;
use pipeline::Processor;

/// The actions are applied once to each resource of a request; items stay unchanged.
#[test]
fn resources_alone_are_changed() {
    let config: ResourceConfig = serde_json::from_value(json!({ "attributes": [
        { "key": "deployment.environment.name", "action": "upsert", "value": "prod" },
        { "key": "host.id", "action": "delete" },
    ] }))
    .expect("readable");
    let step = ResourceProcessor::new("resource".into(), config.settings().expect("valid"));
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
