//! What the processor takes out, what it leaves, what an auditor finds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::super::{Echoing, Leave, Parts, Store, VaultProcessor};
use crate::clock::{Clock, SystemClock, UnixNanos};
use crate::echoes::Memory;
use crate::genai::{Unlisted, Vocabulary};
use crate::otlp::{Payload, PlaceKind, Signal, TextEdit, UnknownFields};
use crate::pipeline::spool::{Record, RecordKind};
use crate::pipeline::{Batch, Content, Origin, Processor, Quarantine, Reason, Ticketer, Trust};
use crate::pseudonym::{IdPolicy, PlainIds, Pseudonymizer};
use crate::rng::SystemRng;
use crate::secret::Secret;
use crate::telemetry::Meter;
use crate::testing::request;
use crate::vault::books::Writer;
use crate::vault::delta::Rebuilder;
use crate::vault::document::{Document, commitment};
use crate::vault::names::{Names, ObjectName};
use crate::vault::record::{self, FragmentHeader, KeyHeader};
use crate::vault::row::{Kind, Row};
use crate::vault::seal::{AgeSealer, NewSession, SealFailed, Sealer};
use crate::vault::ticket::UriBase;

pub(super) struct Bench {
    processor: VaultProcessor,
    ticketer: Option<Box<dyn Ticketer>>,
    auditor: age::x25519::Identity,
    ids: PlainIds,
    rebuilder: Rebuilder,
    identities: BTreeMap<String, age::x25519::Identity>,
}

/// What one batch became.
pub(super) struct Out {
    payload: Payload,
    pub(super) bytes: Vec<u8>,
    pub(super) documents: Vec<Document>,
    headers: Vec<FragmentHeader>,
    keys: Vec<KeyHeader>,
    rows: Vec<Row>,
    records: Vec<Record>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Leave::Nothing, true)
    }

    pub(super) fn with(leave: Leave, store: bool) -> Self {
        let auditor = age::x25519::Identity::generate();
        let sealer: Arc<dyn Sealer> = Arc::new(AgeSealer::new(vec![auditor.to_public()]));
        Self::made(leave, store.then_some(sealer), auditor)
    }

    fn made(leave: Leave, sealer: Option<Arc<dyn Sealer>>, auditor: age::x25519::Identity) -> Self {
        let ids = PlainIds(Pseudonymizer::new(&Secret::new("k".to_owned())));
        let store = sealer.map(|sealer| Store {
            sealer,
            writer: Arc::new(Writer::new(Names::new("agent-sessions", "gw-1", "01KAEPOCH"), 1 << 20)),
            uri: UriBase("s3://audit-logs/".into()),
            awaited: false,
        });
        let parts = Parts {
            id: "vault".into(),
            vocabulary: Arc::new(Vocabulary::builtin().expect("vocabulary")),
            ids: Arc::new(ids.clone()),
            rng: Arc::new(SystemRng),
            store,
            leave,
            unlisted: Unlisted::Text,
            echoing: Echoing { memory: Arc::new(Memory::new(&SystemRng)), error_text: 8 << 10, scan: 8 << 20 },
        };
        let processor = VaultProcessor::new(parts, &Meter::new());
        let ticketer = processor.ticketer();
        Self { processor, ticketer, auditor, ids, rebuilder: Rebuilder::default(), identities: BTreeMap::new() }
    }

    pub(super) fn unlisted(mut self, unlisted: Unlisted) -> Self {
        self.processor.unlisted = unlisted;
        self
    }

    /// With another limit of what redaction searches.
    pub(super) fn scanning(mut self, scan: usize) -> Self {
        self.processor.echoing.scan = scan;
        self
    }

    /// Lines that a request became.
    pub(super) fn rows(&mut self, payload: Payload) -> Vec<Row> {
        self.pass_payload(payload, origin(Trust::ThirdParty)).rows
    }

    pub(super) fn pass(&mut self, case: &Json) -> Out {
        self.pass_payload(request::payload(case), origin(Trust::ThirdParty))
    }

    fn pass_payload(&mut self, payload: Payload, origin: Origin) -> Out {
        let mut batch = Batch::new(Arc::new(origin), payload);
        self.processor.process(&mut batch).expect("processed");
        assert!(batch.clearance.content == Content::Stripped);
        let mut records = Vec::new();
        let mut slots = BTreeMap::new();
        for draft in batch.drafts {
            let ticketed = self.ticketer.as_mut().expect("a ticketer").ticket(draft.body);
            let size: u64 = ticketed.records.iter().map(|record| record.body.len() as u64 + 64).sum();
            assert!(size <= draft.bytes, "the reservation was too small: {size} > {}", draft.bytes);
            records.extend(ticketed.records);
            slots.extend(ticketed.slots);
        }
        // what redact does to every text must not reach the references
        batch.payload.edit_text(|place, text| {
            if text.contains("REDACTME") || (place.kind != PlaceKind::Key && place.key.starts_with("gen_ai.payload.")) {
                TextEdit::Replace("[X]".to_owned())
            } else {
                TextEdit::Keep
            }
        });
        let mut encoded = batch.payload.encode(UnknownFields::Drop).expect("encoded");
        for place in &encoded.slots {
            let text = slots.get(&place.slot).expect("every slot has a text");
            assert_eq!(text.len(), place.range.len(), "{text}");
            encoded.bytes[place.range.clone()].copy_from_slice(text.as_bytes());
        }
        let payload = Payload::parse(batch.payload.signal(), Bytes::from(encoded.bytes.clone())).expect("OTLP");
        self.open(payload, encoded.bytes, records)
    }

    fn open(&mut self, payload: Payload, bytes: Vec<u8>, records: Vec<Record>) -> Out {
        let mut out =
            Out { payload, bytes, documents: vec![], headers: vec![], keys: vec![], rows: vec![], records: vec![] };
        for stored in &records {
            match stored.kind {
                RecordKind::Key => {
                    let (header, object): (KeyHeader, _) = record::unpack(&stored.body).expect("key");
                    let secret = age::decrypt(&self.auditor, &object).expect("the auditor opens the key");
                    let identity = String::from_utf8(secret).expect("text").trim().parse().expect("identity");
                    self.identities.insert(header.key.clone(), identity);
                    out.keys.push(header);
                }
                RecordKind::Fragment => {
                    let (header, sealed): (FragmentHeader, _) = record::unpack(&stored.body).expect("fragment");
                    let plain =
                        age::decrypt(&self.identities[&header.key], &sealed).expect("the session's key opens it");
                    let json = zstd::decode_all(&plain[..]).expect("zstd");
                    self.rebuilder.add(&json).expect("a document");
                    let whole = self.rebuilder.rebuild(&json, 1 << 30).expect("whole");
                    out.documents.push(serde_json::from_slice(&whole.unwrap_or(json)).expect("a document"));
                    out.headers.push(header);
                }
                RecordKind::Leaf => {
                    let (_, lines): (record::LeafHeader, _) = record::unpack(&stored.body).expect("leaf");
                    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                    out.rows.extend(lines.map(|line| serde_json::from_slice::<Row>(line).expect("a row")));
                }
                kind => panic!("{kind:?}"),
            }
        }
        out.records = records;
        out
    }
}

