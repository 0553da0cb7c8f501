//! Nothing that a person said can be read in what leaves: an attacker's families of places, wordings and encodings,
//! each chosen by seed (`just nightly closed`). `oracle` reads what leaves. A fresh processor answers each seed, so
//! nothing seen before can help; `replicas_agree` compares it with a processor that has seen all of them.

use std::sync::LazyLock;

use super::chat::{WORDS, number, pick};
use super::oracle::readable_words;
use super::*;
use crate::redact::RedactConfig;
use kernel::rng::SeededRng;

/// Number of seeds in `cargo test`; nightly runs use more (`TOLLGATE_SEEDS`).
const SEEDS: u64 = 600;
/// Letters of scripts without blanks: a sentence is twelve of them.
const LETTERS: &str = "我 昨 天 去 医 院 检 查 了 血 糖 结 果 不 太 好 病 友 説 母 は 今 朝 薬 を 飲";

/// Keys that an application might use for its own data.
const OWN: &str = "app.team order.remark x-remark db.row aws.note openai.remark service.motto k8s.comment ward bedName";
/// Keys below the words for what a person says or is: no text stays there, a single word neither.
const PRIVATE: &str = "input.note tool.output.note args.note app.state.note query.note message.note user.remark \
    customer.note patient.name metadata.note customerName patient";
/// Listed keys by the shape of their values.
const NAMES: &str = "gen_ai.agent.name gen_ai.tool.name langgraph.node gen_ai.workflow.name service.namespace \
    os.description error.type gen_ai.response.finish_reasons k8s.pod.name";
const ENUMERATIONS: &str = "network.transport network.type cloud.platform db.client.connection.state";
const IDS: &str = "gen_ai.response.id gen_ai.tool.call.id gen_ai.agent.id container.id";
const HOSTS: &str = "server.address host.name gen_ai.server.address";
const VERSIONS: &str = "service.version gen_ai.agent.version telemetry.sdk.version";
/// Keys of persons and machines.
const PERSONS: &str = "file_path cwd git.origin host.name host.user user.full_name user.name user.groups \
    process.command process.command_line process.executable.path process.owner vcs.repo workspace.host_paths enduser.id";
const ERROR_KEYS: &str = "error.message exception.message exception.stacktrace error.stack error";

/// A sentence that must not be readable.
struct Sentence {
    /// Its words, or its letters if the script has no blanks.
    words: Vec<String>,
    /// As it is written.
    text: String,
}

/// A request that holds a sentence.
struct Case {
    request: Json,
    /// The number of its words in sequence that may be readable.
    readable: usize,
    /// Texts that must leave all the same.
    stays: Vec<String>,
    /// The sentence must be in the vault.
    is_kept: bool,
}

fn sentence(rng: &SeededRng) -> Sentence {
    if number(rng, 8) == 0 {
        let words: Vec<String> = (0..12).map(|_| pick(rng, LETTERS).to_owned()).collect();
        return Sentence { text: words.concat(), words };
    }
    let (mut words, with_article) = (vec!["CANARY".to_owned()], number(rng, 4) == 0);
    for _ in 0..5 + number(rng, 5) {
        words.extend(with_article.then(|| "the".to_owned()));
        words.push(pick(rng, WORDS).to_owned());
    }
    Sentence { text: words.join([" ", " ", "  ", ", "][number(rng, 4)]), words }
}

/// A sentence of which not even one word may be readable: long words only, which nothing else contains by chance.
fn secret(rng: &SeededRng) -> Sentence {
    let mut words = vec!["CANARY".to_owned()];
    words.extend((0..40).map(|_| pick(rng, WORDS)).filter(|word| word.len() > 5).take(7).map(str::to_owned));
    Sentence { text: words.join(" "), words }
}

impl Sentence {
    /// Number of words that may be readable where names may stay: three, or six letters of a script without blanks.
    fn short(&self) -> usize {
        if self.words.iter().all(|word| word.chars().count() == 1) { 6 } else { 3 }
    }

