use std::path::Path;

use super::*;
use crate::app::resolve;
use ::config::env::OtherMachineLookup;
use command::tasks::command_services;
use fakes::sink::{Answer, Sink};
use fixtures::until::until;
use otlp::Payload;
use otlp::json::encode;

fn told(meter: &Meter) -> serde_json::Value {
    let (began, now) = (UnixNanos(5_000_000_000), UnixNanos(9_000_000_000));
    let (body, items) = points::build_request(meter, "i1", began, now).unwrap();
    assert_eq!(Payload::parse(Signal::Metrics, body.clone().into()).unwrap().item_count() as u64, items);
    let mut json = String::new();
    encode(Signal::Metrics, &body, &mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// The request must agree with `/metrics`: kinds, labels, totals with a start, and bucket counts that are not
/// cumulative.
#[test]
fn points_say_what_the_page_of_metrics_says() {
    let meter = Meter::new();
    meter.counter(&names::RECEIVER_ACCEPTED_SPANS, &[("receiver", "otlp"), ("transport", "grpc")]).increment(7);
    meter.gauge(&names::SPOOL_BYTES, &[]).set(1.5);
    meter.gauge(&names::COST_USD, &[("tenant", "a\"b")]).set(0.25);
    let seconds = meter.histogram(&names::WORK_SECONDS, &[]);
    [0.0005, 0.003, 0.004, 1000.0].into_iter().for_each(|value| seconds.record(value));
    let request = told(&meter);
    let all = &request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    let of = |name: &str| {
        all.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}: {all}"))
    };
    let spans = &of("otelcol_receiver_accepted_spans")["sum"];
    assert_eq!((&spans["isMonotonic"], &spans["aggregationTemporality"]), (&true.into(), &2.into()));
    let point = &spans["dataPoints"][0];
    assert_eq!(
        (&point["asInt"], &point["startTimeUnixNano"], &point["timeUnixNano"]),
        (&"7".into(), &"5000000000".into(), &"9000000000".into())
    );
    assert_eq!(point["attributes"][0]["value"]["stringValue"], "otlp");
    assert_eq!(of("tollgate_spool_bytes")["gauge"]["dataPoints"][0]["asDouble"], 1.5);
    assert_eq!(of("tollgate_spool_bytes")["unit"], "By");
    let cost = &of("tollgate_cost_usd")["sum"];
    assert_eq!((&cost["isMonotonic"], &cost["dataPoints"][0]["asDouble"]), (&true.into(), &0.25.into()));
    assert_eq!(cost["dataPoints"][0]["attributes"][0]["value"]["stringValue"], "a\"b");
    let work = &of("tollgate_work_seconds")["histogram"]["dataPoints"][0];
    assert_eq!(work["count"], "4");
    let counts: Vec<u64> =
        work["bucketCounts"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().parse().unwrap()).collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (work["explicitBounds"].as_array().unwrap().len() + 1, 4));
    assert_eq!((counts[0], counts[2], counts.last()), (1, 2, Some(&1)), "each bucket for itself");
}

fn valid(telemetry: &str) -> Result<(Vec<MetricsReaderSettings>, Vec<String>), String> {
    let text = format!(
        "receivers: {{ otlp: }}\nexporters: {{ debug: {{ trust: internal }} }}\nservice:\n  telemetry: {telemetry}\n  pipelines: {{ logs: {{ receivers: [otlp], exporters: [debug] }} }}\n"
    );
    let read = resolve::resolve_config("t", &text, &OtherMachineLookup, Path::new("/tmp/data"));
    let notes = read.warnings.iter().map(|note| note.path.clone()).collect();
    match read.result {
        Ok((_, valid)) => Ok((valid.own_metrics, notes)),
        Err(problems) => Err(read.source.render(&problems, false)),
    }
}

