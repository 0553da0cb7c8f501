//! Tests of what the processor removes, what it leaves, and what an auditor finds.

mod chat;
mod closed;
mod columns;
mod content;
mod decisions;
mod oracle;
mod recipients;
mod recorded;
mod traces;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::super::{ContentStore, EchoFinder, LeftContent, PrivacyProfile, VaultProcessor, VaultProcessorParts};
use crate::redact::RedactProcessor;
use crate::testing::{batch, origin};
use echoes::FingerprintCache;
use genai::testing::builtin::vocabulary;
use genai::testing::request;
use genai::{ClosedItemPolicy, DeclaredAgents, UnlistedTextPolicy, Vocabulary};
use kernel::pseudonym::{IdPolicy, PlainIds, Pseudonymizer};
use kernel::rng::SystemRng;
use kernel::secret::Secret;
use kernel::sha256::Sha256;
use otlp::{Payload, Signal, TextEdit, TextPlaceKind, UnknownFields};
use pipeline::spool::{RecordKind, SpoolRecord};
use pipeline::{Batch, BatchOrigin, ContentState, Effect, Processor, Reason, Ticketer, Trust};
use telemetry::Meter;
use vault::delta::ContentRebuilder;
use vault::document::{FragmentDocument, commitment};
use vault::index_row::{IndexRow, RowKind};
use vault::object_names::{ObjectName, ObjectNames};
use vault::recipients::{Audience, RecipientPolicy};
use vault::seal::{NewSessionKey, SealFailed, SessionKeyGenerator};
use vault::spool_record::{self, FragmentHeader, KeyHeader};
use vault::vault_writer::VaultWriter;

pub(super) struct Bench {
    processor: VaultProcessor,
    pub(super) meter: Meter,
    ticketer: Option<Box<Ticketer>>,
    auditor: age::x25519::Identity,
    ids: PlainIds,
    rebuilder: ContentRebuilder,
    identities: BTreeMap<String, age::x25519::Identity>,
    /// The step after the vault, if the test has one.
    redact: Option<Arc<RedactProcessor>>,
}

/// The result of one batch.
pub(super) struct Out {
    payload: Payload,
    pub(super) bytes: Vec<u8>,
    pub(super) documents: Vec<FragmentDocument>,
    /// The documents as text.
    opened: String,
    headers: Vec<FragmentHeader>,
    keys: Vec<KeyHeader>,
    rows: Vec<IndexRow>,
    records: Vec<SpoolRecord>,
    effects: Vec<Effect>,
}

/// The policy that declares these services as agents'.
pub(super) fn declaring(services: &[&str]) -> ClosedItemPolicy {
    let names = services.iter().map(|name| (*name).to_owned()).collect();
    ClosedItemPolicy { agents: DeclaredAgents::Named(names), ..ClosedItemPolicy::default() }
}

/// The policy with `privacy: strict`.
fn strict(policy: ClosedItemPolicy) -> ClosedItemPolicy {
    ClosedItemPolicy { unlisted: UnlistedTextPolicy::All, ..policy }
}