    /// All words as one text without blanks.
    fn joined(&self, rng: &SeededRng) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
        let capital = |word: &String| {
            let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            format!("{}{}", first.to_uppercase(), rest.to_lowercase())
        };
        let hex = || kernel::hex::encode(self.text.as_bytes());
        let percent = || self.text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let join = |mark: &str| self.words.join(mark);
        match number(rng, 20) {
            0 => self.words.iter().map(capital).collect(),
            1 => format!("run{}", self.words.iter().map(capital).collect::<String>()),
            2 => hex(),
            3 => format!("0x{}", hex()),
            4 => format!("call_{}", hex()),
            5 => hex().as_bytes().chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join("-"),
            6 => STANDARD.encode(&self.text),
            7 => URL_SAFE_NO_PAD.encode(&self.text),
            8 => percent(),
            9 => join("%20"),
            10 => json!(self.words).to_string(),
            11 => join("\u{a0}"),
            12 => join("1"),
            13 => format!("{}-4711", join("-")),
            _ => join(["_", "-", "#", "/", ".", ":", "+", ",", "|"][number(rng, 9)]),
        }
    }

    /// All words as a value that looks like a name: one text, or a list.
    fn disguised(&self, rng: &SeededRng) -> Json {
        match number(rng, 8) {
            0 => json!(self.words),
            1 => json!(self.words.chunks(2).map(|two| two.concat()).collect::<Vec<_>>()),
            2 => json!(self.text),
            _ => json!(self.joined(rng)),
        }
    }
}

/// A resource that is an agent's: declared, a coding agent's, or saying so.
fn agents_resource(rng: &SeededRng) -> Json {
    match number(rng, 4) {
        0 => json!({"service.name": "gemini-cli"}),
        1 => json!({"service.name": "bedrock", "gen_ai.agent.name": "planner"}),
        _ => json!({"service.name": "ward-agent"}),
    }
}

/// Attributes that show a dialect.
fn call_attributes(rng: &SeededRng, seed: u64) -> Json {
    let operation = ["chat", "invoke_agent", "execute_tool"][number(rng, 3)];
    json!({"gen_ai.operation.name": operation, "gen_ai.request.model": "gpt-4o",
        "gen_ai.conversation.id": format!("s-{seed}")})
}

/// A request with one closed item: its resource is an agent's, or the item itself shows a dialect.
fn closed_item(rng: &SeededRng, seed: u64, signal: &str, by_resource: bool) -> Json {
    let (resource, attributes) = match by_resource {
        true => (agents_resource(rng), json!({"http.request.method": "GET"})),
        false => (json!({"service.name": "clinic"}), call_attributes(rng, seed)),
    };
    let item = match signal {
        "logs" => json!({"body": "done", "trace": seed + 1, "span": 1, "attributes": attributes}),
        "metrics" if by_resource => json!({"metric": "app.requests", "value": 1, "attributes": attributes}),
        "metrics" => json!({"metric": "gen_ai.client.token.usage", "value": 1, "attributes": attributes}),
        _ => json!({"name": "GET", "trace": seed + 1, "span": 1, "attributes": attributes}),
    };
    json!({"signal": signal, "resource": resource, "items": [item]})
}

/// A closed item that holds a value in any place that has attributes.
fn in_attribute(rng: &SeededRng, seed: u64, key: &str, value: &Json) -> Json {
    let place = number(rng, 7);
    let by_resource = place > 4 || number(rng, 2) == 0;
    let signal = ["traces", "traces", "logs", "metrics", "metrics", "traces", "logs"][place];
    let mut request = closed_item(rng, seed, signal, by_resource);
    let item = &mut request["items"][0];
    match place {
        1 => item["events"] = json!([{"name": "step", "attributes": {key: value}}]),
        4 => item["exemplars"] = json!([{"attributes": {key: value}}]),
        5 => request["resource"][key] = value.clone(),
        6 => request["scope"] = json!({"name": "lib", "attributes": {key: value}}),
        _ => item["attributes"][key] = value.clone(),
    }
    request
}

/// Text under a key stays as a key with a mark; of metrics the attribute is dropped, and nothing is kept.
fn keyed(request: Json, key: &str, readable: usize) -> Case {
    let is_kept = request["signal"] != "metrics";
    Case { request, readable, stays: is_kept.then(|| key.to_owned()).into_iter().collect(), is_kept }
}

/// Words beside which an error's message quotes a sentence.
fn quoted(rng: &SeededRng, text: &str) -> String {
    match number(rng, 11) {
        0 => format!("'{text}'"),
        1 => format!("\"{text}\""),
        2 => format!("`{text}`"),
        3 => format!("«{text}»"),
        4 => format!("“{text}”"),
        5 => format!("[type=json_invalid, input_value='{text}', input_type=str]"),
        6 => format!("Could not parse LLM output: {text}"),
        7 => format!("Invalid json output: {text}"),
        8 => format!("prompt={text}"),
        9 => json!({"role": "user", "content": text}).to_string(),
        _ => format!("\nHuman: {text}\nAI: no"),
    }
}

