//! Lines that edits changed, and the length of the last message, as hooks report them.

use serde_json::{Value as Json, json};

use super::support::*;
use crate::observation::{BatchObservation, ItemWork};
use genai::testing::request;
use pipeline::{Effect, Processor as _};
use runs::{RunView, RunWork, decode_run, encode_run};

/// A hook's span in turn `t1` of session `s`.
fn hook(name: &str, span: u64, at: u64, attributes: &Json) -> Json {
    let own = json!({"session.id": "s", "turn.id": "t1"});
    json!({"name": name, "trace": 1, "span": span, "parent": if span == 1 { 0 } else { 1 }, "start": T0 + at,
        "end": T0 + at, "attributes": merged(own, attributes)})
}

fn edit(span: u64, id: &str, lines: &Json) -> Json {
    let own = json!({"gen_ai.tool.name": "Edit", "tool_use_id": id, "gen_ai.tool.success": true});
    hook("claude_code.tool", span, span, &merged(own, lines))
}

fn stop(span: u64, at: u64, length: [u64; 2]) -> Json {
    let length = json!({"response.char_length": length[0], "response.word_count": length[1]});
    hook("claude_code.turn.stop", span, at, &length)
}

fn play(line: &Line, items: &[Json]) {
    line.play(request::payload(&json!({"scope": {"name": "claude_code_hooks"}, "items": items})));
}

/// Added, removed, characters and words of each run; history must read the same.
fn counts(line: &Line) -> Vec<[u64; 4]> {
    let views = line.views();
    let read = |view: &RunView| decode_run(&encode_run(view, u64::MAX)).unwrap().totals.work.counts();
    assert!(views.iter().all(|view| read(view) == view.totals.work.counts()));
    views.iter().map(|view| view.totals.work.counts()).collect()
}

/// The work of a turn is the same in any order, together or apart, and repeated. Of several messages the last one
/// counts, also if it is shorter or came in the same span; that of a sub-agent is none.
#[test]
fn work_is_counted_once() {
    let items = [
        edit(2, "a", &json!({"edit.lines_added": 120, "edit.lines_removed": 3})),
        edit(3, "b", &json!({"edit.lines_removed": 27})),
        hook("claude_code.tool.pre", 4, 2, &json!({"gen_ai.tool.name": "Edit", "tool_use_id": "a"})),
        stop(1, 20, [5_000, 800]),
        stop(5, 30, [6_000, 1]),
        stop(5, 40, [1_234, 210]),
        hook("claude_code.subagent", 6, 50, &json!({"agent.id": "x", "response.char_length": 9_999})),
    ];
    let expected = vec![[120, 30, 1_234, 210]];
    for turned in 0..items.len() {
        let mut order: Vec<Json> = items[turned..].iter().chain(&items[..turned]).cloned().collect();
        for _ in 0..2 {
            let (together, apart) = (Line::whole(runs()), Line::whole(runs()));
            play(&together, &order);
            order.iter().chain(&order).for_each(|item| play(&apart, std::slice::from_ref(item)));
            assert_eq!((counts(&together), counts(&apart)), (expected.clone(), expected.clone()), "{turned}");
            order.reverse();
        }
    }
}

/// One call on two signals, or told twice, counts as the one of its records that says most.
#[test]
fn work_of_one_call_is_not_added() {
    let line = Line::whole(runs());
    let tool = json!({"gen_ai.tool.name": "Edit", "tool_use_id": "a", "session.id": "s", "prompt.id": "t1"});
    let log = json!({"event_name": "claude_code.tool_result", "trace": 1, "span": 9, "time": T0,
        "attributes": merged(tool, &json!({"tool_name": "Edit", "success": "true", "edit.lines_added": 4}))});
    let native = json!({"signal": "logs", "resource": {"service.name": "claude-code"}, "items": [log]});
    line.play(request::payload(&native));
    play(&line, &[edit(2, "a", &json!({"edit.lines_added": 5, "edit.lines_removed": 1}))]);
    line.play(request::payload(&native));
    play(&line, &[edit(2, "a", &json!({"edit.lines_added": 2}))]);
    assert_eq!(counts(&line), [[5, 1, 0, 0]]);
    assert_eq!(line.views()[0].totals.tool_calls(), 1);
    // a span and a log record that share no id
    let gemini = Line::whole(runs());
    let shared =
        json!({"session.id": "s", "prompt_id": "p", "function_name": "replace", "gen_ai.tool.name": "replace"});
    let told = |lines: u64| merged(shared.clone(), &json!({"edit.lines_added": lines}));
    let span = json!({"name": "tool_call", "trace": 1, "span": 2, "start": T0, "end": T0 + 1, "attributes": told(5)});
    let log = json!({"event_name": "gemini_cli.tool_call", "trace": 1, "span": 2, "time": T0, "attributes": told(7)});
    for (signal, item) in [("traces", span), ("logs", log)] {
        let request = json!({"signal": signal, "resource": {"service.name": "gemini-cli"}, "items": [item]});
        gemini.play(request::payload(&request));
    }
    assert_eq!((counts(&gemini), gemini.views()[0].totals.tool_calls()), (vec![[7, 0, 0, 0]], 1));
}

