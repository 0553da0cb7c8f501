//! Tests of what is remembered of traces across requests.

use super::*;

fn bystander(trace: u32) -> Json {
    json!({"items": [{"name": "render", "trace": trace, "span": 9, "attributes": {
        "template": "CANARY dear customer", "http.request.method": "GET"}}]})
}

/// An item without a dialect is an agent's if an earlier, committed request made its trace known: also after a restart,
/// but not before the commit and not for another account.
#[test]
fn traces_are_known_across_requests() {
    let mut bench = Bench::new();
    assert!(bench.pass(&bystander(1)).leaks("CANARY"), "nothing says that it is an agent's");
    let first = bench.processed(&json!({"items": [chat("s-1", "acme", "x")]}));
    assert!(bench.pass(&bystander(1)).leaks("CANARY"), "the request that told of it is not committed");
    assert_eq!(first.effects.iter().filter(|effect| !effect.body.is_empty()).count(), 1);
    first.effects.iter().for_each(|effect| bench.processor.apply(effect));
    let adopted = bench.pass(&bystander(1));
    assert!(!adopted.leaks("CANARY"), "its text is content");
    assert_eq!(adopted.attributes(0).get("http.request.method").map(String::as_str), Some("GET"));
    assert!(adopted.attributes(0).contains_key("gen_ai.payload.s3_uri"));
    assert!(bench.pass(&bystander(2)).leaks("CANARY"), "another trace");
    let other = BatchOrigin { account: "other".into(), ..origin() };
    assert!(bench.pass_payload(request::payload(&bystander(1)), other).leaks("CANARY"), "another account");
    let mut again = Bench::new();
    again.processor.restore(&bench.processor.checkpoint().expect("state"));
    assert!(!again.pass(&bystander(1)).leaks("CANARY"), "after a restart");
    let known = bench.processed(&json!({"items": [chat("s-1", "acme", "x")]}));
    assert!(known.effects.iter().all(|effect| effect.body.is_empty()), "what is known is told no more");
}

/// A service with an agent's item is an agent's service in every trace and request, also after a restart: a child span
/// exported before its agent's span must not leak. (`a_day_long` has the end of it.)
#[test]
fn services_are_known_across_requests() {
    let shop = |items: Json| json!({"resource": {"service.name": "shop"}, "items": items});
    let plain = |trace: u32| {
        shop(
            json!([{"name": "GET /", "trace": trace, "attributes": {"note": "CANARY dear customer", "http.request.method": "GET"}}]),
        )
    };
    let mut bench = Bench::new();
    assert!(bench.pass(&plain(1)).leaks("CANARY"), "nothing says that it is an agent's");
    let together = shop(json!([
        {"name": "GET /", "trace": 2, "attributes": {"note": "CANARY of another trace"}}, chat("s-1", "acme", "x")]));
    let first = bench.processed(&together);
    assert!(!bench.pass(&together).leaks("CANARY"), "in the same request");
    first.effects.iter().for_each(|effect| bench.processor.apply(effect));
    let known = bench.pass(&plain(3));
    assert!(!known.leaks("CANARY"));
    assert_eq!(known.attributes(0).get("http.request.method").map(String::as_str), Some("GET"));
    assert!(known.attributes(0).contains_key("gen_ai.payload.s3_uri"), "an auditor finds it");
    // Another resource of the same service, in one request.
    let split = json!({"groups": [
        {"resource": {"service.name": "bot"}, "items": [chat("s-2", "acme", "x")]},
        {"resource": {"service.name": "bot", "host.name": "b"}, "items": [{"name": "GET /", "trace": 8, "attributes": {"note": "CANARY of a host"}}]}]});
    assert!(!Bench::new().pass(&split).leaks("CANARY"), "of the same service");
    let mut other = plain(4);
    other["resource"]["service.name"] = json!("other");
    assert!(bench.pass(&other).leaks("CANARY"), "another service");
    let mut again = Bench::new();
    again.processor.restore(&bench.processor.checkpoint().expect("state"));
    assert!(!again.pass(&plain(5)).leaks("CANARY"), "after a restart");
}