/// What an error quotes of a conversation, in any service: its type and its own words stay.
fn error(rng: &SeededRng, seed: u64, sentence: &Sentence) -> Case {
    let said = quoted(rng, &sentence.text);
    let message = format!("request 4 failed, {said}");
    let trace = format!(
        "Traceback (most recent call last):\n  File \"/srv/app/agent.py\", line 12, in run\nTimeoutError: {message}"
    );
    let exception =
        json!({"exception.type": "TimeoutError", "exception.message": message, "exception.stacktrace": trace});
    let mut stays = vec!["request 4 failed".to_owned()];
    let place = number(rng, 5);
    let mut request = match number(rng, 3) {
        0 => closed_item(rng, seed, if place > 2 { "logs" } else { "traces" }, true),
        1 if place < 3 => {
            let call = json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"});
            json!({"items": [{"name": "chat gpt-4o", "trace": seed + 1, "span": 1, "attributes": call}]})
        }
        _ => json!({"signal": if place > 2 { "logs" } else { "traces" }, "resource": {"service.name": "shop"},
            "items": [{"name": "GET /v1", "body": "done", "trace": seed + 1, "span": 1, "attributes": {}}]}),
    };
    let item = &mut request["items"][0];
    match place {
        0 => item["status"] = json!(message),
        1 => {
            item["events"] = json!([{"name": "exception", "attributes": exception}]);
            stays.extend(["TimeoutError".to_owned(), "agent.py".to_owned()]);
        }
        3 => {
            item["attributes"]["exception.type"] = json!("TimeoutError");
            item["attributes"]["exception.message"] = json!(message);
            stays.push("TimeoutError".to_owned());
        }
        _ => item["attributes"][pick(rng, ERROR_KEYS)] = json!(message),
    }
    Case { request, readable: sentence.short(), stays, is_kept: true }
}

/// A sentence where a path, a host, an address or a person's name belongs.
fn person(rng: &SeededRng, seed: u64, sentence: &Sentence) -> Case {
    let key = pick(rng, PERSONS);
    let value = match number(rng, 6) {
        0 => format!("/home/ada/notes/{}.txt", sentence.text),
        1 => format!("/srv/{}", sentence.words.join("_")),
        2 => format!("git@example.com:acme/{}.git", sentence.words.join("-")),
        3 => format!("https://example.com/{}", sentence.words.join("-")),
        4 => format!("{}.example.com", sentence.words.join("-")),
        _ => sentence.text.clone(),
    };
    // Redaction replaces the id of a person, so the vault need not hold it; a command line is listed as content.
    let request = in_attribute(rng, seed, key, &json!(value));
    Case { request, readable: sentence.short(), stays: vec![], is_kept: false }
}

/// A sentence in a statement of a closed item: as literal, comment, argument, or instead of the statement.
fn statement(rng: &SeededRng, seed: u64, sentence: &Sentence) -> Case {
    let Sentence { words, text } = sentence;
    let bare = words.join(" ");
    let system = ["postgresql", "mysql", "redis", "mongodb", "elasticache", "other_sql"][number(rng, 6)];
    let query = match number(rng, 16) {
        0 => format!("SELECT * FROM notes WHERE text = '{text}'"),
        1 => format!("SELECT * FROM notes WHERE text = \"{text}\" AND n > 4"),
        2 => format!("INSERT INTO notes (text, n) VALUES (N'{text}', 4), ('it''s {text}', 5)"),
        3 => format!("SELECT 1 -- {text}\nFROM notes"),
        4 => format!("SELECT /* {text} */ 1 FROM notes # {text}"),
        5 => format!("SELECT $body${text}$body$, E'\\'{text}' FROM notes"),
        6 => format!("INSERT INTO notes VALUES ('{}')", words.join("','")),
        7 => format!("SELECT {bare} FROM notes"),
        8 => format!("SELECT 'never closed {text}"),
        9 => bare,
        10 => format!("query {{ note(text: \"{text}\") {{ id }} }}"),
        11 => format!("mutation {{ add(text: \"\"\"{text}\"\"\") {{ id }} }} # {text}"),
        12 => json!({"find": "notes", "filter": {"text": text, "n": {"$gt": 4}}}).to_string(),
        13 => format!("db.notes.insertOne({{text: '{text}'}})"),
        14 => format!("SETEX k 60 {text}"),
        _ => format!("HSET k {bare}"),
    };
    let key = pick(rng, "db.query.text db.statement graphql.document");
    let mut request = in_attribute(rng, seed, key, &json!(query));
    request["items"][0]["attributes"]["db.system.name"] = json!(system);
    keyed(request, key, sentence.short())
}

