//! Tests of the debug exporter.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::AsyncWrite;

use super::{DebugExporter, DebugExporterSettings, DebugOutput, Verbosity, with_sink};
use config::ComponentId;
use kernel::clock::SystemClock;
use otlp::{MAX_DEPTH, Signal, json};
use pipeline::{ExportRequest, Exporter, Outcome, Reason, Trust};

/// Records written text, or fails with the given kind of error.
#[derive(Clone, Default)]
struct Kept {
    text: Arc<Mutex<Vec<u8>>>,
    fails: Arc<Mutex<Option<io::ErrorKind>>>,
}

impl AsyncWrite for Kept {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(kind) = *self.fails.lock() {
            return Poll::Ready(Err(kind.into()));
        }
        self.text.lock().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn exporter(verbosity: Verbosity) -> (DebugExporter, Kept) {
    let kept = Kept::default();
    let open_with = Some("--store v --identity k".to_owned());
    let settings = DebugExporterSettings { verbosity, trust: Trust::ThirdParty, open_with };
    let sink: DebugOutput = Box::new(kept.clone());
    (with_sink(&ComponentId::parse("debug").unwrap(), settings, Some(sink), Arc::new(SystemClock::new())), kept)
}

fn request(signal: Signal, text: &str, items: u64) -> ExportRequest {
    let body = json::decode(signal, text.as_bytes()).unwrap();
    ExportRequest { signal, account: "default".into(), body: body.into(), items }
}

fn recorded(signal: Signal, name: &str, items: u64) -> ExportRequest {
    let path = fixtures::at("tests/recordings").join(name);
    let bytes = std::fs::read(&path).unwrap();
    if name.ends_with(".json") {
        return request(signal, std::str::from_utf8(&bytes).unwrap(), items);
    }
    ExportRequest { signal, account: "default".into(), body: bytes.into(), items }
}

async fn printed(verbosity: Verbosity, request: &ExportRequest) -> String {
    let (exporter, kept) = exporter(verbosity);
    assert_eq!(exporter.send(request).await, Outcome::Accepted);
    String::from_utf8(kept.text.lock().clone()).unwrap()
}

fn log(body: &str) -> ExportRequest {
    request(Signal::Logs, &format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{body}]}}]}}]}}"#), 1)
}

/// Traces, logs and metrics of real clients at each verbosity: spans, bodies, attributes, points and buckets.
#[tokio::test]
async fn real_requests() {
    let traces = recorded(Signal::Traces, "claude-code/json/004-traces.json", 2);
    insta::assert_snapshot!("traces_basic", printed(Verbosity::Basic, &traces).await);
    insta::assert_snapshot!("traces_normal", printed(Verbosity::Normal, &traces).await);
    insta::assert_snapshot!("traces_detailed", printed(Verbosity::Detailed, &traces).await);
    let logs = recorded(Signal::Logs, "claude-code/json/003-logs.json", 3);
    insta::assert_snapshot!("logs_normal", printed(Verbosity::Normal, &logs).await);
    insta::assert_snapshot!("logs_detailed", printed(Verbosity::Detailed, &logs).await);
    let metrics = recorded(Signal::Metrics, "semconv/anthropic/008-metrics.pb", 7);
    insta::assert_snapshot!("metrics_normal", printed(Verbosity::Normal, &metrics).await);
    insta::assert_snapshot!("metrics_detailed", printed(Verbosity::Detailed, &metrics).await);
}

fn span(name: &str, attributes: &str) -> String {
    format!(
        r#"{{"name":"{name}","traceId":"00000000000000000000000000000001","spanId":"0000000000000002","startTimeUnixNano":"1000000000","endTimeUnixNano":"2500000000","attributes":[{attributes}]}}"#
    )
}

fn traces(spans: &[String]) -> ExportRequest {
    let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","));
    request(Signal::Traces, &text, spans.len() as u64)
}

/// `spans` shows a span's key figures, the command that opens its content, and redacted texts, but no other texts.
#[tokio::test]
async fn spans_for_people() {
    let attributes = r#"{"key":"gen_ai.usage.input_tokens","value":{"intValue":"12"}},{"key":"gen_ai.usage.output_tokens","value":{"intValue":"3"}},
        {"key":"tollgate.cost.usd","value":{"doubleValue":0.25}},{"key":"note","value":{"stringValue":"of [EMAIL] and [PHONE] [CONTENT]"}},
        {"key":"other","value":{"stringValue":"left [CONTENT] as it is"}},
        {"key":"gen_ai.payload.s3_uri","value":{"stringValue":"file:///a/b.agev"}},
        {"key":"gen_ai.payload.range","value":{"stringValue":"bytes=0-9"}}"#;
    let text = printed(Verbosity::Spans, &traces(&[span("chat", attributes)])).await;
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "  chat  1.500 s  tokens 12 in, 3 out  0.25 USD  2 redacted",
            "    trace 00000000000000000000000000000001 span 0000000000000002",
            "    note: of [EMAIL] and [PHONE] [CONTENT]",
            "    content: tollgate vault get file:///a/b.agev --range bytes=0-9 --store v --identity k",
        ]
    );
}

