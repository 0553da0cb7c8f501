//! Tests of what goes to the vault and what stays, and that nothing is forwarded unsealed.

use super::*;

/// Content is removed from the span entirely; a reference to exactly that content stays, and all else is unchanged.
#[test]
fn content_goes_a_reference_stays() {
    let out = Bench::new().pass(&json!({"signal": "traces", "items": [chat("s-1", "acme", "CANARY in")]}));
    assert!(!out.leaks("CANARY"));
    let attributes = out.attributes(0);
    assert!(
        ["gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"]
            .iter()
            .all(|key| !attributes.contains_key(*key))
    );
    for (key, value) in [("gen_ai.request.model", "gpt-4o"), ("gen_ai.usage.input_tokens", "10"), ("tenant.id", "acme")]
    {
        assert_eq!(attributes.get(key).map(String::as_str), Some(value), "{key}");
    }
    let (header, row) = (&out.headers[0], &out.rows[0]);
    let uri = format!("s3://audit-logs/{}", header.object);
    assert_eq!(attributes["gen_ai.payload.s3_uri"], uri);
    for part in ["gen_ai.input.messages_ref", "gen_ai.output.messages_ref", "gen_ai.system_instructions_ref"] {
        assert_eq!(attributes[part], uri);
    }
    assert!(!attributes.contains_key("gen_ai.tool.call.result_ref"));
    assert_eq!(attributes["tollgate.content.url"], "https://content.example/session?session=s-1&account=default");
    assert_eq!(attributes["gen_ai.payload.range"], format!("bytes=0000000000-{:010}", row.tail.len.expect("len") - 1));
    assert_eq!(attributes["gen_ai.payload.key_id"], header.key);
    assert_eq!(attributes["gen_ai.payload.leaf"], "gw-1/01KAEPOCH/000000000000");
    assert_eq!(attributes["gen_ai.payload.bytes"], row.tail.pt_bytes.expect("size").to_string());
    assert!(
        attributes["tollgate.content.shape"]
            .contains(r#""input":[{"role":"user","parts":[{"type":"text","bytes":9}]}]"#)
    );
    let parsed = ObjectName::parse(&header.object).and_then(|object| object.scope).expect("an object");
    assert_eq!((parsed.account.as_str(), parsed.tenant.as_str(), parsed.session.as_str()), ("default", "acme", "s-1"));
}

/// The auditor decrypts exactly what was sent, bound to its place, and can check it against the commitment in the
/// telemetry.
#[test]
fn the_auditor_finds_what_was_sent() {
    let out = Bench::new().pass(&json!({"items": [chat("../s\u{0}1", "acme", "CANARY in")]}));
    let (document, row) = (&out.documents[0], &out.rows[0]);
    assert_eq!(
        (&*document.head.account, &*document.head.tenant, document.head.session.as_deref()),
        ("default", "acme", Some("../s\u{0}1"))
    );
    assert_eq!((&*document.head.writer, &*document.head.epoch), ("gw-1", "01KAEPOCH"));
    assert_eq!(Some(&*document.head.fragment), row.tail.fragment.as_deref());
    let item = &document.items[0];
    assert_eq!(item.head.user.as_deref(), Some("ada@example.com"));
    assert_eq!(item.parameters["gen_ai.request.temperature"], 0.5);
    let parts: BTreeSet<&str> = item.content.iter().map(|piece| piece.part.as_str()).collect();
    assert_eq!(parts, ["input", "output", "system"].into());
    assert!(item.content.iter().any(|piece| piece.value.as_str().is_some_and(|text| text.contains("CANARY in"))));
    let hex = |text: &str| -> [u8; 32] {
        let bytes: Vec<u8> =
            (0..64).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect();
        bytes.try_into().expect("32 bytes")
    };
    assert_eq!(row.tail.commitment.as_deref(), Some(&*commitment(&hex(&item.salt), &hex(&item.content_sha256))));
    assert_eq!(row.tail.commitment.as_deref(), out.attributes(0).get("gen_ai.payload.commitment").map(String::as_str));
    let sealed: (FragmentHeader, Bytes) = spool_record::unpack(&out.records[1].body).expect("fragment");
    assert_eq!(row.tail.ct_sha256, Some(kernel::hex::encode(&Sha256::digest(&sealed.1))));
}

/// The link to a session's page has the id in the form of index and object names: percent-encoded, or as a pseudonym.
/// The same link from a client is gone. (Shown to fail with the id as sent.)
#[test]
fn the_link_has_the_id_that_the_page_takes() {
    let long = "x".repeat(10_000);
    for (session, encoded) in [
        ("../s\u{0}1&account=other", Some("..%2Fs%001%26account%3Dother")),
        ("<b>", Some("%3Cb%3E")),
        (&*long, None),
        ("h-ada", None),
    ] {
        let out = Bench::new().pass(&json!({"items": [chat(session, "acme", "CANARY in")]}));
        let indexed = out.rows[0].tail.session_id.as_deref().expect("an id");
        assert_eq!(kernel::pseudonym::is_pseudonym(indexed), encoded.is_none(), "{indexed}");
        let url = format!("https://content.example/session?session={}&account=default", encoded.unwrap_or(indexed));
        assert_eq!(out.attributes(0)["tollgate.content.url"], url);
    }
}

/// The documented way to recompute the content hash works on the stored document.
#[test]
fn the_content_hash_is_over_the_stored_bytes() {
    let out = Bench::new().pass(&json!({"items": [chat("s-1", "acme", "hello")]}));
    #[derive(serde::Deserialize)]
    struct Raw<'a> {
        #[serde(borrow)]
        items: Vec<RawItem<'a>>,
    }
    #[derive(serde::Deserialize)]
    struct RawItem<'a> {
        #[serde(borrow)]
        content: &'a serde_json::value::RawValue,
        content_sha256: String,
    }
    let raw: Raw<'_> = serde_json::from_str(&out.opened).expect("document");
    let item = &raw.items[0];
    assert_eq!(kernel::hex::encode(&Sha256::digest(item.content.get())), item.content_sha256);
    // Compact JSON with keys in a fixed order, as `jq -c` prints it.
    let parsed: Json = serde_json::from_str(item.content.get()).expect("JSON");
    assert_eq!(parsed.to_string(), item.content.get());
}

