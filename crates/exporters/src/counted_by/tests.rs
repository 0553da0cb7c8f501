//! What of a span reaches a back end that counts tokens, by the span's stamps alone.

use bytes::Bytes;
use otlp::{Payload, Signal, json};
use serde_json::{Value as Json, json};

use super::{CountedBy, Stamps};

fn request(signal: Signal, attributes: &Json) -> Bytes {
    let value = |value: &Json| match value {
        Json::String(text) => json!({"stringValue": text}),
        Json::Array(texts) => {
            json!({"arrayValue": {"values": texts.iter().map(|text| json!({"stringValue": text})).collect::<Vec<_>>()}})
        }
        number => json!({"intValue": number.to_string()}),
    };
    let attributes = attributes.as_object().unwrap().iter();
    let item = json!({"name": "chat", "attributes": attributes.map(|(key, one)| json!({"key": key, "value": value(one)}))
        .collect::<Vec<_>>()});
    let whole = match signal {
        Signal::Logs => {
            json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"attributes": item["attributes"]}]}]}]})
        }
        _ => json!({"resourceSpans": [{"scopeSpans": [{"spans": [item]}]}]}),
    };
    json::decode(signal, whole.to_string().as_bytes()).unwrap().into()
}

/// The span's attributes below `gen_ai.` and `tollgate.reported.` as the back end gets them.
fn sent(back_end: CountedBy, stamps: &Json) -> Json {
    let mut attributes = json!({"gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 11, "gen_ai.usage.cache_hit_ratio": 1});
    attributes.as_object_mut().unwrap().extend(stamps.as_object().unwrap().clone());
    let sent = back_end.adjust(Stamps::All, Signal::Traces, request(Signal::Traces, &attributes));
    let payload = Payload::parse(Signal::Traces, sent).unwrap_or_else(|error| panic!("{}", error.message));
    let shown = |key: &str| key.starts_with("gen_ai.") || key.starts_with("tollgate.reported.");
    let attributes = payload.items().flat_map(|span| payload.attributes(span)).filter(|one| shown(one.key));
    let pair = |one: otlp::Attribute<'_>| {
        let number = one.value.as_count().map(Json::from);
        (one.key.to_owned(), number.unwrap_or_else(|| one.value.as_str().unwrap().into()))
    };
    attributes.map(pair).collect::<serde_json::Map<_, _>>().into()
}

const WHOLE: &str = r#"{"gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 30,
    "gen_ai.usage.output_tokens": 11, "gen_ai.usage.cache_hit_ratio": 1}"#;

/// A call keeps everything, and so does a span whose call is charged on its log record.
#[test]
fn a_call_is_sent_as_it_is() {
    let whole: Json = serde_json::from_str(WHOLE).unwrap();
    for stamps in [
        json!({}),
        json!({"tollgate.cost.status": "priced"}),
        json!({"tollgate.cost.status": "unpriced"}),
        json!({"tollgate.cost.status": "deferred"}),
        json!({"tollgate.cost.status": "not_counted", "tollgate.cost.flags": ["on_log"]}),
    ] {
        for back_end in [CountedBy::Honeycomb, CountedBy::Signoz, CountedBy::Langfuse, CountedBy::None] {
            assert_eq!(sent(back_end, &stamps), whole, "{back_end:?} {stamps}");
        }
    }
    assert_eq!(sent(CountedBy::None, &json!({"tollgate.cost.status": "included"})), whole);
}

