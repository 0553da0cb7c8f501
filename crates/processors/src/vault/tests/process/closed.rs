//! Text in any place of an agent's item that is not declared harmless is never forwarded: product, place, wording and
//! order are chosen by seed.

use super::chat::{number, pick, said};
use super::*;
use kernel::rng::SeededRng;

/// Number of seeds in `cargo test`; nightly runs use more (`TOLLGATE_SEEDS`).
const SEEDS: u64 = 1000;
/// Keys that an application might use for its own data.
const OWN: &str = "note customer app.team patient.name order.state userNote \
    x-remark db.row aws.note openai.remark service.motto k8s.comment";
/// Keys of the conventions and dialects that hold names.
const KNOWN: &str = "gen_ai.agent.name gen_ai.tool.name error.type langgraph.node service.namespace \
    os.description gen_ai.workflow.name tool_name";

/// Disguises `text` as an id, an address or a command.
fn disguised(rng: &SeededRng, text: &str) -> String {
    let word = text.split(' ').next().unwrap_or_default();
    let camel: String = text.split(' ').collect();
    match number(rng, 13) {
        8 => format!("0x{}", kernel::hex::encode(text.as_bytes())),
        9 => camel.chars().map(|c| if c.is_ascii_uppercase() { format!("1{c}") } else { c.to_string() }).collect(),
        10 => kernel::hex::encode(text.as_bytes())
            .as_bytes()
            .chunks(4)
            .map(|four| String::from_utf8_lossy(four))
            .collect::<Vec<_>>()
            .join("-"),
        11 => format!("1{}", kernel::hex::encode(text.as_bytes())),
        12 => format!("call_{camel}"),
        0 => format!("{word}_1985"),
        1 => format!("{word}-4711"),
        2 => format!("{word}:1"),
        3 => format!("1985{word}"),
        4 => format!("{camel}85"),
        5 => format!("run-{word}12345"),
        6 => format!("v1.{word}.2"),
        _ => text.replace(' ', "_"),
    }
}

/// Encodes a text so that it is not readable at a glance.
fn encoded(rng: &SeededRng, text: &str) -> String {
    use base64::Engine as _;
    match number(rng, 3) {
        0 => kernel::hex::encode(text.as_bytes()),
        1 => base64::engine::general_purpose::STANDARD.encode(text),
        _ => base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text),
    }
}

/// Places for `text` found in a security review, with the words that must not be forwarded beside it.
fn found(rng: &SeededRng, seed: u64, text: &str) -> (bool, Json, String) {
    let mut span = json!({"name": "execute_tool", "trace": seed + 1, "span": 1, "attributes": {
        "gen_ai.operation.name": "execute_tool", "gen_ai.request.model": "gpt-4o", "gen_ai.conversation.id": format!("s-{seed}")}});
    let own = pick(rng, OWN);
    let words = format!("{text} and as many words more as no name of anything that has one would need");
    let (mut log, mut absent) = (false, String::new());
    match number(rng, 15) {
        9 => {
            let key =
                ["prompt_diagnosis", "ai.telemetry.metadata.patient", "gen_ai.patient", "llm.note", "completionFor"]
                    [number(rng, 5)];
            absent = disguised(rng, text);
            span["attributes"][key] = json!(absent);
        }
        10 => {
            let joined = words.replace(' ', ["/", ".", "&", "=1&", ""][number(rng, 5)]);
            let key = ["url.full", "url.path", "url.query", "http.target"][number(rng, 4)];
            span["attributes"][key] = json!(format!("{}{joined}", if key == "url.query" { "" } else { "/" }));
        }
        11 => {
            absent = disguised(rng, text);
            span["attributes"]["url.query"] = json!(format!("q={absent}"));
        }
        12 => {
            let systems = ["elasticache", "redis-stack", "upstash-redis", "memcached"];
            span["attributes"]["db.system"] = json!(systems[number(rng, 4)]);
            span["attributes"]["db.statement"] = json!(format!("JSON.SET k {text}"));
        }
        13 => span["attributes"]["db.statement"] = json!(format!("SETEX k 60 {text}")),
        14 => {
            span["event_name"] = json!("done");
            span["body"] = json!(format!("{}.done", text.replace(' ', ".")));
            log = true;
        }
        0 => {
            absent = disguised(rng, text);
            span["attributes"][own] = json!(absent);
        }
        1 => {
            absent = encoded(rng, &words.chars().take(40).collect::<String>());
            span["attributes"][own] = json!(absent);
        }
        2 => {
            let joined = words.replace(' ', ["_", "-", "+", "."][number(rng, 4)]);
            span["attributes"][pick(rng, KNOWN)] = json!(joined);
        }
        3 => {
            let joined = words.replace(' ', "-");
            let url = [format!("https://a.example/x/[{joined}]"), format!("https://{joined}.example/x")];
            span["attributes"]["url.full"] = json!(url[number(rng, 2)]);
        }
        4 => {
            span["attributes"]["db.system.name"] = json!("redis");
            let lines = [format!("SET k hello\n{text}"), format!("SET ? [{text} other arguments]"), text.to_owned()];
            span["attributes"]["db.query.text"] = json!(lines[number(rng, 3)]);
        }
        5 => {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.encode(text);
            span["attributes"]["error.message"] = json!({"$bytes": bytes});
        }
        6 => span["attributes"]["url.full"] = json!([[text]]),
        7 => span["events"] = json!([{"name": words.replace(' ', "_"), "attributes": {}}]),
        _ => {
            let body = [text.split(' ').next().unwrap_or_default().to_owned(), text.to_owned(), disguised(rng, text)];
            span["body"] = json!(body[number(rng, 3)]);
            log = true;
        }
    }
    (log, span, absent)
}

