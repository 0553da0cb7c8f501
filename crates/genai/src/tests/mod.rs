//! Tests of the vocabulary: patterns, shapes, and every case of `tests/cases/dialects`.

mod docs;
mod shown;
mod texts;

use super::label_shape::{is_label, version_satisfies};
use super::pattern::{KeyPattern, NamePatterns, PatternMap};
use super::usage::split_tokens;
use super::words::LISTS;
use super::{ContentBasis, ContentLocation, ContentPlace, Facts, ItemFacts, KeyRole, TokenUsage, Vocabulary};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::testing::request;
use otlp::{NodeKind, Payload, Signal, TextField};
use serde_json::{Value as Json, json};

/// Read from the YAML files, so that a change of data needs no rebuild. `builtin_is_the_yaml_file` keeps the
/// compiled-in copy in step.
fn builtin() -> Vocabulary {
    Vocabulary::parse(data().to_string().leak()).unwrap_or_else(|error| panic!("{}", error.0))
}

/// Replaces each `@name` by the entries of this list. Names of scopes may begin with `@`.
fn insert_lists(data: &mut Json, lists: &Json) {
    let entries = |item: Json| {
        let name = item.as_str().and_then(|text| text.strip_prefix('@')).filter(|name| !name.contains('/'));
        let list = name.map(|name| lists[name].as_array().unwrap_or_else(|| panic!("no list @{name}")).clone());
        list.unwrap_or_else(|| vec![item])
    };
    match data {
        Json::Object(fields) => fields.values_mut().for_each(|value| insert_lists(value, lists)),
        Json::Array(items) => {
            items.iter_mut().for_each(|item| insert_lists(item, lists));
            *items = std::mem::take(items).into_iter().flat_map(entries).collect();
        }
        _ => {}
    }
}

/// Both files merged, with the shared lists inserted and the dialects by priority.
pub(super) fn data() -> Json {
    let mut data: Json = request::case_file("config/dialects.yaml");
    let lists = data["lists"].clone();
    data.as_object_mut().unwrap().retain(|name, _| name != "lists");
    insert_lists(&mut data, &lists);
    let dialects = data["dialects"].as_array_mut().unwrap();
    dialects.sort_by_key(|dialect| dialect["priority"].as_u64().unwrap());
    for dialect in dialects {
        dialect.as_object_mut().unwrap().retain(|name, _| name != "priority");
    }
    data["registry"] = request::case_file("config/semconv.yaml");
    for shape in data["registry"].as_object_mut().unwrap().values_mut() {
        match shape {
            Json::Array(members) => *shape = json!({"members": members}),
            Json::String(kind) if kind.as_str() == "enum" => *shape = json!({"members": []}),
            _ => {}
        }
    }
    data
}

/// The lists of `words.yaml`, sorted for binary searches, and its forms with their parts inserted.
fn words() -> Json {
    let mut words: Json = request::case_file("config/words.yaml");
    for list in words.as_object_mut().unwrap().values_mut() {
        let Some(text) = list.as_str() else { continue };
        let mut sorted: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
        sorted.sort_unstable();
        *list = sorted.into();
    }
    let parts = words["form_parts"].clone();
    let insert =
        |form: String, (name, part): (&String, &Json)| form.replace(&format!("<{name}>"), part.as_str().unwrap());
    let forms = words["forms"].as_object_mut().unwrap().values_mut().flat_map(|forms| forms.as_array_mut().unwrap());
    for form in forms {
        let whole = parts.as_object().unwrap().iter().fold(form.as_str().unwrap().to_owned(), insert);
        *form = format!("^(?:{whole})$").into();
    }
    words.as_object_mut().unwrap().retain(|name, _| name != "form_parts");
    words
}

