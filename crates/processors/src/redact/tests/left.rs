//! Tests of structure left by the vault step: redacted leaf by leaf, structure of the same kind, within its cap.

use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::*;

/// A model call's span after the vault step left these attributes.
fn left(attributes: &[KeyValue]) -> Vec<u8> {
    let wire = span_with([&[text("gen_ai.operation.name", "chat")][..], attributes].concat());
    pass_with(by_default(), Signal::Traces, wire, ContentState::Stripped).0
}

/// Structure left by `leave: redacted` is redacted leaf by leaf and stays structure of its kind: messages, tool
/// arguments and results, as JSON text and as maps. Numbers, keys and escaped texts are checked too.
#[test]
fn structure_that_was_left_stays_structure() {
    let messages =
        r#"[{"role":"user","parts":[{"type":"text","content":"mail jane.doe@example.com \u006eow"}]}, {"n": 3}]"#;
    let call = r#"{"to":"jane.doe@example.com","card":4111111111111111,"authorization":"Bearer abc","jane.doe@example.com":1,
        "deep":"{\"mail\":\"jane.doe@example.com\"}","limit":10}"#;
    let result = map(vec![
        text("content", "jane.doe@example.com"),
        kv("card", Value::IntValue(4_111_111_111_111_111)),
        kv("n", Value::IntValue(3)),
    ]);
    let attributes = attributes_of(&left(&[
        text("gen_ai.input.messages", messages),
        text("gen_ai.tool.call.arguments", call),
        kv("gen_ai.tool.call.result", result),
        text("gen_ai.output.messages", "plain jane.doe@example.com"),
    ]));
    let json = |key: &str| -> serde_json::Value {
        match &attributes[key] {
            Value::StringValue(text) => serde_json::from_str(text).expect("JSON"),
            _ => panic!("{key}"),
        }
    };
    assert_eq!(json("gen_ai.input.messages")[0]["parts"][0]["content"], "mail [EMAIL] now");
    assert_eq!(json("gen_ai.input.messages")[1]["n"], 3);
    let call = json("gen_ai.tool.call.arguments");
    assert_eq!((&call["to"], &call["card"], &call["limit"]), (&"[EMAIL]".into(), &"[CREDIT_CARD]".into(), &10.into()));
    assert_eq!(
        (&call["[EMAIL]"], &call["deep"], call.get("authorization")),
        (&1.into(), &r#"{"mail":"[EMAIL]"}"#.into(), None)
    );
    let Value::KvlistValue(map) = &attributes["gen_ai.tool.call.result"] else { panic!("a map") };
    let of = |key: &str| map.values.iter().find(|one| one.key == key).and_then(|one| one.value.clone()?.value);
    assert_eq!(of("content"), Some(Value::StringValue("[EMAIL]".into())));
    assert_eq!((of("card"), of("n")), (Some(Value::StringValue("[CREDIT_CARD]".into())), Some(Value::IntValue(3))));
    assert_eq!(attributes["gen_ai.output.messages"], Value::StringValue("plain [EMAIL]".into()));
}

/// Values beside left structure are searched even if they have the same name: a repeated key, an attribute with an
/// empty key beside a body, a repeated body.
#[test]
fn what_stands_beside_structure_of_the_same_name_is_looked_at() {
    let (structure, plain) = (r#"{"a":"jane.doe@example.com"}"#, "plain jane.doe@example.com");
    for (first, second) in [(structure, plain), (plain, structure)] {
        let bytes = left(&[text("gen_ai.prompt", first), text("gen_ai.prompt", second)]);
        assert!(!String::from_utf8_lossy(&bytes).contains("jane"), "{first}");
    }
    let body = |text: &str| AnyValue { value: Some(Value::StringValue(text.to_owned())) };
    let event = LogRecord {
        event_name: "gen_ai.user.message".to_owned(),
        body: Some(body(structure)),
        attributes: vec![text("", plain)],
        ..LogRecord::default()
    };
    for (first, second) in [(structure, None), (structure, Some(plain)), (plain, Some(structure))] {
        let mut record = LogRecord { body: Some(body(first)), ..event.clone() }.encode_to_vec();
        if let Some(second) = second {
            LogRecord { body: Some(body(second)), ..LogRecord::default() }.encode(&mut record).expect("grows");
        }
        // ResourceLogs, ScopeLogs and log_records have field number 1 or 2 in their parents.
        let wire = [0x12, 0x12, 0x0a].into_iter().fold(record, |inner, tag| {
            let mut outer = vec![tag];
            prost::encoding::encode_varint(inner.len() as u64, &mut outer);
            outer.extend(inner);
            outer
        });
        let (bytes, _) = pass_with(by_default(), Signal::Logs, wire, ContentState::Stripped);
        assert!(bytes.len() > 20 && !String::from_utf8_lossy(&bytes).contains("jane"), "{first} {second:?}");
    }
}

/// Unquoted words in Python text are checked like strings; plain numbers and constants stay.
#[test]
fn words_without_quotes_that_were_left() {
    let token = format!("ghp_{}", "16C7e42F292c6912E7710c838347Ae178B4a");
    for (sent, wanted) in [
        (format!("{{name: jane.doe@example.com, token: {token}}}"), None),
        (format!("[AKIAQ3EGRIU2SZKWX4FN, {token}]"), None),
        ("[User(email=jane.doe@example.com)]".to_owned(), None),
        ("[jane.doe@example.com(1)]".to_owned(), None),
        ("{a: 12, b: True, c: None, d: -1.5e3}".to_owned(), Some("{a: 12, b: True, c: None, d: -1.5e3}")),
    ] {
        let bytes = left(&[text("gen_ai.prompt", &sent)]);
        let Value::StringValue(got) = &attributes_of(&bytes)["gen_ai.prompt"] else { panic!("a text") };
        assert!(!got.contains("jane.doe") && !got.contains("16C7e42F") && !got.contains("AKIAQ3"), "{got}");
        assert!(wanted.is_none_or(|wanted| wanted == got), "{got}");
    }
}

/// Structure that is too long is cut in its leaves: it stays JSON and fits; a second pass changes nothing.
#[test]
fn structure_that_was_left_fits_its_cap() {
    let cap = RedactConfig::default().settings().map_err(|_| ()).expect("valid").max_value;
    let part = |bytes: usize| format!(r#"{{"role":"user","content":"{}"}}"#, "é".repeat(bytes / 2));
    for list in [vec![part(2 * cap)], vec![part(4_000); 40], vec![part(10); 20_000]] {
        let once = left(&[text("gen_ai.input.messages", &format!("[{}]", list.join(",")))]);
        let Value::StringValue(cut) = &attributes_of(&once)["gen_ai.input.messages"] else { panic!("text") };
        assert!(cut.len() <= cap && cut.contains("TRUNCATED"), "{}", cut.len());
        serde_json::from_str::<serde_json::Value>(cut).expect("JSON");
        assert!(pass_with(by_default(), Signal::Traces, once.clone(), ContentState::Stripped).0 == once);
    }
}