/// Of copies, sums and corrections of unknown size only what the back end counts moves, by its own list.
#[test]
fn what_would_be_counted_twice_moves() {
    for stamps in [
        json!({"tollgate.cost.status": "included"}),
        json!({"tollgate.cost.status": "not_counted", "tollgate.cost.flags": ["late_copy"]}),
        json!({"tollgate.cost.status": "correction"}),
        json!({"tollgate.cost.status": "correction", "tollgate.cost.flags": ["net"], "tollgate.usage.input": 1}),
    ] {
        let moved = json!({"gen_ai.request.model": "gpt-4o", "tollgate.reported.gen_ai.usage.input_tokens": 30,
            "tollgate.reported.gen_ai.usage.output_tokens": 11, "gen_ai.usage.cache_hit_ratio": 1});
        assert_eq!(sent(CountedBy::Honeycomb, &stamps), moved, "{stamps}");
        assert_eq!(sent(CountedBy::Signoz, &stamps), moved, "{stamps}: the model stays, boards group by it");
        let langfuse = sent(CountedBy::Langfuse, &stamps);
        assert_eq!(langfuse["tollgate.reported.gen_ai.usage.cache_hit_ratio"], 1, "Langfuse reads it as tokens");
    }
}

/// A span that is charged a part shows the tokens of the part, input with cached tokens.
#[test]
fn a_part_is_sent_as_a_part() {
    let part = json!({"tollgate.usage.input": 4, "tollgate.usage.cache_read": 2, "tollgate.usage.cache_write_5m": 0,
        "tollgate.usage.cache_write_1h": 1, "tollgate.usage.output": 3});
    for (status, flag) in [("priced", "remainder"), ("correction", "grown")] {
        let mut stamps = part.clone();
        stamps["tollgate.cost.status"] = status.into();
        stamps["tollgate.cost.flags"] = json!([flag]);
        let sent = sent(CountedBy::Signoz, &stamps);
        assert_eq!(sent["gen_ai.usage.input_tokens"], 7, "{sent}");
        assert_eq!(sent["gen_ai.usage.output_tokens"], 3, "{sent}");
        assert_eq!(sent["gen_ai.request.model"], "gpt-4o", "its tokens need a price");
    }
}

/// SigNoz counts a call by its requested model, so a call that names only the answering one gets that.
#[test]
fn signoz_learns_the_model() {
    let call = json!({"tollgate.cost.status": "priced", "gen_ai.response.model": "gpt-4o-2024", "gen_ai.usage.input_tokens": 1});
    let sent = CountedBy::Signoz.adjust(Stamps::All, Signal::Traces, request(Signal::Traces, &call));
    let payload = Payload::parse(Signal::Traces, sent).unwrap_or_else(|error| panic!("{}", error.message));
    let span = payload.items().next().unwrap();
    assert_eq!(payload.get_str(span, "gen_ai.request.model"), Some("gpt-4o-2024"));
}

/// `essential` keeps what opens content, finds a run and adds up cost, on spans and log records.
#[test]
fn stamps_can_be_left_out() {
    let item = json!({"tollgate.cost.usd": "0.1", "tollgate.cost.rate": "x/y", "tollgate.input.user_tokens": 4,
        "tollgate.run.id": "r", "gen_ai.payload.s3_uri": "s3://a/b", "gen_ai.input.messages_ref": "s3://a/b", "note": "x"});
    for signal in [Signal::Traces, Signal::Logs] {
        let sent = CountedBy::None.adjust(Stamps::Essential, signal, request(signal, &item));
        let payload = Payload::parse(signal, sent).unwrap_or_else(|error| panic!("{}", error.message));
        let keys: Vec<&str> = payload.items().flat_map(|item| payload.attributes(item)).map(|one| one.key).collect();
        assert_eq!(keys, ["tollgate.cost.usd", "tollgate.run.id", "gen_ai.payload.s3_uri", "note"]);
    }
}

/// Log records, other signals and damaged requests pass byte for byte.
#[test]
fn nothing_else_changes() {
    let logs = request(Signal::Logs, &json!({"tollgate.cost.status": "included", "gen_ai.usage.input_tokens": 3}));
    assert_eq!(CountedBy::Honeycomb.adjust(Stamps::All, Signal::Logs, logs.clone()), logs);
    let damaged = Bytes::from_static(b"\x0a\xff\xff\xff\xff\x0f");
    assert_eq!(CountedBy::Honeycomb.adjust(Stamps::All, Signal::Traces, damaged.clone()), damaged);
}
