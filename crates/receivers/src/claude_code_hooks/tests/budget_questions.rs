//! Questions to the budgets over real sockets: hooks of every client, proxies, and clients that are hostile or early.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message as _;
use serde_json::{Value, json};

use super::sockets::{BUSY_TOKEN, Rig, SLOW_TOKEN, Sent, TOKEN};
use super::{ExportTraceServiceRequest, NOON, event, text};
use budgets::config::Budget;
use budgets::{
    Answer, BudgetDesk, BudgetLine, BudgetRecord, BudgetUse, Measure, Question, RECORD_SPAN, RecordKind, Scope, Verdict,
};
use fixtures::until::until;
use kernel::clock::{Clock, ManualClock, SystemClock, UnixNanos};
use pipeline::Reason;

const ASKER: &str = "token-of-a-proxy-0123";
const ALICE: &str = "token-of-alice-01234";
const REASON: &str = "This run has used $10.02 of $10.00 (budget one-run).";

/// Notes what it is asked, and answers as it was told.
pub(super) struct FakeDesk {
    questions: Mutex<Vec<Question>>,
    answer: Mutex<Answer>,
}

impl FakeDesk {
    pub(super) fn shared() -> Arc<Self> {
        Arc::new(Self { questions: Mutex::default(), answer: Mutex::new(Answer::allow()) })
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    fn take(&self) -> Vec<Question> {
        std::mem::take(&mut self.questions.lock())
    }
}

impl BudgetDesk for FakeDesk {
    fn has_budgets(&self) -> bool {
        true
    }

    fn answer(&self, question: &Question) -> Answer {
        self.questions.lock().push(question.clone());
        self.answer.lock().clone()
    }

    fn budgets(&self) -> &[Budget] {
        &[]
    }

    fn lines(&self) -> Arc<[BudgetLine]> {
        Arc::default()
    }

    fn knows_fleet(&self) -> bool {
        false
    }
}

fn usage(spent: i128) -> BudgetUse {
    let (budget, key) = ("one-run".to_owned(), "r1".to_owned());
    BudgetUse { budget, key, measure: Measure::ToolCalls, spent, limit: 100, until: 7_000_000_000 }
}

fn denial() -> Answer {
    let record = BudgetRecord {
        kind: RecordKind::Deny,
        budget: "one-run".to_owned(),
        scope: Scope::Run,
        key: "r1".to_owned(),
        shadow: false,
        measure: Measure::ToolCalls,
        spent: 102,
        limit: 100,
        repeats: 0,
        until: 0,
        granted_by: String::new(),
        reason: String::new(),
    };
    let (reason, notes) = (REASON.to_owned(), Vec::new());
    let (records, budgets) = (vec![record], vec![usage(102)]);
    Answer { verdict: Verdict::Deny, reason, notes, records, budgets, known_since: 0 }
}

fn noted(spent: i128) -> Answer {
    let notes = vec![format!("This run has used {spent} of 100 (budget one-run).")];
    Answer { notes, budgets: vec![usage(spent)], ..Answer::allow() }
}

async fn rig_at(clock: Arc<dyn Clock>, open: bool) -> (Rig, Arc<FakeDesk>) {
    let desk = FakeDesk::shared();
    let users = json!({"alice": {"account": "acme", "tokens": [ALICE], "tenant": "north"}});
    let config = json!({"auth": {"users": users}, "budget_tokens": {"acme": [ASKER]}});
    (Rig::with_budgets(clock, open, config, Some(Arc::clone(&desk) as Arc<dyn BudgetDesk>)).await, desk)
}

async fn rig() -> (Rig, Arc<FakeDesk>) {
    rig_at(Arc::new(SystemClock::new()), true).await
}

fn tool_call(command: &str) -> String {
    let input = json!({"command": command});
    event(
        "PreToolUse",
        &format!(
            r#","permission_mode":"default","user":"CANARY","tool_use_id":"t1","tool_name":"Bash","tool_input":{input}"#
        ),
    )
}

fn hook(client: &str, token: &'static str, body: String) -> Sent<'static> {
    let path = format!("/v1/hooks/{client}").leak();
    Sent { path, token, body, ..Sent::default() }
}

/// The names of the spans that reached the engine, with their accounts.
fn stored(rig: &Rig) -> Vec<(String, String)> {
    let name = |wire: &[u8]| {
        let request = ExportTraceServiceRequest::decode(wire).expect("a request");
        request.resource_spans[0].scope_spans[0].spans[0].name.clone()
    };
    let mut all: Vec<_> = rig.engine.take_requests().iter().map(|one| (one.account.clone(), name(&one.wire))).collect();
    all.sort();
    all
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(account, name)| ((*account).to_owned(), (*name).to_owned())).collect()
}

/// The agent is stopped in its client's form, by a decision that is on disk with the event. Seen failing: with the
/// records submitted after the answer.
#[tokio::test]
async fn a_tool_call_is_stopped() {
    let (rig, desk) = rig().await;
    desk.answers(denial());
    let (status, body) = rig.send(&hook("claude-code", TOKEN, tool_call("curl x"))).await;
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &answer["hookSpecificOutput"]["permissionDecision"]), (200, &"deny".into()));
    let reason = answer["hookSpecificOutput"]["permissionDecisionReason"].as_str().expect("a reason");
    assert!(reason.starts_with(REASON) && reason.contains("`git commit`"), "{reason}");
    let requests = rig.engine.take_requests();
    let record = requests.iter().find_map(|one| {
        let mut request = ExportTraceServiceRequest::decode(one.wire.clone()).expect("a request");
        let span = request.resource_spans.remove(0).scope_spans.remove(0).spans.remove(0);
        assert!(one.charged >= one.wire.len() && one.account == "acme");
        (span.name == RECORD_SPAN).then_some(span)
    });
    let record = record.expect("a record");
    assert_eq!(text(&record, "session.id").as_deref(), Some("s1"));
    assert_eq!(requests.len(), 2);
    let asked = desk.take();
    assert_eq!((asked.len(), &*asked[0].account, &asked[0].names.user), (1, "acme", &None));
    assert!(asked[0].can_ask && !asked[0].saves_work);
    rig.send(&hook("claude-code", TOKEN, tool_call("git commit -m x"))).await;
    assert!(desk.take()[0].saves_work);
}