/// `dialects.json` is generated from `dialects.yaml` and `semconv.yaml`, `words.json` from `words.yaml`. They are
/// small, because a start has 100 ms. To regenerate: `TOLLGATE_UPDATE=1 cargo test -p genai`.
#[test]
fn builtin_is_the_yaml_file() {
    for (name, text) in [("config/dialects.json", data().to_string()), ("config/words.json", words().to_string())] {
        let path = request::at(name);
        if config::env::var("TOLLGATE_UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let is_current = std::fs::read_to_string(path).unwrap() == text;
        assert!(is_current, "{name} is out of date: run with TOLLGATE_UPDATE=1");
        assert!(text.len() < 256 << 10, "{name}: {} bytes", text.len());
    }
    assert!(Vocabulary::builtin().is_ok() && LISTS.neutral.contains("agent"), "a file is unreadable");
}

/// Every described dialect is present, most specific first: the list is written by hand from the survey of
/// instrumentations.
#[test]
fn no_dialect_is_missing() {
    let listed = std::fs::read_to_string(request::at("tests/cases/dialects/list.txt")).unwrap();
    let listed: BTreeSet<&str> = listed.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let vocabulary = builtin();
    let names: Vec<&str> = vocabulary.dialects().collect();
    assert_eq!((names.first(), names.last()), (Some(&"claude-otel-hooks"), Some(&"unknown")));
    assert!(vocabulary.keys.classes.len() > 300);
    let known: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(known.len(), names.len(), "two dialects have one name");
    assert_eq!(known.difference(&listed).collect::<Vec<_>>(), listed.difference(&known).collect::<Vec<_>>());
}

/// Wildcards match across dots; indexes do not match words.
#[test]
fn patterns() {
    let cases = [
        ("a.b", "a.b", true),
        ("a.b", "a.bc", false),
        ("a.{i}.b", "a.12.b", true),
        ("a.{i}.b", "a.x.b", false),
        ("a.{i}.b", "a..b", false),
        ("a.{i}.b.{j}.*", "a.0.b.3.c.d", true),
        ("a.{i}.b.{j}.*", "a.0.b.c.d", false),
        ("gen_ai.*.message", "gen_ai.user.message", true),
        ("gen_ai.*.message", "gen_ai.user.messages", false),
        ("gen_ai.*.message", "gen_ai.x.message.y.message", true),
        ("gen_ai.*.message", "gen_ai.message", false),
        ("*prompt*", "my.prompt", true),
        ("*prompt*", "prompt", true),
        ("*prompt*", "promp", false),
        ("annotations*", "annotations", true),
        ("*.langgraph_node", "metadata.langgraph_node", true),
        ("*.langgraph_node", "metadata.langgraph_node.x", false),
        ("*", "", true),
        ("*{i}", "a12", true),
    ];
    for (pattern, key, expected) in cases {
        assert_eq!(KeyPattern::new(pattern).matches(key), expected, "{pattern} {key}");
    }
}

/// A map finds both literals and wildcards, including patterns with a wildcard in the first segment.
#[test]
fn pattern_map_finds_all() {
    let mut map = PatternMap::default();
    for (at, pattern) in ["a.b", "a.*", "*b", "c.{i}"].into_iter().enumerate() {
        map.insert(pattern, at);
    }
    let find = |key| map.find(key).copied().collect::<Vec<_>>();
    assert_eq!(find("a.b"), [0, 1, 2]);
    assert_eq!(find("a.c"), [1]);
    assert_eq!(find("c.7"), [3]);
    assert_eq!(find("d"), Vec::<usize>::new());
    assert!(NamePatterns::new(&["x.*".to_owned()]).matches("x.y"));
}

/// Labels are short, without blanks, and not JSON; a client's placeholder for omitted content is not content.
#[test]
fn label_shapes() {
    let cases: BTreeMap<String, Vec<String>> = request::case_file("tests/cases/labels.yaml");
    for (texts, expected) in [("labels", true), ("others", false)] {
        for text in &cases[texts] {
            assert_eq!(is_label(text), expected, "{text}");
        }
    }
    // A run of letters counts as a word per sixteen.
    assert!(is_label(&"x".repeat(48)) && !is_label(&"x".repeat(49)));
}

/// Keys match in any case, also in camel case; such a key is not read as a fact.
#[test]
fn keys_without_case() {
    let vocabulary = builtin();
    for key in
        ["PROMPT", "Prompt", "SystemPrompt", "systemPrompt", "System-Prompt", "toolArgs", "GEN_AI.PROMPT.0.CONTENT"]
    {
        assert!(vocabulary.content_part(key).is_some(), "{key}");
    }
    assert_eq!(vocabulary.role("Authorization"), KeyRole::Secret);
    assert_eq!(vocabulary.content_part("PromptCount"), None);
    assert!(vocabulary.keys.classify("Model").slot.is_none());
}

/// A key that is prose is removed with its value: long keys on any item, keys of a few words on agent items only.
#[test]
fn keys_that_are_prose() {
    let long = "k".repeat(257);
    let case = |span: &str| {
        json!({"items": [{"name": span, "trace": 1, "span": 1, "attributes": {"input_tokens": 1, "output_tokens": 1, span: "m",
            "please help me sue": 1, "我有抑郁症请帮我": 2, "two words": 3, long.as_str(): 4}}]})
    };
    let count = |span: &str| super::read_facts(&builtin(), &request::payload(&case(span))).items[0].content.len();
    assert_eq!((count("model"), count("other")), (3, 1));
}

/// Must not regress: the attributes that the shipped alerts query on agent calls are labels, which stay.
#[test]
fn alerts_ask_for_labels() {
    let vocabulary = builtin();
    let read = |path: &str| std::fs::read_to_string(request::at(path)).unwrap();
    let text = ["deploy/alerts/honeycomb/main.tf", "deploy/alerts/signoz/rules.json"].map(read).concat();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "._".contains(c)));
    let keys: BTreeSet<&str> = words.filter(|word| word.starts_with("gen_ai.") || *word == "tenant.id").collect();
    assert!(keys.len() > 4, "{keys:?}");
    for key in keys {
        assert!(matches!(vocabulary.role(key), KeyRole::Label) && !vocabulary.is_unknown(key), "{key} may not stay");
    }
}