/// Only whole numbers up to ten million count.
#[test]
fn hostile_counts_are_no_work() {
    let odd =
        [json!(-1), json!("7"), json!(10_000_001), json!(i64::MAX), json!(2.5), json!([3]), json!(true), json!({})];
    for value in odd {
        let line = Line::whole(runs());
        let lines = edit(2, "a", &json!({"edit.lines_added": value, "edit.lines_removed": 10_000_000}));
        let length = json!({"response.char_length": value, "response.word_count": value});
        // nor does what another item says
        let prompt = hook("claude_code.user_prompt", 4, 3, &json!({"edit.lines_added": 8, "response.char_length": 8}));
        play(&line, &[lines, hook("claude_code.turn.stop", 1, 9, &length), prompt]);
        assert_eq!(counts(&line), [[0, 10_000_000, 0, 0]], "{value}");
    }
}

/// A restart keeps the work, from a checkpoint or from effects; effects and checkpoints of before, which end without
/// it, are read.
#[test]
fn work_survives_a_restart() {
    let items = [edit(2, "a", &json!({"edit.lines_added": 12, "edit.lines_removed": 3})), stop(1, 9, [40, 8])];
    let line = Line::new(runs());
    let batch = line.process(request::payload(&json!({"scope": {"name": "claude_code_hooks"}, "items": items})));
    let effect = batch.effects.iter().find(|effect| effect.processor == *line.runs.id()).unwrap();
    let told = |effect: &Effect| {
        let line = Line::new(runs());
        line.runs.apply(effect);
        line
    };
    let replayed = told(effect);
    assert_eq!(counts(&replayed), [[12, 3, 40, 8]]);
    let restarted = Line::new(runs());
    let saved = replayed.checkpoints();
    restarted.restore(&saved);
    assert!(restarted.views() == replayed.views());
    // a batch that comes after the restart completes the run
    play(&restarted, &[stop(5, 19, [50, 9]), edit(3, "b", &json!({"edit.lines_added": 1}))]);
    assert_eq!(counts(&restarted), [[13, 3, 50, 9]]);
    // the list of a group ended before the work
    let group = |line: &Line| line.runs.state.lock().store.groups().next().unwrap().clone();
    let mut former = group(&replayed);
    let unstored = former.unstored();
    assert_eq!(unstored.len(), former.calls.len() + 2 * former.tools.len() + 3 * former.marks.len());
    former.set_unstored(unstored[..former.calls.len()].to_vec());
    assert!(former.unstored().is_empty());
    former.set_unstored(unstored.clone());
    assert_eq!(former.unstored(), unstored);
    former.set_unstored(vec![i128::MAX; unstored.len()]);
    assert!(former.tools.values().all(|tool| tool.lines == [0; 2]), "a damaged list");
    let mut observation = BatchObservation::decode(&effect.body).unwrap();
    observation.items.iter_mut().for_each(|item| item.work = ItemWork::default());
    let before = observation.encode();
    assert!(before.len() < effect.body.len() && effect.body.starts_with(&before));
    assert_eq!(counts(&told(&Effect::new(line.runs.id().clone(), before))), [[0; 4]]);
}

/// The work of calls beyond those that are kept one by one is in the sums, and stays there after a restart.
#[test]
fn work_of_many_calls() {
    let line = Line::new(runs());
    let one = |n: u64| edit(2 + n, &format!("call-{n}"), &json!({"edit.lines_added": 2, "edit.lines_removed": 1}));
    for part in 0..21 {
        play(&line, &(part * 1_000..(part + 1) * 1_000).map(one).collect::<Vec<_>>());
    }
    let expected = [[42_000, 21_000, 0, 0]];
    assert_eq!(counts(&line), expected);
    let restarted = Line::new(runs());
    restarted.restore(&line.checkpoints());
    assert_eq!(counts(&restarted), expected);
}

/// A late edit makes another version of the run's summary.
#[test]
fn work_is_part_of_the_version() {
    let line = Line::new(runs());
    play(&line, &[stop(1, 9, [40, 8])]);
    let view = line.views().remove(0);
    let mut other = view.clone();
    other.totals.work.add(&RunWork { lines: [1, 0], ..RunWork::default() });
    assert_ne!(crate::evaluation::view_digest(&view), crate::evaluation::view_digest(&other));
    assert_eq!(runs::json::totals(&other.totals)["summary"], json!({"characters": 40, "words": 8}));
}
