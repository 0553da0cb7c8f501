//! The forms in which clients are answered, and what their events ask: `tests/cases/hook-answers.yaml`. To add a case,
//! add an entry there.

use serde::Deserialize;
use serde_json::Value;

use super::super::config::ClaudeCodeHooksConfig;
use super::super::hook_answers::HookClient;
use super::super::questions::BudgetQuestions;
use super::budget_questions::FakeDesk;
use budgets::{Answer, Verdict};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerCase {
    case: String,
    client: String,
    event: Value,
    /// Whether the client can ask, and whether the call saves work. Missing: the event is no question.
    asks: Option<(bool, bool)>,
    run: Option<String>,
    model: Option<String>,
    /// The bodies of each answer; an empty text is an empty body.
    deny: Option<Value>,
    ask: Option<Value>,
    note: Option<Value>,
    allow: Option<Value>,
}

fn answer(verdict: Verdict, reason: &str, notes: &[&str]) -> Answer {
    let notes = notes.iter().map(|&note| note.to_owned()).collect();
    Answer { verdict, reason: reason.to_owned(), notes, ..Answer::allow() }
}

/// Each client reads exactly these forms: a wrong key lets the agent go on. Seen failing: with a key of the table
/// changed, and with `Bash` removed from a list of tools.
#[test]
fn answers_have_the_forms_of_their_clients() {
    let text = std::fs::read_to_string(fixtures::at("tests/cases/hook-answers.yaml")).expect("the cases");
    let cases: Vec<AnswerCase> = config::load::parse_data("hook-answers.yaml", &text).expect("readable cases");
    let settings = ClaudeCodeHooksConfig::default().settings().expect("valid");
    let mut events = std::collections::BTreeSet::new();
    for AnswerCase { case, client, event, asks, run, model, deny, ask, note, allow } in cases {
        let client = HookClient::find(&client).unwrap_or_else(|| panic!("{case}: a client"));
        let questions = BudgetQuestions::new(Some(FakeDesk::shared()), settings.save_work.clone());
        let body = event.to_string();
        let event = client.parse_event(body.as_bytes()).unwrap_or_else(|error| panic!("{case}: {error}"));
        let asked = questions.read_event(client, &event);
        let found = asked.as_ref().map(|asked| (asked.question.can_ask, asked.question.saves_work));
        assert_eq!(found, asks, "{case}");
        let denied = client.deny(body.as_bytes(), "why").expect("an event");
        let Some(asked) = asked else {
            assert_eq!(denied, "", "{case}");
            continue;
        };
        events.insert(event.name.clone());
        assert_eq!((&asked.question.names.run, &asked.question.names.model), (&run, &model), "{case}");
        assert_eq!(asked.question.names.session.as_deref(), Some("s1"), "{case}");
        let denied: Value = serde_json::from_str(&denied).unwrap_or_else(|_| panic!("{case}: no form of deny"));
        let hint = settings.save_work.hint();
        for (form, answer, expected) in [
            ("deny", answer(Verdict::Deny, "why", &[]), deny.clone()),
            ("ask", answer(Verdict::Ask, "why", &[]), ask),
            ("note", answer(Verdict::Allow, "", &["why"]), note),
            ("allow", answer(Verdict::Allow, "", &[]), allow),
        ] {
            let found = questions.word_answer(&asked, &answer).replace(&hint, "");
            let found = match found.as_str() {
                "" => Value::from(""),
                json => serde_json::from_str(json).unwrap_or_else(|_| panic!("{case} {form}: not JSON: {json}")),
            };
            assert_eq!(found, expected.unwrap_or_else(|| "".into()), "{case} {form}");
        }
        assert_eq!(denied, deny.expect("a form of deny"), "{case}");
    }
    assert!(events.len() >= 8, "{events:?}");
}