/// Versions compare numerically, part by part.
#[test]
fn versions() {
    for (rule, version, expected) in [
        ("<=0.1.12", "0.1.9", true),
        ("<=0.1.12", "0.1.13", false),
        (">=0.1.18", "0.1.18", true),
        (">=0.1.18", "1.0.0b2", true),
        ("0.30.x", "0.30.7", true),
        ("0.30.x", "0.31.0", false),
        ("<2", "1.9", true),
        ("<2", "", false),
    ] {
        assert_eq!(version_satisfies(rule, version), expected, "{rule} {version}");
    }
}

/// The roles that redaction queries.
#[test]
fn roles() {
    let vocabulary = builtin();
    for (key, role) in [
        ("http.request.header.authorization", KeyRole::Secret),
        ("http.request.header.x-goog-api-key", KeyRole::Secret),
        ("error.message", KeyRole::ErrorText),
        ("db.query.text", KeyRole::Redact),
        ("url.full", KeyRole::Redact),
        ("user.email", KeyRole::Pii),
        ("host.name", KeyRole::Pii),
        ("gen_ai.response.finish_reasons", KeyRole::Label),
        ("billing.record_count", KeyRole::Unknown),
    ] {
        assert_eq!(vocabulary.role(key), role, "{key}");
    }
    for key in ["session.id", "prompt.id", "agent_id", "tollgate.run.id", "tollgate.run.turn"] {
        assert!(vocabulary.is_identity(key), "{key}");
    }
    // The operating system's thread id, which some emitters put on every span.
    assert!(!vocabulary.is_identity("thread.id"));
}

/// Words as emitters write them: separators, capitals, none.
pub(super) fn notations(words: &str) -> Vec<String> {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    let capitals: String = words.split(' ').map(capital).collect();
    let camel = capitals[..1].to_lowercase() + &capitals[1..];
    let separated = ["_", "-", ".", "/", " ", ""].map(|mark| words.replace(' ', mark));
    separated.into_iter().chain([camel, capitals, words.replace(' ', "_").to_uppercase()]).collect()
}

/// Names in `tests/cases/words.yaml`, and words for each.
pub(super) fn named_words(part: &str) -> Vec<(String, String)> {
    let mut cases: BTreeMap<String, BTreeMap<String, Vec<String>>> = request::case_file("tests/cases/words.yaml");
    let named = |(name, all): (String, Vec<String>)| all.into_iter().map(move |words| (name.clone(), words));
    cases.remove(part).unwrap().into_iter().flat_map(named).collect()
}

