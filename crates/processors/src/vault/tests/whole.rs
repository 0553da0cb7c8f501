//! Tests of the whole path from a request to a directory and back to an auditor.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::super::options::StoreLayout;
use super::super::{VaultConfig, VaultWithUploader, build, config::StoreConfig};
use crate::spec::ProcessorDeps;
use audit::read::{
    ContentReference, FragmentOpener, IndexQuery, LeafId, LineSelection, ReplayFilter, Vault, VaultLocation, each_row,
    get, get_lines, identities, replay,
};
use audit::verify::{VerifyOptions, verify};
use echoes::FingerprintCache;
use genai::testing::builtin::vocabulary;
use genai::testing::request;
use kernel::clock::{Clock, ManualClock, UnixNanos};
use kernel::pseudonym::{PlainIds, Pseudonymizer};
use kernel::rng::SystemRng;
use kernel::secret::Secret;
use net::ProxyRules;
use net::testing::tasks::TestTasks;
use otlp::Payload;
use pipeline::{Batch, BatchOrigin, Effect, Processor, Ticketer, Trust};
use telemetry::Meter;
use vault::index_row::IndexRow;
use vault::keygen::generate_auditor_key;
use vault::testing::journal::{FakeJournal, signing_key};
use vault::uploader::Uploader;

pub(super) const NOON: UnixNanos = UnixNanos(1_795_168_800_000_000_000);

pub(super) struct Gateway {
    pub(super) folder: tempfile::TempDir,
    pub(super) clock: Arc<ManualClock>,
    journal: Arc<FakeJournal>,
    pub(super) processor: Arc<super::super::VaultProcessor>,
    ticketer: Box<Ticketer>,
    pub(super) uploader: Uploader,
}

pub(super) fn gateway() -> Gateway {
    gateway_with(|_| {})
}

pub(super) fn gateway_with(change: impl FnOnce(&mut VaultConfig)) -> Gateway {
    let folder = tempfile::tempdir().expect("scratch");
    let public = generate_auditor_key(&folder.path().join("auditor.key")).expect("key");
    let mut config = VaultConfig {
        recipients: vec![public.into()].into(),
        store: Some(StoreConfig::Directory(folder.path().join("vault").into())),
        writer: Some("gw-1".to_owned()),
        ..VaultConfig::default()
    };
    change(&mut config);
    let settings = config.settings().map_err(|problems| format!("{problems:?}")).expect("valid");
    let clock = ManualClock::at(NOON);
    let site = ProcessorDeps {
        vocabulary: vocabulary(),
        ids: Arc::new(PlainIds(Pseudonymizer::new(&Secret::new("k".to_owned())))),
        fingerprints: Arc::new(FingerprintCache::new(&SystemRng)),
        max_error_text: 8 << 10,
        max_scan: 8 << 20,
        tasks: TestTasks::shared(),
        clock: clock.clone(),
        rng: Arc::new(SystemRng),
        meter: Meter::new(),
        proxies: Arc::new(ProxyRules::from_env(&|_| None).expect("no proxies")),
        storage: None,
    };
    let journal = Arc::new(FakeJournal::default());
    let VaultWithUploader { processor, uploader } =
        build(&"vault".into(), &settings, &site, journal.clone(), Some(Arc::new(signing_key())), None);
    let ticketer = processor.ticketer().expect("ticketer");
    Gateway { folder, clock, journal, processor, ticketer, uploader: uploader.expect("uploader") }
}

impl Gateway {
    /// Processes and commits a batch without applying its effects.
    pub(super) fn send(&mut self, case: &Json) {
        let batch = self.process(case);
        drop(self.commit(batch));
    }

    /// Processes a batch without committing it.
    pub(super) fn process(&self, case: &Json) -> Batch {
        self.process_after(&[], request::payload(case))
    }

    /// Processes a payload after other steps, without committing it.
    pub(super) fn process_after(&self, steps: &[Box<dyn Processor>], payload: Payload) -> Batch {
        let origin = BatchOrigin {
            account: "default".into(),
            receiver: "otlp".into(),
            trust: Trust::ThirdParty,
            received: self.clock.now(),
            id: [7; 16],
            repeat: false,
            source_record: None,
        };
        let mut batch = Batch::new(Arc::new(origin), payload);
        steps.iter().for_each(|step| step.process(&mut batch).expect("processed"));
        self.processor.process(&mut batch).expect("processed");
        batch
    }