/// No fragment mixes tenants or sessions, and each session has its own key.
#[test]
fn sessions_and_tenants_are_kept_apart() {
    let mut bench = Bench::new();
    let items =
        [chat("a", "acme", "one"), chat("a", "zeta", "two"), chat("b", "acme", "three"), chat("a", "acme", "four")];
    let out = bench.pass(&json!({ "items": items }));
    assert_eq!(out.documents.iter().map(|document| document.items.len()).collect::<Vec<_>>(), [2, 1, 1]);
    assert_eq!(out.headers.iter().map(|header| &header.key).collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(out.headers.iter().map(|header| &header.object).collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(out.keys.len(), 3);
    let leaves: Vec<u64> = out.rows.iter().map(|row| row.leaf).collect();
    assert_eq!(leaves, [0, 1, 2, 3]);
    assert_eq!(
        out.attributes(3)["gen_ai.payload.leaf"],
        "gw-1/01KAEPOCH/000000000001",
        "the fourth item is the second leaf"
    );
    assert_eq!(out.rows[1].tail.item, Some(1));
    let again = bench.pass(&json!({"items": [chat("a", "acme", "five")]}));
    assert!(!again.records.iter().any(|record| record.kind == RecordKind::Key), "its key is in the vault already");
}

/// A span that names no session belongs to the session that other spans of its trace name in the request, in objects
/// and in lines. If they name several, it belongs to none.
#[test]
fn spans_without_a_session_belong_to_their_traces() {
    let in_trace = |session: &str, trace: u64, text: &str| {
        let mut span = chat(session, "acme", text);
        span["trace"] = json!(trace);
        if session.is_empty() {
            span["attributes"].as_object_mut().unwrap().remove("gen_ai.conversation.id");
        }
        span
    };
    let items = [
        in_trace("", 1, "one"),
        in_trace("s-1", 1, "two"),
        in_trace("", 1, "three"),
        in_trace("s-1", 2, "four"),
        in_trace("s-2", 2, "five"),
        in_trace("", 2, "six"),
        in_trace("", 3, "seven"),
    ];
    let out = Bench::new().pass(&json!({ "items": items }));
    let of = |session: &str| {
        let documents = out.documents.iter().filter(|one| one.head.session.as_deref() == Some(session));
        documents.map(|one| one.items.len()).sum::<usize>()
    };
    assert_eq!((of("s-1"), of("s-2")), (4, 1));
    let apart = out.documents.iter().filter(|one| one.head.session.is_none()).count();
    assert_eq!(apart, 2, "of two sessions, and of a trace that names none");
    let lines = |session: &str| out.rows.iter().filter(|row| row.tail.session_id.as_deref() == Some(session)).count();
    assert_eq!((lines("s-1"), lines("s-2")), (4, 1));
}

/// Content in span events is removed; the event and its metadata stay.
#[test]
fn events_lose_content_only() {
    let mut span = chat("s", "acme", "x");
    span["events"] =
        json!([{"name": "gen_ai.event.prompt", "attributes": {"gen_ai.prompt": "CANARY event", "message_count": 3}}]);
    let out = Bench::new().pass(&json!({ "items": [span] }));
    assert!(!out.leaks("CANARY"));
    let item = out.payload.items().next().expect("item");
    let event = out.payload.children(item).next().expect("the event stays");
    assert!(!out.of(event).contains_key("gen_ai.prompt"));
    let piece = out.documents[0].items[0].content.iter().find(|piece| piece.on == "event").expect("in the vault");
    assert_eq!(piece.event.as_deref(), Some("gen_ai.event.prompt"));
}

/// Log bodies that are content are removed too, whatever their structure, and leave a mark.
#[test]
fn log_bodies_go() {
    let record = json!({"event_name": "gen_ai.user.message", "trace": 1, "span": 2,
        "body": {"content": "CANARY body", "n": [1, 2.5, true]}, "attributes": {"gen_ai.system": "openai"}});
    let out = Bench::new().pass(&json!({"signal": "logs", "items": [record]}));
    assert!(!out.leaks("CANARY"));
    let body = out.payload.items().next().and_then(|item| out.payload.body(item)).and_then(|body| body.as_str());
    assert_eq!(body, Some("[CONTENT]"));
    let piece = &out.documents[0].items[0].content[0];
    assert_eq!(
        (piece.on.as_str(), &piece.value["content"], &piece.value["n"][1]),
        ("body", &json!("CANARY body"), &json!(2.5))
    );
    assert!(out.headers[0].object.contains("/trace-00000000000000000000000000000001/"), "no session: its trace");
}

/// A user id is in the index only as a pseudonym.
#[test]
fn the_index_holds_no_user() {
    let mut bench = Bench::new();
    let out = bench.pass(&json!({"items": [chat("s", "acme", "x")]}));
    assert_eq!(out.rows[0].tail.user_key.as_deref(), Some(&*bench.ids.pseudonym("default", "ada@example.com")));
    let leaf = out.records.iter().find(|record| record.kind == RecordKind::Leaf).expect("leaf");
    assert!(!String::from_utf8_lossy(&leaf.body).contains("ada@"));
    let tail = &out.rows[0].tail;
    assert_eq!(
        (tail.action_type.as_deref(), tail.model.as_deref(), tail.status.as_str()),
        (Some("chat"), Some("gpt-4o"), "ok")
    );
    assert_eq!((tail.tokens_in, tail.tokens_out, tail.kind), (Some(10), Some(5), Some(RowKind::Payload)));
}

/// A client cannot forge references; its own `…_ref` attributes are renamed; other attributes are not affected.
#[test]
fn forged_references_are_removed() {
    let mut bench = Bench::new();
    let span = json!({"name": "x", "trace": 1, "span": 2, "attributes": {
        "gen_ai.payload.s3_uri": "s3://evil/x", "gen_ai.payload.dropped": true,
        "gen_ai.input.messages_ref": "s3://theirs", "git_ref": "main"}});
    let out = bench.pass(&json!({"resource": {"gen_ai.payload.leaf": "x"}, "items": [span.clone()]}));
    let attributes = out.attributes(0);
    assert!(!attributes.keys().any(|key| key.starts_with("gen_ai.payload.")) && !out.leaks("evil"));
    assert_eq!(attributes.get("tollgate.reported.gen_ai.input.messages_ref").map(String::as_str), Some("s3://theirs"));
    assert_eq!(attributes.get("git_ref").map(String::as_str), Some("main"));
    let resource = out.payload.resource(out.payload.items().next().expect("item"));
    assert!(out.of(resource).is_empty());
    let kept = bench.pass_payload(request::payload(&json!({ "items": [span] })), trusted());
    assert!(kept.attributes(0).contains_key("gen_ai.input.messages_ref"), "an upstream tollgate's references stay");
}

/// Without a store, content is dropped and the item is marked accordingly.
#[test]
fn without_a_store_content_is_dropped() {
    let mut bench = Bench::with(LeftContent::Nothing, false);
    let out = bench.pass(&json!({"items": [chat("s", "acme", "CANARY in")]}));
    assert!(!out.leaks("CANARY") && out.records.is_empty());
    let attributes = out.attributes(0);
    assert_eq!(attributes["gen_ai.payload.dropped"], "true");
    assert!(
        attributes["tollgate.content.shape"].contains("bytes") && !attributes.contains_key("gen_ai.payload.s3_uri")
    );
}

/// Only values that the rules can read are left for redaction: numbers, bytes, and structure that contains bytes go to
/// the vault only.
#[test]
fn only_text_stays_for_redaction() {
    let mut bench = Bench::with(LeftContent::Redacted, true);
    let mut call = chat("s", "acme", "kept");
    call["attributes"]["gen_ai.output.messages"] = json!("kept");
    call["attributes"]["gen_ai.system_instructions"] = json!("kept");
    call["attributes"]["gen_ai.tool.call.arguments"] =
        json!({"card": 4_111_111_111_111_111_u64, "to": [{"$bytes": "Q0FOQVJZ"}]});
    call["attributes"]["gen_ai.tool.call.result"] = json!(4_111_111_111_111_111_u64);
    call["attributes"]["gen_ai.prompt"] = json!({"$bytes": "Q0FOQVJZ"});
    let log = json!({"signal": "logs", "items": [{"event_name": "gen_ai.user.message", "trace": 1, "span": 2,
        "attributes": {"gen_ai.system": "openai"}, "body": {"content": [{"$bytes": "Q0FOQVJZ"}, 4_111_111_111_111_111_u64]}}]});
    for case in [json!({"items": [call]}), log] {
        let out = bench.pass(&case);
        assert!(!out.leaks("CANARY") && !String::from_utf8_lossy(&out.bytes).contains("card"));
        let left = format!("{:?}", out.attributes(0));
        assert!(!left.contains("4111111111111111"), "{left}");
        let is_marked = |body: otlp::Value<'_>| body.as_str() == Some("[CONTENT]");
        assert!(out.payload.items().all(|item| out.payload.body(item).is_none_or(is_marked)));
        assert_eq!(out.documents.len(), 1, "the auditors have it");
    }
}

struct Broken;

impl SessionKeyGenerator for Broken {
    fn new_session(&self, _: &Audience, _: &str) -> Result<NewSessionKey, SealFailed> {
        Err(SealFailed::Internal)
    }
}

/// If sealing fails, no clearance is given, no draft is made, and the client keeps its batch.
#[test]
fn sealing_fails_closed() {
    let bench = Bench::made(LeftContent::Nothing, Some(Arc::new(Broken)), age::x25519::Identity::generate());
    let mut batch = batch(request::payload(&json!({"items": [chat("s", "a", "x")]})));
    assert_eq!(bench.processor.process(&mut batch), Err(Reason::Lost));
    assert!(batch.clearance.content == ContentState::Kept && batch.drafts.is_empty());
}

/// The output of a failed tool is not forwarded as an error text, an exception or a status message; the error type
/// stays.
#[test]
fn what_a_failed_tool_said_goes() {
    let said = "CANARY no such file in /srv";
    let exception = json!({"name": "exception", "attributes": {
        "exception.type": "ToolError", "exception.message": said, "exception.stacktrace": format!("Traceback\nToolError: {said}"),
    }});
    let tool = json!({"name": "claude_code.tool", "trace": 1, "span": 2, "status": said, "events": [exception], "attributes": {
        "session.id": "s-1", "gen_ai.tool.name": "Bash", "gen_ai.tool.success": false, "error.type": "ToolError", "error.message": said,
    }});
    let turn = json!({"name": "claude_code.turn.stop_failure", "trace": 1, "span": 3, "status": "overloaded, try again",
        "attributes": {"session.id": "s-1"}});
    let out = Bench::new().pass(&json!({"scope": {"name": "claude_code_hooks"}, "items": [tool, turn]}));
    assert!(!out.leaks("CANARY"));
    let attributes = out.attributes(0);
    assert_eq!(attributes["error.type"], "ToolError");
    assert!(attributes.contains_key("gen_ai.tool.call.result_ref"), "{attributes:?}");
    let nodes: Vec<_> = out.payload.items().collect();
    assert_eq!(out.payload.text(nodes[0], otlp::TextField::StatusMessage), "");
    assert_eq!(out.payload.status_code(nodes[0]), 2);
    assert_eq!(out.payload.text(nodes[1], otlp::TextField::StatusMessage), "overloaded, try again", "a turn's stays");
    let event = out.payload.children(nodes[0]).next().expect("the exception stays");
    assert_eq!(out.of(event).into_keys().collect::<Vec<_>>(), ["exception.type"]);
    let kept: Vec<_> =
        out.documents[0].items[0].content.iter().map(|piece| piece.key.as_deref().unwrap_or("")).collect();
    assert_eq!(
        kept,
        ["status.message", "error.message", "exception.message", "exception.stacktrace"],
        "each of them once"
    );
}

/// A failed tool's long output is kept only once, although texts too long for redaction are kept as well.
#[test]
fn a_long_error_of_a_tool_is_kept_once() {
    let tool = json!({"name": "claude_code.tool", "trace": 1, "span": 2, "status": "CANARY said ".repeat(9_000),
        "attributes": {"session.id": "s-1", "gen_ai.tool.name": "Bash"}});
    let out = Bench::new().pass(&json!({"scope": {"name": "claude_code_hooks"}, "items": [tool]}));
    assert!(!out.leaks("CANARY") && out.documents[0].items[0].content.len() == 1);
}

/// The parts of an address beyond its route are in the vault and removed from items of an agent and of a declared
/// service; the address of a service that only calls a model stays.
#[test]
fn what_addresses_say_goes() {
    let said = format!("https://a.example/v1/search?q={}&n=1", "CANARY+told+me+so+".repeat(280));
    let get = |trace: u8| json!({"name": "GET", "trace": trace, "span": trace, "attributes": {"url.full": said, "http.route": "/v1/{id}"}});
    let mut agent = chat("s-1", "acme", "hello");
    agent["events"] = json!([{"name": "e", "attributes": {"url.query": "q=CANARY told me so"}}]);
    let mut bench = Bench::new().policy(declaring(&["agent"]));
    let out = bench.pass(&json!({"resource": {"service.name": "agent"}, "items": [agent, get(9)]}));
    assert!(!out.leaks("CANARY"));
    let attributes = out.attributes(1);
    assert_eq!(
        (&*attributes["url.full"], &*attributes["http.route"]),
        ("https://a.example/v1/search?q=[…]&n=1", "/v1/{id}")
    );
    let kept = out.documents.iter().flat_map(|document| &document.items).flat_map(|item| &item.content);
    let kept: Vec<_> = kept.filter(|piece| piece.key.as_deref() == Some("url.full#address")).collect();
    assert!(kept.len() == 1 && kept[0].value.as_str() == Some(&said), "the auditor finds it whole");
    let call = chat("s-1", "acme", "hello");
    let out = Bench::new().pass(&json!({"resource": {"service.name": "shop"}, "items": [get(1), call]}));
    assert_eq!(out.attributes(0)["url.full"], said, "an ordinary service's stays, also in a call's trace");
}
