//! Tests of what an index line contains, and what it must not contain.

use super::*;

/// An action without content gets a leaf; an item that is not an agent's gets neither leaf nor reference.
#[test]
fn actions_without_content_get_a_leaf() {
    let tool = json!({"name": "execute_tool ls", "trace": 1, "span": 3, "attributes": {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "ls", "gen_ai.conversation.id": "s"}});
    let plain = json!({"name": "GET /", "trace": 9, "span": 4, "attributes": {"http.route": "/"}});
    let out = Bench::new().pass(&json!({"items": [tool, plain]}));
    assert_eq!(out.rows.len(), 1);
    let row = &out.rows[0];
    assert_eq!(
        (row.tail.kind, row.tail.tool_name.as_deref(), row.object_key.as_deref()),
        (Some(RowKind::Action), Some("ls"), None)
    );
    assert!(out.headers.is_empty() && !out.attributes(0).contains_key("gen_ai.payload.leaf"));
    assert_eq!(out.attributes(1), BTreeMap::from([("http.route".to_owned(), "/".to_owned())]));
}

/// Fingerprints of what the model was given are equal for equal input and differ for different input. They are not bare
/// hashes: another account's differ.
#[test]
fn contexts_are_comparable() {
    let call = |span: u64, system: &str, input: &str| {
        json!({"name": "chat", "trace": 1, "span": span, "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.conversation.id": "s", "gen_ai.provider.name": "openai",
        "gen_ai.system_instructions": system, "gen_ai.input.messages": input}})
    };
    let mut bench = Bench::new();
    let items = json!({"items": [call(1, "be kind", "one"), call(2, "be kind", "two"), call(3, "be kind", "one"), call(4, "be rude", "one")]});
    let out = bench.pass(&items);
    let of = |at: usize, key: &str| out.attributes(at).get(&format!("tollgate.context.{key}")).cloned();
    assert!(of(0, "hash").is_some() && of(0, "tools").is_none());
    assert_eq!((of(0, "hash"), of(0, "system")), (of(2, "hash"), of(2, "system")));
    assert_eq!(of(0, "system"), of(1, "system"));
    assert_ne!(of(0, "hash"), of(1, "hash"));
    assert_ne!(of(0, "system"), of(3, "system"));
    let mut other = call(5, "be kind", "one");
    other["attributes"]["tenant.id"] = json!("globex");
    let elsewhere = bench.pass(&json!({ "items": [other] }));
    assert_ne!(elsewhere.attributes(0).get("tollgate.context.system").cloned(), of(0, "system"), "another tenant's");
    let bare = kernel::hex::encode(&kernel::sha256::Sha256::digest(b"\"be kind\"\0"));
    assert!(!format!("{:?}", out.attributes(0)).contains(&bare[..16]));
}

/// A line has the actor, the tenant, sizes and duration: labels of the item or its resource, sizes of the content, the
/// span's own time.
#[test]
fn columns_of_an_action() {
    let tool = json!({"name": "execute_tool ls", "trace": 1, "span": 3, "start": 1_795_000_000,
        "end": 1_795_000_002, "attributes": {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "ls", "gen_ai.conversation.id": "s",
        "work_tracker.issue_id": "PAY-17", "build.commit_sha": "0a1b2c3", "deploy.environment": "prod",
        "gen_ai.tool.call.arguments": {"path": "/tmp"}, "gen_ai.tool.call.result": "total 0"}});
    let bare = json!({"name": "execute_tool cat", "trace": 1, "span": 4, "attributes": {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "cat", "gen_ai.conversation.id": "s",
        "tool_result_size_bytes": 512, "duration_ms": 40}});
    let out = Bench::new().pass(&json!({"items": [tool, bare], "resource": {"service.version": "2.1.0"}}));
    let row =
        |tool: &str| &out.rows.iter().find(|row| row.tail.tool_name.as_deref() == Some(tool)).expect("a line").tail;
    let (ls, cat) = (row("ls"), row("cat"));
    assert_eq!(ls.agent_version.as_deref(), Some("2.1.0"));
    assert_eq!((ls.issue_id.as_deref(), ls.commit_sha.as_deref()), (Some("PAY-17"), Some("0a1b2c3")));
    assert_eq!(ls.environment.as_deref(), Some("prod"));
    assert_eq!((ls.arguments_bytes, ls.result_bytes), (Some(15), Some(9)));
    assert_eq!(ls.duration_ns, Some(2_000_000_000));
    assert_eq!((cat.arguments_bytes, cat.result_bytes, cat.duration_ns), (None, Some(512), Some(40_000_000)));
}