    /// Gives the batch its ticket and commits it. Returns its effects.
    pub(super) fn commit(&mut self, batch: Batch) -> Vec<Effect> {
        for draft in batch.drafts {
            for record in (self.ticketer)(draft.body).records {
                self.journal.append(record.kind, "default", record.body);
            }
        }
        batch.effects
    }

    /// Passes a batch through, as the engine does.
    pub(super) fn pass(&mut self, case: &Json) {
        let batch = self.process(case);
        let effects = self.commit(batch);
        effects.iter().for_each(|effect| self.processor.apply(effect));
    }

    pub(super) fn writer(&self) -> Arc<vault::vault_writer::VaultWriter> {
        self.processor.sealer.as_ref().expect("a store").writer.clone()
    }

    pub(super) fn location(&self) -> VaultLocation {
        VaultLocation { store: self.folder.path().join("vault").display().to_string(), ..VaultLocation::default() }
    }

    pub(super) fn auditors(&self) -> Vec<age::x25519::Identity> {
        identities(&[self.folder.path().join("auditor.key")]).expect("identity")
    }

    pub(super) async fn replay(&self, session: &str) -> Result<String, String> {
        let vault = Vault::from_location(&self.location()).map_err(|error| error.to_string())?;
        let mut opener = FragmentOpener::new(&vault, self.auditors());
        let found = replay(&vault, &mut opener, session, &ReplayFilter::default()).await;
        let found = found.map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        found.write_text(&mut out).expect("written");
        Ok(String::from_utf8(out).expect("text"))
    }
}

pub(super) fn turn(n: u64, history: &[(&str, &str)], answer: &str) -> Json {
    let messages: Vec<Json> = history
        .iter()
        .map(|(role, text)| json!({"role": role, "parts": [{"type": "text", "content": text}]}))
        .collect();
    json!({"name": "chat gpt-4o", "trace": 1, "span": n, "start": 1_795_168_800 + n, "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5, "gen_ai.conversation.id": "s-1",
        "tenant.id": "acme",
        "gen_ai.input.messages": Json::Array(messages).to_string(),
        "gen_ai.output.messages": json!([{"role": "assistant", "parts": [{"type": "text", "content": answer}]}]).to_string()}})
}