/// An item that contains `text` somewhere, and whether it is a log record.
fn item(rng: &SeededRng, strict: bool, seed: u64, text: &str) -> (bool, Json) {
    let word = || text.split(' ').next().unwrap_or_default();
    let operation = ["chat", "invoke_agent", "execute_tool"][number(rng, 3)];
    let mut span = json!({"name": operation, "trace": seed + 1, "span": 1, "attributes": {
        "gen_ai.operation.name": operation, "gen_ai.request.model": "gpt-4o", "gen_ai.conversation.id": format!("s-{seed}")}});
    let own = pick(rng, OWN);
    let sentence = format!("{text} and six words more in it");
    let place = number(rng, if strict { 17 } else { 12 });
    match place {
        0 => span["attributes"][own] = json!(word()),
        1 => span["attributes"][own] = json!(text),
        2 => span["attributes"][own] = json!({"inner": [text]}),
        3 => span["attributes"][pick(rng, KNOWN)] = json!(sentence),
        4 => {
            span["attributes"]["url.full"] =
                json!(format!("https://api.example/search?q={}", sentence.replace(' ', "+")))
        }
        5 => {
            span["attributes"]["gen_ai.operation.name"] = json!("execute_tool");
            span["attributes"][["error.message", "exception.message", "error"][number(rng, 3)]] = json!(text);
            span["status"] = json!("failed");
        }
        6 => {
            span["attributes"]["gen_ai.operation.name"] = json!("execute_tool");
            span["status"] = json!(text);
        }
        7 => span["name"] = json!(sentence),
        8 => span["events"] = json!([{"name": sentence, "attributes": {}}]),
        9 => span["events"] = json!([{"name": "step", "attributes": {own: text}}]),
        10 => span["attributes"]["gen_ai.input.messages"] = json!(format!(r#"[{{"role":"user","content":"{text}"}}]"#)),
        11 => span["attributes"][sentence.as_str()] = json!(1),
        12 => span["attributes"]["error.message"] = json!(text),
        13 => span["status"] = json!(text),
        14 => span["name"] = json!(word()),
        15 => {
            let message = [json!(text), json!({"who": text})][number(rng, 2)].clone();
            span["events"] = json!([{"name": word(), "attributes": {"exception.message": message}}]);
        }
        _ => {
            return (
                true,
                json!({"body": word(), "trace": seed + 1, "span": 1, "attributes": {
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.conversation.id": format!("s-{seed}")}}),
            );
        }
    }
    (false, span)
}

/// Must not regress: no word of the text is forwarded in either profile, also not from a child span without agent
/// attributes that arrives a request before or after its agent's span.
#[test]
fn nothing_leaves_from_an_agents_item() {
    let mut benches = [Bench::new(), Bench::new().privacy(super::super::super::PrivacyProfile::Strict)];
    let service =
        |items: Json, signal: &str| json!({"signal": signal, "resource": {"service.name": "clinic"}, "items": items});
    let known = json!({"name": "chat", "trace": 9, "span": 9, "attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}});
    benches.iter_mut().for_each(|bench| drop(bench.commit(&service(json!([known]), "traces"))));
    for seed in fixtures::seeds(1, SEEDS) {
        let rng = SeededRng::new(seed);
        let strict = number(&rng, 2) == 1;
        // Five sessions that share a text prove it, so each seed uses a text of its own.
        let letters: String = seed.to_string().bytes().map(|digit| char::from(digit - b'0' + b'k')).collect();
        let text = said(&rng).replacen("CANARY", &format!("CANARY{letters}"), 1);
        let (log, item, absent) = match number(&rng, 3) {
            0 => found(&rng, seed, &text),
            _ => {
                let (log, item) = item(&rng, strict, seed, &text);
                (log, item, String::new())
            }
        };
        let child = json!({"name": "POST", "trace": seed + 1_000_000, "span": 3, "attributes": {
            "http.request.method": "POST", pick(&rng, OWN): text}});
        let mut requests =
            vec![service(json!([item]), if log { "logs" } else { "traces" }), service(json!([child]), "traces")];
        if number(&rng, 2) == 1 {
            requests.reverse();
        }
        for request in &requests {
            let out = benches[usize::from(strict)].commit(request);
            assert!(!out.leaks("CANARY"), "TOLLGATE_SEED={seed}, strict {strict}: {request}");
            let leaks = !absent.is_empty() && out.leaks(&absent);
            assert!(!leaks, "TOLLGATE_SEED={seed}, strict {strict}: {request}");
        }
    }
}