/// Each credential asks for its own account and user, whatever the body says.
#[tokio::test]
async fn credentials_decide_whose_work_it_is() {
    let (rig, desk) = rig().await;
    let claim = r#","account":"acme","user":"bob","user_id":"bob","tenant":"south""#;
    for (token, account, user) in [(TOKEN, "acme", None), (BUSY_TOKEN, "busy", None), (ALICE, "acme", Some("alice"))] {
        let call = event("PreToolUse", &format!(r#","tool_name":"Read"{claim}"#));
        assert_eq!(rig.send(&hook("claude-code", token, call)).await, (200, String::new()));
        let asked = desk.take().remove(0);
        assert_eq!((&*asked.account, asked.names.user.as_deref()), (account, user));
        assert_eq!(asked.names.tenant.as_deref(), user.map(|_| "north"));
    }
    let ask = |token, body: Value| Sent { path: "/v1/budget", token, body: body.to_string(), ..Sent::default() };
    assert_eq!(rig.send(&ask(ALICE, json!({"user": "bob"}))).await.0, 403);
    assert_eq!(rig.send(&ask(ALICE, json!({"tenant": "south"}))).await.0, 403);
    assert!(desk.take().is_empty());
    assert_eq!(rig.send(&ask(ALICE, json!({"user": "alice"}))).await.0, 200);
    assert_eq!(rig.send(&ask(TOKEN, json!({"user": "bob"}))).await.0, 200);
    let users: Vec<_> = desk.take().into_iter().map(|asked| asked.names.user).collect();
    assert_eq!(users, [Some("alice".to_owned()), Some("bob".to_owned())]);
}

/// Other clients and proxies ask and send nothing; a credential that may only ask can't send events.
#[tokio::test]
async fn who_may_only_ask_sends_nothing() {
    let (rig, desk) = rig().await;
    let call = json!({"session_id": "s1", "hook_event_name": "PreToolUse", "tool_name": "Bash",
                      "tool_input": {"command": "git status"}, "model": "gpt"});
    for token in [TOKEN, ASKER] {
        assert_eq!(rig.send(&hook("codex", token, call.to_string())).await, (200, String::new()));
        assert_eq!(desk.take()[0].names.model.as_deref(), Some("gpt"));
    }
    assert_eq!(
        rig.send(&hook("codex", TOKEN, json!({"session_id": "s1", "hook_event_name": "Stop"}).to_string())).await.0,
        200
    );
    assert!(desk.take().is_empty() && rig.engine.take_requests().is_empty());
    assert_eq!(rig.send(&hook("claude-code", ASKER, tool_call("x"))).await.0, 401);
    let (status, body) = rig.send(&hook("unknown", TOKEN, tool_call("x"))).await;
    assert!(status == 404 && body.contains("other clients to /v1/hooks/codex, gemini or cursor"), "{status} {body}");
    assert_eq!(rig.send(&hook("codex", "no-token-of-anyone", call.to_string())).await.0, 401);
    assert_eq!(
        rig.send(&Sent { path: "/v1/budget", token: ASKER, body: "{}".to_owned(), ..Sent::default() }).await.0,
        200
    );
    assert!(rig.engine.take_requests().is_empty());
}

/// Without budgets nothing is asked: a hook gets the empty answer that decides nothing.
#[tokio::test]
async fn without_budgets_nothing_is_decided() {
    let rig = Rig::with_budgets(Arc::new(SystemClock::new()), true, json!({}), None).await;
    let call = json!({"conversation_id": "s1", "hook_event_name": "beforeSubmitPrompt"}).to_string();
    assert_eq!(rig.send(&hook("claude-code", TOKEN, tool_call("x"))).await, (200, String::new()));
    assert_eq!(rig.send(&hook("cursor", TOKEN, call)).await, (200, String::new()));
    assert_eq!(stored(&rig), pairs(&[("acme", "claude_code.tool.pre")]));
    let (status, body) = rig.send(&Sent { path: "/v1/budget", body: "{}".to_owned(), ..Sent::default() }).await;
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (status, answer),
        (
            200,
            json!({"decision": "allow", "reason": "", "notes": [], "budgets": [],
                                              "known_since": null, "knows": "gateway"})
        )
    );
    assert_eq!(rig.send(&hook("claude-code", BUSY_TOKEN, tool_call("x"))).await.0, 200);
    assert_eq!(rig.send(&hook("claude-code", BUSY_TOKEN, tool_call("x"))).await.0, 429);
}

/// A stop is not lost if nothing can be stored in time: the agent would go on.
#[tokio::test]
async fn a_slow_commit_stops_the_agent_all_the_same() {
    for verdict in [Verdict::Deny, Verdict::Allow] {
        let clock = ManualClock::at(UnixNanos(NOON));
        let (rig, desk) = rig_at(Arc::clone(&clock) as Arc<dyn Clock>, false).await;
        desk.answers(if verdict == Verdict::Deny { denial() } else { Answer::allow() });
        let waiting = if verdict == Verdict::Deny { 2 } else { 1 };
        let request = hook("claude-code", TOKEN, tool_call("curl x"));
        let time_passes = async {
            until(|| rig.engine.held_count() == waiting).await;
            loop {
                clock.advance(Duration::from_millis(100));
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            (status, body) = rig.send(&request) => {
                let expected = if verdict == Verdict::Deny { 200 } else { 503 };
                assert!(status == expected && body.contains(r#""deny""#) == (status == 200), "{status} {body}");
            }
            () = time_passes => {}
        }
    }
}

/// Neither is it lost if the gateway refuses to store, or the account is over its rate; both are counted.
#[tokio::test]
async fn refused_commits_stop_the_agent_all_the_same() {
    let (rig, desk) = rig().await;
    desk.answers(denial());
    rig.engine.outcomes.lock().extend([Reason::SpoolFull.outcome(), Reason::SpoolFull.outcome()]);
    let (status, body) = rig.send(&hook("claude-code", TOKEN, tool_call("CANARY"))).await;
    assert!(status == 200 && body.contains(r#""deny""#), "{status} {body}");
    rig.engine.take_requests();
    for _ in 0..3 {
        let (status, body) = rig.send(&hook("claude-code", BUSY_TOKEN, tool_call("CANARY"))).await;
        assert!(status == 200 && body.contains(r#""deny""#), "{status} {body}");
    }
    assert_eq!(stored(&rig), pairs(&[("busy", "claude_code.tool.pre"), ("busy", RECORD_SPAN)]));
    desk.answers(Answer::allow());
    assert_eq!(
        rig.send(&hook("claude-code", BUSY_TOKEN, tool_call("x"))).await.0,
        429,
        "the event of a yes is refused"
    );
    let metrics = rig.meter.render();
    for labels in [r#"reason="spool_full",account="acme"} 2"#, r#"reason="rate_limited",account="busy"} 3"#] {
        assert!(metrics.contains(labels), "{labels}: {metrics}");
    }
    assert!(!metrics.contains("CANARY"));
}

/// Spans of records that reached the engine: account, key, and the answers that each stands for.
fn take_records(rig: &Rig) -> Vec<(String, String, u64)> {
    let mut all = Vec::new();
    for one in rig.engine.take_requests() {
        let payload = otlp::Payload::parse(otlp::Signal::Traces, one.wire).unwrap_or_else(|_| panic!("our own bytes"));
        let read = payload.items().filter_map(|node| BudgetRecord::read(&payload, node));
        all.extend(read.map(|record| (one.account.clone(), record.key, record.repeats)));
    }
    all
}

fn of_key(key: &str) -> Answer {
    let mut answer = denial();
    answer.records[0].key = key.to_owned();
    answer
}

/// A record stands for the equal answers of ten seconds, so that nobody fills the spool and the vault by asking above a
/// limit. Seen failing: with the key missing in the record's id, without `take_back`, and with a clock that goes back.
#[tokio::test]
async fn repeated_answers_share_a_record() {
    let clock = ManualClock::at(UnixNanos(NOON));
    let (rig, desk) = rig_at(Arc::clone(&clock) as Arc<dyn Clock>, true).await;
    let ask = |token| Sent { path: "/v1/budget", token, body: "{}".to_owned(), ..Sent::default() };
    let codex = || hook("codex", ASKER, tool_call("x"));
    let record = |account: &str, key: &str, repeats| (account.to_owned(), key.to_owned(), repeats);
    desk.answers(of_key("r1"));
    for _ in 0..20 {
        assert!(rig.send(&ask(ASKER)).await.1.contains(r#""deny""#), "a repeat is the same answer");
        assert!(rig.send(&codex()).await.1.contains(r#""deny""#));
    }
    assert_eq!(take_records(&rig), [record("acme", "r1", 0)]);
    rig.send(&ask(SLOW_TOKEN)).await;
    desk.answers(of_key("r2"));
    rig.send(&codex()).await;
    let mut other = of_key("r1");
    other.records[0].shadow = true;
    desk.answers(other.clone());
    rig.send(&codex()).await;
    (other.records[0].shadow, other.records[0].kind) = (false, RecordKind::Ask);
    desk.answers(other.clone());
    rig.send(&codex()).await;
    other.records[0].budget = "two".to_owned();
    desk.answers(other);
    rig.send(&codex()).await;
    let r1 = || record("acme", "r1", 0);
    assert_eq!(take_records(&rig), [record("slow", "r1", 0), record("acme", "r2", 0), r1(), r1(), r1()]);
    desk.answers(of_key("r1"));
    clock.advance(Duration::from_secs(9));
    rig.send(&codex()).await;
    assert_eq!(take_records(&rig), []);
    clock.advance(Duration::from_secs(1));
    rig.send(&codex()).await;
    rig.send(&codex()).await;
    assert_eq!(take_records(&rig), [record("acme", "r1", 40)]);
    clock.advance(Duration::from_secs(10));
    rig.engine.outcomes.lock().push_back(Reason::SpoolFull.outcome());
    rig.send(&codex()).await;
    assert_eq!(take_records(&rig), [record("acme", "r1", 1)], "refused by the spool");
    rig.send(&codex()).await;
    assert_eq!(take_records(&rig), [record("acme", "r1", 2)], "the answers of the lost record are not lost");
    clock.set_back(Duration::from_secs(3600));
    rig.send(&codex()).await;
    assert_eq!(take_records(&rig), [record("acme", "r1", 0)], "a clock that is set back silences nobody for an hour");
}

/// Who may only ask can't use up the rate of its account's telemetry. Seen failing: with records and refused bodies
/// charged, and without the rate of questions.
#[tokio::test]
async fn questions_take_nothing_from_telemetry() {
    let (rig, desk) = rig().await;
    desk.answers(denial());
    let ask = |token, body: &str| Sent { path: "/v1/budget", token, body: body.to_owned(), ..Sent::default() };
    let stop = |token| Sent { token, ..Sent::default() };
    desk.answers(denial());
    assert_eq!(rig.send(&ask(SLOW_TOKEN, "{}")).await.0, 200);
    assert_eq!(take_records(&rig).len(), 1);
    assert_eq!(rig.send(&ask(SLOW_TOKEN, &"x".repeat(70_000))).await.0, 413);
    assert_eq!(rig.send(&hook("codex", SLOW_TOKEN, "x".repeat(70_000))).await.0, 400);
    assert_eq!(rig.send(&stop(SLOW_TOKEN)).await.0, 200, "nothing is owed");
    assert_eq!(rig.send(&stop(SLOW_TOKEN)).await.0, 429, "the event is");
    let check = |token| Sent { path: "/v1/budget/check", ..ask(token, "") };
    let asked = [rig.send(&ask(BUSY_TOKEN, "{}")).await.0, rig.send(&ask(BUSY_TOKEN, "{}")).await.0];
    assert_eq!((asked, rig.send(&check(BUSY_TOKEN)).await.0), ([200, 429], 429));
    for client in ["codex", "gemini", "cursor"] {
        let call = json!({"session_id": "s1", "conversation_id": "s1", "hook_event_name": "PreToolUse"}).to_string();
        assert_eq!(rig.send(&hook(client, BUSY_TOKEN, call)).await.0, 200, "{client} would go on");
    }
    assert_eq!(rig.send(&stop(BUSY_TOKEN)).await.0, 200, "telemetry has its own rate");
}

/// Huge, malformed and repeated hooks.
#[tokio::test]
async fn hostile_hooks_are_survived() {
    let (rig, desk) = rig().await;
    desk.answers(denial());
    let huge = "x".repeat(10 << 20);
    let write = format!(r#","permission_mode":"default","tool_name":"Write","tool_input":{{"content":"{huge}"}}"#);
    let (status, body) = rig.send(&hook("claude-code", TOKEN, event("PreToolUse", &write))).await;
    assert!(status == 200 && body.contains(r#""deny""#), "{status} {body:.200}");
    let command = format!("git commit -m '{huge}'");
    rig.send(&hook("claude-code", TOKEN, tool_call(&command))).await;
    assert!(!desk.take().pop().expect("asked").saves_work);
    let deep = format!(r#","tool_name":"Bash","tool_input":{}{}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(rig.send(&hook("claude-code", TOKEN, event("PreToolUse", &deep))).await.0, 200);
    for body in ["CANARY", "[]", r#"{"session_id":"CANARY"}"#, r#"{"hook_event_name":"PreToolUse"}"#] {
        for client in ["claude-code", "codex", "cursor"] {
            let (status, answer) = rig.send(&hook(client, TOKEN, body.to_owned())).await;
            assert!(status == 400 && !answer.contains("CANARY"), "{status} {answer}");
        }
    }
    rig.engine.take_requests();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..3 {
        rig.send(&hook("claude-code", TOKEN, tool_call("curl x"))).await;
        ids.extend(rig.engine.take_requests().iter().map(|one| {
            let request = ExportTraceServiceRequest::decode(one.wire.clone()).expect("a request");
            let span = &request.resource_spans[0].scope_spans[0].spans[0];
            (span.name.clone(), span.trace_id.clone(), span.span_id.clone())
        }));
    }
    assert_eq!(ids.len(), 1, "one event, whose record is there: {ids:?}");
}

/// A session reads a note once, and again with the next tenth of the budget; another session gets its own.
#[tokio::test]
async fn notes_are_given_once() {
    let (rig, desk) = rig().await;
    let mut bodies = Vec::new();
    for (spent, session) in [(81, "s1"), (82, "s1"), (91, "s1"), (92, "s2")] {
        desk.answers(noted(spent));
        let call = tool_call("x").replace("\"s1\"", &format!("\"{session}\""));
        bodies.push(rig.send(&hook("claude-code", TOKEN, call)).await.1);
    }
    let given: Vec<bool> = bodies.iter().map(|body| body.contains("additionalContext")).collect();
    assert_eq!(given, [true, false, true, true], "{bodies:?}");
    assert!(!bodies[0].contains("permissionDecision"), "a note allows nothing: {}", bodies[0]);
}

/// A proxy asks in JSON, for keys of its account, and gets the sums.
#[tokio::test]
async fn proxies_ask_in_json() {
    let (rig, desk) = rig().await;
    desk.answers(denial());
    let ask = |body: String| Sent { path: "/v1/budget", token: ASKER, body, ..Sent::default() };
    let trace = "0AF7651916CD43DD8448EB211C80319C";
    let question = json!({"session": "s", "run": "r", "trace": trace, "user": "u", "tenant": "t", "feature": "f",
                          "issue": "i", "service": "v", "model": "m", "can_ask": true});
    let (status, body) = rig.send(&ask(question.to_string())).await;
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let budget = json!({"budget": "one-run", "key": "r1", "measure": "tool_calls", "spent": "102", "limit": "100",
                        "share": 1.02, "until": "1970-01-01T00:00:07.000000000Z"});
    let expected = json!({"decision": "deny", "reason": REASON, "notes": [], "budgets": [budget], "known_since": null,
                          "knows": "gateway"});
    assert_eq!((status, answer), (200, expected));
    let Question { account, names, trace: asked, can_ask, saves_work } = desk.take().remove(0);
    assert_eq!((&*account, asked, can_ask, saves_work), ("acme", Some(trace.to_lowercase()), true, false));
    let given =
        [names.session, names.run, names.user, names.tenant, names.feature, names.issue, names.service, names.model];
    assert_eq!(given.map(Option::unwrap).concat(), "srutfivm");
    assert_eq!(stored(&rig), pairs(&[("acme", RECORD_SPAN)]));
    let long = "x".repeat(1025);
    for (expected, body) in [
        (400, r#"{"account":"CANARY"}"#.to_owned()),
        (400, r#"{"user":7}"#.to_owned()),
        (400, r#"{"run":"CANARY","trace":"0af7651916cd43dd8448eb211c80319c"}"#.to_owned()),
        (400, r#"{"user":""}"#.to_owned()),
        (400, format!(r#"{{"user":"{long}"}}"#)),
        (400, r#"{"user":"a\u0000b"}"#.to_owned()),
        (400, r#"{"can_ask":"yes"}"#.to_owned()),
        (400, r#"{"trace":"CANARY"}"#.to_owned()),
        (400, "CANARY".to_owned()),
        (400, String::new()),
        (413, format!(r#"{{"user":"{}"}}"#, "x".repeat(70_000))),
    ] {
        let (status, answer) = rig.send(&ask(body)).await;
        assert!(status == expected && !answer.contains("CANARY"), "{expected}: {status} {answer}");
    }
    assert!(desk.take().is_empty());
    assert_eq!(rig.send(&Sent { method: "GET", ..ask("{}".to_owned()) }).await.0, 405);
}

/// Envoy asks with the method and path of the request that it holds, and reads status and headers.
#[tokio::test]
async fn envoy_asks_in_headers() {
    let (rig, desk) = rig().await;
    let headers = "x-tollgate-user: u1\r\nx-tollgate-session: s1\r\nx-tollgate-model: m1\r\n\
                   traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let path = "/v1/budget/check/v1/chat/completions";
    let check = |method, headers: &str| Sent {
        method,
        path,
        token: ASKER,
        headers: headers.to_owned(),
        body: "x".repeat(1000),
        content_type: "text/plain",
    };
    desk.answers(noted(81));
    for method in ["POST", "GET", "PUT"] {
        assert_eq!(rig.send(&check(method, headers)).await, (200, String::new()));
        let Question { names, trace, can_ask, .. } = desk.take().remove(0);
        let given = [names.user, names.session, names.model].map(Option::unwrap);
        assert_eq!(given, ["u1", "s1", "m1"]);
        assert_eq!((trace.as_deref(), can_ask), (Some("0af7651916cd43dd8448eb211c80319c"), false));
    }
    desk.answers(denial());
    let (status, body) = rig.send(&check("POST", "traceparent: nonsense\r\n")).await;
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &body["error"]["message"]), (403, &REASON.into()));
    assert_eq!(desk.take()[0].trace, None);
    let twice = "x-tollgate-user: a\r\nx-tollgate-user: b\r\n";
    assert_eq!(rig.send(&check("POST", twice)).await.0, 400);
    let (status, body) = rig.send(&check("POST", "x-tollgate-run: CANARY\r\n")).await;
    assert!(status == 400 && body.contains("`run` needs `session`") && !body.contains("CANARY"), "{status} {body}");
    assert_eq!(rig.send(&Sent { path: "/v1/budget/checks", ..check("POST", "") }).await.0, 404);
    assert!(desk.take().is_empty());
    assert!(rig.engine.holds_answers.load(Ordering::SeqCst) || stored(&rig) == pairs(&[("acme", RECORD_SPAN)]));
}
