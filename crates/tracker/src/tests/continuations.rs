//! Sessions that continue others under a new id.

use std::time::Duration;

use ::budgets::{BudgetDesk, BudgetRecord, Measure, Names, Question, RecordKind, Scope};
use serde_json::{Value as Json, json};

use super::support::*;
use crate::continuations::{Speaker, for_each_group};
use crate::{Config, Settings};
use genai::testing::request;
use pipeline::Processor;
use telemetry::Meter;

const ATTRIBUTE: &str = "tollgate.session.continues";

/// An answer of some 60 words that no other number has.
fn answer(number: u64) -> String {
    (0..60_u64).map(|at| format!("w{:x}", (number * 1000 + at).wrapping_mul(0x9e37_79b9))).collect::<Vec<_>>().join(" ")
}

fn message(role: &str, text: &str) -> Json {
    json!({"role": role, "parts": [{"type": "text", "content": text}]})
}

/// A conversation in which these answers were given.
fn history(answers: &[u64]) -> Vec<Json> {
    let turn = |number: &u64| [message("user", "and now?"), message("assistant", &answer(*number))];
    answers.iter().flat_map(turn).chain([message("user", "go on")]).collect()
}

/// A call of a session with this input, which is answered by `output`.
fn call(session: &str, id: u64, input: &[Json], output: &str, more: &Json) -> Json {
    let content = json!({
        "gen_ai.conversation.id": session,
        "gen_ai.input.messages": json!(input).to_string(),
        "gen_ai.output.messages": json!([message("assistant", output)]).to_string(),
    });
    span("chat", [id, id, 0], [id, id + 1], &merged(merged(usage("gpt-4o", 10, 10), &content), more))
}

struct Scene {
    line: Line,
    calls: u64,
}

impl Scene {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let line = Line::new(runs_with(settings, &Meter::new()));
        line.runs.tick(NOW);
        Self { line, calls: 0 }
    }

    /// A call after these answers. Returns the stamp.
    fn say(&mut self, session: &str, before: &[u64], number: u64) -> Option<String> {
        self.send(session, &history(before), &answer(number), &json!({}))
    }

    fn send(&mut self, session: &str, input: &[Json], output: &str, more: &Json) -> Option<String> {
        self.calls += 1;
        let item = call(session, self.calls, input, output, more);
        let batch = self.line.play(request::payload(&json!({ "items": [item] })));
        let span = batch.payload.items().next().unwrap();
        batch.payload.get_str(span, ATTRIBUTE).map(str::to_owned)
    }
}

/// A resumed session, and a fork of it, are named on their spans and on their runs; so is each in a chain.
#[test]
fn a_resumed_session_is_named() {
    let mut scene = Scene::new();
    assert_eq!(scene.say("a", &[], 1), None);
    assert_eq!(scene.say("a", &[1], 2), None);
    assert_eq!(scene.say("b", &[1, 2], 3).as_deref(), Some("a"));
    assert_eq!(scene.say("b", &[1, 2, 3], 4).as_deref(), Some("a"), "later spans too");
    assert_eq!(scene.say("fork", &[1], 5).as_deref(), Some("a"));
    assert_eq!(scene.say("c", &[1, 2, 3, 4], 6).as_deref(), Some("b"), "the latest of the chain");
    let named = |session: &str| {
        let views = scene.line.views();
        views.into_iter().find(|view| view.session == session).unwrap().continues
    };
    assert_eq!([named("a"), named("b"), named("c")], [None, Some("a".to_owned()), Some("b".to_owned())]);
}

