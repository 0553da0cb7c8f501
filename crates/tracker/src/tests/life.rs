//! How runs and sessions end and are measured, which totals a root is stamped with, and limits.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::support::*;
use crate::{Config, RunTracker, Settings};
use genai::testing::request;
use kernel::clock::UnixNanos;
use kernel::pseudonym::{IdPolicy, Pseudonymizer};
use kernel::secret::Secret;
use otlp::Value;
use pipeline::Processor;
use redaction::RedactionIdPolicy;
use runs::RunState;
use telemetry::Meter;

const MINUTE: Duration = Duration::from_secs(60);

/// A run of two calls and a tool under `agent.run`, with numbered trace and session.
fn agent_run(n: u64) -> Vec<Json> {
    let (trace, session) = (n + 1, format!("s{n}"));
    let usage = json!({"session.id": session, "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10, "gen_ai.response.finish_reason": "stop"});
    vec![
        json!({"name": "gen_ai.chat", "trace": trace, "span": 2, "parent": 1, "start": 1_795_166_000, "end": 1_795_166_003, "attributes": usage}),
        json!({"name": "gen_ai.tool.grep", "trace": trace, "span": 3, "parent": 1, "start": 1_795_166_004, "end": 1_795_166_005,
            "attributes": {"gen_ai.tool.name": "grep", "session.id": session}}),
        json!({"name": "gen_ai.chat", "trace": trace, "span": 4, "parent": 1, "start": 1_795_166_005, "end": 1_795_166_007, "attributes": usage}),
        json!({"name": "agent.run", "trace": trace, "span": 1, "start": 1_795_166_000, "end": 1_795_166_008,
            "attributes": {"gen_ai.request.model": "m", "agent.type": "sre", "tenant.id": "acme", "session.id": session}}),
    ]
}

fn play(line: &Line, items: &[Json]) -> pipeline::Batch {
    line.play(request::payload(&json!({"items": items})))
}

/// A call that arrived before the span with its model is priced in the run once that span arrives, and counts once.
#[test]
fn late_prices_reach_the_run() {
    let line = Line::whole(runs());
    let usage = json!({"session.id": "s", "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 50});
    play(
        &line,
        &[
            json!({"name": "gen_ai.chat", "trace": 1, "span": 2, "parent": 1, "start": 1_795_166_000, "attributes": usage}),
        ],
    );
    play(
        &line,
        &[json!({"name": "agent.run", "trace": 1, "span": 1, "start": 1_795_166_000, "end": 1_795_166_008,
        "attributes": {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-5-mini", "session.id": "s"}})],
    );
    let views = line.views();
    let totals: Vec<(u64, i128, u64)> = views
        .iter()
        .flat_map(|view| view.totals.models.values())
        .map(|model| (model.calls, model.atto_usd, model.unpriced))
        .collect();
    assert_eq!(views.len(), 1);
    assert_eq!(totals, [(1, 350_000_000_000_000, 0)], "{}", show(&views[0]));
}

fn states(line: &Line) -> Vec<RunState> {
    line.views().iter().map(|view| view.state).collect()
}

fn small(max_runs: u32) -> Settings {
    Config { max_runs, ..Config::default() }.settings().unwrap_or_else(|_| panic!("valid"))
}

/// The end of a session ends its runs and, once quiet, the session; a session that is resumed is not cut off.
#[test]
fn session_end() {
    let meter = Meter::new();
    let line = Line::new(runs_with(settings(), &meter));
    let hook = |name: &str, trace: u64, start: u64, turn: &str| {
        let mut attributes = json!({"session.id": "s", "gen_ai.tool.name": "Bash", "tool_use_id": turn});
        if !turn.is_empty() {
            attributes["turn.id"] = json!(turn);
        }
        json!({"name": name, "trace": trace, "span": 1, "start": start, "attributes": attributes})
    };
    let hooks = |items: &[Json]| {
        line.play(request::payload(&json!({"scope": {"name": "claude_code_hooks"}, "items": items})));
    };
    hooks(&[hook("claude_code.tool", 1, 1_795_166_000, "t1"), hook("claude_code.session.end", 2, 1_795_166_010, "")]);
    assert_eq!(states(&line), [RunState::Ended]);
    let now = wait(&line.runs, NOW, MINUTE);
    assert!(meter.render().contains("agent_sessions_total{feature=\"unattributed\"} 1"), "{}", meter.render());
    // resumed
    hooks(&[hook("claude_code.tool", 3, 1_795_166_100, "t2")]);
    assert_eq!(states(&line), [RunState::Ended, RunState::Live]);
    wait(&line.runs, now, 40 * MINUTE);
    assert_eq!(states(&line), [RunState::Ended, RunState::Idle]);
    let text = meter.render();
    // its second part is measured by itself, without the first
    assert!(text.contains("agent_sessions_total{feature=\"unattributed\"} 2"), "{text}");
    let tools = "agent_session_tool_calls_sum{feature=\"unattributed\",tool_name=\"Bash\"} 2";
    assert!(text.contains(tools), "{text}");
    let seconds = "agent_session_duration_seconds_sum{feature=\"unattributed\",model=\"unattributed\"} 10";
    assert!(text.contains(seconds), "{text}");
}

/// A clock that jumps forwards or backwards ends nothing.
#[test]
fn clock_jumps() {
    let meter = Meter::new();
    let line = Line::new(runs_with(settings(), &meter));
    play(&line, &agent_run(0)[..3]);
    line.runs.tick(NOW);
    line.runs.tick(NOW.plus(Duration::from_secs(30 * 86_400)));
    line.runs.tick(UnixNanos(5));
    line.runs.tick(NOW);
    assert_eq!(states(&line), [RunState::Live]);
    wait(&line.runs, NOW, 31 * MINUTE);
    assert_eq!(states(&line), [RunState::Idle]);
}

/// A run of 31 days shows its duration; one with an implausible start shows none. Regression test: it showed the years
/// since 1970.
#[test]
fn long_runs_show_their_time() {
    let root = |n: u64, begin: u64| {
        json!({"name": "agent.run", "trace": n, "span": 1, "start": begin, "end": 1_795_166_008,
            "attributes": {"gen_ai.request.model": "m", "session.id": format!("s{n}")}})
    };
    let line = Line::whole(runs());
    play(&line, &[root(1, 1_795_166_008 - 31 * 86_400), root(2, 1)]);
    let mut took: Vec<u64> = line.views().iter().map(|view| view.duration / 1_000_000_000).collect();
    took.sort_unstable();
    assert_eq!(took, [0, 31 * 86_400]);
}

/// Implausible times, and ends before starts, give no absurd durations.
#[test]
fn absurd_times() {
    let line = Line::new(runs());
    let at = |name: &str, span: u64, start: Json, end: Json| {
        json!({"name": name, "trace": 1, "span": span, "parent": if span == 1 { 0 } else { 1 }, "start": start, "end": end,
            "attributes": {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 1}})
    };
    play(
        &line,
        &[
            at("gen_ai.chat", 2, json!(0), json!(0)),
            at("gen_ai.chat", 3, json!(9_000_000_000_u64), json!(1)),
            at("gen_ai.chat", 4, json!(1_795_166_010), json!(1_795_166_001)),
            at("agent.run", 1, json!(1_795_166_005), json!(1_795_166_000)),
        ],
    );
    let views = line.views();
    assert_eq!(views.len(), 1);
    assert_eq!((views[0].totals.calls(), views[0].duration), (3, 0), "{}", show(&views[0]));
    assert!(views[0].last - views[0].start < 60_000_000_000, "{}", show(&views[0]));
}

/// A root is stamped with its run's totals from this and earlier requests; a client's own totals are kept.
#[test]
fn roots_are_told() {
    let line = Line::new(runs());
    let items = agent_run(0);
    play(&line, &items[..2]);
    let batch = play(&line, &items[2..]);
    let payload = &batch.payload;
    let nodes: Vec<_> = payload.items().collect();
    let int = |at: usize, key: &str| payload.get(nodes[at], key).and_then(|value| value.as_count());
    assert_eq!(int(1, "agent.total_input_tokens"), Some(200));
    assert_eq!(int(1, "agent.total_output_tokens"), Some(20));
    assert_eq!(int(1, "agent.tool_calls_made"), Some(1));
    // no step set a price, so no cost is stamped
    assert!(payload.get(nodes[1], "agent.estimated_cost_usd").is_none());
    assert_eq!(int(0, "agent.total_input_tokens"), None);
    let trace = format!("{:032}", 1);
    assert!(nodes.iter().all(|node| payload.get_str(*node, "tollgate.run.id") == Some(&trace)));

    let mut own = items;
    own[3]["attributes"]["agent.total_input_tokens"] = json!(7);
    let batch = play(&line, &own);
    let root = batch.payload.items().last().unwrap();
    assert!(matches!(batch.payload.get(root, "agent.total_input_tokens"), Some(Value::Int(7))));
}

/// Spans are stamped with the run that only logs name, once the logs were committed; turns and iterations as reported.
#[test]
fn stamps_follow_the_state() {
    let session = sessions("claude-code").into_iter().find(|session| session.name == "claude-code/mixed").unwrap();
    let line = Line::new(runs());
    let (mut stamped, mut of_first) = (0, 0);
    for payload in session.payloads {
        let batch = line.play(payload);
        for node in batch.payload.items() {
            if let Some(run) = batch.payload.get_str(node, "tollgate.run.id") {
                stamped += 1;
                of_first += usize::from(run == "58482aff-ccd9-4a1b-a00e-22857c324a05");
                let told = batch.payload.get_str(node, "prompt.id");
                assert!(told.is_none_or(|told| told == run));
            }
        }
    }
    // all but two spans of the sub-agent, whose parent had not arrived, and start-up records
    assert!(stamped > 60 && of_first > 40, "{of_first} of {stamped}");
    let plain = json!({"items": [{"name": "model", "trace": 9, "span": 1, "attributes": {"model": "m", "iteration": 3,
        "input_tokens": 1, "output_tokens": 1, "turn.id": "t"}}]});
    let batch = line.play(request::payload(&plain));
    let node = batch.payload.items().next().unwrap();
    assert_eq!(batch.payload.get(node, "tollgate.run.iteration").and_then(|value| value.as_count()), Some(3));
    assert_eq!(batch.payload.get_str(node, "tollgate.run.turn"), Some("t"));
}

/// A call without them gets the agent and the conversation of its run: its own, else what the request or earlier ones
/// say of its trace, else the client's name and the trace. Another gateway takes these for neither feature nor session.
#[test]
fn calls_name_their_agent_and_conversation() {
    let line = Line::new(runs());
    let chat = |trace: u32, span: u32, more: Json| {
        let mut attributes = json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 1});
        attributes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"name": "chat", "trace": trace, "span": span, "attributes": attributes})
    };
    let names = |items: &[Json]| {
        let payload = play(&line, items).payload;
        let name = |node, key| payload.get_str(node, key).unwrap_or("").to_owned();
        let of_item = |node| [name(node, "gen_ai.agent.name"), name(node, "gen_ai.conversation.id")];
        payload.items().map(of_item).collect::<Vec<_>>()
    };
    let own = json!({"session.id": "s1", "agent.name": "keeper"});
    assert_eq!(names(&[chat(1, 1, own), chat(1, 2, json!({}))])[1][1], "s1", "the request names it");
    assert_eq!(names(&[chat(1, 3, json!({}))])[0][1], "s1", "an earlier request named it");
    let [agent, conversation] = names(&[chat(2, 1, json!({}))])[0].clone();
    assert_eq!(agent, "otel-semconv-1.37-1.41", "nothing but the dialect is known");
    assert_eq!(conversation, format!("trace-{:032}", 2));
    let stamped = json!({"gen_ai.agent.name": agent, "gen_ai.conversation.id": conversation,
        "tollgate.run.id": "r"});
    play(&line, &[chat(2, 2, stamped)]);
    let second = line.views().into_iter().find(|run| run.run == format!("{:032}", 2)).unwrap();
    assert_eq!((second.feature, second.session), (None, format!("trace-{:032}", 2)));
    let in_trace = |trace: u32, session: &str| chat(trace, 7, json!({"session.id": session}));
    assert_eq!(names(&[in_trace(5, "a"), in_trace(5, "b"), chat(5, 9, json!({}))])[2][1], "", "of which one?");
    let no_trace = |more: Json| {
        let mut log = chat(0, 0, more);
        log.as_object_mut().unwrap().retain(|key, _| key != "trace" && key != "span");
        log
    };
    let logs = [no_trace(json!({"session.id": "alice"})), no_trace(json!({"event.name": "bob"}))];
    assert_eq!(names(&logs)[1][1], "", "no trace joins them");
    let tool = json!({"name": "GET", "trace": 2, "span": 9, "attributes": {"http.request.method": "GET"}});
    assert_eq!(names(&[tool])[0], ["", ""], "no call of an agent");
}

/// Processing changes no shared state: without a commit nothing is recorded.
#[test]
fn uncommitted_is_nothing() {
    let line = Line::new(runs());
    line.process(request::payload(&json!({"items": agent_run(0)})));
    assert!(line.views().is_empty());
}

/// Equal bytes that were accepted before are forwarded, but counted once.
#[test]
fn repeats_count_once() {
    let line = Line::new(runs());
    let batch = play(&line, &agent_run(0));
    let before = line.views();
    let mut origin = (*batch.origin).clone();
    origin.repeat = true;
    let mut repeat = pipeline::Batch::new(origin.into(), request::payload(&json!({"items": agent_run(0)})));
    line.runs.process(&mut repeat).unwrap();
    assert!(repeat.effects.is_empty());
    play(&line, &agent_run(0));
    assert!(line.views() == before);
}

/// Above the limit the longest quiet runs are evicted first; unfinished ones count as evicted, not as runs.
#[test]
fn too_many_runs() {
    let meter = Meter::new();
    let line = Line::new(runs_with(small(10), &meter));
    for n in 0..15 {
        let items = agent_run(n);
        play(&line, if n < 2 { &items } else { &items[..3] });
    }
    let text = meter.render();
    assert!(text.contains("tollgate_runs_evicted_total 3"), "{text}");
    assert!(text.contains("agent_run_iterations_count{tenant=\"acme\",feature=\"sre\"} 2"), "{text}");
    let views = line.views();
    assert_eq!(line.runs.state.lock().store.len(), 10, "memory is bounded");
    assert_eq!(views.iter().filter(|view| view.state == RunState::Live).count(), 10);
    assert_eq!(views.iter().filter(|view| view.state == RunState::Evicted).count(), 3);
}

/// Labels are capped, and never contain ids.
#[test]
fn labels_are_capped() {
    let meter = Meter::new();
    let line = Line::new(runs_with(settings(), &meter));
    for n in 0..250_u64 {
        let mut items = agent_run(n);
        items[3]["attributes"]["tenant.id"] = json!(format!("tenant-{n}"));
        items[1]["attributes"]["gen_ai.tool.name"] = json!(format!("tool-{n}"));
        play(&line, &items);
    }
    wait(&line.runs, NOW, 32 * MINUTE);
    let text = meter.render();
    // a hundred values at first; none of the others occurred often enough
    assert!(text.contains("agent_run_iterations_count{tenant=\"other\",feature=\"sre\"} 150"), "{text}");
    assert!(text.contains("tool_name=\"other\""));
    assert!(!text.contains("\"s1\"") && !text.contains("000000000001"));
    assert_eq!(line.runs.sums().by_tenant.len(), 201);
}

/// Names that the rules call private or secret appear nowhere as sent: not in sums, views, metrics or labels, although
/// tool calls are counted immediately.
#[test]
fn private_names_are_shown_nowhere() {
    let meter = Meter::new();
    let rules = processors::redact::RedactConfig::default().settings().unwrap_or_else(|_| panic!("valid"));
    let key = Pseudonymizer::new(&Secret::new("key".into()));
    let ids: Arc<dyn IdPolicy> = Arc::new(RedactionIdPolicy::new(vec![rules.detector], key));
    let line =
        Line::new(with_history(RunTracker::new("runs".into(), settings(), vocabulary(), Arc::clone(&ids), &meter)));
    line.runs.tick(NOW);
    let private = "4111-1111-1111-1111";
    // not a real key: split into parts so that secret scanners ignore it
    let secret = ["sk-ant-", "api03-", &"aB3dE5fG7hJ9kL1m".repeat(5), "-xYz12QAA"].concat();
    let mut items = agent_run(1);
    let mut tool = items[1].clone();
    (tool["span"], tool["attributes"]["gen_ai.tool.name"]) = (json!(9), json!(secret));
    items.push(tool);
    items[3]["attributes"]["tenant.id"] = json!(private);
    for at in [0, 2, 3] {
        items[at]["attributes"]["gen_ai.request.model"] = json!(format!("m-{private}"));
    }
    items[1]["attributes"]["gen_ai.tool.name"] = json!(format!("t-{private}"));
    play(&line, &items);
    let text = meter.render();
    assert!(text.contains("agent_tool_calls_total{") && !text.contains("4111") && !text.contains("api03"), "{text}");
    wait(&line.runs, NOW, 32 * MINUTE);
    let sums = line.runs.sums();
    assert_eq!(sums.by_tenant.keys().collect::<Vec<_>>(), [&*ids.shown_id("default", private)]);
    assert_eq!(sums.by_model.len(), 1);
    assert!(sums.by_model.keys().all(|model| !model.contains("4111")));
    for view in line.views() {
        assert!(view.totals.models.keys().chain(view.totals.tools.keys()).all(|name| !name.contains("4111")));
        assert!(view.tenant.is_some_and(|tenant| tenant.starts_with("h-")));
    }
    let text = meter.render();
    assert!(!text.contains("4111") && !text.contains("api03"), "{text}");
}

/// A million names in one run cost no more than a few.
#[test]
fn names_of_a_run_are_capped() {
    let line = Line::new(runs());
    let items: Vec<Json> = (0..600_u64)
        .map(|n| {
            json!({"name": "tool", "trace": 1, "span": n + 2, "parent": 1, "attributes": {"tool": format!("t{n}"), "arguments": "x"}})
        })
        .collect();
    play(&line, &items);
    let views = line.views();
    assert_eq!(views[0].totals.tool_calls(), 600);
    assert!(views[0].totals.tools.len() <= 65);
    assert!(views[0].totals.tools["other"].ok > 500);
}

/// Invalid settings are reported.
#[test]
fn bad_settings() {
    let config: Config = serde_json::from_value(json!({"idle_timeout": "0s", "settle": "1h", "max_runs": 0})).unwrap();
    let paths: Vec<String> = config.settings().err().unwrap().into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["idle_timeout", "settle", "max_runs"]);
    assert!(serde_json::from_value::<Config>(json!({"idle": "1m"})).is_err());
}

/// 100,000 live runs of an ordinary size fit into 256 MiB. `cargo test -p tracker -- --ignored a_hundred_thousand`
#[test]
#[ignore = "100,000 runs: a figure"]
#[expect(clippy::print_stderr, reason = "shown with --nocapture")]
#[expect(clippy::disallowed_methods, reason = "measures")]
fn a_hundred_thousand_runs() {
    use crate::observation::BatchObservation;
    let resident = || -> u64 {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let mut items = Vec::new();
    for n in 0..4_u64 {
        let one = agent_run(0);
        for (at, mut item) in one[..2].iter().cloned().enumerate() {
            item["span"] = json!(10 + n * 4 + at as u64);
            items.push(item);
        }
        items.push(json!({"name": "POST", "trace": 1, "span": 12 + n * 4, "parent": 10 + n * 4, "attributes": {}}));
    }
    let line = Line::new(runs());
    let batch = line.process(request::payload(&json!({"items": items})));
    let before = resident();
    for n in 0..100_000_u64 {
        let mut sight = BatchObservation::decode(&batch.effects[0].body).unwrap();
        for key in &mut sight.keys {
            key.text = format!("{}{n:08}", key.text).into();
        }
        for seen in &mut sight.items {
            seen.node ^= n << 20;
            seen.parent ^= n << 20;
        }
        let mut effect = batch.effects[0].clone();
        effect.body = sight.encode();
        line.apply(&effect);
    }
    let used = (resident() - before) >> 20;
    eprintln!("{used} MiB for {} groups of {} items", line.runs.state.lock().store.len(), items.len());
    let start = std::time::Instant::now();
    let checkpoint = line.runs.checkpoint().unwrap();
    eprintln!("checkpoint {} MiB in {:?}", checkpoint.len() >> 20, start.elapsed());
    assert_eq!(line.runs.state.lock().store.len(), 100_000);
    assert!(used <= 256, "{used} MiB");
}

/// Texts that are not names become neither labels nor stamps: an address as tenant, a sentence as turn.
#[test]
fn private_texts_are_no_labels_or_stamps() {
    let meter = Meter::new();
    let line = Line::new(runs_with(settings(), &meter));
    let mut items = agent_run(0);
    for item in &mut items {
        item["attributes"]["tenant.id"] = json!("jane@example.com");
        item["attributes"]["agent.type"] = json!("CANARY asks to move money");
        item["attributes"]["turn"] = json!("CANARY asks to move money");
    }
    let batch = play(&line, &items);
    for node in batch.payload.items() {
        let stamped = batch.payload.attributes(node).filter(|attribute| attribute.key.starts_with("tollgate."));
        for attribute in stamped {
            assert!(!attribute.value.as_str().is_some_and(|text| text.contains("CANARY")), "{}", attribute.key);
        }
    }
    wait(&line.runs, NOW, 2 * MINUTE);
    let text = meter.render();
    assert!(text.contains("agent_run_iterations_count{tenant=\"other\",feature=\"other\"}"), "{text}");
    assert!(!text.contains("jane") && !text.contains("CANARY"), "{text}");
}
