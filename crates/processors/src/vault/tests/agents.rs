//! Tests of agents that call other agents, and of what each was given: recordings of Claude Code, and the ways in which
//! frameworks report it.

use serde_json::{Value as Json, json};

use super::whole::{Gateway, gateway, turn};
use crate::cost;
use crate::testing::{session_files, text_of};
use audit::read::{ExportFormat, ReplayedSession};
use genai::testing::builtin::vocabulary;
use genai::testing::request;
use otlp::{Payload, Signal};
use pipeline::Processor;
use telemetry::Meter;

/// A session whose agent called another agent; each constant is named after the text's role.
const MIXED: &str = "1447e970-5059-53ca-8cc5-b60b42c9e765";
const PROMPT: &str = "CANARY-prompt-8d368a3df69a711c";
const SUB_PROMPT: &str = "CANARY-subprompt-ce3c346d0c391e95";
const SUB_ARGUMENTS: &str = "CANARY-subtoolargs-d7efc3403356641c";
const SUB_ANSWER: &str = "CANARY-subcompletion-7467f2a1b9c63d94";

async fn read(gateway: &mut Gateway, session: &str) -> ReplayedSession {
    assert!(gateway.uploader.drain().await);
    gateway.read(session).await.expect("read")
}

fn step() -> Box<dyn Processor> {
    let mut settings = cost::CostConfig::default().settings().unwrap_or_else(|_| panic!("valid"));
    settings.signals = vec![Signal::Logs, Signal::Traces];
    Box::new(
        cost::CostProcessor::new("cost".into(), &settings, vocabulary(), &Meter::new())
            .unwrap_or_else(|why| panic!("{}", why.0)),
    )
}

/// A replayed recorded session, after `change` was applied to the recorded requests.
async fn recorded(path: &str, session: &str, change: impl Fn(&mut Payload)) -> ReplayedSession {
    let (mut gateway, steps) = (gateway(), [step()]);
    for file in session_files(&request::at("tests/recordings").join(path)) {
        let mut payload = request::recorded(&file);
        change(&mut payload);
        let batch = gateway.process_after(&steps, payload);
        let effects = gateway.commit(batch);
        effects.iter().filter(|effect| &*effect.processor == "cost").for_each(|effect| steps[0].apply(effect));
        effects
            .iter()
            .filter(|effect| &*effect.processor == "vault")
            .for_each(|effect| gateway.processor.apply(effect));
    }
    read(&mut gateway, session).await
}

fn shown(replay: &ReplayedSession, number: usize) -> String {
    text_of(|out| replay.write_turn(number, out).expect("a turn"))
}

fn tree(replay: &ReplayedSession) -> String {
    text_of(|out| replay.write_tree(out))
}

