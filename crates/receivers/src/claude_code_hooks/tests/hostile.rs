//! Events that no client should send, and that some client will.

use proptest::prelude::*;

use super::*;

fn error(body: &[u8]) -> Option<EventError> {
    translate_event(body, "default", NOON, &StartTimes::default()).err()
}

/// What is no event is refused, whatever it is, and what has a session and a name is kept.
#[test]
fn only_events_are_taken() {
    let not_an_object = Some(EventError::NotAnObject);
    for body in
        [&b""[..], b" ", b"null", b"[]", b"\"x\"", b"{", b"{}x", b"{\"a\":}", b"\xef\xbb\xbf{}", b"{\"a\":\"\xff\"}"]
    {
        assert_eq!(error(body), not_an_object, "{}", String::from_utf8_lossy(body));
    }
    assert_eq!(error(br#"{"hook_event_name":"Stop"}"#), Some(EventError::NoSession));
    assert_eq!(error(br#"{"hook_event_name":"Stop","session_id":""}"#), Some(EventError::NoSession));
    assert_eq!(error(br#"{"hook_event_name":"Stop","session_id":7}"#), Some(EventError::NoSession));
    assert_eq!(error(br#"{"session_id":"s1"}"#), Some(EventError::NoName));
    let of_length = |length: usize| format!(r#"{{"hook_event_name":"Stop","session_id":"{}"}}"#, "s".repeat(length));
    assert_eq!([1024, 1025, 1 << 20].map(|length| error(of_length(length).as_bytes())), {
        [None, Some(EventError::NoSession), Some(EventError::NoSession)]
    });
    let many: Vec<String> = (0..1100).map(|key| format!(r#""k{key}":1"#)).collect();
    assert_eq!(error(format!("{{{}}}", many.join(",")).as_bytes()), not_an_object);
    assert_eq!(error(br#"{"hook_event_name":"Whatever","session_id":"s1"}"#), None);
}

/// A deep or long value costs no stack, is kept byte for byte, and the last of repeated keys counts.
#[test]
fn values_are_kept_as_they_came() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let found =
        span(&event("PostToolUse", &format!(r#","tool_name":"Bash","tool_response":{deep},"new_field":{deep}"#)));
    assert_eq!(text(&found, "gen_ai.tool.output"), Some(deep.clone()));
    assert_eq!(text(&found, "hook.input"), Some(format!(r#"{{"new_field":{deep}}}"#)));
    let repeated = span(&event("PostToolUse", r#","tool_name":"First","tool_name":"Last""#));
    assert_eq!(text(&repeated, "gen_ai.tool.name").as_deref(), Some("Last"));
}

/// A field of the wrong type is not lost and not taken for what it should be.
#[test]
fn wrong_types_are_kept_aside() {
    let fields = r#","tool_name":["Bash"],"tool_use_id":7,"duration_ms":"17","error":{"a":1},"is_interrupt":"yes""#;
    let found = span(&event("PostToolUseFailure", fields));
    for key in ["gen_ai.tool.name", "tool_use_id", "tool.duration_ms", "error.message", "tool.interrupted"] {
        assert_eq!(text(&found, key), None, "{key}");
    }
    let rest = text(&found, "hook.input").expect("the rest");
    assert_eq!(
        rest,
        r#"{"duration_ms":"17","error":{"a":1},"is_interrupt":"yes","tool_name":["Bash"],"tool_use_id":7}"#
    );
    assert_eq!(text(&found, "error.type").as_deref(), Some("ToolError"));
}

/// JavaScript cuts texts inside surrogate pairs; such a text is read all the same.
#[test]
fn halves_of_surrogate_pairs_are_read() {
    for (json, expected) in [
        (r#""a\ud83d""#, "a\u{fffd}"),
        (r#""\ude00b\ud83d\ude00""#, "\u{fffd}b😀"),
        (r#""\\ud83d \ud83d\n""#, "\\ud83d \u{fffd}\n"),
        (r#""ü\ud83dü""#, "ü\u{fffd}ü"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
    ] {
        let found = span(&event("UserPromptSubmit", &format!(r#","prompt":{json}"#)));
        assert_eq!(text(&found, "gen_ai.prompt").as_deref(), Some(expected), "{json}");
    }
}

/// The length of a call is its own report; absurd ones, and a clock that jumps back, give no impossible times.
#[test]
fn times_are_possible() {
    let length = |fields: &str| {
        let found = span(&event("PostToolUse", &format!(r#","tool_name":"Bash","tool_use_id":"t1"{fields}"#)));
        assert!(found.start_time_unix_nano <= found.end_time_unix_nano);
        assert_eq!(found.end_time_unix_nano, NOON);
        NOON - found.start_time_unix_nano
    };
    assert_eq!(length(r#","duration_ms":17"#), 17_000_000);
    assert_eq!(length(r#","duration_ms":0.5"#), 500_000);
    assert_eq!(length(r#","duration_ms":1e300"#), NOON);
    assert_eq!([length(r#","duration_ms":-5"#), length(r#","duration_ms":null"#), length("")], [0; 3]);
    let starts = StartTimes::default();
    let call = r#","tool_name":"Bash","tool_use_id":"t1""#;
    span_at(&event("PreToolUse", call), NOON, &starts);
    assert_eq!(span_at(&event("PostToolUse", call), NOON - SECOND, &starts).start_time_unix_nano, NOON - SECOND);
    assert_eq!(span_at(&event("PostToolUse", call), NOON + SECOND, &starts).start_time_unix_nano, NOON);
    let other_account = translate_event(event("PostToolUse", call).as_bytes(), "other", NOON + SECOND, &starts);
    let request = ExportTraceServiceRequest::decode(&*other_account.expect("an event")).expect("a request");
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.start_time_unix_nano, NOON + SECOND, "another account's session is another one");
}

/// The memory of starts is bounded, and what it forgot costs the length of a span only.
#[test]
fn starts_are_bounded() {
    let starts = StartTimes::with_capacity(2);
    let agent = |id: &str| event("SubagentStart", &format!(r#","agent_id":"{id}","agent_type":"Explore""#));
    for id in ["a", "b", "c"] {
        span_at(&agent(id), NOON, &starts);
    }
    let stop = |id: &str| event("SubagentStop", &format!(r#","agent_id":"{id}","agent_type":"Explore""#));
    let length = |id: &str| NOON + SECOND - span_at(&stop(id), NOON + SECOND, &starts).start_time_unix_nano;
    assert_eq!((length("a"), length("c")), (0, SECOND));
}

/// A repeated event has the ids of the first one, other events of the turn have others, and no id is zero.
#[test]
fn ids_follow_from_the_event() {
    let ids = |event: &str, now: u64| {
        let found = span_at(event, now, &StartTimes::default());
        assert!(found.trace_id != [0; 16] && found.span_id != [0; 8]);
        (found.trace_id, found.span_id, found.parent_span_id)
    };
    let call = event("PostToolUse", r#","tool_name":"Bash","tool_use_id":"t1""#);
    assert_eq!(ids(&call, NOON), ids(&call, NOON + SECOND));
    let other = event("PostToolUse", r#","tool_name":"Bash","tool_use_id":"t2""#);
    assert_ne!(ids(&call, NOON).1, ids(&other, NOON).1);
    assert_ne!(ids(&call, NOON).1, ids(&call.replace("PostToolUse", "PreToolUse"), NOON).1);
    let note = event("Notification", r#","message":"m","notification_type":"t""#);
    assert_ne!(ids(&note, NOON).1, ids(&note, NOON + 1).1, "two notes are two spans");
    let (stop, again) = (event("Stop", ""), event("Stop", r#","stop_hook_active":true"#));
    assert_eq!(ids(&stop, NOON).1, ids(&call, NOON).2, "the turn's end is the parent of its tools");
    assert_eq!((ids(&stop, NOON).2.len(), ids(&again, NOON).2), (0, ids(&stop, NOON).1));
}

proptest! {
    /// No bytes make a panic, and no event becomes a request that the engine would refuse as malformed.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = translate_event(&bytes, "default", NOON, &StartTimes::default());
    }

    /// A text in a field that no rule lists is in one attribute alone, the one that the dialect lists as content.
    #[test]
    fn unlisted_text_is_content(field in "[a-z_]{1,12}", name in "[A-Za-z]{1,20}", value in "[ -~]{0,40}") {
        let value = serde_json::to_string(&format!("CANARY{value}")).expect("json");
        let body = event(&name, &format!(r#","zz_{field}":{value}"#));
        let found = span(&body);
        let holding: Vec<&str> = found
            .attributes
            .iter()
            .filter(|attribute| text(&found, &attribute.key).is_some_and(|text| text.contains("CANARY")))
            .map(|attribute| attribute.key.as_str())
            .collect();
        prop_assert_eq!(holding, ["hook.input"]);
        prop_assert!(!found.name.contains("CANARY"));
    }

    /// Mending changes nothing that JSON reads already.
    #[test]
    fn sound_texts_are_unchanged(value in any::<String>()) {
        let body = format!(r#"{{"session_id":"s","hook_event_name":"X","a":{}}}"#, serde_json::to_string(&value).expect("json"));
        let event = HookEvent::parse(body.as_bytes(), "session_id").expect("an event");
        prop_assert_eq!(event.text("a"), Some(value));
    }
}