/// A sentence under a listed key, written as a name, an id, a host or a version.
fn listed(rng: &SeededRng, seed: u64, sentence: &Sentence) -> Case {
    let key = pick(rng, [NAMES, NAMES, IDS, VERSIONS][number(rng, 4)]);
    let value = sentence.disguised(rng);
    keyed(in_attribute(rng, seed, key, &value), key, sentence.short())
}

/// A sentence as a host: dots divide a host's names, so the words are one of them.
fn host(rng: &SeededRng, seed: u64, sentence: &Sentence) -> Case {
    let key = pick(rng, HOSTS);
    let value = match number(rng, 3) {
        0 => json!(format!("{}.example.com", sentence.words.join("-"))),
        1 => json!(sentence.text),
        _ => json!(sentence.words.join("_")),
    };
    keyed(in_attribute(rng, seed, key, &value), key, sentence.short())
}

/// Text that is no member of an enumeration.
fn enumeration(rng: &SeededRng, seed: u64, sentence: &Sentence) -> Case {
    let key = pick(rng, ENUMERATIONS);
    let value = [json!(sentence.words[0]), sentence.disguised(rng)][number(rng, 2)].clone();
    keyed(in_attribute(rng, seed, key, &value), key, 0)
}

/// A sentence under a key that no list names.
fn unlisted(rng: &SeededRng, seed: u64, sentence: &Sentence, strict: bool) -> Case {
    let key = pick(rng, OWN);
    let value = match number(rng, 5) {
        0 => json!({"inner": [sentence.text]}),
        1 => json!([[sentence.text], {"deep": sentence.disguised(rng)}]),
        _ => sentence.disguised(rng),
    };
    keyed(in_attribute(rng, seed, key, &value), key, if strict { 0 } else { sentence.short() })
}

/// A word or a sentence under a key that says that it is private.
fn private(rng: &SeededRng, seed: u64, sentence: &Sentence) -> Case {
    let key = pick(rng, PRIVATE);
    let value = match number(rng, 4) {
        0 => json!(sentence.words[0]),
        1 => json!(sentence.words[..2].join("-")),
        2 => json!({"first": sentence.words[0], "last": sentence.words[1]}),
        _ => sentence.disguised(rng),
    };
    // Some of these keys are listed as content, which leaves no key.
    Case { stays: vec![], ..keyed(in_attribute(rng, seed, key, &value), key, 0) }
}

/// A sentence as the name of a span, an event, a scope or a metric, as a log's body, or as a key.
fn name(rng: &SeededRng, seed: u64, sentence: &Sentence) -> Case {
    let text = [sentence.text.clone(), sentence.joined(rng)][number(rng, 2)].clone();
    let place = number(rng, 7);
    let signal = ["traces", "traces", "traces", "traces", "logs", "logs", "metrics"][place];
    let mut request = closed_item(rng, seed, signal, matches!(place, 3 | 6) || number(rng, 2) == 0);
    let item = &mut request["items"][0];
    match place {
        0 => item["name"] = json!(text),
        1 => item["events"] = json!([{"name": text, "attributes": {}}]),
        2 => item["attributes"][sentence.text.as_str()] = json!(1),
        3 => request["scope"] = json!({"name": text}),
        4 => item["event_name"] = json!(text),
        5 => item["body"] = [json!(text), json!({"inner": [text]}), sentence.disguised(rng)][number(rng, 3)].clone(),
        _ => item["metric"] = json!(text),
    }
    Case { request, readable: sentence.short(), stays: vec![], is_kept: place != 6 }
}

