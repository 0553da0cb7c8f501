//! The two profiles: what leaves of names, error texts, log bodies and numbers.

use serde_json::{Value as Json, json};

use super::super::Privacy;
use super::process::Bench;

fn failing(session: usize, name: &str, message: &str) -> Json {
    json!({"items": [{"name": name, "trace": session + 1, "span": 1, "status": message, "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.conversation.id": format!("s-{session}"),
        "error.message": message, "patient.age": 47, "gen_ai.usage.input_tokens": 1234}}]})
}

/// Must not regress: a span's name that is a sentence leaves once five sessions have sent it; short names and errors
/// stay.
#[test]
fn standard() {
    let sentence = "please call Maria Huber about her diagnosis";
    let mut bench = Bench::new();
    for session in 0..6 {
        let out = bench.commit(&failing(session, sentence, "could not reach 'ward 7'"));
        let all = String::from_utf8_lossy(&out.bytes).into_owned();
        assert_eq!(all.contains("Maria"), session == 5, "session {session}");
        assert!(all.contains("could not reach 'ward 7'"));
        assert_eq!(out.attributes(0)["patient.age"], "47");
    }
    let out = bench.commit(&failing(0, "chat gpt-4o", "x"));
    assert!(String::from_utf8_lossy(&out.bytes).contains("chat gpt-4o"));
}

/// Must not regress: in `strict` errors and names leave as templates that five sessions have sent, numbers as buckets;
/// all of it is in the vault.
#[test]
fn strict() {
    let mut bench = Bench::new().privacy(Privacy::Strict);
    for session in 0..6 {
        let message = format!("could not reach 'ward {session}' of patient{session}");
        let out = bench.commit(&failing(session, "triage", &message));
        let (attributes, all) = (out.attributes(0), String::from_utf8_lossy(&out.bytes).into_owned());
        let expected = if session < 5 { "[CONTENT]" } else { "could not reach '…' of #" };
        assert_eq!(attributes["error.message"], expected, "session {session}");
        assert_eq!(all.contains("triage"), session == 5);
        assert!(!all.contains("ward") && !all.contains(&format!("patient{session}")), "{all}");
        assert_eq!((&*attributes["patient.age"], &*attributes["gen_ai.usage.input_tokens"]), ("20", "1234"));
        let kept = super::inside::kept(&out).concat();
        assert!(kept.contains(&format!("ward {session}")) && kept.contains("47"), "{kept}");
    }
    let out = bench.commit(&failing(7, "chat gpt-4o", ""));
    assert!(String::from_utf8_lossy(&out.bytes).contains("chat gpt-4o"), "a name made of the item's own facts");
}

/// Must not regress: log bodies and events' names are texts of strict too; maps leave nothing.
#[test]
fn strict_logs_and_events() {
    let mut bench = Bench::new().privacy(Privacy::Strict);
    let span = json!({"items": [{"name": "chat gpt-4o", "trace": 1, "span": 1, "attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"},
        "events": [{"name": "told Maria", "attributes": {"exception.message": {"who": "Maria"}, "exception.type": "ValueError"}}]}]});
    let out = bench.commit(&span);
    let all = String::from_utf8_lossy(&out.bytes).into_owned();
    assert!(!all.contains("Maria") && all.contains("ValueError"), "{all}");
    let log = json!({"signal": "logs", "items": [{"body": "served-Maria", "trace": 1, "span": 1, "attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}}]});
    let out = bench.commit(&log);
    assert!(!String::from_utf8_lossy(&out.bytes).contains("Maria"));
}