pub(super) fn tool(n: u64) -> Json {
    json!({"name": "execute_tool ls", "trace": 1, "span": n, "start": 1_795_168_800 + n, "attributes": {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "ls", "gen_ai.conversation.id": "s-1", "tenant.id": "acme",
        "gen_ai.tool.call.arguments": r#"{"path":"/CANARY"}"#, "gen_ai.tool.call.result": "a\u{1b}[31mred\nb CANARY"}})
}

pub(super) fn files(folder: &Path, out: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            files(&path, out);
        } else {
            out.push((path.display().to_string(), std::fs::read(&path).expect("file")));
        }
    }
}

/// A session is replayed in order: messages once, tools with arguments and results, no terminal control sequences; the
/// same before and after the index is written.
#[tokio::test]
async fn a_session_is_replayed() {
    let mut gateway = gateway();
    gateway.send(&json!({"items": [turn(1, &[("user", "CANARY one")], "CANARY two"), tool(2)]}));
    gateway.send(&json!({"items": [
        turn(3, &[("user", "CANARY one"), ("assistant", "CANARY two"), ("user", "CANARY three")], "CANARY four")]}));
    assert!(gateway.uploader.drain().await);
    let text = gateway.replay("s-1").await.expect("replayed");
    let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} is not in\n{text}"));
    let order = [
        "CANARY one",
        "CANARY two",
        "execute_tool ls",
        "arguments",
        "result",
        "(2 earlier",
        "CANARY three",
        "CANARY four",
    ];
    assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{text}");
    assert_eq!(text.matches("CANARY one").count(), 1, "{text}");
    assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[31mred"), "{text}");
    assert!(text.contains("model calls: 2, tool calls: 1, cost: 0 USD"), "{text}");
    std::fs::remove_dir_all(gateway.folder.path().join("vault/index")).expect("index");
    let unindexed = gateway.replay("s-1").await.expect("replayed");
    assert_eq!(unindexed.matches("CANARY").count(), text.matches("CANARY").count());
    assert!(gateway.replay("s-2").await.is_err());
}

/// A reference with its range leads to its document, and without a range to the whole object.
#[tokio::test]
async fn a_reference_is_opened() {
    let mut gateway = gateway();
    gateway.send(&json!({"items": [turn(1, &[("user", "CANARY one")], "x")]}));
    gateway.send(&json!({"items": [turn(2, &[("user", "CANARY two")], "y")]}));
    assert!(gateway.uploader.drain().await);
    let mut all = Vec::new();
    files(&gateway.folder.path().join("vault"), &mut all);
    let (object, bytes) = all.iter().find(|(name, _)| name.ends_with(".agev")).expect("object");
    let name = object.split_once("/vault/").expect("inside").1;
    let second = memchr::memmem::find_iter(bytes, b"age-encryption.org/v1").nth(1).expect("two fragments");
    let vault = Vault::from_location(&gateway.location()).expect("vault");
    let mut opener = FragmentOpener::new(&vault, gateway.auditors());
    let mut out = Vec::new();
    let range = Some(format!("bytes={second:010}-{:010}", bytes.len() - 1));
    let wanted = ContentReference { uri: format!("file:///{name}"), range };
    get(&vault, &mut opener, &wanted, &mut out).await.expect("found").expect("written");
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("CANARY two") && !text.contains("CANARY one"));
    let mut out = Vec::new();
    get(&vault, &mut opener, &ContentReference { uri: name.to_owned(), range: None }, &mut out)
        .await
        .expect("found")
        .expect("written");
    let text = String::from_utf8(out).expect("text");
    assert_eq!(text.lines().count(), 2);
    serde_json::from_str::<Json>(text.lines().next().expect("line")).expect("JSON");
    for (uri, range) in
        [("s3://b/x.agev", None), (name, Some("bytes=5-1")), (name, Some("bytes=1-9")), ("no/such.agev", None)]
    {
        let wanted = ContentReference { uri: uri.to_owned(), range: range.map(str::to_owned) };
        assert!(get(&vault, &mut opener, &wanted, &mut Vec::new()).await.is_err(), "{uri} {range:?}");
    }
}

/// The content of a trace, a span or an index line is decrypted, each fragment once, in every layout; one without a
/// line or without content is reported.
#[tokio::test]
async fn lines_are_opened() {
    for layout in [StoreLayout::Session, StoreLayout::Packed, StoreLayout::Turn] {
        let mut gateway = gateway_with(|config| config.layout = layout);
        gateway.send(&json!({"items": [turn(1, &[("user", "CANARY one")], "x"), tool(2)]}));
        let mut other = turn(3, &[("user", "CANARY three")], "y");
        other["trace"] = json!(2);
        gateway.send(&json!({"items": [other]}));
        assert!(gateway.uploader.drain().await);
        let vault = Vault::from_location(&gateway.location()).expect("vault");
        let mut rows = Vec::new();
        each_row(&vault, None, &|_| true, &mut |row| rows.push(row)).await.expect("lines");
        let [one, two, three] = &rows[..] else { panic!("{} lines", rows.len()) };
        let ask = async |query: IndexQuery, leaf: Option<&str>| {
            let leaf = leaf.map(|leaf| LeafId::parse(leaf).expect("a leaf"));
            let (mut opener, mut out) = (FragmentOpener::new(&vault, gateway.auditors()), Vec::new());
            let wanted = LineSelection { query, leaf, keys: Vec::new() };
            let got = get_lines(&vault, &mut opener, &wanted, &mut out).await;
            got.map(|written| written.map(|()| String::from_utf8(out).expect("text")).expect("written"))
        };
        let (trace, span) = (|row: &IndexRow| row.tail.trace_id.clone(), |row: &IndexRow| row.tail.span_id.clone());
        let text = ask(IndexQuery { trace: trace(one), ..IndexQuery::default() }, None).await.expect("opened");
        assert_eq!(text.lines().count(), 1, "{layout:?}: each fragment once: {text}");
        assert!(text.contains("CANARY one") && text.contains("/CANARY") && !text.contains("CANARY three"), "{text}");
        let text = ask(IndexQuery { span: span(two), ..IndexQuery::default() }, None).await.expect("opened");
        assert!(text.lines().count() == 1 && text.contains("/CANARY"), "{layout:?}: {text}");
        let leaf = format!("{}/{}/{:012}", three.tail.writer, three.tail.epoch, three.leaf);
        let text = ask(IndexQuery::default(), Some(&leaf)).await.expect("opened");
        assert!(text.lines().count() == 1 && text.contains("CANARY three"), "{layout:?}: {text}");
        let none =
            ask(IndexQuery { trace: Some("00".into()), ..IndexQuery::default() }, None).await.expect_err("no line");
        assert!(none.to_string().contains("no index line"), "{none}");
        let none = ask(IndexQuery { account: Some("team".into()), ..IndexQuery::default() }, Some(&leaf)).await;
        assert!(none.expect_err("another account's").to_string().contains("no index line"));
        assert!(LeafId::parse("gw/5").is_err() && LeafId::parse("gw/E/x").is_err() && LeafId::parse("/E/1").is_err());
    }
}