/// A chat in an ordinary service: its messages are split over attributes, events, records and data points.
fn chat_parts(rng: &SeededRng, seed: u64, sentence: &Sentence) -> Case {
    let half = sentence.words.len() / 2;
    let [first, second] = [sentence.words[..half].join(" "), sentence.words[half..].join(" ")];
    let message = json!({"role": "user", "content": sentence.text});
    let of_shop = |signal: &str, mut item: Json, more: Json| {
        item["trace"] = json!(seed + 1);
        item["attributes"]["http.request.method"] = json!("POST");
        let items = [item, more].into_iter().filter(|item| !item.is_null()).collect::<Vec<_>>();
        json!({"signal": signal, "resource": {"service.name": "shop"}, "items": items})
    };
    let span = |item: Json| of_shop("traces", item, Json::Null);
    let place = number(rng, 8);
    let request = match place {
        0 => span(json!({"name": "POST /v1", "attributes": {"llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": first, "llm.input_messages.1.message.content": second}})),
        1 => span(json!({"name": "POST /v1", "attributes": {"gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": first, "gen_ai.completion.0.content": second}})),
        2 => span(json!({"name": "POST /v1", "events": [
            {"name": "gen_ai.user.message", "attributes": {"content": first}},
            {"name": "gen_ai.assistant.message", "attributes": {"content": second}}]})),
        3 => of_shop(
            "logs",
            json!({"event_name": "gen_ai.user.message", "body": {"content": first}}),
            json!({"event_name": "gen_ai.choice", "trace": seed + 1, "body": {"message": {"content": second}}}),
        ),
        4 => of_shop("logs", json!({"body": message}), json!({"body": message.to_string(), "trace": seed + 1})),
        5 => of_shop(
            "metrics",
            json!({"metric": "app.requests", "attributes": {"payload": message.to_string()}}),
            json!({"metric": "app.requests", "exemplars": [{"attributes": {"payload": message.to_string()}}]}),
        ),
        6 => span(json!({"name": format!("answered {message}")})),
        _ => span(json!({"name": "POST /v1", "attributes": {"http.request.body": sentence.text}})),
    };
    Case { request, readable: 0, stays: vec![], is_kept: place != 5 }
}

/// The sentence of a seed and where it is.
fn case(rng: &SeededRng, seed: u64, strict: bool) -> (Sentence, Case) {
    let family = number(rng, 15);
    let said = if family > 10 || (strict && family == 10) { secret(rng) } else { sentence(rng) };
    let case = match family {
        0..=2 => error(rng, seed, &said),
        3 | 4 => person(rng, seed, &said),
        5 | 6 => statement(rng, seed, &said),
        7 => listed(rng, seed, &said),
        8 => name(rng, seed, &said),
        9 => host(rng, seed, &said),
        10 => unlisted(rng, seed, &said, strict),
        11 => enumeration(rng, seed, &said),
        12 => private(rng, seed, &said),
        _ => chat_parts(rng, seed, &said),
    };
    (said, case)
}

/// The vocabulary of these tests, which declares `ward-agent` as an agent's service.
static VOCABULARY: LazyLock<Arc<Vocabulary>> = LazyLock::new(|| vocabulary_with(declaring(&["ward-agent"])));
/// The same with `privacy: strict`.
static STRICT_VOCABULARY: LazyLock<Arc<Vocabulary>> =
    LazyLock::new(|| vocabulary_with(super::strict(declaring(&["ward-agent"]))));
/// The step after the vault, whose rules are compiled once.
pub(super) static REDACT: LazyLock<Arc<RedactProcessor>> = LazyLock::new(redact);

fn redact() -> Arc<RedactProcessor> {
    let settings = RedactConfig::default().settings().map_err(|problems| format!("{problems:?}")).expect("valid");
    let ids = Arc::new(PlainIds(Pseudonymizer::new(&Secret::new("k".to_owned()))));
    Arc::new(RedactProcessor::new("redact".into(), settings, VOCABULARY.clone(), ids, &Meter::new()))
}

/// What others than auditors can read: the telemetry and the index lines.
fn leaving(out: &Out) -> Vec<u8> {
    let lines = out.records.iter().filter(|record| matches!(record.kind, RecordKind::Leaf));
    out.bytes.iter().chain(lines.flat_map(|record| record.body.iter())).copied().collect()
}

fn sent(case: &Case) -> Vec<u8> {
    request::payload(&case.request).encode(UnknownFields::Keep).expect("encoded").bytes
}

