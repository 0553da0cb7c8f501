//! Tests of which texts are sent to the recogniser, and of texts with and without an answer.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::*;
use crate::redact::config::RedactMode;
use otlp::OwnedValue;
use pipeline::Reason;
use recogniser::{OnRecogniserError, RecogniserAnswers, TextRecogniser};
use redaction::recognised::EntityHit;

/// Reports each `Zqx …` up to the end of the next word as a name; does not answer texts with `silence`.
struct Fake {
    rule: usize,
    asked: Mutex<Vec<Vec<String>>>,
}

impl TextRecogniser for Fake {
    fn recognise(&self, _: Arc<str>, texts: Vec<Arc<str>>) -> BoxFuture<'static, RecogniserAnswers> {
        self.asked.lock().push(texts.iter().map(|text| text.to_string()).collect());
        let named = |text: &str| {
            let word = |at: usize| text[at + 4..].find([' ', '"', '.']).map_or(text.len(), |end| at + 4 + end);
            text.match_indices("Zqx ").map(|(at, _)| EntityHit { range: at..word(at), rule: self.rule }).collect()
        };
        let answered = texts.iter().filter(|text| !text.contains("silence"));
        let answers = RecogniserAnswers(answered.map(|text| (Arc::clone(text), named(text))).collect());
        Box::pin(async move { answers })
    }
}

fn config(change: impl FnOnce(&mut recogniser::Config)) -> RedactConfig {
    let mut recogniser = recogniser::Config {
        endpoint: "http://127.0.0.1:1".to_owned(),
        trust: Some(Trust::Internal),
        ..recogniser::Config::default()
    };
    change(&mut recogniser);
    RedactConfig { recogniser: Some(recogniser), ..RedactConfig::default() }
}

fn asking(config: &RedactConfig, meter: &Meter) -> (RedactProcessor, Arc<Fake>) {
    let redact = processor(config, meter);
    let rule = redact.settings.detector.rule_index("recogniser_person").expect("rule");
    let fake = Arc::new(Fake { rule, asked: Mutex::default() });
    (redact.with_recogniser(fake.clone(), meter), fake)
}

fn batch(signal: Signal, wire: Vec<u8>, content: ContentState) -> Batch {
    let mut batch = crate::testing::batch(Payload::parse(signal, Bytes::from(wire)).expect("payload"));
    batch.clearance.content = content;
    batch
}

/// Asks the recogniser, then processes the batch.
fn through(redact: &RedactProcessor, batch: &mut Batch) -> Result<(), Reason> {
    if let Some(inquiry) = redact.inquire(batch) {
        batch.answer = Some(inquiry.now_or_never().expect("at once")?);
    }
    redact.process(batch)
}

fn texts_after(redact: &RedactProcessor, pairs: &[(&str, &str)]) -> Vec<String> {
    let wire = span_with(pairs.iter().map(|(key, value)| text(key, value)).collect());
    let mut batch = batch(Signal::Traces, wire, ContentState::Stripped);
    through(redact, &mut batch).expect("processed");
    let item = batch.payload.items().next().expect("span");
    pairs.iter().map(|(key, _)| batch.payload.get_str(item, key).unwrap_or("gone").to_owned()).collect()
}

/// Texts that stay are sent, each once; ids, labels, versions, credentials, single words and numbers are not.
#[test]
fn only_texts_that_stay_are_sent() {
    let (redact, fake) = asking(&config(|_| {}), &Meter::new());
    let kept = texts_after(
        &redact,
        &[
            ("note", "met Zqx Roe today"),
            ("again", "met Zqx Roe today"),
            ("foreign", "李雷"),
            ("error.message", "Zqx Roe failed"),
            ("user.id", "Zqx Roe"),
            ("session.id", "a b"),
            ("x.authorization", "Zqx Roe"),
            ("some.version", "v 1 Zqx Roe"),
            ("gen_ai.request.model", "the Zqx model"),
            ("word", "Zqx"),
            ("when", "2026-01-01 10:00:00"),
            ("list", "1 2 3"),
            ("empty", ""),
        ],
    );
    assert_eq!(kept[..4], ["met [PERSON] today", "met [PERSON] today", "李雷", "[PERSON] failed"]);
    assert_eq!(kept[6..], ["gone", "v 1 Zqx Roe", "the Zqx model", "Zqx", "2026-01-01 10:00:00", "1 2 3", ""]);
    let asked = fake.asked.lock();
    assert_eq!(*asked, [["met Zqx Roe today", "李雷", "Zqx Roe failed"]]);
}