/// No file of the vault shows content, and no other key decrypts it.
#[tokio::test]
async fn nothing_readable_lies_in_the_directory() {
    let mut gateway = gateway();
    gateway.send(&json!({"items": [turn(1, &[("user", "CANARY one")], "CANARY"), tool(2)]}));
    assert!(gateway.uploader.drain().await);
    let mut all = Vec::new();
    files(&gateway.folder.path().join("vault"), &mut all);
    assert_eq!(all.len(), 5, "key, object, index, digest, signature");
    for (name, bytes) in &all {
        let plain = if name.ends_with(".zst") { zstd::decode_all(&bytes[..]).expect("zstd") } else { bytes.clone() };
        assert!(!String::from_utf8_lossy(&plain).contains("CANARY"), "{name}");
    }
    let vault = Vault::from_location(&gateway.location()).expect("vault");
    let mut opener = FragmentOpener::new(&vault, vec![age::x25519::Identity::generate()]);
    let found = replay(&vault, &mut opener, "s-1", &ReplayFilter::default()).await.expect("the index can be read");
    let mut out = Vec::new();
    found.write_text(&mut out).expect("written");
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("none of the given identities opens") && !text.contains("CANARY"), "{text}");
}

/// A fragment moved into another object is refused.
#[tokio::test]
async fn moved_fragments_are_refused() {
    let mut gateway = gateway();
    gateway.send(&json!({"items": [turn(1, &[("user", "CANARY one")], "x")]}));
    assert!(gateway.uploader.drain().await);
    let mut all = Vec::new();
    files(&gateway.folder.path().join("vault"), &mut all);
    let (object, bytes) = all.iter().find(|(name, _)| name.ends_with(".agev")).expect("object");
    let moved = object.replace("gw-1-", "gw-2-");
    std::fs::write(&moved, bytes).expect("moved");
    let vault = Vault::from_location(&gateway.location()).expect("vault");
    let mut opener = FragmentOpener::new(&vault, gateway.auditors());
    let wanted = ContentReference { uri: moved.split_once("/vault/").expect("inside").1.to_owned(), range: None };
    let refused = get(&vault, &mut opener, &wanted, &mut Vec::new()).await.expect_err("refused");
    assert!(refused.to_string().contains("belongs to another object"), "{refused}");
}