impl Out {
    pub(super) fn attributes(&self, item: usize) -> BTreeMap<String, String> {
        let node = self.payload.items().nth(item).expect("item");
        self.of(node)
    }

    fn of(&self, node: crate::otlp::Node) -> BTreeMap<String, String> {
        let text = |value: crate::otlp::Value<'_>| match value.as_str() {
            Some(text) => text.to_owned(),
            None => {
                let mut json = String::new();
                value.write_json(&mut json);
                json
            }
        };
        self.payload.attributes(node).map(|attribute| (attribute.key.to_owned(), text(attribute.value))).collect()
    }

    fn leaks(&self, word: &str) -> bool {
        let holds = |bytes: &[u8]| bytes.windows(word.len()).any(|window| window == word.as_bytes());
        holds(&self.bytes) || self.records.iter().any(|record| holds(&record.body))
    }
}

fn origin(trust: Trust) -> Origin {
    Origin {
        account: "default".into(),
        receiver: "otlp".into(),
        trust,
        received: UnixNanos(1_795_168_800_000_000_000),
        id: [7; 16],
        repeat: false,
    }
}

fn chat(session: &str, tenant: &str, text: &str) -> Json {
    json!({"name": "chat gpt", "trace": 1, "span": 2, "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.temperature": 0.5, "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5,
        "gen_ai.conversation.id": session, "tenant.id": tenant, "user.id": "ada@example.com",
        "gen_ai.input.messages": format!(r#"[{{"role":"user","parts":[{{"type":"text","content":"{text}"}}]}}]"#),
        "gen_ai.output.messages": r#"[{"role":"assistant","parts":[{"type":"text","content":"CANARY out"}]}]"#,
        "gen_ai.system_instructions": r#"[{"type":"text","content":"CANARY sys"}]"#}})
}

/// Content leaves the span entirely; a reference stays that leads to exactly that content; the rest survives.
#[test]
fn content_goes_a_reference_stays() {
    let mut bench = Bench::new();
    let out = bench.pass(&json!({"signal": "traces", "items": [chat("s-1", "acme", "CANARY in")]}));
    assert!(!out.leaks("CANARY"));
    let attributes = out.attributes(0);
    assert!(
        ["gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"]
            .iter()
            .all(|key| !attributes.contains_key(*key))
    );
    for (key, value) in [("gen_ai.request.model", "gpt-4o"), ("gen_ai.usage.input_tokens", "10"), ("tenant.id", "acme")]
    {
        assert_eq!(attributes.get(key).map(String::as_str), Some(value), "{key}");
    }
    let (header, row) = (&out.headers[0], &out.rows[0]);
    let uri = format!("s3://audit-logs/{}", header.object);
    assert_eq!(attributes["gen_ai.payload.s3_uri"], uri);
    for part in ["gen_ai.input.messages_ref", "gen_ai.output.messages_ref", "gen_ai.system_instructions_ref"] {
        assert_eq!(attributes[part], uri);
    }
    assert!(!attributes.contains_key("gen_ai.tool.call.result_ref"));
    assert_eq!(attributes["gen_ai.payload.range"], format!("bytes=0000000000-{:010}", row.tail.len.expect("len") - 1));
    assert_eq!(attributes["gen_ai.payload.key_id"], header.key);
    assert_eq!(attributes["gen_ai.payload.leaf"], "gw-1/01KAEPOCH/000000000000");
    assert_eq!(attributes["gen_ai.payload.bytes"], row.tail.pt_bytes.expect("size").to_string());
    assert!(
        attributes["tollgate.content.shape"]
            .contains(r#""input":[{"role":"user","parts":[{"type":"text","bytes":9}]}]"#)
    );
    let parsed = ObjectName::parse(&header.object).and_then(|object| object.scope).expect("an object");
    assert_eq!((parsed.account.as_str(), parsed.tenant.as_str(), parsed.session.as_str()), ("default", "acme", "s-1"));
}

/// What the auditor opens is what was sent, bound to its place, and the commitment outside can be checked against it.
#[test]
fn the_auditor_finds_what_was_sent() {
    let mut bench = Bench::new();
    let out = bench.pass(&json!({"items": [chat("s-1", "acme", "CANARY in")]}));
    let (document, row) = (&out.documents[0], &out.rows[0]);
    assert_eq!(
        (&*document.head.account, &*document.head.tenant, document.head.session.as_deref()),
        ("default", "acme", Some("s-1"))
    );
    assert_eq!((&*document.head.writer, &*document.head.epoch), ("gw-1", "01KAEPOCH"));
    assert_eq!(Some(&*document.head.fragment), row.tail.fragment.as_deref());
    let item = &document.items[0];
    assert_eq!(item.head.user.as_deref(), Some("ada@example.com"));
    assert_eq!(item.parameters["gen_ai.request.temperature"], 0.5);
    let parts: BTreeSet<&str> = item.content.iter().map(|piece| piece.part.as_str()).collect();
    assert_eq!(parts, ["input", "output", "system"].into());
    assert!(item.content.iter().any(|piece| piece.value.as_str().is_some_and(|text| text.contains("CANARY in"))));
    let hex = |text: &str| -> [u8; 32] {
        let bytes: Vec<u8> =
            (0..64).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect();
        bytes.try_into().expect("32 bytes")
    };
    assert_eq!(row.tail.commitment.as_deref(), Some(&*commitment(&hex(&item.salt), &hex(&item.content_sha256))));
    assert_eq!(row.tail.commitment.as_deref(), out.attributes(0).get("gen_ai.payload.commitment").map(String::as_str));
    let sealed: (FragmentHeader, Bytes) = record::unpack(&out.records[1].body).expect("fragment");
    assert_eq!(row.tail.ct_sha256, Some(crate::hex::encode(&Sha256::digest(&sealed.1))));
}

/// The stated way to recompute the content hash works on the document as stored.
#[test]
fn the_content_hash_is_over_the_stored_bytes() {
    let mut bench = Bench::new();
    let out = bench.pass(&json!({"items": [chat("s-1", "acme", "hello")]}));
    let (header, sealed): (FragmentHeader, Bytes) = record::unpack(&out.records[1].body).expect("fragment");
    let (_, key): (KeyHeader, Bytes) = record::unpack(&out.records[0].body).expect("key");
    let secret = String::from_utf8(age::decrypt(&bench.auditor, &key).expect("opens")).expect("text");
    let identity: age::x25519::Identity = secret.trim().parse().expect("identity");
    let json = zstd::decode_all(&age::decrypt(&identity, &sealed).expect("opens")[..]).expect("zstd");
    #[derive(serde::Deserialize)]
    struct Raw<'a> {
        #[serde(borrow)]
        items: Vec<RawItem<'a>>,
    }
    #[derive(serde::Deserialize)]
    struct RawItem<'a> {
        #[serde(borrow)]
        content: &'a serde_json::value::RawValue,
        content_sha256: String,
    }
    let raw: Raw<'_> = serde_json::from_slice(&json).expect("document");
    assert_eq!(
        crate::hex::encode(&Sha256::digest(raw.items[0].content.get())),
        raw.items[0].content_sha256,
        "{}",
        header.object
    );
    // compact JSON with keys in a fixed order: what `jq -c` prints
    let again =
        serde_json::to_string(&serde_json::from_str::<Json>(raw.items[0].content.get()).expect("JSON")).expect("text");
    assert_eq!(again, raw.items[0].content.get());
}

/// No fragment mixes tenants or sessions, and each session has its own key.
#[test]
fn sessions_and_tenants_are_kept_apart() {
    let mut bench = Bench::new();
    let items =
        [chat("a", "acme", "one"), chat("a", "zeta", "two"), chat("b", "acme", "three"), chat("a", "acme", "four")];
    let out = bench.pass(&json!({ "items": items }));
    assert_eq!(out.documents.iter().map(|document| document.items.len()).collect::<Vec<_>>(), [2, 1, 1]);
    assert_eq!(out.headers.iter().map(|header| &header.key).collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(out.headers.iter().map(|header| &header.object).collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(out.keys.len(), 3);
    let leaves: Vec<u64> = out.rows.iter().map(|row| row.leaf).collect();
    assert_eq!(leaves, [0, 1, 2, 3]);
    assert_eq!(
        out.attributes(3)["gen_ai.payload.leaf"],
        "gw-1/01KAEPOCH/000000000001",
        "the fourth item is the second leaf"
    );
    assert_eq!(out.rows[1].tail.item, Some(1));
    let again = bench.pass(&json!({"items": [chat("a", "acme", "five")]}));
    assert!(!again.records.iter().any(|record| record.kind == RecordKind::Key), "its key is in the vault already");
}

/// Content in span events goes; the event and its metadata stay.
#[test]
fn events_lose_content_only() {
    let mut bench = Bench::new();
    let mut span = chat("s", "acme", "x");
    span["events"] =
        json!([{"name": "gen_ai.event.prompt", "attributes": {"gen_ai.prompt": "CANARY event", "message_count": 3}}]);
    let out = bench.pass(&json!({ "items": [span] }));
    assert!(!out.leaks("CANARY"));
    let item = out.payload.items().next().expect("item");
    let event = out.payload.children(item).next().expect("the event stays");
    assert!(!out.of(event).contains_key("gen_ai.prompt"));
    let piece = out.documents[0].items[0].content.iter().find(|piece| piece.on == "event").expect("in the vault");
    assert_eq!(piece.event.as_deref(), Some("gen_ai.event.prompt"));
}

/// Log bodies that are content go too, whatever their structure.
#[test]
fn log_bodies_go() {
    let mut bench = Bench::new();
    let record = json!({"event_name": "gen_ai.user.message", "trace": 1, "span": 2,
        "body": {"content": "CANARY body", "n": [1, 2.5, true]}, "attributes": {"gen_ai.system": "openai"}});
    let out = bench.pass(&json!({"signal": "logs", "items": [record]}));
    assert!(!out.leaks("CANARY"));
    let piece = &out.documents[0].items[0].content[0];
    assert_eq!(
        (piece.on.as_str(), &piece.value["content"], &piece.value["n"][1]),
        ("body", &json!("CANARY body"), &json!(2.5))
    );
    assert!(out.headers[0].object.contains("/trace-00000000000000000000000000000001/"), "no session: its trace");
}

/// Hostile ids must not leave their place in object names, nor show an address or a forged pseudonym.
#[test]
fn hostile_sessions_are_harmless() {
    let long = "x".repeat(500);
    for session in [
        "../../../etc/passwd",
        "..",
        ".",
        "a/b",
        long.as_str(),
        "日本語セッション",
        "h-0123456789abcdef0123456789abcdef",
        "a\u{0}b",
        "%2e%2e",
    ] {
        let mut bench = Bench::new();
        let out = bench.pass(&json!({"items": [chat(session, session, "x")]}));
        let name = &out.headers[0].object;
        let parsed = ObjectName::parse(name).and_then(|object| object.scope).expect("an object name");
        let segments: Vec<&str> = name.split('/').collect();
        assert_eq!(segments.len(), 6, "{name}");
        assert!(
            segments.iter().all(|part| !part.is_empty() && *part != "." && *part != ".." && part.len() <= 255),
            "{name}"
        );
        assert_eq!(parsed.session, bench.ids.key_form("default", session));
        assert_eq!(out.documents[0].head.session.as_deref(), Some(session), "the auditor sees the id as sent");
        assert_eq!(out.keys[0].name.split('/').count(), 7);
    }
}

/// A user id is in the index as a pseudonym only.
#[test]
fn the_index_holds_no_user() {
    let mut bench = Bench::new();
    let out = bench.pass(&json!({"items": [chat("s", "acme", "x")]}));
    assert_eq!(out.rows[0].tail.user_key.as_deref(), Some(&*bench.ids.pseudonym("default", "ada@example.com")));
    let leaf = out.records.iter().find(|record| record.kind == RecordKind::Leaf).expect("leaf");
    assert!(!String::from_utf8_lossy(&leaf.body).contains("ada@"));
    let tail = &out.rows[0].tail;
    assert_eq!(
        (tail.action_type.as_deref(), tail.model.as_deref(), tail.status.as_str()),
        (Some("chat"), Some("gpt-4o"), "ok")
    );
    assert_eq!((tail.tokens_in, tail.tokens_out, tail.kind), (Some(10), Some(5), Some(Kind::Payload)));
}

/// A client must not be able to forge references; its own `…_ref` moves aside; others are ordinary.
#[test]
fn forged_references_are_removed() {
    let mut bench = Bench::new();
    let span = json!({"name": "x", "trace": 1, "span": 2, "attributes": {
        "gen_ai.payload.s3_uri": "s3://evil/x", "gen_ai.payload.dropped": true,
        "gen_ai.input.messages_ref": "s3://theirs", "git_ref": "main"}});
    let out = bench.pass(&json!({"resource": {"gen_ai.payload.leaf": "x"}, "items": [span.clone()]}));
    let attributes = out.attributes(0);
    assert!(!attributes.keys().any(|key| key.starts_with("gen_ai.payload.")) && !out.leaks("evil"));
    assert_eq!(attributes.get("tollgate.reported.gen_ai.input.messages_ref").map(String::as_str), Some("s3://theirs"));
    assert_eq!(attributes.get("git_ref").map(String::as_str), Some("main"));
    let resource = out.payload.resource(out.payload.items().next().expect("item"));
    assert!(out.of(resource).is_empty());
    let kept = bench.pass_payload(request::payload(&json!({ "items": [span] })), origin(Trust::Internal));
    assert!(kept.attributes(0).contains_key("gen_ai.input.messages_ref"), "an upstream tollgate's references stay");
}

/// Without a store content is dropped, and the item says so.
#[test]
fn without_a_store_content_is_dropped() {
    let mut bench = Bench::with(Leave::Nothing, false);
    let out = bench.pass(&json!({"items": [chat("s", "acme", "CANARY in")]}));
    assert!(!out.leaks("CANARY") && out.records.is_empty());
    let attributes = out.attributes(0);
    assert_eq!(attributes["gen_ai.payload.dropped"], "true");
    assert!(
        attributes["tollgate.content.shape"].contains("bytes") && !attributes.contains_key("gen_ai.payload.s3_uri")
    );
}

/// `leave: redacted` seals the original and leaves the text for the redaction step.
#[test]
fn text_may_stay_for_redaction() {
    let mut bench = Bench::with(Leave::Redacted, true);
    let out = bench.pass(&json!({"items": [chat("s", "acme", "REDACTME")]}));
    let attributes = out.attributes(0);
    assert_eq!(attributes["gen_ai.input.messages"], "[X]", "the rules saw it");
    assert!(attributes.contains_key("gen_ai.payload.s3_uri"));
    assert!(
        out.documents[0].items[0]
            .content
            .iter()
            .any(|piece| piece.value.as_str().is_some_and(|text| text.contains("REDACTME")))
    );
}

/// What is left for redaction is what rules can read: numbers, bytes, and structure that holds bytes go to the vault alone.
#[test]
fn only_text_stays_for_redaction() {
    let mut bench = Bench::with(Leave::Redacted, true);
    let mut call = chat("s", "acme", "kept");
    call["attributes"]["gen_ai.output.messages"] = json!("kept");
    call["attributes"]["gen_ai.system_instructions"] = json!("kept");
    call["attributes"]["gen_ai.tool.call.arguments"] =
        json!({"card": 4_111_111_111_111_111_u64, "to": [{"$bytes": "Q0FOQVJZ"}]});
    call["attributes"]["gen_ai.tool.call.result"] = json!(4_111_111_111_111_111_u64);
    call["attributes"]["gen_ai.prompt"] = json!({"$bytes": "Q0FOQVJZ"});
    let log = json!({"signal": "logs", "items": [{"event_name": "gen_ai.user.message", "trace": 1, "span": 2,
        "attributes": {"gen_ai.system": "openai"}, "body": {"content": [{"$bytes": "Q0FOQVJZ"}, 4_111_111_111_111_111_u64]}}]});
    for case in [json!({"items": [call]}), log] {
        let out = bench.pass(&case);
        assert!(!out.leaks("CANARY") && !String::from_utf8_lossy(&out.bytes).contains("card"));
        let left = format!("{:?}", out.attributes(0));
        assert!(!left.contains("4111111111111111"), "{left}");
        assert!(out.payload.items().all(|item| out.payload.body(item).is_none()));
        assert_eq!(out.documents.len(), 1, "the auditors have it");
    }
}

struct Broken;

impl Sealer for Broken {
    fn new_session(&self) -> Result<NewSession, SealFailed> {
        Err(SealFailed)
    }
}

/// If sealing fails nothing is cleared, nothing is drafted, and the client keeps its batch.
#[test]
fn sealing_fails_closed() {
    let bench = Bench::made(Leave::Nothing, Some(Arc::new(Broken)), age::x25519::Identity::generate());
    let mut batch =
        Batch::new(Arc::new(origin(Trust::ThirdParty)), request::payload(&json!({"items": [chat("s", "a", "x")]})));
    assert_eq!(bench.processor.process(&mut batch), Err(Reason::Lost));
    assert!(batch.clearance.content == Content::Kept && batch.drafts.is_empty());
}

/// An action without content gets a leaf; what is no agent's item gets neither leaf nor reference.
#[test]
fn actions_without_content_get_a_leaf() {
    let mut bench = Bench::new();
    let tool = json!({"name": "execute_tool ls", "trace": 1, "span": 3, "attributes": {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "ls", "gen_ai.conversation.id": "s"}});
    let plain = json!({"name": "GET /", "trace": 9, "span": 4, "attributes": {"http.route": "/"}});
    let out = bench.pass(&json!({"items": [tool, plain]}));
    assert_eq!(out.rows.len(), 1);
    let row = &out.rows[0];
    assert_eq!(
        (row.tail.kind, row.tail.tool_name.as_deref(), row.object_key.as_deref()),
        (Some(Kind::Action), Some("ls"), None)
    );
    assert!(out.headers.is_empty() && !out.attributes(0).contains_key("gen_ai.payload.leaf"));
    assert_eq!(out.attributes(1), BTreeMap::from([("http.route".to_owned(), "/".to_owned())]));
}

/// Fingerprints of what the model was given are equal where that is equal, tell apart where it is not, and are no bare
/// hashes: another account's are others.
#[test]
fn contexts_are_comparable() {
    let call = |span: u64, system: &str, input: &str| {
        json!({"name": "chat", "trace": 1, "span": span, "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.conversation.id": "s", "gen_ai.provider.name": "openai",
        "gen_ai.system_instructions": system, "gen_ai.input.messages": input}})
    };
    let mut bench = Bench::new();
    let items = json!({"items": [call(1, "be kind", "one"), call(2, "be kind", "two"), call(3, "be kind", "one"), call(4, "be rude", "one")]});
    let out = bench.pass(&items);
    let of = |at: usize, key: &str| out.attributes(at).get(&format!("tollgate.context.{key}")).cloned();
    assert!(of(0, "hash").is_some() && of(0, "tools").is_none());
    assert_eq!((of(0, "hash"), of(0, "system")), (of(2, "hash"), of(2, "system")));
    assert_eq!(of(0, "system"), of(1, "system"));
    assert_ne!(of(0, "hash"), of(1, "hash"));
    assert_ne!(of(0, "system"), of(3, "system"));
    let bare = crate::hex::encode(&<sha2::Sha256 as sha2::Digest>::digest(b"\"be kind\"\0"));
    assert!(!format!("{:?}", out.attributes(0)).contains(&bare[..16]));
}

/// A line tells who, on what behalf, how large and how long: labels of the item or its resource, sizes of the content, the
/// span's own time.
#[test]
fn columns_of_an_action() {
    let mut bench = Bench::new();
    let tool = json!({"name": "execute_tool ls", "trace": 1, "span": 3, "start": 1_795_000_000,
        "end": 1_795_000_002, "attributes": {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "ls", "gen_ai.conversation.id": "s",
        "work_tracker.issue_id": "PAY-17", "build.commit_sha": "0a1b2c3", "deploy.environment": "prod",
        "gen_ai.tool.call.arguments": {"path": "/tmp"}, "gen_ai.tool.call.result": "total 0"}});
    let bare = json!({"name": "execute_tool cat", "trace": 1, "span": 4, "attributes": {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "cat", "gen_ai.conversation.id": "s",
        "tool_result_size_bytes": 512, "duration_ms": 40}});
    let out = bench.pass(&json!({"items": [tool, bare], "resource": {"service.version": "2.1.0"}}));
    let row =
        |tool: &str| &out.rows.iter().find(|row| row.tail.tool_name.as_deref() == Some(tool)).expect("a line").tail;
    let (ls, cat) = (row("ls"), row("cat"));
    assert_eq!(ls.agent_version.as_deref(), Some("2.1.0"));
    assert_eq!((ls.issue_id.as_deref(), ls.commit_sha.as_deref()), (Some("PAY-17"), Some("0a1b2c3")));
    assert_eq!(ls.environment.as_deref(), Some("prod"));
    assert_eq!((ls.arguments_bytes, ls.result_bytes), (Some(15), Some(9)));
    assert_eq!(ls.duration_ns, Some(2_000_000_000));
    assert_eq!((cat.arguments_bytes, cat.result_bytes, cat.duration_ns), (None, Some(512), Some(40_000_000)));
}

/// A repeat is kept as a second copy and marked.
#[test]
fn repeats_are_marked() {
    let mut bench = Bench::new();
    let payload = request::payload(&json!({"items": [chat("s", "acme", "x")]}));
    let out = bench.pass_payload(payload, Origin { repeat: true, ..origin(Trust::ThirdParty) });
    assert!(out.rows[0].tail.repeat && out.documents[0].head.repeat);
}

/// What no processor could finish is sealed as it came, away from every session, to the auditors.
#[test]
fn quarantine_is_sealed() {
    let mut bench = Bench::new();
    let request = Bytes::from_static(b"CANARY poison");
    let draft = bench.processor.seal(&origin(Trust::ThirdParty), Signal::Traces, &request, 2).expect("sealed");
    let ticketed = bench.ticketer.as_mut().expect("ticketer").ticket(draft.body);
    let empty = request::payload(&json!({"items": []}));
    let out = bench.open(empty, Vec::new(), ticketed.records);
    assert!(!out.leaks("CANARY"));
    use base64::Engine as _;
    let opened = out.documents[0]
        .request
        .as_deref()
        .map(|text| base64::engine::general_purpose::STANDARD.decode(text).expect("base64"));
    assert_eq!(opened.as_deref(), Some(&request[..]));
    assert_eq!(out.rows[0].tail.kind, Some(Kind::Quarantine));
    assert!(out.headers[0].object.contains("/=quarantine/"));
    assert!(
        Bench::with(Leave::Nothing, false)
            .processor
            .seal(&origin(Trust::ThirdParty), Signal::Traces, &request, 2)
            .is_none()
    );
}

/// In everything that real clients sent, each canary in content is in the vault and in nothing else.
#[test]
fn recorded_canaries_are_in_the_vault_only() {
    let mut wrong = Vec::new();
    for folder in [
        "claude-code",
        "semconv",
        "openinference",
        "agent-framework",
        "autogen",
        "azure-ai-inference",
        "crewai",
        "google-adk",
        "haystack",
        "langfuse",
        "langsmith",
        "langtrace",
        "litellm",
        "logfire",
        "openinference-frameworks",
        "openlit",
        "openllmetry",
        "openllmetry-frameworks",
        "openllmetry-legacy",
        "pydantic-ai",
        "semantic-kernel",
        "semconv-vendors",
        "strands",
        "codex",
        "gemini-cli",
        "genkit",
        "mastra",
        "opencode",
        "openinference-js",
        "openllmetry-js",
        "semconv-js",
        "vercel-ai",
    ] {
        let root = request::at("tests/recordings").join(folder);
        let manifest: Json =
            serde_json::from_str(&std::fs::read_to_string(root.join("manifest.json")).expect("manifest"))
                .expect("JSON");
        for (session, entry) in manifest["sessions"].as_object().expect("sessions") {
            let mut bench = Bench::new();
            let mut opened = String::new();
            let mut outside: Vec<u8> = Vec::new();
            let mut files: Vec<_> = std::fs::read_dir(root.join(session))
                .expect("folder")
                .map(|entry| entry.expect("entry").path())
                .collect();
            files.sort();
            let mut identities = Vec::new();
            for file in files.iter().filter(|path| {
                let name = path.file_name().expect("name").to_string_lossy();
                name.contains("-logs.") || name.contains("-traces.")
            }) {
                let out = bench.collect(request::recorded(file), &mut identities);
                opened.push_str(&out.0);
                outside.extend(out.1);
            }
            let outside = String::from_utf8_lossy(&outside);
            for (place, canary) in entry["canaries"].as_object().expect("canaries") {
                let value = canary["value"].as_str().expect("value");
                let places: Vec<&str> = ["logs", "traces"]
                    .iter()
                    .flat_map(|signal| canary["seen"][signal].as_array().into_iter().flatten())
                    .filter_map(Json::as_str)
                    .collect();
                if places.iter().any(|place| is_content(place)) && !opened.contains(value) {
                    wrong.push(format!("{folder}/{session}: {place} is not in the vault"));
                }
                // elsewhere it is redaction's to find
                if places.iter().all(|place| is_content(place)) && outside.contains(value) {
                    wrong.push(format!("{folder}/{session}: {place} is still outside"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Places of the manifests that are redaction's, not the vault's; in a span's name it finds echoes.
fn is_content(place: &str) -> bool {
    !place.ends_with(" name")
        && !["status.message", "status_message", "exception.", "error", "metadata"]
            .iter()
            .any(|word| place.contains(word))
}

impl Bench {
    /// Opened plaintext, and everything else that a batch became.
    fn collect(
        &mut self,
        payload: Payload,
        identities: &mut Vec<(String, age::x25519::Identity)>,
    ) -> (String, Vec<u8>) {
        let mut batch = Batch::new(Arc::new(origin(Trust::ThirdParty)), payload);
        self.processor.process(&mut batch).expect("processed");
        let mut outside = batch.payload.encode(UnknownFields::Drop).expect("encoded").bytes;
        let mut opened = String::new();
        for draft in batch.drafts {
            for stored in self.ticketer.as_mut().expect("ticketer").ticket(draft.body).records {
                outside.extend_from_slice(&stored.body);
                if let Some((header, object)) =
                    record::unpack::<KeyHeader>(&stored.body).filter(|_| stored.kind == RecordKind::Key)
                {
                    let secret = String::from_utf8(age::decrypt(&self.auditor, &object).expect("opens")).expect("text");
                    identities.push((header.key, secret.trim().parse().expect("identity")));
                }
                if let Some((header, sealed)) =
                    record::unpack::<FragmentHeader>(&stored.body).filter(|_| stored.kind == RecordKind::Fragment)
                {
                    let (_, identity) = identities.iter().find(|(id, _)| *id == header.key).expect("key");
                    let plain = age::decrypt(identity, &sealed).expect("opens");
                    opened.push_str(&String::from_utf8(zstd::decode_all(&plain[..]).expect("zstd")).expect("text"));
                }
            }
        }
        (opened, outside)
    }
}

/// A text that goes to the vault because it is no label must not stand in an index line or an object's name instead.
#[test]
fn what_is_content_is_no_column() {
    for key in [
        "gen_ai.conversation.id",
        "session.id",
        "turn.id",
        "turn",
        "gen_ai.agent.name",
        "agent.name",
        "feature",
        "gen_ai.agent.id",
        "gen_ai.tool.name",
        "gen_ai.tool.call.id",
        "gen_ai.response.id",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "error.type",
        "tenant.id",
        "gen_ai.operation.name",
    ] {
        for text in ["CANARY is asked\nto transfer money", "{\"prompt\": \"CANARY please\"}"] {
            let mut bench = Bench::new();
            let mut item = chat("s-1", "acme", "x");
            item["attributes"][key] = json!(text);
            let out = bench.pass(&json!({"signal": "traces", "items": [item]}));
            let kept = out.attributes(0).get(key).is_some_and(|kept| kept == text);
            assert!(!kept && !out.leaks("CANARY"), "{key}");
        }
    }
}

/// Thousands of parameters beside thousands of content places take linear time.
#[test]
fn many_parameters_take_linear_time() {
    let mut bench = Bench::new();
    let mut item = chat("s-1", "acme", "x");
    for n in 0..40_000 {
        item["attributes"][format!("gen_ai.request.p{n}")] = json!(n);
        item["attributes"][format!("note.{n}")] = json!("some words");
    }
    let payload = request::payload(&json!({"signal": "traces", "items": [item]}));
    let clock = SystemClock::new();
    bench.pass_payload(payload, origin(Trust::ThirdParty));
    assert!(clock.monotonic() < std::time::Duration::from_secs(20), "{:?}", clock.monotonic());
}

/// The same for a sentence under a key that is not known to hold names.
#[test]
fn a_sentence_is_no_column() {
    for key in ["turn", "feature", "langfuse.session.id"] {
        let mut bench = Bench::new();
        let mut item = chat("s-1", "acme", "x");
        item["attributes"][key] = json!("CANARY asks to move money");
        let out = bench.pass(&json!({"signal": "traces", "items": [item]}));
        let kept = out.attributes(0).contains_key(key);
        assert!(kept || !out.leaks("CANARY"), "{key}");
    }
}

fn bystander(trace: u32) -> Json {
    json!({"items": [{"name": "render", "trace": trace, "span": 9, "attributes": {
        "template": "CANARY dear customer", "http.request.method": "GET"}}]})
}

/// An item that no dialect knows is an agent's when an earlier, committed request told of its trace: also after a
/// restart, not before the commit, and not for another account.
#[test]
fn traces_are_known_across_requests() {
    let mut bench = Bench::new();
    assert!(bench.pass(&bystander(1)).leaks("CANARY"), "nothing says that it is an agent's");
    let mut first = Batch::new(
        Arc::new(origin(Trust::ThirdParty)),
        request::payload(&json!({"items": [chat("s-1", "acme", "x")]})),
    );
    bench.processor.process(&mut first).expect("processed");
    assert!(bench.pass(&bystander(1)).leaks("CANARY"), "the request that told of it is not committed");
    assert_eq!(first.effects.iter().filter(|effect| !effect.body.is_empty()).count(), 1);
    first.effects.iter().for_each(|effect| bench.processor.apply(effect));
    let adopted = bench.pass(&bystander(1));
    assert!(!adopted.leaks("CANARY"), "its text is content");
    assert_eq!(adopted.attributes(0).get("http.request.method").map(String::as_str), Some("GET"));
    assert!(adopted.attributes(0).contains_key("gen_ai.payload.s3_uri"));
    assert!(bench.pass(&bystander(2)).leaks("CANARY"), "another trace");
    let other = Origin { account: "other".into(), ..origin(Trust::ThirdParty) };
    assert!(bench.pass_payload(request::payload(&bystander(1)), other).leaks("CANARY"), "another account");
    let mut again = Bench::new();
    again.processor.restore(&bench.processor.checkpoint().expect("state"));
    assert!(!again.pass(&bystander(1)).leaks("CANARY"), "after a restart");
    let mut known = Batch::new(
        Arc::new(origin(Trust::ThirdParty)),
        request::payload(&json!({"items": [chat("s-1", "acme", "x")]})),
    );
    bench.processor.process(&mut known).expect("processed");
    assert!(known.effects.iter().all(|effect| effect.body.is_empty()), "what is known is told no more");
}

/// What an adopted item adds must not move or double what its neighbours and their resource have.
#[test]
fn adopted_items_change_no_neighbour() {
    let mut bench = Bench::new();
    let news = bench.processor.traces.effect("default", &[&[0_u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]]);
    bench.processor.traces.apply(&news.expect("news"));
    let both = |trace: u32| {
        json!({"resource": {"note": "CANARY of all", "service.name": "api"}, "items": [
            chat("s-1", "acme", "CANARY in"),
            {"name": "render", "trace": trace, "span": 9, "attributes": {"template": "CANARY dear customer"}}]})
    };
    let (alone, adopted) = (bench.pass(&both(4)), bench.pass(&both(5)));
    assert!(alone.leaks("CANARY") && !adopted.leaks("CANARY"));
    let pieces = |out: &Out| {
        out.documents.iter().flat_map(|document| &document.items).map(|item| item.content.len()).sum::<usize>()
    };
    assert_eq!(pieces(&adopted), pieces(&alone) + 1);
}

/// The memory of traces must stay within its bound, and what is told of again must outlive what is not.
#[test]
fn the_memory_of_traces_is_bounded() {
    let traces = super::super::traces::Traces::new(8);
    let tell = |trace: u8| traces.effect("a", &[&[trace; 16]]).iter().for_each(|body| traces.apply(body));
    tell(200);
    for trace in 0..100 {
        tell(trace);
        tell(200);
        assert!(traces.len() <= 8);
        assert!(traces.holds("a", &[trace; 16]) && traces.holds("a", &[200; 16]));
    }
    assert!(!traces.holds("a", &[3; 16]));
}

/// Where the billed input went stands on model calls that count, and sums to it; copies and tools get none.
#[test]
fn input_is_told_apart() {
    let mut bench = Bench::new();
    let messages =
        json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "a question of some length"}]);
    let call = json!({"name": "chat m", "attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m",
        "gen_ai.provider.name": "openai", "gen_ai.usage.input_tokens": 1001, "gen_ai.usage.output_tokens": 5,
        "gen_ai.input.messages": messages.to_string()}});
    let tool = json!({"name": "execute_tool t", "attributes": {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t",
        "gen_ai.tool.call.arguments": "{\"a\":\"b c\"}"}});
    let out = bench.pass(&json!({ "items": [call, tool] }));
    let told = out.attributes(0);
    let tokens: Vec<u64> = super::super::weigh::KEYS.iter().map(|key| told[*key].parse().expect("a number")).collect();
    assert_eq!(tokens.iter().sum::<u64>(), 1001, "{tokens:?}");
    assert!(tokens[0] > 200 && tokens[4] > 700 && tokens[1] + tokens[2] + tokens[3] == 0, "{tokens:?}");
    assert!(!out.attributes(1).keys().any(|key| key.starts_with("tollgate.input.")));
}

/// A tool call knows the model call that asked for it: in one request, and in a later one, once that was committed.
#[test]
fn tools_know_who_asked() {
    let bench = Bench::new();
    let output = json!([{"role": "assistant", "parts": [{"type": "text", "content": "ok"},
        {"type": "tool_call", "id": "call_1", "name": "t", "arguments": {"id": "call_9"}}]}]);
    let openai = json!({"choices": [{"message": {"tool_calls": [{"id": "call_2", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}]});
    let responses = json!([{"type": "function_call", "id": "fc_3", "call_id": "call_3", "name": "f"}, {"type": "tool_result", "id": "call_4"}]);
    let chat = |span: &str, output: &Json| {
        json!({"name": "chat m", "trace": 1, "span": span, "attributes": {"gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m", "gen_ai.output.messages": output.to_string()}})
    };
    let tool = |id: &str| {
        json!({"name": "execute_tool t", "trace": 1, "span": 5, "attributes": {"gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "t", "gen_ai.tool.call.id": id}})
    };
    let pass = |items: Vec<Json>, commit: bool| -> Vec<Option<String>> {
        let mut batch = Batch::new(Arc::new(origin(Trust::ThirdParty)), request::payload(&json!({ "items": items })));
        bench.processor.process(&mut batch).expect("processed");
        if commit {
            batch.effects.iter().for_each(|effect| bench.processor.apply(effect));
        }
        let items: Vec<_> = batch.payload.items().collect();
        items.iter().map(|node| batch.payload.get_str(*node, "tollgate.tool.requested_by").map(str::to_owned)).collect()
    };
    let calls = || {
        vec![chat("00000000000000a1", &output), chat("00000000000000a2", &openai), chat("00000000000000a3", &responses)]
    };
    let tools = || ["call_1", "call_2", "call_3", "call_4", "call_9"].map(tool).to_vec();
    let expected = [Some("00000000000000a1"), Some("00000000000000a2"), Some("00000000000000a3"), None, None]
        .map(|by| by.map(str::to_owned));
    let together = pass(tools().into_iter().chain(calls()).collect(), false);
    assert_eq!(together.get(..5), Some(&expected[..]));
    assert_eq!(pass(tools(), true), vec![None; 5], "not committed");
    pass(calls(), true);
    assert_eq!(pass(tools(), true), expected);
}

/// An error text that will be cut is in the vault whole, and still on the item; one that goes on whole is not vaulted.
#[test]
fn long_error_texts_are_kept_whole() {
    let mut bench = Bench::new();
    let long = "stack ".repeat(3_000);
    let span = |text: &str| {
        json!({"name": "execute_tool t", "attributes": {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t",
        "exception.stacktrace": text, "error": true}})
    };
    let out = bench.pass(&json!({ "items": [span(&long), span("short")] }));
    assert_eq!(out.attributes(0)["exception.stacktrace"], long, "cut later");
    assert_eq!(out.documents.len(), 1);
    let piece = &out.documents[0].items[0].content[0];
    assert_eq!((piece.key.as_deref(), piece.value.as_str()), (Some("exception.stacktrace"), Some(long.as_str())));
    assert_eq!(out.documents[0].items.len(), 1);
    assert!(!out.attributes(1).contains_key("gen_ai.payload.s3_uri"));
}

/// `leave: redacted` works for every part and shape of content; bytes, which no rule reads, go all the same.
#[test]
fn every_part_may_stay_for_redaction() {
    let mut bench = Bench::with(Leave::Redacted, true);
    let keys = [
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
    ];
    let mut span = chat("s", "acme", "x");
    for key in keys {
        span["attributes"][key] = json!("[{\"role\":\"user\",\"content\":\"REDACTME now\"}]");
    }
    let out = bench.pass(&json!({ "items": [span] }));
    let attributes = out.attributes(0);
    for key in keys {
        assert_eq!(attributes[key], "[X]", "{key}");
    }
    assert!(attributes.contains_key("gen_ai.payload.s3_uri") && attributes.contains_key("gen_ai.tool.call.result_ref"));
    assert!(!out.leaks("REDACTME"));
}
