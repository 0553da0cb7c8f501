//! Tests of pipelines joined by the `forward` connector, in a whole gateway.

use std::fs;
use std::path::Path;

use tollgate::app::resolve;

use super::config::Everything;
use super::{client, gateway};

fn configuration(folder: &Path, behind: &[&str]) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    let pipeline = |receiver: &str, steps: &[&str], exporters: &[&str]| serde_json::json!({ "receivers": [receiver], "processors": steps, "exporters": exporters });
    let changes = serde_json::json!({
        "connectors": { "forward": {} },
        "exporters": {
            "file": null,
            "file/raw": { "path": at("raw.jsonl"), "trust": "internal" },
            "file/out": { "path": at("out.jsonl") },
        },
        "service": { "pipelines": {
            "traces/in": pipeline("otlp", &["normalize"], &["forward", "file/raw"]),
            "traces": pipeline("forward", behind, &["file/out"]),
            "logs": null,
        } },
    });
    gateway::configuration(folder, &changes)
}

/// Items that a pipeline forwards go through the next pipeline's steps once; its own exports do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_goes_on_in_another() {
    let folder = tempfile::tempdir().unwrap();
    let app = gateway::start(&configuration(folder.path(), &["vault", "redact"]), folder.path()).await;
    let http = gateway::address(&app, "otlp http");
    let chat = serde_json::json!({ "gen_ai.operation.name": "chat", "note": "ask jane@example.com",
        "gen_ai.input.messages": r#"[{"role":"user","parts":[{"type":"text","content":"the whole story"}]}]"# });
    client::post_traces(http, &client::span_with("chat m", &chat));
    app.shutdown().await;
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let (raw, out) = (read("raw.jsonl"), read("out.jsonl"));
    assert!(raw.contains("the whole story") && raw.contains("jane@example.com"), "the first one's own exporter");
    assert_eq!((raw.lines().count(), out.lines().count()), (1, 1));
    assert_eq!(out.matches("gen_ai.payload.s3_uri").count(), 1, "{out}");
    assert!(!out.contains("the whole story") && !out.contains("jane@"), "{out}");
}

/// A path through a connector is checked as one pipeline: a problem is reported with the whole path.
#[test]
fn the_whole_way_is_checked() {
    let folder = Path::new("/tmp/data");
    let problems = |behind: &[&str]| {
        let read = resolve::resolve_config("test", &configuration(folder, behind), &Everything, folder);
        read.result.err().map(|problems| read.source.render(&problems, false)).unwrap_or_default()
    };
    assert_eq!(problems(&["vault", "redact"]), "");
    let told = problems(&["vault"]);
    assert!(told.contains("the path otlp → normalize → vault → file/out has no step: redact"), "{told}");
    let told = problems(&["normalize", "vault", "redact"]);
    assert!(told.contains("do the same step"), "{told}");
}