/// A service called by an agent shares its traces but is not an agent's service: its data elsewhere stays.
#[test]
fn services_that_agents_call_are_no_agents() {
    let mut bench = Bench::new();
    let payments = |trace: u32, note: &str| json!({"resource": {"service.name": "payments"}, "items": [{"name": "settle", "trace": trace, "attributes": {"note": note}}]});
    let mut agent = chat("s-1", "acme", "x");
    agent["trace"] = json!(1);
    let together =
        json!({"groups": [{"resource": {"service.name": "bot"}, "items": [agent]}, payments(1, "CANARY of the call")]});
    let first = bench.processed(&together);
    first.effects.iter().for_each(|effect| bench.processor.apply(effect));
    assert!(!bench.pass(&payments(1, "CANARY of the call")).leaks("CANARY"), "of the agent's trace");
    let nightly = bench.pass(&payments(2, "nightly job settled all invoices"));
    assert_eq!(nightly.attributes(0).get("note").map(String::as_str), Some("nightly job settled all invoices"));
}

/// Logs without trace and session are matched for repeated content only with their own service.
#[test]
fn logs_without_a_trace_are_their_services() {
    let bench = Bench::new();
    let said = "my left knee hurts badly since last tuesday morning";
    let log = |service: &str, body: Json| {
        let case = json!({"signal": "logs", "resource": {"service.name": service}, "items": [{"body": body}]});
        bench.processed(&case)
    };
    let first = log("shop", json!({"role": "user", "content": said}));
    first.effects.iter().for_each(|effect| bench.processor.apply(effect));
    let quotes = |service: &str| log(service, json!(format!("refused: {said}"))).echoes.is_some();
    assert!(quotes("shop") && !quotes("clinic"));
}

/// An adopted item's content neither moves nor duplicates that of its neighbours and their resource.
#[test]
fn adopted_items_change_no_neighbour() {
    let mut bench = Bench::new();
    let news = bench.processor.traces.effect("default", &[&[0_u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]]);
    bench.processor.traces.apply(&news.expect("news"));
    let items = |bystander: Option<u32>| {
        let mut items = vec![chat("s-1", "acme", "CANARY in")];
        let render = |trace: u32| json!({"name": "render", "trace": trace, "span": 9, "attributes": {"template": "CANARY dear customer"}});
        items.extend(bystander.map(render));
        json!({"resource": {"note": "CANARY of all"}, "items": items})
    };
    // By its service; by its trace too.
    let (alone, known, adopted) = (bench.pass(&items(None)), bench.pass(&items(Some(4))), bench.pass(&items(Some(5))));
    assert!(![&alone, &known, &adopted].iter().any(|out| out.leaks("CANARY")));
    let pieces = |out: &Out| {
        out.documents.iter().flat_map(|document| &document.items).map(|item| item.content.len()).sum::<usize>()
    };
    assert_eq!((pieces(&known), pieces(&adopted)), (pieces(&alone) + 1, pieces(&alone) + 1));
}

/// An account that floods forgets no trace of another one, also after a restart, nor one of its own that goes on; a
/// state that was saved without accounts is read.
#[test]
fn a_flood_forgets_no_trace_of_others() {
    use super::super::super::known_traces::KnownTraces;
    let new = || KnownTraces::new(8);
    let (traces, old) = (new(), new());
    assert!(old.apply(&[&[1_u8][..], &[7; 32]].concat()) && old.len() == 1);
    let flood = |traces: &KnownTraces| {
        let tell = |account: &str, trace: u8| {
            traces.effect(account, &[&[trace; 16]]).iter().for_each(|body| assert!(traces.apply(body)));
        };
        (0..3).for_each(|trace| tell("a", trace));
        for trace in 0..100 {
            tell("b", trace);
            tell("b", 200);
            assert!(traces.is_agent_trace("b", &[200; 16]));
        }
        assert!((0..3).all(|trace| traces.is_agent_trace("a", &[trace; 16])));
    };
    flood(&traces);
    let restored = new();
    assert!(restored.apply(&traces.save()));
    flood(&restored);
}

