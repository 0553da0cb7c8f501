//! The role of a configuration, by which replicas are compared.

use crate::app::resolve;
use config::env::ProcessLookup;

/// A gateway, the two parts of a fleet, and a worker that writes on to another topic have their roles.
#[test]
fn a_configuration_has_a_role() {
    let keys = format!("keys: ['{}']", "01".repeat(32));
    let otlp = "otlp: { protocols: { http: { endpoint: '127.0.0.1:0' } } }";
    let reads = format!("kafka: {{ brokers: ['127.0.0.1:1'], {keys} }}");
    let writes = format!("kafka: {{ brokers: ['127.0.0.1:1'], topic: next, {keys} }}");
    let folder = tempfile::tempdir().unwrap();
    for (receiver, exporter, role) in [
        (otlp, "debug: { trust: internal }", "gateway"),
        (otlp, &*writes, "edge"),
        (&*reads, "debug: { trust: internal }", "worker"),
        (&*reads, &*writes, "worker"),
    ] {
        let name = |component: &str| component.split(':').next().unwrap().to_owned();
        let text = format!(
            "receivers: {{ {receiver} }}\nexporters: {{ {exporter} }}\nspool: {{ directory: '{}' }}\nservice:\n  \
             pipelines: {{ traces: {{ receivers: [{}], exporters: [{}] }} }}\n",
            folder.path().display(),
            name(receiver),
            name(exporter),
        );
        let read = resolve::resolve_config("t.yaml", &text, &ProcessLookup, folder.path());
        let (_, valid) = read.result.map_err(|problems| read.source.render(&problems, false)).unwrap();
        assert_eq!(valid.fleet_role(), role, "{text}");
    }
}
