//! `sample` in a whole gateway: what a back end gets, what the gateway's own sums say, and refused configurations.

use std::path::Path;
use std::time::Duration;

use fakes::sink::{Answer, Sink};
use fixtures::until::until;
use otlp::{Payload, Signal};
use serde_json::{Value, json};
use tollgate::app::resolve;

use super::config::Everything;
use super::{client, gateway};

fn configuration(folder: &Path, endpoint: &str, exporter: &Value) -> String {
    let mut exporter = exporter.clone();
    let own = json!({ "endpoint": endpoint, "compression": "none", "sending_queue": { "batch": { "flush_timeout": "1ms" } } });
    exporter.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    let traces = json!({ "exporters": ["otlp_http"] });
    let changes = json!({
        "exporters": { "file": null, "otlp_http": exporter },
        "service": { "pipelines": { "traces": traces, "logs": null } },
    });
    gateway::configuration(folder, &changes)
}

fn run_of_agent(trace: u32, is_failed: bool) -> String {
    let attributes = json!({ "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 10 });
    let agent = json!({ "gen_ai.operation.name": "invoke_agent" });
    let span = |id: u32, parent: &str, attributes: &Value, status: u32| {
        json!({ "traceId": format!("{trace:032x}"), "spanId": format!("{id:016x}"), "parentSpanId": parent,
            "name": "s", "startTimeUnixNano": "1795000000000000000", "endTimeUnixNano": "1795000001000000000",
            "status": { "code": status }, "attributes": client::attributes(attributes) })
    };
    let status = if is_failed { 2 } else { 1 };
    let spans = [span(1, "", &agent, status), span(2, &format!("{:016x}", 1), &attributes, 0)];
    json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string()
}

/// All items of failed runs arrive, and a weighted share of the others; the gateway's own sums include every run.
#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_gets_the_sample() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::new(None, std::iter::repeat_n(Answer::http(200), 1000)).await;
    let sample = json!({ "sample": { "others": 0.1, "wait": "2s", "weight": "SampleRate" } });
    let at = format!("http://{}", sink.address);
    let app = gateway::start(&configuration(folder.path(), &at, &sample), folder.path()).await;
    let otlp = gateway::address(&app, "otlp http");
    (1..101).for_each(|trace| client::post_traces(otlp, &run_of_agent(trace, trace <= 10)));
    let weights = || {
        let requests = sink.requests();
        let payloads = requests.iter().map(|seen| Payload::parse(Signal::Traces, seen.body.clone()).unwrap());
        let weight = |payload: &Payload, span| payload.get(span, "SampleRate").map(|rate| rate.as_count().unwrap());
        let weights =
            payloads.flat_map(|payload| payload.items().map(|span| weight(&payload, span)).collect::<Vec<_>>());
        weights.collect::<Vec<Option<i64>>>()
    };
    let admin = gateway::address(&app, "admin");
    let metric = |decision: &str| {
        let answer = client::ask(admin, "GET /metrics", "", b"");
        let start = format!("tollgate_exporter_sampled_items_total{{exporter=\"otlp_http\",decision=\"{decision}\"}} ");
        answer.lines().find_map(|line| line.strip_prefix(&start)).map_or(0, |count| count.parse::<usize>().unwrap())
    };
    until(|| metric("kept") + metric("share") + metric("left_out") == 200).await;
    let share = metric("share");
    until(|| weights().len() == 20 + share).await;
    assert_eq!((metric("kept"), weights().iter().filter(|weight| weight.is_none()).count()), (20, 20));
    assert_eq!(weights().iter().filter(|weight| **weight == Some(10)).count(), share);
    assert!(share < 100 && share.is_multiple_of(2), "{share} of 180, a tenth, in whole runs");
    let (_, runs) = client::status_and_body(&client::ask(admin, "GET /api/sums", "", b""));
    assert!(runs.contains("100"), "{runs}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(weights().len(), 20 + share, "nothing comes twice");
    app.shutdown().await;
}

/// An exporter whose back end or settings can't sample is refused with the reason.
#[test]
fn what_cannot_sample_is_refused() {
    let folder = Path::new("/tmp/data");
    let problems = |exporter: Value, changes: &Value| {
        let text = configuration(folder, "http://collector:4318", &exporter);
        let mut whole: Value = serde_json::from_str(&text).unwrap();
        if let Some(steps) = changes.as_array() {
            whole["service"]["pipelines"]["traces"]["processors"] = json!(steps);
            whole["processors"].as_object_mut().unwrap().retain(|name, _| steps.iter().any(|step| step == name));
        }
        let read = resolve::resolve_config("test", &whole.to_string(), &Everything, folder);
        read.result.err().map(|problems| read.source.render(&problems, false)).unwrap_or_default()
    };
    let with = |sample: Value| json!({ "sample": sample, "trust": "third_party" });
    let problems_with_weight = |mut sample: Value| {
        sample["weight"] = json!("SampleRate");
        problems(with(sample), &Value::Null)
    };
    assert_eq!(
        problems_with_weight(json!({ "keep": ["errors", { "cost_above": "1 USD" }, { "slower_than": "10m" }] })),
        ""
    );
    assert_eq!(problems_with_weight(json!({ "others": 0.33 })), "");
    for (rendered, expected) in [
        (problems(with(json!({})), &Value::Null), "is only for back ends that multiply by `SampleRate`"),
        (problems_with_weight(json!({ "others": 0.4 })), "must be 1 divided by a whole number"),
        (problems_with_weight(json!({ "others": -1 })), "must be 1 divided by a whole number"),
        (problems_with_weight(json!({ "others": 2 })), "must be 1 divided by a whole number"),
        (problems_with_weight(json!({ "wait": "0s" })), "must be more than zero"),
        (problems_with_weight(json!({ "keep": [{ "cost_above": "1 EUR" }] })), "sample.keep.0.cost_above"),
        (problems_with_weight(json!({ "keep": ["everything"] })), "expected one of: errors"),
        (
            problems(json!({ "ack": "offered", "sample": { "weight": "SampleRate" } }), &Value::Null),
            "requires `ack: spooled`",
        ),
        (
            problems(json!({ "ordered": true, "sample": { "weight": "SampleRate" } }), &Value::Null),
            "combined with `ordered`",
        ),
        (problems(with(json!({ "weight": "SampleRate" })), &json!(["vault", "redact"])), "need the steps cost, runs"),
        (
            problems(with(json!({ "weight": "SampleRate", "keep": ["errors"] })), &json!(["vault", "redact"])),
            "need the steps runs,",
        ),
    ] {
        assert!(rendered.contains(expected), "{expected}: {rendered}");
    }
    let text = configuration(folder, "http://c:4318", &json!({ "sample": { "wait": "30s", "weight": "SampleRate" } }));
    let warnings = resolve::resolve_config("test", &text, &Everything, folder).warnings;
    assert!(warnings.iter().any(|it| it.message.contains("not longer than `settle`")), "{warnings:?}");
    let file = gateway::configuration(folder, &json!({ "exporters": { "file": { "sample": {} } } }));
    let read = resolve::resolve_config("test", &file, &Everything, folder);
    let rendered = read.result.err().map(|problems| read.source.render(&problems, false)).unwrap();
    assert!(rendered.contains("sample"), "the file exporter has no `sample`: {rendered}");
}
