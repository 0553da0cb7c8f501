//! Tests that each call is billed once: layers with spans between them, ids that identify nothing, unknown operations,
//! events that repeat spans.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{
    COPY, CORRECTION, PRICED, UNPRICED, all, assert_shows, attributes, build, build_with, call, case_file, chat,
    configured, cost_attributes, defaults, facts_in, guess, metered, one, processed, processed_from, run, status,
    statuses, statuses_with, with_id,
};
use crate::cost::{CostProcessor, DetailsEventPolicy};
use genai::BillingStatus;
use genai::testing::request;
use kernel::clock::UnixNanos;
use otlp::Payload;
use pipeline::{Batch, Processor as _};
use telemetry::Meter;

/// A span of `tests/cases/billed-once.yaml`.
fn layer(case: &Json) -> Json {
    let number = |key: &str, at: usize| case[key][at].as_u64().unwrap_or(0);
    let (span, parent) = (number("at", 0), number("at", 1));
    let mut item = match case["model"].as_str() {
        Some(model) => call(span, parent, model, number("tokens", 0), number("tokens", 1)),
        None => json!({"name": "RunnableSequence", "trace": 1, "span": span, "parent": parent,
            "attributes": {"http.request.method": "POST"}}),
    };
    let attributes = item["attributes"].as_object_mut().unwrap();
    attributes.extend(case["more"].as_object().cloned().unwrap_or_default());
    attributes.retain(|_, value| !value.is_null());
    item
}

/// Must not regress: layers, sums, retries and nested calls are billed once, in whatever requests and order their spans
/// come.
#[test]
fn each_call_is_billed_once() {
    let cases: Vec<Json> = case_file("tests/cases/billed-once.yaml");
    let mut failed = Vec::new();
    for case in &cases {
        let named = case["spans"].as_object().unwrap().iter();
        let spans: BTreeMap<&str, Json> = named.map(|(name, span)| (name.as_str(), layer(span))).collect();
        for way in case["ways"].as_array().unwrap().iter().map(|way| way.as_str().unwrap()) {
            let of = |names: &str| names.split(' ').map(|name| &spans[name]).collect::<Vec<&Json>>();
            let requests: Vec<Vec<&Json>> = way.split(" | ").map(of).collect();
            let requests: Vec<&[&Json]> = requests.iter().map(Vec::as_slice).collect();
            let found = statuses_with(case["restarts"] == true, &requests);
            for (numbers, expected) in case["expect"].as_object().unwrap() {
                let of = |number: &str| found[&number.parse::<u64>().unwrap()].map_or("none", BillingStatus::as_str);
                let mut words: Vec<&str> = numbers.split(' ').map(of).collect();
                words.sort_unstable();
                let got = words.join(" ");
                if !expected.as_str().unwrap().split(" or ").any(|one| one == got) {
                    failed.push(format!("{}: {way}: {numbers}: {got} instead of {expected}", case["name"]));
                }
            }
        }
    }
    assert!(cases.len() >= 15 && failed.is_empty(), "{failed:#?}");
}

/// A copy in the same request is marked as such, and so is a sum; neither gets a price.
#[test]
fn copies_and_sums_say_so() {
    let batch = run(&build(), all(&[&call(1, 0, "gpt-4o", 10, 5), &call(2, 1, "gpt-4o", 10, 5)]), 1);
    assert_eq!([status(&batch, 0), status(&batch, 1)], [COPY, PRICED]);
    assert_eq!(attributes(&batch, 0)["tollgate.cost.status"], "not_counted");
    assert!(!attributes(&batch, 0).contains_key("tollgate.cost.usd"));
    let parts = [call(2, 1, "gpt-4o", 10, 5), call(3, 1, "gpt-4o", 20, 6)];
    let batch = run(&build(), all(&[&call(1, 0, "gpt-4o", 30, 11), &parts[0], &parts[1]]), 1);
    let expected = [None, PRICED, PRICED];
    assert_eq!([0, 1, 2].map(|at| status(&batch, at)), expected);
    assert_eq!(cost_attributes(&batch, 0), [("tollgate.cost.status".to_owned(), json!("included"))]);
}

fn in_trace(trace: u64, output: u64) -> Json {
    let mut item = chat("chatcmpl-1", output);
    item["trace"] = json!(trace);
    item
}