/// A provider is read in any notation, with the words of any API or SDK around it. One unknown word more and the name
/// stays as it was sent: a compatible endpoint is not the vendor. Frameworks alone are not providers.
#[test]
fn providers() {
    let vocabulary = builtin();
    let wrappers = ["{}", "chat {}", "{} chat", "{} responses", "text completion {}", "{} beta", "async {} client v1"];
    for (name, words) in named_words("providers") {
        assert_eq!(vocabulary.current_provider_name(&name).as_ref(), Some(&name), "a current name stays");
        for sent in wrappers.iter().flat_map(|wrapper| notations(&wrapper.replace("{}", &words))) {
            assert_eq!(vocabulary.current_provider_name(&sent).as_ref(), Some(&name), "{sent}");
        }
        let others = ["{} compatible", "{} like", "our {}", "{} eu", "{} proxy", "{} service"];
        for sent in others.iter().flat_map(|other| notations(&other.replace("{}", &words))) {
            assert_eq!(vocabulary.current_provider_name(&sent), Some(sent.to_lowercase()), "{sent}");
        }
    }
    for framework in [
        "LangChain",
        "litellm_proxy",
        "LiteLLM-Proxy",
        "vercel-ai-sdk",
        "ChatLiteLLM",
        "spring_ai",
        "strands-agents",
        "az.ai.agents",
        "_OTHER",
        " ",
    ] {
        assert_eq!(vocabulary.current_provider_name(framework), None, "{framework}");
    }
    for (sent, name) in [
        ("AWS", "aws.bedrock"),
        ("google-gla", "gcp.gemini"),
        ("azure.ai.content_safety", "azure.ai.content_safety"),
        ("gateway", "vercel_ai_gateway"),
        ("anthropicAws", "anthropic"),
        ("anthropic_aws", "anthropic"),
        // each a provider of its own, or of none
        ("anthropic_openai", "anthropic_openai"),
        ("huggingface_groq", "huggingface_groq"),
        ("microsoft_365_copilot", "microsoft_365_copilot"),
        ("openai_endpoint", "openai_endpoint"),
        ("openai-platform", "openai-platform"),
        ("other", "other"),
        ("Mock.chat", "mock.chat"),
        ("chat", "chat"),
    ] {
        assert_eq!(vocabulary.current_provider_name(sent).as_deref(), Some(name), "{sent}");
    }
}

