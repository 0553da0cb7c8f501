//! Keys of documents stay, whatever their values are: no rule reads across the end of a string into the text next to
//! it.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::properties::{Random, sources};
use super::{detector, redact};

/// Ends of strings that could continue in the next string: secrets, URLs, markup, unclosed quotes.
const TAILS: &[&str] = &[
    "git clone https://u:abc12345@files.northbeam.io",
    "mongodb://app:s3cretPw9@db.acme.io",
    "secret_access_key=7pAMBpkT19UNstni8Nexy3qK16U6nFgxsxxy7Z3O",
    "x -> Result<Token> {",
    "y\n Box<ApiKey> {",
    "fn next(&mut self) -> Option<Secret>",
    "see <password>",
    "<password>Kx7pQ2vR9",
    "<password type=\"text\">Kx7pQ2vR9</password>",
    "<password label=",
    "<apiKey type=\"live",
    "<td>password</td><td>",
    "| password |",
    "| api_key | ",
    "password: '",
    "password = `",
    "api_key=\"",
    "\"password\": \"",
    "{\"password\":",
    "password",
    "the password is",
    "Authorization: Bearer",
    "--password ",
    "curl -u admin:",
    "Cookie: session=",
    "Set-Cookie: a=\"",
    "mail zoe@example.com",
    "mail zoe.k@example",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "ghp_16C7e42F292c",
    "AKIAQ3EGRZKX5TQ7LM2A",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq98Tbd",
    "seed phrase: legal winner thank year",
    "my name is",
    "Dear",
    "Name: ",
    "lives at 12",
    "call +1 415 555",
    "card 4111 1111",
    "ssn 536-90",
    "password:\n",
    "DB_PASSWORD=Kx7pQ2vR9 \\",
    "say \"hi\" and <token>",
    "Customer | Name |\n|---|---|\n| Jane Roe | Jane",
    "id,name,email\n7,Jane Roe,zd@example.org\n8,\"",
    "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0",
    "ok then",
    "",
];

/// Neutral keys, which are not private themselves.
const KEYS: &[&str] = &[
    "is_error", "metadata", "status", "io", "code", "output", "content", "stopped", "is error", "a1", "0f", "seconds",
];

fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 5 } else { 9 }) {
        0..=2 => random.pick(TAILS).into(),
        3 => {
            let piece: String = random.pick(sources()).chars().take(60).collect();
            // A nested document would bring its own keys
            piece.replace(['{', '['], "(").into()
        }
        4 => match random.below(4) {
            0 => true.into(),
            1 => Value::Null,
            _ => random.below(100_000).into(),
        },
        5 => (0..=random.below(4)).map(|_| value(random, depth - 1)).collect::<Vec<_>>().into(),
        6 | 7 => object(random, depth - 1),
        _ => object(random, depth - 1).to_string().into(),
    }
}

fn object(random: &mut Random, depth: usize) -> Value {
    let mut map = Map::new();
    for _ in 0..=random.below(4) {
        let key = random.pick(KEYS).to_owned();
        map.insert(key, value(random, depth));
    }
    map.into()
}

/// Describes the first difference between two values beyond their strings and numbers.
fn differs(before: &Value, after: &Value) -> Option<String> {
    let document = |text: &str| serde_json::from_str::<Value>(text).ok().filter(|value| value.is_object());
    match (before, after) {
        (Value::Object(one), Value::Object(two)) => {
            if !one.keys().eq(two.keys()) {
                return Some(format!("{:?} became {:?}", one.keys(), two.keys()));
            }
            one.values().zip(two.values()).find_map(|(one, two)| differs(one, two))
        }
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            one.iter().zip(two).find_map(|(one, two)| differs(one, two))
        }
        (Value::String(one), Value::String(two)) => match (document(one), document(two)) {
            (Some(one), Some(two)) => differs(&one, &two),
            (Some(_), None) => Some(format!("{one} became {two}")),
            _ => None,
        },
        (Value::Number(_), Value::String(_) | Value::Number(_)) => None,
        (Value::Bool(_) | Value::Null, _) if before == after => None,
        _ => Some(format!("{before} became {after}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Documents, and those within their strings, still parse and keep their keys.
    #[test]
    fn keys_stay(seed in any::<u64>()) {
        let (detector, mut random) = (detector(), Random::new(seed));
        let before = object(&mut random, 3);
        let text = before.to_string();
        let shown = redact(detector, &text);
        // Text that is too deep to decode is replaced with its keys
        prop_assume!(!shown.contains("[UNSCANNED]"));
        let after: Value = serde_json::from_str(&shown).unwrap_or_default();
        let gap = differs(&before, &after);
        prop_assert!(gap.is_none(), "{}\n{}\n{}", gap.unwrap_or_default(), text, shown);
    }
}

/// A private key whose lines are log records or list items: no line of it stays, but the records' keys do.
#[test]
fn keys_in_records_of_a_log_go() {
    let body = ["MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp", "K06nwoy9hQz7TrX2LmVb8sKe4WdYcUa1Jf3PgN6i"];
    let lines = [&["-----BEGIN PRIVATE KEY-----"][..], &body[..], &["-----END PRIVATE KEY-----"][..]].concat();
    let log: String =
        lines.iter().map(|line| format!("{{\"log\": \"{line}\\n\", \"stream\": \"stdout\"}}\n")).collect();
    let list = lines.iter().map(|line| format!("{{\"line\":\"{line}\"}}")).collect::<Vec<_>>().join(",");
    for text in [log, format!("[{list}]"), format!("{{\"a\":{:?}}}", format!("[{list}]"))] {
        let redacted = redact(detector(), &text);
        assert!(body.iter().all(|line| !redacted.contains(line)), "{redacted}");
        assert!(redacted.contains("\"stream\"") || redacted.contains("line"), "{redacted}");
    }
}