/// A repeat is kept as a second copy and marked.
#[test]
fn repeats_are_marked() {
    let payload = request::payload(&json!({"items": [chat("s", "acme", "x")]}));
    let out = Bench::new().pass_payload(payload, BatchOrigin { repeat: true, ..origin() });
    assert!(out.rows[0].tail.repeat && out.documents[0].head.repeat);
}

/// A request that no processor could finish is sealed unchanged for the auditors, apart from all sessions.
#[test]
fn quarantine_is_sealed() {
    let mut bench = Bench::new();
    let request = Bytes::from_static(b"CANARY poison");
    let draft = bench.processor.quarantine(&origin(), Signal::Traces, &request, 2).expect("sealed");
    let ticketed = bench.ticketer.as_mut().expect("ticketer")(draft.body);
    let empty = request::payload(&json!({"items": []}));
    let out = bench.open(empty, Vec::new(), ticketed.records);
    assert!(!out.leaks("CANARY"));
    use base64::Engine as _;
    let opened = out.documents[0]
        .request
        .as_deref()
        .map(|text| base64::engine::general_purpose::STANDARD.decode(text).expect("base64"));
    assert_eq!(opened.as_deref(), Some(&request[..]));
    assert_eq!(out.rows[0].tail.kind, Some(RowKind::Quarantine));
    assert!(out.headers[0].object.contains("/=quarantine/"));
    assert!(
        Bench::with(LeftContent::Nothing, false).processor.quarantine(&origin(), Signal::Traces, &request, 2).is_none()
    );
}

/// A text that goes to the vault because it is not a label must not appear in an index line or object name.
#[test]
fn what_is_content_is_no_column() {
    for key in "gen_ai.conversation.id session.id turn.id turn gen_ai.agent.name agent.name feature gen_ai.agent.id \
            gen_ai.tool.name gen_ai.tool.call.id gen_ai.response.id gen_ai.request.model gen_ai.response.model \
            error.type tenant.id gen_ai.operation.name"
        .split(' ')
    {
        for text in ["CANARY is asked\nto transfer money", "{\"prompt\": \"CANARY please\"}"] {
            let mut bench = Bench::new();
            let mut item = chat("s-1", "acme", "x");
            item["attributes"][key] = json!(text);
            let out = bench.pass(&json!({"signal": "traces", "items": [item]}));
            let kept = out.attributes(0).get(key).is_some_and(|kept| kept == text);
            assert!(!kept && !out.leaks("CANARY"), "{key}");
        }
    }
    // A sentence is no label either, under a key that is not known to hold names.
    for key in ["turn", "feature", "langfuse.session.id"] {
        let mut item = chat("s-1", "acme", "x");
        item["attributes"][key] = json!("CANARY asks to move money");
        let out = Bench::new().pass(&json!({"items": [item]}));
        assert!(out.attributes(0).contains_key(key) || !out.leaks("CANARY"), "{key}");
    }
}

/// CPU time of this thread in nanoseconds, which does not depend on other processes.
fn at_work() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    told.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap()
}

/// With eight times as many parameters and content places the work grows about eightfold, not 64-fold.
#[test]
fn many_parameters_take_linear_time() {
    let work = |count: usize| {
        let mut item = chat("s-1", "acme", "x");
        for n in 0..count {
            item["attributes"][format!("gen_ai.request.p{n}")] = json!(n);
            item["attributes"][format!("note.{n}")] = json!("some words");
        }
        let payload = request::payload(&json!({"signal": "traces", "items": [item]}));
        let mut bench = Bench::new();
        let before = at_work();
        bench.pass_payload(payload, origin());
        at_work() - before
    };
    let (few, many) = (work(5_000), work(40_000));
    assert!(many < 32 * few, "{few} ns, {many} ns");
}