/// Readers in the Collector's spellings are accepted, others are removed with a note; errors have their position.
#[test]
fn the_collectors_spellings() {
    for otlp in [
        "otlp: { protocol: http/protobuf, endpoint: 'http://127.0.0.1:4318', headers: [{ name: a, value: b }] }",
        "otlp: { protocol: grpc, endpoint: '127.0.0.1:4317', insecure: true, headers: { a: b } }",
        "otlp_http: { endpoint: 'http://127.0.0.1:4318/in/v1/metrics' }",
        "otlp_grpc: { endpoint: 'http://127.0.0.1:4317' }",
    ] {
        let text = format!(
            "{{ metrics: {{ level: detailed, readers: [{{ periodic: {{ interval: 5000, exporter: {{ {otlp} }} }} }}] }} }}"
        );
        let (readings, notes) = valid(&text).unwrap_or_else(|why| panic!("{otlp}: {why}"));
        assert_eq!((readings.len(), readings[0].interval), (1, Duration::from_secs(5)), "{otlp}");
        assert_eq!(matches!(readings[0].exporter, ExporterSettings::Otlp(_)), otlp.contains("grpc"), "{otlp}");
        if let ExporterSettings::OtlpHttp(http) = &readings[0].exporter {
            let path = if otlp.contains("/in/") { "/in/v1/metrics" } else { "/v1/metrics" };
            assert_eq!(http.urls.iter().find(|(signal, _)| *signal == Signal::Metrics).unwrap().1.path(), path);
        }
        assert_eq!(notes, ["service.telemetry.metrics.level"]);
    }
    let (readings, notes) = valid("{ metrics: { readers: [{ pull: { exporter: { prometheus: { port: 8888 } } } }, { periodic: { exporter: { console: {} } } }] } }").unwrap();
    assert!(readings.is_empty());
    assert_eq!(notes, ["service.telemetry.metrics.readers[0]", "service.telemetry.metrics.readers[1]"]);
    let why = valid("{ metrics: { readers: [{ periodic: { interval: 10, exporter: { otlp: { protocol: tcp, endpoint: 'http://a' } } } }, { periodic: { exporter: { otlp: {} } } }] } }").err().unwrap();
    assert!(why.contains("protocol"), "{why}");
    let why =
        valid("{ metrics: { readers: [{ periodic: { interval: 10, exporter: { otlp: {} } } }] } }").err().unwrap();
    assert!(why.contains("at least 100 ms") && why.contains("otlp.endpoint"), "{why}");
    assert!(valid("{ logs: { level: debug } }").unwrap().0.is_empty(), "off unless it is asked for");
}

/// A reader that sends to `sink`, with this clock and these metrics.
fn to(sink: &Sink, clock: Arc<dyn Clock>, meter: &Meter) -> BackgroundTask {
    reader("interval: 60000, timeout: 600000", "protocol: http/protobuf, compression: none", sink, clock, meter)
}

/// The same with these settings of the reader and of its exporter; one counter has a value.
fn reader(times: &str, otlp: &str, sink: &Sink, clock: Arc<dyn Clock>, meter: &Meter) -> BackgroundTask {
    meter.counter(&names::RECEIVER_ACCEPTED_SPANS, &[("receiver", "otlp"), ("transport", "grpc")]).increment(7);
    let text = format!(
        "{{ metrics: {{ readers: [{{ periodic: {{ {times}, exporter: {{ otlp: {{ {otlp}, endpoint: 'http://{}' }} }} }} }}] }} }}",
        sink.address
    );
    let services = SharedServices { clock, meter: meter.clone(), ..command_services(net::ProxyRules::direct()) };
    let deps = ExporterDeps { services, partitioner: Arc::default() };
    build_export_tasks(valid(&text).unwrap().0, &deps).unwrap().remove(0)
}