/// Every golden case: attributes in, facts and content places out. Only fields named by a case are compared.
#[test]
fn golden_cases() {
    let vocabulary = builtin();
    let cases = request::cases("tests/cases/dialects");
    assert!(cases.len() >= 30, "{}", cases.len());
    let mut failed = Vec::new();
    for (name, case) in &cases {
        let payload = request::payload(case);
        let facts = super::read_facts(&vocabulary, &payload);
        let none = Vec::new();
        let expected = case["expect"].as_array().unwrap_or(&none);
        if expected.len() != facts.items.len() {
            failed.push(format!("{name}: {} items, {} expected", facts.items.len(), expected.len()));
        }
        for (at, (item, expected)) in facts.items.iter().zip(expected).enumerate() {
            let got = show(&payload, item);
            for (key, value) in expected.as_object().unwrap().iter().filter(|(key, _)| *key != "set") {
                if got[key] != *value {
                    failed.push(format!("{name}, item {at}: {key} is {} instead of {value}", got[key]));
                }
            }
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

fn show(payload: &Payload, item: &ItemFacts) -> Json {
    let context = item.context.as_deref().cloned().unwrap_or_default();
    let mut out = json!({
        "dialect": item.dialect, "agent": item.agent, "closed": item.closed, "call": format!("{:?}", item.call).to_lowercase(),
        "billable": item.billable, "on_two_signals": item.on_two_signals, "call_key": item.call_key, "event": item.event,
        "session": item.session, "run": item.run, "sub_agent": item.sub_agent, "turn": item.turn, "iteration": item.iteration, "user": item.user,
        "tenant": item.tenant, "feature": item.feature, "actor": item.actor,
    });
    let more = json!({
        "operation": item.operation, "provider": item.provider, "request_model": item.request_model,
        "response_model": item.response_model, "response_id": item.response_id, "tool": item.tool,
        "tool_call": item.tool_call, "finish": item.finish, "failed": item.failed, "error": item.error,
        "status": item.status, "decision": item.decision, "reported_cost": item.reported_cost,
        "includes_cached": item.input_includes_cached, "includes_reasoning": !item.output_excludes_reasoning,
        "context": [context.service_tier, context.speed, context.inference_geo, context.server_address],
        "usage": show_usage(&item.usage),
        "buckets": buckets(item),
        "content": item.content.iter().map(|place| place_text(payload, item, place)).collect::<Vec<_>>(),
    });
    out.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    out
}

fn buckets(item: &ItemFacts) -> Json {
    split_tokens(item).map_or(Json::Null, |split| {
        json!({"input": split.input, "cache_read": split.cache_read, "cache_write": split.total_cache_writes(), "output": split.output})
    })
}

/// The survey's vectors: the billable items add up exactly to these tokens and, at the given prices, to this amount.
#[test]
fn vectors() {
    let vocabulary = builtin();
    let mut amounts = 0;
    for (name, case) in request::cases("tests/cases/dialects").iter().filter(|(_, case)| case["total"].is_object()) {
        let payload = request::payload(case);
        let facts = super::read_facts(&vocabulary, &payload);
        let all = facts.items.iter().filter(|item| item.billable).map(|item| split_tokens(item).unwrap());
        let sum = all.fold([0; 4], |sum, one| {
            [sum[0] + one.input, sum[1] + one.output, sum[2] + one.cache_read, sum[3] + one.total_cache_writes()]
        });
        let total = &case["total"];
        assert_eq!((json!(sum[0]), json!(sum[1])), (total["uncached"].clone(), total["output"].clone()), "{name}");
        if let Some(usd) = total["usd"].as_str() {
            // In 1e-8 USD: 3, 15, 0.30 and 3.75 USD per million.
            let exact = sum[0] * 300 + sum[1] * 1500 + sum[2] * 30 + sum[3] * 375;
            let decimals = usd.split_once('.').unwrap().1;
            let wanted: u64 = format!("{decimals:0<8}").parse().unwrap();
            assert_eq!(exact, wanted, "{name}");
            amounts += 1;
        }
    }
    assert!(amounts >= 4);
}

fn show_usage(usage: &TokenUsage) -> Json {
    let counts = usage.counts().map(|(name, count)| (name.to_owned(), Json::from(count)));
    let bad = usage.invalid_count.then(|| ("bad".to_owned(), Json::Bool(true)));
    counts.chain(bad).collect::<serde_json::Map<_, _>>().into()
}

fn place_text(payload: &Payload, item: &ItemFacts, place: &ContentPlace) -> String {
    let node = match payload.kind(place.node) {
        NodeKind::Event => format!("event {} ", payload.text(place.node, TextField::Name)),
        NodeKind::Resource => "resource ".to_owned(),
        NodeKind::Scope => "scope ".to_owned(),
        NodeKind::Link => "link ".to_owned(),
        _ => String::new(),
    };
    let at = match place.at {
        ContentLocation::Attribute(id) => payload.attribute(id).unwrap().key.to_owned(),
        ContentLocation::Body => "(body)".to_owned(),
        ContentLocation::Status => "(status)".to_owned(),
        ContentLocation::Name => "(name)".to_owned(),
        ContentLocation::Embedded(at) => item.embedded.as_ref().unwrap().parts[at as usize].key.clone(),
    };
    format!("{node}{at}: {}{}", place.part.as_str(), if place.basis == ContentBasis::Listed { "" } else { "?" })
}

/// Must not regress: attributes of the conventions and of OpenInference's feedback stay if they hold labels and go to
/// the vault if they hold content, on spans, span events and logs, whatever marks the item as an agent's.
#[test]
fn conventional_attributes_stay_or_go() {
    let cases: BTreeMap<String, BTreeMap<String, Vec<Json>>> = request::case_file("tests/cases/conventions.yaml");
    let vocabulary = builtin();
    let marks = [
        json!({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}),
        json!({"gen_ai.operation.name": "apply_guardrail"}),
        json!({"openinference.span.kind": "EVALUATOR"}),
        json!({"traceloop.span.kind": "task"}),
    ];
    let mut failed = BTreeSet::new();
    for (part, keys) in &cases {
        for (key, value) in keys.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value))) {
            for mark in &marks {
                let mut both = mark.clone();
                both[key] = value.clone();
                for case in [
                    json!({"items": [{"name": "step", "trace": 1, "span": 1, "attributes": both}]}),
                    json!({"items": [{"name": "step", "trace": 1, "span": 1, "attributes": mark,
                        "events": [{"name": "result", "attributes": {key: value}}]}]}),
                    json!({"signal": "logs", "items": [{"trace": 1, "span": 1, "attributes": both}]}),
                ] {
                    let payload = request::payload(&case);
                    let facts = super::read_facts(&vocabulary, &payload);
                    let item = &facts.items[0];
                    let places = item.content.iter().map(|place| place_text(&payload, item, place));
                    let goes: Vec<String> = places.filter(|place| place.contains(key.as_str())).collect();
                    let expected = if part == "stay" { Vec::new() } else { vec![format!("{key}: {part}")] };
                    if !goes.iter().map(|place| place.trim_start_matches("event result ")).eq(&expected) {
                        failed.insert(format!("{key} = {value}: {goes:?} instead of {expected:?} ({mark})"));
                    }
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Every canary that a real client put into a prompt, completion, tool argument or result is in a content place. Error
/// text is left to redaction by design and may quote some.
#[test]
fn recorded_canaries_are_content() {
    let vocabulary = builtin();
    let mut missed = BTreeSet::new();
    let mut found = 0;
    for (path, payload, facts) in recordings(&vocabulary) {
        if payload.signal() == Signal::Metrics {
            continue;
        }
        let places: Vec<&ContentPlace> = facts.items.iter().flat_map(|item| &item.content).collect();
        for node in payload.nodes() {
            let body = payload.body(node).map(|body| (ContentLocation::Body, "(body)", body));
            let attributes = payload.attributes(node).map(|a| (ContentLocation::Attribute(a.id), a.key, a.value));
            for (at, key, value) in attributes.chain(body) {
                let mut text = String::new();
                value.write_json(&mut text);
                if !text.contains("CANARY-") {
                    continue;
                }
                if places.iter().any(|place| place.node == node && place.at == at) {
                    found += 1;
                } else if vocabulary.role(key) != KeyRole::ErrorText {
                    missed.insert(format!("{} {key}", path.parent().unwrap().display()));
                }
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(found > 100, "{found}");
}

/// Attributes that dashboards read are not content of any recorded client.
#[test]
fn recorded_metadata_stays() {
    let kept = "model tool_name gen_ai.tool.name session.id gen_ai.request.model gen_ai.response.finish_reasons \
        stop_reason agent.stop_reason service.name build.commit_sha work_tracker.issue_id tenant.id";
    for (path, payload, facts) in recordings(&builtin()) {
        for item in &facts.items {
            for place in &item.content {
                let ContentLocation::Attribute(id) = place.at else { continue };
                let key = payload.attribute(id).unwrap().key;
                assert!(!kept.split(' ').any(|kept| kept == key), "{}: {key}", path.display());
            }
        }
    }
}

/// Must not regress: of the recorded clients' short attributes only those on this list go to the vault although no list
/// names them as content. A new line is a key that dashboards lose: if it is a label, list it in config/dialects.yaml.
#[test]
fn recorded_labels_that_go() {
    let mut found = BTreeSet::new();
    for (_, payload, facts) in recordings(&builtin()) {
        for item in &facts.items {
            for place in item.content.iter().filter(|place| place.basis != ContentBasis::Listed) {
                let ContentLocation::Attribute(id) = place.at else { continue };
                let attribute = payload.attribute(id).unwrap();
                if attribute.value.as_str().is_some_and(|text| text.len() <= 64) {
                    found.insert(format!("{} {}", item.dialect.unwrap_or("-"), attribute.key));
                }
            }
        }
    }
    let (found, path) = (found.into_iter().collect::<Vec<_>>().join("\n") + "\n", "tests/cases/dialects/moved.txt");
    if config::env::var("TOLLGATE_UPDATE").is_some() {
        std::fs::write(request::at(path), &found).unwrap();
    }
    let known = std::fs::read_to_string(request::at(path)).unwrap_or_default();
    assert_eq!(found, known, "{path} is out of date: look at what is new, then run with TOLLGATE_UPDATE=1");
}

/// The requests of all recordings in order, each with its path and its facts.
fn recordings(vocabulary: &Vocabulary) -> impl Iterator<Item = (PathBuf, Payload, Facts)> {
    let mut folders = vec![request::at("tests/recordings")];
    let mut out = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let numbered = name.get(..3).is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
            if path.is_dir() && name != "hooks" {
                folders.push(path);
            } else if numbered {
                out.push(path);
            }
        }
    }
    out.sort();
    out.into_iter().map(move |path| {
        let payload = request::recorded(&path);
        let facts = super::read_facts(vocabulary, &payload);
        (path, payload, facts)
    })
}

/// Two attributes with the same key are two places.
#[test]
fn every_occurrence_is_a_place() {
    let one = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"model","traceId":"","spanId":"","attributes":[
        {"key":"model","value":{"stringValue":"a"}},{"key":"model","value":{"stringValue":"b"}},
        {"key":"input_tokens","value":{"intValue":"1"}},
        {"key":"prompt","value":{"stringValue":"x"}},{"key":"prompt","value":{"stringValue":"y"}}]}]}]}]}"#;
    let facts = super::read_facts(&builtin(), &request::from_json(Signal::Traces, one));
    assert_eq!(facts.items[0].content.len(), 2);
    assert_eq!(facts.items[0].request_model.as_deref(), Some("b"));
}