fn exported(replay: &ReplayedSession) -> Vec<Json> {
    let lines = text_of(|out| replay.export(ExportFormat::Messages, out));
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Removes spans from a recording that older gateways did not keep, or that clients can be configured not to send.
fn drop_spans(payload: &mut Payload, named: &str) {
    let nodes: Vec<_> = payload.items().collect();
    for node in nodes {
        if payload.signal() == Signal::Traces && payload.text(node, otlp::TextField::Name).starts_with(named) {
            payload.remove_node(node);
        }
    }
}

fn drop_ids(payload: &mut Payload) {
    let nodes: Vec<_> = payload.items().collect();
    for node in nodes {
        payload.remove(node, "agent_id");
    }
}

/// A sub-agent is given the prompt in its call, not the user's; its caller is given its answer, not its prompt or
/// actions. This holds with ids and spans, with events only, and by times if neither is there (lines of an older
/// gateway).
#[tokio::test]
async fn a_sub_agent_has_turns_of_its_own() {
    type Change = fn(&mut Payload);
    let ways: [(&str, Change); 4] = [
        ("all", |_| {}),
        ("no ids", drop_ids),
        ("events", |payload| drop_spans(payload, "")),
        ("times", |payload| {
            drop_ids(payload);
            drop_spans(payload, "claude_code.tool.execution");
        }),
    ];
    for (way, change) in ways {
        let replay = recorded("claude-code/mixed", MIXED, change).await;
        let turns = replay.turns();
        let agents: Vec<_> = turns.iter().map(|turn| turn.agent.as_deref().unwrap_or_default().to_owned()).collect();
        assert_eq!(agents[0], "digger", "{way}: {agents:?}");
        assert!(agents.len() == 4 && agents[1..].iter().all(|agent| agent != "digger"), "{way}: {agents:?}");
        assert!(turns[0].first_words().contains(SUB_PROMPT), "{way}: {}", turns[0].first_words());
        let (sub, caller, next) = (shown(&replay, 1), shown(&replay, 2), shown(&replay, 3));
        assert!([SUB_PROMPT, SUB_ARGUMENTS, SUB_ANSWER].iter().all(|text| sub.contains(text)), "{way}: {sub}");
        assert!(sub.contains("agent digger") && !sub.contains(PROMPT), "{way}: {sub}");
        assert!([PROMPT, SUB_PROMPT, SUB_ANSWER].iter().all(|text| caller.contains(text)), "{way}: {caller}");
        assert!(!caller.contains(SUB_ARGUMENTS) && !next.contains(SUB_ANSWER), "{way}: {caller}{next}");
    }
}

/// In a dataset the sub-agent's messages begin with its prompt, and its answer is the result of its caller's call.
#[tokio::test]
async fn a_sub_agents_answer_is_its_calls_result() {
    let lines = exported(&recorded("claude-code/mixed", MIXED, |_| {}).await);
    assert_eq!(lines[0]["agent"], "digger");
    assert_eq!(lines[0]["messages"][0], json!({"role": "user", "content": format!("Dig here: {SUB_PROMPT}")}));
    let caller = lines[1]["messages"].as_array().expect("messages");
    let is_result = |message: &&Json| message["content"].as_str().is_some_and(|text| text.contains(SUB_ANSWER));
    let result = caller.iter().find(is_result).expect("a result");
    assert_eq!((&result["role"], &result["tool_call_id"]), (&json!("tool"), &json!("toolu_22aae70900df1d8431610")));
    let calls = caller.iter().filter_map(|message| message["tool_calls"][0]["id"].as_str());
    assert_eq!(calls.collect::<Vec<_>>(), ["toolu_22aae70900df1d8431610"], "{caller:#?}");
    assert!(caller.iter().any(|message| message["tool_calls"].to_string().contains(SUB_PROMPT)), "{caller:#?}");
}

/// The tree shows the sub-agent below the call that started it, its calls below the sub-agent, and a permission below
/// its call.
#[tokio::test]
async fn a_tree_has_a_sub_agents_calls_below_it() {
    let want = "session 1447e970-5059-53ca-8cc5-b60b42c9e765
turn 1  2026-11-20 09:05:34  claude-code
  model  claude-opus-4-8  0.055205 USD
  tool  Agent
    permission  Agent  accept
    agent  digger
      model  claude-haiku-4-5  0.001935 USD
      tool  Bash
        permission  Bash  accept
      model  claude-haiku-4-5  0.000412 USD
  model  claude-opus-4-8  0.012355 USD
  tool  mcp__vaultdb__lookup
    permission  mcp_tool  accept
  tool  Bash
    permission  Bash  reject  DENIED
  model  claude-opus-4-8  0.00790625 USD
turn 2  2026-11-20 09:05:40  claude-code
  model  claude-opus-4-8  0.0097295 USD
model calls: 6, tool calls: 4, cost: 0.08754275 USD
";
    let replay = recorded("claude-code/mixed", MIXED, |_| {}).await;
    assert_eq!(tree(&replay), want);
    // In the chart the sub-agent's node is connected to its call, and its calls to the sub-agent.
    let chart = text_of(|out| replay.write_mermaid(out));
    let node = |label: &str| {
        let line = chart.lines().find(|line| line.contains(&format!("[\"{label}"))).expect("a node");
        line.trim().split('[').next().expect("a name").to_owned()
    };
    let (call, agent, below) = (node("tool  Agent"), node("agent  digger"), node("model  claude-haiku"));
    for edge in [format!("{call} --> {agent}"), format!("{agent} --> {below}")] {
        assert!(chart.contains(&edge), "{edge} in {chart}");
    }
}

/// Model calls that carry their own input are shown unchanged, whichever agent made them; the list names the agent.
#[tokio::test]
async fn calls_with_content_say_it_themselves() {
    let agent = |n: u64, parent: u64, name: &str| {
        json!({"name": format!("invoke_agent {name}"), "trace": 1, "span": n, "parent": parent, "start": 1_795_168_800 + n,
            "end": 1_795_168_800 + 50, "attributes": {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name,
            "gen_ai.conversation.id": "s-1", "tenant.id": "acme"}})
    };
    let below = |mut item: Json, parent: u64| {
        item["parent"] = json!(parent);
        item
    };
    let tool = json!({"name": "execute_tool Task", "trace": 1, "span": 12, "parent": 10, "start": 1_795_168_812, "end": 1_795_168_830,
        "attributes": {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "Task", "gen_ai.conversation.id": "s-1",
        "tenant.id": "acme", "gen_ai.tool.call.arguments": r#"{"prompt":"find it"}"#, "gen_ai.tool.call.result": "found"}});
    let mut gateway = gateway();
    gateway.send(&json!({"items": [agent(10, 9, "boss"), below(turn(11, &[("user", "one")], "two"), 10), tool, agent(13, 12, "helper"),
        below(turn(14, &[("user", "find it")], "found"), 13), below(turn(31, &[("user", "one"), ("assistant", "two")], "four"), 10)]}));
    let replay = read(&mut gateway, "s-1").await;
    let turns = replay.turns();
    let agents: Vec<_> = turns.iter().map(|turn| turn.agent.as_deref().unwrap_or_default()).collect();
    assert_eq!(agents, ["boss", "helper", "boss"]);
    assert!(turns.iter().all(|turn| turn.is_whole()));
    let second = shown(&replay, 2);
    assert!(second.contains("find it") && !second.contains("one"), "{second}");
    let tree = tree(&replay);
    assert!(tree.contains("  tool  Task\n    agent  helper\n      model  gpt-4o"), "{tree}");
}

/// A failure reported by a span and by events counts once, in any order; if attempts are distinguishable, each counts.
#[tokio::test]
async fn a_recorded_failure_is_one() {
    for (path, session, failed) in [
        ("claude-code/failing", "5c51264e-30fc-580e-a5a1-c013fdd110c7", 1),
        ("claude-code/refused", "00c074f5-a2a8-5fa4-b3b1-74f7d42ff6af", 1),
        ("gemini-cli/failing", "6542888b-c795-4bac-9005-ab743b51e4c4", 1),
        ("claude-code/mixed", MIXED, 0),
    ] {
        let replay = recorded(path, session, |_| {}).await;
        assert_eq!(replay.total().failures, failed, "{path}: {}", tree(&replay));
    }
}

/// Two concurrent sub-agents, as Claude Code reports them: `ids` with their ids, `spans` with the spans that link their
/// calls.
async fn at_once(ids: bool, spans: bool) -> ReplayedSession {
    let event = |name: &str, at: u64, time: u64, mut attributes: Json, agent: &str| {
        if ids && !agent.is_empty() {
            attributes["agent_id"] = json!(agent);
        }
        event(name, at, time, attributes)
    };
    let result = |id: &str, time: u64, prompt: &str| {
        let told =
            json!({"tool_name": "Agent", "tool_use_id": id, "tool_input": json!({"prompt": prompt}).to_string()});
        event("tool_result", 1, time, told, "")
    };
    let answer = |at: u64, time: u64, text: &str, agent: &str| {
        event("assistant_response", at, time, json!({"response": text}), agent)
    };
    let logs = [
        event("user_prompt", 1, 1, json!({"prompt": "what the user said"}), ""),
        answer(11, 20, "the first one's answer", "a1"),
        answer(21, 21, "the second one's answer", "a2"),
        result("c1", 50, "what the first was told"),
        result("c2", 51, "what the second was told"),
        answer(1, 55, "all is done", ""),
    ];
    let call = |id: &str| json!({"tool_name": "Agent", "tool_use_id": id, "gen_ai.operation.name": "execute_tool"});
    let mut traces = vec![
        span("tool", (10, 1), (2, 50), call("c1")),
        span("tool", (20, 1), (3, 51), call("c2")),
        span("tool", (30, 1), (52, 53), json!({"tool_name": "Read", "tool_use_id": "c3"})),
        span("tool.execution", (31, 30), (52, 53), json!({"tool_use_id": "c3"})),
        span("interaction", (1, 9), (0, 60), json!({})),
    ];
    if spans {
        traces.push(span("tool.execution", (11, 10), (2, 50), json!({"tool_use_id": "c1"})));
        traces.push(span("tool.execution", (21, 20), (3, 51), json!({"tool_use_id": "c2"})));
    }
    let mut gateway = gateway();
    gateway.send(&json!({"signal": "logs", "scope": {"name": "com.anthropic.claude_code.events"}, "items": logs}));
    gateway.send(&json!({"scope": {"name": "com.anthropic.claude_code.tracing"}, "items": traces}));
    read(&mut gateway, "s-1").await
}

/// Of two concurrent sub-agents each is given its own prompt if the linking spans show which is which. With ids only
/// they are told apart, but their prompts are not assigned. With neither, nothing is guessed: the replay looks like
/// that of a single agent.
#[tokio::test]
async fn two_sub_agents_at_once() {
    for (ids, spans) in [(true, true), (false, true), (true, false), (false, false)] {
        let replay = at_once(ids, spans).await;
        let turns: Vec<String> = (1..=replay.turns().len()).map(|number| shown(&replay, number)).collect();
        assert_eq!(turns.len(), 3, "{turns:#?}");
        let has = |turn: usize, text: &str| turns[turn].contains(text);
        let way = format!("ids {ids}, spans {spans}: {turns:#?}");
        assert_eq!(has(0, "what the user said"), !ids && !spans, "{way}");
        assert_eq!((has(0, "the first was told"), has(1, "the second was told")), (spans, spans), "{way}");
        assert!(!has(1, "the first") && !has(0, "the second") && !has(1, "what the user said"), "{way}");
        assert!(has(2, "the first was told") && has(2, "the second was told") && has(2, "all is done"), "{way}");
        assert_eq!((has(2, "first one's answer"), has(2, "second one's answer")), (spans, spans), "{way}");
        assert_eq!(has(2, "what the user said"), ids || spans, "{way}");
        // Only the spans that link these calls have a line.
        let json: Json = serde_json::from_str(&replay.to_json().expect("json")).expect("json");
        let lines = json["entries"].as_array().expect("entries").iter().filter(|entry| {
            (entry["line"]["call"].as_str(), entry["line"]["signal"].as_str()) == (Some("other"), Some("traces"))
        });
        assert_eq!(lines.count(), if spans { 2 } else { 0 }, "{way}");
    }
}

const BEGIN: u64 = 1_795_168_800;

/// A span of Claude Code: its number and its parent's, its start and end in seconds.
fn span(name: &str, (n, parent): (u64, u64), (from, until): (u64, u64), mut attributes: Json) -> Json {
    attributes["session.id"] = json!("s-1");
    json!({"name": format!("claude_code.{name}"), "trace": 1, "span": n, "parent": parent, "start": BEGIN + from, "end": BEGIN + until,
        "attributes": attributes})
}

/// An event of Claude Code, at a span.
pub(super) fn event(name: &str, at: u64, time: u64, mut attributes: Json) -> Json {
    (attributes["session.id"], attributes["event.name"]) = (json!("s-1"), json!(name));
    json!({"event_name": format!("claude_code.{name}"), "time": BEGIN + time, "trace": 1, "span": at, "attributes": attributes})
}

async fn sent(spans: &[Json], events: &[Json]) -> ReplayedSession {
    let mut gateway = gateway();
    gateway.send(&json!({"signal": "logs", "scope": {"name": "com.anthropic.claude_code.events"}, "items": events}));
    gateway.send(&json!({"scope": {"name": "com.anthropic.claude_code.tracing"}, "items": spans}));
    read(&mut gateway, "s-1").await
}

/// If a sub-agent's model reuses the id of the call that started the sub-agent, the call is the sub-agent's own: its
/// `prompt` is not the sub-agent's prompt and its result not the sub-agent's answer, with or without a sub-agent id.
#[tokio::test]
async fn a_call_with_the_starters_id_is_the_sub_agents() {
    for id in ["call_0", "call_1"] {
        for by_id in [true, false] {
            let of_sub = |mut attributes: Json| {
                if by_id {
                    attributes["agent_id"] = json!("sub1");
                }
                attributes
            };
            let fetch = || of_sub(json!({"tool_name": "WebFetch", "tool_use_id": id}));
            let mut decided = fetch();
            decided["tool_parameters"] = json!(r#"{"prompt":"the fetch's","url":"u"}"#);
            let mut fetched = fetch();
            fetched["tool_input"] = json!(r#"{"prompt":"the fetch's","url":"u"}"#);
            let started = json!({"tool_name": "Task", "tool_use_id": "call_0", "tool_parameters": r#"{"description":"the task's"}"#});
            let spans = [
                span("interaction", (1, 9), (0, 20), json!({})),
                span("tool", (2, 1), (1, 12), json!({"tool_name": "Task", "tool_use_id": "call_0"})),
                span("llm_request", (3, 2), (2, 3), json!({"model": "m", "agent_id": "sub1"})),
                span("tool", (5, 2), (4, 5), fetch()),
            ];
            let events = [
                event("user_prompt", 1, 0, json!({"prompt": "the user's"})),
                event("tool_decision", 2, 1, started),
                event("tool_decision", 5, 4, decided),
                event("tool_result", 5, 5, fetched),
                event("assistant_response", 3, 7, json!({"response": "the sub's answer", "agent_id": "sub1"})),
                event("assistant_response", 1, 15, json!({"response": "the main's answer"})),
            ];
            let replay = sent(&spans, &events).await;
            let lines = exported(&replay);
            let way = format!("{id}, by id {by_id}: {lines:#?}");
            assert_eq!(lines[0]["messages"][0]["role"], "user", "{way}");
            assert_eq!(lines[0]["messages"][0]["content"], r#"{"description":"the task's"}"#, "{way}");
            let (sub, main) = (lines[0]["messages"].to_string(), lines[1]["messages"].to_string());
            assert!(sub.contains("the fetch's") && !sub.contains("the user's"), "{way}");
            assert!(!main.contains("the fetch's") && main.contains("the user's"), "{way}");
            assert!(main.contains("the sub's answer"), "{way}");
            let tree = tree(&replay);
            assert!(tree.contains("\n    agent  sub1\n      tool  WebFetch"), "{id}, by id {by_id}: {tree}");
        }
    }
}

/// The user's prompt is part of a turn, even if answers name an agent that nothing else mentions.
#[tokio::test]
async fn a_prompt_is_in_a_turn() {
    let spans = [span("interaction", (1, 9), (0, 20), json!({}))];
    let events = [
        event("user_prompt", 1, 0, json!({"prompt": "the user's"})),
        event("assistant_response", 1, 9, json!({"response": "an answer", "agent_id": "x"})),
    ];
    let lines = exported(&sent(&spans, &events).await);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["messages"][0], json!({"role": "user", "content": "the user's"}), "{lines:#?}");
}
