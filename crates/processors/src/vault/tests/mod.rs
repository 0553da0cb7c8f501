mod agent_services;
mod agents;
mod closed_items;
mod deltas;
mod dialects;
mod hostile;
mod inside;
mod keeping;
mod layouts;
mod owners;
mod planted;
mod privacy;
mod process;
mod recipients;
mod sessions;
mod whole;

use super::config::LeftContent;
use super::*;
use genai::ContentPart;
use kernel::key_source::{KeyService, KeySource, LazyKey};
use kernel::rng::SeededRng;
use vault::chain::note::SigningKey;

fn parse(text: &str) -> VaultConfig {
    ::config::load::parse_data("vault.yaml", text).unwrap_or_else(|problem| panic!("{problem}"))
}

fn settings_of(text: &str) -> VaultSettings {
    parse(text).settings().unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn recipient() -> String {
    age::x25519::Identity::generate().to_public().to_string()
}

/// A vault in a folder with more options.
fn in_folder(options: &str) -> String {
    format!("recipients: [{}]\nstore: {{ directory: ./vault }}\n{options}", recipient())
}

fn problems(text: &str) -> Vec<String> {
    match parse(text).settings() {
        Ok(_) => panic!("accepted"),
        Err(problems) => problems.into_iter().map(|p| format!("{}: {}", p.path, p.message)).collect(),
    }
}

/// The documented configuration loads with the documented meaning.
#[test]
fn the_documented_stanza_loads() {
    let (one, two) = (recipient(), recipient());
    let settings = settings_of(&format!(
        "recipients: [{one}, {two}]\nstore: {{ s3: {{ bucket: audit-logs, key_bucket: audit-keys, prefix: agent-sessions, \
         region: eu-west-1, object_lock: {{ mode: compliance, retention: 400d }} }} }}"
    ));
    assert!(
        settings.notes.is_empty()
            && settings.recipients.recipients.len() == 2
            && settings.config.leave == LeftContent::Nothing
    );
    let s3 = settings.store.as_ref().and_then(|store| store.profile().buckets).expect("S3");
    assert_eq!(s3.lock.map(|lock| lock.retention.as_secs()), Some(400 * 86_400));
    assert!(!settings.writer.is_empty() && settings.writer.len() <= 64);
}

/// The short forms of `store` load, each with the notes its user needs.
#[test]
fn stores_in_short() {
    let settings = settings_of(&in_folder("leave: redacted"));
    assert_eq!(settings.store.as_ref().and_then(|store| store.profile().folder), Some("./vault".as_ref()));
    assert_eq!((settings.config.leave, settings.notes.len()), (LeftContent::Redacted, 1));
    let none = settings_of("store: none");
    assert_eq!((none.store.is_none(), none.notes.len()), (true, 1));
}

/// An earlier configuration still loads; what has no effect any more is noted by its name.
#[test]
fn what_was_learned_once_is_noted() {
    let settings = settings_of(&in_folder("labels: { min_sessions: 5, keep: [team] }"));
    let is_noted = |settings: &VaultSettings| settings.notes.iter().any(|note| note.path == "labels.min_sessions");
    assert!(is_noted(&settings) && !is_noted(&settings_of(&in_folder("labels: { keep: [team] }"))));
    let found = problems(&in_folder("labels: { keep: [team], never: [team] }\nagents: { services: some }"));
    for path in ["labels.keep", "agents.services"] {
        assert!(found.iter().any(|problem| problem.starts_with(&format!("{path}:"))), "{path} in {found:?}");
    }
}

/// All problems are reported at once, and an S3 store without an explicit lock is refused.
#[test]
fn all_problems_at_once() {
    let found = problems(
        "recipients: [nonsense]\nwriter: a/b\ncontent_url: nonsense\nobject_size: 1\nstore: { s3: { bucket: B } }",
    );
    for path in "recipients[0] writer content_url object_size store.s3.bucket store.s3.key_bucket store.s3.region \
            store.s3.object_lock"
        .split(' ')
    {
        assert!(found.iter().any(|problem| problem.starts_with(&format!("{path}:"))), "{path} in {found:?}");
    }
    assert!(!found.iter().any(|problem| problem.contains("nonsense")), "values are not quoted");
    assert_eq!(problems("{}").len(), 2, "store and recipients");
    assert_eq!(problems("store: none\ncontent_url: https://a.example").len(), 1, "there is nothing to link");
    assert_eq!(problems(&in_folder("content_url: https://a.example/?x=1")).len(), 1, "a path is appended");
}

/// A compliance lock too short for an audit, or too long to outlive, is refused.
#[test]
fn retention_is_bounded() {
    let s3 = |lock: &str| {
        let one = recipient();
        parse(&format!(
            "recipients: [{one}]\nstore: {{ s3: {{ bucket: abc, key_bucket: abd, region: x, object_lock: {{ {lock} }} }} }}"
        ))
        .settings()
    };
    for refused in [
        "mode: compliance, retention: 89d",
        "mode: compliance",
        "mode: governance, retention: 4000d",
        "mode: governance, retention: 1h",
    ] {
        assert!(s3(refused).is_err(), "{refused}");
    }
    for taken in ["mode: compliance, retention: 90d", "mode: governance, retention: 1d", "mode: none"] {
        assert!(s3(taken).is_ok(), "{taken}");
    }
}

/// An incomplete KMS configuration is refused at load, not only when the gateway starts.
#[test]
fn a_kms_is_named_whole() {
    let with = |key: &str| problems(&in_folder(key));
    let found = with("signing_key_kms: { endpoint: here, key_id: '' }");
    for path in ["signing_key_kms", "signing_key_kms.region", "signing_key_kms.endpoint", "signing_key_kms.key_id"] {
        assert!(found.iter().any(|problem| problem.starts_with(&format!("{path}:"))), "{path} in {found:?}");
    }
    let clear = with("signing_key: /k\nsigning_key_kms: { region: eu-central-1, endpoint: 'http://kms.example.com' }");
    assert!(clear.iter().any(|problem| problem.contains("unencrypted")), "{clear:?}");
    let text = "signing_key: /k\nsigning_key_kms: { region: eu-central-1, endpoint: 'http://[::1]:4566', encryption_context: { purpose: vault } }";
    let settings = settings_of(&in_folder(text));
    let kms_key = |settings: &VaultSettings| match settings.signing_key_service.as_ref().map(LazyKey::source) {
        Some(KeySource::Service(KeyService::Kms(key))) => key.clone(),
        _ => panic!("no key of a KMS"),
    };
    let key = kms_key(&settings);
    assert!(key.file == std::path::Path::new("/k") && key.region == "eu-central-1" && settings.signing_key.is_none());
    assert_eq!(key.encryption_context.get("purpose").map(String::as_str), Some("vault"));
    // The newer spelling says the same, and both together are refused.
    let newer = "signing_key: { kms: { file: /k, region: eu-central-1, endpoint: 'http://[::1]:4566', encryption_context: { purpose: vault } } }";
    assert_eq!(kms_key(&settings_of(&in_folder(newer))), key);
    let both = with("signing_key: { command: [/bin/key] }\nsigning_key_kms: { region: eu-central-1 }");
    assert!(both.iter().any(|problem| problem.starts_with("signing_key_kms: is for a file")), "{both:?}");
}

/// A key for erasures is a public key; a wrong one is reported by its position, without its text.
#[test]
fn erasure_keys_are_public_keys() {
    let text = SigningKey::generate("erase.test", &SeededRng::new(50)).expect("a key");
    let key = SigningKey::from_secret(&text).expect("a key").public().clone();
    let settings = settings_of(&in_folder(&format!("erasure_keys: ['{key}']")));
    assert!(settings.erasure_keys == [key.clone()]);
    let found = problems(&in_folder(&format!("erasure_keys: ['{key}', zebra]")));
    assert!(found.len() == 1 && found[0].starts_with("erasure_keys[1]:") && !found[0].contains("zebra"), "{found:?}");
}

fn shape_of(part: ContentPart, text: &str) -> String {
    let mut shape = shape::ContentShape::default();
    shape.add(part, text, None);
    shape.render()
}

/// Structure is kept for all the ways in which clients write messages.
#[test]
fn shapes_keep_structure() {
    let parts = r#"[{"role":"user","parts":[{"type":"text","content":"hello"},{"type":"tool_call","name":"ls","arguments":{"p":"/"}}]}]"#;
    assert_eq!(
        shape_of(ContentPart::Input, parts),
        r#"{"input":[{"role":"user","parts":[{"type":"text","bytes":5},{"type":"tool_call","bytes":3}]}]}"#
    );
    let openai = r#"{"messages":[{"role":"system","content":"be brief"},{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f"}}]}]}"#;
    assert_eq!(
        shape_of(ContentPart::Input, openai),
        r#"{"input":[{"role":"system","parts":[{"type":"text","bytes":8}]},{"role":"assistant","parts":[{"type":"tool_call","bytes":1}]}]}"#
    );
    assert_eq!(
        shape_of(ContentPart::System, r#"[{"type":"text","content":"be brief"}]"#),
        r#"{"system":[{"parts":[{"type":"text","bytes":8}]}]}"#
    );
    assert_eq!(
        shape_of(ContentPart::ToolArgs, r#"{"command":"ls -l"}"#),
        r#"{"tool_args":[{"parts":[{"type":"json","bytes":5}]}]}"#
    );
    assert_eq!(shape_of(ContentPart::Output, "plain"), r#"{"output":[{"parts":[{"type":"text","bytes":5}]}]}"#);
    assert_eq!(shape_of(ContentPart::Output, "{broken"), r#"{"output":[{"parts":[{"type":"text","bytes":7}]}]}"#);
}

/// Whatever the content is, a shape holds only tollgate's words and numbers, and stays small.
#[test]
fn shapes_never_hold_text() {
    let hostile = [
        r#"[{"role":"CANARY","content":"CANARY","type":"CANARY","CANARY":"CANARY"}]"#,
        r#"[{"type":"CANARY","text":"CANARY"},["CANARY"],"CANARY",{"role":{"CANARY":1}}]"#,
        r#"{"messages":{"CANARY":["CANARY"]}}"#,
        r#"["CANARY" 1"#,
    ];
    for text in hostile {
        assert!(!shape_of(ContentPart::Other, text).contains("CANARY"), "{text}");
        serde_json::from_str::<serde_json::Value>(&shape_of(ContentPart::Other, text)).expect("JSON");
    }
    let many = format!(
        "[{}{{}}]",
        r#"{"role":"user","content":[{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}]},"#.repeat(1000)
    );
    let shape = shape_of(ContentPart::Input, &many);
    assert!(
        shape.len() < 16_384 && shape.contains(r#"{"earlier":977}"#) && shape.contains(r#""more":4"#),
        "{}",
        shape.len()
    );
    assert!(shape_of(ContentPart::Input, &"[".repeat(100_000)).len() < 200, "deep nesting is text");
}

/// The estimated shares of the input add up to the billed tokens in any proportion.
#[test]
fn shares_sum_exactly() {
    use super::input_shares::InputShares;
    let some = InputShares { system: 100, tools: 0, results: 1, history: 333, user: 7 };
    assert_eq!(some.distribute(441), Some([100, 0, 1, 333, 7]), "in proportion");
    assert_eq!(InputShares::default().distribute(5), None);
    proptest::proptest!(|(bytes: [u32; 5], total: u64)| {
        let [system, tools, results, history, user] = bytes.map(u64::from);
        let shares = InputShares { system, tools, results, history, user };
        if let Some(spread) = shares.distribute(total) {
            proptest::prop_assert_eq!(spread.iter().map(|tokens| u128::from(*tokens)).sum::<u128>(), u128::from(total));
        }
    });
}

/// System, tools, tool results, history and the last question are distinguished in the ways that clients write them.
#[test]
fn shares_of_a_conversation() {
    use super::input_shares::InputShares;
    let input = |texts: &[(ContentPart, &str, Option<&str>)]| {
        let mut shape = shape::ContentShape::default();
        texts.iter().for_each(|(part, text, role)| shape.add(*part, text, *role));
        shape.input
    };
    let expected = InputShares { system: 5, tools: 0, results: 4, history: 7, user: 6 };
    let parts = r#"[{"role":"system","parts":[{"type":"text","content":"brief"}]},{"role":"user","parts":[{"type":"text","content":"one"}]},
        {"role":"assistant","parts":[{"type":"text","content":"four"}]},{"role":"tool","parts":[{"type":"tool_call_response","response":"done"}]},
        {"role":"user","parts":[{"type":"text","content":"second"}]}]"#;
    assert_eq!(input(&[(ContentPart::Input, parts, None)]), expected);
    let flat = [("system", "brief"), ("user", "one"), ("assistant", "four"), ("tool", "done"), ("user", "second")];
    let flat: Vec<_> = flat.iter().map(|(role, text)| (ContentPart::Input, *text, Some(*role))).collect();
    assert_eq!(input(&flat), expected);
    let anthropic = r#"{"system":"brief","tools":[{"name":"ab"}],"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"four"},
        {"role":"user","content":[{"type":"tool_result","content":"done"},{"type":"text","text":"second"}]}]}"#;
    assert_eq!(input(&[(ContentPart::Input, anthropic, None)]), InputShares { tools: 2, ..expected });
    let apart = [
        (ContentPart::System, "brief", None),
        (ContentPart::Tools, "ab", None),
        (ContentPart::Input, "hello", None),
        (ContentPart::Output, "no input", None),
    ];
    assert_eq!(input(&apart), InputShares { system: 5, tools: 2, results: 0, history: 0, user: 5 });
}