/// Nested values and keys, bytes and status messages are asked about like values. Entries that are removed are not
/// sent, nor are span and event names, by which dashboards group.
#[test]
fn every_place_is_asked_about() {
    let (redact, fake) = asking(&config(|_| {}), &Meter::new());
    let inner = vec![
        text("inside", "it is Zqx One here"),
        kv("cookie", map(vec![text("deep", "gone with Zqx Two")])),
        text("Zqx Three wrote", "x"),
    ];
    let wire = span_with(vec![
        kv("map", map(inner)),
        kv("list", list_of(Value::StringValue("list of Zqx Four".to_owned()))),
        kv("bytes", Value::BytesValue(b"bytes of Zqx Five".to_vec())),
    ]);
    let mut request = ExportTraceServiceRequest::decode(&wire[..]).expect("request");
    let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
    span.name = "chat Zqx Six".to_owned();
    span.status = Some(opentelemetry_proto::tonic::trace::v1::Status { message: "no Zqx Seven".to_owned(), code: 2 });
    span.trace_state = "a b Zqx=Eight".to_owned();
    let mut batch = batch(Signal::Traces, request.encode_to_vec(), ContentState::Stripped);
    through(&redact, &mut batch).expect("processed");
    let mut asked = fake.asked.lock()[0].clone();
    asked.sort();
    let wanted = ["Zqx Three wrote", "bytes of Zqx Five", "it is Zqx One here", "list of Zqx Four", "no Zqx Seven"];
    assert_eq!(asked, wanted);
    let after = batch.payload.encode(UnknownFields::Drop).expect("encoded").bytes;
    let after = String::from_utf8_lossy(&after).into_owned();
    for gone in ["One", "Two", "Three", "Four", "Five", "Seven"] {
        assert!(!after.contains(&format!("Zqx {gone}")), "{gone}: {after}");
    }
}

/// With `hold` a text without an answer holds the batch back; with `unscanned` only the text becomes `[UNSCANNED]`.
#[test]
fn no_answer_is_no_pass() {
    let wire = || span_with(vec![text("note", "silence of Zqx Roe"), text("other", "met Zqx Roe today")]);
    let meter = Meter::new();
    let (redact, _) = asking(&config(|_| {}), &meter);
    let mut held = batch(Signal::Traces, wire(), ContentState::Stripped);
    assert_eq!(through(&redact, &mut held), Err(Reason::RecogniserUnavailable));
    assert!(meter.render().contains("tollgate_recogniser_unanswered_requests_total{processor=\"redact\"} 1"));
    let (redact, _) = asking(&config(|config| config.on_error = OnRecogniserError::Unscanned), &meter);
    let kept = texts_after(&redact, &[("note", "silence of Zqx Roe"), ("other", "met Zqx Roe today")]);
    assert_eq!(kept, ["[UNSCANNED]", "met [PERSON] today"]);
    assert!(meter.render().contains("tollgate_recogniser_unscanned_texts_total{processor=\"redact\"} 1"));
}

/// A batch processed without any answer (no recogniser, or during the search for a poisonous item) does not pass texts
/// that should be asked about.
#[test]
fn without_anybody_to_ask_nothing_passes() {
    for with_fake in [true, false] {
        let meter = Meter::new();
        let redact = if with_fake { asking(&config(|_| {}), &meter).0 } else { processor(&config(|_| {}), &meter) };
        let mut batch = batch(
            Signal::Traces,
            span_with(vec![text("note", "met Zqx Roe"), text("id", "x")]),
            ContentState::Stripped,
        );
        redact.process(&mut batch).expect("processed");
        let item = batch.payload.items().next().expect("span");
        assert_eq!(batch.payload.get_str(item, "note"), Some("[UNSCANNED]"));
        assert_eq!(batch.payload.get_str(item, "id"), Some("x"));
    }
}

/// A text over the size limit is not sent, delays nothing, and does not stay.
#[test]
fn texts_beyond_the_bound_become_unscanned() {
    let (redact, fake) = asking(&config(|config| config.max_text_bytes = config::ByteSize(1024)), &Meter::new());
    let long = "a b ".repeat(300);
    assert_eq!(texts_after(&redact, &[("long", &long), ("short", "a Zqx b")]), ["[UNSCANNED]", "a [PERSON]"]);
    assert_eq!(fake.asked.lock().concat(), ["a Zqx b"]);
}

/// Listing changes and counts nothing: the batch stays as it was, and the metrics are those of a single pass.
#[test]
fn listing_leaves_no_trace() {
    let meter = Meter::new();
    let (redact, _) = asking(&config(|_| {}), &meter);
    let long = format!("Zqx Roe {}", "y ".repeat(20_000));
    let wire = span_with(vec![text("cookie", "a b"), text("note", &long), text("mail", "me at a@example.com")]);
    let mut batch = batch(Signal::Traces, wire, ContentState::Stripped);
    let state = |batch: &Batch| {
        let mut metrics: Vec<String> = meter.render().lines().map(str::to_owned).collect();
        metrics.sort();
        (batch.payload.encode(UnknownFields::Keep).expect("encoded").bytes, metrics)
    };
    let before = state(&batch);
    let inquiry = redact.inquire(&mut batch).expect("a question");
    assert!(state(&batch) == before);
    batch.answer = Some(inquiry.now_or_never().expect("at once").expect("answered"));
    redact.process(&mut batch).expect("processed");
    let metrics = meter.render();
    for line in ["redact_dropped_attributes_total{signal=\"traces\"} 1", "redact_cut_values_total{signal=\"traces\"} 1"]
    {
        assert!(metrics.contains(&format!("tollgate_{line}")), "{line}");
    }
    assert!(metrics.contains("tollgate_redactions_total{rule=\"recogniser_person\",signal=\"traces\"} 1"), "{metrics}");
}