/// A session under a new id does not begin with an empty budget: it has used what the sessions that it continues have.
#[test]
fn a_budget_counts_what_a_session_continues() {
    let budgets = json!({"one": {"scope": "session", "model_calls": 100, "action": "deny"}});
    let config = Config { budgets: serde_json::from_value(budgets).unwrap(), ..Config::default() };
    let mut scene = Scene::with(config.settings().unwrap_or_else(|problems| panic!("{problems:?}")));
    for (session, before) in [("a", 0), ("a", 1), ("b", 2), ("b", 3), ("c", 4)] {
        scene.say(session, &(1..=before).collect::<Vec<_>>(), before + 1);
    }
    scene.say("fork", &[1], 6);
    scene.say("new", &[], 7);
    let of = |scene: &Scene, session: &str| {
        let names = Names { session: Some(session.to_owned()), ..Names::default() };
        let answer = scene.line.runs.answer(&Question { account: "default".into(), names, ..Question::default() });
        answer.budgets.into_iter().next().map(|used| [used.spent, used.limit])
    };
    let used = |scene: &Scene, session: &str| of(scene, session).map(|[spent, _]| spent);
    let sessions = ["a", "b", "c", "fork", "new"];
    assert_eq!(sessions.map(|session| used(&scene, session)), [2, 4, 5, 3, 1].map(Some));
    // for a while what another session adds may not be seen, as figures are kept
    scene.say("a", &[1, 2], 8);
    wait(&scene.line.runs, NOW, Duration::from_secs(60));
    assert_eq!(sessions.map(|session| used(&scene, session)), [3, 5, 6, 4, 1].map(Some));
    // so is what somebody granted an earlier session
    let more = (Measure::ModelCalls, 0, 50);
    let grant = BudgetRecord::new(RecordKind::Grant, "one".into(), Scope::Session, "a".into(), more);
    let grant = BudgetRecord { until: NOW.0 + 4_000_000_000_000, ..grant };
    scene.line.runs.state.lock().ledger.apply("default", &grant, NOW.0);
    let limits = sessions.map(|session| of(&scene, session).map(|[_, limit]| limit));
    assert_eq!(limits, [150, 150, 150, 150, 100].map(Some));
    let checkpoint = scene.line.runs.checkpoint().unwrap();
    let restored = Scene::with((*scene.line.runs.settings).clone());
    assert!(restored.line.runs.restore(&checkpoint));
    assert_eq!(used(&restored, "c"), Some(6));
}

/// The summary of a compacted session begins the next one, within other text, and names it. Few fingerprints are kept
/// of an answer, and some are of its message's form, so a short answer alone is not always enough.
#[test]
fn most_compacted_sessions_are_named() {
    let is_named = |number: &u64| {
        let mut scene = Scene::new();
        scene.say("a", &[], 1);
        scene.say("a", &[1], *number);
        let told = format!(
            "This session is being continued from a previous conversation that ran out of context.\n<summary>\n{}\n</summary>",
            answer(*number)
        );
        scene.send("b", &[message("user", &told)], "short", &json!({})).as_deref() == Some("a")
    };
    let named = (2..42).filter(is_named).count();
    assert!(named >= 34, "{named} of 40");
}

/// What is ambiguous, too short or somebody else's is not named.
#[test]
fn doubt_names_nothing() {
    let mut scene = Scene::new();
    scene.say("a", &[], 1);
    scene.say("twin", &[], 1);
    assert_eq!(scene.say("b", &[1], 2), None, "two sessions gave this answer");
    scene.say("x", &[], 3);
    scene.say("y", &[], 4);
    assert_eq!(scene.say("both", &[3, 4], 5), None, "the answers of two sessions that don't continue each other");
    scene.send("brief", &history(&[]), "Yes, of course.", &json!({}));
    let brief = [message("user", "really?"), message("assistant", "Yes, of course."), message("user", "go")];
    assert_eq!(scene.send("c", &brief, &answer(6), &json!({})), None, "too short");
    scene.send("of-acme", &history(&[]), &answer(7), &json!({"tenant.id": "acme"}));
    assert_eq!(scene.send("d", &history(&[7]), &answer(8), &json!({"tenant.id": "beta"})), None);
    assert_eq!(scene.send("e", &history(&[7]), &answer(9), &json!({"tenant.id": "acme"})).as_deref(), Some("of-acme"));
    let other =
        processed_as(&scene.line.runs, "other", &[call("f", 99, &history(&[7]), "", &json!({"tenant.id": "acme"}))]);
    let span = other.payload.items().next().unwrap();
    assert_eq!(other.payload.get_str(span, ATTRIBUTE), None, "another account");
}

/// What users, documents and instructions quote is no continuation: a judge, a hand-over, a document that answers
/// quote. (A review found that each of them was named.)
#[test]
fn quotations_name_nothing() {
    let mut scene = Scene::new();
    let document = format!("Answer from this document: {}", answer(1));
    let asked = |question: &str| [message("system", &document), message("user", question)];
    scene.send("a", &asked("first?"), &answer(1), &json!({}));
    assert_eq!(scene.send("b", &asked("second?"), &answer(2), &json!({})), None, "a document");
    let judged = [message("system", "You are a judge."), message("user", &format!("Is this right? {}", answer(2)))];
    assert_eq!(scene.send("judge", &judged, &answer(3), &json!({})), None, "a judge");
}