/// An id that another trace uses for a different call identifies nothing: both calls are priced and the second is
/// flagged. A record with the same values is a repeat, in any trace.
#[test]
fn ids_that_are_used_again() {
    let cost = build();
    let both = run(&cost, all(&[&in_trace(1, 50), &in_trace(2, 60)]), 1);
    assert_eq!([status(&both, 0), status(&both, 1)], [PRICED; 2]);
    assert!(!attributes(&both, 0).contains_key("tollgate.cost.flags"));
    assert_eq!(attributes(&both, 1)["tollgate.cost.flags"], json!(["id_reused"]));
    let third = run(&cost, one(in_trace(3, 70)), 2);
    assert_eq!(status(&third, 0), PRICED);
    assert_eq!(attributes(&third, 0)["tollgate.cost.flags"], json!(["id_reused"]));
    for (again, why) in [
        (in_trace(1, 50), "the first again"),
        (in_trace(2, 60), "the second again"),
        (in_trace(3, 70), "the third again"),
        (in_trace(9, 50), "another trace of the same call"),
    ] {
        assert_eq!(status(&run(&cost, one(again), 3), 0), COPY, "{why}");
    }
    let snapshot = run(&cost, one(in_trace(1, 55)), 3);
    assert_eq!(attributes(&snapshot, 0)["tollgate.cost.flags"], json!(["grown"]), "a later snapshot of a stream");
    // Another pipeline branch that processes the batch stamps it alike.
    let [first, branch] = [(); 2].map(|()| attributes(&processed(&cost, one(in_trace(4, 80)), 4), 0));
    assert_eq!((&first, &first["tollgate.cost.status"]), (&branch, &json!("priced")));
}

/// An id shared by calls of one trace with different inputs identifies nothing, in one request or several; nor do words
/// for "none". With the same input it is a stream snapshot.
#[test]
fn ids_that_are_used_again_in_a_trace() {
    let used = |id: &str| -> Vec<Json> {
        let calls = (1..4_u64).map(|at| with_id(call(at + 1, 1, "gpt-4o", at * 1000, at), id));
        calls.collect()
    };
    for id in ["chatcmpl-1", "-", "0", "unset", "None", "<none>", "00000000-0000-0000-0000-000000000000"] {
        let calls = used(id);
        let refs: Vec<&Json> = calls.iter().collect();
        let each: Vec<&[&Json]> = refs.chunks(1).collect();
        for requests in [&[&refs[..]][..], &each] {
            assert_eq!(statuses(requests).into_values().collect::<Vec<_>>(), [PRICED; 3], "{id}");
        }
        let flags = |at: usize| attributes(&run(&build(), all(&refs), 1), at).get("tollgate.cost.flags").cloned();
        let told = (id == "chatcmpl-1").then(|| json!(["id_reused"]));
        assert_eq!([flags(0), flags(1), flags(2)], [None, told.clone(), told], "{id}");
    }
    let mut calls = used("chatcmpl-1");
    calls[1]["attributes"]["gen_ai.usage.input_tokens"] = json!(1000);
    let found = statuses(&[&[&calls[0]], &[&calls[1]]]);
    assert_eq!([found[&2], found[&3]], [PRICED, CORRECTION], "the second costs what came since");
}