/// Must not regress: a fresh processor lets nobody read more than three words in sequence of what was said, none of a
/// chat and none under a private key; an error's type and own words stay, keys stay, and the vault holds the sentence.
#[test]
fn no_sentence_is_readable() {
    let (mut problems, seeds) = (Vec::new(), fixtures::seeds(1, SEEDS));
    for seed in seeds.clone() {
        let rng = SeededRng::new(seed);
        let strict = number(&rng, 4) == 0;
        let (said, case) = case(&rng, seed, strict);
        let (profile, vocabulary) = match strict {
            true => (PrivacyProfile::Strict, &STRICT_VOCABULARY),
            false => (PrivacyProfile::Standard, &VOCABULARY),
        };
        let bench = Bench::new().reading_with(Arc::clone(vocabulary)).redacting(REDACT.clone());
        let out = bench.privacy(profile).pass(&case.request);
        let mut add = |what: String| {
            problems.push(format!(
                "TOLLGATE_SEED={seed} TOLLGATE_SEEDS=1, {}: {what}: {}",
                profile.name(),
                case.request
            ));
        };
        let readable = readable_words(&leaving(&out), &said.words);
        if readable > case.readable {
            add(format!("{readable} words are readable"));
        }
        if case.is_kept
            && readable_words(out.opened.as_bytes(), &said.words) < readable_words(&sent(&case), &said.words)
        {
            add("the vault does not hold it".to_owned());
        }
        let shown = String::from_utf8_lossy(&out.bytes).into_owned();
        case.stays.iter().filter(|text| !strict && !shown.contains(*text)).for_each(|text| add(format!("no {text}")));
    }
    assert!(problems.is_empty(), "{} in {seeds:?}:\n{}", problems.len(), problems.join("\n"));
}

/// Must not regress: a name under a key whose value went to the vault is redacted in the item's other texts.
#[test]
fn names_in_the_vault_are_known() {
    let case = json!({"items": [{"name": "chat gpt-4o", "trace": 1, "span": 1, "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "customer_name": "Quorvex Thandolin",
        "exception.type": "E", "exception.message": "no balance, Quorvex Thandolin asked twice"}}]});
    let out = Bench::new().reading_with(VOCABULARY.clone()).redacting(REDACT.clone()).pass(&case);
    let shown = String::from_utf8_lossy(&out.bytes).into_owned();
    assert!(!shown.contains("Thandolin") && shown.contains("no balance, "), "{shown}");
}

/// Must not regress: the telemetry is the same byte for byte from a fresh processor and from one that has seen all
/// earlier seeds, in another order, and another account's flood of agents' services.
#[test]
fn replicas_agree() {
    let seeds = fixtures::seeds(1, SEEDS);
    let bench = |redact: Arc<RedactProcessor>| {
        // Without a store there are no references, whose salts are random.
        Bench::with(LeftContent::Nothing, false).reading_with(VOCABULARY.clone()).redacting(redact)
    };
    let mut old = bench(redact());
    let services = if seeds.end - seeds.start > SEEDS { 20_000 } else { 400 };
    for first in (0..services).step_by(100) {
        let agent =
            |n: usize| json!({"resource": {"service.name": format!("service-{n}")}, "items": [chat("s", "acme", "x")]});
        let groups: Vec<Json> = (first..first + 100).map(agent).collect();
        let flood = BatchOrigin { account: "flood".into(), ..origin() };
        old.commit_payload(request::payload(&json!({"groups": groups})), flood);
    }
    for seed in seeds {
        let rng = SeededRng::new(seed);
        let (_, case) = case(&rng, seed, false);
        let child = json!({"resource": {"service.name": "clinic"}, "items": [{"name": "POST", "trace": seed + 1,
            "span": 3, "parent": 1, "attributes": {"http.request.method": "POST", "app.step": "the third bed was made"}}]});
        let requests = [case.request, child];
        let mut new = bench(REDACT.clone());
        let fresh = requests.each_ref().map(|request| new.commit(request).bytes);
        let [second, first] = [1, 0].map(|at: usize| old.commit(&requests[at]).bytes);
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for (one, other) in fresh.iter().zip([&first, &second]) {
            assert_eq!(shown(one), shown(other), "TOLLGATE_SEED={seed}: {requests:?}");
        }
        assert!(shown(&fresh[1]).contains("the third bed was made"), "a service that an agent calls is only redacted");
    }
}

/// The oracle can fail: it reads the sentence of every seed in what the client sent.
#[test]
fn the_oracle_reads_every_disguise() {
    for seed in 1..=SEEDS {
        let rng = SeededRng::new(seed);
        let (said, case) = case(&rng, seed, seed % 4 == 0);
        let readable = readable_words(&sent(&case), &said.words);
        assert!(readable > case.readable, "seed {seed}: {readable} of {:?} in {}", said.words, case.request);
    }
    let words = ["CANARY", "copper", "lantern", "meadow"].map(str::to_owned);
    assert_eq!(readable_words(b"a CANARY_copper Lantern, then meadow", &words), 3);
    assert_eq!(readable_words(b"team=[CONTENT]", &words), 0);
}