/// The object name contains account, tenant, session and day: a fragment copied under a different one is refused, even
/// if its key objects are copied too.
#[tokio::test]
async fn a_fragment_copied_to_another_tenant_or_session_is_refused() {
    let mut gateway = gateway();
    gateway.send(&json!({"items": [turn(1, &[("user", "CANARY one")], "x")]}));
    assert!(gateway.uploader.drain().await);
    let mut all = Vec::new();
    files(&gateway.folder.path().join("vault"), &mut all);
    for (from, to, session) in [
        ("/acme/s-1/", "/globex/s-1/", "s-1"),
        ("/acme/s-1/", "/acme/s-2/", "s-2"),
        ("/2026-11-20/", "/2026-11-21/", "s-1"),
    ] {
        for (name, bytes) in all.iter().filter(|(name, _)| !name.contains("/index/") && !name.contains("/chain/")) {
            let copy = name.replace(from, to);
            assert_ne!(&copy, name, "the case moves something");
            std::fs::create_dir_all(Path::new(&copy).parent().expect("folder")).expect("folders");
            std::fs::write(&copy, bytes).expect("copied");
        }
        let text = gateway.replay(session).await.unwrap_or_else(|why| why);
        let own = usize::from(session == "s-1");
        assert_eq!(text.matches("CANARY one").count(), own, "{to}: {text}");
        assert!(text.contains("belongs to another object"), "{to}: {text}");
    }
}

/// A session of three fragments in one object, and the files of its vault.
async fn three_turns() -> (Gateway, Vec<(String, Vec<u8>)>) {
    let mut gateway = gateway();
    gateway.send(&json!({"items": [turn(1, &[("user", "CANARY one")], "x")]}));
    gateway.send(&json!({"items": [turn(2, &[("user", "CANARY two")], "y")]}));
    gateway.send(&json!({"items": [turn(3, &[("user", "CANARY three")], "z")]}));
    assert!(gateway.uploader.drain().await);
    let mut all = Vec::new();
    files(&gateway.folder.path().join("vault"), &mut all);
    (gateway, all)
}

/// Junk in the index, a missing object, a flipped bit, an index line that points outside: each is reported and hides
/// nothing else; sums of forged lines do not stop the replay.
#[tokio::test]
async fn what_is_damaged_hides_nothing_else() {
    let (gateway, all) = three_turns().await;
    let index = &all.iter().find(|(name, _)| name.ends_with(".ndjson.zst")).expect("index").0;
    std::fs::write(index.replace("0000000000.nd", "0000000009.nd"), b"junk").expect("junk");
    std::fs::write(index.replace("0000000000.ndjson.zst", "x"), b"no index object").expect("junk");
    let lines =
        String::from_utf8(zstd::decode_all(&std::fs::read(index).expect("index")[..]).expect("zstd")).expect("text");
    let mut forged: Json = serde_json::from_str(lines.lines().next().expect("line")).expect("JSON");
    let mut rows = lines.clone();
    for (leaf, object) in [
        (90, "default/acme/s-1/2026-11-20/gw-1-x-0000000099.agev".to_owned()),
        (91, forged["object_key"].as_str().expect("key").to_owned()),
    ] {
        forged["leaf"] = json!(leaf);
        forged["fragment"] = json!(format!("{leaf:032}"));
        forged["object_key"] = json!(object);
        forged["off"] = json!(1_u64 << 40);
        forged["cost_status"] = json!("priced");
        forged["cost_usd"] = json!("79000000000000000000000000000");
        rows.push_str(&format!("{forged}\nno line\n"));
    }
    std::fs::write(index, zstd::encode_all(rows.as_bytes(), 1).expect("zstd")).expect("index");
    let (object, bytes) = all.iter().find(|(name, _)| name.ends_with(".agev")).expect("object");
    let second = memchr::memmem::find_iter(bytes, b"age-encryption.org/v1").nth(1).expect("three fragments");
    let mut flipped = bytes.clone();
    flipped[second + 300] ^= 1;
    std::fs::write(object, flipped).expect("flipped");
    let text = gateway.replay("s-1").await.expect("replayed");
    for said in [
        "CANARY one",
        "CANARY three",
        "0000000009.ndjson.zst: damaged",
        "2 lines are malformed",
        "no such object",
        "points beyond the end of the object",
        "too large to add",
    ] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    assert!(!text.contains("CANARY two"), "{text}");
}