/// A first small call, such as that for a session's title, decides nothing; nor does a batch that was read at the same
/// time and saw less.
#[test]
fn the_first_context_with_answers_decides() {
    let mut scene = Scene::new();
    scene.say("a", &[], 1);
    assert_eq!(scene.send("b", &[message("user", "a title, please")], &answer(9), &json!({})), None);
    assert_eq!(scene.say("b", &[1], 2).as_deref(), Some("a"));
    let payload = |id: u64, before: &[u64]| {
        let item = call("c", id, &history(before), &answer(id), &json!({}));
        request::payload(&json!({ "items": [item] }))
    };
    let (whole, small) = (scene.line.process(payload(50, &[1, 2])), scene.line.process(payload(51, &[77])));
    whole.effects.iter().chain(&small.effects).for_each(|effect| scene.line.apply(effect));
    assert_eq!(scene.say("c", &[1, 2, 50], 52).as_deref(), Some("b"));
}

/// Thousands of new sessions in one request, or in one trace, take no time: only some are searched.
#[test]
fn many_sessions_cost_little() {
    let mut scene = Scene::new();
    scene.say("a", &[], 1);
    let input = history(&[1]);
    let items: Vec<Json> = (0..3000).map(|n| call(&format!("s{n}"), 100 + n, &input, "short", &json!({}))).collect();
    let batch = scene.line.play(request::payload(&json!({ "items": items })));
    let named = batch.payload.items().filter(|span| batch.payload.get_str(*span, ATTRIBUTE).is_some()).count();
    assert_eq!(named, 32);
}

/// A restart and another replica know the sessions too; the stored form holds no words.
#[test]
fn sessions_survive_a_restart() {
    let mut before = Scene::new();
    before.say("a", &[], 1);
    let saved = before.line.runs.checkpoint().unwrap();
    let text = String::from_utf8_lossy(&saved).into_owned();
    assert!(answer(1).split(' ').all(|word| !text.contains(word)));
    let mut after = Scene::new();
    assert!(after.line.runs.restore(&saved));
    assert_eq!(after.say("b", &[1], 2).as_deref(), Some("a"));

    let mut replica = Scene::new();
    let item = call("a", 1, &[], &answer(1), &json!({}));
    let batch = before.line.process(request::payload(&json!({ "items": [item] })));
    batch.effects.iter().for_each(|effect| replica.line.apply_shared(effect, &"other".into()));
    assert_eq!(replica.say("b", &[1], 2).as_deref(), Some("a"));
}

fn groups(text: &str) -> Vec<u64> {
    let mut groups = Vec::new();
    for_each_group(text, None, |group| groups.push(group));
    groups
}

/// The text as JSON, in which other characters than ASCII are escaped.
fn in_ascii(text: &str) -> String {
    let escape = |c: char| {
        let mut units = [0; 2];
        let units = c.encode_utf16(&mut units).iter();
        if c.is_ascii() { c.to_string() } else { units.map(|unit| format!("\\u{unit:04x}")).collect() }
    };
    json!(text).to_string().chars().map(escape).collect()
}

/// Only the assistant is heard, in either spelling of roles; what others say between is not.
#[test]
fn roles_are_heard() {
    let words = |number: u64| answer(number);
    for (role, assistant) in [("role", "assistant"), ("role", "model"), ("type", "ai")] {
        let text = format!(
            r#"[{{"{role}":"user","content":"{}"}},{{"{role}":"{assistant}","content":"{}"}}]"#,
            words(1),
            words(2)
        );
        let mut heard = Vec::new();
        for_each_group(&text, Some(&mut Speaker { is_heard: false }), |group| heard.push(group));
        let has = |number: u64| groups(&words(number)).iter().filter(|group| heard.contains(group)).count();
        assert_eq!((has(1), has(2)), (0, groups(&words(2)).len()), "{role} {assistant}");
    }
}

proptest::proptest! {
    /// Escapes don't matter: a text and its JSON forms, one within another, have the same groups of words.
    #[test]
    fn escapes_are_no_words(text in "([a-z0-9]{1,5}|[ \\n\\t\"/äß漢😀.,-]){0,60}") {
        let once = in_ascii(&text);
        proptest::prop_assert_eq!(groups(&text), groups(&once));
        proptest::prop_assert_eq!(groups(&text), groups(&json!(text).to_string()));
        proptest::prop_assert_eq!(groups(&text), groups(&in_ascii(&once)));
    }

    /// No text makes it panic.
    #[test]
    fn any_text_can_be_read(text in "(\\\\|u|[0-9a-f]|\\PC){0,200}") {
        groups(&text);
    }
}
