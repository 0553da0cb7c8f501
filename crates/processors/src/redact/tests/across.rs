//! Tests that a private value learned from one text of an item is removed from its other texts.

use super::*;

/// Two spans: the first with attributes, a name, a status message and an event's attribute, the second with an
/// attribute.
fn spans(told: Vec<KeyValue>, bare: &str) -> Vec<u8> {
    let json = serde_json::json!({"resourceSpans": [{"scopeSpans": [{"spans": [
        {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": format!("open {bare}"),
         "startTimeUnixNano": "1", "endTimeUnixNano": "2", "status": {"code": 2, "message": format!("no way with {bare}")},
         "events": [{"timeUnixNano": "1", "name": "e", "attributes": [{"key": "line", "value": {"stringValue": format!("{{\"used\":\"{bare}\",\"n\":1}}")}}]}]},
        {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203332", "name": "other",
         "startTimeUnixNano": "1", "endTimeUnixNano": "2",
         "attributes": [{"key": "line", "value": {"stringValue": format!("other {bare}")}}]}]}]}]});
    let mut request: ExportTraceServiceRequest = serde_json::from_value(json).expect("request");
    request.resource_spans[0].scope_spans[0].spans[0].attributes = told;
    request.encode_to_vec()
}

/// The texts of both spans after a pass, beginning with the given attributes.
fn after(config: &RedactConfig, told: Vec<KeyValue>, bare: &str) -> Vec<String> {
    let redact = processor(config, &Meter::new());
    let (bytes, _) = pass(&redact, Signal::Traces, spans(told.clone(), bare));
    assert_eq!(pass(&redact, Signal::Traces, bytes.clone()).0, bytes, "a second pass changes nothing");
    assert_eq!(pass(&redact, Signal::Traces, spans(told, bare)).0, bytes, "the same again");
    let request = ExportTraceServiceRequest::decode(&bytes[..]).expect("decodes");
    let string = |kv: &KeyValue| string_of(kv).unwrap_or_default();
    let [first, second] = &request.resource_spans[0].scope_spans[0].spans[..] else { panic!("two spans") };
    let own = first.attributes.iter().filter(|kv| kv.key != "exception.slug").map(string);
    let rest = [first.name.clone(), first.status.clone().expect("status").message];
    let events = first.events.iter().flat_map(|event| event.attributes.iter().map(string));
    own.chain(rest).chain(events).chain(second.attributes.iter().map(string)).collect()
}

/// A password under its key is removed from the name, the status and an event of the same span, also from JSON text;
/// another span keeps an equal text.
#[test]
fn a_value_told_by_its_key_goes_from_the_whole_item() {
    let found = after(&RedactConfig::default(), vec![text("args", "password=Winter4Sun19x")], "Winter4Sun19x");
    let hidden = "[PASSWORD]";
    let wanted = [
        format!("password={hidden}"),
        format!("open {hidden}"),
        format!("no way with {hidden}"),
        format!("{{\"used\":\"{hidden}\",\"n\":1}}"),
        "other Winter4Sun19x".to_owned(),
    ];
    assert_eq!(found, wanted);
}

/// A name under a key is removed, word by word too, from texts before and after it.
#[test]
fn a_name_told_by_its_key_goes_from_the_whole_item() {
    let told = vec![text("before", "paid by Okonkwo on Monday"), text("customer.name", "Adaeze Okonkwo")];
    let found = after(&RedactConfig::default(), told, "Okonkwo");
    assert_eq!(found[0], "paid by [PERSON] on Monday");
    assert_eq!(found[1], "[PERSON]");
    assert_eq!(found[2..5], ["open [PERSON]", "no way with [PERSON]", "{\"used\":\"[PERSON]\",\"n\":1}"]);
    assert_eq!(found[5], "other Okonkwo", "items share nothing");
}

/// An account number is removed from prose, and stays under an id's key, as in the vault. With carry-over turned off
/// all of it stays.
#[test]
fn ids_keep_their_form_and_the_option_turns_it_off() {
    let told = || vec![text("note", "account number: 4477120983"), text("session.id", "4477120983")];
    let found = after(&RedactConfig::default(), told(), "4477120983");
    assert_eq!(found[1..3], ["4477120983", "open [ACCOUNT_ID]"]);
    let config = RedactConfig { redact_repeats: false, ..RedactConfig::default() };
    let found = after(&config, told(), "4477120983");
    assert_eq!(found[2], "open 4477120983");
}

/// The number of values remembered per item is bounded: the first values are removed from other texts, later ones are
/// not, with the same result each time.
#[test]
fn what_is_remembered_is_bounded() {
    let value = |index: usize| format!("Winter{index:03}Sun19x");
    let told: Vec<KeyValue> =
        (0..200).map(|index| text(&format!("args{index}"), &format!("password={}", value(index)))).collect();
    assert_eq!(after(&RedactConfig::default(), told.clone(), &value(0))[200], "open [PASSWORD]");
    assert_eq!(after(&RedactConfig::default(), told, &value(199))[200], format!("open {}", value(199)));
}

/// The same for a log record: its attributes and its body.
#[test]
fn log_records_are_items() {
    let record =
        serde_json::json!({"body": "retry with Winter4Sun19x", "attributes": {"args": "password=Winter4Sun19x"}});
    let shown = sent_on(by_default(), &serde_json::json!({"signal": "logs", "items": [record]}));
    assert!(!shown.contains("Winter4Sun19x"), "{shown}");
}