#[tokio::test]
async fn spans_without_a_price_say_why() {
    let stamp =
        |key: &str, text: &str| format!(r#"{{"key":"tollgate.cost.{key}","value":{{"stringValue":"{text}"}}}}"#);
    for (attributes, wanted) in [
        (stamp("status", "not_counted"), "no price: a copy of a call that is counted elsewhere"),
        (stamp("status", "deferred"), "no price: priced on another span or record of this call"),
        (stamp("status", "unpriced") + "," + &stamp("reason", "unknown_model"), "no price: unknown_model"),
    ] {
        let text = printed(Verbosity::Spans, &traces(&[span("chat", &attributes)])).await;
        assert!(text.contains(&format!("  chat  1.500 s  {wanted}  0 redacted\n")), "{text}");
    }
}

/// Client text never becomes part of the command to be pasted, nor a command for the terminal.
#[tokio::test]
async fn spans_hold_no_commands() {
    let attributes = r#"{"key":"gen_ai.payload.s3_uri","value":{"stringValue":"file:///a;reboot"}},
        {"key":"gen_ai.payload.range","value":{"stringValue":"bytes=0-9"}}"#;
    let text = printed(Verbosity::Spans, &traces(&[span("\\u001b[31mred", attributes)])).await;
    assert!(!text.contains("reboot") && text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

/// Spans above the limit are counted, not shown.
#[tokio::test]
async fn spans_are_bounded() {
    let many: Vec<String> = (0..1000).map(|_| span("chat", "")).collect();
    let text = printed(Verbosity::Spans, &traces(&many)).await;
    assert_eq!(text.matches("  chat  ").count(), 20, "{text}");
    assert!(text.contains("980 more not shown: at most 20 spans a second"), "{text}");
    let long = format!("[EMAIL]{}", "é".repeat(1000));
    let texts: Vec<String> =
        (0..9).map(|at| format!(r#"{{"key":"k{at}","value":{{"stringValue":"{long}"}}}}"#)).collect();
    let text = printed(Verbosity::Spans, &traces(&[span("chat", &texts.join(","))])).await;
    let cut: Vec<usize> =
        text.lines().filter(|line| line.contains("[EMAIL]")).map(|line| line.chars().count()).collect();
    assert_eq!(cut, [129; 3], "{text}");
}

/// Every kind of value has a readable form.
#[tokio::test]
async fn values() {
    let request = log(
        r#"{"body":{"kvlistValue":{"values":[{"key":"list","value":{"arrayValue":{"values":[{"intValue":"-1"},{"boolValue":true},{"doubleValue":"NaN"},{}]}}},{"key":"bytes","value":{"bytesValue":"AQI="}},{"key":"none"},{"key":"map","value":{"kvlistValue":{}}},{"key":"list","value":{"arrayValue":{}}}]}}}"#,
    );
    let text = printed(Verbosity::Detailed, &request).await;
    let wanted = r#"body: {list: [-1, true, "NaN", (empty)], bytes: bytes(AQI=), none: (none), map: {}, list: []}"#;
    assert!(text.contains(&wanted.replace("\"NaN\"", "NaN")), "{text}");
}

/// Control characters and direction marks of telemetry are escaped, in keys too, so that the terminal does not
/// interpret them.
#[tokio::test]
async fn terminal_commands_are_escaped() {
    let request = log(
        r#"{"severityText":"\u009b31m","body":{"stringValue":"\u001b[31mred\u202e\udb40\udc41\u0085\u007f\n\"quoted\""},"attributes":[{"key":"\u001b]0;x\u0007","value":{"stringValue":"é"}}]}"#,
    );
    for verbosity in [Verbosity::Normal, Verbosity::Detailed] {
        let text = printed(verbosity, &request).await;
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}') && text.contains("é"), "{text:?}");
        assert!(text.contains(r#""\u001b[31mred\u202e\udb40\udc41\u0085\u007f\n\"quoted\"""#), "{text}");
    }
}

/// Values nested as deep as the receiver accepts are shown without overflowing an ordinary stack.
#[tokio::test]
async fn deep_values() {
    let levels = MAX_DEPTH - 1;
    let body = format!(
        r#"{}{{"intValue":"7"}}{}"#,
        r#"{"kvlistValue":{"values":[{"key":"k","value":"#.repeat(levels),
        "}]}}".repeat(levels)
    );
    let text = printed(Verbosity::Detailed, &log(&format!(r#"{{"body":{body}}}"#))).await;
    assert!(text.contains(&format!("{}7{}", "{k: ".repeat(levels), "}".repeat(levels))), "{text}");
}

/// A closed pipe ends the printing, not the delivery; other errors are retried.
#[tokio::test]
async fn closed_pipe() {
    let (exporter, kept) = exporter(Verbosity::Basic);
    *kept.fails.lock() = Some(io::ErrorKind::StorageFull);
    assert_eq!(exporter.send(&log("{}")).await, Outcome::Retry { after: None, reason: Reason::Unavailable });
    *kept.fails.lock() = Some(io::ErrorKind::BrokenPipe);
    assert_eq!(exporter.send(&log("{}")).await, Outcome::Accepted);
    *kept.fails.lock() = None;
    assert_eq!(exporter.send(&log("{}")).await, Outcome::Accepted);
    assert!(kept.text.lock().is_empty());
}

/// Bytes that can't be decoded as a request are refused and never shown.
#[tokio::test]
async fn not_a_request() {
    let (exporter, kept) = exporter(Verbosity::Normal);
    let request = ExportRequest { signal: Signal::Logs, account: "a".into(), body: vec![0x0b].into(), items: 1 };
    assert_eq!(exporter.send(&request).await, Outcome::Refused { reason: Reason::BadData });
    assert!(kept.text.lock().is_empty());
}