/// A fragment before a hole (a lost one, written as zeros) is decrypted even without the index.
#[tokio::test]
async fn a_hole_takes_nothing_with_it() {
    let (gateway, all) = three_turns().await;
    let (object, bytes) = all.iter().find(|(name, _)| name.ends_with(".agev")).expect("object");
    let starts: Vec<usize> = memchr::memmem::find_iter(bytes, b"age-encryption.org/v1").collect();
    let mut holed = bytes.clone();
    holed[starts[1]..starts[2]].fill(0);
    std::fs::write(object, holed).expect("holed");
    std::fs::remove_dir_all(gateway.folder.path().join("vault/index")).expect("index");
    let text = gateway.replay("s-1").await.expect("replayed");
    assert!(text.contains("CANARY one") && text.contains("CANARY three") && !text.contains("CANARY two"), "{text}");
    assert!(text.contains("(not in the index)"), "{text}");
}

/// An audit shows everything that was said: refusals, thoughts, old function calls, request fields, repeated texts.
#[tokio::test]
async fn nothing_that_was_said_is_left_out() {
    let mut gateway = gateway();
    let mut case = turn(1, &[("user", "go on"), ("user", "go on")], "x");
    case["attributes"]["gen_ai.output.messages"] = json!(
        json!([
            {"role": "assistant", "content": null, "refusal": "CANARY-refusal"},
            {"role": "assistant", "content": "", "reasoning_content": "CANARY-thought"},
            {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": "CANARY-call"}},
            {"messages": [{"role": "user", "content": "CANARY-inner"}], "tools": ["CANARY-tool"]},
        ])
        .to_string()
    );
    gateway.send(&json!({"items": [case]}));
    assert!(gateway.uploader.drain().await);
    let text = gateway.replay("s-1").await.expect("replayed");
    for said in ["refusal", "thought", "call", "inner", "tool"] {
        assert!(text.contains(&format!("CANARY-{said}")), "{said} is not in\n{text}");
    }
    assert_eq!(text.matches("go on").count(), 2, "{text}");
}

/// The largest possible range is answered without an overflow.
#[tokio::test]
async fn absurd_ranges_are_refused() {
    let gateway = gateway();
    std::fs::create_dir_all(gateway.folder.path().join("vault")).expect("folder");
    let vault = Vault::from_location(&gateway.location()).expect("vault");
    let mut opener = FragmentOpener::new(&vault, gateway.auditors());
    let wanted = |range: &str| ContentReference { uri: "a/b/c/d/x.agev".to_owned(), range: Some(range.to_owned()) };
    for range in ["bytes=0-18446744073709551615", "bytes=2-1", "bytes=-1"] {
        assert!(get(&vault, &mut opener, &wanted(range), &mut Vec::new()).await.is_err(), "{range}");
    }
}

/// Keys are private and never overwritten; problems of identity files are reported without showing a key.
#[test]
fn keys_are_made_once() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("scratch");
    let path = folder.path().join("k");
    let public = generate_auditor_key(&path).expect("made");
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(generate_auditor_key(&path).is_err());
    let found = identities(std::slice::from_ref(&path)).expect("read");
    assert_eq!(found[0].to_public().to_string(), public);
    std::fs::write(&path, "AGE-SECRET-KEY-1BROKEN\n").expect("broken");
    let error = identities(&[path]).err().expect("refused");
    assert!(!error.to_string().contains("BROKEN"), "{error}");
    assert!(identities(&[]).is_err());
}

/// The vault verifies with an auditor's key: no problem is found, and something was decrypted.
pub(super) async fn verified(gateway: &Gateway) {
    let vault = Vault::from_location(&gateway.location()).expect("a vault");
    let (keys, auditors) = (vec![signing_key().public().clone()], gateway.auditors());
    let report = verify(&vault, &VerifyOptions { keys, auditors, ..VerifyOptions::default() }, &mut |_| {})
        .await
        .expect("a report");
    let report = serde_json::to_string(&report).expect("json");
    assert!(report.contains("\"verified\":true") && report.contains("\"findings\":[]"), "{report}");
    assert!(!report.contains("\"opened\":0"), "{report}");
}