/// Long ids are cut but stay distinct, and stay too long to pass for a label.
#[test]
fn long_ids_are_bounded() {
    let of = |end: &str| {
        let id = format!("{}{end}", "s".repeat(4_000));
        let case = json!({"items": [{"name": "model", "attributes": {"input_tokens": 1, "session.id": id}}]});
        super::read_facts(&builtin(), &request::payload(&case)).items.remove(0).session.unwrap()
    };
    assert_ne!(of("1"), of("2"));
    assert!(of("1").len() < 700 && of("1").len() > 128);
}

/// Hostile logs are processed in linear time.
#[test]
fn hostile_logs_take_linear_time() {
    let vocabulary = builtin();
    let time = |text: &str| {
        let payload = request::payload(&json!({"signal": "logs", "items": [{"body": text}]}));
        #[expect(clippy::disallowed_methods, reason = "a bound far above what is needed, not a benchmark")]
        let begin = std::time::Instant::now();
        drop(super::read_facts(&vocabulary, &payload));
        begin.elapsed()
    };
    let around = [
        ("{\"k\":\"v\" ]] ", "a=", ""),
        ("{\"k\":\"v\" ", "q=1", "\""),
        ("{\"content\":[{\"", "type", "\"}]}"),
        ("{\"content\":[{", "\"type\":", "}]}"),
        ("", "prompt:1-", ""),
        ("", "prompt=a ", ""),
        ("", "prompt='", ""),
        ("", "Human:", ""),
        ("", "Human:\n", ""),
        // no map ends, and each asks what its entries show
        ("", "{\"prompt\": \"x\" ", ""),
        // pairs whose text does not end
        ("", ",[\"user\",[[}", ""),
        ("", "f(('content',[[}", ""),
        ("", "f(content=a b ", ""),
        ("f(", "prompt=a b ,,,,aaaaaaaaaaaaaaa", ""),
    ];
    for (head, piece, tail) in around {
        let text = |times: usize| format!("{head}{}{tail}", piece.repeat(times));
        let (one, sixteen) = (time(&text(2_000)), time(&text(32_000)));
        assert!(sixteen < one * 100 + std::time::Duration::from_millis(300), "{piece}: {one:?}, {sixteen:?}");
    }
}

/// Made-up keys must not fill the memory of classes, and a class from the memory equals a new one.
#[test]
fn the_memory_of_key_classes_is_bounded() {
    let vocabulary = builtin();
    for number in 0..20_000 {
        let key = format!("made.up.{number}");
        assert_eq!(vocabulary.role(&key), vocabulary.role(&key));
    }
    assert!(vocabulary.keys.dynamic_classes.read().len() <= 4096);
    for key in ["SystemPrompt", "aws.request.id", &"x".repeat(300), "my.prompt.text"] {
        let first = vocabulary.keys.classify(key).role;
        assert_eq!(vocabulary.keys.classify(key).role, first);
        assert_eq!(builtin().keys.classify(key).role, first);
    }
}