/// Totals continue over a reload, so instance and start time must not change, or they would be counted twice.
#[tokio::test]
async fn a_reload_is_no_second_instance() {
    let (sink, meter) = (Sink::new(None, []).await, Meter::new());
    let clock = kernel::clock::ManualClock::at(UnixNanos(7_000_000_000));
    let mut told = Vec::new();
    for _ in 0..2 {
        (to(&sink, clock.clone(), &meter).run)(watch::channel(true).1).await;
        let (seen, mut json) = (sink.seen(), String::new());
        encode(Signal::Metrics, &seen[0].body, &mut json).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let all = &json["resourceMetrics"][0];
        let sums = all["scopeMetrics"][0]["metrics"].as_array().unwrap();
        let spans = sums.iter().find(|one| one["name"] == "otelcol_receiver_accepted_spans").unwrap();
        told.push((all["resource"].clone(), spans["sum"]["dataPoints"][0]["startTimeUnixNano"].clone()));
        clock.advance(Duration::from_secs(3600));
    }
    assert_eq!(told[0], told[1]);
    assert!(told[0].0.to_string().contains("service.instance.id"), "{}", told[0].0);
}

/// A hanging back end must not delay a shutdown or reload by more than two seconds.
#[tokio::test]
async fn a_back_end_that_hangs_holds_up_no_end() {
    let (sink, meter) = (Sink::new(None, [Answer { hang: true, ..Answer::http(200) }]).await, Meter::new());
    let clock = kernel::clock::ManualClock::at(UnixNanos(7_000_000_000));
    let own = to(&sink, clock.clone(), &meter);
    let asked = async {
        until(|| !sink.seen().is_empty()).await;
        clock.advance(SHUTDOWN_GRACE);
    };
    let both = async { tokio::join!((own.run)(watch::channel(true).1), asked) };
    assert!(tokio::time::timeout(Duration::from_secs(60), both).await.is_ok(), "it waits for the back end");
}

/// A real receiver gets the metrics at each interval and once more at the end; a refusal is counted and changes
/// nothing.
#[tokio::test]
async fn exports_reach_a_receiver() {
    for (status, outcome) in [(200, "sent"), (503, "failed")] {
        let sink = Sink::new(None, std::iter::repeat_n(Answer::http(status), 100)).await;
        let (clock, meter) = (Arc::new(kernel::clock::SystemClock::new()), Meter::new());
        let own = reader("interval: 100", "headers: { x-key: k }", &sink, clock, &meter);
        let (stop, stopped) = watch::channel(false);
        let count = || {
            let name = format!("tollgate_own_metrics_exports_total{{outcome=\"{outcome}\"}} ");
            let value = |line: &str| line.strip_prefix(&name)?.parse::<u64>().ok();
            meter.render().lines().find_map(value).unwrap_or(0)
        };
        let counted = async {
            until(|| count() >= 2).await;
            stop.send_replace(true);
        };
        tokio::join!((own.run)(stopped), counted);
        let seen = sink.seen();
        assert!(seen.len() >= 3 && count() >= 3, "two at intervals, one at the end: {}", seen.len());
        assert!(seen.iter().all(|one| one.uri.path() == "/v1/metrics" && one.header("x-key") == Some("k")));
    }
}

/// The same request over gRPC: method, frame, and the meaning of its status.
#[tokio::test]
async fn exports_go_over_grpc_too() {
    for (answer, outcome) in [(Answer::grpc(0, b""), "sent"), (Answer::grpc_failure(14), "failed")] {
        let (sink, meter) = (Sink::new(None, [answer]).await, Meter::new());
        let clock = kernel::clock::ManualClock::at(UnixNanos(7_000_000_000));
        let own = reader("interval: 60000, timeout: 600000", "protocol: grpc, compression: none", &sink, clock, &meter);
        (own.run)(watch::channel(true).1).await;
        let (seen, mut json) = (sink.seen(), String::new());
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].uri.path(), "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
        assert_eq!(seen[0].header("content-type"), Some("application/grpc"));
        encode(Signal::Metrics, &seen[0].body[5..], &mut json).unwrap();
        assert!(json.contains("otelcol_receiver_accepted_spans"), "{json}");
        let line = format!("tollgate_own_metrics_exports_total{{outcome=\"{outcome}\"}} 1\n");
        assert!(meter.render().contains(&line), "{}", meter.render());
    }
}