/// The shipped vocabulary with a policy. Loading it takes a tenth of a second.
fn vocabulary_with(policy: ClosedItemPolicy) -> Arc<Vocabulary> {
    let vocabulary = Vocabulary::builtin().unwrap_or_else(|error| panic!("{}", error.0));
    Arc::new(vocabulary.with_policy(policy))
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(LeftContent::Nothing, true)
    }

    pub(super) fn with(leave: LeftContent, store: bool) -> Self {
        let auditor = age::x25519::Identity::generate();
        let sealer: Arc<dyn SessionKeyGenerator> = Arc::new(RecipientPolicy::unlimited([auditor.to_public()]));
        Self::made(leave, store.then_some(sealer), auditor)
    }

    fn made(leave: LeftContent, sealer: Option<Arc<dyn SessionKeyGenerator>>, auditor: age::x25519::Identity) -> Self {
        let ids = PlainIds(Pseudonymizer::new(&Secret::new("k".to_owned())));
        let store = sealer.map(|sealer| ContentStore {
            sealer,
            writer: Arc::new(VaultWriter::new(ObjectNames::new("agent-sessions", "gw-1", "01KAEPOCH"), 1 << 20)),
            uri: "s3://audit-logs/".into(),
            content_url: Some("https://content.example".into()),
            forward_after_put: false,
        });
        let parts = VaultProcessorParts {
            id: "vault".into(),
            vocabulary: vocabulary(),
            ids: Arc::new(ids.clone()),
            rng: Arc::new(SystemRng),
            store,
            leave,
            privacy: PrivacyProfile::Standard,
            echo_finder: EchoFinder {
                memory: Arc::new(FingerprintCache::new(&SystemRng)),
                max_error_text: 8 << 10,
                max_scan: 8 << 20,
            },
        };
        let meter = Meter::new();
        let processor = VaultProcessor::new(parts, &meter);
        let ticketer = processor.ticketer();
        Self {
            processor,
            meter,
            ticketer,
            auditor,
            ids,
            rebuilder: ContentRebuilder::default(),
            identities: BTreeMap::new(),
            redact: None,
        }
    }

    /// Uses another policy for agents' items.
    pub(super) fn policy(self, policy: ClosedItemPolicy) -> Self {
        self.reading_with(vocabulary_with(policy))
    }

    /// Uses another vocabulary.
    fn reading_with(mut self, vocabulary: Arc<Vocabulary>) -> Self {
        self.processor.vocabulary = vocabulary;
        self
    }

    /// Redacts after the vault step.
    fn redacting(mut self, redact: Arc<RedactProcessor>) -> Self {
        self.redact = Some(redact);
        self
    }

    fn privacy(mut self, privacy: PrivacyProfile) -> Self {
        self.processor.privacy = privacy;
        self
    }

    /// Uses the profile `strict`, as its configuration does.
    pub(super) fn strict(self) -> Self {
        self.policy(strict(ClosedItemPolicy::default())).privacy(PrivacyProfile::Strict)
    }

    /// Processes a batch without sealing or committing it.
    fn processed(&self, case: &Json) -> Batch {
        let mut batch = batch(request::payload(case));
        self.processor.process(&mut batch).expect("processed");
        batch
    }

    /// Processes a batch and commits it.
    pub(super) fn commit(&mut self, case: &Json) -> Out {
        self.commit_payload(request::payload(case), origin())
    }

    fn commit_payload(&mut self, payload: Payload, origin: BatchOrigin) -> Out {
        let out = self.pass_payload(payload, origin);
        out.effects.iter().for_each(|effect| self.processor.apply(effect));
        out
    }

    /// Uses another limit for the size of searched texts.
    pub(super) fn scanning(mut self, scan: usize) -> Self {
        self.processor.echo_finder.max_scan = scan;
        self
    }

    pub(super) fn pass(&mut self, case: &Json) -> Out {
        self.pass_payload(request::payload(case), origin())
    }

    /// The content size in the reference, after one vault step and after a second one.
    pub(super) fn pass_twice(&self, case: &Json) -> [Option<i64>; 2] {
        let mut batch = batch(request::payload(case));
        [(); 2].map(|()| {
            self.processor.process(&mut batch).expect("processed");
            let item = batch.payload.items().next().expect("an item");
            let mut sizes = batch.payload.attributes(item).filter(|attribute| attribute.key == "gen_ai.payload.bytes");
            sizes.next().and_then(|attribute| attribute.value.as_count())
        })
    }

    fn pass_payload(&mut self, payload: Payload, origin: BatchOrigin) -> Out {
        let mut batch = Batch::new(Arc::new(origin), payload);
        self.processor.process(&mut batch).expect("processed");
        assert!(batch.clearance.content == ContentState::Stripped);
        if let Some(redact) = &self.redact {
            redact.process(&mut batch).expect("redacted");
        }
        let effects = std::mem::take(&mut batch.effects);
        let mut records = Vec::new();
        let mut slots = BTreeMap::new();
        for draft in batch.drafts {
            let ticketed = self.ticketer.as_mut().expect("a ticketer")(draft.body);
            let size: u64 = ticketed.records.iter().map(|record| record.body.len() as u64 + 64).sum();
            assert!(size <= draft.bytes, "the reservation was too small: {size} > {}", draft.bytes);
            records.extend(ticketed.records);
            slots.extend(ticketed.slots);
        }
        // The edit that redact applies to every text must not change the references.
        batch.payload.edit_text(|place, text| {
            if text.contains("REDACTME")
                || (place.kind != TextPlaceKind::Key && place.key.starts_with("gen_ai.payload."))
            {
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
        Out { effects, ..self.open(payload, encoded.bytes, records) }
    }

    fn open(&mut self, payload: Payload, bytes: Vec<u8>, records: Vec<SpoolRecord>) -> Out {
        let mut out = Out {
            payload,
            bytes,
            documents: vec![],
            opened: String::new(),
            headers: vec![],
            keys: vec![],
            rows: vec![],
            records: vec![],
            effects: vec![],
        };
        for stored in &records {
            match stored.kind {
                RecordKind::Key => {
                    let (header, object): (KeyHeader, _) = spool_record::unpack(&stored.body).expect("key");
                    let secret = age::decrypt(&self.auditor, &object).expect("the auditor opens the key");
                    let identity = String::from_utf8(secret).expect("text").trim().parse().expect("identity");
                    self.identities.insert(header.key.clone(), identity);
                    out.keys.push(header);
                }
                RecordKind::Fragment => {
                    let (header, sealed): (FragmentHeader, _) = spool_record::unpack(&stored.body).expect("fragment");
                    let plain =
                        age::decrypt(&self.identities[&header.key], &sealed).expect("the session's key opens it");
                    let json = zstd::decode_all(&plain[..]).expect("zstd");
                    self.rebuilder.add(&json).expect("a document");
                    let whole = self.rebuilder.rebuild(&json, 1 << 30).expect("whole");
                    let json = String::from_utf8(whole.unwrap_or(json)).expect("text");
                    out.documents.push(serde_json::from_str(&json).expect("a document"));
                    out.opened.push_str(&json);
                    out.headers.push(header);
                }
                RecordKind::Leaf => {
                    let (_, lines): (spool_record::LeafHeader, _) = spool_record::unpack(&stored.body).expect("leaf");
                    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                    out.rows.extend(lines.map(|line| serde_json::from_slice::<IndexRow>(line).expect("a row")));
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

    fn of(&self, node: otlp::NodeId) -> BTreeMap<String, String> {
        let text = |value: otlp::Value<'_>| match value.as_str() {
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

fn trusted() -> BatchOrigin {
    BatchOrigin { trust: Trust::Internal, ..origin() }
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