/// Structure left by the vault step is asked about leaf by leaf, decoded, and stays structure.
#[test]
fn structure_is_asked_about_leaf_by_leaf() {
    let (redact, fake) = asking(&config(|_| {}), &Meter::new());
    let content = r#"[{"role":"user","content":"I saw\nZqx Roe.","n":3}]"#;
    let kept = texts_after(
        &redact,
        &[("gen_ai.operation.name", "chat"), ("gen_ai.request.model", "m"), ("gen_ai.input.messages", content)],
    );
    assert_eq!(kept[2], r#"[{"role":"user","content":"I saw\n[PERSON].","n":3}]"#);
    assert_eq!(fake.asked.lock().concat(), ["I saw\nZqx Roe."]);
}

/// Audit mode delays and changes nothing.
#[test]
fn audit_holds_nothing() {
    let (redact, _) = asking(&RedactConfig { mode: RedactMode::Audit, ..config(|_| {}) }, &Meter::new());
    let kept = texts_after(&redact, &[("note", "silence of Zqx Roe"), ("other", "met Zqx Roe today")]);
    assert_eq!(kept, ["silence of Zqx Roe", "met Zqx Roe today"]);
}

/// The slug of a failure is made from redacted text, without names that only the recogniser finds.
#[test]
fn slugs_know_the_answers() {
    let (redact, _) = asking(&config(|_| {}), &Meter::new());
    let slug = |message: &str| {
        let wire = span_with(vec![text("exception.type", "E"), text("exception.message", message)]);
        let mut batch = batch(Signal::Traces, wire, ContentState::Stripped);
        let item = batch.payload.items().next().expect("span");
        batch.payload.set(item, "error.type", OwnedValue::Str("E".to_owned()));
        through(&redact, &mut batch).expect("processed");
        batch.payload.get_str(item, "exception.slug").expect("slug").to_owned()
    };
    assert_eq!(slug("no Zqx Roe here"), slug("no Zqx Doe here"));
    assert_ne!(slug("no Zqx Roe here"), slug("no Zqx Roe there"));
}

/// A disabled rule, another form and allowed matches apply to the recogniser's findings as to rules.
#[test]
fn options_hold_for_findings() {
    let option = |yaml: &str| {
        let mut config = config(|_| {});
        let options: super::super::RuleOptions = config::load::parse_data("option", yaml).expect("option");
        config.options.insert("recogniser_person".to_owned(), options);
        config
    };
    let (redact, _) = asking(&option("as: pseudonym"), &Meter::new());
    let kept = texts_after(&redact, &[("note", "met Zqx Roe today")]);
    assert!(kept[0].starts_with("met [PERSON:h-") && kept[0].ends_with("] today"), "{kept:?}");
    let (redact, _) = asking(&option("allow: ['Zqx Roe']"), &Meter::new());
    assert_eq!(texts_after(&redact, &[("note", "met Zqx Roe today")]), ["met Zqx Roe today"]);
    assert!(
        RedactConfig { recogniser: None, ..option("as: drop") }.settings().is_err(),
        "no such rule without a recogniser"
    );
}

/// Descriptions and units of metrics are not asked about; attributes of data points are, and keep series apart.
#[test]
fn metrics_are_asked_about_by_their_attributes() {
    let (redact, fake) = asking(&config(|_| {}), &Meter::new());
    let json = serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{
        "name": "m", "description": "counts Zqx Roe", "unit": "of a kind", "gauge": {"dataPoints": [
            {"asInt": "1", "timeUnixNano": "1", "attributes": [{"key": "who", "value": {"stringValue": "by Zqx Roe"}}]}]}}]}]}]});
    let request: ExportMetricsServiceRequest = serde_json::from_value(json).expect("request");
    let mut batch = batch(Signal::Metrics, request.encode_to_vec(), ContentState::Kept);
    through(&redact, &mut batch).expect("processed");
    assert_eq!(fake.asked.lock().concat(), ["by Zqx Roe"]);
    let after = batch.payload.encode(UnknownFields::Drop).expect("encoded").bytes;
    assert!(String::from_utf8_lossy(&after).contains("by [PERSON:h-"));
}