/// A tool call is linked to the model call that requested it: in one request, and in a later one after the commit.
#[test]
fn tools_know_who_asked() {
    let bench = Bench::new();
    let output = json!([{"role": "assistant", "parts": [{"type": "text", "content": "ok"},
        {"type": "tool_call", "id": "call_1", "name": "t", "arguments": {"id": "call_9"}}]}]);
    let openai = json!({"choices": [{"message": {"tool_calls": [{"id": "call_2", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}]});
    let responses = json!([{"type": "function_call", "id": "fc_3", "call_id": "call_3", "name": "f"}, {"type": "tool_result", "id": "call_4"}]);
    let chat = |span: &str, output: &Json| {
        json!({"name": "chat m", "trace": 1, "span": span, "attributes": {"gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m", "gen_ai.output.messages": output.to_string()}})
    };
    let tool = |id: &str| {
        json!({"name": "execute_tool t", "trace": 1, "span": 5, "attributes": {"gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "t", "gen_ai.tool.call.id": id}})
    };
    let pass = |items: Vec<Json>, commit: bool| -> Vec<Option<String>> {
        let batch = bench.processed(&json!({ "items": items }));
        if commit {
            batch.effects.iter().for_each(|effect| bench.processor.apply(effect));
        }
        let items: Vec<_> = batch.payload.items().collect();
        items.iter().map(|node| batch.payload.get_str(*node, "tollgate.tool.requested_by").map(str::to_owned)).collect()
    };
    let calls = || {
        vec![chat("00000000000000a1", &output), chat("00000000000000a2", &openai), chat("00000000000000a3", &responses)]
    };
    let tools = || ["call_1", "call_2", "call_3", "call_4", "call_9"].map(tool).to_vec();
    let expected = [Some("00000000000000a1"), Some("00000000000000a2"), Some("00000000000000a3"), None, None]
        .map(|by| by.map(str::to_owned));
    let together = pass(tools().into_iter().chain(calls()).collect(), false);
    assert_eq!(together.get(..5), Some(&expected[..]));
    assert_eq!(pass(tools(), true), vec![None; 5], "not committed");
    pass(calls(), true);
    assert_eq!(pass(tools(), true), expected);
    // A flood of another account forgets none of them.
    bench.processor.tool_requests.remember("large".into(), &(0..100_000).map(|hash| (hash, [9; 8])).collect());
    assert_eq!(pass(tools(), true), expected);
}

/// An error text that will be cut is in the vault in full and still on the item; one that is forwarded whole is not
/// vaulted.
#[test]
fn long_error_texts_are_kept_whole() {
    let long = "stack ".repeat(3_000);
    let span = |text: &str| {
        json!({"name": "invoke_agent t", "attributes": {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "t",
        "exception.stacktrace": text, "error": true}})
    };
    let out = Bench::new().pass(&json!({ "items": [span(&long), span("short")] }));
    assert_eq!(out.attributes(0)["exception.stacktrace"], long, "cut later");
    assert_eq!(out.documents.len(), 1);
    let piece = &out.documents[0].items[0].content[0];
    assert_eq!((piece.key.as_deref(), piece.value.as_str()), (Some("exception.stacktrace"), Some(long.as_str())));
    assert_eq!(out.documents[0].items.len(), 1);
    assert!(!out.attributes(1).contains_key("gen_ai.payload.s3_uri"));
}

/// `leave: redacted` seals the original of every part and shape of content, and leaves the text for the redaction step.
#[test]
fn every_part_may_stay_for_redaction() {
    let mut bench = Bench::with(LeftContent::Redacted, true);
    let keys = [
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
    ];
    let mut span = chat("s", "acme", "x");
    for key in keys {
        span["attributes"][key] = json!("[{\"role\":\"user\",\"content\":\"REDACTME now\"}]");
    }
    let out = bench.pass(&json!({ "items": [span] }));
    let attributes = out.attributes(0);
    for key in keys {
        assert_eq!(attributes[key], "[X]", "{key}");
    }
    assert!(attributes.contains_key("gen_ai.payload.s3_uri") && attributes.contains_key("gen_ai.tool.call.result_ref"));
    assert!(!out.leaks("REDACTME") && out.opened.matches("REDACTME").count() == keys.len());
}