/// A total shows whether input excludes cached tokens, and output reasoning, whatever the conventions say.
#[test]
fn totals_are_evidence() {
    let item = |provider: &str, model: &str, more: &Json| {
        let mut item = call(2, 1, model, 1000, 50);
        item["attributes"]["gen_ai.provider.name"] = json!(provider);
        item["attributes"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        attributes(&run(&build(), one(item), 1), 0)["tollgate.cost.usd"].clone()
    };
    let cached = json!({"gen_ai.usage.cache_read.input_tokens": 800, "gen_ai.usage.total_tokens": 1850});
    assert_eq!(item("anthropic", "claude-sonnet-4-5", &cached), "0.00399");
    let thought = json!({"gen_ai.usage.reasoning.output_tokens": 40, "gen_ai.usage.total_tokens": 1090});
    assert_eq!(item("gcp.gemini", "gemini-2.5-pro", &thought), "0.00215");
}

/// An application's own `request_id` is not the id of a model call.
#[test]
fn request_ids_of_applications() {
    let steps: Vec<Json> = (2..5)
        .map(|span| {
            let mut step = guess(span, 0, Some(span * 10));
            step["attributes"]["request_id"] = json!("http-req-1");
            step
        })
        .collect();
    let batch = run(&build(), all(&steps.iter().collect::<Vec<_>>()), 1);
    assert_eq!([0, 1, 2].map(|at| status(&batch, at)), [PRICED; 3]);
}

/// Whatever the operation is called, an item with tokens and a model is a call, unless the name denotes a sum of calls.
#[test]
fn operations_by_other_names() {
    let item = |operation: &str| {
        let mut item = call(2, 1, "gpt-4o", 1000, 10);
        item["attributes"]["gen_ai.operation.name"] = json!(operation);
        item
    };
    for operation in "chat_completions text_generation generate_text stream_chat create_response message_create \
            responses_create structured_output image_generation speech_to_text chat_completion completion \
            invoke_model invoke_model_with_response_stream InvokeModel"
        .split(' ')
    {
        let batch = run(&build(), one(item(operation)), 1);
        assert_eq!(status(&batch, 0), PRICED, "{operation}");
        assert!(!attributes(&batch, 0).contains_key("tollgate.cost.flags"), "{operation}");
    }
    for operation in "ask_oracle summarise_letters execute_model agent_chat team_chat task_completion agent_llm_call \
            summarize_thread flow_llm"
        .split(' ')
    {
        let cost = build();
        let batch = run(&cost, one(item(operation)), 1);
        assert_eq!(status(&batch, 0), PRICED, "{operation}");
        assert_eq!(attributes(&batch, 0)["tollgate.cost.flags"], json!(["unknown_operation"]));
        // Above a call it is a roll-up, in one request or two.
        let mut above = item(operation);
        (above["span"], above["parent"], above["attributes"]["gen_ai.usage.input_tokens"]) =
            (json!(1), json!(0), json!(1100));
        assert_eq!(status(&run(&cost, one(above.clone()), 2), 0), None);
        assert_eq!(status(&run(&build(), all(&[&above, &item("chat")]), 1), 0), None);
    }
    // The tokens of an agent without calls are billed: nothing else reports them.
    let agent = run(&build(), one(item("invoke_agent")), 1);
    assert_eq!(status(&agent, 0), PRICED);
    for operation in ["create_agent", "plan", "agent_step", "run_workflow", "search_memory", "execute_tool"] {
        assert_eq!(status(&run(&build(), one(item(operation)), 1), 0), None, "{operation}");
    }
}

/// Must not regress: an answer that is fetched again with its tokens is never billed, and its call always is in full,
/// whichever comes first, wherever the two are in the trace, on whichever signal, whoever reports them.
#[test]
fn fetched_answers_are_not_billed() {
    let plain = ["app", "gcp.vertex.agent", "litellm", "crewai.telemetry", "mistralai_sdk_tracer"];
    let marked = [
        ("app", json!({"langgraph.node": "n"})),
        ("app", json!({"langtrace.service.name": "openai"})),
        ("opentelemetry.instrumentation.langchain", json!({"traceloop.span.kind": "task"})),
    ];
    let emitters = plain.map(|scope| (scope, json!({}))).into_iter().chain(marked);
    let fetches = ["fetch_response", "FETCH_RESPONSE", "responses.retrieve", "retrieve_response", "aget_responses"];
    let mut fetches = fetches.into_iter().cycle();
    for (scope, marks) in emitters {
        for (parent, fetch_parent, trace) in [(1, 2, 1), (3, 1, 1), (1, 1, 1), (1, 9, 7)] {
            let operation = fetches.next().unwrap();
            let item = |span: u64, parent: u64| {
                let mut item = with_id(call(span, parent, "gpt-5-mini", 1000, 50), "resp_1");
                item["attributes"].as_object_mut().unwrap().extend(marks.as_object().unwrap().clone());
                item
            };
            let (real, mut span) = (item(2, parent), item(3, fetch_parent));
            (span["trace"], span["attributes"]["gen_ai.operation.name"]) = (json!(trace), json!(operation));
            let mut event = span.clone();
            event["event_name"] = json!("gen_ai.client.inference.operation.details");
            let of = |signal: &str, items: &[&Json]| {
                request::payload(&json!({"signal": signal, "scope": {"name": scope}, "items": items}))
            };
            let ways = [
                vec![of("traces", &[&span]), of("traces", &[&real])],
                vec![of("traces", &[&real]), of("traces", &[&span])],
                vec![of("traces", &[&span, &real])],
                vec![of("logs", &[&event]), of("traces", &[&real])],
                vec![of("traces", &[&real]), of("logs", &[&event])],
            ];
            for (way, requests) in ways.into_iter().enumerate() {
                let cost = build();
                let mut bills = Vec::new();
                for (id, payload) in (1..).zip(requests) {
                    let batch = run(&cost, payload, id);
                    let items = 0..facts_in(&batch).items.len();
                    bills.extend(items.filter_map(|at| attributes(&batch, at).remove("tollgate.cost.usd")));
                }
                let case = format!("{scope} {marks} {operation}, way {way}, in trace {trace} below {fetch_parent}");
                assert_eq!(bills, ["0.00035"], "{case}");
            }
        }
    }
    // A call of an unknown operation is no sum over the answers that are fetched below it.
    let (mut guessed, mut span) = (call(2, 1, "gpt-5-mini", 1000, 50), call(3, 2, "gpt-5-mini", 1000, 50));
    guessed["attributes"]["gen_ai.operation.name"] = json!("ask_oracle");
    span["attributes"]["gen_ai.operation.name"] = json!("fetch_response");
    assert_eq!(statuses(&[&[&guessed, &span]])[&2], PRICED);
}

/// Images and speech without tokens are counted as unbilled.
#[test]
fn media_without_tokens() {
    let (cost, meter) = metered();
    for (id, operation) in [(1, "image_generation"), (2, "text_to_speech"), (3, "chat")] {
        let item = json!({"name": operation, "attributes": {"gen_ai.operation.name": operation,
            "gen_ai.provider.name": "openai", "gen_ai.request.model": "dall-e-3"}});
        assert_eq!(status(&run(&cost, one(item), id), 0), UNPRICED);
    }
    assert_shows(
        &meter,
        "tollgate_cost_unbilled_calls_total{dialect=\"otel-semconv-1.37-1.41\",reason=\"no_tokens\"} 2",
    );
}

/// A repeated answer with more output costs the difference; with equal or less output it costs nothing, however often
/// it is repeated.
#[test]
fn answers_that_grow() {
    let (cost, meter) = metered();
    let snapshot = |span: u64, output: u64| one(with_id(call(span, 9, "gpt-5-mini", 1000, output), "resp-1"));
    let usd = |batch: &pipeline::Batch| attributes(batch, 0)["tollgate.cost.usd"].clone();
    assert_eq!(usd(&run(&cost, snapshot(2, 50), 1)), "0.00035");
    let grown = run(&cost, snapshot(3, 150), 2);
    assert_eq!((usd(&grown), &attributes(&grown, 0)["tollgate.cost.flags"]), (json!("0.0002"), &json!(["grown"])));
    for (number, output) in [(3_u8, 150), (4, 50), (5, 149)] {
        assert_eq!(status(&run(&cost, snapshot(u64::from(number) + 10, output), number), 0), COPY);
    }
    let again = build_with(&defaults(), &meter);
    again.restore(&cost.checkpoint().unwrap());
    assert_eq!(usd(&run(&again, snapshot(20, 200), 6)), "0.0001");
    let total: f64 = meter.values(&telemetry::names::COST_USD).iter().sum();
    assert!((total - 0.00065).abs() < 1e-12, "{total}");
}

/// An answered call without tokens has no price, gives the reason, and counts once however often it is sent; a layer
/// around a call with tokens is not counted.
#[test]
fn calls_without_usage() {
    let (cost, meter) = metered();
    let bare = |span: u64, parent: u64| {
        json!({"name": "chat", "trace": 1, "span": span, "parent": parent, "attributes": {"gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5-mini"}})
    };
    for (batch, expected) in [(1, UNPRICED), (2, COPY), (3, COPY)] {
        let batch = run(&cost, one(bare(2, 9)), batch);
        assert_eq!(status(&batch, 0), expected);
        let reason = attributes(&batch, 0).remove("tollgate.cost.reason");
        assert_eq!(reason, (expected == UNPRICED).then(|| json!("no_usage")));
    }
    let counted = || {
        let rendered = meter.render();
        let lines =
            rendered.lines().filter(|line| line.contains("no_usage") && line.starts_with("tollgate_cost_unpriced"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let after_one = counted();
    assert!(after_one > 0.0, "{}", meter.render());
    // Another instrumentation's span around a call with tokens, and one inside it.
    let told = call(4, 3, "gpt-5-mini", 1000, 50);
    let batch = run(&cost, request::payload(&json!({"items": [bare(3, 9), told, bare(5, 4)]})), 4);
    assert_eq!([0, 1, 2].map(|at| status(&batch, at)), [None, PRICED, None]);
    // In a chain without tokens the innermost span counts.
    let batch = run(&cost, request::payload(&json!({"items": [bare(6, 9), bare(7, 6)]})), 5);
    assert_eq!([0, 1].map(|at| status(&batch, at)), [None, UNPRICED]);
    let mut failed = bare(8, 9);
    failed["status"] = json!("error");
    assert_eq!(status(&run(&cost, one(failed), 6), 0), None);
    assert!((counted() - 2.0 * after_one).abs() < f64::EPSILON, "{}", meter.render());
}

/// The details event repeats its span. If spans never arrive and the option is set, the event is the call; of both, the
/// first to arrive counts.
#[test]
fn details_events() {
    let span = || one(call(2, 0, "gpt-5-mini", 1000, 50));
    let event = || {
        let mut attributes = call(2, 0, "gpt-5-mini", 1000, 50)["attributes"].clone();
        attributes["event.name"] = json!("gen_ai.client.inference.operation.details");
        request::payload(&json!({"signal": "logs", "items": [{"trace": 1, "span": 2, "attributes": attributes}]}))
    };
    let with = |details_event| build_with(&configured(|config| config.details_event = details_event), &Meter::new());
    assert_eq!(status(&run(&with(DetailsEventPolicy::Never), event(), 1), 0), COPY);
    for (first, second) in [(span as fn() -> Payload, event as fn() -> Payload), (event, span)] {
        let cost = with(DetailsEventPolicy::IfNoSpan);
        let first = run(&cost, first(), 1);
        assert_eq!(attributes(&first, 0)["tollgate.cost.usd"], "0.00035");
        let second = run(&cost, second(), 2);
        assert_eq!(status(&second, 0), COPY);
    }
    // Only one of the two carries the response id.
    let named = with_id(call(2, 0, "gpt-5-mini", 1000, 50), "chatcmpl-7");
    let cost = with(DetailsEventPolicy::IfNoSpan);
    assert_eq!(status(&run(&cost, one(named), 1), 0), PRICED);
    assert_eq!(status(&run(&cost, event(), 2), 0), COPY);
}

/// When the maximum number of calls waits for a parent, a further call is counted as unpriced at once.
#[test]
fn no_room_to_wait() {
    let waiting = |span: u64| {
        json!({"name": "gen_ai.chat", "trace": 1, "span": span, "parent": 1, "attributes": {
            "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5}})
    };
    let (cost, meter) = metered();
    let room = super::super::waiting_calls::MAX_WAITING as u64;
    let items: Vec<Json> = (2..room + 12).map(waiting).collect();
    let batch = run(&cost, all(&items.iter().collect::<Vec<_>>()), 1);
    let (last, first) = (items.len() - 1, attributes(&batch, 0));
    assert_eq!(first["tollgate.cost.status"], "deferred");
    let over = attributes(&batch, last);
    assert_eq!(
        (&over["tollgate.cost.status"], &over["tollgate.cost.reason"]),
        (&json!("unpriced"), &json!("no_model"))
    );
    assert_shows(&meter, "tollgate_cost_wait_rejected_total 10");
    // All calls that wait for one parent are settled by it.
    let root = json!({"name": "agent.run", "trace": 1, "span": 1, "attributes": {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-5-mini"}});
    let settled = run(&cost, one(root), 2);
    assert_eq!(super::facts_in(&settled).late_prices.len(), room as usize);
    cost.tick(UnixNanos(1_795_000_700_000_000_000));
    assert_shows(&meter, "reason=\"no_model\",nearest=\"\"} 10");
}

/// A record that another worker counted is a copy here, and its price is known. A copy in another record has no price.
#[test]
fn another_worker_counts_a_record() {
    let (other, here) = (build(), build());
    let process = |cost: &CostProcessor, record: u8| {
        let payload = one(call(1, 0, "gpt-4o", 1000, 10));
        processed_from(cost, payload, record, |origin| {
            origin.source_record = Some(format!("in/0/{record}").into());
            // no two workers get a record at the same nanosecond, which their ledgers' numbers rest on
            origin.received.0 += u64::from(std::ptr::eq(cost, &here));
        })
    };
    let price = |batch: &Batch| facts_in(batch).items[0].cost.clone().unwrap();
    let told = process(&other, 1);
    told.effects.iter().for_each(|effect| here.apply_shared(effect, &"worker-1".into()));
    let copy = process(&here, 1);
    let cost = price(&copy);
    assert_eq!((cost.status, cost.usd, cost.atto_usd), (BillingStatus::NotCounted, None, None));
    assert_eq!((cost.uncounted_usd.as_deref(), price(&told).usd.as_deref()), (Some("0.0026"), Some("0.0026")));
    assert_eq!(attributes(&copy, 0).get("tollgate.cost.usd"), None, "back ends add prices up");
    let cost = price(&process(&here, 9));
    assert_eq!((cost.status, cost.uncounted_usd), (BillingStatus::NotCounted, None), "in another record");
    assert!(!here.meter.render().contains("tollgate_cost_usd_total{"), "nothing is counted here");
}
