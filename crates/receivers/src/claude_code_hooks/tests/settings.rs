//! The stanza: defaults, problems and notes.

use serde_json::json;

use super::super::{ClaudeCodeHooksConfig, ClaudeCodeHooksSettings};
use config::FieldProblem;

fn settings(json: serde_json::Value) -> Result<ClaudeCodeHooksSettings, Vec<FieldProblem>> {
    serde_json::from_value::<ClaudeCodeHooksConfig>(json).expect("readable").settings()
}

/// Every problem is reported at once, at its own key, and an unprotected address that others reach gets a note.
#[test]
fn stanza_is_checked() {
    let faulty = json!({"endpoint": "nowhere", "path": "hooks", "auth": {}, "answer_within": "2m",
                        "max_request_body_size": 0, "max_connections": 0});
    let paths: Vec<String> = settings(faulty).expect_err("problems").into_iter().map(|one| one.path).collect();
    let expected = ["endpoint", "path", "auth", "answer_within", "max_request_body_size", "max_connections"];
    assert_eq!(paths, expected);
    let notes = |json| settings(json).expect("valid").notes.len();
    assert_eq!(notes(json!({})), 0);
    assert_eq!(notes(json!({"endpoint": "0.0.0.0:4319"})), 1);
    assert_eq!(notes(json!({"endpoint": "0.0.0.0:4319", "auth": {"tokens": {"a": ["0123456789abcdef"]}}})), 0);
    let mut ports = settings(json!({})).expect("valid");
    assert!(!ports.cap_request_size(ports.largest_request()) && ports.cap_request_size(30 << 20));
    assert!(ports.limits.wire == 20 << 20 && ports.largest_request() <= 30 << 20);
    assert_eq!(ports.ports().ports.first().map(|port| port.key("tls")), Some("tls".to_owned()));
}

/// Who may only ask can't be someone who sends, and needs a port on which not everyone may.
#[test]
fn tokens_that_only_ask_are_apart() {
    let paths = |json| settings(json).err().map(|all| all.into_iter().map(|one| one.path).collect::<Vec<_>>());
    let [sender, asker] = ["0123456789abcdef", "fedcba9876543210"];
    let of_users = json!({"users": {"alice": {"tokens": [asker]}}});
    for (config, expected) in [
        (
            json!({"auth": {"tokens": {"a": [sender]}}, "budget_tokens": {"a": [asker], "b": ["another-token-0123"]}}),
            None,
        ),
        (json!({"budget_tokens": {"a": [asker]}}), Some("budget_tokens")),
        (json!({"auth": {"tokens": {"a": [sender]}}, "budget_tokens": {"a": [sender]}}), Some("budget_tokens")),
        (json!({"auth": of_users, "budget_tokens": {"a": [asker]}}), Some("budget_tokens")),
        (json!({"auth": {"tokens": {"a": [sender]}}, "budget_tokens": {"a": ["short"]}}), Some("budget_tokens.a[0]")),
    ] {
        assert_eq!(paths(config.clone()), expected.map(|path| vec![path.to_owned()]), "{config}");
    }
}
